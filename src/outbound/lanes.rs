//! Which destination may use a connection slot, and which waits: pure bookkeeping, without a clock or I/O.
//!
//! Due messages wait in one queue for each lane (a destination). Workers, each with a slot and at most one connection, take
//! messages of their lane one after another. The rules:
//!
//! - a new message goes to an idle worker of its lane; a worker is added only where none is idle and the lane's own limit
//!   allows;
//! - a lane with no worker waits in a line for a slot; a worker with nothing to do gives its slot up at once for it, a busy
//!   one if its lane has several, or after its turn;
//! - a part of the slots is kept for lanes without a worker that are not *suspect* (known to fail, or with retries only),
//!   and half of it for those that are *proven* (they took mail, and have not failed since), so that a thousand dead
//!   destinations do not delay fresh mail, be they known to be dead or not. A suspect lane gets one worker, until it
//!   delivers; where all slots are busy, one suspect lane at a time has its turn after a number of the others' messages.

mod pull;
mod standing;
mod turns;

use crate::limits;
use crate::policy::routes::Lane;
use standing::{Lines, Proven, STANDINGS, Standing, Workers};
use std::collections::HashMap;

/// A lane's name in this book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Messages whose recipients are not yet sorted by destination.
    Mixed,
    To(Lane),
}

/// Whether a message comes for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Fresh,
    Retry,
}

/// What is to be done after a message was put into its lane.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<W> {
    /// An idle worker is to look again: it takes the message, or gives its slot up.
    Wake(W),
    /// A worker for this lane is to be started; it is counted already.
    Start(Key),
    /// Somebody will come by.
    Nothing,
}

/// What a worker that asks for a message gets.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken<T, W, F> {
    Message {
        ticket: T,
        /// The lane's failure, where the message was waiting when it happened.
        failed: Option<F>,
        /// A lane (this one) that is to get one more worker; it is counted already.
        start: Option<Key>,
    },
    /// Nothing for now; the worker is called when there is.
    Rest,
    /// The worker is no longer counted, and is to end.
    Leave(Left<W>),
}

/// What follows from a worker's end.
#[derive(Debug, PartialEq, Eq)]
pub struct Left<W> {
    /// The lane that gets the slot: a worker for it is to be started; it is counted already.
    pub start: Option<Key>,
    /// Who waits for room, or for the last worker's end.
    pub watcher: Option<W>,
}

/// The book. T is a message's ticket, W wakes a worker, F is why a lane failed.
pub struct Lanes<T, W, F> {
    slots: usize,
    workers: usize,
    /// The same by the standing of their lanes.
    by_standing: Workers,
    nodes: Vec<Node<T>>,
    free: u32,
    lanes: HashMap<Key, State<F>>,
    idle: Vec<Idle<W>>,
    lines: Lines,
    proven: Proven,
    watcher: Option<W>,
    sequence: u64,
    stopped: bool,
}

/// One waiting message, or a free place.
struct Node<T> {
    ticket: Option<T>,
    sequence: u64,
    next: u32,
}

const NONE: u32 = u32::MAX;

struct State<F> {
    head: u32,
    tail: u32,
    workers: usize,
    most: usize,
    standing: Standing,
    /// It has a place in the line of its standing.
    in_line: bool,
    failed: Option<(F, u64)>,
}

impl<F> State<F> {
    fn new(standing: Standing) -> Self {
        Self {
            head: NONE,
            tail: NONE,
            workers: 0,
            most: limits::LANE_CONNECTIONS_MX,
            standing,
            in_line: false,
            failed: None,
        }
    }
}

struct Idle<W> {
    key: Key,
    worker: u32,
    call: W,
}

impl<T, W, F: Clone> Lanes<T, W, F> {
    /// A book for this many workers (`--outbound`), at least 1, and room for so many messages before memory grows.
    #[must_use]
    pub fn new(slots: usize, messages: usize) -> Self {
        Self {
            slots: slots.max(1),
            workers: 0,
            by_standing: Workers::default(),
            nodes: Vec::with_capacity(messages),
            free: NONE,
            lanes: HashMap::new(),
            idle: Vec::new(),
            lines: Lines::default(),
            proven: Proven::new(),
            watcher: None,
            sequence: 0,
            stopped: false,
        }
    }

