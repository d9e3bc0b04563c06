//! `--client-ca` and `--relay-clientcert`: who may relay by a certificate, who is served as before, and what is told.

mod certificates;
mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_rustls::pki_types::pem::PemObject as _;
use async_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use async_rustls::rustls::version::{TLS12, TLS13};
use async_rustls::rustls::{AlertDescription, ClientConfig, Error, SupportedProtocolVersion};
use facteur::tls;
use facteur::tls::client_certificate::Fingerprint;

use certificates::{Authority, Made, der, made_named, version_1};
use support::facteur::{Facteur, refused};
use support::smtp::{Client, Tls};
use support::{Folder, anyone, free_port, maildir_messages, program, said, succeed, until};

/// A relay to whom this machine is a stranger, with a Maildir for each user of in.test.
fn relay(folder: &Folder, flags: &[&str]) -> Facteur {
    let mail = format!("in.test=maildir:{}/{{user}}", folder.join("mail").display());
    let own = ["--relay-from", "192.0.2.0/24", "--hostname", "mx.test"];
    // Nobody is there: what is relayed waits in the queue.
    let own = [&own[..], &["--domain", &mail, "--relay", "127.0.0.1:9"]].concat();
    Facteur::start(folder.as_ref(), &[&own, flags].concat())
}

fn fingerprint(der: &[u8]) -> String {
    format!("{:?}", Fingerprint::of(der))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A client that shows these certificates (DER), and signs with this key.
fn showing(
    version: &'static SupportedProtocolVersion,
    chain: &[&[u8]],
    key: &str,
) -> Arc<ClientConfig> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let key = tls::provider()
        .key_provider
        .load_private_key(key)
        .expect("a key");
    let chain = chain.iter().map(|der| CertificateDer::from(der.to_vec()));
    let certified = CertifiedKey::new(chain.collect(), key);
    let mut config = anyone::client((*tls::provider()).clone(), &[version]);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    Arc::new(config)
}

fn with(made: &Made) -> Arc<ClientConfig> {
    showing(&TLS13, &[&made.der], &made.key)
}

fn without() -> Arc<ClientConfig> {
    Arc::new(anyone::client((*tls::provider()).clone(), &VERSIONS))
}

/// A session in TLS, past EHLO and MAIL.
fn mail(port: u16, config: Arc<ClientConfig>) -> io::Result<Client<Tls>> {
    let mut client = Client::connect(port)?.starttls(config, "localhost")?;
    client.say("EHLO client.test", "250")?;
    client.say("MAIL FROM:<a@client.test>", "250")?;
    Ok(client)
}

/// Whether mail may go anywhere; to our own domain it must always.
#[track_caller]
fn may_relay(port: u16, config: Arc<ClientConfig>) -> bool {
    let mut client = mail(port, config).expect("a session");
    client
        .say("RCPT TO:<ann@in.test>", "250")
        .expect("our own domain");
    client.send(b"RCPT TO:<b@far.test>\r\n").expect("sent");
    let reply = client.reply().expect("a reply");
    client.say("QUIT", "221").expect("QUIT");
    assert!(
        reply.starts_with("250") || reply.starts_with("550 5.7.1"),
        "{reply}"
    );
    reply.starts_with("250")
}

/// The Received line of the only message for ann, unfolded.
fn received(folder: &Folder) -> String {
    let path = until("a message", || {
        maildir_messages(&folder.join("mail/ann")).pop()
    });
    let message = std::fs::read_to_string(path)
        .expect("UTF-8")
        .replace("\r\n", "\n");
    let end = message.find("+0000\n").expect("a date") + 5;
    let begin = message.find("Received:").expect("the field");
    let field = &message[begin..end];
    assert!(field.lines().all(|line| line.len() <= 78), "{field}");
    field.replace("\n\t", " ")
}

