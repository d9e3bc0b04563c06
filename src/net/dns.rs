//! DNS look-ups: the mail hosts of a domain and the addresses of a host.
//!
//! A stub resolver: it asks servers that look things up (RFC 1034 5.3.1) and believes an answer only if it comes from the
//! server's address, to our random port, with our random id and our question (RFC 5452). Whatever else arrives is
//! ignored until the deadline, so that a forger gains nothing by being first. A server that fails, lies or stalls costs
//! no more than a deferral.
//!
//! Answers are kept for their TTL (see [`limits::DNS_CACHE`]); [`Resolver::forget`] and [`Resolver::renew`] drop them.

mod answer;
mod asking;
mod cache;
mod data;
mod exchange;
mod hosts;
mod question;
mod resolv_conf;
mod servers;

pub use data::Tlsa;

use crate::limits;
use crate::policy::target::host_name;
use answer::{Answer, Heard};
use asking::{Asking, Turn};
use cache::Cache;
use data::Data;
use domain::base::Rtype;
use question::Question;
use servers::{Asked, Servers};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Asks the configured DNS servers. One is made at boot and shared by all.
#[derive(Debug)]
pub struct Resolver {
    servers: Servers,
    cache: Mutex<Cache>,
    asking: Asking,
    clock: Clock,
    patience: Patience,
}

/// By which kept answers age.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Instant + Send + Sync>);

/// How long a look-up may take; the default is from [`limits`].
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One question to one server.
    pub one_try: Duration,
    /// A look-up with all its questions.
    pub look_up: Duration,
}

/// What DNS says of a domain's mail hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mx {
    /// Preference and host name, lowest preference first, in random order within one (RFC 5321 5.1). A host whose name
    /// is illegal is left out; the list may be empty for it.
    Hosts(Vec<(u16, String)>),
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// The name exists and has no MX records.
    NoRecords,
    /// The name does not exist.
    NoSuchName,
}

/// Records, and what the server that gave them says of their proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved<T> {
    /// The records.
    pub records: T,
    /// Of all answers that led to them.
    pub dnssec: Dnssec,
}

/// Whether a server says that it has proved an answer by DNSSEC (the AD bit, RFC 4035 3.2.3).
///
/// It is worth as much as the way to the server: on loopback, all; over a network, as much as the network. An answer that
/// fails its proof is none at all: the server says SERVFAIL, and that is [`DnsError::Temporary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dnssec {
    /// The server has.
    Validated,
    /// The zone is not signed, or the server does not look.
    NotValidated,
}

/// Why a look-up gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// It cannot be a name in DNS; nothing was asked.
    IllegalName,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists without a record of the type.
    NoData,
    /// No server gave a usable answer in time; the words say what the last one did.
    Temporary(String),
}

