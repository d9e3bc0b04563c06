//! A queued message as it is read back.

use super::envelope;
use super::items::{Item, Items};
use super::octets::{Next, Piece, Text};
use super::read::{Answer, Job};
use super::record::Place;
use super::shared::Shared;
use super::{Facts, Id, Recipient};
use crate::limits;
use crate::smtp::parameters::Ret;
use std::fmt;
use std::io;
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
    /// Attempts that ended in a deferral, as far as the ticket knows.
    pub attempts: u16,
    /// Unix seconds.
    pub accepted: u64,
    /// Those of the ticket that are still to do.
    pub recipients: Vec<Recipient>,
    /// How many the transaction had.
    pub recipients_in_all: usize,
    text: Text,
    /// A DSN's: the message that it refers to.
    refers: Option<Referred>,
    /// That one, while its octets come.
    original: Option<Text>,
}

/// The message that a DSN refers to.
#[derive(Clone, Copy, Debug)]
pub struct Referred {
    pub id: u64,
    /// Where it is, as long as the DSN is not let go.
    pub place: Place,
}

impl Message {
    /// Reads the envelope of an entry.
    pub(super) async fn open(
        shared: Arc<Shared>,
        id: u64,
        place: Place,
        wanted: u128,
        refers: Option<Referred>,
    ) -> Result<Self, ReadError> {
        let (text, summary) = Text::open(shared, id, place).await?;
        let mut message = Self {
            id: Id(id),
            sender: String::new(),
            ret: None,
            envid: None,
            facts: summary.facts,
            size: summary.size,
            attempts: 0,
            accepted: summary.accepted,
            recipients: Vec::new(),
            recipients_in_all: summary.recipients.into(),
            text,
            refers,
            original: None,
        };
        message.envelope(wanted).await?;
        Ok(message)
    }

    /// Sender and recipients stand before the body.
    async fn envelope(&mut self, wanted: u128) -> Result<(), ReadError> {
        let mut ordinal = 0_u8;
        for part in 0..self.text.parts.len() {
            self.text.load(part).await?;
            for item in Items::of(&self.text.payload) {
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
                    Item::Asks(ordinal, notify) => {
                        envelope::ask(&mut self.recipients, ordinal, notify);
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
        loop {
            if let Some(original) = &mut self.original {
                let next = original.next().await;
                match self.of_original(next)? {
                    Some(piece) => return Ok(self.original.as_ref().map(|text| text.get(piece))),
                    None => self.original = None,
                }
            }
            match self.text.next().await? {
                Next::Piece(piece) => return Ok(Some(self.text.get(piece))),
                Next::Refers => self.refer().await?,
                Next::End => return Ok(None),
            }
        }
    }

    /// From here on the octets of the message that this one refers to come.
    async fn refer(&mut self) -> Result<(), ReadError> {
        let Some(Referred { id, place }) = self.refers else {
            return Ok(());
        };
        match Text::open(self.text.shared.clone(), id, place).await {
            Ok((text, _)) => self.original = Some(text),
            Err(problem) => {
                self.of_original(Err(problem))?;
            }
        }
        Ok(())
    }

    /// Of a damaged message what can be read goes back: a DSN must not be lost for its sake.
    fn of_original(&self, next: Result<Next, ReadError>) -> Result<Option<Piece>, ReadError> {
        match next {
            Ok(Next::Piece(piece)) => Ok(Some(piece)),
            Ok(Next::Refers | Next::End) => Ok(None),
            Err(problem @ ReadError::Damaged { .. }) => {
                log::error!(
                    "unreadable id={} part=original reason={:?}",
                    self.id,
                    problem.to_string()
                );
                Ok(None)
            }
            Err(problem) => Err(problem),
        }
    }

    /// Whether [`Message::size`] is all that will come: a DSN's does not count the message that it refers to.
    #[must_use]
    pub fn has_exact_size(&self) -> bool {
        self.refers.is_none()
    }

    /// Starts over at the head.
    pub fn rewind(&mut self) {
        self.original = None;
        self.text.rewind();
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
