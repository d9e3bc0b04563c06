//! What the relay puts before a message, read where it ends up: Received, and from trusted clients what is missing.

mod certificates;
mod support;

use std::fs;
use support::facteur::Facteur;
use support::smtp::Client;
use support::{Folder, free_port, maildir_messages, program, succeed, until};

/// A relay with a Maildir for each user of in.test.
fn relay(folder: &Folder, flags: &[&str]) -> Facteur {
    let boxes = format!(
        "in.test=maildir:{}/mail/{{user}}",
        folder.as_ref().display()
    );
    let all = [&["--hostname", "mx.test", "--domain", &boxes], flags].concat();
    Facteur::start(folder.as_ref(), &all)
}

/// The only message of a user.
fn message_for(folder: &Folder, user: &str) -> String {
    let below = folder.join("mail").join(user);
    let path = until("a message", || maildir_messages(&below).pop());
    fs::read_to_string(path).expect("a message in UTF-8")
}

/// One transaction over a new connection: the words that open it, MAIL, and each RCPT.
fn send(facteur: &Facteur, commands: &[&str], message: &str) {
    let mut client = Client::connect(facteur.port).expect("a session");
    for command in commands {
        client.say(command, "250").expect(command);
    }
    client.say("DATA", "354").expect("DATA");
    client.send(message.as_bytes()).expect("sent");
    client.say(".", "250 2.0.0").expect("accepted");
    client.say("QUIT", "221").expect("QUIT");
}

