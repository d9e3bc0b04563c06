//! What becomes of a message after an attempt: done, tried again later, or its sender told.

use super::attempt;
use super::destinations::Destination;
use super::dsn::Report;
use super::fates::{Masks, Moment, serves, sort};
use super::report::Reporter;
use super::schedule::Shared;
use crate::limits;
use crate::spool::{Deferral, Info, Message, Note, Outcome, ReadError, Reported, Settles, Ticket};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// An attempt's results.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The session's id in the log; "-" where none was made.
    pub session: &'a str,
    /// Where it went.
    pub target: &'a Destination,
    /// The bits that each of the message's recipients stands for.
    pub bits: Vec<u128>,
    /// One for each of them; fewer where the attempt was cut off, and those without one are tried as if they had not been.
    pub outcomes: Vec<attempt::Outcome>,
    pub reach: Reach,
}

/// Whether a host of the destination was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Or nobody had to be.
    #[default]
    Reached,
    /// None. The message tries again after so long at the latest, where it tries for the others, too.
    Unreached(Option<Duration>),
}

/// Whether what is to be told is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Or nobody is to be told.
    Yes,
    /// What failed stays, until somebody can be told.
    No,
}

impl Shared {
    /// Settles a ticket by an attempt's results. What the sender is told is queued in the same commit that marks it. What
    /// failed and cannot be told is tried again later, because a failure that nobody learns of would be a lost message.
    /// Returns those who were too many for the transaction, and are to have a next one at once.
    pub(super) async fn conclude(
        &self,
        ticket: Ticket,
        info: Info,
        message: &mut Message,
        attempt: Attempt<'_>,
    ) -> Option<Ticket> {
        let now = self.now();
        let too_old = self.clocks.is_too_old(info.id, now, self.settings.lifetime);
        let wait = match attempt.reach {
            Reach::Unreached(Some(most)) => {
                (self.next_try(&info, now) - now).min(most.as_secs().max(1))
            }
            _ => self.next_try(&info, now) - now,
        };
        log_outcomes(&info, message, &attempt, too_old, wait);
        let moment = Moment {
            now,
            too_old,
            has_sender: !message.sender.is_empty(),
            patience: self.patience(&info, now, &attempt, message),
        };
        let (masks, reports) = sort(&message.recipients, &attempt, moment);
        let failed = match self.tell(&ticket, &masks, message, &reports).await {
            Told::Yes => masks.failed,
            Told::No => 0,
        };
        let done = masks.delivered | masks.silent | failed;
        let deferred = masks.deferred | masks.failed & !failed;
        let count = |counter: &AtomicU64, mask: u128| {
            counter.fetch_add(mask.count_ones().into(), Relaxed);
        };
        count(&self.counters.delivered, masks.delivered);
        count(&self.counters.failed, masks.silent | failed);
        count(&self.counters.deferred, deferred);
        let at_once = ticket.part(masks.at_once);
        // The clock may have been set back while the sender was told: by the old time it would wait for years.
        let next = self.now() + wait;
        let unreached = matches!(attempt.reach, Reach::Unreached(_));
        let defer = (deferred != 0).then_some(Deferral { next, unreached });
        let outcome = Outcome { done, defer };
        let note = note(&attempt, now);
        self.spool.settle_noting(ticket, outcome, &note).await;
        at_once
    }

    /// Where it is time to tell of a delay, and no attempt before was: until when the message is tried. An attempt that was
    /// cut off says nothing of some recipients: the next one's report tells of all.
    fn patience(
        &self,
        info: &Info,
        now: u64,
        attempt: &Attempt<'_>,
        message: &Message,
    ) -> Option<u64> {
        let age = self.clocks.age(info.id, now);
        let whole = attempt.outcomes.len() == message.recipients.len();
        let is_time = age >= limits::DSN_DELAY && !info.delay_told && whole;
        is_time.then(|| now + self.settings.lifetime.saturating_sub(age).as_secs())
    }

