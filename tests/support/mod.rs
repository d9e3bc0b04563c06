//! What the end-to-end tests stand on: folders, ports, programs, and waiting.

// Each test binary includes this folder and uses a part of it.
#![allow(dead_code)]

pub mod anyone;
pub mod endings;
pub mod facteur;
pub mod hello;
pub mod numbered;
pub mod postfix;
pub mod senders;
pub mod sink;
pub mod smtp;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is removed with its test. World-readable, as Postfix's processes are not root.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("facteur-test.{}.{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("in the folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// A certificate for localhost as certbot lays them: `certs/localhost/{fullchain,privkey}.pem`.
    pub fn certificate(&self) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        let key = made.signing_key.serialize_pem();
        (
            self.file("certs/localhost/fullchain.pem", &made.cert.pem()),
            self.file("certs/localhost/privkey.pem", &key),
        )
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A loopback port that was free a moment ago, below the range that the kernel gives to connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = 10_000 + std::process::id() * 37 % 15_000;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 5_000;
        let port = u16::try_from(port).expect("below 30,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A socket that will connect from this address of the loopback network.
pub fn socket_from(source: Ipv4Addr) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketType, bind, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    Ok(socket)
}

/// A command for a Debian program; a missing one is a failure that names the package.
pub fn program(name: &str, package: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let is_there = path
        .split(':')
        .any(|folder| Path::new(folder).join(name).is_file());
    assert!(
        is_there,
        "{name} is missing: apt-get install {package} (scripts/test does it)"
    );
    let mut command = Command::new(name);
    command.env("PATH", path).stdin(Stdio::null());
    command
}

/// Runs a command to its end, and fails with all it said if that is not a success.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    said(&output)
}

pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Waits until `ready` gives something: for what has no event to wait on (a file that comes, a port that opens).
#[track_caller]
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The messages in every Maildir below a folder.
pub fn maildir_messages(below: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut messages = Vec::new();
    for path in paths {
        if path.is_dir() {
            messages.extend(maildir_messages(&path));
        } else if below.ends_with("new") {
            messages.push(path);
        }
    }
    messages
}

/// Waits for the one message below a folder and reads it.
#[track_caller]
pub fn only_message(below: &Path) -> String {
    let path = until("a message in the Maildir", || maildir_messages(below).pop());
    assert_eq!(maildir_messages(below).len(), 1);
    fs::read_to_string(path).expect("a message in UTF-8")
}

/// The same where the relay was killed: between a delivery and its mark, which then comes again, octet for octet.
#[track_caller]
pub fn only_message_and_copies(below: &Path) -> String {
    let paths = until("a message in the Maildir", || {
        Some(maildir_messages(below)).filter(|paths| !paths.is_empty())
    });
    let read = |path| fs::read_to_string(path).expect("a message in UTF-8");
    let mut different: Vec<String> = paths.into_iter().map(read).collect();
    different.dedup();
    assert_eq!(different.len(), 1);
    different.remove(0)
}
