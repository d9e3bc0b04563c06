//! One worker: it takes the messages of its lane one after another and hands them over, as long as it has its slot.

use super::attempt::{Connection, FinalDot, Outcome, Reason};
use super::destinations::{Destination, groups, merge_twins};
use super::down::Kind;
use super::from_field::Filter;
use super::lanes::{Key, Left, Taken};
use super::local;
use super::outcome::{Attempt, Reach};
use super::remote::{Handed, Line, Unreached};
use super::schedule::{LaneFailure, Shared};
use super::trying;
use crate::limits;
use crate::policy::routes::Lane;
use crate::policy::target::Target;
use crate::smtp::peer_offer::Lack;
use crate::spool::{self, Info, Message, Recipient, Ticket};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Instant;

/// The most octets of a worker's task, the executor's part of it included.
pub(super) const TASK: usize = 8192;

/// A worker's memory at its highest, without TLS: its task, the connection's buffers, a message's chunk and recipients,
/// and what it tells of each.
pub(super) const MOST_MEMORY: usize = TASK
    + Connection::MEMORY
    // Told to as many at once as ask.
    + (1 + 2 * limits::CONTROL_CONNECTIONS) * size_of::<trying::Attempt>()
    // Of a DSN, those of the message that it refers to, too.
    + 3 * limits::SPOOL_PART
    + Filter::MEMORY
    + (limits::RECIPIENTS + limits::EXPANSIONS)
        * (2 * limits::MAILBOX + limits::ORCPT + 2 * limits::PEER_REPLY_TEXT);

/// A place among `--outbound`. Given back when the worker ends, however it ends.
struct Slot {
    shared: Arc<Shared>,
    key: Key,
    /// Set once the lanes no longer count the worker: what is left to do.
    left: Option<Left<Waker>>,
}

struct Worker {
    slot: Slot,
    number: u32,
    line: Option<Line>,
    /// Messages over the present connection.
    served: usize,
    /// Whether it may wait for more: the last message went well.
    rests: bool,
}

type Job = (Ticket, Option<Arc<LaneFailure>>);

/// The task.
pub(super) async fn run(shared: Arc<Shared>, key: Key, number: u32) {
    let slot = Slot {
        shared,
        key,
        left: None,
    };
    let mut worker = Worker {
        slot,
        number,
        line: None,
        served: 0,
        rests: false,
    };
    while let Some((ticket, failed)) = worker.next().await {
        worker.work(ticket, failed).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let left = self
            .left
            .take()
            .unwrap_or_else(|| self.shared.lanes().leave(self.key));
        self.shared.after(left);
    }
}

impl Worker {
    /// The next message; none when the slot is to be given up.
    async fn next(&mut self) -> Option<Job> {
        let taken = match self.take_or_rest().await {
            Some(taken) => taken,
            None => {
                self.slot.shared.lanes().rouse(self.number);
                self.hang_up().await;
                self.slot.shared.lanes().retire(self.slot.key, self.number)
            }
        };
        match taken {
            Taken::Message {
                ticket,
                failed,
                start,
            } => {
                if let Some(key) = start {
                    self.slot.shared.start_worker(key);
                }
                Some((ticket, failed))
            }
            Taken::Leave(left) => {
                self.slot.left = Some(left);
                let hurried = async {
                    smol::Timer::after(limits::QUIT_HURRIED).await;
                };
                smol::future::or(self.hang_up(), hurried).await;
                None
            }
            Taken::Rest => None,
        }
    }

    /// None when the time to rest is over.
    async fn take_or_rest(&self) -> Option<Taken<Ticket, Waker, Arc<LaneFailure>>> {
        let mut rest = self
            .rests
            .then(|| smol::Timer::after(limits::CONNECTION_IDLE));
        poll_fn(|context| {
            let call = || context.waker().clone();
            let taken =
                self.slot
                    .shared
                    .lanes()
                    .take(self.slot.key, self.number, self.served, call);
            match (taken, &mut rest) {
                (Taken::Rest, Some(timer)) => Pin::new(timer).poll(context).map(|_| None),
                (Taken::Rest, None) => Poll::Ready(None),
                (taken, _) => Poll::Ready(Some(taken)),
            }
        })
        .await
    }

    /// QUIT, if there is a connection.
    async fn hang_up(&mut self) {
        self.served = 0;
        if let Some(line) = self.line.take() {
            line.quit().await;
        }
    }

    /// A message, in as many transactions as its next hop wants (RFC 5321 4.5.3.1.10).
    async fn work(&mut self, ticket: Ticket, failed: Option<Arc<LaneFailure>>) {
        let mut left = self.work_once(ticket, failed).await;
        while let Some(ticket) = left {
            left = self.work_once(ticket, None).await;
        }
    }

    async fn work_once(
        &mut self,
        ticket: Ticket,
        failed: Option<Arc<LaneFailure>>,
    ) -> Option<Ticket> {
        let shared = Arc::clone(&self.slot.shared);
        let mut message = match shared.spool.read(&ticket).await {
            Ok(message) => message,
            Err(problem) => {
                shared.cannot_read(ticket, &problem).await;
                return None;
            }
        };
        let is_expanded = |recipient: &Recipient| recipient.is_expanded();
        let expanded = message.recipients.iter().any(is_expanded);
        if expanded && message.recipients.iter().all(is_expanded) {
            shared.tell_expanded(ticket, &mut message).await;
            return None;
        }
        message
            .recipients
            .retain(|recipient| !is_expanded(recipient));
        let groups = groups(&shared.routes, &message.recipients);
        match groups.as_slice() {
            [] => {
                // Nothing is left to do for it; to leave it would make it due for ever.
                let done = shared.spool.info(&ticket).recipients;
                shared
                    .spool
                    .settle(ticket, spool::Outcome { done, defer: None })
                    .await;
            }
            [group] if self.slot.key != Key::Mixed && !expanded => {
                let to = Destination::of(group);
                return self.serve(&shared, ticket, &mut message, to, failed).await;
            }
            groups => {
                // An alias that was expanded is in none of them, and comes again by itself.
                let split: Vec<(Lane, u128)> = groups
                    .iter()
                    .map(|group| (group.lane, group.mask))
                    .collect();
                shared.spool.split(ticket, &split);
            }
        }
        None
    }

