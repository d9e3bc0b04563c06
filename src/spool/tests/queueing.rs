//! Messages in and out, over restarts.

use super::*;
use crate::smtp::parameters::{Notify, Ret};

#[test]
fn messages_of_all_sizes_come_back_as_they_went_in() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        let sizes = [0, 1, 4096, 16_000, 16_384, 16_385, 40_000, 5_000_000];
        let mut expected = Vec::new();
        for (number, size) in sizes.into_iter().enumerate() {
            let id = block_on(accept(&spool, &["x@a", "y@b"], &body(number, size))).unwrap();
            let octets = [b"Received: here\r\n", &body(number, size)[..]].concat();
            expected.push((id, vec!["x@a".to_owned(), "y@b".to_owned()], octets));
        }
        assert!(contents(&spool) == expected);
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 6).unwrap();
        assert!(contents(&spool) == expected, "after a restart");
    });
}

const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};

#[test]
fn a_message_keeps_its_envelope_and_facts() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        let recipients: Vec<_> = (0..100)
            .map(|n| format!("{}{n}@a", "x".repeat(240)))
            .collect();
        let orcpt = format!("rfc822;{}+40a", "y".repeat(490));
        let facts = Facts {
            eight_bit_body: true,
            utf8_headers: false,
            utf8_address: true,
            require_tls: true,
            note: false,
        };
        block_on(async {
            let mut transaction = spool.begin(MICROS, Some(1000)).unwrap();
            let sender = Sender {
                address: "",
                ret: Some(Ret::Headers),
                envid: Some("QQ314159"),
            };
            transaction.sender(&sender).await.unwrap();
            for recipient in &recipients {
                let recipient = Addressee {
                    address: recipient,
                    notify: Some(NEVER),
                    orcpt: Some(&orcpt),
                    ..Addressee::from("")
                };
                transaction.recipient(recipient).await.unwrap();
            }
            assert_eq!(transaction.recipients(), 100);
            transaction.body(b"Subject: x\r\n\r\nhi\r\n").await.unwrap();
            let last = Last {
                head: b"R: 1\r\n",
                facts,
                ..Last::default()
            };
            let body = b"Subject: x\r\n\r\nhi\r\n";
            commit(&spool, transaction, last, body).await.unwrap();
        });
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 6).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        let info = spool.info(&ticket);
        assert_eq!((info.lane, info.mixed), (lane("x@a"), false));
        assert_eq!((info.attempts, info.id.seconds()), (0, NOW));
        let mut message = block_on(spool.read(&ticket)).unwrap();
        assert_eq!(message.sender, "");
        assert_eq!(message.ret, Some(Ret::Headers));
        assert_eq!(message.envid.as_deref(), Some("QQ314159"));
        assert_eq!((message.facts, message.size), (facts, 24));
        assert_eq!((message.accepted, message.recipients_in_all), (NOW, 100));
        assert!(
            message
                .recipients
                .iter()
                .map(|r| &r.address)
                .eq(&recipients)
        );
        let wishes = |r: &Recipient| r.notify == Some(NEVER) && r.orcpt.as_ref() == Some(&orcpt);
        assert!(message.recipients.iter().all(wishes));
        let first = block_on(whole(&mut message)).unwrap();
        assert_eq!(first, b"R: 1\r\nSubject: x\r\n\r\nhi\r\n");
        message.rewind();
        assert_eq!(block_on(whole(&mut message)).unwrap(), first);
    });
}

#[test]
fn transactions_may_be_interleaved() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    block_on(async {
        let mut open = Vec::new();
        for number in 0..3 {
            let mut transaction = spool.begin(MICROS, None).unwrap();
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
            open.push((number, transaction));
        }
        for _ in 0..10 {
            for (number, transaction) in &mut open {
                transaction.body(&body(*number, 5800)).await.unwrap();
            }
        }
        drop(open.remove(1));
        for (number, transaction) in open {
            let octets = body(number, 5800).repeat(10);
            let committed = commit(&spool, transaction, Last::default(), &octets).await;
            committed.unwrap();
        }
    });
    let octets: Vec<_> = contents(&spool).into_iter().map(|m| m.2).collect();
    assert!(octets == [body(0, 5800).repeat(10), body(2, 5800).repeat(10)]);
}

