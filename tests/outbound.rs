//! What the sending side does with queued messages: on a real spool, with scripted next hops on loopback.

#[path = "support/dns_server.rs"]
mod dns_server;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/relay.rs"]
mod relay;

use dns_server::DnsServer;
use facteur::limits;
use peer::{Answer, Event, Peer, received};
use relay::{Folder, Relay, Setup, maildir};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TEXT: &str = "Subject: hello\r\nTo: somebody\r\n\r\nOne line.\r\n.A dot.\r\n";

fn smtp(peer: &Peer) -> String {
    format!("smtp:{}", peer.address)
}

#[test]
fn a_message_goes_out_as_it_came_in() {
    let folder = Folder::new("plain");
    let peer = Peer::willing();
    let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
    relay.submit("ann@example.org", &["bob@one.test", "eve@two.test"], TEXT);
    let message = peer.messages(1).remove(0);
    assert_eq!(message.from, "<ann@example.org>");
    assert_eq!(message.to, ["<bob@one.test>", "<eve@two.test>"]);
    assert_eq!(
        message.data,
        format!("Received: by relay.example\r\n{TEXT}")
    );
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.delivered), 2);
    relay.stop();
}

#[test]
fn a_connection_is_kept_for_the_next_messages() {
    let folder = Folder::new("kept");
    let peer = Peer::willing();
    let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
    for n in 1..=150 {
        relay.submit("ann@example.org", &["bob@one.test"], TEXT);
        peer.messages(n);
    }
    relay.until_empty();
    // One by one they need one connection, and 100 messages are the most for one.
    let per_connection = |connection| {
        peer.messages(150)
            .iter()
            .filter(|m| m.connection == connection)
            .count()
    };
    assert!(
        peer.connections() <= 4,
        "{} connections",
        peer.connections()
    );
    assert!((0..4).all(|connection| per_connection(connection) <= 100));
    peer.wait(|events| {
        events
            .contains(&Event::Command(0, "QUIT".to_owned()))
            .then_some(())
    });
    relay.stop();
}

#[test]
fn a_kept_connection_that_the_host_closed_costs_no_delay() {
    let folder = Folder::new("closed");
    let peer =
        Peer::start(|_, asked| (asked == ".").then_some(Answer::SayAndClose("250 2.0.0 taken")));
    let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
    for n in 1..=5 {
        relay.submit("ann@example.org", &["bob@one.test"], TEXT);
        peer.messages(n);
        peer.wait(|events| events.contains(&Event::Closed(n - 1)).then_some(()));
    }
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.deferred), 0);
    relay.stop();
}

/// A host that takes so many recipients in one transaction.
fn takes(most: usize, refusal: &'static str) -> Peer {
    let taken = AtomicUsize::new(0);
    Peer::start(move |_, asked| {
        if asked.starts_with("MAIL") {
            taken.store(0, Ordering::SeqCst);
        }
        let is_rcpt = asked.starts_with("RCPT");
        let over = is_rcpt && taken.fetch_add(1, Ordering::SeqCst) >= most;
        over.then_some(Answer::Say(refusal))
    })
}

