//! A message to a next hop: over the connection that is kept, or over a new one to the first host that decides about it.

use super::attempt::{Connection, Delivery, Dials, FinalDot, Mail};
use super::attempt::{Outcome, Reason};
use super::destinations::Destination;
use super::from_field::Filter;
use super::local::unreadable;
use super::route::{Hops, RouteError};
use super::schedule::Shared;
use crate::policy::sender::{FromField, Senders};
use crate::policy::target::Target;
use crate::smtp::client::Envelope;
use crate::smtp::parameters::{Notify, Ret};
use crate::spool::{Message, ReadError};
use std::fmt;

/// A connection, and whose mail it is for.
pub(super) struct Line {
    connection: Connection,
    pub(super) destination: Destination,
}

/// What came of handing a message over.
pub(super) struct Handed {
    /// The session's id in the log; "-" where none outlived the attempt.
    pub session: String,
    /// One for each recipient.
    pub outcomes: Vec<Outcome>,
    /// Set where the destination as a whole could not be reached: other messages to it would fare the same.
    pub unreached: Option<Unreached>,
}

/// That no host of a destination could be reached.
#[derive(Clone, Debug)]
pub(super) struct Unreached {
    pub why: Reason,
    pub dials: Dials,
}

impl Line {
    pub(super) async fn quit(self) {
        self.connection.quit().await;
    }
}

impl Handed {
    pub(super) fn local(outcomes: Vec<Outcome>) -> Self {
        Self {
            session: "-".to_owned(),
            outcomes,
            unreached: None,
        }
    }

    /// The same for every recipient, without an attempt.
    pub(super) fn to_all(message: &Message, outcome: &Outcome) -> Self {
        Self::local(vec![outcome.clone(); message.recipients.len()])
    }
}

impl Unreached {
    /// For a message that waited meanwhile, and for which nobody is dialled again.
    pub(super) fn hand_on(&self, message: &Message) -> Handed {
        let mut unreached = self.clone();
        unreached.dials.made = false;
        Handed {
            unreached: Some(unreached),
            ..Handed::to_all(message, &Outcome::Deferred(self.why.clone()))
        }
    }
}

impl Shared {
    /// One attempt. `dot` tells meanwhile whether it may still be cut off.
    pub(super) async fn hand_over(
        &self,
        kept: Option<Line>,
        message: &mut Message,
        to: &Destination,
        dot: &FinalDot,
    ) -> (Option<Line>, Handed) {
        let mut mail = Watched::new(message, &self.settings.senders, &to.target).await;
        let mut put_off = None;
        if let Some(line) = kept {
            let host = line.connection.peer().host.clone();
            // Without hosts to go on to, so that a message over a kept connection costs no look-up.
            let mut nowhere = Hops::fixed(Vec::new());
            let delivery = self
                .connector
                .deliver(Some(line.connection), &mut nowhere, &mut mail, dot)
                .await;
            match verdict(&delivery, &mail) {
                Verdict::Stands => return judged(delivery, mail, to),
                Verdict::NextHost => put_off = Some((host, delivery)),
                // The host has closed it for idleness, or has had enough of it: that says nothing about the message.
                Verdict::Again => {}
            }
        }
        match (self.router.hops(&to.target, &to.domain).await, put_off) {
            (Ok(mut hops), None) => {
                let delivery = self.connector.deliver(None, &mut hops, &mut mail, dot);
                judged(delivery.await, mail, to)
            }
            (Ok(mut hops), Some((host, first))) => {
                hops.skip(&host);
                let delivery = self.connector.deliver(None, &mut hops, &mut mail, dot);
                let second = delivery.await;
                // Where no other host was reached, the first one's answer is the reason.
                let said = if second.session.is_some() {
                    second
                } else {
                    first
                };
                judged(said, mail, to)
            }
            (Err(error), None) => (None, no_route(mail.message, &error)),
            (Err(_), Some((_, first))) => judged(first, mail, to),
        }
    }

    /// Ends when the relay stops, unless the message's final dot is out: then the attempt has a while to hear the reply.
    pub(super) async fn cut_off<T>(&self, dot: &FinalDot) -> Option<T> {
        let _ = self.stopping.recv().await;
        if dot.is_passed() {
            smol::Timer::after(crate::limits::DRAIN_OUTBOUND).await;
        }
        None
    }
}

/// What an attempt over a kept connection came to.
enum Verdict {
    /// The host decided, or may have the message.
    Stands,
    /// The host put the message off at MAIL: it means it, and a new connection to it would hear the same.
    NextHost,
    /// The connection was lost or closed with 421 before the final dot: a new one may do better.
    Again,
}

fn verdict(delivery: &Delivery, mail: &Watched<'_>) -> Verdict {
    if delivery.connection.is_some() || mail.problem.is_some() || mail.reading == Reading::HasEnded
    {
        return Verdict::Stands;
    }
    let all = |is: fn(u16) -> bool| {
        let mut outcomes = delivery.outcomes.iter();
        outcomes.all(|outcome| matches!(outcome, Outcome::Deferred(reason) if is(reason.code)))
    };
    if all(|code| matches!(code, 0 | 421)) {
        Verdict::Again
    } else if mail.reading == Reading::NotBegun && all(|code| code != 0) {
        Verdict::NextHost
    } else {
        Verdict::Stands
    }
}

