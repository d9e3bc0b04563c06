//! Which addresses lead back to us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address that a connection to this one goes to: IPv4 out of its IPv6 form, and loopback for 0.0.0.0 and ::, which
/// Linux takes for it.
pub(super) fn dialled(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// Whether one of these listeners answers at the address.
pub(super) fn is_listener(listeners: &[SocketAddr], address: SocketAddr) -> bool {
    listeners.iter().any(|listener| {
        listener.port() == address.port() && covers(listener.ip().to_canonical(), address.ip())
    })
}

fn covers(listener: IpAddr, address: IpAddr) -> bool {
    match listener {
        // A listener on :: has IPv4 too, unless the system says otherwise.
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => is_of_this_machine(address),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.is_ipv4() && is_of_this_machine(address),
        listener => listener == address,
    }
}

/// Asks the routing table: what goes to an address of this machine leaves from that very address. Nothing is sent.
///
/// (To bind to the address would be a worse question: where `ip_nonlocal_bind` is set, as for failover, any answers.)
fn is_of_this_machine(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Any port but 0 will do.
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads_to(listener: &str, address: &str) -> bool {
        is_listener(&[listener.parse().unwrap()], address.parse().unwrap())
    }

    #[test]
    fn a_listener_covers_its_own_address_and_port() {
        assert!(leads_to("192.0.2.1:25", "192.0.2.1:25"));
        assert!(leads_to("[::ffff:192.0.2.1]:25", "192.0.2.1:25"));
        assert!(!leads_to("192.0.2.1:25", "192.0.2.1:26"));
        assert!(!leads_to("192.0.2.1:25", "192.0.2.2:25"));
        assert!(!leads_to("127.0.0.1:25", "127.0.0.2:25"));
    }

    #[test]
    fn a_listener_on_all_addresses_covers_this_machine_and_no_other() {
        for (listener, address) in [
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("0.0.0.0:25", "127.9.9.9:25"),
            ("[::]:25", "127.0.0.1:25"),
            ("[::]:25", "[::1]:25"),
        ] {
            assert!(leads_to(listener, address), "{listener} {address}");
        }
        for (listener, address) in [
            ("0.0.0.0:25", "127.0.0.1:26"),
            ("0.0.0.0:25", "[::1]:25"),
            ("0.0.0.0:25", "192.0.2.77:25"),
            ("[::]:25", "[2001:db8::77]:25"),
        ] {
            assert!(!leads_to(listener, address), "{listener} {address}");
        }
    }

    #[test]
    fn an_address_is_what_a_connection_to_it_reaches() {
        for (given, reached) in [
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("::ffff:0.0.0.0", "127.0.0.1"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(dialled(given.parse().unwrap()).to_string(), reached);
        }
    }
}
