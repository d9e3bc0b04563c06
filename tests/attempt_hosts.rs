//! Which of a destination's hosts and addresses are dialled, from where, and when.

mod next_hop;

use facteur::net::source::{Family, Sources};
use facteur::outbound::attempt::{Connector, Delivery, FinalDot};
use facteur::outbound::route::{Hop, Hops};
use facteur::policy::level::Level;
use next_hop::*;
use smol::block_on;
use std::net::{SocketAddr, TcpListener};

fn from(source: &str) -> Connector {
    Connector {
        sources: Sources::of(Family::Any, &[source.parse().unwrap()]).unwrap(),
        ..connector(Level::None)
    }
}

async fn try_hops(connector: &Connector, hops: Vec<Hop>) -> Delivery {
    let mut hops = Hops::fixed(hops);
    let mut letter = letter(&["a@y"]);
    let dot = FinalDot::default();
    connector.deliver(None, &mut hops, &mut letter, &dot).await
}

fn host(name: &str, addresses: &[SocketAddr]) -> Hop {
    Hop {
        name: name.to_owned(),
        addresses: addresses.to_vec(),
        implicit_tls: false,
    }
}

#[test]
fn connections_come_from_the_address_that_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || listener.accept().unwrap().1);
    let delivery = block_on(try_hops(&from("127.0.0.2"), vec![host("h", &[address])]));
    assert!(told(&delivery)[0].starts_with("deferred"));
    assert_eq!(peer.join().unwrap().ip().to_string(), "127.0.0.2");
}

/// A documentation address: no machine has it, so nothing is sent.
#[test]
fn an_address_that_is_not_ours_is_the_reason() {
    let far = "192.0.2.9:25".parse().unwrap();
    let delivery = block_on(try_hops(&from("192.0.2.1"), vec![host("h", &[far])]));
    let told = told(&delivery);
    assert!(
        told[0].starts_with("deferred 4.4.1 no connection: --outbound-address 192.0.2.1: "),
        "{told:?}"
    );
}
