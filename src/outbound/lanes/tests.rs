//! Tests of lanes.rs: who gets a slot, and when.

use super::*;
use std::collections::VecDeque;

type Book = Lanes<u32, u32, &'static str>;

fn to(lane: u32) -> Key {
    Key::To(Lane(lane))
}

/// Every worker of the test calls itself by its number.
fn take(book: &mut Book, key: Key, worker: u32) -> Taken<u32, u32, &'static str> {
    book.take(key, worker, 0, || worker)
}

fn ticket(taken: Taken<u32, u32, &'static str>) -> u32 {
    match taken {
        Taken::Message { ticket, .. } => ticket,
        other => panic!("a message was expected, not {other:?}"),
    }
}

#[test]
fn an_idle_worker_is_called_before_one_is_added() {
    let mut book = Book::new(8, 8);
    assert_eq!(book.push(to(1), Age::Fresh, 10), Ok(Pushed::Start(to(1))));
    assert_eq!(ticket(take(&mut book, to(1), 0)), 10);
    assert_eq!(take(&mut book, to(1), 0), Taken::Rest);
    assert_eq!(book.push(to(1), Age::Fresh, 11), Ok(Pushed::Wake(0)));
    assert_eq!(ticket(take(&mut book, to(1), 0)), 11);
    assert_eq!(book.push(to(1), Age::Fresh, 12), Ok(Pushed::Start(to(1))));
}

#[test]
fn messages_of_a_lane_leave_in_the_order_they_came() {
    let mut book = Book::new(1, 2);
    for n in 0..5 {
        let _ = book.push(to(1), Age::Fresh, n).unwrap();
    }
    for n in 0..5 {
        assert_eq!(ticket(take(&mut book, to(1), 0)), n);
    }
}

#[test]
fn a_lane_keeps_to_its_limit_and_grows_when_it_is_raised() {
    let mut book = Book::new(64, 64);
    let starts = (0..30)
        .filter(|&n| book.push(to(1), Age::Fresh, n) == Ok(Pushed::Start(to(1))))
        .count();
    assert_eq!(starts, limits::LANE_CONNECTIONS_MX);
    book.set_most(to(1), limits::LANE_CONNECTIONS_CONFIGURED);
    for worker in 0..29 {
        let _ = take(&mut book, to(1), worker % 4);
    }
    assert_eq!(book.workers(), limits::LANE_CONNECTIONS_CONFIGURED);
}

#[test]
fn a_rest_ends_at_once_when_another_lane_waits_for_a_slot() {
    let mut book = Book::new(1, 8);
    let _ = book.push(to(1), Age::Fresh, 10).unwrap();
    assert_eq!(ticket(take(&mut book, to(1), 7)), 10);
    assert_eq!(take(&mut book, to(1), 7), Taken::Rest);
    assert_eq!(book.push(to(2), Age::Fresh, 20), Ok(Pushed::Wake(7)));
    let left = Left {
        start: Some(to(2)),
        watcher: None,
    };
    assert_eq!(take(&mut book, to(1), 7), Taken::Leave(left));
    assert_eq!(ticket(take(&mut book, to(2), 8)), 20);
}

#[test]
fn lanes_take_turns_when_slots_are_short() {
    let mut book = Book::new(1, 8);
    for n in 0..300 {
        let _ = book.push(to(1), Age::Fresh, n).unwrap();
    }
    let _ = book.push(to(2), Age::Fresh, 1000).unwrap();
    let mut served = 0;
    let left = loop {
        match book.take(to(1), 0, served, || 0) {
            Taken::Message { .. } => served += 1,
            Taken::Leave(left) => break left,
            Taken::Rest => panic!("it has more"),
        }
    };
    assert_eq!(
        (served, left.start),
        (limits::CONNECTION_MESSAGES, Some(to(2)))
    );
    assert_eq!(ticket(take(&mut book, to(2), 1)), 1000);
    // Lane 1 went to the end of the line and is next.
    assert_eq!(
        take(&mut book, to(2), 1),
        Taken::Leave(Left {
            start: Some(to(1)),
            watcher: None
        })
    );
}

#[test]
fn dead_destinations_leave_slots_for_fresh_mail() {
    let mut book = Book::new(8, 8);
    for lane in 0..1000 {
        let _ = book.push(to(lane), Age::Retry, lane).unwrap();
    }
    assert_eq!(book.workers(), 6);
    assert_eq!(
        book.push(to(5000), Age::Fresh, 1),
        Ok(Pushed::Start(to(5000)))
    );
    // A fresh message for a lane that stands far behind goes to the front, where a slot is left that is not kept.
    assert_eq!(book.push(to(999), Age::Fresh, 2), Ok(Pushed::Nothing));
    assert_eq!(book.leave(to(0)).start, Some(to(999)));
    // A retry that failed makes room for the next one.
    assert_eq!(book.leave(to(1)).start, Some(to(6)));
}

