//! Questions as octets.

use crate::limits;
use domain::base::message_builder::PushError;
use domain::base::{MessageBuilder, Name, Rtype};

pub(super) type OwnName = Name<Vec<u8>>;

/// One question, as it is asked and as answers are held against it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) name: OwnName,
    pub(super) rtype: Rtype,
}

/// Whether the question tells the server that long answers fit (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edns {
    On,
    Off,
}

impl Question {
    /// None where the text is no name in DNS. Domains beyond ASCII have come to their A-labels before.
    pub(super) fn new(name: &str, rtype: Rtype) -> Option<Self> {
        let name = crate::policy::target::host_name(name).filter(|_| name.is_ascii())?;
        let name = Name::vec_from_str(&name).ok()?;
        Some(Self { name, rtype })
    }

    /// What any server that looks things up can answer: who serves the root.
    pub(super) fn of_root() -> Self {
        Self {
            name: OwnName::root_vec(),
            rtype: Rtype::NS,
        }
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
        // RFC 6840 5.7: we understand the bit and want to know.
        builder.header_mut().set_ad(edns == Edns::On);
        let mut builder = builder.question();
        builder.push((&self.name, self.rtype))?;
        let mut builder = builder.additional();
        if edns == Edns::On {
            let size = u16::try_from(limits::DNS_UDP_ANSWER).unwrap_or(u16::MAX);
            // Signatures, which are nothing to us, would come with every answer: only where all hangs on the verdict are
            // they wanted, for servers that know no other way to ask for it (RFC 4035 3.2.1).
            let dnssec_ok = self.rtype == Rtype::TLSA;
            builder.opt(|opt| {
                opt.set_udp_payload_size(size);
                opt.set_dnssec_ok(dnssec_ok);
                Ok(())
            })?;
        }
        Ok(builder.finish())
    }

    /// Octets on the heap.
    pub(super) fn heap(&self) -> usize {
        self.name.as_octets().capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
