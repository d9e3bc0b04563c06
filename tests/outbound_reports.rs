//! What a sender is told of mail that could not be delivered: on a real spool, with scripted next hops on loopback.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/python.rs"]
mod python;
#[path = "support/relay.rs"]
mod relay;

use facteur::smtp::parameters::Notify;
use facteur::spool::{Addressee, Facts, Role, Sender};
use peer::{Answer, Event, Peer};
use python::{fields, python};
use relay::{Folder, Relay, Setup, maildir};
use smol::block_on;
use std::time::Duration;

const TEXT: &str = "Subject: hello\r\nTo: somebody\r\n\r\nOne line.\r\n.A dot.\r\n";

fn smtp(peer: &Peer) -> String {
    format!("smtp:{}", peer.address)
}

#[test]
fn a_refused_recipient_s_sender_finds_a_dsn_in_the_mailbox() {
    let folder = Folder::new("dsn");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("RCPT TO:<nobody")
            .then_some(Answer::Say("550 5.1.1 no such user"))
    });
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let relay = Relay::start(
        &folder.0,
        &Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)]),
    );
    relay.submit(
        "ann@home.example",
        &["bob@one.test", "nobody@one.test", "nobody2@one.test"],
        TEXT,
    );
    assert_eq!(peer.messages(1)[0].to, ["<bob@one.test>"]);
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    assert!(dsns[0].starts_with("Return-Path: <>\nDelivered-To: ann@home.example\n"));
    let found = python(&dsns[0], "
people, status, header = m.iter_parts()
print(m.get_content_type(), m['To'], m['Auto-Submitted'])
for block in status.get_payload()[1:]: print(block['Final-Recipient'], block['Action'], block['Status'], block['Diagnostic-Code'])
print(header.get_payload().splitlines())
");
    assert_eq!(
        found,
        "multipart/report ann@home.example auto-replied
rfc822; nobody@one.test failed 5.1.1 smtp; 550 5.1.1 no such user
rfc822; nobody2@one.test failed 5.1.1 smtp; 550 5.1.1 no such user
['Received: by relay.example', 'Subject: hello', 'To: somebody']
"
    );
    relay.stop();
}

#[test]
fn nobody_is_told_of_a_failure_without_a_sender() {
    let folder = Folder::new("null");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("RCPT")
            .then_some(Answer::Say("550 5.1.1 no such user"))
    });
    let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
    relay.submit("", &["nobody@one.test"], TEXT);
    peer.wait(|events| {
        events
            .iter()
            .any(|event| matches!(event, Event::Command(_, line) if line.starts_with("RCPT")))
            .then_some(())
    });
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.failed), 1);
    assert_eq!(relay.counted(|counters| &counters.dsns), 0);
    relay.stop();
}

/// A next hop that refuses everybody, and Maildirs for home.example.
fn refusing(folder: &Folder) -> (Peer, Setup) {
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("RCPT")
            .then_some(Answer::Say("550 5.1.1 no such user"))
    });
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let setup = Setup {
        postmaster: Some("postmaster@home.example".to_owned()),
        ..Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)])
    };
    (peer, setup)
}

#[test]
fn the_postmaster_gets_a_note_of_a_failure_without_a_sender() {
    let folder = Folder::new("note");
    let (_peer, setup) = refusing(&folder);
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("", &["nobody@one.test", "none@one.test"], TEXT);
    relay.until("a note", |_| relay.counted(|counters| &counters.notes) == 1);
    relay.until_empty();
    let notes = maildir(&folder.0.join("postmaster"));
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("Return-Path: <>\nDelivered-To: postmaster@home.example\n"));
    let found = python(&notes[0], "
people, status, header = m.iter_parts()
print(m['Subject'], '|', m.get_content_type(), [b['Final-Recipient'] for b in status.get_payload()[1:]])
print(' '.join(people.get_content().split())[:99])
");
    assert_eq!(
        found,
        "A message without a sender could not be delivered | multipart/report ['rfc822; nobody@one.test', 'rfc822; none@one.test']
This is the mail relay at relay.example. This goes to you, the postmaster, because the message belo
"
    );
    relay.stop();
}

