//! Can the ports be bound, or is it the running relay that has them?

use super::Report;
use super::spool::Running;
use crate::inbound::listener;
use crate::inbound::session::Door;
use crate::limits;
use crate::operator::config::{Config, Port};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

pub fn look(config: &Config, running: Running, report: &mut Report) {
    for port in &config.ports {
        match listener::bind(port.flag, port.address) {
            Ok(listener) => bound(port, &listener, running, report),
            Err(why) if running == Running::Yes => taken(port, &why, report),
            Err(why) => report.error(why),
        }
    }
    for source in config.outbound_sources.given() {
        match TcpListener::bind((source, 0)) {
            Ok(_) => report.ok(format_args!("--outbound-address {source}: is ours")),
            Err(why) => report.error(format_args!("--outbound-address {source}: {why}")),
        }
    }
}

fn bound(port: &Port, listener: &TcpListener, running: Running, report: &mut Report) {
    let address = listener.local_addr().unwrap_or(port.address);
    match running {
        Running::Yes if port.address.port() != 0 => report.warning(format_args!(
            "{} {address}: free, though a relay has this spool open: it runs with other flags",
            port.flag
        )),
        _ => report.ok(format_args!("{} {address}: can be bound", port.flag)),
    }
}

/// What has the port: the relay, if it greets by our name.
fn taken(port: &Port, why: &str, report: &mut Report) {
    if port.door == Door::Tls {
        return report.ok(format_args!(
            "{} {}: taken, by the running relay as it seems (implicit TLS has no greeting in clear)",
            port.flag, port.address
        ));
    }
    match greeting(port.address) {
        Ok(line) if line.starts_with("220 ") => report.ok(format_args!(
            "{} {}: answers \"{}\"",
            port.flag,
            port.address,
            line.escape_debug()
        )),
        Ok(line) => report.error(format_args!("{why}, and says {line:?}")),
        Err(problem) => report.error(format_args!("{why}, which does not greet: {problem}")),
    }
}

/// The first line that a listener says.
fn greeting(address: SocketAddr) -> io::Result<String> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let mut stream = TcpStream::connect_timeout(&address, limits::CHECK_WAIT)?;
    stream.set_read_timeout(Some(limits::CHECK_WAIT))?;
    let mut line = [0; limits::PEER_REPLY_TEXT];
    let length = stream.read(&mut line)?;
    let line = String::from_utf8_lossy(&line[..length]);
    Ok(line.lines().next().unwrap_or_default().to_owned())
}
