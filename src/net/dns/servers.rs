//! The servers, asked in turn until one gives an answer.

use super::answer::Heard;
use super::exchange::{self, Failure, Ids};
use super::question::{Edns, Question};
use super::{DnsError, Patience, resolv_conf};
use crate::limits;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Servers {
    known: Mutex<Arc<[SocketAddr]>>,
    /// Where they stand, if not in the flags.
    file: Option<PathBuf>,
    /// Index of the server that answered last: a dead first one is waited for once, not in each look-up.
    favourite: AtomicUsize,
    ids: Ids,
}

/// Whether the answers kept are still those of the servers that are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    TheSame,
    Others,
}

impl Servers {
    pub(super) fn new(known: Vec<SocketAddr>) -> Self {
        Self {
            known: Mutex::new(known.into()),
            file: None,
            favourite: AtomicUsize::new(0),
            ids: Ids::default(),
        }
    }

    pub(super) fn of_file(path: PathBuf) -> Self {
        Self {
            known: Mutex::new(resolv_conf::read(&path).into()),
            file: Some(path),
            ..Self::new(Vec::new())
        }
    }

    pub(super) fn known(&self) -> Arc<[SocketAddr]> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first usable answer; with the servers that the file names by now, if no server gave one.
    pub(super) async fn ask(
        &self,
        question: &Question,
        patience: Patience,
        deadline: Instant,
    ) -> (Result<Heard, DnsError>, Asked) {
        let mut known = self.known();
        let mut asked = Asked::TheSame;
        loop {
            let outcome = self.in_turn(&known, question, patience, deadline).await;
            if outcome.is_ok() || asked == Asked::Others {
                return (outcome, asked);
            }
            let Some(others) = self.read_again() else {
                return (outcome, asked);
            };
            (known, asked) = (others, Asked::Others);
        }
    }

    async fn in_turn(
        &self,
        servers: &[SocketAddr],
        question: &Question,
        patience: Patience,
        deadline: Instant,
    ) -> Result<Heard, DnsError> {
        let favourite = self.favourite.load(Ordering::Relaxed);
        let mut edns = Edns::On;
        let mut last = String::from(match servers.is_empty() {
            true => "no DNS server is known",
            false => "no DNS server has answered in time",
        });
        for turn in 0..servers.len() * limits::DNS_ROUNDS {
            let index = favourite.wrapping_add(turn) % servers.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let patience = patience.one_try.min(left);
            let server = servers[index];
            match exchange::ask(server, question, edns, &self.ids, patience).await {
                Ok(heard) => {
                    self.favourite.store(index, Ordering::Relaxed);
                    return Ok(heard);
                }
                Err(Failure::NoEdns) => {
                    edns = Edns::Off;
                    last = format!("DNS server {server} rejects the question");
                }
                Err(Failure::Useless(words)) => last = format!("DNS server {server} {words}"),
            }
        }
        Err(DnsError::Temporary(last))
    }

    /// The servers that the file names, if they are others by now.
    pub(super) fn read_again(&self) -> Option<Arc<[SocketAddr]>> {
        let servers: Arc<[SocketAddr]> = resolv_conf::read(self.file.as_deref()?).into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *servers == **known {
            return None;
        }
        log::info!("dns servers={servers:?} instead={known:?}");
        *known = servers.clone();
        Some(servers)
    }
}
