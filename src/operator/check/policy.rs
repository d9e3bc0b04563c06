//! Flags that are legal and do not what their owner is likely to want.

use super::Report;
use crate::inbound::session::Door;
use crate::operator::config::Config;
use crate::policy::level::Level;
use crate::policy::relay::Network;
use crate::policy::target::{Host, Target};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub fn look(config: &Config, report: &mut Report) {
    hostname(config, report);
    open_relay(config, report);
    required_tls(config, report);
    own_senders(config, report);
}

fn hostname(config: &Config, report: &mut Report) {
    let name = &config.hostname;
    if name.contains('.') {
        report.ok(format_args!("hostname {name}"));
    } else {
        report.warning(format_args!(
            "--hostname {name}: not fully qualified, which many receivers refuse in EHLO; give --hostname NAME.DOMAIN"
        ));
    }
}

/// An address of the documentation's networks (RFC 5737, RFC 3849) that is trusted stands for all the world.
fn open_relay(config: &Config, report: &mut Report) {
    let strangers = [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ];
    let networks = config.relay.relay_from.iter();
    let open = |network: &&Network| strangers.iter().any(|stranger| network.holds(*stranger));
    for network in networks.filter(open) {
        report.warning(format_args!(
            "--relay-from {network}: it holds addresses that are none of yours, and all of them may relay anywhere: an \
             open relay? Give your own networks, such as 192.168.1.0/24"
        ));
    }
}

/// A smarthost of somebody else's refuses senders at a name that is nobody's on the Internet.
fn own_senders(config: &Config, report: &mut Report) {
    let Some(Target::Smtp(hop)) = config.routes.rest() else {
        return;
    };
    let is_foreign = match &hop.host {
        Host::MxOf(name) | Host::Exactly(name) => !is_private_name(name),
        Host::Address(address) => !is_private(*address) && !address.is_loopback(),
    };
    if is_foreign && is_private_name(&config.hostname) && !config.senders.replaces_any() {
        report.warning(format_args!(
            "{} takes this machine's own mail from senders such as root@{}, which smarthosts refuse; give --relay-sender \
             ADDRESS, one that it accepts",
            Target::Smtp(hop.clone()),
            config.hostname
        ));
    }
}

/// A name without a dot, or one that is kept for private networks (RFC 6762 G, RFC 8375, and what routers hand out).
fn is_private_name(name: &str) -> bool {
    const PRIVATE: [&str; 7] = [
        "arpa",
        "home",
        "internal",
        "lan",
        "local",
        "localdomain",
        "localhost",
    ];
    let last = name.rsplit_once('.').map(|(_, last)| last);
    last.is_none_or(|last| PRIVATE.contains(&last))
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn required_tls(config: &Config, report: &mut Report) {
    let has_domains = !config.relay.domains.is_empty();
    let public = config.ports.iter().filter(|port| {
        port.door == Door::Smtp(Level::Encrypt) && may_be_mx(port.address, has_domains)
    });
    for port in public {
        report.warning(format_args!(
            "{} {}: a public MX must not require TLS (RFC 3207 4); mail from servers without it is lost",
            port.flag, port.address
        ));
    }
}

/// Whether other servers may bring mail there: to no address that the world does not reach. Port 25 is theirs; with a
/// `--domain` any other may be where port 25 is redirected to, but for those of submission.
fn may_be_mx(address: SocketAddr, has_domains: bool) -> bool {
    const SUBMISSION: [u16; 2] = [465, 587];
    let ip = address.ip().to_canonical();
    let is_theirs = match address.port() {
        25 => true,
        port => has_domains && !SUBMISSION.contains(&port),
    };
    is_theirs && !ip.is_loopback() && !is_private(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mx_is_where_the_world_may_bring_mail() {
        for (address, with_domains, without) in [
            ("192.0.2.1:25", true, true),
            ("0.0.0.0:25", true, true),
            ("10.0.0.1:25", false, false),
            ("172.31.0.1:25", false, false),
            ("172.32.0.1:25", true, true),
            ("192.168.1.2:25", false, false),
            ("169.254.1.2:25", false, false),
            ("[fd00::1]:25", false, false),
            ("[fe80::1]:25", false, false),
            ("[2001:db8::1]:25", true, true),
            ("[::ffff:10.0.0.1]:25", false, false),
            ("[::1]:25", false, false),
            ("127.0.0.1:25", false, false),
            ("0.0.0.0:2525", true, false),
            ("[::]:2525", true, false),
            ("192.0.2.1:26", true, false),
            ("0.0.0.0:587", false, false),
            ("0.0.0.0:465", false, false),
            ("10.0.0.1:2525", false, false),
            ("[fd00::1]:2525", false, false),
            ("[::ffff:127.0.0.1]:2525", false, false),
            ("[::1]:2525", false, false),
        ] {
            let at = address.parse().expect("an address");
            let found = [true, false].map(|has_domains| may_be_mx(at, has_domains));
            assert_eq!(found, [with_domains, without], "{address}");
        }
    }
}
