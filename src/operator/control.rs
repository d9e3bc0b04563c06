//! The control socket, `DIR/control` in the spool's folder: how `facteur queue` changes the queue of a running relay.
//!
//! One request a connection, a line. The relay says `heard` at once, and the answer when the work is done:
//!
//! ```text
//! facteur-queue 2 retry            ->  ok 12
//! facteur-queue 2 retry ID         ->  ok 1
//! facteur-queue 2 drop ID          ->  ok 2 0
//! facteur-queue 2 drop ID dsn      ->  ok 2 2
//!                                      no ID is not in the queue
//! facteur-queue 2 state            ->  ok open | ok closed
//! facteur-queue 2 now              ->  trying ID MASK
//!                                      due ID MASK
//!                                      waits ID MASK TIME
//!                                      era ID SECONDS
//!                                      ok
//! facteur-queue 2 tls              ->  tls versions TLSv1.3=12
//!                                      tls entries mx.example.org=12
//!                                      ok
//! facteur-queue 2 certificates     ->  reader 1234
//!                                      looked 2
//!                                      serves SOURCE SHA256 UNTIL KEY ISSUER NAMES KEPT
//!                                      ok
//! ```
//!
//! **Why `heard`.** A relay that hangs may read a request long after its command has given up. What cannot be answered any
//! more is not done: who is not told `heard` in time closes the socket, and the relay, which says so first, sees that.
//!
//! Only the relay's own user and root may connect: the file's mode says so, and the peer's credentials are looked at
//! besides. Even they cannot hold the relay up: so many connections at once, a line of bounded length, deadlines on all.
//! To list the queue needs no socket ([`crate::spool::Inspector`] says why), but only a relay knows what it is trying.

mod ask;
mod served;
mod words;

pub use ask::{Asked, ask, certificates, intake, now, tls};
pub use served::{Said, Served, source};
pub use words::{Done, Intake, Now, Present, Request};

use super::certificates::Standing;
use crate::inbound::Counters;
use crate::limits;
use crate::net::deadline::within;
use crate::outbound::by_hand::Hand;
use log::{info, warn};
use rustix::fs::Mode;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::lock::Semaphore;
use smol::{Async, Executor, Timer};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use words::{END, HEARD, Question};

/// The socket's file. It goes with its listener, so that nobody waits for a relay that is gone.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // It is told stale by the lack of a listener, too.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What is within reach of those who ask.
#[derive(Clone)]
pub struct Reach {
    /// The queue.
    pub hand: Hand,
    /// What came in.
    pub counters: Arc<Counters>,
    /// What is served; None where no listener speaks TLS.
    pub certificates: Option<Arc<Standing>>,
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
    pub async fn serve(self, reach: Reach, executor: Arc<Executor<'static>>) {
        let turns = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS));
        loop {
            let turn = turns.acquire_arc().await;
            let accepted = self.listener.read_with(UnixListener::accept).await;
            match accepted.and_then(|(stream, _)| Async::new(stream)) {
                Ok(stream) => {
                    let reach = reach.clone();
                    let conversation = async move {
                        converse(stream, &reach).await;
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

async fn converse(mut stream: Async<UnixStream>, reach: &Reach) {
    let Reach {
        hand,
        counters,
        certificates,
    } = reach;
    if !is_ours(&stream) {
        return;
    }
    let line = within(limits::CONTROL_LINE, read_line(&mut stream)).await;
    let line = line.map_err(|problem| format!("no request: {problem}"));
    let question = match line.and_then(|line| Question::parse(&line)) {
        Ok(question) => question,
        Err(why) => {
            return say(&mut stream, &format!("no {why}"))
                .await
                .unwrap_or_default();
        }
    };
    // Whoever does not hear it has gone, and cannot be told what came of it: nothing is done.
    if say(&mut stream, HEARD).await.is_err() {
        return;
    }
    let answer = match question {
        Question::Now => return tell_now(&mut stream, hand).await,
        Question::Tls => return tell_tls(&mut stream, counters).await,
        Question::Certificates => {
            return tell_certificates(&mut stream, certificates.as_deref()).await;
        }
        Question::State => intake_of(hand).answer().to_owned(),
        Question::Change(request) => answer(request, hand).await,
    };
    // Whoever does not read it has gone.
    let _ = say(&mut stream, &answer).await;
}

/// A line.
async fn say(stream: &mut Async<UnixStream>, line: &str) -> io::Result<()> {
    say_lines(stream, &format!("{}\n", line.replace('\n', " "))).await
}

async fn say_lines(stream: &mut Async<UnixStream>, lines: &str) -> io::Result<()> {
    within(limits::CONTROL_LINE, stream.write_all(lines.as_bytes())).await
}

/// Tells of its clock, what is tried and what was made due, a piece of the index at a time, so that its length takes no memory.
async fn tell_now(stream: &mut Async<UnixStream>, hand: &Hand) {
    let mut lines = String::new();
    let eras = hand.eras();
    // Before the clock is set, the disk has the times of next tries, too.
    let was_set = eras.len() > 1;
    for era in eras {
        words::put_era(era, &mut lines);
    }
    for (id, recipients) in hand.trying() {
        Now::Trying.put(id, recipients, &mut lines);
    }
    let mut from = Some(0);
    while let Some(slot) = from {
        let (tries, next) = hand.next_tries(slot);
        for (id, recipients, at) in tries {
            match at {
                0 => Now::Due.put(id, recipients, &mut lines),
                at if was_set => Now::Waits(at).put(id, recipients, &mut lines),
                _ => {}
            }
        }
        if say_lines(stream, &lines).await.is_err() {
            return;
        }
        lines.clear();
        from = next;
    }
    // Whoever does not read it has gone.
    let _ = say(stream, END).await;
}

/// Tells the figures of handshakes, a line at a time.
async fn tell_tls(stream: &mut Async<UnixStream>, counters: &Counters) {
    for line in counters.tls.lines(usize::MAX) {
        if say(stream, &line).await.is_err() {
            return;
        }
    }
    // Whoever does not read it has gone.
    let _ = say(stream, END).await;
}

/// Tells what is served, a line at a time; others have their turn in between.
async fn tell_certificates(stream: &mut Async<UnixStream>, standing: Option<&Standing>) {
    if let Some(state) = standing.map(Standing::now) {
        for line in served::lines(&state) {
            if say(stream, &line.to_string()).await.is_err() {
                return;
            }
            smol::future::yield_now().await;
        }
    }
    // Whoever does not read it has gone.
    let _ = say(stream, END).await;
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
            let (request, done) = (request.to_string(), done.to_string());
            info!("by hand request={request:?} answer={done:?}");
            done
        }
        Ok(Err(why)) => format!("no {why}"),
        Err(_) => format!(
            "no end of it within {:?}: the relay's log may say why",
            limits::CONTROL_ANSWER
        ),
    }
}
