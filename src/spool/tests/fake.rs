//! A disk in memory that remembers every call, so that the power can be cut after any of them.

use super::history::{Call, Moment, Octets, Unsynced};
use super::image::Image;
use super::ledger::Ledger;
use crate::spool::disk::{Disk, DiskFile};
use crate::spool::shared::locked;
use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

thread_local! {
    /// The disks of this test, for the power to be cut later; None: nobody wants them.
    static RECORDED: RefCell<Option<Vec<Fake>>> = const { RefCell::new(None) };
}

/// From now on this thread's disks are kept. Returns those that were before.
pub fn record(disks: Option<Vec<Fake>>) -> Option<Vec<Fake>> {
    RECORDED.replace(disks)
}

#[derive(Default)]
struct World {
    /// What the first call found.
    base: Image,
    image: Image,
    calls: Vec<Call>,
    /// How many calls were made when somebody wrote to it behind the spool's back.
    tampered: Option<usize>,
    locked: bool,
    /// What the file system says that it has left.
    free: Option<u64>,
    /// The next access panics.
    panics: bool,
    failing_syncs: usize,
    failing_writes: usize,
    /// Of writes that begin a segment's life.
    failing_headers: usize,
    /// What the spool promised.
    ledger: Ledger,
}

impl World {
    fn panic_if_told(&mut self) {
        if std::mem::take(&mut self.panics) {
            panic!("as the test wants it");
        }
    }

    fn set_name(&mut self, name: &str, file: Option<usize>) {
        match file {
            Some(file) => self.image.names.insert(name.to_owned(), file),
            None => self.image.names.remove(name),
        };
        self.calls.push(Call::Name(name.to_owned(), file));
    }

    fn tampered(&mut self) -> &mut Image {
        self.tampered.get_or_insert(self.calls.len());
        &mut self.image
    }
}

/// A disk in memory.
#[derive(Clone)]
pub struct Fake(Arc<Mutex<World>>);

impl Default for Fake {
    fn default() -> Self {
        Self::of(Image::empty())
    }
}

/// What a disk was asked for, until somebody wrote to it behind the spool's back.
pub struct History {
    pub base: Image,
    pub calls: Vec<Call>,
    pub ledger: Ledger,
}

impl Fake {
    pub fn of(image: Image) -> Self {
        let ledger = image.promised.as_ref().map(Ledger::kept);
        let kept = ledger.is_some();
        let world = World {
            base: image.clone(),
            image,
            ledger: ledger.unwrap_or_default(),
            ..World::default()
        };
        let fake = Self(Arc::new(Mutex::new(world)));
        RECORDED.with_borrow_mut(|disks| {
            if let Some(disks) = disks.as_mut().filter(|_| kept) {
                disks.push(fake.clone());
            }
        });
        fake
    }

    fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.0)
    }

    /// What programs see now.
    pub fn image(&self) -> Image {
        let world = self.world();
        let promised = world.base.promised.is_some() && world.tampered.is_none();
        let mut image = world.image.clone();
        image.promised = promised.then(|| world.ledger.clone());
        image
    }

    /// Takes it: the disk begins a new one.
    pub fn history(&self) -> History {
        let mut world = self.world();
        let mut calls = std::mem::take(&mut world.calls);
        calls.truncate(world.tampered.unwrap_or(calls.len()));
        History {
            base: world.base.clone(),
            calls,
            ledger: world.ledger.clone(),
        }
    }

    /// What the spool promises, to be added to; the number of calls so far.
    pub fn promise<T>(&self, add: impl FnOnce(&mut Ledger, usize) -> T) -> T {
        let mut world = self.world();
        let calls = world.calls.len();
        add(&mut world.ledger, calls)
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.world().calls.len()
    }

    /// Flips bits behind the spool's back.
    pub fn flip(&self, name: &str, offset: u64, bits: u8) {
        self.world().tampered().flip(name, offset, bits);
    }

    /// Writes behind the spool's back.
    pub fn write(&self, name: &str, offset: u64, bytes: &[u8]) {
        self.world().tampered().write(name, offset, bytes);
    }

    pub fn set_free(&self, octets: u64) {
        self.world().free = Some(octets);
    }

    /// Makes the next read or write panic.
    pub fn panic_once(&self) {
        self.world().panics = true;
    }

    pub fn fail_syncs(&self, count: usize) {
        self.world().failing_syncs = count;
    }

    pub fn fail_writes(&self, count: usize) {
        self.world().failing_writes = count;
    }

    /// The next lives cannot begin.
    pub fn fail_headers(&self, count: usize) {
        self.world().failing_headers = count;
    }

    /// The disk after a power cut behind the first `calls` calls.
    pub fn cut(&self, calls: usize, unsynced: Unsynced) -> Image {
        let world = self.world();
        let mut moment = Moment::before(&world.base, &world.calls);
        moment.go_to(calls);
        moment.cut(unsynced)
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

struct FakeFile {
    disk: Fake,
    number: usize,
}

impl DiskFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        world.panic_if_told();
        world.image.content(self.number).read(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        world.panic_if_told();
        if world.failing_writes > 0 {
            world.failing_writes -= 1;
            world.calls.push(Call::Failed(self.number));
            return Err(io::ErrorKind::StorageFull.into());
        }
        if world.failing_headers > 0 && offset == 0 {
            world.failing_headers -= 1;
            world.calls.push(Call::Failed(self.number));
            return Err(io::Error::other("EIO"));
        }
        world.image.file(self.number).write(buffer, offset);
        world.calls.push(Call::Write {
            file: self.number,
            offset,
            octets: Octets::of(buffer),
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        if world.failing_syncs > 0 {
            world.failing_syncs -= 1;
            world.calls.push(Call::Failed(self.number));
            return Err(io::Error::other("EIO"));
        }
        world.calls.push(Call::Sync(self.number));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.world().image.content(self.number).length)
    }
}

struct Lock(Fake);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.world().locked = false;
    }
}

impl Disk for Fake {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let number = self.world().image.names.get(name(path)).copied();
        Ok(Box::new(FakeFile {
            disk: self.clone(),
            number: number.ok_or(io::ErrorKind::NotFound)?,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        let number = world.image.next_file();
        world.image.file(number);
        world.set_name(name(path), Some(number));
        Ok(Box::new(FakeFile {
            disk: self.clone(),
            number,
        }))
    }

    /// Its two halves are on the disk each for itself, as on a file system that knows no better.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let number = world.image.names.get(name(from)).copied();
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        world.set_name(name(to), Some(number));
        world.set_name(name(from), None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let there = world.image.names.contains_key(name(path));
        there.then_some(()).ok_or(io::ErrorKind::NotFound)?;
        world.set_name(name(path), None);
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(self.world().free)
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.world().image.names.keys().cloned().collect())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.world().calls.push(Call::SyncFolder);
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let before = std::mem::replace(&mut self.world().locked, true);
        Ok((!before).then(|| Box::new(Lock(self.clone())) as Box<dyn Any + Send + Sync>))
    }
}
