//! What sessions get from the real server that transcripts cannot show: deadlines, slots, turns, and the log.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::facteur::Facteur;
use support::smtp::Client;
use support::{Folder, free_port, program, succeed, until};

fn greeted(port: u16) -> Client {
    let mut client = Client::connect(port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
}

#[test]
fn a_group_is_answered_to_its_last_command() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let mut client = Client::connect(facteur.port).expect("a session");
    let group = "NOOP\r\nFOO\r\nEHLO client.test\r\nMAIL FROM:<a@b.test> SIZE=999999999999\r\n\
                 RCPT TO:<c@localhost>\r\nDATA\r\nRSET\r\nQUIT\r\n";
    client.send(group.as_bytes()).expect("sent");
    let rest = client.rest().expect("answered and closed");
    let codes: Vec<&str> = rest
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| &line[..3])
        .collect();
    assert_eq!(
        codes,
        ["250", "500", "250", "552", "503", "503", "250", "221"],
        "{rest}"
    );
    facteur.stop();
}

#[test]
fn a_command_that_trickles_in_is_given_up() {
    let folder = Folder::new();
    // The one session is 90 % of the slots: patience is 10 s.
    let facteur = Facteur::start(folder.as_ref(), &["--sessions", "1"]);
    let mut client = until("the slot", || Client::connect(facteur.port).ok());
    client.say("EHLO client.test", "250").expect("EHLO");
    let began = Instant::now();
    // An octet a second: no read by the server may renew the client's time.
    let farewell = until("the farewell", || {
        client.send(b"x").expect("sent");
        client.hear(Duration::from_secs(1))
    });
    assert!(farewell.starts_with("421 4.4.2"), "{farewell}");
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
    facteur.wait_log(&["disconnect", "timed out"]);
    facteur.stop();
}

#[test]
fn who_says_nothing_to_a_full_house_waits_no_longer_for_tls_than_for_a_greeting() {
    let (folder, tls) = (Folder::new(), free_port());
    let address = format!("127.0.0.1:{tls}");
    let flags = ["--sessions", "1", "--listen-tls", &address];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    until("the end of its patience", || {
        // Turned away at once while the harness's own session has the slot.
        let mut silent = Client::dial(tls).expect("a connection");
        assert_eq!(silent.rest().expect("closed"), "");
        let log = facteur.log();
        assert!(!log.contains("no answer within 30s"), "{log}");
        log.contains("TLS: late: no answer within 10s")
            .then_some(())
    });
    facteur.stop();
}

#[test]
fn past_the_last_slot_one_line_says_so() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--sessions", "2"]);
    let greeted = || until("a slot", || Client::connect(facteur.port).ok());
    let (first, _second) = (greeted(), greeted());
    let mut third = Client::dial(facteur.port).expect("a connection");
    third.expect("421 4.3.2").expect("turned away");
    facteur.wait_log(&["turned away", "421 4.3.2"]);
    drop(first);
    until("the slot comes back", || Client::connect(facteur.port).ok());
    facteur.stop();
}

#[test]
fn a_flood_of_clients_is_no_flood_of_lines() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--sessions", "1"]);
    let _only = until("the slot", || Client::connect(facteur.port).ok());
    let began = Instant::now();
    for _ in 0..100 {
        let mut client = Client::dial(facteur.port).expect("a connection");
        client.expect("421 4.3.2").expect("turned away");
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few");
    let lines = facteur.log().matches("turned away").count();
    assert!((1..=seconds + 3).contains(&lines), "{lines}");
    facteur.stop();
}

