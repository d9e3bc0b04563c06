//! What can still be told of messages that are damaged: whom they were from and to.

use super::disk::{Disk, DiskFile};
use super::folder::Folder;
use super::header::SegmentHeader;
use super::items::{self, Item, Items, PartFields};
use super::marks::Gap;
use super::record::HEADER;
use super::recover::life;
use super::scan::{Found, Scanner};
use super::seal::Sealer;
use super::{Id, Recipient};
use crate::smtp::address::Mailbox;
use std::collections::HashMap;
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
    let mut lost = Vec::new();
    for header in headers.iter().filter(|header| header.generation > 0) {
        let numbers = (header.generation, header.segment);
        let read = || -> io::Result<()> {
            let file = disk.open(&folder.segment(header.segment))?;
            let life = life(sealer, header)?;
            let sealed = life.is_some();
            let mut gaps = Vec::new();
            let mut scanner = Scanner::new(&*file, salt, numbers, life, Vec::new());
            scanner.run(|found| match found {
                Found::Record {
                    header, payload, ..
                } => {
                    if let Some(done) = wanted.get(&header.id) {
                        lost.extend(envelope(header.id, *done, payload));
                    }
                }
                Found::Gap(gap) if !sealed => gaps.push(gap),
                _ => {}
            })?;
            let known = |gap: &Gap| Some((gap.id?, *wanted.get(&gap.id?)?, *gap));
            for (id, done, gap) in gaps.iter().filter_map(known) {
                lost.extend(damaged(&*file, id, done, gap)?);
            }
            Ok(())
        };
        let mut read = read;
        if let Err(problem) = read() {
            log::error!("spool segment={:06} error=\"{problem}\"", header.segment);
        }
    }
    // Of a message that was moved there may be two.
    lost.sort_by_key(|message| message.id);
    lost.dedup_by_key(|message| message.id);
    lost
}

/// The envelope in a record whose payload is damaged, if its own checksum says that it is whole.
fn damaged(file: &dyn DiskFile, id: u64, done: u128, gap: Gap) -> io::Result<Option<Lost>> {
    let start = gap.place.offset as usize + HEADER;
    let mut payload = vec![0; (gap.to as usize).saturating_sub(start)];
    file.read_at(&mut payload, start as u64)?;
    let whole = items::envelope_is_whole(&payload);
    Ok(whole.then(|| envelope(id, done, &payload)).flatten())
}

/// The envelope in a message's first part, if all of it is there.
fn envelope(id: u64, done: u128, payload: &[u8]) -> Option<Lost> {
    if PartFields::read(payload)?.number != 0 {
        return None;
    }
    let mut lost = Lost {
        id: Id(id),
        sender: String::new(),
        envid: None,
        recipients: Vec::new(),
    };
    let mut ordinal = 0_u8;
    for item in Items::of(payload) {
        match item {
            Item::Sender(address) if is_address(address) => address.clone_into(&mut lost.sender),
            Item::Sender("") => {}
            Item::Sender(_) => return None,
            Item::Envid(envid) => lost.envid = Some(envid.to_owned()),
            Item::Recipient(recipient) => {
                let bit = 1_u128.checked_shl(ordinal.into()).unwrap_or(0);
                if done & bit == 0 && is_address(recipient.address) {
                    lost.recipients.push(Recipient {
                        ordinal,
                        address: recipient.address.to_owned(),
                        notify: recipient.notify,
                        orcpt: recipient.orcpt.map(str::to_owned),
                    });
                }
                ordinal = ordinal.saturating_add(1);
            }
            Item::Body(_) => return (!lost.recipients.is_empty()).then_some(lost),
            _ => {}
        }
    }
    None
}

fn is_address(text: &str) -> bool {
    Mailbox::parse(text).is_ok()
}
