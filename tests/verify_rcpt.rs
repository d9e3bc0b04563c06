//! `--verify-rcpt`: what the target of a domain says of a recipient decides at RCPT, and nothing else does.

#[path = "support/peer.rs"]
mod peer;
mod support;

use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use facteur::limits;
use peer::{Answer, Event, Peer};
use support::Folder;
use support::facteur::Facteur;
use support::smtp::Client;

/// A relay that asks `peer` about the recipients of in.test, and a session of a client that it trusts.
fn relay(folder: &Folder, peer: &Peer) -> (Facteur, Client) {
    relay_to(folder, &[&format!("in.test=smtp:{}", peer.address)])
}

fn relay_to(folder: &Folder, domains: &[&str]) -> (Facteur, Client) {
    let mut flags = vec!["--verify-rcpt", "--route", "*=smtp:[127.0.0.1]:1"];
    flags.extend(["--relay-from", "127.0.0.1/32"]);
    for domain in domains {
        flags.extend(["--domain", domain]);
    }
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO x", "250").expect("hello");
    client.say("MAIL FROM:<a@out.test>", "250").expect("MAIL");
    (facteur, client)
}

/// The n-th of those whom it does not trust, behind MAIL.
fn stranger(facteur: &Facteur, n: u8) -> Client {
    let source = Ipv4Addr::new(127, 0, 1, n);
    let mut client = Client::dial_from(source, facteur.port).expect("a session");
    client.expect("220").expect("a greeting");
    client.say("EHLO x", "250").expect("hello");
    client.say("MAIL FROM:<a@out.test>", "250").expect("MAIL");
    client
}

/// The replies to RCPT, each from a stranger of its own, all at once.
fn replies(facteur: &Facteur, recipients: &[String]) -> Vec<String> {
    let strangers: Vec<Client> = (1..)
        .take(recipients.len())
        .map(|n| stranger(facteur, n))
        .collect();
    thread::scope(|scope| {
        let ask = |(mut client, to): (Client, _)| {
            scope.spawn(move || client.say(&format!("RCPT TO:<{to}>"), "").expect("a reply"))
        };
        let asked: Vec<_> = strangers.into_iter().zip(recipients).map(ask).collect();
        asked
            .into_iter()
            .map(|it| it.join().expect("a reply"))
            .collect()
    })
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("no{n}@in.test")).collect()
}

/// Closed until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        let _open = self.0.1.wait_while(closed, |open| !*open).unwrap();
    }
}

fn commands(peer: &Peer) -> Vec<String> {
    let command = |event: Event| match event {
        Event::Command(_, line) => Some(line),
        _ => None,
    };
    peer.seen().into_iter().filter_map(command).collect()
}

#[test]
fn the_target_s_refusal_is_the_answer_to_rcpt_and_is_remembered() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| match asked {
        "RCPT TO:<no@in.test>" => {
            Some(Answer::Say("550-5.1.1 We know of\r\n550 5.1.1 nobody here"))
        }
        "RCPT TO:<odd@in.test>" => Some(Answer::Say("571 go away")),
        "RCPT TO:<later@in.test>" => Some(Answer::Say("450 4.2.1 later")),
        _ => None,
    });
    let (facteur, mut client) = relay(&folder, &peer);
    client
        .say(
            "RCPT TO:<no@in.test>",
            "550 5.1.1 We know of nobody here\r\n",
        )
        .expect("refused in its words");
    let asked = [
        &format!("EHLO {}", own_name(&peer)),
        "MAIL FROM:<>",
        "RCPT TO:<no@in.test>",
        "QUIT",
    ];
    peer.wait(|events| {
        events
            .contains(&Event::Command(0, "QUIT".to_owned()))
            .then_some(())
    });
    assert_eq!(commands(&peer), asked);
    client
        .say(
            "RCPT TO:<no@in.test>",
            "550 5.1.1 We know of nobody here\r\n",
        )
        .expect("refused in its words");
    assert_eq!(peer.connections(), 1, "it was asked again");
    for fine in [
        "yes@in.test",
        "yes@in.test",
        "later@in.test",
        "no@elsewhere.test",
    ] {
        client
            .say(&format!("RCPT TO:<{fine}>"), "250")
            .expect("accepted");
    }
    assert_eq!(peer.connections(), 3);
    client
        .say("RCPT TO:<odd@in.test>", "550 5.1.1 go away\r\n")
        .expect("refused");
    drop(client);
    facteur.stop();
}

fn own_name(peer: &Peer) -> String {
    let hello = commands(peer).remove(0);
    hello.trim_start_matches("EHLO ").to_owned()
}

