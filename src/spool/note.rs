//! What stands behind a deferral's mark for people: when it was, and what the next hop said. Nothing is decided by it, so
//! it is neither in the index nor needed by recovery.

use super::record::{u64_at, u128_at};
use crate::limits;

/// What an attempt that deferred recipients came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// When the attempt ended, in unix seconds.
    pub at: u64,
    pub replies: Vec<Reply>,
}

/// What was said about some of the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// By ordinal.
    pub recipients: u128,
    /// The host that it is about; None where it is about none.
    pub host: Option<String>,
    /// The host's reply with its codes, or our own words; at most `limits::DEFERRAL_REPLY` octets.
    pub text: String,
}

impl Note {
    /// Octets of a note at its longest.
    pub const MOST: usize =
        8 + limits::DEFERRAL_REPLIES * (16 + 2 + limits::DEFERRAL_HOST + limits::DEFERRAL_REPLY);

    /// Adds what was said about some recipients; the same words are kept once, and only so many different ones.
    pub fn add(&mut self, recipients: u128, host: Option<&str>, text: &str) {
        let host = host.map(|host| cut(host, limits::DEFERRAL_HOST));
        let text = cut(text, limits::DEFERRAL_REPLY);
        let same = |reply: &&mut Reply| {
            reply.host.as_deref().unwrap_or("") == host.unwrap_or("") && reply.text == text
        };
        if let Some(reply) = self.replies.iter_mut().find(same) {
            reply.recipients |= recipients;
        } else if self.replies.len() < limits::DEFERRAL_REPLIES {
            self.replies.push(Reply {
                recipients,
                host: host.map(str::to_owned),
                text: text.to_owned(),
            });
        }
    }

    /// The note as octets (FORMAT.md).
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        if self.replies.is_empty() {
            return Vec::new();
        }
        let mut bytes = self.at.to_le_bytes().to_vec();
        for reply in &self.replies {
            bytes.extend_from_slice(&reply.recipients.to_le_bytes());
            for text in [reply.host.as_deref().unwrap_or(""), &reply.text] {
                // Cut to less than an octet can count.
                bytes.push(text.len() as u8);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes
    }

    /// Reads a note; what is cut short or no UTF-8 ends it. None where there is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut note = Self {
            at: u64_at(bytes, 0)?,
            replies: Vec::new(),
        };
        let mut rest = bytes.get(8..)?;
        while let Some(recipients) = u128_at(rest, 0) {
            let Some((host, text, behind)) = rest.get(16..).and_then(two_texts) else {
                break;
            };
            note.replies.push(Reply {
                recipients,
                host: (!host.is_empty()).then(|| host.to_owned()),
                text: text.to_owned(),
            });
            rest = behind;
        }
        Some(note)
    }
}

const _: () = assert!(limits::DEFERRAL_HOST <= 255 && limits::DEFERRAL_REPLY <= 255);

fn two_texts(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (host, rest) = text(bytes)?;
    let (words, rest) = text(rest)?;
    Some((host, words, rest))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(length.into())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The beginning of a text, whole characters only.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_written_however_it_is_cut() {
        let mut note = Note {
            at: 7,
            replies: Vec::new(),
        };
        note.add(1, Some("mx.example"), "451 4.7.1 greylisted");
        note.add(2, None, "no route");
        note.add(4, Some("mx.example"), "451 4.7.1 greylisted");
        let bytes = note.bytes();
        assert_eq!(Note::read(&bytes), Some(note.clone()));
        assert_eq!((note.replies.len(), note.replies[0].recipients), (2, 0b101));
        for end in 0..bytes.len() {
            let read = Note::read(&bytes[..end]);
            assert!(read.is_none_or(|read| note.replies.starts_with(&read.replies)));
        }
        assert_eq!(Note::default().bytes(), [0; 0]);
    }

    #[test]
    fn a_note_has_bounds_and_cuts_between_characters() {
        let mut note = Note::default();
        for number in 0..100 {
            let text = format!("{number}{}", "\u{e9}".repeat(300));
            note.add(1 << number, Some(&"h".repeat(999)), &text);
        }
        assert_eq!(note.replies.len(), limits::DEFERRAL_REPLIES);
        let bytes = note.bytes();
        assert!(bytes.len() <= Note::MOST, "{}", bytes.len());
        assert_eq!(Note::read(&bytes), Some(note));
    }
}