fn judged(delivery: Delivery, mail: Watched<'_>, to: &Destination) -> (Option<Line>, Handed) {
    let Delivery {
        mut outcomes,
        connection,
        session,
        dials,
    } = delivery;
    if let Some(problem) = mail.problem {
        let undecided =
            |outcome: &&mut Outcome| matches!(outcome, Outcome::Deferred(Reason { code: 0, .. }));
        for outcome in outcomes.iter_mut().filter(undecided) {
            *outcome = unreadable(mail.message.id, &problem);
        }
    }
    let unreached = match outcomes.first() {
        Some(Outcome::Deferred(why)) if session.is_none() => {
            let why = why.clone();
            Some(Unreached { why, dials })
        }
        _ => None,
    };
    let session = session.map_or_else(|| "-".to_owned(), |session| session.to_string());
    let line = connection.map(|connection| Line {
        connection,
        destination: to.clone(),
    });
    (
        line,
        Handed {
            session,
            outcomes,
            unreached,
        },
    )
}

fn no_route(message: &Message, error: &RouteError) -> Handed {
    let outcome = Outcome::of_route(error);
    let mut handed = Handed::to_all(message, &outcome);
    if let Outcome::Deferred(why) = outcome {
        let dials = Dials::default();
        handed.unreached = Some(Unreached { why, dials });
    }
    handed
}

/// A queued message on its way out, and what was wrong with reading it.
struct Watched<'m> {
    message: &'m mut Message,
    problem: Option<ReadError>,
    reading: Reading,
    senders: &'m Senders,
    /// Set where the sender is replaced.
    sender: Option<&'m str>,
    /// Set where the From field is changed.
    filter: Option<Filter>,
    /// Octets as they go out.
    size: u64,
    /// REQUIRETLS, where it leaves this machine.
    requires_tls: bool,
}

impl<'m> Watched<'m> {
    /// A message as it goes to this target. Its sender in the queue stays: that is who is told of failures.
    async fn new(message: &'m mut Message, senders: &'m Senders, target: &Target) -> Self {
        let far = matches!(target, Target::Mx | Target::Smtp(_));
        let sender = senders.instead_of(&message.sender).filter(|_| far);
        let changes_from =
            far && !message.sender.is_empty() && senders.from_field() == FromField::Replaced;
        let mut mail = Self {
            size: message.size,
            requires_tls: message.facts.require_tls && !target.is_local(),
            message,
            problem: None,
            reading: Reading::NotBegun,
            senders,
            sender,
            filter: None,
        };
        if changes_from {
            mail.look_at_header().await;
        }
        mail
    }

    /// SIZE is told before the message is: so its header is read twice, once to see what it becomes.
    async fn look_at_header(&mut self) {
        let mut filter = Filter::default();
        // What cannot be read now will be told when it is sent.
        while let Ok(Some(chunk)) = self.message.next_chunk().await
            && !filter.is_done()
        {
            filter.pass(chunk, self.senders);
        }
        filter.finish(self.senders);
        self.message.rewind();
        if filter.has_replaced() {
            self.size = filter.size(self.message.size);
            self.filter = Some(Filter::default());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    NotBegun,
    Goes,
    HasEnded,
}

impl Envelope for Watched<'_> {
    fn sender(&self) -> &str {
        self.sender.unwrap_or_else(|| self.message.sender())
    }
    fn recipients(&self) -> usize {
        Envelope::recipients(self.message)
    }
    fn recipient(&self, index: usize) -> &str {
        self.message.recipient(index)
    }
    fn size(&self) -> u64 {
        self.size
    }
    fn chunk(&self) -> Option<u64> {
        self.message.chunk().map(|_| self.size)
    }
    fn has_8bit_body(&self) -> bool {
        self.message.has_8bit_body()
    }
    fn has_utf8_headers(&self) -> bool {
        self.message.has_utf8_headers()
    }
    fn requires_tls(&self) -> bool {
        self.requires_tls
    }
    fn ret(&self) -> Option<Ret> {
        self.message.ret
    }
    fn envid(&self) -> Option<&str> {
        self.message.envid()
    }
    fn notify(&self, index: usize) -> Option<Notify> {
        self.message.notify(index)
    }
    fn orcpt(&self, index: usize) -> Option<&str> {
        self.message.orcpt(index)
    }
}

impl Mail for Watched<'_> {
    type Error = &'static str;

    fn id(&self) -> impl fmt::Display {
        self.message.id
    }

    async fn next_chunk(&mut self) -> Result<Option<&[u8]>, &'static str> {
        match self.message.next_chunk().await {
            Ok(None) => {
                if let Some(filter) = self.filter.as_mut().filter(|filter| !filter.is_done()) {
                    return Ok(Some(filter.finish(self.senders)));
                }
                self.reading = Reading::HasEnded;
                Ok(None)
            }
            Ok(Some(chunk)) => {
                self.reading = Reading::Goes;
                match &mut self.filter {
                    Some(filter) if !filter.is_done() => Ok(Some(filter.pass(chunk, self.senders))),
                    _ => Ok(Some(chunk)),
                }
            }
            Err(problem) => {
                self.problem = Some(problem);
                Err("it cannot be read")
            }
        }
    }

    fn rewind(&mut self) {
        self.reading = Reading::NotBegun;
        self.filter = self.filter.take().map(|_| Filter::default());
        self.message.rewind();
    }
}
