//! Questions as octets, and what octets from a server say to one.
//!
//! Nothing here trusts the octets: an answer that is not to our question is none, whatever it says.

use crate::limits;
use domain::base::iana::{Class, Opcode, OptRcode, Rcode};
use domain::base::message_builder::PushError;
use domain::base::name::FlattenInto;
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, Name, ParsedRecord, Rtype};
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
    Mx { preference: u16, exchange: String },
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
    /// None where the text is no name in DNS.
    pub(super) fn new(name: &str, rtype: Rtype) -> Option<Self> {
        let name = crate::policy::target::host_name(name)?;
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
                    next = Some(alias.data().cname().try_flatten_into());
                }
            }
            if !found.is_empty() {
                return Ok(Answer::Records(found));
            }
            match next {
                Some(Ok(alias)) if aliases <= limits::DNS_ALIASES => name = alias,
                _ => break,
            }
            aliases += 1;
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
            exchange: mx.data().exchange().to_string(),
        }),
        _ => None,
    })
}
