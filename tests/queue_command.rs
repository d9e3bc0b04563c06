//! `facteur queue` on a running relay and on a stopped one.

#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::{Answer, Peer};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::facteur::Facteur;
use support::smtp::Client;
use support::{Folder, only_message, until};

const TEXT: &[u8] = b"Subject: hello\r\nX-Seen: \x1b[31mred\r\n\r\nOne line.\r\n";
const GREYLISTED: &str = "451 4.7.1 greylisted, \"try\" later";

/// A next hop that greylists until it is told to be willing.
struct Greylister {
    peer: Peer,
    willing: Arc<AtomicBool>,
}

impl Greylister {
    fn start() -> Self {
        let willing = Arc::new(AtomicBool::new(false));
        let is_willing = Arc::clone(&willing);
        let peer = Peer::start(move |_, asked| {
            let refuses = asked.starts_with("RCPT") && !is_willing.load(Ordering::SeqCst);
            refuses.then_some(Answer::Say(GREYLISTED))
        });
        Self { peer, willing }
    }

    fn be_willing(&self) {
        self.willing.store(true, Ordering::SeqCst);
    }
}

/// A relay before it, that hands mail for home.example to Maildirs.
struct Lab {
    folder: Folder,
    hop: Greylister,
}

impl Lab {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            hop: Greylister::start(),
        }
    }

    fn mail(&self) -> PathBuf {
        self.folder.join("mail")
    }

    fn spool(&self) -> PathBuf {
        self.folder.join("facteur-spool")
    }

    fn start(&self) -> Facteur {
        let relay = self.hop.peer.address.to_string();
        let home = format!("home.example=maildir:{}/{{user}}", self.mail().display());
        let flags = [
            "--hostname",
            "relay.example",
            "--relay",
            &relay,
            "--domain",
            &home,
            "--spool-size",
            "24M",
            "--retry",
            "1h..1h",
        ];
        Facteur::start(self.folder.as_ref(), &flags)
    }

    /// Queues a message that the next hop puts off; returns its id.
    fn deferred(&self, facteur: &Facteur, to: &[&str]) -> String {
        let id = self.submit(facteur, to);
        facteur.wait_log(&["result=deferred", &id]);
        // The mark is written right behind that line.
        until("the mark", || {
            let line = self
                .json(&["list"])
                .into_iter()
                .find(|line| line.contains(&id))?;
            (line.matches("greylisted").count() == to.len()).then_some(())
        });
        id
    }

    fn submit(&self, facteur: &Facteur, to: &[&str]) -> String {
        let mut client = Client::connect(facteur.port).expect("a session");
        client.say("EHLO client.test", "250").expect("EHLO");
        client
            .say("MAIL FROM:<ren\u{e9}@home.example> SMTPUTF8", "250")
            .expect("MAIL");
        for address in to {
            client
                .say(&format!("RCPT TO:<{address}>"), "250")
                .expect("RCPT");
        }
        client.say("DATA", "354").expect("DATA");
        client.send(TEXT).expect("a message");
        let reply = client.say(".", "250").expect("250");
        let id = reply.split_whitespace().last().expect("an id");
        id.to_owned()
    }

    fn queue(&self, words: &[&str]) -> Output {
        queue(self.folder.as_ref(), words)
    }

    /// What the command writes, which has to succeed.
    #[track_caller]
    fn told(&self, words: &[&str]) -> String {
        let output = self.queue(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The objects of an answer, each read and written again by another's parser, with sorted names.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Vec<String> {
        let told = self.told(&[words, &["--json"]].concat());
        let script = "import json, sys\nfor line in sys.stdin:\n    print(json.dumps(json.loads(line), sort_keys=True))";
        let mut python = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut input = python.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || input.write_all(told.as_bytes()));
        let output = python.wait_with_output().expect("python3");
        writer.join().expect("no panic").expect("it reads all");
        assert!(output.status.success(), "{words:?}");
        let text = String::from_utf8(output.stdout).expect("ASCII");
        text.lines().map(str::to_owned).collect()
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.spool()).expect("a spool");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("readable").path())
            .map(|path| {
                let octets = match path.is_file() {
                    true => std::fs::read(&path).expect("a file"),
                    // The socket of a relay that was killed.
                    false => Vec::new(),
                };
                (path, octets)
            })
            .collect();
        files.sort();
        files
    }
}

fn queue(folder: &Path, words: &[&str]) -> Output {
    let binary = std::env::var_os("FACTEUR_BIN");
    let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_facteur").into());
    let no_flags = folder.join("no-flags");
    std::fs::write(&no_flags, "").expect("a file");
    let mut command = Command::new(binary);
    command.current_dir(folder).env("FACTEUR_FLAGS", no_flags);
    command.arg("queue").args(words).stdin(Stdio::null());
    command.output().expect("facteur starts")
}

