//! Who may send what to whom.

use super::aliases::Home;
use super::directory::Directory;
use super::idn;
use super::routes::{self, Routes};
use super::target::{MaildirTemplate, Target};
use crate::smtp::address::Mailbox;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Whether a client is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// In `--relay-from`: may relay anywhere, and small mistakes are put right.
    Trusted,
    /// Known by a certificate: may relay anywhere, no more. What is put right for trusted networks is for printers and
    /// scripts, which have no certificate; who has one is a mail server or a mail program, whose bare LF is a fault to be
    /// told, and might be a stranger's message that it passes on (SMTP smuggling).
    Certified,
    /// Everyone else: only mail for our domains, and strictness.
    Stranger,
}

impl Trust {
    /// What a certificate that is known adds.
    #[must_use]
    pub fn with_certificate(self) -> Self {
        match self {
            Self::Trusted => Self::Trusted,
            Self::Certified | Self::Stranger => Self::Certified,
        }
    }
}

/// An IPv4 or IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address is in it; IPv4-mapped IPv6 addresses count as IPv4.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differ = u32::from(ours) ^ u32::from(theirs);
                differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = u128::from(ours) ^ u128::from(theirs);
                differ
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("{text:?} is no network: an address, or ADDRESS/BITS such as 192.0.2.0/24");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|&bits: &u8| bits <= most)
                .ok_or_else(wrong)?,
            None => most,
        };
        let network = Self { address, prefix };
        let host_bits = match address {
            IpAddr::V4(v4) => u32::from(v4).checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
            IpAddr::V6(v6) => u128::from(v6).checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
        };
        if host_bits {
            return Err(format!(
                "{text:?} has bits beyond its prefix: give the network's own address"
            ));
        }
        Ok(network)
    }
}

/// What the relay accepts, built once from the flags.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    /// Our name: a trusted client's short addresses get it, and aliases are asked for it.
    pub hostname: String,
    /// What the system is called, without its domain: programs here write to it, whatever our name is.
    pub node: Option<String>,
    /// The trusted networks.
    pub relay_from: Vec<Network>,
    /// The `--domain`s: A-labels in lower case, as [`super::target::host_name`] gives them.
    pub domains: Vec<String>,
    /// `--postmaster`.
    pub postmaster: Option<String>,
}

/// The answer to RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// It may be sent to.
    Accepted,
    /// It stands for these: an alias, a sub-address, the postmaster. Never empty.
    Expanded(Vec<String>),
    /// Its domain is none that IDNA allows: 553 5.1.2.
    NoDomain,
    /// Nothing allows it: 550 5.7.1.
    RelayDenied,
    /// Ours, but no such mailbox: 550 5.1.1.
    Unknown,
}

impl Relay {
    /// Whether the client is one of ours.
    #[must_use]
    pub fn trust(&self, client: IpAddr) -> Trust {
        if self.relay_from.iter().any(|network| network.holds(client)) {
            Trust::Trusted
        } else {
            Trust::Stranger
        }
    }

    /// Whether this client may send to this address, and whom it stands for.
    ///
    /// A local part is never turned into a route: from strangers, `%`, `!` and `@` in one are refused where another host
    /// will read it, for that host might.
    #[must_use]
    pub fn recipient(
        &self,
        trust: Trust,
        address: &str,
        routes: &Routes,
        directory: &Directory,
    ) -> Recipient {
        let Some((local, domain)) = address.rsplit_once('@') else {
            return Recipient::Unknown;
        };
        let Ok(domain) = idn::a_labels(domain) else {
            return Recipient::NoDomain;
        };
        let target = routes.target(&domain);
        if trust == Trust::Stranger {
            let remote = !matches!(target, Target::Maildir(_));
            if !self.is_ours(&domain) || (remote && local.contains(['%', '!', '@'])) {
                return Recipient::RelayDenied;
            }
        }
        let (name, home) = (plain_name(local), self.home(&domain, routes));
        let aliased = directory
            .aliases
            .as_ref()
            .filter(|_| home != Home::Elsewhere);
        if let Some(addresses) = aliased.and_then(|aliases| aliases.expand(&name)) {
            return Recipient::Expanded(owned(addresses));
        }
        if aliased.is_some() && home == Home::NamesOnly {
            return self.unknown(&name, routes, directory);
        }
        if let Some(list) = &directory.recipients
            && self.is_ours(&domain)
            && !list.knows(&name, &domain)
        {
            return match (list.user_of(&name, &domain), target) {
                (Some(user), Target::Maildir(template)) => mailbox(user, &domain, template),
                (Some(_), _) => Recipient::Accepted,
                (None, _) => self.unknown(&name, routes, directory),
            };
        }
        match target {
            Target::Maildir(template) if template.folder(&unquoted(local)).is_err() => {
                Recipient::Unknown
            }
            _ => Recipient::Accepted,
        }
    }

