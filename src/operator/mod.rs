//! The operator's side: commands, flags, boot, signals, drain.

pub mod ceiling;
mod certificates;
pub mod check;
pub mod client_certificates;
pub mod config;
pub mod control;
mod directory;
pub mod flags;
mod logger;
pub mod queue;
mod regular;
pub mod serve;
pub mod spool_key;
pub mod user;
pub mod values;

use crate::tls;
use config::Config;
use flags::{Flags, Stop};
use logger::Logger;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
facteur: a mail relay in one small binary

usage: facteur serve [flags]   receive, queue and relay mail until SIGTERM
       facteur check [flags]   would serve start with these flags, and would mail flow? a finding a line
       facteur serve --help    every flag, with its default
       facteur queue list|show ID|retry [ID...]|drop ID... [flags]
                               look into the queue of a running or a stopped relay, and change it
       facteur queue --help    its flags
       facteur spool-key [FILE]
                               make a key for serve's --spool-key: a new file of mode 0600, or standard output
       facteur --version       version, target, crypto provider, compiled-in table
       facteur --help          this text

exit status: 0 done, 1 failed, 2 wrong command or flag
";

const COMMANDS: &str = "serve, check, queue, spool-key, --help or --version";

/// Wrong flags.
const WRONG: u8 = 2;

/// Runs the command that the words behind the program's name ask for; the exit status.
#[must_use]
pub fn run(words: Vec<String>) -> ExitCode {
    match words.split_first() {
        Some((command, flags)) if command == "serve" => serve(flags),
        Some((command, flags)) if command == "check" => check(flags),
        Some((command, words)) if command == "queue" => queue(words),
        Some((command, words)) if command == "spool-key" => spool_key(words),
        Some((command, words)) if command == certificates::COMMAND => certificate_reader(words),
        Some((word, [])) if word == "--help" || word == "-h" => say(HELP),
        Some((word, [])) if word == "--version" => say(&version()),
        Some((word, _)) => wrong(&format!("{word:?} is no command: {COMMANDS}")),
        None => wrong(&format!("a command is missing: {COMMANDS}")),
    }
}

fn serve(words: &[String]) -> ExitCode {
    let config = match configured(words) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match log_from(config.log).and_then(|()| serve::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn log_from(level: log::LevelFilter) -> Result<(), String> {
    Logger::install(level).map_err(|problem| format!("log: {problem}"))
}

/// Part of `serve --user`, in a process of its own.
fn certificate_reader(words: &[String]) -> ExitCode {
    match certificates::read_apart(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

/// Tells each finding; the status is 1 where one stands in the way of mail.
fn check(words: &[String]) -> ExitCode {
    let config = match configured(words) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let report = check::run(&config, serve::unix_micros() / 1_000_000);
    let said = say(&report.to_string());
    match report.has_errors() {
        true => ExitCode::FAILURE,
        false => said,
    }
}

/// What the flags mean; else it is said, and this is the status.
fn configured(words: &[String]) -> Result<Config, ExitCode> {
    let environment = std::env::var_os("FACTEUR_FLAGS").map(Into::into);
    let flags = Flags::of(words, environment).map_err(|stop| match stop {
        Stop::Help(text) => say(&text),
        Stop::Wrong(why) => wrong(&why),
    })?;
    Config::of(flags).map_err(|why| wrong(&why))
}

fn spool_key(words: &[String]) -> ExitCode {
    let made = match words {
        [] => spool_key::make(None),
        [word] if word == "--help" || word == "-h" => return say(HELP),
        [file] if !file.starts_with('-') => spool_key::make(Some(Path::new(file))),
        [word] | [_, word, ..] => {
            return wrong(&format!(
                "spool-key {word:?}: it takes one file's name, or nothing"
            ));
        }
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&format!("spool-key: {why}")),
    }
}

fn queue(words: &[String]) -> ExitCode {
    match queue::run(words) {
        Ok(Ok(()) | Err(queue::Failure::NoReader)) => ExitCode::SUCCESS,
        Ok(Err(queue::Failure::Told(lines))) => {
            lines.iter().for_each(|why| tell(why));
            ExitCode::FAILURE
        }
        Err(Stop::Help(text)) => say(&text),
        Err(Stop::Wrong(why)) => wrong(&why),
    }
}

fn version() -> String {
    let table = &tls::table::COMPILED;
    let names = if table.development {
        0
    } else {
        table.names.len()
    };
    format!(
        "facteur {} {} {} names={names}{}\n",
        env!("CARGO_PKG_VERSION"),
        env!("FACTEUR_TARGET"),
        tls::PROVIDER,
        if table.development {
            " (a development certificate for localhost)"
        } else {
            ""
        }
    )
}

fn say(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A closed pipe is the reader's choice.
        Err(problem) if problem.kind() != ErrorKind::BrokenPipe => {
            failed(&format!("standard output: {problem}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn wrong(why: &str) -> ExitCode {
    tell(why);
    ExitCode::from(WRONG)
}

fn failed(why: &str) -> ExitCode {
    tell(why);
    ExitCode::FAILURE
}

/// A line on standard error. Where nobody reads that, the exit status has to do.
fn tell(why: &str) {
    let line = format!("facteur: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
