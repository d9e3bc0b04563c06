use super::*;

fn entry(id: u64, next: u64) -> Entry {
    let place = Place {
        generation: 1,
        segment: 1,
        offset: 4096,
    };
    let mut entry = Entry::new(id, place, 3);
    entry.set_next(next);
    entry
}

fn run() -> Generations {
    Generations::of(1)
}

#[test]
fn a_message_keeps_its_generations_until_its_last_entry_leaves() {
    let mut spread = Generations::of(1);
    spread.add(7);
    for generations in [spread, run()] {
        let mut queue = Queue::new(0);
        let (slot, _) = queue.insert(entry(1, 0), &generations);
        for _ in 0..2 {
            queue.insert_beside(slot, entry(1, 0));
        }
        for left in [2, 1, 0] {
            let (slot, _) = queue.take_due(1).unwrap();
            let expected = (left == 0).then(|| generations.clone());
            assert_eq!(queue.remove(slot).unwrap().1, expected);
            assert_eq!(queue.entries().count(), left);
        }
        assert_eq!(queue.sparse.len(), 0);
    }
}

#[test]
fn a_lifted_message_is_not_given_out_and_one_in_flight_not_lifted() {
    let mut queue = Queue::new(0);
    let (first, _) = queue.insert(entry(1, 0), &run());
    queue.insert_beside(first, entry(1, 5));
    let (flies, _) = queue.take_due(0).unwrap();
    assert_eq!((flies, queue.lift(first, 1)), (first, None));
    queue.put_back(first);
    assert_eq!(queue.lift(first, 2), None, "another message has the slot");
    let slots = queue.lift(first, 1).unwrap();
    assert_eq!((slots.len(), queue.lift(first, 1)), (2, None));
    assert!(queue.take_due(9).is_none());
    assert_eq!((queue.waiting(), queue.in_flight()), (2, 0));
    let place = Place {
        generation: 9,
        segment: 3,
        offset: 8192,
    };
    let to = Generations::of(9);
    assert_eq!(queue.relocate(&slots, place, &to), Some(run()));
    assert!(queue.put_down(&slots));
    for _ in 0..2 {
        let (_, entry) = queue.take_due(9).unwrap();
        assert_eq!((entry.generation, entry.offset), (9, 8192));
    }
}

#[test]
fn what_a_late_report_holds_moves_with_its_message() {
    let mut queue = Queue::new(0);
    let (original, _) = queue.insert(entry(1, 0), &run());
    let (dsn, _) = queue.insert(entry(2, 0), &run());
    let slots = queue.lift(original, 1).unwrap();
    queue.hold(original, 0b011, (2, dsn));
    let place = Place {
        generation: 9,
        segment: 3,
        offset: 8192,
    };
    queue.relocate(&slots, place, &Generations::of(9));
    let held = queue.held_for(2).unwrap();
    assert_eq!((held.generation, held.offset), (9, 8192));
}

#[test]
fn entries_come_when_they_are_due_and_once() {
    let mut queue = Queue::new(0);
    assert!(queue.insert(entry(1, 50), &run()).1);
    assert!(queue.insert(entry(2, 40), &run()).1);
    assert!(!queue.insert(entry(3, 60), &run()).1);
    assert_eq!(queue.next_due(), Some(40));
    assert!(queue.take_due(39).is_none());
    let (slot, first) = queue.take_due(100).unwrap();
    assert_eq!(first.id, 2);
    assert_eq!(queue.take_due(100).unwrap().1.id, 1);
    assert_eq!(queue.take_due(59).map(|(_, entry)| entry.id), None);
    assert!(queue.put_back(slot));
    assert_eq!(queue.take_due(100).unwrap().1.id, 2);
    assert_eq!((queue.waiting(), queue.in_flight()), (1, 2));
    assert_eq!(queue.remove(slot).unwrap().0.id, 2);
    queue.insert(entry(4, 0), &run());
    assert_eq!(queue.take_due(1).unwrap().0, slot, "the slot is used again");
}