#[test]
fn a_thousand_first_attempts_that_hang_leave_slots_for_who_took_mail_before() {
    let mut book = Book::new(8, 8);
    let _ = book.push(to(5000), Age::Fresh, 1).unwrap();
    assert_eq!(ticket(take(&mut book, to(5000), 0)), 1);
    assert_eq!(book.works(to(5000)), None);
    assert_eq!(book.leave(to(5000)).start, None);
    for lane in 0..1000 {
        let _ = book.push(to(lane), Age::Fresh, lane).unwrap();
    }
    assert_eq!(book.workers(), 7);
    assert!(book.is_crowded());
    assert_eq!(
        book.push(to(5000), Age::Fresh, 2),
        Ok(Pushed::Start(to(5000)))
    );
    assert_eq!(ticket(take(&mut book, to(5000), 0)), 2);
    // It keeps the slot from nobody who could use it.
    assert_eq!(take(&mut book, to(5000), 0), Taken::Rest);
    book.failed(to(5000), "refused");
    let Taken::Leave(left) = book.retire(to(5000), 0) else {
        panic!("nothing is left for it")
    };
    assert_eq!(left.start, None, "its slot stays kept");
    // What failed is no better than the others.
    assert_eq!(book.push(to(5000), Age::Fresh, 3), Ok(Pushed::Nothing));
}

#[test]
fn a_destination_that_took_mail_does_not_keep_the_others_waiting_for_ever() {
    let mut book = Book::new(1, 8);
    for n in 0..1000 {
        let _ = book.push(to(1), Age::Fresh, n).unwrap();
    }
    assert_eq!(ticket(take(&mut book, to(1), 0)), 0);
    assert_eq!(book.works(to(1)), None);
    let _ = book.push(to(2), Age::Fresh, 5000).unwrap();
    let turns = (1..9).find(|_| {
        let taken = book.take(to(1), 0, limits::CONNECTION_MESSAGES, || 0);
        let Taken::Leave(left) = taken else {
            panic!("its turn is over, not {taken:?}")
        };
        left.start == Some(to(2))
    });
    assert!(turns.is_some_and(|turns| turns <= 2), "{turns:?}");
    // And the other way round.
    assert_eq!(ticket(take(&mut book, to(2), 1)), 5000);
    assert_eq!(book.leave(to(2)).start, Some(to(1)));
}

/// Serves the busy lane, turn after turn, until another one gets the slot; returns after how many messages that is.
fn serve_until_a_turn_is_another_s(book: &mut Book, busy: u32, of: Key) -> usize {
    let mut messages = 0;
    loop {
        for served in 0..=limits::CONNECTION_MESSAGES {
            match book.take(to(busy), 0, served, || 0) {
                Taken::Message { .. } => messages += 1,
                Taken::Leave(left) if left.start == Some(of) => return messages,
                Taken::Leave(left) => assert_eq!(left.start, Some(to(busy))),
                Taken::Rest => panic!("it has more"),
            }
        }
        assert!(messages < 10_000, "{of:?} starves");
    }
}

#[test]
fn busy_destinations_do_not_keep_a_retry_waiting_for_ever() {
    let mut book = Book::new(1, 8);
    for n in 0..20_000 {
        let _ = book.push(to(1), Age::Fresh, n).unwrap();
    }
    assert_eq!(ticket(take(&mut book, to(1), 0)), 0);
    assert_eq!(book.works(to(1)), None);
    for lane in 2..1000 {
        let _ = book.push(to(lane), Age::Retry, lane).unwrap();
    }
    assert!(!book.is_crowded(), "nobody waits but retries");
    for lane in 2..5 {
        let messages = serve_until_a_turn_is_another_s(&mut book, 1, to(lane));
        // A thousand of them cost the others no more than a turn in so many messages.
        let turn = limits::SUSPECT_TURN..=limits::SUSPECT_TURN + limits::CONNECTION_MESSAGES;
        assert!(turn.contains(&messages), "{messages} messages");
        assert!(book.is_crowded(), "a silent host has less time");
        assert_eq!(ticket(take(&mut book, to(lane), 1)), lane);
        book.failed(to(lane), "refused");
        assert_eq!(take(&mut book, to(lane), 1), leaving(to(1)));
    }
}

fn leaving(start: Key) -> Taken<u32, u32, &'static str> {
    Taken::Leave(Left {
        start: Some(start),
        watcher: None,
    })
}

