//! Scenarios for the power to be cut after every single call, and while the spool recovers (see [`cuts`](super::cuts)).

use super::*;

/// The power is cut everywhere while this is done to a spool, in clear and sealed.
fn cut_after_each_call(segments: usize, scenario: impl Fn(&Spool)) {
    for key in [None, Some(Key::fresh().unwrap())] {
        set_key(key.as_ref());
        let disk = Fake::of(fresh(segments));
        let _cuts = Cuts::after_each(&disk);
        let spool = open(&disk, segments).unwrap();
        scenario(&spool);
    }
}

fn take(spool: &Spool, length: usize) -> Id {
    block_on(accept(spool, &["x@a", "y@a"], &body(length, length))).unwrap()
}

fn finish(spool: &Spool, ids: &[Id]) {
    for ticket in due(spool, ALWAYS) {
        if ids.contains(&ticket.id()) {
            block_on(deliver(spool, ticket));
        }
    }
}

fn put_off(spool: &Spool, id: Id) {
    for ticket in due(spool, NOW) {
        if ticket.id() == id {
            block_on(defer(spool, ticket, 1, NOW + 60));
        }
    }
}

#[test]
fn mail_that_comes_waits_and_goes() {
    cut_after_each_call(6, |spool| {
        let first = take(spool, 100);
        let second = take(spool, 4096);
        abort(spool);
        finish(spool, &[first]);
        let large = take(spool, 70_000);
        put_off(spool, second);
        finish(spool, &[second]);
        take(spool, 10);
        finish(spool, &[large]);
        take(spool, 3000);
    });
}

/// One commit of so many messages.
fn together(spool: &Spool, count: usize, length: usize) {
    let octets = body(count, length);
    let executor = smol::LocalExecutor::new();
    block_on(executor.run(async {
        let mut transactions = Vec::new();
        for _ in 0..count {
            let mut transaction = spool.begin(MICROS, None).unwrap();
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
            transaction.data_begins();
            transaction.body(&octets).await.unwrap();
            transactions.push(transaction);
        }
        let commits = transactions.into_iter().map(|transaction| {
            let committed = commit(spool, transaction, Last::default(), &octets);
            executor.spawn(committed)
        });
        for commit in commits.collect::<Vec<_>>() {
            commit.await.unwrap();
        }
    }));
}

/// What is torn of it takes more notes than a sector holds, which are torn themselves.
#[test]
fn one_commit_of_many_messages() {
    cut_after_each_call(6, |spool| {
        take(spool, 10);
        together(spool, 60, 700);
        together(spool, 20, 3000);
    });
}

/// What the queue commands do: once they answered, the message does not come back.
#[test]
fn a_message_that_is_dropped_by_hand() {
    cut_after_each_call(6, |spool| {
        let ids = [take(spool, 100), take(spool, 20_000), take(spool, 300)];
        put_off(spool, ids[1]);
        for id in [ids[1], ids[0]] {
            for ticket in spool.take(id) {
                block_on(deliver(spool, ticket));
            }
            block_on(sync(spool)).unwrap();
        }
        // With a DSN, which is on the disk before the answer as well.
        let ticket = spool.take(ids[2]).remove(0);
        report(spool, &ticket, 3, &body(1, 100));
        block_on(deliver(spool, ticket));
        block_on(sync(spool)).unwrap();
    });
}

/// A DSN for some recipients.
fn report(spool: &Spool, ticket: &Ticket, mask: u128, octets: &[u8]) {
    let reported = Reported {
        done: mask,
        ..Reported::default()
    };
    report_of(spool, ticket, reported, octets);
}

fn report_of(spool: &Spool, ticket: &Ticket, reported: Reported, octets: &[u8]) {
    block_on(async {
        let mut dsn = spool.begin_dsn(MICROS).unwrap();
        dsn.sender(&Sender::default()).await.unwrap();
        dsn.recipient("sender@b").await.unwrap();
        dsn.body(octets).await.unwrap();
        let last = Last {
            settles: Some(Settles::Reported(ticket, reported)),
            ..Last::default()
        };
        commit(spool, dsn, last, octets).await.unwrap();
    });
}

/// Its original is finished if the DSN is there, and whole, and not before.
#[test]
fn a_report_in_many_parts() {
    cut_after_each_call(6, |spool| {
        for length in [30, 17_000, 20_000, 40_000] {
            take(spool, length);
            let ticket = due(spool, NOW).remove(0);
            report(spool, &ticket, 1, &body(2, length));
            block_on(defer(spool, ticket, 0, NOW + 60));
            for ticket in due(spool, NOW) {
                block_on(deliver(spool, ticket));
            }
        }
    });
}

/// A DSN whose original is kept for it is whole as long as it is there, and the original goes with it.
#[test]
fn a_report_that_refers_to_its_message() {
    cut_after_each_call(6, |spool| {
        for (length, waits) in [(30, false), (20_000, true), (40_000, false)] {
            take(spool, length);
            let ticket = due(spool, NOW).remove(0);
            let reported = Reported {
                held: 1,
                ..Reported::default()
            };
            let with_head = [HEAD, &body(length, length)].concat();
            refer(spool, &ticket, reported, &with_head);
            block_on(defer(spool, ticket, 0, NOW + 60));
            if waits {
                for ticket in due(spool, NOW) {
                    block_on(defer(spool, ticket, 0, NOW + 30));
                }
            }
            // The DSN first, then the other recipient, or the other way round.
            for ticket in due(spool, NOW + 30 + u64::from(!waits) * 60) {
                block_on(deliver(spool, ticket));
            }
            assert_eq!(held(spool), 0);
            finish_all(spool);
        }
    });
}

