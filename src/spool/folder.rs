//! The spool's folder: its lock, its segment files, and the making of them.

use super::OpenError;
use super::disk::Disk;
use super::record::{BLOCK, END, NotASegment, SegmentHeader};
use super::shared::{Shared, locked};
use crate::limits;
use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The spool's folder, locked.
pub struct Folder {
    path: PathBuf,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl Folder {
    /// Makes the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn lock(path: &Path, disk: &dyn Disk) -> Result<Self, OpenError> {
        disk.create_folder(path)
            .map_err(|problem| OpenError::io(path, &problem))?;
        let file = path.join("lock");
        let lock = disk
            .lock(&file)
            .map_err(|problem| OpenError::io(&file, &problem))?
            .ok_or_else(|| OpenError::Locked(path.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Lets another process open the spool.
    pub fn unlock(&self) {
        locked(&self.lock).take();
    }

    /// A segment's file.
    #[must_use]
    pub fn segment(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:06}.seg"))
    }

    /// The numbers of the segment files that are there, in order.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn segments(&self, disk: &dyn Disk) -> Result<Vec<u32>, OpenError> {
        let names = disk
            .list(&self.path)
            .map_err(|problem| OpenError::io(&self.path, &problem))?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| {
                let digits = name.strip_suffix(".seg")?;
                digits
                    .parse()
                    .ok()
                    .filter(|number| format!("{number:06}") == digits)
            })
            .filter(|&number| number > 0)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes a segment: every octet written, so that later writes change no metadata and want no room. `pause` is asked
    /// after each piece; false ends it.
    ///
    /// # Errors
    /// The disk's; `Interrupted` if `pause` ended it.
    pub fn make_segment(
        &self,
        disk: &dyn Disk,
        (number, salt): (u32, u64),
        mut pause: impl FnMut(usize) -> bool,
    ) -> io::Result<()> {
        let new = self.path.join(format!("{number:06}.new"));
        let file = disk.create(&new)?;
        let zeros = vec![0; 64 * 1024];
        let mut at = BLOCK;
        while at < END as usize {
            let length = zeros.len().min(END as usize - at);
            file.write_at(&zeros[..length], at as u64)?;
            at += length;
            if !pause(length) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        let header = SegmentHeader {
            segment: number,
            generation: 0,
            salt,
        }
        .block();
        file.write_at(&header, 0)?;
        file.write_at(&header, END.into())?;
        file.sync_data()?;
        disk.rename(&new, &self.segment(number))?;
        disk.sync_folder(&self.path)
    }

    /// A segment's header, from the file's first block or else its last. None: neither can be read.
    ///
    /// # Errors
    /// [`OpenError`] for another format or a foreign file.
    pub fn header(&self, disk: &dyn Disk, number: u32) -> Result<Option<SegmentHeader>, OpenError> {
        let path = self.segment(number);
        let file = disk
            .open(&path)
            .map_err(|problem| OpenError::io(&path, &problem))?;
        let mut block = [0; BLOCK];
        let mut best: Option<SegmentHeader> = None;
        let mut foreign = 0;
        let mut version = None;
        for at in [0, END] {
            if let Err(problem) = file.read_at(&mut block, at.into()) {
                log::error!(
                    "spool file={} offset={at} error=\"{problem}\"",
                    path.display()
                );
                continue;
            }
            match SegmentHeader::read(&block) {
                Ok(header) if header.segment == number => {
                    if best.is_none_or(|other| other.generation < header.generation) {
                        best = Some(header);
                    }
                }
                Ok(_) | Err(NotASegment::Damaged) => {
                    log::error!("spool file={} offset={at} damaged header", path.display());
                }
                Err(NotASegment::Version(found)) => version = Some(found),
                Err(NotASegment::Foreign) => foreign += 1,
            }
        }
        match (best, version) {
            (None, Some(found)) => Err(OpenError::Version { path, found }),
            (None, None) if foreign == 2 => Err(OpenError::Foreign(path)),
            (best, _) => Ok(best),
        }
    }
}

/// Makes the segments that a spool of its size still lacks, slowly, while it serves.
pub fn fill(shared: &Arc<Shared>, missing: Vec<u32>) {
    let all = missing.len();
    for (made, number) in missing.into_iter().enumerate() {
        let pause = |octets: usize| {
            // While few are ready at once: a burst of mail must not find a spool that is only on its way.
            let hurry = shared.state().segments.ready() < limits::SPOOL_READY;
            let stopped = locked(&shared.fill_stop.0);
            if *stopped || hurry {
                return !*stopped;
            }
            let time = Duration::from_secs_f64(octets as f64 / limits::SPOOL_FILL_RATE as f64);
            match shared.fill_stop.1.wait_timeout(stopped, time) {
                Ok((stopped, _)) => !*stopped,
                Err(_) => false,
            }
        };
        let result = shared
            .folder
            .make_segment(&*shared.disk, (number, shared.salt), pause);
        let mut state = shared.state();
        match result {
            Ok(()) => {
                state.segments.coming = state.segments.coming.saturating_sub(1);
                state.segments.add_unused(number);
            }
            Err(problem) => {
                state.segments.coming = 0;
                drop(state);
                if problem.kind() != io::ErrorKind::Interrupted {
                    log::error!(
                        "spool fill made={made} of={all} segment={number:06} error=\"{problem}\": the spool stays smaller until the next start"
                    );
                }
                return;
            }
        }
    }
    log::info!("spool fill done segments={all}");
}
