//! What nobody sends but attackers and odd middle boxes, to the listeners of the relay itself: every handshake ends in TLS or
//! in an alert, and the relay serves on.

mod certificates;
#[path = "support/doors.rs"]
mod doors;
mod support;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::process::Stdio;
use std::time::Instant;

use doors::{Relay, Way};
use support::hello::{self, Answer, Hello, answer};
use support::{PATIENCE, program};

#[test]
fn the_default_certificate_is_for_no_name_an_unknown_one_and_an_address() {
    let relay = Relay::start();
    let shown = |hello: Hello| relay.says_to(&hello.record());
    assert_eq!(
        shown(Hello::tls_1_2()).certificate(),
        Some(&relay.default.der[..])
    );
    for (name, its) in [
        (&b"mx.example.org"[..], &relay.mx),
        (b"MX.Example.ORG", &relay.mx),
        (b"mx.example.org.", &relay.mx),
        (b"unknown.example", &relay.default),
        (b"x.mx.example.org", &relay.default),
        (b"example", &relay.default),
        (b"_x.example", &relay.default),
        (b"127.0.0.1", &relay.default),
        (b"::1", &relay.default),
    ] {
        let answer = shown(Hello::tls_1_2().named(name));
        assert_eq!(
            answer.certificate(),
            Some(&its.der[..]),
            "{}",
            name.escape_ascii()
        );
    }
    relay.stop_well();
}

#[test]
fn a_malformed_server_name_gets_an_alert() {
    let relay = Relay::start();
    let long = [&[b'a'; 63][..], b"."].concat().repeat(5);
    for name in [
        &b""[..],
        b".",
        b"mx..example.org",
        b"mx\0.example.org",
        b"mx example.org",
        b"*.example.org",
        b"m\xc3\xbcnchen.example",
        b"\xff\xfe.example",
        &[b'a'; 300],
        &[b'a'; 64],
        &long,
        b"[::1]",
    ] {
        let says = relay.says_to(&Hello::tls_1_2().named(name).record());
        assert!(
            matches!(says, Answer::Alert(_)),
            "{}: {says:?}",
            name.escape_ascii()
        );
    }
    let (entry, other) = (b"\0\0\x01a", b"\0\0\x01b");
    for (what, content) in [
        ("nothing at all", vec![]),
        ("an empty list", vec![0, 0]),
        ("two names", [&[0, 8][..], entry, other].concat()),
        ("a list longer than it is", [&[0, 9][..], entry].concat()),
        ("a list shorter than it is", [&[0, 3][..], entry].concat()),
        ("a name longer than its list", b"\0\x04\0\0\x09a".to_vec()),
        (
            "a name of no octets but a length",
            b"\0\x03\0\0\x01".to_vec(),
        ),
        ("a cut length", b"\0\x02\0\0".to_vec()),
    ] {
        let hello = Hello::tls_1_2().and(hello::SERVER_NAME, &content);
        let says = relay.says_to(&hello.record());
        assert!(matches!(says, Answer::Alert(_)), "{what}: {says:?}");
    }
    let twice = Hello::tls_1_2().named(b"a.example").named(b"b.example");
    assert!(matches!(relay.says_to(&twice.record()), Answer::Alert(_)));
    relay.stop_well();
}

/// What rustls ends without an alert of its own.
#[test]
fn every_refusal_is_an_alert() {
    let relay = Relay::start();
    // The only scheme of the hello is one for P-384, and the relay's keys are of P-256.
    let mut other_curve = Hello::tls_1_2();
    other_curve.extensions[2].1 = vec![0, 2, 5, 3];
    assert_eq!(
        relay.says_to(&other_curve.record()),
        hello::HANDSHAKE_FAILURE
    );
    // A message that says it is of 16 MB.
    let large = [22, 3, 1, 0, 4, 1, 255, 255, 255];
    assert_eq!(relay.says_to(&large), hello::DECODE_ERROR);
    // Half a hello, and then an alert of a warning between its parts.
    let half = [22, 3, 1, 0, 6, 1, 0, 0, 9, 3, 3];
    let interleaved = [&half[..], &[21, 3, 1, 0, 2, 1, 90]].concat();
    assert_eq!(relay.says_to(&interleaved), hello::UNEXPECTED_MESSAGE);
    for garbage in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"EHLO client.test\r\n",
        &[0; 300],
        &[255; 300],
        &[22, 3, 1, 0, 0].repeat(100),
    ] {
        let says = relay.says_to(garbage);
        assert!(matches!(says, Answer::Alert(_)), "{says:?}");
    }
    relay.stop_well();
}

