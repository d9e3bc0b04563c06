//! The certificates that are served: read at boot, watched, and swapped whole where they change.

mod child;
mod fence;
mod source;
mod standing;

use super::client_certificates::ClientCertificates;
use super::config::{self, Config};
use super::serve::unix_micros;
use super::user::User;
use crate::inbound::Inbound;
use crate::limits;
use crate::tls::table::COMPILED;
use crate::tls::{self, Found, Table};
pub(super) use child::{COMMAND, run as read_apart};
use log::{error, info, warn};
pub(super) use source::Asker;
use source::{News, Source};
pub(super) use standing::{Looker, Standing, State};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::thread;

/// Where certificates come from, and which is the default.
pub(super) struct Certificates {
    dirs: Vec<PathBuf>,
    default: Option<String>,
    hostname: String,
    /// Whom clients' certificates make known.
    clients: ClientCertificates,
}

impl Certificates {
    /// None where no listener speaks TLS.
    pub fn of(config: &Config) -> Option<Self> {
        config::any_tls(&config.ports).then(|| Self {
            dirs: config.certs.clone(),
            default: config.default_cert.clone(),
            hostname: config.hostname.clone(),
            clients: ClientCertificates::of(config),
        })
    }

    /// Looks, and puts the table together, once.
    ///
    /// # Errors
    /// One line.
    pub fn load(&self) -> Result<Table, String> {
        let mut found = Found::now(&COMPILED, &self.dirs);
        found.moment = now();
        self.table(&found, None)
    }

    fn table(&self, found: &Found, before: Option<&Table>) -> Result<Table, String> {
        let (default, name) = (self.default.as_deref(), &*self.hostname);
        let table = match before {
            None => Table::load(&COMPILED, found, default, name),
            Some(before) => before.load_again(&COMPILED, found, default, name),
        };
        table.map_err(|problem| problem.to_string())
    }

    /// What would give another certificate than the build's own.
    fn remedy(&self) -> String {
        if self.dirs.is_empty() {
            return "give --certs DIR, or fill config/domains and build".to_owned();
        }
        let dirs = self.dirs.iter().map(|dir| dir.display().to_string());
        let dirs: Vec<String> = dirs.collect();
        format!("--certs {} gave none that can be used", dirs.join(", "))
    }
}

/// The certificates that are served now, and what is looked for.
pub(super) struct Watch {
    certificates: Certificates,
    source: Source,
    found: Found,
    table: Arc<Table>,
    standing: Arc<Standing>,
    /// When it was last told what is wrong with the dates, in seconds since 1970.
    dated: u64,
    /// What was said of the table last, so that it is said once.
    told: HashSet<String>,
}

impl Watch {
    /// Takes the first look, and tells what came of it. Where this process is to become `user`, a child looks.
    ///
    /// # Errors
    /// One line.
    pub fn begin(mut certificates: Certificates, user: Option<&User>) -> Result<Self, String> {
        certificates.clients.read()?;
        certificates.clients.warn();
        let mut found = Found::nothing(&certificates.dirs);
        let mut source = match user {
            None => Source::here(&certificates.dirs),
            Some(user) => Source::apart(&certificates.dirs, user)?,
        };
        source.first(&mut found)?;
        found.take_fresh(); // all of it
        found.moment = now();
        let table = Arc::new(certificates.table(&found, None)?);
        let mut watch = Self {
            standing: Arc::new(Standing::new(Arc::clone(&table), source.looker())),
            dated: now(),
            table,
            certificates,
            source,
            found,
            told: HashSet::new(),
        };
        watch.tell(Telling::All);
        Ok(watch)
    }

    /// What the listeners are to serve.
    pub fn config(&self) -> Arc<tls::server::Config> {
        let clients = self.certificates.clients.current();
        tls::server::config(Arc::clone(&self.table), clients)
    }

