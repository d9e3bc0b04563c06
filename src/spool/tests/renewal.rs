//! Damaged segments are set aside, and others take their places.

use super::history::Unsynced;
use super::*;
use crate::spool::header::SegmentHeader;
use crate::spool::{Disk, DiskFile};
use std::any::Any;
use std::path::Path;
use std::time::Instant;

const FILE: &str = "000001.seg";
const ASIDE: &str = "000001-1.bad";
const SEGMENT: u64 = limits::SPOOL_SEGMENT as u64;
const DAYS: u64 = NOW + 5 * 86_400;

/// Waits for what happens in the background.
#[track_caller]
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn names(disk: &Fake, ending: &str) -> Vec<String> {
    let image = disk.image();
    let names = image.names().into_iter().filter(|n| n.ends_with(ending));
    names.map(str::to_owned).collect()
}

fn until_aside(disk: &Fake, name: &str) {
    until(name, || names(disk, ".bad").iter().any(|one| one == name));
}

/// Delivers what is due.
fn deliver_all(spool: &Spool) {
    for ticket in due(spool, NOW) {
        block_on(deliver(spool, ticket));
    }
}

fn put_off(spool: &Spool, octets: &[u8]) -> Id {
    let id = block_on(accept(spool, &["x@a"], octets)).unwrap();
    for ticket in due(spool, NOW) {
        let outcome = Outcome {
            done: 0,
            defer: Some(Deferral {
                next: DAYS,
                unreached: false,
            }),
        };
        block_on(spool.settle(ticket, outcome));
    }
    id
}

/// Mail that comes and goes until another segment is written.
fn fill_segment(spool: &Spool) {
    let current = || spool.handle.shared.state().segments.current;
    let before = current();
    for _ in 0..20 {
        if current() != before {
            return;
        }
        block_on(accept(spool, &["x@a"], &body(0, 1_000_000))).unwrap();
        deliver_all(spool);
    }
    panic!("the segment is never full");
}

/// A closed spool with a message in its first segment, and where its record is.
fn one() -> (Image, Id, u64) {
    let disk = Fake::of(fresh(7));
    let spool = open(&disk, 7).unwrap();
    let id = block_on(accept(&spool, &["x@a"], &body(1, 3000))).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    let offset = ticket.shared.state().queue.get(ticket.slot).unwrap().offset;
    drop(ticket);
    block_on(spool.close()).unwrap();
    (disk.image(), id, offset.into())
}

/// The same with its record damaged so that nobody can be told.
fn one_nameless() -> Image {
    let (mut image, _, offset) = one();
    image.flip(FILE, offset, 1);
    image
}

async fn tell(spool: &Spool, id: Id) {
    let mut dsn = spool.begin_dsn(MICROS).unwrap();
    dsn.sender(&Sender::default()).await.unwrap();
    dsn.recipient("s@b").await.unwrap();
    dsn.body(b"damaged").await.unwrap();
    let last = Last {
        settles: Some(Settles::Damaged(id)),
        ..Last::default()
    };
    dsn.commit(last).await.unwrap();
}

/// All segments are there, and are the spool's.
#[track_caller]
fn assert_whole(disk: &Fake, spool: &Spool, what: &str) {
    let all: Vec<_> = (1..=7).map(|n| format!("{n:06}.seg")).collect();
    until(what, || {
        names(disk, ".seg") == all && spool.handle.shared.state().segments.count() == 7
    });
}

#[test]
fn a_damaged_segment_is_set_aside_when_people_are_told_and_another_takes_its_place() {
    let (mut image, id, offset) = one();
    image.flip(FILE, offset + 500, 1);
    let disk = Fake::of(image);
    let spool = open(&disk, 7).unwrap();
    assert_eq!(spool.take_lost().len(), 1);
    block_on(accept(&spool, &["x@a"], b"its file is open from now on")).unwrap();
    for ticket in due(&spool, NOW) {
        assert!(block_on(spool.read(&ticket)).is_ok());
        block_on(deliver(&spool, ticket));
    }
    fill_segment(&spool);
    assert_eq!(names(&disk, ".bad"), [""; 0], "nobody is told yet");
    let damaged = disk.image().all(FILE);
    block_on(tell(&spool, id));
    until_aside(&disk, ASIDE);
    assert!(disk.image().all(ASIDE) == damaged, "it is kept as it was");
    until("another", || {
        !spool.handle.shared.state().segments.log.contains_key(&1)
    });
    let made = disk.image().all(FILE);
    let header = SegmentHeader::read(&made[..4096]).unwrap();
    assert_eq!((header.segment, header.generation), (1, 0));
    assert!(made[4096..4_190_208].iter().all(|&octet| octet == 0));
    deliver_all(&spool);
    assert_eq!(spool.counts().capacity, 7 * SEGMENT);
    // It is used, and read from where it is now.
    let used = || disk.image().read(FILE, 16, 8) != [0; 8];
    while !used() {
        block_on(accept(&spool, &["x@a"], &body(0, 900_000))).unwrap();
    }
    let all = due(&spool, NOW);
    let last = all.iter().max_by_key(|ticket| ticket.id()).unwrap().id();
    for ticket in all {
        assert!(block_on(spool.read(&ticket)).is_ok());
        if ticket.id() != last {
            block_on(deliver(&spool, ticket));
        }
    }
    block_on(spool.close()).unwrap();
    let spool = open(&disk, 7).unwrap();
    assert_eq!((ids(&spool), spool.findings()), (vec![last], &[][..]));
    assert!(spool.take_lost().is_empty());
}