#[test]
fn a_listed_certificate_may_relay_and_others_are_served_as_before() {
    let (listed, by_key) = (made_named("listed", &[]), made_named("by key", &[]));
    let key = CertificateDer::from(by_key.der.clone());
    let key = webpki::EndEntityCert::try_from(&key)
        .expect("X.509")
        .subject_public_key_info();
    let colons: Vec<String> = fingerprint(&listed.der)
        .to_uppercase()
        .into_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    let colons = colons.join(":");
    let folder = Folder::new();
    let tls = free_port();
    let flags = [
        "--relay-clientcert",
        &colons,
        "--relay-clientcert",
        &fingerprint(&key),
    ];
    let address = format!("127.0.0.1:{tls}");
    let facteur = relay(&folder, &[&flags[..], &["--listen-tls", &address]].concat());
    for version in VERSIONS {
        for (client, expected) in [
            (&listed, true),
            (&by_key, true),
            (&made_named("listed", &[]), false),
        ] {
            let config = showing(version, &[&client.der], &client.key);
            assert_eq!(may_relay(facteur.port, config), expected, "{version:?}");
        }
    }
    assert!(!may_relay(facteur.port, without()));
    // On a port that begins with TLS alike.
    for (config, answer) in [(with(&listed), "250"), (without(), "550 5.7.1")] {
        let client = Client::dial(tls)
            .expect("a connection")
            .handshake(config, "localhost");
        let mut client = client.expect("TLS");
        client.expect("220").expect("a greeting");
        client.say("EHLO client.test", "250").expect("EHLO");
        client
            .say("MAIL FROM:<a@client.test>", "250")
            .expect("MAIL");
        client.say("RCPT TO:<b@far.test>", answer).expect(answer);
    }
    facteur.stop();
}

#[test]
fn a_certificate_is_asked_for_only_where_a_flag_says_so() {
    let folder = Folder::new();
    let facteur = relay(&folder, &[]);
    assert!(!may_relay(facteur.port, with(&made_named("a", &[]))));
    let log = facteur.wait_log(&["disconnect", "TLSv1.3"]);
    assert!(!log.contains("client='"), "{log}");
    facteur.stop();
}

#[test]
fn the_trust_begins_with_the_handshake_and_is_for_relaying_only() {
    let ours = made_named("ours", &[]);
    let folder = Folder::new();
    let facteur = relay(&folder, &["--relay-clientcert", &fingerprint(&ours.der)]);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .say("MAIL FROM:<a@client.test>", "250")
        .expect("MAIL");
    client
        .say("RCPT TO:<b@far.test>", "550 5.7.1")
        .expect("a stranger in clear");
    let mut client = client.starttls(with(&ours), "localhost").expect("TLS");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .say("MAIL FROM:<a>", "501 5.1.7")
        .expect("no domain is added");
    client
        .say("MAIL FROM:<a@client.test>", "250")
        .expect("MAIL");
    client
        .say("RCPT TO:<b@far.test>", "250")
        .expect("one of ours");
    client.say("RCPT TO:<ann@in.test>", "250").expect("RCPT");
    client.say("DATA", "354").expect("DATA");
    client.send(b"Subject: x\n\r\nbare\r\n").expect("sent");
    client.say(".", "5").expect("no line end is mended");
    client
        .submit("a@client.test", "ann@in.test", b"Subject: x\r\n\r\nx\r\n")
        .expect("accepted");
    let path = until("a message", || {
        maildir_messages(&folder.join("mail/ann")).pop()
    });
    let message = std::fs::read_to_string(path).expect("UTF-8");
    assert!(!message.contains("Message-ID"), "{message}");
    // It ends with its session.
    assert!(!may_relay(facteur.port, without()));
    facteur.stop();
}