    /// Nobody's name, unless it is the postmaster's (RFC 5321 4.5.1).
    fn unknown(&self, name: &str, routes: &Routes, directory: &Directory) -> Recipient {
        match self.postmaster(routes, directory) {
            Some(addresses) if name == POSTMASTER => Recipient::Expanded(addresses),
            _ => Recipient::Unknown,
        }
    }

    /// Whom `<Postmaster>` without a domain stands for: `--postmaster`, else the alias, else `postmaster@` the first
    /// `--domain`, if it exists.
    #[must_use]
    pub fn postmaster(&self, routes: &Routes, directory: &Directory) -> Option<Vec<String>> {
        let aliases = directory.aliases.as_ref();
        if let Some(given) = &self.postmaster {
            let (local, domain) = given.rsplit_once('@')?;
            let aliased = aliases
                .filter(|_| self.home(domain, routes) != Home::Elsewhere)
                .and_then(|it| it.expand(&plain_name(local)));
            return Some(aliased.map_or_else(|| vec![given.clone()], owned));
        }
        if let Some(addresses) = aliases.and_then(|it| it.expand(POSTMASTER)) {
            return Some(owned(addresses));
        }
        let domain = self.domains.first()?;
        let listed = directory.recipients.as_ref();
        listed
            .is_none_or(|list| list.knows(POSTMASTER, domain))
            .then(|| vec![format!("{POSTMASTER}@{domain}")])
    }

    /// What a domain is to aliases: they are asked for this machine's names and each `--domain` with a Maildir.
    #[must_use]
    pub fn home(&self, domain: &str, routes: &Routes) -> Home {
        let (own, ours) = (self.is_machine(domain), self.is_ours(domain));
        match routes.target(domain) {
            _ if !own && !ours => Home::Elsewhere,
            Target::Maildir(_) => Home::Mailboxes,
            _ if !own => Home::Elsewhere,
            _ if ours || routes.names(domain) => Home::Mailboxes,
            _ => Home::NamesOnly,
        }
    }

    /// Whether the domain is this machine itself.
    fn is_machine(&self, domain: &str) -> bool {
        let key = idn::key(domain);
        self.machine_names().any(|name| *key == *name)
    }

    /// What this machine is called: our name and what its programs may know it by.
    pub fn machine_names(&self) -> impl Iterator<Item = &str> {
        let node = self.node.as_deref();
        let node = node.filter(|node| *node != "localhost" && *node != self.hostname);
        [&*self.hostname, "localhost", "localhost.localdomain"]
            .into_iter()
            .chain(node)
    }

    /// Whether the domain is a `--domain`.
    #[must_use]
    pub fn is_ours(&self, domain: &str) -> bool {
        let key = idn::key(domain);
        self.domains.iter().any(|ours| *ours == key)
    }
}

const POSTMASTER: &str = "postmaster";

fn owned(addresses: Vec<&str>) -> Vec<String> {
    addresses.into_iter().map(str::to_owned).collect()
}

/// A sub-address goes to its user's Maildir: a folder for each tag would be strangers' to make.
fn mailbox(user: &str, domain: &str, template: &MaildirTemplate) -> Recipient {
    let address = format!("{user}@{domain}");
    match template.folder(user) {
        Ok(_) if Mailbox::parse(&address).is_ok() => Recipient::Expanded(vec![address]),
        _ => Recipient::Unknown,
    }
}

/// A local part as mailboxes of this machine are compared: without quotes and in lower case, as Maildirs are named.
#[must_use]
pub fn plain_name(local: &str) -> String {
    unquoted(local).to_lowercase()
}

/// What stands before the first `+`, where something does.
pub(super) fn without_tag(name: &str) -> Option<&str> {
    let (user, _) = name.split_once('+')?;
    (!user.is_empty()).then_some(user)
}

/// What tells mailboxes of any host apart: quotes and the domain's case do not, the local part's case does (RFC 5321 2.4).
#[must_use]
pub fn mailbox_key(address: &str) -> String {
    let domain = routes::domain(address);
    let local = address.strip_suffix(domain).unwrap_or(address);
    let local = local.strip_suffix('@').unwrap_or(local);
    format!("{}@{}", unquoted(local), idn::key(domain))
}

