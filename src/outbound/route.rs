//! Which hosts a recipient's mail goes to, and in which order (RFC 5321 5.1).
//!
//! Flags are the owner's word: what they name is dialled wherever it leads but to ourselves, and where it cannot be, the
//! mail waits until they are put right. DNS is a stranger's word: it may not send mail to this machine's loopback services, nor in a circle.

mod own;

use crate::net::dns::{DnsError, Mx, Resolver};
use crate::net::source::Family;
use crate::policy::idn;
use crate::policy::target::{Host, NextHop, Security, Target};
use crate::smtp::address::Domain;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Finds next hops. One is made at boot and shared by all.
#[derive(Debug)]
pub struct Router {
    /// Who is asked.
    pub resolver: Resolver,
    /// Port of next hops found by MX.
    pub smtp_port: u16,
    /// Whether loopback addresses that DNS answers give are dialled (`--mx-loopback`).
    pub mx_loopback: bool,
    /// Which addresses of a host are dialled; one that a flag names is dialled in any case.
    pub family: Family,
    /// Our `--hostname`; case does not matter.
    pub own_name: String,
    /// What we listen on.
    pub own_addresses: Vec<SocketAddr>,
}

/// A host to try: its addresses, in the order to dial them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Host name, or the address as text: for SNI and logs.
    pub name: String,
    /// Never empty.
    pub addresses: Vec<SocketAddr>,
    /// TLS before the greeting (RFC 8314).
    pub implicit_tls: bool,
}

/// The hosts for one destination, in the order to try them.
///
/// The addresses of a host are looked up when its turn comes: a domain with ten MX hosts costs two look-ups before the
/// first connection, not twenty.
#[derive(Debug)]
pub struct Hops<'r> {
    router: Option<&'r Router>,
    waiting: VecDeque<Candidate>,
    given: Given,
    asked_by: AskedBy,
    /// Why hosts so far could not be given: the first temporary reason, else the first.
    trouble: Option<RouteError>,
}

/// Why there is no host to try. Displays as code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// To try again cannot help: the recipients fail. The code is an enhanced one (RFC 3463).
    Permanent {
        /// As `5.1.2`.
        code: &'static str,
        /// For the log and the DSN.
        text: String,
    },
    /// The recipients are deferred.
    Temporary {
        /// As `4.4.3`.
        code: &'static str,
        /// For the log, and for the DSN when the message has become too old.
        text: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    AHop,
}

/// Whose mistake it is when there is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskedBy {
    /// The recipient's address or its domain's: the mail can go back to its sender.
    Recipient,
    /// The owner's: a slip in the flags, or in the zone that they lead to, must not cost mail.
    Flag,
}

/// A host whose turn has not come.
#[derive(Debug)]
enum Candidate {
    Resolved(Hop),
    Named(Named),
}

#[derive(Debug)]
struct Named {
    name: String,
    port: u16,
    implicit_tls: bool,
    named_by: NamedBy,
}

/// Who sends us to a host; it decides what its addresses may be and what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedBy {
    Flag,
    MxRecord,
    /// The recipient's address itself: its domain without MX records, or an address literal.
    Recipient,
}

/// Where the hosts of a look-up by MX are dialled.
#[derive(Clone, Copy)]
struct Service {
    port: u16,
    implicit_tls: bool,
}

