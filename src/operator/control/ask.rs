//! The command's end of the control socket.

use super::words::{END, HEARD, Question, TLS};
use super::{Done, Intake, Present, Request, Said, address, unix_socket};
use crate::limits;
use rustix::io::Errno;
use rustix::net::{self, SocketFlags, sockopt};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What came of asking a relay.
#[derive(Debug)]
pub enum Asked {
    Answered(Result<Done, String>),
    /// Nobody listens.
    NoRelay,
}

/// Asks the relay that runs on the spool in `dir`. Blocks, within limits.
///
/// # Errors
/// One line.
pub fn ask(dir: &Path, request: Request) -> Result<Asked, String> {
    let Some(mut heard) = put(dir, Question::Change(request), limits::CONTROL_HEARD)? else {
        return Ok(Asked::NoRelay);
    };
    Ok(Asked::Answered(Done::parse(&heard.line()?)))
}

/// Whether the relay that runs on the spool in `dir` takes mail; None: nobody listens. Blocks, within limits.
///
/// # Errors
/// One line.
pub fn intake(dir: &Path) -> Result<Option<Intake>, String> {
    let Some(mut heard) = put(dir, Question::State, limits::CONTROL_HEARD)? else {
        return Ok(None);
    };
    let answer = heard.line()?;
    let known = [Intake::Open, Intake::Closed];
    let said = known.into_iter().find(|intake| intake.answer() == answer);
    said.map(Some)
        .ok_or_else(|| format!("the relay answers {answer:?}"))
}

/// What the relay that runs on the spool in `dir` is doing for which recipients, and what it knows of its clock; None:
/// nobody listens. Blocks, within limits.
///
/// # Errors
/// One line.
pub fn now(dir: &Path) -> Result<Option<Vec<Present>>, String> {
    lines(dir, Question::Now, Present::parse)
}

/// The figures of the handshakes of the relay that runs on the spool in `dir`, in lines; None: nobody listens. Blocks,
/// within limits.
///
/// # Errors
/// One line.
pub fn tls(dir: &Path) -> Result<Option<Vec<String>>, String> {
    let figures = |line: &str| line.starts_with(TLS).then(|| line.to_owned());
    lines(dir, Question::Tls, figures)
}

/// What the relay that runs on the spool in `dir` says of its certificates; None: nobody listens. Blocks, within limits.
///
/// # Errors
/// One line.
pub fn certificates(dir: &Path) -> Result<Option<Vec<Said>>, String> {
    lines(dir, Question::Certificates, Said::parse)
}

/// An answer of several lines, each as `read` reads it.
fn lines<T>(
    dir: &Path,
    question: Question,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, String> {
    let late = Instant::now() + limits::QUEUE_NOW;
    let Some(mut heard) = put(dir, question, limits::QUEUE_NOW)? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    while Instant::now() < late {
        let line = heard.line()?;
        match read(&line) {
            Some(read) => all.push(read),
            None if line == END => return Ok(Some(all)),
            None => return Err(format!("the relay answers {line:?}")),
        }
    }
    Err(heard.silent(limits::QUEUE_NOW))
}

/// A relay that has heard a question.
struct Heard {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    question: Question,
}

/// Asks, and waits so long for the relay to have heard; None: nobody listens.
fn put(dir: &Path, question: Question, patience: Duration) -> Result<Option<Heard>, String> {
    let (path, address) = match address(dir) {
        Ok(known) => known,
        // A relay with such a path listens at none.
        Err(_) if !dir.join("control").exists() => return Ok(None),
        Err(why) => return Err(why),
    };
    let told = |problem: io::Error| format!("{}: {problem}", path.display());
    let socket = unix_socket(SocketFlags::empty()).map_err(|e| told(e.into()))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))
        .map_err(|e| told(e.into()))?;
    let connected = net::connect(&socket, &address);
    let mut heard = Heard {
        stream: BufReader::new(UnixStream::from(socket)),
        path,
        question,
    };
    match connected {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED) => return Ok(None),
        // As many as it lets wait are waiting.
        Err(Errno::AGAIN) => return Err(heard.silent(patience)),
        Err(Errno::ACCESS) => {
            let why = "it is another user's: ask as root, or as the user that the relay runs as";
            return Err(heard.told(&io::Error::other(why)));
        }
        Err(problem) => return Err(heard.told(&problem.into())),
    }
    heard.put(patience)?;
    Ok(Some(heard))
}

impl Heard {
    fn put(&mut self, patience: Duration) -> Result<(), String> {
        let line = format!("{}\n", self.question);
        let stream = self.stream.get_mut();
        let asked = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.write_all(line.as_bytes()));
        asked.map_err(|problem| self.told(&problem))?;
        let heard = match self.read() {
            Err(problem) if is_late(&problem) => self.give_up(patience)?,
            read => read.map_err(|problem| self.told(&problem))?,
        };
        match heard.strip_prefix("no ") {
            Some(why) => return Err(why.to_owned()),
            None if heard != HEARD => return Err(format!("the relay answers {heard:?}")),
            None => {}
        }
        // For the work and the answer.
        let patience = Some(limits::CONTROL_ANSWER + limits::CONTROL_LINE);
        let set = self.stream.get_mut().set_read_timeout(patience);
        set.map_err(|problem| self.told(&problem))
    }

    /// From here on it cannot say that it has heard, and does nothing; unless it has said so just now.
    fn give_up(&mut self, patience: Duration) -> Result<String, String> {
        let closed = self.stream.get_mut().shutdown(Shutdown::Read);
        match closed.and_then(|()| self.read()) {
            Ok(line) if line == HEARD => Err(format!(
                "{}: the relay began only after {patience:?}, and cannot say any more what came of it",
                self.path.display()
            )),
            _ => Err(self.silent(patience)),
        }
    }

    /// The next line of its answer.
    fn line(&mut self) -> Result<String, String> {
        self.read().map_err(|problem| match is_late(&problem) {
            true => format!(
                "{}: the relay began, and has not told within {:?} what came of it: its log may",
                self.path.display(),
                limits::CONTROL_ANSWER + limits::CONTROL_LINE
            ),
            false => self.told(&problem),
        })
    }

    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let mut stream = (&mut self.stream).take(limits::CONTROL_REPLY as u64);
        stream.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::Error::other(
                "the relay closed the connection: does it run as another user?",
            )),
        }
    }

    fn silent(&self, patience: Duration) -> String {
        let void = match self.question {
            Question::Change(_) => ": nothing is done",
            _ => "",
        };
        let path = self.path.display();
        format!("{path}: the relay does not answer within {patience:?}{void}")
    }

    fn told(&self, problem: &io::Error) -> String {
        format!("{}: {problem}", self.path.display())
    }
}

fn is_late(problem: &io::Error) -> bool {
    matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
