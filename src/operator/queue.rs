//! `facteur queue`: a look into the queue of a running or a stopped relay, and changes to it by hand.
//!
//! A look reads the spool's files ([`crate::spool::Inspector`]) and never locks them. A change is asked of the relay over
//! its socket ([`super::control`]); where none runs, the spool is opened as a start would, changed and closed, and a relay
//! that starts at that moment finds it locked.

mod arguments;
mod change;
mod json;
mod list;
mod plain;
mod present;
mod show;

use super::spool_key;
use super::user::User;
use crate::spool::{
    Id, Inspector, Key, Message, Note, OpenError, Queued, Recipient, Reply, Waiting,
};
pub use arguments::Stop;
use arguments::{Arguments, Command, Form};
use present::{Present, Try};
use std::io::{self, BufWriter, Write};

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Lines, mostly one.
    Told(Vec<String>),
    /// Whoever reads what is written has had enough.
    NoReader,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Told(vec![why])
    }
}

impl From<io::Error> for Failure {
    fn from(problem: io::Error) -> Self {
        match problem.kind() {
            io::ErrorKind::BrokenPipe => Self::NoReader,
            _ => format!("standard output: {problem}").into(),
        }
    }
}

/// Runs the command that the words behind `queue` ask for.
///
/// # Errors
/// [`Stop`] for wrong words; within, [`Failure`].
pub fn run(words: &[String]) -> Result<Result<(), Failure>, Stop> {
    let arguments = Arguments::of(words)?;
    let mut out = BufWriter::new(io::stdout().lock());
    Ok(obey(&arguments, &mut out).and_then(|()| Ok(out.flush()?)))
}

fn obey(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    match &arguments.command {
        Command::List => list::list(&look(arguments, None)?, arguments, out),
        &Command::Show(id) => show::show(&look(arguments, Some(id))?, id, arguments, out),
        Command::Change(requests) => change::change(arguments, requests, out),
    }
}

fn look(arguments: &Arguments, history: Option<crate::spool::Id>) -> Result<Inspector, String> {
    let key = key(arguments)?;
    let looked = Inspector::look(&arguments.spool, key.as_ref(), history);
    looked.map_err(|problem| match &problem {
        OpenError::Io { problem: why, .. } if why.kind() == io::ErrorKind::PermissionDenied => {
            format!("{problem}: look as root, or as the user that the relay runs as")
        }
        _ => problem.to_string(),
    })
}

fn key(arguments: &Arguments) -> Result<Option<Key>, String> {
    let user = User::owner_of(&arguments.spool);
    let file = arguments.spool_key.as_deref();
    file.map(|file| spool_key::read(file, user.as_ref()))
        .transpose()
}

fn now() -> u64 {
    super::serve::unix_micros() / 1_000_000
}

/// A message as it is shown.
struct Shown<'a> {
    queued: &'a Queued,
    present: &'a Present,
    /// The report that it is kept for.
    holder: Option<Id>,
    /// Its envelope, or why it cannot be read.
    envelope: Result<Message, String>,
}

impl<'a> Shown<'a> {
    /// Reads the envelope, with these recipients of it. None: it has been finished since.
    fn read(
        (inspector, present): (&Inspector, &'a Present),
        queued: &'a Queued,
        recipients: u128,
    ) -> Option<Self> {
        let read = smol::block_on(inspector.read(queued, recipients));
        let envelope = match read {
            Ok(None) => return None,
            Ok(Some(_)) if queued.broken => Err("a part of it is missing in the spool".to_owned()),
            Ok(Some(message)) => Ok(message),
            Err(problem) => Err(problem.to_string()),
        };
        Some(Self {
            queued,
            present,
            holder: inspector.holder(queued),
            envelope,
        })
    }

    /// When the message came, in unix seconds; None: before the clock was set.
    fn accepted(&self, now: u64) -> Option<u64> {
        self.present.accepted(self.queued.id, now)
    }

    fn recipients(&self) -> &[Recipient] {
        match &self.envelope {
            Ok(message) => &message.recipients,
            Err(_) => &[],
        }
    }
}

impl Shown<'_> {
    /// What a recipient waits for; None: it needs nothing more.
    fn waiting(&self, recipient: &Recipient) -> Option<(Waiting, Try)> {
        let (id, bit) = (self.queued.id, recipient.bit());
        let mut all = self.queued.waiting.iter();
        let waiting = all.find(|waiting| waiting.recipients & bit != 0)?;
        Some((*waiting, self.present.try_of(id, waiting, bit)))
    }
}

impl Shown<'_> {
    /// The report that tells of a recipient's failure, and that the message is kept for; None: it is not.
    fn kept_for(&self, recipient: &Recipient) -> Option<Id> {
        self.holder
            .filter(|_| self.queued.held & recipient.bit() != 0)
    }
}

/// What was last said to a recipient.
fn last_reply<'a>(queued: &'a Queued, recipient: &Recipient) -> Option<(&'a Note, &'a Reply)> {
    queued.notes.iter().rev().find_map(|note| {
        let mut replies = note.replies.iter();
        let reply = replies.find(|reply| reply.recipients & recipient.bit() != 0)?;
        Some((note, reply))
    })
}