/// One line on standard error, and the exit status.
#[track_caller]
fn refused(output: &Output, status: i32, parts: &[&str]) {
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
    assert!(why.starts_with("facteur: "), "{why}");
    assert!(parts.iter().all(|part| why.contains(part)), "{why}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_list_says_what_waits_for_what_running_and_stopped() {
    let lab = Lab::new();
    let facteur = lab.start();
    assert_eq!(lab.told(&["list"]), "the queue is empty\n");
    let id = lab.deferred(&facteur, &["bob@one.example", "\"e e\"@one.example"]);
    let check = || {
        let list = lab.told(&["list"]);
        let mut lines = list.lines();
        assert!(lines.next().expect("a head").starts_with("ID           "));
        let row: Vec<&str> = lines.next().expect("a row").split_whitespace().collect();
        assert_eq!((row[0], row[3], row[4]), (&*id, "1", "in"), "{list}");
        assert_eq!(row[6], "ren\u{e9}@home.example");
        let rest: Vec<&str> = lines.collect();
        let said = format!("       127.0.0.1: {GREYLISTED}");
        assert_eq!(
            rest[..4],
            [
                "    to bob@one.example",
                &said,
                "    to \"e e\"@one.example",
                &said
            ]
        );
        assert!(rest[4].starts_with("1 message, 2 recipients, "), "{list}");
        assert!(rest[4].ends_with("; 1 deferred"), "{list}");
        let json = lab.json(&["list"]);
        assert_eq!(json.len(), 1);
        for part in [
            format!("\"id\": \"{id}\""),
            "\"sender\": \"ren\\u00e9@home.example\"".to_owned(),
            "\"address\": \"\\\"e e\\\"@one.example\"".to_owned(),
            "\"reply\": \"451 4.7.1 greylisted, \\\"try\\\" later\"".to_owned(),
            "\"host\": \"127.0.0.1\"".to_owned(),
            "\"attempts\": 1".to_owned(),
        ] {
            assert!(json[0].contains(&part), "{part}: {}", json[0]);
        }
    };
    check();
    facteur.stop();
    check();
}

#[test]
fn a_look_at_a_stopped_spool_changes_no_octet_of_it() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    // What a start would mend: the end of a killed relay, with its socket left behind.
    facteur.kill();
    let before = lab.files();
    lab.told(&["list"]);
    lab.told(&["list", "--json"]);
    lab.told(&["show", &id]);
    lab.told(&["show", &id, "--body"]);
    assert!(lab.files() == before);
    let facteur = lab.start();
    assert!(lab.told(&["list"]).contains(&id));
    facteur.stop();
}

#[test]
fn show_tells_all_of_a_message_and_gives_it_octet_for_octet() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(
        &facteur,
        ["ann@home.example", "bob@one.example"][1..].as_ref(),
    );
    lab.told(&["retry", &id]);
    facteur.wait_log(&["result=deferred", &id]);
    until("a second attempt", || {
        let shown = lab.told(&["show", &id]);
        (shown.matches("\nattempt  ").count() == 2).then_some(())
    });
    let shown = lab.told(&["show", &id]);
    for part in [
        &*format!("id         {id}\n"),
        "sender     ren\u{e9}@home.example\n",
        "recipient  bob@one.example\n           queued, 2 attempts, next try in ",
        &format!("           127.0.0.1: {GREYLISTED}\n           to bob@one.example\n"),
        "\n\nReceived: from client.test",
        "\nSubject: hello\nX-Seen: \\u{1b}[31mred\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("One line.") && !shown.contains('\u{1b}'));
    let body = lab.queue(&["show", &id, "--body"]).stdout;
    assert!(body.starts_with(b"Received: from client.test") && body.ends_with(TEXT));
    let json = lab.json(&["show", &id]);
    assert!(json[0].contains("\"attempted\": [{\"at\": "), "{}", json[0]);
    assert!(
        json[0].contains("\\nX-Seen: \\u001b[31mred\\r\\n\""),
        "{}",
        json[0]
    );
    facteur.stop();
}

#[test]
fn retry_delivers_at_once_what_the_next_hop_takes_now() {
    let lab = Lab::new();
    let facteur = lab.start();
    let first = lab.deferred(&facteur, &["bob@one.example"]);
    let second = lab.deferred(&facteur, &["eve@two.example"]);
    lab.hop.be_willing();
    assert_eq!(
        lab.told(&["retry", &first]),
        "1 deferred delivery due now\n"
    );
    assert_eq!(lab.hop.peer.messages(1)[0].to, ["<bob@one.example>"]);
    until("its end", || (lab.json(&["list"]).len() == 1).then_some(()));
    assert!(lab.told(&["list"]).contains(&second), "the other one waits");
    assert_eq!(
        lab.json(&["retry"]),
        ["{\"due\": 1, \"id\": null, \"running\": true}"]
    );
    assert_eq!(lab.hop.peer.messages(2)[1].to, ["<eve@two.example>"]);
    until("the end", || {
        (lab.told(&["list"]) == "the queue is empty\n").then_some(())
    });
    assert_eq!(
        lab.told(&["retry"]),
        "nothing was waiting for a later try\n"
    );
    refused(
        &lab.queue(&["retry", &first]),
        1,
        &[&first, "not in the queue"],
    );
    facteur.stop();
}