/// The relay reads such a hello to its end or to the connection's.
#[test]
fn no_octet_of_a_hello_can_break_the_relay() {
    let relay = Relay::start();
    for hello in [Hello::tls_1_2(), Hello::tls_1_3()] {
        let good = hello.named(b"mx.example.org").record();
        for at in 0..good.len() {
            for octet in [0, 0xff, good[at] ^ 1] {
                let mut bad = good.clone();
                bad[at] = octet;
                let mut socket = relay.connect(Way::Implicit);
                socket.write_all(&bad).expect("sent");
                socket.shutdown(Shutdown::Write).expect("no more to say");
                // A reset is no fault here: octets may come behind an alert's cause.
                let _ = socket.read_to_end(&mut Vec::new());
            }
        }
    }
    relay.stop_well();
}

#[test]
fn alpn_must_name_smtp() {
    let relay = Relay::start();
    let offering = |list: &[u8]| relay.says_to(&Hello::tls_1_2().and(hello::ALPN, list).record());
    for list in [
        &b"\0\x03\x02h2"[..],
        b"\0\x09\x08http/1.1",
        b"\0\x05\x04SMTP",
    ] {
        assert_eq!(offering(list), hello::NO_APPLICATION_PROTOCOL);
    }
    for list in [&b"\0\x05\x04smtp"[..], b"\0\x08\x02h2\x04smtp"] {
        let Answer::Flight(messages) = offering(list) else {
            panic!("{list:?}")
        };
        let hello = &messages[0].1;
        assert!(
            hello.windows(9).any(|at| at == b"\0\x10\0\x07\0\x05\x04sm"),
            "{hello:?}"
        );
    }
    for list in [&b""[..], b"\0\0", b"\0\x01\0", b"\0\x05\x05smtp"] {
        assert!(matches!(offering(list), Answer::Alert(_)), "{list:?}");
    }
    relay.stop_well();
}

/// The session and what follows it in a ServerHello: its id, the suite, the compression, the extensions' numbers.
fn server_hello(body: &[u8]) -> (Vec<u8>, u8, Vec<u16>) {
    let id = usize::from(body[34]);
    let (session, rest) = body[35..].split_at(id);
    let (compression, mut extensions) = (rest[2], &rest[5..]);
    let mut numbers = Vec::new();
    while let [a, b, c, d, content @ ..] = extensions {
        numbers.push(u16::from_be_bytes([*a, *b]));
        extensions = &content[usize::from(u16::from_be_bytes([*c, *d]))..];
    }
    (session.to_vec(), compression, numbers)
}

#[test]
fn nothing_is_compressed() {
    let relay = Relay::start();
    let offering = |compression: &[u8]| {
        let compression = compression.to_vec();
        relay.says_to(
            &Hello {
                compression,
                ..Hello::tls_1_2()
            }
            .record(),
        )
    };
    let Answer::Flight(messages) = offering(&[1, 0]) else {
        panic!("no TLS")
    };
    assert_eq!(server_hello(&messages[0].1).1, 0);
    for only in [&[1][..], &[]] {
        assert!(matches!(offering(only), Answer::Alert(_)), "{only:?}");
    }
    relay.stop_well();
}

/// No session has a number or a ticket that could be shown again, to this listener or to another.
#[test]
fn no_session_can_be_resumed() {
    let relay = Relay::start();
    for way in [Way::StartTls, Way::Implicit] {
        for session in [vec![], vec![3; 32]] {
            for ticket in [vec![], vec![4; 180]] {
                let hello = Hello {
                    session: session.clone(),
                    ..Hello::tls_1_2()
                };
                let hello = hello.and(hello::SESSION_TICKET, &ticket);
                let Answer::Flight(messages) = answer(&relay.connect(way), &hello.record()) else {
                    panic!("{way:?}: no whole handshake")
                };
                let (number, _, extensions) = server_hello(&messages[0].1);
                assert_eq!(number, [], "{way:?}");
                assert!(!extensions.contains(&hello::SESSION_TICKET), "{way:?}");
            }
        }
    }
    relay.stop_well();
}