#[test]
fn where_nobody_can_be_told_it_is_set_aside_at_once() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(one_nameless());
        let spool = open(&disk, 7).unwrap();
        assert_eq!(names(&disk, ".bad"), [""; 0], "it is being written");
        fill_segment(&spool);
        until_aside(&disk, ASIDE);
        assert_whole(&disk, &spool, "renewed");
    });
    set_key(None);
    let (mut image, id, offset) = one();
    image.flip(FILE, offset + 500, 1);
    let disk = Fake::of(image);
    let spool = open(&disk, 7).unwrap();
    fill_segment(&spool);
    spool.let_go(id);
    until_aside(&disk, ASIDE);
}

#[test]
fn without_room_the_damaged_file_itself_is_written_anew() {
    let disk = Fake::of(one_nameless());
    disk.set_free(2 * SEGMENT - 1);
    let spool = open(&disk, 7).unwrap();
    fill_segment(&spool);
    until("renewed", || {
        let image = disk.image();
        image.names().contains(&FILE) && image.read(FILE, 16, 8) == [0; 8]
    });
    assert_whole(&disk, &spool, "renewed");
    assert_eq!(names(&disk, ".bad"), [""; 0]);
    let made = disk.image().all(FILE);
    assert!(made[4096..4_190_208].iter().all(|&octet| octet == 0));
}

#[test]
fn what_was_damaged_in_clear_is_not_kept_once_there_is_a_key() {
    let disk = Fake::of(one_nameless());
    set_key(Some(&Key::fresh().unwrap()));
    let spool = open(&disk, 7).unwrap();
    fill_segment(&spool);
    until("renewed", || {
        !spool.handle.shared.state().segments.log.contains_key(&1)
    });
    assert_eq!(names(&disk, ".bad"), [""; 0]);
    let header = SegmentHeader::read(&disk.image().read(FILE, 0, 4096)).unwrap();
    assert!(header.is_sealed());
}

/// A disk that does not give back what was written to a new file.
struct Forgetful(Fake);

struct Changed(Box<dyn DiskFile>);

impl DiskFile for Changed {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)?;
        if (offset..offset + buffer.len() as u64).contains(&100_000) {
            buffer[(100_000 - offset) as usize] ^= 4;
        }
        Ok(())
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

