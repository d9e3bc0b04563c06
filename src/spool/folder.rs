//! The spool's folder: its lock, its segment files, and the making of them.

use super::OpenError;
use super::disk::{Disk, DiskFile};
use super::header::{NotASegment, SegmentHeader};
use super::record::{BLOCK, END};
use super::seal::{CHECK, Sealer};
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

    /// The folder as it is, for reading only: no lock, so that a start is never kept from it.
    #[must_use]
    pub fn to_look_at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lock: Mutex::new(None),
        }
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

    /// A segment's file while it is zero-written.
    #[must_use]
    pub fn unfinished(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:06}.new"))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of the segment files that are there, in order.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn segments(&self, disk: &dyn Disk) -> Result<Vec<u32>, OpenError> {
        self.numbers(disk, ".seg")
    }

    /// Removes what a crash left of segments that were being made: its room is counted as free.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn remove_unfinished(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        for number in self.numbers(disk, ".new")? {
            let path = self.unfinished(number);
            disk.remove(&path)
                .map_err(|problem| OpenError::io(&path, &problem))?;
        }
        Ok(())
    }

    fn numbers(&self, disk: &dyn Disk, ending: &str) -> Result<Vec<u32>, OpenError> {
        let names = disk
            .list(&self.path)
            .map_err(|problem| OpenError::io(&self.path, &problem))?;
        let numbers = names.iter().filter_map(|name| numbered(name, ending));
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Is there room for so many more segments?
    ///
    /// # Errors
    /// [`OpenError::NoRoom`].
    pub fn check_room(&self, disk: &dyn Disk, missing: usize) -> Result<(), OpenError> {
        let need = missing as u64 * limits::SPOOL_SEGMENT as u64;
        match disk.free(&self.path) {
            Ok(Some(free)) if free < need => Err(OpenError::NoRoom {
                path: self.path.clone(),
                need,
                free,
            }),
            Ok(_) => Ok(()),
            Err(problem) => {
                // It is worth a warning before the spool is made, no more.
                log::warn!("spool {}: free room: {problem}", self.path.display());
                Ok(())
            }
        }
    }

    /// Makes a segment that was never used. `pause` is asked after each piece; false ends it. If it ends early, nothing is
    /// left of it, so that a disk that is full does not stay so.
    ///
    /// # Errors
    /// The disk's; `Interrupted` if `pause` ended it.
    pub fn make_segment(
        &self,
        disk: &dyn Disk,
        header: SegmentHeader,
        pause: impl FnMut(usize) -> bool,
    ) -> io::Result<()> {
        let new = self.unfinished(header.segment);
        let made = write_segment(disk, &new, header, pause)
            .and_then(|()| disk.rename(&new, &self.segment(header.segment)));
        if made.is_err() {
            // The first problem is the one to tell.
            let _ = disk.remove(&new);
        }
        made.and_then(|()| disk.sync_folder(&self.path))
    }

    /// A segment's header, from the file's first block or else its last. None: neither can be read, and the segment is to
    /// be set aside.
    ///
    /// # Errors
    /// [`OpenError`] for another format or a foreign file.
    pub fn header(&self, disk: &dyn Disk, number: u32) -> Result<Option<SegmentHeader>, OpenError> {
        let path = self.segment(number);
        let file = match disk.open(&path) {
            // Somebody's folder: left alone, and the segment counts as damaged.
            Err(problem) if problem.kind() == io::ErrorKind::IsADirectory => {
                log::error!(
                    "spool file={} error=\"a folder, no segment\": move it away",
                    path.display()
                );
                return Ok(None);
            }
            file => file.map_err(|problem| OpenError::io(&path, &problem))?,
        };
        let mut block = [0; BLOCK];
        let mut best: Option<SegmentHeader> = None;
        let mut other = None;
        for at in [0, END] {
            let wrong = match file.read_at(&mut block, at.into()) {
                Err(problem) => problem.to_string(),
                Ok(()) => match SegmentHeader::read(&block) {
                    Ok(header) if header.segment == number => {
                        if best.is_none_or(|other| other.generation < header.generation) {
                            best = Some(header);
                        }
                        continue;
                    }
                    Ok(_) | Err(NotASegment::Damaged) => "damaged header".to_owned(),
                    Err(NotASegment::Foreign) => {
                        other.get_or_insert((at, NotASegment::Foreign));
                        "no header".to_owned()
                    }
                    Err(why) => {
                        other = Some((at, why));
                        "another format's header".to_owned()
                    }
                },
            };
            log::error!("spool file={} offset={at} error={wrong:?}", path.display());
        }
        let length = file.length().ok();
        match (best, other) {
            (None, Some((_, NotASegment::Version(found)))) => {
                Err(OpenError::Version { path, found })
            }
            (None, Some((_, NotASegment::Size(_)))) => Err(OpenError::Foreign(path)),
            // A segment that the disk damaged keeps its length, and one that was cut off its beginning.
            (None, Some((0, NotASegment::Foreign)))
                if length != Some(limits::SPOOL_SEGMENT as u64) =>
            {
                Err(OpenError::Foreign(path))
            }
            (best, _) => Ok(best),
        }
    }
}

/// The number in the name of a segment's file.
fn numbered(name: &str, ending: &str) -> Option<u32> {
    let digits = name.strip_suffix(ending)?;
    let number = digits.parse().ok()?;
    (number > 0 && format!("{number:06}") == digits).then_some(number)
}

