//! Which of a destination's hosts and addresses are dialled, from where, and when.

mod next_hop;

use facteur::limits;
use facteur::net::deadline::within;
use facteur::net::source::{Family, Sources};
use facteur::outbound::attempt::{Connector, Delivery, Dials, FinalDot};
use facteur::outbound::route::{Hop, Hops};
use facteur::policy::level::Level;
use next_hop::*;
use rustix::net::{AddressFamily, SocketType};
use smol::block_on;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

fn from(source: &str) -> Connector {
    Connector {
        sources: Sources::of(Family::Any, &[source.parse().unwrap()]).unwrap(),
        ..connector(Level::None)
    }
}

/// An attempt that hangs is one that failed: a host that should be left alone may be dialled, and be silent.
async fn try_hops(connector: &Connector, hops: Vec<Hop>) -> Delivery {
    let mut hops = Hops::fixed(hops);
    let mut letter = letter(&["a@y"]);
    let dot = FinalDot::default();
    let attempt = connector.deliver(None, &mut hops, &mut letter, &dot);
    let ended = within(Duration::from_secs(20), async { Ok(attempt.await) }).await;
    ended.expect("the attempt comes to an end")
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

/// The address of a listener that never answers: its backlog is full, so the system drops what comes.
struct Mute {
    address: SocketAddr,
    _listener: OwnedFd,
    _fill: Vec<smol::Async<std::net::TcpStream>>,
}

impl Mute {
    fn start() -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&socket, &any).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let fill = block_on(async {
            let mut fill = Vec::new();
            // The backlog takes one or two; the first that is not taken shows that it is full.
            for _ in 0..8 {
                let one = smol::Async::<std::net::TcpStream>::connect(address);
                match within(Duration::from_millis(100), one).await {
                    Ok(taken) => fill.push(taken),
                    Err(_) => return fill,
                }
            }
            panic!("the backlog takes them all");
        });
        Self {
            address,
            _listener: listener.into(),
            _fill: fill,
        }
    }
}

#[test]
fn an_address_that_does_not_answer_is_overtaken_by_the_next() {
    let mute = Mute::start();
    block_on(async {
        let hop = NextHop::start(vec![accepting()]);
        let both = host("h", &[mute.address, hop.address]);
        let begun = Instant::now();
        let delivery = try_hops(&connector(Level::None), vec![both]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        assert!(begun.elapsed() < limits::CONNECT, "it was waited for");
        delivery.connection.unwrap().quit().await;
        hop.done().await;
    });
}

/// One that is silent does not keep the attempt from the third.
#[test]
fn a_winner_of_no_use_sends_to_the_rest_of_the_addresses() {
    let mute = Mute::start();
    block_on(async {
        let useless = NextHop::start(vec![vec![]]);
        let good = NextHop::start(vec![accepting()]);
        let three = host("h", &[mute.address, useless.address, good.address]);
        let delivery = try_hops(&connector(Level::None), vec![three]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        delivery.connection.unwrap().quit().await;
        useless.done().await;
        good.done().await;
    });
}

/// A closed port of this machine.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn the_last_host_of_a_long_list_is_tried_too() {
    block_on(async {
        let good = NextHop::start(vec![accepting()]);
        let refusing: Vec<SocketAddr> = (0..8).map(|_| closed()).collect();
        let mut hops: Vec<Hop> = (0..15).map(|_| host("dead", &refusing)).collect();
        hops.push(good.hop());
        let delivery = try_hops(&connector(Level::None), hops).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        delivery.connection.unwrap().quit().await;
        good.done().await;
    });
}

#[test]
fn a_host_that_refused_is_left_alone_and_its_reason_told() {
    block_on(async {
        let dead = closed();
        let connector = connector(Level::None);
        let first = try_hops(&connector, vec![host("dead", &[dead])]).await;
        let why = told(&first)[0].clone();
        assert!(why.starts_with("deferred 4.4.1 no connection: "), "{why}");
        // It has come up, and is not dialled yet.
        let up = TcpListener::bind(dead).unwrap();
        up.set_nonblocking(true).unwrap();
        let second = try_hops(&connector, vec![host("dead", &[dead])]).await;
        assert_eq!(
            told(&second),
            [format!(
                "{why} (a moment ago; it is left alone for a while)"
            )]
        );
        assert!(up.accept().is_err(), "it was dialled");
        assert!(second.session.is_none());
        assert!(first.dials.made && !second.dials.made);
        assert!(
            second.dials.rest_ends.is_some()
                && second.dials
                    == Dials {
                        made: false,
                        ..first.dials
                    }
        );
        // Its neighbour is.
        let good = NextHop::start(vec![accepting()]);
        let hops = vec![host("dead", &[dead]), good.hop()];
        let third = try_hops(&connector, hops).await;
        assert_eq!(told(&third), ["delivered 250 2.0.0 kept"]);
        third.connection.unwrap().quit().await;
        good.done().await;
        connector.resting.forget_all();
        drop(up);
        let fourth = try_hops(&connector, vec![host("dead", &[dead])]).await;
        assert_eq!(told(&fourth), [why]);
    });
}
