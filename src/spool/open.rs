//! Opening a spool: the order in which a start does things.

use super::batch::Log;
use super::disk::Disk;
use super::folder::{self, Folder};
use super::record::{SegmentHeader, VERSION};
use super::shared::Shared;
use super::{Finding, Handle, LaneOf, Options, Spool, log as writer, mover, read, recover};
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
                write!(f, "spool {}: another process has it open", path.display())
            }
            Self::Io { path, problem } => write!(f, "spool {}: {problem}", path.display()),
            Self::Version { path, found } => write!(
                f,
                "spool {}: format version {found}, this facteur reads version {VERSION}",
                path.display()
            ),
            Self::Foreign(path) => {
                write!(f, "spool {}: no segment of this spool", path.display())
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
    let survey = Survey::of(&folder, &*disk, options, wanted)?;
    let Some(SegmentHeader { salt, .. }) = survey.headers.first().copied() else {
        // Nothing in it can be read: there is no telling what it is.
        return Err(OpenError::Foreign(
            folder.segment(survey.present.first().copied().unwrap_or(1)),
        ));
    };
    let mut recovery = recover::recover(&folder, &*disk, salt, &survey.headers, &lane_of)?;
    let aside = survey.present.len() - survey.headers.len();
    recovery.set_aside(aside, survey.highest);
    recovery.findings.extend(survey.lost());
    for finding in &recovery.findings {
        match finding {
            Finding::Torn { .. } => ::log::warn!("spool {finding}"),
            _ => ::log::error!("spool {finding}"),
        }
    }
    recovery.state.segments.coming = survey.missing.len();
    recovery.state.queue.new_id(now.saturating_mul(1_000_000));
    ::log::info!(
        "spool open segments={} entries={} missing={}",
        survey.present.len(),
        recovery.state.queue.waiting(),
        survey.missing.len()
    );
    let (current, holes, noted) = (recovery.current, recovery.holes, recovery.noted);
    let of_all = (salt, wanted);
    let shared = Shared::new(disk, folder, of_all, lane_of, recovery.state);
    let log = Log::new(Arc::new(shared), current, holes, noted);
    start(&options.dir, log, survey.missing, recovery.findings)
}

/// What is in the folder, and what is still to be made.
struct Survey {
    present: Vec<u32>,
    /// Of those present, but for the ones that are set aside.
    headers: Vec<SegmentHeader>,
    /// The highest number that was there.
    highest: u32,
    missing: Vec<u32>,
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
        let highest = present.last().copied().unwrap_or(0);
        let recorded = headers.iter().map(|header| header.spool).max();
        let before = recorded.unwrap_or(0).max(highest);
        if before > wanted {
            return Err(OpenError::Shrunk {
                path: options.dir.clone(),
                size: options.size,
                present: u64::from(before) * limits::SPOOL_SEGMENT as u64,
            });
        }
        let fill = match folder.check_room(disk, wanted as usize - present.len()) {
            // The disk was filled by others. What is queued must not wait for that to end, nor the disk be filled up.
            Err(problem) if before == wanted => {
                ::log::error!("{problem}: the spool stays smaller until a start finds room");
                false
            }
            Err(problem) => return Err(problem),
            Ok(()) => true,
        };
        if present.is_empty() {
            let first = SegmentHeader::unused(1, fresh_salt(), wanted);
            folder
                .make_segment(disk, first, |_| true)
                .map_err(|problem| OpenError::io(&folder.segment(1), &problem))?;
            present.push(1);
            headers.push(first);
        }
        let missing = |number: &u32| fill && present.binary_search(number).is_err();
        Ok(Self {
            missing: (1..=wanted).filter(missing).collect(),
            present,
            headers,
            highest,
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
            Box::new(move || folder::fill(&filler, missing)),
        )?;
    }
    Ok(Spool { handle })
}
