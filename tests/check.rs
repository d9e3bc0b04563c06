//! `facteur check`: would `serve` start with these flags, and would mail flow?

mod certificates;
#[path = "support/dns_server.rs"]
mod dns_server;
mod support;

use dns_server::DnsServer;
use std::net::TcpListener;
use support::facteur::{Facteur, command_of};
use support::sink::Sink;
use support::{Folder, free_port};

const ZONE: &str = "
    mx.test      A  127.0.0.2
    back.test    MX 10 relay.back.test
    null.test    MX 0 .
";

/// What was found, and whether it stands in the way of mail.
struct Found {
    text: String,
    status: Option<i32>,
}

struct Lab {
    folder: Folder,
    dns: DnsServer,
    port: u16,
}

impl Lab {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            dns: DnsServer::start(ZONE),
            port: free_port(),
        }
    }

    fn check(&self, flags: &[&str]) -> Found {
        let (listen, resolver) = (self.own(), self.dns.address().to_string());
        let common = ["check", "--spool-size", "24M"];
        let own = ["--listen", &listen, "--resolver", &resolver];
        let name = match flags.contains(&"--hostname") {
            true => &[][..],
            false => &["--hostname", "mx.test"],
        };
        let words = [&common[..], &own, name, flags].concat();
        let output = command_of(self.folder.as_ref(), &words).output();
        let output = output.expect("facteur runs");
        assert!(output.stderr.is_empty(), "{output:?}");
        Found {
            text: String::from_utf8(output.stdout).expect("UTF-8"),
            status: output.status.code(),
        }
    }

    /// Where it is to listen.
    fn own(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Found {
    /// The line that holds these words.
    #[track_caller]
    fn line(&self, words: &[&str]) -> &str {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        let line = self.text.lines().find(has_all);
        line.unwrap_or_else(|| panic!("{words:?} in no line of {}", self.text))
    }

    #[track_caller]
    fn is_an_error(&self, words: &[&str]) {
        let line = self.line(words);
        assert!(line.starts_with("error: "), "{line}");
        assert_eq!(self.status, Some(1), "{}", self.text);
    }

    #[track_caller]
    fn is_fine(&self, words: &[&str]) {
        let line = self.line(words);
        assert!(line.starts_with("ok: "), "{line}");
        assert_eq!(self.status, Some(0), "{}", self.text);
    }
}

#[test]
fn a_next_hop_is_greeted() {
    let lab = Lab::new();
    let sink = Sink::start();
    let relay = sink.address();
    lab.check(&["--relay", &relay])
        .is_fine(&["next hop", "answers \"220"]);
    let dead = format!("[127.0.0.1]:{}", free_port());
    let found = lab.check(&["--relay", &dead]);
    found.is_an_error(&["next hop", "Connection refused"]);
    // One that is no mail server: it closes at once.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let closes = std::thread::spawn(move || listener.accept().map(drop));
    let found = lab.check(&["--route", &format!("x.test=smtp:{address}")]);
    found.is_an_error(&["next hop", "where 220 was expected"]);
    closes.join().expect("no panic").expect("a connection");
}

#[test]
fn a_dns_server_that_does_not_answer_is_found_whatever_the_host_is_called() {
    let lab = Lab::new();
    lab.check(&[]).is_fine(&["dns ", ": answers"]);
    lab.check(&["--hostname", "localhost"])
        .is_fine(&["dns ", ": answers"]);
    lab.dns.set_zone("* does servfail");
    for hostname in ["mx.test", "localhost", "box.localhost"] {
        let found = lab.check(&["--hostname", hostname]);
        found.is_an_error(&["dns: no server answers"]);
        let line = found.line(&["dns 127.0.0.1:"]);
        assert!(line.starts_with("warning: ") && line.ends_with("answers SERVFAIL"));
    }
}

#[test]
fn mail_in_a_circle_and_domains_without_mail_are_found() {
    let lab = Lab::new();
    let own = lab.own();
    lab.check(&["--relay", &own]).is_an_error(&["come back to"]);
    let found = lab.check(&["--domain", "null.test"]);
    found.is_an_error(&["null.test", "null MX"]);
    let found = lab.check(&["--domain", "nowhere.test"]);
    found.is_an_error(&["nowhere.test", "5.1.2"]);
    let found = lab.check(&["--route", "x.test=smtp:[nowhere.test]"]);
    found.is_an_error(&["next hop", "nowhere.test"]);
}

#[test]
fn an_lmtp_socket_must_take_connections() {
    let lab = Lab::new();
    let path = lab.folder.join("lmtp");
    let domain = format!("a.test=lmtp:{}", path.display());
    let found = lab.check(&["--domain", &domain]);
    found.is_an_error(&["lmtp:/", "No such file"]);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        std::io::Write::write_all(&mut listener.accept().unwrap().0, b"220 dovecot\r\n").unwrap();
    });
    let found = lab.check(&["--domain", &domain]);
    found.is_fine(&["lmtp:/", "answers \"220 dovecot\""]);
    server.join().unwrap();
}

