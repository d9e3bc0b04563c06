//! A disk that gives errors.

use super::*;
use crate::spool::disk::Real;

#[test]
fn a_failed_sync_refuses_its_messages_and_the_next_ones_work() {
    let disk = Fake::of(fresh(5));
    let spool = open(&disk, 5).unwrap();
    let first = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    disk.fail_syncs(1);
    let refused = block_on(accept(&spool, &["x@a"], b"2"));
    assert!(matches!(refused, Err(Error::Io(_))));
    let third = settled(&spool, || block_on(accept(&spool, &["x@a"], b"3")));
    assert_eq!(super::ids(&spool), [first, third]);
    drop(spool);
    let spool = open(&Fake::of(disk.image()), 5).unwrap();
    assert_eq!(spool.findings(), [], "the failed batch is noted in the log");
    assert_eq!(
        super::ids(&spool),
        [first, third],
        "what was refused stays so"
    );
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
    let disk = Fake::of(fresh(5));
    let spool = open(&disk, 5).unwrap();
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
        assert!(matches!(
            long.commit(Last::default()).await,
            Err(Error::Io(_))
        ));
    });
    assert_eq!(super::ids(&spool), []);
}

#[test]
fn marks_of_a_failed_batch_are_written_again() {
    let disk = Fake::of(fresh(5));
    let spool = open(&disk, 5).unwrap();
    block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    disk.fail_syncs(1);
    block_on(deliver(&spool, ticket));
    assert!(block_on(accept(&spool, &["x@a"], b"2")).is_err());
    let third = settled(&spool, || block_on(accept(&spool, &["x@a"], b"3")));
    let spool = open(&Fake::of(disk.image()), 5).unwrap();
    assert_eq!(super::ids(&spool), [third]);
}

#[test]
fn new_mail_is_refused_while_no_segment_is_good() {
    let disk = Fake::of(fresh(5));
    let spool = open(&disk, 5).unwrap();
    disk.fail_writes(usize::MAX);
    assert!(block_on(accept(&spool, &["x@a"], b"1")).is_err());
    block_on(async {
        while !spool.counts().read_only {
            smol::future::yield_now().await;
        }
    });
    assert_eq!(spool.begin(MICROS, None).err(), Some(Refusal::ReadOnly));
    assert!(block_on(spool.close()).is_err());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let options = Options {
        dir: "/dev/null/spool".into(),
        size: 1 << 30,
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
        size: 4 * limits::SPOOL_SEGMENT as u64,
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
