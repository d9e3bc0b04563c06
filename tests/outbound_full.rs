//! RET=FULL (RFC 3461 4.3): the whole message goes back, out of its place in the queue.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/python.rs"]
mod python;
#[path = "support/relay.rs"]
mod relay;

use facteur::limits;
use facteur::outbound::by_hand::{Refusal, Tell};
use facteur::smtp::parameters::{Notify, Ret};
use facteur::spool::{Addressee, Facts, Id, Inspector, Sender};
use peer::{Answer, Event, Peer};
use python::{fields, python};
use relay::{Folder, Relay, Setup, maildir};
use smol::block_on;

const TEXT: &str = "Subject: hello\r\nTo: somebody\r\n\r\nOne line.\r\n.A dot.\r\n--=_facteur\r\n";
const HEAD: &str = "Received: by relay.example\r\n";

/// Refuses whoever is called nobody, and puts off whoever is called later.
fn peer() -> Peer {
    Peer::start(|_, asked| {
        if asked.starts_with("RCPT TO:<nobody") {
            Some(Answer::Say("550 5.1.1 no such user"))
        } else if asked.starts_with("RCPT TO:<later") {
            Some(Answer::Say("451 4.7.1 later"))
        } else if asked.starts_with("EHLO") {
            Some(Answer::Say(
                "250-peer.example\r\n250-SIZE\r\n250 PIPELINING",
            ))
        } else {
            None
        }
    })
}

fn setup(folder: &Folder, peer: &Peer) -> Setup {
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let smtp = format!("smtp:{}", peer.address);
    Setup::to(&[("*", smtp), ("home.example", boxes)])
}

fn full(address: &str) -> Sender<'_> {
    Sender {
        address,
        ret: Some(Ret::Full),
        envid: Some("QQ1"),
    }
}

/// What Python finds in the last part: its type, its encoding, and what is in it.
fn third_part(report: &str) -> (String, String) {
    fields(report);
    let found = python(
        report,
        "
part = list(m.iter_parts())[2]
print(part.get_content_type(), part['Content-Transfer-Encoding'])
inner = part.get_payload()
print((inner if isinstance(inner, str) else inner[0].as_bytes().decode('latin-1')).replace('\\r', ''), end='')
",
    );
    let (kind, text) = found.split_once('\n').expect("a line");
    (kind.to_owned(), text.to_owned())
}

#[test]
fn the_whole_message_goes_back_to_a_maildir_and_to_a_next_hop() {
    let folder = Folder::new("full");
    let peer = peer();
    let relay = Relay::start(&folder.0, &setup(&folder, &peer));
    let to = ["nobody@one.test", "bob@one.test"].map(Addressee::from);
    relay.submit_with(&full("ann@home.example"), &to, Facts::default(), TEXT);
    // More than a part of it, so that it lies in several.
    let long = TEXT.to_owned() + &"0123456789 and so on\r\n".repeat(4000);
    relay.submit_with(&full("ann@far.test"), &to, Facts::default(), &long);
    let back = peer.messages(3);
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.dsns), 2);
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    let whole = |text: &str| (HEAD.to_owned() + text).replace('\r', "");
    let kind = "message/rfc822 7bit".to_owned();
    assert_eq!(third_part(&dsns[0]), (kind.clone(), whole(TEXT)));
    let back = back.iter().find(|one| one.from == "<>").unwrap();
    assert_eq!(third_part(&back.data), (kind, whole(&long)));
    // SIZE counts both, to the octet.
    let size = format!("MAIL FROM:<> SIZE={}", back.data.len());
    let said = |event: &Event| matches!(event, Event::Command(_, line) if *line == size);
    assert!(peer.seen().iter().any(said), "{size}");
    // And nothing is left behind.
    let free = relay.spool.counts();
    assert_eq!((free.queued, free.in_flight), (0, 0));
    relay.stop();
}

