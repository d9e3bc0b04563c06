//! What can still be told of messages that are damaged: whom they were from and to.

use super::disk::{Disk, DiskFile};
use super::envelope;
use super::folder::Folder;
use super::header::SegmentHeader;
use super::items::{self, Item, Items, PartFields};
use super::marks::Gap;
use super::record::{HEADER, SECTOR};
use super::recover::life;
use super::scan::{Found, Scanner};
use super::seal::Sealer;
use super::{Id, Recipient};
use crate::limits;
use crate::smtp::address::Mailbox;
use std::collections::{BTreeMap, HashMap};
use std::io;

/// A message that was acknowledged and cannot be sent, because the disk does not give it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub id: Id,
    /// Empty: the null sender.
    pub sender: String,
    /// In xtext.
    pub envid: Option<String>,
    /// Those that have not got it.
    pub recipients: Vec<Recipient>,
}

/// The envelopes that are looked for, and those found.
struct Search<'a> {
    /// With the recipients that need nothing more.
    wanted: &'a HashMap<u64, u128>,
    found: BTreeMap<Id, Lost>,
}

/// Reads the envelopes of these messages, given with the recipients that need nothing more. One that cannot be read for
/// certain is left out: nobody is told of a message that may not have been theirs. A damaged record that is sealed cannot
/// be opened.
pub fn read(
    folder: &Folder,
    disk: &dyn Disk,
    (salt, sealer): (u64, Option<&Sealer>),
    headers: &[SegmentHeader],
    wanted: &HashMap<u64, u128>,
) -> Vec<Lost> {
    let mut search = Search {
        wanted,
        found: BTreeMap::new(),
    };
    for header in headers.iter().filter(|header| header.generation > 0) {
        let path = folder.segment(header.segment);
        let searched = disk
            .open(&path)
            .and_then(|file| search.segment(&*file, (salt, sealer), header));
        if let Err(problem) = searched {
            log::error!(
                "spool file={} error={:?}",
                path.display(),
                problem.to_string()
            );
        }
    }
    search.found.into_values().collect()
}

impl Search<'_> {
    fn segment(
        &mut self,
        file: &dyn DiskFile,
        (salt, sealer): (u64, Option<&Sealer>),
        header: &SegmentHeader,
    ) -> io::Result<()> {
        let numbers = (header.generation, header.segment);
        let mut gaps = Vec::new();
        let life = life(sealer, header)?;
        Scanner::new(file, salt, numbers, life, Vec::new()).run(|found| match found {
            Found::Record {
                header, payload, ..
            } => self.envelope(header.id, payload),
            Found::Gap(gap) => gaps.push(gap),
            Found::Unreadable(_) => {}
        })?;
        if header.is_sealed() {
            return Ok(());
        }
        for gap in gaps {
            self.damaged(file, gap);
        }
        Ok(())
    }

    /// A record whose payload is damaged; its envelope's own checksum may say that that is whole.
    fn damaged(&mut self, file: &dyn DiskFile, gap: Gap) {
        let Some(id) = gap.id.filter(|id| self.wanted.contains_key(id)) else {
            return;
        };
        let start = gap.place.offset as usize + HEADER;
        let mut payload = vec![0; (gap.to as usize).saturating_sub(start)];
        read_around(file, &mut payload, start);
        if items::envelope_is_whole(&payload) {
            self.envelope(id, &payload);
        }
    }

    /// Keeps the envelope in a message's first part, if all of it is there.
    fn envelope(&mut self, id: u64, payload: &[u8]) {
        if let Some(&done) = self.wanted.get(&id)
            && self.found.len() < limits::SPOOL_LOST
            && let Some(lost) = envelope(Id(id), done, payload)
        {
            self.found.insert(lost.id, lost);
        }
    }
}

/// Reads what the disk gives; sectors that it does not give are zeros. Where the body has a bad block, the envelope before it
/// is still there.
fn read_around(file: &dyn DiskFile, mut rest: &mut [u8], mut at: usize) {
    while !rest.is_empty() {
        let to_boundary = (at + 1).next_multiple_of(SECTOR) - at;
        let (piece, behind) = rest.split_at_mut(to_boundary.min(rest.len()));
        if file.read_at(piece, at as u64).is_err() {
            piece.fill(0);
        }
        at += piece.len();
        rest = behind;
    }
}

fn envelope(id: Id, done: u128, payload: &[u8]) -> Option<Lost> {
    if PartFields::read(payload)?.number != 0 {
        return None;
    }
    let mut lost = Lost {
        id,
        sender: String::new(),
        envid: None,
        recipients: Vec::new(),
    };
    let mut ordinal = 0_u8;
    for item in Items::of(payload) {
        match item {
            Item::Sender(address) if address.is_empty() || is_address(address) => {
                address.clone_into(&mut lost.sender);
            }
            Item::Sender(_) => return None,
            Item::Envid(envid) => lost.envid = Some(envid.to_owned()),
            Item::Recipient(recipient) => {
                let bit = 1_u128.checked_shl(ordinal.into()).unwrap_or(0);
                if done & bit == 0 && is_address(recipient.address) {
                    lost.recipients.push(Recipient::new(ordinal, &recipient));
                }
                ordinal = ordinal.saturating_add(1);
            }
            Item::Asks(ordinal, notify) => envelope::ask(&mut lost.recipients, ordinal, notify),
            Item::Body(_) => return (!lost.recipients.is_empty()).then_some(lost),
            _ => {}
        }
    }
    None
}

fn is_address(text: &str) -> bool {
    Mailbox::parse(text).is_ok()
}
