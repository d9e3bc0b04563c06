//! End to end with real programs: swaks, msmtp and smtp-source in, Postfix and smtp-sink out. A program that is missing
//! is a failure that names its Debian package; `scripts/test` installs them all.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::facteur::Facteur;
use support::postfix::Postfix;
use support::{Folder, free_port, maildir_messages, only_message, program, succeed, until};

/// Mail for in.test is kept below the folder.
fn keep(folder: &Folder) -> String {
    format!("in.test=maildir:{}", folder.join("mail").display())
}

fn swaks(server: &str, tls: &[&str], to: &str) -> String {
    program("perl", "perl libnet-ssleay-perl");
    let mut swaks = program("swaks", "swaks libnet-ssleay-perl");
    let common = [
        "--from",
        "sender@client.test",
        "--ehlo",
        "client.test",
        "--body",
        "by swaks",
    ];
    succeed(
        swaks
            .args(["--server", server, "--to", to])
            .args(common)
            .args(tls),
    )
}

/// Sends by msmtp with these lines of configuration.
fn msmtp(folder: &Folder, port: u16, lines: &str, to: &str) {
    let settings = format!(
        "defaults\nsyslog off\nauth off\nfrom sender@client.test\naccount default\nhost localhost\nport {port}\n{lines}\n"
    );
    let settings = folder.file("msmtprc", &settings);
    let message = folder.file("message", "Subject: hello\n\nby msmtp\n");
    let mut msmtp = program("msmtp", "msmtp");
    msmtp
        .env("HOME", folder.as_ref())
        .stdin(fs::File::open(message).expect("just written"));
    succeed(msmtp.arg("-C").arg(settings).arg(to));
}

/// The message came in by TLS, and its Received line says so.
#[track_caller]
fn assert_by_tls(message: &str, body: &str) {
    assert!(message.contains(body), "{message}");
    let received = message.find("Received: ").expect("a Received line");
    let received = &message[received..];
    for word in ["from client.test", "by ", " with ESMTPS ", "TLS"] {
        let is_there =
            received.contains(word) || (word == "from client.test" && body == "by msmtp");
        assert!(is_there, "no {word:?} in {received}");
    }
}

#[test]
fn swaks_sends_over_starttls_with_the_development_certificate() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--domain", &keep(&folder)]);
    let said = swaks(&facteur.address(), &["--tls"], "to@in.test");
    assert!(said.contains("TLSv1.3"), "{said}");
    assert_by_tls(&only_message(folder.as_ref()), "by swaks");
    facteur.stop();
}

#[test]
fn swaks_checks_the_certificate_of_the_certs_folder() {
    let folder = Folder::new();
    let (chain, _) = folder.certificate();
    let certs = folder.join("certs").display().to_string();
    let tls_port = free_port();
    let listen_tls = format!("127.0.0.1:{tls_port}");
    let flags = [
        "--domain",
        &keep(&folder),
        "--certs",
        &certs,
        "--listen-tls",
        &listen_tls,
    ];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let chain = chain.display().to_string();
    let check = [
        "--tls-verify",
        "--tls-ca-path",
        &chain,
        "--tls-sni",
        "localhost",
    ];
    swaks(
        &facteur.address(),
        &[&["--tls"], &check[..]].concat(),
        "to@in.test",
    );
    swaks(
        &listen_tls,
        &[&["--tls-on-connect"], &check[..]].concat(),
        "to@in.test",
    );
    let messages = until("two messages", || {
        let messages = maildir_messages(folder.as_ref());
        (messages.len() == 2).then_some(messages)
    });
    for message in messages {
        assert_by_tls(&fs::read_to_string(message).expect("UTF-8"), "by swaks");
    }
    facteur.stop();
}

#[test]
fn msmtp_sends_over_starttls_with_the_development_certificate() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--domain", &keep(&folder)]);
    msmtp(
        &folder,
        facteur.port,
        "tls on\ntls_starttls on\ntls_certcheck off",
        "to@in.test",
    );
    assert_by_tls(&only_message(folder.as_ref()), "by msmtp");
    facteur.stop();
}

#[test]
fn msmtp_checks_the_certificate_over_starttls_and_implicit_tls() {
    for starttls in ["on", "off"] {
        let folder = Folder::new();
        let (chain, _) = folder.certificate();
        let certs = folder.join("certs").display().to_string();
        let tls_port = free_port();
        let listen_tls = format!("127.0.0.1:{tls_port}");
        let flags = [
            "--domain",
            &keep(&folder),
            "--certs",
            &certs,
            "--listen-tls",
            &listen_tls,
        ];
        let facteur = Facteur::start(folder.as_ref(), &flags);
        let port = if starttls == "on" {
            facteur.port
        } else {
            tls_port
        };
        let lines = format!(
            "tls on\ntls_starttls {starttls}\ntls_trust_file {}",
            chain.display()
        );
        msmtp(&folder, port, &lines, "to@in.test");
        assert_by_tls(&only_message(folder.as_ref()), "by msmtp");
        facteur.stop();
    }
}

