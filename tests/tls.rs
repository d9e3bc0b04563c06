//! TLS over loopback sockets: which certificate whom, what is refused, and that alerts arrive.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rustls::pki_types::{CertificateDer, ServerName};
use async_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use async_rustls::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, ServerConfig,
    StreamOwned,
};
use async_rustls::{TlsConnector, client::TlsStream};
use facteur::net::deadline::within;
use facteur::net::stream::{HandshakeError, Stream};
use facteur::tls::table::COMPILED;
use facteur::tls::{self, Established, Found, Table};
use smol::Async;
use smol::future::zip;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod certificates;

use certificates::{Folder, Made, made};

/// A server for the certificates of a folder.
struct Server {
    config: Arc<ServerConfig>,
    listener: Async<TcpListener>,
    _certs: Folder,
}

impl Server {
    fn new(lineages: &[(&str, &Made)]) -> Self {
        let certs = Folder::new();
        for (name, made) in lineages {
            certs.lineage(name, made);
        }
        let dirs: Vec<PathBuf> = vec![certs.path().into()];
        let table = Table::load(
            &COMPILED,
            &Found::now(&COMPILED, &dirs),
            None,
            "relay.invalid",
        )
        .unwrap();
        Self {
            config: tls::server::config(Arc::new(table)),
            listener: Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap(),
            _certs: certs,
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.get_ref().local_addr().unwrap()
    }

    async fn accept(&self) -> Result<(Stream, Established), HandshakeError> {
        let (socket, _) = self.listener.accept().await.unwrap();
        Stream::new(socket).accept_tls(&self.config).await
    }

    /// One handshake with a client of `config`; what each side made of it.
    async fn meet(
        &self,
        config: Arc<ClientConfig>,
        name: &str,
    ) -> (
        Result<(Stream, Established), HandshakeError>,
        io::Result<TlsStream<Async<TcpStream>>>,
    ) {
        let name = ServerName::try_from(name.to_string()).unwrap();
        zip(self.accept(), async {
            let socket = Async::<TcpStream>::connect(self.address()).await?;
            TlsConnector::from(config).connect(name, socket).await
        })
        .await
    }
}

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
        for (name, sni, expected) in [
            ("mx.example.org", Some("mx.example.org"), &mx),
            ("MX.EXAMPLE.ORG", Some("mx.example.org"), &mx),
            ("a.example.net", Some("a.example.net"), &wild),
            ("a.b.example.net", Some("a.b.example.net"), &mx),
            ("unknown.example", Some("unknown.example"), &mx),
            ("127.0.0.1", None, &mx),
            ("::1", None, &mx),
        ] {
            let (accepted, connected) = server.meet(tls::client::config(), name).await;
            assert_eq!(accepted.unwrap().1.sni(), sni, "{name}");
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
        assert_eq!(ours.to_string(), theirs.to_string());
        assert!(ours.to_string().ends_with(" sni=mx.example.org"), "{ours}");
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

/// A client without TCP_NODELAY holds its first words back until the end of its handshake is acknowledged: the kernel's
/// own delay is 40 ms and more.
#[test]
fn the_first_words_in_tls_do_not_wait_for_a_delayed_ack() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    let address = server.address();
    let quickest = (0..5).map(|_| {
        let peer = std::thread::spawn(move || {
            let name = ServerName::try_from("mx.example.org").unwrap();
            let mut connection = ClientConnection::new(tls::client::config(), name).unwrap();
            let mut socket = TcpStream::connect(address).unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).unwrap();
            }
            let began = Instant::now();
            let mut stream = StreamOwned::new(connection, socket);
            stream.write_all(b"EHLO a\r\n").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            began.elapsed()
        });
        smol::block_on(async {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"250 \n").await.unwrap();
            stream.flush().await.unwrap();
        });
        peer.join().unwrap()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_millis(35), "{quickest:?}");
}

#[test]
fn a_silent_peer_is_waited_for_without_a_read() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let mut peer = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
    smol::block_on(async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = Stream::new(socket);
        let silent = within(Duration::from_millis(50), stream.wait_readable()).await;
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        peer.write_all(b"EHLO").unwrap();
        let word = &mut [0; 4];
        for _ in 0..2 {
            let spoke = within(Duration::from_secs(60), stream.wait_readable()).await;
            spoke.expect("it stays readable until it is read");
        }
        stream.read_exact(word).await.unwrap();
        assert_eq!(word, b"EHLO");
        drop(peer);
        let gone = within(Duration::from_secs(60), stream.wait_readable()).await;
        gone.expect("an end is readable");
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
fn a_peer_that_leaves_in_the_handshake_is_lost() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    drop(TcpStream::connect(server.address()).unwrap());
    let error = smol::block_on(server.accept()).unwrap_err();
    assert!(matches!(error, HandshakeError::Lost(_)), "{error}");
}

#[test]
fn a_closed_stream_gives_all_its_words_and_a_proper_end() {
    let server = Server::new(&[("mx", &made(&["mx.example.org"]))]);
    smol::block_on(async {
        let (served, connected) = server.meet(tls::client::config(), "mx.example.org").await;
        let (mut served, mut connected) = (served.unwrap().0, connected.unwrap());
        // Never read by the server: a plain close would reset the connection.
        connected.write_all(&vec![b'x'; 50_000]).await.unwrap();
        connected.flush().await.unwrap();
        let close = async {
            served.write_all(b"421 4.7.0 Bye\r\n").await.unwrap();
            served.close().await;
        };
        let read = async {
            let mut answer = Vec::new();
            // Without close_notify this is an error of kind UnexpectedEof.
            connected.read_to_end(&mut answer).await.unwrap();
            drop(connected);
            answer
        };
        let (_, answer) = zip(close, read).await;
        assert_eq!(answer, b"421 4.7.0 Bye\r\n");
    });
}

#[test]
fn a_last_reply_in_clear_ends_in_an_end_and_no_reset() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(&vec![b'x'; 300_000]).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        // Not reset yet: a peer that goes on writing first reads the reply later.
        socket.write_all(b"QUIT\r\n").unwrap();
        answer
    });
    smol::block_on(async {
        let (socket, _) = listener.accept().await.unwrap();
        // Something is unread when the last reply is written.
        socket.readable().await.unwrap();
        let mut served = Stream::new(socket);
        served.write_all(b"421 4.3.2 Busy\r\n").await.unwrap();
        served.close().await;
    });
    assert_eq!(peer.join().unwrap(), b"421 4.3.2 Busy\r\n");
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
                Stream::new(socket).accept_tls(&Arc::new(config)).await
            };
            // The host's name is none: TLS goes on without SNI.
            let connect = async {
                let stream = Stream::connect(address).await.unwrap();
                stream
                    .connect_tls(&tls::client::config(), "-odd-.example")
                    .await
            };
            let (served, connected) = zip(serve, connect).await;
            assert_eq!(served.unwrap().1.sni(), None);
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
