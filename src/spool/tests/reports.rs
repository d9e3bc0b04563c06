//! What a DSN says of its original, beyond the segments that both were written to.

use super::moving::{DAYS, flow, flow_until_moved, place, states};
use super::powercut::refer;
use super::*;

/// Commits a DSN that tells of this.
fn report(spool: &Spool, ticket: &Ticket, reported: Reported) -> Id {
    block_on(async {
        let mut dsn = spool.begin_dsn(MICROS).unwrap();
        dsn.sender(&Sender::default()).await.unwrap();
        dsn.recipient("sender@b").await.unwrap();
        let last = Last {
            settles: Some(Settles::Reported(ticket, reported)),
            ..Last::default()
        };
        commit(spool, dsn, last, b"").await.unwrap()
    })
}

/// Whether the sender was told of the delay, for each entry of a message.
fn told(spool: &Spool, id: Id) -> Vec<bool> {
    let state = spool.handle.shared.state();
    let its = state.queue.entries().filter(|one| one.id == id.number());
    its.map(|entry| entry.tries.is_told()).collect()
}

/// A message whose delay a DSN tells of, which is delivered.
fn delayed(spool: &Spool) -> Id {
    let id = block_on(accept(spool, &["1@a", "2@a"], b"1")).unwrap();
    let ticket = due(spool, NOW).pop().unwrap();
    let reported = Reported {
        done: 0,
        delayed: 0b11,
        ..Reported::default()
    };
    let dsn = report(spool, &ticket, reported);
    block_on(defer(spool, ticket, 0, DAYS));
    let ticket = due(spool, NOW).pop().unwrap();
    assert_eq!(ticket.id(), dsn);
    block_on(deliver(spool, ticket));
    id
}

#[test]
fn that_a_delay_was_told_outlives_restarts_moves_and_marks() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(8));
    let mut spool = open(&disk, 8).unwrap();
    let id = delayed(&spool);
    for round in 1..4 {
        block_on(spool.close()).unwrap();
        spool = open(&disk, 8).unwrap();
        assert_eq!(spool.findings(), []);
        assert_eq!(told(&spool, id), [true], "{round}");
        assert_eq!(states(&spool, id), [(0b11, round, DAYS)]);
        let ticket = due(&spool, ALWAYS).pop().unwrap();
        assert!(spool.info(&ticket).delay_told);
        block_on(defer(&spool, ticket, 0, DAYS));
        if round > 1 {
            let newest = spool.handle.shared.state().segments.last_generation;
            (1..=newest).for_each(|generation| flow_until_moved(&spool, generation));
        }
        assert_eq!(told(&spool, id), [true], "{round}");
    }
}

/// Without the mark behind it, too: the commit alone says so.
#[test]
fn a_delay_is_told_of_by_the_report_s_commit() {
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let id = block_on(accept(&spool, &["1@a", "2@a", "3@a"], b"1")).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    let reported = Reported {
        done: 0b1,
        delayed: 0b10,
        ..Reported::default()
    };
    report(&spool, &ticket, reported);
    let spool = open(&Fake::of(disk.image()), 8).unwrap();
    let mut told = told(&spool, id);
    told.sort_unstable();
    assert_eq!(told, [false, true], "nobody asked to hear of the third");
    drop(ticket);
}

/// A message that failed for its first recipient and is delivered to the other, and the DSN that refers to it, put off.
fn referred(spool: &Spool, octets: &[u8]) -> (Id, Id) {
    referred_after(spool, octets, || {})
}

/// The same; in between something happens.
fn referred_after(spool: &Spool, octets: &[u8], between: impl Fn()) -> (Id, Id) {
    let id = block_on(accept(spool, &["1@a", "2@a"], octets)).unwrap();
    let ticket = due(spool, NOW).pop().unwrap();
    between();
    let reported = Reported {
        held: 0b1,
        ..Reported::default()
    };
    let dsn = refer(spool, &ticket, reported, &[HEAD, octets].concat());
    block_on(deliver(spool, ticket));
    let ticket = due(spool, NOW).pop().unwrap();
    assert_eq!(ticket.id(), dsn);
    block_on(defer(spool, ticket, 0, DAYS));
    (id, dsn)
}

