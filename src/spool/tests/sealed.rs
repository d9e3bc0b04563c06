//! Spools with a key: what is on the disk, and who may open them.

use super::history::{Moment, Unsynced};
use super::*;
use crate::spool::header::SegmentHeader;
use crate::spool::record::{FIRST, HEADER, Kind, Place, header, u64_at};
use std::collections::HashMap;

const SEGMENTS: usize = 7;

fn key() -> Key {
    Key::fresh().unwrap()
}

fn whole_disk(image: &Image) -> Vec<(String, Vec<u8>)> {
    let names = image.names();
    let files = names.iter().map(|name| (name.to_string(), image.all(name)));
    files.collect()
}

/// What a message and a report say, each word somewhere in what [`use_much`] accepts.
const SAID: [&str; 10] = [
    "sender@example",
    "anna@secret",
    "bert@secret",
    "envelope-identity",
    "original-recipient",
    "Received: here",
    "Subject: the merger",
    "quick brown fox",
    "Final-Recipient",
    "report@secret",
];

/// A day in the life of a spool: mail of all sizes, deferrals, reports, mail given up, segments used again, restarts.
fn use_much(disk: &Fake, rounds: usize) {
    for round in 0..rounds {
        let spool = open(disk, SEGMENTS).unwrap();
        for ticket in due(&spool, ALWAYS) {
            block_on(deliver(&spool, ticket));
        }
        let old = block_on(accept(
            &spool,
            &["anna@secret", "bert@secret"],
            b"Subject: the merger",
        ));
        // In flight, so that it is not moved: the marks behind it need checkpoints.
        let mut kept = None;
        block_on(give_up(&spool));
        for number in 0..6 {
            block_on(accept(&spool, &["anna@secret"], &body(number, 1_300_000))).unwrap();
            for ticket in due(&spool, NOW) {
                match Some(ticket.id()) == old.as_ref().ok().copied() {
                    true => kept = Some(ticket),
                    false => block_on(deliver(&spool, ticket)),
                }
            }
        }
        if let Some(ticket) = kept {
            block_on(report(&spool, ticket, round));
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
        }
        block_on(spool.close()).unwrap();
    }
}

async fn give_up(spool: &Spool) {
    let mut transaction = spool.begin(MICROS, None).unwrap();
    let sender = Sender {
        address: "sender@example",
        envid: Some("envelope-identity"),
        ..Sender::default()
    };
    transaction.sender(&sender).await.unwrap();
    let recipient = Addressee {
        orcpt: Some("rfc822;original-recipient"),
        ..Addressee::from("bert@secret")
    };
    transaction.recipient(recipient).await.unwrap();
    transaction.body(&body(0, 50_000)).await.unwrap();
}

/// A DSN for one recipient, and a deferral of the other.
async fn report(spool: &Spool, ticket: Ticket, round: usize) {
    let mut dsn = spool.begin_dsn(MICROS).unwrap();
    dsn.sender(&Sender::default()).await.unwrap();
    dsn.recipient("report@secret").await.unwrap();
    let body = b"Final-Recipient: rfc822; anna@secret";
    dsn.body(body).await.unwrap();
    let last = Last {
        settles: Some(Settles::Recipients(&ticket, 1)),
        ..Last::default()
    };
    commit(spool, dsn, last, body).await.unwrap();
    defer(spool, ticket, 0, NOW + 1_000 + round as u64).await;
}

fn holds(octets: &[u8], word: &str) -> bool {
    memchr::memmem::find(octets, word.as_bytes()).is_some()
}

/// What of it stands on the disk.
fn found(image: &Image) -> Vec<&'static str> {
    let files = whole_disk(image);
    let said = |word: &&str| files.iter().any(|(_, octets)| holds(octets, word));
    SAID.into_iter().filter(said).collect()
}

#[test]
fn a_sealed_spool_shows_nothing_of_what_was_said() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    use_much(&disk, 1);
    assert_eq!(
        found(&disk.image()),
        SAID,
        "the search finds what is in clear"
    );

    set_key(Some(&key()));
    let disk = Fake::of(fresh(SEGMENTS));
    use_much(&disk, 8);
    assert_eq!(found(&disk.image()), [""; 0]);
    let kinds: Vec<Kind> = records(&disk.image()).map(|(_, kind, _)| kind).collect();
    for kind in [
        Kind::Part,
        Kind::Final,
        Kind::Done,
        Kind::Defer,
        Kind::Checkpoint,
    ] {
        assert!(kinds.contains(&kind), "the test made no {kind:?}");
    }
    let spool = open(&disk, SEGMENTS).unwrap();
    let left = contents(&spool);
    assert_eq!((left.len(), spool.findings()), (1, &[][..]), "put off");
    assert!(
        left.iter()
            .any(|(.., octets)| octets.ends_with(b"the merger"))
    );
}