impl Router {
    /// The hosts for mail to `recipient_domain`, whose target is `target`.
    ///
    /// # Errors
    /// [`RouteError`] where there is none.
    pub async fn hops(
        &self,
        target: &Target,
        recipient_domain: &str,
    ) -> Result<Hops<'_>, RouteError> {
        let (asked_by, candidates) = match target {
            Target::Mx => (AskedBy::Recipient, self.for_domain(recipient_domain).await?),
            Target::Smtp(hop) => {
                let found = self.for_next_hop(hop).await;
                (
                    AskedBy::Flag,
                    found.map_err(|trouble| trouble.by(AskedBy::Flag))?,
                )
            }
            Target::Maildir(_) => {
                return Err(temporary("4.3.5", format!("{target} is not a host")));
            }
        };
        Ok(Hops {
            router: Some(self),
            waiting: candidates.into(),
            given: Given::Nothing,
            asked_by,
            trouble: None,
        })
    }

    async fn for_domain(&self, domain: &str) -> Result<Vec<Candidate>, RouteError> {
        let service = Service {
            port: self.smtp_port,
            implicit_tls: false,
        };
        if domain.starts_with('[') {
            let literal = Domain::parse(domain).ok().and_then(|read| read.literal());
            let address = literal.ok_or_else(|| {
                permanent(
                    "5.1.2",
                    format!("{domain:?} is no address that mail can be sent to"),
                )
            })?;
            return Ok(vec![self.resolved(address, service, NamedBy::Recipient)?]);
        }
        let domain = &*idn::a_labels(domain).map_err(|idn::NotADomain| no_name(domain))?;
        match self.resolver.mx(domain).await {
            Ok(Mx::Hosts(hosts)) => self.before_us(domain, hosts, service),
            Ok(Mx::NoRecords) => self.domain_itself(domain, service),
            Ok(Mx::NullMx) => Err(permanent(
                "5.1.10",
                format!("the domain {domain} takes no mail (null MX)"),
            )),
            Ok(Mx::NoSuchName) => Err(no_such_domain(domain)),
            Err(error) => Err(unresolved(domain, NamedBy::Recipient, &error)),
        }
    }

    /// RFC 5321 5.1: without MX records the domain is its own mail host, at preference 0.
    fn domain_itself(&self, domain: &str, service: Service) -> Result<Vec<Candidate>, RouteError> {
        if self.is_own_name(domain) {
            return Err(loops(domain));
        }
        Ok(vec![named(domain, service, NamedBy::Recipient)])
    }

    async fn for_next_hop(&self, hop: &NextHop) -> Result<Vec<Candidate>, RouteError> {
        let implicit_tls = hop.security == Security::Implicit;
        let service = |plain| Service {
            port: hop.port.unwrap_or(if implicit_tls { 465 } else { plain }),
            implicit_tls,
        };
        match &hop.host {
            Host::Address(address) => {
                Ok(vec![self.resolved(*address, service(25), NamedBy::Flag)?])
            }
            Host::Exactly(name) => Ok(vec![named(name, service(25), NamedBy::Flag)]),
            Host::MxOf(name) => match self.resolver.mx(name).await {
                Ok(Mx::Hosts(hosts)) => self.before_us(name, hosts, service(self.smtp_port)),
                Ok(Mx::NoRecords) => Ok(vec![named(name, service(self.smtp_port), NamedBy::Flag)]),
                Ok(Mx::NullMx) => Err(temporary(
                    "4.4.4",
                    format!("the next hop {name} takes no mail (null MX)"),
                )),
                Ok(Mx::NoSuchName) => Err(unresolved(name, NamedBy::Flag, &DnsError::NoSuchName)),
                Err(error) => Err(unresolved(name, NamedBy::Flag, &error)),
            },
        }
    }

    /// The hosts that are preferred to us. To hand the mail to others would send it in a circle: they would hand it to
    /// us (RFC 5321 5.1).
    fn before_us(
        &self,
        domain: &str,
        hosts: Vec<(u16, String)>,
        service: Service,
    ) -> Result<Vec<Candidate>, RouteError> {
        if hosts.is_empty() {
            return Err(temporary(
                "4.4.4",
                format!("the MX records of {domain} name no legal host"),
            ));
        }
        let ours = hosts
            .iter()
            .find(|(_, host)| self.is_own_name(host))
            .map(|(preference, _)| *preference);
        let candidates: Vec<Candidate> = hosts
            .iter()
            .filter(|(preference, _)| ours.is_none_or(|ours| *preference < ours))
            .map(|(_, host)| named(host, service, NamedBy::MxRecord))
            .collect();
        if candidates.is_empty() {
            return Err(loops(domain));
        }
        Ok(candidates)
    }

    fn is_own_name(&self, name: &str) -> bool {
        let bare = |name| str::strip_suffix(name, ".").unwrap_or(name);
        bare(name).eq_ignore_ascii_case(bare(&self.own_name))
    }

    /// A hop of one address that needs no look-up.
    fn resolved(
        &self,
        address: IpAddr,
        service: Service,
        named_by: NamedBy,
    ) -> Result<Candidate, RouteError> {
        let named = Named {
            name: address.to_string(),
            port: service.port,
            implicit_tls: service.implicit_tls,
            named_by,
        };
        self.hop(named, vec![address])
            .map(Candidate::Resolved)
            .map_err(|(error, _)| error)
    }

    async fn look_up(&self, host: Named) -> Result<Hop, (RouteError, Rest)> {
        match self.resolver.addresses(&host.name).await {
            Ok(addresses) => self.hop(host, addresses),
            Err(error) => Err((unresolved(&host.name, host.named_by, &error), Rest::Tried)),
        }
    }

    /// The hop of a host with these addresses, without those that may not be dialled.
    fn hop(&self, host: Named, addresses: Vec<IpAddr>) -> Result<Hop, (RouteError, Rest)> {
        let mut addresses: Vec<SocketAddr> = addresses
            .into_iter()
            .map(|address| SocketAddr::new(own::dialled(address), host.port))
            .collect();
        if addresses
            .iter()
            .any(|address| own::is_listener(&self.own_addresses, *address))
        {
            return Err((loops(&host.name), Rest::Dropped));
        }
        self.keep_family(&host, &mut addresses)?;
        if host.named_by != NamedBy::Flag && !self.mx_loopback {
            addresses.retain(|address| !address.ip().is_loopback());
        }
        if addresses.is_empty() {
            // No stranger to this machine can mean it, and tomorrow it will not be meant either.
            let text = format!(
                "{} has only loopback addresses, which DNS may not send mail to",
                host.name
            );
            return Err((permanent(LOOP, text), Rest::Tried));
        }
        Ok(Hop {
            name: host.name,
            addresses,
            implicit_tls: host.implicit_tls,
        })
    }

    /// Drops addresses that `--outbound-family` leaves out, unless a flag names the very address.
    fn keep_family(
        &self,
        host: &Named,
        addresses: &mut Vec<SocketAddr>,
    ) -> Result<(), (RouteError, Rest)> {
        if host.named_by == NamedBy::Flag && host.name.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        addresses.retain(|address| self.family.admits(address.ip()));
        if addresses.is_empty() {
            let (name, family) = (&host.name, self.family);
            let text = format!("{name} has no address of --outbound-family {family}");
            return Err((temporary("4.4.4", text), Rest::Tried));
        }
        Ok(())
    }
}

