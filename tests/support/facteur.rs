//! `facteur serve` as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{PATIENCE, free_port, until};

/// `facteur serve`; see [`command_of`].
pub fn command(folder: &Path, flags: &[&str]) -> Command {
    command_of(folder, &[&["serve"], flags].concat())
}

/// The binary under test: cargo's, or another build of it (release, musl) that FACTEUR_BIN names.
pub fn command_of(folder: &Path, words: &[&str]) -> Command {
    let binary = std::env::var_os("FACTEUR_BIN");
    let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_facteur").into());
    let mut command = Command::new(binary);
    // An empty file of flags, so that the machine's own /etc/facteur/flags plays no part.
    let no_flags = folder.join("no-flags");
    std::fs::write(&no_flags, "").expect("a file");
    command.current_dir(folder).env("FACTEUR_FLAGS", no_flags);
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs `facteur serve` with flags that it is expected to refuse.
#[track_caller]
pub fn refused(folder: &Path, flags: &[&str]) -> Output {
    let mut command = command(folder, flags);
    let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("facteur starts");
    let start = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("serve {flags:?} went on");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

pub struct Facteur {
    child: Child,
    pub port: u16,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

impl Facteur {
    /// Starts it in `folder` with `--listen` on a port of its own, and waits until it greets.
    #[track_caller]
    pub fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::start_on(free_port(), folder, flags)
    }

    #[track_caller]
    pub fn start_on(port: u16, folder: &Path, flags: &[&str]) -> Self {
        let mut facteur = Self::launch(port, folder, flags, |command| command);
        if let Err(status) = facteur.wait_greeting() {
            panic!("facteur ended at start with {status}");
        }
        facteur
    }

    /// Starts it, changed by `under` (another program in front), without waiting.
    pub fn launch(
        port: u16,
        folder: &Path,
        flags: &[&str],
        under: impl FnOnce(Command) -> Command,
    ) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let flags = [&["--listen", &listen][..], flags].concat();
        let mut command = under(command(folder, &flags));
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("facteur starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("piped");
        let reader = std::thread::spawn({
            let log = log.clone();
            move || log.follow(stderr)
        });
        Self {
            child,
            port,
            log,
            reader: Some(reader),
        }
    }

    /// Waits until it greets, or has ended.
    #[track_caller]
    pub fn wait_greeting(&mut self) -> Result<(), ExitStatus> {
        until("a greeting", || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Some(Err(status));
            }
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            let mut code = [0; 3];
            stream.read_exact(&mut code).ok()?;
            (&code == b"220").then_some(Ok(()))
        })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> String {
        self.log.lines.lock().expect("the reader lives").join("\n")
    }

    /// Waits for a line of the log that holds all the words.
    #[track_caller]
    pub fn wait_log(&self, words: &[&str]) -> String {
        let lines = self.log.lines.lock().expect("the reader lives");
        let found = |lines: &[String]| {
            let mut lines = lines.iter();
            lines
                .find(|line| words.iter().all(|word| line.contains(word)))
                .cloned()
        };
        let (lines, _) = self
            .log
            .grown
            .wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none())
            .expect("the reader lives");
        let line = found(&lines);
        drop(lines);
        line.unwrap_or_else(|| panic!("no line of the log holds {words:?}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends the signal of that name (`HUP`).
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -$0 $1", name, &pid])
            .status();
        assert!(sent.expect("sh").success());
    }

    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let status = until("facteur's end", || self.child.try_wait().expect("a child"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log's reader");
        }
        status
    }

    /// SIGTERM, and the exit status 0 that is due.
    #[track_caller]
    pub fn stop(mut self) {
        self.terminate();
        assert_eq!(self.wait_exit().code(), Some(0));
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }
}

impl Drop for Facteur {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- facteur's log\n{}\n---", self.log());
        }
    }
}

impl Log {
    fn follow(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lines
                .lock()
                .expect("no test panics with it")
                .push(line);
            self.grown.notify_all();
        }
    }
}
