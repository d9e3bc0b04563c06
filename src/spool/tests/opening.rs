//! Starts that cannot have all they want.

use super::*;
use crate::spool::disk::Real;
use crate::spool::header::SegmentHeader;

const SEGMENT: u64 = limits::SPOOL_SEGMENT as u64;

fn options(segments: u64) -> Options {
    Options {
        dir: "/spool".into(),
        size: segments * SEGMENT,
        key: None,
    }
}

/// Opens without waiting for the background.
fn start(disk: &Fake, segments: u64) -> Result<Spool, OpenError> {
    let before = disk.calls();
    let spool = Spool::open(&options(segments), disk.clone(), Box::new(lane), NOW)?;
    opened(&spool, disk, before, segments as usize);
    Ok(spool)
}

/// Waits until no more segments are coming.
fn filled(spool: &Spool) {
    while spool.handle.shared.state().segments.coming > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_disk_without_the_room_is_named_before_anything_is_made() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::default();
    disk.set_free(6 * SEGMENT - 1);
    let problem = start(&disk, 6).err().unwrap().to_string();
    assert_eq!(
        problem,
        "spool /spool: 25165824 octets are still to be made of its size, and the file system has 25165823 free"
    );
    assert!(disk.image().names().is_empty(), "nothing is made");
    disk.set_free(6 * SEGMENT);
    let spool = start(&disk, 6).unwrap();
    filled(&spool);
    block_on(spool.close()).unwrap();
    // Only what is missing counts.
    disk.set_free(SEGMENT);
    assert!(start(&disk, 8).is_err());
    assert!(start(&disk, 7).is_ok());
}

#[test]
fn the_file_system_is_asked_for_its_room() {
    let dir = std::env::temp_dir().join(format!("facteur-spool-{}", fastrand::u64(..)));
    let options = Options {
        dir: dir.clone(),
        size: 1 << 53,
        key: None,
    };
    let problem = Spool::open(&options, Real, Box::new(lane), NOW).err();
    assert!(matches!(problem, Some(OpenError::NoRoom { .. })));
    let left = std::fs::read_dir(&dir).unwrap();
    assert_eq!(left.count(), 1, "only the lock");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_fill_that_fails_leaves_no_half_of_a_segment() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    disk.fail_writes(1);
    let spool = start(&disk, 7).unwrap();
    filled(&spool);
    let image = disk.image();
    let names = image.names();
    assert!(names.iter().all(|name| name.ends_with(".seg")), "{names:?}");
    block_on(spool.close()).unwrap();

    // Nor does one that a crash ended, whose number is not asked for any more.
    disk.create("/spool/000009.new".as_ref()).unwrap();
    let spool = start(&disk, 7).unwrap();
    filled(&spool);
    let image = disk.image();
    let names = image.names();
    assert!(names.iter().all(|name| name.ends_with(".seg")), "{names:?}");
    assert_eq!(names.len(), 7);
    block_on(spool.close()).unwrap();
}

#[test]
fn an_unfinished_spool_starts_though_others_filled_the_disk() {
    let _cuts = Cuts::everywhere();
    let mut image = fresh(7);
    image.remove("000007.seg");
    let disk = Fake::of(image);
    disk.set_free(SEGMENT - 1);
    let spool = start(&disk, 7).unwrap();
    assert_eq!(spool.counts().capacity, 6 * SEGMENT);
    assert_eq!(disk.image().names().len(), 6, "nor is it filled up");
    block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    // Once there is room it is made without another start.
    disk.set_free(SEGMENT);
    while spool.counts().capacity < 7 * SEGMENT {
        spool.handle.shared.fill_stop.1.notify_all();
        std::thread::sleep(Duration::from_millis(1));
    }
    block_on(spool.close()).unwrap();
}

#[test]
fn a_file_with_a_number_that_the_spool_never_had_is_left_alone() {
    let foreign = vec![b'x'; limits::SPOOL_SEGMENT];
    let disk = Fake::of(fresh(6));
    let file = disk.create("/spool/999999.seg".as_ref()).unwrap();
    file.write_at(&foreign, 0).unwrap();
    let spool = start(&disk, 6).unwrap();
    assert_eq!(spool.counts().capacity, 6 * SEGMENT);
    block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    block_on(spool.close()).unwrap();
    assert!(disk.image().all("999999.seg") == foreign);
    // One of ours is no stranger: the spool does not shrink.
    let larger = Fake::of(fresh(8));
    assert!(matches!(start(&larger, 6), Err(OpenError::Shrunk { .. })));
}

#[test]
fn a_spool_that_is_still_filled_does_not_shrink() {
    let _cuts = Cuts::everywhere();
    let mut image = fresh(8);
    for number in 3..=8 {
        image.remove(&format!("{number:06}.seg"));
    }
    let problem = start(&Fake::of(image), 7).err().unwrap().to_string();
    assert_eq!(
        problem,
        "spool /spool: size 29360128 is less than the 33554432 octets it has; a spool only grows"
    );
    let disk = Fake::of(fresh(6));
    block_on(open(&disk, 8).unwrap().close()).unwrap();
    let grown = disk.image().read("000007.seg", 0, 4096);
    assert_eq!(SegmentHeader::read(&grown).unwrap().spool, 8);
}

#[test]
fn a_segment_without_headers_is_set_aside() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(7));
        let spool = open(&disk, 7).unwrap();
        let octets = body(1, 3_000_000);
        let ids: Vec<_> = (0..3)
            .map(|_| block_on(accept(&spool, &["x@a"], &octets)).unwrap())
            .collect();
        block_on(spool.close()).unwrap();
        let whole = disk.image();
        let mut image = whole.clone();
        for at in [0, SEGMENT - 4096] {
            image.write("000002.seg", at, &[0; 4096]);
        }
        let aside = image.read("000002.seg", 0, limits::SPOOL_SEGMENT);
        let disk = Fake::of(image);
        let spool = open(&disk, 7).unwrap();
        assert!(spool.findings().contains(&Finding::Aside(2)));
        let lost = |finding: &Finding| matches!(finding, Finding::Lost { .. });
        assert!(spool.findings().iter().any(lost), "a part is in it");
        // Mail goes on, and what is set aside stays as it is.
        for _ in 0..6 {
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
            block_on(accept(&spool, &["x@a"], b"small")).unwrap();
        }
        let generation = spool.handle.shared.state().segments.open().unwrap();
        assert!(generation.generation > 3, "none that it may have");
        block_on(spool.close()).unwrap();
        let left = disk.image().read("000002.seg", 0, limits::SPOOL_SEGMENT);
        assert!(left == aside, "it is kept");

        assert_eq!(super::ids(&open(&Fake::of(whole), 7).unwrap()), ids);
    });
}

#[test]
fn a_spool_of_which_nothing_can_be_read_is_not_taken_for_an_empty_one() {
    let mut image = fresh(6);
    for number in 1..=6 {
        for at in [0, SEGMENT - 4096] {
            image.write(&format!("{number:06}.seg"), at, &[0xa5; 4096]);
        }
    }
    let problem = start(&Fake::of(image), 6).err().unwrap().to_string();
    assert!(problem.contains("000001.seg: no segment"), "{problem}");
}

#[test]
fn two_spools_have_nothing_in_common() {
    let salt = || {
        let header = SegmentHeader::read(&fresh(6).read("000001.seg", 0, 4096));
        header.unwrap().salt
    };
    assert_ne!(salt(), salt());
}
