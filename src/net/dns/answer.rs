//! Questions as octets, and what octets from a server say to one.
//!
//! Nothing here trusts the octets: an answer that is not to our question is none, whatever it says.

use crate::limits;
use domain::base::iana::{Class, Opcode, OptRcode, Rcode};
use domain::base::message_builder::PushError;
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, Name, ParsedRecord, Rtype, ToName};
use domain::rdata::{A, Aaaa, Cname, Mx};
use std::net::IpAddr;

type OwnName = Name<Vec<u8>>;

/// One question, as it is asked and as answers are held against it.
#[derive(Clone, Debug)]
pub(super) struct Question {
    name: OwnName,
    rtype: Rtype,
}

/// Whether the question tells the server that long answers fit (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edns {
    On,
    Off,
}

/// One record of the type asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    /// The root, which stands for no host, is `.`.
    Mx {
        preference: u16,
        exchange: String,
    },
}

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
    Answer(Answer),
}

/// What a server knows.
#[derive(Debug, PartialEq, Eq)]
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
    /// None where the text is no name in DNS. Domains beyond ASCII have come to their A-labels before.
    pub(super) fn new(name: &str, rtype: Rtype) -> Option<Self> {
        let name = crate::policy::target::host_name(name).filter(|_| name.is_ascii())?;
        let name = Name::vec_from_str(&name).ok()?;
        Some(Self { name, rtype })
    }

    /// The same question about another name.
    pub(super) fn about(&self, name: OwnName) -> Self {
        Self {
            name,
            rtype: self.rtype,
        }
    }

    /// The octets of the question.
    pub(super) fn octets(&self, id: u16, edns: Edns) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((&self.name, self.rtype))?;
        let mut builder = builder.additional();
        if edns == Edns::On {
            let size = u16::try_from(limits::DNS_UDP_ANSWER).unwrap_or(u16::MAX);
            builder.opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })?;
        }
        Ok(builder.finish())
    }

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
    fn answer(&self, message: &Message<&[u8]>) -> Result<Answer, ParseError> {
        let mut name = self.name.clone();
        let mut aliases = 0;
        loop {
            let mut found = Vec::new();
            let mut next = None;
            for record in message.answer()? {
                let record = record?;
                if record.class() != Class::IN || record.owner() != name {
                    continue;
                }
                if record.rtype() == self.rtype {
                    found.extend(data(&record)?);
                } else if let Some(alias) = record.to_record::<Cname<_>>()? {
                    next = Some(alias.data().cname().to_name());
                }
            }
            if !found.is_empty() {
                return Ok(Answer::Records(found));
            }
            let Some(alias) = next else {
                break;
            };
            name = alias;
            aliases += 1;
            if aliases > limits::DNS_ALIASES {
                break;
            }
        }
        // NXDOMAIN is about the last name of a chain (RFC 6604 3).
        Ok(match message.header().rcode() {
            _ if aliases > limits::DNS_ALIASES => Answer::Alias { name, aliases },
            Rcode::NXDOMAIN => Answer::NoSuchName,
            _ if aliases > 0 => Answer::Alias { name, aliases },
            _ => Answer::NoRecords,
        })
    }
}

/// Whether it is from a server that does no look-ups for us: to take its empty answer for "no records" would lose mail.
fn is_referral(message: &Message<&[u8]>) -> bool {
    let header = message.header();
    message.header_counts().ancount() == 0 && !header.aa() && !header.ra()
}

fn data(record: &ParsedRecord<'_, &[u8]>) -> Result<Option<Data>, ParseError> {
    Ok(match record.rtype() {
        Rtype::A => record
            .to_record::<A>()?
            .map(|a| Data::Address(a.data().addr().into())),
        Rtype::AAAA => record
            .to_record::<Aaaa>()?
            .map(|aaaa| Data::Address(aaaa.data().addr().into())),
        Rtype::MX => record.to_record::<Mx<_>>()?.map(|mx| Data::Mx {
            preference: mx.data().preference(),
            exchange: mx.data().exchange().fmt_with_dot().to_string(),
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::rdata::AllRecordData;
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

    fn address(last: u8) -> Data {
        Data::Address([192, 0, 2, last].into())
    }

    #[test]
    fn names_that_dns_cannot_have_make_no_question() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = "a.".repeat(127) + "test";
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a@b",
            "é.test",
            "a\0",
            "a\\065",
            "a/b",
            &long_label,
            &long_name,
        ] {
            assert!(Question::new(text, Rtype::A).is_none(), "{text:?}");
        }
        for text in [
            "a",
            "A.Test.",
            "_x.under_score.test",
            "xn--9ca.test",
            "1.2.3.4",
        ] {
            assert!(Question::new(text, Rtype::A).is_some(), "{text:?}");
        }
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
            Reading::Answer(Answer::Records(vec![address(1), address(2)]))
        );
        // In any order.
        assert_eq!(
            read(&[
                ("c.test", a(3)),
                ("b.test", cname("c.test")),
                ("www.test", cname("b.test"))
            ]),
            Reading::Answer(Answer::Records(vec![address(3)]))
        );
        assert_eq!(
            read(&[("www.test", cname("b.test")), ("bank.test", a(9))]),
            Reading::Answer(Answer::Alias {
                name: name("b.test"),
                aliases: 1
            })
        );
        assert_eq!(
            read(&[("bank.test", a(9))]),
            Reading::Answer(Answer::NoRecords)
        );
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let asked = question("a.test", Rtype::A);
        let circle = [("a.test", cname("b.test")), ("b.test", cname("a.test"))];
        let Reading::Answer(Answer::Alias { aliases, .. }) =
            asked.read(ID, &answer_to(&asked, Rcode::NOERROR, &circle))
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
                Reading::Answer(Answer::NoSuchName)
            );
        }
    }

    #[test]
    fn what_is_not_an_answer_to_the_question_is_nothing() {
        let asked = question("a.test", Rtype::A);
        let right = answer_to(&asked, Rcode::NOERROR, &[("a.test", a(1))]);
        assert_eq!(
            asked.read(ID, &right),
            Reading::Answer(Answer::Records(vec![address(1)]))
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
            if let Reading::Answer(Answer::Records(records)) = asked.read(ID, &octets) {
                prop_assert!(records.len() * 14 <= octets.len());
            }
        }
    }
}