#[test]
fn only_the_header_goes_back_of_what_is_long_or_does_not_fit_a_part() {
    let folder = Folder::new("not-full");
    let peer = peer();
    let relay = Relay::start(&folder.0, &setup(&folder, &peer));
    let to = [Addressee::from("nobody@one.test")];
    let long = TEXT.to_owned() + &"x".repeat(76).repeat(limits::DSN_FULL / 76);
    let eight_bit = Facts {
        eight_bit_body: true,
        ..Facts::default()
    };
    let (umlauts, wide) = (
        TEXT.to_owned() + "gr\u{fc}\u{df}e\r\n",
        TEXT.to_owned() + &"x".repeat(999),
    );
    let headers = Sender {
        ret: Some(Ret::Headers),
        ..full("ann@home.example")
    };
    let none = Sender {
        ret: None,
        ..headers
    };
    let full = full("ann@home.example");
    for (sender, facts, text) in [
        (&full, Facts::default(), long.as_str()),
        (&full, eight_bit, &umlauts),
        (&full, Facts::default(), &wide),
        (&headers, Facts::default(), TEXT),
        (&none, Facts::default(), TEXT),
    ] {
        relay.submit_with(sender, &to, facts, text);
    }
    relay.until("five reports", |_| {
        relay.counted(|counters| &counters.dsns) == 5
    });
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 5);
    let kind = "text/rfc822-headers 7bit".to_owned();
    let header = "Received: by relay.example\nSubject: hello\nTo: somebody\n".to_owned();
    for dsn in dsns {
        assert_eq!(third_part(&dsn), (kind.clone(), header.clone()));
    }
    relay.stop();
}

/// RFC 6533 3: whoever can be reached at such an address takes 8-bit octets, too.
#[test]
fn a_sender_in_utf_8_gets_an_8_bit_message_whole() {
    let folder = Folder::new("full-utf8");
    let peer = peer();
    let relay = Relay::start(&folder.0, &setup(&folder, &peer));
    let text = "Subject: gr\u{fc}\u{df}e\r\n\r\n\u{e9}\r\n";
    let facts = Facts {
        eight_bit_body: true,
        utf8_headers: true,
        utf8_address: true,
        ..Facts::default()
    };
    let to = [Addressee::from("ren\u{e9}@nowhere.invalid")];
    let sender = full("\u{e4}nn@home.example");
    relay.submit_with(&sender, &to, facts, text);
    relay.until("a report", |_| {
        relay.counted(|counters| &counters.dsns) == 1
    });
    relay.until_empty();
    let dsns = maildir(&folder.0.join("\u{e4}nn"));
    let found = python(
        &dsns[0],
        "
assert not m.defects
print(m.get_content_type(), m.get_param('report-type'), m['Content-Transfer-Encoding'])
for part in m.iter_parts(): print(part.get_content_type(), part['Content-Transfer-Encoding'])
",
    );
    assert_eq!(
        found,
        "multipart/report delivery-status 8bit
text/plain 8bit
message/global-delivery-status 8bit
message/global 8bit
"
    );
    for piece in [
        "\nFinal-Recipient: utf-8; ren\u{e9}@nowhere.invalid\nAction: failed\nStatus: 5.6.7\n",
        "\n\nReceived: by relay.example\nSubject: gr\u{fc}\u{df}e\n\n\u{e9}\n\n--=_facteur_",
    ] {
        assert!(dsns[0].contains(piece), "{piece}: {}", dsns[0]);
    }
    relay.stop();
}

#[test]
fn a_success_brings_only_the_header_back() {
    let folder = Folder::new("full-success");
    let peer = peer();
    let relay = Relay::start(&folder.0, &setup(&folder, &peer));
    let bob = Addressee {
        notify: Some(Notify {
            success: true,
            ..Notify::default()
        }),
        ..Addressee::from("bob@one.test")
    };
    relay.submit_with(&full("ann@home.example"), &[bob], Facts::default(), TEXT);
    relay.until("a report", |_| {
        relay.counted(|counters| &counters.dsns) == 1
    });
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(third_part(&dsns[0]).0, "text/rfc822-headers 7bit");
    relay.stop();
}