#[test]
fn one_message_is_hastened_or_taken_and_the_others_keep_their_time() {
    let mut queue = Queue::new(0);
    for (id, next) in [(1, 50), (2, 40), (1, 60), (3, 0)] {
        queue.insert(entry(id, next), &run());
    }
    let mut changed = Vec::new();
    queue.hasten(|entry| entry.id == 1, |entry| changed.push(entry.id));
    assert_eq!(changed, [1, 1]);
    let due = |queue: &mut Queue| queue.take_due(1).map(|(slot, entry)| (entry.id, slot));
    let mut first: Vec<_> = (0..3).filter_map(|_| due(&mut queue)).collect();
    first.sort_unstable();
    assert_eq!(first, [(1, 0), (1, 2), (3, 3)]);
    assert_eq!((due(&mut queue), queue.next_due()), (None, Some(40)));
    queue.put_back(2);
    assert_eq!(queue.take(1), [2], "the other one is in flight");
    assert_eq!((queue.waiting(), queue.in_flight()), (1, 3));
    queue.hasten(|_| true, |_| {});
    assert_eq!(due(&mut queue), Some((2, 1)));
}

#[test]
fn a_clock_that_is_set_takes_the_next_tries_along() {
    let wait = Duration::from_secs(100);
    let mut queue = Queue::new(7_000_000);
    for (id, next) in [(1, 1050), (2, 0), (3, 1100), (4, 9000)] {
        queue.insert(entry(id, next), &run());
    }
    let (flies, _) = queue.take_due(1).unwrap();
    let (first, ahead) = queue.clock_was_set(500, 1_500_000_000, wait);
    assert_eq!((first, ahead), (7_000_001, 0));
    let mut nexts: Vec<_> = queue
        .entries()
        .map(|entry| (entry.id, entry.next))
        .collect();
    assert_eq!(nexts, [(1, 1550), (2, 0), (3, 1600), (4, 0)]);
    queue.put_back(flies);
    nexts.clear();
    while let Some((_, entry)) = queue.take_due(1600) {
        nexts.push((entry.id, entry.next));
    }
    assert_eq!(nexts, [(2, 0), (4, 0), (1, 1550), (3, 1600)]);
    // Back, to before what was seen: ids go on where they were, as fast as the clock.
    let newest = queue.new_id(1_600_000_000);
    let (first, ahead) = queue.clock_was_set(-600, 1_000_000_000, wait);
    assert_eq!((first, ahead), (newest + 1, 600_000_000));
    assert_eq!(queue.new_id(1_010_000_000), newest + 10_000_000);
    // Ahead again, and a message came before anybody saw it.
    let early = queue.new_id(2_000_000_000);
    let (first, ahead) = queue.clock_was_set(980, 2_000_000_000, wait);
    assert!(newest < first && first <= early && ahead == 600_000_000);
}

#[test]
fn room_is_counted_in_recipients() {
    let mut queue = Queue::new(0);
    for _ in 0..limits::QUEUE_ENTRIES {
        assert!(queue.reserve());
    }
    assert!(!queue.reserve());
    queue.unreserve(1);
    assert!(queue.reserve());
}

#[test]
fn a_message_is_kept_for_its_report_and_neither_moves_while_the_other_is_in_use() {
    let mut queue = Queue::new(0);
    let (original, _) = queue.insert(entry(1, 0), &run());
    queue.take_due(0).unwrap();
    let (dsn, _) = queue.insert(entry(2, 0), &run());
    queue.hold(original, 0b011, (2, dsn));
    assert_eq!(queue.get(original).unwrap().remaining(), 0b100);
    assert_eq!(queue.remove(original).unwrap().1, None, "it is still held");
    let held = *queue.held_for(2).unwrap();
    assert_eq!(
        (held.id, held.remaining(), queue.holder(1)),
        (1, 0b011, Some(2))
    );
    let slot = (0..3).find(|slot| queue.get(*slot).is_some_and(Entry::is_held));
    let slot = slot.unwrap();
    // While the message is moved nobody is given the report, ...
    let lifted = queue.lift(slot, 1).unwrap();
    assert_eq!(lifted, [slot]);
    assert!(queue.take_due(9).is_none() && queue.take(2).is_empty());
    assert!(queue.lift(dsn, 2).is_none());
    assert!(queue.put_down(&lifted));
    // ... and while somebody has that, the message stays.
    assert_eq!(queue.take_due(9).map(|(slot, _)| slot), Some(dsn));
    assert!(queue.lift(slot, 1).is_none() && queue.lift(dsn, 2).is_none());
    queue.put_back(dsn);
    assert!(queue.lift(slot, 1).is_some());
    queue.put_down(&[slot]);
    queue.hasten(|_| true, |entry| assert_eq!(entry.id, 2));
    assert_eq!((queue.waiting(), queue.in_flight()), (1, 0));
    assert_eq!((queue.let_go(2), queue.let_go(2)), (Some(slot), None));
}
