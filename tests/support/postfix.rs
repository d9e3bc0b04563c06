//! A private Postfix as the next hop (see postfix.sh).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Folder, free_port, succeed, until};

pub struct Postfix {
    folder: Folder,
    pub port: u16,
}

impl Postfix {
    /// `settings` are lines for main.cf.
    #[track_caller]
    pub fn next_hop(settings: &[&str]) -> Self {
        let postfix = Self {
            folder: Folder::new(),
            port: free_port(),
        };
        let port = postfix.port.to_string();
        succeed(
            script()
                .args(["start", "nexthop"])
                .arg(postfix.folder.as_ref())
                .arg(port)
                .args(settings),
        );
        postfix
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Waits for a line of its log that holds all the words.
    #[track_caller]
    pub fn wait_log(&self, words: &[&str]) -> String {
        until(&format!("{words:?} in Postfix's log"), || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned)
        })
    }

    /// What was delivered, a path a message.
    pub fn delivered(&self) -> PathBuf {
        self.folder.join("maildir")
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = script().arg("stop").arg(self.folder.as_ref()).status();
        if std::thread::panicking() {
            eprintln!("--- Postfix's log\n{}\n---", self.log());
        }
    }
}

fn script() -> Command {
    Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/postfix.sh"
    ))
}