/// What becomes of the hosts behind one that cannot be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Tried,
    /// It is us, so they are not preferred to us.
    Dropped,
}

impl Hops<'_> {
    /// A list that needs no look-up.
    #[must_use]
    pub fn fixed(hops: Vec<Hop>) -> Hops<'static> {
        Hops {
            router: None,
            waiting: hops.into_iter().map(Candidate::Resolved).collect(),
            given: Given::Nothing,
            asked_by: AskedBy::Flag,
            trouble: None,
        }
    }

    /// Leaves out a host that has had its say.
    pub fn skip(&mut self, host: &str) {
        self.waiting.retain(|candidate| {
            let (Candidate::Resolved(Hop { name, .. }) | Candidate::Named(Named { name, .. })) =
                candidate;
            name != host
        });
    }

    /// The next host to try; None when the list is through.
    ///
    /// # Errors
    /// [`RouteError`] when the list is through and no host of it could be given: permanent only if it was so for each, and
    /// never for a target of the flags.
    pub async fn next(&mut self) -> Result<Option<Hop>, RouteError> {
        while let Some(candidate) = self.waiting.pop_front() {
            let outcome = match (candidate, self.router) {
                (Candidate::Resolved(hop), _) => Ok(hop),
                (Candidate::Named(host), Some(router)) => router.look_up(host).await,
                // Only a router makes named candidates.
                (Candidate::Named(_), None) => continue,
            };
            match outcome {
                Ok(hop) => {
                    self.given = Given::AHop;
                    return Ok(Some(hop));
                }
                Err((trouble, rest)) => {
                    let trouble = trouble.by(self.asked_by);
                    log::info!("route skipped={:?}", trouble.to_string());
                    if rest == Rest::Dropped {
                        self.waiting.clear();
                    }
                    self.note(trouble);
                }
            }
        }
        match (self.given, &self.trouble) {
            (Given::Nothing, Some(trouble)) => Err(trouble.clone()),
            _ => Ok(None),
        }
    }

    fn note(&mut self, trouble: RouteError) {
        let outweighs = match (&self.trouble, &trouble) {
            (None, _) => true,
            (Some(RouteError::Permanent { .. }), RouteError::Temporary { .. }) => true,
            (Some(_), _) => false,
        };
        if outweighs {
            self.trouble = Some(trouble);
        }
    }
}

