//! Old messages that are moved on, so that one of them does not keep a segment.

use super::*;

pub const DAYS: u64 = NOW + 5 * 86_400;

/// Accepts a message and puts it off.
fn put_off(spool: &Spool, recipients: &[&str], octets: &[u8]) -> Id {
    let id = block_on(accept(spool, recipients, octets)).unwrap();
    for ticket in due(spool, NOW) {
        block_on(defer(spool, ticket, 0, DAYS));
    }
    id
}

/// Mail that comes and goes. While there is no room, it waits for some.
pub fn flow(spool: &Spool, octets: &[u8]) {
    let mut patience = 20_000;
    while block_on(accept(spool, &["x@a"], octets)).is_err() {
        patience -= 1;
        assert!(patience > 0, "full for good: {:?}", spool.counts());
        std::thread::sleep(Duration::from_millis(1));
    }
    for ticket in due(spool, NOW) {
        block_on(deliver(spool, ticket));
    }
}

/// Lets mail flow until the segment that was written first is free or used again.
pub fn flow_until_moved(spool: &Spool, generation: u64) {
    let octets = body(1, 500_000);
    let is_there = || {
        let state = spool.handle.shared.state();
        let mut resting = (0..state.queue.slots()).filter_map(|slot| state.queue.get(slot));
        resting.any(|entry| entry.generation == generation)
    };
    for _ in 0..500 {
        if !is_there() {
            return;
        }
        flow(spool, &octets);
    }
    panic!("generation {generation} is still needed");
}

fn with_head(octets: &[u8]) -> Vec<u8> {
    [b"Received: here\r\n", octets].concat()
}

#[test]
fn one_message_of_many_that_waits_for_days_keeps_no_segment() {
    let _cuts = Cuts::everywhere();
    let segments = 12;
    let disk = Fake::of(fresh(segments));
    let spool = open(&disk, segments).unwrap();
    let octets = body(1, 40_000);
    let mut deferred = Vec::new();
    let before = spool.counts().written;
    let mut accepted = 0;
    while accepted < 4 * segments * limits::SPOOL_SEGMENT {
        let late = body(deferred.len(), 20_000 + deferred.len());
        deferred.push((put_off(&spool, &["late@a"], &late), with_head(&late)));
        for _ in 0..100 {
            flow(&spool, &octets);
        }
        accepted += 100 * octets.len() + late.len();
    }
    // Each of these messages is a commit of its own with a mark behind it: two blocks at most beside its octets.
    let each = accepted + 101 * deferred.len() * 2 * 4096;
    let written = spool.counts().written - before;
    assert!(written < each as u64 * 11 / 10, "{written} for {accepted}");
    assert!(spool.counts().free > 0);
    let check = |spool: &Spool| {
        let found = contents(spool);
        let found: Vec<_> = found
            .into_iter()
            .map(|(id, _, octets)| (id, octets))
            .collect();
        assert!(found == deferred, "{} of {}", found.len(), deferred.len());
    };
    check(&spool);
    block_on(spool.close()).unwrap();
    let spool = open(&disk, segments).unwrap();
    assert_eq!(spool.findings(), []);
    check(&spool);
}

/// Three recipients: one is done, one was tried once, one twice.
fn tried(spool: &Spool, octets: &[u8]) -> Id {
    let id = block_on(accept(spool, &["1@a", "2@b", "3@c"], octets)).unwrap();
    let ticket = due(spool, NOW).pop().unwrap();
    spool.split(ticket, &[(lane("@a"), 1), (lane("@b"), 2), (lane("@c"), 4)]);
    for round in 0..2 {
        for ticket in due(spool, NOW + round) {
            let info = spool.info(&ticket);
            let next = match info.recipients {
                4 if info.attempts == 0 => NOW + 1,
                _ => DAYS + info.recipients as u64,
            };
            block_on(defer(spool, ticket, 1, next));
        }
    }
    id
}

/// Recipients, attempts and when they are due.
pub fn states(spool: &Spool, id: Id) -> Vec<(u128, u16, u64)> {
    let state = spool.handle.shared.state();
    let entries = state
        .queue
        .entries()
        .filter(|entry| entry.id == id.number());
    let mut all: Vec<_> = entries
        .map(|entry| (entry.remaining(), entry.tries.count(), entry.next.into()))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn what_was_tried_is_known_after_a_move_and_a_restart() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let sizes = [100, 60_000];
    let ids = sizes.map(|size| tried(&spool, &body(size, size)));
    let expected = [(2, 1, DAYS + 2), (4, 2, DAYS + 4)];
    flow_until_moved(&spool, 1);
    // And again: a copy of a copy.
    let moved = spool.handle.shared.state().segments.last_generation;
    (1..=moved).for_each(|generation| flow_until_moved(&spool, generation));
    let check = |spool: &Spool| {
        for (id, size) in ids.into_iter().zip(sizes) {
            assert_eq!(states(spool, id), expected);
            let octets = with_head(&body(size, size));
            let found = contents(spool);
            let both = found
                .iter()
                .filter(|found| found.0 == id && found.2 == octets);
            let recipients: Vec<_> = both.map(|found| found.1.concat()).collect();
            assert_eq!(recipients, ["2@b", "3@c"]);
        }
    };
    check(&spool);
    block_on(spool.close()).unwrap();
    let spool = open(&disk, 8).unwrap();
    assert_eq!(spool.findings(), []);
    check(&spool);
    for ticket in due(&spool, ALWAYS) {
        block_on(deliver(&spool, ticket));
    }
    block_on(spool.close()).unwrap();
    assert_eq!(super::ids(&open(&disk, 8).unwrap()), []);
}