#[test]
fn what_is_not_about_the_recipient_refuses_nobody() {
    for (what, answer) in [
        ("GREETING", "554 5.7.1 not you"),
        ("MAIL FROM:<>", "550 5.7.1 no null sender"),
        ("RCPT TO:<b@in.test>", "421 4.3.2 stopping"),
    ] {
        let folder = Folder::new();
        let peer = Peer::start(move |_, asked| {
            // Behind a refused MAIL, RCPT is refused, too.
            let follows = what == "MAIL FROM:<>" && asked.starts_with("RCPT");
            (asked == what || follows).then_some(Answer::Say(answer))
        });
        let (facteur, mut client) = relay(&folder, &peer);
        client.say("RCPT TO:<b@in.test>", "250").expect(what);
        drop(client);
        facteur.stop();
    }
}

#[test]
fn a_target_that_is_silent_about_several_addresses_is_not_asked_for_a_while() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| (asked == "GREETING").then_some(Answer::Stall));
    let (facteur, mut client) = relay(&folder, &peer);
    for reply in replies(&facteur, &numbered(limits::VERIFY_SILENCES)) {
        assert!(reply.starts_with("250"), "{reply}");
    }
    client.say("RCPT TO:<b@in.test>", "250").expect("accepted");
    let count = peer.connections();
    assert_eq!(
        count,
        limits::VERIFY_SILENCES,
        "it was asked though it is silent"
    );
    facteur.wait_log(&["WARN", "result=paused", "from=", "until=", "no answer"]);
    facteur.kill();
}

/// A host that is slow about those whom it does not know must not open the door for them all.
#[test]
fn a_target_that_is_silent_about_one_address_is_asked_about_others() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| match asked {
        "RCPT TO:<slow@in.test>" => Some(Answer::Stall),
        "RCPT TO:<no@in.test>" => Some(Answer::Say("550 5.1.1 nobody")),
        _ => None,
    });
    let (facteur, mut client) = relay(&folder, &peer);
    for _ in 0..2 {
        client
            .say("RCPT TO:<slow@in.test>", "250")
            .expect("accepted");
    }
    client
        .say("RCPT TO:<no@in.test>", "550 5.1.1")
        .expect("refused");
    assert_eq!(peer.connections(), 2);
    facteur.kill();
}

#[test]
fn a_target_that_takes_no_null_sender_cannot_be_asked_and_the_log_says_so() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| {
        let refused = asked.starts_with("MAIL") || asked.starts_with("RCPT");
        refused.then_some(Answer::Say("550 5.7.1 no null sender"))
    });
    let (facteur, mut client) = relay(&folder, &peer);
    for local in ["a", "b"] {
        client
            .say(&format!("RCPT TO:<{local}@in.test>"), "250")
            .expect("accepted");
    }
    assert_eq!(peer.connections(), 1);
    facteur.wait_log(&["WARN", "refuses MAIL FROM:<>", "550 5.7.1 no null sender"]);
    drop(client);
    facteur.stop();
}

/// What was accepted unasked would come back as a bounce to a forged sender.
#[test]
fn a_flood_of_questions_waits_for_connections_and_gets_nobody_in() {
    let folder = Folder::new();
    let (all_busy, gate) = (limits::VERIFY_CONNECTIONS - 1, Gate::default());
    let peer = Peer::start(move |number, asked| {
        if (number, asked) == (all_busy, "GREETING") {
            gate.open();
        }
        asked.starts_with("RCPT").then(|| {
            gate.pass();
            Answer::Say("550 5.1.1 nobody")
        })
    });
    let (facteur, client) = relay(&folder, &peer);
    for reply in replies(&facteur, &numbered(5 * limits::VERIFY_CONNECTIONS)) {
        assert!(reply.starts_with("550 5.1.1 nobody"), "{reply}");
    }
    // While others wait, a connection is kept for the next question; none is asked too much.
    let of = |peer: &Peer, number| {
        let is_rcpt = |event: &&Event| matches!(event, Event::Command(n, line) if *n == number && line.starts_with("RCPT"));
        peer.seen().iter().filter(is_rcpt).count()
    };
    let asked: Vec<usize> = (0..peer.connections()).map(|n| of(&peer, n)).collect();
    assert!(asked.iter().any(|&count| count > 1), "{asked:?}");
    assert!(
        asked.iter().all(|&count| count <= limits::VERIFY_QUESTIONS),
        "{asked:?}"
    );
    drop(client);
    facteur.stop();
}

