//! Next hops that misbehave: the message is deferred with the true reason, and the attempt ends.

mod next_hop;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/relay.rs"]
mod relay;

use facteur::outbound::attempt::{Connector, FinalDot};
use facteur::outbound::route::{Hop, Hops};
use facteur::policy::level::Level;
use next_hop::*;
use peer::{Answer, Peer};
use relay::{Folder, Relay, Setup};
use smol::block_on;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a silent peer gets here in place of minutes.
const SHORT: Duration = Duration::from_millis(300);

fn impatient(level: Level) -> Connector {
    Connector {
        longest_wait: SHORT,
        ..connector(level)
    }
}

/// The reason of the deferral at a peer that plays this script.
async fn reason(level: Level, script: Vec<Do>) -> String {
    let hop = NextHop::start(vec![script]);
    let delivery = deliver(&impatient(level), &mut letter(&["a@y"]), vec![hop]).await;
    told(&delivery).remove(0)
}

/// The steps of a session up to where each phase waits for its reply, and how the log calls it.
fn phases() -> Vec<(Vec<Do>, &'static str)> {
    let hello = [Say("220 mx\r\n"), Hear("EHLO me\r\n")];
    let mail = [
        &hello[..],
        &[Say("250 mx\r\n"), Hear("MAIL FROM:<s@x>\r\n")],
    ]
    .concat();
    let rcpt = [&mail[..], &[Say("250 ok\r\n"), Hear("RCPT TO:<a@y>\r\n")]].concat();
    let data = [&rcpt[..], &[Say("250 ok\r\n"), Hear("DATA\r\n")]].concat();
    let dot = [&data[..], &[Say("354 go\r\n"), Hear(WIRE)]].concat();
    vec![
        (Vec::new(), "the greeting"),
        (hello.to_vec(), "EHLO"),
        (mail, "MAIL"),
        (rcpt, "RCPT"),
        (data, "DATA"),
        (dot, "the message"),
    ]
}

#[test]
fn silence_at_each_phase_is_told_as_what_it_is() {
    for (mut script, phase) in phases() {
        // Until the connection is given up.
        script.push(HearEnd);
        let told = block_on(reason(Level::None, script));
        assert!(
            told.starts_with("deferred 4.4.2 connection lost "),
            "{told}"
        );
        assert!(
            told.contains(phase) && told.contains("no answer within 300ms"),
            "{phase}: {told}"
        );
    }
}

#[test]
fn the_end_of_the_connection_at_each_phase_too() {
    for (script, phase) in phases() {
        let told = block_on(reason(Level::None, script));
        assert!(
            told.starts_with("deferred 4.4.2 connection lost "),
            "{told}"
        );
        assert!(
            told.contains(phase) && told.contains("closed"),
            "{phase}: {told}"
        );
    }
}

/// The last command is not read whole, so the close is a reset.
#[test]
fn a_reset_at_each_phase_too() {
    for (mut script, phase) in phases() {
        if script.pop().is_none() {
            continue;
        }
        script.push(Reset);
        let told = block_on(reason(Level::None, script));
        assert!(
            told.starts_with("deferred 4.4.2 connection lost "),
            "{told}"
        );
        assert!(told.contains(phase), "{phase}: {told}");
    }
}

