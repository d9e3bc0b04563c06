//! The sending machine with CHUNKING (RFC 3030): the message in one write with its envelope, and what the replies mean.

mod mail;

use facteur::smtp::client::{Client, Event, Failure, Phase, Protocol, StartTls};
use heapless::Vec as Buffer;
use mail::{Mail, mail};

const CHUNKING: &str = "250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n";

fn small(recipients: &[&str]) -> Mail {
    let chunk = Some(1234);
    Mail {
        chunk,
        ..mail(recipients)
    }
}

/// A client past EHLO, and what it wrote of the envelope. `(MESSAGE)` stands for the chunk's octets.
fn begun(offer: &str, mail: &Mail) -> (Client, String) {
    let mut client = Client::new(StartTls::Never);
    let mut out: Buffer<u8, 4096> = Buffer::new();
    feed(&mut client, "220 mx\r\n");
    client.write_opening("me", &mut out).unwrap();
    feed(&mut client, offer);
    out.clear();
    client.begin(mail).unwrap();
    client.write_envelope(mail, &mut out).unwrap();
    let mut written = String::from_utf8(out.to_vec()).unwrap();
    if client.phase() == Phase::Body && client.chunk() == Some(1234) {
        client.body_sent();
        written += "(MESSAGE)";
    }
    (client, written)
}

fn feed(client: &mut Client, input: &str) -> Vec<Event> {
    let (mut rest, mut events) = (input.as_bytes(), Vec::new());
    while !rest.is_empty() {
        let (read, event) = client.handle_input(rest);
        events.extend(event);
        if read == 0 {
            break;
        }
        rest = &rest[read..];
    }
    events
}

/// The events that the replies to a chunk's group are, and how it ends.
#[track_caller]
fn check(recipients: &[&str], replies: &str, told: &[&str], end: Phase) {
    for step in [1, 7, 4096] {
        let (mut client, _) = begun(CHUNKING, &small(recipients));
        let mut events = Vec::new();
        for piece in replies.as_bytes().chunks(step) {
            events.extend(feed(&mut client, std::str::from_utf8(piece).unwrap()));
        }
        let events = events.iter().filter(|&&event| event != Event::Step);
        let events: Vec<String> = events.map(|event| format!("{event:?}")).collect();
        assert_eq!(events, told, "in pieces of {step}");
        assert_eq!(client.phase(), end, "in pieces of {step}");
    }
}

#[test]
fn a_small_message_goes_in_the_same_write_as_its_envelope() {
    let (client, written) = begun(CHUNKING, &small(&["a@y", "b@y"]));
    assert_eq!(
        written,
        "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nBDAT 1234 LAST\r\n(MESSAGE)"
    );
    assert_eq!(client.phase(), Phase::Talking);
}

#[test]
fn without_either_extension_or_above_the_limit_it_is_data() {
    let data = |offer: &str, chunk| {
        let mail = Mail {
            chunk,
            ..mail(&["a@y"])
        };
        begun(offer, &mail).1
    };
    let waits = "MAIL FROM:<s@x>\r\n";
    assert_eq!(data("250-mx\r\n250 CHUNKING\r\n", Some(1234)), waits);
    let group = "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n";
    assert_eq!(data("250-mx\r\n250 PIPELINING\r\n", Some(1234)), group);
    let most = facteur::limits::PEER_CHUNK as u64;
    for chunk in [None, Some(0), Some(most + 1)] {
        assert_eq!(data(CHUNKING, chunk), group);
    }
    let last = format!("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nBDAT {most} LAST\r\n");
    assert_eq!(data(CHUNKING, Some(most)), last);
}

#[test]
fn lmtp_is_data() {
    let mut client = Client::speaking(Protocol::Lmtp, StartTls::Never);
    let mut out: Buffer<u8, 4096> = Buffer::new();
    feed(&mut client, "220 mx\r\n");
    client.write_opening("me", &mut out).unwrap();
    feed(&mut client, CHUNKING);
    out.clear();
    let mail = small(&["a@y"]);
    client.begin(&mail).unwrap();
    client.write_envelope(&mail, &mut out).unwrap();
    assert!(out.ends_with(b"DATA\r\n"), "{out:?}");
}

