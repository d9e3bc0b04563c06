//! The servers that `/etc/resolv.conf` names (resolv.conf(5)).

use crate::limits;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

/// The port of DNS servers (RFC 1035 4.2).
const PORT: u16 = 53;

/// Reads the file; what cannot be read names no server.
///
/// A few hundred octets of a file that every program reads at its start: it waits for no disk.
pub(super) fn read(path: &Path) -> Vec<SocketAddr> {
    let octets = open(path).unwrap_or_else(|error| {
        log::debug!("dns file={path:?} problem={error:?}");
        Vec::new()
    });
    servers(&String::from_utf8_lossy(&octets))
}

fn open(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let bound = u64::try_from(limits::DNS_RESOLV_CONF).unwrap_or(u64::MAX);
    File::open(path)?.take(bound).read_to_end(&mut octets)?;
    Ok(octets)
}

/// The `nameserver` lines; without any, the server on this machine, as glibc has it.
fn servers(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(server)
        .take(limits::DNS_SERVERS)
        .collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    servers
}

/// An address, or `fe80::1%eth0`: routers often announce themselves so.
fn server(word: &str) -> Option<SocketAddr> {
    if let Some((address, interface)) = word.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, PORT, 0, interface_index(interface)?).into());
    }
    let address: IpAddr = word.parse().ok()?;
    Some((address, PORT).into())
}

fn interface_index(interface: &str) -> Option<u32> {
    if let Ok(index) = interface.parse() {
        return Some(index);
    }
    if interface.contains('/') || interface.starts_with('.') {
        return None;
    }
    let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?;
    index.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        servers(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nameserver_lines_count_and_nothing_else() {
        let text = "# nameserver 192.0.2.9\nsearch example.test\nnameserver 192.0.2.1 # first\r\n\
            \tnameserver\t2001:db8::1\noptions edns0 timeout:1\nnameserver dns.example\nnameservers 192.0.2.8\n\
            nameserver\nnameserver fe80::1%7\n";
        assert_eq!(
            shown(text),
            ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]
        );
    }

    #[test]
    fn an_interface_has_its_number() {
        assert_eq!(shown("nameserver fe80::1%lo"), ["[fe80::1%1]:53"]);
        assert_eq!(
            shown("nameserver fe80::1%../../x\nnameserver 192.0.2.1"),
            ["192.0.2.1:53"]
        );
    }

    #[test]
    fn without_a_server_it_is_this_machine() {
        assert_eq!(shown("search example.test\n"), ["127.0.0.1:53"]);
        assert_eq!(
            read(Path::new("/nonexistent/resolv.conf")),
            servers("nameserver 127.0.0.1")
        );
    }

    #[test]
    fn more_servers_than_the_limit_are_left_out() {
        assert_eq!(
            servers(&"nameserver 192.0.2.1\n".repeat(100)).len(),
            limits::DNS_SERVERS
        );
    }
}
