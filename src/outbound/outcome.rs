//! What becomes of a message after an attempt: done, tried again later, or its sender told.

use super::attempt;
use super::destinations::Destination;
use super::dsn::{Cause, Failure};
use super::report::Reporter;
use super::schedule::Shared;
use crate::spool::{Deferral, Info, Message, Note, Outcome, ReadError, Recipient, Ticket};
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

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
}

/// The recipients' bits by what is to be done with them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Masks {
    delivered: u128,
    failed: u128,
    /// Failed, and nobody wants to be told.
    silent: u128,
    deferred: u128,
}

/// Sorts an attempt's results. A deferral of a message that is too old is a failure, of its own kind.
fn sort(recipients: &[Recipient], attempt: &Attempt<'_>, too_old: bool) -> (Masks, Vec<Failure>) {
    let mut masks = Masks::default();
    let mut failures = Vec::new();
    let with_bits = recipients.iter().zip(attempt.bits.iter().copied());
    for ((recipient, bits), outcome) in with_bits.zip(&attempt.outcomes) {
        let (why, cause) = match outcome {
            attempt::Outcome::Delivered { .. } => {
                masks.delivered |= bits;
                continue;
            }
            attempt::Outcome::Deferred(_) if !too_old => {
                masks.deferred |= bits;
                continue;
            }
            attempt::Outcome::Deferred(why) => (why, Cause::Expired),
            attempt::Outcome::Failed(why) if why.code != 0 => (why, Cause::Refused),
            attempt::Outcome::Failed(why) => (why, Cause::Impossible),
        };
        if !recipient.wants_failure_told() {
            masks.silent |= bits;
            continue;
        }
        masks.failed |= bits;
        failures.push(Failure {
            address: recipient.address.clone(),
            original: recipient.orcpt.clone(),
            status: final_status(&why.status, cause),
            host: why.host.clone(),
            code: why.code,
            diagnostic: why.text.clone(),
            cause,
        });
    }
    (masks, failures)
}

/// What has expired says so (RFC 3463 3.5, X.4.7, a persistent transient failure); its last answer stands in the
/// diagnostic. Any other failure is for good, whatever class its enhanced code claims.
fn final_status(status: &str, cause: Cause) -> String {
    match (status.strip_prefix("4."), cause) {
        (_, Cause::Expired) => "4.4.7".to_owned(),
        (Some(detail), _) => format!("5.{detail}"),
        (None, _) => status.to_owned(),
    }
}

impl Shared {
    /// Settles a ticket by an attempt's results. What failed is told to the sender in the same commit that marks it; if
    /// that cannot be, it is tried again later, because a failure that nobody learns of would be a lost message.
    pub(super) async fn conclude(
        &self,
        ticket: Ticket,
        info: Info,
        message: &mut Message,
        attempt: Attempt<'_>,
    ) {
        let now = self.now();
        let too_old = self.clocks.is_too_old(info.id, now, self.settings.lifetime);
        let next = self.next_try(&info, now);
        log_outcomes(&info, message, &attempt, too_old, next - now);
        let (masks, failures) = sort(&message.recipients, &attempt, too_old);
        self.counters
            .delivered
            .fetch_add(u64::from(masks.delivered.count_ones()), Relaxed);
        let mut done = masks.delivered | masks.silent;
        let mut deferred = masks.deferred;
        if masks.silent != 0 {
            log::info!(
                "untold id={} sender={:?} recipients={} reason=\"failed, and NOTIFY asks for no report\"",
                info.id,
                message.sender,
                masks.silent.count_ones()
            );
        }
        self.counters
            .failed
            .fetch_add(u64::from(masks.silent.count_ones()), Relaxed);
        if masks.failed != 0 {
            if message.sender.is_empty() {
                // RFC 5321 6.1: never a DSN about a DSN.
                log::warn!(
                    "dropped id={} sender=<> recipients={} reason=\"failed, and there is no sender to tell\"",
                    info.id,
                    failures.len()
                );
                done |= masks.failed;
            } else if let Err(problem) = self
                .tell_sender(&ticket, masks.failed, message, &failures)
                .await
            {
                log::warn!(
                    "dsn for={} to={:?} result=deferred reason={problem:?}",
                    info.id,
                    message.sender
                );
                deferred |= masks.failed;
            }
            let failed = masks.failed & !deferred;
            self.counters
                .failed
                .fetch_add(u64::from(failed.count_ones()), Relaxed);
        }
        self.counters
            .deferred
            .fetch_add(u64::from(deferred.count_ones()), Relaxed);
        let defer = (deferred != 0).then_some(Deferral { next });
        let outcome = Outcome { done, defer };
        let note = note(&attempt, now);
        self.spool.settle_noting(ticket, outcome, &note).await;
    }