/// The DSN waits; restarts, and a drop of either.
#[test]
fn a_message_is_kept_for_its_report_and_goes_with_it() {
    let folder = Folder::new("kept");
    let peer = peer();
    let setup = setup(&folder, &peer);
    let mut relay = Relay::start(&folder.0, &setup);
    let to = [Addressee::from("nobody@one.test")];
    let id = relay.submit_with(&full("later@far.test"), &to, Facts::default(), TEXT);
    let id = Id::parse(&id).unwrap();
    let put_off = |relay: &Relay, times| {
        relay.until("the report put off", |counts| {
            counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == times
        });
    };
    put_off(&relay, 1);
    relay.stop();
    relay = Relay::start(&folder.0, &setup);
    let hand = relay.schedule.hand();
    assert_eq!(block_on(hand.retry(None)).unwrap(), 1, "the DSN alone");
    put_off(&relay, 1);
    let refused = block_on(hand.remove(id, Tell::Nobody)).unwrap_err();
    let Refusal::Reported(_, dsn) = refused else {
        panic!("{refused}");
    };
    assert!(
        refused.to_string().ends_with(": name that one"),
        "{refused}"
    );
    assert_eq!(relay.spool.holder(id), Some(dsn));
    let removed = block_on(hand.remove(dsn, Tell::Sender)).unwrap();
    assert_eq!((removed.recipients, removed.told), (1, 0));
    assert_eq!(relay.spool.holder(id), None);
    let unknown = block_on(hand.remove(id, Tell::Nobody)).unwrap_err();
    assert!(matches!(unknown, Refusal::Unknown(_)), "{unknown}");
    relay.stop();
}

/// The report tells of both, but holds the message for the one that failed: the other has its copy.
#[test]
fn nothing_is_held_of_whom_it_was_delivered_to() {
    let folder = Folder::new("held");
    let peer = peer();
    let relay = Relay::start(&folder.0, &setup(&folder, &peer));
    let bob = Addressee {
        notify: Some(Notify {
            success: true,
            ..Notify::default()
        }),
        ..Addressee::from("bob@one.test")
    };
    let to = [bob, Addressee::from("nobody@one.test")];
    let id = relay.submit_with(&full("later@far.test"), &to, Facts::default(), TEXT);
    relay.until("the report put off", |counts| {
        counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == 1
    });
    let look = Inspector::look(&folder.0.join("spool"), None, None).unwrap();
    let its = |one: &&facteur::spool::Queued| one.id.to_string() == id;
    let held = look.queued().iter().find(its).map(|one| one.held);
    assert_eq!(held, Some(0b10), "by ordinal");
    relay.stop();
}

#[test]
fn a_message_that_is_dropped_by_hand_goes_back_whole() {
    let folder = Folder::new("full-drop");
    let peer = peer();
    let relay = Relay::start(&folder.0, &setup(&folder, &peer));
    let to = ["later@one.test", "later@two.test"].map(Addressee::from);
    let id = relay.submit_with(&full("ann@home.example"), &to, Facts::default(), TEXT);
    let id = Id::parse(&id).unwrap();
    relay.until("put off", |counts| {
        counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == 2
    });
    let removed = block_on(relay.schedule.hand().remove(id, Tell::Sender)).unwrap();
    assert_eq!((removed.recipients, removed.told), (2, 2));
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    assert!(dsns[0].contains("\n\nReceived: by relay.example\nSubject: hello\n"));
    assert!(dsns[0].contains("\n.A dot.\n"), "{}", dsns[0]);
    assert_eq!(relay.spool.holder(id), None);
    relay.stop();
}
