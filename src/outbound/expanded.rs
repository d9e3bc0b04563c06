//! Aliases of several: the sender who asked for success hears that the message was passed on (RFC 3461 5.2.7.3).
//!
//! RCPT keeps such an alias beside the recipients that it stands for, as one of its own kind with a bit of its own. So the
//! report is in one commit with the mark that it is done, over restarts, and never written twice.

use super::dsn::{Cause, Report};
use super::fates::Masks;
use super::outcome::Told;
use super::schedule::Shared;
use crate::spool::{Deferral, Message, Outcome, Recipient, Ticket};

impl Shared {
    /// Tells of a ticket's recipients, all of them [`crate::spool::Role::Expanded`]. Where the spool has no room for it, it
    /// is tried again like a delivery.
    pub(super) async fn tell_expanded(&self, ticket: Ticket, message: &mut Message) {
        let (info, now) = (self.spool.info(&ticket), self.now());
        let recipients = message.recipients.iter();
        let reports: Vec<Report> = recipients.map(|it| report(it, now)).collect();
        let masks = Masks {
            confirmed: info.recipients,
            ..Masks::default()
        };
        let told = self.tell(&ticket, &masks, message, &reports).await;
        let too_old = self.clocks.is_too_old(info.id, now, self.settings.lifetime);
        let outcome = match told {
            Told::No if !too_old => Outcome {
                done: 0,
                defer: Some(Deferral {
                    next: self.next_try(&info, now),
                    unreached: false,
                }),
            },
            Told::No | Told::Yes => Outcome {
                done: info.recipients,
                defer: None,
            },
        };
        self.spool.settle(ticket, outcome).await;
    }
}

fn report(recipient: &Recipient, now: u64) -> Report {
    Report {
        address: recipient.address.clone(),
        original: recipient.orcpt.clone(),
        status: "2.0.0".to_owned(),
        host: None,
        code: 0,
        diagnostic: "the alias was expanded".to_owned(),
        cause: Cause::Expanded,
        tried: Some(now),
    }
}