impl Disk for Forgetful {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.create_folder(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.open(path)?;
        Ok(match path.extension().is_some_and(|end| end == "new") {
            true => Box::new(Changed(file)),
            false => file,
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn free(&self, folder: &Path) -> io::Result<Option<u64>> {
        self.0.free(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.0.lock(path)
    }
}

#[test]
fn a_file_that_does_not_prove_good_is_not_used() {
    for free in [u64::MAX, SEGMENT] {
        let disk = Fake::of(one_nameless());
        disk.set_free(free);
        let options = Options {
            dir: "/spool".into(),
            size: 7 * SEGMENT,
            key: None,
        };
        let spool = Spool::open(&options, Forgetful(disk.clone()), Box::new(lane), NOW).unwrap();
        fill_segment(&spool);
        let tried = || spool.handle.shared.state().segments.renewable == 0;
        until("it is tried", tried);
        // Mail goes on in the others.
        (0..8).for_each(|_| fill_segment(&spool));
        let kept = vec![FILE; usize::from(free > SEGMENT)];
        let there: Vec<_> = names(&disk, FILE);
        assert_eq!(there, kept);
        assert_eq!(names(&disk, ".bad").len() + names(&disk, ".new").len(), 0);
        block_on(spool.close()).unwrap();
        // Another start on a disk that is good again.
        disk.set_free(u64::MAX);
        let spool = open(&disk, 7).unwrap();
        until("another", || {
            !spool.handle.shared.state().segments.log.contains_key(&1)
        });
        assert_whole(&disk, &spool, "renewed");
    }
}

/// A spool that stopped with two messages: one keeps the damaged segment, the other stands in the next.
fn two() -> (Image, [Id; 2]) {
    let disk = Fake::of(one_nameless());
    let spool = open(&disk, 7).unwrap();
    let keeps = block_on(accept(&spool, &["x@a"], &body(1, 3000))).unwrap();
    let ticket = due(&spool, NOW).pop();
    fill_segment(&spool);
    drop(ticket);
    let stays = put_off(&spool, &body(2, 3000));
    block_on(spool.close()).unwrap();
    assert_eq!(names(&disk, ".bad"), [""; 0]);
    (disk.image(), [keeps, stays])
}

#[test]
fn no_cut_while_a_segment_is_renewed_loses_mail_or_the_segment() {
    in_clear_and_sealed(|| {
        let (base, [keeps, stays]) = two();
        for free in [u64::MAX, SEGMENT] {
            let disk = Fake::of(base.clone());
            disk.set_free(free);
            let spool = open(&disk, 7).unwrap();
            for ticket in due(&spool, ALWAYS) {
                if ticket.id() == keeps {
                    block_on(deliver(&spool, ticket));
                }
            }
            until("renewed", || {
                !spool.handle.shared.state().segments.log.contains_key(&1)
            });
            block_on(spool.close()).unwrap();
            // Between two writes of zeros, one cut is as good as another.
            let calls = disk.calls();
            for cut in (0..=calls).filter(|cut| cut % 24 == 0 || cut + 16 > calls) {
                for fate in [Unsynced::Kept, Unsynced::Torn(1), Unsynced::Torn(2)] {
                    let what = format!("room for {free}, cut after {cut}, {fate:?}");
                    let after = Fake::of(disk.cut(cut, fate));
                    after.set_free(free);
                    let spool = open(&after, 7).unwrap();
                    let left = ids(&spool);
                    assert!(left.contains(&stays), "{what}");
                    assert!(left.contains(&keeps) || cut > 0, "{what}");
                    assert!(left.len() <= 2, "{what}");
                    assert_eq!(spool.handle.shared.state().segments.count(), 7, "{what}");
                }
            }
        }
    });
}

#[test]
fn marks_in_a_damaged_segment_are_kept_as_long_as_they_are_needed() {
    let disk = Fake::of(fresh(7));
    let spool = open(&disk, 7).unwrap();
    let old = block_on(accept(&spool, &["1@a", "2@b"], &body(1, 600_000))).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    fill_segment(&spool);
    // In the second segment: the mark, and a message that will be damaged.
    let outcome = Outcome {
        done: 1,
        defer: Some(Deferral {
            next: DAYS,
            unreached: false,
        }),
    };
    block_on(spool.settle(ticket, outcome));
    block_on(accept(&spool, &["x@a"], &body(2, 3000))).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    let place = *ticket.shared.state().queue.get(ticket.slot).unwrap();
    assert_eq!(place.generation, 2);
    disk.flip("000002.seg", u64::from(place.offset) + 100, 1);
    assert!(block_on(spool.read(&ticket)).is_err());
    block_on(deliver(&spool, ticket));
    let left = |spool: &Spool| {
        let found = contents(spool);
        let found = found.into_iter().map(|(id, to, _)| (id, to));
        found.collect::<Vec<_>>()
    };
    let expected = vec![(old, vec!["2@b".to_owned()])];
    fill_segment(&spool);
    assert_eq!(names(&disk, ".bad"), [""; 0], "its mark is needed");
    assert_eq!(left(&open(&Fake::of(disk.image()), 7).unwrap()), expected);
    // Until segments run short, and a checkpoint repeats it.
    let mut filled = 0;
    while names(&disk, ".bad").is_empty() {
        fill_segment(&spool);
        filled += 1;
        assert!(filled < 50, "never set aside");
    }
    assert_eq!(names(&disk, ".bad"), ["000002-2.bad"]);
    block_on(spool.close()).unwrap();
    assert_eq!(left(&open(&disk, 7).unwrap()), expected);
}

#[test]
fn whole_messages_are_moved_out_of_a_damaged_segment() {
    let disk = Fake::of(one_nameless());
    let spool = open(&disk, 7).unwrap();
    let old = put_off(&spool, &body(1, 3000));
    let mut filled = 0;
    while names(&disk, ".bad").is_empty() {
        fill_segment(&spool);
        filled += 1;
        assert!(filled < 50, "never set aside");
    }
    assert_eq!(ids(&spool), [old]);
    block_on(spool.close()).unwrap();
    let spool = open(&disk, 7).unwrap();
    assert_eq!((ids(&spool), spool.findings()), (vec![old], &[][..]));
}

#[test]
fn the_newest_of_those_that_are_set_aside_are_kept() {
    let disk = Fake::of(fresh(7));
    let spool = open(&disk, 7).unwrap();
    let mut damaged = 0;
    while damaged <= limits::SPOOL_ASIDE {
        block_on(accept(&spool, &["x@a"], &body(2, 3000))).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        let place = *ticket.shared.state().queue.get(ticket.slot).unwrap();
        let number = spool
            .handle
            .shared
            .state()
            .segments
            .number(place.generation);
        let name = format!("{:06}.seg", number.unwrap());
        disk.flip(&name, u64::from(place.offset) + 100, 1);
        assert!(block_on(spool.read(&ticket)).is_err());
        block_on(deliver(&spool, ticket));
        fill_segment(&spool);
        let name = format!("{:06}-{}.bad", number.unwrap(), place.generation);
        until_aside(&disk, &name);
        damaged += 1;
    }
    until("the oldest goes", || {
        names(&disk, ".bad").len() == limits::SPOOL_ASIDE
    });
    assert!(!names(&disk, ".bad").contains(&ASIDE.to_owned()));
}
