//! The spool on a disk in memory: what a user of it would notice.

mod damage;
mod fake;
mod faults;
mod looking;
mod opening;
mod powercut;
mod queueing;
mod room;
mod spread;

use super::*;
use fake::{Fake, Image};
use smol::block_on;
use std::time::Duration;

pub const NOW: u64 = 1_800_000_000;
const MICROS: u64 = NOW * 1_000_000;

/// Lanes by domain, in the order a, b, c.
pub fn lane(address: &str) -> Lane {
    Lane(u32::from(address.bytes().last().unwrap_or(0)))
}

pub fn open(disk: &Fake, segments: usize) -> Result<Spool, OpenError> {
    let options = Options {
        dir: "/spool".into(),
        size: (segments * limits::SPOOL_SEGMENT) as u64,
    };
    let spool = Spool::open(&options, disk.clone(), Box::new(lane), NOW)?;
    while spool.handle.shared.state().segments.coming > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(spool)
}

/// A spool's disk, fresh and closed.
pub fn fresh(segments: usize) -> Image {
    let disk = Fake::default();
    block_on(open(&disk, segments).unwrap().close()).unwrap();
    disk.image()
}

/// A body that tells which message it is of, of any length.
pub fn body(number: usize, length: usize) -> Vec<u8> {
    let line = format!("{number:08} The quick brown fox jumps over the lazy dog.\r\n");
    line.bytes().cycle().take(length).collect()
}

pub async fn accept(spool: &Spool, recipients: &[&str], body: &[u8]) -> Result<Id, Error> {
    let mut transaction = spool.begin(MICROS, None).map_err(|_| Error::Full)?;
    let sender = Sender {
        address: "sender@example",
        ..Sender::default()
    };
    transaction.sender(&sender).await?;
    for recipient in recipients {
        transaction.recipient(*recipient).await?;
    }
    transaction.data_begins();
    for piece in body.chunks(5000) {
        transaction.body(piece).await?;
    }
    let last = Last {
        head: b"Received: here\r\n",
        ..Last::default()
    };
    Ok(transaction.commit(last).await?.id())
}

/// Everything that is due by then, in flight.
pub fn due(spool: &Spool, now: u64) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    while let Some(ticket) = block_on(smol::future::poll_once(spool.next_due(|| now))) {
        tickets.push(ticket);
    }
    tickets
}

/// A time at which everything is due.
pub const ALWAYS: u64 = u32::MAX as u64;

pub async fn whole(message: &mut Message) -> Result<Vec<u8>, ReadError> {
    let mut octets = Vec::new();
    while let Some(chunk) = message.next_chunk().await? {
        assert!(chunk.len() <= limits::SPOOL_PART);
        octets.extend_from_slice(chunk);
    }
    Ok(octets)
}

/// The queue as a user would see it: id, recipients, octets.
pub fn contents(spool: &Spool) -> Vec<(Id, Vec<String>, Vec<u8>)> {
    let mut all: Vec<_> = due(spool, ALWAYS)
        .iter()
        .map(|ticket| {
            let mut message = block_on(spool.read(ticket)).unwrap();
            let recipients = message.recipients.iter();
            let recipients = recipients.map(|r| r.address.clone()).collect();
            (
                ticket.id(),
                recipients,
                block_on(whole(&mut message)).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

pub fn ids(spool: &Spool) -> Vec<Id> {
    let mut ids: Vec<_> = due(spool, ALWAYS).iter().map(Ticket::id).collect();
    ids.sort();
    ids
}

pub async fn deliver(spool: &Spool, ticket: Ticket) {
    let outcome = Outcome {
        done: u128::MAX,
        defer: None,
    };
    spool.settle(ticket, outcome).await;
}
