//! Destinations of which no host can be reached: one of their messages tries again soon, and the first success wakes the
//! others that wait for nothing else.
//!
//! So a smarthost that restarts is noticed within seconds, and one that is down for a day costs an attempt in five minutes,
//! however much mail waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;
use crate::policy::routes::Lane;
use crate::spool::Id;

use super::attempt::Dials;

/// Who says which hosts a destination has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// DNS: it is a stranger's. What was dialled in vain keeps to the schedule.
    ByMx,
    /// The flags: its hosts are asked until they are back.
    Configured,
}

/// The destinations that could not be reached, [`limits::LANES_DOWN`] at most.
#[derive(Debug, Default)]
pub(super) struct Down(Mutex<HashMap<Lane, State>>);

#[derive(Debug, Default)]
struct State {
    /// Which message tries again before its time, and when.
    next: Option<(Id, Instant)>,
    /// How often that was in vain.
    tries: u32,
    /// Messages wait that are to be woken.
    waits: bool,
    woken: Option<Instant>,
}

impl Down {
    /// What an entry takes, with the table's own part: octets.
    pub const ENTRY: usize = 2 * (size_of::<(Lane, State)>() + 1);

    /// No host of the destination could be reached for a message. Returns how long it waits at most, if it is the one that
    /// tries again before its time.
    pub fn failed(
        &self,
        lane: Lane,
        kind: Kind,
        id: Id,
        dials: Dials,
        now: Instant,
    ) -> Option<Duration> {
        let mut table = self.table();
        let state = entry(&mut table, lane, now);
        state.waits = true;
        let another_s = |(whose, when): (Id, Instant)| whose != id && now < when;
        if state.next.is_some_and(another_s) {
            return None;
        }
        state.next = None;
        if kind == Kind::ByMx && (dials.made || dials.rest_ends.is_none()) {
            return None;
        }
        let rest = match dials.rest_ends {
            Some(end) => end.saturating_duration_since(now),
            None => of_its_own(state.tries),
        };
        state.tries = state.tries.saturating_add(1);
        // Next tries are in whole seconds, and it must not be back before the rest is over.
        let jitter = fastrand::u64(..=limits::DOWN_JITTER.as_secs());
        let wait = Duration::from_secs(rest.as_secs() + 2 + jitter);
        state.next = Some((id, now + wait));
        Some(wait)
    }

    /// The message that failed is in the queue again, to be woken.
    pub fn landed(&self, lane: Lane) {
        if let Some(state) = self.table().get_mut(&lane) {
            state.waits = true;
        }
    }

    /// Messages of that destination wait, of a relay that ran before.
    pub fn remember(&self, lane: Lane, now: Instant) {
        entry(&mut self.table(), lane, now).waits = true;
    }

