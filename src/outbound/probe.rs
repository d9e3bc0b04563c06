//! Whether a recipient exists, as its next hop has it: `--verify-rcpt`.
//!
//! What the next hop does not say is accepted: one that is down, slow or busy must not cost mail. What it was not asked,
//! because of a limit of ours, is not known: a flood of questions must not open the door.

mod health;
mod memory;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::lock::OnceCell;

use super::attempt::{Connector, Resting, Said};
use super::route::Router;
use crate::limits;
use crate::net::deadline::within;
use crate::policy::target::Target;
use crate::smtp::date::Date;
use health::{Health, Repeat, Silence};
use memory::Memory;
use turns::{Kept, Turn, Turns};

/// Asks next hops, and remembers what they said. One is made at boot and shared.
pub struct Prober {
    router: Arc<Router>,
    connector: Connector,
    /// Microseconds since 1970, for the log.
    clock: fn() -> u64,
    turns: Turns,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    health: Health,
    /// The questions under way, by address: whoever has the same one waits for the same answer.
    questions: HashMap<String, Question>,
    unasked: Unasked,
}

type Question = Arc<OnceCell<Verdict>>;

/// What was not asked, for the log.
#[derive(Default)]
struct Unasked {
    /// Since the log last told of it.
    count: u64,
    told: Option<Instant>,
}

/// What is known of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target refuses it for good, with this reply.
    Refused(String),
    /// The target takes it, or has no answer.
    NotRefused,
    /// The target could not be asked, because of a limit of ours.
    Unasked,
}

impl From<Option<String>> for Verdict {
    fn from(refused: Option<String>) -> Self {
        refused.map_or(Self::NotRefused, Self::Refused)
    }
}

impl Prober {
    /// What it can come to hold, beside its connections and the sessions' questions: octets.
    pub const MEMORY: usize =
        limits::VERIFY_ENTRIES * limits::VERIFY_ENTRY + limits::HOSTS_RESTING * Resting::ENTRY;

    /// The same, for each session: its question under way.
    pub const QUESTION: usize = limits::VERIFY_ENTRY;

    /// With connections of its own, beside those of the schedule.
    #[must_use]
    pub fn new(router: Arc<Router>, connector: Connector, clock: fn() -> u64) -> Self {
        Self {
            router,
            connector,
            clock,
            turns: Turns::new(),
            state: Mutex::default(),
        }
    }

    /// What is known without a question; None: nothing.
    pub fn known(&self, target: &Target, address: &str) -> Option<Verdict> {
        let (mut state, now) = (self.state(), Instant::now());
        if let Some(refused) = state.memory.get(address, now) {
            return Some(refused.into());
        }
        let paused = state.health.is_paused(&target.to_string(), now);
        paused.then_some(Verdict::NotRefused)
    }

    /// Asks the target, for [`limits::VERIFY_WAIT`] and a good-bye at most. Those who ask of the same address meanwhile
    /// share one question.
    pub async fn ask(&self, target: &Target, address: &str) -> Verdict {
        let question = Arc::clone(
            self.state()
                .questions
                .entry(address.to_owned())
                .or_default(),
        );
        let verdict = question
            .get_or_init(|| self.ask_alone(target, address))
            .await
            .clone();
        let questions = &mut self.state().questions;
        if questions
            .get(address)
            .is_some_and(|other| Arc::ptr_eq(other, &question))
        {
            questions.remove(address);
        }
        verdict
    }

    /// The session has used its questions up.
    pub fn asks_used_up(&self, target: &Target, address: &str) -> Verdict {
        self.unasked(target, address, "its session has used its questions up")
    }

    async fn ask_alone(&self, target: &Target, address: &str) -> Verdict {
        const NOT_FREE: &str = "no connection for questions was free in time";
        let began = Instant::now();
        let turn = self.turns.take(limits::VERIFY_WAIT).await;
        // Another question may have told meanwhile.
        if let Some(known) = self.known(target, address) {
            return known;
        }
        let Some(mut turn) = turn else {
            return self.unasked(target, address, NOT_FREE);
        };
        let left = limits::VERIFY_WAIT.saturating_sub(began.elapsed());
        let asking = async { Ok(self.ask_in_turn(&mut turn, target, address).await) };
        let (said, kept) = match within(left, asking).await {
            Ok(answer) => answer,
            // Of a target that was not given its time, nothing is proved.
            Err(_) if turn.was_short => return self.unasked(target, address, NOT_FREE),
            Err(_) => (Said::Nothing, None),
        };
        let verdict = self.take(said, target, address);
        if let Some(kept) = kept {
            turn.done_with(kept).await;
        }
        verdict
    }