    async fn serve(
        &mut self,
        shared: &Arc<Shared>,
        ticket: Ticket,
        message: &mut Message,
        to: Destination,
        failed: Option<Arc<LaneFailure>>,
    ) -> Option<Ticket> {
        let info = shared.spool.info(&ticket);
        let _entered = shared.trying.enter(self.number, &info);
        self.served += 1;
        if self.served == 1 {
            let most = match to.target {
                Target::Mx => limits::LANE_CONNECTIONS_MX,
                _ => limits::LANE_CONNECTIONS_CONFIGURED,
            };
            shared.lanes().set_most(self.slot.key, most);
        }
        let bits = merge_twins(&mut message.recipients);
        // A connection that is there says more than another one's failure.
        let known = failed.filter(|known| known.destination.is(&to) && self.line.is_none());
        let known = known.as_deref().map(|known| &known.unreached);
        let Some(handed) = self.hand_over(shared, message, &to, known).await else {
            // Cut off by the drain: nothing has been handed over.
            shared.spool.release(ticket);
            return None;
        };
        let taken = handed
            .outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Delivered { .. }));
        self.rests = taken || self.line.is_some();
        if known.is_none() {
            self.tell_lane(shared, &to, &info, handed.unreached.clone());
        }
        let reach = reach(shared, &to, &info, handed.unreached.as_ref());
        let attempt = Attempt {
            session: &handed.session,
            target: &to,
            bits,
            outcomes: handed.outcomes,
            reach,
        };
        let left = shared.conclude(ticket, info, message, attempt).await;
        if reach != Reach::Reached {
            shared.down.landed(info.lane);
        }
        left
    }

    /// To where it goes, or nowhere where the answer is known. None: cut off by the relay's stop.
    async fn hand_over(
        &mut self,
        shared: &Shared,
        message: &mut Message,
        to: &Destination,
        known: Option<&Unreached>,
    ) -> Option<Handed> {
        match (known, &to.target, &shared.maildir) {
            (_, target, _) if message.facts.require_tls && !target.is_local() => {
                // No host would change that, so none is asked.
                let lack = Lack::RequireTls;
                let why = Reason::ours(&lack.enhanced().to_string(), lack.to_string());
                Some(Handed::to_all(message, &Outcome::Failed(why)))
            }
            (Some(unreached), ..) => Some(unreached.hand_on(message)),
            (None, Target::Maildir(template), Some(maildir)) => {
                let delivered = local::deliver(shared, maildir, template, message).await;
                Some(Handed::local(delivered))
            }
            _ => self.over_the_line(shared, message, to).await,
        }
    }

    /// What the attempt says about the lane as a whole.
    fn tell_lane(
        &self,
        shared: &Arc<Shared>,
        to: &Destination,
        info: &Info,
        unreached: Option<Unreached>,
    ) {
        if let Some(unreached) = unreached {
            let failure = LaneFailure {
                destination: to.clone(),
                unreached,
            };
            shared.lanes().failed(self.slot.key, Arc::new(failure));
        } else if self.rests {
            let start = shared.lanes().works(self.slot.key);
            if let Some(key) = start {
                shared.start_worker(key);
            }
            if shared.down.works(info.lane, Instant::now()) {
                let woken = shared.spool.wake(info.lane);
                log::info!("destination target={to} result=\"reached again\" woken={woken}");
            }
        }
    }

    /// Over the connection that is there, or a new one. None if the relay's stop cut it off before the final dot.
    async fn over_the_line(
        &mut self,
        shared: &Shared,
        message: &mut Message,
        to: &Destination,
    ) -> Option<Handed> {
        let elsewhere = self
            .line
            .as_ref()
            .is_some_and(|line| !line.destination.is(to));
        if elsewhere || self.served > limits::CONNECTION_MESSAGES {
            self.hang_up().await;
            self.served = 1;
        }
        let crowded = shared.lanes().is_crowded();
        shared.connector.crowded.store(crowded, Ordering::Relaxed);
        let (kept, dot) = (self.line.take(), FinalDot::default());
        let handing = async { Some(shared.hand_over(kept, message, to, &dot).await) };
        // Cut off, the connection is dropped in the middle of what it said: without the final dot, nothing is taken.
        let (line, handed) = smol::future::or(handing, shared.cut_off(&dot)).await?;
        self.line = line;
        Some(handed)
    }
}

/// What an attempt says about reaching the destination, and which message is to try that again.
fn reach(shared: &Shared, to: &Destination, info: &Info, unreached: Option<&Unreached>) -> Reach {
    let Some(unreached) = unreached else {
        return Reach::Reached;
    };
    let kind = match to.target {
        Target::Mx => Kind::ByMx,
        _ => Kind::Configured,
    };
    let (dials, now) = (unreached.dials, Instant::now());
    Reach::Unreached(shared.down.failed(info.lane, kind, info.id, dials, now))
}
