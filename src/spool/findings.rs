//! What a start found wrong.

use super::Id;
use std::fmt;

/// Something that a start found wrong. Displayed as one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What is on the disk is not what was written: the segment is set aside once nobody needs it.
    Damage {
        segment: u32,
        offset: u32,
        to: u32,
        /// The message that it is of, where that can be read.
        id: Option<Id>,
    },
    /// What a crash left of the last commit, which was never acknowledged.
    Torn { segment: u32, offset: u32, to: u32 },
    /// A message that is not queued because a part of it is damaged or missing; its final part's place.
    Lost { id: Id, segment: u32, offset: u32 },
    /// A segment's file is missing; another is made.
    Segment(u32),
    /// Neither header of a segment can be read: it is kept as it is, and not used.
    Aside(u32),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage {
                segment,
                offset,
                to,
                id,
            } => {
                write!(f, "damage segment={segment:06}.seg offset={offset} to={to}")?;
                if let Some(id) = id.filter(|id| id.number() != 0) {
                    write!(f, " id={id}")?;
                }
                f.write_str(": the segment is set aside when its other messages are gone")
            }
            Self::Torn {
                segment,
                offset,
                to,
            } => write!(
                f,
                "torn segment={segment:06}.seg offset={offset} to={to}: never acknowledged"
            ),
            Self::Lost {
                id,
                segment,
                offset,
            } => write!(
                f,
                "lost id={id} segment={segment:06}.seg offset={offset}: a part of it is missing; its segments are set aside when their other messages are gone"
            ),
            Self::Segment(number) => {
                write!(f, "lost segment={number:06}.seg: missing")
            }
            Self::Aside(number) => write!(
                f,
                "lost segment={number:06}.seg: neither of its headers can be read; it is kept as it is and not used: move it away, and the next start makes another"
            ),
        }
    }
}