#[test]
fn the_reply_to_the_chunk_is_the_verdict_for_who_was_accepted() {
    let (refused, accepted) = (
        "Recipient { index: 0, class: Permanent }",
        "Recipient { index: 1, class: Done }",
    );
    check(
        &["a@y", "b@y"],
        "250 ok\r\n550 5.1.1 no\r\n250 ok\r\n250 2.0.0 kept\r\n",
        &[refused, accepted, "EndOfData(Done)"],
        Phase::Ready,
    );
    check(
        &["a@y", "b@y"],
        "250 ok\r\n550 5.1.1 no\r\n250 ok\r\n554 5.7.1 spam\r\n",
        &[refused, accepted, "EndOfData(Permanent)"],
        Phase::Ready,
    );
}

#[test]
fn a_chunk_for_nobody_has_no_verdict_and_rset_goes_before_the_next() {
    let recipient = "Recipient { index: 0, class: Permanent }";
    for reply in ["503 5.5.1 no recipients", "554 none", "250 2.6.0 ok"] {
        let replies = format!("250 ok\r\n550 5.1.1 no\r\n{reply}\r\n");
        check(&["a@y"], &replies, &[recipient], Phase::Ready);
    }
    check(
        &["a@y"],
        "451 later\r\n503 no MAIL\r\n503 no RCPT\r\n",
        &["SenderRefused", recipient],
        Phase::Ready,
    );
    let mail = small(&["a@y"]);
    let (mut client, _) = begun(CHUNKING, &mail);
    feed(&mut client, "250 ok\r\n550 no\r\n503 none\r\n");
    let mut out: Buffer<u8, 4096> = Buffer::new();
    client.begin(&mail).unwrap();
    client.write_envelope(&mail, &mut out).unwrap();
    assert!(out.starts_with(b"RSET\r\nMAIL"), "{out:?}");
}

#[test]
fn a_peer_that_does_not_know_bdat_after_all_says_nothing_about_the_message() {
    for code in [500, 501, 502, 503, 504] {
        check(
            &["a@y"],
            &format!("250 ok\r\n250 ok\r\n{code} what?\r\n"),
            &[
                "Recipient { index: 0, class: Done }",
                &format!("Failed({:?})", Failure::ChunkRefused),
            ],
            Phase::Closed,
        );
    }
}

#[test]
fn other_replies_to_a_chunk_end_the_connection() {
    for (reply, failure) in [
        ("354 go on", Failure::Unexpected),
        ("421 4.3.2 bye", Failure::Closing),
    ] {
        check(
            &["a@y"],
            &format!("250 ok\r\n250 ok\r\n{reply}\r\n"),
            &[
                "Recipient { index: 0, class: Done }",
                &format!("Failed({failure:?})"),
            ],
            Phase::Closed,
        );
    }
}

#[test]
fn a_verdict_before_the_chunk_is_sent_is_no_success() {
    let ahead = |reply: &str| {
        let mail = Mail {
            chunk: Some(99),
            ..mail(&["a@y"])
        };
        let (mut client, _) = begun(CHUNKING, &mail);
        assert_eq!((client.phase(), client.chunk()), (Phase::Body, Some(99)));
        let events = feed(&mut client, &format!("250 ok\r\n250 ok\r\n{reply}\r\n"));
        (events.last().copied(), client.phase())
    };
    let unsolicited = Event::Failed(Failure::Unsolicited);
    assert_eq!(ahead("250 kept"), (Some(unsolicited), Phase::Closed));
    let (last, phase) = ahead("552 5.3.4 too big");
    assert!(matches!(last, Some(Event::EndOfData(_))), "{last:?}");
    assert_eq!(phase, Phase::Closed, "the rest could be read as commands");
}