    /// A host of the destination is ready for mail. Returns whether what waits for that is to be woken: at most once in
    /// [`limits::DOWN_WAKE`], since a host may refuse every other connection.
    pub fn works(&self, lane: Lane, now: Instant) -> bool {
        let mut table = self.table();
        let Some(state) = table.get_mut(&lane) else {
            return false;
        };
        (state.next, state.tries) = (None, 0);
        if state.woken.is_some_and(|at| now < at + limits::DOWN_WAKE) {
            return false;
        }
        if !state.waits {
            table.remove(&lane);
            return false;
        }
        (state.waits, state.woken) = (false, Some(now));
        true
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Lane, State>> {
        // It is whole between any two of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where no address says when it may be dialled again: growing like its rest.
fn of_its_own(tries: u32) -> Duration {
    let first = limits::HOST_REST_FIRST;
    let rest = first.saturating_mul(1 << tries.min(16));
    rest.min(limits::HOST_REST_LAST)
}

/// That lane's; where the table is full, instead of the one whose try is over for longest.
fn entry(table: &mut HashMap<Lane, State>, lane: Lane, now: Instant) -> &mut State {
    if table.len() >= limits::LANES_DOWN && !table.contains_key(&lane) {
        let when = |state: &State| state.next.map_or(now, |(_, when)| when);
        let first = table
            .iter()
            .min_by_key(|(_, state)| (state.waits, when(state)));
        let first = first.map(|(&lane, _)| lane);
        first.and_then(|first| table.remove(&first));
    }
    table.entry(lane).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane(7);

    fn left_alone(rest_ends: Instant) -> Dials {
        Dials {
            made: false,
            rest_ends: Some(rest_ends),
        }
    }

    fn dialled(rest_ends: Instant) -> Dials {
        Dials {
            made: true,
            ..left_alone(rest_ends)
        }
    }

    fn id(number: u64) -> Id {
        Id::parse(&format!("{number:011}")).unwrap()
    }

    #[test]
    fn one_message_comes_when_the_rest_ends_and_the_first_success_wakes_the_others() {
        let (down, now) = (Down::default(), Instant::now());
        let rest = Duration::from_secs(10);
        let failed = |number, dials| down.failed(LANE, Kind::Configured, id(number), dials, now);
        let wait = failed(1, dialled(now + rest)).unwrap();
        let latest = rest + limits::DOWN_JITTER + Duration::from_secs(2);
        assert!(wait > rest && wait <= latest, "{wait:?}");
        for number in 2..100 {
            assert_eq!(failed(number, left_alone(now + rest)), None);
        }
        // By hand before its time: it is still the one.
        assert!(failed(1, left_alone(now + rest)).is_some());
        assert!(down.works(LANE, now));
        assert!(!down.works(LANE, now), "nobody waits any more");
    }

    #[test]
    fn a_stranger_s_host_is_dialled_no_sooner_by_who_dialled_it() {
        let (down, mut now) = (Down::default(), Instant::now());
        let rest = Duration::from_secs(300);
        let failed = |number, dials, now| down.failed(LANE, Kind::ByMx, id(number), dials, now);
        assert_eq!(failed(1, dialled(now + rest), now), None);
        assert!(failed(2, left_alone(now + rest), now).is_some());
        assert_eq!(failed(3, left_alone(now + rest), now), None);
        // It has had its try.
        now += rest + limits::DOWN_JITTER + Duration::from_secs(2);
        assert_eq!(failed(2, dialled(now + rest), now), None);
        assert!(failed(4, left_alone(now + rest), now).is_some());
        // DNS gives no host.
        assert_eq!(
            down.failed(Lane(8), Kind::ByMx, id(5), Dials::default(), now),
            None
        );
        assert!(down.works(Lane(8), now), "it is woken all the same");
    }

    #[test]
    fn a_target_that_answers_without_being_ready_is_asked_at_growing_intervals() {
        let (down, mut now) = (Down::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            let answered = Dials {
                made: true,
                rest_ends: None,
            };
            let wait = down.failed(LANE, Kind::Configured, id(1), answered, now);
            waits.push(wait.unwrap().as_secs() / 10 * 10);
            now += wait.unwrap();
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn a_host_that_refuses_every_other_connection_wakes_the_mail_once_in_a_while() {
        let (down, mut now) = (Down::default(), Instant::now());
        let mut woken = 0;
        for _ in 0..100 {
            down.failed(LANE, Kind::Configured, id(1), Dials::default(), now);
            down.landed(LANE);
            woken += u32::from(down.works(LANE, now));
            now += limits::DOWN_WAKE / 20;
        }
        assert_eq!(woken, 5);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_needs_it_least() {
        let (down, now) = (Down::default(), Instant::now());
        for lane in 0..=u32::try_from(limits::LANES_DOWN).unwrap() {
            let rest = Duration::from_secs(10 * u64::from(lane));
            let dials = left_alone(now + rest);
            let _ = down.failed(Lane(lane), Kind::ByMx, id(1), dials, now);
        }
        assert_eq!(down.table().len(), limits::LANES_DOWN);
        assert!(!down.works(Lane(0), now) && down.works(Lane(9), now));
    }
}
