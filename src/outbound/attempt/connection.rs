//! A connection on which a next hop is ready for mail, and one transaction on it.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::limits;
use crate::net::deadline::within;
use crate::smtp::client::{Envelope, Event, Failure, Phase};
use crate::smtp::parameters::{Notify, Ret};
use crate::smtp::reply_reader::Class;
use crate::spool::{Message, ReadError};

use super::body::{write_body, write_chunk};
use super::link::{Broken, Link};
use super::outcome::{Duty, Outcome, Reason};
use super::peer::Peer;

/// A message to hand over: its envelope, and its octets in chunks.
pub trait Mail: Envelope + Send + Sync {
    /// Why the text cannot be read; it goes to the log.
    type Error: fmt::Display + Send;
    /// The queue id, for the log.
    fn id(&self) -> impl fmt::Display;
    /// The next octets, head first; lines end in CR LF. None at the end.
    fn next_chunk(&mut self) -> impl Future<Output = Result<Option<&[u8]>, Self::Error>> + Send;
    /// Starts over at the head.
    fn rewind(&mut self);
}

/// Whether a transaction has passed its final dot: from then on, to cut it off could deliver the message twice.
#[derive(Debug, Default)]
pub struct FinalDot(AtomicBool);

impl FinalDot {
    /// Whether it may be with the next hop already: from here on the attempt is not cut off.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::outbound) fn set(&self, passed: bool) {
        self.0.store(passed, Ordering::Relaxed);
    }
}

/// A connection to a next hop, past EHLO and as much TLS as was asked for.
pub struct Connection {
    pub(super) link: Link,
    pub(super) peer: Peer,
    /// The host has refused BDAT, and what it makes of what was behind that is not known.
    pub(super) refused_chunk: bool,
}

/// The host decided about the message.
pub(super) struct Decided {
    /// One for each recipient.
    pub outcomes: Vec<Outcome>,
    /// The connection was lost after the final dot, so that nobody knows.
    pub unconfirmed: bool,
}

/// The host did not decide about the message; another one may.
#[derive(Debug)]
pub(super) struct Undecided {
    pub reason: Reason,
    /// Whether it was an answer, not a lost connection.
    pub answered: bool,
}

/// Where a transaction stands: what is decided for whom.
struct Ballot<'a> {
    peer: &'a Peer,
    outcomes: Vec<Option<Outcome>>,
    /// The recipients that are offered to the host.
    offered: Vec<usize>,
    /// How many of them the host takes so far.
    accepted: usize,
    /// MAIL was refused, for now.
    sender_deferred: Option<Reason>,
    /// Nothing has been heard yet in this transaction.
    is_silent: bool,
    /// In LMTP: some of the recipients that were accepted have their reply to the message.
    some_heard: bool,
}

/// The message as it is offered: with some of its recipients.
struct Offered<'a, M> {
    mail: &'a M,
    recipients: &'a [usize],
}

impl<M: Mail> Envelope for Offered<'_, M> {
    fn sender(&self) -> &str {
        self.mail.sender()
    }
    fn recipients(&self) -> usize {
        self.recipients.len()
    }
    fn recipient(&self, index: usize) -> &str {
        self.recipients
            .get(index)
            .map_or("", |&index| self.mail.recipient(index))
    }
    fn size(&self) -> u64 {
        self.mail.size()
    }
    fn chunk(&self) -> Option<u64> {
        self.mail.chunk()
    }
    fn has_8bit_body(&self) -> bool {
        self.mail.has_8bit_body()
    }
    fn has_utf8_headers(&self) -> bool {
        self.mail.has_utf8_headers()
    }
    fn requires_tls(&self) -> bool {
        self.mail.requires_tls()
    }
    fn ret(&self) -> Option<Ret> {
        self.mail.ret()
    }
    fn envid(&self) -> Option<&str> {
        self.mail.envid()
    }
    fn notify(&self, index: usize) -> Option<Notify> {
        self.mail.notify(*self.recipients.get(index)?)
    }
    fn orcpt(&self, index: usize) -> Option<&str> {
        self.mail.orcpt(*self.recipients.get(index)?)
    }
}

impl Connection {
    /// What a connection takes, beside what its TLS and its host's name take: octets.
    pub const MEMORY: usize = size_of::<Self>() + Link::HEAP;

