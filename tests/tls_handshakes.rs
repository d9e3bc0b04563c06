//! Handshakes that are right and come in odd ways: in pieces, asked for again, with each of the groups.

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use async_rustls::pki_types::ServerName;
use async_rustls::rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup,
};
use async_rustls::rustls::version::{TLS12, TLS13};
use async_rustls::rustls::{
    ALL_VERSIONS, ClientConnection, Error, HandshakeKind, NamedGroup, StreamOwned,
    SupportedProtocolVersion,
};
use facteur::tls;

use support::facteur::Facteur;
use support::hello::records;
use support::{Folder, PATIENCE, anyone, program, succeed};

/// A socket that sends one octet at a time, and a ClientHello in records of at most so many octets.
struct Dribble {
    socket: TcpStream,
    most: usize,
}

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Dribble {
    /// rustls writes whole records.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let pieces = match record {
            [22, _, _, _, _, message @ ..] if message.starts_with(&[1, 0]) => {
                records(message, self.most)
            }
            _ => record.to_vec(),
        };
        for octet in pieces {
            self.socket.write_all(&[octet])?;
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A group that no server here has: it asks for another share (RFC 8446 4.1.4).
#[derive(Debug)]
struct Unknown;

impl SupportedKxGroup for Unknown {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Unknown {
    fn complete(self: Box<Self>, _peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        Err(Error::General("the relay chose what it has not".to_owned()))
    }

    fn pub_key(&self) -> &[u8] {
        &[4; 133]
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

type Groups = Vec<&'static dyn SupportedKxGroup>;

/// A session by STARTTLS; how it was come by, and what the relay's log says of its TLS.
#[track_caller]
fn session(
    facteur: &Facteur,
    versions: &[&'static SupportedProtocolVersion],
    groups: Groups,
    most: usize,
) -> (HandshakeKind, String) {
    let provider = CryptoProvider {
        kx_groups: groups,
        ..(*tls::provider()).clone()
    };
    let config = Arc::new(anyone::client(provider, versions));
    let mut socket = TcpStream::connect(("127.0.0.1", facteur.port)).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.set_nodelay(true).expect("a socket");
    let mut reply = [0; 256];
    for command in ["", "STARTTLS\r\n"] {
        socket.write_all(command.as_bytes()).expect("sent");
        let count = socket.read(&mut reply).expect("a reply");
        assert!(
            reply.starts_with(b"220 "),
            "{}",
            reply[..count].escape_ascii()
        );
    }
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(config, name).expect("a client");
    let mut tls = StreamOwned::new(connection, Dribble { socket, most });
    let mark = format!(
        "client-{}.test",
        tls.sock.socket.local_addr().expect("bound").port()
    );
    tls.write_all(format!("EHLO {mark}\r\nQUIT\r\n").as_bytes())
        .expect("in TLS");
    let mut said = String::new();
    tls.read_to_string(&mut said).expect("a proper end");
    assert!(said.contains("\r\n221 "), "{said}");
    let kind = tls.conn.handshake_kind().expect("a handshake");
    (kind, facteur.wait_log(&["disconnect", &mark]))
}

fn groups() -> Groups {
    tls::provider().kx_groups.clone()
}

/// The group that both sides like best.
fn best() -> &'static str {
    match cfg!(feature = "aws-lc-rs") {
        true => " X25519MLKEM768 ",
        false => " x25519 ",
    }
}

#[test]
fn a_hello_may_come_in_any_pieces() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    for version in ALL_VERSIONS {
        for most in [1, 2, 5, 100, usize::MAX] {
            let (kind, log) = session(&facteur, &[version], groups(), most);
            assert_eq!(kind, HandshakeKind::Full);
            assert!(log.contains(" sni=localhost "), "{log}");
            assert!(version == &&TLS12 || log.contains(best()), "{log}");
        }
    }
    facteur.stop();
}

#[test]
fn a_hello_that_is_asked_for_again_may_come_in_any_pieces() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let again: Groups = [&Unknown as _].into_iter().chain(groups()).collect();
    for most in [1, 100, usize::MAX] {
        let (kind, log) = session(&facteur, &[&TLS13], again.clone(), most);
        assert_eq!(kind, HandshakeKind::FullWithHelloRetryRequest);
        assert!(log.contains("TLSv1.3 ") && log.contains(best()), "{log}");
    }
    facteur.stop();
}

#[test]
fn each_group_will_do_and_the_hybrid_is_first() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    for group in groups() {
        let name = match group.name() {
            NamedGroup::X25519 => "x25519",
            other => other.as_str().expect("a name"),
        };
        for version in ALL_VERSIONS
            .iter()
            .filter(|version| group.usable_for_version(version.version))
        {
            let (_, log) = session(&facteur, &[version], vec![group], usize::MAX);
            assert!(log.contains(&format!(" {name} ")), "{log}");
        }
    }
    // A share of the group that it has is taken as it comes: no client that sends one waits for a second round.
    let classical = groups()
        .into_iter()
        .filter(|group| group.name() == NamedGroup::secp384r1);
    let first: Groups = classical.chain(groups()).collect();
    let (kind, log) = session(&facteur, &[&TLS13], first, usize::MAX);
    assert_eq!(kind, HandshakeKind::Full);
    assert!(log.contains(" secp384r1 "), "{log}");
    facteur.stop();
}

/// OpenSSL's own: each of the classical groups, its way to ask again, and the hybrid from 3.5 on.
#[test]
fn openssl_gets_the_group_that_it_asks_for() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    let version = succeed(program("openssl", "openssl").arg("version"));
    let version = version.split(' ').nth(1).unwrap_or_default();
    let numbers: Vec<u32> = version.split('.').flat_map(str::parse).collect();
    let has_hybrid = cfg!(feature = "aws-lc-rs") && numbers >= vec![3, 5];
    let mut asked = vec![
        ("X25519", "x25519"),
        ("P-256", "secp256r1"),
        ("P-384", "secp384r1"),
        // Its only share is of the first.
        ("P-521:X25519", "x25519"),
        ("X448:P-384:P-256", "secp384r1"),
    ];
    match has_hybrid {
        true => asked.push(("X25519MLKEM768", "X25519MLKEM768")),
        false => eprintln!("skipped: OpenSSL {version} has no X25519MLKEM768"),
    }
    for (at, (groups, expected)) in asked.into_iter().enumerate() {
        let name = format!("openssl-{at}.test");
        let talk = "printf 'EHLO %s\\r\\nQUIT\\r\\n' $2 | openssl s_client -connect $0 -groups $1 -tls1_3 \
                    -starttls smtp -quiet -ign_eof";
        let mut sh = program("sh", "dash");
        succeed(sh.args(["-c", talk, &facteur.address(), groups, &name]));
        let log = facteur.wait_log(&["disconnect", &name]);
        assert!(log.contains(&format!(" {expected} ")), "{groups}: {log}");
    }
    facteur.stop();
}
