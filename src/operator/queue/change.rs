//! `facteur queue retry` and `drop`.

use super::super::config::Config;
use super::super::control::{self, Asked, Done, Request};
use super::super::directory::Files;
use super::super::flags::Flags;
use super::super::serve::unix_micros;
use super::super::user::User;
use super::json::Object;
use super::{Arguments, Failure, Form, key, look, plain};
use crate::limits;
use crate::outbound::by_hand::{Refusal, Stopped, Tell};
use crate::policy::directory::Names;
use crate::policy::routes::Lane;
use crate::spool::disk::Existing;
use crate::spool::{OpenError, Options, Spool};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Relay,
    /// The relay does not run.
    Command,
}

/// A change that was made.
struct Made {
    request: Request,
    done: Done,
    by: By,
}

/// Why one was not, in one line.
enum Unmade {
    /// The queue's answer to this one.
    This(String),
    /// No other could be made, either.
    All(String),
}

/// Makes changes one after another; one that is refused does not keep the others from being made.
pub fn change(
    arguments: &Arguments,
    requests: &[Request],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (made, mut problems) = make_all(arguments, requests);
    let line = |made: &Made| match (arguments.form, made.request.id()) {
        (Form::Json, _) => made.object(),
        (_, Some(id)) if requests.len() > 1 => format!("{id}: {}", made.text()),
        _ => made.text(),
    };
    let lines: Vec<String> = made.iter().map(line).collect();
    let mut all = lines.iter();
    let printed = all.try_for_each(|line| writeln!(out, "{line}"));
    if let Err(problem) = printed.and_then(|()| out.flush())
        && !lines.is_empty()
    {
        let done = lines.join("; ");
        problems.push(format!(
            "it is done, and standard output does not take that ({problem}): {done}"
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Told(problems)),
    }
}

/// What was made, and why not all.
fn make_all(arguments: &Arguments, requests: &[Request]) -> (Vec<Made>, Vec<String>) {
    let mut changes = Changes::new(arguments);
    let (mut made, mut problems) = (Vec::new(), Vec::new());
    for (number, &request) in requests.iter().enumerate() {
        match changes.make(request) {
            Ok((done, by)) => made.push(Made { request, done, by }),
            Err(Unmade::This(why)) => problems.push(why),
            Err(Unmade::All(why)) => {
                problems.push(match requests.len() - number - 1 {
                    0 => why,
                    rest => format!("{why}; the {rest} behind it are not tried"),
                });
                break;
            }
        }
    }
    if let Err(why) = changes.close() {
        // What this command did may not be on the disk.
        made.retain(|made| made.by == By::Relay);
        problems.push(why);
    }
    (made, problems)
}

/// Whoever makes the changes.
struct Changes<'a> {
    arguments: &'a Arguments,
    /// The spool, of a relay that does not run.
    own: Option<Spool>,
    /// How it is opened, once that was looked up.
    options: Option<Options>,
    /// When to wait no longer for whoever has it.
    late: Instant,
}

