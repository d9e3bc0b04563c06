//! TLS over loopback sockets: which certificate whom, what is refused, and that alerts arrive.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_rustls::TlsAcceptor;
use async_rustls::pki_types::{CertificateDer, ServerName};
use async_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use async_rustls::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, ServerConfig,
};
use facteur::net::stream::{HandshakeError, Stream};
use facteur::tls::Verdict::{Exact, NoName, UnknownName, Wildcard};
use facteur::tls::{self, Established};
use smol::Async;
use smol::future::zip;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod certificates;
mod tls_server;

use certificates::made;
use tls_server::Server;

/// A client configuration of facteur's, changed.
fn client(change: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut config = (*tls::client::config()).clone();
    change(&mut config);
    Arc::new(config)
}

#[test]
fn each_name_gets_its_certificate_and_the_rest_the_default() {
    let (mx, wild) = (
        made(&["mx.example.org"]),
        made(&["*.example.net", "example.net"]),
    );
    let server = Server::new(&[("mx.example.org", &mx), ("wild", &wild)]);
    smol::block_on(async {
        let wildcard = Wildcard("*.example.net".into());
        for (name, sni, expected, entry) in [
            ("mx.example.org", Some("mx.example.org"), &mx, Exact),
            ("MX.EXAMPLE.ORG", Some("mx.example.org"), &mx, Exact),
            ("example.net", Some("example.net"), &wild, Exact),
            ("a.example.net", Some("a.example.net"), &wild, wildcard),
            ("a.b.example.net", Some("a.b.example.net"), &mx, UnknownName),
            ("unknown.example", Some("unknown.example"), &mx, UnknownName),
            ("127.0.0.1", None, &mx, NoName),
            ("::1", None, &mx, NoName),
        ] {
            let (accepted, connected) = server.meet(tls::client::config(), name).await;
            let established = accepted.unwrap().1;
            assert_eq!(
                (established.sni(), established.entry()),
                (sni, Some(&entry)),
                "{name}"
            );
            let connected = connected.unwrap();
            let shown = connected.get_ref().1.peer_certificates().unwrap();
            assert!(shown[0].as_ref() == expected.der, "{name}");
        }
        let (accepted, _) = server
            .meet(client(|c| c.enable_sni = false), "mx.example.org")
            .await;
        assert_eq!(accepted.unwrap().1.sni(), None);
    });
}

#[test]
fn both_sides_agree_and_what_is_said_arrives() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    smol::block_on(async {
        let connect = async {
            let stream = Stream::connect(server.address()).await.unwrap();
            assert_eq!(format!("{stream:?}"), "Stream(clear)");
            stream
                .connect_tls(&tls::client::config(), "mx.example.org.")
                .await
                .unwrap()
        };
        let (accepted, (mut client, theirs)) = zip(server.accept(), connect).await;
        let (mut served, ours) = accepted.unwrap();
        assert_eq!(format!("{client:?}"), "Stream(TLS, connected)");
        assert_eq!(format!("{served:?}"), "Stream(TLS, accepted)");
        assert_eq!(ours.to_string(), format!("{theirs} entry=exact"));
        assert!(theirs.to_string().ends_with(" sni=mx.example.org"));
        assert_eq!(
            (ours.version(), ours.suite()),
            ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        );
        assert_eq!(
            (ours.sni(), theirs.sni()),
            (Some("mx.example.org"), Some("mx.example.org"))
        );
        let first_group = match cfg!(feature = "aws-lc-rs") {
            true => "X25519MLKEM768",
            false => "x25519",
        };
        assert_eq!(ours.group(), Some(first_group));

        let body: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let send = async {
            client.write_all(&body).await.unwrap();
            client.flush().await.unwrap();
            client
        };
        let mut received = vec![0; body.len()];
        let (client, read) = zip(send, served.read_exact(&mut received)).await;
        read.unwrap();
        assert!(received == body);
        assert!(matches!(
            client.connect_tls(&tls::client::config(), "mx").await,
            Err(HandshakeError::AlreadyTls)
        ));
    });
}

#[test]
fn tls_1_2_works_with_ecdsa_and_rsa() {
    for made in [
        made(&["mx.example.org"]),
        certificates::made_rsa(&["mx.example.org"]),
    ] {
        let server = Server::new(&[("mx", &made)]);
        smol::block_on(async {
            let old = ClientConfig::builder_with_provider(tls::provider())
                .with_protocol_versions(&[&async_rustls::rustls::version::TLS12])
                .unwrap();
            let mut roots = async_rustls::rustls::RootCertStore::empty();
            roots.add(CertificateDer::from(made.der.clone())).unwrap();
            let config = old.with_root_certificates(roots).with_no_client_auth();
            let (accepted, connected) = server.meet(Arc::new(config), "mx.example.org").await;
            connected.unwrap();
            let (_, established) = accepted.unwrap();
            assert_eq!(established.version(), "TLSv1.2");
            assert!(
                established.suite().starts_with("TLS_ECDHE_"),
                "{established}"
            );
        });
    }
}