#[test]
fn no_note_is_about_a_note_and_a_flood_gets_few() {
    let folder = Folder::new("flood");
    let (peer, mut setup) = refusing(&folder);
    setup.postmaster = Some("postmaster@elsewhere.test".to_owned());
    let relay = Relay::start(&folder.0, &setup);
    const FLOOD: usize = 60;
    for _ in 0..FLOOD {
        relay.submit("", &["nobody@one.test"], TEXT);
    }
    let refused = |peer: &Peer, to: &str| {
        let is = |event: &Event| matches!(event, Event::Command(_, line) if line.starts_with(to));
        peer.seen().iter().filter(|event| is(event)).count()
    };
    relay.until("all tried", |_| refused(&peer, "RCPT TO:<nobody@") == FLOOD);
    relay.until_empty();
    // The notes fail, too, and that is the end of it.
    let notes = relay.counted(|counters| &counters.notes);
    assert_eq!(notes, facteur::limits::NOTES_AT_ONCE as u64);
    assert_eq!(refused(&peer, "RCPT TO:<postmaster@") as u64, notes);
    assert_eq!(relay.counted(|counters| &counters.dsns), 0);
    relay.stop();
    // One that waits for another postmaster's time is still a note.
    setup.postmaster = Some("postmaster@home.example".to_owned());
    let relay = Relay::start(&folder.0, &setup);
    let facts = Facts {
        note: true,
        ..Facts::default()
    };
    let to = [Addressee::from("postmaster@elsewhere.test")];
    relay.submit_with(&Sender::default(), &to, facts, TEXT);
    relay.until("refused", |_| {
        relay.counted(|counters| &counters.failed) == 1
    });
    relay.until_empty();
    assert!(maildir(&folder.0.join("postmaster")).is_empty());
    relay.stop();
}

#[test]
fn an_expanded_alias_is_told_of_once_and_waits_for_no_next_hop() {
    let folder = Folder::new("expanded");
    let peer = Peer::start(|_, asked| {
        let later = asked.starts_with("RCPT");
        later.then_some(Answer::Say("451 4.7.1 later"))
    });
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let setup = Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)]);
    let relay = Relay::start(&folder.0, &setup);
    let success = Notify {
        success: true,
        ..Notify::default()
    };
    let to = [
        Addressee::from("one@one.test"),
        Addressee::from("two@one.test"),
        Addressee {
            notify: Some(success),
            role: Role::Expanded,
            ..Addressee::from("all@one.test")
        },
    ];
    let sender = Sender {
        address: "ann@home.example",
        ..Sender::default()
    };
    relay.submit_with(&sender, &to, Facts::default(), TEXT);
    let counted = |relay: &Relay| {
        relay.until("deferred and told", |counts| {
            counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == 2
        });
    };
    relay.until("a report", |_| maildir(&folder.0.join("ann")).len() == 1);
    counted(&relay);
    relay.stop();
    let relay = Relay::start(&folder.0, &setup);
    block_on(relay.schedule.hand().retry(None)).unwrap();
    counted(&relay);
    relay.stop();
    let reports = maildir(&folder.0.join("ann"));
    let told: Vec<String> = reports.iter().map(|report| fields(report)).collect();
    assert_eq!(
        told,
        [
            "Your message was passed on\nrfc822; all@one.test expanded 2.0.0 x-facteur; the alias was expanded None\n"
        ]
    );
    let asked = |event: &Event| matches!(event, Event::Command(_, line) if line.contains("all@"));
    assert!(!peer.seen().iter().any(asked), "it is no mailbox");
}

