//! Damaged segments: when nobody needs one any more, another file takes its place.
//!
//! The damaged file is set aside under a name of its own: what it holds of a damaged message may be all that is left of it,
//! and its blocks, which failed once, are not given to the next file. Where the file system has no room for that, the file
//! itself is zeroed. Either way the new file proves itself before it is used, and a spool gets back the size it was given.

use super::disk::{Disk, DiskFile};
use super::folder::{self, Folder};
use super::header::SegmentHeader;
use super::record::{BLOCK, END};
use super::segments::{Health, Segments};
use super::shared::Shared;
use crate::limits;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

impl Segments {
    /// Something in a segment does not come back as it was written: it is not used again before it is renewed.
    pub fn set_damaged(&mut self, generation: u64) {
        if let Some(segment) = self.log.get_mut(&generation)
            && matches!(segment.health, Health::Good | Health::Failed)
        {
            segment.health = Health::Damaged;
            self.refresh();
        }
    }

    /// Is there a segment to renew?
    #[must_use]
    pub fn wants_renewal(&self) -> bool {
        self.renewable > 0 && self.untold.is_empty()
    }

    /// A segment to renew: its generation and number.
    fn to_renew(&self) -> Option<(u64, u32)> {
        let mut unheld = self.unheld().filter(|_| self.wants_renewal());
        unheld.find_map(|(generation, segment, marks_needed)| {
            let waits = segment.health == Health::Damaged && !marks_needed;
            waits.then_some((generation, segment.number))
        })
    }

    /// Nothing came of it: its file stays, or is no more.
    fn not_renewed(&mut self, generation: u64, left: Left) {
        match (left, self.log.get_mut(&generation)) {
            (Left::AsItWas, Some(segment)) => segment.health = Health::Stays,
            (_, Some(segment)) => {
                self.former.is_over(segment.number);
                self.log.remove(&generation);
            }
            (_, None) => {}
        }
        self.refresh();
    }
}

/// What a renewal that failed leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    AsItWas,
    Nothing,
}

/// A renewal that failed.
struct Failure {
    left: Left,
    problem: io::Error,
}

/// Renews every segment that waits for it.
pub fn renew_all(shared: &Shared) {
    // A disk that gives errors at present proves nothing.
    while !shared.is_read_only() {
        let next = shared.state().segments.to_renew();
        let Some((generation, number)) = next else {
            return;
        };
        match renew(shared, generation, number) {
            Ok(aside) => {
                shared.reads.renewed.fetch_add(1, Ordering::Relaxed);
                shared.state().segments.set_renewed(generation, number);
                match aside {
                    Some(name) => log::warn!(
                        "spool renewed segment={number:06}.seg aside={name}: to be looked at, and removed"
                    ),
                    None => log::warn!("spool renewed segment={number:06}.seg aside=no"),
                }
            }
            Err(Failure { left, problem }) => {
                shared.state().segments.not_renewed(generation, left);
                // It is being stopped, or is a command that makes no files.
                let expected = matches!(
                    problem.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::Unsupported
                );
                if !expected {
                    let problem = problem.to_string();
                    log::error!(
                        "spool renewal segment={number:06}.seg error={problem:?}: the spool stays smaller until the next start"
                    );
                }
            }
        }
    }
}

/// Puts a file that is proved in a segment's place. The name under which the damaged one is set aside, if it is.
fn renew(shared: &Shared, generation: u64, number: u32) -> Result<Option<String>, Failure> {
    if !may_set_aside(shared, number) {
        return rewrite(shared, number).map(|()| None);
    }
    let (disk, folder) = (&*shared.disk, &shared.folder);
    let (segment, new) = (folder.segment(number), folder.unfinished(number));
    let (name, aside) = aside(folder, number, generation);
    let header = folder::unused(shared, number);
    let pause = |octets| folder::pause(shared, octets);
    let made = folder::write_segment(disk, &new, header, pause)
        .and_then(|()| prove(&*disk.open(&new)?, header))
        .and_then(|()| disk.rename(&segment, &aside));
    if let Err(problem) = made {
        // The first problem is the one to tell; a start removes it, too.
        let _ = disk.remove(&new);
        let left = Left::AsItWas;
        return Err(Failure { left, problem });
    }
    disk.rename(&new, &segment)
        .and_then(|()| disk.sync_folder(folder.path()))
        .map_err(|problem| Failure {
            left: Left::Nothing,
            problem,
        })?;
    remove_old(disk, folder);
    Ok(Some(name))
}

