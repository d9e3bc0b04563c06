//! Answers, kept for as long as their zone allows.
//!
//! Never served stale: a corrected zone waits for its TTL at most, and for [`limits::DNS_TTL`] where that is shorter.
//! Failures are not kept: a server that has come back is asked at once.

use super::answer::{Answer, Heard};
use super::question::Question;
use crate::limits;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// At most [`limits::DNS_CACHE`] octets.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Question, Entry>,
    octets: usize,
    era: Era,
}

/// From one [`Cache::forget`] to the next: what was asked before one is not kept after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Era(u64);

#[derive(Debug)]
struct Entry {
    heard: Heard,
    until: Instant,
    octets: usize,
}

/// A slot of the table: it is at least 7/16 full, and while it grows the old one is there too.
const SLOT: usize = 4 * size_of::<(Question, Entry)>();

impl Cache {
    pub(super) fn era(&self) -> Era {
        self.era
    }

    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<Heard> {
        let entry = self.entries.get(question)?;
        (now < entry.until).then(|| entry.heard.clone())
    }

    /// Keeps an answer to a question that was asked in this era; where there is no room, those go that would go first.
    pub(super) fn keep(&mut self, era: Era, question: &Question, heard: &Heard, now: Instant) {
        let longest = match heard.answer {
            Answer::Records(_) | Answer::Alias { .. } => limits::DNS_TTL,
            Answer::NoRecords | Answer::NoSuchName => limits::DNS_TTL_NEGATIVE,
        };
        let ttl = heard.ttl.min(longest);
        let octets = SLOT + question.heap() + heard.heap();
        if era != self.era || ttl == Duration::ZERO || octets > limits::DNS_CACHE_ANSWER {
            return;
        }
        self.remove(question);
        if self.octets + octets > limits::DNS_CACHE {
            self.make_room(octets, now);
        }
        self.octets += octets;
        let entry = Entry {
            heard: heard.clone(),
            until: now + ttl,
            octets,
        };
        self.entries.insert(question.clone(), entry);
    }

    pub(super) fn forget(&mut self) {
        self.era.0 += 1;
        self.entries.clear();
        self.octets = 0;
    }

    fn make_room(&mut self, octets: usize, now: Instant) {
        self.entries.retain(|_, entry| now < entry.until);
        self.octets = self.entries.values().map(|entry| entry.octets).sum();
        while self.octets + octets > limits::DNS_CACHE {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until);
            let Some(first) = first.map(|(question, _)| question.clone()) else {
                return;
            };
            self.remove(&first);
        }
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.octets -= entry.octets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dnssec;
    use super::super::data::Data;
    use super::*;
    use domain::base::Rtype;

    fn question(name: &str) -> Question {
        Question::new(name, Rtype::TXT).unwrap()
    }

    fn heard(answer: Answer, seconds: u64) -> Heard {
        Heard {
            answer,
            ttl: Duration::from_secs(seconds),
            dnssec: Dnssec::NotValidated,
        }
    }

    fn text(octets: usize, seconds: u64) -> Heard {
        heard(
            Answer::Records(vec![Data::Txt(vec![b'x'; octets])]),
            seconds,
        )
    }

    #[test]
    fn an_answer_lasts_for_its_ttl_and_no_longer_than_the_limit() {
        let (start, mut cache) = (Instant::now(), Cache::default());
        let longest = limits::DNS_TTL.as_secs();
        let negative = limits::DNS_TTL_NEGATIVE.as_secs();
        for (name, heard, lasts) in [
            ("one.test", text(1, 1), 1),
            ("hour.test", text(1, longest), longest),
            ("year.test", text(1, 31_536_000), longest),
            ("none.test", heard(Answer::NoRecords, 20), 20),
            ("gone.test", heard(Answer::NoSuchName, 86_400), negative),
        ] {
            cache.keep(cache.era(), &question(name), &heard, start);
            let at = |millis| cache.get(&question(name), start + Duration::from_millis(millis));
            assert_eq!(at(lasts * 1000 - 1), Some(heard), "{name}");
            assert_eq!(at(lasts * 1000), None, "{name}");
        }
        cache.keep(cache.era(), &question("zero.test"), &text(1, 0), start);
        assert_eq!(cache.get(&question("zero.test"), start), None);
    }

    #[test]
    fn case_is_nothing_and_the_type_is_something() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        cache.keep(cache.era(), &question("A.Test"), &text(1, 60), now);
        assert!(cache.get(&question("a.tesT."), now).is_some());
        let mx = Question::new("a.test", Rtype::MX).unwrap();
        assert!(cache.get(&mx, now).is_none());
    }

    #[test]
    fn what_was_asked_before_forgetting_is_not_kept_after_it() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        let before = cache.era();
        cache.keep(before, &question("a.test"), &text(1, 60), now);
        cache.forget();
        assert_eq!(cache.get(&question("a.test"), now), None);
        cache.keep(before, &question("a.test"), &text(1, 60), now);
        assert_eq!(cache.get(&question("a.test"), now), None);
        cache.keep(cache.era(), &question("a.test"), &text(1, 60), now);
        assert!(cache.get(&question("a.test"), now).is_some());
    }

    /// Whatever comes, the octets stay below the limit, those that end first go first, and a giant moves nobody.
    #[test]
    fn a_full_cache_drops_what_ends_first() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        let giant = text(limits::DNS_CACHE_ANSWER, 60);
        for number in 0..5_000_usize {
            let name = question(&format!("n{number}.test"));
            cache.keep(cache.era(), &name, &text(number % 900, 100), now);
            cache.keep(cache.era(), &question("giant.test"), &giant, now);
            let held: usize = cache.entries.values().map(|entry| entry.octets).sum();
            assert!(held == cache.octets && held <= limits::DNS_CACHE, "{held}");
            if number == 0 {
                cache.keep(cache.era(), &question("long.test"), &text(900, 200), now);
            }
        }
        assert!(cache.get(&question("giant.test"), now).is_none());
        assert!(cache.get(&question("n4999.test"), now).is_some());
        assert!(cache.get(&question("long.test"), now).is_some());
        // A table that only ever grows is counted by its entries: no more than these fit.
        assert!(cache.entries.capacity() <= 2 * (limits::DNS_CACHE / SLOT).next_power_of_two());
    }

    #[test]
    fn an_answer_again_takes_the_place_of_the_old_one() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        let name = question("a.test");
        cache.keep(cache.era(), &name, &text(500, 60), now);
        cache.keep(cache.era(), &name, &text(1, 60), now);
        assert_eq!(cache.get(&name, now), Some(text(1, 60)));
        assert_eq!(cache.octets, cache.entries[&name].octets);
    }
}