/// The sealed records of every segment's last life: life and offset, kind, sealed payload.
fn records(image: &Image) -> impl Iterator<Item = (Place, Kind, Vec<u8>)> {
    let mut all = Vec::new();
    for (name, octets) in whole_disk(image) {
        let Ok(segment) = SegmentHeader::read(&octets) else {
            panic!("{name} has no header");
        };
        let mut place = Place {
            generation: segment.generation,
            segment: segment.segment,
            offset: FIRST,
        };
        while let Some(record) = octets.get(place.offset as usize..)
            && let Some(header) = header(record, segment.salt, place)
        {
            if header.sealed {
                let payload = record[HEADER..header.length as usize].to_vec();
                all.push((place, header.kind, payload));
            }
            place.offset += header.span();
        }
    }
    all.into_iter()
}

#[test]
fn no_life_ever_has_two_records_of_one_nonce() {
    set_key(Some(&key()));
    let mut image = fresh(SEGMENTS);
    let mut seen = HashMap::new();
    let mut places: HashMap<Place, usize> = HashMap::new();
    let mut note = |image: &Image| {
        for (place, _, payload) in records(image) {
            let nonce = payload[payload.len() - 12..].to_vec();
            let before = seen.insert(
                (place.generation, place.segment, nonce),
                (place.offset, payload.clone()),
            );
            match before {
                Some(before) => assert!(before == (place.offset, payload), "{place:?}"),
                None => *places.entry(place).or_default() += 1,
            }
        }
    };
    for round in 0..24_u64 {
        let disk = Fake::of(image.clone());
        let spool = open(&disk, SEGMENTS).unwrap();
        for number in 0..3 {
            let length = if number == 0 { 1_500_000 } else { 500 };
            block_on(accept(&spool, &["x@a"], &body(number, length))).unwrap();
            for ticket in due(&spool, NOW) {
                block_on(deliver(&spool, ticket));
            }
            note(&disk.image());
        }
        // The power goes: of what was not synced, nothing, or a part, is there.
        let cut = disk.calls() - (round as usize % 6).min(disk.calls());
        let fate = match round % 2 {
            0 => Unsynced::Lost,
            _ => Unsynced::Torn(round),
        };
        drop(spool);
        image = disk.cut(cut, fate);
    }
    assert!(places.len() > 1_000, "{}", places.len());
    let again = places.values().filter(|&&times| times > 1).count();
    assert!(again > 0, "no place was written twice in one life");
    let mut lives: Vec<_> = places
        .keys()
        .map(|at| (at.segment, at.generation))
        .collect();
    lives.sort_unstable();
    lives.dedup();
    assert!(
        lives.windows(2).any(|two| two[0].0 == two[1].0),
        "no segment was used again"
    );
}

#[test]
fn without_its_key_a_sealed_spool_is_an_error_and_stays_as_it_is() {
    let _cuts = Cuts::everywhere();
    let right = key();
    set_key(Some(&right));
    let mut image = fresh(SEGMENTS);
    let disk = Fake::of(image.clone());
    let spool = open(&disk, SEGMENTS).unwrap();
    block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    drop(spool);
    // As a crash leaves it: a torn tail to be noted, a segment that is being made.
    image = disk.cut(disk.calls() - 1, Unsynced::Torn(1));
    let disk = Fake::of(image.clone());
    disk.create("/spool/000009.new".as_ref()).unwrap();
    let before = (whole_disk(&disk.image()), disk.calls());
    let wrong = key();
    for (given, part) in [(None, "--spool-key FILE"), (Some(&wrong), "another key")] {
        set_key(given);
        // A larger one, too, which would have segments to make.
        for segments in [SEGMENTS, SEGMENTS + 1] {
            let problem = open(&disk, segments).err().unwrap().to_string();
            assert!(
                problem.starts_with("spool /spool: it is sealed"),
                "{problem}"
            );
            assert!(problem.contains(part), "{problem}");
            assert!((whole_disk(&disk.image()), disk.calls()) == before);
        }
    }
    set_key(Some(&right));
    drop(open(&disk, SEGMENTS).unwrap());
    // So is one in which nothing was written yet.
    let unused = Fake::default();
    drop(open(&unused, SEGMENTS).unwrap());
    set_key(None);
    let unused = Fake::of(unused.image());
    assert!(matches!(open(&unused, SEGMENTS), Err(OpenError::NoKey(_))));
}

