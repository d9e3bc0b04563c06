//! Flags that are legal and do not what their owner is likely to want.

use super::Report;
use crate::inbound::session::Door;
use crate::operator::config::Config;
use crate::policy::level::Level;
use crate::policy::relay::Trust;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub fn look(config: &Config, report: &mut Report) {
    hostname(config, report);
    open_relay(config, report);
    required_tls(config, report);
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
    let trusted = |address: &IpAddr| config.relay.trust(*address) == Trust::Trusted;
    if let Some(stranger) = strangers.into_iter().find(trusted) {
        report.warning(format_args!(
            "--relay-from: {stranger} may relay anywhere, and no network of yours has that address: an open relay?"
        ));
    }
}

fn required_tls(config: &Config, report: &mut Report) {
    let public = config.ports.iter().filter(|port| {
        port.door == Door::Smtp(Level::Encrypt)
            && port.address.port() == 25
            && !port.address.ip().is_loopback()
    });
    for port in public {
        report.warning(format_args!(
            "{} {}: a public MX must not require TLS (RFC 3207 4); mail from servers without it is lost",
            port.flag, port.address
        ));
    }
}
