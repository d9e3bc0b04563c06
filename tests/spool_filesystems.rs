//! File systems that cannot keep the spool's promise: the owner is warned, and what can be done is done.
//!
//! They are made and mounted here; where this machine cannot, the test says SKIPPED.

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::facteur::Facteur;
use support::sink::Sink;
use support::smtp::Client;
use support::{Folder, numbered, program, said, succeed, until};

/// A mounted file system, which goes with its test.
struct Mount(PathBuf);

impl Mount {
    /// None, and a word about it: this machine cannot.
    fn new(folder: &Folder, arguments: &[&str]) -> Option<Self> {
        let at = folder.join("mounted");
        fs::create_dir(&at).expect("a folder");
        let output = program("mount", "mount").args(arguments).arg(&at).output();
        let output = output.expect("mount starts");
        if output.status.success() {
            return Some(Self(at));
        }
        skipped(&said(&output));
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Past the test harness, which keeps a passing test's words to itself.
fn skipped(why: &str) {
    let line = format!("spool_filesystems: SKIPPED: {}\n", why.trim());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn start(folder: &Folder, mounted: &Path, next_hop: &str) -> Facteur {
    let spool = mounted.join("spool").display().to_string();
    let flags = [
        "--spool",
        &spool,
        "--spool-size",
        "24M",
        "--relay",
        next_hop,
    ];
    Facteur::start(folder.as_ref(), &flags)
}

#[test]
fn a_spool_in_memory_is_warned_of_once() {
    let folder = Folder::new();
    let Some(mount) = Mount::new(&folder, &["-t", "tmpfs", "-o", "size=32m", "tmpfs"]) else {
        return;
    };
    let facteur = start(&folder, &mount.0, "127.0.0.1:9");
    facteur.wait_log(&["WARN", "tmpfs is in memory"]);
    facteur.wait_log(&["spool fill done"]);
    assert_eq!(facteur.log().matches("in memory").count(), 1);
    facteur.stop();
}

/// A btrfs of 256 MiB.
fn btrfs(folder: &Folder) -> Option<Mount> {
    let image = folder.join("disk");
    fs::File::create(&image)
        .and_then(|file| file.set_len(256 << 20))
        .expect("an image");
    let made = Command::new("mkfs.btrfs").arg("-q").arg(&image).output();
    match made {
        Err(problem) => {
            skipped(&format!("mkfs.btrfs (Debian's btrfs-progs): {problem}"));
            None
        }
        Ok(output) if !output.status.success() => {
            skipped(&said(&output));
            None
        }
        Ok(_) => {
            let image = image.display().to_string();
            Mount::new(folder, &["-t", "btrfs", "-o", "loop", &image])
        }
    }
}

/// Writes a file until the disk is full.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    // In ever smaller pieces, to the last block.
    for piece in [1 << 16, 1 << 12] {
        while file.write_all(&vec![1; piece]).is_ok() {}
        let _ = file.sync_all();
    }
}

fn send(port: u16, number: u64) -> std::io::Result<String> {
    let mut client = Client::connect(port)?;
    client.say("EHLO client.test", "250")?;
    let text = numbered::message(number);
    client.submit("a@client.test", "b@example.test", &text)
}

#[test]
fn btrfs_writes_segments_in_place_and_a_full_one_gives_452_and_loses_nothing() {
    let folder = Folder::new();
    let Some(mount) = btrfs(&folder) else { return };
    let sink = Sink::start();
    sink.hold();
    let facteur = start(&folder, &mount.0, &sink.address());
    facteur.wait_log(&["WARN", "btrfs copies what is written over"]);
    facteur.wait_log(&["spool fill done"]);
    let spool = mount.0.join("spool");
    let attributes = succeed(program("lsattr", "e2fsprogs").arg(&spool));
    for line in attributes.lines().filter(|line| line.ends_with(".seg")) {
        let flags = line.split(' ').next().expect("the flags");
        assert!(flags.contains('C'), "not NOCOW: {line}");
    }
    // A full disk is no matter for what is written in place.
    let filler = mount.0.join("filler");
    fill(&filler);
    for number in 0..20 {
        send(facteur.port, number).expect("taken");
    }

    // But after a snapshot every block that is written over is copied.
    fs::remove_file(&filler).expect("the file");
    let snapshot = mount.0.join("snapshot");
    let mut btrfs = program("btrfs", "btrfs-progs");
    succeed(
        btrfs
            .args(["subvolume", "snapshot"])
            .args([&mount.0, &snapshot]),
    );
    fill(&filler);
    let mut taken: Vec<_> = (0..20).collect();
    let refusal = until("a refusal", || {
        let number = taken.len() as u64;
        let refusal = send(facteur.port, number).err();
        if refusal.is_none() {
            taken.push(number);
        }
        refusal
    });
    let refusal = refusal.to_string();
    assert!(refusal.contains("452 4.3.1"), "{refusal}");
    facteur.kill();
    sink.go_on();
    sink.next_epoch();

    fs::remove_file(&filler).expect("room again");
    let facteur = start(&folder, &mount.0, &sink.address());
    sink.wait_taken(&taken);
    let next = taken.len() as u64 + 1;
    until("mail is taken again", || send(facteur.port, next).ok());
    facteur.stop();
    assert_eq!(sink.complaints(), Vec::<String>::new());
}