#[test]
fn a_retry_of_a_stopped_spool_counts_at_the_next_start() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    facteur.stop();
    lab.hop.be_willing();
    assert_eq!(
        lab.told(&["retry", &id]),
        "1 deferred delivery due when the relay starts: it does not run\n"
    );
    assert!(
        lab.told(&["list"]).contains(GREYLISTED),
        "what was said is kept"
    );
    let facteur = lab.start();
    lab.hop.peer.messages(1);
    facteur.stop();
}

#[test]
fn a_dropped_message_is_gone_for_good_and_its_sender_is_told_if_asked() {
    let lab = Lab::new();
    for running in [true, false] {
        let facteur = lab.start();
        let quiet = lab.deferred(&facteur, &["bob@one.example"]);
        let told = lab.deferred(&facteur, &["eve@two.example"]);
        let kept = lab.deferred(&facteur, &["joe@three.example"]);
        let facteur = match running {
            true => Some(facteur),
            false => {
                facteur.stop();
                None
            }
        };
        assert_eq!(lab.told(&["drop", &quiet]), "dropped, 1 recipient\n");
        assert_eq!(
            lab.told(&["drop", &told, "--dsn", "--hostname=relay.example"]),
            "dropped, 1 recipient; a DSN to the sender tells of 1\n"
        );
        refused(
            &lab.queue(&["drop", &told]),
            1,
            &[&told, "not in the queue"],
        );
        // Killed: what is dropped must be so on the disk.
        facteur.into_iter().for_each(Facteur::kill);
        let facteur = lab.start();
        let dsn = only_message(&lab.mail());
        for part in [
            "\nFinal-Recipient: rfc822; eve@two.example\n",
            "\nStatus: 5.0.0\n",
        ] {
            assert!(dsn.contains(part), "{dsn}");
        }
        let flat = dsn.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains("the postmaster of relay.example removed it"),
            "{dsn}"
        );
        until("the DSN's end", || {
            (lab.json(&["list"]).len() == 1).then_some(())
        });
        assert_eq!(
            lab.json(&["drop", &kept]),
            [format!(
                "{{\"dropped\": 1, \"id\": \"{kept}\", \"running\": true, \"told\": 0}}"
            )]
        );
        assert_eq!(lab.told(&["list"]), "the queue is empty\n");
        facteur.stop();
        std::fs::remove_dir_all(lab.mail()).expect("a Maildir");
    }
}

