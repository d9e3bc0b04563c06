//! The log of block writes that QEMU's blklogwrites (as the kernel's dm-log-writes) keeps, and the disk as a power cut
//! leaves it.
//!
//! The log begins with a sector: magic (8), version (8), entries (8), octets of a sector (4). Each entry is a sector of its
//! own: first sector (8), sectors (8), flags (8), octets of other data (8); behind it the sectors that were written.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;

/// What a disk tears at.
const SECTOR: usize = 512;

/// One write, or a flush: all entries before it are on the disk for good.
enum Entry {
    Write { to: u64, from: u64, length: usize },
    Flush,
}

pub struct Log {
    file: File,
    entries: Vec<Entry>,
}

/// The entries that a log's first sector tells of: what was there at the last flush.
pub fn count(log: &File) -> u64 {
    let mut octets = [0; 8];
    log.read_exact_at(&mut octets, 16).expect("a log of writes");
    u64::from_le_bytes(octets)
}

impl Log {
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).expect("the log");
        let numbers = |at: u64| {
            let mut octets = [0; 32];
            file.read_exact_at(&mut octets, at).expect("in the log");
            [0, 8, 16, 24].map(|field| u64_at(&octets[field..]))
        };
        let head = numbers(0);
        assert_eq!(head[0], MAGIC, "the log of writes");
        assert_eq!((head[1], head[3] & 0xffff_ffff), (1, SECTOR as u64));
        let mut at = SECTOR as u64;
        let mut entries = Vec::new();
        for _ in 0..head[2] {
            let [sector, sectors, flags, _] = numbers(at);
            at += SECTOR as u64;
            let length = sectors * SECTOR as u64;
            entries.push(match flags {
                0 => Entry::Write {
                    to: sector * SECTOR as u64,
                    from: at,
                    length: usize::try_from(length).expect("64 bits"),
                },
                FLUSH if sectors == 0 => Entry::Flush,
                _ => panic!("entry of flags {flags} and {sectors} sectors"),
            });
            at += length;
        }
        Self { file, entries }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Flushes among these entries.
    pub fn flushes(&self, range: std::ops::Range<usize>) -> usize {
        let all = self.entries[range].iter();
        all.filter(|entry| matches!(entry, Entry::Flush)).count()
    }
}

fn u64_at(octets: &[u8]) -> u64 {
    u64::from_le_bytes(octets[..8].try_into().expect("eight octets"))
}

/// What becomes of the writes behind the last flush.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Lost,
    Kept,
    /// Each sector by chance.
    Torn,
}

/// Goes through a log and makes disks of it.
pub struct Replay<'a> {
    log: &'a Log,
    /// What is on the disk for good.
    durable: Vec<u8>,
    at: usize,
    pending: Vec<usize>,
}

impl<'a> Replay<'a> {
    pub fn new(log: &'a Log, octets: usize) -> Self {
        Self {
            log,
            durable: vec![0; octets],
            at: 0,
            pending: Vec::new(),
        }
    }

    /// Goes on to where so many entries have been recorded.
    pub fn advance(&mut self, to: usize) {
        assert!(self.at <= to, "forward only");
        for number in self.at..to {
            match self.log.entries[number] {
                Entry::Write { .. } => self.pending.push(number),
                Entry::Flush => {
                    for number in std::mem::take(&mut self.pending) {
                        if let Entry::Write { to, from, length } = self.log.entries[number] {
                            let to = usize::try_from(to).expect("64 bits");
                            let place = &mut self.durable[to..to + length];
                            let read = self.log.file.read_exact_at(place, from);
                            read.expect("in the log");
                        }
                    }
                }
            }
        }
        self.at = to;
    }

    /// Writes the disk that a cut leaves here.
    pub fn cut(&self, image: &Path, fate: Fate, random: &mut fastrand::Rng) {
        let disk = File::create(image).expect("an image");
        disk.write_all_at(&self.durable, 0).expect("room");
        let mut octets = vec![0; SECTOR];
        for &number in &self.pending {
            let Entry::Write { to, from, length } = self.log.entries[number] else {
                continue;
            };
            for offset in (0..length as u64).step_by(SECTOR) {
                let lands = match fate {
                    Fate::Lost => false,
                    Fate::Kept => true,
                    Fate::Torn => random.bool(),
                };
                if lands {
                    let read = self.log.file.read_exact_at(&mut octets, from + offset);
                    read.expect("in the log");
                    disk.write_all_at(&octets, to + offset).expect("room");
                }
            }
        }
    }
}
