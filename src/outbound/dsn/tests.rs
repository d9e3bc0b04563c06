//! Tests of dsn.rs: what a mail program and a reader find in a DSN.

use super::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn failure(address: &str, diagnostic: &str) -> Report {
    Report {
        address: address.to_owned(),
        original: None,
        status: "5.1.1".to_owned(),
        host: Some("mx.example".to_owned()),
        code: 550,
        diagnostic: diagnostic.to_owned(),
        cause: Cause::Refused,
        tried: Some(1_799_999_990),
    }
}

fn dsn<'a>(to: &'a str, reports: &'a [Report]) -> Dsn<'a> {
    Dsn {
        hostname: "relay.example",
        id: "dsnid",
        original_id: "oldid",
        envid: None,
        to,
        reader: Reader::Sender,
        arrived: Some(1_700_000_000),
        now: 1_800_000_000,
        reports,
        header_8bit: false,
        extent: Extent::Header,
        salt: 0xfeed,
    }
}

fn whole(dsn: &Dsn<'_>, original: &[u8]) -> Vec<u8> {
    let mut text = (dsn.head() + &dsn.before()).into_bytes();
    let mut filter = dsn.filter();
    // One octet at a time: what arrives in pieces must give the same text.
    for octet in original {
        if !filter.push(std::slice::from_ref(octet), &mut text) {
            break;
        }
    }
    text.extend_from_slice(dsn.after().as_bytes());
    text
}

