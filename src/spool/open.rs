//! Opening a spool: the order in which a start does things.

use super::batch::Log;
use super::disk::Disk;
use super::folder::{self, Folder};
use super::header::{SegmentHeader, VERSION};
use super::seal::{CHECK, Key, Sealer};
use super::shared::{Shared, locked};
use super::{
    FileSystem, Finding, Handle, LaneOf, Options, Spool, log as writer, mover, read, recover,
};
use crate::limits;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

/// Why a spool does not open. Displayed as one line.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked(PathBuf),
    Io {
        path: PathBuf,
        problem: io::Error,
    },
    /// A segment of another format.
    Version {
        path: PathBuf,
        found: u32,
    },
    /// It is sealed, and no key was given.
    NoKey(PathBuf),
    /// It is sealed with another key.
    WrongKey(PathBuf),
    /// A file with a segment's name that is none, or another spool's.
    Foreign(PathBuf),
    /// Fewer octets than the fewest segments take.
    Small {
        size: u64,
    },
    /// Fewer octets than the spool has, or was to have when it was made.
    Shrunk {
        path: PathBuf,
        size: u64,
        present: u64,
    },
    /// The file system has less room than the segments that are still missing take.
    NoRoom {
        path: PathBuf,
        need: u64,
        free: u64,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, problem: &io::Error) -> Self {
        let again = match problem.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => problem.kind().into(),
        };
        Self::Io {
            path: path.to_owned(),
            problem: again,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => {
                write!(
                    f,
                    "spool {}: another process has it open, a relay or a facteur queue",
                    path.display()
                )
            }
            Self::Io { path, problem } => write!(f, "spool {}: {problem}", path.display()),
            Self::Version { path, found } => write!(
                f,
                "spool {}: format version {found}, this facteur reads versions 1 to {VERSION}",
                path.display()
            ),
            Self::NoKey(path) => write!(
                f,
                "spool {}: it is sealed, and its key is not given: --spool-key FILE",
                path.display()
            ),
            Self::WrongKey(path) => write!(
                f,
                "spool {}: it is sealed with another key than --spool-key gives",
                path.display()
            ),
            Self::Foreign(path) => {
                write!(
                    f,
                    "spool {}: no segment of this spool, though it has the name of one: move it to another folder",
                    path.display()
                )
            }
            Self::Small { size } => write!(
                f,
                "spool size {size}: at least {} octets are needed",
                limits::SPOOL_SEGMENTS * limits::SPOOL_SEGMENT
            ),
            Self::Shrunk {
                path,
                size,
                present,
            } => write!(
                f,
                "spool {}: size {size} is less than the {present} octets it has; a spool only grows",
                path.display()
            ),
            Self::NoRoom { path, need, free } => write!(
                f,
                "spool {}: {need} octets are still to be made of its size, and the file system has {free} free",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens or makes a spool.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    options: &Options,
    disk: Arc<dyn Disk>,
    lane_of: LaneOf,
    now: u64,
) -> Result<Spool, OpenError> {
    let size = options.size;
    let wanted = u32::try_from(size / limits::SPOOL_SEGMENT as u64).unwrap_or(u32::MAX);
    if (wanted as usize) < limits::SPOOL_SEGMENTS {
        return Err(OpenError::Small { size });
    }
    let folder = Folder::lock(&options.dir, &*disk)?;
    if let Ok(Some(warning)) = disk.file_system(&options.dir).map(FileSystem::warning) {
        ::log::warn!("spool {}: {warning}", options.dir.display());
    }
    let mut survey = Survey::of(&folder, &*disk, options, wanted)?;
    let (salt, sealer) = (survey.salt, survey.sealer.take());
    let secrets = (salt, sealer.as_ref());
    let mut recovery = recover::recover(&folder, &*disk, secrets, &survey.headers, &lane_of)?;
    let aside = survey.present.len() - survey.headers.len();
    recovery.set_aside(aside, survey.highest);
    recovery.findings.extend(survey.lost());
    for finding in &recovery.findings {
        match finding {
            Finding::Torn { .. } => ::log::warn!("spool {finding}"),
            _ => ::log::error!("spool {finding}"),
        }
    }
    recovery.state.segments.coming = match survey.fill {
        Fill::Now => survey.missing.len(),
        Fill::Later => 0,
    };
    recovery.state.queue.new_id(now.saturating_mul(1_000_000));
    ::log::info!(
        "spool open segments={} entries={} missing={} sealed={}",
        survey.present.len(),
        recovery.state.queue.waiting(),
        survey.missing.len(),
        sealer.is_some()
    );
    let (current, holes, noted) = (recovery.current, recovery.holes, recovery.noted);
    let in_clear = sealer
        .as_ref()
        .map_or(Vec::new(), |_| in_clear(&survey.headers));
    let of_all = (salt, sealer, wanted);
    let shared = Shared::new(disk, folder, of_all, lane_of, recovery.state);
    *locked(&shared.lost) = recovery.lost;
    let mut log = Log::new(Arc::new(shared), current, holes, noted);
    log.in_clear = in_clear;
    start(&options.dir, log, survey.missing, recovery.findings)
}

/// The segments that were written before there was a key, which is worth a warning.
fn in_clear(headers: &[SegmentHeader]) -> Vec<u32> {
    let before = |header: &&SegmentHeader| header.generation > 0 && !header.is_sealed();
    let numbers = headers.iter().filter(before).map(|header| header.segment);
    let numbers: Vec<u32> = numbers.collect();
    if !numbers.is_empty() {
        ::log::warn!(
            "spool segments={} were written before the key: each stays in clear until its turn to be written again",
            numbers.len()
        );
    }
    numbers
}

/// What a key is to this spool, whose headers tell whether it is the right one.
pub(super) fn sealer(
    key: Option<&Key>,
    dir: &Path,
    salt: u64,
    headers: &[SegmentHeader],
) -> Result<Option<Sealer>, OpenError> {
    let new = |key: &Key| Sealer::new(key, salt);
    let sealer = key.map(new).transpose();
    let sealer = sealer.map_err(|problem| OpenError::io(dir, &problem))?;
    for header in headers.iter().filter(|header| header.is_sealed()) {
        match &sealer {
            None => return Err(OpenError::NoKey(dir.to_owned())),
            Some(sealer) if sealer.check() != header.check => {
                return Err(OpenError::WrongKey(dir.to_owned()));
            }
            Some(_) => {}
        }
    }
    Ok(sealer)
}

/// What is in the folder, and what is still to be made.
struct Survey {
    present: Vec<u32>,
    /// Of those present, but for the ones that are set aside.
    headers: Vec<SegmentHeader>,
    /// The highest number that was there.
    highest: u32,
    missing: Vec<u32>,
    fill: Fill,
    salt: u64,
    sealer: Option<Sealer>,
}

/// When the missing segments can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    Now,
    /// When there is room again.
    Later,
}