#[test]
fn too_many_for_one_transaction_come_in_the_next_at_once() {
    for refusal in ["452 4.5.3 too many recipients", "552 too many recipients"] {
        let folder = Folder::new("many");
        let peer = takes(2, refusal);
        // A retry would come in an hour.
        let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
        let to: Vec<String> = (0..5).map(|n| format!("r{n}@one.test")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        relay.submit("ann@example.org", &to, TEXT);
        let messages = peer.messages(3);
        let served: Vec<_> = messages.iter().map(|message| message.to.len()).collect();
        assert_eq!(served, [2, 2, 1], "{messages:?}");
        relay.until_empty();
        assert_eq!(peer.connections(), 1);
        assert_eq!(relay.counted(|counters| &counters.delivered), 5);
        assert_eq!(relay.counted(|counters| &counters.deferred), 0);
        relay.stop();
    }
}

#[test]
fn too_many_that_no_transaction_serves_wait_like_others() {
    let folder = Folder::new("none");
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    // As many as one connection may have, whatever the transaction; and one that is put off for its own sake.
    let peer = Peer::start(move |_, asked| match asked {
        _ if asked.starts_with("RCPT TO:<grey") => Some(Answer::Say("451 4.7.1 later")),
        _ if asked.starts_with("RCPT") && counted.fetch_add(1, Ordering::SeqCst) > 0 => {
            Some(Answer::Say("452 4.5.3 too many recipients"))
        }
        _ => None,
    });
    let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
    let to = ["a@one.test", "grey@one.test", "b@one.test", "c@one.test"];
    relay.submit("ann@example.org", &to, TEXT);
    relay.until("all put off", |counts| {
        counts.in_flight == 0 && relay.counted(|counters| &counters.deferred) == 3
    });
    relay.stop();
    assert_eq!(peer.messages(1)[0].to, ["<a@one.test>"]);
    let mails =
        |event: &&Event| matches!(event, Event::Command(_, line) if line.starts_with("MAIL"));
    assert_eq!(peer.seen().iter().filter(mails).count(), 2);
    // Who was put off for another reason is not asked for again with them.
    let grey = |event: &&Event| matches!(event, Event::Command(_, line) if line.contains("grey"));
    assert_eq!(peer.seen().iter().filter(grey).count(), 1);
}

#[test]
fn a_recipient_that_is_put_off_is_tried_again_and_the_others_are_not() {
    let folder = Folder::new("again");
    let tries = AtomicUsize::new(0);
    let peer = Peer::start(move |_, asked| {
        let grey = asked.starts_with("RCPT TO:<grey") && tries.fetch_add(1, Ordering::SeqCst) < 2;
        grey.then_some(Answer::Say("451 4.7.1 later"))
    });
    let setup = Setup {
        retry: "1s..1s",
        ..Setup::to(&[("*", smtp(&peer))])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test", "grey@one.test"], TEXT);
    let messages = peer.messages(2);
    assert_eq!(messages[0].to, ["<bob@one.test>"]);
    assert_eq!(messages[1].to, ["<grey@one.test>"]);
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.deferred), 2);
    relay.stop();
}

#[test]
fn a_message_for_two_domains_goes_to_each_of_them() {
    let folder = Folder::new("split");
    let (one, two) = (Peer::willing(), Peer::willing());
    let relay = Relay::start(
        &folder.0,
        &Setup::to(&[("one.test", smtp(&one)), ("two.test", smtp(&two))]),
    );
    relay.submit(
        "ann@example.org",
        &["a@one.test", "b@two.test", "c@one.test"],
        TEXT,
    );
    assert_eq!(one.messages(1)[0].to, ["<a@one.test>", "<c@one.test>"]);
    assert_eq!(two.messages(1)[0].to, ["<b@two.test>"]);
    relay.until_empty();
    relay.stop();
}

#[test]
fn a_destination_found_by_mx_gets_at_most_four_connections() {
    let folder = Folder::new("mx");
    let peer = Peer::willing();
    let dns = DnsServer::start("one.test MX 10 mx.one.test\nmx.one.test A 127.0.0.1\n");
    let setup = Setup {
        resolver: Some(dns.address()),
        smtp_port: peer.address.port(),
        ..Setup::to(&[])
    };
    let relay = Relay::start(&folder.0, &setup);
    for n in 0..40 {
        relay.submit("ann@example.org", &[&format!("u{n}@one.test")], TEXT);
    }
    peer.messages(40);
    relay.until_empty();
    assert!(peer.connections() <= 4, "{}", peer.connections());
    relay.stop();
}

