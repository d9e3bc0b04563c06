//! A disk in memory that remembers every call, so that the power can be cut after any of them.

use crate::spool::disk::{Disk, DiskFile};
use crate::spool::shared::locked;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// A file's content: sectors never written are zeros.
#[derive(Clone, Default)]
struct Content {
    sectors: HashMap<u32, [u8; SECTOR]>,
    length: u64,
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        self.length = self.length.max(offset + bytes.len() as u64);
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % SECTOR;
            let (now, later) = rest.split_at(rest.len().min(SECTOR - within));
            let number = (at / SECTOR) as u32;
            if !now.iter().all(|&byte| byte == 0) || self.sectors.contains_key(&number) {
                let sector = self.sectors.entry(number).or_insert([0; SECTOR]);
                sector[within..within + now.len()].copy_from_slice(now);
            }
            at += now.len();
            rest = later;
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset as usize;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = at % SECTOR;
            let length = rest.len().min(SECTOR - within);
            let (now, later) = rest.split_at_mut(length);
            match self.sectors.get(&((at / SECTOR) as u32)) {
                Some(sector) => now.copy_from_slice(&sector[within..within + length]),
                None => now.fill(0),
            }
            at += length;
            rest = later;
        }
        Ok(())
    }
}

/// What is on a disk.
#[derive(Clone, Default)]
pub struct Image {
    names: BTreeMap<String, usize>,
    files: Vec<Content>,
}

/// What was asked of the disk.
#[derive(Clone)]
enum Call {
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    Sync(usize),
    Names(BTreeMap<String, usize>),
    SyncFolder,
}

/// What becomes of writes that no sync followed when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Each sector and name by chance.
    Torn(u64),
}

#[derive(Default)]
struct World {
    image: Image,
    calls: Vec<Call>,
    /// For long runs: calls are not remembered.
    forgets: bool,
    locked: bool,
    /// What the file system says that it has left.
    free: Option<u64>,
    /// The next access panics.
    panics: bool,
    failing_syncs: usize,
    failing_writes: usize,
    syncs: usize,
}

impl World {
    fn panic_if_told(&mut self) {
        if std::mem::take(&mut self.panics) {
            panic!("as the test wants it");
        }
    }
}

/// A disk in memory.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub fn of(image: Image) -> Self {
        let world = World {
            image,
            ..World::default()
        };
        Self(Arc::new(Mutex::new(world)))
    }

    /// What programs see now.
    pub fn image(&self) -> Image {
        locked(&self.0).image.clone()
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        locked(&self.0).calls.len()
    }

    /// Flips bits behind the spool's back.
    pub fn flip(&self, name: &str, offset: u64, bits: u8) {
        locked(&self.0).image.flip(name, offset, bits);
    }

    /// Writes behind the spool's back.
    pub fn write(&self, name: &str, offset: u64, bytes: &[u8]) {
        locked(&self.0).image.write(name, offset, bytes);
    }

    /// Was a sync among these calls?
    pub fn synced_between(&self, from: usize, to: usize) -> bool {
        let world = locked(&self.0);
        let mut calls = world.calls[from.min(to)..to].iter();
        calls.any(|call| matches!(call, Call::Sync(_)))
    }

    pub fn set_free(&self, octets: u64) {
        locked(&self.0).free = Some(octets);
    }

    /// Makes the next read or write panic.
    pub fn panic_once(&self) {
        locked(&self.0).panics = true;
    }

    /// Remembers no more calls: a long run would take as much memory as it writes.
    pub fn forget(&self) {
        locked(&self.0).forgets = true;
    }

    pub fn fail_syncs(&self, count: usize) {
        locked(&self.0).failing_syncs = count;
    }

    pub fn fail_writes(&self, count: usize) {
        locked(&self.0).failing_writes = count;
    }

    /// The disk after a power cut behind the first `calls` calls, which began on `base`.
    pub fn cut(&self, base: &Image, calls: usize, unsynced: Unsynced) -> Image {
        let world = locked(&self.0);
        let mut random = match unsynced {
            Unsynced::Torn(seed) => fastrand::Rng::with_seed(seed),
            _ => fastrand::Rng::with_seed(0),
        };
        let mut lands = || match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn(_) => random.bool(),
        };
        let mut image = base.clone();
        let mut names = None;
        let mut pending: Vec<(usize, u64, &[u8])> = Vec::new();
        for call in &world.calls[..calls] {
            match call {
                Call::Write {
                    file,
                    offset,
                    bytes,
                } => pending.push((*file, *offset, bytes)),
                Call::Sync(synced) => pending.retain(|(file, offset, bytes)| {
                    if file == synced {
                        image.file(*file).write(bytes, *offset);
                    }
                    file != synced
                }),
                Call::Names(new) => names = Some(new.clone()),
                Call::SyncFolder => image.names = names.take().unwrap_or(image.names),
            }
        }
        for (file, offset, bytes) in pending {
            for (count, sector) in bytes.chunks(SECTOR).enumerate() {
                if lands() {
                    let at = offset + (count * SECTOR) as u64;
                    image.file(file).write(sector, at);
                }
            }
        }
        if let Some(names) = names.filter(|_| lands()) {
            image.names = names;
        }
        image
    }
}

