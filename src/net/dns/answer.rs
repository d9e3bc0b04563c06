//! What octets from a server say to a question.
//!
//! Nothing here trusts the octets: an answer that is not to our question is none, whatever it says.

use super::Dnssec;
use super::data::Data;
use super::question::{OwnName, Question};
use crate::limits;
use domain::base::iana::{Class, Opcode, OptRcode, Rcode};
use domain::base::wire::ParseError;
use domain::base::{Message, ToName, Ttl};
use domain::rdata::{Cname, Soa};
use std::time::Duration;

/// What octets from a server are to a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not an answer to it: a forgery, a late answer to an earlier one, or noise.
    NotOurs,
    /// An answer with its end cut off.
    Truncated,
    /// The server does not know EDNS (RFC 6891 7).
    NoEdns,
    /// An answer of no use; what the server did.
    Failed(String),
    Answer(Heard),
}

/// What a server knows, for how long it is true, and whether the server has proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) answer: Answer,
    /// Zero where it is not to be kept: also where a negative answer does not say (RFC 2308 5).
    pub(super) ttl: Duration,
    pub(super) dnssec: Dnssec,
}

/// What a server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// At least one.
    Records(Vec<Data>),
    /// The name exists without a record of the type.
    NoRecords,
    NoSuchName,
    /// The name stands for another (after so many CNAMEs), about which the answer says nothing.
    Alias {
        name: OwnName,
        aliases: usize,
    },
}

impl Question {
    /// Reads what came back to the question that was asked with this id.
    pub(super) fn read(&self, id: u16, octets: &[u8]) -> Reading {
        let Ok(message) = Message::from_octets(octets) else {
            return Reading::NotOurs;
        };
        let header = message.header();
        if header.id() != id || !header.qr() || header.opcode() != Opcode::QUERY {
            return Reading::NotOurs;
        }
        let rcode = message.opt_rcode();
        let no_edns = matches!(
            rcode,
            OptRcode::FORMERR | OptRcode::NOTIMP | OptRcode::BADVERS
        );
        // A server that cannot read the question may leave it out.
        let bare = no_edns && message.header_counts().qdcount() == 0;
        if !(bare || self.is_question_of(&message)) {
            return Reading::NotOurs;
        }
        match rcode {
            _ if no_edns => Reading::NoEdns,
            _ if header.tc() => Reading::Truncated,
            OptRcode::NOERROR if is_referral(&message) => {
                Reading::Failed("sends us to other servers instead of answering".into())
            }
            OptRcode::NOERROR | OptRcode::NXDOMAIN => self.answer(&message).map_or_else(
                |_| Reading::Failed("gives a malformed answer".into()),
                Reading::Answer,
            ),
            other => Reading::Failed(format!("answers {other}")),
        }
    }

    fn is_question_of(&self, message: &Message<&[u8]>) -> bool {
        message.sole_question().is_ok_and(|question| {
            *question.qname() == self.name
                && question.qtype() == self.rtype
                && question.qclass() == Class::IN
        })
    }

    /// Goes along the CNAMEs from our name to its records (RFC 1034 3.6.2); records of other names are nothing to us.
    fn answer(&self, message: &Message<&[u8]>) -> Result<Heard, ParseError> {
        let mut name = self.name.clone();
        let mut aliases = 0;
        let mut ttl = Duration::MAX;
        let mut found = Vec::new();
        while aliases <= limits::DNS_ALIASES {
            let here = self.at(&name, message)?;
            ttl = ttl.min(here.ttl);
            found = here.records;
            let Some(alias) = here.alias.filter(|_| found.is_empty()) else {
                break;
            };
            name = alias;
            aliases += 1;
        }
        // NXDOMAIN is about the last name of a chain (RFC 6604 3).
        let answer = match message.header().rcode() {
            _ if !found.is_empty() => Answer::Records(found),
            _ if aliases > limits::DNS_ALIASES => Answer::Alias { name, aliases },
            Rcode::NXDOMAIN => {
                ttl = ttl.min(negative_ttl(message, &name).unwrap_or_default());
                Answer::NoSuchName
            }
            _ if aliases > 0 => Answer::Alias { name, aliases },
            _ => {
                ttl = ttl.min(negative_ttl(message, &name).unwrap_or_default());
                Answer::NoRecords
            }
        };
        let dnssec = match message.header().ad() {
            true => Dnssec::Validated,
            false => Dnssec::NotValidated,
        };
        Ok(Heard {
            answer,
            ttl,
            dnssec,
        })
    }

