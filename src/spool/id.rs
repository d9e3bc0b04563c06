//! The queue id of a message.

use std::fmt;

/// A message's number: microseconds since 1970 when its transaction began, strictly increasing over restarts.
///
/// Displayed as eleven letters and digits of base 32 (no vowels, so no words; no `l`, so no mistaken `1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(super) u64);

const DIGITS: &[u8; 32] = b"0123456789bcdfghjkmnpqrstvwxyz_-";
/// 55 bits: enough for the microseconds of the next thousand years.
const LENGTH: u32 = 11;

impl Id {
    /// The id as a number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// When the transaction began, in unix seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Reads what Display wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != LENGTH as usize {
            return None;
        }
        text.bytes()
            .try_fold(0, |number, byte| {
                let digit = DIGITS.iter().position(|&d| d == byte)?;
                Some(number << 5 | digit as u64)
            })
            .map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..LENGTH).rev().try_for_each(|place| {
            let digit = self.0 >> (5 * place) & 31;
            fmt::Write::write_char(f, char::from(DIGITS[digit as usize]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_sort_as_they_were_given() {
        let ids = [1_795_493_177_000_000, 1_795_493_177_000_001, 42].map(Id);
        for id in ids {
            let text = id.to_string();
            assert_eq!((text.len(), Id::parse(&text)), (11, Some(id)));
        }
        for wrong in ["", "0000000000a", "000000000000", "0000000000é"] {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }
}