    /// On the connection that is there, else on a new one.
    async fn ask_in_turn(
        &self,
        turn: &mut Turn<'_>,
        target: &Target,
        address: &str,
    ) -> (Said, Option<Kept>) {
        let name = target.to_string();
        if let Some(mut kept) = turn.kept(&name) {
            let said = kept.connection.ask(Some(address)).await;
            // It may just have been closed at last.
            if said != Said::Nothing {
                kept.questions += 1;
                kept.since = Instant::now();
                return (said, Some(kept));
            }
        }
        // Its domain matters to a target by MX alone, and that is never asked.
        let Ok(mut hops) = self.router.hops(target, "").await else {
            return (Said::Nothing, None);
        };
        let Some(mut connection) = self.connector.reach(&mut hops).await else {
            return (Said::Nothing, None);
        };
        let said = connection.ask(Some(address)).await;
        let kept = Kept {
            target: name,
            connection,
            questions: 1,
            since: Instant::now(),
        };
        (said, Some(kept))
    }

    fn take(&self, said: Said, target: &Target, address: &str) -> Verdict {
        match said {
            Said::Accepted => {
                self.answered(target);
                self.remember(address, None, limits::VERIFY_ACCEPTED)
            }
            Said::Refused(mut reply) => {
                self.answered(target);
                reply.truncate(limits::REPLY_QUOTED + 16); // it is ASCII
                log::info!("verify to={address:?} target={target} result=refused reply={reply:?}");
                self.remember(address, Some(reply), limits::VERIFY_REFUSED)
            }
            Said::Undecided => {
                self.answered(target);
                Verdict::NotRefused
            }
            Said::NoNullSender(reply) => {
                let name = target.to_string();
                let silence = self.state().health.refuses_null(&name, Instant::now());
                let why =
                    format!("it refuses MAIL FROM:<>, so it cannot be asked who exists: {reply}");
                self.tell_pause(silence, target, &why);
                Verdict::NotRefused
            }
            Said::Nothing => {
                log::info!("verify to={address:?} target={target} result=unknown then=accepted");
                let (name, now) = (target.to_string(), Instant::now());
                let silence = self.state().health.silent(&name, address, now);
                self.tell_pause(silence, target, "it gave no answer several times in a row");
                self.remember(address, None, limits::VERIFY_PAUSE)
            }
        }
    }

    fn answered(&self, target: &Target) {
        if self.state().health.answered(&target.to_string()) {
            log::info!("verify target={target} result=answers again");
        }
    }

    fn tell_pause(&self, silence: Silence, target: &Target, why: &str) {
        let Silence::Pause(repeat) = silence else {
            return;
        };
        let from = (self.clock)() / 1_000_000;
        let (from, until) = (Date(from), Date(from + limits::VERIFY_PAUSE.as_secs()));
        let level = match repeat {
            Repeat::First => log::Level::Warn,
            Repeat::Again => log::Level::Info,
        };
        log::log!(
            level,
            "verify target={target} result=paused from=\"{from}\" until=\"{until}\" then=\"recipients are accepted unasked\" reason={why:?}"
        );
    }

    fn unasked(&self, target: &Target, address: &str, why: &str) -> Verdict {
        if let Some(count) = self.state().unasked.tell(Instant::now()) {
            log::warn!(
                "verify to={address:?} target={target} result=unasked unasked={count} then=\"strangers get 450, others are accepted\" reason={why:?}"
            );
        }
        Verdict::Unasked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, address: &str, refused: Option<String>, lasts: Duration) -> Verdict {
        let words = refused.clone().map(Into::into);
        self.state()
            .memory
            .put(address, words, lasts, Instant::now());
        refused.into()
    }
}

impl Unasked {
    /// One more; how many there were since the last that the log was told of, with this one, if it is to be told.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_due = |told| now.saturating_duration_since(told) >= limits::VERIFY_LOG;
        self.told.is_none_or(is_due).then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_is_told_of_once_in_a_while_with_how_many_there_were() {
        let (mut unasked, mut now) = (Unasked::default(), Instant::now());
        assert_eq!(unasked.tell(now), Some(1));
        for _ in 0..9 {
            assert_eq!(unasked.tell(now), None);
        }
        now += limits::VERIFY_LOG;
        assert_eq!(unasked.tell(now), Some(10));
        assert_eq!(unasked.tell(now), None);
    }
}