    /// What the answer holds of one name.
    fn at(&self, name: &OwnName, message: &Message<&[u8]>) -> Result<At, ParseError> {
        let mut at = At {
            records: Vec::new(),
            alias: None,
            ttl: Duration::MAX,
        };
        for record in message.answer()? {
            let record = record?;
            if record.class() != Class::IN || record.owner() != *name {
                continue;
            }
            if record.rtype() == self.rtype {
                let data = Data::read(&record)?;
                if at.records.len() < limits::DNS_RECORDS {
                    at.records.extend(data);
                }
            } else if let Some(alias) = record.to_record::<Cname<_>>()? {
                at.alias = Some(alias.data().cname().to_name());
            } else {
                continue;
            }
            at.ttl = at.ttl.min(duration(record.ttl()));
        }
        Ok(at)
    }
}

/// What an answer holds of one name.
struct At {
    records: Vec<Data>,
    alias: Option<OwnName>,
    /// The shortest of them.
    ttl: Duration,
}

impl Heard {
    /// Octets on the heap.
    pub(super) fn heap(&self) -> usize {
        match &self.answer {
            Answer::Records(records) => {
                let data = records.iter().map(Data::heap).sum::<usize>();
                records.capacity() * size_of::<Data>() + data
            }
            Answer::Alias { name, .. } => name.as_octets().capacity(),
            Answer::NoRecords | Answer::NoSuchName => 0,
        }
    }
}

/// How long "there is none" of a name may be believed (RFC 2308 3 and 5); None where no SOA of a zone above it says so.
fn negative_ttl(message: &Message<&[u8]>, name: &OwnName) -> Option<Duration> {
    let records = message.authority().ok()?.limit_to_in::<Soa<_>>();
    let of_zone = |soa: &domain::base::Record<_, Soa<_>>| name.ends_with(soa.owner());
    let soa = records.filter_map(Result::ok).find(of_zone)?;
    Some(duration(soa.ttl()).min(duration(soa.data().minimum())))
}

/// RFC 2181 8: with its first bit set it is none.
fn duration(ttl: Ttl) -> Duration {
    match ttl.as_secs() {
        seconds @ 0..0x8000_0000 => Duration::from_secs(seconds.into()),
        _ => Duration::ZERO,
    }
}

/// Whether it is from a server that does no look-ups for us: to take its empty answer for "no records" would lose mail.
fn is_referral(message: &Message<&[u8]>) -> bool {
    let header = message.header();
    message.header_counts().ancount() == 0 && !header.aa() && !header.ra()
}

#[cfg(test)]
mod tests {
    use super::super::question::Edns;
    use super::*;
    use domain::base::{MessageBuilder, Name, Rtype};
    use domain::rdata::{A, AllRecordData, Mx};
    use proptest::prelude::*;

    const ID: u16 = 0x1234;

    fn name(text: &str) -> OwnName {
        Name::vec_from_str(text).unwrap()
    }

    fn question(text: &str, rtype: Rtype) -> Question {
        Question::new(text, rtype).unwrap()
    }

    fn a(last: u8) -> AllRecordData<Vec<u8>, OwnName> {
        A::from_octets(192, 0, 2, last).into()
    }

    fn cname(to: &str) -> AllRecordData<Vec<u8>, OwnName> {
        Cname::new(name(to)).into()
    }

    fn mx(preference: u16, host: &str) -> AllRecordData<Vec<u8>, OwnName> {
        Mx::new(preference, name(host)).into()
    }