impl Image {
    fn file(&mut self, number: usize) -> &mut Content {
        if self.files.len() <= number {
            self.files.resize_with(number + 1, Content::default);
        }
        &mut self.files[number]
    }

    /// Flips bits of an octet.
    pub fn flip(&mut self, name: &str, offset: u64, bits: u8) {
        let file = self.names[name];
        let mut octet = [0];
        self.files[file].read(&mut octet, offset).unwrap();
        self.files[file].write(&[octet[0] ^ bits], offset);
    }

    pub fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) {
        let file = self.names[name];
        self.files[file].write(bytes, offset);
    }

    pub fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    pub fn truncate(&mut self, name: &str, length: u64) {
        let file = &mut self.files[self.names[name]];
        file.length = length;
        let whole = (length / SECTOR as u64) as u32;
        file.sectors.retain(|&sector, _| sector < whole);
    }

    pub fn names(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    /// A file's octets.
    pub fn all(&self, name: &str) -> Vec<u8> {
        let length = self.files[self.names[name]].length;
        self.read(name, 0, length as usize)
    }

    pub fn read(&self, name: &str, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.files[self.names[name]]
            .read(&mut bytes, offset)
            .unwrap();
        bytes
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

struct FakeFile {
    world: Arc<Mutex<World>>,
    number: usize,
}

impl DiskFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        locked(&self.world).panic_if_told();
        locked(&self.world).image.files[self.number].read(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut world = locked(&self.world);
        world.panic_if_told();
        if world.failing_writes > 0 {
            world.failing_writes -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        world.image.file(self.number).write(buffer, offset);
        if !world.forgets {
            world.calls.push(Call::Write {
                file: self.number,
                offset,
                bytes: buffer.to_vec(),
            });
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = locked(&self.world);
        world.syncs += 1;
        if world.failing_syncs > 0 {
            world.failing_syncs -= 1;
            return Err(io::Error::other("EIO"));
        }
        world.calls.push(Call::Sync(self.number));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(locked(&self.world).image.files[self.number].length)
    }
}

struct Lock(Arc<Mutex<World>>);

impl Drop for Lock {
    fn drop(&mut self) {
        locked(&self.0).locked = false;
    }
}

impl Disk for Fake {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = locked(&self.0);
        let number = world.image.names.get(&name(path));
        let number = *number.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FakeFile {
            world: self.0.clone(),
            number,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = locked(&self.0);
        let number = world.image.files.len();
        world.image.file(number);
        world.image.names.insert(name(path), number);
        let names = world.image.names.clone();
        world.calls.push(Call::Names(names));
        Ok(Box::new(FakeFile {
            world: self.0.clone(),
            number,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = locked(&self.0);
        let number = world.image.names.remove(&name(from));
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        world.image.names.insert(name(to), number);
        let names = world.image.names.clone();
        world.calls.push(Call::Names(names));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = locked(&self.0);
        let removed = world.image.names.remove(&name(path));
        removed.ok_or(io::ErrorKind::NotFound)?;
        let names = world.image.names.clone();
        world.calls.push(Call::Names(names));
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(locked(&self.0).free)
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(locked(&self.0).image.names.keys().cloned().collect())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        locked(&self.0).calls.push(Call::SyncFolder);
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut world = locked(&self.0);
        if std::mem::replace(&mut world.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock(self.0.clone()))))
    }
}
