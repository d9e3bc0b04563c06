//! What a transaction says about a message besides its octets.

use super::{Id, Ticket};
use crate::smtp::parameters::{Notify, Ret};

/// MAIL's address and the parameters that the next hop or a DSN needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Without angle brackets; empty for the null sender.
    pub address: &'a str,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID as it came, in xtext (RFC 3461 4.4).
    pub envid: Option<&'a str>,
}

/// RCPT's address and the parameters that the next hop or a DSN needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressee<'a> {
    /// Without angle brackets.
    pub address: &'a str,
    /// NOTIFY (RFC 3461 4.1).
    pub notify: Option<Notify>,
    /// ORCPT as it came, with its address type (RFC 3461 4.2).
    pub orcpt: Option<&'a str>,
    pub role: Role,
}

/// What a recipient is to the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It gets it.
    #[default]
    Mailbox,
    /// It stands for several others, which get it; its sender is to be told so (RFC 3461 5.2.7.3).
    Expanded,
}

/// An address without parameters.
impl<'a> From<&'a str> for Addressee<'a> {
    fn from(address: &'a str) -> Self {
        Self {
            address,
            notify: None,
            orcpt: None,
            role: Role::Mailbox,
        }
    }
}

/// What the message is, seen while it came (never what MAIL claimed), and what it needs of its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The body has octets above 127.
    pub eight_bit_body: bool,
    /// The header has octets above 127.
    pub utf8_headers: bool,
    /// The sender or a recipient has octets above 127.
    pub utf8_address: bool,
    /// MAIL said REQUIRETLS (RFC 8689): every hop must promise TLS.
    pub require_tls: bool,
    /// It is a note to the postmaster: nobody is told what becomes of it.
    pub note: bool,
}

/// The end of a transaction.
#[derive(Default)]
pub struct Last<'a> {
    /// Header lines to put before the body (Received), with their CR LF; at most a part's size.
    pub head: &'a [u8],
    pub facts: Facts,
    /// For a DSN: what needs nothing more once this one is durable.
    pub settles: Option<Settles<'a>>,
}

/// What a DSN tells of.
#[derive(Clone, Copy)]
pub enum Settles<'a> {
    /// These recipients of a message in flight. The ticket is still to be settled for the others; so is each other ticket
    /// that has some of these, even if nothing is left of it.
    Recipients(&'a Ticket, u128),
    /// The same, for what a report tells of them.
    Reported(&'a Ticket, Reported),
    /// A damaged message ([`super::Lost`]).
    Damaged(Id),
}

/// What a DSN tells of a message's recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// They need nothing more, as long as somebody gets the DSN: no Done of their own says so.
    pub done: u128,
    /// They need nothing more whatever becomes of the DSN: the commit says so, and Done does once the ticket is settled.
    /// From the disk they come back among `done`.
    pub delivered: u128,
    /// That they are delayed; nobody is told of it again.
    pub delayed: u128,
    /// They need nothing more, but the message is kept for the DSN, which refers to it: recipients of the ticket itself.
    pub held: u128,
}

/// What is asked for one of these recipients from now on, if it is among them.
pub(super) fn ask(recipients: &mut [Recipient], ordinal: u8, notify: Notify) {
    let mut recipients = recipients.iter_mut();
    if let Some(recipient) = recipients.find(|one| one.ordinal == ordinal) {
        recipient.notify = Some(notify);
    }
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Its number in the transaction, from 0: bit `ordinal` of every mask.
    pub ordinal: u8,
    pub address: String,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT, octet for octet.
    pub orcpt: Option<String>,
    pub role: Role,
}

impl Recipient {
    pub(super) fn new(ordinal: u8, recipient: &Addressee<'_>) -> Self {
        Self {
            ordinal,
            address: recipient.address.to_owned(),
            notify: recipient.notify,
            orcpt: recipient.orcpt.map(str::to_owned),
            role: recipient.role,
        }
    }

    /// The recipient's bit in a mask.
    #[must_use]
    pub fn bit(&self) -> u128 {
        1 << self.ordinal
    }

    /// Whether it stands for others, and gets nothing itself.
    #[must_use]
    pub fn is_expanded(&self) -> bool {
        self.role == Role::Expanded
    }

    /// Whether the sender is to be told of success: only where NOTIFY asks for it.
    #[must_use]
    pub fn wants_success_told(&self) -> bool {
        self.notify.is_some_and(|notify| notify.success)
    }

    /// Whether the sender is to be told of a delay: only where NOTIFY asks for it.
    #[must_use]
    pub fn wants_delay_told(&self) -> bool {
        self.notify.is_some_and(|notify| notify.delay)
    }

    /// Whether the sender is to be told of a failure: yes, unless NOTIFY leaves it out (RFC 3461 4.1).
    #[must_use]
    pub fn wants_failure_told(&self) -> bool {
        self.notify.is_none_or(|notify| notify.failure)
    }
}
