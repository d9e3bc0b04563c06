//! Flipped bits, missing files, forged and stale records.

use super::*;
use crate::spool::header::SegmentHeader;
use crate::spool::record::{FIRST, Kind, Place, header};

const FILE: &str = "000001.seg";

/// Three messages in a closed spool, and where their records are.
fn three(body: impl Fn(usize) -> Vec<u8>) -> (Image, Vec<Id>, Vec<u32>) {
    let disk = Fake::of(fresh(7));
    let spool = open(&disk, 7).unwrap();
    let ids: Vec<_> = (0..3)
        .map(|n| block_on(accept(&spool, &["x@a"], &body(n))).unwrap())
        .collect();
    let offsets = due(&spool, NOW)
        .iter()
        .map(|ticket| ticket.shared.state().queue.get(ticket.slot).unwrap().offset)
        .collect();
    block_on(spool.close()).unwrap();
    (disk.image(), ids, offsets)
}

#[test]
fn a_flipped_bit_costs_one_message_which_is_named() {
    in_clear_and_sealed(|| {
        let (image, ids, offsets) = three(|n| body(n, 3000));
        for within in [0, 4, 9, 13, 17, 40, 1000, 3000] {
            let mut image = image.clone();
            image.flip(FILE, u64::from(offsets[1]) + within, 0x10);
            let disk = Fake::of(image);
            let spool = open(&disk, 7).unwrap();
            let [
                Finding::Damage {
                    segment: 1, offset, ..
                },
            ] = spool.findings()
            else {
                panic!("octet {within}: {:?}", spool.findings());
            };
            assert_eq!(*offset, offsets[1], "octet {within}");
            let tickets = due(&spool, NOW);
            assert_eq!(tickets.len(), 2);
            assert!(tickets.iter().all(|ticket| ticket.id() != ids[1]));
            block_on(async {
                for ticket in tickets {
                    deliver(&spool, ticket).await;
                }
            });
            // All is delivered, and neither comes back when the segment is set aside.
            for number in 0..3 {
                let id = block_on(accept(&spool, &["x@a"], &body(number, 3_000_000))).unwrap();
                for ticket in due(&spool, NOW) {
                    assert_eq!(ticket.id(), id);
                    block_on(deliver(&spool, ticket));
                }
            }
            block_on(spool.close()).unwrap();
            let again = open(&disk, 7).unwrap();
            assert_eq!(ids_of(&again), [], "what was delivered stays so");
        }
    });
}

fn ids_of(spool: &Spool) -> Vec<Id> {
    super::ids(spool)
}

#[test]
fn a_damaged_part_is_found_at_the_start_or_when_it_is_read() {
    in_clear_and_sealed(|| {
        let (image, ids, offsets) = three(|n| body(n, if n == 1 { 40_000 } else { 10 }));
        let mut damaged = image.clone();
        let first_part = u64::from(offsets[0]) + 4096;
        damaged.flip(FILE, first_part + 5000, 1);
        let spool = open(&Fake::of(damaged), 7).unwrap();
        let lost = spool.findings().iter().find_map(|finding| match finding {
            Finding::Lost { id, .. } => Some(*id),
            _ => None,
        });
        assert_eq!(lost, Some(ids[1]));
        assert_eq!(super::ids(&spool), [ids[0], ids[2]]);

        let disk = Fake::of(image);
        let spool = open(&disk, 7).unwrap();
        disk.flip(FILE, first_part + 5000, 1);
        let read: Vec<_> = due(&spool, NOW)
            .iter()
            .map(|ticket| block_on(spool.read(ticket)).is_ok())
            .collect();
        assert_eq!(read, [true, false, true]);
    });
}

#[test]
fn a_body_that_copies_a_record_never_becomes_one() {
    in_clear_and_sealed(|| {
        let (image, ids, offsets) = three(|n| body(n, 40));
        // The first message's record, as somebody who read the disk could send it, at every alignment.
        let record = image.read(FILE, offsets[0].into(), 200);
        let disk = Fake::of(image);
        let spool = open(&disk, 7).unwrap();
        let mut forged = Vec::new();
        for shift in 0..8 {
            forged.extend(record.iter().chain(&vec![0; shift]));
        }
        let carrier = block_on(accept(&spool, &["x@a"], &forged)).unwrap();
        let place = due(&spool, NOW)
            .pop()
            .map(|t| t.shared.state().queue.get(t.slot).unwrap().offset);
        block_on(accept(&spool, &["x@a"], b"behind it")).unwrap();
        block_on(spool.close()).unwrap();
        // Without the carrier's header, recovery searches its body for records.
        let mut image = disk.image();
        image.flip(FILE, u64::from(place.unwrap()) + 1, 1);
        let spool = open(&Fake::of(image), 7).unwrap();
        let left = super::ids(&spool);
        assert_eq!((&left[..3], left.len()), (&ids[..], 4));
        assert!(!left.contains(&carrier));
    });
}