#[test]
fn early_data_is_not_taken() {
    let relay = Relay::start();
    for way in [Way::StartTls, Way::Implicit] {
        // A ticket of six octets, its age, and a binder.
        let key = [
            &[0, 12, 0, 6, 9, 9, 9, 9, 9, 9, 0, 0, 0, 1, 0, 33, 32][..],
            &[8; 32],
        ]
        .concat();
        let hello = Hello::tls_1_3().and(hello::EARLY_DATA, &[]);
        let hello = hello.and(hello::PRE_SHARED_KEY, &key).record();
        let mut socket = relay.connect(way);
        socket.write_all(&hello).expect("sent");
        socket
            .write_all(&[&[23, 3, 3, 0, 40][..], &[6; 40]].concat())
            .expect("sent");
        let mut head = [0; 5];
        socket.read_exact(&mut head).expect("an answer");
        assert_eq!(head[0], 22, "{way:?}: a ServerHello");
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        socket.read_exact(&mut body).expect("the rest");
        let (_, _, extensions) = server_hello(&body[4..]);
        assert!(
            !extensions.contains(&hello::PRE_SHARED_KEY),
            "{way:?}: {extensions:?}"
        );
        // What was sent early is skipped, and in clear nothing follows it.
        socket.write_all(b"EHLO client.test\r\n").expect("sent");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("an end, no reset");
        assert!(!rest.windows(3).any(|at| at == b"250"), "{way:?}");
    }
    relay
        .facteur
        .wait_log(&["disconnect", "helo=\"\"", "TLS: "]);
    relay.stop_well();
}

/// After an alert the connection ends: what is said then is neither read as SMTP nor answered by a reset.
#[test]
fn after_an_alert_nothing_is_said_in_clear() {
    let relay = Relay::start();
    for way in [Way::StartTls, Way::Implicit] {
        let mut socket = relay.connect(way);
        let hello = Hello {
            version: 0x0301,
            ..Hello::tls_1_2()
        };
        // More than the relay has read when it fails: what is left unread must not make its close a reset.
        let behind = b"EHLO client.test\r\nNOOP\r\n".repeat(10_000);
        socket.write_all(&hello.record()).expect("sent");
        socket.write_all(&behind).expect("drained");
        let mut said = Vec::new();
        socket.read_to_end(&mut said).expect("an end, no reset");
        assert!(
            matches!(said[..], [21, 3, _, 0, 2, 2, 70]),
            "{way:?}: {said:?}"
        );
    }
    relay.stop_well();
}

#[test]
fn a_session_of_tls_1_2_is_not_renegotiated() {
    let relay = Relay::start();
    let began = Instant::now();
    let address = format!("127.0.0.1:{}", relay.implicit);
    let mut openssl = program("openssl", "openssl");
    openssl.args([
        "s_client",
        "-tls1_2",
        "-connect",
        &address,
        "-servername",
        "mx.example.org",
    ]);
    let pipes = openssl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = pipes.spawn().expect("openssl starts");
    let mut words = client.stdout.take().expect("piped");
    let mut said = Vec::new();
    while !said.windows(4).any(|at| at == b"220 ") {
        let mut more = [0; 1024];
        let count = words.read(&mut more).expect("its output");
        assert!(count > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&more[..count]);
    }
    client
        .stdin
        .as_mut()
        .expect("piped")
        .write_all(b"R\n")
        .expect("asked for it");
    let output = client.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    // The refusal is sent when it is made, not with the farewell to an idle client after five minutes.
    assert!(began.elapsed() < PATIENCE);
    assert!(
        said.contains("RENEGOTIATING") && said.contains("no renegotiation"),
        "{said}"
    );
    relay.stop_well();
}