#[test]
fn a_maildir_must_be_a_folder_that_can_be_made() {
    let lab = Lab::new();
    lab.folder.file("a-file", "");
    let found = lab.check(&["--domain", "a.test=maildir:a-file/{user}"]);
    found.is_an_error(&["maildir:a-file", "no folder"]);
    let found = lab.check(&["--domain", "a.test=maildir:mail/{user}"]);
    found.is_fine(&["maildir:mail", "can be written"]);
}

#[test]
fn flags_that_are_hardly_meant_are_warned_of() {
    let lab = Lab::new();
    let found = lab.check(&[
        "--relay-from",
        "0.0.0.0/0",
        "--listen",
        "0.0.0.0:25,encrypt",
    ]);
    for words in [
        ["open relay", "--relay-from 0.0.0.0/0: "],
        ["RFC 3207", "0.0.0.0:25"],
    ] {
        let line = found.line(&words);
        assert!(line.starts_with("warning: "), "{line}");
    }
}

#[test]
fn a_smarthost_that_will_refuse_this_machine_s_senders_is_warned_of() {
    let lab = Lab::new();
    let home = ["--relay", "smtp.isp.test", "--hostname"];
    for hostname in ["pi.home.arpa", "raspberrypi", "pi.lan"] {
        let found = lab.check(&[&home[..], &[hostname]].concat());
        let line = found.line(&["smtp.isp.test", "--relay-sender ADDRESS"]);
        assert!(line.starts_with("warning: "), "{line}");
        assert!(line.contains(&format!(" root@{hostname}, ")), "{line}");
    }
    let given = ["pi.home.arpa", "--relay-sender", "you@isp.test"];
    let inner = ["--hostname", "pi.lan", "--relay", "127.0.0.1:9"];
    let public = [&home[..], &["mx.test"]].concat();
    for flags in [&[&home[..], &given].concat(), &inner[..], &public] {
        let found = lab.check(flags);
        assert!(!found.text.contains("ADDRESS"), "{}", found.text);
    }
}

#[test]
fn files_of_names_are_read_and_their_lack_is_warned_of() {
    let lab = Lab::new();
    let domain = ["--domain", "a.test=maildir:mail/{user}"];
    let found = lab.check(&domain);
    let line = found.line(&["--domain a.test: takes every local part", "--recipients"]);
    assert!(line.starts_with("warning: "), "{line}");
    let asked = ["--domain", "a.test=lmtp:/nowhere/lmtp", "--verify-rcpt"];
    let found = lab.check(&[&asked[..], &["--domain", "b.test=maildir:mail/{user}"]].concat());
    found.line(&["--domain b.test: takes every local part"]);
    assert!(
        !found
            .text
            .contains("--domain a.test: takes every local part")
    );
    lab.folder.file("list", "ann@a.test\npostmaster@a.test\n");
    lab.folder.file("aliases", "root: ann@b.test\n");
    let files = ["--recipients", "list", "--alias", "aliases"];
    let found = lab.check(&[&domain[..], &files].concat());
    found.is_fine(&["recipients addresses=2"]);
    found.is_fine(&["aliases names=1"]);
    assert!(!found.text.contains("every local part") && !found.text.contains("--postmaster"));
    lab.folder.file("aliases", "root: /dev/null\n");
    let found = lab.check(&[&domain[..], &files].concat());
    found.is_an_error(&["--alias aliases:1: ", "is a file"]);
    lab.folder.file("list", "# nobody\n");
    let found = lab.check(&[&domain[..], &files[..2]].concat());
    let line = found.line(&["recipients addresses=0", "550 5.1.1"]);
    assert!(line.starts_with("warning: "), "{line}");
    lab.folder.file("list", "ann@a.test\n");
    let found = lab.check(&[&domain[..], &files[..2]].concat());
    let line = found.line(&["--postmaster: none"]);
    assert!(line.starts_with("warning: "), "{line}");
}

