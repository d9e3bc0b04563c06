//! A relay before a next hop that greylists, and `facteur queue` on its spool.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../support/peer.rs"]
pub mod peer;

use crate::support::facteur::{Facteur, command_of};
use crate::support::smtp::Client;
use crate::support::{Folder, until};
use peer::{Answer, Peer};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub const TEXT: &[u8] = b"Subject: hello\r\nX-Seen: \x1b[31mred\r\n\r\nOne line.\r\n";
pub const GREYLISTED: &str = "451 4.7.1 greylisted, \"try\" later";

/// A next hop that greylists until it is told to be willing, or to say nothing at all. It refuses whoever is called nobody.
pub struct Greylister {
    pub peer: Peer,
    pub willing: Arc<AtomicBool>,
    pub silent: Arc<AtomicBool>,
}

impl Greylister {
    pub fn start() -> Self {
        let willing = Arc::new(AtomicBool::new(false));
        let silent = Arc::new(AtomicBool::new(false));
        let (is_willing, is_silent) = (Arc::clone(&willing), Arc::clone(&silent));
        let peer = Peer::start(move |_, asked| {
            if is_silent.load(Ordering::SeqCst) {
                return Some(Answer::Stall);
            }
            if asked.starts_with("RCPT TO:<nobody@") {
                return Some(Answer::Say("550 5.1.1 no such user"));
            }
            let refuses = asked.starts_with("RCPT") && !is_willing.load(Ordering::SeqCst);
            refuses.then_some(Answer::Say(GREYLISTED))
        });
        Self {
            peer,
            willing,
            silent,
        }
    }

    pub fn say_nothing(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    pub fn be_willing(&self) {
        self.willing.store(true, Ordering::SeqCst);
    }
}

/// A relay before it, that hands mail for home.example to Maildirs.
pub struct Lab {
    pub folder: Folder,
    pub hop: Greylister,
}

impl Lab {
    pub fn new() -> Self {
        Self {
            folder: Folder::new(),
            hop: Greylister::start(),
        }
    }

    pub fn mail(&self) -> PathBuf {
        self.folder.join("mail")
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.join("facteur-spool")
    }

    pub fn start(&self) -> Facteur {
        self.start_with(&[])
    }

    /// Starts it with more flags.
    pub fn start_with(&self, more: &[&str]) -> Facteur {
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
        Facteur::start(self.folder.as_ref(), &[&flags, more].concat())
    }

    /// Queues a message that the next hop puts off; returns its id.
    pub fn deferred(&self, facteur: &Facteur, to: &[&str]) -> String {
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

    pub fn submit(&self, facteur: &Facteur, to: &[&str]) -> String {
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

    pub fn queue(&self, words: &[&str]) -> Output {
        queue(self.folder.as_ref(), words)
    }

    /// What the command writes, which has to succeed.
    #[track_caller]
    pub fn told(&self, words: &[&str]) -> String {
        let output = self.queue(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The objects of an answer, each read and written again by another's parser, with sorted names.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Vec<String> {
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

    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
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

pub fn queue(folder: &Path, words: &[&str]) -> Output {
    let command = command_of(folder, &[&["queue"], words].concat()).output();
    command.expect("facteur starts")
}

/// One line on standard error, and the exit status.
#[track_caller]
pub fn refused(output: &Output, status: i32, parts: &[&str]) {
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
    assert!(why.starts_with("facteur: "), "{why}");
    assert!(parts.iter().all(|part| why.contains(part)), "{why}");
    assert!(output.stdout.is_empty());
}
