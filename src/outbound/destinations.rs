//! A message's recipients by where they go.

use crate::policy::idn;
use crate::policy::relay::unquoted;
use crate::policy::routes::{Lane, Routes, domain};
use crate::policy::target::Target;
use crate::smtp::parameters::Notify;
use crate::spool::Recipient;
use std::borrow::Cow;
use std::fmt;

/// Recipients that one transaction can serve.
#[derive(Debug, PartialEq, Eq)]
pub struct Group<'r, 'm> {
    /// Whose connections it shares.
    pub lane: Lane,
    /// Where they go.
    pub target: &'r Target,
    /// The domain of the first of them, as [`idn::key`] has it.
    pub domain: Cow<'m, str>,
    /// Their bits.
    pub mask: u128,
}

/// Where a connection, an attempt or a failure belongs.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The next hop.
    pub target: Target,
    /// The recipients' domain, as [`idn::key`] has it; it tells destinations apart where the target is its MX.
    pub domain: String,
}

impl Destination {
    /// Where the group's mail goes.
    #[must_use]
    pub fn of(group: &Group<'_, '_>) -> Self {
        Self {
            target: group.target.clone(),
            domain: group.domain.clone().into_owned(),
        }
    }

    /// Whether mail for both goes to the same hosts.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        is_same((&self.target, &self.domain), (&other.target, &other.domain))
    }
}

/// As a flag would name it; for an MX, with its domain.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Mx => write!(f, "mx:{}", self.domain),
            target => target.fmt(f),
        }
    }
}

/// Groups recipients: those of one configured target together, those found by MX by their domain.
///
/// Not by lane alone, because two destinations can share a lane's number.
#[must_use]
pub fn groups<'r, 'm>(routes: &'r Routes, recipients: &'m [Recipient]) -> Vec<Group<'r, 'm>> {
    let mut groups: Vec<Group<'r, 'm>> = Vec::with_capacity(1);
    for recipient in recipients {
        let domain = idn::key(domain(&recipient.address));
        let target = routes.target(&domain);
        match groups
            .iter_mut()
            .find(|group| is_same((group.target, &group.domain), (target, &domain)))
        {
            Some(group) => group.mask |= recipient.bit(),
            None => groups.push(Group {
                lane: routes.lane(&recipient.address),
                target,
                domain,
                mask: recipient.bit(),
            }),
        }
    }
    groups
}

fn is_same(one: (&Target, &str), other: (&Target, &str)) -> bool {
    one.0 == other.0 && (*one.0 != Target::Mx || one.1 == other.1)
}

/// Leaves one of the recipients with the same address: local parts are told apart by case, domains are not (RFC 5321 2.4).
/// U-labels and A-labels stay two, for a host may take only one of them.
/// Returns the bits of each that is left, with those of its twins: what becomes of it becomes of them, and what one of them
/// wants told is told.
#[must_use]
pub fn merge_twins(recipients: &mut Vec<Recipient>) -> Vec<u128> {
    let mut bits: Vec<u128> = Vec::with_capacity(recipients.len());
    let mut kept: Vec<Recipient> = Vec::with_capacity(recipients.len());
    for recipient in recipients.drain(..) {
        let twin = kept
            .iter()
            .position(|known| is_twin(&known.address, &recipient.address));
        match twin.and_then(|at| bits.get_mut(at)) {
            Some(of_both) => {
                *of_both |= recipient.bit();
                if let Some(known) = twin.and_then(|at| kept.get_mut(at)) {
                    known.notify = Notify::of_either(known.notify, recipient.notify);
                }
            }
            None => {
                bits.push(recipient.bit());
                kept.push(recipient);
            }
        }
    }
    *recipients = kept;
    bits
}

fn is_twin(one: &str, other: &str) -> bool {
    let of_domain = domain(one).len();
    one.eq_ignore_ascii_case(other)
        && one.get(..one.len() - of_domain) == other.get(..other.len() - of_domain)
}

/// What stands before it, without the quotes that a quoted local part has in SMTP (RFC 5321 4.1.2).
#[must_use]
pub fn local_part(address: &str) -> String {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
    unquoted(local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Role;

    #[test]
    fn recipients_of_one_next_hop_stay_together() {
        let mut routes = Routes::default();
        routes
            .add(".example", "smtp:[hub]".parse().unwrap())
            .unwrap();
        let addresses = [
            "a@one.example",
            "b@far.test",
            "c@two.example",
            "d@FAR.test",
            "e@other.test",
            "f@ü.test",
            "g@xn--tda.test",
        ];
        let recipients: Vec<_> = (0..)
            .zip(addresses)
            .map(|(ordinal, address)| Recipient {
                ordinal,
                address: address.to_owned(),
                notify: None,
                orcpt: None,
                role: Role::Mailbox,
            })
            .collect();
        let found = groups(&routes, &recipients);
        let masks: Vec<_> = found
            .iter()
            .map(|group| (group.domain.as_ref(), group.mask))
            .collect();
        assert_eq!(
            masks,
            [
                ("one.example", 0b101),
                ("far.test", 0b1010),
                ("other.test", 0b10000),
                ("xn--tda.test", 0b110_0000)
            ]
        );
        assert!(
            found
                .iter()
                .all(|group| group.lane == routes.lane(&format!("x@{}", group.domain)))
        );
    }

    #[test]
    fn local_parts_lose_their_quotes() {
        for (address, local) in [
            ("ann@example.com", "ann"),
            ("\"ann\"@example.com", "ann"),
            ("\"a\\\"b@c\"@example.com", "a\"b@c"),
            ("\"\"@example.com", ""),
            ("root", "root"),
        ] {
            assert_eq!(local_part(address), local);
        }
    }

    #[test]
    fn an_address_given_twice_is_served_once() {
        let addresses = [
            "ann@one.test",
            "Ann@one.test",
            "ann@ONE.test",
            "bob@one.test",
            "ann@one.test",
            "root",
            "Root",
            "root",
        ];
        let mut recipients: Vec<_> = (0..)
            .zip(addresses)
            .map(|(ordinal, address)| Recipient {
                ordinal,
                address: address.to_owned(),
                notify: (ordinal == 0).then(Notify::default),
                orcpt: None,
                role: Role::Mailbox,
            })
            .collect();
        let bits = merge_twins(&mut recipients);
        // The first one said NEVER, its twins nothing.
        assert!(recipients.iter().all(Recipient::wants_failure_told));
        let left: Vec<_> = recipients
            .iter()
            .map(|to| to.address.as_str())
            .zip(bits)
            .collect();
        assert_eq!(
            left,
            [
                ("ann@one.test", 0b1_0101),
                ("Ann@one.test", 0b10),
                ("bob@one.test", 0b1000),
                ("root", 0b1010_0000),
                ("Root", 0b100_0000),
            ]
        );
    }
}
