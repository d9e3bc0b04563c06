//! The files that say who exists, `--recipients` and `--alias`: read at boot, and at SIGHUP on a thread of their own.

use super::config::Config;
use super::regular;
use crate::limits;
use crate::policy::aliases::Aliases;
use crate::policy::directory::{Directory, Names};
use crate::policy::recipients::{BadLine, Recipients};
use crate::policy::relay::Relay;
use crate::policy::routes::Routes;
use log::{error, info, warn};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Weak};
use std::thread;

/// The files, and what their lines are checked by.
pub(super) struct Files {
    recipients: Option<PathBuf>,
    alias: Option<PathBuf>,
    relay: Relay,
    routes: Arc<Routes>,
}

impl Files {
    pub fn of(config: &Config, routes: Arc<Routes>) -> Self {
        Self {
            recipients: config.recipients.clone(),
            alias: config.alias.clone(),
            relay: config.relay.clone(),
            routes,
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// One line that names the flag, the file, its line and what is wrong.
    pub fn read(&self) -> Result<Directory, String> {
        Ok(Directory {
            recipients: self.recipients()?.map(Arc::new),
            aliases: self.aliases()?.map(Arc::new),
        })
    }

    /// The list of `--recipients`.
    ///
    /// # Errors
    /// One line.
    pub fn recipients(&self) -> Result<Option<Recipients>, String> {
        let Some(path) = &self.recipients else {
            return Ok(None);
        };
        let read = lines(path).and_then(|lines| {
            Recipients::collect(lines, |domain| self.relay.is_ours(domain)).map_err(Wrong::Line)
        });
        read.map(Some)
            .map_err(|wrong| wrong.told("--recipients", path))
    }

    /// The aliases of `--alias`.
    ///
    /// # Errors
    /// One line.
    pub fn aliases(&self) -> Result<Option<Aliases>, String> {
        let Some(path) = &self.alias else {
            return Ok(None);
        };
        let read = text(path).and_then(|text| {
            let home = |domain: &str| self.relay.home(domain, &self.routes);
            Aliases::parse(&text, &self.relay.hostname, home).map_err(Wrong::Line)
        });
        read.map(Some).map_err(|wrong| wrong.told("--alias", path))
    }

    /// What is good in them now; what is bad is logged, and the old one stays.
    fn read_again(&self, old: &Directory) -> Directory {
        fn kept<T>(read: Result<Option<T>, String>, old: &Option<Arc<T>>) -> Option<Arc<T>> {
            match read {
                Ok(new) => new.map(Arc::new),
                Err(problem) => {
                    error!("names unchanged: {problem}");
                    old.clone()
                }
            }
        }
        Directory {
            recipients: kept(self.recipients(), &old.recipients),
            aliases: kept(self.aliases(), &old.aliases),
        }
    }

    /// Waits to be asked, on a thread: a slow disk must hold up neither sessions nor signals. None without such a file.
    ///
    /// # Errors
    /// The system's, in one line.
    pub fn watch(self, names: &Arc<Names>) -> Result<Option<SyncSender<()>>, String> {
        if self.recipients.is_none() && self.alias.is_none() {
            return Ok(None);
        }
        // Room for one: who asks while a look is under way gets another look behind it.
        let (ask, asked) = mpsc::sync_channel::<()>(1);
        let names = Arc::downgrade(names);
        let thread = thread::Builder::new()
            .name("facteur-names".to_owned())
            .stack_size(limits::DIRECTORY_STACK);
        let work = move || {
            while asked.recv().is_ok() {
                self.put_in_place(&names);
            }
        };
        let started = thread.spawn(work);
        started.map_err(|problem| format!("names: thread: {problem}"))?;
        Ok(Some(ask))
    }

    fn put_in_place(&self, names: &Weak<Names>) {
        if let Some(names) = names.upgrade() {
            let new = self.read_again(&names.directory());
            names.replace(new.clone());
            // What the log says is so by now.
            tell(&new);
        }
    }
}

/// What boot and `check` say where nobody is the postmaster.
pub(super) const NO_POSTMASTER: &str = "--postmaster: none, no alias postmaster, and no first --domain that has one: mail \
     to Postmaster gets 550 5.1.1 (RFC 5321 4.5.1)";

/// What boot, SIGHUP and `check` say of a list without an address.
pub(super) const NO_RECIPIENTS: &str = "recipients addresses=0: the file of --recipients is empty, so every recipient gets \
     550 5.1.1 (without the flag every address is taken)";

/// Says what is known, once there is something.
pub(super) fn tell(directory: &Directory) {
    if let Some(list) = &directory.recipients {
        match list.count() {
            0 => warn!("{NO_RECIPIENTS}"),
            count => info!("recipients addresses={count}"),
        }
    }
    if let Some(aliases) = &directory.aliases {
        info!("aliases names={}", aliases.count());
    }
}

enum Wrong {
    File(io::Error),
    Line(BadLine),
}

impl Wrong {
    fn told(self, flag: &str, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::File(problem) => format!("{flag} {path}: {problem}"),
            Self::Line(bad) => format!("{flag} {path}:{}: {}", bad.line, bad.why),
        }
    }
}

const NOT_UTF8: &str = "is not UTF-8";

/// A file's lines, one at a time.
fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String, BadLine>>, Wrong> {
    let mut file = BufReader::new(regular::open(path).map_err(Wrong::File)?);
    let mut number = 0;
    let mut over = false;
    Ok(std::iter::from_fn(move || {
        if over {
            return None;
        }
        number += 1;
        let mut line = Vec::new();
        let most = limits::RECIPIENTS_LINE as u64 + 1;
        let read = file.by_ref().take(most).read_until(b'\n', &mut line);
        let why = match read {
            Ok(0) => return None,
            Ok(_) if line.len() as u64 == most => {
                format!("the line is longer than {} octets", limits::RECIPIENTS_LINE)
            }
            Ok(_) => match String::from_utf8(line) {
                Ok(line) => return Some(Ok(line)),
                Err(_) => NOT_UTF8.to_owned(),
            },
            Err(problem) => problem.to_string(),
        };
        over = true;
        Some(Err(BadLine { line: number, why }))
    }))
}

/// A whole file.
fn text(path: &Path) -> Result<String, Wrong> {
    let file = regular::open(path).map_err(Wrong::File)?;
    let mut octets = Vec::new();
    let most = limits::ALIAS_FILE as u64 + 1;
    file.take(most)
        .read_to_end(&mut octets)
        .map_err(Wrong::File)?;
    let line_of = |octets: &[u8]| 1 + octets.iter().filter(|&&octet| octet == b'\n').count();
    if octets.len() as u64 == most {
        return Err(Wrong::Line(BadLine {
            line: line_of(&octets),
            why: format!("the file is larger than {} octets", limits::ALIAS_FILE),
        }));
    }
    String::from_utf8(octets).map_err(|bad| {
        let good = &bad.as_bytes()[..bad.utf8_error().valid_up_to()];
        Wrong::Line(BadLine {
            line: line_of(good),
            why: NOT_UTF8.to_owned(),
        })
    })
}
