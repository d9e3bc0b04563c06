//! Attempts at next hops that offer CHUNKING: the message as it is behind BDAT, in one go with its envelope.

mod next_hop;

use std::sync::atomic::Ordering;

use facteur::outbound::attempt::FinalDot;
use facteur::outbound::route::Hops;
use facteur::policy::level::Level;
use next_hop::*;

const OPENING: [Do; 3] = [
    Say("220 mx\r\n"),
    Hear("EHLO me\r\n"),
    Say("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
];
/// Dots and the missing last line end go out as they are.
const WIRE: &str = "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nBDAT 19 LAST\r\nSubject: x\r\n\r\n.\r\nhi";

fn small() -> Letter {
    let mut small = letter(&["a@y"]);
    small.chunks = vec![b"Subject: x\r\n".to_vec(), b"\r\n.\r\nhi".to_vec()];
    small.may_be_chunk = true;
    small
}

fn next_hop(rest: &[Do]) -> NextHop {
    NextHop::start(vec![[&OPENING, rest].concat()])
}

#[test]
fn nothing_is_waited_for_before_the_message() {
    smol::block_on(async {
        let hop = next_hop(&[
            Hear(WIRE),
            Say("250 ok\r\n250 ok\r\n250 2.0.0 kept\r\n"),
            Hear("QUIT\r\n"),
        ]);
        let delivery = deliver(&connector(Level::None), &mut small(), vec![hop]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
    });
}

#[test]
fn a_large_piece_goes_on_while_the_peer_answers() {
    smol::block_on(async {
        let mut large = small();
        large.chunks = vec![vec![b'x'; 20_000], vec![b'y'; 10_000]];
        let hop = next_hop(&[
            Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nBDAT 30000 LAST\r\n"),
            Say("250 ok\r\n250 ok\r\n"),
            HearSome(30_000),
            Say("250 2.0.0 kept\r\n"),
            Hear("QUIT\r\n"),
        ]);
        let delivery = deliver(&connector(Level::None), &mut large, vec![hop]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
    });
}

#[test]
fn a_refused_recipient_fails_though_its_message_was_sent() {
    smol::block_on(async {
        let hop = next_hop(&[
            Hear(WIRE),
            Say("250 ok\r\n550 5.1.1 who?\r\n503 5.5.1 for nobody\r\n"),
            Hear("QUIT\r\n"),
        ]);
        let delivery = deliver(&connector(Level::None), &mut small(), vec![hop]).await;
        assert_eq!(told(&delivery), ["failed 5.1.1 550 5.1.1 who?"]);
    });
}

#[test]
fn a_connection_lost_between_the_replies_is_unconfirmed_and_one_without_any_reply_is_not() {
    smol::block_on(async {
        let connector = connector(Level::None);
        let hop = next_hop(&[Hear(WIRE), Say("250 ok\r\n")]);
        let delivery = deliver(&connector, &mut small(), vec![hop]).await;
        let outcome = told(&delivery).join("");
        assert!(
            outcome.contains("the host may have the message"),
            "{outcome}"
        );
        assert_eq!(connector.counters.unconfirmed.load(Ordering::Relaxed), 1);

        // As a kept connection that the host has closed: the next host gets it at once.
        let next = next_hop(&[
            Hear(WIRE),
            Say("250 ok\r\n250 ok\r\n250 2.0.0 kept\r\n"),
            Hear("QUIT\r\n"),
        ]);
        let hop = next_hop(&[Hear(WIRE)]);
        let delivery = deliver(&connector, &mut small(), vec![hop, next]).await;
        assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
        assert_eq!(connector.counters.unconfirmed.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_host_that_refuses_bdat_itself_gets_data_at_once_and_from_then_on() {
    smol::block_on(async {
        let connector = connector(Level::None);
        let refusing = [
            &OPENING[..],
            &[
                Hear(WIRE),
                Say("250 ok\r\n250 ok\r\n500 5.5.2 what?\r\n"),
                HearEnd,
            ],
        ];
        let by_data = [
            &OPENING[..],
            &[
                Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n"),
                Say("250 ok\r\n250 ok\r\n354 go\r\n"),
                Hear("Subject: x\r\n\r\n..\r\nhi\r\n.\r\n"),
                Say("250 2.0.0 kept\r\n"),
                Hear("QUIT\r\n"),
            ],
        ];
        let by_data = by_data.concat();
        let hop = NextHop::start(vec![refusing.concat(), by_data.clone(), by_data]);
        for _ in 0..2 {
            let mut hops = Hops::fixed(vec![hop.hop()]);
            let dot = FinalDot::default();
            let mut letter = small();
            let attempt = connector.deliver(None, &mut hops, &mut letter, &dot);
            let delivery = attempt.await;
            assert_eq!(told(&delivery), ["delivered 250 2.0.0 kept"]);
            delivery.connection.unwrap().quit().await;
        }
        hop.done().await;
    });
}

#[test]
fn a_message_that_is_not_as_long_as_it_says_is_cut_off() {
    smol::block_on(async {
        for (chunk, why) in [
            (&b"\r\n"[..], "it ends 4 of its 18 octets early"),
            (b"\r\nmore and more", "it goes on behind its 18 octets"),
        ] {
            let mut wrong = small();
            wrong.chunks = vec![b"Subject: x\r\n".to_vec(), chunk.to_vec()];
            wrong.claimed = Some(18);
            let hop = next_hop(&[HearRest]);
            let delivery = deliver(&connector(Level::None), &mut wrong, vec![hop]).await;
            let outcome = told(&delivery).join("");
            assert!(outcome.ends_with(why), "{outcome}");
        }
    });
}