#[test]
fn deferrals_splits_and_finished_recipients_survive_a_restart() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        block_on(accept(&spool, &["1@a", "2@b", "3@a", "4@c"], b"hi\r\n")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        assert!(spool.info(&ticket).mixed);
        spool.split(
            ticket,
            &[
                (lane("@a"), 0b101),
                (lane("@b"), 0b10),
                (lane("@c"), 0b1000),
            ],
        );
        let mut tickets = due(&spool, NOW);
        assert_eq!(tickets.len(), 3);
        tickets.sort_by_key(|ticket| spool.info(ticket).lane);
        let mut tickets = tickets.into_iter();
        block_on(async {
            defer(&spool, tickets.next().unwrap(), 0b1, NOW + 300).await;
            defer(&spool, tickets.next().unwrap(), 0, NOW + 600).await;
            deliver(&spool, tickets.next().unwrap()).await;
        });
        assert_eq!(due(&spool, NOW).len(), 0);
        let check = |spool: &Spool| {
            let first = due(spool, NOW + 300);
            assert_eq!(first.len(), 1);
            let info = spool.info(&first[0]);
            assert_eq!((info.attempts, info.recipients), (1, 0b100));
            let both = due(spool, NOW + 600);
            assert_eq!(both.len(), 1);
            assert_eq!(spool.info(&both[0]).recipients, 0b10);
        };
        check(&spool);
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 6).unwrap();
        check(&spool);
    });
}

#[test]
fn a_part_of_a_flight_goes_on_by_itself_and_is_still_to_do_after_a_restart() {
    in_clear_and_sealed(|| {
        let disk = Fake::of(fresh(6));
        let spool = open(&disk, 6).unwrap();
        block_on(accept(&spool, &["1@a", "2@a", "3@a", "4@a"], b"hi\r\n")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        assert!(ticket.part(1 << 9).is_none(), "it has no such recipient");
        let part = ticket.part(0b1100).unwrap();
        assert_eq!(spool.info(&ticket).recipients, 0b11);
        assert_eq!(due(&spool, ALWAYS).len(), 0, "both are in flight");
        block_on(defer(&spool, ticket, 0b1, NOW + 300));
        let info = spool.info(&part);
        assert_eq!((info.attempts, info.recipients), (0, 0b1100));
        block_on(settle(
            &spool,
            part,
            Outcome {
                done: 0b100,
                defer: None,
            },
        ));
        let check = |spool: &Spool| {
            let tickets = due(spool, ALWAYS);
            let mut left: Vec<_> = tickets
                .iter()
                .map(|ticket| spool.info(ticket))
                .map(|info| (info.attempts, info.recipients))
                .collect();
            left.sort_unstable();
            assert_eq!(left, [(0, 0b1000), (1, 0b10)]);
        };
        check(&spool);
        block_on(spool.close()).unwrap();
        let spool = open(&disk, 6).unwrap();
        check(&spool);
        for ticket in due(&spool, ALWAYS) {
            block_on(deliver(&spool, ticket));
        }
        assert_eq!(spool.counts().queued, 0);
    });
}

#[test]
fn a_dsn_finishes_another_messages_recipients_in_its_own_commit() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    let failed = block_on(accept(&spool, &["1@a", "2@a"], b"hi\r\n")).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    let dsn = block_on(async {
        let mut transaction = spool.begin_dsn(MICROS).unwrap();
        transaction.sender(&Sender::default()).await.unwrap();
        transaction.recipient("sender@b").await.unwrap();
        transaction.body(b"failed\r\n").await.unwrap();
        let last = Last {
            settles: Some(Settles::Recipients(&ticket, 0b1)),
            ..Last::default()
        };
        let committed = commit(&spool, transaction, last, b"failed\r\n").await;
        committed.unwrap()
    });
    assert_eq!(spool.info(&ticket).recipients, 0b10);
    // The process dies here: the ticket is never settled.
    let spool = open(&Fake::of(disk.image()), 6).unwrap();
    assert_eq!(ids(&spool), [failed, dsn]);
    let left: Vec<_> = contents(&spool).into_iter().map(|m| m.1).collect();
    assert_eq!(left, [["2@a"], ["sender@b"]]);
}