impl Survey {
    /// Looks, and makes the first segment of a new spool.
    fn of(
        folder: &Folder,
        disk: &dyn Disk,
        options: &Options,
        wanted: u32,
    ) -> Result<Self, OpenError> {
        let mut present = folder.segments(disk)?;
        let mut headers = headers(folder, disk, &present)?;
        let salt = match headers.first() {
            Some(header) => header.salt,
            None if present.is_empty() => fresh_salt(),
            // Nothing in it can be read: there is no telling what it is.
            None => return Err(OpenError::Foreign(folder.segment(present[0]))),
        };
        // A spool that does not open is left as it is.
        let sealer = sealer(options.key.as_ref(), &options.dir, salt, &headers)?;
        let recorded = headers.iter().map(|header| header.spool).max().unwrap_or(0);
        leave_alone(folder, &mut present, &headers, wanted.max(recorded));
        let highest = present.last().copied().unwrap_or(0);
        let before = recorded.max(highest);
        if before > wanted {
            return Err(OpenError::Shrunk {
                path: options.dir.clone(),
                size: options.size,
                present: u64::from(before) * limits::SPOOL_SEGMENT as u64,
            });
        }
        folder.remove_unfinished(disk)?;
        let fill = match folder.check_room(disk, wanted as usize - present.len()) {
            // The disk was filled by others. What is queued must not wait for that to end, nor the disk be filled up.
            Err(_) if before == wanted => Fill::Later,
            Err(problem) => return Err(problem),
            Ok(()) => Fill::Now,
        };
        if present.is_empty() {
            let first = SegmentHeader {
                check: sealer.as_ref().map_or([0; CHECK], Sealer::check),
                ..SegmentHeader::unused(1, salt, wanted)
            };
            folder
                .make_segment(disk, first, |_| true)
                .map_err(|problem| OpenError::io(&folder.segment(1), &problem))?;
            present.push(1);
            headers.push(first);
        }
        let missing = |number: &u32| present.binary_search(number).is_err();
        Ok(Self {
            fill,
            missing: (1..=wanted).filter(missing).collect(),
            present,
            headers,
            highest,
            salt,
            sealer,
        })
    }