#[test]
fn what_was_written_before_the_key_is_read_and_then_wiped() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    use_much(&disk, 1);
    assert_eq!(found(&disk.image()), SAID);
    let clear = ids(&open(&Fake::of(disk.image()), SEGMENTS).unwrap());
    assert_eq!(clear.len(), 1);

    set_key(Some(&key()));
    let spool = open(&disk, SEGMENTS).unwrap();
    assert_eq!((ids(&spool), spool.findings()), (clear, &[][..]));
    // From the first message on nothing is added in clear, though the newest segment had room.
    block_on(accept(&spool, &["new@secret"], b"Subject: sealed")).unwrap();
    let octets: Vec<u8> = whole_disk(&disk.image())
        .into_iter()
        .flat_map(|f| f.1)
        .collect();
    for word in ["new@secret", "Subject: sealed"] {
        assert!(!holds(&octets, word), "{word}");
    }
    for ticket in due(&spool, ALWAYS) {
        block_on(deliver(&spool, ticket));
    }
    block_on(spool.close()).unwrap();
    use_much(&disk, 4);
    assert_eq!(
        found(&disk.image()),
        [""; 0],
        "left behind when its segment was used again"
    );
    let spool = open(&disk, SEGMENTS).unwrap();
    assert_eq!((ids(&spool).len(), spool.findings()), (1, &[][..]));
    set_key(None);
    let without = open(&Fake::of(disk.image()), SEGMENTS);
    assert!(matches!(without, Err(OpenError::NoKey(_))));
}

#[test]
fn a_cut_while_a_segment_is_wiped_is_no_damage_and_leaves_nothing_in_clear() {
    let _cuts = Cuts::everywhere();
    let key = key();
    let disk = Fake::of(fresh(SEGMENTS));
    use_much(&disk, 1);
    let spool = open(&disk, SEGMENTS).unwrap();
    for ticket in due(&spool, ALWAYS) {
        block_on(deliver(&spool, ticket));
    }
    block_on(spool.close()).unwrap();
    set_key(Some(&key));
    let disk = Fake::of(disk.image());
    let spool = open(&disk, SEGMENTS).unwrap();
    // Enough to come around to the segments of before.
    for number in 0..3 {
        let octets = body(number, 2_500_000);
        block_on(accept(&spool, &["anna@secret"], &octets)).unwrap();
    }
    block_on(spool.close()).unwrap();
    let history = disk.history();
    let mut moment = Moment::before(&history.base, &history.calls);
    for cut in 0..=history.calls.len() {
        moment.go_to(cut);
        if !moment.next_syncs() && !cut.is_multiple_of(64) {
            continue;
        }
        let again = Fake::of(moment.cut(Unsynced::Torn(cut as u64)));
        block_on(open(&again, SEGMENTS).unwrap().close()).unwrap();
        for file in whole_disk(&again.image()) {
            let header = SegmentHeader::read(&file.1).unwrap();
            let clear = holds(&file.1, "quick brown fox");
            assert!(!header.is_sealed() || !clear, "{cut}: {} is sealed", file.0);
        }
    }
    cuts::sweep(&history, cuts::some());
}

#[test]
fn a_spool_of_version_1_opens() {
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open(&disk, SEGMENTS).unwrap();
    let id = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    block_on(spool.close()).unwrap();
    let mut image = disk.image();
    for (name, octets) in whole_disk(&image) {
        let block = SegmentHeader::read(&octets).unwrap().block_1();
        image.write(&name, 0, &block);
        image.write(&name, (limits::SPOOL_SEGMENT - 4096) as u64, &block);
    }
    for key in [None, Some(key())] {
        set_key(key.as_ref());
        let spool = open(&Fake::of(image.clone()), SEGMENTS).unwrap();
        let id_2 = block_on(accept(&spool, &["x@a"], b"2")).unwrap();
        assert_eq!((ids(&spool), spool.findings()), (vec![id, id_2], &[][..]));
    }
}

#[test]
fn a_record_with_a_right_checksum_and_a_wrong_seal_is_damage() {
    let _cuts = Cuts::everywhere();
    set_key(Some(&key()));
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open(&disk, SEGMENTS).unwrap();
    let first = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    let second = block_on(accept(&spool, &["x@a"], b"2")).unwrap();
    block_on(spool.close()).unwrap();
    let image = disk.image();
    let (place, ..) = records(&image)
        .find(|record| record.1 == Kind::Final)
        .unwrap();
    let salt = u64_at(&image.read("000001.seg", 0, 64), 24).unwrap();
    let octets = image.read("000001.seg", place.offset.into(), 4096);
    let found = header(&octets, salt, place).unwrap();
    // Somebody who knows the format, but not the key.
    let forged = record::resummed(&octets[..found.length as usize], salt, place, |payload| {
        payload[25] ^= 1;
    });
    let disk = Fake::of(image.clone());
    disk.write("000001.seg", place.offset.into(), &forged);
    let spool = open(&disk, SEGMENTS).unwrap();
    assert!(matches!(spool.findings(), [Finding::Damage { id, .. }] if *id == Some(first)));
    assert_eq!(ids(&spool), [second]);
    // The same behind the back of a spool that is open.
    let disk = Fake::of(image);
    let spool = open(&disk, SEGMENTS).unwrap();
    disk.write("000001.seg", place.offset.into(), &forged);
    let read = due(&spool, NOW)
        .iter()
        .map(|ticket| block_on(spool.read(ticket)).is_ok())
        .collect::<Vec<_>>();
    assert_eq!(read, [false, true]);
}
