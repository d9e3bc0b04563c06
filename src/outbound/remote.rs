//! A message to a next hop: over the connection that is kept, or over a new one to the first host that takes it.

use super::attempt::{AttemptError, Connection, Outcome, Reason, SendError};
use super::destinations::{Group, is_same};
use super::local::{ours, unreadable};
use super::route::{Hops, RouteError};
use super::schedule::Shared;
use crate::policy::target::Target;
use crate::spool::Message;
use std::sync::atomic::Ordering::Relaxed;

/// A connection, and whose mail it is for.
pub(super) struct Line {
    connection: Connection,
    target: Target,
    domain: String,
}

/// What came of handing a message over.
pub(super) struct Handed {
    pub session: String,
    /// One for each recipient.
    pub fates: Vec<Outcome>,
    /// Set where the destination as a whole could not be reached.
    pub lane_failure: Option<Reason>,
}

impl Line {
    pub(super) fn leads_to(&self, group: &Group<'_>) -> bool {
        is_same((&self.target, &self.domain), (group.target, group.domain))
    }

    pub(super) async fn quit(self) {
        self.connection.quit().await;
    }
}

impl Handed {
    /// The same fate for every recipient.
    pub(super) fn to_all(session: &str, message: &Message, fate: &Outcome) -> Self {
        let fates = message.recipients.iter().map(|_| fate.clone()).collect();
        Self {
            session: session.to_owned(),
            fates,
            lane_failure: None,
        }
    }

    fn unreachable(session: &str, message: &Message, why: Reason) -> Self {
        let mut handed = Self::to_all(session, message, &Outcome::Deferred(why.clone()));
        handed.lane_failure = Some(why);
        handed
    }
}

impl Shared {
    /// One attempt: at the kept connection, then at each host of the destination until one takes the message or judges it.
    pub(super) async fn hand_over(
        &self,
        kept: Option<Line>,
        message: &mut Message,
        group: &Group<'_>,
    ) -> (Option<Line>, Handed) {
        if let Some(mut line) = kept {
            match line.connection.send(message).await {
                Ok(outcomes) => return judged(line, outcomes),
                // Most likely the host closed it for idleness while we wrote: it says nothing about the message.
                Err(SendError::Lost(reason)) => log::debug!(
                    "reuse session={} result={reason:?}",
                    line.connection.session()
                ),
                Err(SendError::NextHost(_)) => {}
                Err(SendError::Unreadable(problem)) => {
                    return (
                        None,
                        Handed::to_all(line.connection.session(), message, &unreadable(&problem)),
                    );
                }
            }
        }
        match self.router.hops(group.target, group.domain).await {
            Ok(mut hops) => self.over_new(&mut hops, message, group).await,
            Err(error) => (None, no_route(message, error)),
        }
    }

    async fn over_new(
        &self,
        hops: &mut Hops<'_>,
        message: &mut Message,
        group: &Group<'_>,
    ) -> (Option<Line>, Handed) {
        let mut last: Option<(String, Reason)> = None;
        loop {
            let connection = match (self.connector.open(hops).await, last) {
                (Ok(connection), _) => connection,
                (Err(_), Some((session, why))) => {
                    return (None, Handed::unreachable(&session, message, why));
                }
                (Err(AttemptError::Route(error)), None) => return (None, no_route(message, error)),
                (Err(AttemptError::Unreachable(reason)), None) => {
                    return (None, Handed::unreachable("-", message, reason));
                }
            };
            self.counters.connections.fetch_add(1, Relaxed);
            let (target, domain) = (group.target.clone(), group.domain.to_ascii_lowercase());
            let mut line = Line {
                connection,
                target,
                domain,
            };
            match line.connection.send(message).await {
                Ok(outcomes) => return judged(line, outcomes),
                Err(SendError::Lost(reason) | SendError::NextHost(reason)) => {
                    last = Some((line.connection.session().to_owned(), reason))
                }
                Err(SendError::Unreadable(problem)) => {
                    return (
                        None,
                        Handed::to_all(line.connection.session(), message, &unreadable(&problem)),
                    );
                }
            }
        }
    }

    /// Ends when the relay stops, unless the message's final dot is out.
    pub(super) async fn cut_off<T>(&self) -> Option<T> {
        let _ = self.stopping.recv().await;
        None
    }
}

fn judged(line: Line, outcomes: Vec<Outcome>) -> (Option<Line>, Handed) {
    let session = line.connection.session().to_owned();
    (
        Some(line),
        Handed {
            session,
            fates: outcomes,
            lane_failure: None,
        },
    )
}

fn no_route(message: &Message, error: RouteError) -> Handed {
    match error {
        RouteError::Permanent { code, text } => {
            Handed::to_all("-", message, &Outcome::Failed(ours(code, text)))
        }
        RouteError::Temporary { code, text } => Handed::unreachable("-", message, ours(code, text)),
    }
}
