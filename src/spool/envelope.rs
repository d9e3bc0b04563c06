//! What a transaction says about a message besides its octets.

use super::Ticket;

/// RFC 3461 4.3: what a DSN is to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    Full,
    Headers,
}

/// MAIL's address and the parameters that the next hop or a DSN needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Without angle brackets; empty for the null sender.
    pub address: &'a str,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Return>,
    /// ENVID as it came, in xtext (RFC 3461 4.4).
    pub envid: Option<&'a str>,
}

/// What the message is, seen while it came (never what MAIL claimed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The body has octets above 127.
    pub eight_bit_body: bool,
    /// The header has octets above 127.
    pub utf8_headers: bool,
    /// The sender or a recipient has octets above 127.
    pub utf8_address: bool,
}

/// The end of a transaction.
#[derive(Default)]
pub struct Last<'a> {
    /// Header lines to put before the body (Received), with their CR LF; at most a part's size.
    pub head: &'a [u8],
    pub facts: Facts,
    /// For a DSN: the recipients of another message that need nothing more once this one is durable. The ticket is still
    /// to be settled for its other recipients.
    pub finishes: Option<(&'a Ticket, u128)>,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Its number in the transaction, from 0: bit `ordinal` of every mask.
    pub ordinal: u8,
    pub address: String,
}

impl Recipient {
    /// The recipient's bit in a mask.
    #[must_use]
    pub fn bit(&self) -> u128 {
        1 << self.ordinal
    }
}
