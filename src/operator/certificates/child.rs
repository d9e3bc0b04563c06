//! The process that reads certificates for a relay that may not: `facteur` again, started by `serve --user` while it is
//! root.
//!
//! It is the user itself, so that it owns nothing of root's, with one capability: to read any file
//! (`CAP_DAC_READ_SEARCH`). Landlock, where the kernel has it, leaves it the certificates' folders of all files. It takes
//! nothing from the relay but the wish to look at once, and ends with it.

use super::fence;
use crate::limits;
use crate::operator::log_from;
use crate::operator::user::is_root_still_to_be_had;
use crate::tls::handed::{self, Handed};
use crate::tls::reader::{Look, Reader};
use crate::tls::table::COMPILED;
use log::LevelFilter;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_no_new_privs,
};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// The word that starts it. It is no command for people.
pub const COMMAND: &str = "certificate-reader";

/// What the relay tells it.
pub struct Orders {
    pub uid: Uid,
    pub gid: Gid,
    pub log: LevelFilter,
    pub dirs: Vec<PathBuf>,
}

impl Orders {
    /// As words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let numbers = [self.uid.to_string(), self.gid.to_string()];
        let words = numbers.into_iter().chain([self.log.to_string()]);
        let dirs = self.dirs.iter().map(|dir| dir.clone().into_os_string());
        words.map(OsString::from).chain(dirs).collect()
    }

    /// Reads what [`Self::words`] wrote; None: it was written by somebody else.
    fn of(words: &[String]) -> Option<Self> {
        let [uid, gid, log, dirs @ ..] = words else {
            return None;
        };
        Some(Self {
            uid: Uid::from_raw(uid.parse().ok()?),
            gid: Gid::from_raw(gid.parse().ok()?),
            log: log.parse().ok()?,
            dirs: dirs.iter().map(PathBuf::from).collect(),
        })
    }
}

/// Reads certificates until the relay ends.
///
/// # Errors
/// One line.
pub fn run(words: &[String]) -> Result<(), String> {
    let ours = || format!("{COMMAND} is what serve --user starts for itself, no command");
    let orders = Orders::of(words).ok_or_else(ours)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let relay = UnixStream::from(stdin.map_err(|e| e.to_string())?);
    relay.peer_addr().map_err(|_| ours())?;
    log_from(orders.log)?;
    withdraw(&orders).map_err(|problem| format!("{COMMAND}: {problem}"))?;
    let reader = Reader::new(&COMPILED, &orders.dirs);
    match serve(relay, reader) {
        Err(problem) if !is_relays_end(&problem) => Err(format!("{COMMAND}: {problem}")),
        _ => Ok(()),
    }
}

/// Whether the relay has ended, with or without having read all.
fn is_relays_end(problem: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(problem.kind(), BrokenPipe | ConnectionReset)
}

/// Gives up all but what reading takes.
fn withdraw(orders: &Orders) -> io::Result<()> {
    // Signals to a whole process group mean the relay, which drains: this one ends when the relay has ended.
    let relays = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    relays.thread_block()?;
    set_no_new_privs(true)?;
    setgroups(&[])?;
    set_keep_capabilities(true)?;
    setresgid(orders.gid, orders.gid, orders.gid)?;
    setresuid(orders.uid, orders.uid, orders.uid)?;
    set_keep_capabilities(false)?;
    let reading = CapabilitySets {
        effective: CapabilitySet::DAC_READ_SEARCH,
        permitted: CapabilitySet::DAC_READ_SEARCH,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, reading)?;
    if is_root_still_to_be_had() {
        return Err(io::Error::other("root can be had back"));
    }
    // The relay is the same user: it is not to look into this memory, and so into any file.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    std::env::set_current_dir("/")?;
    let fence = fence::raise(&orders.dirs);
    log::debug!(
        "certificates read apart pid={} landlock={fence}",
        std::process::id()
    );
    Ok(())
}

fn serve(mut relay: UnixStream, mut reader: Reader) -> io::Result<()> {
    relay.set_read_timeout(Some(limits::CERTIFICATE_LOOK))?;
    look(&mut relay, &mut reader, Look::Final, Handed::OverAsAsked)?;
    loop {
        match relay.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => look(&mut relay, &mut reader, Look::Final, Handed::OverAsAsked)?,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                look(&mut relay, &mut reader, Look::Patient, Handed::Over)?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Hands over each change, and that it was the last, or that there was none.
fn look(relay: &mut UnixStream, reader: &mut Reader, how: Look, over: Handed) -> io::Result<()> {
    let (mut sent, mut changed) = (Ok(()), false);
    reader.look(how, &mut |mut change| {
        changed = true;
        fence::explain(&mut change);
        if sent.is_ok() {
            sent = handed::send(relay, Handed::Change(change));
        }
    });
    sent?;
    match changed || how == Look::Final {
        true => handed::send(relay, over),
        false => handed::send(relay, Handed::Same),
    }
}