#[test]
fn what_is_being_delivered_is_left_to_its_end() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| asked.starts_with("MAIL").then_some(Answer::Stall));
    let relay = peer.address.to_string();
    let facteur = Facteur::start(folder.as_ref(), &["--relay", &relay]);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let reply = client
        .submit("ann@a.example", "bob@b.example", b"Subject: x\r\n\r\nx\r\n")
        .expect("250");
    let word = reply.split_whitespace().last().expect("an id");
    let id = word;
    peer.wait(|events| {
        events
            .iter()
            .any(|event| matches!(event, peer::Event::Command(_, line) if line.starts_with("MAIL")))
            .then_some(())
    });
    let output = queue(folder.as_ref(), &["drop", id]);
    refused(&output, 1, &[id, "is being delivered at this moment"]);
    let list = queue(folder.as_ref(), &["list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("now  ann@a.example"));
    facteur.kill();
}

#[test]
fn the_socket_is_the_relays_alone_and_no_client_holds_it_up() {
    let lab = Lab::new();
    let path = lab.spool().join("control");
    let facteur = lab.start();
    let found = std::fs::symlink_metadata(&path).expect("a socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    // As many as are heard at once, and more, of which none says anything: each has its time.
    let silent: Vec<_> = (0..6).map(|_| UnixStream::connect(&path)).collect();
    assert_eq!(
        lab.told(&["retry"]),
        "nothing was waiting for a later try\n"
    );
    drop(silent);
    for line in [
        &b"facteur-queue 2 retry\n"[..],
        b"\xff\n",
        &[b'x'; 4096],
        b"drop",
    ] {
        let mut stream = UnixStream::connect(&path).expect("the relay");
        stream.write_all(line).expect("taken");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // Closed with octets unread, it is a reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"no ") || answer.is_empty());
    }
    let mut client = Client::connect(facteur.port).expect("mail goes on");
    client.say("QUIT", "221").expect("QUIT");
    facteur.stop();
    assert!(!path.exists(), "gone with the relay");
}

#[test]
fn a_stale_socket_is_replaced_and_another_file_left_alone() {
    let lab = Lab::new();
    lab.start().stop();
    let path = lab.spool().join("control");
    drop(UnixListener::bind(&path).expect("a socket"));
    let facteur = lab.start();
    assert_eq!(
        lab.told(&["retry"]),
        "nothing was waiting for a later try\n"
    );
    facteur.stop();
    std::fs::write(&path, "mine").expect("a file");
    let facteur = lab.start();
    facteur.wait_log(&["control", "no socket"]);
    facteur.stop();
    assert_eq!(std::fs::read(&path).expect("still there"), b"mine");
}

#[test]
fn what_is_wrong_is_one_line() {
    let lab = Lab::new();
    let path = "facteur-spool";
    refused(&lab.queue(&["list"]), 1, &[path]);
    refused(&lab.queue(&["retry"]), 1, &[path]);
    assert!(!lab.spool().exists(), "nothing is made of a mistyped name");
    lab.start().stop();
    let some = "1j0t7dfr3v2";
    for (words, status, parts) in [
        (&[][..], 2, &["list", "drop ID"][..]),
        (&["lst"], 2, &["\"lst\"", "retry [ID]"]),
        (&["list", some], 2, &[some, "too many"]),
        (&["show"], 2, &["show", "ID"]),
        (&["show", some, "x"], 2, &["\"x\"", "too many"]),
        (&["drop"], 2, &["drop", "ID"]),
        (&["drop", "all"], 2, &["\"all\"", "eleven"]),
        (&["list", "--body"], 2, &["--body"]),
        (
            &["show", some, "--body", "--json"],
            2,
            &["--body", "--json"],
        ),
        (&["retry", "--dsn"], 2, &["--dsn", "drop"]),
        (&["list", "--spool"], 2, &["--spool"]),
        (&["list", "--domain", "x"], 2, &["--domain", "--help"]),
        (&["show", some], 1, &[some, "not in the queue"]),
        (&["drop", some], 1, &[some, "not in the queue"]),
        (&["retry", some], 1, &[some, "not in the queue"]),
        (&["list", "--spool=/nowhere"], 1, &["/nowhere"]),
        (
            &["list", "--flags", "/nowhere/flags"],
            2,
            &["/nowhere/flags"],
        ),
    ] {
        refused(&lab.queue(words), status, parts);
    }
    let help = lab.told(&["--help"]);
    assert!(help.contains("--spool") && help.contains("octet for octet"));
}

#[test]
fn the_spool_is_found_where_serves_flags_put_it() {
    let lab = Lab::new();
    lab.start().stop();
    let elsewhere = lab.folder.join("elsewhere");
    std::fs::rename(lab.spool(), &elsewhere).expect("moved");
    let text = format!(
        "spool {}\nrelay x.example\nlisten 127.0.0.1:1\n",
        elsewhere.display()
    );
    let flags = lab.folder.file("flags", &text);
    let flags = flags.to_str().expect("UTF-8");
    assert_eq!(
        lab.told(&["list", "--flags", flags]),
        "the queue is empty\n"
    );
}

#[test]
fn a_long_queue_is_listed_while_mail_flows() {
    let lab = Lab::new();
    let facteur = lab.start();
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    for number in 0..1000 {
        let to = format!("u{number}@one.example");
        client.submit("ann@a.example", &to, TEXT).expect("250");
    }
    until("a thousand deferrals", || {
        let list = lab.told(&["list", "--json"]);
        (list.matches("\"attempts\":1").count() == 1000).then_some(())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let (stop, port) = (Arc::clone(&stop), facteur.port);
        move || {
            let mut client = Client::connect(port).expect("a session");
            client.say("EHLO client.test", "250").expect("EHLO");
            let mut sent = 0;
            while !stop.load(Ordering::SeqCst) {
                client
                    .submit("ann@a.example", "joe@home.example", TEXT)
                    .expect("250");
                sent += 1;
            }
            sent
        }
    });
    for _ in 0..10 {
        let list = lab.told(&["list", "--json"]);
        assert_eq!(list.matches("greylisted").count(), 1000);
        assert_eq!(
            list.lines()
                .filter(|line| line.contains("@one.example"))
                .count(),
            1000
        );
    }
    stop.store(true, Ordering::SeqCst);
    assert!(load.join().expect("no panic") > 10, "mail went on");
    assert_eq!(lab.told(&["retry"]), "1000 deferred deliveries due now\n");
    facteur.stop();
}
