//! What was asked of a disk, call by call, and what is left of it after a power cut behind any of them.

use super::image::{Image, SECTOR, ZEROS, are_zeros};

/// Octets of a write.
#[derive(Clone)]
pub enum Octets {
    Zeros(usize),
    Some(Vec<u8>),
}

impl Octets {
    pub fn of(bytes: &[u8]) -> Self {
        match bytes.len() <= ZEROS.len() && are_zeros(bytes) {
            true => Self::Zeros(bytes.len()),
            false => Self::Some(bytes.to_vec()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Zeros(length) => &ZEROS[..*length],
            Self::Some(bytes) => bytes,
        }
    }
}

/// What was asked of a disk.
#[derive(Clone)]
pub enum Call {
    Write {
        file: usize,
        offset: u64,
        octets: Octets,
    },
    Sync(usize),
    /// A write or a sync gave an error: what no sync followed is there or not, for good.
    Failed(usize),
    /// A name stands for a file from now on, or for none.
    Name(String, Option<usize>),
    SyncFolder,
}

/// What becomes of writes that no sync followed when the power goes, and of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Each sector and name by chance.
    Torn(u64),
    /// The same, but of the names those whose bits are set.
    Named(u32, u64),
}

impl Unsynced {
    fn chance(self) -> Chance {
        let seed = match self {
            Self::Torn(seed) | Self::Named(_, seed) => seed,
            _ => 0,
        };
        let mut random = fastrand::Rng::with_seed(seed);
        // Of large records nothing would ever be whole if each sector were lost as often as not.
        let of_16 = [8, 15, 15, 1][random.usize(..4)];
        Chance { random, of_16 }
    }

    fn lands(self, chance: &mut Chance) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::Torn(_) | Self::Named(..) => chance.random.u8(..16) < chance.of_16,
        }
    }

    fn name_lands(self, number: usize, chance: &mut Chance) -> bool {
        match self {
            Self::Named(which, _) => which.checked_shr(number as u32).unwrap_or(0) & 1 == 1,
            other => other.lands(chance),
        }
    }
}

/// How likely a sector is there.
struct Chance {
    random: fastrand::Rng,
    of_16: u8,
}

/// A disk at a moment: what is on it for certain, and what may be.
#[derive(Clone)]
pub struct Moment<'a> {
    calls: &'a [Call],
    /// How many of the calls were made.
    pub at: usize,
    /// Makes chances differ from those of other moments.
    pub salt: u64,
    durable: Image,
    /// Writes that no sync followed, by the numbers of their calls.
    writes: Vec<usize>,
    names: Vec<(&'a str, Option<usize>)>,
    /// The disk failed: nobody can tell from outside when a mark is on the disk.
    pub failed: bool,
}

impl<'a> Moment<'a> {
    /// Before the first call.
    pub fn before(base: &Image, calls: &'a [Call]) -> Self {
        Self {
            calls,
            at: 0,
            salt: 0,
            durable: base.clone(),
            writes: Vec::new(),
            names: Vec::new(),
            failed: false,
        }
    }

    /// Lets some more calls pass.
    pub fn go_to(&mut self, at: usize) {
        while self.at < at {
            self.pass();
        }
    }

    fn pass(&mut self) {
        let number = self.at;
        self.at += 1;
        match &self.calls[number] {
            Call::Write { .. } => self.writes.push(number),
            Call::Sync(file) => self.land(*file, Unsynced::Kept),
            Call::Failed(file) => {
                self.failed = true;
                self.land(*file, Unsynced::Torn(number as u64));
            }
            Call::Name(name, file) => self.names.push((name, *file)),
            Call::SyncFolder => {
                for (name, file) in std::mem::take(&mut self.names) {
                    set_name(&mut self.durable, name, file);
                }
            }
        }
    }

    /// What was written to a file is there, or not, from now on.
    fn land(&mut self, synced: usize, fate: Unsynced) {
        let of_it = |number: &usize| matches!(&self.calls[*number], Call::Write { file, .. } if *file == synced);
        let (now, later) = self.writes.iter().partition(|number| of_it(number));
        self.writes = later;
        let now: Vec<usize> = now;
        let chance = &mut fate.chance();
        for number in now {
            put(&mut self.durable, &self.calls[number], fate, chance);
        }
    }

    /// Nothing that was written before a call is unsynced.
    pub fn is_synced_since(&self, call: usize) -> bool {
        !self.failed && self.writes.first().is_none_or(|oldest| *oldest >= call)
    }

    /// Is the next call one behind which less may be lost?
    pub fn next_syncs(&self) -> bool {
        let next = self.calls.get(self.at);
        next.is_some_and(|call| !matches!(call, Call::Write { .. } | Call::Name(..)))
    }

    /// How many names may be there or not.
    pub fn loose_names(&self) -> usize {
        self.names.len()
    }

    /// May anything be lost?
    pub fn is_firm(&self) -> bool {
        self.names.is_empty() && self.writes.is_empty()
    }

    /// What is there after a power cut now.
    pub fn cut(&self, unsynced: Unsynced) -> Image {
        let chance = &mut unsynced.chance();
        let mut image = self.durable.clone();
        image.promised = None;
        for number in &self.writes {
            put(&mut image, &self.calls[*number], unsynced, chance);
        }
        for (number, (name, file)) in self.names.iter().enumerate() {
            if unsynced.name_lands(number, chance) {
                set_name(&mut image, name, *file);
            }
        }
        image
    }
}

fn set_name(image: &mut Image, name: &str, file: Option<usize>) {
    match file {
        Some(file) => {
            // It may be there before anything of its content is.
            image.file(file);
            image.names.insert(name.to_owned(), file);
        }
        None => {
            image.names.remove(name);
        }
    }
}

/// Puts a write on the disk, whole or in sectors.
fn put(image: &mut Image, call: &Call, fate: Unsynced, chance: &mut Chance) {
    let Call::Write {
        file,
        offset,
        octets,
    } = call
    else {
        return;
    };
    if fate == Unsynced::Kept {
        return image.file(*file).write(octets.bytes(), *offset);
    }
    for (count, sector) in octets.bytes().chunks(SECTOR).enumerate() {
        if fate.lands(chance) {
            let at = offset + (count * SECTOR) as u64;
            image.file(*file).write(sector, at);
        }
    }
}