#[test]
fn those_who_ask_of_one_address_at_once_share_an_answer() {
    let folder = Folder::new();
    let gate = Gate::default();
    let of_peer = gate.clone();
    let peer = Peer::start(move |_, asked| {
        asked.starts_with("RCPT").then(|| {
            of_peer.pass();
            Answer::Say("550 5.1.1 nobody")
        })
    });
    let (facteur, client) = relay(&folder, &peer);
    let mut strangers: Vec<Client> = (1..=20).map(|n| stranger(&facteur, n)).collect();
    for client in &mut strangers {
        client.send(b"RCPT TO:<no@in.test>\r\n").expect("written");
    }
    Client::wait_read(&strangers);
    gate.open();
    for client in &mut strangers {
        client.expect("550 5.1.1 nobody").expect("refused");
    }
    assert_eq!(peer.connections(), 1);
    drop((client, strangers));
    facteur.stop();
}

/// Where it is our own limit that keeps it from asking, the target's silence says nothing.
#[test]
fn without_a_free_connection_a_stranger_is_put_off_and_a_trusted_client_is_not() {
    let folder = Folder::new();
    // Too few questions at each to find it silent.
    let targets = limits::VERIFY_CONNECTIONS.div_ceil(limits::VERIFY_SILENCES - 1) + 1;
    let silent = |_| Peer::start(|_, asked| asked.starts_with("RCPT").then_some(Answer::Stall));
    let peers: Vec<Peer> = (0..targets).map(silent).collect();
    let domain = |(n, peer): (usize, &Peer)| format!("d{n}.test=smtp:{}", peer.address);
    let domains: Vec<String> = peers.iter().enumerate().map(domain).collect();
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    let (facteur, mut client) = relay_to(&folder, &domains);
    let mut busy: Vec<Client> = (1..)
        .take(limits::VERIFY_CONNECTIONS)
        .map(|n| stranger(&facteur, n))
        .collect();
    for (n, busy) in busy.iter_mut().enumerate() {
        let rcpt = format!("RCPT TO:<r{n}@d{}.test>\r\n", n % (targets - 1));
        busy.send(rcpt.as_bytes()).expect("written");
    }
    let connections = || peers.iter().map(Peer::connections).sum::<usize>();
    support::until("all connections taken", || {
        (connections() == limits::VERIFY_CONNECTIONS).then_some(())
    });
    let mut late = stranger(&facteur, 99);
    let last = targets - 1;
    late.send(format!("RCPT TO:<late@d{last}.test>\r\n").as_bytes())
        .expect("written");
    client
        .send(format!("RCPT TO:<ours@d{last}.test>\r\n").as_bytes())
        .expect("written");
    late.expect("450 4.3.2").expect("to come again");
    client.expect("250").expect("accepted");
    facteur.wait_log(&["WARN", "result=unasked", "no connection"]);
    facteur.kill();
}

#[test]
fn a_stranger_s_session_causes_so_many_questions() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| {
        let no = asked.starts_with("RCPT TO:<no");
        no.then_some(Answer::Say("550 5.1.1 nobody"))
    });
    let (facteur, _) = relay(&folder, &peer);
    let mut client = stranger(&facteur, 1);
    client
        .say("RCPT TO:<no1@in.test>", "550 5.1.1 nobody")
        .expect("refused");
    for n in 1..limits::VERIFY_ASKS {
        if n % 100 == 0 {
            client.say("RSET", "250").expect("RSET");
            client.say("MAIL FROM:<a@out.test>", "250").expect("MAIL");
        }
        client
            .say(&format!("RCPT TO:<u{n}@in.test>"), "250")
            .expect("taken");
    }
    client.say("RSET", "250").expect("RSET");
    client.say("MAIL FROM:<a@out.test>", "250").expect("MAIL");
    client
        .say("RCPT TO:<no2@in.test>", "450 4.3.2")
        .expect("to come in another session");
    client
        .say("RCPT TO:<no1@in.test>", "550 5.1.1 nobody")
        .expect("remembered");
    assert_eq!(peer.connections(), limits::VERIFY_ASKS);
    // Another session has its own.
    let mut other = stranger(&facteur, 2);
    other
        .say("RCPT TO:<no2@in.test>", "550 5.1.1 nobody")
        .expect("refused");
    facteur.wait_log(&["WARN", "result=unasked", "used its questions up"]);
    drop((client, other));
    facteur.stop();
}

#[test]
fn postmaster_is_taken_without_asking() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| {
        asked
            .starts_with("RCPT")
            .then_some(Answer::Say("550 5.1.1 nobody"))
    });
    let (facteur, mut client) = relay(&folder, &peer);
    client
        .say("RCPT TO:<PostMaster@in.test>", "250")
        .expect("taken");
    client
        .say("RCPT TO:<ann@in.test>", "550 5.1.1")
        .expect("refused");
    assert_eq!(peer.connections(), 1);
    drop(client);
    facteur.stop();
}
