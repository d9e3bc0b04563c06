//! `--relay-sender`: what a smarthost sees of this machine's own mail, and who hears of failures.

#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::{Answer, Event, Peer, Received};
use support::facteur::Facteur;
use support::smtp::Client;

const MAIL: &[u8] = b"From: Cron <root@pi>\r\nDate: x\r\nMessage-ID: <1@pi>\r\nSubject: hello\r\n\r\nFrom: root\r\n";

fn sent(flags: &[&str], from: &str) -> (Received, Vec<Event>) {
    let folder = support::Folder::new();
    let peer = Peer::start(|_, asked| {
        let sized = "250-peer.example\r\n250 SIZE 100000";
        asked.starts_with("EHLO").then_some(Answer::Say(sized))
    });
    let relay = peer.address.to_string();
    let flags = [&["--hostname", "pi", "--relay", &relay], flags].concat();
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO pi.test", "250").expect("EHLO");
    client.submit(from, "ann@example.org", MAIL).expect("250");
    let message = peer.messages(1).remove(0);
    facteur.stop();
    (message, peer.seen())
}

/// The message's own lines: without what the relay puts before them.
fn own(message: &Received) -> &str {
    let start = message.data.find("From: Cron").expect("a From field");
    &message.data[start..]
}

#[test]
fn a_smarthost_sees_the_address_that_it_accepts() {
    let (message, _) = sent(&["--relay-sender", "me@isp.example"], "root@pi");
    assert_eq!(message.from, "<me@isp.example>");
    assert!(own(&message).starts_with("From: Cron <root@pi>\r\n"));
    let (other, _) = sent(&["--relay-sender", "me@isp.example"], "bob@other.example");
    assert_eq!(other.from, "<bob@other.example>");
}

#[test]
fn the_from_field_too_and_the_size_is_that_of_what_comes() {
    let flags = [
        "--relay-sender",
        "a-much-longer-name@isp.example",
        "--relay-sender-header",
    ];
    let (message, seen) = sent(&flags, "root@pi");
    assert_eq!(message.from, "<a-much-longer-name@isp.example>");
    let own = own(&message);
    assert!(
        own.starts_with("From: Cron <a-much-longer-name@isp.example>\r\nDate: x\r\n"),
        "{own}"
    );
    assert!(own.ends_with("\r\n\r\nFrom: root\r\n"), "{own}");
    let size = format!(" SIZE={}", message.data.len());
    let mail = seen.iter().find_map(|event| match event {
        Event::Command(_, line) if line.starts_with("MAIL") => Some(line),
        _ => None,
    });
    assert!(
        mail.is_some_and(|line| line.contains(&size)),
        "{mail:?} {size}"
    );
}

/// The host refuses; the report goes to the sender whom this machine knows, and keeps the null sender.
#[test]
fn the_local_sender_hears_of_a_failure() {
    let folder = support::Folder::new();
    let peer = Peer::start(|_, asked| {
        let refused = asked.starts_with("RCPT TO:<nobody");
        refused.then_some(Answer::Say("550 5.1.1 no such user"))
    });
    let relay = peer.address.to_string();
    let target = format!("pi=maildir:{}", folder.join("{user}").display());
    let flags = [
        "--hostname",
        "pi",
        "--relay",
        &relay,
        "--domain",
        &target,
        "--relay-sender",
        "me@isp.example",
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO pi.test", "250").expect("EHLO");
    client
        .submit("root@pi", "nobody@example.org", MAIL)
        .expect("250");
    let report = support::until("the report", || {
        let found = support::maildir_messages(&folder.join("root"));
        found
            .first()
            .and_then(|file| std::fs::read_to_string(file).ok())
    });
    assert!(report.starts_with("Return-Path: <>"), "{report}");
    assert!(report.contains("no such user"), "{report}");
    client.submit("", "ann@example.org", MAIL).expect("250");
    assert_eq!(peer.messages(1)[0].from, "<>");
    facteur.stop();
}

/// The README's own set-up: programs here write as root at whatever the system is called, which is not --hostname.
#[test]
fn all_that_this_machine_is_called_is_its_own() {
    let folder = support::Folder::new();
    folder.file("aliases", "root: you@isp.example\n");
    let peer = Peer::start(|_, _| None);
    let relay = peer.address.to_string();
    let flags = [
        ["--hostname", "pi.home.arpa"],
        ["--alias", "aliases"],
        ["--relay", &relay],
        ["--relay-sender", "me@isp.example"],
    ];
    let facteur = Facteur::start(folder.as_ref(), flags.as_flattened());
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let node = node.trim().to_ascii_lowercase();
    let short = node.split('.').next().expect("a label");
    let line = facteur.wait_log(&["machine hostname=pi.home.arpa", "localhost.localdomain"]);
    assert!(line.contains(short), "{line}");
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO pi.test", "250").expect("EHLO");
    let domains = [
        "pi.home.arpa",
        "localhost",
        "localhost.localdomain",
        short,
        "raspberrypi",
    ];
    for (at, domain) in domains.into_iter().enumerate() {
        let from = format!("root@{domain}");
        client.submit(&from, "ann@example.org", MAIL).expect(&from);
        let message = peer.messages(at + 1).remove(at);
        assert_eq!(message.from, "<me@isp.example>", "{from}");
    }
    for (at, domain) in domains[..4].iter().enumerate() {
        let to = format!("root@{domain}");
        client.submit("root", &to, MAIL).expect(&to);
        let message = peer.messages(domains.len() + at + 1).pop();
        assert_eq!(message.expect("one").to, ["<you@isp.example>"], "{to}");
        if *domain == "localhost" {
            continue; // It has Maildirs, by the compiled-in flags.
        }
        let nobody = format!("RCPT TO:<nobody@{domain}>");
        client.say("MAIL FROM:<root>", "250").expect("MAIL");
        client.say(&nobody, "550 5.1.1").expect(&nobody);
        client.say("RSET", "250").expect("RSET");
    }
    facteur.stop();
}
