//! Attempts against scripted next hops, in clear.

mod next_hop;

use facteur::outbound::attempt::{Connection, FinalDot, Outcome};
use facteur::outbound::route::Hops;
use facteur::policy::level::Level;
use next_hop::*;
use smol::block_on;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_message_goes_out_in_one_group_and_one_block() {
    block_on(async {
        let hop = NextHop::start(vec![accepting()]);
        let delivery = deliver(&connector(Level::May), &mut letter(&["a@y"]), vec![hop]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        assert!(delivery.session.is_some());
    });
}

#[test]
fn each_recipient_has_its_own_outcome() {
    block_on(async {
        let hop = NextHop::start(vec![vec![
            Say("220 mx\r\n"),
            Hear("EHLO me\r\n"),
            Say("250 mx\r\n"),
            Hear("MAIL FROM:<s@x>\r\n"),
            Say("250 ok\r\n"),
            Hear("RCPT TO:<a@y>\r\n"),
            Say("550 5.1.1 who?\r\n"),
            Hear("RCPT TO:<b@y>\r\n"),
            Say("250 ok\r\n"),
            Hear("RCPT TO:<d@y>\r\n"),
            Say("452-4.2.2 mailbox\r\n452 4.2.2 full\r\n"),
            Hear("DATA\r\n"),
            Say("354 go\r\n"),
            Hear(WIRE),
            Say("250 kept\r\n"),
            Hear("QUIT\r\n"),
        ]]);
        let mut letter = letter(&["a@y", "b@y", "ç@y", "d@y"]);
        let delivery = deliver(&connector(Level::May), &mut letter, vec![hop]).await;
        assert_eq!(
            told(&delivery),
            [
                "failed 5.1.1 550 5.1.1 who?",
                "delivered 250 kept",
                "failed 5.6.7 the address is in UTF-8 and the host lacks SMTPUTF8",
                "deferred 4.2.2 452 4.2.2 mailbox full",
            ]
        );
        let Outcome::Failed(reason) = &delivery.outcomes[0] else {
            panic!("a failure")
        };
        assert_eq!(
            (reason.code, reason.host.as_deref()),
            (550, Some("localhost"))
        );
    });
}

/// Whatever these do, the next host gets the message, whole.
#[test]
fn hosts_that_fail_before_the_final_dot_send_the_message_to_the_next() {
    let greeted = [Say("220 mx\r\n"), Hear("EHLO me\r\n")];
    let ready = [
        &greeted[..],
        &[Say("250 mx\r\n"), Hear("MAIL FROM:<s@x>\r\n")],
    ]
    .concat();
    let recipient = [&ready[..], &[Say("250 ok\r\n"), Hear("RCPT TO:<a@y>\r\n")]].concat();
    let data = [&recipient[..], &[Say("250 ok\r\n"), Hear("DATA\r\n")]].concat();
    let body = [&data[..], &[Say("354 go\r\n")]].concat();
    let with = |start: &[Do], then: &[Do]| [start, then].concat();
    let scripts = [
        vec![],
        vec![Say("554 5.7.1 no\r\n"), HearEnd],
        vec![Say("421 busy\r\n"), HearEnd],
        vec![Say("HTTP/1.1 400 no\r\n"), HearEnd],
        vec![Say("220 mx\r\n"), Reset],
        with(&greeted, &[]),
        with(&greeted, &[Say("550 no\r\n"), HearEnd]),
        with(&greeted, &[Say("250-half")]),
        with(&ready, &[]),
        with(&ready, &[Say("451 greylisted\r\n"), Hear("QUIT\r\n")]),
        with(&ready, &[Say("421 bye\r\n"), HearEnd]),
        with(&recipient, &[]),
        with(&recipient, &[Say("421 bye\r\n"), HearEnd]),
        with(&data, &[]),
        with(&data, &[Say("421 bye\r\n"), HearEnd]),
        with(&data, &[Say("250 thanks?\r\n"), HearEnd]),
        with(&body, &[Hear(WIRE), Say("421 bye\r\n"), HearEnd]),
    ];
    for script in scripts {
        let about = format!("{script:?}");
        block_on(async {
            let hops = vec![
                NextHop::start(vec![script]),
                NextHop::start(vec![accepting()]),
            ];
            let delivery = deliver(&connector(Level::May), &mut letter(&["a@y"]), hops).await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"], "{about}");
        });
    }
}

#[test]
fn a_connection_lost_after_the_final_dot_is_a_deferral_and_no_other_host_is_tried() {
    block_on(async {
        let mut script = accepting();
        script.truncate(6);
        let hop = NextHop::start(vec![script]);
        let other = Untried::start();
        let connector = connector(Level::May);
        let mut hops = Hops::fixed(vec![hop.hop(), other.hop()]);
        let dot = FinalDot::default();
        let delivery = connector
            .deliver(None, &mut hops, &mut letter(&["a@y"]), &dot)
            .await;
        let told = told(&delivery);
        assert!(
            told[0].starts_with("deferred 4.4.2 connection lost awaiting the reply to the message"),
            "{told:?}"
        );
        assert!(
            told[0].ends_with("the host may have the message"),
            "{told:?}"
        );
        assert_eq!(connector.counters.unconfirmed.load(Relaxed), 1);
        assert!(delivery.connection.is_none());
        other.check();
        hop.done().await;
    });
}

#[test]
fn the_reason_of_the_last_host_stands_when_none_is_left() {
    block_on(async {
        let hops = vec![
            NextHop::start(vec![vec![Say("554 5.7.1 not you\r\n"), HearEnd]]),
            NextHop::start(vec![vec![Say("450 4.3.2 later\r\n"), HearEnd]]),
        ];
        let mut letter = letter(&["a@y", "b@y"]);
        let delivery = deliver(&connector(Level::May), &mut letter, hops).await;
        assert_eq!(told(&delivery), ["deferred 4.3.2 450 4.3.2 later"; 2]);
        assert!(delivery.session.is_none());
    });
}

#[test]
fn a_closed_port_sends_to_the_next_address() {
    block_on(async {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let hop = NextHop::start(vec![accepting()]);
        let mut both = hop.hop();
        both.addresses.insert(0, closed);
        let connector = connector(Level::May);
        let mut hops = Hops::fixed(vec![both]);
        let dot = FinalDot::default();
        let delivery = connector
            .deliver(None, &mut hops, &mut letter(&["a@y"]), &dot)
            .await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        delivery.connection.unwrap().quit().await;
        hop.done().await;
    });
}

#[test]
fn a_host_that_refuses_is_not_asked_again_at_its_other_addresses() {
    block_on(async {
        let refusing = NextHop::start(vec![vec![Say("554 no\r\n"), HearEnd]]);
        let other = Untried::start();
        let mut both = refusing.hop();
        both.addresses.extend(other.hop().addresses);
        let hop = NextHop::start(vec![accepting()]);
        let (connector, dot) = (connector(Level::May), FinalDot::default());
        let mut hops = Hops::fixed(vec![both, hop.hop()]);
        let mut letter = letter(&["a@y"]);
        let delivery = connector.deliver(None, &mut hops, &mut letter, &dot).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        delivery.connection.unwrap().quit().await;
        other.check();
        refusing.done().await;
        hop.done().await;
    });
}

#[test]
fn verdicts_on_the_sender_and_the_message_are_final() {
    let start = &accepting()[..3];
    let group = Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n");
    for (replies, then, expected) in [
        (
            "550 5.7.1 no\r\n503 no\r\n503 no\r\n",
            vec![],
            "failed 5.7.1 550 5.7.1 no",
        ),
        (
            "250 ok\r\n550 who\r\n503 no\r\n",
            vec![],
            "failed 5.0.0 550 who",
        ),
        (
            "250 ok\r\n550 who\r\n354 go\r\n",
            vec![Hear(".\r\n"), Say("250 ok\r\n")],
            "failed 5.0.0 550 who",
        ),
        (
            "250 ok\r\n250 ok\r\n451 busy\r\n",
            vec![],
            "deferred 4.0.0 451 busy",
        ),
        (
            "250 ok\r\n250 ok\r\n354 go\r\n",
            vec![Hear(WIRE), Say("451 4.3.0 disk\r\n")],
            "deferred 4.3.0 451 4.3.0 disk",
        ),
        (
            "250 ok\r\n250 ok\r\n354 go\r\n",
            vec![Hear(WIRE), Say("554 5.6.0 spam\r\n")],
            "failed 5.6.0 554 5.6.0 spam",
        ),
    ] {
        block_on(async {
            let script = [
                start,
                &[group.clone(), Say(replies)],
                &then,
                &[Hear("QUIT\r\n")],
            ]
            .concat();
            let hop = NextHop::start(vec![script]);
            let delivery = deliver(&connector(Level::May), &mut letter(&["a@y"]), vec![hop]).await;
            assert_eq!(told(&delivery), [expected]);
        });
    }
}

/// More than the sockets' buffers hold, to a peer that answers and then neither reads nor closes.
#[test]
fn a_verdict_in_the_middle_of_a_large_message_ends_it() {
    for (early, expected) in [
        ("552 5.3.4 too big\r\n", "failed 5.3.4 552 5.3.4 too big"),
        ("451 4.3.1 no room\r\n", "deferred 4.3.1 451 4.3.1 no room"),
        ("421 4.3.2 bye\r\n", "deferred 4.3.2 421 4.3.2 bye"),
    ] {
        for chunk in [500, 20] {
            block_on(async {
                let (over, until_over) = smol::channel::bounded(1);
                let mut script = accepting();
                script.truncate(5);
                script.extend([HearSome(1000), Say(early), Hold(until_over)]);
                let hop = NextHop::start(vec![script]);
                let (connector, dot) = (connector(Level::May), FinalDot::default());
                let mut hops = Hops::fixed(vec![hop.hop()]);
                let mut letter = letter(&["a@y"]);
                let octets = b"0123456789012345678901234567890\r\n".repeat(chunk);
                letter.chunks = vec![octets; 1_000_000 / chunk];
                let delivery = connector.deliver(None, &mut hops, &mut letter, &dot).await;
                drop::<smol::channel::Sender<()>>(over);
                assert_eq!(told(&delivery), [expected]);
                assert!(delivery.connection.is_none());
                hop.done().await;
            });
        }
    }
}

#[test]
fn a_large_message_arrives_octet_for_octet() {
    block_on(async {
        let line = ".a line that begins with a dot\r\n";
        let chunk = line.repeat(400);
        let wire: String = format!(".{line}").repeat(400 * 40) + ".\r\n";
        let mut script = accepting();
        script[5] = Hear(wire.leak());
        let hop = NextHop::start(vec![script]);
        let mut letter = letter(&["a@y"]);
        letter.chunks = vec![chunk.into_bytes(); 40];
        let delivery = deliver(&connector(Level::May), &mut letter, vec![hop]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
    });
}

#[test]
fn a_message_that_cannot_be_read_gets_no_final_dot() {
    block_on(async {
        let mut script = accepting();
        script.truncate(5);
        script.push(HearEnd);
        let hop = NextHop::start(vec![script]);
        let mut letter = letter(&["a@y"]);
        letter.damaged = Some(1);
        let delivery = deliver(&connector(Level::May), &mut letter, vec![hop]).await;
        assert_eq!(
            told(&delivery),
            ["deferred 4.3.0 the queue cannot give the message: 000001.seg is damaged at 4096"]
        );
        assert!(delivery.connection.is_none());
    });
}

#[test]
fn what_a_host_lacks_fails_without_a_transaction() {
    block_on(async {
        let script = vec![
            Say("220 mx\r\n"),
            Hear("EHLO me\r\n"),
            Say("250-mx\r\n250 SIZE 5\r\n"),
            Hear("QUIT\r\n"),
        ];
        let hop = NextHop::start(vec![script.clone()]);
        let delivery = deliver(&connector(Level::May), &mut letter(&["a@y"]), vec![hop]).await;
        assert_eq!(
            told(&delivery),
            ["failed 5.3.4 the message is larger than the host accepts"]
        );
        let hop = NextHop::start(vec![script]);
        let mut eight_bit = letter(&["a@y"]);
        eight_bit.eight_bit = true;
        let delivery = deliver(&connector(Level::May), &mut eight_bit, vec![hop]).await;
        assert_eq!(
            told(&delivery),
            ["failed 5.6.3 the message has an 8-bit body and the host lacks 8BITMIME"]
        );
    });
}

/// What the memory ceiling counts for a connection.
const _: () = assert!(Connection::MEMORY <= 10 * 1024);

#[test]
fn an_attempt_is_small_and_moves_between_threads() {
    fn size_of_movable<T: Send>(future: &T) -> usize {
        size_of_val(future)
    }
    let (connector, dot) = (connector(Level::May), FinalDot::default());
    let (mut hops, mut letter) = (Hops::fixed(vec![]), letter(&["a@y"]));
    let size = size_of_movable(&connector.deliver(None, &mut hops, &mut letter, &dot));
    assert!(size <= 6 * 1024, "{size}");
}

#[test]
fn a_kept_connection_takes_the_next_message_with_rset_where_needed() {
    block_on(async {
        let group = "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n";
        let mut script = accepting()[..3].to_vec();
        script.extend([
            Hear(group),
            Say("250 ok\r\n550 who\r\n503 no\r\n"),
            Hear("RSET\r\n"),
        ]);
        script.extend([
            Hear(group),
            Say("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
            Hear(WIRE),
        ]);
        script.extend([Say("250 kept\r\n"), Hear("QUIT\r\n")]);
        let hop = NextHop::start(vec![script]);
        let (connector, dot) = (connector(Level::May), FinalDot::default());
        let mut hops = Hops::fixed(vec![hop.hop()]);
        let first = connector
            .deliver(None, &mut hops, &mut letter(&["a@y"]), &dot)
            .await;
        assert_eq!(told(&first), ["failed 5.0.0 550 who"]);
        let mut none = Hops::fixed(vec![]);
        let mut second = letter(&["a@y"]);
        let second = connector
            .deliver(first.connection, &mut none, &mut second, &dot)
            .await;
        assert_eq!(told(&second), ["delivered 250 kept"]);
        second.connection.unwrap().quit().await;
        hop.done().await;
    });
}

#[test]
fn a_kept_connection_that_was_closed_costs_no_deferral() {
    block_on(async {
        let mut script = accepting();
        script.truncate(7);
        script.push(Say("421 4.4.2 idle\r\n"));
        let hop = NextHop::start(vec![script, accepting()]);
        let (connector, dot) = (connector(Level::May), FinalDot::default());
        let mut kept = None;
        for _ in 0..2 {
            let mut hops = Hops::fixed(vec![hop.hop()]);
            let mut letter = letter(&["a@y"]);
            let delivery = connector.deliver(kept, &mut hops, &mut letter, &dot).await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
            kept = delivery.connection;
        }
        kept.unwrap().quit().await;
        hop.done().await;
    });
}

/// RFC 5321 4.5.3.1.10: hosts say so by 452, older ones by 552.
#[test]
fn too_many_recipients_are_deferred_and_the_others_delivered() {
    let group = "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n";
    for (second, expected) in [
        ("552 too many", "deferred 4.5.3 552 too many"),
        ("552 5.5.3 too many", "deferred 4.5.3 552 5.5.3 too many"),
        ("452 4.5.3 too many", "deferred 4.5.3 452 4.5.3 too many"),
        ("452 too many", "deferred 4.5.3 452 too many"),
        ("452 4.2.2 full", "deferred 4.2.2 452 4.2.2 full"),
        (
            "451 4.7.1 greylisted",
            "deferred 4.7.1 451 4.7.1 greylisted",
        ),
        (
            "552 5.2.2 mailbox full",
            "failed 5.2.2 552 5.2.2 mailbox full",
        ),
        ("550 who", "failed 5.0.0 550 who"),
    ] {
        block_on(async {
            let replies = format!("250 ok\r\n250 ok\r\n{second}\r\n354 go\r\n");
            let mut script = accepting();
            script[3] = Hear(group);
            script[4] = Say(replies.leak());
            let hop = NextHop::start(vec![script]);
            let mut letter = letter(&["a@y", "b@y"]);
            let delivery = deliver(&connector(Level::May), &mut letter, vec![hop]).await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept", expected]);
        });
    }
}

#[test]
fn without_an_accepted_recipient_552_is_a_verdict() {
    block_on(async {
        let mut script = accepting();
        script[4] = Say("250 ok\r\n552 no room\r\n503 no\r\n");
        script.splice(5..7, []);
        let hop = NextHop::start(vec![script]);
        let delivery = deliver(&connector(Level::May), &mut letter(&["a@y"]), vec![hop]).await;
        assert_eq!(told(&delivery), ["failed 5.0.0 552 no room"]);
    });
}

/// Every recipient is put off, and the connection is of use for the next message.
#[test]
fn a_host_that_greylists_keeps_its_connection() {
    block_on(async {
        let mut script = accepting()[..3].to_vec();
        script.extend([
            Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n"),
            Say("250 ok\r\n450 4.7.1 greylisted\r\n503 no\r\n"),
            Hear("QUIT\r\n"),
        ]);
        let hop = NextHop::start(vec![script]);
        let (connector, dot) = (connector(Level::May), FinalDot::default());
        let mut hops = Hops::fixed(vec![hop.hop()]);
        let mut letter = letter(&["a@y"]);
        let delivery = connector.deliver(None, &mut hops, &mut letter, &dot).await;
        assert_eq!(told(&delivery), ["deferred 4.7.1 450 4.7.1 greylisted"]);
        delivery.connection.expect("it is kept").quit().await;
        hop.done().await;
    });
}
