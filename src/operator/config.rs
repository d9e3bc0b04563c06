//! What the flags mean together: defaults filled in, clashes found.

use super::flags::Flags;
use super::values::{Size, host_name};
use crate::inbound::session::Door;
use crate::net::source::{Family, Sources};
use crate::policy::level::Level;
use crate::policy::relay::{Network, Relay};
use crate::policy::retry::Schedule;
use crate::policy::routes::Routes;
use crate::policy::sender::{FromField, Senders};
use crate::policy::target::Target;
use crate::spool::{self, Spool};
use crate::tls::client_certificate::Fingerprint;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A listener to be bound, and the flag that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// As it is written on the command line.
    pub flag: &'static str,
    /// Where to listen.
    pub address: SocketAddr,
    /// How clients are received there.
    pub door: Door,
}

/// All that boot needs to know.
#[derive(Debug)]
pub struct Config {
    /// In the greeting, EHLO, Received and DSNs.
    pub hostname: String,
    /// What to listen on; never empty.
    pub ports: Vec<Port>,
    /// Folders of certificates.
    pub certs: Vec<PathBuf>,
    /// The name of the default certificate, where the owner chose one.
    pub default_cert: Option<String>,
    /// The file of authorities for clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Certificates and keys of clients that may relay.
    pub relay_clientcerts: Vec<Fingerprint>,
    /// Inbound sessions at once.
    pub sessions: usize,
    /// Of one stranger's address.
    pub sessions_per_address: usize,
    /// Octets.
    pub message_size: u64,
    /// Who may send to whom.
    pub relay: Relay,
    /// The file of the addresses that exist.
    pub recipients: Option<PathBuf>,
    /// The file of aliases.
    pub alias: Option<PathBuf>,
    /// Where mail goes.
    pub routes: Routes,
    /// Whose senders are replaced on the way out.
    pub senders: Senders,
    /// The outbound security level.
    pub tls_out: Level,
    /// When to try again.
    pub retry: Schedule,
    /// The age at which mail bounces.
    pub lifetime: Duration,
    /// Outbound connections at once.
    pub outbound: usize,
    /// Which addresses of next hops are dialled.
    pub outbound_family: Family,
    /// From where.
    pub outbound_sources: Sources,
    /// Empty: /etc/resolv.conf.
    pub resolvers: Vec<SocketAddr>,
    /// Port of next hops found by MX.
    pub smtp_port: u16,
    /// Dial loopback addresses that MX answers give.
    pub mx_loopback: bool,
    /// Ask next hops whether a recipient exists.
    pub verify_rcpt: bool,
    /// Where the queue is, and its size.
    pub spool: spool::Options,
    /// The file of its key, which boot reads.
    pub spool_key: Option<PathBuf>,
    /// Whom to become when the ports are bound.
    pub user: Option<String>,
    /// The least level that is logged.
    pub log: log::LevelFilter,
}

impl Config {
    /// The meaning of the flags.
    ///
    /// # Errors
    /// One line that names the flags that clash.
    pub fn of(flags: Flags) -> Result<Self, String> {
        // One that is no host's name names nobody.
        let node = system_hostname();
        let hostname = match &flags.hostname {
            Some(name) => name.clone(),
            None => node.clone()?,
        };
        let node = node.ok();
        let spool_size = flags.spool_size.unwrap_or(Size(256 << 20)).0;
        let message_size = flags
            .message_size
            .map_or((25 << 20).min(spool_size / 4), |size| size.0);
        let least = Spool::smallest();
        if spool_size < least {
            return Err(format!(
                "--spool-size {spool_size} is too small: at least {}M",
                least >> 20
            ));
        }
        if message_size > spool_size / 4 {
            return Err(format!(
                "--message-size {message_size} is above a quarter of --spool-size {spool_size}: at most {}",
                spool_size / 4
            ));
        }
        let outbound_family = flags.outbound_family.unwrap_or_default();
        let sessions = flags.sessions.map_or(256, usize::from);
        Ok(Self {
            ports: ports_for_clients(&flags)?,
            relay: relay(&flags, &hostname, node.as_deref()),
            recipients: recipients(&flags)?,
            alias: flags.alias.clone(),
            routes: routes(&flags)?,
            senders: senders(&flags, &hostname, node.as_deref())?,
            hostname,
            certs: flags.certs,
            default_cert: flags.default_cert,
            client_ca: flags.client_ca,
            relay_clientcerts: flags.relay_clientcert,
            sessions_per_address: flags
                .sessions_per_address
                .map_or((sessions / 4).max(1), usize::from),
            sessions,
            message_size,
            tls_out: flags.tls_out.unwrap_or(Level::May),
            retry: flags.retry.unwrap_or(DEFAULT_RETRY),
            lifetime: flags.lifetime.unwrap_or(Duration::from_secs(5 * 86_400)),
            outbound: flags.outbound.map_or(32, usize::from),
            outbound_family,
            outbound_sources: Sources::of(outbound_family, &flags.outbound_address)?,
            resolvers: flags.resolver,
            smtp_port: flags.smtp_port.unwrap_or(25),
            mx_loopback: flags.mx_loopback,
            verify_rcpt: flags.verify_rcpt,
            spool: spool::Options {
                dir: flags.spool.unwrap_or_else(|| "facteur-spool".into()),
                size: spool_size,
                key: None,
            },
            spool_key: flags.spool_key,
            user: flags.user,
            log: flags.log.unwrap_or(log::LevelFilter::Info),
        })
    }
}

