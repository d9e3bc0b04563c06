//! A stranger's address holds at most a quarter of the spool: past it 452 at MAIL or at the end of data, until some of its
//! mail is delivered; it outlives a restart, and others are served.

mod support;

use std::net::{Ipv6Addr, TcpListener};

use support::facteur::Facteur;
use support::sink::Sink;
use support::smtp::Client;
use support::{Folder, free_port, numbered};

/// Of --spool-size below.
const QUARTER: usize = 6 << 20;

fn session(port: u16) -> Client {
    let mut client = Client::connect(port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
}

/// Sends until the end of data is answered 452; the numbers of the messages that were taken.
fn fill(client: &mut Client, numbers: impl Iterator<Item = u64>) -> (Vec<u64>, usize) {
    let (mut taken, mut octets) = (Vec::new(), 0);
    for number in numbers {
        let message = numbered::message(number);
        for (line, reply) in [
            ("MAIL FROM:<a@client.test>", "250"),
            ("RCPT TO:<b@in.test>", "250"),
            ("DATA", "354"),
        ] {
            client.say(line, reply).expect(line);
        }
        client.send(&message).expect("a body");
        client.send(b".\r\n").expect("its end");
        let reply = client.reply().expect("a reply");
        if !reply.starts_with("250") {
            assert!(reply.starts_with("452 4.3.1"), "{reply}");
            return (taken, octets);
        }
        taken.push(number);
        octets += message.len();
    }
    panic!("{octets} octets were taken");
}

#[test]
fn a_stranger_has_a_quarter_until_its_mail_is_delivered() {
    let folder = Folder::new();
    let sink = Sink::start();
    sink.hold();
    let (port, domain) = (
        free_port(),
        format!("in.test=smtp:[127.0.0.1]:{}", sink.port),
    );
    let flags = ["--relay-from", "::1", "--domain", &domain];
    let size = ["--spool-size", "24M", "--message-size", "100K"];
    let listen = format!("[::1]:{port}");
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let more = match has_ipv6 {
        true => vec!["--listen", &listen],
        false => Vec::new(),
    };
    let flags = [&flags[..], &size, &more].concat();
    let start = || Facteur::start_on(port, folder.as_ref(), &flags);

    let facteur = start();
    let mut client = session(port);
    let large = (1..).map(|number| number * 10);
    let (mut taken, octets) = fill(&mut client, large);
    assert!((QUARTER / 10 * 9..QUARTER).contains(&octets), "{octets}");
    facteur.wait_log(&["over share client=127.0.0.1"]);
    client
        .say("MAIL FROM:<a@client.test> SIZE=90000", "452 4.3.1")
        .expect("SIZE is counted");
    if has_ipv6 {
        let mut trusted = Client::connect_to(&listen).expect("a session");
        trusted.say("EHLO client.test", "250").expect("EHLO");
        let (number, from) = (1, "trusted@client.test");
        let message = numbered::message(number);
        let reply = trusted.submit(from, "b@in.test", &message);
        reply.expect("a trusted client has all of the spool");
        taken.push(number);
    }
    facteur.kill();

    sink.go_on();
    sink.next_epoch();
    sink.hold();
    let facteur = start();
    session(port)
        .say("MAIL FROM:<a@client.test> SIZE=90000", "452 4.3.1")
        .expect("it is counted again at a start");
    sink.go_on();
    sink.wait_taken(&taken);
    let mut client = session(port);
    let mail = numbered::message(3);
    client
        .submit("a@client.test", "b@in.test", &mail)
        .expect("its share is given back");
    sink.wait_taken(&[3]);
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new());
}
