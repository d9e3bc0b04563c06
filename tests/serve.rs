//! `facteur serve` as its owner meets it: what it refuses at start, whom it relays for, how it drains.

mod support;

use std::net::TcpListener;

use support::facteur::{Facteur, refused};
use support::sink::Sink;
use support::smtp::Client;
use support::{Folder, numbered, said, until};

#[test]
fn a_port_in_use_is_one_line_and_nothing_on_the_disk() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let folder = Folder::new();
    let output = refused(folder.as_ref(), &["--listen", &address]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_one_line(&said(&output), &address);
    let files: Vec<_> = std::fs::read_dir(&folder)
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(files, ["no-flags"], "made before the ports were bound");
}

#[test]
fn an_unknown_flag_is_one_line_and_exit_2() {
    let folder = Folder::new();
    let output = refused(folder.as_ref(), &["--no-such-flag", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_one_line(&said(&output), "--no-such-flag");
}

/// The problem is one line, the last; what was logged on the way to it does not count.
#[track_caller]
fn assert_one_line(said: &str, names: &str) {
    let is_logged = |line: &&str| line.contains(" INFO ") || line.contains(" WARN ");
    let problem: Vec<_> = said.lines().skip_while(is_logged).collect();
    assert_eq!(problem.len(), 1, "{said}");
    assert!(problem[0].contains(names), "{said:?} does not name {names}");
}

#[test]
fn a_stranger_may_not_relay() {
    let folder = Folder::new();
    let keep = format!("in.test=maildir:{}", folder.join("mail").display());
    let flags = [
        "--relay-from",
        "192.0.2.0/24",
        "--relay",
        "127.0.0.1:9",
        "--domain",
        &keep,
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .say("MAIL FROM:<a@client.test>", "250")
        .expect("MAIL");
    client
        .say("RCPT TO:<someone@example.test>", "550 5.7.1")
        .expect("a refusal");
    client
        .say("RCPT TO:<to@in.test>", "250")
        .expect("our own domain");
    client.say("QUIT", "221").expect("QUIT");
    facteur.stop();
}

/// RFC 6531, RFC 5890: U-labels and A-labels, in any case, are one domain, whichever of them the flag has.
#[test]
fn our_domain_is_ours_in_any_script_and_case() {
    let folder = Folder::new();
    let keep = format!("b\u{fc}cher.test=maildir:{}", folder.join("mail").display());
    let flags = ["--relay-from", "192.0.2.0/24", "--domain", &keep];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let sender = "MAIL FROM:<a@client.test> SMTPUTF8";
    client.say(sender, "250").expect("MAIL");
    for (address, answer) in [
        ("to@b\u{fc}cher.test", "250"),
        ("ren\u{e9}@B\u{dc}CHER.test", "250"),
        ("to@XN--bcher-kva.test", "250"),
        ("to@bucher.test", "550 5.7.1"),
        ("to@x\u{202e}b\u{fc}cher.test", "553 5.1.2"),
    ] {
        let command = format!("RCPT TO:<{address}>");
        client.say(&command, answer).expect("an answer");
    }
    client.say("QUIT", "221").expect("QUIT");
    facteur.stop();
}

/// CVE-2011-0411: what comes in the clear behind STARTTLS must not be taken for something said inside TLS.
#[test]
fn a_command_in_the_segment_of_starttls_is_never_executed() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .send(b"STARTTLS\r\nVRFY postmaster\r\n")
        .expect("sent");
    let rest = client.rest().expect("closed in time");
    assert!(
        rest.lines().count() <= 1 && !rest.contains("252"),
        "answered: {rest:?}"
    );
    facteur.wait_log(&["STARTTLS"]);
    facteur.stop();
}

#[test]
fn sigterm_lets_an_open_transaction_end() {
    let folder = Folder::new();
    let sink = Sink::start();
    let flags = ["--relay", &sink.address()];
    let mut facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .say("MAIL FROM:<a@client.test>", "250")
        .expect("MAIL");
    client.say("RCPT TO:<b@example.test>", "250").expect("RCPT");
    client.say("DATA", "354").expect("DATA");
    let message = numbered::message(1);
    let (early, late) = message.split_at(message.len() / 2);
    client.send(early).expect("the first half");
    facteur.terminate();
    until("no new connection", || Client::connect(facteur.port).err());
    client.send(late).expect("the second half");
    client.say(".", "250").expect("the transaction's end");
    assert_eq!(facteur.wait_exit().code(), Some(0));

    // Whether it went out in the drain or not: it is there in the end.
    let facteur = Facteur::start(folder.as_ref(), &flags);
    sink.wait_taken(&[1]);
    facteur.stop();
}

#[test]
fn sigterm_lets_an_attempt_past_the_dot_end() {
    let folder = Folder::new();
    let sink = Sink::start();
    let flags = ["--relay", &sink.address()];
    let mut facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    sink.hold();
    client
        .submit("a@client.test", "b@example.test", &numbered::message(1))
        .expect("accepted");
    client.say("QUIT", "221").expect("QUIT");
    sink.wait_held();
    facteur.terminate();
    until("no new connection", || Client::connect(facteur.port).err());
    sink.go_on();
    assert_eq!(facteur.wait_exit().code(), Some(0));

    // Were the delivery not on the disk, the message would go out again, before the second.
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .submit("a@client.test", "b@example.test", &numbered::message(2))
        .expect("accepted");
    sink.wait_taken(&[1, 2]);
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new());
    assert_eq!(sink.count(), 2);
}
