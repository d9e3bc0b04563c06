//! The commands of one outgoing transaction, RSET to DATA or BDAT, and the replies to them.
//!
//! They always stand in the same order, so a few counts are the whole list of outstanding commands, whatever the number of
//! recipients.

use core::fmt::Write as _;

use heapless::{String, VecView};

use super::{Envelope, Event, Failure};
use crate::limits;
use crate::smtp::address::OriginalRecipient;
use crate::smtp::parameters::{Notify, Ret};
use crate::smtp::peer_offer::Offer;
use crate::smtp::reply_reader::{Class, EnhancedCode, Reply};

/// Which command a reply is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    Hello,
    StartTls,
    Reset,
    Mail,
    Recipient,
    Data,
    EndOfData,
    Quit,
}

/// A transaction before its message.
#[derive(Debug)]
pub(super) struct Group {
    reset: Command,
    mail: Command,
    recipients: usize,
    written: usize,
    answered: usize,
    accepted: usize,
    data: Command,
    /// BDAT instead of DATA.
    chunk: Option<Chunk>,
}

/// The whole message behind BDAT (RFC 3030).
#[derive(Clone, Copy, Debug)]
struct Chunk {
    octets: u64,
    is_sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Due,
    Written,
    Accepted,
    Refused,
}

/// RFC 5321 4.5.3.1.10 guarantees this many recipients; a 552 to a later one means "too many" and is temporary.
const RECIPIENTS_THAT_ANY_HOST_TAKES: usize = 100;

/// A command that never fits would be waited for without end. 128: verbs, brackets, keywords and their fixed values.
const _: () = assert!(limits::PEER_WRITE >= 128 + limits::MAILBOX + limits::ORCPT);
const _: () = assert!(limits::PEER_WRITE >= 128 + limits::MAILBOX + limits::ENVID);

/// Appends all the parts or, where they do not fit, none.
pub(super) fn push(out: &mut VecView<u8>, parts: &[&str]) -> bool {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if out.capacity() - out.len() < length {
        return false;
    }
    parts
        .iter()
        .all(|part| out.extend_from_slice(part.as_bytes()).is_ok())
}

impl Group {
    pub fn new(recipients: usize, reset_first: bool) -> Self {
        Self {
            reset: if reset_first {
                Command::Due
            } else {
                Command::Accepted
            },
            mail: Command::Due,
            recipients,
            written: 0,
            answered: 0,
            accepted: 0,
            data: Command::Due,
            chunk: None,
        }
    }

    /// The same, with the message behind the recipients in one write, where the peer takes that and it is small.
    pub fn with_chunk(self, envelope: &impl Envelope, offer: &Offer) -> Self {
        let octets = envelope.chunk().filter(|&octets| {
            offer.chunking && offer.pipelining && (1..=limits::PEER_CHUNK as u64).contains(&octets)
        });
        let is_sent = false;
        Self {
            chunk: octets.map(|octets| Chunk { octets, is_sent }),
            ..self
        }
    }

    /// The same, ended behind the recipients.
    pub fn without_data(self) -> Self {
        Self {
            data: Command::Refused,
            ..self
        }
    }

    /// The oldest command without a reply.
    pub fn awaited(&self) -> Option<Awaited> {
        if self.reset == Command::Written {
            Some(Awaited::Reset)
        } else if self.mail == Command::Written {
            Some(Awaited::Mail)
        } else if self.answered < self.written {
            Some(Awaited::Recipient)
        } else if self.data == Command::Written {
            Some(match self.chunk {
                Some(_) => Awaited::EndOfData,
                None => Awaited::Data,
            })
        } else {
            None
        }
    }

    /// The next command to write, should nothing keep it back. After bad news the rest is not written.
    fn due(&self) -> Option<Awaited> {
        if self.reset == Command::Due {
            Some(Awaited::Reset)
        } else if self.mail == Command::Due {
            Some(Awaited::Mail)
        } else if self.mail == Command::Refused {
            None
        } else if self.written < self.recipients {
            Some(Awaited::Recipient)
        } else if self.data == Command::Due && !self.is_refused_by_all() {
            Some(Awaited::Data)
        } else {
            None
        }
    }

    fn is_refused_by_all(&self) -> bool {
        self.answered == self.recipients && self.accepted == 0
    }