#[test]
fn alpn_must_offer_smtp_if_it_offers_anything() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let offering = |words: &[&str]| {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        client(|config| config.alpn_protocols = words)
    };
    smol::block_on(async {
        for accepted in [&["smtp"][..], &["h2", "smtp"], &[]] {
            let (served, connected) = server.meet(offering(accepted), "mx.example.org").await;
            assert!(served.is_ok() && connected.is_ok(), "{accepted:?}");
        }
        let (served, connected) = server
            .meet(offering(&["h2", "http/1.1"]), "mx.example.org")
            .await;
        assert!(matches!(
            served,
            Err(HandshakeError::Tls(Error::NoApplicationProtocol))
        ));
        let told: Error = connected.unwrap_err().downcast().unwrap();
        assert_eq!(
            told,
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        );
    });
}

#[test]
fn no_session_is_resumed() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let config = client(|c| c.resumption = async_rustls::rustls::client::Resumption::default());
    smol::block_on(async {
        for _ in 0..2 {
            let (served, connected) = server.meet(Arc::clone(&config), "mx.example.org").await;
            let mut connected = connected.unwrap();
            let (mut served, _) = served.unwrap();
            // A ticket would come before these bytes.
            served.write_all(b"250 2.0.0 Ok\r\n").await.unwrap();
            served.flush().await.unwrap();
            connected.read_exact(&mut [0; 14]).await.unwrap();
            let kind = connected.get_ref().1.handshake_kind();
            assert!(matches!(
                kind,
                Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
            ));
        }
    });
}

/// Says `bytes` to the server as the first flight; what came back until the end of the connection.
fn answer_to(server: &Server, bytes: Vec<u8>) -> (Vec<u8>, HandshakeError) {
    let address = server.address();
    let peer = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        socket
            .read_to_end(&mut answer)
            .expect("an end, not a reset");
        answer
    });
    let error = smol::block_on(server.accept()).unwrap_err();
    (peer.join().unwrap(), error)
}

fn is_fatal_alert(answer: &[u8]) -> bool {
    matches!(answer, [0x15, 0x03, _, 0x00, 0x02, 0x02, _])
}

#[test]
fn an_alert_arrives_though_the_peer_said_more_than_was_read() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let mut words = b"EHLO this.is.no.hello\r\n".to_vec();
    words.extend(vec![b'x'; 300_000]);
    let (answer, error) = answer_to(&server, words);
    assert!(is_fatal_alert(&answer), "{answer:?}");
    assert!(matches!(error, HandshakeError::Tls(_)), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn a_malformed_sni_gets_an_alert() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let name = ServerName::try_from("mx.example.org").unwrap();
    for bad in [
        &b"mx\0example.org"[..],
        b"mx example.org",
        b"*.example.org\x80",
        b"..............",
    ] {
        let mut connection = ClientConnection::new(tls::client::config(), name.clone()).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        let good = b"mx.example.org";
        let at = hello.windows(good.len()).position(|at| at == good).unwrap();
        hello[at..at + good.len()].copy_from_slice(bad);
        let (answer, error) = answer_to(&server, hello);
        assert!(is_fatal_alert(&answer), "{bad:?}: {answer:?}");
        assert!(matches!(error, HandshakeError::Tls(_)), "{error}");
    }
}

#[test]
fn certificates_that_do_not_parse_do_not_stop_may_and_encrypt() {
    let made = made(&["mx.example.org"]);
    let key = async_rustls::pki_types::pem::PemObject::from_pem_slice(made.key.as_bytes()).unwrap();
    let key = tls::provider().key_provider.load_private_key(key).unwrap();
    let garbage = CertificateDer::from(b"no X.509 v3".to_vec());
    let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
        vec![garbage],
        key,
    )));
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    for version in [
        &async_rustls::rustls::version::TLS12,
        &async_rustls::rustls::version::TLS13,
    ] {
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver.clone());
        smol::block_on(async {
            let serve = async {
                let (socket, _) = listener.accept().await.unwrap();
                TlsAcceptor::from(Arc::new(config)).accept(socket).await
            };
            // The host's name is none: TLS goes on without SNI.
            let connect = async {
                let stream = Stream::connect(address).await.unwrap();
                stream
                    .connect_tls(&tls::client::config(), "-odd-.example")
                    .await
            };
            let (served, connected) = zip(serve, connect).await;
            assert_eq!(served.unwrap().get_ref().1.server_name(), None);
            connected.unwrap();
        });
    }
}

/// The status of `openssl s_client` with `flags` against the server.
fn openssl(server: &Server, flags: &[&str]) -> Option<(bool, Result<Established, HandshakeError>)> {
    let address = server.address().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let accepted = smol::block_on(async {
        let (stream, established) = server.accept().await?;
        stream.close().await;
        Ok(established)
    });
    Some((client.wait().unwrap().success(), accepted))
}

#[test]
fn openssl_gets_tls_1_2_and_1_3_and_nothing_older() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let Some((success, accepted)) = openssl(&server, &["-tls1_2"]) else {
        eprintln!("skipped: no openssl");
        return;
    };
    assert!(success);
    assert_eq!(accepted.unwrap().version(), "TLSv1.2");
    let (success, accepted) = openssl(&server, &["-tls1_3"]).unwrap();
    assert!(success);
    assert_eq!(accepted.unwrap().version(), "TLSv1.3");
    for old in ["-tls1_1", "-tls1"] {
        // At security level 0 openssl still sends the hello.
        let (success, accepted) = openssl(&server, &[old, "-cipher", "ALL:@SECLEVEL=0"]).unwrap();
        assert!(!success);
        assert!(
            matches!(accepted, Err(HandshakeError::Tls(_))),
            "{old}: {accepted:?}"
        );
    }
}
