//! The writer: its inbox, and when it syncs.

use super::Reported;
use super::batch::Log;
use super::claim::Claim;
use super::lifted::Lifted;
use super::marks::Mark;
use super::record::Place;
use super::segments::Class;
use super::shared::locked;
use super::transaction::Error;
use crate::limits;
use smol::channel::Sender;
use std::io;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// Something for the writer to do. Whoever asks waits, so the inbox is bounded by sessions and attempts.
pub enum Request {
    Part(PartRequest),
    /// Replied to when written. Octets for people stand behind the deferral's.
    Marks([Option<Mark>; 2], Vec<u8>, Sender<()>),
    /// Replied to when all that was asked before is on the disk.
    Sync(Sender<io::Result<()>>),
    /// Only what is done behind any request: segments may be freed.
    Upkeep,
    Close(Sender<io::Result<()>>),
}

/// A part to append.
pub struct PartRequest {
    pub id: u64,
    pub class: Class,
    pub previous: Option<Place>,
    /// The record's payload.
    pub buffer: Vec<u8>,
    pub claim: Claim,
    pub last: Option<LastPart>,
    pub reply: Sender<PartReply>,
}

impl PartRequest {
    /// Answers; the claim goes back unless the message is queued.
    pub fn answer(self, result: Result<Place, Error>) {
        let queued = result.is_ok() && self.last.is_some();
        let answer = PartReply {
            result,
            buffer: self.buffer,
            claim: (!queued).then_some(self.claim),
        };
        // Nobody waits: dropping the answer gives the claim back.
        let _ = self.reply.try_send(answer);
    }
}

/// What the index must know of a message.
pub struct LastPart {
    pub recipients: u8,
    pub lane: u32,
    /// Another message's slot, its id, and its recipients that this one tells of.
    pub reports: Option<Box<(u32, u64, Reported)>>,
    /// It is the copy of a message that is queued already.
    pub moved: Option<Lifted>,
    /// The damaged message that it tells of.
    pub tells_of: Option<u64>,
}

/// The answer: for a final part, after the sync.
pub struct PartReply {
    pub result: Result<Place, Error>,
    pub buffer: Vec<u8>,
    /// Gone with a message that is queued now.
    pub claim: Option<Claim>,
}

#[derive(Default)]
struct Pending {
    requests: Vec<Request>,
    /// Something other than a final part is among them.
    urgent: bool,
    /// Transactions whose data is on its way.
    arriving: usize,
    /// When the first of the transactions that wait for a sync began to.
    waiting_since: Option<Instant>,
    stopped: bool,
}

impl Pending {
    /// Every transaction whose data was arriving waits, or the first has waited long enough.
    fn sync_is_due(&self, now: Instant) -> bool {
        self.waiting_since
            .is_some_and(|since| self.arriving == 0 || now >= since + limits::SPOOL_WINDOW)
    }
}

/// The writer's queue of requests.
#[derive(Default)]
pub struct Inbox {
    pending: Mutex<Pending>,
    wake: Condvar,
}

impl Inbox {
    /// Adds a request, and wakes the writer if it has to act on it now.
    pub fn push(&self, mut request: Request) {
        let mut pending = locked(&self.pending);
        if pending.stopped {
            // The request is dropped behind the lock; whoever waits for it sees that.
            drop(pending);
            return;
        }
        let mut wake = true;
        match &mut request {
            Request::Part(part) if part.last.is_some() => {
                let counted = usize::from(part.claim.data_ended());
                pending.arriving = pending.arriving.saturating_sub(counted);
                wake = pending.arriving == 0 || pending.waiting_since.is_none();
                pending.waiting_since.get_or_insert_with(Instant::now);
            }
            _ => pending.urgent = true,
        }
        pending.requests.push(request);
        drop(pending);
        if wake {
            self.wake.notify_one();
        }
    }

    /// A transaction's data is on its way.
    pub fn data_begins(&self) {
        locked(&self.pending).arriving += 1;
    }

    /// It will not come.
    pub fn data_ended(&self) {
        let mut pending = locked(&self.pending);
        pending.arriving = pending.arriving.saturating_sub(1);
        let wake = pending.arriving == 0 && pending.waiting_since.is_some();
        drop(pending);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Ends the writer.
    pub fn stop(&self) {
        let mut pending = locked(&self.pending);
        pending.stopped = true;
        let unanswered = std::mem::take(&mut pending.requests);
        drop(pending);
        drop(unanswered);
        self.wake.notify_one();
    }

    /// Waits until there is something to write or to sync, or until `other`. None: the writer is to end.
    fn wait(&self, other: Option<Instant>, taken: &mut Vec<Request>) -> Option<()> {
        let mut pending = locked(&self.pending);
        loop {
            let now = Instant::now();
            if pending.stopped {
                return None;
            }
            let other_due = other.is_some_and(|at| now >= at);
            if pending.urgent || other_due || pending.sync_is_due(now) {
                std::mem::swap(&mut pending.requests, taken);
                pending.urgent = false;
                return Some(());
            }
            let window = pending
                .waiting_since
                .map(|since| since + limits::SPOOL_WINDOW);
            let until = [other, window].into_iter().flatten().min();
            pending = match until {
                Some(at) => {
                    let timeout = at.saturating_duration_since(now);
                    match self.wake.wait_timeout(pending, timeout) {
                        Ok((pending, _)) => pending,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                }
                None => match self.wake.wait(pending) {
                    Ok(pending) => pending,
                    Err(poisoned) => poisoned.into_inner(),
                },
            };
        }
    }

    /// Is a sync due for what was taken? Then what comes from now on waits for the next one.
    fn begin_sync(&self) -> bool {
        let mut pending = locked(&self.pending);
        let due = pending.sync_is_due(Instant::now());
        if due {
            let more = pending
                .requests
                .iter()
                .any(|request| matches!(request, Request::Part(part) if part.last.is_some()));
            pending.waiting_since = more.then(Instant::now);
        }
        due
    }
}

/// The writer thread: appends what comes, and makes one sync for all that wait.
pub fn run(mut log: Log) {
    if !log.holes.is_empty() {
        log.note_holes();
    }
    // The queue that was found may be full of what nobody will say a word about for days.
    log.upkeep();
    let mut requests = Vec::new();
    let mut ends = None;
    while ends.is_none() {
        let inbox = &log.shared.clone().inbox;
        if inbox.wait(log.deadline(), &mut requests).is_none() {
            return;
        }
        for request in requests.drain(..) {
            match request {
                Request::Part(part) => log.part(part),
                Request::Marks(marks, note, reply) => log.marks(marks, &note, reply),
                Request::Sync(reply) => log.sync_for(&reply),
                Request::Upkeep => {}
                Request::Close(reply) => ends = Some(reply),
            }
        }
        // Without one that waits the sync is for what has come since, which is not written yet.
        let wanted = inbox.begin_sync() && !log.waiting.is_empty();
        if wanted || log.deadline().is_some_and(|at| at <= Instant::now()) {
            log.sync();
        }
        log.written();
        log.upkeep();
    }
    if let Some(reply) = ends {
        let result = log.close();
        // Nobody waits: nobody needs to know.
        let _ = reply.try_send(result);
    }
    log.shared.stop();
}
