//! Marks, checkpoints and holes: what the log says about messages that are in it already.

use super::queue::Entry;
use super::record::{Kind, Place, u16_at, u32_at, u64_at, u128_at};
use super::tries::Tries;

/// What became of some recipients of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// They need nothing more.
    Done { id: u64, mask: u128 },
    /// They are to be tried again.
    Defer {
        id: u64,
        mask: u128,
        /// Unix seconds.
        next: u64,
        /// So far.
        tries: Tries,
    },
}

impl Mark {
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Done { id, .. } | Self::Defer { id, .. } => *id,
        }
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Done { .. } => Kind::Done,
            Self::Defer { .. } => Kind::Defer,
        }
    }

    /// The record's payload; the id is in its header.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        match self {
            Self::Done { mask, .. } => mask.to_le_bytes().to_vec(),
            Self::Defer {
                mask, next, tries, ..
            } => {
                let mut payload = mask.to_le_bytes().to_vec();
                payload.extend_from_slice(&next.to_le_bytes());
                payload.extend_from_slice(&tries.bits().to_le_bytes());
                payload
            }
        }
    }

    /// Reads a mark's record.
    #[must_use]
    pub fn read(kind: Kind, id: u64, payload: &[u8]) -> Option<Self> {
        let mask = u128_at(payload, 0)?;
        match kind {
            Kind::Done => Some(Self::Done { id, mask }),
            Kind::Defer => Some(Self::Defer {
                id,
                mask,
                next: u64_at(payload, 16)?,
                tries: Tries::of_bits(u16_at(payload, 24)?),
            }),
            _ => None,
        }
    }
}

/// A range of one life of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub generation: u64,
    pub from: u32,
    /// Behind the last octet.
    pub to: u32,
}

impl Range {
    /// That of the record at a place.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self {
            generation: place.generation,
            from: place.offset,
            to: place.offset + 1,
        }
    }

    /// Is the place in it?
    #[must_use]
    pub fn holds(&self, generation: u64, offset: u32) -> bool {
        self.generation == generation && (self.from..self.to).contains(&offset)
    }

    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.from.to_le_bytes());
        bytes[12..].copy_from_slice(&self.to.to_le_bytes());
        bytes
    }

    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        Some(Self {
            generation: u64_at(payload, 0)?,
            from: u32_at(payload, 8)?,
            to: u32_at(payload, 12)?,
        })
    }
}

/// What is still to do of a message: one whose final part is in a checkpoint's range, or that is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// The final part's offset.
    pub offset: u32,
    pub mask: u128,
    /// Unix seconds; 0: at once.
    pub next: u32,
    pub tries: Tries,
}

impl Left {
    /// What an entry says.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self {
            offset: entry.offset,
            mask: entry.remaining(),
            next: entry.next,
            tries: entry.tries,
        }
    }

    /// Appends it to a checkpoint's payload; the mask takes one octet for each seven bits.
    pub fn put(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.offset.to_le_bytes());
        payload.extend_from_slice(&self.next.to_le_bytes());
        payload.extend_from_slice(&self.tries.bits().to_le_bytes());
        let mut rest = self.mask;
        while rest > 0x7f {
            payload.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        payload.push(rest as u8);
    }

    /// Reads the entries behind a checkpoint's range.
    #[must_use]
    pub fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        while let (Some(offset), Some(next), Some(tries)) =
            (u32_at(bytes, 0), u32_at(bytes, 4), u16_at(bytes, 8))
        {
            let mut mask = 0;
            let mut length = 10;
            for (count, byte) in bytes[10..].iter().take(19).enumerate() {
                mask |= u128::from(byte & 0x7f) << (7 * count);
                length += 1;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            bytes = &bytes[length..];
            all.push(Self {
                offset,
                mask,
                next,
                tries: Tries::of_bits(tries),
            });
        }
        all
    }
}

/// A piece of the log where nothing valid was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub place: Place,
    pub to: u32,
    /// Whose record it was, where the header could be read.
    pub id: Option<u64>,
    /// Its kind, likewise.
    pub kind: Option<Kind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_as_written() {
        let all: Vec<_> = [0, 1, 0x7f, 0x80, 1 << 99, u128::MAX]
            .map(|mask| Left {
                offset: 4096,
                mask,
                next: 7,
                tries: Tries::of_bits(3),
            })
            .to_vec();
        let mut payload = Vec::new();
        all.iter().for_each(|left| left.put(&mut payload));
        assert_eq!(Left::read_all(&payload), all);
        for cut in 0..payload.len() {
            let _ = Left::read_all(&payload[..cut]);
        }
    }
}
