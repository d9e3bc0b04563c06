//! A relay with both doors to TLS, STARTTLS and implicit, for clients that are made by hand.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::certificates::{Folder as Certs, Made, made};
use super::support::facteur::Facteur;
use super::support::hello::{Answer, answer};
use super::support::smtp::Client;
use super::support::{Folder, PATIENCE, anyone, free_port};

/// A relay with a certificate for mx.example.org and a default one, a port with STARTTLS and one with implicit TLS.
pub struct Relay {
    pub facteur: Facteur,
    pub implicit: u16,
    pub mx: Made,
    pub default: Made,
    _folders: (Folder, Certs),
}

/// How a test comes to the handshake.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    StartTls,
    Implicit,
}

impl Relay {
    pub fn start() -> Self {
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
    pub fn connect(&self, way: Way) -> TcpStream {
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
    pub fn says_to(&self, octets: &[u8]) -> Answer {
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
    pub fn stop_well(self) {
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

pub const VERSIONS: &[&async_rustls::rustls::SupportedProtocolVersion] =
    async_rustls::rustls::ALL_VERSIONS;
