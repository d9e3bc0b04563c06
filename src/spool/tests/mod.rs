//! The spool on a disk in memory: what a user of it would notice.

mod damage;
mod fake;
mod faults;
mod looking;
mod moving;
mod opening;
mod powercut;
mod queueing;
mod renewal;
mod room;
mod sealed;
mod sharing;
mod soak;
mod spread;

use super::*;
use fake::{Fake, Image};
use smol::block_on;
use std::cell::RefCell;
use std::time::Duration;

pub const NOW: u64 = 1_800_000_000;
const MICROS: u64 = NOW * 1_000_000;

/// Lanes by domain, in the order a, b, c.
pub fn lane(address: &str) -> Lane {
    Lane(u32::from(address.bytes().last().unwrap_or(0)))
}

thread_local! {
    /// What this test's spools are opened with.
    static KEY: RefCell<Option<Key>> = const { RefCell::new(None) };
}

/// Opens spools with this key from now on.
pub fn set_key(key: Option<&Key>) {
    KEY.set(key.cloned());
}

/// Runs a test on spools in clear, and again on sealed ones.
pub fn in_clear_and_sealed(test: impl Fn()) {
    test();
    set_key(Some(&Key::fresh().unwrap()));
    test();
}

/// How many cuts are passed over for each that is tried: the second run need not be as thorough as the first.
pub fn stride() -> usize {
    KEY.with_borrow(|key| key.as_ref().map_or(1, |_| 4))
}

pub fn open(disk: &Fake, segments: usize) -> Result<Spool, OpenError> {
    let options = Options {
        dir: "/spool".into(),
        size: (segments * limits::SPOOL_SEGMENT) as u64,
        key: KEY.with_borrow(Option::clone),
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

/// Everything that is due by then, in flight; what is being moved, once it is there.
pub fn due(spool: &Spool, now: u64) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    loop {
        match block_on(smol::future::poll_once(spool.next_due(|| now))) {
            Some(ticket) => tickets.push(ticket),
            None if spool.handle.shared.state().queue.may_come_up(now) => std::thread::yield_now(),
            None => return tickets,
        }
    }
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
