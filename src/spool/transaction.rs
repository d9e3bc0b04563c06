//! A message on its way in.

use super::claim::Claim;
use super::items::{self, PartFields, Summary};
use super::log::{LastPart, PartReply, PartRequest, Request};
use super::queue;
use super::record::{PART_FIELDS, Place};
use super::segments::Class;
use super::{Addressee, Id, Last, Reported, Role, Sender, Settles, Source};
use crate::limits;
use crate::smtp::parameters::Notify;
use std::fmt;
use std::io;

/// A message on its way in. Dropping it gives its room back.
pub struct Transaction {
    id: Id,
    class: Class,
    /// None while the writer has it, and after an error.
    claim: Option<Claim>,
    /// The open part's payload; allocated by [`Self::sender`].
    buffer: Vec<u8>,
    /// Where the open body item's content begins.
    body: Option<usize>,
    number: u32,
    previous: Option<Place>,
    recipients: u8,
    lane: Option<u32>,
    size: u64,
    source: Option<Source>,
}

impl Transaction {
    /// `source` is that of the claim's share.
    pub(super) fn new(id: u64, class: Class, claim: Claim, source: Option<Source>) -> Self {
        Self {
            id: Id(id),
            class,
            claim: Some(claim),
            buffer: Vec::new(),
            body: None,
            number: 0,
            previous: None,
            recipients: 0,
            lane: None,
            size: 0,
            source,
        }
    }