#[test]
fn a_stalled_destination_holds_no_other() {
    let folder = Folder::new("stalled");
    let stalled = Peer::start(|_, asked| (asked == "GREETING").then_some(Answer::Stall));
    let peer = Peer::willing();
    let setup = Setup {
        outbound: 4,
        ..Setup::to(&[("slow.test", smtp(&stalled)), ("*", smtp(&peer))])
    };
    let relay = Relay::start(&folder.0, &setup);
    for _ in 0..20 {
        relay.submit("ann@example.org", &["a@slow.test"], TEXT);
    }
    stalled.wait(|events| (!events.is_empty()).then_some(()));
    for n in 1..=20 {
        relay.submit("ann@example.org", &["b@fast.test"], TEXT);
        peer.messages(n);
    }
    assert!(stalled.connections() < 4);
    let asked_to_stop = Instant::now();
    relay.stop();
    // Nothing is past its final dot, so the stop need not wait.
    assert!(asked_to_stop.elapsed() < limits::DRAIN_OUTBOUND);
}

#[test]
fn a_destination_that_is_down_is_not_dialled_for_each_message() {
    let folder = Folder::new("down");
    let (let_go, held) = channel::<()>();
    let held = Mutex::new(held);
    let peer = Peer::start(move |_, asked| {
        let _ = held.lock().unwrap().recv();
        (asked == "GREETING").then_some(Answer::Close)
    });
    let relay = Relay::start(
        &folder.0,
        &Setup {
            outbound: 1,
            ..Setup::to(&[("*", smtp(&peer))])
        },
    );
    for n in 0..200 {
        relay.submit("ann@example.org", &[&format!("u{n}@one.test")], TEXT);
    }
    relay.until("all due messages taken", |counts| counts.in_flight == 200);
    drop(let_go);
    relay.until("all deferred", |counts| {
        counts.in_flight == 0 && counts.queued == 200
    });
    assert_eq!(relay.counted(|counters| &counters.deferred), 200);
    assert_eq!(peer.connections(), 1);
    relay.stop();
}

#[test]
fn the_schedule_outlives_the_process() {
    let folder = Folder::new("restart");
    let peer = Peer::start(|connection, asked| {
        (connection == 0 && asked.starts_with("RCPT")).then_some(Answer::Say("451 4.7.1 later"))
    });
    let setup = Setup::to(&[("*", smtp(&peer))]);
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["late@one.test"], TEXT);
    until(|| relay.counted(|counters| &counters.deferred) == 1);
    relay.stop();

    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["fresh@one.test"], TEXT);
    assert_eq!(peer.messages(1)[0].to, ["<fresh@one.test>"]);
    relay.until("only the fresh one gone", |counts| {
        counts.queued == 1 && counts.in_flight == 0
    });
    relay.stop();

    setup.time.passes(3700);
    let relay = Relay::start(&folder.0, &setup);
    assert_eq!(peer.messages(2)[1].to, ["<late@one.test>"]);
    relay.until_empty();
    relay.stop();
}