#[test]
fn a_stranger_s_address_has_its_share() {
    let folder = Folder::new();
    let flags = [
        "--relay-from",
        "192.0.2.0/24",
        "--sessions-per-address",
        "2",
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let greeted = || until("a slot", || Client::connect(facteur.port).ok());
    let _both = [greeted(), greeted()];
    let mut third = Client::dial(facteur.port).expect("a connection");
    third.expect("421 4.7.0").expect("turned away");
    facteur.stop();
}

#[test]
fn clients_that_say_nothing_keep_nobody_from_tls() {
    let folder = Folder::new();
    let tls = free_port();
    let address = format!("127.0.0.1:{tls}");
    let facteur = Facteur::start(folder.as_ref(), &["--listen-tls", &address]);
    let silent: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(&address).expect("a connection"))
        .collect();
    let mut swaks = program("swaks", "swaks");
    let said = succeed(
        swaks
            .args(["--server", &address, "--tls-on-connect", "--timeout", "15"])
            .args([
                "--from",
                "a@b.test",
                "--to",
                "c@localhost",
                "--body",
                "through",
            ]),
    );
    assert!(said.contains("queued as"), "{said}");
    drop(silent);
    facteur.stop();
}

#[test]
fn a_transaction_that_does_not_end_is_cut_off_with_a_word() {
    let folder = Folder::new();
    let mut facteur = Facteur::start(folder.as_ref(), &[]);
    let mut client = greeted(facteur.port);
    client.say("MAIL FROM:<a@b.test>", "250").expect("MAIL");
    facteur.terminate();
    client.expect("421 4.3.2").expect("a farewell");
    assert_eq!(facteur.wait_exit().code(), Some(0));
    assert!(facteur.log().contains("aborted"), "{}", facteur.log());
}

#[test]
fn who_says_nothing_where_a_handshake_is_due_does_not_hold_up_the_end() {
    let (folder, tls) = (Folder::new(), free_port());
    let address = format!("127.0.0.1:{tls}");
    let mut facteur = Facteur::start(folder.as_ref(), &["--listen-tls", &address]);
    let _silent = Client::dial(tls).expect("a connection");
    let mut client = greeted(facteur.port);
    client.say("STARTTLS", "220").expect("STARTTLS");
    facteur.terminate();
    assert_eq!(facteur.wait_exit().code(), Some(0));
    let log = facteur.log();
    assert_eq!(log.matches("TLS: shutting down").count(), 2, "{log}");
    assert!(!log.contains("cut off"), "{log}");
}

#[test]
fn a_refused_message_is_in_the_log() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--message-size", "1K"]);
    let mut client = greeted(facteur.port);
    client.say("MAIL FROM:<a@b.test>", "250").expect("MAIL");
    client.say("RCPT TO:<c@localhost>", "250").expect("RCPT");
    client.say("DATA", "354").expect("DATA");
    client.send("x".repeat(1_500).as_bytes()).expect("sent");
    client.say("\r\n.", "552 5.3.4").expect("refused");
    facteur.wait_log(&["refused", "a@b.test", "552 5.3.4"]);
    facteur.stop();
}

#[test]
fn past_the_last_slot_implicit_tls_is_closed_without_a_word() {
    let folder = Folder::new();
    let tls = free_port();
    let address = format!("127.0.0.1:{tls}");
    let flags = ["--sessions", "1", "--listen-tls", &address];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let _only = until("the slot", || Client::connect(facteur.port).ok());
    let mut second = Client::dial(tls).expect("a connection");
    assert_eq!(second.rest().expect("closed"), "");
    facteur.wait_log(&["turned away", "421 4.3.2"]);
    facteur.stop();
}

#[test]
fn a_reply_of_many_lines_is_one_write() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let socket = TcpStream::connect(("127.0.0.1", facteur.port)).expect("a connection");
    let read = || {
        let mut octets = [0; 4096];
        let count = (&socket).read(&mut octets).expect("a reply");
        String::from_utf8_lossy(&octets[..count]).into_owned()
    };
    assert!(read().starts_with("220 "));
    for _ in 0..20 {
        (&socket).write_all(b"EHLO client.test\r\n").expect("sent");
        let reply = read();
        let last = reply.trim_end().lines().last().unwrap_or("");
        assert!(
            reply.ends_with("\r\n") && last.starts_with("250 "),
            "{reply}"
        );
    }
    facteur.stop();
}