    /// Whom it is with.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether it can take a next message.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.link.is_ready()
    }

    /// QUIT; takes a few seconds at most.
    pub async fn quit(self) {
        self.link.quit().await;
    }

    /// One transaction: an outcome for each recipient.
    pub(super) async fn send<M: Mail>(
        &mut self,
        mail: &mut M,
        dot: &FinalDot,
    ) -> Result<Decided, Undecided> {
        let mut unconfirmed = false;
        dot.set(false);
        let mut ballot = Ballot::new(&self.peer, mail.recipients());
        let result = transact(&mut self.link, &mut ballot, mail, dot).await;
        let past_dot = dot.is_passed();
        dot.set(false);
        match result {
            Ok(()) => {}
            // What the host said of the sender stands, whatever became of the rest.
            Err(Stop::Broken(_)) if ballot.sender_deferred.is_some() => {}
            Err(Stop::Broken(broken)) => {
                self.refused_chunk = matches!(broken, Broken::Failed(Failure::ChunkRefused));
                let undecided = undecided(&self.link, &self.peer, broken);
                match undecided.answered {
                    // Another host would get the message for those who have it: the rest waits.
                    true if ballot.some_heard => ballot.rest(&Outcome::Deferred(undecided.reason)),
                    false if past_dot && !ballot.is_silent && ballot.is_open() => {
                        ballot.lost_after_dot(undecided.reason);
                        unconfirmed = true;
                    }
                    _ => return Err(undecided),
                }
            }
            Err(Stop::Source(problem)) => {
                let text = format!("the queue cannot give the message: {problem}");
                ballot.rest(&Outcome::Deferred(Reason::ours("4.3.0", text)));
            }
        }
        if let Some(reason) = ballot.sender_deferred {
            return Err(Undecided {
                reason,
                answered: true,
            });
        }
        Ok(Decided {
            outcomes: ballot.close(&mail.id()),
            unconfirmed,
        })
    }
}

/// What ends a transaction before its verdict.
pub(super) enum Stop {
    Broken(Broken),
    /// The message cannot be read. The connection stands in the middle of it.
    Source(String),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

pub(super) fn undecided(link: &Link, peer: &Peer, broken: Broken) -> Undecided {
    let host = &peer.host;
    match broken {
        Broken::Lost(error) => {
            let text = format!("connection lost {}: {error}", link.client().doing());
            Undecided {
                reason: Reason::of_host("4.4.2", text, host),
                answered: false,
            }
        }
        Broken::Failed(failure) => Undecided {
            reason: Reason::of_failure(failure, link.client().reply(), host),
            answered: matches!(
                failure,
                Failure::Refused | Failure::Closing | Failure::ChunkRefused
            ),
        },
    }
}

async fn transact<M: Mail>(
    link: &mut Link,
    ballot: &mut Ballot<'_>,
    mail: &mut M,
    dot: &FinalDot,
) -> Result<(), Stop> {
    ballot.choose(link, mail);
    if ballot.offered.is_empty() {
        return Ok(());
    }
    let recipients = std::mem::take(&mut ballot.offered);
    let envelope = Offered {
        mail: &*mail,
        recipients: &recipients,
    };
    if let Err(lack) = link.client_mut().begin(&envelope) {
        let reason = Reason::of_lack(lack, &ballot.peer.host);
        ballot.rest(&Outcome::Failed(reason));
        return Ok(());
    }
    // Each reply has its own deadline; this bounds their sum for a host that uses up each of a hundred.
    let end = Instant::now() + limits::PEER_ENVELOPE;
    while let Some(event) = link.envelope_event(&envelope, end).await? {
        ballot.take(event, link, &recipients);
    }
    if link.client().phase() == Phase::Body {
        send_body(link, ballot, mail, &recipients, dot).await?;
        // Behind a chunk the replies to its envelope, too; in LMTP one for each further recipient that was accepted.
        let end = Instant::now() + limits::PEER_ENVELOPE;
        while matches!(link.client().phase(), Phase::Talking | Phase::EndOfData) {
            let event = link.event_until(end).await?;
            ballot.take(event, link, &recipients);
        }
    }
    Ok(())
}

/// Sends the message and awaits the next reply: the verdict, where it went by DATA.
async fn send_body<M: Mail>(
    link: &mut Link,
    ballot: &mut Ballot<'_>,
    mail: &mut M,
    recipients: &[usize],
    dot: &FinalDot,
) -> Result<(), Stop> {
    // Each block has its own deadline; this bounds their sum for a peer that takes an octet at a time.
    let slowest = mail.size() / limits::PEER_RATE_FLOOR as u64;
    let most = limits::PEER_BLOCK + Duration::from_secs(slowest);
    let mut take = |event, link: &Link| ballot.take(event, link, recipients);
    let written = within(most, async {
        Ok(match link.client().chunk() {
            Some(octets) => write_chunk(link, mail, octets, dot, &mut take).await,
            None => write_body(link, mail, dot, &mut take).await,
        })
    });
    written.await.map_err(Broken::Lost)??;
    if link.client().phase() == Phase::Body {
        link.client_mut().body_sent();
        let event = link.event().await?;
        take(event, link);
    }
    Ok(())
}

impl<'a> Ballot<'a> {
    fn new(peer: &'a Peer, recipients: usize) -> Self {
        Self {
            peer,
            outcomes: vec![None; recipients],
            offered: Vec::new(),
            accepted: 0,
            sender_deferred: None,
            is_silent: true,
            some_heard: false,
        }
    }

    /// Fails the recipients whose addresses the host cannot take; the others are offered.
    fn choose<M: Mail>(&mut self, link: &Link, mail: &M) {
        for (index, outcome) in self.outcomes.iter_mut().enumerate() {
            match link.client().offer().admits_address(mail.recipient(index)) {
                Ok(()) => self.offered.push(index),
                Err(lack) => {
                    *outcome = Some(Outcome::Failed(Reason::of_lack(lack, &self.peer.host)));
                }
            }
        }
    }

