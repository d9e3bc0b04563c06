//! What became of each recipient in an attempt, and what is to be told of it.

use super::attempt::{self, Duty};
use super::dsn::{Cause, Report};
use super::outcome::Attempt;
use crate::policy::target::Target;
use crate::spool::Recipient;

/// The recipients' bits by what is to be done with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    pub delivered: u128,
    /// Of these, those of which the sender is to be told.
    pub confirmed: u128,
    pub failed: u128,
    /// Failed, and nobody wants to be told.
    pub silent: u128,
    pub deferred: u128,
    /// Too many for one transaction, of which others were delivered: they come in a next one at once, as long as each
    /// serves somebody (RFC 5321 4.5.3.1.10).
    pub at_once: u128,
    /// Of these, those of whose delay the sender is to be told.
    pub delayed: u128,
}

/// The moment at which an attempt ended, and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Unix seconds.
    pub now: u64,
    /// Whether the message is not tried again.
    pub too_old: bool,
    /// Whether there is a sender to be told of anything but a failure.
    pub has_sender: bool,
    /// Set where it is time to tell of a delay: until when the message is tried.
    pub patience: Option<u64>,
}

/// Whether the host took the message for somebody.
pub(super) fn serves(attempt: &Attempt<'_>) -> bool {
    let mut outcomes = attempt.outcomes.iter();
    outcomes.any(|outcome| matches!(outcome, attempt::Outcome::Delivered { .. }))
}

/// Sorts an attempt's results. A deferral of a message that is too old is a failure, of its own kind.
pub(super) fn sort(
    recipients: &[Recipient],
    attempt: &Attempt<'_>,
    moment: Moment,
) -> (Masks, Vec<Report>) {
    let mut masks = Masks::default();
    let mut reports = Vec::new();
    let serves = serves(attempt);
    let with_bits = recipients.iter().zip(attempt.bits.iter().copied());
    for ((recipient, bits), outcome) in with_bits.zip(&attempt.outcomes) {
        let report = match outcome {
            attempt::Outcome::Delivered { host, reply, duty } => {
                masks.delivered |= bits;
                let is_told = recipient.wants_success_told() && moment.has_sender;
                (is_told && *duty == Duty::Ours).then(|| {
                    masks.confirmed |= bits;
                    of_success(recipient, &attempt.target.target, (host, reply))
                })
            }
            attempt::Outcome::Deferred(why) if serves && why.is_too_many() => {
                masks.at_once |= bits;
                None
            }
            attempt::Outcome::Deferred(why) if !moment.too_old => {
                masks.put_off((recipient, bits), why, moment)
            }
            attempt::Outcome::Failed(why) => {
                let cause = match why.code {
                    0 => Cause::Impossible,
                    _ => Cause::Refused,
                };
                masks.fail((recipient, bits), why, cause)
            }
            attempt::Outcome::Deferred(why) => masks.fail((recipient, bits), why, Cause::Expired),
        };
        reports.extend(report.map(|report| Report {
            tried: Some(moment.now),
            ..report
        }));
    }
    (masks, reports)
}

impl Masks {
    /// It is tried again; a report where that is to be told.
    fn put_off(
        &mut self,
        (recipient, bits): (&Recipient, u128),
        why: &attempt::Reason,
        moment: Moment,
    ) -> Option<Report> {
        self.deferred |= bits;
        let patience = moment.patience.filter(|_| recipient.wants_delay_told());
        let until = patience.filter(|_| moment.has_sender)?;
        self.delayed |= bits;
        Some(of_trouble(recipient, why, Cause::Delayed { until }))
    }

    /// It is not; likewise.
    fn fail(
        &mut self,
        (recipient, bits): (&Recipient, u128),
        why: &attempt::Reason,
        cause: Cause,
    ) -> Option<Report> {
        if !recipient.wants_failure_told() {
            self.silent |= bits;
            return None;
        }
        self.failed |= bits;
        Some(of_trouble(recipient, why, cause))
    }
}

fn of_trouble(recipient: &Recipient, why: &attempt::Reason, cause: Cause) -> Report {
    Report {
        address: recipient.address.clone(),
        original: recipient.orcpt.clone(),
        status: status_for(&why.status, cause),
        host: why.host.clone(),
        code: why.code,
        diagnostic: why.text.clone(),
        cause,
        tried: None,
    }
}

/// A next hop without DSN ends what can be told of a message (RFC 3461 5.2.7.3, "relayed").
fn of_success(recipient: &Recipient, target: &Target, (host, reply): (&str, &str)) -> Report {
    let (cause, host, diagnostic) = match target {
        Target::Maildir(_) => (Cause::Delivered, None, "it is in the mailbox"),
        // LMTP ends at the mailbox's own server (RFC 2033).
        Target::Lmtp(_) => (Cause::Delivered, Some(host.to_owned()), reply),
        Target::Mx | Target::Smtp(_) => (Cause::Relayed, Some(host.to_owned()), reply),
    };
    let code = reply.get(..3).and_then(|code| code.parse().ok());
    Report {
        address: recipient.address.clone(),
        original: recipient.orcpt.clone(),
        status: "2.0.0".to_owned(),
        host,
        code: code.unwrap_or(0),
        diagnostic: diagnostic.to_owned(),
        cause,
        tried: None,
    }
}

/// What has expired says so (RFC 3463 3.5, X.4.7, a persistent transient failure); its last answer stands in the
/// diagnostic. Any other failure is for good and any delay is not, whatever class its enhanced code claims.
fn status_for(status: &str, cause: Cause) -> String {
    let (_, detail) = status.split_once('.').unwrap_or(("", "0.0"));
    match cause {
        Cause::Expired => "4.4.7".to_owned(),
        Cause::Delayed { .. } => format!("4.{detail}"),
        _ => format!("5.{detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::destinations::Destination;
    use super::*;
    use crate::smtp::parameters::Notify;
    use crate::spool::Role;

    fn recipients(count: u8) -> Vec<Recipient> {
        let one = |ordinal| Recipient {
            ordinal,
            address: format!("r{ordinal}@example.com"),
            notify: None,
            orcpt: None,
            role: Role::Mailbox,
        };
        (0..count).map(one).collect()
    }

    fn why(status: &str, code: u16) -> attempt::Reason {
        attempt::Reason {
            code,
            status: status.to_owned(),
            text: "x".to_owned(),
            host: None,
            inside: None,
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
    ) -> (Masks, Vec<Report>) {
        let target = target();
        let attempt = Attempt {
            session: "-",
            target: &target,
            bits,
            outcomes,
            reach: Default::default(),
        };
        let moment = Moment {
            now: 7,
            too_old,
            has_sender: true,
            patience: None,
        };
        sort(recipients, &attempt, moment)
    }

    #[test]
    fn each_recipient_gets_the_bit_of_its_own_fate() {
        let outcomes = vec![
            attempt::Outcome::Delivered {
                host: "h".to_owned(),
                reply: String::new(),
                duty: Duty::Ours,
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
                confirmed: 0,
                failed: 0b1011_0100,
                silent: 0,
                deferred: 0b100_1000,
                at_once: 0,
                delayed: 0
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
                confirmed: 0,
                failed: 0b11,
                silent: 0,
                deferred: 0,
                at_once: 0,
                delayed: 0
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