impl<'a> Changes<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            own: None,
            options: None,
            late: Instant::now() + limits::SPOOL_LOCK,
        }
    }

    /// Asks the relay, or opens the spool, as soon as other commands at work on it are done. Whoever has it may also be a
    /// relay that starts: it is asked as soon as it listens.
    fn make(&mut self, request: Request) -> Result<(Done, By), Unmade> {
        loop {
            if let Some(spool) = &self.own {
                let done = change_stopped(spool, self.arguments, request);
                return done.map(|done| (done, By::Command)).map_err(Unmade::This);
            }
            match control::ask(&self.arguments.spool, request).map_err(Unmade::All)? {
                Asked::Answered(Ok(done)) => return Ok((done, By::Relay)),
                Asked::Answered(Err(why)) => return Err(Unmade::This(why)),
                Asked::NoRelay => self.own = self.open().map_err(Unmade::All)?,
            }
        }
    }

    /// None: somebody has it.
    fn open(&mut self) -> Result<Option<Spool>, String> {
        let options = match self.options.take() {
            Some(options) => options,
            None => self.prepare()?,
        };
        let options = &*self.options.insert(options);
        let lane_of = Box::new(|_: &str| Lane(0));
        match Spool::open(options, Existing, lane_of, unix_micros() / 1_000_000) {
            Ok(spool) => Ok(Some(spool)),
            Err(OpenError::Locked(_)) if Instant::now() < self.late => {
                thread::sleep(limits::SPOOL_LOCK_LOOK);
                Ok(None)
            }
            Err(OpenError::Locked(dir)) => Err(locked(&dir)),
            Err(problem) => Err(problem.to_string()),
        }
    }

    /// Before anything is opened, or made: is it a spool, and how large? Root becomes its owner, as what is written is to
    /// be the relay's, and reads the key before.
    fn prepare(&self) -> Result<Options, String> {
        let arguments = self.arguments;
        let options = Options {
            dir: arguments.spool.clone(),
            size: look(arguments, None)?.size(),
            key: key(arguments)?,
        };
        if let Some(user) = User::owner_of(&arguments.spool) {
            user.become_for_good()?;
        }
        Ok(options)
    }

    /// What was done to a spool of its own is on the disk when this returns.
    fn close(self) -> Result<(), String> {
        let closed = self.own.map(|spool| smol::block_on(spool.close()));
        let dir = self.arguments.spool.display();
        closed
            .unwrap_or(Ok(()))
            .map_err(|problem| format!("spool {dir}: {problem}"))
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

/// Whom a DSN goes to, as the next start with these flags would have it; without such flags, to the sender as it is.
fn names(flags: &Flags) -> Names {
    let Ok(config) = Config::of(flags.clone()) else {
        return Names::default();
    };
    let routes = Arc::new(config.routes.clone());
    let files = Files::of(&config, Arc::clone(&routes)).read();
    Names::new(config.relay, routes, files.unwrap_or_default())
}

/// Changes a spool that was opened as a start would, but for the relay's plans with it.
fn change_stopped(spool: &Spool, arguments: &Arguments, request: Request) -> Result<Done, String> {
    let hostname = match request {
        Request::Drop(_, Tell::Sender) => arguments.hostname.clone()?,
        Request::Drop(_, Tell::Nobody) | Request::Retry(_) => String::new(),
    };
    let names = match request {
        Request::Drop(_, Tell::Sender) => names(&arguments.flags),
        Request::Drop(_, Tell::Nobody) | Request::Retry(_) => Names::default(),
    };
    let stopped = Stopped {
        spool,
        names: &names,
        hostname: &hostname,
        micros: unix_micros(),
    };
    let done = smol::block_on(async {
        match request {
            Request::Retry(id) => stopped.retry(id).await.map(Done::Due),
            Request::Drop(id, tell) => stopped.remove(id, tell).await.map(Done::Removed),
        }
    });
    done.map_err(|refusal: Refusal| refusal.to_string())
}

impl Made {
    /// In a line for people.
    fn text(&self) -> String {
        match (self.done, self.by) {
            (Done::Due(0), _) => "nothing was waiting for a later try".to_owned(),
            (Done::Due(count), by) => {
                let deliveries = plain::count(count, "deferred delivery").replace("ys", "ies");
                match by {
                    By::Relay => format!("{deliveries} due now"),
                    By::Command => {
                        format!("{deliveries} due when the relay starts: it does not run")
                    }
                }
            }
            (Done::Removed(removed), _) => {
                let recipients = plain::count(removed.recipients as usize, "recipient");
                match (self.request, removed.told) {
                    (Request::Drop(_, Tell::Sender), 0) => format!(
                        "dropped, {recipients}; no DSN: there is no sender, or none was asked for"
                    ),
                    (_, 0) => format!("dropped, {recipients}"),
                    (_, told) => {
                        format!("dropped, {recipients}; a DSN to the sender tells of {told}")
                    }
                }
            }
        }
    }

    fn object(&self) -> String {
        let mut object = Object::new();
        let id = self.request.id().map(|id| id.to_string());
        object.text("id", id.as_deref());
        match self.done {
            Done::Due(count) => object.value("due", Some(count)),
            Done::Removed(removed) => {
                object.value("dropped", Some(removed.recipients));
                object.value("told", Some(removed.told));
            }
        }
        object.value("running", Some(self.by == By::Relay));
        object.end()
    }
}
