//! What a DSN says of its original, beyond the segments that both were written to.

use super::moving::{DAYS, flow_until_moved, states};
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
    };
    report(&spool, &ticket, reported);
    let spool = open(&Fake::of(disk.image()), 8).unwrap();
    let mut told = told(&spool, id);
    told.sort_unstable();
    assert_eq!(told, [false, true], "nobody asked to hear of the third");
    drop(ticket);
}