#[test]
fn a_record_of_an_earlier_life_does_not_come_back() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        for number in 0..12 {
            block_on(accept(&spool, &["x@a"], &body(number, 2_000_000))).unwrap();
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
        }
        assert!(
            spool.handle.shared.state().segments.number(1).is_none(),
            "used again"
        );
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 7).unwrap();
        assert_eq!((super::ids(&spool), spool.findings()), (vec![], &[][..]));
    });
}

#[test]
fn a_truncated_a_missing_and_a_foreign_file_are_told_of() {
    in_clear_and_sealed(|| {
        let (image, ..) = three(|n| body(n, 10));
        let problem = |image: Image| open(&Fake::of(image), 7).err().map(|e| e.to_string());

        let mut missing = image.clone();
        missing.remove("000002.seg");
        let spool = open(&Fake::of(missing), 7).unwrap();
        assert_eq!(spool.findings(), [Finding::Segment(2)]);
        assert_eq!(super::ids(&spool).len(), 3);

        let mut foreign = image.clone();
        foreign.write("000002.seg", 0, b"somebody's");
        foreign.write("000002.seg", (limits::SPOOL_SEGMENT - 4096) as u64, b"else");
        foreign.write("000002.seg", limits::SPOOL_SEGMENT as u64, b"and longer");
        assert!(problem(foreign).unwrap().contains("000002.seg: no segment"));

        let mut other = image.clone();
        let header = SegmentHeader::unused(2, 42, 7).block();
        other.write("000002.seg", 0, &header);
        other.write("000002.seg", (limits::SPOOL_SEGMENT - 4096) as u64, &header);
        assert!(problem(other).unwrap().contains("000002.seg: no segment"));

        let mut short = image.clone();
        short.truncate("000002.seg", 0);
        let spool = open(&Fake::of(short), 7).unwrap();
        assert_eq!(spool.findings(), [Finding::Aside(2)]);

        let mut newer = image.clone();
        for at in [0, limits::SPOOL_SEGMENT - 4096] {
            newer.write("000003.seg", at as u64 + 8, &[3, 0, 0, 0]);
        }
        assert_eq!(
            problem(newer).unwrap(),
            "spool /spool/000003.seg: format version 3, this facteur reads versions 1 to 2"
        );
        let smaller = open(&Fake::of(fresh(8)), 7).err().unwrap().to_string();
        assert!(
            smaller.contains("size 29360128 is less than the 33554432"),
            "{smaller}"
        );
        let small = open(&Fake::default(), 5).err().unwrap().to_string();
        assert!(small.contains("at least 25165824"), "{small}");
    });
}

#[test]
fn a_damaged_header_is_read_from_its_copy() {
    in_clear_and_sealed(|| {
        let (mut image, ids, _) = three(|n| body(n, 10));
        for at in 0..512 {
            image.flip(FILE, at, 0xff);
        }
        assert_eq!(super::ids(&open(&Fake::of(image), 7).unwrap()), ids);
    });
}

#[test]
fn two_processes_do_not_share_a_spool() {
    let disk = Fake::of(fresh(7));
    let first = open(&disk, 7).unwrap();
    let second = open(&disk, 7).err().unwrap().to_string();
    assert_eq!(
        second,
        "spool /spool: another process has it open, a relay or a facteur queue"
    );
    block_on(first.close()).unwrap();
    assert!(open(&disk, 7).is_ok());
}

#[test]
fn a_clean_stop_leaves_its_record() {
    in_clear_and_sealed(|| {
        let image = fresh(7);
        let salt = crate::spool::record::u64_at(&image.read(FILE, 0, 64), 24).unwrap();
        let place = Place {
            generation: 1,
            segment: 1,
            offset: FIRST,
        };
        let first = header(&image.read(FILE, FIRST.into(), 64), salt, place).unwrap();
        assert_eq!(first.kind, Kind::Closed);
    });
}

