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
//!   so that a thousand dead destinations do not delay fresh mail. A suspect lane gets one worker, until it delivers.

use crate::limits;
use crate::policy::routes::Lane;
use std::collections::{HashMap, VecDeque};

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
    suspects: usize,
    nodes: Vec<Node<T>>,
    free: u32,
    lanes: HashMap<Key, State<F>>,
    idle: Vec<Idle<W>>,
    fresh_line: VecDeque<Key>,
    retry_line: VecDeque<Key>,
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
    suspect: bool,
    in_fresh_line: bool,
    in_retry_line: bool,
    failed: Option<(F, u64)>,
}

impl<F> State<F> {
    fn new(age: Age) -> Self {
        Self {
            head: NONE,
            tail: NONE,
            workers: 0,
            most: limits::LANE_CONNECTIONS_MX,
            suspect: age == Age::Retry,
            in_fresh_line: false,
            in_retry_line: false,
            failed: None,
        }
    }

    /// The line in which a lane without a worker belongs.
    fn age(&self) -> Age {
        if self.suspect { Age::Retry } else { Age::Fresh }
    }

    fn place_in(&mut self, age: Age) -> &mut bool {
        match age {
            Age::Fresh => &mut self.in_fresh_line,
            Age::Retry => &mut self.in_retry_line,
        }
    }

    /// Whether it stands in this line and belongs there; a place in the other one is left over.
    fn stands_in(&self, age: Age) -> bool {
        age == self.age()
            && match age {
                Age::Fresh => self.in_fresh_line,
                Age::Retry => self.in_retry_line,
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
            suspects: 0,
            nodes: Vec::with_capacity(messages),
            free: NONE,
            lanes: HashMap::new(),
            idle: Vec::new(),
            fresh_line: VecDeque::new(),
            retry_line: VecDeque::new(),
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
        let lines = limits::LANES.next_power_of_two() * 2 * size_of::<Key>();
        messages * size_of::<Node<T>>() + lanes + lines
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
        let state = self.lanes.entry(key).or_insert_with(|| State::new(age));
        if state.head == NONE {
            state.head = node;
        } else if let Some(last) = self.nodes.get_mut(state.tail as usize) {
            last.next = node;
        }
        state.tail = node;
        if age == Age::Fresh && state.workers == 0 && state.failed.is_none() {
            state.suspect = false;
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
        if self.stopped || (turn_over && self.somebody_waits(key)) {
            return Taken::Leave(self.leave(key));
        }
        let Some((ticket, failed)) = self.pop(key) else {
            self.idle.push(Idle {
                key,
                worker,
                call: call(),
            });
            return Taken::Rest;
        };
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
            self.suspects -= usize::from(state.suspect && self.suspects > 0);
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
        self.set_suspect(key, true);
    }

    /// The lane's destination answers: it may have its full number of connections. Returns a lane that is to get a worker
    /// because one suspect is gone; it is counted already.
    pub fn works(&mut self, key: Key) -> Option<Key> {
        if let Some(state) = self.lanes.get_mut(&key)
            && (state.suspect || state.failed.is_some())
        {
            state.failed = None;
            self.set_suspect(key, false);
            return self.next_in_line();
        }
        None
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
        self.fresh_line.clear();
        self.retry_line.clear();
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

    /// Slots that are kept for lanes without a worker that are not suspect.
    fn reserve(&self) -> usize {
        (self.slots / limits::OUTBOUND_RESERVE_PART).min(self.slots - 1)
    }

    fn may_start(&self, key: Key) -> bool {
        let Some(state) = self.lanes.get(&key) else {
            return false;
        };
        let free = self.slots.saturating_sub(self.workers);
        match (state.workers, state.suspect) {
            (0, false) => free > 0,
            (0, true) => free > 0 && self.suspects < self.slots - self.reserve(),
            (_, true) => false,
            (workers, false) => {
                workers < state.most && free > self.reserve() && !self.somebody_waits(key)
            }
        }
    }

    fn start(&mut self, key: Key) {
        if let Some(state) = self.lanes.get_mut(&key) {
            state.workers += 1;
            self.workers += 1;
            self.suspects += usize::from(state.suspect);
        }
    }

    /// Puts a lane that has messages and no worker into the line for a slot. Returns whether it now stands there.
    fn line_up(&mut self, key: Key) -> bool {
        let Some(state) = self.lanes.get_mut(&key) else {
            return false;
        };
        if state.workers > 0 || state.head == NONE {
            return false;
        }
        let age = state.age();
        if !std::mem::replace(state.place_in(age), true) {
            self.line(age).push_back(key);
        }
        true
    }

    /// Whether a lane other than this one could use a slot now.
    fn somebody_waits(&self, key: Key) -> bool {
        let others = |line: &VecDeque<Key>| line.iter().any(|&waits| waits != key);
        // A retry may take a slot only while its part is not used up, so it does not count beyond.
        others(&self.fresh_line)
            || (self.suspects < self.slots - self.reserve() && others(&self.retry_line))
    }

    fn next_in_line(&mut self) -> Option<Key> {
        self.next_of(Age::Fresh)
            .or_else(|| self.next_of(Age::Retry))
    }

    fn next_of(&mut self, age: Age) -> Option<Key> {
        loop {
            let key = *self.line(age).front()?;
            let wants = self.lanes.get(&key).is_some_and(|state| {
                state.stands_in(age) && state.workers == 0 && state.head != NONE
            });
            if wants && !self.may_start(key) {
                return None;
            }
            self.line(age).pop_front();
            if let Some(state) = self.lanes.get_mut(&key) {
                *state.place_in(age) = false;
            }
            if wants {
                self.start(key);
                return Some(key);
            }
        }
    }

    fn line(&mut self, age: Age) -> &mut VecDeque<Key> {
        match age {
            Age::Fresh => &mut self.fresh_line,
            Age::Retry => &mut self.retry_line,
        }
    }
    fn call_idle(&mut self, which: impl Fn(&Idle<W>) -> bool) -> Option<W> {
        let last = self.idle.iter().rposition(which)?;
        Some(self.idle.remove(last).call)
    }

    fn set_suspect(&mut self, key: Key, suspect: bool) {
        if let Some(state) = self.lanes.get_mut(&key)
            && state.suspect != suspect
        {
            state.suspect = suspect;
            if suspect {
                self.suspects += state.workers;
            } else {
                self.suspects = self.suspects.saturating_sub(state.workers);
            }
        }
    }
}

mod pull;
#[cfg(test)]
mod tests;
