//! A message on its way in.

use super::{Id, Last, Sender};
use std::fmt;
use std::io;

/// A message on its way in. Dropping it gives its room back.
pub struct Transaction {
    id: Id,
}

impl Transaction {
    /// The id that the message will have.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// MAIL.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sender(&mut self, sender: &Sender<'_>) -> Result<(), Error> {
        let _ = sender;
        todo!()
    }

    /// RCPT; at most 128 of them. Room for it in the queue's index is taken.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::Full`] the transaction goes on without this recipient.
    pub async fn recipient(&mut self, address: &str) -> Result<(), Error> {
        let _ = address;
        todo!()
    }

    /// How many recipients it has.
    #[must_use]
    pub fn recipients(&self) -> usize {
        todo!()
    }

    /// DATA: from now on other transactions' syncs may wait a moment for this one.
    pub fn data_begins(&mut self) {
        todo!()
    }

    /// Octets of the message, dots unstuffed, lines with CR LF.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn body(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let _ = bytes;
        todo!()
    }

    /// Returns once the message is on the disk.
    ///
    /// # Errors
    /// [`Error`]: the message is not queued.
    pub async fn commit(self, last: Last<'_>) -> Result<Durable, Error> {
        let _ = last;
        todo!()
    }
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
    /// The disk gave an error, or nothing in time: 451 4.3.0.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the spool is full"),
            Self::Io(problem) => write!(f, "spool: {problem}"),
        }
    }
}