    /// Tells who is to be told.
    pub(super) async fn tell(
        &self,
        ticket: &Ticket,
        masks: &Masks,
        message: &mut Message,
        reports: &[Report],
    ) -> Told {
        let (id, silent) = (message.id, masks.silent.count_ones());
        if silent != 0 {
            log::info!(
                "untold id={id} sender={:?} recipients={silent} reason=\"failed, and NOTIFY asks for no report\"",
                message.sender
            );
        }
        if reports.is_empty() {
            return Told::Yes;
        }
        let reported = Reported {
            done: (masks.failed | masks.confirmed) & !masks.delivered,
            delivered: masks.confirmed & masks.delivered,
            delayed: masks.delayed,
            held: 0,
        };
        let settles = Settles::Reported(ticket, reported);
        let to = match message.sender.as_str() {
            // RFC 5321 6.1: never a DSN about a DSN.
            "" => Vec::new(),
            sender => self.names.stands_for(sender),
        };
        if to.is_empty() {
            self.tell_postmaster(settles, message, reports).await;
            return Told::Yes;
        }
        match self.tell_sender(settles, message, &to, reports).await {
            Ok(()) => Told::Yes,
            Err(problem) => {
                let result = match masks.failed {
                    0 => "dropped",
                    _ => "deferred",
                };
                log::warn!(
                    "dsn for={id} to={:?} result={result} reason={problem:?}",
                    message.sender
                );
                Told::No
            }
        }
    }

    /// Queues a DSN to the sender; when this returns, what it settles is marked with it.
    async fn tell_sender(
        &self,
        settles: Settles<'_>,
        message: &mut Message,
        to: &[String],
        reports: &[Report],
    ) -> Result<(), String> {
        let _turn = self.dsn_turns.acquire().await;
        let report = self.reporter();
        report.report(settles, message, to, reports).await?;
        self.counters.dsns.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Queues a note to the postmaster, of a failure that has no sender to be told.
    ///
    /// It is only a courtesy: without it, the failed recipients are done all the same.
    async fn tell_postmaster(
        &self,
        settles: Settles<'_>,
        message: &mut Message,
        reports: &[Report],
    ) {
        let failures = reports.iter().filter(|report| report.cause.is_failure());
        let failures: Vec<Report> = failures.cloned().collect();
        if failures.is_empty() {
            return;
        }
        let told = self.note(settles, message, &failures).await;
        log::warn!(
            "dropped id={} sender={:?} recipients={} told={told:?} reason=\"failed, and there is no sender to tell\"",
            message.id,
            message.sender,
            failures.len()
        );
    }

    /// The same; returns who was told.
    async fn note(
        &self,
        settles: Settles<'_>,
        message: &mut Message,
        failures: &[Report],
    ) -> String {
        let nobody = || "nobody".to_owned();
        let postmaster = self.names.postmaster();
        let is_postmaster = |report: &Report| {
            let mut all = postmaster.iter();
            all.any(|it| it.eq_ignore_ascii_case(&report.address))
        };
        if postmaster.is_empty() || message.facts.note || failures.iter().any(is_postmaster) {
            return nobody();
        }
        let Some(untold) = self.notes.take(Instant::now()) else {
            return nobody();
        };
        let _turn = self.dsn_turns.acquire().await;
        let whom = (&*postmaster, untold);
        match self.reporter().note(whom, settles, message, failures).await {
            Ok(()) => {
                self.counters.notes.fetch_add(1, Relaxed);
                postmaster.join(",")
            }
            Err(problem) => {
                log::warn!(
                    "note for={} to={postmaster:?} reason={problem:?}",
                    message.id
                );
                self.notes.give_back(untold);
                nobody()
            }
        }
    }

    /// A message whose envelope cannot be read. It waits like one whose next hop is down. A damaged one is given up when it
    /// is too old: nobody can be told.
    pub(super) async fn cannot_read(&self, ticket: Ticket, problem: &ReadError) {
        let info = self.spool.info(&ticket);
        let now = self.now();
        let too_old = self.clocks.is_too_old(info.id, now, self.settings.lifetime);
        let outcome = if too_old && matches!(problem, ReadError::Damaged { .. }) {
            log::error!(
                "dropped id={} reason={:?}",
                info.id,
                format!("{problem}; its envelope cannot be read, so nobody can be told")
            );
            Outcome {
                done: info.recipients,
                defer: None,
            }
        } else {
            let next = self.next_try(&info, now);
            log::error!(
                "unreadable id={} reason={:?} next={}s",
                info.id,
                problem.to_string(),
                next - now
            );
            Outcome {
                done: 0,
                defer: Some(Deferral {
                    next,
                    unreached: false,
                }),
            }
        };
        let mut note = Note {
            at: now,
            replies: Vec::new(),
        };
        note.add(info.recipients, None, &problem.to_string());
        self.spool.settle_noting(ticket, outcome, &note).await;
    }

    pub(super) fn reporter(&self) -> Reporter<'_> {
        Reporter {
            spool: &self.spool,
            names: &self.names,
            hostname: &self.settings.hostname,
            micros: self.clocks.micros(),
            clocks: Some(&self.clocks),
        }
    }

