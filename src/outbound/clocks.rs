//! The time for the schedule: what the wall clock says, and what it means for mail that came before it was set.

use crate::limits;
use crate::policy::clock::{self, Era, Eras};
use crate::spool::{Id, Spool};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The wall clock, in microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A clock that nobody sets, and that goes on while the box sleeps; it counts from whenever.
pub type Steady = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The system's steady clock.
#[must_use]
pub fn steady() -> Steady {
    Arc::new(|| {
        let now = clock_gettime(ClockId::Boottime);
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
    })
}

/// Both clocks, and what has happened to them.
pub(super) struct Clocks {
    wall: Clock,
    steady: Steady,
    eras: Mutex<Eras>,
    /// No stored time can mean a later one from now than this.
    longest_wait: Duration,
    spool: Spool,
}

impl Clocks {
    /// Where the newest message in the queue is from a later time than the clock's, the clock does not know the time, and
    /// what was noted is shifted by as much.
    pub(super) fn start(
        wall: Clock,
        steady: Steady,
        longest_wait: Duration,
        spool: &Spool,
    ) -> Self {
        let now = wall() / 1_000_000;
        let this = Self {
            eras: Mutex::new(Eras::new(now, steady())),
            wall,
            steady,
            longest_wait,
            spool: spool.clone(),
        };
        let newest = spool.newest().seconds();
        let by = i64::try_from(now).unwrap_or(i64::MAX) - i64::try_from(newest).unwrap_or(i64::MAX);
        if by < 0 && by.unsigned_abs() > limits::CLOCK_JUMP.as_secs() {
            this.shift(&mut this.eras(), by);
        } else {
            spool.clock_was_set(0, (this.wall)(), longest_wait);
        }
        this
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.micros() / 1_000_000
    }

    /// Microseconds since 1970. Whoever takes an id for the time must have it from here: after a jump that nobody has seen,
    /// an id would be as far off as the clock was, and so would all later ones, because ids never go back.
    pub(super) fn micros(&self) -> u64 {
        // Locked over both readings, so that a thread held up between them sees no jump.
        let mut eras = self.eras();
        let now = (self.wall)();
        if let Some(by) = eras.look(now / 1_000_000, (self.steady)()) {
            self.shift(&mut eras, by);
        }
        now
    }

    /// When a message came, as people are told: see [`clock::arrived`].
    pub(super) fn arrived(&self, id: Id) -> Option<u64> {
        let now = self.now();
        clock::arrived(self.eras().all(), id.number(), now)
    }

    /// What has happened to the clock since this boot.
    pub(super) fn all_eras(&self) -> Vec<Era> {
        self.now();
        self.eras().all().to_vec()
    }

    /// How old a message is at `now`, in unix seconds.
    pub(super) fn age(&self, id: Id, now: u64) -> Duration {
        self.eras().age(id.number(), now, (self.steady)())
    }

    /// Whether a message of which an attempt has just failed may be given up as too old.
    pub(super) fn is_too_old(&self, id: Id, now: u64, lifetime: Duration) -> bool {
        self.eras()
            .is_too_old(id.number(), now, (self.steady)(), lifetime)
    }

    fn shift(&self, eras: &mut Eras, by: i64) {
        let (first, ahead) = self
            .spool
            .clock_was_set(by, (self.wall)(), self.longest_wait);
        eras.jumped(by, first.number(), ahead.as_secs());
        log::warn!("clock set by={by}s: the times of queued mail are shifted with it");
    }

    fn eras(&self) -> MutexGuard<'_, Eras> {
        // Whole between any two of its calls.
        self.eras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