    /// What should be there and is not, or not to be read.
    fn lost(&self) -> impl Iterator<Item = Finding> + '_ {
        (1..self.highest + 1).filter_map(|number| {
            if self.present.binary_search(&number).is_err() {
                return Some(Finding::Segment(number));
            }
            let whole = self.headers.iter().any(|header| header.segment == number);
            (!whole).then_some(Finding::Aside(number))
        })
    }
}

/// Leaves out what has a segment's name, no header that can be read, and a number that this spool never had: it is
/// somebody else's file.
fn leave_alone(folder: &Folder, present: &mut Vec<u32>, headers: &[SegmentHeader], most: u32) {
    present.retain(|number| {
        let ours = *number <= most || headers.iter().any(|header| header.segment == *number);
        if !ours {
            ::log::error!(
                "spool file={}: no segment of this spool, and left alone: move it to another folder",
                folder.segment(*number).display()
            );
        }
        ours
    });
}

/// What makes this spool's checksums its own.
///
/// A sender who guessed it could write records into a message, for a start that searches damage. fastrand seeds itself
/// from the clock and the thread's number, which is no secret; RandomState's keys come from the operating system.
fn fresh_salt() -> u64 {
    RandomState::new().hash_one(())
}

/// The headers that can be read; all must be of one spool.
fn headers(
    folder: &Folder,
    disk: &dyn Disk,
    present: &[u32],
) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut headers: Vec<SegmentHeader> = Vec::new();
    for &number in present {
        match folder.header(disk, number)? {
            Some(header) if headers.first().is_some_and(|h| h.salt != header.salt) => {
                return Err(OpenError::Foreign(folder.segment(number)));
            }
            Some(header) => headers.push(header),
            // Kept as it is, and not used.
            None => {}
        }
    }
    Ok(headers)
}

/// Notices that a thread of the spool panics: without it, whoever waits for the thread would do so until a deadline, one
/// after another, and new mail would be taken as if somebody wrote it.
struct Watch {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            ::log::error!(
                "spool thread={} panicked: no mail is taken or read until facteur is started again",
                self.name
            );
            self.shared.read_only.store(true, Ordering::Relaxed);
            self.shared.stop();
        }
    }
}

/// Starts the spool's threads.
fn start(
    dir: &Path,
    log: Log,
    missing: Vec<u32>,
    findings: Vec<Finding>,
) -> Result<Spool, OpenError> {
    let shared = log.shared.clone();
    let (alive, ended) = smol::channel::bounded(1);
    let spawn = |name: &'static str, work: Box<dyn FnOnce() + Send>| {
        let alive = alive.clone();
        let watch = Watch {
            name,
            shared: shared.clone(),
        };
        let body = move || {
            work();
            drop((watch, alive));
        };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
        spawned
            .map(drop)
            .map_err(|problem| OpenError::io(dir, &problem))
    };
    let handle = Arc::new(Handle {
        shared: shared.clone(),
        ended,
        findings,
    });
    spawn("spool-writer", Box::new(move || writer::run(log)))?;
    let reader = shared.clone();
    spawn("spool-reader", Box::new(move || read::run(&reader)))?;
    let movable = shared.clone();
    spawn("spool-mover", Box::new(move || mover::run(&movable)))?;
    if !missing.is_empty() {
        let filler = shared.clone();
        spawn(
            "spool-fill",
            Box::new(move || folder::fill(&filler, &missing)),
        )?;
    }
    Ok(Spool { handle })
}
