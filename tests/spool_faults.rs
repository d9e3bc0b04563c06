//! A disk that gives errors, under the real program: strace makes file calls of the spool fail, at boot and under load.
//! Whatever fails: nothing panics, and what was acknowledged arrives whole once the disk works again.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::facteur::{self, Facteur};
use support::senders::Senders;
use support::sink::Sink;
use support::smtp::Client;
use support::{Folder, free_port, numbered, program, said, succeed};

/// Segments of the smallest spool, which the tests use.
const SEGMENTS: u32 = 6;

/// The numbers of the messages that are queued before anything fails; those that are sent then begin with 0.
const QUEUED: std::ops::Range<u64> = 1_000_000..1_000_012;

/// The spool is named by its whole path: strace compares names as they are given.
fn flags(folder: &Folder, next_hop: &str) -> Vec<String> {
    let spool = folder.join("spool").display().to_string();
    let size = ["--spool-size", "24M", "--retry", "1s..1s"];
    let names = ["--spool", &spool, "--relay", next_hop];
    [names, size]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn start(folder: &Folder, next_hop: &str) -> Facteur {
    let flags = flags(folder, next_hop);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Facteur::start(folder.as_ref(), &flags)
}

/// The last line of a start that is refused with status 1.
#[track_caller]
fn refusal(folder: &Folder) -> String {
    let mut flags = flags(folder, "127.0.0.1:9");
    flags.extend(["--listen".to_owned(), format!("127.0.0.1:{}", free_port())]);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let output = facteur::refused(folder.as_ref(), &flags);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said.lines().last().unwrap_or_default().to_owned()
}

fn segment(folder: &Folder, number: u32) -> PathBuf {
    folder.join(&format!("spool/{number:06}.seg"))
}

/// A folder whose spool holds messages, as kill -9 left it while its last segment was being made.
fn queued() -> Folder {
    let folder = Folder::new();
    let sink = Sink::start();
    sink.hold();
    let facteur = start(&folder, &sink.address());
    facteur.wait_log(&["spool fill done"]);
    for number in QUEUED {
        let mut client = Client::connect(facteur.port).expect("a session");
        client.say("EHLO client.test", "250").expect("EHLO");
        let text = numbered::message(number);
        let sent = client.submit("a@client.test", "b@example.test", &text);
        sent.expect("acknowledged");
    }
    facteur.kill();
    let last = segment(&folder, SEGMENTS);
    std::fs::rename(&last, last.with_extension("new")).expect("a segment");
    folder
}

/// A copy of a folder's spool in a folder of its own.
fn copy(of: &Folder) -> Folder {
    let folder = Folder::new();
    let mut copy = Command::new("cp");
    succeed(
        copy.args(["-r", "--sparse=always"])
            .args([of.join("spool"), folder.join("spool")]),
    );
    folder
}

/// One way to fail: `call` gives `error` at the calls that `when` tells (strace(1), inject), counted for each thread.
#[derive(Debug)]
struct Fault {
    call: &'static str,
    error: &'static str,
    when: &'static str,
}

impl Fault {
    /// Puts strace in front of a command, so that the command's process is the one that was started (-D). Only calls that
    /// concern the spool's folder count.
    fn inject(&self, folder: &Folder, command: &Command) -> Command {
        let Self { call, error, when } = self;
        let mut strace = program("strace", "strace");
        strace.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]);
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
        strace.arg("-P").arg(folder.join("spool"));
        let segments = (1..=SEGMENTS).flat_map(|n| [format!("{n:06}.seg"), format!("{n:06}.new")]);
        for name in segments.chain(["lock".to_owned()]) {
            strace.arg("-P").arg(folder.join("spool").join(name));
        }
        strace
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            strace.env(name, value.unwrap_or_default());
        }
        strace.current_dir(folder);
        strace
    }

    fn text(&self) -> &'static str {
        match self.error {
            "ENOSPC" => "No space left on device",
            _ => "Input/output error",
        }
    }
}

/// How a relay met a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// It never came, or did no harm worth a word.
    Nothing,
    /// It did not start.
    Refusal,
    /// It told of it and went on.
    Trouble,
}

/// Boots with the fault, sends, kills; and boots without it: all that was acknowledged must arrive.
fn survive(fault: &Fault, base: &Folder) -> Met {
    let folder = copy(base);
    let sink = Sink::start();
    let next_hop = sink.address();
    let flags = flags(&folder, &next_hop);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut facteur = Facteur::launch(free_port(), folder.as_ref(), &flags, |command| {
        fault.inject(&folder, &command)
    });
    let mut acknowledged: Vec<u64> = QUEUED.collect();
    let met = match facteur.wait_greeting() {
        Err(status) => {
            facteur.wait_exit();
            let log = facteur.log();
            assert_eq!(
                status.code(),
                Some(1),
                "{fault:?}: {:?}\n{log}",
                status.signal()
            );
            let last = log.lines().last().unwrap_or_default();
            assert!(last.contains("spool"), "{fault:?}: its last word is {last}");
            Met::Refusal
        }
        Ok(()) => {
            acknowledged.extend(load(&facteur));
            let log = facteur.log();
            assert!(!log.contains("panicked"), "{fault:?}: {log}");
            facteur.kill();
            if log.contains(fault.text()) {
                Met::Trouble
            } else {
                Met::Nothing
            }
        }
    };
    sink.next_epoch();
    let facteur = start(&folder, &next_hop);
    sink.wait_taken(&acknowledged);
    assert!(
        !facteur.log().contains("panicked"),
        "{fault:?}: {}",
        facteur.log()
    );
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new(), "{fault:?}");
    met
}

