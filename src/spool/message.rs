//! A queued message as it is read back.

use super::items::{Item, Items};
use super::read::{Answer, Job};
use super::record::{self, Place};
use super::shared::Shared;
use super::{Facts, Id, Recipient};
use crate::limits;
use crate::smtp::parameters::Ret;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A message of the queue, and a place in its octets.
pub struct Message {
    pub id: Id,
    /// Empty for the null sender.
    pub sender: String,
    pub ret: Option<Ret>,
    /// In xtext, as it came.
    pub envid: Option<String>,
    pub facts: Facts,
    /// Octets of head and body.
    pub size: u64,
    /// Unix seconds.
    pub accepted: u64,
    /// Those of the ticket that are still to do.
    pub recipients: Vec<Recipient>,
    /// How many the transaction had.
    pub recipients_in_all: usize,
    head: Vec<u8>,
    head_given: bool,
    octets: Octets,
}

/// The parts, and which of them is in memory.
struct Octets {
    shared: Arc<Shared>,
    id: u64,
    parts: Vec<Place>,
    payload: Vec<u8>,
    loaded: usize,
    /// The part and the place in it that come next.
    part: usize,
    at: usize,
}

impl Message {
    /// Reads the envelope of an entry.
    pub(super) async fn open(
        shared: Arc<Shared>,
        id: u64,
        place: Place,
        wanted: u128,
    ) -> Result<Self, ReadError> {
        let answer = read(&shared, id, place, Vec::new(), true).await?;
        let mut parts = answer.before;
        parts.push(place);
        let mut message = Self {
            id: Id(id),
            sender: String::new(),
            ret: None,
            envid: None,
            facts: Facts::default(),
            size: 0,
            accepted: 0,
            recipients: Vec::new(),
            recipients_in_all: 0,
            head: Vec::new(),
            head_given: false,
            octets: Octets {
                shared,
                id,
                loaded: parts.len() - 1,
                parts,
                payload: answer.payload,
                part: 0,
                at: record::PART_FIELDS,
            },
        };
        for item in Items::of(&message.octets.payload) {
            match item {
                Item::Head(head) => message.head = head.to_vec(),
                Item::Facts(summary) => {
                    message.facts = summary.facts;
                    message.size = summary.size;
                    message.accepted = summary.accepted;
                    message.recipients_in_all = summary.recipients.into();
                }
                _ => {}
            }
        }
        message.envelope(wanted).await?;
        Ok(message)
    }

    /// Sender and recipients stand before the body.
    async fn envelope(&mut self, wanted: u128) -> Result<(), ReadError> {
        let mut ordinal = 0_u8;
        for part in 0..self.octets.parts.len() {
            self.octets.load(part).await?;
            for item in Items::of(&self.octets.payload) {
                match item {
                    Item::Sender(address) => address.clone_into(&mut self.sender),
                    Item::Return(ret) => self.ret = Some(ret),
                    Item::Envid(envid) => self.envid = Some(envid.to_owned()),
                    Item::Recipient(recipient) => {
                        if wanted
                            .checked_shr(ordinal.into())
                            .is_some_and(|mask| mask & 1 == 1)
                        {
                            self.recipients.push(Recipient::new(ordinal, &recipient));
                        }
                        ordinal = ordinal.saturating_add(1);
                    }
                    Item::Body(_) => return Ok(()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The next octets, at most a part's size: the head's lines, then the body's. None at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next_chunk(&mut self) -> Result<Option<&[u8]>, ReadError> {
        if !self.head_given {
            self.head_given = true;
            if !self.head.is_empty() {
                return Ok(Some(&self.head));
            }
        }
        let range = self.octets.next_body().await?;
        Ok(range.and_then(|range| self.octets.payload.get(range)))
    }

    /// Starts over at the head.
    pub fn rewind(&mut self) {
        self.head_given = false;
        self.octets.part = 0;
        self.octets.at = record::PART_FIELDS;
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Octets {
    async fn load(&mut self, part: usize) -> Result<(), ReadError> {
        if self.loaded != part
            && let Some(&place) = self.parts.get(part)
        {
            let memory = std::mem::take(&mut self.payload);
            self.loaded = usize::MAX;
            self.payload = read(&self.shared, self.id, place, memory, false)
                .await?
                .payload;
            self.loaded = part;
        }
        Ok(())
    }

    async fn next_body(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        while self.part < self.parts.len() {
            self.load(self.part).await?;
            let mut items = Items::from(&self.payload, self.at);
            while let Some(item) = items.next() {
                if let Item::Body(body) = item
                    && !body.is_empty()
                {
                    self.at = items.at;
                    return Ok(Some(items.at - body.len()..items.at));
                }
            }
            self.part += 1;
            self.at = record::PART_FIELDS;
        }
        Ok(None)
    }
}

/// One answer of the reader.
pub(super) async fn read(
    shared: &Shared,
    id: u64,
    place: Place,
    buffer: Vec<u8>,
    follow: bool,
) -> Result<Answer, ReadError> {
    let (reply, answer) = smol::channel::bounded(1);
    shared.reads.push(Job {
        place,
        id,
        buffer,
        follow,
        reply,
    });
    let answer = async {
        // Dropped unanswered: the reader has ended.
        let gone = |_| Err(ReadError::Io(io::ErrorKind::NotConnected.into()));
        answer.recv().await.unwrap_or_else(gone)
    };
    let late = async {
        smol::Timer::after(limits::SPOOL_READ).await;
        Err(ReadError::Io(io::ErrorKind::TimedOut.into()))
    };
    smol::future::or(answer, late).await
}

/// Why a message cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The disk gave something other than what was written.
    Damaged {
        /// The segment's number: its file is `NNNNNN.seg`.
        segment: u32,
        /// Octets from the file's start.
        offset: u32,
    },
    /// The disk gave an error, or nothing in time.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { segment, offset } => {
                write!(f, "{segment:06}.seg is damaged at {offset}")
            }
            Self::Io(problem) => write!(f, "spool: {problem}"),
        }
    }
}
