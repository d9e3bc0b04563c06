//! Messages that come so slowly that other mail lies between their parts.

use super::*;

const SEGMENTS: usize = 10;

/// Mail that comes and goes, as much as fills so many segments.
fn flow(spool: &Spool, segments: usize, octets: &[u8]) -> Result<(), Error> {
    for _ in 0..segments * limits::SPOOL_SEGMENT / octets.len() {
        block_on(accept(spool, &["x@a"], octets))?;
        for ticket in due(spool, NOW) {
            block_on(deliver(spool, ticket));
        }
    }
    Ok(())
}

fn begin_slow(spool: &Spool) -> Transaction {
    block_on(async {
        let mut slow = spool.begin(MICROS, None).unwrap();
        slow.sender(&Sender::default()).await.unwrap();
        slow.recipient("x@b").await.unwrap();
        slow.recipient("y@b").await.unwrap();
        slow
    })
}

/// Takes the slow message's ticket, and puts it off, so that `flow` does not deliver it.
fn put_off(spool: &Spool, id: Id) {
    for ticket in due(spool, NOW) {
        assert_eq!(ticket.id(), id);
        block_on(defer(spool, ticket, 0, NOW + 9));
    }
}

#[test]
fn a_slow_message_keeps_the_segments_of_its_parts_only() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(SEGMENTS));
        let spool = open(&disk, SEGMENTS).unwrap();
        let (slow_body, octets) = (body(7, 20_000), body(1, 500_000));
        let mut slow = begin_slow(&spool);
        block_on(slow.body(&slow_body)).unwrap();
        flow(&spool, 2 * SEGMENTS, &octets).unwrap();
        let committed = commit(&spool, slow, Last::default(), &slow_body);
        let id = block_on(committed).unwrap();
        put_off(&spool, id);
        flow(&spool, 3 * SEGMENTS, &octets).expect("other mail flows while it is queued");
        // Split and settled in parts, it still keeps what it needs.
        let ticket = due(&spool, NOW + 9).pop().unwrap();
        spool.split(ticket, &[(Lane(1), 1), (Lane(2), 2)]);
        let tickets = due(&spool, NOW + 9);
        assert_eq!(tickets.len(), 2);
        drop(tickets);
        put_off(&spool, id);
        block_on(spool.close()).unwrap();

        let spool = open(&disk, SEGMENTS).unwrap();
        assert_eq!(spool.findings(), []);
        flow(&spool, 3 * SEGMENTS, &octets).expect("and after a restart");
        let mut found = contents(&spool);
        found.dedup();
        assert_eq!(found.len(), 1);
        assert!((found[0].0, &found[0].2) == (id, &slow_body), "it is whole");
        for ticket in due(&spool, ALWAYS) {
            block_on(deliver(&spool, ticket));
        }
        flow(&spool, SEGMENTS, &octets).unwrap();
        let free = spool.counts().free;
        let most = (SEGMENTS - limits::SPOOL_RESERVE) as u64 * limits::SPOOL_SEGMENT as u64;
        assert!(free > most - 2 * limits::SPOOL_SEGMENT as u64, "{free}");
    });
}

#[test]
fn a_transaction_spread_thin_gives_way_to_other_mail() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open(&disk, SEGMENTS).unwrap();
    let octets = body(1, 500_000);
    let mut slow = begin_slow(&spool);
    let piece = body(7, limits::SPOOL_PART);
    let mut pieces = 0;
    while block_on(slow.body(&piece)).is_ok() {
        pieces += 1;
        assert!(pieces < SEGMENTS, "it takes the whole spool");
        flow(&spool, 1, &octets).expect("other mail flows beside it");
    }
    assert!(pieces >= 2, "{pieces}");
    flow(&spool, 2 * SEGMENTS, &octets).unwrap();
}