    /// Queues a DSN to the sender; when this returns, the failed recipients are marked with it.
    async fn tell_sender(
        &self,
        ticket: &Ticket,
        failed: u128,
        message: &mut Message,
        failures: &[Failure],
    ) -> Result<(), String> {
        let _turn = self.dsn_turns.acquire().await;
        let report = self.reporter();
        report.report(ticket, failed, message, failures).await?;
        self.counters.dsns.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A message whose envelope cannot be read. It waits like one whose next hop is down. A damaged one is given up when it
    /// is too old: nobody can be told.
    pub(super) async fn cannot_read(&self, ticket: Ticket, problem: &ReadError) {
        let info = self.spool.info(&ticket);
        let now = self.now();
        let too_old = self.clocks.is_too_old(info.id, now, self.settings.lifetime);
        let outcome = if too_old && matches!(problem, ReadError::Damaged { .. }) {
            log::error!(
                "dropped id={} reason=\"{problem}; its envelope cannot be read, so nobody can be told\"",
                info.id
            );
            Outcome {
                done: info.recipients,
                defer: None,
            }
        } else {
            let next = self.next_try(&info, now);
            log::error!(
                "unreadable id={} reason=\"{problem}\" next={}s",
                info.id,
                next - now
            );
            Outcome {
                done: 0,
                defer: Some(Deferral { next }),
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
            hostname: &self.settings.hostname,
            micros: self.clocks.micros(),
        }
    }

    fn next_try(&self, info: &Info, now: u64) -> u64 {
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
            note.add(bits, why.host.as_deref(), &why.text);
        }
    }
    note
}

/// One line for each recipient of an attempt.
fn log_outcomes(info: &Info, message: &Message, attempt: &Attempt<'_>, too_old: bool, wait: u64) {
    if !log::log_enabled!(log::Level::Info) {
        return;
    }
    for (recipient, outcome) in message.recipients.iter().zip(&attempt.outcomes) {
        let about = about(info.id, &recipient.address, attempt);
        match outcome {
            attempt::Outcome::Delivered { host, reply } => {
                log::info!("{about} result=delivered host={host} reply={reply:?}");
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
    use crate::smtp::parameters::Notify;

    fn recipients(count: u8) -> Vec<Recipient> {
        let one = |ordinal| Recipient {
            ordinal,
            address: format!("r{ordinal}@example.com"),
            notify: None,
            orcpt: None,
        };
        (0..count).map(one).collect()
    }

    fn why(status: &str, code: u16) -> attempt::Reason {
        attempt::Reason {
            code,
            status: status.to_owned(),
            text: "x".to_owned(),
            host: None,
        }
    }

    fn target() -> Destination {
        Destination {
            target: Target::Mx,
            domain: "example.com".to_owned(),
        }
    }

    fn sorted(
        recipients: &[Recipient],
        bits: Vec<u128>,
        outcomes: Vec<attempt::Outcome>,
        too_old: bool,
    ) -> (Masks, Vec<Failure>) {
        let target = target();
        let attempt = Attempt {
            session: "-",
            target: &target,
            bits,
            outcomes,
        };
        sort(recipients, &attempt, too_old)
    }

    #[test]
    fn a_quoted_local_part_forges_no_field_of_the_log() {
        let target = target();
        let attempt = Attempt {
            session: "o1",
            target: &target,
            bits: Vec::new(),
            outcomes: Vec::new(),
        };
        let line = about("id", "\"x> result=delivered\"@example.com", &attempt);
        let forged = r#"to="\"x> result=delivered\"@example.com" target=mx:example.com"#;
        assert!(line.ends_with(forged), "{line}");
    }

    #[test]
    fn each_recipient_gets_the_bit_of_its_own_fate() {
        let outcomes = vec![
            attempt::Outcome::Delivered {
                host: "h".to_owned(),
                reply: String::new(),
            },
            attempt::Outcome::Failed(why("5.1.1", 550)),
            attempt::Outcome::Deferred(why("4.2.2", 550)),
            attempt::Outcome::Failed(why("5.6.3", 0)),
        ];
        // The ticket holds recipients 1 to 4 and twins of theirs, 5 to 7; the last one's attempt was cut off.
        let recipients = recipients(9).split_off(1);
        let bits = vec![0b10, 0b10_0100, 0b100_1000, 0b1001_0000, 0b1_0000_0000];
        let (masks, failures) = sorted(&recipients, bits, outcomes, false);
        assert_eq!(
            masks,
            Masks {
                delivered: 0b10,
                failed: 0b1011_0100,
                silent: 0,
                deferred: 0b100_1000
            }
        );
        let told: Vec<_> = failures
            .iter()
            .map(|f| (f.address.as_str(), f.status.as_str(), f.cause))
            .collect();
        assert_eq!(
            told,
            [
                ("r2@example.com", "5.1.1", Cause::Refused),
                ("r4@example.com", "5.6.3", Cause::Impossible),
            ]
        );
    }

    #[test]
    fn a_failure_that_nobody_wants_told_is_none_of_the_report() {
        let mut recipients = recipients(3);
        recipients[0].notify = Some(Notify::default());
        recipients[1].notify = Some(Notify {
            success: true,
            failure: false,
            delay: true,
        });
        recipients[2].notify = Some(Notify {
            success: false,
            failure: true,
            delay: false,
        });
        recipients[2].orcpt = Some("rfc822;x".to_owned());
        let outcomes = vec![attempt::Outcome::Failed(why("5.1.1", 550)); 3];
        let (masks, failures) = sorted(&recipients, vec![1, 2, 4], outcomes, false);
        assert_eq!((masks.failed, masks.silent), (0b100, 0b11));
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].original.as_deref(), Some("rfc822;x"));
    }

    #[test]
    fn a_deferral_of_an_old_message_is_its_end() {
        let outcomes = vec![
            attempt::Outcome::Deferred(why("4.4.1", 0)),
            attempt::Outcome::Deferred(why("4.7.1", 451)),
        ];
        let (masks, failures) = sorted(&recipients(2), vec![0b1, 0b10], outcomes, true);
        assert_eq!(
            masks,
            Masks {
                delivered: 0,
                failed: 0b11,
                silent: 0,
                deferred: 0
            }
        );
        for failure in &failures {
            assert_eq!(
                (failure.status.as_str(), failure.cause),
                ("4.4.7", Cause::Expired)
            );
        }
    }
}
