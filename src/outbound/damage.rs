//! Messages that the disk did not give back: their senders and the postmaster are told, once.

use super::dsn::{Cause, Report};
use super::schedule::Shared;
use crate::limits;
use crate::policy::directory::Names;
use crate::spool::{Lost, Recipient};
use std::sync::Arc;

/// Tells of all that the start found.
pub(super) async fn tell(shared: Arc<Shared>) {
    for lost in shared.spool.take_lost() {
        let to = whom(&lost, &shared.names);
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

/// The sender, where there is one and NOTIFY allows it, and the postmaster: whom they stand for.
fn whom(lost: &Lost, names: &Names) -> Vec<String> {
    let wanted = lost.recipients.iter().any(Recipient::wants_failure_told);
    let mut to = match &*lost.sender {
        sender if wanted && !sender.is_empty() => names.stands_for(sender),
        _ => Vec::new(),
    };
    let mut postmaster = names.postmaster();
    postmaster.retain(|address| !to.contains(address));
    to.append(&mut postmaster);
    to.truncate(limits::RECIPIENTS);
    to
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
    let mailboxes = lost.recipients.iter().filter(|it| !it.is_expanded());
    mailboxes.map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::relay::Relay;
    use crate::smtp::parameters::Notify;
    use crate::spool::{Id, Role};

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
                role: Role::Mailbox,
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
        let told = |sender, notify, postmaster: Option<&str>| {
            let relay = Relay {
                postmaster: postmaster.map(str::to_owned),
                ..Relay::default()
            };
            let names = Names::new(relay, Default::default(), Default::default());
            whom(&lost(sender, notify), &names)
        };
        assert_eq!(told("a@b", None, Some("p@q")), ["a@b", "p@q"]);
        assert_eq!(told("p@q", None, Some("p@q")), ["p@q"], "once");
        assert_eq!(told("", None, Some("p@q")), ["p@q"]);
        assert_eq!(told("a@b", Some(never), Some("p@q")), ["p@q"]);
        assert_eq!(told("", None, None), [""; 0]);
    }
}
