//! A stranger's address holds a quarter of the spool at most.

use super::*;
use std::net::IpAddr;

const SEGMENTS: usize = 12;
const QUARTER: u64 = (SEGMENTS * limits::SPOOL_SEGMENT / 4) as u64;

fn source(address: &str) -> Option<Source> {
    Some(address.parse::<IpAddr>().unwrap().into())
}

async fn send(spool: &Spool, from: &str, recipients: &[&str], octets: &[u8]) -> Result<Id, Error> {
    let begun = spool.begin_from(source(from), MICROS, None);
    let mut transaction = begun.map_err(|refusal| match refusal {
        Refusal::OverShare => Error::OverShare,
        other => panic!("{other:?}"),
    })?;
    transaction.sender(&Sender::default()).await?;
    for recipient in recipients {
        transaction.recipient(*recipient).await?;
    }
    transaction.body(octets).await?;
    commit(spool, transaction, Last::default(), octets).await
}

/// Sends until it is refused; returns how many octets were taken.
fn fill(spool: &Spool, from: &str, octets: &[u8]) -> u64 {
    for count in 0.. {
        match block_on(send(spool, from, &["x@a", "y@b"], octets)) {
            Ok(_) => {}
            Err(Error::OverShare) => return count * octets.len() as u64,
            Err(problem) => panic!("{problem}"),
        }
    }
    0
}

fn open_here(disk: &Fake) -> Spool {
    open(disk, SEGMENTS).unwrap()
}

#[test]
fn a_stranger_holds_a_quarter_over_restarts_and_others_go_on() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open_here(&disk);
    let octets = body(1, 100_000);
    let taken = fill(&spool, "2001:db8::1", &octets);
    assert!((QUARTER * 9 / 10..QUARTER).contains(&taken), "{taken}");
    let same_network = "2001:db8::ffff:1";
    let refused = |spool: &Spool| fill(spool, same_network, &octets) == 0;
    assert!(refused(&spool));
    let begun = spool.begin_from(source(same_network), MICROS, Some(200_000));
    assert_eq!(begun.err(), Some(Refusal::OverShare), "SIZE is counted");
    assert!(block_on(send(&spool, "192.0.2.1", &["x@a"], &octets)).is_ok());
    assert!(block_on(accept(&spool, &["x@a"], &octets)).is_ok());
    block_on(spool.close()).unwrap();

    let spool = open_here(&disk);
    assert!(refused(&spool), "after a restart");
    for ticket in due(&spool, NOW) {
        block_on(deliver(&spool, ticket));
    }
    let again = fill(&spool, same_network, &octets);
    assert!(again >= taken, "{again}: it is given back when delivered");
}

#[test]
fn a_message_counts_until_its_last_recipient_is_done() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open_here(&disk);
    let octets = body(1, 100_000);
    fill(&spool, "192.0.2.1", &octets);
    for ticket in due(&spool, NOW) {
        spool.split(ticket, &[(lane("@a"), 1), (lane("@b"), 2)]);
    }
    let settle = |wanted: u128| {
        for ticket in due(&spool, NOW) {
            if spool.info(&ticket).recipients == wanted {
                block_on(deliver(&spool, ticket));
            }
        }
    };
    settle(1);
    assert_eq!(fill(&spool, "192.0.2.1", &octets), 0);
    settle(2);
    assert!(fill(&spool, "192.0.2.1", &octets) > QUARTER / 2);
}

#[test]
fn what_is_on_its_way_counts_until_it_is_given_up() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open_here(&disk);
    let begin = || {
        let mut transaction = spool.begin_from(source("192.0.2.1"), MICROS, None).unwrap();
        block_on(async {
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
        });
        transaction
    };
    let half = body(1, QUARTER as usize * 6 / 10);
    let (mut first, mut second) = (begin(), begin());
    block_on(first.body(&half)).unwrap();
    let over = block_on(second.body(&half));
    assert!(matches!(over, Err(Error::OverShare)));
    drop((first, second));
    block_on(begin().body(&half)).unwrap();
}

#[test]
fn one_message_is_taken_however_large() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(SEGMENTS));
    let spool = open_here(&disk);
    let octets = body(1, QUARTER as usize);
    block_on(send(&spool, "192.0.2.1", &["x@a"], &octets)).unwrap();
    let more = block_on(send(&spool, "192.0.2.1", &["x@a"], b"more"));
    assert!(matches!(more, Err(Error::OverShare)));
}
