//! What nobody sends but attackers and odd middle boxes, to the listeners of the relay itself: every handshake ends in TLS or
//! in an alert, and the relay serves on.

mod certificates;
mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use certificates::{Folder as Certs, Made, made};
use support::facteur::Facteur;
use support::hello::{self, Answer, Hello, answer};
use support::smtp::Client;
use support::{Folder, PATIENCE, anyone, free_port, program};

/// A relay with a certificate for mx.example.org and a default one, a port with STARTTLS and one with implicit TLS.
struct Relay {
    facteur: Facteur,
    implicit: u16,
    mx: Made,
    default: Made,
    _folders: (Folder, Certs),
}

/// How a test comes to the handshake.
#[derive(Clone, Copy, Debug)]
enum Way {
    StartTls,
    Implicit,
}

impl Relay {
    fn start() -> Self {
        let (folder, certs) = (Folder::new(), Certs::new());
        let (mx, default) = (made(&["mx.example.org"]), made(&["relay.example"]));
        certs.lineage("mx.example.org", &mx);
        certs.lineage("relay.example", &default);
        let implicit = free_port();
        let address = format!("127.0.0.1:{implicit}");
        let dir = certs.path().to_str().expect("UTF-8");
        let flags = [
            "--certs",
            dir,
            "--hostname",
            "relay.example",
            "--listen-tls",
            &address,
        ];
        let facteur = Facteur::start(folder.as_ref(), &flags);
        Self {
            facteur,
            implicit,
            mx,
            default,
            _folders: (folder, certs),
        }
    }

    /// A connection that waits for its handshake.
    fn connect(&self, way: Way) -> TcpStream {
        let port = match way {
            Way::StartTls => self.facteur.port,
            Way::Implicit => self.implicit,
        };
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        if let Way::StartTls = way {
            let mut reply = [0; 256];
            for command in ["", "STARTTLS\r\n"] {
                socket.write_all(command.as_bytes()).expect("sent");
                let count = socket.read(&mut reply).expect("a reply");
                assert!(reply.starts_with(b"220 ") && reply[..count].ends_with(b"\r\n"));
            }
        }
        socket
    }

    /// What comes of this hello, which must be the same in both ways.
    #[track_caller]
    fn says_to(&self, octets: &[u8]) -> Answer {
        let says = answer(&self.connect(Way::Implicit), octets);
        let after_starttls = answer(&self.connect(Way::StartTls), octets);
        match (&says, &after_starttls) {
            // The server's random and key differ.
            (Answer::Flight(_), Answer::Flight(_)) => {}
            _ => assert_eq!(says, after_starttls),
        }
        says
    }

    /// The relay serves on, and nothing in it broke.
    #[track_caller]
    fn stop_well(self) {
        let client = Client::connect(self.facteur.port).expect("a session");
        let mut config = anyone::client((*facteur::tls::provider()).clone(), VERSIONS);
        config.enable_sni = false;
        let mut client = client
            .starttls(config.into(), "relay.example")
            .expect("TLS");
        client.say("NOOP", "250").expect("served");
        let log = self.facteur.log();
        assert!(!log.contains("panicked"), "{log}");
        drop(client); // without a word
        self.facteur.wait_log(&[
            "disconnect",
            "end=\"read: the peer closed the connection without TLS's close_notify\"",
        ]);
        for line in self.facteur.log().lines() {
            told_in_words(line);
        }
        self.facteur.stop();
    }
}

/// The end of a session is one quoted value, without the names and documents of rustls.
#[track_caller]
fn told_in_words(line: &str) {
    let Some((_, end)) = line.split_once(" end=\"") else {
        return;
    };
    let end = end.strip_suffix('"').unwrap_or_else(|| panic!("{line}"));
    let rustls = ["Peer", "Invalid", "http", "tls handshake eof"];
    let is_plain = !end.replace("\\\"", "").contains('"');
    assert!(
        is_plain && !rustls.iter().any(|word| end.contains(word)),
        "{line}"
    );
}

const VERSIONS: &[&async_rustls::rustls::SupportedProtocolVersion] =
    async_rustls::rustls::ALL_VERSIONS;

#[test]
fn versions_before_1_2_are_refused_by_their_alert() {
    let relay = Relay::start();
    for version in [0x0300, 0x0301, 0x0302] {
        let hello = Hello {
            version,
            ..Hello::tls_1_2()
        };
        assert_eq!(
            relay.says_to(&hello.record()),
            hello::PROTOCOL_VERSION,
            "{version:x}"
        );
        let [high, low] = u16::to_be_bytes(version);
        let hello = Hello::tls_1_2().and(hello::SUPPORTED_VERSIONS, &[2, high, low]);
        assert_eq!(
            relay.says_to(&hello.record()),
            hello::PROTOCOL_VERSION,
            "{version:x}"
        );
    }
    // SSL 2.0: a length with the high bit, CLIENT-HELLO, version 2.
    let ssl2 = [&[0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16][..], &[1; 37]].concat();
    assert_eq!(relay.says_to(&ssl2), hello::PROTOCOL_VERSION);
    relay.stop_well();
}

/// TLS 1.2 brought signature_algorithms: who ends before it does not send any.
#[test]
fn a_version_before_1_2_is_told_as_such_whatever_else_its_hello_lacks() {
    let relay = Relay::start();
    for version in [0x0300, 0x0301, 0x0302] {
        let mut hello = Hello::tls_1_2();
        hello.version = version;
        hello.extensions.remove(2);
        for most in [1, usize::MAX] {
            let octets = hello::records(&hello.message(), most);
            let says = relay.says_to(&octets);
            assert_eq!(says, hello::PROTOCOL_VERSION, "{version:x}");
        }
        let mut socket = relay.connect(Way::Implicit);
        socket.set_nodelay(true).expect("a socket");
        for octet in hello.record() {
            socket.write_all(&[octet]).expect("sent");
        }
        let mut said = Vec::new();
        socket.read_to_end(&mut said).expect("an end, no reset");
        let own = version as u8;
        assert_eq!(
            said,
            [21, 3, own, 0, 2, 2, 70],
            "a record of its own version"
        );
    }
    relay
        .facteur
        .wait_log(&["disconnect", "end=\"TLS: no-shared-version: "]);
    // One of TLS 1.2 means SHA-1 by that, which nobody should sign with.
    let mut hello = Hello::tls_1_2();
    hello.extensions.remove(2);
    assert_eq!(relay.says_to(&hello.record()), hello::HANDSHAKE_FAILURE);
    relay
        .facteur
        .wait_log(&["disconnect", "end=\"TLS: no-signature-algorithms: "]);
    let log = relay.facteur.log();
    assert!(!log.contains("no-certificate"), "{log}");
    relay.stop_well();
}

/// OpenSSL, made to speak no more than TLS 1.0 and 1.1, reads the alert as what it is.
#[test]
fn an_old_client_is_told_that_the_version_is_the_fault() {
    let relay = Relay::start();
    for (version, port, way) in [
        ("-tls1", relay.implicit, &["-quiet"][..]),
        ("-tls1_1", relay.facteur.port, &["-starttls", "smtp"]),
    ] {
        let mut openssl = program("openssl", "openssl");
        openssl.args(["s_client", version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        openssl.args(["-connect", &format!("127.0.0.1:{port}")]);
        let output = openssl.args(way).stdin(Stdio::null()).output();
        let said = output.expect("openssl runs").stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("alert protocol version"), "{version}: {said}");
    }
    relay.stop_well();
}

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
