//! A disk that gives errors.

use super::*;
use crate::spool::disk::Real;

#[test]
fn a_failed_sync_refuses_its_messages_and_the_next_ones_work() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        let first = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
        disk.fail_syncs(1);
        let refused = block_on(accept(&spool, &["x@a"], b"2"));
        assert!(matches!(refused, Err(Error::Io(_))));
        let third = settled(&spool, || block_on(accept(&spool, &["x@a"], b"3")));
        assert_eq!(super::ids(&spool), [first, third]);
        drop(spool);
        let spool = open(&Fake::of(disk.image()), 6).unwrap();
        assert_eq!(spool.findings(), [], "the failed batch is noted in the log");
        assert_eq!(
            super::ids(&spool),
            [first, third],
            "what was refused stays so"
        );
    });
}

/// Tries until the spool writes again.
fn settled(spool: &Spool, mut attempt: impl FnMut() -> Result<Id, Error>) -> Id {
    block_on(async {
        while spool.counts().read_only {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
    });
    attempt().unwrap()
}

#[test]
fn a_transaction_with_a_part_in_a_failed_batch_is_refused_whole() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        block_on(async {
            let mut long = spool.begin(MICROS, None).unwrap();
            long.sender(&Sender::default()).await.unwrap();
            long.recipient("x@a").await.unwrap();
            long.body(&body(1, 40_000)).await.unwrap();
            disk.fail_syncs(1);
            assert!(accept(&spool, &["x@a"], b"2").await.is_err());
            while spool.counts().read_only {
                smol::Timer::after(Duration::from_millis(1)).await;
            }
            let refused = commit(&spool, long, Last::default(), &body(1, 40_000)).await;
            assert!(matches!(refused, Err(Error::Io(_))));
        });
        assert_eq!(super::ids(&spool), []);
    });
}

#[test]
fn marks_of_a_failed_batch_are_written_again() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        block_on(accept(&spool, &["x@a"], b"1")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        disk.fail_syncs(1);
        block_on(deliver(&spool, ticket));
        assert!(block_on(accept(&spool, &["x@a"], b"2")).is_err());
        let third = settled(&spool, || block_on(accept(&spool, &["x@a"], b"3")));
        let spool = open(&Fake::of(disk.image()), 6).unwrap();
        assert_eq!(super::ids(&spool), [third]);
    });
}

#[test]
fn new_mail_is_refused_while_no_segment_is_good() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    disk.fail_writes(usize::MAX);
    assert!(block_on(accept(&spool, &["x@a"], b"1")).is_err());
    block_on(async {
        while !spool.counts().read_only {
            smol::future::yield_now().await;
        }
    });
    // The fake's disk is full: 452, where another error is 451.
    assert_eq!(spool.begin(MICROS, None).err(), Some(Refusal::Full));
    assert!(block_on(spool.close()).is_err());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let options = Options {
        dir: "/dev/null/spool".into(),
        size: 1 << 30,
        key: None,
    };
    let problem = Spool::open(&options, Real, Box::new(lane), NOW)
        .err()
        .unwrap();
    assert!(
        problem.to_string().starts_with("spool /dev/null/spool: "),
        "{problem}"
    );
}

#[test]
fn a_real_folder_works_and_is_locked() {
    let dir = std::env::temp_dir().join(format!("facteur-spool-{}", fastrand::u64(..)));
    let options = Options {
        dir: dir.clone(),
        size: 6 * limits::SPOOL_SEGMENT as u64,
        key: None,
    };
    let open = || Spool::open(&options, Real, Box::new(lane), NOW);
    let spool = open().unwrap();
    let id = block_on(async {
        loop {
            // The first segments are still being made.
            match accept(&spool, &["x@a"], &body(1, 10_000)).await {
                Ok(id) => return id,
                Err(_) => smol::Timer::after(Duration::from_millis(1)).await,
            };
        }
    });
    assert!(matches!(open(), Err(OpenError::Locked(_))));
    block_on(spool.close()).unwrap();
    let spool = open().unwrap();
    assert_eq!(super::ids(&spool), [id]);
    block_on(spool.close()).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

/// A DSN for the ticket's first recipient.
async fn report(spool: &Spool, ticket: &Ticket) -> Result<Id, Error> {
    let mut dsn = spool.begin_dsn(MICROS).map_err(|_| Error::Full)?;
    dsn.sender(&Sender::default()).await?;
    dsn.recipient("sender@b").await?;
    let last = Last {
        settles: Some(Settles::Recipients(ticket, 1)),
        ..Last::default()
    };
    commit(spool, dsn, last, b"").await
}

const PUT_OFF: Outcome = Outcome {
    done: 0,
    defer: Some(Deferral {
        next: NOW + 60,
        unreached: false,
    }),
};

#[test]
fn a_dsn_whose_commit_failed_leaves_its_original_queued() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        let original = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        disk.fail_syncs(1);
        assert!(block_on(report(&spool, &ticket)).is_err());
        block_on(settle(&spool, ticket, PUT_OFF));
        settled(&spool, || block_on(accept(&spool, &["x@a"], b"2")));
        for ticket in due(&spool, NOW) {
            block_on(deliver(&spool, ticket));
        }
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 7).unwrap();
        assert_eq!(super::ids(&spool), [original], "lost without a DSN");
    });
}