#[test]
fn received_and_the_log_tell_name_and_verdict() {
    let root = Authority::new("root");
    let evil = "Ann's laptop) (\u{e9}\r\n X: ";
    for (config, told, logged) in [
        (without(), "(no sni);", "entry=default\""),
        (
            with(&made_named("other", &[])),
            "(no sni) (client certificate \"other\" unverified, no path to --client-ca);",
            "client='other' (unverified, no path to --client-ca)\"",
        ),
        (
            with(&root.signs_client("laptop.test")),
            "(no sni) (client certificate \"laptop.test\" verified);",
            "client='laptop.test' (verified)\"",
        ),
        (
            with(&root.signs_client(evil)),
            "(no sni) (client certificate \"Ann?s laptop? ???? X:\" verified);",
            "client='Ann?s laptop? ???? X:' (verified)\"",
        ),
    ] {
        let folder = Folder::new();
        let ca = folder.file("ca.pem", &root.pem());
        let facteur = relay(&folder, &["--client-ca", path(&ca)]);
        let client = Client::connect(facteur.port).expect("a session");
        let mut client = client.starttls(config, "127.0.0.1").expect("TLS");
        client.say("EHLO client.test", "250").expect("EHLO");
        client
            .submit("a@client.test", "ann@in.test", b"Subject: x\r\n\r\nx\r\n")
            .expect("accepted");
        client.say("QUIT", "221").expect("QUIT");
        let received = received(&folder);
        assert!(
            received.contains(" (TLSv1.3) ") && received.contains(told),
            "{received}"
        );
        assert!(received.contains("with ESMTPS id"), "{received}");
        for line in ["accepted", "disconnect"] {
            facteur.wait_log(&[line, "tls=\"TLSv1.3 TLS_", logged]);
        }
        facteur.stop();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn sighup_reads_the_authorities_again_and_keeps_them_from_what_is_bad() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let below = old.below("intermediate");
    let leaf = below.signs_client("a");
    let its = showing(&TLS13, &[&leaf.der, &der(&below.pem())], &leaf.key);
    let folder = Folder::new();
    let ca = folder.file("ca.pem", &old.pem());
    let facteur = relay(&folder, &["--client-ca", path(&ca)]);
    let others = with(&new.signs_client("b"));
    assert!(
        may_relay(facteur.port, Arc::clone(&its)) && !may_relay(facteur.port, Arc::clone(&others))
    );
    folder.file("ca.pem", "gone\n");
    facteur.signal("HUP");
    facteur.wait_log(&[
        "ERROR",
        "client certificates unchanged: --client-ca",
        "ca.pem: no PEM certificate in it",
    ]);
    assert!(may_relay(facteur.port, Arc::clone(&its)));
    folder.file("ca.pem", &new.pem());
    facteur.signal("HUP");
    until("the new authority", || {
        may_relay(facteur.port, Arc::clone(&others)).then_some(())
    });
    assert!(!may_relay(facteur.port, its));
    facteur.stop();
}

#[test]
fn sessions_that_are_known_do_not_count_as_their_address_s() {
    let ours = made_named("ours", &[]);
    let folder = Folder::new();
    let print = fingerprint(&ours.der);
    let flags = ["--relay-clientcert", &print, "--sessions-per-address", "1"];
    let facteur = relay(&folder, &flags);
    // The slot of the one before, a moment after its end.
    let enter = |config| until("a slot", || mail(facteur.port, Arc::clone(&config)).ok());
    let _ours = [enter(with(&ours)), enter(with(&ours))];
    let _stranger = enter(without());
    let mut next = Client::dial(facteur.port).expect("a connection");
    next.expect("421 4.7.0").expect("the share is taken");
    facteur.stop();
}

/// Who has read a certificate off the wire has not its key.
#[test]
fn a_certificate_without_its_key_is_a_failed_handshake() {
    let (ours, stolen) = (made_named("thief", &[]), made_named("ours", &[]));
    let folder = Folder::new();
    let facteur = relay(&folder, &["--relay-clientcert", &fingerprint(&stolen.der)]);
    for version in VERSIONS {
        let thief = showing(version, &[&stolen.der], &ours.key);
        let told = match mail(facteur.port, thief) {
            Err(problem) => problem.to_string(),
            Ok(_) => panic!("in TLS"),
        };
        let alert = Error::AlertReceived(AlertDescription::DecryptError).to_string();
        assert!(told.contains(&alert), "{told}");
    }
    assert!(may_relay(facteur.port, with(&stolen)));
    facteur.stop();
}

/// What this relay cannot check comes with mail that it takes, and proves nothing, however well it is known.
#[test]
fn odd_certificates_do_not_stop_mail() {
    let made = made_named("old", &[]);
    let (v1, junk) = (der(&version_1(&made)), b"junk".to_vec());
    let folder = Folder::new();
    let flags = [
        "--relay-clientcert",
        &fingerprint(&v1),
        "--relay-clientcert",
        &fingerprint(&junk),
    ];
    let facteur = relay(&folder, &flags);
    for version in VERSIONS {
        for (odd, why) in [(&v1, "not of X.509 v3"), (&junk, "not readable")] {
            assert!(!may_relay(
                facteur.port,
                showing(version, &[odd], &made.key)
            ));
            facteur.wait_log(&["disconnect", version.name(), why]);
        }
    }
    facteur.stop();
}

trait Name {
    fn name(&self) -> &'static str;
}

impl Name for SupportedProtocolVersion {
    fn name(&self) -> &'static str {
        if self == &TLS12 { "TLSv1.2" } else { "TLSv1.3" }
    }
}

