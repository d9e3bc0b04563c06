//! When to try again, and when to give up.

use std::str::FromStr;
use std::time::Duration;

/// The retry schedule: `FIRST..LAST`, doubling from the one to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first attempt.
    pub first: Duration,
    /// The longest wait.
    pub last: Duration,
}

impl Schedule {
    /// How long to wait after the `attempts`-th failed attempt (1 for the first).
    ///
    /// `jitter` in 0..=255 takes up to a quarter off, so that messages deferred together do not come back together.
    #[must_use]
    pub fn wait(&self, attempts: u16, jitter: u8) -> Duration {
        let whole = self.whole(attempts);
        whole - whole * u32::from(jitter) / 1024
    }

    fn whole(&self, attempts: u16) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(20);
        self.first.saturating_mul(1 << doublings).min(self.last)
    }

    /// Which of the waits is due after so many failed attempts of a message of this age: no later one than the schedule
    /// alone has come to by then. So tries by hand do not make the next wait longer.
    #[must_use]
    pub fn step(&self, attempts: u16, age: Duration) -> u16 {
        let (mut step, mut passed) = (1, Duration::ZERO);
        while step < attempts && self.whole(step) < self.last {
            passed += self.whole(step) * 3 / 4;
            if age < passed {
                return step;
            }
            step += 1;
        }
        attempts.max(1)
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is no retry schedule: FIRST..LAST, such as 5m..4h");
        let (first, last) = text.split_once("..").ok_or_else(wrong)?;
        let (first, last) = (duration(first)?, duration(last)?);
        if first.is_zero() {
            return Err(wrong());
        }
        if last < first {
            return Err(format!("{text:?}: FIRST is longer than LAST"));
        }
        Ok(Self { first, last })
    }
}

/// A duration as flags give it: a number with `s`, `m`, `h` or `d`.
///
/// # Errors
/// One line that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: a number and s, m, h or d, such as 5m");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    if number > 3_650 * 86_400 / unit {
        return Err(wrong());
    }
    Ok(Duration::from_secs(number * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_by_hand_do_not_lengthen_the_wait() {
        let schedule: Schedule = "5m..4h".parse().unwrap();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for jitter in [0, 255] {
            let mut age = Duration::ZERO;
            for attempts in 1..40 {
                assert_eq!(schedule.step(attempts, age), attempts, "without them");
                age += schedule.wait(attempts, jitter);
            }
        }
        assert_eq!(schedule.step(9, Duration::from_secs(3)), 1);
        assert_eq!(schedule.step(9, minutes(5)), 2);
        assert_eq!(schedule.step(9, minutes(12)), 3);
        assert_eq!(schedule.step(0, minutes(12)), 1);
    }

    #[test]
    fn waits_double_from_the_first_to_the_last() {
        let schedule: Schedule = "5m..4h".parse().unwrap();
        let minutes = |attempts| schedule.wait(attempts, 0).as_secs() / 60;
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 7, 8, 60_000].map(minutes),
            [5, 10, 20, 40, 80, 160, 240, 240, 240]
        );
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        let schedule: Schedule = "100s..100s".parse().unwrap();
        assert!(schedule.wait(1, 255) >= Duration::from_secs(75));
        assert!(schedule.wait(1, 255) < schedule.wait(1, 1));
    }

    #[test]
    fn wrong_values_are_named() {
        for text in [
            "",
            "5m",
            "4h..5m",
            "0s..1h",
            "5..6",
            "m..h",
            "-1s..1h",
            "5m..99999d",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        assert_eq!(duration("5d").unwrap().as_secs(), 432_000);
    }
}
