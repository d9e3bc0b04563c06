//! The operator's side: commands, flags, boot, signals, drain.

pub mod ceiling;
pub mod config;
pub mod flags;
pub mod serve;
pub mod spool_key;
pub mod values;

use crate::tls;
use config::Config;
use flags::{Flags, Stop};
use simple_logger::SimpleLogger;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
facteur: a mail relay in one small binary

usage: facteur serve [flags]   receive, queue and relay mail until SIGTERM
       facteur serve --help    every flag, with its default
       facteur spool-key [FILE]
                               make a key for serve's --spool-key: a new file of mode 0600, or standard output
       facteur --version       version, target, crypto provider, compiled-in table
       facteur --help          this text

exit status: 0 done, 1 failed, 2 wrong command or flag
";

/// Wrong flags.
const WRONG: u8 = 2;

/// Runs the command that the words behind the program's name ask for; the exit status.
#[must_use]
pub fn run(words: Vec<String>) -> ExitCode {
    match words.split_first() {
        Some((command, flags)) if command == "serve" => serve(flags),
        Some((command, words)) if command == "spool-key" => spool_key(words),
        Some((word, [])) if word == "--help" || word == "-h" => say(HELP),
        Some((word, [])) if word == "--version" => say(&version()),
        Some((word, _)) => wrong(&format!(
            "{word:?} is no command: serve, spool-key, --help or --version"
        )),
        None => wrong("a command is missing: serve, spool-key, --help or --version"),
    }
}

fn serve(words: &[String]) -> ExitCode {
    let environment = std::env::var_os("FACTEUR_FLAGS").map(Into::into);
    let flags = match Flags::of(words, environment) {
        Ok(flags) => flags,
        Err(Stop::Help(text)) => return say(&text),
        Err(Stop::Wrong(why)) => return wrong(&why),
    };
    let config = match Config::of(flags) {
        Ok(config) => config,
        Err(why) => return wrong(&why),
    };
    let logger = SimpleLogger::new()
        .with_level(config.log)
        .with_utc_timestamps();
    if let Err(problem) = logger.init() {
        return failed(&format!("log: {problem}"));
    }
    match serve::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
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
    // A closed pipe is the reader's choice.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("facteur: {why}");
    ExitCode::from(WRONG)
}

fn failed(why: &str) -> ExitCode {
    eprintln!("facteur: {why}");
    ExitCode::FAILURE
}