    /// Octets of the book at its fullest, with this many messages and `limits::LANES` lanes.
    #[must_use]
    pub const fn most_memory(messages: usize) -> usize {
        let lane = size_of::<(Key, State<F>)>() + 1;
        // A HashMap is at most 7/8 full, doubles, and holds the old table while it moves.
        let lanes = limits::LANES.next_power_of_two() * 2 * lane * 3 / 2;
        let lines = limits::LANES.next_power_of_two() * STANDINGS.len() * size_of::<Key>();
        messages * size_of::<Node<T>>() + lanes + lines + Proven::MEMORY
    }

    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Whether a message of a lane not yet known may be pushed; if not, `watcher` is called when one may.
    pub fn has_room(&mut self, watcher: impl FnOnce() -> W) -> bool {
        let room = self.lanes.len() < limits::LANES;
        if !room {
            self.watcher = Some(watcher());
        }
        room
    }

    /// Whether destinations wait for a slot that are not known to fail.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        !self.lines.is_empty(Standing::Unknown) || !self.lines.is_empty(Standing::Proven)
    }

    /// Whether the last worker has ended; if not, `watcher` is called when it has.
    pub fn is_empty_of_workers(&mut self, watcher: impl FnOnce() -> W) -> bool {
        if self.workers > 0 {
            self.watcher = Some(watcher());
        }
        self.workers == 0
    }

    /// Puts a message at the end of its lane.
    ///
    /// # Errors
    /// The ticket, once the book is stopped.
    pub fn push(&mut self, key: Key, age: Age, ticket: T) -> Result<Pushed<W>, T> {
        if self.stopped {
            return Err(ticket);
        }
        let node = self.keep(ticket);
        let standing = match age {
            _ if self.proven.holds(key) => Standing::Proven,
            Age::Fresh => Standing::Unknown,
            Age::Retry => Standing::Suspect,
        };
        let state = self.lanes.entry(key);
        let state = state.or_insert_with(|| State::new(standing));
        if state.head == NONE {
            state.head = node;
        } else if let Some(last) = self.nodes.get_mut(state.tail as usize) {
            last.next = node;
        }
        state.tail = node;
        if age == Age::Fresh
            && (state.workers, state.standing) == (0, Standing::Suspect)
            && state.failed.is_none()
        {
            self.set_standing(key, Standing::Unknown);
        }
        if let Some(call) = self.call_idle(|idle| idle.key == key) {
            return Ok(Pushed::Wake(call));
        }
        if self.may_start(key) {
            self.start(key);
            return Ok(Pushed::Start(key));
        }
        if self.line_up(key)
            && let Some(call) = self.call_idle(|_| true)
        {
            return Ok(Pushed::Wake(call));
        }
        Ok(Pushed::Nothing)
    }

    /// A worker asks for its next message; `served` is how many it had over its present connection.
    pub fn take(
        &mut self,
        key: Key,
        worker: u32,
        served: usize,
        call: impl FnOnce() -> W,
    ) -> Taken<T, W, F> {
        self.rouse(worker);
        let Some(state) = self.lanes.get(&key) else {
            return Taken::Leave(self.leave(key));
        };
        let turn_over =
            state.head == NONE || state.workers > 1 || served >= limits::CONNECTION_MESSAGES;
        if self.stopped
            || (turn_over && self.somebody_waits(key, self.by_standing.without(state.standing)))
        {
            return Taken::Leave(self.leave(key));
        }
        let standing = state.standing;
        let Some((ticket, failed)) = self.pop(key) else {
            self.idle.push(Idle {
                key,
                worker,
                call: call(),
            });
            return Taken::Rest;
        };
        self.lines.served(standing);
        let more = self.lanes.get(&key).is_some_and(|state| state.head != NONE);
        let start = (more && self.may_start(key)).then(|| {
            self.start(key);
            key
        });
        Taken::Message {
            ticket,
            failed,
            start,
        }
    }

    /// It is not called any more; `retire` follows.
    pub fn rouse(&mut self, worker: u32) {
        self.idle.retain(|idle| idle.worker != worker);
    }

    /// A rested worker takes what came at the last moment, or ends.
    pub fn retire(&mut self, key: Key, worker: u32) -> Taken<T, W, F> {
        self.rouse(worker);
        if !self.stopped
            && let Some((ticket, failed)) = self.pop(key)
        {
            return Taken::Message {
                ticket,
                failed,
                start: None,
            };
        }
        Taken::Leave(self.leave(key))
    }

    /// A worker ends; its slot goes to the next in line.
    pub fn leave(&mut self, key: Key) -> Left<W> {
        self.workers = self.workers.saturating_sub(1);
        if let Some(state) = self.lanes.get_mut(&key) {
            state.workers = state.workers.saturating_sub(1);
            self.by_standing.take_away(state.standing, 1);
            if state.workers == 0 && state.head == NONE {
                self.lanes.remove(&key);
            }
        }
        self.line_up(key);
        let start = self.next_in_line();
        let room = self.lanes.len() < limits::LANES || self.workers == 0;
        Left {
            start,
            watcher: if room { self.watcher.take() } else { None },
        }
    }

    /// What a lane may have: learnt from its first message, because a lane's number does not tell its kind.
    pub fn set_most(&mut self, key: Key, most: usize) {
        if let Some(state) = self.lanes.get_mut(&key) {
            state.most = most;
        }
    }

    /// No host of the lane could be reached: what waits now is not tried again for it.
    pub fn failed(&mut self, key: Key, why: F) {
        let sequence = self.sequence;
        if let Some(state) = self.lanes.get_mut(&key) {
            state.failed = Some((why, sequence));
        }
        self.proven.forget(key);
        self.set_standing(key, Standing::Suspect);
    }

    /// The lane's destination answers: it may have its full number of connections. Returns a lane that is to get a worker
    /// because one that was not proven is gone; it is counted already.
    pub fn works(&mut self, key: Key) -> Option<Key> {
        self.proven.remember(key);
        let state = self.lanes.get_mut(&key)?;
        let failed = state.failed.take();
        if state.standing == Standing::Proven && failed.is_none() {
            return None;
        }
        self.set_standing(key, Standing::Proven);
        self.next_in_line()
    }

    /// Ends it: nothing is handed out any more. Returns what waits, and who is to be called.
    pub fn stop(&mut self) -> (Vec<T>, Vec<W>) {
        self.stopped = true;
        let waiting = self
            .nodes
            .drain(..)
            .filter_map(|node| node.ticket)
            .collect();
        self.free = NONE;
        self.lines.clear();
        self.lanes.retain(|_, state| {
            (state.head, state.tail) = (NONE, NONE);
            state.workers > 0
        });
        let calls = self
            .idle
            .drain(..)
            .map(|idle| idle.call)
            .chain(self.watcher.take());
        (waiting, calls.collect())
    }

    fn keep(&mut self, ticket: T) -> u32 {
        let fresh = Node {
            ticket: Some(ticket),
            sequence: self.sequence,
            next: NONE,
        };
        self.sequence += 1;
        if let Some(node) = self.nodes.get_mut(self.free as usize) {
            let place = self.free;
            self.free = node.next;
            *node = fresh;
            return place;
        }
        self.nodes.push(fresh);
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    fn pop(&mut self, key: Key) -> Option<(T, Option<F>)> {
        let state = self.lanes.get_mut(&key)?;
        let place = state.head;
        let node = self.nodes.get_mut(place as usize)?;
        state.head = node.next;
        node.next = self.free;
        self.free = place;
        let ticket = node.ticket.take()?;
        let before = |(_, sequence): &&(F, u64)| node.sequence < *sequence;
        let failed = state
            .failed
            .as_ref()
            .filter(before)
            .map(|(why, _)| why.clone());
        Some((ticket, failed))
    }

    fn call_idle(&mut self, which: impl Fn(&Idle<W>) -> bool) -> Option<W> {
        let last = self.idle.iter().rposition(which)?;
        Some(self.idle.remove(last).call)
    }
}

#[cfg(test)]
mod tests;