/// What Python's email package, an independent reader, finds.
fn python(message: &[u8], script: &str) -> String {
    let program = format!(
        "import sys, email, email.policy\nm = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n{script}"
    );
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there: scripts/test installs it");
    child.stdin.take().unwrap().write_all(message).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn lines_are_fit_for_smtp(text: &[u8]) {
    let text = text.strip_suffix(b"\r\n").expect("it ends with a line end");
    for line in text
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    {
        assert!(line.len() <= 998, "{} octets", line.len());
        assert!(!line.contains(&b'\r') && !line.contains(&0));
    }
    let ends = text.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(ends, text.iter().filter(|&&b| b == b'\n').count());
}

#[test]
fn an_independent_parser_reads_every_field() {
    let failures = [
        failure("bob@example.com", "550 5.1.1 No such user here"),
        Report {
            cause: Cause::Expired,
            status: "4.4.7".to_owned(),
            host: Some("192.0.2.7".to_owned()),
            code: 0,
            ..failure("eve@example.net", "no connection: connection refused")
        },
    ];
    let text = whole(
        &dsn("ann@example.org", &failures),
        b"Subject: hello\r\nTo: bob@example.com\r\n\r\nbody\r\n",
    );
    lines_are_fit_for_smtp(&text);
    assert!(text.is_ascii());
    let found = python(&text, "
assert not m.defects, m.defects
print(m.get_content_type(), m.get_param('report-type'), m['Auto-Submitted'], m['To'], m['From'], m['Message-ID'])
people, status, header = m.iter_parts()
print([p.get_content_type() for p in (people, status, header)])
assert 'bob@example.com' in people.get_content() and 'typing mistake' in people.get_content()
for block in status.get_payload(): print(dict(block.items()))
print(repr(header.get_payload()))
");
    assert_eq!(found, "multipart/report delivery-status auto-replied ann@example.org Mail Delivery System <MAILER-DAEMON@relay.example> <dsnid.dsn@relay.example>
['text/plain', 'message/delivery-status', 'text/rfc822-headers']
{'Reporting-MTA': 'dns; relay.example', 'X-Queue-ID': 'oldid', 'Arrival-Date': 'Tue, 14 Nov 2023 22:13:20 +0000'}
{'Final-Recipient': 'rfc822; bob@example.com', 'Action': 'failed', 'Status': '5.1.1', 'Remote-MTA': 'dns; mx.example', 'Diagnostic-Code': 'smtp; 550 5.1.1 No such user here', 'Last-Attempt-Date': 'Fri, 15 Jan 2027 07:59:50 +0000'}
{'Final-Recipient': 'rfc822; eve@example.net', 'Action': 'failed', 'Status': '4.4.7', 'Remote-MTA': 'dns; [192.0.2.7]', 'Diagnostic-Code': 'x-facteur; no connection: connection refused', 'Last-Attempt-Date': 'Fri, 15 Jan 2027 07:59:50 +0000'}
'Subject: hello\\r\\nTo: bob@example.com\\r\\n'
");
}

#[test]
fn a_hostile_reply_can_neither_add_fields_nor_parts_nor_long_lines() {
    let reply = format!(
        "550 x\r\nStatus: 2.0.0\r\n\r\n--=_facteur\r\n\u{e9}\0{} end",
        "y".repeat(2000)
    );
    let failures = [failure("bob@example.com", &reply)];
    let text = whole(&dsn("ann@example.org", &failures), b"\r\n");
    lines_are_fit_for_smtp(&text);
    assert!(text.is_ascii());
    let found = python(
        &text,
        "
people, status, header = m.iter_parts()
print(len(status.get_payload()), status.get_payload()[1].get_all('Status'))
",
    );
    assert_eq!(found, "2 ['5.1.1']\n");
}

#[test]
fn utf_8_recipients_stay_readable_for_an_ascii_sender() {
    let failures = [failure("jos\u{e9}@example.com", "550 5.1.1 No")];
    let mut dsn = dsn("ann@example.org", &failures);
    dsn.header_8bit = true;
    let text = whole(&dsn, "Subject: gr\u{fc}\u{df}e=\r\n\r\n".as_bytes());
    assert!(text.is_ascii() && !dsn.is_global());
    let found = python(
        &text,
        "
people, status, header = m.iter_parts()
assert 'jos\u{e9}@example.com' in people.get_content()
print(status.get_payload()[1]['Final-Recipient'])
print(header.get_payload(decode=True))
",
    );
    assert_eq!(
        found,
        "utf-8; jos\\x{E9}@example.com\nb'Subject: gr\\xc3\\xbc\\xc3\\x9fe=\\r\\n'\n"
    );
}

#[test]
fn a_utf_8_sender_gets_the_global_forms() {
    let failures = [failure("jos\u{e9}@example.com", "550 5.1.1 No")];
    let dsn = dsn("\u{e4}nn@example.org", &failures);
    let text =
        String::from_utf8(whole(&dsn, "Subject: gr\u{fc}\u{df}e\r\n\r\n".as_bytes())).unwrap();
    assert!(dsn.is_global());
    for piece in [
        "To: <\u{e4}nn@example.org>\r\n",
        "Content-Type: message/global-delivery-status\r\n",
        "Final-Recipient: utf-8; jos\u{e9}@example.com\r\n",
        "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: gr\u{fc}\u{df}e\r\n",
    ] {
        assert!(text.contains(piece), "{piece}");
    }
}

#[test]
fn only_the_header_goes_back_and_only_so_much_of_it() {
    let failures = [failure("bob@example.com", "550 no")];
    let dsn = dsn("ann@example.org", &failures);
    let mut original = format!("Long: {}\r\nX: {}\r\n", "y".repeat(5000), '\u{e9}').into_bytes();
    for _ in 0..limits::DSN_HEADER / 100 {
        original.extend_from_slice(format!("Filler: {}\r\n", "z".repeat(100)).as_bytes());
    }
    original.extend_from_slice(b"\r\nsecret body\r\n");
    let text = whole(&dsn, &original);
    lines_are_fit_for_smtp(&text);
    assert!(text.is_ascii());
    assert!(text.len() < limits::DSN_HEADER + 4096);
    assert!(!String::from_utf8(text).unwrap().contains("secret"));
}

#[test]
fn only_what_a_host_said_is_called_its_answer() {
    for (cause, host, code, words) in [
        (
            Cause::Refused,
            Some("mx.example"),
            550,
            "The mail server mx.example answered:",
        ),
        (
            Cause::Expired,
            Some("mx.example"),
            450,
            "The last answer, from mx.example, was:",
        ),
        (
            Cause::Expired,
            Some("mx.example"),
            0,
            "The last attempt, at mx.example, came to nothing:",
        ),
        (
            Cause::Impossible,
            Some("mx.example"),
            0,
            "It cannot be handed to the mail server mx.example:",
        ),
        (Cause::Expired, None, 0, "The last attempt came to nothing:"),
        (Cause::Impossible, None, 0, "The reason is:"),
    ] {
        let failures = [Report {
            cause,
            code,
            host: host.map(str::to_owned),
            ..failure("bob@example.com", "words")
        }];
        let dsn = dsn("ann@example.org", &failures);
        assert!(dsn.for_people().contains(words), "{}", dsn.for_people());
        let (mut programs, kind) = (String::new(), if code == 0 { "x-facteur" } else { "smtp" });
        dsn.for_programs(&mut programs);
        assert!(
            programs.contains(&format!("Diagnostic-Code: {kind}; words\r\n")),
            "{programs}"
        );
    }
}

#[test]
fn a_non_expert_finds_for_each_cause_what_to_do() {
    let of_host = Some("mx.example");
    for (status, code, host, cause, advice) in [
        (
            "5.1.1",
            550,
            of_host,
            Cause::Refused,
            "Check the address for a typing mistake",
        ),
        (
            "5.1.1",
            0,
            None,
            Cause::Impossible,
            "Check the address for a typing mistake",
        ),
        (
            "5.1.2",
            0,
            None,
            Cause::Impossible,
            "behind the @ sign. Check it for a typing mistake",
        ),
        (
            "5.1.3",
            0,
            of_host,
            Cause::Impossible,
            "Check it for a typing mistake",
        ),
        (
            "5.1.8",
            550,
            of_host,
            Cause::Refused,
            "Check how your mail program is set up",
        ),
        (
            "5.1.10",
            0,
            None,
            Cause::Impossible,
            "it receives no mail at all",
        ),
        (
            "5.2.1",
            550,
            of_host,
            Cause::Refused,
            "Reach the recipient in another way",
        ),
        (
            "5.2.2",
            552,
            of_host,
            Cause::Refused,
            "mailbox is full. Try again later",
        ),
        ("5.3.0", 0, None, Cause::Impossible, "please send it again"),
        (
            "5.3.0",
            550,
            of_host,
            Cause::Refused,
            "The words above are all that is known",
        ),
        (
            "5.3.4",
            0,
            of_host,
            Cause::Impossible,
            "put large files where the recipient can fetch",
        ),
        (
            "5.4.6",
            0,
            None,
            Cause::Impossible,
            "Only those who look after it can change that",
        ),
        ("5.6.3", 0, of_host, Cause::Impossible, "with plain letters"),
        (
            "5.6.7",
            0,
            of_host,
            Cause::Impossible,
            "another address of the recipient",
        ),
        ("5.6.9", 0, of_host, Cause::Impossible, "with plain letters"),
        (
            "5.7.1",
            550,
            of_host,
            Cause::Refused,
            "has a rule against this message",
        ),
        (
            "5.7.26",
            550,
            of_host,
            Cause::Refused,
            "show this message to who looks after your mail",
        ),
        (
            "5.7.30",
            0,
            None,
            Cause::Impossible,
            "Send it without that demand",
        ),
        (
            "5.0.0",
            554,
            of_host,
            Cause::Refused,
            "The words above are all that is known",
        ),
        (
            "5.0.0",
            0,
            None,
            Cause::Impossible,
            "took your message out of its queue. Ask them",
        ),
        (
            "4.4.7",
            451,
            of_host,
            Cause::Expired,
            "You can send it again later",
        ),
        (
            "4.4.7",
            0,
            None,
            Cause::Expired,
            "You can send it again later",
        ),
    ] {
        let reports = [Report {
            status: status.to_owned(),
            host: host.map(str::to_owned),
            code,
            cause,
            ..failure("bob@example.com", "the host's words")
        }];
        let text = dsn("ann@example.org", &reports).for_people();
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "This is the mail relay at relay.example. Your message",
            "bob@example.com",
            "the host's words",
            advice,
            "It will not be tried again. If you ask somebody for help, show them this whole message.",
        ] {
            assert!(
                one_line.contains(words),
                "{status} {cause:?}: {words}: {text}"
            );
        }
        // What only experts know stands in the part for programs.
        for word in [" MTA", "SMTP", "DSN", "envelope", "null"] {
            assert!(!text.contains(word), "{status} {cause:?}: {word}: {text}");
        }
        assert!(text.lines().all(|line| line.len() <= 78), "{text}");
    }
}

#[test]
fn only_so_many_recipients_are_explained_at_length() {
    let many: Vec<_> = (0..30)
        .map(|n| failure(&format!("r{n}@example.com"), "550 no"))
        .collect();
    let people = dsn("ann@example.org", &many).for_people();
    assert!(
        people.contains("r29@example.com")
            && people.matches("550 no").count() == limits::DSN_EXPLAINED
    );
}

#[test]
fn the_sender_finds_its_own_names_for_transaction_and_recipient() {
    let named = |original: &str| Report {
        original: Some(original.to_owned()),
        ..failure("bob@example.com", "550 5.1.1 no")
    };
    let failures = [
        named("rfc822;Bob+2Bold+40example.org"),
        named("utf-8;ren\u{e9}@example.org"),
        named("utf-8;r\\x{e9}n\u{e9}@example.org"),
        named("rfc822;forged+0D+0AAction:+20delivered"),
        failure("eve@example.com", "550 5.1.1 no"),
    ];
    let ascii = Dsn {
        envid: Some("QQ+3D31+0D+0AAction:"),
        ..dsn("ann@example.org", &failures)
    };
    let global = Dsn {
        to: "\u{e4}nn@example.org",
        ..dsn("ann@example.org", &failures)
    };
    let fields = |dsn: &Dsn<'_>| {
        let mut text = String::new();
        dsn.for_programs(&mut text);
        let lines = text.lines().filter(|line| line.starts_with("Original-"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        fields(&ascii),
        [
            "Original-Envelope-Id: QQ=31  Action:",
            "Original-Recipient: rfc822; Bob+old@example.org",
            "Original-Recipient: utf-8; ren\\x{E9}@example.org",
            "Original-Recipient: utf-8; r\\x{E9}n\\x{E9}@example.org",
            "Original-Recipient: rfc822; forged  Action: delivered",
        ]
    );
    assert_eq!(
        fields(&global)[1..3],
        [
            "Original-Recipient: utf-8; ren\u{e9}@example.org",
            "Original-Recipient: utf-8; r\u{e9}n\u{e9}@example.org",
        ]
    );
}