/// What a DSN's reader gets.
fn with_original(octets: &[u8]) -> Vec<u8> {
    [b"before\r\n", HEAD, octets, b"after\r\n"].concat()
}

fn entries(spool: &Spool) -> usize {
    spool.handle.shared.state().queue.entries().count()
}

#[test]
fn what_a_report_refers_to_is_whole_after_moves_and_restarts_and_goes_with_it() {
    for key in [None, Some(Key::fresh().unwrap())] {
        set_key(key.as_ref());
        let _cuts = Cuts::everywhere();
        let disk = Fake::of(fresh(8));
        let mut spool = open(&disk, 8).unwrap();
        let octets = body(1, 60_000);
        let (id, dsn) = referred(&spool, &octets);
        for round in 0..3 {
            let queued = contents(&spool);
            assert_eq!(queued.len(), 1, "{round}");
            assert_eq!(queued[0].0, dsn);
            assert!(queued[0].2 == with_original(&octets), "{round}");
            let held = states(&spool, id);
            assert_eq!((held.len(), held[0].0), (1, 1), "{round}");
            assert_eq!(spool.entries_of(id), 0, "none that waits");
            assert_eq!(spool.holder(id), Some(dsn));
            match round {
                0 => {
                    let newest = spool.handle.shared.state().segments.last_generation;
                    (1..=newest).for_each(|generation| flow_until_moved(&spool, generation));
                }
                _ => {
                    block_on(spool.close()).unwrap();
                    spool = open(&disk, 8).unwrap();
                    assert_eq!(spool.findings(), []);
                }
            }
        }
        let ticket = due(&spool, ALWAYS).pop().unwrap();
        let mut message = block_on(spool.read(&ticket)).unwrap();
        assert_eq!(message.size, with_original(&octets).len() as u64);
        // Twice, as after a first host that took half of it.
        block_on(message.next_chunk()).unwrap();
        message.rewind();
        assert!(block_on(whole(&mut message)).unwrap() == with_original(&octets));
        block_on(deliver(&spool, ticket));
        assert_eq!((entries(&spool), spool.holder(id)), (0, None));
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 8).unwrap();
        assert_eq!(entries(&spool), 0);
    }
}

#[test]
fn two_reports_that_refer_to_one_message_let_it_go_one_after_the_other() {
    let disk = Fake::of(fresh(8));
    let mut spool = open(&disk, 8).unwrap();
    let octets = body(1, 1000);
    let id = block_on(accept(&spool, &["1@a", "2@b"], &octets)).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    spool.split(ticket, &[(lane("@a"), 1), (lane("@b"), 2)]);
    for ticket in due(&spool, NOW) {
        let reported = Reported {
            held: spool.info(&ticket).recipients,
            ..Reported::default()
        };
        refer(&spool, &ticket, reported, &[HEAD, &octets].concat());
        block_on(deliver(&spool, ticket));
    }
    for left in [2, 1] {
        block_on(spool.close()).unwrap();
        spool = open(&disk, 8).unwrap();
        assert_eq!(states(&spool, id).len(), left);
        let found = contents(&spool);
        assert!(found.len() == left && found.iter().all(|m| m.2 == with_original(&octets)));
        let ticket = due(&spool, ALWAYS).pop().unwrap();
        block_on(deliver(&spool, ticket));
    }
    assert_eq!(entries(&spool), 0);
}

#[test]
fn while_a_report_is_sent_its_message_stays_where_it_is() {
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let octets = body(1, 60_000);
    let other = body(2, 500_000);
    // So that each keeps a segment of its own.
    let (id, _) = referred_after(&spool, &octets, || {
        (0..9).for_each(|_| flow(&spool, &other))
    });
    let ticket = due(&spool, ALWAYS).pop().unwrap();
    let mut message = block_on(spool.read(&ticket)).unwrap();
    for _ in 0..3 {
        block_on(message.next_chunk()).unwrap();
    }
    let generation = || {
        let state = spool.handle.shared.state();
        let mut entries = state.queue.entries();
        let found = entries.find(|entry| entry.id == id.number());
        found.map(|entry| entry.generation)
    };
    let before = generation();
    (0..100).for_each(|_| flow(&spool, &other));
    assert_eq!(generation(), before);
    message.rewind();
    assert!(block_on(whole(&mut message)).unwrap() == with_original(&octets));
    drop(ticket);
    flow_until_moved(&spool, before.unwrap());
}

