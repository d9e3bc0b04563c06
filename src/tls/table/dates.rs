//! Which certificates are within their dates at the moment that the table is put together for, and until when that holds.

use std::cell::Cell;

use async_rustls::rustls::sign::CertifiedKey;

use super::super::validity::Validity;
use crate::limits;

/// Why a certificate gives way to one that is within its dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// It was valid.
    Expired,
    /// It will be.
    NotYet,
}

impl Lapse {
    /// For a line that stays the same from day to day.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Expired => "its certificate has expired",
            Self::NotYet => "its certificate is not valid yet",
        }
    }
}

/// The moment, and what hangs on it of what was asked. Where the clock is not set every certificate is within them.
pub(super) struct Dates {
    now: u64,
    holds: Cell<Holds>,
}

/// From when until before when (seconds since 1970) each answer is the same.
pub(super) type Holds = (u64, u64);

impl Dates {
    /// At `now`, in seconds since 1970.
    pub fn at(now: u64) -> Self {
        Self {
            now,
            holds: Cell::new((0, u64::MAX)),
        }
    }

    /// What is wrong with the dates of a pair's certificate.
    pub fn lapse(&self, pair: &CertifiedKey) -> Option<Lapse> {
        let floor = limits::CLOCK_FLOOR.as_secs();
        self.bound(floor);
        if self.now < floor {
            return None;
        }
        let Validity { from, until } = Validity::of(pair.cert.first()?)?;
        let end = until.saturating_add(1);
        self.bound(from);
        self.bound(end);
        match self.now {
            now if now >= end => Some(Lapse::Expired),
            now if now < from => Some(Lapse::NotYet),
            _ => None,
        }
    }

    /// From when until when the answers hold that were given so far.
    pub fn holds(&self) -> Holds {
        self.holds.get()
    }

    fn bound(&self, at: u64) {
        let (from, until) = self.holds.get();
        self.holds.set(match at <= self.now {
            true => (from.max(at), until),
            false => (from, until.min(at)),
        });
    }
}
