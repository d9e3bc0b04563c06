//! `facteur queue retry` and `drop`.

use super::super::control::{self, Asked, Done, Request};
use super::super::serve::unix_micros;
use super::json::Object;
use super::{Arguments, Failure, Form, key, look, plain};
use crate::limits;
use crate::outbound::by_hand::{Refusal, Stopped};
use crate::policy::routes::Lane;
use crate::spool::disk::Existing;
use crate::spool::{OpenError, Options, Spool};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Relay,
    /// The relay does not run.
    Command,
}

pub fn change(
    arguments: &Arguments,
    request: Request,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (done, by) = match control::ask(&arguments.spool, request)? {
        Asked::Answered(answer) => (answer?, By::Relay),
        Asked::NoRelay => change_or_ask(arguments, request)?,
    };
    match arguments.form {
        Form::Json => writeln!(out, "{}", object(request, done, by))?,
        _ => tell(request, done, by, out)?,
    }
    Ok(())
}

/// Opens the spool, as soon as other commands at work on it are done. Whoever has it may also be a relay that starts: it
/// is asked as soon as it listens.
fn change_or_ask(arguments: &Arguments, request: Request) -> Result<(Done, By), Failure> {
    // Before anything is opened, or made: is it a spool, and how large?
    let size = look(arguments, None)?.size();
    let options = Options {
        dir: arguments.spool.clone(),
        size,
        key: key(arguments)?,
    };
    let late = Instant::now() + limits::SPOOL_LOCK;
    loop {
        let lane_of = Box::new(|_: &str| Lane(0));
        match Spool::open(&options, Existing, lane_of, unix_micros() / 1_000_000) {
            Ok(spool) => return Ok((change_stopped(spool, arguments, request)?, By::Command)),
            Err(OpenError::Locked(_)) if Instant::now() < late => {
                thread::sleep(limits::SPOOL_LOCK_LOOK);
            }
            Err(OpenError::Locked(dir)) => return Err(locked(&dir).into()),
            Err(problem) => return Err(problem.to_string().into()),
        }
        if let Asked::Answered(answer) = control::ask(&arguments.spool, request)? {
            return Ok((answer?, By::Relay));
        }
    }
}

/// Why a spool that somebody has cannot be changed through him.
fn locked(dir: &Path) -> String {
    control::path_problem(dir).unwrap_or_else(|| {
        format!(
            "{}: a relay or another facteur queue has the spool, and none listens at its socket",
            dir.display()
        )
    })
}

/// Changes a spool that was opened as a start would, but for the relay's plans with it, and closes it again.
fn change_stopped(spool: Spool, arguments: &Arguments, request: Request) -> Result<Done, Failure> {
    let hostname = match request {
        Request::Drop(..) => arguments.hostname.clone()?,
        Request::Retry(_) => String::new(),
    };
    let stopped = Stopped {
        spool: &spool,
        hostname: &hostname,
        micros: unix_micros(),
    };
    let done = smol::block_on(async {
        match request {
            Request::Retry(id) => stopped.retry(id).await.map(Done::Due),
            Request::Drop(id, tell) => stopped.remove(id, tell).await.map(Done::Removed),
        }
    });
    let closed = smol::block_on(spool.close());
    let done = done.map_err(|refusal: Refusal| refusal.to_string())?;
    closed.map_err(|problem| format!("spool {}: {problem}", arguments.spool.display()))?;
    Ok(done)
}

fn tell(request: Request, done: Done, by: By, out: &mut impl Write) -> io::Result<()> {
    match (done, by) {
        (Done::Due(0), _) => writeln!(out, "nothing was waiting for a later try"),
        (Done::Due(count), By::Relay) => {
            let deliveries = plain::count(count, "deferred delivery").replace("ys", "ies");
            writeln!(out, "{deliveries} due now")
        }
        (Done::Due(count), By::Command) => {
            let deliveries = plain::count(count, "deferred delivery").replace("ys", "ies");
            writeln!(
                out,
                "{deliveries} due when the relay starts: it does not run"
            )
        }
        (Done::Removed(removed), _) => {
            let recipients = plain::count(removed.recipients as usize, "recipient");
            match (request, removed.told) {
                (Request::Drop(_, crate::outbound::by_hand::Tell::Sender), 0) => writeln!(
                    out,
                    "dropped, {recipients}; no DSN: there is no sender, or none was asked for"
                ),
                (_, 0) => writeln!(out, "dropped, {recipients}"),
                (_, told) => writeln!(
                    out,
                    "dropped, {recipients}; a DSN to the sender tells of {told}"
                ),
            }
        }
    }
}

fn object(request: Request, done: Done, by: By) -> String {
    let mut object = Object::new();
    let id = match request {
        Request::Retry(id) => id,
        Request::Drop(id, _) => Some(id),
    };
    object.text("id", id.map(|id| id.to_string()).as_deref());
    match done {
        Done::Due(count) => object.value("due", Some(count)),
        Done::Removed(removed) => {
            object.value("dropped", Some(removed.recipients));
            object.value("told", Some(removed.told));
        }
    }
    object.value("running", Some(by == By::Relay));
    object.end()
}