/// Mail by four sessions, as much as comes through in a moment.
fn load(facteur: &Facteur) -> Vec<u64> {
    let senders = Senders::start(facteur.port, 4);
    let end = Instant::now() + Duration::from_millis(400);
    while senders.count() < 60 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    senders.stop().iter().map(|one| one.number).collect()
}

/// The file calls of the spool that can fail, with the errors that they may give.
const CALLS: [(&str, &[&str]); 7] = [
    ("openat", &["EIO", "ENOSPC"]),
    ("pread64", &["EIO"]),
    ("pwrite64", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("unlink", &["EIO"]),
];

/// 1+ are all calls, 3+5 some now and then.
const WHEN: [&str; 8] = ["1", "2", "3", "5", "8", "13", "1+", "3+5"];

#[test]
fn no_error_of_a_file_call_loses_an_acknowledged_message() {
    let base = queued();
    let mut faults = Vec::new();
    for (call, errors) in CALLS {
        for error in errors {
            faults.extend(WHEN.map(|when| Fault { call, error, when }));
        }
    }
    // Each waits more than it works.
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let met = survive(fault, &base);
                    let mut all = all.lock().expect("no case panics with it");
                    all.push((fault, met));
                }
            });
        }
    });
    // Or strace injects nothing, and all of this is for nothing.
    let all = all.into_inner().expect("no case panics with it");
    for (call, _) in CALLS {
        let is_met = |(fault, met): &&(&Fault, Met)| fault.call == call && *met != Met::Nothing;
        assert!(
            all.iter().any(|one| is_met(&one)),
            "no fault of {call} was met"
        );
    }
    for met in [Met::Nothing, Met::Refusal, Met::Trouble] {
        eprintln!("{met:?}: {}", all.iter().filter(|one| one.1 == met).count());
    }
}

/// What MAIL, or else the end of data, is told by a relay all of whose writes fail, and MAIL a moment later.
fn told(error: &'static str, base: &Folder) -> [String; 2] {
    let folder = copy(base);
    let fault = Fault {
        call: "pwrite64",
        error,
        when: "1+",
    };
    let flags = flags(&folder, "127.0.0.1:9");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut facteur = Facteur::launch(free_port(), folder.as_ref(), &flags, |command| {
        fault.inject(&folder, &command)
    });
    facteur.wait_greeting().expect("it starts");
    [(); 2].map(|()| {
        let mut client = Client::connect(facteur.port).expect("a session");
        client.say("EHLO client.test", "250").expect("EHLO");
        let sent = client.submit("a@client.test", "b@example.test", b"x\r\n");
        sent.expect_err("refused").to_string()
    })
}

#[test]
fn a_full_disk_is_452_and_a_broken_one_451() {
    let base = queued();
    for (error, reply) in [("ENOSPC", "452 4.3.1"), ("EIO", "451 4.3.0")] {
        for said in told(error, &base) {
            assert!(said.contains(reply), "{error}: {said}");
        }
    }
}

#[test]
fn two_processes_do_not_share_a_spool() {
    let folder = Folder::new();
    let facteur = start(&folder, "127.0.0.1:9");
    let said = refusal(&folder);
    assert!(said.contains("another process has it open"), "{said}");
    facteur.stop();
}

/// Boots on a spool that somebody changed: the queued messages arrive. Gives the log.
fn deliver(folder: &Folder) -> String {
    let sink = Sink::start();
    let facteur = start(folder, &sink.address());
    sink.wait_taken(&QUEUED.collect::<Vec<_>>());
    let log = facteur.log();
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new());
    assert!(!log.contains("panicked"), "{log}");
    log
}

#[test]
fn a_missing_and_a_truncated_segment_are_told_of_and_the_rest_is_delivered() {
    let folder = queued();
    std::fs::remove_file(segment(&folder, 2)).expect("a segment");
    std::fs::write(segment(&folder, 3), "").expect("a segment");
    let log = deliver(&folder);
    assert!(log.contains("000002") && log.contains("000003"), "{log}");
    let aside = std::fs::metadata(segment(&folder, 3)).expect("kept");
    assert_eq!(aside.len(), 0);
}

#[test]
fn a_folder_with_a_segments_name_is_left_alone_and_the_rest_is_delivered() {
    let folder = queued();
    std::fs::remove_file(segment(&folder, 2)).expect("a segment");
    std::fs::create_dir(segment(&folder, 2)).expect("a folder");
    let log = deliver(&folder);
    assert!(
        log.contains("000002.seg") && log.contains("a folder, no segment"),
        "{log}"
    );
    assert!(segment(&folder, 2).is_dir());
}

#[test]
fn a_foreign_file_and_a_newer_format_are_refused_in_one_line_and_left_alone() {
    let base = queued();
    let ours = std::fs::read(segment(&base, 2)).expect("a segment");
    let newer = [&ours[..8], &[9, 0, 0, 0]].concat();
    let foreign = b"somebody else's".to_vec();
    for (octets, says) in [
        (foreign, "no segment of this spool"),
        (newer, "format version 9"),
    ] {
        let folder = copy(&base);
        let file = segment(&folder, 2);
        let mut whole = ours.clone();
        for at in [0, ours.len() - 4096] {
            whole[at..at + octets.len()].copy_from_slice(&octets);
        }
        whole.extend_from_slice(b"and longer than a segment");
        std::fs::write(&file, &whole).expect("a file");
        let said = refusal(&folder);
        assert!(said.contains(says) && said.contains("000002.seg"), "{said}");
        assert!(
            std::fs::read(&file).expect("the file") == whole,
            "it is changed"
        );
        // The owner moves it away.
        std::fs::remove_file(&file).expect("the file");
        deliver(&folder);
    }
}