/// Is there room for another file beside the damaged one, and nothing in that which should not be kept?
fn may_set_aside(shared: &Shared, number: u32) -> bool {
    let (disk, folder) = (&*shared.disk, &shared.folder);
    let need = 2 * limits::SPOOL_SEGMENT as u64;
    let room = match disk.free(folder.path()) {
        Ok(Some(free)) => free >= need,
        Ok(None) | Err(_) => true,
    };
    // Once there is a key, what was written in clear goes.
    let hidden = || matches!(folder.header(disk, number), Ok(Some(header)) if header.is_sealed());
    room && (shared.sealer.is_none() || hidden())
}

/// Zeroes a segment's own file. Until it is proved it has the name of one that is being made: if the power goes, the next
/// start makes another.
fn rewrite(shared: &Shared, number: u32) -> Result<(), Failure> {
    let (disk, folder) = (&*shared.disk, &shared.folder);
    let (segment, new) = (folder.segment(number), folder.unfinished(number));
    let failed = |left| move |problem| Failure { left, problem };
    disk.rename(&segment, &new).map_err(failed(Left::AsItWas))?;
    let header = folder::unused(shared, number);
    let rewritten = || {
        let file = disk.open(&new)?;
        // A stop waits for it.
        folder::write_unused(&*file, header, &mut |octets| {
            folder::pause(shared, octets);
            true
        })?;
        prove(&*file, header)?;
        disk.rename(&new, &segment)?;
        disk.sync_folder(folder.path())
    };
    rewritten().map_err(|problem| {
        // Its room is for the one that the next start makes.
        let _ = disk.remove(&new);
        failed(Left::Nothing)(problem)
    })
}

/// Reads back a segment that was made.
fn prove(file: &dyn DiskFile, header: SegmentHeader) -> io::Result<()> {
    file.forget();
    let mut octets = vec![0; limits::SPOOL_ZEROS];
    let mut at = 0;
    while at < limits::SPOOL_SEGMENT {
        let length = octets.len().min(limits::SPOOL_SEGMENT - at);
        let read = &mut octets[..length];
        file.read_at(read, at as u64)?;
        for (count, block) in read.chunks(BLOCK).enumerate() {
            let offset = at + count * BLOCK;
            let whole = match offset == 0 || offset == END as usize {
                true => block == header.block(),
                false => block.iter().all(|&octet| octet == 0),
            };
            if !whole {
                let what = format!("what was written at {offset} does not come back");
                return Err(io::Error::other(what));
            }
        }
        at += length;
    }
    Ok(())
}

/// The name for a damaged segment, and its path.
fn aside(folder: &Folder, number: u32, generation: u64) -> (String, PathBuf) {
    let name = format!("{number:06}-{generation}.bad");
    let path = folder.path().join(&name);
    (name, path)
}

/// The generation in the name of a damaged segment.
fn generation_of(name: &str) -> Option<u64> {
    let (number, generation) = name.strip_suffix(".bad")?.split_once('-')?;
    number.parse::<u32>().ok()?;
    generation.parse().ok()
}

/// Keeps the newest of those that are set aside.
fn remove_old(disk: &dyn Disk, folder: &Folder) {
    let names = match disk.list(folder.path()) {
        Ok(names) => names,
        Err(problem) => return log::warn!("spool {}: {problem}", folder.path().display()),
    };
    let all = names
        .iter()
        .filter_map(|name| Some((generation_of(name)?, Path::new(name))));
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    let most = all.len().saturating_sub(limits::SPOOL_ASIDE);
    for (_, name) in &all[..most] {
        match disk.remove(&folder.path().join(name)) {
            Ok(()) => log::warn!("spool removed aside={}", name.display()),
            Err(problem) => log::warn!("spool aside={}: {problem}", name.display()),
        }
    }
}