#[test]
fn a_message_in_flight_stays_where_it_is() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let id = put_off(&spool, &["late@a"], b"late");
    let ticket = due(&spool, DAYS).pop().unwrap();
    let octets = body(1, 500_000);
    (0..60).for_each(|_| flow(&spool, &octets));
    assert!(spool.handle.shared.state().segments.number(1).is_some());
    let mut message = block_on(spool.read(&ticket)).unwrap();
    assert_eq!(block_on(whole(&mut message)).unwrap(), with_head(b"late"));
    drop(ticket);
    flow_until_moved(&spool, 1);
    assert_eq!(super::ids(&spool), [id]);
}

#[test]
fn a_message_that_cannot_be_read_stays_and_others_are_moved() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(9));
    let spool = open(&disk, 9).unwrap();
    let bad = put_off(&spool, &["late@a"], &body(1, 1000));
    let octets = body(1, 500_000);
    (0..9).for_each(|_| flow(&spool, &octets));
    let good = put_off(&spool, &["late@a"], &body(2, 1000));
    let [first, second] = [bad, good].map(|id| place(&spool, id));
    assert_ne!(first.0, second.0);
    disk.flip(&first.1, u64::from(first.2) + 100, 1);
    flow_until_moved(&spool, second.0);
    (0..40).for_each(|_| flow(&spool, &octets));
    assert_eq!(place(&spool, bad), first);
    assert_eq!(super::ids(&spool), [bad, good]);
}

#[test]
fn a_dsn_that_is_moved_still_finishes_its_original() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let original = block_on(accept(&spool, &["1@a", "2@a"], b"1")).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    block_on(async {
        let mut dsn = spool.begin_dsn(MICROS).unwrap();
        dsn.sender(&Sender::default()).await.unwrap();
        dsn.recipient("sender@b").await.unwrap();
        let last = Last {
            settles: Some(Settles::Recipients(&ticket, 1)),
            ..Last::default()
        };
        commit(&spool, dsn, last, b"").await.unwrap();
    });
    drop(ticket);
    for ticket in due(&spool, NOW) {
        block_on(defer(&spool, ticket, 0, DAYS));
    }
    flow_until_moved(&spool, 1);
    block_on(spool.close()).unwrap();
    let spool = open(&disk, 8).unwrap();
    let left: Vec<_> = contents(&spool).into_iter().map(|m| m.1.concat()).collect();
    assert_eq!(left, ["2@a", "sender@b"]);
    assert_eq!(states(&spool, original), [(2, 1, DAYS)]);
}

#[test]
fn a_failed_sync_leaves_a_message_where_it_was_and_it_is_moved_later() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let ids: Vec<_> = (0..30)
        .map(|n| put_off(&spool, &["late@a"], &body(n, 1000)))
        .collect();
    let octets = body(1, 500_000);
    for round in 0..60 {
        // Some of these meet a move, some mail; what mail is refused comes again.
        if round % 3 == 0 {
            disk.fail_syncs(1);
        }
        flow(&spool, &octets);
    }
    flow_until_moved(&spool, 1);
    let check = |spool: &Spool| {
        assert_eq!(super::ids(spool), ids);
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(states(spool, *id), [(1, 1, DAYS)]);
            assert!(contents(spool)[n].2 == with_head(&body(n, 1000)));
        }
    };
    check(&spool);
    block_on(spool.close()).unwrap();
    let spool = open(&disk, 8).unwrap();
    assert_eq!(spool.findings(), []);
    check(&spool);
}

/// Where a queued message's final part is: generation, file, offset.
pub fn place(spool: &Spool, id: Id) -> (u64, String, u32) {
    let state = spool.handle.shared.state();
    let mut entries = state.queue.entries();
    let entry = entries.find(|entry| entry.id == id.number()).unwrap();
    let number = state.segments.number(entry.generation).unwrap();
    (entry.generation, format!("{number:06}.seg"), entry.offset)
}

#[test]
fn damage_to_either_copy_costs_nothing_while_the_other_is_there() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(12));
    let spool = open(&disk, 12).unwrap();
    let octets = body(1, 50_000);
    let id = put_off(&spool, &["late@a"], &octets);
    let before = place(&spool, id);
    flow_until_moved(&spool, before.0);
    let after = place(&spool, id);
    block_on(spool.close()).unwrap();
    let segments = &disk.image();
    let salt = crate::spool::record::u64_at(&segments.read("000001.seg", 0, 64), 24).unwrap();
    let both = [before, after].map(|(generation, name, offset)| {
        let place = crate::spool::record::Place {
            generation,
            segment: name[..6].parse().unwrap(),
            offset,
        };
        let bytes = segments.read(&name, offset.into(), 64);
        let there = crate::spool::record::header(&bytes, salt, place);
        assert!(there.is_some(), "the original is not yet written over");
        (name, offset)
    });
    for (name, offset) in both {
        // The final part, and a part before it.
        for at in [offset + 100, offset - 20_000] {
            let mut image = segments.clone();
            image.flip(&name, at.into(), 0x10);
            let spool = open(&Fake::of(image), 12).unwrap();
            assert!(!spool.findings().is_empty(), "{name} at {at}");
            let lost = |finding: &Finding| matches!(finding, Finding::Lost { .. });
            assert!(!spool.findings().iter().any(lost), "{name} at {at}");
            let found = contents(&spool);
            assert_eq!((found.len(), found[0].0), (1, id), "{name} at {at}");
            assert!(found[0].2 == with_head(&octets), "{name} at {at}");
            assert_eq!(states(&spool, id), [(1, 1, DAYS)], "{name} at {at}");
        }
    }
}
