//! Whether targets answer questions at all. One that does not is not asked for a while; one address that it is slow about
//! proves nothing.

use std::collections::HashMap;
use std::time::Instant;

use crate::limits;

/// By target. There are as many as flags name.
#[derive(Default)]
pub struct Health(HashMap<String, State>);

#[derive(Default)]
struct State {
    /// The addresses of the last questions, none twice, while none was answered.
    silent: Vec<String>,
    /// It is not asked before.
    until: Option<Instant>,
    refuses_null: bool,
}

/// What a question without an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The target is asked of others all the same.
    OfOne,
    /// A pause begins.
    Pause(Repeat),
    /// It was asked before the pause began.
    InPause,
}

/// Whether a pause is the first since the target last answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    First,
    Again,
}

impl Health {
    /// Whether the target is not to be asked at `now`.
    pub fn is_paused(&self, target: &str, now: Instant) -> bool {
        self.0.get(target).is_some_and(|state| state.is_paused(now))
    }

    /// It said something of a recipient. Whether there had been pauses.
    pub fn answered(&mut self, target: &str) -> bool {
        let before = self.0.remove(target);
        before.is_some_and(|state| state.until.is_some())
    }

    /// It said nothing of this address.
    pub fn silent(&mut self, target: &str, address: &str, now: Instant) -> Silence {
        let state = self.0.entry(target.to_owned()).or_default();
        if state.is_paused(now) {
            return Silence::InPause;
        }
        let enough = limits::VERIFY_SILENCES;
        if state.silent.len() < enough && state.silent.iter().all(|before| before != address) {
            state.silent.push(address.to_owned());
        }
        match state.silent.len() < enough {
            true => Silence::OfOne,
            false => Silence::Pause(state.pause(now)),
        }
    }

    /// It takes no null sender, whoever is asked about.
    pub fn refuses_null(&mut self, target: &str, now: Instant) -> Silence {
        let state = self.0.entry(target.to_owned()).or_default();
        let known = std::mem::replace(&mut state.refuses_null, true);
        match state.is_paused(now) {
            true if known => Silence::InPause,
            _ => {
                state.pause(now);
                Silence::Pause(if known { Repeat::Again } else { Repeat::First })
            }
        }
    }
}

impl State {
    fn is_paused(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn pause(&mut self, now: Instant) -> Repeat {
        match self.until.replace(now + limits::VERIFY_PAUSE) {
            Some(_) => Repeat::Again,
            None => Repeat::First,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_takes_some_silent_questions_in_a_row_of_different_addresses() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..2 * limits::VERIFY_SILENCES {
            assert_eq!(health.silent("t", "a", now), Silence::OfOne);
        }
        assert!(!health.answered("t"));
        for n in 1..limits::VERIFY_SILENCES {
            assert_eq!(health.silent("t", &n.to_string(), now), Silence::OfOne);
        }
        assert!(!health.is_paused("t", now));
        let begins = health.silent("t", "last", now);
        assert_eq!(begins, Silence::Pause(Repeat::First));
        assert!(health.is_paused("t", now) && !health.is_paused("other", now));
        assert_eq!(health.silent("t", "asked before", now), Silence::InPause);
    }

    #[test]
    fn behind_a_pause_one_silent_question_begins_the_next_and_an_answer_ends_them() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for n in 0..limits::VERIFY_SILENCES {
            health.silent("t", &n.to_string(), now);
        }
        now += limits::VERIFY_PAUSE;
        assert!(!health.is_paused("t", now));
        let again = Silence::Pause(Repeat::Again);
        assert_eq!(health.silent("t", "x", now), again);
        assert!(health.answered("t") && !health.answered("t"));
        assert!(!health.is_paused("t", now));
        assert_eq!(health.silent("t", "x", now), Silence::OfOne);
    }

    #[test]
    fn a_refused_null_sender_needs_no_second_question() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        let first = Silence::Pause(Repeat::First);
        assert_eq!(health.refuses_null("t", now), first);
        assert_eq!(health.refuses_null("t", now), Silence::InPause);
        now += limits::VERIFY_PAUSE;
        let again = Silence::Pause(Repeat::Again);
        assert_eq!(health.refuses_null("t", now), again);
    }
}