#[test]
fn the_spool_of_a_running_and_of_a_stopped_relay_is_looked_into() {
    let lab = Lab::new();
    lab.check(&[]).is_fine(&["spool", "24 MiB will be made"]);
    let flags = ["--hostname", "mx.test", "--spool-size", "24M"];
    let facteur = Facteur::start_on(lab.port, lab.folder.as_ref(), &flags);
    let found = lab.check(&[]);
    found.is_fine(&["running relay takes mail"]);
    found.is_fine(&["--listen", "answers", "220 mx.test"]);
    facteur.stop();
    lab.check(&[]).is_fine(&["spool", "0 messages queued"]);
    let found = lab.check(&["--spool-key", "no-key"]);
    found.is_an_error(&["--spool-key no-key"]);
    let small = ["--spool", "small", "--spool-size", "28M"];
    let facteur = Facteur::start_on(lab.port, lab.folder.as_ref(), &small);
    facteur.wait_log(&["spool fill done"]);
    facteur.stop();
    let found = lab.check(&["--spool", "small"]);
    found.is_an_error(&["--spool-size", "only grows"]);
    assert!(!found.text.contains("not there"), "{}", found.text);
    std::fs::remove_file(lab.folder.as_ref().join("small/000003.seg")).expect("a segment");
    let found = lab.check(&["--spool", "small"]);
    let line = found.line(&["4 MiB of its 28 MiB are not there"]);
    assert!(line.starts_with("warning: "), "{line}");
    // One of which no header is left, no relay makes.
    std::fs::write(lab.folder.as_ref().join("small/000002.seg"), "").expect("a segment");
    let found = lab.check(&["--spool", "small"]);
    found.line(&["4 MiB of its 28 MiB are not there"]);
    found.line(&["warning: spool", "small/000002.seg", "move it away"]);
}

#[test]
fn lineages_that_give_way_to_others_are_named() {
    let (lab, certs) = (Lab::new(), certificates::Folder::new());
    for lineage in ["b-first", "c-second"] {
        certs.lineage(lineage, &certificates::made(&["a.test", "mx.test"]));
    }
    certs.lineage("mx.test", &certificates::made(&["mx.test"]));
    let found = lab.check(&["--certs", certs.path().to_str().expect("UTF-8")]);
    let clash = |folder| found.line(&["certificate clash", folder]);
    let line = clash("c-second names=\"a.test\"");
    assert!(line.starts_with("warning: "), "{line}");
    let line = clash("b-first names=\"mx.test\"");
    assert!(
        line.starts_with("ok: "),
        "the folder of that name has it: {line}"
    );
}

#[test]
fn authorities_for_clients_are_read() {
    let lab = Lab::new();
    let made = |title| certificates::Authority::new(title).pem();
    lab.folder.file("ca.pem", &made("one"));
    lab.check(&["--client-ca", "ca.pem"])
        .is_fine(&["client certificates", "roots=1 fingerprints=0"]);
    let found = lab.check(&["--client-ca", "nowhere.pem"]);
    found.is_an_error(&["--client-ca nowhere.pem", "No such file"]);
    lab.folder
        .file("many.pem", &made("one of many").repeat(100));
    let found = lab.check(&["--client-ca", "many.pem"]);
    let line = found.line(&["--client-ca", "100 authorities"]);
    assert!(line.starts_with("warning: "), "{line}");
}

