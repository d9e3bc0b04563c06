//! A DSN on its way into the queue, in one commit with what it reports.

use super::clocks::Clocks;
use super::dsn::{Dsn, Extent, Fitness, Reader, Report};
use crate::limits;
use crate::policy::clock;
use crate::policy::directory::Names;
use crate::smtp::parameters::Ret;
use crate::spool::{self, Facts, Id, Last, Lost, Message, Reported, Sender, Settles, Spool};

/// Who reports, where to and when.
pub(super) struct Reporter<'a> {
    pub spool: &'a Spool,
    /// Whom reports go to.
    pub names: &'a Names,
    /// `--hostname`.
    pub hostname: &'a str,
    /// Microseconds since 1970.
    pub micros: u64,
    /// What has happened to the clock; None: nobody knows.
    pub clocks: Option<&'a Clocks>,
}

/// What a DSN is about.
struct Original<'a> {
    id: Id,
    envid: Option<String>,
    header_8bit: bool,
    /// Where its header can be read.
    message: Option<&'a mut Message>,
    settles: Settles<'a>,
    reader: Reader<'a>,
    extent: Extent,
}

impl<'a> Original<'a> {
    fn of(message: &'a mut Message, settles: Settles<'a>, reader: Reader<'a>) -> Self {
        Self {
            id: message.id,
            envid: message.envid.clone(),
            header_8bit: message.facts.utf8_headers,
            message: Some(message),
            settles,
            reader,
            extent: Extent::Header,
        }
    }
}

impl Reporter<'_> {
    /// Queues a DSN about a message to `to`, whom its sender stands for; when this returns, what it settles is marked with
    /// it. The ticket is still to be settled.
    ///
    /// # Errors
    /// Why nothing was queued, and nobody marked.
    pub(super) async fn report(
        &self,
        settles: Settles<'_>,
        message: &mut Message,
        to: &[String],
        reports: &[Report],
    ) -> Result<(), String> {
        let sender = message.sender.clone();
        let named = addressed(&sender, to);
        // RFC 3461 4.3: only of a failure more than the header goes back.
        let failed = reports.iter().any(|report| report.cause.is_failure());
        let extent = match failed {
            true => self.extent(message, named).await,
            false => Extent::Header,
        };
        let held = match extent {
            Extent::Whole => self.holding(settles),
            Extent::Header => None,
        };
        let mut original = Original::of(message, held.unwrap_or(settles), Reader::Sender);
        if held.is_some() {
            original.extent = Extent::Whole;
        }
        self.queue(original, (named, to), reports).await
    }

    /// When a message came, if anybody knows.
    fn arrived(&self, id: Id) -> Option<u64> {
        match self.clocks {
            Some(clocks) => clocks.arrived(id),
            None => clock::arrived(&[], id.number(), self.micros / 1_000_000),
        }
    }

    /// What of the message goes back to its sender, who is told at this address.
    async fn extent(&self, message: &mut Message, named: &str) -> Extent {
        let wanted = message.ret == Some(Ret::Full) && message.size <= limits::DSN_FULL as u64;
        if !wanted || !self.spool.may_hold() {
            return Extent::Header;
        }
        let mut fitness = Fitness::for_reader(named);
        message.rewind();
        loop {
            match message.next_chunk().await {
                Ok(Some(octets)) if fitness.push(octets) => {}
                Ok(None) if fitness.fits() => return Extent::Whole,
                // What cannot be read is told of where the header is written.
                Ok(_) | Err(_) => return Extent::Header,
            }
        }
    }

    /// The same recipients settled, those of the ticket itself held for the DSN; None if there are none of these.
    fn holding<'a>(&self, settles: Settles<'a>) -> Option<Settles<'a>> {
        let (ticket, reported) = match settles {
            Settles::Recipients(ticket, done) => {
                let reported = Reported {
                    done,
                    ..Reported::default()
                };
                (ticket, reported)
            }
            Settles::Reported(ticket, reported) => (ticket, reported),
            Settles::Damaged(_) => return None,
        };
        let held = reported.done & self.spool.info(ticket).recipients;
        let reported = Reported {
            done: reported.done & !held,
            held,
            ..reported
        };
        (held != 0).then_some(Settles::Reported(ticket, reported))
    }

    /// Queues a note to the postmaster about a message that has no sender to be told; otherwise like [`Self::report`].
    /// `untold` is how many such failures nobody was told of.
    ///
    /// # Errors
    /// Why nothing was queued, and nobody marked.
    pub(super) async fn note(
        &self,
        (postmaster, untold): (&[String], u64),
        settles: Settles<'_>,
        message: &mut Message,
        reports: &[Report],
    ) -> Result<(), String> {
        let sender = message.sender.clone();
        let reader = Reader::Postmaster {
            untold,
            sender: &sender,
        };
        let original = Original::of(message, settles, reader);
        self.queue(original, (first_of(postmaster), postmaster), reports)
            .await
    }

    /// Queues a DSN about a damaged message, to these; when this returns, no start tells of it again.
    ///
    /// # Errors
    /// Why nothing was queued.
    pub(super) async fn report_lost(
        &self,
        lost: &Lost,
        to: &[String],
        reports: &[Report],
    ) -> Result<(), String> {
        let original = Original {
            id: lost.id,
            envid: lost.envid.clone(),
            header_8bit: false,
            message: None,
            settles: Settles::Damaged(lost.id),
            reader: Reader::Sender,
            extent: Extent::Header,
        };
        self.queue(original, (first_of(to), to), reports).await
    }

    async fn queue(
        &self,
        original: Original<'_>,
        (named, to): (&str, &[String]),
        reports: &[Report],
    ) -> Result<(), String> {
        if to.is_empty() {
            return Err("nobody is to be told".to_owned());
        }
        let begun = match original.reader {
            Reader::Sender => self.spool.begin_dsn(self.micros),
            // What is kept free of mail is for those who lose something if they are not told.
            Reader::Postmaster { .. } => self.spool.begin(self.micros, None),
        };
        let transaction =
            begun.map_err(|refusal| format!("the queue takes nothing: {refusal:?}"))?;
        let (id, original_id) = (transaction.id().to_string(), original.id.to_string());
        let dsn = Dsn {
            hostname: self.hostname,
            id: &id,
            original_id: &original_id,
            envid: original.envid.as_deref(),
            to: named,
            reader: original.reader,
            arrived: self.arrived(original.id),
            now: self.micros / 1_000_000,
            reports,
            header_8bit: original.header_8bit,
            extent: original.extent,
            salt: fastrand::u128(..),
        };
        let durable = send(transaction, &dsn, to, (original.message, original.settles))
            .await
            .map_err(|problem| problem.to_string())?;
        log::info!(
            "dsn id={durable} for={original_id} to={to:?} recipients={} result=queued",
            reports.len()
        );
        Ok(())
    }
}