const DEFAULT_RETRY: Schedule = Schedule {
    first: Duration::from_secs(300),
    last: Duration::from_secs(4 * 3_600),
};

pub(super) fn system_hostname() -> Result<String, String> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    host_name(&name).map_err(|why| format!("the system's host name: {why}; give --hostname NAME"))
}

fn ports(flags: &Flags) -> Result<Vec<Port>, String> {
    let level = flags.tls_in.unwrap_or(Level::May);
    let mut ports: Vec<Port> = Vec::new();
    for listen in &flags.listen {
        let door = Door::Smtp(listen.level.unwrap_or(level));
        ports.push(Port {
            flag: "--listen",
            address: listen.address,
            door,
        });
    }
    for &address in &flags.listen_tls {
        ports.push(Port {
            flag: "--listen-tls",
            address,
            door: Door::Tls,
        });
    }
    if flags.listen.is_empty() && flags.listen_tls.is_empty() {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);
        ports.push(Port {
            flag: "--listen",
            address,
            door: Door::Smtp(level),
        });
    }
    for (at, port) in ports.iter().enumerate() {
        let clash = ports[..at]
            .iter()
            .find(|other| other.address == port.address && port.address.port() != 0);
        if let Some(other) = clash {
            return Err(format!(
                "{} {} is also given to {}",
                port.flag, port.address, other.flag
            ));
        }
    }
    Ok(ports)
}

/// Whether TLS is spoken on any port.
#[must_use]
pub fn any_tls(ports: &[Port]) -> bool {
    let in_clear = Door::Smtp(Level::None);
    ports.iter().any(|port| port.door != in_clear)
}

/// The ports; one of them with TLS, if clients are to show certificates.
fn ports_for_clients(flags: &Flags) -> Result<Vec<Port>, String> {
    let ports = ports(flags)?;
    let flag = match (&flags.client_ca, &flags.relay_clientcert[..]) {
        (None, []) => return Ok(ports),
        (Some(_), _) => "--client-ca",
        (None, _) => "--relay-clientcert",
    };
    match any_tls(&ports) {
        true => Ok(ports),
        false => Err(format!(
            "{flag} and --tls-in none: no listener has TLS, so no client can show a certificate; give --tls-in may, \
             --listen ADDR:PORT,may or --listen-tls ADDR:PORT"
        )),
    }
}

fn relay(flags: &Flags, hostname: &str, node: Option<&str>) -> Relay {
    let loopback = || {
        let networks = ["127.0.0.0/8", "::1/128"];
        networks
            .iter()
            .filter_map(|text| text.parse::<Network>().ok())
            .collect()
    };
    let domains: Vec<String> = flags
        .domain
        .iter()
        .map(|named| named.name.clone())
        .collect();
    Relay {
        hostname: hostname.to_owned(),
        // Without its domain: that may be a mail domain elsewhere.
        node: node
            .and_then(|node| node.split('.').next())
            .map(str::to_owned),
        relay_from: if flags.relay_from.is_empty() {
            loopback()
        } else {
            flags.relay_from.clone()
        },
        postmaster: flags.postmaster.clone(),
        domains,
    }
}

/// `--recipients`, for which there is a domain.
fn recipients(flags: &Flags) -> Result<Option<PathBuf>, String> {
    match &flags.recipients {
        Some(file) if flags.domain.is_empty() => Err(format!(
            "--recipients {}: it lists addresses of the --domains, and there is none; give --domain NAME[=TARGET]",
            file.display()
        )),
        file => Ok(file.clone()),
    }
}

