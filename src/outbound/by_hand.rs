//! What a postmaster does to messages by hand: try now, take out of the queue, with word to the sender or without.

use super::destinations::merge_twins;
use super::dsn::{Cause, Report};
use super::report::Reporter;
use super::schedule::Shared;
use crate::policy::clock::Era;
use crate::policy::directory::Names;
use crate::spool::{Counts, Id, Lasting, Message, Outcome, Settles, Spool, Ticket};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Whether the sender of what is taken out is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Nobody,
    /// By a DSN, unless there is no sender, or NOTIFY asks for none (RFC 3461 4.1).
    Sender,
}

/// What was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub recipients: u32,
    /// Of them, those that a DSN tells of.
    pub told: u32,
}

/// Why nothing is done.
#[derive(Debug)]
pub enum Refusal {
    Unknown(Id),
    /// It has failed, and is kept for the DSN that tells its sender so.
    Reported(Id, Id),
    /// A next hop may be taking it at this moment: to take it out could lose what is said of it.
    Underway(Id),
    /// The DSN could not be queued; the message stays.
    Failed(Id, String),
    /// It is done, but may not outlast the relay.
    Unsynced(Id, std::io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "{id} is not in the queue"),
            Self::Reported(id, dsn) => write!(
                f,
                "{id} has failed, and is kept for {dsn}, which sends it back: name that one"
            ),
            Self::Underway(id) => write!(
                f,
                "{id} is being delivered at this moment: wait for the attempt to end"
            ),
            Self::Unsynced(id, problem) => write!(
                f,
                "{id} is dropped, but that is not on the disk and may not outlast a restart: {problem}"
            ),
            Self::Failed(id, why) => write!(f, "{id} stays in the queue: {why}"),
        }
    }
}

/// The hand on a running schedule.
#[derive(Clone)]
pub struct Hand(pub(super) Arc<Shared>);

impl Hand {
    /// The spool's figures.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.spool.counts()
    }

    /// Which recipients of which messages are being tried at this moment; as many as workers, at most.
    #[must_use]
    pub fn trying(&self) -> Vec<(Id, u128)> {
        self.0.trying.all()
    }

    /// What has happened to the clock since this boot, oldest first.
    #[must_use]
    pub fn eras(&self) -> Vec<Era> {
        self.0.clocks.all_eras()
    }

    /// As [`Spool::next_tries`].
    #[must_use]
    pub fn next_tries(&self, from: u32) -> (Vec<(Id, u128, u64)>, Option<u32>) {
        self.0.spool.next_tries(from)
    }

    /// Makes deferred messages due, all or one; returns how many deliveries that are. Those that are due or under way
    /// already are none of them.
    ///
    /// A destination that failed lately needs no more: a lane gives up only what waited when it failed. DNS is asked again:
    /// who retries by hand may just have mended a zone.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub async fn retry(&self, id: Option<Id>) -> Result<usize, Refusal> {
        self.0.router.resolver.forget();
        self.0.connector.resting.forget_all();
        retry(&self.0.spool, id, Lasting::WhileOpen).await
    }

    /// Asks DNS anew from now on, at the servers that the system names by now.
    pub fn renew_dns(&self) {
        self.0.router.resolver.renew();
    }

    /// Takes a message out, on the disk when this returns.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn remove(&self, id: Id, tell: Tell) -> Result<Removed, Refusal> {
        let shared = &self.0;
        let mut tickets = shared.spool.take(id);
        // Those that wait for a connection are not being delivered.
        tickets.extend(shared.lanes().pull(|ticket| ticket.id() == id));
        let _turn = shared.dsn_turns.acquire().await;
        let removed = remove(&shared.reporter(), id, tickets, tell).await?;
        let synced = shared.spool.sync().await;
        synced.map_err(|problem| Refusal::Unsynced(id, problem))?;
        shared
            .counters
            .failed
            .fetch_add(removed.recipients.into(), Relaxed);
        shared
            .counters
            .dsns
            .fetch_add(u64::from(removed.told > 0), Relaxed);
        Ok(removed)
    }
}

/// The hand on the spool of a relay that does not run.
pub struct Stopped<'a> {
    pub spool: &'a Spool,
    /// Whom a DSN goes to.
    pub names: &'a Names,
    /// In DSNs.
    pub hostname: &'a str,
    /// Microseconds since 1970.
    pub micros: u64,
}

