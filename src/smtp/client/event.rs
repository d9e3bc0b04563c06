//! Where the sending side's conversation stands, and what a reply meant.

use super::Failure;
use crate::smtp::reply_reader::Class;

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Commands are to be written or replies awaited.
    Talking,
    /// The TLS handshake is due, then [`super::Client::tls_established`].
    Upgrade,
    /// A transaction may begin. After one has begun: it is over, and each of its verdicts has been an event.
    Ready,
    /// The message is to be sent, then [`super::Client::body_sent`]. In one write with the envelope (BDAT), replies to the envelope
    /// may come meanwhile.
    Body,
    /// The reply to the message is awaited.
    EndOfData,
    /// Nothing more is to be said or heard.
    Closed,
}

/// What a reply meant. The reply itself is [`super::Client::reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The conversation went on.
    Step,
    /// MAIL was refused, and so is the message.
    SenderRefused,
    /// The verdict on one recipient. Done: accepted, unless DATA or the message is refused.
    Recipient {
        /// Its place in the envelope.
        index: usize,
        /// The verdict.
        class: Class,
    },
    /// DATA was refused, and with it the accepted recipients.
    DataRefused,
    /// The verdict on the message: never [`Class::GoOn`]. It may come before the message is sent; then it is no success,
    /// and the connection is closed.
    EndOfData(Class),
    /// In LMTP the message's verdict for one recipient: the first that was accepted and has none yet. Never [`Class::GoOn`].
    EndOfDataForOne(Class),
    /// The connection is of no use any more.
    Failed(Failure),
}