    pub(super) fn next_try(&self, info: &Info, now: u64) -> u64 {
        let (schedule, attempts) = (&self.settings.retry, info.attempts.saturating_add(1));
        let step = schedule.step(attempts, self.clocks.age(info.id, now));
        now + schedule.wait(step, fastrand::u8(..)).as_secs().max(1)
    }
}

/// What was said to those who are still to be served: also of failures, which stay in the queue if no DSN can be written.
fn note(attempt: &Attempt<'_>, now: u64) -> Note {
    let mut note = Note {
        at: now,
        replies: Vec::new(),
    };
    for (&bits, outcome) in attempt.bits.iter().zip(&attempt.outcomes) {
        if let attempt::Outcome::Deferred(why) | attempt::Outcome::Failed(why) = outcome {
            note.add(bits, why.host.as_deref(), why.within());
        }
    }
    note
}

/// One line for each recipient of an attempt.
fn log_outcomes(info: &Info, message: &Message, attempt: &Attempt<'_>, too_old: bool, wait: u64) {
    if !log::log_enabled!(log::Level::Info) {
        return;
    }
    let serves = serves(attempt);
    for (recipient, outcome) in message.recipients.iter().zip(&attempt.outcomes) {
        let about = about(info.id, &recipient.address, attempt);
        match outcome {
            attempt::Outcome::Delivered { host, reply, .. } => {
                log::info!("{about} result=delivered host={host} reply={reply:?}");
            }
            attempt::Outcome::Deferred(why) if serves && why.is_too_many() => {
                log::info!(
                    "{about} result=deferred {why} next=\"at once: too many for one transaction\""
                )
            }
            attempt::Outcome::Deferred(why) if too_old => {
                log::info!("{about} result=expired {why}")
            }
            attempt::Outcome::Deferred(why) => {
                log::info!("{about} result=deferred {why} next={wait}s")
            }
            attempt::Outcome::Failed(why) => log::info!("{about} result=failed {why}"),
        }
    }
}

/// The fields that every outcome has. The address is quoted and escaped: its local part may hold spaces and quotes, and
/// could pass for fields of ours.
fn about(id: impl fmt::Display, address: &str, attempt: &Attempt<'_>) -> String {
    format!(
        "attempt session={} id={id} to={address:?} target={}",
        attempt.session, attempt.target
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::target::Target;

    fn target() -> Destination {
        Destination {
            target: Target::Mx,
            domain: "example.com".to_owned(),
        }
    }

    #[test]
    fn a_quoted_local_part_forges_no_field_of_the_log() {
        let target = target();
        let attempt = Attempt {
            session: "o1",
            target: &target,
            bits: Vec::new(),
            outcomes: Vec::new(),
            reach: Reach::Reached,
        };
        let line = about("id", "\"x> result=delivered\"@example.com", &attempt);
        let forged = r#"to="\"x> result=delivered\"@example.com" target=mx:example.com"#;
        assert!(line.ends_with(forged), "{line}");
    }
}