#[test]
fn who_asks_for_it_hears_of_a_delay_after_four_hours_once() {
    let folder = Folder::new("delay");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("RCPT")
            .then_some(Answer::Say("451 4.7.1 later"))
    });
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let setup = Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)]);
    let mut relay = Relay::start(&folder.0, &setup);
    let asks = |address, notify| Addressee {
        notify,
        ..Addressee::from(address)
    };
    let delay = Notify {
        delay: true,
        ..Notify::default()
    };
    let failure = Notify {
        failure: true,
        ..Notify::default()
    };
    let to = [
        asks("grey@one.test", Some(delay)),
        asks("gray@one.test", Some(delay)),
        asks("other@one.test", None),
        asks("another@one.test", Some(failure)),
    ];
    for address in ["ann@home.example", ""] {
        let sender = Sender {
            address,
            envid: Some("QQ1"),
            ..Sender::default()
        };
        relay.submit_with(&sender, &to, Facts::default(), TEXT);
    }
    let mut deferred = 0;
    let mut tried = |relay: &Relay| {
        deferred += 8;
        relay.until("put off", |counts| {
            let of_mail = relay.counted(|counters| &counters.deferred);
            counts.in_flight == 0 && counts.queued == 2 && of_mail == deferred
        });
    };
    tried(&relay);
    for (hours, dsns) in [(3, 0), (1, 1), (4, 1)] {
        setup.time.passes(hours * 3600);
        smol::block_on(relay.schedule.hand().retry(None)).unwrap();
        tried(&relay);
        assert_eq!(relay.counted(|counters| &counters.dsns), dsns, "{hours}");
    }
    relay.stop();
    relay = Relay::start(&folder.0, &setup);
    setup.time.passes(3600);
    smol::block_on(relay.schedule.hand().retry(None)).unwrap();
    relay.until("put off", |counts| {
        counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == 8
    });
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1, "nor after a restart");
    assert_eq!(
        python::fields(&dsns[0]),
        "Your message is delayed, and will be tried again
rfc822; grey@one.test delayed 4.7.1 smtp; 451 4.7.1 later dns; [127.0.0.1]
rfc822; gray@one.test delayed 4.7.1 smtp; 451 4.7.1 later dns; [127.0.0.1]
"
    );
    let found = python(&dsns[0], "
people, status, header = m.iter_parts()
from email.utils import parsedate_to_datetime as date
about, each = status.get_payload()[:2]
print(about['Original-Envelope-Id'], date(each['Will-Retry-Until']) - date(about['Arrival-Date']), date(each['Last-Attempt-Date']) - date(about['Arrival-Date']))
text = ' '.join(people.get_content().split())
for words in ['This is only a warning', 'need not send it again', 'until', 'asked to be told']: assert words in text, text
assert 'not be tried' not in text
");
    assert!(found.starts_with("QQ1 5 days, 0:00:0"), "{found}");
    assert!(found.contains(" 4:00:0"), "{found}");
    relay.stop();
}

#[test]
fn a_message_that_is_too_old_goes_back() {
    let folder = Folder::new("expiry");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("RCPT")
            .then_some(Answer::Say("451 4.7.1 later"))
    });
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let setup = Setup {
        retry: "1s..1s",
        lifetime: Duration::from_secs(2),
        ..Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@home.example", &["grey@one.test"], TEXT);
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    for piece in [
        "Subject: Your message could not be delivered in time\n",
        "  The last answer, from 127.0.0.1, was:\n    451 4.7.1 later\n",
        "\nStatus: 4.4.7\nRemote-MTA: dns; [127.0.0.1]\nDiagnostic-Code: smtp; 451 4.7.1 later\n",
    ] {
        assert!(dsns[0].contains(piece), "{piece}: {}", dsns[0]);
    }
    assert!(relay.counted(|counters| &counters.deferred) >= 1);
    relay.stop();
}

#[test]
fn what_only_the_relay_says_is_no_answer_of_the_host() {
    let folder = Folder::new("lack");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("EHLO")
            .then_some(Answer::Say("250-peer.example\r\n250 SIZE 10"))
    });
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let relay = Relay::start(
        &folder.0,
        &Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)]),
    );
    relay.submit("ann@home.example", &["bob@one.test"], TEXT);
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    for piece in [
        "  It cannot be handed to the mail server 127.0.0.1:\n    the message is larger than the host accepts\n",
        "\nStatus: 5.3.4\nRemote-MTA: dns; [127.0.0.1]\nDiagnostic-Code: x-facteur; the message is larger than the host accepts\n",
    ] {
        assert!(dsns[0].contains(piece), "{piece}: {}", dsns[0]);
    }
    assert!(!dsns[0].contains("smtp;"));
    relay.stop();
}