    /// The octets of an answer to a question.
    fn answer_to(
        question: &Question,
        rcode: Rcode,
        records: &[(&str, AllRecordData<Vec<u8>, OwnName>)],
    ) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(ID);
        header.set_qr(true);
        header.set_ra(true);
        header.set_rcode(rcode);
        let mut builder = builder.question();
        builder.push((&question.name, question.rtype)).unwrap();
        let mut builder = builder.answer();
        for (owner, data) in records {
            builder.push((name(owner), 60, data)).unwrap();
        }
        builder.finish()
    }

    /// The reading of an answer with this TTL.
    fn said(answer: Answer, seconds: u64) -> Reading {
        Reading::Answer(Heard {
            answer,
            ttl: Duration::from_secs(seconds),
            dnssec: Dnssec::NotValidated,
        })
    }

    fn address(last: u8) -> Data {
        Data::Address([192, 0, 2, last].into())
    }

    #[test]
    fn only_records_at_the_end_of_the_chain_count() {
        let asked = question("www.test", Rtype::A);
        let read = |records: &[_]| asked.read(ID, &answer_to(&asked, Rcode::NOERROR, records));
        assert_eq!(
            read(&[
                ("www.test", a(1)),
                ("bank.test", a(9)),
                ("WWW.test", a(2)),
                ("www.test", mx(1, "x.test"))
            ]),
            said(Answer::Records(vec![address(1), address(2)]), 60)
        );
        // In any order.
        assert_eq!(
            read(&[
                ("c.test", a(3)),
                ("b.test", cname("c.test")),
                ("www.test", cname("b.test"))
            ]),
            said(Answer::Records(vec![address(3)]), 60)
        );
        assert_eq!(
            read(&[("www.test", cname("b.test")), ("bank.test", a(9))]),
            said(
                Answer::Alias {
                    name: name("b.test"),
                    aliases: 1
                },
                60
            )
        );
        assert_eq!(read(&[("bank.test", a(9))]), said(Answer::NoRecords, 0));
    }

    /// An answer without records, with the SOA of this zone: its own TTL and what it allows.
    fn denial(asked: &Question, zone: &str, ttl: u32, minimum: u32) -> Reading {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(ID);
        header.set_qr(true);
        header.set_ra(true);
        header.set_rcode(Rcode::NXDOMAIN);
        let mut builder = builder.question();
        builder.push((&asked.name, asked.rtype)).unwrap();
        let mut builder = builder.authority();
        let some = Ttl::from_secs(86_400);
        let minimum = Ttl::from_secs(minimum);
        let serial = domain::base::Serial(1);
        let (ns, root) = (name("ns.test"), name("root.test"));
        let soa = Soa::new(ns, root, serial, some, some, some, minimum);
        builder.push((name(zone), ttl, soa)).unwrap();
        asked.read(ID, &builder.finish())
    }

    #[test]
    fn how_long_there_is_none_is_what_the_soa_of_a_zone_above_says() {
        let asked = question("www.a.test", Rtype::A);
        for (zone, ttl, minimum, kept) in [
            ("a.test", 300, 60, 60),
            ("A.test", 60, 300, 60),
            (".", 60, 60, 60),
            ("www.a.test", 0, 60, 0),
            ("a.test", 300, 0, 0),
            ("b.test", 60, 60, 0),
            ("x.www.a.test", 60, 60, 0),
            ("a.test", u32::MAX, 60, 0),
        ] {
            assert_eq!(
                denial(&asked, zone, ttl, minimum),
                said(Answer::NoSuchName, kept),
                "{zone} {ttl} {minimum}"
            );
        }
    }

    #[test]
    fn only_the_ad_bit_proves() {
        let asked = question("a.test", Rtype::A);
        let mut octets = answer_to(&asked, Rcode::NOERROR, &[("a.test", a(1))]);
        let proved = |octets: &[u8]| match asked.read(ID, octets) {
            Reading::Answer(heard) => heard.dnssec,
            other => panic!("{other:?}"),
        };
        assert_eq!(proved(&octets), Dnssec::NotValidated);
        domain::base::Header::for_message_slice_mut(&mut octets).set_ad(true);
        assert_eq!(proved(&octets), Dnssec::Validated);
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let asked = question("a.test", Rtype::A);
        let circle = [("a.test", cname("b.test")), ("b.test", cname("a.test"))];
        let Reading::Answer(Heard {
            answer: Answer::Alias { aliases, .. },
            ..
        }) = asked.read(ID, &answer_to(&asked, Rcode::NOERROR, &circle))
        else {
            panic!("an alias")
        };
        assert_eq!(aliases, limits::DNS_ALIASES + 1);
    }

    #[test]
    fn nxdomain_is_about_the_end_of_the_chain() {
        let asked = question("a.test", Rtype::MX);
        for records in [vec![], vec![("a.test", cname("gone.test"))]] {
            assert_eq!(
                asked.read(ID, &answer_to(&asked, Rcode::NXDOMAIN, &records)),
                said(Answer::NoSuchName, 0)
            );
        }
    }

    #[test]
    fn what_is_not_an_answer_to_the_question_is_nothing() {
        let asked = question("a.test", Rtype::A);
        let right = answer_to(&asked, Rcode::NOERROR, &[("a.test", a(1))]);
        assert_eq!(
            asked.read(ID, &right),
            said(Answer::Records(vec![address(1)]), 60)
        );
        assert_eq!(asked.read(ID + 1, &right), Reading::NotOurs);
        assert_eq!(
            question("b.test", Rtype::A).read(ID, &right),
            Reading::NotOurs
        );
        assert_eq!(
            question("a.test", Rtype::MX).read(ID, &right),
            Reading::NotOurs
        );
        assert_eq!(
            asked.read(ID, &asked.octets(ID, Edns::On).unwrap()),
            Reading::NotOurs
        );
        assert_eq!(asked.read(ID, &right[..11]), Reading::NotOurs);
        assert_eq!(asked.read(ID, &[]), Reading::NotOurs);
    }

    #[test]
    fn a_server_of_no_use_is_told_apart() {
        let asked = question("a.test", Rtype::A);
        let with = |change: fn(&mut domain::base::Header)| {
            let mut octets = answer_to(&asked, Rcode::NOERROR, &[]);
            change(domain::base::Header::for_message_slice_mut(&mut octets));
            asked.read(ID, &octets)
        };
        assert_eq!(with(|header| header.set_tc(true)), Reading::Truncated);
        assert_eq!(
            with(|header| header.set_rcode(Rcode::FORMERR)),
            Reading::NoEdns
        );
        assert_eq!(
            with(|header| header.set_rcode(Rcode::SERVFAIL)),
            Reading::Failed("answers SERVFAIL".into())
        );
        assert!(matches!(
            with(|header| header.set_ra(false)),
            Reading::Failed(_)
        ));
        let mut cut = answer_to(&asked, Rcode::NOERROR, &[("a.test", a(1))]);
        cut.truncate(cut.len() - 1);
        assert!(matches!(asked.read(ID, &cut), Reading::Failed(_)));
    }

    proptest! {
        /// Whatever a server sends: no panic, and never more records than fit into its octets.
        #[test]
        fn any_octets_are_survived(
            changes in prop::collection::vec((0usize..400, any::<u8>()), 0..24),
            end in 0usize..400,
            tail in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let asked = question("a.test", Rtype::MX);
            let records = [
                ("a.test", cname("b.test")),
                ("b.test", mx(10, "mx1.b.test")),
                ("b.test", mx(10, "mx2.b.test")),
                ("mx1.b.test", a(1)),
            ];
            let mut octets = answer_to(&asked, Rcode::NOERROR, &records);
            for (at, value) in changes {
                // Id and flags stay, so that the rest is read at all.
                if let Some(octet) = octets.get_mut(4 + at) {
                    *octet = value;
                }
            }
            octets.truncate(end.max(12));
            octets.extend(tail);
            if let Reading::Answer(Heard { answer: Answer::Records(records), .. }) = asked.read(ID, &octets) {
                prop_assert!(records.len() * 14 <= octets.len());
            }
        }
    }
}