    /// Decides for all that are undecided.
    fn rest(&mut self, outcome: &Outcome) {
        for undecided in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *undecided = Some(outcome.clone());
        }
    }

    /// Whether the verdict on some recipient is to come.
    fn is_open(&self) -> bool {
        self.outcomes.iter().any(Option::is_none)
    }

    fn take(&mut self, event: Event, link: &Link, offered: &[usize]) {
        self.is_silent = false;
        let reply = link.client().reply();
        let host = &self.peer.host;
        let duty = match link.client().offer().dsn {
            true => Duty::NextHops,
            false => Duty::Ours,
        };
        match event {
            Event::Step | Event::Failed(_) => {}
            Event::SenderRefused if reply.class() == Class::Temporary => {
                self.sender_deferred = Some(Reason::of_reply(reply, host));
            }
            Event::Recipient {
                class: Class::Done, ..
            } => self.accepted += 1,
            Event::Recipient { index, class } => {
                let outcome = match self.accepted {
                    0 => None,
                    _ => Outcome::of_too_many(reply, host),
                };
                let place = offered.get(index).and_then(|&at| self.outcomes.get_mut(at));
                if let Some(place @ None) = place {
                    *place = Some(
                        outcome.unwrap_or_else(|| Outcome::of_reply(class, reply, host, duty)),
                    );
                }
            }
            Event::SenderRefused | Event::DataRefused => {
                self.rest(&Outcome::of_reply(reply.class(), reply, host, duty));
            }
            Event::EndOfData(class) => self.rest(&Outcome::of_reply(class, reply, host, duty)),
            Event::EndOfDataForOne(class) => {
                self.some_heard = true;
                if let Some(first) = self.outcomes.iter_mut().find(|outcome| outcome.is_none()) {
                    *first = Some(Outcome::of_reply(class, reply, host, duty));
                }
            }
        }
    }

    fn lost_after_dot(&mut self, mut reason: Reason) {
        reason.text += "; the host may have the message";
        log::warn!(
            "unconfirmed session={} host={} address={} reason={:?}",
            self.peer.session,
            self.peer.host,
            self.peer.address,
            reason.text
        );
        self.rest(&Outcome::Deferred(reason));
    }

    /// The outcomes, logged as one line.
    fn close(self, id: &impl fmt::Display) -> Vec<Outcome> {
        let unanswered = || {
            let text = "the host gave no verdict".to_owned();
            Outcome::Deferred(Reason::of_host("4.5.0", text, &self.peer.host))
        };
        let outcomes: Vec<Outcome> = self
            .outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(unanswered))
            .collect();
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|o| is(o)).count();
        let delivered = |o: &&Outcome| matches!(o, Outcome::Delivered { .. });
        let telling = outcomes.iter().find(delivered).or(outcomes.first());
        let reply = telling.map_or("", Outcome::text);
        let peer = self.peer;
        log::info!(
            "transaction session={} id={id} host={} address={} tls={:?} recipients={} delivered={} deferred={} failed={} reply={reply:?}",
            peer.session,
            peer.host,
            peer.address,
            peer.security(),
            outcomes.len(),
            count(|o| matches!(o, Outcome::Delivered { .. })),
            count(|o| matches!(o, Outcome::Deferred(_))),
            count(|o| matches!(o, Outcome::Failed(_))),
        );
        outcomes
    }
}

impl Envelope for Message {
    fn sender(&self) -> &str {
        &self.sender
    }
    fn recipients(&self) -> usize {
        self.recipients.len()
    }
    fn recipient(&self, index: usize) -> &str {
        self.recipients
            .get(index)
            .map_or("", |recipient| &recipient.address)
    }
    fn size(&self) -> u64 {
        self.size
    }
    fn chunk(&self) -> Option<u64> {
        (self.attempts == 0 && self.has_exact_size()).then_some(self.size)
    }
    fn has_8bit_body(&self) -> bool {
        self.facts.eight_bit_body
    }
    fn has_utf8_headers(&self) -> bool {
        self.facts.utf8_headers
    }
    fn requires_tls(&self) -> bool {
        self.facts.require_tls
    }
    fn ret(&self) -> Option<Ret> {
        self.ret
    }
    fn envid(&self) -> Option<&str> {
        self.envid.as_deref()
    }
    fn notify(&self, index: usize) -> Option<Notify> {
        self.recipients.get(index)?.notify
    }
    fn orcpt(&self, index: usize) -> Option<&str> {
        self.recipients.get(index)?.orcpt.as_deref()
    }
}

impl Mail for Message {
    type Error = ReadError;
    fn id(&self) -> impl fmt::Display {
        self.id
    }
    fn next_chunk(&mut self) -> impl Future<Output = Result<Option<&[u8]>, ReadError>> + Send {
        Message::next_chunk(self)
    }
    fn rewind(&mut self) {
        Message::rewind(self);
    }
}
