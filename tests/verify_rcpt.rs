//! `--verify-rcpt`: what the target of a domain says of a recipient decides at RCPT, and nothing else does.

#[path = "support/peer.rs"]
mod peer;
mod support;

use facteur::limits;
use peer::{Answer, Event, Peer};
use support::Folder;
use support::facteur::Facteur;
use support::smtp::Client;

/// A relay that asks `peer` about the recipients of in.test.
fn relay(folder: &Folder, peer: &Peer) -> (Facteur, Client) {
    let domain = format!("in.test=smtp:{}", peer.address);
    let flags = [
        "--domain",
        &domain,
        "--verify-rcpt",
        "--route",
        "*=smtp:[127.0.0.1]:1",
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO x", "250").expect("hello");
    client.say("MAIL FROM:<a@out.test>", "250").expect("MAIL");
    (facteur, client)
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
fn a_target_that_is_down_or_silent_costs_a_moment_once() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| (asked == "GREETING").then_some(Answer::Stall));
    let (facteur, mut client) = relay(&folder, &peer);
    for local in ["a", "b", "c"] {
        client
            .say(&format!("RCPT TO:<{local}@in.test>"), "250")
            .expect("accepted");
    }
    assert_eq!(
        peer.connections(),
        1,
        "it was asked again though it is silent"
    );
    facteur.kill();
}

#[test]
fn a_session_causes_so_many_questions() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| {
        let no = asked.starts_with("RCPT TO:<no");
        no.then_some(Answer::Say("550 5.1.1 nobody"))
    });
    let (facteur, mut client) = relay(&folder, &peer);
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
        .say("RCPT TO:<no2@in.test>", "250")
        .expect("taken unasked");
    client
        .say("RCPT TO:<no1@in.test>", "550 5.1.1 nobody")
        .expect("remembered");
    assert_eq!(peer.connections(), limits::VERIFY_ASKS);
    // Another session has its own.
    let mut other = Client::connect(facteur.port).expect("a session");
    other.say("EHLO x", "250").expect("hello");
    other.say("MAIL FROM:<a@out.test>", "250").expect("MAIL");
    other
        .say("RCPT TO:<no2@in.test>", "550 5.1.1 nobody")
        .expect("refused");
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
