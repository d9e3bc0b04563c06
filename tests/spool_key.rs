//! The sealed spool as its owner meets it: a key is made, the relay runs with it, and the disk shows nothing.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use support::facteur::{Facteur, command_of, refused};
use support::sink::Sink;
use support::smtp::Client;
use support::{Folder, free_port, numbered, said};

/// What the message says, and its envelope.
const SAID: [&str; 4] = [
    "anna@client.test",
    "bert@example.test",
    "Subject: numbered",
    "X-Number",
];

/// Enough for the test, and soon read.
const SIZE: [&str; 2] = ["--spool-size", "24M"];

fn spool_key(folder: &Folder, words: &[&str]) -> Output {
    let words = [&["spool-key"], words].concat();
    let command = command_of(folder.as_ref(), &words).output();
    command.expect("facteur runs")
}

/// The names and contents of the spool's files.
fn disk(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("a name");
        (name, std::fs::read(entry.path()).expect("readable"))
    };
    let files = std::fs::read_dir(folder.join("facteur-spool")).expect("readable");
    // The control socket is no file.
    let files = files.filter(|entry| {
        let path = entry.as_ref().expect("readable").path();
        path.is_file()
    });
    let mut all: Vec<_> = files.map(read).collect();
    all.sort();
    all
}

/// What of the message stands on the disk.
fn shown(folder: &Folder) -> Vec<&'static str> {
    let files = disk(folder);
    let stands = |word: &&str| {
        let mut files = files.iter();
        files.any(|(_, octets)| memchr::memmem::find(octets, word.as_bytes()).is_some())
    };
    SAID.into_iter().filter(stands).collect()
}

/// Sends a message to a relay whose next hop does not answer, waits for its deferral, and kills it.
fn queue_one_and_crash(folder: &Folder, number: u64, flags: &[&str]) {
    let nobody = format!("127.0.0.1:{}", free_port());
    let flags = [&SIZE, &["--relay", &nobody][..], flags].concat();
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let message = numbered::message(number);
    client
        .submit("anna@client.test", "bert@example.test", &message)
        .expect("accepted");
    facteur.wait_log(&["result=deferred"]);
    facteur.kill();
}

#[track_caller]
fn assert_refused(folder: &Folder, flags: &[&str], part: &str) {
    let before = disk(folder);
    let output = refused(folder.as_ref(), &[&SIZE[..], flags].concat());
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let problem = said.lines().filter(|line| line.starts_with("facteur: "));
    let problem: Vec<_> = problem.collect();
    assert!(problem.len() == 1 && problem[0].contains(part), "{said}");
    assert!(problem[0].contains("--spool-key"), "{said}");
    assert!(disk(folder) == before, "the spool is changed");
}

#[test]
fn a_stolen_disk_shows_nothing_and_the_key_gives_all_back() {
    let folder = Folder::new();
    for name in ["key", "other"] {
        let made = spool_key(&folder, &[name]);
        assert!(made.status.success() && said(&made).is_empty(), "{made:?}");
    }
    let sealed = ["--spool-key", "key", "--retry", "1s..1s"];
    queue_one_and_crash(&folder, 1, &sealed);
    assert_eq!(shown(&folder), [""; 0]);

    assert_refused(&folder, &[], "it is sealed");
    assert_refused(&folder, &["--spool-key", "other"], "another key");
    assert_refused(&folder, &["--spool-key", "none"], "none: No such file");
    for mode in [0o644, 0o700, 0o4600] {
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.join("other"), open).expect("ours");
        let says = format!("{mode:04o}");
        assert_refused(&folder, &["--spool-key", "other"], &says);
    }

    let sink = Sink::start();
    let address = sink.address();
    let flags = [&SIZE[..], &sealed, &["--relay", &address]].concat();
    let facteur = Facteur::start(folder.as_ref(), &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .submit(
            "anna@client.test",
            "bert@example.test",
            &numbered::message(2),
        )
        .expect("accepted");
    sink.wait_taken(&[1, 2]);
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new());
    assert_eq!(shown(&folder), [""; 0]);
}

#[test]
fn a_queue_that_was_begun_without_a_key_is_read_and_told_of() {
    let folder = Folder::new();
    queue_one_and_crash(&folder, 1, &["--retry", "1s..1s"]);
    assert_eq!(shown(&folder), SAID, "the search finds what is in clear");
    assert!(spool_key(&folder, &["key"]).status.success());
    let sink = Sink::start();
    let address = sink.address();
    let flags = ["--spool-key", "key", "--relay", &address];
    let facteur = Facteur::start(folder.as_ref(), &[&SIZE[..], &flags].concat());
    facteur.wait_log(&["segments=1", "before the key"]);
    sink.wait_taken(&[1]);
    facteur.stop();
}

#[test]
fn a_key_is_made_once() {
    let folder = Folder::new();
    let printed = spool_key(&folder, &[]);
    let digits = printed.stdout.strip_suffix(b"\n").expect("a line");
    assert!(digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit));
    assert!(spool_key(&folder, &["key"]).status.success());
    for (words, status) in [(["key"], 1), (["no/key"], 1), (["--key"], 2)] {
        let refused = spool_key(&folder, &words);
        assert_eq!(refused.status.code(), Some(status));
        let line = said(&refused);
        assert!(
            line.lines().count() == 1 && line.contains(words[0]),
            "{line}"
        );
    }
}
