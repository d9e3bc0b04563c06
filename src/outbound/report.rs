//! A DSN on its way into the queue, in one commit with the recipients that it reports.

use super::dsn::{Dsn, Failure};
use crate::spool::{self, Facts, Last, Message, Sender, Spool, Ticket};

/// Who reports, where to and when.
pub(super) struct Reporter<'a> {
    pub spool: &'a Spool,
    /// `--hostname`.
    pub hostname: &'a str,
    /// Microseconds since 1970.
    pub micros: u64,
}

impl Reporter<'_> {
    /// Queues a DSN to the message's sender, who must not be the null sender; when this returns, the failed recipients are
    /// marked with it. The ticket is still to be settled.
    ///
    /// # Errors
    /// Why nothing was queued, and nobody marked.
    pub(super) async fn report(
        &self,
        ticket: &Ticket,
        failed: u128,
        message: &mut Message,
        failures: &[Failure],
    ) -> Result<(), String> {
        let mut transaction = self
            .spool
            .begin_dsn(self.micros)
            .map_err(|refusal| format!("the queue takes nothing: {refusal:?}"))?;
        let (id, original_id) = (transaction.id().to_string(), message.id.to_string());
        let (to, envid) = (message.sender.clone(), message.envid.clone());
        let dsn = Dsn {
            hostname: self.hostname,
            id: &id,
            original_id: &original_id,
            envid: envid.as_deref(),
            to: &to,
            arrived: message.accepted,
            now: self.micros / 1_000_000,
            failures,
            header_8bit: message.facts.utf8_headers,
            salt: fastrand::u128(..),
        };
        write(&mut transaction, &dsn, message)
            .await
            .map_err(|problem| problem.to_string())?;
        let global = dsn.is_global();
        let facts = Facts {
            eight_bit_body: global,
            utf8_headers: global,
            utf8_address: global,
            require_tls: false,
        };
        let head = dsn.head();
        let last = Last {
            head: head.as_bytes(),
            facts,
            finishes: Some((ticket, failed)),
            ..Last::default()
        };
        let durable = transaction
            .commit(last)
            .await
            .map_err(|problem| problem.to_string())?;
        log::info!(
            "dsn id={durable} for={original_id} to={to:?} recipients={} result=queued",
            failures.len()
        );
        Ok(())
    }
}

async fn write(
    transaction: &mut spool::Transaction,
    dsn: &Dsn<'_>,
    message: &mut Message,
) -> Result<(), spool::Error> {
    transaction.sender(&Sender::default()).await?;
    transaction.recipient(dsn.to).await?;
    transaction.data_begins();
    transaction.body(dsn.before().as_bytes()).await?;
    let mut filter = dsn.filter();
    let mut lines = Vec::new();
    message.rewind();
    loop {
        let wanted = match message.next_chunk().await {
            Ok(Some(octets)) => filter.push(octets, &mut lines),
            Ok(None) => false,
            Err(problem) => {
                // The DSN goes without the rest of the header: better than none.
                log::error!("unreadable id={} reason=\"{problem}\"", dsn.original_id);
                false
            }
        };
        transaction.body(&lines).await?;
        lines.clear();
        if !wanted {
            break;
        }
    }
    transaction.body(dsn.after().as_bytes()).await
}
