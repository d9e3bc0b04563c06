//! Several certificates for a name, asked for by OpenSSL: each client gets one that it can verify.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use async_rustls::rustls::{ServerConnection, Stream};
use facteur::tls::table::COMPILED;
use facteur::tls::{self, Found, Table};

mod certificates;

use certificates::{Folder, Made, made, made_ed25519, made_rsa};

/// Serves handshakes with the certificates of `certs` until the test ends.
fn serve(certs: &Folder) -> SocketAddr {
    let dirs: Vec<PathBuf> = vec![certs.path().into()];
    let found = Found::now(&COMPILED, &dirs);
    let table = Table::load(&COMPILED, &found, None, "relay.invalid").unwrap();
    let config = tls::server::config(Arc::new(table), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut connection = ServerConnection::new(Arc::clone(config.rustls())).unwrap();
            // The client ends it as it likes, after its handshake or before.
            let _ = Stream::new(&mut connection, &mut socket).write_all(b"220 \r\n");
        }
    });
    address
}

/// What `openssl s_client` says; its input is at its end from the start.
fn s_client(to: SocketAddr, name: &str, arguments: &[&str]) -> String {
    let said = Command::new("openssl")
        .args(["s_client", "-connect", &to.to_string()])
        .args(["-servername", name])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// Whether the certificate stands in what s_client says.
fn shows(said: &str, made: &Made) -> bool {
    let lines: Vec<&str> = made.chain.lines().collect();
    said.contains(lines[1]) && said.contains(lines[lines.len() - 2])
}

#[test]
fn old_and_new_clients_get_the_certificate_that_they_can_verify() {
    let certs = Folder::new();
    let names = &["mx.example.org"];
    let (rsa, ed, ec) = (made_rsa(names), made_ed25519(names), made(names));
    let only_ec = made(&["ec.example.org"]);
    certs.lineage("mx.example.org", &rsa);
    certs.lineage("mx.example.org-0001", &ec);
    certs.lineage("mx.example.org-0002", &ed);
    certs.lineage("zz", &only_ec);
    let to = serve(&certs);
    let sha256 = "RSA+SHA256:ECDSA+SHA256";
    for (name, arguments, expected) in [
        ("mx.example.org", &[][..], &ec),
        ("mx.example.org", &["-tls1_2"], &ec),
        ("mx.example.org", &["-tls1_2", "-cipher", "aRSA"], &rsa),
        ("mx.example.org", &["-tls1_2", "-cipher", "aECDSA"], &ec),
        ("mx.example.org", &["-sigalgs", "rsa_pss_rsae_sha256"], &rsa),
        (
            "mx.example.org",
            &["-sigalgs", "ed25519:rsa_pss_rsae_sha256"],
            &ed,
        ),
        ("mx.example.org", &["-tls1_2", "-sigalgs", "ed25519"], &ed),
        // PKCS#1 signatures, which TLS 1.3 does not have.
        (
            "mx.example.org",
            &["-tls1_2", "-sigalgs", "RSA+SHA256"],
            &rsa,
        ),
        ("mx.example.org", &["-tls1_2", "-sigalgs", sha256], &ec),
        // Not its own, but one that the client can go on with.
        ("ec.example.org", &["-tls1_2", "-cipher", "aRSA"], &rsa),
        ("unknown.example", &["-tls1_2", "-cipher", "aRSA"], &rsa),
        ("unknown.example", &[], &ec),
    ] {
        let said = s_client(to, name, arguments);
        assert!(shows(&said, expected), "{name} {arguments:?}: {said}");
        let finished = !said.contains("Cipher is (NONE)");
        assert!(finished, "{name} {arguments:?}: {said}");
    }
}

#[test]
fn a_client_that_can_verify_none_gets_an_alert() {
    let certs = Folder::new();
    certs.lineage("mx.example.org", &made(&["mx.example.org"]));
    let to = serve(&certs);
    for arguments in [
        &["-tls1_2", "-cipher", "aRSA"][..],
        &["-sigalgs", "ed25519"],
    ] {
        let said = s_client(to, "mx.example.org", arguments);
        let alert = said.contains("alert handshake failure");
        assert!(alert, "{arguments:?}: {said}");
    }
    let said = s_client(to, "mx.example.org", &[]);
    assert!(
        !said.contains("Cipher is (NONE)"),
        "the server lives: {said}"
    );
}

/// A server without an order of its own is what scanners warn of.
#[test]
fn of_the_suites_that_a_client_offers_it_gets_our_first_in_whatever_order() {
    let certs = Folder::new();
    certs.lineage("mx.example.org", &made(&["mx.example.org"]));
    let to = serve(&certs);
    let (aes, chacha) = ("AES256-GCM-SHA384", "CHACHA20-POLY1305");
    for (first, second) in [(aes, chacha), (chacha, aes)] {
        let suites = format!("ECDHE-ECDSA-{first}:ECDHE-ECDSA-{second}");
        let said = s_client(to, "mx.example.org", &["-tls1_2", "-cipher", &suites]);
        assert!(
            said.contains(&format!("Cipher is ECDHE-ECDSA-{aes}")),
            "{suites}: {said}"
        );
        let suites = format!("TLS_{first}:TLS_{second}")
            .replace('-', "_")
            .replace("AES256", "AES_256")
            .replace("POLY1305", "POLY1305_SHA256");
        let said = s_client(to, "mx.example.org", &["-ciphersuites", &suites]);
        assert!(
            said.contains("Cipher is TLS_AES_256_GCM_SHA384"),
            "{suites}: {said}"
        );
    }
}
