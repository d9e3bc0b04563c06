//! The sending machine, held to scripts: what it writes, and what it makes of the replies, however they are cut.

mod mail;

use facteur::smtp::client::{Client, Event, Phase, StartTls};
use heapless::Vec as Buffer;
use mail::{Mail, mail};

/// One write of the client, and what the server sends after it. `MESSAGE` stands for the message with its dot,
/// `(TLS)` for the handshake.
type Turn<'a> = (&'a str, &'a str);

/// Plays a script, the server's octets cut into pieces of `step`: the verdicts with their replies, and how it ended.
fn play(starttls: StartTls, mail: &Mail, script: &[Turn<'_>], step: usize) -> (Vec<String>, Phase) {
    let mut client = Client::new(starttls);
    let mut verdicts = Vec::new();
    let mut begun = false;
    let mut written = String::new();
    for (number, (expected, replies)) in script.iter().enumerate() {
        assert_eq!(written, *expected, "write {number}");
        for piece in replies.as_bytes().chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (read, event) = client.handle_input(rest);
                rest = &rest[read..];
                let Some(event) = event else { continue };
                if event != Event::Step {
                    verdicts.push(format!("{event:?}: {}", client.reply()));
                }
                if matches!(event, Event::Failed(_)) {
                    assert_eq!(number + 1, script.len(), "{verdicts:?}");
                    return (verdicts, client.phase());
                }
            }
        }
        written = next_write(&mut client, mail, &mut begun);
    }
    assert_eq!(written, "", "the client wrote more than the script holds");
    (verdicts, client.phase())
}

fn next_write(client: &mut Client, mail: &Mail, begun: &mut bool) -> String {
    let mut out: Buffer<u8, 4096> = Buffer::new();
    match client.phase() {
        Phase::Ready if !*begun => {
            client.begin(mail).unwrap();
            *begun = true;
        }
        Phase::Upgrade => {
            client.tls_established();
            return "(TLS)".to_owned();
        }
        Phase::Body => {
            client.body_sent();
            return "MESSAGE".to_owned();
        }
        _ => {}
    }
    client.write_opening("me", &mut out).unwrap();
    client.write_envelope(mail, &mut out).unwrap();
    String::from_utf8(out.to_vec()).unwrap()
}

/// Plays a script at many cuts and holds each to the same verdicts.
#[track_caller]
fn check(starttls: StartTls, mail: &Mail, script: &[Turn<'_>], verdicts: &[&str], end: Phase) {
    for step in (1..40).chain([4096]) {
        let played = play(starttls, mail, script, step);
        assert_eq!(played.0, verdicts, "in pieces of {step}");
        assert_eq!(played.1, end, "in pieces of {step}");
    }
}

const GREETING: Turn<'_> = ("", "220-mx.example\r\n220 ESMTP\r\n");
const PLAIN: Turn<'_> = ("EHLO me\r\n", "250 mx\r\n");
const PIPELINING: Turn<'_> = (
    "EHLO me\r\n",
    "250-mx\r\n250-SIZE 9999\r\n250 PIPELINING\r\n",
);

#[test]
fn one_command_at_a_time_without_pipelining() {
    check(
        StartTls::IfOffered,
        &mail(&["a@y", "b@y"]),
        &[
            GREETING,
            PLAIN,
            ("MAIL FROM:<s@x>\r\n", "250 ok\r\n"),
            ("RCPT TO:<a@y>\r\n", "250 ok\r\n"),
            ("RCPT TO:<b@y>\r\n", "550 5.1.1 no\r\n"),
            ("DATA\r\n", "354 go\r\n"),
            ("MESSAGE", "250 2.0.0 kept\r\n"),
        ],
        &[
            "Recipient { index: 0, class: Done }: 250 ok",
            "Recipient { index: 1, class: Permanent }: 550 5.1.1 no",
            "EndOfData(Done): 250 2.0.0 kept",
        ],
        Phase::Ready,
    );
}

#[test]
fn one_write_with_pipelining() {
    check(
        StartTls::Never,
        &mail(&["a@y", "b@y"]),
        &[
            GREETING,
            PIPELINING,
            (
                "MAIL FROM:<s@x> SIZE=1234\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n",
                "250 ok\r\n451 4.2.1 later\r\n251 ok\r\n354 go\r\n",
            ),
            ("MESSAGE", "552 5.2.2 full\r\n"),
        ],
        &[
            "Recipient { index: 0, class: Temporary }: 451 4.2.1 later",
            "Recipient { index: 1, class: Done }: 251 ok",
            "EndOfData(Permanent): 552 5.2.2 full",
        ],
        Phase::Ready,
    );
}

