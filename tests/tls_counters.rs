//! Handshakes are counted by version, suite, group, entry and reason; told at stop, at SIGHUP and by `facteur check`.

mod certificates;
mod starttls;
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use async_rustls::rustls::version::TLS12;
use certificates::{Folder as Certs, made, made_rsa};
use starttls::shown;
use support::facteur::{Facteur, command_of};
use support::hello::{self, Hello, answer};
use support::smtp::Client;
use support::{Folder, PATIENCE, anyone, said, until};

struct Relay {
    folder: Folder,
    certs: Certs,
    facteur: Facteur,
}

impl Relay {
    fn start() -> Self {
        let (folder, certs) = (Folder::new(), Certs::new());
        certs.lineage("relay.test", &made(&["relay.test"]));
        certs.lineage("mx.test", &made(&["mx.test", "*.mx.test"]));
        let dir = certs.path().to_str().expect("UTF-8");
        let flags = ["--certs", dir, "--hostname", "relay.test"];
        let facteur = Facteur::start(folder.as_ref(), &flags);
        Self {
            folder,
            certs,
            facteur,
        }
    }

    /// What `facteur check` tells of it.
    fn check(&self) -> Vec<String> {
        let listen = self.facteur.address();
        let own = ["check", "--hostname", "relay.test", "--listen", &listen];
        let words = [&own[..], &["--resolver", "127.0.0.1:1"]].concat();
        let output = command_of(self.folder.as_ref(), &words).output();
        let said = said(&output.expect("it runs"));
        let told = said
            .lines()
            .filter_map(|line| line.strip_prefix("ok: the running relay: "));
        let of_tls = told.filter(|line| line.starts_with("tls "));
        of_tls.map(str::to_owned).collect()
    }

    /// A whole session in TLS 1.2.
    fn old_session(&self, name: &str) {
        let client = Client::connect(self.facteur.port).expect("a session");
        let config = anyone::client((*facteur::tls::provider()).clone(), &[&TLS12]);
        let mut client = client.starttls(config.into(), name).expect("TLS");
        client.say("QUIT", "221").expect("served");
    }

    /// A connection that waits for its handshake.
    fn connect(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.facteur.address()).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut reply = [0; 256];
        for command in ["", "STARTTLS\r\n"] {
            socket.write_all(command.as_bytes()).expect("sent");
            let count = socket.read(&mut reply).expect("a reply");
            assert!(reply[..count].starts_with(b"220 "));
        }
        socket
    }

    fn refuses(&self, hello: &Hello) {
        let answered = answer(&self.connect(), &hello.record());
        assert!(matches!(answered, hello::Answer::Alert(_)), "{answered:?}");
    }
}

/// The group that both sides like best.
fn best() -> &'static str {
    match cfg!(feature = "aws-lc-rs") {
        true => "X25519MLKEM768",
        false => "x25519",
    }
}

#[test]
fn handshakes_are_counted_by_what_they_agreed_on_and_survive_a_renewal() {
    let relay = Relay::start();
    assert_eq!(relay.check(), ["tls no handshake yet"]);
    let port = relay.facteur.port;
    for name in ["mx.test", "a.mx.test", "b.mx.test", "c.mx.test"] {
        shown(port, name);
    }
    let before = relay.check();
    assert_eq!(before[0], "tls versions TLSv1.3=4");
    assert_eq!(before[1], "tls suites TLS_AES_256_GCM_SHA384=4");
    assert_eq!(before[2], format!("tls groups {}=4", best()));
    // Names that clients make up are no entries.
    assert_eq!(before[3..], ["tls entries *.mx.test=3 mx.test=1"]);
    relay.certs.lineage("mx.test", &made_rsa(&["mx.test"]));
    relay.facteur.signal("HUP");
    relay.facteur.wait_log(&["inbound tls versions TLSv1.3=4"]);
    relay.facteur.wait_log(&["certificate new folder="]);
    until("the renewed one", || {
        relay.old_session("mx.test");
        let told = relay.check().join("\n");
        told.contains("TLS_ECDHE_RSA_WITH").then_some(())
    });
    for name in ["a.mx.test", "made.up.test", "made.up.as.well.test"] {
        shown(port, name);
    }
    let after = relay.check().join("\n");
    assert!(after.contains("tls versions TLSv1.3=7 TLSv1.2="), "{after}");
    assert!(
        after.contains(" default=3") && after.contains(" *.mx.test=3"),
        "{after}"
    );
    assert!(!after.contains("made.up"), "{after}");
    let mut facteur = relay.facteur;
    facteur.terminate();
    assert_eq!(facteur.wait_exit().code(), Some(0));
    let log = facteur.log();
    for line in after.lines() {
        assert!(log.contains(&format!("inbound {line}")), "{line} in {log}");
    }
}

#[test]
fn handshakes_that_fail_are_counted_by_their_reasons() {
    let relay = Relay::start();
    let old = || Hello {
        version: 0x0302,
        ..Hello::tls_1_2()
    };
    let without = |suites| Hello {
        suites,
        ..Hello::tls_1_2()
    };
    relay.refuses(&old());
    relay.refuses(&old());
    relay.refuses(&without(vec![0x002f])); // RSA key exchange
    relay.refuses(&Hello::tls_1_2().and(hello::ALPN, b"\0\x03\x02h2"));
    relay
        .connect()
        .write_all(b"EHLO once.more\r\n")
        .expect("sent");
    drop(relay.connect());
    let expected =
        "tls failures no-shared-version=2 no-shared-suite=1 no-shared-alpn=1 malformed=1 lost=1";
    let mut told = Vec::new();
    until("the counting of the last", || {
        told = relay.check();
        (told == [expected]).then_some(())
    });
    relay.facteur.stop();
}