#[test]
fn a_message_of_the_torn_last_commit_is_no_loss_at_any_start() {
    let disk = Fake::of(fresh(7));
    let spool = open(&disk, 7).unwrap();
    let first = block_on(accept(&spool, &["x@a"], b"x")).unwrap();
    block_on(accept(&spool, &["x@a"], &body(1, 40_000))).unwrap();
    let last = due(&spool, NOW)
        .iter()
        .map(|ticket| ticket.shared.state().queue.get(ticket.slot).unwrap().offset)
        .max()
        .unwrap();
    // As a power cut would, had the commit not come to its end: the final part is there, the one before it is not.
    let mut image = disk.image();
    image.write(FILE, u64::from(last) - 8192, &[0; 4096]);
    let disk = Fake::of(image);
    for start in 0..3 {
        let spool = open(&disk, 7).unwrap();
        let torn = |finding: &Finding| matches!(finding, Finding::Torn { .. });
        assert!(
            spool.findings().iter().all(torn),
            "start {start}: {:?}",
            spool.findings()
        );
        assert_eq!(super::ids(&spool), [first], "start {start}");
        block_on(spool.close()).unwrap();
    }
}

/// What a start can tell of: sender and recipients.
fn told_of(image: &Image) -> Vec<(Id, String, Vec<String>)> {
    let spool = open(&Fake::of(image.clone()), 7).unwrap();
    let lost = spool.take_lost().into_iter();
    let told = lost.map(|one| {
        let to = one.recipients.into_iter().map(|one| one.address);
        (one.id, one.sender, to.collect())
    });
    told.collect()
}

#[test]
fn whom_a_damaged_message_was_from_and_to_is_known_or_nobody_is_told() {
    let (image, ids, offsets) = three(|n| body(n, if n == 1 { 40_000 } else { 3000 }));
    assert_eq!(told_of(&image), []);
    let flipped = |at: u64| {
        let mut image = image.clone();
        image.flip(FILE, at, 1);
        told_of(&image)
    };
    // Record header 24, part fields 20, sender, recipient, check; then the body.
    let first = u64::from(offsets[0]);
    let expected = [(ids[0], "sender@example".to_owned(), vec!["x@a".to_owned()])];
    assert_eq!(flipped(first + 500), expected, "in the body");
    for at in 44..85 {
        assert_eq!(flipped(first + at), [], "octet {at} of the envelope");
    }
    // A message in parts, of which one is damaged.
    let expected = [(ids[1], "sender@example".to_owned(), vec!["x@a".to_owned()])];
    assert_eq!(flipped(first + 4096 + 20_000), expected);
}

#[test]
fn the_message_with_which_a_truncated_file_ends_was_acknowledged_and_is_told_of() {
    let (mut image, ids, offsets) = three(|n| body(n, 3000));
    image.truncate(FILE, u64::from(offsets[1]) + 2000);
    let to = vec!["x@a".to_owned()];
    assert_eq!(told_of(&image), [(ids[1], "sender@example".to_owned(), to)]);
    in_clear_and_sealed(|| {
        let (mut image, ids, offsets) = three(|n| body(n, 3000));
        image.truncate(FILE, u64::from(offsets[1]) + 2000);
        let spool = open(&Fake::of(image.clone()), 7).unwrap();
        let id = Some(ids[1]);
        assert!(
            matches!(spool.findings(), [Finding::Damage { id: found, .. }] if *found == id),
            "{:?}",
            spool.findings()
        );
        assert_eq!(super::ids(&spool), [ids[0]]);
    });
}

#[test]
fn of_damage_somebody_is_told_once_and_not_of_what_was_delivered() {
    let (mut image, ids, offsets) = three(|n| body(n, 3000));
    for offset in &offsets[..2] {
        image.flip(FILE, u64::from(*offset) + 500, 1);
    }
    let disk = Fake::of(image);
    let spool = open(&disk, 7).unwrap();
    let lost = spool.take_lost();
    assert_eq!(lost.iter().map(|one| one.id).collect::<Vec<_>>(), ids[..2]);
    block_on(async {
        let mut dsn = spool.begin_dsn(MICROS).unwrap();
        dsn.sender(&Sender::default()).await.unwrap();
        dsn.recipient("s@b").await.unwrap();
        dsn.body(b"damaged").await.unwrap();
        let last = Last {
            settles: Some(Settles::Damaged(ids[0])),
            ..Last::default()
        };
        commit(&spool, dsn, last, b"damaged").await.unwrap();
        spool.close().await.unwrap();
    });
    let spool = open(&disk, 7).unwrap();
    let again: Vec<_> = spool.take_lost().iter().map(|one| one.id).collect();
    assert_eq!(again, ids[1..2]);
    // The third is delivered; its record is damaged after that.
    for ticket in due(&spool, NOW) {
        block_on(deliver(&spool, ticket));
    }
    block_on(spool.close()).unwrap();
    let mut image = disk.image();
    image.flip(FILE, u64::from(offsets[2]) + 500, 1);
    let again: Vec<_> = told_of(&image).into_iter().map(|one| one.0).collect();
    assert_eq!(again, ids[1..2]);
}