impl Stopped<'_> {
    /// As [`Hand::retry`]: the next start tries them at once.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub async fn retry(&self, id: Option<Id>) -> Result<usize, Refusal> {
        retry(self.spool, id, Lasting::OnDisk).await
    }

    /// As [`Hand::remove`]; on the disk when the spool is closed.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn remove(&self, id: Id, tell: Tell) -> Result<Removed, Refusal> {
        let reporter = Reporter {
            spool: self.spool,
            names: self.names,
            hostname: self.hostname,
            micros: self.micros,
            clocks: None,
        };
        remove(&reporter, id, self.spool.take(id), tell).await
    }
}

async fn retry(spool: &Spool, id: Option<Id>, lasting: Lasting) -> Result<usize, Refusal> {
    let count = spool.hasten(id, lasting).await;
    match id {
        Some(id) if count == 0 && spool.entries_of(id) == 0 => Err(missing(spool, id)),
        _ => Ok(count),
    }
}

/// Nothing of a message waits.
fn missing(spool: &Spool, id: Id) -> Refusal {
    let holder = spool.holder(id);
    holder.map_or(Refusal::Unknown(id), |dsn| Refusal::Reported(id, dsn))
}

/// All of a message or nothing: where one of its entries is with a worker, the others go back.
async fn remove(
    reporter: &Reporter<'_>,
    id: Id,
    tickets: Vec<Ticket>,
    tell: Tell,
) -> Result<Removed, Refusal> {
    match reporter.spool.entries_of(id) {
        0 => return Err(missing(reporter.spool, id)),
        entries if entries > tickets.len() => return Err(Refusal::Underway(id)),
        _ => {}
    }
    let recipients = |ticket: &Ticket| reporter.spool.info(ticket).recipients;
    let all = tickets.iter().map(recipients).fold(0, |all, its| all | its);
    let told = match tell {
        Tell::Nobody => Ok(0),
        Tell::Sender => report(reporter, &tickets, all).await,
    };
    let told = told.map_err(|why| Refusal::Failed(id, why))?;
    for ticket in tickets {
        let outcome = Outcome {
            done: all,
            defer: None,
        };
        reporter.spool.settle(ticket, outcome).await;
    }
    let recipients = all.count_ones();
    log::warn!("dropped id={id} recipients={recipients} told={told} reason=\"by hand\"");
    Ok(Removed { recipients, told })
}

/// Queues one DSN for all of a message, which marks the recipients that it tells of; returns how many they are.
async fn report(reporter: &Reporter<'_>, tickets: &[Ticket], all: u128) -> Result<u32, String> {
    let Some(ticket) = tickets.first() else {
        return Ok(0);
    };
    let read = reporter.spool.read_with(ticket, all).await;
    let mut message = read.map_err(|problem| {
        format!(
            "{problem}; its envelope cannot be read, so nobody can be told (drop it without --dsn)"
        )
    })?;
    message.recipients.retain(|it| !it.is_expanded());
    let bits = merge_twins(&mut message.recipients);
    let (mask, failures) = failures(&message, &bits, reporter.hostname);
    if mask == 0 || message.sender.is_empty() {
        return Ok(0);
    }
    let to = reporter.names.stands_for(&message.sender);
    if to.is_empty() {
        return Ok(0); // its sender has no mailbox here
    }
    let settles = Settles::Recipients(ticket, mask);
    reporter
        .report(settles, &mut message, &to, &failures)
        .await?;
    Ok(mask.count_ones())
}

fn failures(message: &Message, bits: &[u128], hostname: &str) -> (u128, Vec<Report>) {
    let with_bits = message.recipients.iter().zip(bits);
    let told = with_bits.filter(|(recipient, _)| recipient.wants_failure_told());
    let mut mask = 0;
    let failure = |(recipient, bits): (&crate::spool::Recipient, &u128)| {
        mask |= bits;
        Report {
            address: recipient.address.clone(),
            original: recipient.orcpt.clone(),
            status: "5.0.0".to_owned(),
            host: None,
            code: 0,
            diagnostic: format!("the postmaster of {hostname} removed it from the queue"),
            cause: Cause::Impossible,
            tried: None,
        }
    };
    let failures = told.map(failure).collect();
    (mask, failures)
}
