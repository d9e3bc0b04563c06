//! The control socket, `DIR/control` in the spool's folder: how `facteur queue` changes the queue of a running relay.
//!
//! One request a connection, one line each way:
//!
//! ```text
//! facteur-queue 1 retry            ->  ok 12
//! facteur-queue 1 retry ID         ->  ok 1
//! facteur-queue 1 drop ID          ->  ok 2 0
//! facteur-queue 1 drop ID dsn      ->  ok 2 2
//!                                      no ID is not in the queue
//! facteur-queue 1 state            ->  ok open | ok closed
//! ```
//!
//! Only the relay's own user and root may connect: the file's mode says so, and the peer's credentials are looked at
//! besides. Even they cannot hold the relay up: so many connections at once, a line of bounded length, deadlines on all.
//! To list the queue needs no socket ([`crate::spool::Inspector`] says why).

use crate::limits;
use crate::net::deadline::within;
use crate::outbound::by_hand::{Hand, Removed, Tell};
use crate::spool::Id;
use log::{info, warn};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::lock::Semaphore;
use smol::{Async, Executor, Timer};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PROTOCOL: &str = "facteur-queue 1";
/// What `check` asks.
const STATE: &str = "state";

/// Whether a relay's spool takes new mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It does, as long as there is room.
    Open,
    /// Its disk failed, and no fresh segment has proved good since; or it is stopping.
    Closed,
}

impl Intake {
    fn answer(self) -> &'static str {
        match self {
            Self::Open => "ok open",
            Self::Closed => "ok closed",
        }
    }
}

/// What is asked of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Retry(Option<Id>),
    Drop(Id, Tell),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(None) => write!(f, "{PROTOCOL} retry"),
            Self::Retry(Some(id)) => write!(f, "{PROTOCOL} retry {id}"),
            Self::Drop(id, Tell::Nobody) => write!(f, "{PROTOCOL} drop {id}"),
            Self::Drop(id, Tell::Sender) => write!(f, "{PROTOCOL} drop {id} dsn"),
        }
    }
}

impl Request {
    /// Reads what Display wrote.
    ///
    /// # Errors
    /// One line.
    fn parse(line: &str) -> Result<Self, String> {
        let asked = line
            .strip_prefix(PROTOCOL)
            .ok_or_else(|| format!("this relay speaks {PROTOCOL:?}"))?;
        let words: Vec<&str> = asked.split_ascii_whitespace().take(4).collect();
        let id = |word: &str| Id::parse(word).ok_or_else(|| format!("{word:?} is no queue id"));
        match *words.as_slice() {
            ["retry"] => Ok(Self::Retry(None)),
            ["retry", word] => Ok(Self::Retry(Some(id(word)?))),
            ["drop", word] => Ok(Self::Drop(id(word)?, Tell::Nobody)),
            ["drop", word, "dsn"] => Ok(Self::Drop(id(word)?, Tell::Sender)),
            _ => Err(format!("{asked:?} is no request")),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// So many deliveries are due now.
    Due(usize),
    Removed(Removed),
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due(count) => write!(f, "ok {count}"),
            Self::Removed(removed) => write!(f, "ok {} {}", removed.recipients, removed.told),
        }
    }
}

impl Done {
    /// Reads an answer's line.
    fn parse(line: &str) -> Result<Self, String> {
        let strange = || format!("the relay answers {line:?}");
        match line.split_once(' ') {
            Some(("no", why)) => Err(why.to_owned()),
            Some(("ok", figures)) => match figures.split_once(' ') {
                None => figures.parse().map(Self::Due).map_err(|_| strange()),
                Some((recipients, told)) => Ok(Self::Removed(Removed {
                    recipients: recipients.parse().map_err(|_| strange())?,
                    told: told.parse().map_err(|_| strange())?,
                })),
            },
            _ => Err(strange()),
        }
    }
}

/// The socket's file. It goes with its listener, so that nobody waits for a relay that is gone.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // It is told stale by the lack of a listener, too.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The relay's end.
pub struct Control {
    listener: Async<UnixListener>,
    _file: File,
}

