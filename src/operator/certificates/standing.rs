//! What the running relay can say of its certificates: what it serves, and whether renewals still come.

use crate::limits;
use crate::tls::Table;
use log::{error, info, warn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Who looks for renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looker {
    /// Nobody: there is nothing on the disk to look for.
    Nobody,
    /// The relay itself.
    Relay,
    /// A process of its own, by this number.
    Apart(u32),
    /// A process of its own that has ended, and how: no renewal is seen any more.
    Gone(String),
}

impl Looker {
    /// What it means that it is gone, behind what happened.
    pub const GONE: &str = "those that are served stay, and renewals are not seen until facteur is started again, which alone can start another";
}

/// Shared by the thread that puts tables in place and those who are asked.
pub struct Standing(Mutex<State>);

/// What stands.
#[derive(Clone)]
pub struct State {
    /// What is served.
    pub table: Arc<Table>,
    /// Who looks.
    pub looker: Looker,
    /// Why what the disk has now as a whole is not served instead, where it is not.
    pub refused: Option<String>,
    /// When a look came to its end.
    pub looked: Instant,
    /// The log says that this is too long ago.
    is_late: bool,
}

impl Standing {
    pub fn new(table: Arc<Table>, looker: Looker) -> Self {
        Self(Mutex::new(State {
            table,
            looker,
            refused: None,
            looked: Instant::now(),
            is_late: false,
        }))
    }

    /// A look has come to its end.
    pub fn looked(&self) {
        let mut state = self.lock();
        state.looked = Instant::now();
        let was_late = std::mem::take(&mut state.is_late);
        drop(state);
        if was_late {
            info!("certificates: the process that reads them looks again");
        }
    }

    /// Of a process that lives nothing is heard: it is told once if that takes long.
    pub fn is_silent(&self) {
        let mut state = self.lock();
        let Looker::Apart(pid) = state.looker else {
            return;
        };
        let is_late = state.looked.elapsed() > limits::CERTIFICATE_SILENCE;
        let news = is_late && !std::mem::replace(&mut state.is_late, is_late);
        drop(state);
        if news {
            error!(
                "certificates: the process that reads them (pid {pid}) has not looked for {:?}: it is stopped, or the file system of --certs does not answer; those that are served stay",
                limits::CERTIFICATE_SILENCE
            );
        }
    }

    /// Another table is served.
    pub fn serves(&self, table: Arc<Table>) {
        let mut state = self.lock();
        state.refused = None;
        let before = std::mem::replace(&mut state.table, table);
        drop(state);
        // Freed with the lock open.
        drop(before);
    }

    /// Another table would have been, and is wrong as a whole.
    pub fn refuses(&self, why: String) {
        self.lock().refused = Some(why);
    }

    /// Nobody looks any more.
    pub fn is_alone(&self, why: String) {
        self.lock().looker = Looker::Gone(why);
    }

    /// All of it.
    pub fn now(&self) -> State {
        self.lock().clone()
    }

    /// For the log, beside what came in.
    pub fn tell(&self) {
        let State {
            table,
            looker,
            refused,
            ..
        } = self.now();
        let kept = table.unread().filter(|one| one.kept().is_some()).count();
        let refused = match refused {
            Some(_) => " refused=all",
            None => "",
        };
        match looker {
            Looker::Nobody => {}
            Looker::Relay => info!("certificates kept={kept}{refused} reader=self"),
            Looker::Apart(pid) => info!("certificates kept={kept}{refused} reader={pid}"),
            Looker::Gone(_) => warn!("certificates kept={kept}{refused} reader=gone"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
