//! A queued message as it is read back.

use super::{Facts, Id, Recipient, Return};
use std::fmt;
use std::io;

/// A message of the queue, and a place in its octets.
#[derive(Debug)]
pub struct Message {
    pub id: Id,
    /// Empty for the null sender.
    pub sender: String,
    pub ret: Option<Return>,
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
}

impl Message {
    /// The next octets, at most a part's size: the head's lines, then the body's. None at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next_chunk(&mut self) -> Result<Option<&[u8]>, ReadError> {
        todo!()
    }

    /// Starts over at the head.
    pub fn rewind(&mut self) {
        todo!()
    }
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