fn senders(flags: &Flags, hostname: &str, node: Option<&str>) -> Result<Senders, String> {
    // A system that is called as a mail domain is says nothing of that domain's senders.
    let is_domain = |node: &&str| flags.domain.iter().any(|named| named.name == **node);
    let node = node.filter(|node| !is_domain(node)).unwrap_or(hostname);
    let own = [hostname, node, "localhost.localdomain"];
    let from_field = match flags.relay_sender_header {
        true => FromField::Replaced,
        false => FromField::Kept,
    };
    Senders::new(&own, flags.relay_sender.clone(), from_field)
}

fn routes(flags: &Flags) -> Result<Routes, String> {
    let mut routes = Routes::default();
    for named in &flags.route {
        if let Some(target) = &named.target {
            routes
                .add(&named.name, target.clone())
                .map_err(|why| format!("--route: {why}"))?;
        }
    }
    for named in &flags.domain {
        match &named.target {
            Some(target) => routes
                .add(&named.name, target.clone())
                .map_err(|why| format!("--domain and --route: {why}"))?,
            // Without a target it is a backup MX, even where a smarthost takes the rest; its own --route may say otherwise.
            None => {
                let _ = routes.add(&named.name, Target::Mx);
            }
        }
    }
    if let Some(target) = &flags.relay {
        if flags.route.iter().any(|named| named.name == "*") {
            return Err(format!(
                "--relay {target} and --route *=…: both take the rest, give one"
            ));
        }
        routes.set_rest(target.clone());
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::directory::Directory;

    fn config(line: &str) -> Result<Config, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Config::of(
            Flags::of(&arguments, Some("/dev/null".into())).map_err(|stop| format!("{stop:?}"))?,
        )
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let config = config("--hostname mx.example").unwrap();
        assert_eq!(config.ports[0].address.to_string(), "127.0.0.1:2525");
        assert_eq!(config.ports[0].door, Door::Smtp(Level::May));
        assert_eq!(
            (
                config.sessions,
                config.sessions_per_address,
                config.outbound,
                config.smtp_port
            ),
            (256, 64, 32, 25)
        );
        assert_eq!(
            (config.message_size, config.spool.size),
            (25 << 20, 256 << 20)
        );
        assert_eq!(
            config
                .relay
                .postmaster(&config.routes, &Directory::default()),
            Some(vec!["postmaster@localhost".to_owned()])
        );
        assert_eq!(Ok(config.retry), "5m..4h".parse());
        assert_eq!(config.lifetime, Duration::from_secs(432_000));
    }

    #[test]
    fn clashes_are_named() {
        for (line, part) in [
            (
                "--spool-size 24M --message-size 7M",
                "quarter of --spool-size",
            ),
            ("--spool-size 1M", "too small"),
            (
                "--listen 127.0.0.1:1 --listen-tls 127.0.0.1:1",
                "also given to --listen",
            ),
            (
                "--domain a.example=smtp:[a] --route a.example=smtp:[b]",
                "two targets",
            ),
            ("--relay a.example --route *=smtp:[b]", "both take the rest"),
            (
                "--outbound-family 6 --outbound-address 192.0.2.1",
                "nothing would go out from it",
            ),
            (
                "--client-ca ca.pem --tls-in none",
                "--client-ca and --tls-in none",
            ),
        ] {
            let why = config(&format!("--hostname mx.example {line}")).unwrap_err();
            assert!(why.contains(part), "{line}: {why}");
        }
    }

    #[test]
    fn the_default_message_size_fits_a_small_spool() {
        assert_eq!(
            config("--hostname h --spool-size 24M")
                .unwrap()
                .message_size,
            6 << 20
        );
    }

    #[test]
    fn a_domain_without_target_is_a_backup_mx() {
        let config = config("--hostname h --relay smart.example --domain a.example").unwrap();
        assert_eq!(config.routes.target("a.example"), &Target::Mx);
        let line = "--hostname h --domain a.example --route a.example=smtp:[b]";
        assert_eq!(
            self::config(line)
                .unwrap()
                .routes
                .target("a.example")
                .to_string(),
            "smtp:[b]"
        );
        assert_eq!(
            config.routes.target("b.example").to_string(),
            "smtp:[smart.example]"
        );
    }

    #[test]
    fn a_listener_has_its_own_level() {
        let config =
            config("--hostname h --tls-in none --listen 127.0.0.1:1 --listen 127.0.0.1:2,encrypt")
                .unwrap();
        let doors: Vec<Door> = config.ports.iter().map(|port| port.door).collect();
        assert_eq!(doors, [Door::Smtp(Level::None), Door::Smtp(Level::Encrypt)]);
    }
}
