//! The mover: the thread that copies what little is left in old segments to the newest one, so that they become free.
//!
//! A message's bytes are written once, unless segments run short and the message is nearly all that keeps one. Then its
//! parts are appended again, by way of the reader and the writer as for anybody else. The copy's final part says what is
//! still to be done, and once it is on the disk it counts instead of the first one (FORMAT.md). A message is lifted
//! ([`Lifted`]) until then: nobody gets it, and no mark about it comes in between.
//!
//! Damaged segments are renewed by the same thread ([`renewal`]).

use super::claim::Claim;
use super::items;
use super::lifted::Lifted;
use super::log::{LastPart, Request};
use super::look::{self, Messages};
use super::message::{self, ReadError};
use super::renewal;
use super::segments::Class;
use super::shared::{Shared, locked};
use super::transaction::{Error, Transaction};
use crate::limits;
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes the mover.
#[derive(Default)]
pub struct Bell {
    state: Mutex<Rung>,
    wake: Condvar,
}

#[derive(Default)]
struct Rung {
    rung: bool,
    stopped: bool,
    /// What the segments were when the mover last found nothing to do.
    vain: Option<(u64, usize)>,
}

impl Bell {
    /// Segments are short. Nothing happens if they are as they were when nothing could be done.
    pub fn ring(&self, sight: (u64, usize)) {
        let mut state = locked(&self.state);
        if !state.rung && state.vain != Some(sight) {
            state.rung = true;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// A damaged segment may be renewed.
    pub fn call(&self) {
        let mut state = locked(&self.state);
        if !state.rung {
            state.rung = true;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Ends the mover.
    pub fn stop(&self) {
        locked(&self.state).stopped = true;
        self.wake.notify_one();
    }

    /// Waits until it rings, for so long at most. False: the mover is to end.
    fn wait(&self, most: Duration) -> bool {
        let idle = |state: &mut Rung| !state.rung && !state.stopped;
        let waited = self
            .wake
            .wait_timeout_while(locked(&self.state), most, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.stopped
    }

    fn in_vain(&self, sight: (u64, usize)) {
        locked(&self.state).vain = Some(sight);
    }
}

/// The mover thread.
pub fn run(shared: &Arc<Shared>) {
    let mut most = Duration::MAX;
    while shared.mover.wait(most) {
        renewal::renew_all(shared);
        most = match look_and_move(shared) {
            true => Duration::ZERO,
            // What is left shrinks without a sign: look again from time to time while it is short.
            false if shared.state().segments.pressure().is_some() => limits::SPOOL_LOOK_AGAIN,
            false => Duration::MAX,
        };
    }
}

/// Frees one segment. False: nothing can be done at the moment.
fn look_and_move(shared: &Arc<Shared>) -> bool {
    let state = shared.state();
    let (sight, checkpoint) = (state.segments.sight(), state.segments.wants_checkpoint());
    drop(state);
    if checkpoint {
        // What is given up, or taken out of the queue by others, frees segments without a word to the writer.
        shared.inbox.push(Request::Upkeep);
    }
    let messages = match shared.is_read_only() {
        true => None,
        false => look::choose(shared),
    };
    let moved = messages.is_some_and(|messages| move_all(shared, messages));
    if !moved {
        shared.mover.in_vain(sight);
    }
    moved
}

/// Moves messages, some of them at once so that they share syncs. False: it went wrong.
fn move_all(shared: &Arc<Shared>, messages: Messages) -> bool {
    let (count, workers) = (messages.len(), limits::SPOOL_MOVERS.min(messages.len()));
    let rest = RefCell::new(Some(messages));
    let next = || rest.borrow_mut().as_mut().and_then(Vec::pop);
    let work = async || {
        while let Some((slot, id)) = next() {
            if let Err(problem) = move_one(shared, slot, id).await {
                *rest.borrow_mut() = None;
                let level = match problem {
                    // It is as full as it can be: that is told where mail is refused.
                    Problem::Write(Error::Full) => log::Level::Debug,
                    _ => log::Level::Warn,
                };
                let problem = problem.to_string();
                log::log!(level, "move id={} error={problem:?}", super::Id(id));
            }
        }
    };
    let executor = smol::LocalExecutor::new();
    let workers: Vec<_> = (0..workers).map(|_| executor.spawn(work())).collect();
    smol::block_on(executor.run(async {
        for worker in workers {
            worker.await;
        }
    }));
    let whole = rest.borrow().is_some();
    log::debug!("moved messages={count} all={whole}");
    whole
}

/// Moves a message, unless it is gone or in flight by now. The part that is read next and the final one are in memory.
async fn move_one(shared: &Arc<Shared>, slot: u32, id: u64) -> Result<(), Problem> {
    let Some(lifted) = Lifted::new(shared, slot, id) else {
        return Ok(());
    };
    let generations = lifted.generations.clone();
    let read = async |place, follow| {
        let answer = message::read(shared, id, place, Vec::new(), follow).await;
        answer.inspect_err(|_| shared.state().segments.set_stuck(&generations))
    };
    let last = read(lifted.place, true).await?;
    let claim = Claim::new(shared.clone(), 0);
    let mut copy = Transaction::new(id, Class::Move, claim, None);
    for place in last.before {
        let part = read(place, false).await?;
        copy.again(part.payload, None).await?;
    }
    let payload = items::copy_of_final(&last.payload, &lifted.left);
    let end = LastPart {
        recipients: 0,
        lane: 0,
        reports: None,
        moved: Some(lifted),
        tells_of: None,
    };
    copy.again(payload, Some(end)).await?;
    Ok(())
}

/// Why a message stays where it is.
enum Problem {
    Read(ReadError),
    Write(Error),
}

impl From<ReadError> for Problem {
    fn from(problem: ReadError) -> Self {
        Self::Read(problem)
    }
}

impl From<Error> for Problem {
    fn from(problem: Error) -> Self {
        Self::Write(problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(problem) => problem.fmt(f),
            Self::Write(problem) => problem.fmt(f),
        }
    }
}
