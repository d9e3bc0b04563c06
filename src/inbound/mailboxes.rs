//! The mailboxes of a message that is on its way in: one message is one copy, however many names lead to one.

use crate::policy::relay;
use crate::policy::routes::Routes;
use crate::smtp::parameters::Notify;
use std::hash::{BuildHasher as _, RandomState};

/// Them, by hashes with a key of their own, and what their sender asked for each.
#[derive(Default)]
pub struct Mailboxes {
    hashes: Vec<u64>,
    wishes: Vec<Wish>,
    key: RandomState,
}

/// What is asked for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its number in the transaction.
    pub ordinal: u8,
    pub notify: Option<Notify>,
}

/// What a RCPT adds to a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// Mailboxes that are new to it, none twice, with their hashes.
    pub fresh: Vec<(&'a str, u64)>,
    /// More is asked now for those that it has: the wishes as they are to be.
    pub wider: Vec<Wish>,
}

impl Mailboxes {
    /// The most octets that those of one message take: vectors that grow by doubling.
    pub const fn memory(most: usize) -> usize {
        3 * most * (size_of::<u64>() + size_of::<Wish>())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// What these addresses add, for each of which this is asked. What one of a mailbox's names wants told is told.
    pub fn named<'a>(
        &self,
        routes: &Routes,
        addresses: &'a [String],
        notify: Option<Notify>,
    ) -> Named<'a> {
        let mut named = Named::default();
        named.fresh.reserve(addresses.len());
        for address in addresses {
            let mailbox = self.key.hash_one(relay::copy_key(address, routes));
            let known = self.hashes.iter().position(|&hash| hash == mailbox);
            if let Some(wish) = known.and_then(|at| self.wishes.get(at)) {
                let both = Notify::of_either(wish.notify, notify);
                let wider = Wish {
                    notify: both,
                    ..*wish
                };
                if both != wish.notify && !named.wider.contains(&wider) {
                    named.wider.push(wider);
                }
            } else if named.fresh.iter().all(|&(_, other)| other != mailbox) {
                named.fresh.push((address, mailbox));
            }
        }
        named
    }

    /// Keeps what was added; the first of the fresh ones has this number in the transaction.
    pub fn keep(&mut self, named: &Named<'_>, first: usize, notify: Option<Notify>) {
        for wider in &named.wider {
            let mut wishes = self.wishes.iter_mut();
            if let Some(wish) = wishes.find(|wish| wish.ordinal == wider.ordinal) {
                *wish = *wider;
            }
        }
        for (&(_, hash), ordinal) in named.fresh.iter().zip(first..) {
            self.hashes.push(hash);
            self.wishes.push(Wish {
                ordinal: u8::try_from(ordinal).unwrap_or(u8::MAX),
                notify,
            });
        }
    }
}
