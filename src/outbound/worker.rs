//! One worker: it takes the messages of its lane one after another and hands them over, as long as it has its slot.

use super::attempt::FinalDot;
use super::attempt_outcome::Outcome;
use super::destinations::{Group, groups, is_same};
use super::lanes::{Key, Left, Taken};
use super::local;
use super::outcome::Attempt;
use super::remote::{Handed, Line};
use super::schedule::{LaneFailure, Shared};
use crate::limits;
use crate::policy::routes::Lane;
use crate::policy::target::Target;
use crate::spool::{Message, Ticket};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// A worker's memory at its highest, without TLS: its task, the connection's buffers, a message's chunk and recipients,
/// what it tells of each, and a DSN under way.
pub(super) const MOST_MEMORY: usize = 4096
    + limits::PEER_WRITE
    + limits::PEER_READ
    + limits::PEER_REPLY_TEXT
    + 2 * limits::SPOOL_PART
    + limits::RECIPIENTS * (limits::MAILBOX + 2 * limits::PEER_REPLY_TEXT)
    + limits::DSN_HEADER;

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

    async fn work(&mut self, ticket: Ticket, failed: Option<Arc<LaneFailure>>) {
        let shared = Arc::clone(&self.slot.shared);
        let mut message = match shared.spool.read(&ticket).await {
            Ok(message) => message,
            Err(problem) => return shared.cannot_read(ticket, &problem).await,
        };
        let recipients = message.recipients.clone();
        let groups = groups(&shared.routes, &recipients);
        match groups.as_slice() {
            [group] if self.slot.key != Key::Mixed => {
                self.serve(&shared, ticket, &mut message, group, failed)
                    .await;
            }
            groups => {
                let split: Vec<(Lane, u128)> = groups
                    .iter()
                    .map(|group| (group.lane, group.mask))
                    .collect();
                shared.spool.split(ticket, &split);
            }
        }
    }

    async fn serve(
        &mut self,
        shared: &Arc<Shared>,
        ticket: Ticket,
        message: &mut Message,
        group: &Group<'_>,
        failed: Option<Arc<LaneFailure>>,
    ) {
        let name = match group.target {
            Target::Mx => format!("mx:{}", group.domain.to_ascii_lowercase()),
            target => target.to_string(),
        };
        let known = failed.filter(|failure| {
            is_same(
                (&failure.target, &failure.domain),
                (group.target, group.domain),
            )
        });
        let handed = match (known, group.target, &shared.maildir) {
            (Some(failure), ..) => Handed::to_all(message, &Outcome::Deferred(failure.why.clone())),
            (None, Target::Maildir(template), Some(maildir)) => {
                shared
                    .lanes()
                    .set_most(self.slot.key, limits::LANE_CONNECTIONS_CONFIGURED);
                Handed::local(local::deliver(maildir, template, message).await)
            }
            _ => match self.over_the_line(shared, message, group).await {
                Some(handed) => handed,
                // Cut off by the drain: nothing has been handed over.
                None => return shared.spool.release(ticket),
            },
        };
        self.rests = handed
            .outcomes
            .iter()
            .any(|fate| matches!(fate, Outcome::Delivered { .. }))
            || self.line.is_some();
        if let Some(why) = handed.unreached {
            let domain = group.domain.to_ascii_lowercase();
            shared.lanes().failed(
                self.slot.key,
                Arc::new(LaneFailure {
                    target: group.target.clone(),
                    domain,
                    why,
                }),
            );
        } else if self.rests {
            let start = shared.lanes().works(self.slot.key);
            if let Some(key) = start {
                shared.start_worker(key);
            }
        }
        let info = shared.spool.info(&ticket);
        let attempt = Attempt {
            session: &handed.session,
            target: &name,
            outcomes: handed.outcomes,
        };
        shared.conclude(ticket, info, message, attempt).await;
    }

    /// Over the connection that is there, or a new one. None if the relay's stop cut it off before the final dot.
    async fn over_the_line(
        &mut self,
        shared: &Shared,
        message: &mut Message,
        group: &Group<'_>,
    ) -> Option<Handed> {
        let most = match group.target {
            Target::Mx => limits::LANE_CONNECTIONS_MX,
            _ => limits::LANE_CONNECTIONS_CONFIGURED,
        };
        shared.lanes().set_most(self.slot.key, most);
        let other_place = self.line.as_ref().is_some_and(|line| !line.leads_to(group));
        if other_place || self.served >= limits::CONNECTION_MESSAGES {
            self.hang_up().await;
        }
        self.served += 1;
        let kept = self.line.take();
        let dot = FinalDot::default();
        let handing = async { Some(shared.hand_over(kept, message, group, &dot).await) };
        // Cut off, the connection is dropped in the middle of what it said: the host takes nothing without the final dot.
        let (line, handed) = smol::future::or(handing, shared.cut_off(&dot)).await?;
        self.line = line;
        if self.line.is_none() {
            self.served = 0;
        }
        Some(handed)
    }
}
