//! Messages that the disk did not give back: their senders and the postmaster are told, once.

use super::dsn::{Cause, Dsn, Failure};
use super::schedule::Shared;
use crate::spool::{Facts, Id, Last, Lost, Sender};
use std::sync::Arc;

/// Tells of all that the start found.
pub(super) async fn tell(shared: Arc<Shared>) {
    for lost in shared.spool.take_lost() {
        let id = lost.id;
        match tell_of(&shared, lost).await {
            Ok(to) if to.is_empty() => {
                log::warn!("damage id={id} told=nobody: neither a sender nor a --postmaster");
            }
            Ok(to) => log::info!("damage id={id} told={to:?}"),
            // The next start tries again.
            Err(why) => log::error!("damage id={id} told=nobody reason=\"{why}\""),
        }
    }
}

/// Queues one DSN, to the sender where there is one and NOTIFY allows it, and to the postmaster. Returns who gets it.
async fn tell_of(shared: &Shared, lost: Lost) -> Result<Vec<String>, String> {
    let failures = failures(&lost, &shared.settings.hostname);
    let wanted = lost.recipients.iter().any(|one| one.wants_failure_told());
    let sender = Some(lost.sender).filter(|sender| wanted && !sender.is_empty());
    let to: Vec<String> = sender
        .into_iter()
        .chain(shared.settings.postmaster.clone())
        .collect();
    let Some(first) = to.first() else {
        return Ok(to);
    };
    let micros = (shared.clock)();
    let mut transaction = shared
        .spool
        .begin_dsn(micros)
        .map_err(|refusal| format!("the queue takes nothing: {refusal:?}"))?;
    let (id, original_id) = (transaction.id().to_string(), lost.id.to_string());
    let dsn = Dsn {
        hostname: &shared.settings.hostname,
        id: &id,
        original_id: &original_id,
        envid: lost.envid.as_deref(),
        to: first,
        arrived: lost.id.seconds(),
        now: micros / 1_000_000,
        failures: &failures,
        header_8bit: false,
        salt: fastrand::u128(..),
    };
    write(&mut transaction, &dsn, &to)
        .await
        .map_err(|problem| problem.to_string())?;
    let head = dsn.head();
    let last = last(&dsn, &head, lost.id);
    let committed = transaction.commit(last).await;
    committed.map_err(|problem| problem.to_string())?;
    Ok(to)
}

async fn write(
    transaction: &mut crate::spool::Transaction,
    dsn: &Dsn<'_>,
    to: &[String],
) -> Result<(), crate::spool::Error> {
    transaction.sender(&Sender::default()).await?;
    for address in to {
        transaction.recipient(address.as_str()).await?;
    }
    transaction.data_begins();
    transaction.body(dsn.before().as_bytes()).await?;
    transaction.body(dsn.after().as_bytes()).await
}

fn last<'a>(dsn: &Dsn<'_>, head: &'a str, of: Id) -> Last<'a> {
    let global = dsn.is_global();
    Last {
        head: head.as_bytes(),
        facts: Facts {
            eight_bit_body: global,
            utf8_headers: global,
            utf8_address: global,
            require_tls: false,
        },
        tells_of: Some(of),
        ..Last::default()
    }
}

fn failures(lost: &Lost, hostname: &str) -> Vec<Failure> {
    let failure = |recipient: &crate::spool::Recipient| Failure {
        address: recipient.address.clone(),
        original: recipient.orcpt.clone(),
        status: "5.3.0".to_owned(),
        host: None,
        code: 0,
        diagnostic: format!("the disk of {hostname} damaged the message while it waited"),
        cause: Cause::Impossible,
    };
    lost.recipients.iter().map(failure).collect()
}