#[test]
fn a_dsn_that_is_damaged_leaves_its_original_queued() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        let original = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        let report = block_on(async {
            let mut dsn = spool.begin_dsn(MICROS).unwrap();
            dsn.sender(&Sender::default()).await.unwrap();
            dsn.recipient("sender@b").await.unwrap();
            dsn.body(&body(1, 20_000)).await.unwrap();
            let last = Last {
                settles: Some(Settles::Recipients(&ticket, 1)),
                ..Last::default()
            };
            commit(&spool, dsn, last, &body(1, 20_000)).await.unwrap()
        });
        block_on(settle(&spool, ticket, PUT_OFF));
        assert_eq!(super::ids(&spool), [report]);
        block_on(spool.close()).unwrap();
        let whole = open(&Fake::of(disk.image()), 7).unwrap();
        assert_eq!(super::ids(&whole), [report], "the DSN is there");
        // Its first part is the third block's: the header and the original stand before it.
        disk.flip("000001.seg", 2 * 4096 + 5000, 1);
        let spool = open(&disk, 7).unwrap();
        assert_eq!(super::ids(&spool), [original]);
    });
}

#[test]
fn what_a_failed_commit_left_stays_refused_when_its_note_is_written_over() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        let original = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        disk.fail_syncs(1);
        assert!(block_on(report(&spool, &ticket)).is_err());
        block_on(settle(&spool, ticket, PUT_OFF));
        // The original holds the first segment, and the second one, with the note, is used again.
        let octets = body(1, 1_000_000);
        settled(&spool, || block_on(accept(&spool, &["x@a"], &octets)));
        for _ in 0..40 {
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
            block_on(accept(&spool, &["x@a"], &octets)).unwrap();
        }
        for ticket in due(&spool, NOW) {
            block_on(deliver(&spool, ticket));
        }
        assert!(spool.handle.shared.state().segments.number(2).is_none());
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 7).unwrap();
        assert_eq!(
            (super::ids(&spool), spool.findings()),
            (vec![original], &[][..])
        );
    });
}

#[test]
fn what_is_done_stays_done_where_its_segment_could_not_begin_a_new_life() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(8));
        let spool = open(&disk, 8).unwrap();
        let octets = body(1, 1_000_000);
        let deliver_all = || {
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
        };
        // The first segment is full of what is done, and is to be used again: in vain.
        for _ in 0..6 {
            block_on(accept(&spool, &["x@a"], &octets)).unwrap();
        }
        deliver_all();
        disk.fail_headers(1);
        while block_on(accept(&spool, &["x@a"], &octets)).is_ok() {
            deliver_all();
        }
        deliver_all();
        settled(&spool, || block_on(accept(&spool, &["x@a"], &octets)));
        // Until the segments that tell what is done are used again themselves.
        let mut last = None;
        while spool.handle.shared.state().segments.number(2).is_some() {
            deliver_all();
            last = Some(block_on(accept(&spool, &["x@a"], &octets)).unwrap());
        }
        let expected = Vec::from_iter(last);
        assert_eq!(super::ids(&spool), expected);
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 8).unwrap();
        assert_eq!((super::ids(&spool), spool.findings()), (expected, &[][..]));
    });
}

#[test]
fn a_panicking_thread_is_noticed_at_once() {
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    let started = std::time::Instant::now();
    disk.panic_once();
    let problem = block_on(accept(&spool, &["x@a"], b"1"));
    assert!(problem.is_err(), "the writer");
    let stopped = |spool: &Spool| {
        while !spool.counts().read_only {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(spool.begin(MICROS, None).err(), Some(Refusal::ReadOnly));
    };
    stopped(&spool);

    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    disk.panic_once();
    assert!(block_on(spool.read(&ticket)).is_err(), "the reader");
    stopped(&spool);
    assert!(block_on(spool.read(&ticket)).is_err(), "for good");
    assert!(started.elapsed() < limits::SPOOL_READ);
}
