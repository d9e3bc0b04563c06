//! Messages that the disk did not give back: their senders and the postmaster are told, once.

use super::dsn::{Cause, Report};
use super::schedule::Shared;
use crate::spool::{Lost, Recipient};
use std::sync::Arc;

/// Tells of all that the start found.
pub(super) async fn tell(shared: Arc<Shared>) {
    for lost in shared.spool.take_lost() {
        let to = whom(&lost, shared.settings.postmaster.as_deref());
        if to.is_empty() {
            log::warn!(
                "damage id={} told=nobody: neither a sender nor a --postmaster",
                lost.id
            );
            shared.spool.let_go(lost.id);
            continue;
        }
        let failures = failures(&lost, &shared.settings.hostname);
        let _turn = shared.dsn_turns.acquire().await;
        if let Err(why) = shared.reporter().report_lost(&lost, &to, &failures).await {
            // The next start tries again.
            let why = why.to_string();
            log::error!("damage id={} told=nobody reason={why:?}", lost.id);
        }
    }
}

/// The sender, where there is one and NOTIFY allows it, and the postmaster.
fn whom(lost: &Lost, postmaster: Option<&str>) -> Vec<String> {
    let wanted = lost.recipients.iter().any(Recipient::wants_failure_told);
    let sender = Some(&*lost.sender).filter(|sender| wanted && !sender.is_empty());
    let postmaster = postmaster.filter(|postmaster| Some(*postmaster) != sender);
    let to = sender.into_iter().chain(postmaster);
    to.map(str::to_owned).collect()
}

fn failures(lost: &Lost, hostname: &str) -> Vec<Report> {
    let failure = |recipient: &Recipient| Report {
        address: recipient.address.clone(),
        original: recipient.orcpt.clone(),
        status: "5.3.0".to_owned(),
        host: None,
        code: 0,
        diagnostic: format!("the disk of {hostname} damaged the message while it waited"),
        cause: Cause::Impossible,
        tried: None,
    };
    lost.recipients.iter().map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::parameters::Notify;
    use crate::spool::Id;

    fn lost(sender: &str, notify: Option<Notify>) -> Lost {
        Lost {
            id: Id::parse("1j0t7dfr3v2").unwrap(),
            sender: sender.to_owned(),
            envid: None,
            recipients: vec![Recipient {
                ordinal: 0,
                address: "bob@far.test".to_owned(),
                notify,
                orcpt: None,
            }],
        }
    }

    #[test]
    fn sender_and_postmaster_are_told_but_no_null_sender_nor_against_its_wish() {
        let never = Notify {
            success: false,
            failure: false,
            delay: false,
        };
        assert_eq!(whom(&lost("a@b", None), Some("p@q")), ["a@b", "p@q"]);
        assert_eq!(whom(&lost("p@q", None), Some("p@q")), ["p@q"], "once");
        assert_eq!(whom(&lost("", None), Some("p@q")), ["p@q"]);
        assert_eq!(whom(&lost("a@b", Some(never)), Some("p@q")), ["p@q"]);
        assert_eq!(whom(&lost("", None), None), [""; 0]);
    }
}