    pub fn write(&mut self, envelope: &impl Envelope, offer: &Offer, out: &mut VecView<u8>) {
        while let Some(command) = self.due() {
            if self.awaited().is_some() && !offer.pipelining {
                return;
            }
            let fits = match command {
                Awaited::Reset => push(out, &["RSET\r\n"]),
                Awaited::Mail => push_mail(envelope, offer, out),
                Awaited::Recipient => push_recipient(envelope, self.written, offer, out),
                _ => push_data(self.chunk, out),
            };
            if !fits {
                return;
            }
            match command {
                Awaited::Reset => self.reset = Command::Written,
                Awaited::Mail => self.mail = Command::Written,
                Awaited::Recipient => self.written += 1,
                _ => self.data = Command::Written,
            }
        }
    }

    /// Takes the reply to the oldest outstanding command.
    pub fn take_reply(&mut self, reply: &Reply) -> Result<Event, Failure> {
        let class = reply.class();
        match self.awaited() {
            // RSET cannot be refused (RFC 5321 4.1.1.5); without it, what follows would be a guess.
            Some(Awaited::Reset) if class == Class::Done => {
                self.reset = Command::Accepted;
                Ok(Event::Step)
            }
            Some(Awaited::Mail) => match class {
                Class::Done => {
                    self.mail = Command::Accepted;
                    Ok(Event::Step)
                }
                Class::GoOn => Err(Failure::Unexpected),
                _ => {
                    self.mail = Command::Refused;
                    Ok(Event::SenderRefused)
                }
            },
            Some(Awaited::Recipient) => self.take_recipient(reply),
            Some(Awaited::Data) => match class {
                Class::GoOn if reply.code() == 354 => {
                    self.data = Command::Accepted;
                    Ok(Event::Step)
                }
                Class::Temporary | Class::Permanent => {
                    self.data = Command::Refused;
                    Ok(Event::DataRefused)
                }
                _ => Err(Failure::Unexpected),
            },
            Some(Awaited::EndOfData) => self.take_verdict(reply),
            Some(_) => Err(Failure::Unexpected),
            None => Err(Failure::Unsolicited),
        }
    }

    fn take_recipient(&mut self, reply: &Reply) -> Result<Event, Failure> {
        let index = self.answered;
        let class = match reply.class() {
            Class::GoOn => return Err(Failure::Unexpected),
            Class::Permanent if self.is_too_many(reply) => Class::Temporary,
            class => class,
        };
        self.answered += 1;
        if class == Class::Done {
            self.accepted += 1;
        }
        Ok(Event::Recipient { index, class })
    }

    /// The reply to BDAT. It may come before the chunk is sent; then it is no success.
    fn take_verdict(&mut self, reply: &Reply) -> Result<Event, Failure> {
        let class = reply.class();
        match class {
            Class::GoOn => return Err(Failure::Unexpected),
            Class::Done if self.is_chunk_due() => return Err(Failure::Unsolicited),
            // It is for nobody, and has been refused or comes to nothing.
            _ if self.accepted == 0 => {
                self.data = Command::Refused;
                return Ok(Event::Step);
            }
            Class::Done => self.data = Command::Accepted,
            // Whether the octets behind it were read as a chunk or as commands is not known.
            Class::Permanent if (500..=504).contains(&reply.code()) => {
                return Err(Failure::ChunkRefused);
            }
            _ => self.data = Command::Refused,
        }
        Ok(Event::EndOfData(class))
    }

    /// Whether a 552 says "too many recipients" (RFC 5321 4.5.3.1.10): it speaks of the transaction, not of the recipient.
    fn is_too_many(&self, reply: &Reply) -> bool {
        const TOO_MANY: EnhancedCode = EnhancedCode {
            class: 5,
            subject: 5,
            detail: 3,
        };
        let late = self.answered >= RECIPIENTS_THAT_ANY_HOST_TAKES;
        reply.code() == 552 && (late || self.accepted > 0 && reply.enhanced() == TOO_MANY)
    }

    /// Whether all that will be written has been answered.
    pub fn is_answered(&self) -> bool {
        self.awaited().is_none() && self.due().is_none()
    }

    /// Octets of the message that goes by BDAT.
    pub fn chunk(&self) -> Option<u64> {
        self.chunk.map(|chunk| chunk.octets)
    }

    /// Whether the message's octets are to follow now.
    pub fn is_chunk_due(&self) -> bool {
        let is_written = matches!(self.data, Command::Written | Command::Refused);
        is_written && self.chunk.is_some_and(|chunk| !chunk.is_sent)
    }

    pub fn chunk_sent(&mut self) {
        if let Some(chunk) = &mut self.chunk {
            chunk.is_sent = true;
        }
    }

