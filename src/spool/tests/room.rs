//! Full spools, and segments that are used again.

use super::*;

/// Takes mail until there is no room.
fn fill(spool: &Spool, length: usize) -> Vec<Id> {
    let mut ids = Vec::new();
    while let Ok(id) = block_on(accept(spool, &["x@a"], &body(ids.len(), length))) {
        ids.push(id);
    }
    ids
}

#[test]
fn a_full_spool_refuses_mail_delivers_and_takes_mail_again() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        for round in 0..3 {
            let all = fill(&spool, 200_000);
            assert!(all.len() > 20, "round {round}: {} messages", all.len());
            assert_eq!(
                spool.begin(MICROS, Some(200_000)).err(),
                Some(Refusal::Full)
            );
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
            assert!(spool.counts().free > 4_000_000, "{:?}", spool.counts());
        }
    });
}

#[test]
fn a_full_spool_takes_marks_and_dsns_for_ever() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        let all = fill(&spool, 100_000);
        // Each deferral is synced alone, as in a slow trickle: far more blocks than the reserve has.
        for round in 1..=8 {
            for ticket in due(&spool, ALWAYS) {
                block_on(defer(&spool, ticket, 0, NOW + round));
            }
            for _ in 0..70 {
                fill_reserve(&spool);
            }
        }
        let written = spool.counts().written as usize / limits::SPOOL_SEGMENT;
        assert!(
            written > 8,
            "the reserve was used again and again: {written}"
        );
        block_on(async {
            let mut dsn = spool.begin_dsn(MICROS).unwrap();
            dsn.sender(&Sender::default()).await.unwrap();
            dsn.recipient("x@a").await.unwrap();
            let committed = commit(&spool, dsn, Last::default(), b"").await;
            committed.unwrap();
        });
        let spool = open(&Fake::of(disk.image()), 6).unwrap();
        let tickets = due(&spool, ALWAYS);
        assert_eq!(tickets.len(), all.len() + 1);
        let deferred = tickets.iter().filter(|t| spool.info(t).attempts == 8);
        assert_eq!(
            deferred.count(),
            all.len(),
            "no mark was lost to a reused segment"
        );
    });
}

/// A large DSN that is given up: its parts use room that only the reserve has.
fn fill_reserve(spool: &Spool) {
    block_on(async {
        let mut dsn = spool.begin_dsn(MICROS).unwrap();
        dsn.sender(&Sender::default()).await.unwrap();
        let _ = dsn.body(&body(0, 100_000)).await;
    });
}

#[test]
fn what_is_finished_stays_so_when_its_marks_segment_is_used_again() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        // One old message holds the first segment; its neighbours' marks go to younger ones, which are used again.
        let old = block_on(accept(&spool, &["x@a", "y@a"], b"old")).unwrap();
        let finished: Vec<_> = (0..20)
            .map(|n| block_on(accept(&spool, &["x@a"], &body(n, 150_000))).unwrap())
            .collect();
        let mut kept = None;
        let mut pass = |spool: &Spool| {
            for ticket in due(spool, ALWAYS) {
                if ticket.id() == old {
                    kept.get_or_insert(ticket);
                } else {
                    block_on(deliver(spool, ticket));
                }
            }
        };
        for number in 0..30 {
            block_on(accept(&spool, &["x@a"], &body(number, 1_000_000))).unwrap();
            if number == 10 {
                pass(&spool);
            }
            if number > 10 {
                pass(&spool);
            }
        }
        assert!(spool.handle.shared.state().segments.number(1).is_some());
        assert!(spool.handle.shared.state().segments.number(2).is_none());
        let spool = open(&Fake::of(disk.image()), 7).unwrap();
        let left = super::ids(&spool);
        assert!(finished.iter().all(|id| !left.contains(id)));
        assert_eq!(left, [old]);
        assert_eq!(spool.findings(), []);
    });
}

#[test]
fn an_aborted_body_is_free_at_once() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    for _ in 0..10 {
        block_on(async {
            let mut transaction = spool.begin(MICROS, None).unwrap();
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
            transaction.body(&body(0, 3_000_000)).await.unwrap();
        });
    }
    assert_eq!(spool.counts().queued, 0);
}

#[test]
fn the_index_has_room_for_so_many_recipients() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    block_on(async {
        let mut open = Vec::new();
        'full: loop {
            let mut transaction = spool.begin(MICROS, None).unwrap();
            transaction.sender(&Sender::default()).await.unwrap();
            for _ in 0..100 {
                match transaction.recipient("x@a").await {
                    Ok(()) => {}
                    Err(Error::Full) => {
                        open.push(transaction);
                        break 'full;
                    }
                    Err(problem) => panic!("{problem}"),
                }
            }
            open.push(transaction);
        }
        assert_eq!(open.len(), limits::QUEUE_ENTRIES / 100 + 1);
        assert_eq!(spool.begin(MICROS, None).err(), Some(Refusal::Full));
        drop(open);
        assert!(spool.begin(MICROS, None).is_ok());
    });
}

#[test]
fn many_messages_recover() {
    in_clear_and_sealed(|| {
        let segments = 26;
        let disk = Fake::of(fresh(segments));
        let spool = open(&disk, segments).unwrap();
        let each = if cfg!(debug_assertions) { 50 } else { 1_000 };
        let shared = spool.clone();
        let executor = smol::Executor::new();
        block_on(executor.run(async {
            let sessions: Vec<_> = (0..100)
                .map(|_| {
                    let spool = shared.clone();
                    executor.spawn(async move {
                        for _ in 0..each {
                            accept(&spool, &["x@a"], &body(0, 300)).await.unwrap();
                        }
                    })
                })
                .collect();
            for session in sessions {
                session.await;
            }
        }));
        block_on(spool.close()).unwrap();
        let count = if cfg!(debug_assertions) {
            5_000
        } else {
            100_000
        };
        let before = std::time::Instant::now();
        let spool = open(&disk, segments).unwrap();
        eprintln!("{count} messages recovered in {:?}", before.elapsed());
        assert_eq!(spool.counts().queued, count);
    });
}

#[test]
fn the_largest_message_fits_an_empty_spool_however_far_its_segment_is_used() {
    in_clear_and_sealed(|| {
        let segments = limits::SPOOL_SEGMENTS;
        let disk = Fake::of(fresh(segments));
        let spool = open(&disk, segments).unwrap();
        let most = Spool::room_for_mail(Spool::smallest());
        assert!(most >= Spool::smallest() / 4);
        let largest = body(1, most as usize);
        for before in [0, 10, 4_000_000, 100_000, 1_000_000, 4_100_000] {
            block_on(accept(&spool, &["x@a"], &largest[..before])).unwrap();
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
            block_on(accept(&spool, &["x@a"], &largest)).unwrap();
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
        }
        assert_eq!(Spool::room_for_mail(0), 0);
    });
}