/// The same, of a message that was delivered to its other recipient, which the DSN says, too.
#[test]
fn a_report_of_a_failure_and_a_delivery() {
    cut_after_each_call(6, |spool| {
        for length in [30, 20_000] {
            take(spool, length);
            let ticket = due(spool, NOW).remove(0);
            let reported = Reported {
                held: 1,
                delivered: 2,
                ..Reported::default()
            };
            let with_head = [HEAD, &body(length, length)].concat();
            refer(spool, &ticket, reported, &with_head);
            block_on(deliver(spool, ticket));
            assert_eq!(held(spool), 1);
            finish_all(spool);
            assert_eq!(held(spool), 0);
        }
    });
}

fn finish_all(spool: &Spool) {
    for ticket in due(spool, ALWAYS) {
        block_on(deliver(spool, ticket));
    }
}

fn held(spool: &Spool) -> usize {
    let state = spool.handle.shared.state();
    state
        .queue
        .entries()
        .filter(|entry| entry.is_held())
        .count()
}

/// A DSN with another message's octets among its own.
pub fn refer(spool: &Spool, ticket: &Ticket, reported: Reported, original: &[u8]) -> Id {
    block_on(async {
        let mut dsn = spool.begin_dsn(MICROS).unwrap();
        dsn.sender(&Sender::default()).await.unwrap();
        dsn.recipient("sender@b").await.unwrap();
        dsn.body(b"before\r\n").await.unwrap();
        dsn.refer(original.len() as u64).await.unwrap();
        dsn.body(b"after\r\n").await.unwrap();
        let last = Last {
            settles: Some(Settles::Reported(ticket, reported)),
            ..Last::default()
        };
        let octets = [b"before\r\n", original, b"after\r\n"].concat();
        commit(spool, dsn, last, &octets).await.unwrap()
    })
}

/// Of a delay people are told once, wherever the power goes.
#[test]
fn a_report_of_a_delay() {
    cut_after_each_call(6, |spool| {
        for length in [30, 20_000] {
            let id = take(spool, length);
            let ticket = due(spool, NOW).remove(0);
            let reported = Reported {
                done: 0,
                delayed: 2,
                ..Reported::default()
            };
            report_of(spool, &ticket, reported, &body(2, length));
            assert!(spool.info(&ticket).delay_told);
            block_on(defer(spool, ticket, 0, NOW + 60));
            for ticket in due(spool, NOW) {
                block_on(deliver(spool, ticket));
            }
            for ticket in due(spool, NOW + 60) {
                assert!(ticket.id() == id && spool.info(&ticket).delay_told);
                block_on(deliver(spool, ticket));
            }
        }
    });
}

/// Segments whose names are on the disk or not.
#[test]
fn a_spool_that_is_made_and_grows() {
    for key in [None, Some(Key::fresh().unwrap())] {
        set_key(key.as_ref());
        let _cuts = Cuts::everywhere();
        let disk = Fake::default();
        for segments in [6, 8] {
            let spool = open(&disk, segments).unwrap();
            take(&spool, 100);
            block_on(spool.close()).unwrap();
        }
    }
}

/// A segment whose messages are gone is used again, while an old one is kept.
#[test]
fn segments_that_are_left_and_used_again() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        let old = take(&spool, 200);
        for length in [4_500_000, 4_500_000, 2_500_000, 2_500_000, 2_500_000] {
            let large = take(&spool, length);
            finish(&spool, &[large]);
        }
        take(&spool, 2_500_000);
        finish(&spool, &[old]);
        take(&spool, 100);
    });
}

#[test]
fn a_message_whose_parts_lie_apart() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        let octets = body(9, 20_000);
        let mut slow = block_on(async {
            let mut slow = spool.begin(MICROS, None).unwrap();
            slow.sender(&Sender::default()).await.unwrap();
            slow.recipient("x@a").await.unwrap();
            slow.body(&octets).await.unwrap();
            slow
        });
        for _ in 0..2 {
            let large = take(&spool, 4_500_000);
            finish(&spool, &[large]);
        }
        block_on(slow.body(&octets)).unwrap();
        let whole = octets.repeat(2);
        block_on(commit(&spool, slow, Last::default(), &whole)).unwrap();
        let large = take(&spool, 4_500_000);
        finish(&spool, &[large]);
    });
}

#[test]
fn old_messages_that_are_moved() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(8));
        let spool = open(&disk, 8).unwrap();
        let old = [100, 40_000, 10, 3000].map(|length| take(&spool, length));
        abort(&spool);
        put_off(&spool, old[0]);
        put_off(&spool, old[1]);
        let is_there = || {
            let state = spool.handle.shared.state();
            state.queue.entries().any(|entry| entry.generation == 1)
        };
        for count in 0..500 {
            if !is_there() {
                break;
            }
            // The mover has its turn.
            std::thread::yield_now();
            let large = take(&spool, 1_500_000);
            finish(&spool, &[large]);
            if count == 3 {
                finish(&spool, &old[2..3]);
            }
        }
        assert!(!is_there(), "they were not moved");
        finish(&spool, &old[..1]);
        let large = take(&spool, 4_500_000);
        finish(&spool, &[large]);
    });
}
