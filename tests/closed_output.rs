//! Commands and the relay where nobody reads what they write, or a full disk takes it.

mod queue_lab;
mod support;

use queue_lab::*;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use support::facteur::{command, command_of};
use support::smtp::Client;
use support::{Folder, free_port, maildir_messages, until};

fn full() -> File {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("a Linux system")
}

/// A pipe whose other end is closed.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn written_to(command: &mut Command, output: impl Into<Stdio>) -> Output {
    let child = command.stdout(output).stderr(Stdio::piped()).spawn();
    let child = child.expect("facteur starts");
    child.wait_with_output().expect("its end")
}

fn queue_to(lab: &Lab, words: &[&str], output: impl Into<Stdio>) -> Output {
    let words = [&["queue"], words].concat();
    written_to(&mut command_of(lab.folder.as_ref(), &words), output)
}

#[test]
fn a_change_that_cannot_be_told_is_done_and_says_so() {
    let lab = Lab::new();
    let facteur = lab.start();
    let outputs: [fn() -> Stdio; 2] = [|| full().into(), unread];
    for output in outputs {
        let id = lab.deferred(&facteur, &["bob@one.example"]);
        let retried = queue_to(&lab, &["retry"], output());
        refused(&retried, 1, &["it is done", "1 deferred delivery due now"]);
        until("its attempt", || {
            let list = lab.told(&["list", "--json"]);
            list.contains("\"attempts\":2").then_some(())
        });
        let dropped = queue_to(&lab, &["drop", &id], output());
        let parts = ["it is done", "standard output", "dropped, 1 recipient"];
        refused(&dropped, 1, &parts);
        assert_eq!(lab.told(&["list"]), "the queue is empty\n");
    }
    facteur.stop();
}

#[test]
fn a_look_that_cannot_be_written_is_an_error_and_one_that_is_cut_short_by_its_reader_is_not() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    facteur.stop();
    let looks = [
        &["list"][..],
        &["list", "--json"],
        &["show", &id],
        &["show", &id, "--json"],
        &["show", &id, "--body"],
        &["--help"],
    ];
    for words in looks {
        let output = queue_to(&lab, words, full());
        refused(&output, 1, &["standard output: No space left"]);
        let output = queue_to(&lab, words, unread());
        let quiet = output.status.success() && output.stderr.is_empty();
        assert!(quiet, "{words:?}: {output:?}");
    }
    for words in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        let mut command = command_of(lab.folder.as_ref(), words);
        refused(&written_to(&mut command, full()), 1, &["standard output"]);
        assert!(written_to(&mut command, unread()).status.success());
    }
    let mut check = command_of(lab.folder.as_ref(), &["check"]);
    let output = written_to(&mut check, full());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_key_that_nobody_gets_is_not_made() {
    let folder = Folder::new();
    let make = || command_of(folder.as_ref(), &["spool-key"]);
    let null = "closed or /dev/null, the key would be lost";
    refused(&written_to(&mut make(), Stdio::null()), 1, &[null]);
    refused(
        &written_to(&mut make(), full()),
        1,
        &["standard output: No"],
    );
    refused(
        &written_to(&mut make(), unread()),
        1,
        &["standard output: Broken pipe"],
    );
    let made = make();
    let mut closed = Command::new("sh");
    closed
        .args(["-c", "exec \"$0\" spool-key >&-"])
        .arg(made.get_program());
    refused(&written_to(&mut closed, Stdio::piped()), 1, &[null]);
}

#[test]
fn an_error_that_nobody_reads_is_an_exit_status_all_the_same() {
    let folder = Folder::new();
    for (words, status) in [
        (&["lst"][..], 2),
        (&["queue", "list"], 1),
        (&["spool-key", "no/key"], 1),
    ] {
        let outputs = [full().into(), unread()];
        for output in outputs {
            let mut command = command_of(folder.as_ref(), words);
            let ended = command.stderr(output).status().expect("facteur starts");
            assert_eq!(ended.code(), Some(status), "{words:?}");
        }
    }
}

#[test]
fn a_relay_whose_log_nobody_reads_any_more_goes_on() {
    let folder = Folder::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mail = folder.join("mail");
    let home = format!("home.example=maildir:{}/{{user}}", mail.display());
    let flags = [
        "--listen",
        &listen,
        "--spool-size",
        "24M",
        "--domain",
        &home,
    ];
    let mut command = command(folder.as_ref(), &flags);
    let mut relay = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("facteur starts");
    let log = BufReader::new(relay.stderr.take().expect("piped"));
    let mut lines = log.lines().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.contains("listening")));
    drop(lines);
    for number in 1..=3 {
        let mut client = Client::connect(port).expect("a session");
        client.say("EHLO client.test", "250").expect("EHLO");
        let taken = client.submit("ann@home.example", "bob@home.example", TEXT);
        taken.expect("250");
        client.say("QUIT", "221").expect("QUIT");
        until("its delivery", || {
            (maildir_messages(&mail).len() == number).then_some(())
        });
    }
    let pid = relay.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -TERM $0", &pid])
        .status();
    assert!(sent.expect("sh").success());
    assert_eq!(relay.wait().expect("a child").code(), Some(0));
}