/// Where the socket of a spool is, as the system takes it.
fn address(dir: &Path) -> Result<(PathBuf, SocketAddrUnix), String> {
    let path = dir.join("control");
    let too_long = |_| {
        format!(
            "{}: {} octets are too long for a socket's path: give a shorter --spool",
            path.display(),
            path.as_os_str().len()
        )
    };
    let address = SocketAddrUnix::new(&*path).map_err(too_long)?;
    Ok((path, address))
}

/// Why a relay cannot listen beside this spool, if it cannot.
pub fn path_problem(dir: &Path) -> Option<String> {
    address(dir).err()
}

fn unix_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

impl Control {
    /// Binds the socket. The spool is to be locked: then one that is there already is of a relay that is gone.
    ///
    /// # Errors
    /// One line.
    pub fn bind(dir: &Path) -> Result<Self, String> {
        let (path, address) = address(dir)?;
        let told = |problem: io::Error| format!("{}: {problem}", path.display());
        match std::fs::symlink_metadata(&path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(format!("{} is there, and no socket", path.display()));
            }
            Ok(_) => std::fs::remove_file(&path).map_err(told)?,
            Err(_) => {}
        }
        let socket = unix_socket(SocketFlags::NONBLOCK).map_err(|e| told(e.into()))?;
        // The file begins with the mode of the unbound socket, less the umask, so it is at no moment anybody else's.
        let only_us = Mode::RUSR | Mode::WUSR;
        rustix::fs::fchmod(&socket, only_us).map_err(|e| told(e.into()))?;
        net::bind(&socket, &address).map_err(|e| told(e.into()))?;
        let file = File(path.clone());
        // Where the system does otherwise, nothing listens yet.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(told)?;
        let backlog = i32::try_from(limits::CONTROL_CONNECTIONS).unwrap_or(1);
        net::listen(&socket, backlog).map_err(|e| told(e.into()))?;
        Ok(Self {
            listener: Async::new_nonblocking(socket.into()).map_err(told)?,
            _file: file,
        })
    }

    /// Answers until it is dropped, which removes the socket.
    pub async fn serve(self, hand: Hand, executor: Arc<Executor<'static>>) {
        let turns = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS));
        loop {
            let turn = turns.acquire_arc().await;
            let accepted = self.listener.read_with(UnixListener::accept).await;
            match accepted.and_then(|(stream, _)| Async::new(stream)) {
                Ok(stream) => {
                    let hand = hand.clone();
                    let conversation = async move {
                        converse(stream, &hand).await;
                        drop(turn);
                    };
                    executor.spawn(conversation).detach();
                }
                Err(problem) => {
                    warn!("control: {problem}");
                    Timer::after(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn converse(mut stream: Async<UnixStream>, hand: &Hand) {
    if !is_ours(&stream) {
        return;
    }
    let line = within(limits::CONTROL_LINE, read_line(&mut stream)).await;
    let answer = match line {
        Ok(line) if line.strip_prefix(PROTOCOL).map(str::trim) == Some(STATE) => {
            intake_of(hand).answer().to_owned()
        }
        Ok(line) => match Request::parse(&line) {
            Ok(request) => answer(request, hand).await,
            Err(why) => format!("no {why}"),
        },
        Err(problem) => format!("no request: {problem}"),
    };
    let answer = format!("{}\n", answer.replace('\n', " "));
    // Whoever does not read it has gone.
    let _ = within(limits::CONTROL_LINE, stream.write_all(answer.as_bytes())).await;
}

fn intake_of(hand: &Hand) -> Intake {
    match hand.counts().read_only {
        true => Intake::Closed,
        false => Intake::Open,
    }
}

/// Root, or the user that the relay runs as.
fn is_ours(stream: &Async<UnixStream>) -> bool {
    match sockopt::socket_peercred(stream) {
        Ok(peer) => peer.uid.is_root() || peer.uid == rustix::process::geteuid(),
        Err(_) => false,
    }
}

/// One line of bounded length, without its end.
async fn read_line(stream: &mut Async<UnixStream>) -> io::Result<String> {
    let mut line = [0; limits::CONTROL_REQUEST];
    let mut length = 0;
    loop {
        let room = line.get_mut(length..).unwrap_or_default();
        let read = stream.read(room).await?;
        let end = line
            .iter()
            .take(length + read)
            .position(|&octet| octet == b'\n');
        length += read;
        if let Some(end) = end {
            let text = std::str::from_utf8(&line[..end]).map_err(io::Error::other)?;
            return Ok(text.to_owned());
        }
        if read == 0 {
            // It ended, or the line is too long.
            return Err(io::Error::other("no whole line"));
        }
    }
}

async fn answer(request: Request, hand: &Hand) -> String {
    let doing = async {
        Ok(match request {
            Request::Retry(id) => hand.retry(id).await.map(Done::Due),
            Request::Drop(id, tell) => hand.remove(id, tell).await.map(Done::Removed),
        })
    };
    match within(limits::CONTROL_ANSWER, doing).await {
        Ok(Ok(done)) => {
            info!("by hand request=\"{request}\" answer=\"{done}\"");
            done.to_string()
        }
        Ok(Err(why)) => format!("no {why}"),
        Err(_) => format!(
            "no end of it within {:?}: the relay's log may say why",
            limits::CONTROL_ANSWER
        ),
    }
}

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
    Ok(match say(dir, &request.to_string())? {
        Some(answer) => Asked::Answered(Done::parse(&answer)),
        None => Asked::NoRelay,
    })
}

/// Whether the relay that runs on the spool in `dir` takes mail; None: nobody listens. Blocks, within limits.
///
/// # Errors
/// One line.
pub fn intake(dir: &Path) -> Result<Option<Intake>, String> {
    let Some(answer) = say(dir, &format!("{PROTOCOL} {STATE}"))? else {
        return Ok(None);
    };
    let known = [Intake::Open, Intake::Closed];
    let said = known.into_iter().find(|intake| intake.answer() == answer);
    said.map(Some)
        .ok_or_else(|| format!("the relay answers {answer:?}"))
}

/// Says one line to the relay; its answer, or None if nobody listens.
fn say(dir: &Path, line: &str) -> Result<Option<String>, String> {
    let (path, address) = match address(dir) {
        Ok(known) => known,
        // A relay with such a path listens at none.
        Err(_) if !dir.join("control").exists() => return Ok(None),
        Err(why) => return Err(why),
    };
    let told = |problem: io::Error| format!("{}: {problem}", path.display());
    let socket = unix_socket(SocketFlags::empty()).map_err(|e| told(e.into()))?;
    let patience = Some(limits::CONTROL_LINE);
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience)
        .map_err(|e| told(e.into()))?;
    match net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(Errno::AGAIN) => return Err(told(io::Error::other("the relay does not answer"))),
        Err(problem) => return Err(told(problem.into())),
    }
    converse_with(UnixStream::from(socket), line)
        .map(Some)
        .map_err(told)
}

fn converse_with(mut stream: UnixStream, request: &str) -> io::Result<String> {
    use std::io::{Read as _, Write as _};
    // For the request, its turn, the work and the answer.
    stream.set_read_timeout(Some(limits::CONTROL_ANSWER + 2 * limits::CONTROL_LINE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    stream
        .take(limits::CONTROL_REPLY as u64)
        .read_to_string(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::other(
            "the relay closed the connection: does it run as another user?",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_read_as_they_are_written() {
        let id = Id::parse("1j0t7dfr3v2").expect("an id");
        for request in [
            Request::Retry(None),
            Request::Retry(Some(id)),
            Request::Drop(id, Tell::Nobody),
            Request::Drop(id, Tell::Sender),
        ] {
            let line = request.to_string();
            assert_eq!(Request::parse(&line), Ok(request));
            assert!(line.len() < limits::CONTROL_REQUEST);
        }
        let removed = Removed {
            recipients: 2,
            told: 1,
        };
        for done in [Done::Due(12), Done::Removed(removed)] {
            assert_eq!(Done::parse(&done.to_string()), Ok(done));
        }
        assert_eq!(Done::parse("no way"), Err("way".to_owned()));
    }

    #[test]
    fn what_is_no_request_is_told_in_one_line() {
        for line in [
            "",
            "retry",
            "facteur-queue 2 retry",
            "facteur-queue 1",
            "facteur-queue 1 retry all",
            "facteur-queue 1 drop",
            "facteur-queue 1 drop 1j0t7dfr3v2 dsn please",
            "facteur-queue 1 list",
        ] {
            let why = Request::parse(line).expect_err(line);
            assert!(!why.contains('\n'), "{why}");
        }
        assert!(Done::parse("ok many").is_err() && Done::parse("").is_err());
    }
}