/// Plays a pipelined transaction for one recipient.
#[track_caller]
fn check_group(replies: &str, then: &[Turn<'_>], verdicts: &[&str], end: Phase) {
    let group = "MAIL FROM:<s@x> SIZE=1234\r\nRCPT TO:<a@y>\r\nDATA\r\n";
    let mut script = vec![GREETING, PIPELINING, (group, replies)];
    script.extend_from_slice(then);
    check(StartTls::Never, &mail(&["a@y"]), &script, verdicts, end);
}

#[test]
fn mail_refused_in_a_pipelined_group() {
    let sender = "SenderRefused: 451 wait";
    let no_mail = "Recipient { index: 0, class: Permanent }: 503 no MAIL";
    check_group(
        "451 wait\r\n503 no MAIL\r\n503 no RCPT\r\n",
        &[],
        &[sender, no_mail, "DataRefused: 503 no RCPT"],
        Phase::Ready,
    );
    // DATA is accepted all the same: nobody is to get anything, so a lone dot (RFC 2920 3.1).
    check_group(
        "451 wait\r\n503 no MAIL\r\n354 go\r\n",
        &[(".\r\n", "554 no recipients\r\n")],
        &[sender, no_mail],
        Phase::Ready,
    );
    // A recipient too: a dot could deliver nothing to somebody. The connection is closed before it.
    check_group(
        "451 wait\r\n250 ok\r\n354 go\r\n",
        &[],
        &[
            sender,
            "Recipient { index: 0, class: Done }: 250 ok",
            "Failed(Unexpected): 354 go",
        ],
        Phase::Closed,
    );
}

#[test]
fn recipients_or_data_refused_in_a_pipelined_group() {
    let refused = "Recipient { index: 0, class: Permanent }: 550 no";
    let accepted = "Recipient { index: 0, class: Done }: 250 ok";
    check_group(
        "250 ok\r\n550 no\r\n503 no RCPT\r\n",
        &[],
        &[refused, "DataRefused: 503 no RCPT"],
        Phase::Ready,
    );
    check_group(
        "250 ok\r\n550 no\r\n354 go\r\n",
        &[(".\r\n", "250 kept\r\n")],
        &[refused],
        Phase::Ready,
    );
    check_group(
        "250 ok\r\n250 ok\r\n451 busy\r\n",
        &[],
        &[accepted, "DataRefused: 451 busy"],
        Phase::Ready,
    );
    check_group(
        "250 ok\r\n250 ok\r\n250 thanks\r\n",
        &[],
        &[accepted, "Failed(Unexpected): 250 thanks"],
        Phase::Closed,
    );
}

#[test]
fn without_pipelining_bad_news_ends_the_transaction_at_once() {
    let mail = mail(&["a@y", "b@y"]);
    let sender_refused = [
        GREETING,
        PLAIN,
        ("MAIL FROM:<s@x>\r\n", "550 5.7.1 not you\r\n"),
    ];
    let verdict = ["SenderRefused: 550 5.7.1 not you"];
    check(
        StartTls::Never,
        &mail,
        &sender_refused,
        &verdict,
        Phase::Ready,
    );

    let all_refused = [
        GREETING,
        PLAIN,
        ("MAIL FROM:<s@x>\r\n", "250 ok\r\n"),
        ("RCPT TO:<a@y>\r\n", "550 no\r\n"),
        ("RCPT TO:<b@y>\r\n", "450 later\r\n"),
    ];
    let verdicts = [
        "Recipient { index: 0, class: Permanent }: 550 no",
        "Recipient { index: 1, class: Temporary }: 450 later",
    ];
    check(
        StartTls::Never,
        &mail,
        &all_refused,
        &verdicts,
        Phase::Ready,
    );
}

#[test]
fn helo_where_ehlo_is_unknown_and_no_extensions_then() {
    for refusal in ["500 what\r\n", "502 no\r\n", "504 no\r\n"] {
        let script = [
            GREETING,
            ("EHLO me\r\n", refusal),
            ("HELO me\r\n", "250-mx\r\n250-PIPELINING\r\n250 SIZE 5\r\n"),
            ("MAIL FROM:<s@x>\r\n", "250 ok\r\n"),
            ("RCPT TO:<a@y>\r\n", "250 ok\r\n"),
            ("DATA\r\n", "451 no\r\n"),
        ];
        let verdicts = [
            "Recipient { index: 0, class: Done }: 250 ok",
            "DataRefused: 451 no",
        ];
        let mail = mail(&["a@y"]);
        check(StartTls::IfOffered, &mail, &script, &verdicts, Phase::Ready);
    }
    let script = [
        GREETING,
        ("EHLO me\r\n", "502 no\r\n"),
        ("HELO me\r\n", "250 mx\r\n"),
    ];
    let verdict = ["Failed(NoStartTls): 250 mx"];
    check(
        StartTls::Required,
        &mail(&[]),
        &script,
        &verdict,
        Phase::Closed,
    );
}

#[test]
fn hosts_that_refuse_or_close() {
    for (replies, verdict) in [
        (vec!["554 5.7.1 no\r\n"], "Failed(Refused): 554 5.7.1 no"),
        (vec!["421 busy\r\n"], "Failed(Closing): 421 busy"),
        (vec!["220 a\r\n", "550 no\r\n"], "Failed(Refused): 550 no"),
        (vec!["220 a\r\n", "450 no\r\n"], "Failed(Refused): 450 no"),
        (
            vec!["220 a\r\n", "354 go\r\n"],
            "Failed(Unexpected): 354 go",
        ),
        (vec!["220 a\r\n220 b\r\n"], "Failed(Unsolicited): 220 b"),
        (vec!["220 a\r\n421 bye\r\n"], "Failed(Closing): 421 bye"),
        (vec!["HTTP/1.1 400 no\r\n"], "Failed(NoReply(Malformed)): 0"),
    ] {
        let script: Vec<Turn<'_>> = ["", "EHLO me\r\n"].into_iter().zip(replies).collect();
        let mail = mail(&["a@y"]);
        check(StartTls::Never, &mail, &script, &[verdict], Phase::Closed);
    }
}

#[test]
fn a_421_anywhere_in_a_transaction_loses_the_host() {
    let turns = [
        ("MAIL FROM:<s@x>\r\n", "250 ok\r\n"),
        ("RCPT TO:<a@y>\r\n", "250 ok\r\n"),
        ("DATA\r\n", "354 go\r\n"),
        ("MESSAGE", "250 kept\r\n"),
    ];
    for lost_at in 0..turns.len() {
        let mut script = vec![GREETING, PLAIN];
        script.extend_from_slice(&turns[..lost_at]);
        script.push((turns[lost_at].0, "421 4.3.2 bye\r\n"));
        let accepted = "Recipient { index: 0, class: Done }: 250 ok";
        let mut verdicts = vec![accepted; usize::from(lost_at > 1)];
        verdicts.push("Failed(Closing): 421 4.3.2 bye");
        let mail = mail(&["a@y"]);
        check(StartTls::Never, &mail, &script, &verdicts, Phase::Closed);
    }
}

#[test]
fn after_starttls_all_is_forgotten() {
    check(
        StartTls::Required,
        &mail(&["a@y"]),
        &[
            GREETING,
            (
                "EHLO me\r\n",
                "250-mx\r\n250-PIPELINING\r\n250-SIZE 9\r\n250 STARTTLS\r\n",
            ),
            ("STARTTLS\r\n", "220 2.0.0 go\r\n"),
            ("(TLS)", ""),
            ("EHLO me\r\n", "250-mx\r\n250 STARTTLS\r\n"),
            ("MAIL FROM:<s@x>\r\n", "550 no\r\n"),
        ],
        &["SenderRefused: 550 no"],
        Phase::Ready,
    );
}

#[test]
fn starttls_refused_or_missing() {
    let offered = ("EHLO me\r\n", "250-mx\r\n250 STARTTLS\r\n");
    for (reply, verdict) in [
        ("454 4.7.0 no\r\n", "Failed(StartTlsRefused): 454 4.7.0 no"),
        ("502 no\r\n", "Failed(StartTlsRefused): 502 no"),
        ("250 yes?\r\n", "Failed(StartTlsRefused): 250 yes?"),
        ("421 bye\r\n", "Failed(Closing): 421 bye"),
    ] {
        let script = [GREETING, offered, ("STARTTLS\r\n", reply)];
        let mail = mail(&["a@y"]);
        check(
            StartTls::IfOffered,
            &mail,
            &script,
            &[verdict],
            Phase::Closed,
        );
    }
    let script = [GREETING, PLAIN];
    let verdict = ["Failed(NoStartTls): 250"];
    check(
        StartTls::Required,
        &mail(&["a@y"]),
        &script,
        &verdict,
        Phase::Closed,
    );
}

/// However the octets are cut: those behind the 220 come with it, or before the handshake.
#[test]
fn octets_behind_the_reply_to_starttls_end_the_connection() {
    let offered = ("EHLO me\r\n", "250-mx\r\n250 STARTTLS\r\n");
    for injected in ["250 mx\r\n", "250-mx\r\n250 AUTH PLAIN\r\n", "\x16", " "] {
        let reply = format!("220 go\r\n{injected}");
        let script = [GREETING, offered, ("STARTTLS\r\n", &reply)];
        let verdict = ["Failed(BehindStartTls): 220 go"];
        for step in 1..=reply.len() {
            let (verdicts, end) = play(StartTls::IfOffered, &mail(&[]), &script, step);
            assert_eq!(
                (&verdicts[..], end),
                (&verdict.map(String::from)[..], Phase::Closed)
            );
        }
    }
}