fn named(name: &str, service: Service, named_by: NamedBy) -> Candidate {
    Candidate::Named(Named {
        name: name.to_owned(),
        port: service.port,
        implicit_tls: service.implicit_tls,
        named_by,
    })
}

fn permanent(code: &'static str, text: String) -> RouteError {
    RouteError::Permanent { code, text }
}

fn temporary(code: &'static str, text: String) -> RouteError {
    RouteError::Temporary { code, text }
}

/// Routing loop detected (RFC 3463 3.5).
const LOOP: &str = "5.4.6";

fn loops(name: &str) -> RouteError {
    permanent(
        LOOP,
        format!("mail for {name} would come back to this host"),
    )
}

fn no_such_domain(domain: &str) -> RouteError {
    permanent("5.1.2", format!("the domain {domain} does not exist"))
}

fn no_name(domain: &str) -> RouteError {
    permanent("5.1.2", format!("{domain:?} is no domain"))
}

/// What an unsuccessful look-up means depends on who gave us the name.
fn unresolved(name: &str, named_by: NamedBy, error: &DnsError) -> RouteError {
    match (named_by, error) {
        (_, DnsError::Temporary(words)) => {
            temporary("4.4.3", format!("look-up of {name} failed: {words}"))
        }
        (NamedBy::Recipient, DnsError::NoSuchName) => no_such_domain(name),
        (NamedBy::Recipient, DnsError::NoData) => permanent(
            "5.1.2",
            format!("the domain {name} has neither a mail host nor an address"),
        ),
        (NamedBy::Recipient, DnsError::IllegalName) => no_name(name),
        (NamedBy::MxRecord, error) => temporary("4.4.4", format!("mail host {name}: {error}")),
        (NamedBy::Flag, error) => temporary("4.4.4", format!("next hop {name}: {error}")),
    }
}

impl RouteError {
    fn by(self, asked_by: AskedBy) -> Self {
        match (asked_by, self) {
            (AskedBy::Flag, Self::Permanent { code, text }) => Self::Temporary {
                code: if code == LOOP { "4.4.6" } else { "4.4.4" },
                text,
            },
            (_, trouble) => trouble,
        }
    }

    /// The enhanced status code (RFC 3463).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permanent { code, .. } | Self::Temporary { code, .. } => code,
        }
    }

    /// What happened, for logs and DSNs.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Permanent { text, .. } | Self::Temporary { text, .. } => text,
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.text())
    }
}

impl std::error::Error for RouteError {}