    pub fn takes_data(&self) -> bool {
        self.data == Command::Accepted
    }

    pub fn is_sender_accepted(&self) -> bool {
        self.mail == Command::Accepted
    }

    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// Whether the peer may hold a transaction open once the replies are in.
    pub fn is_open(&self) -> bool {
        !self.takes_data() && (self.is_sender_accepted() || self.accepted > 0)
    }
}

fn push_data(chunk: Option<Chunk>, out: &mut VecView<u8>) -> bool {
    let Some(Chunk { octets, .. }) = chunk else {
        return push(out, &["DATA\r\n"]);
    };
    let mut digits: String<20> = String::new();
    // The digits of the largest u64 fit.
    let _ = write!(digits, "{octets}");
    push(out, &["BDAT ", &digits, " LAST\r\n"])
}

fn push_mail(envelope: &impl Envelope, offer: &Offer, out: &mut VecView<u8>) -> bool {
    let mut size: String<26> = String::new();
    if offer.size.is_some() {
        // " SIZE=" and the 20 digits of the largest u64 fit.
        let _ = write!(size, " SIZE={}", envelope.size());
    }
    let body = if envelope.has_8bit_body() && offer.eight_bit_mime {
        " BODY=8BITMIME"
    } else {
        ""
    };
    let utf8 = if uses_utf8(envelope, offer) {
        " SMTPUTF8"
    } else {
        ""
    };
    let ret = match envelope.ret().filter(|_| offer.dsn) {
        Some(Ret::Full) => " RET=FULL",
        Some(Ret::Headers) => " RET=HDRS",
        None => "",
    };
    let (envid, id) = parameter(" ENVID=", envelope.envid().filter(|_| offer.dsn));
    let sender = envelope.sender();
    push(
        out,
        &[
            "MAIL FROM:<",
            sender,
            ">",
            &size,
            body,
            utf8,
            ret,
            envid,
            id,
            "\r\n",
        ],
    )
}

/// A parameter's key and value; both empty where there is none.
fn parameter<'a>(key: &'static str, value: Option<&'a str>) -> (&'static str, &'a str) {
    value.map_or(("", ""), |value| (key, value))
}

fn push_recipient(
    envelope: &impl Envelope,
    index: usize,
    offer: &Offer,
    out: &mut VecView<u8>,
) -> bool {
    let address = envelope.recipient(index);
    let notify = envelope.notify(index).filter(|_| offer.dsn);
    let original = envelope.orcpt(index).filter(|_| offer.dsn);
    let mut plain: String<{ limits::ORCPT }> = String::new();
    let original = original.and_then(|original| match OriginalRecipient::parse(original).ok()? {
        fit if offer.smtputf8 || fit.is_ascii() => Some(original),
        // Where it becomes too long, it is left out.
        utf8 => write!(plain, "{}", utf8.in_ascii())
            .ok()
            .map(|()| plain.as_str()),
    });
    let (orcpt, original) = parameter(" ORCPT=", original);
    push(
        out,
        &[
            "RCPT TO:<",
            address,
            ">",
            notify.map_or("", in_words),
            orcpt,
            original,
            "\r\n",
        ],
    )
}

fn in_words(notify: Notify) -> &'static str {
    match (notify.success, notify.failure, notify.delay) {
        (false, false, false) => " NOTIFY=NEVER",
        (true, false, false) => " NOTIFY=SUCCESS",
        (false, true, false) => " NOTIFY=FAILURE",
        (false, false, true) => " NOTIFY=DELAY",
        (true, true, false) => " NOTIFY=SUCCESS,FAILURE",
        (true, false, true) => " NOTIFY=SUCCESS,DELAY",
        (false, true, true) => " NOTIFY=FAILURE,DELAY",
        (true, true, true) => " NOTIFY=SUCCESS,FAILURE,DELAY",
    }
}

/// Whether the transaction is one with SMTPUTF8.
fn uses_utf8(envelope: &impl Envelope, offer: &Offer) -> bool {
    let is_utf8 = |text: &str| !text.is_ascii();
    let mut orcpts = (0..envelope.recipients()).filter_map(|index| envelope.orcpt(index));
    offer.smtputf8 && (needs_utf8(envelope) || offer.dsn && orcpts.any(is_utf8))
}

fn needs_utf8(envelope: &impl Envelope) -> bool {
    let mut recipients = (0..envelope.recipients()).map(|index| envelope.recipient(index));
    envelope.has_utf8_headers()
        || !envelope.sender().is_ascii()
        || recipients.any(|address| !address.is_ascii())
}