/// The first line that begins so, with its continuation lines, unfolded.
fn field(message: &str, name: &str) -> String {
    let unfolded = message.replace("\r\n", "\n").replace("\n\t", " ");
    let found = unfolded.lines().find(|line| line.starts_with(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {message}"))
        .to_owned()
}

const WHOLE: &str =
    "Date: Tue, 24 Nov 2026 04:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n\r\nhello\r\n";

#[test]
fn received_tells_how_the_message_came() {
    let folder = Folder::new();
    let facteur = relay(&folder, &[]);
    let cases: [(&str, &[&str], &str); 5] = [
        (
            "helo",
            &["HELO [192.0.2.9]", "MAIL FROM:<a@b.test>"],
            "from [192.0.2.9] ([127.0.0.1]) by mx.test with SMTP id",
        ),
        (
            "ehlo",
            &["EHLO client.test", "MAIL FROM:<a@b.test>"],
            "from client.test ([127.0.0.1]) by mx.test with ESMTP id",
        ),
        (
            "utf8",
            &["EHLO client.test", "MAIL FROM:<é@b.test> SMTPUTF8"],
            "from client.test ([127.0.0.1]) by mx.test with UTF8SMTP id",
        ),
        (
            "ascii",
            &["EHLO client.test", "MAIL FROM:<a@b.test> BODY=8BITMIME"],
            "with ESMTP id",
        ),
        (
            "odd",
            &["EHLO a(b;c", "MAIL FROM:<>"],
            "from [127.0.0.1] (helo=a?b?c) by mx.test with ESMTP id",
        ),
    ];
    for (user, opening, expected) in cases {
        let rcpt = format!("RCPT TO:<{user}@in.test>");
        send(&facteur, &[opening, &[&rcpt]].concat(), WHOLE);
        let received = field(&message_for(&folder, user), "Received: ");
        assert!(received.contains(expected), "{received}");
        assert!(
            received.contains(&format!(" for <{user}@in.test>; ")),
            "{received}"
        );
        assert!(
            !received.contains("tls") && received.ends_with(" +0000"),
            "{received}"
        );
    }
    facteur.stop();
}

#[test]
fn received_does_not_tell_one_recipient_of_another() {
    let folder = Folder::new();
    let facteur = relay(&folder, &[]);
    let commands = [
        "EHLO client.test",
        "MAIL FROM:<a@b.test>",
        "RCPT TO:<bob@in.test>",
        "RCPT TO:<carol@in.test>",
    ];
    send(&facteur, &commands, WHOLE);
    for (user, other) in [("bob", "carol"), ("carol", "bob")] {
        let message = message_for(&folder, user);
        assert!(!message.contains(other), "{message}");
        assert!(
            !field(&message, "Received: ").contains(" for "),
            "{message}"
        );
    }
    facteur.stop();
}

#[test]
fn received_and_the_log_tell_how_the_server_name_was_answered() {
    let certs = certificates::Folder::new();
    certs.lineage("mx.test", &certificates::made(&["mx.test"]));
    certs.lineage("wild", &certificates::made(&["*.wild.test"]));
    let dir = certs.path().to_str().expect("UTF-8");
    let folder = Folder::new();
    let facteur = relay(&folder, &["--certs", dir]);
    for (user, name, told, logged) in [
        (
            "exact",
            "MX.test",
            "(sni mx.test exact)",
            "sni=mx.test entry=exact",
        ),
        (
            "parent",
            "a.wild.test",
            "(sni a.wild.test *.wild.test)",
            "sni=a.wild.test entry=*.wild.test",
        ),
        (
            "unknown",
            "odd.test",
            "(sni odd.test unknown)",
            "sni=odd.test entry=default",
        ),
        ("none", "127.0.0.1", "(no sni)", " entry=default"),
    ] {
        let client = Client::connect(facteur.port).expect("a session");
        let mut client = client
            .starttls(facteur::tls::client::config(), name)
            .expect("TLS");
        client.say("EHLO client.test", "250").expect("EHLO");
        let recipient = format!("{user}@in.test");
        client
            .submit("a@b.test", &recipient, WHOLE.as_bytes())
            .expect("accepted");
        let received = field(&message_for(&folder, user), "Received: ");
        assert!(
            received.contains(&format!(" (TLSv1.3) {told}; ")),
            "{received}"
        );
        facteur.wait_log(&["accepted", logged]);
    }
    facteur.stop();
}

/// RFC 8314 4.3 and RFC 6531 4.3, by another's client.
#[test]
fn received_tells_of_tls() {
    let folder = Folder::new();
    let facteur = relay(&folder, &[]);
    for (user, options) in [("plain", "[]"), ("utf8", "['SMTPUTF8', 'BODY=8BITMIME']")] {
        let script = format!(
            "import smtplib, ssl\n\
             context = ssl._create_unverified_context()\n\
             session = smtplib.SMTP('127.0.0.1', {}, 'client.test')\n\
             session.starttls(context=context)\n\
             session.sendmail('a@b.test', ['{user}@in.test'], 'Subject: x\\r\\n\\r\\nx\\r\\n', {options})\n\
             session.quit()\n",
            facteur.port
        );
        succeed(program("python3", "python3").args(["-c", &script]));
        let received = field(&message_for(&folder, user), "Received: ");
        let with = if user == "utf8" {
            "UTF8SMTPS"
        } else {
            "ESMTPS"
        };
        assert!(
            received.contains(&format!("by mx.test with {with} id ")),
            "{received}"
        );
        assert!(
            received.contains(" tls TLS_") && received.contains(" group "),
            "{received}"
        );
        assert!(received.contains(" (TLSv1.3) (no sni); "), "{received}");
    }
    facteur.stop();
}

#[test]
fn what_a_trusted_client_leaves_out_is_added() {
    let folder = Folder::new();
    let facteur = relay(&folder, &["--domain", "mx.test=maildir:mail/{user}"]);
    let commands = ["HELO printer", "MAIL FROM:<scanner>", "RCPT TO:<ann>"];
    send(&facteur, &commands, "Subject: scan\r\n\r\npage one\r\n");
    let message = message_for(&folder, "ann");
    assert!(
        field(&message, "Return-Path:").contains("<scanner@mx.test>"),
        "{message}"
    );
    assert!(
        field(&message, "Received: ").contains("for <ann@mx.test>"),
        "{message}"
    );
    assert!(field(&message, "Date: ").ends_with(" +0000"), "{message}");
    assert!(
        field(&message, "Message-ID: <").ends_with("@mx.test>"),
        "{message}"
    );

    let commands = [
        "HELO printer",
        "MAIL FROM:<scanner>",
        "RCPT TO:<bob@in.test>",
    ];
    send(&facteur, &commands, WHOLE);
    let message = message_for(&folder, "bob");
    for name in ["Date: ", "Message-ID: "] {
        assert_eq!(message.matches(name).count(), 1, "{message}");
    }
    facteur.stop();
}

#[test]
fn nothing_is_added_to_a_stranger_s_message() {
    let folder = Folder::new();
    let facteur = relay(&folder, &["--relay-from", "192.0.2.0/24"]);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client.say("MAIL FROM:<a>", "501 5.1.7").expect("no domain");
    client.say("MAIL FROM:<a@b.test>", "250").expect("MAIL");
    client.say("RCPT TO:<ann>", "501 5.1.3").expect("no domain");
    client
        .say("RCPT TO:<\"postmaster\">", "250")
        .expect("Postmaster");
    client.say("DATA", "354").expect("DATA");
    client.send(b"Subject: x\r\n\r\nx\r\n").expect("sent");
    client.say(".", "250 2.0.0").expect("accepted");
    let message = message_for(&folder, "postmaster");
    assert!(
        !message.contains("Date: ") && !message.contains("Message-ID: "),
        "{message}"
    );
    facteur.stop();
}

/// IPv4-mapped addresses count as IPv4 everywhere: who is trusted, and what Received says.
#[test]
fn an_ipv4_client_of_an_ipv6_listener_is_one_of_ipv4() {
    let (Ok(_), port) = (std::net::TcpListener::bind("[::]:0"), free_port()) else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let folder = Folder::new();
    let listen = format!("[::]:{port}");
    let flags = ["--listen", &listen, "--relay-from", "127.0.0.0/8"];
    let facteur = relay(&folder, &flags);
    let mut client = Client::connect(port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client.say("MAIL FROM:<a@b.test>", "250").expect("MAIL");
    client.say("RCPT TO:<c@d.test>", "250").expect("trusted");
    client.say("RSET", "250").expect("RSET");
    client
        .submit("a@b.test", "bob@in.test", WHOLE.as_bytes())
        .expect("accepted");
    let received = field(&message_for(&folder, "bob"), "Received: ");
    assert!(
        received.contains("from client.test ([127.0.0.1]) by"),
        "{received}"
    );
    facteur.stop();
}