/// What tells copies of one message apart: the mailbox, and for a Maildir its folder's name, whose case does not.
#[must_use]
pub fn copy_key(address: &str, routes: &Routes) -> String {
    let key = mailbox_key(address);
    match routes.target(routes::domain(address)) {
        Target::Maildir(_) => key.to_lowercase(),
        _ => key,
    }
}

/// A local part without its quotes: `"bob"` and `bob` are one mailbox (RFC 5321 4.1.2).
#[must_use]
pub fn unquoted(local: &str) -> String {
    let Some(inside) = local
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return local.to_owned();
    };
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_reach_our_domains_and_nothing_through_them() {
        let mut routes = Routes::default();
        routes
            .add("far.example", "smtp:[inner]".parse().unwrap())
            .unwrap();
        routes
            .add("near.example", "maildir:/m/{user}".parse().unwrap())
            .unwrap();
        routes
            .add("box.example", "lmtp:/run/lmtp".parse().unwrap())
            .unwrap();
        let domains = vec![
            "far.example".into(),
            "near.example".into(),
            "box.example".into(),
        ];
        let relay = Relay {
            domains,
            ..Relay::default()
        };
        let ask = |trust, address| relay.recipient(trust, address, &routes, &Directory::default());
        for (address, stranger, trusted) in [
            ("a@far.example", Recipient::Accepted, Recipient::Accepted),
            ("a@FAR.example", Recipient::Accepted, Recipient::Accepted),
            (
                "a@other.example",
                Recipient::RelayDenied,
                Recipient::Accepted,
            ),
            (
                "a%other.example@box.example",
                Recipient::RelayDenied,
                Recipient::Accepted,
            ),
            (
                "a%other.example@far.example",
                Recipient::RelayDenied,
                Recipient::Accepted,
            ),
            (
                "other.example!a@far.example",
                Recipient::RelayDenied,
                Recipient::Accepted,
            ),
            (
                "\"a@other.example\"@far.example",
                Recipient::RelayDenied,
                Recipient::Accepted,
            ),
            ("50%@near.example", Recipient::Accepted, Recipient::Accepted),
            (
                "\"../x\"@near.example",
                Recipient::Unknown,
                Recipient::Unknown,
            ),
            (
                "\"\\.x\"@near.example",
                Recipient::Unknown,
                Recipient::Unknown,
            ),
        ] {
            assert_eq!(ask(Trust::Stranger, address), stranger, "{address}");
            for known in [Trust::Trusted, Trust::Stranger.with_certificate()] {
                assert_eq!(ask(known, address), trusted, "{address}");
            }
        }
    }

    #[test]
    fn our_domain_is_ours_however_it_is_written() {
        let relay = Relay {
            domains: vec!["xn--bcher-kva.example".into()],
            ..Relay::default()
        };
        let ask = |trust, address| {
            relay.recipient(trust, address, &Routes::default(), &Directory::default())
        };
        for address in [
            "a@bücher.example",
            "é@BÜCHER.example",
            "a@XN--bcher-kva.example",
        ] {
            assert_eq!(
                ask(Trust::Stranger, address),
                Recipient::Accepted,
                "{address}"
            );
        }
        for address in ["a@bucher.example", "a@xn--bcher-kva.bücher.example"] {
            assert_eq!(
                ask(Trust::Stranger, address),
                Recipient::RelayDenied,
                "{address}"
            );
        }
        for trust in [Trust::Stranger, Trust::Trusted] {
            assert_eq!(ask(trust, "a@x\u{ff20}bücher.example"), Recipient::NoDomain);
        }
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
            ("::1/128", "::1", "::2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.holds(inside.parse().unwrap()), "{inside}");
            assert!(!network.holds(outside.parse().unwrap()), "{outside}");
        }
        let everyone: Network = "0.0.0.0/0".parse().unwrap();
        assert!(
            everyone.holds("203.0.113.9".parse().unwrap())
                && !everyone.holds("::1".parse().unwrap())
        );
        assert!(
            "::/0"
                .parse::<Network>()
                .unwrap()
                .holds("2001:db8::1".parse().unwrap())
        );
    }

    #[test]
    fn wrong_networks_are_named() {
        for text in [
            "",
            "192.0.2.0/33",
            "192.0.2.1/24",
            "host",
            "::/129",
            "1.2.3.4/",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