#[test]
fn each_certificate_is_told_with_source_key_issuer_and_days_left() {
    let lab = Lab::new();
    let day = |from_now: i64| {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock");
        (now.as_secs() as i64 + from_now * 86_400 + 3_600) as u64
    };
    let lay = |folder: &str, made: &certificates::Made| {
        for (file, text) in [("fullchain", &made.chain), ("privkey", &made.key)] {
            lab.folder.file(&format!("live/{folder}/{file}.pem"), text);
        }
    };
    let (mut issued, intermediate, _) = certificates::issued(&["mx.test", "*.example.test"]);
    issued.chain += &intermediate;
    lay("mx.test", &issued);
    lay("mx.test-0001", &certificates::made_rsa(&["mx.test"]));
    lay("ed.test", &certificates::made_ed25519(&["ed.test"]));
    lay(
        "soon",
        &certificates::made_between(&["soon.test"], day(-5), day(61)),
    );
    lay(
        "late",
        &certificates::made_between(&["late.test"], day(-50), day(-4)),
    );
    lay(
        "again",
        &certificates::made_between(&["mx.test"], 0, day(1000)),
    );
    let many: Vec<String> = (0..20).map(|n| format!("n{n:02}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    lay("many", &certificates::made(&many));

    let found = lab.check(&["--certs", "live"]);
    let line = |names: &str| found.line(&[&format!("certificate names=\"{names}\"")]);
    let entry = |at: &str, key: &str, issuer: &str| {
        format!("source=\"live/{at}\" key=\"{key}\" issuer=\"{issuer}\" left=")
    };
    let own = line("*.example.test mx.test default");
    assert!(
        own.contains(&entry("mx.test", "ECDSA P-256", "intermediate")),
        "{own}"
    );
    found.line(&[
        &entry("mx.test-0001", "RSA 2048", "self-signed"),
        "\"mx.test default\"",
    ]);
    found.is_fine(&[&entry("ed.test", "Ed25519", "self-signed")]);
    let soon = line("soon.test");
    assert!(soon.ends_with(" left=\"61 days\""), "{soon}");
    let late = line("late.test");
    assert!(
        late.starts_with("warning: ") && late.ends_with(" left=\"expired 3 days ago\""),
        "{late}"
    );
    let none = line("none, others serve them");
    assert!(none.contains("source=\"live/again\""), "{none}");
    line("n00.test n01.test n02.test n03.test n04.test n05.test n06.test n07.test and 12 more");
    // Those that end first come first.
    let at = |line: &str| found.text.find(line);
    assert!(at(late) < at(soon) && at(soon) < at(none) && at(none) < at(own));
    // The same in the same order.
    assert_eq!(lab.check(&["--certs", "live"]).text, found.text);
    // The build's own, compiled in.
    lab.check(&[])
        .is_fine(&["certificate names=\"localhost default\" source=\"compiled in\""]);
}

#[test]
fn what_a_running_relay_serves_is_told_beside_what_the_disk_has() {
    let lab = Lab::new();
    let lay = |folder: &str, made: &certificates::Made| {
        for (file, text) in [("fullchain", &made.chain), ("privkey", &made.key)] {
            lab.folder.file(&format!("live/{folder}/{file}.pem"), text);
        }
    };
    lay("mx.test", &certificates::made(&["mx.test"]));
    lay("b.test", &certificates::made(&["b.test"]));
    lay("c.test", &certificates::made(&["c.test"]));
    let flags = [
        "--hostname",
        "mx.test",
        "--spool-size",
        "24M",
        "--certs",
        "live",
    ];
    let facteur = Facteur::start_on(lab.port, lab.folder.as_ref(), &flags);
    let check = || lab.check(&["--hostname", "mx.test", "--certs", "live"]);
    let found = check();
    found.is_fine(&["names=\"mx.test default\"", " sha256=", " relay=same"]);
    found.is_fine(&["serves 3 certificates as the disk has them", "itself"]);
    // A renewal just now: the relay sees it at its next look, and check waits for that.
    lay("mx.test", &certificates::made(&["mx.test"]));
    check().is_fine(&["serves 3 certificates as the disk has them"]);
    // One that is bad: what is served instead, and why.
    lab.folder.file("live/b.test/privkey.pem", "half");
    let found = check();
    let line = found.line(&[
        "serves an older certificate names=\"b.test\"",
        "privkey.pem",
    ]);
    assert!(line.starts_with("warning: the running relay: "), "{line}");
    assert!(
        line.contains("key=\"ECDSA P-256\" issuer=\"self-signed\" left="),
        "{line}"
    );
    found.line(&["warning: ", "; not as the disk has them: 1"]);
    // And with one that stops a start.
    lab.folder.file("live/mx.test/privkey.pem", "half");
    let found = check();
    found.is_an_error(&["the certificate of the hostname mx.test"]);
    found.line(&["serves an older certificate names=\"mx.test default\""]);
    assert!(!found.text.contains("c.test"), "{}", found.text);
    facteur.stop();
    let found = check();
    assert!(!found.text.contains("sha256") && !found.text.contains("relay: serves"));
}

#[test]
fn a_port_of_another_program_is_an_error() {
    let lab = Lab::new();
    let taken = TcpListener::bind(lab.own()).expect("free");
    let found = lab.check(&[]);
    found.is_an_error(&["--listen", "another program"]);
    drop(taken);
    lab.check(&[]).is_fine(&["--listen", "can be bound"]);
}