/// By another's client: keys of every kind, those too that are no good here.
#[test]
fn openssl_s_clients_of_every_kind_of_key() {
    let folder = Folder::new();
    let kinds: [(&str, &[&str], bool); 7] = [
        ("rsa1024", &["rsa:1024"], false),
        ("rsa2048", &["rsa:2048"], true),
        ("p256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], true),
        ("p384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], true),
        (
            "p521",
            &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
            cfg!(feature = "aws-lc-rs"), // ring has no such keys
        ),
        ("ed25519", &["ed25519"], true),
        ("ed448", &["ed448"], false),
    ];
    let mut flags = Vec::new();
    for (name, kind, _) in kinds {
        let (certificate, key) = (
            folder.join(&format!("{name}.pem")),
            folder.join(&format!("{name}.key")),
        );
        let mut openssl = program("openssl", "openssl");
        openssl.args([
            "req",
            "-x509",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-newkey",
        ]);
        succeed(
            openssl
                .args(kind)
                .args(["-keyout", path(&key), "-out", path(&certificate)]),
        );
        let text = std::fs::read_to_string(&certificate).expect("PEM");
        flags.extend(["--relay-clientcert".to_owned(), fingerprint(&der(&text))]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let facteur = relay(&folder, &flags);
    for (name, _, good) in kinds {
        for version in ["-tls1_2", "-tls1_3"] {
            // Sent as one group: s_client ends when the relay closes.
            let talk = "printf '%s\\r\\n' EHLO\\ c.test 'MAIL FROM:<a@c.test>' 'RCPT TO:<ann@in.test>' \
                        'RCPT TO:<b@far.test>' QUIT | openssl s_client -connect $0 -starttls smtp -quiet -ign_eof \
                        -cert $1.pem -key $1.key $2 -cipher ALL:@SECLEVEL=0";
            let mut sh = program("sh", "dash");
            let said = succeed(sh.current_dir(&folder).args([
                "-c",
                talk,
                &facteur.address(),
                name,
                version,
            ]));
            assert!(said.contains("250 2.1.5"), "{name} {version}: {said}");
            assert_eq!(
                said.contains("550 5.7.1"),
                !good,
                "{name} {version}: {said}"
            );
        }
    }
    facteur.stop();
}

#[test]
fn a_chain_beyond_all_measure_is_refused() {
    let made = made_named("a", &[]);
    let big = vec![0x30; 20_000];
    let folder = Folder::new();
    let facteur = relay(&folder, &["--relay-clientcert", &fingerprint(&made.der)]);
    for version in VERSIONS {
        assert!(
            mail(
                facteur.port,
                showing(version, &[&made.der, &big], &made.key)
            )
            .is_err()
        );
    }
    assert!(may_relay(facteur.port, with(&made)));
    facteur.stop();
}

#[test]
fn what_is_wrong_is_told_at_start_in_one_line() {
    let folder = Folder::new();
    let empty = folder.file("empty.pem", "");
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (
            &["--relay-clientcert", "abc"],
            2,
            &["--relay-clientcert", "\"abc\"", "64 hexadecimal digits"],
        ),
        (
            &["--client-ca", "nowhere.pem"],
            1,
            &["--client-ca nowhere.pem", "No such file"],
        ),
        (
            &["--client-ca", path(&empty)],
            1,
            &["--client-ca", "empty.pem: no PEM certificate in it"],
        ),
        (&["--client-ca", "."], 1, &["--client-ca .: not a PEM file"]),
        (
            &["--client-ca", "a.pem", "--tls-in", "none"],
            2,
            &["--client-ca and --tls-in none", "--listen-tls"],
        ),
        (
            &["--relay-clientcert", &fingerprint(b""), "--tls-in", "none"],
            2,
            &["--relay-clientcert and --tls-in none"],
        ),
    ];
    for (flags, status, parts) in cases {
        let output = refused(folder.as_ref(), flags);
        let said = said(&output);
        let problem = said.lines().last().expect("a line");
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {said}");
        assert!(
            parts.iter().all(|part| problem.contains(part)),
            "{flags:?}: {said}"
        );
        assert!(!folder.join("facteur-spool").exists(), "{flags:?}");
    }
}
