//! The spool on a disk in memory: what a user of it would notice.

mod bits;
mod cuts;
mod damage;
mod fake;
mod faults;
mod history;
mod image;
mod ledger;
mod looking;
mod moving;
mod opening;
mod powercut;
mod queueing;
mod renewal;
mod reports;
mod room;
mod sealed;
mod sharing;
mod soak;
mod spread;

use super::*;
use cuts::Cuts;
use fake::Fake;
use image::Image;
use ledger::{Digest, Ledger};
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
    /// Whose disks they are on.
    static DISKS: RefCell<Vec<(*const Shared, Fake)>> = const { RefCell::new(Vec::new()) };
}

/// Opens spools with this key from now on.
pub fn set_key(key: Option<&Key>) {
    KEY.set(key.cloned());
}

/// Runs a test on spools in clear, and again on sealed ones, each with power cuts everywhere.
pub fn in_clear_and_sealed(test: impl Fn()) {
    for key in [None, Some(Key::fresh().unwrap())] {
        set_key(key.as_ref());
        let _cuts = Cuts::everywhere();
        test();
    }
}

pub fn open(disk: &Fake, segments: usize) -> Result<Spool, OpenError> {
    let options = Options {
        dir: "/spool".into(),
        size: (segments * limits::SPOOL_SEGMENT) as u64,
        key: KEY.with_borrow(Option::clone),
    };
    let before = disk.calls();
    let spool = Spool::open(&options, disk.clone(), Box::new(lane), NOW)?;
    opened(&spool, disk, before, segments);
    while spool.handle.shared.state().segments.coming > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(spool)
}

/// From now on what the spool promises is known to its disk, which had so many calls before.
pub fn opened(spool: &Spool, disk: &Fake, before: usize, segments: usize) {
    let key = KEY.with_borrow(Option::clone);
    disk.promise(|ledger, _| ledger.opened(before, segments, key));
    let shared = Arc::as_ptr(&spool.handle.shared);
    DISKS.with_borrow_mut(|disks| {
        disks.retain(|(other, _)| *other != shared);
        disks.push((shared, disk.clone()));
    });
}

/// Notes something about a spool, at so many calls to its disk.
fn promise(spool: &Spool, add: impl FnOnce(&mut Ledger, usize)) {
    let shared = Arc::as_ptr(&spool.handle.shared);
    let disk = DISKS.with_borrow(|disks| {
        let known = disks.iter().find(|(other, _)| *other == shared);
        known.map(|(_, disk)| disk.clone())
    });
    // None: it is on a real one.
    if let Some(disk) = disk {
        disk.promise(add);
    }
}

/// A spool's disk, fresh and closed.
pub fn fresh(segments: usize) -> Image {
    let recorded = fake::record(None);
    let disk = Fake::default();
    block_on(open(&disk, segments).unwrap().close()).unwrap();
    fake::record(recorded);
    disk.image()
}

/// A body that tells which message it is of, of any length.
pub fn body(number: usize, length: usize) -> Vec<u8> {
    let line = format!("{number:08} The quick brown fox jumps over the lazy dog.\r\n");
    let mut body = line.into_bytes().repeat(length / 50 + 1);
    body.truncate(length);
    body
}

const HEAD: &[u8] = b"Received: here\r\n";

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
        head: HEAD,
        ..Last::default()
    };
    commit(spool, transaction, last, body).await
}

/// Commits a message of that body.
pub async fn commit(
    spool: &Spool,
    transaction: Transaction,
    last: Last<'_>,
    body: &[u8],
) -> Result<Id, Error> {
    let id = transaction.id();
    let recipients = queue::all(transaction.recipients() as u8);
    let mut digest = Digest::default();
    [last.head, body]
        .iter()
        .for_each(|octets| digest.add(octets));
    let finished = match last.settles {
        Some(Settles::Recipients(ticket, mask)) => Some((ticket.id(), mask)),
        Some(Settles::Reported(ticket, reported)) => Some((
            ticket.id(),
            reported.done | reported.held | reported.delivered,
        )),
        _ => None,
    };
    let delayed = match last.settles {
        Some(Settles::Reported(ticket, reported)) if reported.delayed != 0 => Some(ticket.id()),
        _ => None,
    };
    promise(spool, |ledger, at| {
        ledger.begins(at, id, recipients, digest);
        if let Some((other, mask)) = finished {
            ledger.ends(at, other, mask, Some(id));
        }
        if let Some(other) = delayed {
            ledger.delayed(other, id);
        }
    });
    let durable = transaction.commit(last).await?;
    promise(spool, |ledger, at| {
        ledger.acknowledged(at, id);
        if let Some((other, _)) = finished {
            ledger.ended(at, other);
        }
    });
    Ok(durable.id())
}

/// A transaction of several parts that is given up.
pub fn abort(spool: &Spool) {
    block_on(async {
        // Given up in any case; it may find no room, or fail where a commit before it did.
        if let Ok(mut transaction) = spool.begin(MICROS, None) {
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
            let _ = transaction.body(&body(0, 50_000)).await;
        }
    });
}

/// Records what an attempt did.
pub async fn settle(spool: &Spool, ticket: Ticket, outcome: Outcome) {
    let id = ticket.id();
    let mask = outcome.done & spool.info(&ticket).recipients;
    promise(spool, |ledger, at| ledger.ends(at, id, mask, None));
    spool.settle(ticket, outcome).await;
    promise(spool, |ledger, at| ledger.ended(at, id));
}

/// Waits until all that was said so far is on the disk.
pub async fn sync(spool: &Spool) -> std::io::Result<()> {
    let mut begun = 0;
    promise(spool, |_, at| begun = at);
    spool.sync().await?;
    promise(spool, |ledger, at| ledger.proved(begun, at));
    Ok(())
}

/// Puts a message off.
pub async fn defer(spool: &Spool, ticket: Ticket, done: u128, next: u64) {
    let defer = Some(Deferral {
        next,
        unreached: false,
    });
    settle(spool, ticket, Outcome { done, defer }).await;
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
    settle(spool, ticket, outcome).await;
}