#[test]
fn of_many_busy_slots_retries_have_one_at_most() {
    let mut book = Book::new(8, 8);
    for n in 0..20_000 {
        let _ = book.push(to(n % 10), Age::Fresh, n).unwrap();
    }
    for lane in 100..200 {
        let _ = book.push(to(lane), Age::Retry, lane).unwrap();
    }
    let mut at_work: VecDeque<Key> = (0..8).map(to).collect();
    let mut retries = Vec::new();
    // Until the first of the busy ones has no more.
    while book.lanes.len() == 110 {
        let busy = at_work.pop_front().unwrap();
        for served in 0..=limits::CONNECTION_MESSAGES {
            if let Taken::Leave(left) = book.take(busy, 0, served, || 0) {
                match left.start.unwrap() {
                    // It hangs.
                    Key::To(Lane(retry @ 100..)) => retries.push(retry),
                    other => at_work.push_back(other),
                }
                break;
            }
        }
    }
    assert_eq!(retries, [100]);
}

#[test]
fn a_destination_has_one_place_in_one_line_whatever_becomes_of_it() {
    let mut book = Book::new(1, 8);
    let _ = book.push(to(1), Age::Fresh, 0).unwrap();
    assert_eq!(ticket(take(&mut book, to(1), 0)), 0);
    for round in 0..1000 {
        // It waits as a retry, moves up with a fresh message, and is taken out by hand.
        let _ = book.push(to(2), Age::Retry, 1).unwrap();
        let _ = book.push(to(2), Age::Fresh, 2).unwrap();
        assert!(book.is_crowded());
        if round % 2 == 0 {
            assert_eq!(book.pull(|&ticket| ticket != 0).len(), 2);
            assert!(!book.is_crowded());
            continue;
        }
        assert_eq!(book.leave(to(1)).start, Some(to(2)));
        let _ = (take(&mut book, to(2), 1), take(&mut book, to(2), 1));
        let _ = book.push(to(1), Age::Retry, 0).unwrap();
        let _ = book.leave(to(2));
        let _ = take(&mut book, to(1), 0);
    }
    assert_eq!(book.lines.places(), 0);
}

#[test]
fn what_waited_when_its_lane_failed_is_told_so_and_what_came_later_is_not() {
    let mut book = Book::new(8, 8);
    for n in 0..3 {
        let _ = book.push(to(1), Age::Fresh, n).unwrap();
    }
    assert_eq!(ticket(take(&mut book, to(1), 0)), 0);
    book.failed(to(1), "refused");
    assert_eq!(book.push(to(1), Age::Fresh, 3), Ok(Pushed::Nothing));
    let mut seen = Vec::new();
    while let Taken::Message { ticket, failed, .. } = take(&mut book, to(1), 0) {
        seen.push((ticket, failed));
    }
    assert_eq!(
        seen,
        [(1, Some("refused")), (2, Some("refused")), (3, None)]
    );
}

#[test]
fn stopping_gives_back_what_waits_and_calls_who_rests() {
    let mut book = Book::new(8, 8);
    let _ = book.push(to(1), Age::Fresh, 1).unwrap();
    assert_eq!(ticket(take(&mut book, to(1), 5)), 1);
    assert_eq!(take(&mut book, to(1), 5), Taken::Rest);
    let _ = book.push(to(2), Age::Fresh, 2).unwrap();
    assert!(!book.is_empty_of_workers(|| 99));
    assert_eq!(book.stop(), (vec![2], vec![5, 99]));
    assert_eq!(book.push(to(1), Age::Fresh, 3), Err(3));
    assert!(matches!(take(&mut book, to(1), 5), Taken::Leave(_)));
    let _ = book.leave(to(2));
    assert!(book.is_empty_of_workers(|| 99));
}

#[test]
fn what_is_pulled_is_gone_and_the_rest_keeps_its_order() {
    let mut book = Book::new(2, 8);
    for n in 0..6 {
        let _ = book.push(to(1), Age::Fresh, n).unwrap();
    }
    // Another lane, which waits for a slot and then has nothing left.
    let _ = book.push(to(2), Age::Fresh, 10).unwrap();
    let _ = book.push(to(3), Age::Fresh, 11).unwrap();
    let mut pulled = book.pull(|&ticket| [0, 2, 5, 11].contains(&ticket));
    pulled.sort_unstable();
    assert_eq!(pulled, [0, 2, 5, 11]);
    let _ = book.push(to(1), Age::Fresh, 6).unwrap();
    for n in [1, 3, 4, 6] {
        assert_eq!(ticket(book.retire(to(1), 0)), n);
    }
    assert_eq!(book.pull(|_| true), [10]);
    let left = book.leave(to(1));
    assert_eq!(left.start, None, "nobody waits for the slot");
}
