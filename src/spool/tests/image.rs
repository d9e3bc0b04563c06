//! What is on a disk: names, and files whose copies share what is the same in them.

use super::ledger::Ledger;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// What a disk writes whole.
pub const SECTOR: usize = 512;
const PAGE: usize = 4096;
pub static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Are these all zeros? At memory's speed, where octet by octet would take most of a test's time.
pub fn are_zeros(bytes: &[u8]) -> bool {
    let mut pieces = bytes.chunks(ZEROS.len());
    pieces.all(|piece| *piece == ZEROS[..piece.len()])
}

/// A file's content: pages never written are zeros.
#[derive(Clone, Default)]
pub struct Content {
    pages: Arc<Vec<Option<Arc<[u8; PAGE]>>>>,
    pub length: u64,
}

impl Content {
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset as usize + bytes.len();
        self.length = self.length.max(end as u64);
        let blank = are_zeros(bytes);
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() < end.div_ceil(PAGE) {
            pages.resize(end.div_ceil(PAGE), None);
        }
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % PAGE;
            let (now, later) = rest.split_at(rest.len().min(PAGE - within));
            let page = &mut pages[at / PAGE];
            match <&[u8; PAGE]>::try_from(now) {
                _ if blank && page.is_none() => {}
                _ if blank && now.len() == PAGE => *page = None,
                Ok(whole) => *page = Some(Arc::new(*whole)),
                Err(_) => {
                    let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
                    Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
                }
            }
            at += now.len();
            rest = later;
        }
    }

    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset as usize;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = at % PAGE;
            let length = rest.len().min(PAGE - within);
            let (now, later) = rest.split_at_mut(length);
            match &self.pages[at / PAGE] {
                Some(page) => now.copy_from_slice(&page[within..within + length]),
                None => now.fill(0),
            }
            at += length;
            rest = later;
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) {
        let mut all = vec![0; length as usize];
        let kept = self.length.min(length) as usize;
        self.read(&mut all[..kept], 0).unwrap();
        *self = Self::default();
        self.write(&all, 0);
    }
}

/// What is on a disk.
#[derive(Clone, Default)]
pub struct Image {
    pub names: BTreeMap<String, usize>,
    files: Vec<Content>,
    /// What the spool promised of it; None once somebody wrote to it behind the spool's back.
    pub promised: Option<Ledger>,
}

impl Image {
    /// Nothing, of which nothing was promised.
    pub fn empty() -> Self {
        Self {
            promised: Some(Ledger::default()),
            ..Self::default()
        }
    }

    pub fn file(&mut self, number: usize) -> &mut Content {
        if self.files.len() <= number {
            self.files.resize_with(number + 1, Content::default);
        }
        &mut self.files[number]
    }

    pub fn content(&self, number: usize) -> &Content {
        &self.files[number]
    }

    /// The number of a file that is not there yet.
    pub fn next_file(&self) -> usize {
        self.files.len()
    }

    fn named(&mut self, name: &str) -> &mut Content {
        self.promised = None;
        &mut self.files[self.names[name]]
    }

    /// Flips bits of an octet.
    pub fn flip(&mut self, name: &str, offset: u64, bits: u8) {
        let file = self.named(name);
        let mut octet = [0];
        file.read(&mut octet, offset).unwrap();
        file.write(&[octet[0] ^ bits], offset);
    }

    pub fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) {
        self.named(name).write(bytes, offset);
    }

    pub fn remove(&mut self, name: &str) {
        self.promised = None;
        self.names.remove(name);
    }

    pub fn truncate(&mut self, name: &str, length: u64) {
        self.named(name).truncate(length);
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
        let file = &self.files[self.names[name]];
        file.read(&mut bytes, offset).unwrap();
        bytes
    }
}
