//! Clients that end before TLS 1.2, or are of it and do not say what they can verify: what they and the owner are told.

mod certificates;
#[path = "support/doors.rs"]
mod doors;
mod support;

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use doors::{Relay, Way};
use support::hello::{self, Hello};
use support::program;

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
