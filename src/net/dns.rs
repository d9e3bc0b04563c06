//! DNS look-ups: the mail hosts of a domain and the addresses of a host.
//!
//! A stub resolver: it asks servers that look things up (RFC 1034 5.3.1) and believes an answer only if it comes from the
//! server's address, to our random port, with our random id and our question (RFC 5452). Whatever else arrives is
//! ignored until the deadline, so that a forger gains nothing by being first. A server that fails, lies or stalls costs
//! no more than a deferral.

mod answer;
mod exchange;
mod resolv_conf;

use crate::limits;
use crate::policy::target::host_name;
use answer::{Answer, Data, Edns, Question};
use domain::base::Rtype;
use exchange::{Failure, Ids};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asks the configured DNS servers. One is made at boot and shared by all.
#[derive(Debug)]
pub struct Resolver {
    servers: Mutex<Arc<[SocketAddr]>>,
    /// Where the servers stand, if not in the flags.
    file: Option<PathBuf>,
    /// Index of the server that answered last: a dead first one is waited for once, not in each look-up.
    favourite: AtomicUsize,
    ids: Ids,
    patience: Patience,
}

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
        Self {
            servers: Mutex::new(servers.into()),
            file: None,
            favourite: AtomicUsize::new(0),
            ids: Ids::default(),
            patience: Patience::default(),
        }
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
        let path = path.into();
        Self {
            file: Some(path.clone()),
            ..Self::new(resolv_conf::read(&path))
        }
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The servers asked, for the boot log and `check`.
    #[must_use]
    pub fn servers(&self) -> Arc<[SocketAddr]> {
        self.servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The mail hosts of a domain.
    ///
    /// # Errors
    /// [`DnsError::IllegalName`] or [`DnsError::Temporary`].
    pub async fn mx(&self, domain: &str) -> Result<Mx, DnsError> {
        if is_localhost(domain) {
            return Ok(Mx::NoRecords);
        }
        match self.records(domain, Rtype::MX).await {
            Ok(records) => Ok(mail_hosts(records)),
            Err(DnsError::NoData) => Ok(Mx::NoRecords),
            Err(DnsError::NoSuchName) => Ok(Mx::NoSuchName),
            Err(other) => Err(other),
        }
    }

    /// The addresses of a host, never an empty list: IPv6 and IPv4 in turn, so that the second connection that is tried
    /// does not fail for the reason of the first (RFC 8305 4).
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if is_localhost(host) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let (six, four) = smol::future::zip(
            self.records(host, Rtype::AAAA),
            self.records(host, Rtype::A),
        )
        .await;
        match (six, four) {
            (Err(six), Err(four)) => Err(worse(six, four)),
            (six, four) => Ok(alternate(
                addresses(six.unwrap_or_default()),
                addresses(four.unwrap_or_default()),
            )),
        }
    }

    /// The records of one type, at the end of the CNAMEs if there are any.
    async fn records(&self, name: &str, rtype: Rtype) -> Result<Vec<Data>, DnsError> {
        let deadline = Instant::now() + self.patience.look_up;
        let mut question = Question::new(name, rtype).ok_or(DnsError::IllegalName)?;
        let mut aliases_left = limits::DNS_ALIASES;
        loop {
            match self.ask(&question, deadline).await? {
                Answer::Records(records) => return Ok(records),
                Answer::NoRecords => return Err(DnsError::NoData),
                Answer::NoSuchName => return Err(DnsError::NoSuchName),
                Answer::Alias { name, aliases } => {
                    aliases_left = aliases_left.checked_sub(aliases).ok_or_else(too_long)?;
                    question = question.about(name);
                }
            }
        }
    }

    /// The first usable answer; with the servers that the file names by now, if no server gave one.
    async fn ask(&self, question: &Question, deadline: Instant) -> Result<Answer, DnsError> {
        let servers = self.servers();
        match self.ask_in_turn(&servers, question, deadline).await {
            Err(failed) => match self.read_again(&servers) {
                Some(servers) => self.ask_in_turn(&servers, question, deadline).await,
                None => Err(failed),
            },
            answer => answer,
        }
    }

    async fn ask_in_turn(
        &self,
        servers: &[SocketAddr],
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, DnsError> {
        let favourite = self.favourite.load(Ordering::Relaxed);
        let mut edns = Edns::On;
        let mut last = String::from("no DNS server is known");
        for turn in 0..servers.len() * limits::DNS_ROUNDS {
            let index = favourite.wrapping_add(turn) % servers.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let patience = self.patience.one_try.min(left);
            let server = servers[index];
            match exchange::ask(server, question, edns, &self.ids, patience).await {
                Ok(answer) => {
                    self.favourite.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failure::NoEdns) => {
                    edns = Edns::Off;
                    last = format!("DNS server {server} rejects the question");
                }
                Err(Failure::Useless(words)) => last = format!("DNS server {server} {words}"),
            }
        }
        Err(DnsError::Temporary(last))
    }

    /// The servers that the file names, if they are others by now.
    fn read_again(&self, known: &[SocketAddr]) -> Option<Arc<[SocketAddr]>> {
        let servers: Arc<[SocketAddr]> = resolv_conf::read(self.file.as_deref()?).into();
        if *servers == *known {
            return None;
        }
        log::info!("dns servers={servers:?} instead={known:?}");
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers.clone();
        Some(servers)
    }
}

/// RFC 6761 6.3: never asked, always this machine.
fn is_localhost(name: &str) -> bool {
    host_name(name).is_some_and(|name| name == "localhost" || name.ends_with(".localhost"))
}

fn mail_hosts(records: Vec<Data>) -> Mx {
    let mut hosts: Vec<(u16, String)> = records
        .into_iter()
        .filter_map(|data| match data {
            Data::Mx {
                preference,
                exchange,
            } => Some((preference, exchange)),
            Data::Address(_) => None,
        })
        .collect();
    // RFC 7505 3: only alone does "." mean anything.
    if hosts.iter().all(|(_, exchange)| exchange == ".") {
        return Mx::NullMx;
    }
    hosts = hosts
        .into_iter()
        .filter_map(|(preference, exchange)| Some((preference, host_name(&exchange)?)))
        .collect();
    // The order need not be a secret, so fastrand will do.
    fastrand::shuffle(&mut hosts);
    hosts.sort_by_key(|(preference, _)| *preference);
    let mut kept: Vec<(u16, String)> = Vec::new();
    for (preference, host) in hosts {
        if kept.len() < limits::DNS_MX_HOSTS && !kept.iter().any(|(_, known)| *known == host) {
            kept.push((preference, host));
        }
    }
    Mx::Hosts(kept)
}

fn addresses(records: Vec<Data>) -> Vec<IpAddr> {
    records
        .into_iter()
        .filter_map(|data| match data {
            Data::Address(address) => Some(address),
            Data::Mx { .. } => None,
        })
        .take(limits::DNS_ADDRESSES)
        .collect()
}

fn alternate(six: Vec<IpAddr>, four: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// Of two families without an address, what to make of it: who knows nothing for sure must try again.
fn worse(six: DnsError, four: DnsError) -> DnsError {
    match (six, four) {
        (_, four @ DnsError::Temporary(_)) => four,
        (six @ DnsError::Temporary(_), _) => six,
        (DnsError::NoSuchName, _) => DnsError::NoSuchName,
        (_, four) => four,
    }
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
