//! A next hop that was away for a moment: what waited for it goes out when it is back, not by the schedule.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/relay.rs"]
mod relay;

use peer::Peer;
use relay::{Folder, Relay, Setup};
use std::net::{SocketAddr, TcpListener};

const TEXT: &str = "Subject: hello\r\nTo: somebody\r\n\r\nOne line.\r\n";

/// An address of this machine where nobody listens.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The schedule would try again in an hour.
fn relay_to(folder: &Folder, address: SocketAddr) -> Relay {
    Relay::start(&folder.0, &Setup::to(&[("*", format!("smtp:{address}"))]))
}

fn until_deferred(relay: &Relay, count: u64) {
    relay.until("all of them wait", |counts| {
        let deferred = relay.counted(|counters| &counters.deferred);
        counts.in_flight == 0 && deferred == count
    });
}

#[test]
fn a_smarthost_that_restarts_gets_what_it_refused_and_what_came_meanwhile() {
    let (folder, address) = (Folder::new("restart"), closed());
    let relay = relay_to(&folder, address);
    for n in 1..=5 {
        relay.submit("ann@example.org", &["bob@one.test"], TEXT);
        until_deferred(&relay, n);
    }
    let peer = Peer::start_at(address, |_, _| None);
    assert_eq!(peer.messages(5).len(), 5);
    relay.until_empty();
    // The first success woke the others: none was tried in vain again.
    assert_eq!(relay.counted(|counters| &counters.deferred), 5);
    relay.stop();
}

#[test]
fn a_restart_of_the_relay_forgets_none_of_them() {
    let (folder, address) = (Folder::new("again"), closed());
    let relay = relay_to(&folder, address);
    for n in 1..=3 {
        relay.submit("ann@example.org", &["bob@one.test"], TEXT);
        until_deferred(&relay, n);
    }
    relay.stop();
    let peer = Peer::start_at(address, |_, _| None);
    let relay = relay_to(&folder, address);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    assert_eq!(peer.messages(4).len(), 4);
    relay.until_empty();
    relay.stop();
}