#[test]
fn postfix_as_next_hop_takes_it_over_starttls() {
    let postfix = Postfix::next_hop(&["smtpd_tls_security_level=encrypt"]);
    let folder = Folder::new();
    let relay = format!("127.0.0.1:{}", postfix.port);
    let facteur = Facteur::start(folder.as_ref(), &["--relay", &relay]);
    swaks(&facteur.address(), &["--tls"], "someone@example.test");
    let message = only_message(&postfix.delivered());
    assert_by_tls(&message, "by swaks");
    // Postfix's own Received stands above ours and names the TLS that it had with us.
    assert!(message.contains("(using TLSv1.3 with cipher "), "{message}");
    assert!(
        message.contains("Return-Path: <sender@client.test>"),
        "{message}"
    );
    postfix.wait_log(&["TLS connection established from", "TLSv1.3"]);
    facteur.stop();
}

#[test]
fn postfix_sends_to_us_over_starttls() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--domain", &keep(&folder)]);
    let relay = format!("relayhost=[127.0.0.1]:{}", facteur.port);
    let own = [
        "virtual_mailbox_domains=",
        "smtp_tls_security_level=encrypt",
        "smtp_tls_loglevel=1",
    ];
    let postfix = Postfix::next_hop(&[&own[..], &[&relay]].concat());
    swaks(&format!("127.0.0.1:{}", postfix.port), &[], "to@in.test");
    let message = only_message(folder.as_ref());
    assert!(
        message.contains("by swaks") && message.contains("with ESMTPS"),
        "{message}"
    );
    postfix.wait_log(&["TLS connection established to", "TLSv1.3"]);
    facteur.stop();
}

#[test]
fn every_message_of_20_sessions_arrives_once() {
    const COUNT: usize = 1000;
    let folder = Folder::new();
    let arrived = folder.join("arrived");
    fs::create_dir(&arrived).expect("a folder");
    succeed(program("chmod", "coreutils").arg("777").arg(&arrived));
    let sink = format!("127.0.0.1:{}", free_port());
    let mut smtp_sink = program("smtp-sink", "postfix");
    // Run by root it has to be told whom to become.
    if fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0) {
        smtp_sink.args(["-u", "nobody"]);
    }
    smtp_sink
        .arg("-d")
        .arg(arrived.join("m."))
        .args([&sink, "100"]);
    let mut smtp_sink = Running(smtp_sink.spawn().expect("smtp-sink starts"));
    until("smtp-sink", || std::net::TcpStream::connect(&sink).ok());

    let facteur = Facteur::start(folder.as_ref(), &["--relay", &sink]);
    let mut source = program("smtp-source", "postfix");
    source.args(["-d", "-s", "20", "-l", "4096", "-m", &COUNT.to_string()]);
    succeed(source.args([
        "-f",
        "a@client.test",
        "-t",
        "b@example.test",
        &facteur.address(),
    ]));
    let ids = until("all messages at the sink", || {
        let ids = message_ids(&arrived);
        (ids.len() >= COUNT).then_some(ids)
    });
    // All have been taken; what would come a second time now comes before the end of the drain.
    facteur.stop();
    let _ = smtp_sink.0.kill();
    assert_eq!(message_ids(&arrived).len(), COUNT, "some came twice");
    assert_eq!(
        ids.into_iter().collect::<BTreeSet<_>>().len(),
        COUNT,
        "some came twice, others never"
    );
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Message-Ids that smtp-source gave and smtp-sink has written, one of a file.
fn message_ids(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path());
    let messages = files.map(|file| fs::read_to_string(file).expect("readable"));
    let lines = messages.filter_map(|message| {
        let mut lines = message.lines();
        lines
            .find(|line| line.to_ascii_lowercase().starts_with("message-id:"))
            .map(str::to_owned)
    });
    lines.collect()
}

#[test]
fn without_any_flag_mail_for_localhost_goes_to_a_maildir() {
    let folder = Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &[]);
    swaks(&facteur.address(), &["--tls"], "anna@localhost");
    let message = only_message(folder.as_ref());
    assert_by_tls(&message, "by swaks");
    assert!(
        message.starts_with("Return-Path: <sender@client.test>\n"),
        "{message}"
    );
    facteur.stop();
}

/// Thirty messages of all shapes through a mail server, as next hop and as client, with STARTTLS and without: see
/// tests/interop/peers (`scripts/interop peers` sends a thousand each way).
fn through(peer: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unpacked = root.join("target/interop/peers");
    assert!(
        unpacked.join("usr/sbin/exim4").exists(),
        "Exim, OpenSMTPD and chasquid are missing: tests/interop/fetch.sh target/interop/peers (scripts/test does it)"
    );
    let binary = std::env::var_os("FACTEUR_BIN");
    let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_facteur").into());
    let mut peers = program("python3", "python3");
    peers.arg("-B").arg(root.join("tests/interop/peers"));
    succeed(peers.arg(binary).arg(unpacked).args(["30", peer]));
}

#[test]
fn what_goes_through_postfix_arrives_once() {
    through("postfix");
}

#[test]
fn what_goes_through_exim_arrives_once() {
    through("exim");
}

#[test]
fn what_goes_through_opensmtpd_arrives_once() {
    through("opensmtpd");
}

#[test]
fn what_goes_through_chasquid_arrives_once() {
    through("chasquid");
}

#[test]
fn smtp_sinks_bad_manners_cost_a_deferral_with_the_true_reason() {
    through("hostile");
}