/// With one slot for all: a host that says nothing holds it no longer than its wait.
#[test]
fn the_slot_comes_back_from_a_silent_host() {
    let folder = Folder::new("slot");
    let silent = Peer::start(|_, asked| (asked == "GREETING").then_some(Answer::Stall));
    let good = Peer::willing();
    let to = |peer: &Peer| format!("smtp:{}", peer.address);
    let setup = Setup {
        outbound: 1,
        longest_wait: SHORT,
        ..Setup::to(&[("bad.example", to(&silent)), ("*", to(&good))])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("s@x.example", &["a@bad.example"], "Subject: x\r\n\r\n");
    silent.wait(|events| (!events.is_empty()).then_some(()));
    relay.submit("s@x.example", &["a@good.example"], "Subject: x\r\n\r\n");
    assert_eq!(good.messages(1).len(), 1);
    relay.until("one deferred", |counts| counts.queued == 1);
    relay.stop();
}

#[test]
fn replies_before_their_commands_are_not_believed() {
    let told = block_on(reason(
        Level::None,
        vec![
            Say("220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 kept\r\n"),
            HearRest,
        ],
    ));
    assert!(told.starts_with("deferred 4.5.0 "), "{told}");
}

#[test]
fn an_alert_in_the_middle_of_the_handshake_is_the_reason() {
    let script = vec![
        Say("220 mx\r\n"),
        Hear("EHLO me\r\n"),
        Say("250-mx\r\n250 STARTTLS\r\n"),
        Hear("STARTTLS\r\n"),
        Say("220 go\r\n"),
        HearSome(5),
        // handshake_failure, fatal
        Say("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}"),
        HearRest,
    ];
    let told = block_on(reason(Level::Encrypt, script));
    assert!(
        told.starts_with("deferred 4.7.5 TLS handshake failed: "),
        "{told}"
    );
    assert!(told.contains("handshake_failure"), "{told}");
}

/// A peer of its own thread: what it does with its one connection.
fn one_peer(act: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (
        address,
        thread::spawn(move || act(listener.accept().unwrap().0)),
    )
}

fn attempt(address: SocketAddr, letter: &mut Letter) -> String {
    let hop = Hop {
        name: "localhost".to_owned(),
        addresses: vec![address],
        implicit_tls: false,
    };
    let (connector, dot) = (impatient(Level::None), FinalDot::default());
    let mut hops = Hops::fixed(vec![hop]);
    let delivery = block_on(connector.deliver(None, &mut hops, letter, &dot));
    assert!(delivery.connection.is_none() && !dot.is_passed());
    told(&delivery).remove(0)
}

/// Writes this again and again; the octets that went before the connection ended.
fn pour(mut socket: TcpStream, piece: &[u8], most: usize) -> usize {
    let mut poured = 0;
    while poured < most && socket.write_all(piece).is_ok() {
        poured += piece.len();
    }
    let _ = socket.read(&mut [0]);
    poured
}

#[test]
fn banners_and_replies_without_end_are_cut_short() {
    let endless = || {
        b"220-"
            .iter()
            .chain([b'x'; 500].iter())
            .chain(b"\r\n")
            .copied()
            .collect()
    };
    let pieces: [Vec<u8>; 3] = [vec![b'x'; 8192], endless(), b"220-\r\n".repeat(1000)];
    for piece in pieces {
        let about = piece.len();
        let (address, peer) = one_peer(move |socket| {
            let poured = pour(socket, &piece, 50_000_000);
            assert!(poured < 50_000_000, "it was listened to without end");
        });
        let told = attempt(address, &mut letter(&["a@y"]));
        assert!(told.starts_with("deferred 4.5.0 "), "{about}: {told}");
        peer.join().unwrap();
    }
}

/// 5 MB in one line, and then what could be a greeting.
#[test]
fn a_banner_of_five_megabytes_is_no_greeting() {
    let (address, peer) = one_peer(|mut socket| {
        let _ = socket.write_all(&[b'x'; 5_000_000]);
        let _ = socket.write_all(b"\r\n220 mx\r\n");
    });
    let told = attempt(address, &mut letter(&["a@y"]));
    assert!(told.starts_with("deferred 4.5.0 "), "{told}");
    peer.join().unwrap();
}

/// It takes the message an octet at a time, so slowly that a block is not done in its time.
#[test]
fn a_window_of_one_octet_does_not_hold_the_attempt() {
    let (address, peer) = one_peer(|mut socket| {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1);
        let mut hear = |says: &[u8], until: &[u8]| {
            socket.write_all(says).unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(until) {
                let mut one = [0];
                socket.read_exact(&mut one).unwrap();
                heard.push(one[0]);
            }
        };
        hear(b"220 mx\r\n", b"EHLO me\r\n");
        hear(b"250 mx\r\n", b"MAIL FROM:<s@x>\r\n");
        hear(b"250 ok\r\n", b"RCPT TO:<a@y>\r\n");
        hear(b"250 ok\r\n", b"DATA\r\n");
        socket.write_all(b"354 go\r\n").unwrap();
        // An octet a millisecond, until the relay has had enough.
        while matches!(socket.read(&mut [0]), Ok(1)) {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let mut letter = letter(&["a@y"]);
    letter.chunks = vec![b"0123456789012345678901234567890\r\n".repeat(400); 400];
    let told = attempt(address, &mut letter);
    assert!(
        told.starts_with("deferred 4.4.2 connection lost sending the message"),
        "{told}"
    );
    drop(peer);
}