/// The report itself failed, and the power went between that commit and the mark of what it held.
#[test]
fn what_a_report_held_goes_at_the_next_start_if_nobody_wrote_so() {
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let (_, dsn) = referred(&spool, b"x");
    let ticket = due(&spool, ALWAYS).pop().unwrap();
    assert_eq!(ticket.id(), dsn);
    let reported = Reported {
        done: 1,
        ..Reported::default()
    };
    let note = report(&spool, &ticket, reported);
    let spool = open(&Fake::of(disk.image()), 8).unwrap();
    assert_eq!((entries(&spool), ids(&spool)), (1, vec![note]));
    drop(ticket);
}

/// What is held stays held when the clock is set.
#[test]
fn a_clock_that_is_set_does_not_bring_a_failed_recipient_back() {
    let disk = Fake::of(fresh(8));
    let spool = open(&disk, 8).unwrap();
    let (id, dsn) = referred(&spool, b"x");
    for by in [-3_000_000, 5_000_000] {
        spool.clock_was_set(by, MICROS, Duration::from_secs(4 * 3600));
        assert_eq!(ids(&spool), [dsn]);
        assert_eq!(spool.holder(id), Some(dsn));
    }
}

/// The report is worth more than what it sends back, and nobody is told of the same failure again.
#[test]
fn a_report_on_a_damaged_message_goes_without_it() {
    for part in [0, 1] {
        let disk = Fake::of(fresh(8));
        let spool = open(&disk, 8).unwrap();
        let octets = body(1, 20_000);
        let (id, dsn) = referred(&spool, &octets);
        let (_, name, offset) = place(&spool, id);
        // In the final part, or the one before it.
        disk.flip(&name, u64::from(offset) + 100 - part * 2000, 1);
        let check = |spool: &Spool| {
            let ticket = due(spool, ALWAYS).pop().unwrap();
            assert_eq!(ticket.id(), dsn);
            let mut message = block_on(spool.read(&ticket)).unwrap();
            let found = block_on(whole(&mut message)).unwrap();
            let rest = found.strip_prefix(b"before\r\n").unwrap();
            let rest = rest.strip_suffix(b"after\r\n").unwrap();
            assert!(rest.len() < octets.len() && [HEAD, &octets].concat().starts_with(rest));
        };
        check(&spool);
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 8).unwrap();
        assert!(!spool.findings().is_empty());
        assert_eq!(spool.take_lost(), []);
        check(&spool);
        block_on(deliver(&spool, due(&spool, ALWAYS).pop().unwrap()));
        assert_eq!(ids(&spool), []);
    }
}

/// A DSN that the disk damages reaches nobody: who failed is tried again, and who was delivered is not.
#[test]
fn who_was_delivered_is_done_whatever_becomes_of_the_report() {
    let failed = [
        Reported {
            done: 0b1,
            ..Reported::default()
        },
        Reported {
            held: 0b1,
            ..Reported::default()
        },
    ];
    for failed in failed {
        let disk = Fake::of(fresh(8));
        let spool = open(&disk, 8).unwrap();
        let octets = body(1, 1000);
        let id = block_on(accept(&spool, &["1@a", "2@a", "3@a"], &octets)).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        let reported = Reported {
            delivered: 0b10,
            ..failed
        };
        let dsn = refer(&spool, &ticket, reported, &[HEAD, &octets].concat());
        block_on(defer(&spool, ticket, 0b11, DAYS));
        let (_, name, offset) = place(&spool, dsn);
        block_on(spool.close()).unwrap();
        disk.flip(&name, u64::from(offset) + 60, 1);
        let spool = open(&disk, 8).unwrap();
        let left = states(&spool, id);
        let left = left.iter().fold(0, |all, (mask, ..)| all | mask);
        assert_eq!((left, ids(&spool)), (0b101, vec![id, id]), "{failed:?}");
    }
}
