//! Next hops that speak LMTP (RFC 2033), over TCP and over Unix sockets.

mod next_hop;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use facteur::net::deadline::within;
use facteur::outbound::attempt::{Connector, Delivery, FinalDot, Outcome};
use facteur::outbound::route::Hops;
use facteur::policy::level::Level;
use facteur::smtp::client::Protocol;
use next_hop::*;

/// Hands a letter over by LMTP.
async fn hand(connector: &Connector, hops: Hops<'_>, letter: &mut Letter) -> Delivery {
    let mut hops = hops.speaking(Protocol::Lmtp);
    let dot = FinalDot::default();
    let attempt = connector.deliver(None, &mut hops, letter, &dot);
    let attempt = async { Ok(attempt.await) };
    within(Duration::from_secs(20), attempt).await.unwrap()
}

/// The outcomes of a letter to `recipients` at a host with this script, which is played to its end.
fn outcomes(recipients: &[&'static str], script: Vec<Do>) -> Vec<String> {
    smol::block_on(async {
        let (hop, other) = (NextHop::start(vec![script]), Untried::start());
        let hops = Hops::fixed(vec![hop.hop(), other.hop()]);
        let mut delivery = hand(&connector(Level::May), hops, &mut letter(recipients)).await;
        if let Some(connection) = delivery.connection.take() {
            connection.quit().await;
        }
        hop.done().await;
        other.check();
        told(&delivery)
    })
}

const HELLO: [Do; 3] = [
    Say("220 lmtp\r\n"),
    Hear("LHLO me\r\n"),
    Say("250-lmtp\r\n250 PIPELINING\r\n"),
];
const QUIT: [Do; 3] = [Hear("QUIT\r\n"), Say("221 bye\r\n"), HearEnd];

fn script(parts: &[&[Do]]) -> Vec<Do> {
    parts.concat()
}

/// To a, b, c and d, of whom b is refused at RCPT.
const THREE_OF_FOUR: [Do; 3] = [
    Hear(
        "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nRCPT TO:<d@y>\r\nDATA\r\n",
    ),
    Say("250 ok\r\n250 ok\r\n550 5.1.1 no b\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
    Hear(WIRE),
];
const FOUR: [&str; 4] = ["a@y", "b@y", "c@y", "d@y"];

#[test]
fn each_accepted_recipient_has_its_own_reply_to_the_message() {
    let replies = [Say(
        "250 2.0.0 a has it\r\n452 4.2.2 c is full\r\n550 5.2.1 d is closed\r\n",
    )];
    assert_eq!(
        outcomes(&FOUR, script(&[&HELLO, &THREE_OF_FOUR, &replies, &QUIT])),
        [
            "delivered 250 2.0.0 a has it",
            "failed 5.1.1 550 5.1.1 no b",
            "deferred 4.2.2 452 4.2.2 c is full",
            "failed 5.2.1 550 5.2.1 d is closed",
        ]
    );
}

#[test]
fn what_was_heard_stands_when_the_rest_is_not() {
    let heard = [Say("250 2.0.0 a has it\r\n")];
    let lost = outcomes(&FOUR, script(&[&HELLO, &THREE_OF_FOUR, &heard]));
    assert_eq!(
        lost[..2],
        [
            "delivered 250 2.0.0 a has it",
            "failed 5.1.1 550 5.1.1 no b"
        ]
    );
    for one in &lost[2..] {
        assert!(one.starts_with("deferred 4.4.2 connection lost"), "{one}");
        assert!(one.ends_with("the host may have the message"), "{one}");
    }
    // No other host is asked: a has the message.
    let closing = [Say("250 2.0.0 a has it\r\n421 4.3.2 stopping\r\n"), HearEnd];
    let closed = outcomes(&FOUR, script(&[&HELLO, &THREE_OF_FOUR, &closing]));
    assert_eq!(closed[0], "delivered 250 2.0.0 a has it");
    assert_eq!(closed[2..], ["deferred 4.3.2 421 4.3.2 stopping"; 2]);
}

#[test]
fn a_dot_for_nobody_is_not_sent() {
    let none = [
        Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n"),
        Say("250 ok\r\n550 5.1.1 no\r\n354 go\r\n"),
        HearEnd,
    ];
    assert_eq!(
        outcomes(&["a@y"], script(&[&HELLO, &none])),
        ["failed 5.1.1 550 5.1.1 no"]
    );
}

#[test]
fn a_refusal_before_the_message_is_sent_is_about_one_recipient_at_most() {
    let early = [
        Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n"),
        Say("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n554 5.6.0 no\r\n"),
        HearRest,
    ];
    let told = outcomes(&["a@y", "b@y"], script(&[&HELLO, &early]));
    assert_eq!(told[0], "failed 5.6.0 554 5.6.0 no");
    assert!(told[1].starts_with("deferred"), "{told:?}");
}

#[test]
fn lhlo_comes_again_behind_starttls() {
    let transaction = [
        Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n"),
        Say("250 ok\r\n250 ok\r\n354 go\r\n"),
        Hear(WIRE),
        Say("250 2.0.0 kept\r\n"),
    ];
    let starttls = [
        Say("220 lmtp\r\n"),
        Hear("LHLO me\r\n"),
        Say("250-lmtp\r\n250 STARTTLS\r\n"),
        Hear("STARTTLS\r\n"),
        Say("220 go\r\n"),
        Tls,
    ];
    assert_eq!(
        outcomes(
            &["a@y"],
            script(&[&starttls, &HELLO[1..], &transaction, &QUIT])
        ),
        ["delivered 250 2.0.0 kept"]
    );
}

#[test]
fn lhlo_refused_is_not_tried_as_something_else() {
    let refused = [
        Say("220 smtp\r\n"),
        Hear("LHLO me\r\n"),
        Say("500 5.5.1 what\r\n"),
        HearEnd,
    ];
    smol::block_on(async {
        let hop = NextHop::start(vec![refused.to_vec()]);
        let hops = Hops::fixed(vec![hop.hop()]);
        let delivery = hand(&connector(Level::May), hops, &mut letter(&["a@y"])).await;
        hop.done().await;
        assert_eq!(told(&delivery), ["deferred 5.5.1 500 5.5.1 what"]);
    });
}

/// A path for a socket that goes with the test.
struct Socket(PathBuf);

impl Socket {
    fn new(test: &str) -> Self {
        let name = format!("facteur-lmtp-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn hops(&self) -> Hops<'static> {
        Hops::socket_of(&Arc::<Path>::from(self.0.as_path()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_unix_socket_is_spoken_to_in_clear_whatever_the_level_and_kept_for_the_next_message() {
    let socket = Socket::new("clear");
    let transaction = [
        Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n"),
        Say("250 ok\r\n250 ok\r\n354 go\r\n"),
        Hear(WIRE),
        Say("250 2.0.0 kept\r\n"),
    ];
    let hello = [
        Say("220 lmtp\r\n"),
        Hear("LHLO me\r\n"),
        Say("250-lmtp\r\n250-STARTTLS\r\n250 PIPELINING\r\n"),
    ];
    let script = script(&[&hello, &transaction, &transaction, &QUIT]);
    smol::block_on(async {
        let hop = NextHop::start_on_socket(UnixListener::bind(&socket.0).unwrap(), script);
        let connector = connector(Level::Encrypt);
        let mut letter = letter(&["a@y"]);
        let first = hand(&connector, socket.hops(), &mut letter).await;
        assert_eq!(told(&first), ["delivered 250 2.0.0 kept"]);
        let mut nowhere = Hops::fixed(Vec::new());
        let dot = FinalDot::default();
        let second = connector
            .deliver(first.connection, &mut nowhere, &mut letter, &dot)
            .await;
        assert_eq!(told(&second), ["delivered 250 2.0.0 kept"]);
        second.connection.unwrap().quit().await;
        hop.done().await;
    });
}

#[test]
fn a_socket_that_is_missing_or_dead_defers_and_is_named_to_the_postmaster_alone() {
    let socket = Socket::new("missing");
    for bound in [false, true] {
        if bound {
            drop(UnixListener::bind(&socket.0).unwrap());
        }
        let attempt =
            async { hand(&connector(Level::May), socket.hops(), &mut letter(&["a@y"])).await };
        let delivery = smol::block_on(attempt);
        let Outcome::Deferred(why) = &delivery.outcomes[0] else {
            panic!("{:?}", delivery.outcomes)
        };
        // The path is for the postmaster; the sender may be a stranger.
        let path = socket.0.display().to_string();
        let within = format!("no connection to {path}: ");
        assert!(why.within().starts_with(&within), "{why:?}");
        assert!(why.to_string().contains(&path), "{why}");
        let told = told(&delivery);
        let to_all = "deferred 4.4.1 no connection to the local delivery agent: ";
        assert!(told[0].starts_with(to_all), "{told:?}");
        assert!(!told[0].contains(&path), "{told:?}");
    }
}
