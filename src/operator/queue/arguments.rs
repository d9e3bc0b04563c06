//! The words of `facteur queue`.

use super::super::config::system_hostname;
use super::super::control::Request;
pub use super::super::flags::Stop;
use super::super::flags::{Flags, spelled_out};
use crate::outbound::by_hand::Tell;
use crate::spool::Id;
use std::path::PathBuf;

pub const HELP: &str = "\
Look into the queue of a running or a stopped relay, and change it.

usage: facteur queue list [--json]          what is queued, oldest first, and what was last said about it
       facteur queue show ID [--json]       envelope, attempts and header of a message
       facteur queue show ID --body         the message itself, header and body, octet for octet
       facteur queue retry [ID...] [--json] try deferred messages now, all or these
       facteur queue drop ID... [--json]    take messages out of the queue and tell nobody
       facteur queue drop ID... --dsn       the same, and tell their senders that they were not delivered

  --json            one JSON object a line
  --spool DIR       folder of the queue (default: facteur-spool)
  --spool-key FILE  key that seals the queue at rest (default: none)
  --hostname NAME   name in the DSN of a relay that does not run (default: the system's host name)
  --flags FILE      file of serve's flags, of which these are taken (default: the environment's
                    FACTEUR_FLAGS, else /etc/facteur/flags if it exists)

What was last said of a message is kept until the spool runs short of segments and uses the one that holds it again; the
next attempt brings it back, and the log has it.

exit status: 0 done, 1 failed (also if one of several messages is not in the queue), 2 wrong command or flag
";

/// Flags of serve that a queue command takes on its command line, each with a value; the rest of a flags file is read and
/// passed over.
const SHARED: [&str; 4] = ["--spool", "--spool-key", "--hostname", "--flags"];

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    Json,
    /// A message as it is.
    Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    List,
    Show(Id),
    /// At least one.
    Change(Vec<Request>),
}

/// What is asked.
#[derive(Debug)]
pub struct Arguments {
    pub command: Command,
    pub form: Form,
    pub spool: PathBuf,
    /// The file of its key.
    pub spool_key: Option<PathBuf>,
    /// For DSNs; the system's name where the flags give none.
    pub hostname: Result<String, String>,
    /// All that stand in files, too.
    pub flags: Flags,
}

/// The words sorted.
#[derive(Default)]
struct Words<'a> {
    plain: Vec<&'a str>,
    json: bool,
    body: bool,
    dsn: bool,
    /// For [`Flags`].
    shared: Vec<String>,
}

impl Arguments {
    /// The meaning of the words behind `queue`.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn of(words: &[String]) -> Result<Self, Stop> {
        let spelled = spelled_out(words);
        let words = Words::sort(&spelled)?;
        let command = words.command().map_err(Stop::Wrong)?;
        let form = words.form(&command).map_err(Stop::Wrong)?;
        let environment = std::env::var_os("FACTEUR_FLAGS").map(Into::into);
        let flags = Flags::of(&words.shared, environment)?;
        Ok(Self {
            command,
            form,
            spool: flags
                .spool
                .clone()
                .unwrap_or_else(|| "facteur-spool".into()),
            spool_key: flags.spool_key.clone(),
            hostname: flags.hostname.clone().map_or_else(system_hostname, Ok),
            flags,
        })
    }
}

impl<'a> Words<'a> {
    fn sort(spelled: &'a [String]) -> Result<Self, Stop> {
        let mut sorted = Self::default();
        let mut words = spelled.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" => return Err(Stop::Help(HELP.to_owned())),
                "--json" => sorted.json = true,
                "--body" => sorted.body = true,
                "--dsn" => sorted.dsn = true,
                flag if SHARED.contains(&flag) => {
                    let missing = || Stop::Wrong(format!("{flag} is given without its value"));
                    let value = words.next().ok_or_else(missing)?;
                    sorted.shared.extend([word.clone(), value.clone()]);
                }
                flag if flag.starts_with('-') => {
                    return Err(Stop::Wrong(format!(
                        "{flag} is no flag of queue: see facteur queue --help"
                    )));
                }
                plain => sorted.plain.push(plain),
            }
        }
        Ok(sorted)
    }

    fn command(&self) -> Result<Command, String> {
        let tell = match self.dsn {
            true => Tell::Sender,
            false => Tell::Nobody,
        };
        let command = match *self.plain.as_slice() {
            [] => {
                return Err("queue: list, show ID, retry [ID...] or drop ID... is missing".into());
            }
            ["list"] => Command::List,
            ["show", word] => Command::Show(id(word)?),
            ["retry"] => Command::Change(vec![Request::Retry(None)]),
            [command @ ("show" | "drop")] => {
                return Err(format!("queue {command} takes the ID that list gives"));
            }
            ["retry", ref words @ ..] => {
                let retry = |id| Request::Retry(Some(id));
                Command::Change(ids(words)?.into_iter().map(retry).collect())
            }
            ["drop", ref words @ ..] => {
                let drop = |id| Request::Drop(id, tell);
                Command::Change(ids(words)?.into_iter().map(drop).collect())
            }
            [command @ ("list" | "show"), .., more] => {
                return Err(format!("queue {command}: {more:?} is one word too many"));
            }
            [word, ..] => {
                return Err(format!(
                    "queue {word:?} is no command: list, show ID, retry [ID...] or drop ID..."
                ));
            }
        };
        match command {
            _ if self.dsn && self.plain.first() != Some(&"drop") => {
                Err("--dsn goes with queue drop only".into())
            }
            command => Ok(command),
        }
    }

    fn form(&self, command: &Command) -> Result<Form, String> {
        match (self.body, self.json, command) {
            (false, false, _) => Ok(Form::Plain),
            (false, true, _) => Ok(Form::Json),
            (true, false, Command::Show(_)) => Ok(Form::Body),
            (true, true, Command::Show(_)) => {
                Err("--body and --json: a body is given as it is, give one".into())
            }
            (true, ..) => Err("--body goes with queue show only".into()),
        }
    }
}

/// Each once, in the order in which they are given.
fn ids(words: &[&str]) -> Result<Vec<Id>, String> {
    let mut ids = Vec::new();
    for word in words {
        let id = id(word)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// An id has no capitals; who types one means the small letter.
fn id(word: &str) -> Result<Id, String> {
    Id::parse(&word.to_ascii_lowercase()).ok_or_else(|| {
        format!(
            "{word:?} is no queue id: eleven letters, digits, - and _, as queue list gives them"
        )
    })
}
