//! The data of records, as owned values.

use domain::base::wire::ParseError;
use domain::base::{ParsedRecord, Rtype, ToName, UnknownRecordData};
use domain::rdata::{A, Aaaa, Mx, Txt};
use std::net::IpAddr;

/// One record of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    /// The root, which stands for no host, is `.`.
    Mx {
        preference: u16,
        exchange: String,
    },
    /// The strings of a record in one.
    Txt(Vec<u8>),
    Tlsa(Tlsa),
}

/// A TLSA record (RFC 6698 2.1), not judged: whether its numbers mean anything is DANE's to say.
///
/// One too short for its three numbers is no reason to hide the others, and must not look as if there were none (RFC 7672
/// 2.1.1): it comes with 255, which nobody can use, for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// Certificate usage: 3 is DANE-EE, 2 DANE-TA.
    pub usage: u8,
    /// 0 is the whole certificate, 1 its public key.
    pub selector: u8,
    /// 0 is the thing itself, 1 its SHA-256, 2 its SHA-512.
    pub matching: u8,
    /// What is to match.
    pub association: Vec<u8>,
}

impl Tlsa {
    fn read(octets: &[u8]) -> Self {
        let (usage, selector, matching, association) = match octets {
            [usage, selector, matching, association @ ..] => {
                (*usage, *selector, *matching, association)
            }
            short => (u8::MAX, u8::MAX, u8::MAX, short),
        };
        Self {
            usage,
            selector,
            matching,
            association: association.to_vec(),
        }
    }
}

impl Data {
    /// None for a type that nobody asks for.
    pub(super) fn read(record: &ParsedRecord<'_, &[u8]>) -> Result<Option<Self>, ParseError> {
        Ok(match record.rtype() {
            Rtype::A => record
                .to_record::<A>()?
                .map(|a| Self::Address(a.data().addr().into())),
            Rtype::AAAA => record
                .to_record::<Aaaa>()?
                .map(|aaaa| Self::Address(aaaa.data().addr().into())),
            Rtype::MX => record.to_record::<Mx<_>>()?.map(|mx| Self::Mx {
                preference: mx.data().preference(),
                exchange: mx.data().exchange().fmt_with_dot().to_string(),
            }),
            // RFC 7208 3.3, RFC 8461 3.1: put together without anything between.
            Rtype::TXT => record.to_record::<Txt<_>>()?.map(|txt| {
                let strings: Vec<&[u8]> = txt.data().iter().collect();
                Self::Txt(strings.concat())
            }),
            Rtype::TLSA => record
                .to_record::<UnknownRecordData<_>>()?
                .map(|tlsa| Self::Tlsa(Tlsa::read(tlsa.data().data()))),
            _ => None,
        })
    }

    /// Octets on the heap.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Address(_) => 0,
            Self::Mx { exchange, .. } => exchange.capacity(),
            Self::Txt(text) => text.capacity(),
            Self::Tlsa(tlsa) => tlsa.association.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tlsa_record_too_short_is_one_that_nobody_can_use() {
        let read = Tlsa::read(&[3, 1, 1, 0xab, 0xcd]);
        assert_eq!((read.usage, read.selector, read.matching), (3, 1, 1));
        assert_eq!(read.association, [0xab, 0xcd]);
        assert_eq!(Tlsa::read(&[3, 1, 1]).association, []);
        for short in [&[][..], &[3], &[3, 1]] {
            assert_eq!(Tlsa::read(short).usage, 255, "{short:?}");
        }
    }
}
