//! What a transaction says of its message, as the sending side asks for it.

use crate::smtp::parameters::{Notify, Ret};

/// What a transaction says of its message. The addresses are without angle brackets; the null sender is empty.
pub trait Envelope {
    /// MAIL's address; empty: the null sender.
    fn sender(&self) -> &str;
    /// How many recipients there are.
    fn recipients(&self) -> usize;
    /// The recipient of this index, below [`Envelope::recipients`].
    fn recipient(&self, index: usize) -> &str;
    /// Octets of the message with its header, before dot-stuffing.
    fn size(&self) -> u64;
    /// The same, where that is exact and the message may go by BDAT (RFC 3030): on a first attempt, so that a host that
    /// offers it and cannot do it gets the message by DATA on the next.
    fn chunk(&self) -> Option<u64> {
        None
    }
    /// Whether its body has octets above 127: 8BITMIME is needed (RFC 6152).
    fn has_8bit_body(&self) -> bool;
    /// Whether its header has: SMTPUTF8 is needed (RFC 6531).
    fn has_utf8_headers(&self) -> bool;
    /// REQUIRETLS (RFC 8689).
    fn requires_tls(&self) -> bool;
    /// RET (RFC 3461 4.3).
    fn ret(&self) -> Option<Ret> {
        None
    }
    /// ENVID in xtext (RFC 3461 4.4).
    fn envid(&self) -> Option<&str> {
        None
    }
    /// NOTIFY of the recipient of this index (RFC 3461 4.1).
    fn notify(&self, _index: usize) -> Option<Notify> {
        None
    }
    /// ORCPT of the recipient of this index: address type, `;` and address as they came (RFC 3461 4.2).
    fn orcpt(&self, _index: usize) -> Option<&str> {
        None
    }
}
