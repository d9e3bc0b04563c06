//! What the running relay can say of its certificates: what it serves, and whether renewals still come.

use crate::tls::Table;
use log::{info, warn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
}

impl Standing {
    pub fn new(table: Arc<Table>, looker: Looker) -> Self {
        let refused = None;
        Self(Mutex::new(State {
            table,
            looker,
            refused,
        }))
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
