//! Accepting connections while there are slots.

use super::session::{self, Door};
use super::slots::Full;
use super::{Inbound, count};
use crate::limits;
use crate::smtp::reply::{self, Reply};
use log::{Level, log, warn};
use rustix::io::Errno;
use smol::channel::Sender;
use smol::future::FutureExt as _;
use smol::{Async, Executor, Timer};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Accepts connections for ever; each session is a task that holds a clone of `alive`.
pub async fn listen(
    inbound: Arc<Inbound>,
    executor: Arc<Executor<'static>>,
    listener: Async<TcpListener>,
    door: Door,
    alive: Sender<()>,
) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => admit(&inbound, &executor, socket, peer, door, &alive),
            Err(problem) if !is_shortage(&problem) => log::debug!("accept failed: {problem}"),
            Err(problem) => {
                // Out of descriptors or memory: accepting at once again would only spin.
                warn!("accept failed: {problem}");
                Timer::after(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the system lacks something, so that the next accept would fail alike; else only that client is gone.
fn is_shortage(problem: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    lacks
        .iter()
        .any(|lack| problem.raw_os_error() == Some(lack.raw_os_error()))
}

fn admit(
    inbound: &Arc<Inbound>,
    executor: &Executor<'static>,
    socket: Async<TcpStream>,
    peer: SocketAddr,
    door: Door,
    alive: &Sender<()>,
) {
    let trust = inbound.names.relay.trust(peer.ip());
    let slot = match inbound.slots.take(peer.ip(), trust) {
        Ok(slot) => slot,
        Err(full) => {
            let why = match full {
                Full::All => reply::TOO_MANY_SESSIONS,
                Full::FromAddress => reply::TOO_MANY_FROM_ADDRESS,
            };
            log_turned_away(inbound, peer, why);
            if door != Door::Tls {
                turn_away(socket, peer, why); // in TLS nothing can be said before the handshake
            }
            return;
        }
    };
    let (inbound, alive) = (Arc::clone(inbound), alive.clone());
    let task = async move {
        // A panic ends its own session: the relay and its queue go on.
        let session = AssertUnwindSafe(session::run(inbound, socket, peer, door, slot));
        if session.catch_unwind().await.is_err() {
            log::error!("a session panicked client={peer}: please report this");
        }
        drop(alive);
    };
    executor.spawn(task).detach();
}

/// A flood of clients must not become one of lines: the log, too, lies on somebody's flash.
fn log_turned_away(inbound: &Inbound, peer: SocketAddr, why: Reply) {
    let in_all = count(&inbound.counters.turned_away);
    let now = (inbound.clock)() / limits::TURNED_AWAY_LOG.as_micros() as u64;
    let level = match inbound.counters.told.swap(now, Ordering::Relaxed) {
        before if before == now => Level::Debug,
        _ => Level::Info,
    };
    let reply = why.0;
    log!(
        level,
        "turned away client={peer} reply={reply:?} in-all={in_all}"
    );
}

/// Says why in one try and closes: a full relay keeps no state for those whom it turns away.
fn turn_away(socket: Async<TcpStream>, peer: SocketAddr, why: Reply) {
    let said = socket
        .get_ref()
        .write_all(format!("{}\r\n", why.0).as_bytes());
    if let Err(problem) = said {
        log::debug!("turned away client={peer}: {problem}");
    }
}

/// Binds an address, in the name of the flag that gave it. It is left to the caller to make it smol's, which starts a
/// thread: root is dropped before.
///
/// # Errors
/// One line that names flag and address.
pub fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address);
    bound.map_err(|problem| {
        let hint = match problem.kind() {
            io::ErrorKind::AddrInUse => ": another program listens there",
            io::ErrorKind::PermissionDenied => {
                ": ports below 1024 need root or CAP_NET_BIND_SERVICE"
            }
            io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
            _ => "",
        };
        format!("{flag} {address}: {problem}{hint}")
    })
}