#[test]
fn the_drain_waits_for_the_reply_to_a_final_dot() {
    let folder = Folder::new("drain");
    let (let_go, held) = channel::<()>();
    let held = Mutex::new(held);
    let answered = Arc::new(AtomicBool::new(false));
    let at_peer = Arc::clone(&answered);
    let peer = Peer::start(move |_, asked| {
        if asked == "." {
            let _ = held.lock().unwrap().recv();
            at_peer.store(true, Ordering::SeqCst);
        }
        None
    });
    let setup = Setup {
        outbound: 1,
        ..Setup::to(&[("*", smtp(&peer))])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    peer.messages(1);
    relay.submit("ann@example.org", &["eve@one.test"], TEXT);
    relay.until("one past its dot, one waiting", |counts| {
        counts.in_flight == 2
    });
    let spool = relay.spool.clone();
    let stopping = std::thread::spawn(move || {
        relay.stop();
        answered.load(Ordering::SeqCst)
    });
    // The stop has begun: what waited is given back.
    until(|| spool.counts().in_flight == 1);
    drop(let_go);
    assert!(stopping.join().unwrap(), "it did not wait for the answer");
    // What was answered is not sent a second time.
    let relay = Relay::start(&folder.0, &setup);
    relay.until_empty();
    let to: Vec<_> = received(&peer.seen()).into_iter().map(|m| m.to).collect();
    assert_eq!(to, [["<bob@one.test>"], ["<eve@one.test>"]]);
    relay.stop();
}

#[test]
fn a_recipient_given_twice_gets_one_copy() {
    let folder = Folder::new("twins");
    let peer = Peer::willing();
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let relay = Relay::start(
        &folder.0,
        &Setup::to(&[("*", smtp(&peer)), ("home.example", boxes)]),
    );
    let twice = ["bob@one.test", "BOB@one.test", "bob@ONE.test"];
    relay.submit("ann@example.org", &twice, TEXT);
    assert_eq!(peer.messages(1)[0].to, ["<bob@one.test>", "<BOB@one.test>"]);
    relay.submit("ann@example.org", &["eve@home.example"; 3], TEXT);
    relay.until_empty();
    assert_eq!(maildir(&folder.0.join("eve")).len(), 1);
    assert_eq!(received(&peer.seen()).len(), 1);
    assert_eq!(relay.counted(|counters| &counters.delivered), 6);
    relay.stop();
}

#[test]
fn a_relay_flag_that_leads_home_defers_and_bounces_nothing() {
    let folder = Folder::new("home");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let setup = Setup {
        listens_on: vec![address],
        ..Setup::to(&[("*", format!("smtp:{address}"))])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    until(|| relay.counted(|counters| &counters.deferred) == 1);
    relay.until("back in the queue", |counts| {
        counts.queued == 1 && counts.in_flight == 0
    });
    assert_eq!(relay.counted(|counters| &counters.dsns), 0);
    relay.stop();
}

#[test]
fn a_host_that_puts_a_message_off_on_a_kept_connection_is_not_asked_again_at_once() {
    let folder = Folder::new("put-off");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("MAIL FROM:<grey")
            .then_some(Answer::Say("451 4.7.1 later"))
    });
    let relay = Relay::start(&folder.0, &Setup::to(&[("*", smtp(&peer))]));
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    peer.messages(1);
    relay.until_empty();
    relay.submit("grey@example.org", &["bob@one.test"], TEXT);
    until(|| relay.counted(|counters| &counters.deferred) == 1);
    relay.stop();
    let asked = peer.seen().into_iter().filter(
        |event| matches!(event, Event::Command(_, line) if line.starts_with("MAIL FROM:<grey")),
    );
    assert_eq!(asked.count(), 1);
}

#[test]
fn a_message_put_off_on_a_kept_connection_goes_to_the_next_host() {
    let folder = Folder::new("next-host");
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("MAIL FROM:<grey")
            .then_some(Answer::Say("451 4.7.1 later"))
    });
    let mut second = peer.address;
    second.set_ip("127.0.0.2".parse().unwrap());
    let backup = Peer::start_at(second, |_, _| None);
    let dns = DnsServer::start(
        "one.test MX 10 a.one.test\none.test MX 20 b.one.test\na.one.test A 127.0.0.1\nb.one.test A 127.0.0.2\n",
    );
    let setup = Setup {
        resolver: Some(dns.address()),
        smtp_port: peer.address.port(),
        ..Setup::to(&[])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    peer.messages(1);
    relay.until_empty();
    relay.submit("grey@example.org", &["bob@one.test"], TEXT);
    assert_eq!(backup.messages(1)[0].from, "<grey@example.org>");
    relay.until_empty();
    relay.stop();
    let asked = peer.seen().into_iter().filter(
        |event| matches!(event, Event::Command(_, line) if line.starts_with("MAIL FROM:<grey")),
    );
    assert_eq!(asked.count(), 1);
}

fn until(so: impl Fn() -> bool) {
    let end = Instant::now() + peer::PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "not in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}
