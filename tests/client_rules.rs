//! Single rules of the sending machine: RSET, buffers, 552, parameters, step, patience.

mod mail;

use facteur::limits;
use facteur::smtp::client::{Client, Event, Failure, Phase, StartTls};
use facteur::smtp::peer_offer::Lack;
use facteur::smtp::reply_reader::{Class, ReplyError};
use heapless::Vec as Buffer;
use mail::{Mail, mail};

const PIPELINING: &str = "250-mx\r\n250 PIPELINING\r\n";

/// A client past EHLO.
fn ready(ehlo: &str) -> Client {
    let mut client = Client::new(StartTls::Never);
    let mut out: Buffer<u8, 64> = Buffer::new();
    assert_eq!(feed(&mut client, "220 mx\r\n"), [Event::Step]);
    client.write_opening("me", &mut out).unwrap();
    feed(&mut client, ehlo);
    assert_eq!(client.phase(), Phase::Ready);
    client
}

fn feed(client: &mut Client, replies: &str) -> Vec<Event> {
    let mut rest = replies.as_bytes();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (read, event) = client.handle_input(rest);
        rest = &rest[read..];
        events.extend(event);
    }
    events
}

fn commands(client: &mut Client, mail: &Mail) -> String {
    let mut out: Buffer<u8, 4096> = Buffer::new();
    client.write_envelope(mail, &mut out).unwrap();
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn the_next_transaction_begins_with_rset_where_the_last_may_be_open() {
    let mail = mail(&["a@y"]);
    let group = "MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n";
    for (replies, reset) in [
        ("550 no\r\n503 no\r\n503 no\r\n", ""),
        ("250 ok\r\n550 no\r\n503 no\r\n", "RSET\r\n"),
        ("250 ok\r\n250 ok\r\n451 no\r\n", "RSET\r\n"),
    ] {
        let mut client = ready(PIPELINING);
        client.begin(&mail).unwrap();
        assert_eq!(commands(&mut client, &mail), group);
        feed(&mut client, replies);
        client.begin(&mail).unwrap();
        assert_eq!(commands(&mut client, &mail), format!("{reset}{group}"));
        if !reset.is_empty() {
            assert_eq!(feed(&mut client, "250 flushed\r\n"), [Event::Step]);
        }
        feed(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(client.phase(), Phase::Body);
    }
}

fn hundred_recipients() -> Mail {
    let mut mail = mail(&[]);
    mail.recipients = (0..100)
        .map(|n| format!("recipient-{n:03}@example.org"))
        .collect();
    mail
}

#[test]
fn a_group_longer_than_the_buffer_goes_out_in_several_writes() {
    let mail = hundred_recipients();
    let mut client = ready(PIPELINING);
    client.begin(&mail).unwrap();
    let mut all = String::new();
    loop {
        let mut out: Buffer<u8, 1024> = Buffer::new();
        client.write_envelope(&mail, &mut out).unwrap();
        if out.is_empty() {
            break;
        }
        assert!(out.ends_with(b"\r\n"));
        all += core::str::from_utf8(&out).unwrap();
    }
    assert_eq!(all.matches("RCPT TO:<recipient-").count(), 100);
    assert!(all.ends_with("RCPT TO:<recipient-099@example.org>\r\nDATA\r\n"));
}

#[test]
fn a_refused_mail_keeps_the_unwritten_rest_of_its_group_back() {
    let mail = hundred_recipients();
    let mut client = ready(PIPELINING);
    client.begin(&mail).unwrap();
    let mut out: Buffer<u8, 1024> = Buffer::new();
    client.write_envelope(&mail, &mut out).unwrap();
    let recipients = out.iter().filter(|&&b| b == b'\n').count() - 1;
    assert_eq!(feed(&mut client, "550 no\r\n"), [Event::SenderRefused]);
    assert_eq!(commands(&mut client, &mail), "");
    assert_eq!(client.phase(), Phase::Talking);
    feed(&mut client, &"503 no\r\n".repeat(recipients));
    assert_eq!(client.phase(), Phase::Ready);
}

#[test]
fn a_552_that_means_too_many_recipients_is_temporary() {
    let mut mail = mail(&[]);
    mail.recipients = vec!["a@y".to_owned(); 102];
    let mut client = ready(PIPELINING);
    client.begin(&mail).unwrap();
    assert!(commands(&mut client, &mail).ends_with("DATA\r\n"));
    feed(&mut client, "250 ok\r\n");
    let mut next = |index, reply, class| {
        let event = Event::Recipient { index, class };
        assert_eq!(feed(&mut client, reply), [event], "{reply}");
    };
    next(0, "552 5.5.3 many\r\n", Class::Permanent);
    next(1, "250 ok\r\n", Class::Done);
    next(2, "552 5.5.3 many\r\n", Class::Temporary);
    next(3, "552 full\r\n", Class::Permanent);
    for index in 4..100 {
        next(index, "250 ok\r\n", Class::Done);
    }
    next(100, "552 full\r\n", Class::Temporary);
    next(101, "550 no\r\n", Class::Permanent);
}

#[test]
fn mail_says_what_the_message_is_where_that_was_offered() {
    let first = |ehlo, message: &Mail| {
        let mut client = ready(ehlo);
        let begun = client.begin(message);
        begun.map(|()| commands(&mut client, message))
    };
    let all = "250-mx\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
    let none = "250 mx\r\n";
    let mut message = mail(&["a@y"]);
    assert_eq!(
        first(all, &message).unwrap(),
        "MAIL FROM:<s@x> SIZE=1234\r\n"
    );
    message.sender = "";
    assert_eq!(first(none, &message).unwrap(), "MAIL FROM:<>\r\n");
    message.eight_bit = true;
    assert_eq!(
        first(all, &message).unwrap(),
        "MAIL FROM:<> SIZE=1234 BODY=8BITMIME\r\n"
    );
    assert_eq!(first(none, &message), Err(Lack::EightBitBody));
    message.recipients = vec!["jürgen@y".to_owned()];
    assert_eq!(
        first(all, &message).unwrap(),
        "MAIL FROM:<> SIZE=1234 BODY=8BITMIME SMTPUTF8\r\n"
    );
    assert_eq!(
        first("250-mx\r\n250 8BITMIME\r\n", &message),
        Err(Lack::Utf8Address)
    );
    message.recipients = vec!["a@y>\r\nRSET\r\n".to_owned()];
    assert_eq!(first(all, &message), Err(Lack::Address));
}

#[test]
fn a_verdict_before_the_end_of_the_message_is_never_a_success() {
    for (early, event) in [
        ("552 5.3.4 big\r\n", Event::EndOfData(Class::Permanent)),
        ("451 no room\r\n", Event::EndOfData(Class::Temporary)),
        ("421 bye\r\n", Event::Failed(Failure::Closing)),
        ("250 kept\r\n", Event::Failed(Failure::Unsolicited)),
    ] {
        let mail = mail(&["a@y"]);
        let mut client = ready(PIPELINING);
        client.begin(&mail).unwrap();
        commands(&mut client, &mail);
        feed(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(feed(&mut client, early), [event]);
        assert_eq!(client.phase(), Phase::Closed);
    }
}

#[test]
fn no_command_goes_out_behind_the_beginning_of_a_reply() {
    let mail = mail(&["a@y"]);
    let mut client = ready("250 mx\r\n");
    feed(&mut client, "250 o");
    client.begin(&mail).unwrap();
    let mut out: Buffer<u8, 64> = Buffer::new();
    let result = client.write_envelope(&mail, &mut out);
    assert_eq!(result, Err(Failure::Unsolicited));
    assert_eq!((out.len(), client.phase()), (0, Phase::Closed));
}

#[test]
fn each_wait_has_the_patience_of_rfc_5321() {
    let minutes = |client: &Client| client.patience().as_secs() / 60;
    let mut out: Buffer<u8, 64> = Buffer::new();
    let mut client = Client::new(StartTls::IfOffered);
    assert_eq!(minutes(&client), 5);
    feed(&mut client, "220 mx\r\n");
    client.write_opening("me", &mut out).unwrap();
    assert_eq!(minutes(&client), 5);
    feed(&mut client, "250-mx\r\n250 STARTTLS\r\n");
    client.write_opening("me", &mut out).unwrap();
    assert_eq!(client.patience().as_secs(), 30);

    let mail = mail(&["a@y"]);
    let mut client = ready("250 mx\r\n");
    client.begin(&mail).unwrap();
    for (reply, patience) in [("250 ok\r\n", 5), ("250 ok\r\n", 5), ("354 go\r\n", 2)] {
        commands(&mut client, &mail);
        assert_eq!(minutes(&client), patience);
        feed(&mut client, reply);
    }
    assert_eq!(minutes(&client), 3);
    client.body_sent();
    assert_eq!(minutes(&client), 10);
    feed(&mut client, "250 ok\r\n");
    client.write_quit(&mut out);
    assert!(out.ends_with(b"QUIT\r\n"));
    assert_eq!(client.patience(), limits::PEER_QUIT);
    assert_eq!(feed(&mut client, "421 whatever\r\n"), [Event::Step]);
    assert_eq!(client.phase(), Phase::Closed);
}

#[test]
fn a_banner_that_never_ends_ends_the_connection() {
    let line = "220-welcome\r\n";
    let banner = line.repeat(400_000);
    let mut client = Client::new(StartTls::Never);
    let (read, event) = client.handle_input(banner.as_bytes());
    let error = Failure::NoReply(ReplyError::TooManyLines);
    assert_eq!(event, Some(Event::Failed(error)));
    assert_eq!(read, (limits::PEER_REPLY_LINES + 1) * line.len());
}

#[test]
fn the_machine_is_small() {
    let size = size_of::<Client>();
    assert!(size <= 768, "{size}");
}