impl Resolver {
    /// Asks these servers, in turn.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self::with(Servers::new(servers))
    }

    /// Asks the servers that `/etc/resolv.conf` names, or the one on this machine if it names none.
    ///
    /// The file is read again when a look-up found no server that answers: a machine without a network at boot, or one
    /// that has moved to another, needs no restart.
    #[must_use]
    pub fn system() -> Self {
        Self::of_file("/etc/resolv.conf")
    }

    /// The same with another file.
    #[must_use]
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self::with(Servers::of_file(path.into()))
    }

    fn with(servers: Servers) -> Self {
        Self {
            servers,
            cache: Mutex::default(),
            asking: Asking::default(),
            clock: Clock::default(),
            patience: Patience::default(),
        }
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The same with another clock for the answers kept.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The servers asked, for the boot log and `check`.
    #[must_use]
    pub fn servers(&self) -> Arc<[SocketAddr]> {
        self.servers.known()
    }

    /// Whether a server answers, where there is no name to ask it about.
    ///
    /// # Errors
    /// [`DnsError::Temporary`].
    pub async fn reachable(&self) -> Result<(), DnsError> {
        let deadline = Instant::now() + self.patience.look_up;
        self.hear(&Question::of_root(), deadline).await.map(drop)
    }

    /// Drops the answers kept, also those to questions under way: for a postmaster who has mended a zone and wants his mail
    /// tried now.
    pub fn forget(&self) {
        self.cache().forget();
        self.asking.forget();
    }

    /// The same, and reads again which servers are to be asked.
    pub fn renew(&self) {
        self.servers.read_again();
        self.forget();
    }

    /// The mail hosts of a domain.
    ///
    /// # Errors
    /// [`DnsError::IllegalName`] or [`DnsError::Temporary`].
    pub async fn mx(&self, domain: &str) -> Result<Mx, DnsError> {
        self.proved_mx(domain).await.map(|found| found.records)
    }

    /// The same with the verdict, on which the use of TLSA records hangs (RFC 7672 2.2.1). It is of no meaning where there
    /// are no hosts.
    ///
    /// # Errors
    /// As [`Resolver::mx`].
    pub async fn proved_mx(&self, domain: &str) -> Result<Proved<Mx>, DnsError> {
        if is_localhost(domain) {
            return Ok(unproved(Mx::NoRecords));
        }
        match self.records(domain, Rtype::MX).await {
            Ok(found) => Ok(found.map(hosts::mail_hosts)),
            Err(DnsError::NoData) => Ok(unproved(Mx::NoRecords)),
            Err(DnsError::NoSuchName) => Ok(unproved(Mx::NoSuchName)),
            Err(other) => Err(other),
        }
    }

    /// The addresses of a host, never an empty list: IPv6 and IPv4 in turn, so that the second connection that is tried
    /// does not fail for the reason of the first (RFC 8305 4).
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let found = self.proved_addresses(host).await;
        found.map(|found| found.records)
    }

    /// The same with the verdict: TLSA records of a host whose addresses are not proved are not looked up (RFC 7672 2.2.2).
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn proved_addresses(&self, host: &str) -> Result<Proved<Vec<IpAddr>>, DnsError> {
        if is_localhost(host) {
            let loopback = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(unproved(loopback));
        }
        let (six, four) = smol::future::zip(
            self.records(host, Rtype::AAAA),
            self.records(host, Rtype::A),
        )
        .await;
        match (six, four) {
            (Err(six), Err(four)) => Err(hosts::worse(six, four)),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one.map(hosts::addresses)),
            (Ok(six), Ok(four)) => Ok(Proved {
                dnssec: six.dnssec.and(four.dnssec),
                records: hosts::alternate(
                    hosts::addresses(six.records),
                    hosts::addresses(four.records),
                ),
            }),
        }
    }

    /// The texts of a name, each with its strings put together (RFC 8461 3.1), never an empty list. What they say is not
    /// judged, and may be any octets. For MTA-STS: `_mta-sts.DOMAIN`.
    ///
    /// # Errors
    /// [`DnsError`]; [`DnsError::NoData`] and [`DnsError::NoSuchName`] both mean that there is none.
    pub async fn txt(&self, name: &str) -> Result<Proved<Vec<Vec<u8>>>, DnsError> {
        let found = self.records(name, Rtype::TXT).await?;
        Ok(found.map(|records| {
            let text = |data| match data {
                Data::Txt(text) => Some(text),
                _ => None,
            };
            records.into_iter().filter_map(text).collect()
        }))
    }

    /// The TLSA records of a TCP port of a host (RFC 7672 2.2.3), never an empty list. They count only if the verdict is
    /// [`Dnssec::Validated`].
    ///
    /// # Errors
    /// [`DnsError`]; [`DnsError::NoData`] and [`DnsError::NoSuchName`] both mean that there is none, and
    /// [`DnsError::Temporary`] that nobody knows: a host that publishes them must not be taken for one that does not (RFC
    /// 7672 2.1.2).
    pub async fn tlsa(&self, port: u16, host: &str) -> Result<Proved<Vec<Tlsa>>, DnsError> {
        let name = format!("_{port}._tcp.{host}");
        let found = self.records(&name, Rtype::TLSA).await?;
        Ok(found.map(|records| {
            let tlsa = |data| match data {
                Data::Tlsa(tlsa) => Some(tlsa),
                _ => None,
            };
            records.into_iter().filter_map(tlsa).collect()
        }))
    }

    /// The records of one type, at the end of the CNAMEs if there are any.
    async fn records(&self, name: &str, rtype: Rtype) -> Result<Proved<Vec<Data>>, DnsError> {
        let deadline = Instant::now() + self.patience.look_up;
        let mut question = Question::new(name, rtype).ok_or(DnsError::IllegalName)?;
        let mut aliases_left = limits::DNS_ALIASES;
        let mut dnssec = Dnssec::Validated;
        loop {
            let heard = self.hear(&question, deadline).await?;
            dnssec = dnssec.and(heard.dnssec);
            match heard.answer {
                Answer::Records(records) => return Ok(Proved { records, dnssec }),
                Answer::NoRecords => return Err(DnsError::NoData),
                Answer::NoSuchName => return Err(DnsError::NoSuchName),
                Answer::Alias { name, aliases } => {
                    aliases_left = aliases_left.checked_sub(aliases).ok_or_else(too_long)?;
                    question = question.about(name);
                }
            }
        }
    }

    /// The answer that is kept, or that another look-up is about to get, or a server's.
    async fn hear(&self, question: &Question, deadline: Instant) -> Result<Heard, DnsError> {
        loop {
            if let Some(heard) = self.cache().get(question, (self.clock.0)()) {
                return Ok(heard);
            }
            match self.asking.turn(question) {
                Turn::Ask(asker) => return asker.tell(self.ask(question, deadline).await),
                Turn::Wait(asked) => {
                    let late = async {
                        smol::Timer::at(deadline).await;
                        Some(Err(DnsError::Temporary(
                            "no DNS server has answered in time".into(),
                        )))
                    };
                    if let Some(outcome) = smol::future::or(asked.outcome(), late).await {
                        return outcome;
                    }
                }
            }
        }
    }

    async fn ask(&self, question: &Question, deadline: Instant) -> Result<Heard, DnsError> {
        let era = self.cache().era();
        // The TTL counts from here: a server that is slow to answer makes nothing younger.
        let now = (self.clock.0)();
        let (outcome, asked) = self.servers.ask(question, self.patience, deadline).await;
        let heard = match asked {
            Asked::TheSame => outcome?,
            Asked::Others => {
                self.cache().forget();
                return outcome;
            }
        };
        self.cache().keep(era, question, &heard, now);
        Ok(heard)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Proved<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Proved<U> {
        Proved {
            records: change(self.records),
            dnssec: self.dnssec,
        }
    }
}

fn unproved<T>(records: T) -> Proved<T> {
    Proved {
        records,
        dnssec: Dnssec::NotValidated,
    }
}

impl Dnssec {
    fn and(self, other: Self) -> Self {
        match self {
            Self::Validated => other,
            Self::NotValidated => self,
        }
    }
}

/// RFC 6761 6.3: never asked about, always this machine.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    host_name(name).is_some_and(|name| name == "localhost" || name.ends_with(".localhost"))
}

fn too_long() -> DnsError {
    DnsError::Temporary(format!(
        "its CNAMEs loop, or are more than {}",
        limits::DNS_ALIASES
    ))
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            one_try: limits::DNS_TRY,
            look_up: limits::DNS_LOOKUP,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Instant::now))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IllegalName => f.write_str("it is no name in DNS"),
            Self::NoSuchName => f.write_str("DNS has no such name"),
            Self::NoData => f.write_str("DNS has no such record of the name"),
            Self::Temporary(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for DnsError {}