    /// What can be said of them to those who ask, from now on.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Watches from now on, on a thread of its own: a slow disk must hold up neither sessions nor signals.
    ///
    /// # Errors
    /// The system's, in one line.
    pub fn start(self, inbound: &Arc<Inbound>) -> Result<Asker, String> {
        let asker = self
            .source
            .asker()
            .map_err(|e| format!("certificates: {e}"))?;
        // Weak: the drain waits for sessions, not for this.
        let inbound = Arc::downgrade(inbound);
        let thread = thread::Builder::new()
            .name("facteur-certs".to_owned())
            .stack_size(limits::CERTIFICATE_STACK);
        let started = thread.spawn(move || self.watch(&inbound));
        started.map_err(|problem| format!("certificates: thread: {problem}"))?;
        Ok(asker)
    }

    fn watch(mut self, inbound: &Weak<Inbound>) {
        loop {
            let (news, end) = self.source.next(&mut self.found);
            if !matches!(news, News::Silence | News::Lost) {
                self.standing.looked();
            }
            match news {
                News::Changed => self.put_in_place(Telling::News, inbound),
                News::Asked => {
                    self.certificates.clients.read_again();
                    self.put_in_place(Telling::All, inbound);
                }
                News::Nothing => self.look_at_dates(inbound),
                News::Silence => {
                    self.standing.is_silent();
                    self.look_at_dates(inbound);
                }
                News::Lost => {
                    error!(
                        "certificates: the process that reads them is gone ({end}): {}",
                        Looker::GONE
                    );
                    self.standing.is_alone(end);
                }
            }
        }
    }

    /// What is served grows old, whether or not the disk changes.
    fn look_at_dates(&mut self, inbound: &Weak<Inbound>) {
        if !self.table.holds_at(now()) {
            self.put_in_place(Telling::News, inbound);
        } else if now().abs_diff(self.dated) >= limits::CERTIFICATE_DATES.as_secs() {
            self.tell(Telling::News);
        }
    }

    /// Gives what is found to the sessions that begin from now on; where it is wrong as a whole, the old stays.
    fn put_in_place(&mut self, telling: Telling, inbound: &Weak<Inbound>) {
        self.found.moment = now();
        match self.certificates.table(&self.found, Some(&self.table)) {
            Ok(table) => self.table = Arc::new(table),
            Err(problem) => {
                let line = format!("certificates unchanged: {problem}");
                if self.told.insert(line.clone()) || telling == Telling::All {
                    error!("{line}");
                }
                self.standing.refuses(problem);
                return;
            }
        }
        let fresh = self.found.take_fresh();
        let news = fresh.iter().filter_map(|fresh| self.table.news(fresh));
        for new in news.take(limits::CERTIFICATE_WARNINGS) {
            info!("certificate new {new}");
        }
        self.tell(telling);
        self.standing.serves(Arc::clone(&self.table));
        let config = Some(self.config());
        if let Some(inbound) = inbound.upgrade() {
            let mut served = inbound.tls.write().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut *served, config);
            drop(served);
            // Freed with the lock open: thousands of chains take a while.
            drop(before);
        }
    }

    /// Says what is served, and what is wrong with it.
    fn tell(&mut self, telling: Telling) {
        if self.table.is_development() {
            warn!(
                "the certificate is this build's own for localhost: {}",
                self.certificates.remedy()
            );
        }
        let known = match telling {
            Telling::All => HashSet::new(),
            Telling::News => std::mem::take(&mut self.told),
        };
        self.dated = now();
        let dates = self.table.date_troubles(self.dated);
        let mut told = HashSet::new();
        for trouble in self.table.troubles().iter().chain(&dates) {
            let line = trouble.to_string();
            if !known.contains(&line) {
                log::log!(trouble.level, "{line}");
            }
            told.insert(line);
        }
        self.told = told;
        info!("certificates {}", self.table);
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    unix_micros() / 1_000_000
}

/// What is said again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// All that is wrong: it was asked for.
    All,
    /// What was not wrong before.
    News,
}