    /// The id that the message will have.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// MAIL: once, and first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sender(&mut self, sender: &Sender<'_>) -> Result<(), Error> {
        let length = sender.address.len() + sender.envid.map_or(0, str::len);
        self.make_room(length + 4 * items::ITEM).await?;
        items::put_sender(&mut self.buffer, sender);
        Ok(())
    }

    /// RCPT; at most 128 of them. Room for it in the queue's index is taken.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::Full`] the transaction goes on without this recipient.
    pub async fn recipient<'a>(
        &mut self,
        recipient: impl Into<Addressee<'a>>,
    ) -> Result<(), Error> {
        let recipient = recipient.into();
        if self.recipients >= MOST_RECIPIENTS {
            return Err(Error::Full);
        }
        self.make_room(items::recipient_length(&recipient)).await?;
        let claim = self.claim.as_mut().ok_or_else(over)?;
        if !claim.reserve() {
            return Err(Error::Full);
        }
        self.lane = Some(match recipient.role {
            Role::Mailbox => {
                let lane = (claim.shared.lane_of)(recipient.address);
                queue::joined(self.lane, lane)
            }
            Role::Expanded => queue::MIXED,
        });
        self.recipients += 1;
        items::put_recipient(&mut self.buffer, &recipient);
        Ok(())
    }

    /// RCPT again, for a recipient that it has, by its number: from now on this is what is asked for it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn asks(&mut self, ordinal: u8, notify: Notify) -> Result<(), Error> {
        self.make_room(items::WISH).await?;
        items::put_wish(&mut self.buffer, ordinal, notify);
        Ok(())
    }

    /// How many recipients it has.
    #[must_use]
    pub fn recipients(&self) -> usize {
        self.recipients.into()
    }

    /// DATA: from now on other transactions' syncs may wait a moment for this one.
    pub fn data_begins(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.data_begins();
        }
    }

    /// Octets of the message, dots unstuffed, lines with CR LF.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn body(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.body.is_none() {
                self.make_room(items::ENVELOPE_CHECK + items::ITEM + 1)
                    .await?;
                if self.number == 0 {
                    items::put_envelope_check(&mut self.buffer);
                }
                self.body = Some(items::open_body(&mut self.buffer));
            }
            let room = limits::SPOOL_PART.saturating_sub(self.buffer.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            self.size += now.len() as u64;
            bytes = later;
            if !bytes.is_empty() {
                self.send(None).await?;
            }
        }
        Ok(())
    }

    /// Here the octets of the message that this one reports on have their place, so many of them: those of
    /// [`super::Reported::held`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn refer(&mut self, octets: u64) -> Result<(), Error> {
        self.close_body();
        self.make_room(items::ITEM).await?;
        items::put_refers(&mut self.buffer);
        self.size += octets;
        Ok(())
    }

    /// Returns once the message is on the disk.
    ///
    /// # Errors
    /// [`Error`]: the message is not queued (unless the disk answered too late).
    pub async fn commit(mut self, last: Last<'_>) -> Result<Durable, Error> {
        if self.recipients == 0 || last.head.len() > limits::SPOOL_PART {
            return Err(Error::Io(io::ErrorKind::InvalidInput.into()));
        }
        self.make_room(items::LAST + items::SOURCE + last.head.len())
            .await?;
        self.close_body();
        let summary = Summary {
            facts: last.facts,
            accepted: self.id.seconds(),
            size: self.size + last.head.len() as u64,
            recipients: self.recipients,
        };
        let (slot, on_disk) = match last.settles {
            None => (None, None),
            Some(Settles::Recipients(ticket, done)) => {
                let reported = Reported {
                    done,
                    ..Reported::default()
                };
                (Some(ticket.slot), Some((ticket.id(), reported)))
            }
            Some(Settles::Reported(ticket, reported)) => {
                (Some(ticket.slot), Some((ticket.id(), reported)))
            }
            // It is in no slot of the index.
            Some(Settles::Damaged(id)) => {
                let reported = Reported {
                    done: u128::MAX,
                    ..Reported::default()
                };
                (None, Some((id, reported)))
            }
        };
        let on_disk = on_disk.map(|(id, reported)| (id.number(), reported));
        let reports = slot.zip(on_disk);
        let reports = reports.map(|(slot, (id, reported))| Box::new((slot, id, reported)));
        items::put_last(&mut self.buffer, last.head, summary, on_disk);
        if let Some(source) = self.source {
            items::put_source(&mut self.buffer, source);
        }
        let for_index = LastPart {
            recipients: self.recipients,
            lane: self.lane.unwrap_or(0),
            reports,
            moved: None,
            tells_of: match last.settles {
                Some(Settles::Damaged(id)) => Some(id.number()),
                _ => None,
            },
        };
        self.send(Some(for_index)).await?;
        Ok(Durable { id: self.id })
    }

    /// Appends a part of a message that is in the log already, for the message to be there again. The payload's part
    /// fields become the copy's own.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) async fn again(
        &mut self,
        payload: Vec<u8>,
        last: Option<LastPart>,
    ) -> Result<(), Error> {
        self.buffer = payload;
        self.send(last).await
    }

    /// Sees to it that the open part has room for something that is not cut in two.
    async fn make_room(&mut self, length: usize) -> Result<(), Error> {
        if self.buffer.len() > PART_FIELDS && self.buffer.len() + length > limits::SPOOL_PART {
            self.send(None).await?;
        }
        if self.buffer.is_empty() {
            self.claim.as_ref().ok_or_else(over)?;
            self.buffer.reserve_exact(limits::SPOOL_PART);
            self.buffer.resize(PART_FIELDS, 0);
        }
        match length > limits::SPOOL_PART + items::LAST + items::SOURCE {
            true => Err(Error::Io(io::ErrorKind::InvalidInput.into())),
            false => Ok(()),
        }
    }

    fn close_body(&mut self) {
        if let Some(start) = self.body.take() {
            items::close_body(&mut self.buffer, start);
        }
    }

    /// Hands the open part to the writer, and waits until it has taken it: a final one, until it is synced.
    async fn send(&mut self, last: Option<LastPart>) -> Result<(), Error> {
        self.close_body();
        let fields = PartFields {
            number: self.number,
            previous: self.previous,
        };
        self.buffer[..PART_FIELDS].copy_from_slice(&fields.bytes());
        let claim = self.claim.take().ok_or_else(over)?;
        let shared = claim.shared.clone();
        let (reply, answer) = smol::channel::bounded(1);
        shared.inbox.push(Request::Part(PartRequest {
            id: self.id.number(),
            class: self.class,
            previous: self.previous,
            buffer: std::mem::take(&mut self.buffer),
            claim,
            last,
            reply,
        }));
        let answer = async { answer.recv().await.ok() };
        let late = async {
            smol::Timer::after(limits::SPOOL_COMMIT).await;
            None
        };
        let answer: Option<PartReply> = smol::future::or(answer, late).await;
        let answer = answer.ok_or_else(|| Error::Io(io::ErrorKind::TimedOut.into()))?;
        self.previous = Some(answer.result?);
        self.number += 1;
        self.claim = answer.claim;
        self.buffer = answer.buffer;
        self.buffer.truncate(PART_FIELDS);
        Ok(())
    }
}

/// The bits of a mask.
const MOST_RECIPIENTS: u8 = u128::BITS as u8;
const _: () = assert!(
    limits::RECIPIENTS + limits::EXPANSIONS <= MOST_RECIPIENTS as usize,
    "each recipient of a transaction has its bit"
);

/// The answer to whoever goes on after an error.
fn over() -> Error {
    Error::Io(io::ErrorKind::BrokenPipe.into())
}

/// Proof that a message is on the disk: only `fdatasync`'s return makes one. Displayed as its id.
#[derive(Debug)]
pub struct Durable {
    id: Id,
}

impl Durable {
    /// The message's id.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// Why a transaction cannot go on.
#[derive(Debug)]
pub enum Error {
    /// No room on the disk or in the index: 452 4.3.1.
    Full,
    /// The sender's address would hold more than a quarter of the spool: 452 4.3.1.
    OverShare,
    /// The disk gave an error, or nothing in time: 451 4.3.0.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the spool is full"),
            Self::OverShare => f.write_str("its sender's address holds a quarter of the spool"),
            Self::Io(problem) => write!(f, "spool: {problem}"),
        }
    }
}