#[test]
fn a_dropped_ticket_is_due_again_and_a_waiter_is_woken() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    block_on(async {
        let waiter = spool.next_due(|| NOW);
        let sender = async {
            let id = accept(&spool, &["x@a"], b"hi\r\n").await.unwrap();
            smol::future::pending::<()>().await;
            (None, id)
        };
        let waits = async {
            let ticket = waiter.await;
            let id = ticket.id();
            (Some(ticket), id)
        };
        let (ticket, id) = smol::future::or(sender, waits).await;
        assert_eq!(spool.counts().in_flight, 1);
        drop(ticket);
        assert_eq!(spool.next_due(|| NOW).await.id(), id);
    });
}

#[test]
fn concurrent_transactions_share_a_sync() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    let before = spool.counts().flushes;
    let octets = body(7, 4096);
    let executor = smol::Executor::new();
    block_on(executor.run(async {
        let mut transactions = Vec::new();
        for _ in 0..50 {
            let mut transaction = spool.begin(MICROS, None).unwrap();
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
            transaction.data_begins();
            transaction.body(&octets).await.unwrap();
            transactions.push(transaction);
        }
        let commits: Vec<_> = transactions
            .into_iter()
            .map(|transaction| {
                let committed = commit(&spool, transaction, Last::default(), &octets);
                executor.spawn(committed)
            })
            .collect();
        for commit in commits {
            commit.await.unwrap();
        }
    }));
    let counts = spool.counts();
    assert_eq!(counts.commits, 50);
    assert!(
        counts.flushes - before <= 5,
        "{} syncs",
        counts.flushes - before
    );
    assert_eq!(contents(&spool).len(), 50);
}

#[test]
fn one_session_never_waits_for_a_window() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    let before = std::time::Instant::now();
    for number in 0..200 {
        block_on(accept(&spool, &["x@a"], &body(number, 100))).unwrap();
    }
    let windows = before.elapsed().as_micros() / limits::SPOOL_WINDOW.as_micros();
    assert!(windows < 200, "every message waited");
}

#[test]
fn ids_increase_over_restarts_and_clocks_that_go_back() {
    let _cuts = Cuts::everywhere();
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    let first = block_on(accept(&spool, &["x@a"], b"1")).unwrap();
    let second = spool.begin(0, None).unwrap().id();
    assert!(second > first);
    block_on(spool.close()).unwrap();
    let options = Options {
        dir: "/spool".into(),
        size: 6 * limits::SPOOL_SEGMENT as u64,
        key: None,
    };
    let spool = Spool::open(&options, disk.clone(), Box::new(lane), 0).unwrap();
    assert!(spool.begin(0, None).unwrap().id() > first);
}

#[test]
fn futures_may_run_on_any_executor() {
    let _cuts = Cuts::everywhere();
    fn send<T: Send>(_: T) {}
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    send(accept(&spool, &[], b""));
    send(spool.next_due(|| NOW));
    block_on(accept(&spool, &["x@a"], b"hi")).unwrap();
    let ticket = due(&spool, NOW).pop().unwrap();
    send(spool.read(&ticket));
    send(deliver(&spool, ticket));
    send(spool.close());
}

#[test]
fn what_no_host_was_reached_for_is_woken_and_the_rest_keeps_its_time() {
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    let next = NOW + 3600;
    let put_off = |to: &str, unreached| {
        block_on(accept(&spool, &[to], b"x")).unwrap();
        let ticket = due(&spool, NOW).pop().unwrap();
        let defer = Some(Deferral { next, unreached });
        block_on(settle(&spool, ticket, Outcome { done: 0, defer }));
    };
    put_off("x@a", true);
    put_off("y@a", false);
    put_off("z@b", true);
    block_on(spool.close()).unwrap();
    let spool = open(&disk, 6).unwrap();
    assert_eq!(spool.unreached(), [lane("x@a"), lane("z@b")].into());
    assert_eq!((spool.wake(lane("x@a")), spool.wake(lane("x@a"))), (1, 0));
    let woken = due(&spool, NOW).pop().unwrap();
    let message = block_on(spool.read(&woken)).unwrap();
    assert_eq!(message.recipients[0].address, "x@a");
    assert!(due(&spool, next - 1).is_empty());
    drop(woken);
    block_on(spool.close()).unwrap();
}
