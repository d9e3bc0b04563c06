//! From when until when a certificate is valid, and what to tell its owner about it.
//!
//! `build.rs` includes this file by path, so that the build and the boot warn of the same.

use std::time::Duration;

use async_rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

/// The first and the last second of a certificate's validity, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// notBefore.
    pub from: u64,
    /// notAfter.
    pub until: u64,
}

const DAY: u64 = 86_400;

/// How long before its end the owner of a certificate is told.
const SOON: u64 = 30 * DAY;

/// Who sees to it that another certificate comes in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Its owner: it is compiled in, or self-signed.
    ByHand,
    /// A program: certbot renews 30 days ahead, or with a third of the time left where that is less, so that one that
    /// lives for 45 days, or for six, is not in trouble half its life. Only a renewal that has not come by then has failed.
    ByProgram,
}

impl Renewal {
    /// Of a certificate on the disk.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        match EndEntityCert::try_from(certificate) {
            Ok(read) if read.issuer() == read.subject() => Self::ByHand,
            _ => Self::ByProgram,
        }
    }
}

impl Validity {
    /// Of a certificate; `None` if it cannot be read.
    ///
    /// webpki tells the dates only in its refusals: at the beginning and at the end of time it refuses every certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let refusal = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let usage = KeyUsage::server_auth();
            let verified = certificate.verify_for_usage(&[], &[], &[], time, usage, None, None);
            verified.err()
        };
        let from = match refusal(0)? {
            Error::CertNotValidYet { not_before, .. } => not_before.as_secs(),
            // Valid in 1970.
            _ => 0,
        };
        match refusal(u64::MAX)? {
            Error::CertExpired { not_after, .. } => {
                let until = not_after.as_secs();
                Some(Self { from, until })
            }
            _ => None,
        }
    }

    /// What clients that check dates will hold against it at `now`, or soon.
    pub fn trouble(self, now: u64, renewal: Renewal) -> Option<String> {
        let soon = match renewal {
            Renewal::ByHand => SOON,
            Renewal::ByProgram => SOON.min(self.until.saturating_sub(self.from) / 3),
        };
        if now > self.until {
            Some(format!("it expired {} ago", span(now - self.until)))
        } else if now < self.from {
            Some(format!(
                "it is not valid yet, but in {}",
                span(self.from - now)
            ))
        } else if self.until - now < soon {
            Some(format!("it expires in {}", span(self.until - now)))
        } else {
            None
        }
    }
}

/// In the largest unit of which there are two or more.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{issued, made, made_between};
    use super::*;

    #[test]
    fn the_dates_are_those_of_the_certificate() {
        let (from, until) = (1_700_000_000, 1_800_000_000);
        let dated = made_between(&["mx.example.org"], from, until);
        let read = Validity::of(&CertificateDer::from(dated.der));
        assert_eq!(read, Some(Validity { from, until }));
        assert_eq!(Validity::of(&CertificateDer::from(b"none".to_vec())), None);
        // rcgen's own dates: 1975 to 4096.
        let made = made(&["mx.example.org"]);
        let read = Validity::of(&CertificateDer::from(made.der)).unwrap();
        assert_eq!(read.trouble(1_800_000_000, Renewal::ByHand), None);
    }

    #[test]
    fn what_is_out_of_date_or_nearly_is_told_with_how_long() {
        let year = Validity {
            from: 1000 * DAY,
            until: 1365 * DAY,
        };
        for (now, expected) in [
            (990 * DAY, Some("it is not valid yet, but in 10 days")),
            (1000 * DAY - 90, Some("it is not valid yet, but in 90 s")),
            (1000 * DAY, None),
            (1335 * DAY, None),
            (1335 * DAY + 1, Some("it expires in 29 days")),
            (1365 * DAY - 7199, Some("it expires in 119 minutes")),
            (1365 * DAY, Some("it expires in 0 s")),
            (1365 * DAY + 1, Some("it expired 1 s ago")),
            (1366 * DAY, Some("it expired 24 hours ago")),
            (1400 * DAY, Some("it expired 35 days ago")),
        ] {
            for renewal in [Renewal::ByHand, Renewal::ByProgram] {
                let told = year.trouble(now, renewal);
                assert_eq!(told.as_deref(), expected, "{now} {renewal:?}");
            }
        }
        // A certificate of six days is not in trouble all its life, if a program renews it.
        let short = Validity {
            from: 0,
            until: 6 * DAY,
        };
        assert_eq!(short.trouble(3 * DAY, Renewal::ByProgram), None);
        assert!(short.trouble(5 * DAY, Renewal::ByProgram).is_some());
        assert!(short.trouble(1, Renewal::ByHand).is_some());
    }

    #[test]
    fn nobody_s_program_renews_what_signs_itself() {
        let own = CertificateDer::from(made(&["mx.example.org"]).der);
        assert_eq!(Renewal::of(&own), Renewal::ByHand);
        let (other, ..) = issued(&["mx.example.org"]);
        let other = CertificateDer::from(other.der);
        assert_eq!(Renewal::of(&other), Renewal::ByProgram);
    }
}