/// The address in a report's To field, which decides what it is written in: that of the sender, unless this one needs
/// SMTPUTF8 and one that it stands for does not.
fn addressed<'a>(sender: &'a str, to: &'a [String]) -> &'a str {
    let plain = to.iter().find(|address| address.is_ascii());
    plain.filter(|_| !sender.is_ascii()).map_or(sender, |it| it)
}

/// The same where it is no one's alias.
fn first_of(to: &[String]) -> &str {
    addressed(to.first().map_or("", String::as_str), to)
}

/// Puts it into the queue.
async fn send(
    mut transaction: spool::Transaction,
    dsn: &Dsn<'_>,
    to: &[String],
    (original, settles): (Option<&mut Message>, Settles<'_>),
) -> Result<spool::Durable, spool::Error> {
    write(&mut transaction, dsn, to, original).await?;
    let global = dsn.is_global();
    let facts = Facts {
        eight_bit_body: global,
        utf8_headers: global,
        utf8_address: to.iter().any(|address| !address.is_ascii()),
        require_tls: false,
        note: dsn.reader != Reader::Sender,
    };
    let head = dsn.head();
    let last = Last {
        head: head.as_bytes(),
        facts,
        settles: Some(settles),
    };
    transaction.commit(last).await
}

async fn write(
    transaction: &mut spool::Transaction,
    dsn: &Dsn<'_>,
    to: &[String],
    original: Option<&mut Message>,
) -> Result<(), spool::Error> {
    transaction.sender(&Sender::default()).await?;
    for address in to {
        transaction.recipient(address.as_str()).await?;
    }
    transaction.data_begins();
    transaction.body(dsn.before().as_bytes()).await?;
    if let Some(original) = original {
        match dsn.extent {
            Extent::Header => write_header(transaction, dsn, original).await?,
            Extent::Whole => transaction.refer(original.size).await?,
        }
    }
    transaction.body(dsn.after().as_bytes()).await
}

/// The original's header lines.
async fn write_header(
    transaction: &mut spool::Transaction,
    dsn: &Dsn<'_>,
    original: &mut Message,
) -> Result<(), spool::Error> {
    let mut filter = dsn.filter();
    let mut lines = Vec::new();
    original.rewind();
    loop {
        let wanted = match original.next_chunk().await {
            Ok(Some(octets)) => filter.push(octets, &mut lines),
            Ok(None) => false,
            Err(problem) => {
                // The DSN goes without the rest of the header: better than none.
                let problem = problem.to_string();
                log::error!("unreadable id={} reason={problem:?}", dsn.original_id);
                false
            }
        };
        transaction.body(&lines).await?;
        lines.clear();
        if !wanted {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_for_the_least_able_of_its_readers() {
        let all = |to: &[&str]| to.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        for (sender, to, named) in [
            ("ann@a", &["x@b", "y@c"][..], "ann@a"),
            ("ren\u{e9}@a", &["ren\u{e9}@a"], "ren\u{e9}@a"),
            ("ren\u{e9}@a", &["\u{e9}@b", "y@c"], "y@c"),
            ("ann@a", &["\u{e9}@b"], "ann@a"),
        ] {
            assert_eq!(addressed(sender, &all(to)), named);
        }
        assert_eq!(first_of(&all(&["\u{e9}@b", "y@c"])), "y@c");
        assert_eq!(first_of(&[]), "");
    }
}