#[test]
fn after_a_failed_handshake_nothing_is_said_in_clear() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let mut client = greeted(facteur.port);
    client.say("STARTTLS", "220").expect("STARTTLS");
    // Its first octet is no handshake's; what follows it would be a session in clear.
    let commands = "EHLO client.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@localhost>\r\nDATA\r\n";
    client.send(commands.as_bytes()).expect("sent");
    let rest = client.octets().expect("an alert, and the end");
    assert!(
        matches!(rest[..], [0x15, 3, _, 0, 2, 2, _]),
        "a fatal alert: {rest:?}"
    );
    facteur.wait_log(&["disconnect", "TLS: "]);
    facteur.stop();
}

#[test]
fn a_full_spool_says_so_at_once_where_it_is_told_the_size() {
    let folder = Folder::new();
    // Three of its six segments of 4 MiB are kept free of mail, and nobody takes what is in it.
    let flags = [
        "--spool-size",
        "24M",
        "--message-size",
        "5M",
        "--relay",
        "127.0.0.1:9",
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = greeted(facteur.port);
    let mail = "MAIL FROM:<a@b.test>";
    // SIZE is no reservation: together these claims are far more than there is room for.
    let mut claims: Vec<_> = (0..8).map(|_| greeted(facteur.port)).collect();
    for claim in &mut claims {
        claim
            .say(&format!("{mail} SIZE=5000000"), "250")
            .expect("room for one");
    }
    let line = [&[b'x'; 998][..], b"\r\n"].concat();
    for _ in 0..2 {
        client
            .submit("a@b.test", "c@d.test", &line.repeat(4_000))
            .expect("room");
    }
    client
        .say(&format!("{mail} SIZE=5000000"), "452 4.3.1")
        .expect("no room for that");
    client.say(mail, "250").expect("room for something");
    client.say("RCPT TO:<c@d.test>", "250").expect("RCPT");
    client.say("DATA", "354").expect("DATA");
    client.send(&line.repeat(5_000)).expect("sent");
    client.say(".", "452 4.3.1").expect("no room for that");
    facteur.wait_log(&["refused", "from=\"a@b.test\"", "recipients=1", "452 4.3.1"]);
    client
        .submit("a@b.test", "c@d.test", &line)
        .expect("room for a little");
    facteur.stop();
}

/// A client whose next commands are always there already. It stops by itself.
fn flood(port: u16, stop: &AtomicBool) {
    // Beyond the hundredth recipient each gets a 452, and a 4xx never ends a session.
    let commands = b"RCPT TO:<c@localhost>\r\n".repeat(1_000);
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let envelope = b"EHLO client.test\r\nMAIL FROM:<a@b.test>\r\n";
    socket.write_all(envelope).expect("sent");
    let mut replies = socket.try_clone().expect("its other half");
    let reader = std::thread::spawn(move || std::io::copy(&mut replies, &mut std::io::sink()));
    let until = Instant::now() + Duration::from_secs(60);
    while !stop.load(Ordering::Relaxed) && Instant::now() < until {
        socket.write_all(&commands).expect("the relay reads on");
    }
    let served = stop.load(Ordering::Relaxed);
    socket.shutdown(Shutdown::Both).expect("closed");
    let _ = reader.join(); // the copy ends with the connection, however that is told
    assert!(
        served,
        "the others were served only when the flood had ended"
    );
}

#[test]
fn clients_that_flood_commands_do_not_stop_the_others() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let stop = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| flood(facteur.port, &stop));
        }
        for _ in 0..20 {
            let mut client = greeted(facteur.port);
            client
                .submit("a@b.test", "c@localhost", b"Subject: x\r\n\r\nthrough\r\n")
                .expect("served");
        }
        stop.store(true, Ordering::Relaxed);
    });
    facteur.stop();
}