/// Writes every octet of a segment, so that later writes change no metadata and want no room.
///
/// # Errors
/// The disk's; `Interrupted` if `pause` ended it.
pub fn write_segment(
    disk: &dyn Disk,
    path: &Path,
    header: SegmentHeader,
    mut pause: impl FnMut(usize) -> bool,
) -> io::Result<()> {
    let file = disk.create(path)?;
    write_unused(&*file, header, &mut pause)
}

/// Writes zeros and the headers of a segment that was never used, and syncs them.
///
/// # Errors
/// The disk's; `Interrupted` if `pause` ended it.
pub fn write_unused(
    file: &dyn DiskFile,
    header: SegmentHeader,
    pause: &mut dyn FnMut(usize) -> bool,
) -> io::Result<()> {
    write_zeros(file, pause)?;
    write_header(file, header)
}

/// Writes zeros between the two headers.
fn write_zeros(file: &dyn DiskFile, pause: &mut dyn FnMut(usize) -> bool) -> io::Result<()> {
    let zeros = vec![0; limits::SPOOL_ZEROS];
    let mut at = BLOCK;
    while at < END as usize {
        let length = zeros.len().min(END as usize - at);
        file.write_at(&zeros[..length], at as u64)?;
        at += length;
        if !pause(length) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
}

/// Writes a segment's header and its copy, and syncs the file.
///
/// # Errors
/// The disk's.
pub fn write_header(file: &dyn DiskFile, header: SegmentHeader) -> io::Result<()> {
    let header = header.block();
    file.write_at(&header, 0)?;
    file.write_at(&header, END.into())?;
    file.sync_data()
}

/// Zeroes what was left in clear, before the sealed life that `header` tells of begins. Until that is done the life counts
/// as one in clear, of which nothing was written: a crash on the way is no damage, and the next start knows.
///
/// # Errors
/// The disk's.
pub fn wipe(file: &dyn DiskFile, mut header: SegmentHeader) -> io::Result<()> {
    header.check = [0; CHECK];
    write_header(file, header)?;
    write_zeros(file, &mut |_| true)?;
    file.sync_data()
}

/// The header of a segment of this spool that was never used.
#[must_use]
pub fn unused(shared: &Shared, number: u32) -> SegmentHeader {
    SegmentHeader {
        check: shared.sealer.as_ref().map_or([0; CHECK], Sealer::check),
        ..SegmentHeader::unused(number, shared.salt, shared.segments)
    }
}

/// Leaves the disk to others for a while, after so many octets were zeroed. False: the spool stops.
pub fn pause(shared: &Shared, octets: usize) -> bool {
    // While few are ready at once: a burst of mail must not find a spool that is only on its way.
    let hurry = shared.state().segments.ready() < limits::SPOOL_READY;
    let stopped = locked(&shared.fill_stop.0);
    if *stopped || hurry {
        return !*stopped;
    }
    drop(stopped);
    let time = Duration::from_secs_f64(octets as f64 / limits::SPOOL_FILL_RATE as f64);
    wait(shared, time)
}

/// Waits so long, or less if it is called. False: the spool stops.
fn wait(shared: &Shared, time: Duration) -> bool {
    let stopped = locked(&shared.fill_stop.0);
    if *stopped {
        return false;
    }
    match shared.fill_stop.1.wait_timeout(stopped, time) {
        Ok((stopped, _)) => !*stopped,
        Err(_) => false,
    }
}

/// Makes the segments that a spool of its size still lacks, slowly, while it serves. What the disk has no room for, or fails
/// to write, is tried again: the spool is smaller meanwhile.
pub fn fill(shared: &Arc<Shared>, missing: &[u32]) {
    let (all, rate) = (missing.len(), limits::SPOOL_FILL_RATE);
    log::info!(
        "spool fill begins segments={all} octets={} rate={rate}/s: usable one by one as they are zeroed",
        all * limits::SPOOL_SEGMENT
    );
    let mut told = false;
    for (made, &number) in missing.iter().enumerate() {
        let left = all - made;
        while let Err(problem) = fill_one(shared, number, left) {
            shared.state().segments.coming = 0;
            // The relay's stop ends a write, too.
            if !wait(shared, Duration::ZERO) {
                log::info!("spool fill made={made} of={all}: it goes on at the next start");
                return;
            }
            if !std::mem::replace(&mut told, true) {
                let problem = problem.to_string();
                log::error!(
                    "spool fill made={made} of={all} segment={number:06} error={problem:?}: the spool stays smaller; it is tried again every {:?}",
                    limits::SPOOL_FILL_AGAIN
                );
            }
            if !wait(shared, limits::SPOOL_FILL_AGAIN) {
                return;
            }
        }
        let mut state = shared.state();
        state.segments.coming = left - 1;
        state.segments.add_unused(number);
        if std::mem::take(&mut told) {
            log::warn!("spool fill made={} of={all}: it goes on", made + 1);
        }
    }
    log::info!("spool fill done segments={all}");
}

/// The next of those that are left, if there is room for all: no disk is to be filled up by half a spool.
fn fill_one(shared: &Shared, number: u32, left: usize) -> Result<(), String> {
    let (disk, header) = (&*shared.disk, unused(shared, number));
    let room = shared.folder.check_room(disk, left);
    room.map_err(|problem| problem.to_string())?;
    let made = shared
        .folder
        .make_segment(disk, header, |octets| pause(shared, octets));
    made.map_err(|problem| problem.to_string())
}
