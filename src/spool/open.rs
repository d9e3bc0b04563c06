//! Opening a spool: the order in which a start does things.

use super::batch::Log;
use super::disk::Disk;
use super::folder::{self, Folder};
use super::record::{SegmentHeader, VERSION};
use super::shared::Shared;
use super::{Finding, Handle, LaneOf, Options, Spool, log as writer, read, recover};
use crate::limits;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    /// Fewer octets than the spool has.
    Shrunk {
        path: PathBuf,
        size: u64,
        present: u64,
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
    let mut present = folder.segments(&*disk)?;
    let highest = present.last().copied().unwrap_or(0);
    if highest > wanted {
        return Err(OpenError::Shrunk {
            path: options.dir.clone(),
            size,
            present: u64::from(highest) * limits::SPOOL_SEGMENT as u64,
        });
    }
    let fresh_salt = fastrand::u64(..);
    if present.is_empty() {
        folder
            .make_segment(&*disk, (1, fresh_salt), |_| true)
            .map_err(|problem| OpenError::io(&folder.segment(1), &problem))?;
        present.push(1);
    }
    let headers = headers(&folder, &*disk, &present)?;
    let salt = headers.first().map_or(fresh_salt, |header| header.salt);
    let mut recovery = recover::recover(&folder, &*disk, salt, &headers, &lane_of)?;
    let missing: Vec<u32> = (1..=wanted)
        .filter(|number| present.binary_search(number).is_err())
        .collect();
    let headless = present
        .iter()
        .filter(|number| headers.iter().all(|header| header.segment != **number));
    let gone = missing.iter().filter(|number| **number < highest);
    let lost = headless.chain(gone).map(|number| Finding::Segment(*number));
    recovery.findings.extend(lost);
    for finding in &recovery.findings {
        match finding {
            Finding::Torn { .. } => ::log::warn!("spool {finding}"),
            _ => ::log::error!("spool {finding}"),
        }
    }
    recovery.state.segments.coming = missing.len();
    recovery.state.queue.new_id(now.saturating_mul(1_000_000));
    ::log::info!(
        "spool open segments={} entries={} missing={}",
        present.len(),
        recovery.state.queue.waiting(),
        missing.len()
    );
    let shared = Arc::new(Shared::new(disk, folder, salt, lane_of, recovery.state));
    let log = Log::new(
        shared.clone(),
        recovery.current,
        recovery.holes,
        recovery.noted,
    );
    start(&options.dir, log, missing, recovery.findings)
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

/// Starts the spool's threads.
fn start(
    dir: &Path,
    log: Log,
    missing: Vec<u32>,
    findings: Vec<Finding>,
) -> Result<Spool, OpenError> {
    let shared = log.shared.clone();
    let (alive, ended) = smol::channel::bounded(1);
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let alive = alive.clone();
        let body = move || {
            work();
            drop(alive);
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
    if !missing.is_empty() {
        spawn(
            "spool-fill",
            Box::new(move || folder::fill(&shared, missing)),
        )?;
    }
    Ok(Spool { handle })
}
