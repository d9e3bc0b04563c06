//! The sending side of SMTP as a state machine: what a peer sends goes in, commands and events come out.
//!
//! No I/O, no clock, no allocation. Whoever drives it repeats this, until [`Client::phase`] is where it wants to be:
//!
//! 1. write what [`Client::write_opening`] or [`Client::write_envelope`] puts into the buffer;
//! 2. read, within [`Client::patience`];
//! 3. give all that was read to [`Client::handle_input`], an event at a time.
//!
//! Replies are matched to commands in order, so it is the same machine with PIPELINING (RFC 2920) and without: with it, a
//! transaction's commands go out as far as the buffer holds, without it one by one.
//!
//! A message of at most [`limits::PEER_CHUNK`] octets goes in the same write as its envelope, as one BDAT (RFC 3030), to a
//! peer that offers CHUNKING and PIPELINING: one round trip a message, where DATA takes two.

mod envelope;
mod event;
mod failure;
mod group;
mod protocol;

use core::time::Duration;

use heapless::VecView;

use super::peer_offer::{Lack, Offer};
use super::reply_reader::{Class, Line, Reply, ReplyReader};
use crate::limits;
pub use envelope::Envelope;
pub use event::{Event, Phase};
pub use failure::Failure;
use group::{Awaited, Group, push};
use protocol::Hello;
pub use protocol::Protocol;

/// When the machine asks for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Not at all: the level is `none`, or TLS is up already.
    Never,
    /// Where the peer offers it.
    IfOffered,
    /// Always; a peer that does not offer it is given up.
    Required,
}

/// One connection to a peer.
#[derive(Debug)]
pub struct Client {
    reader: ReplyReader,
    offer: Offer,
    starttls: StartTls,
    protocol: Protocol,
    state: State,
    /// The peer may still hold the last transaction open: RSET goes before the next.
    open_transaction: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    Hello {
        word: Hello,
        written: bool,
    },
    StartTls {
        written: bool,
    },
    Upgrade,
    Ready,
    Envelope(Group),
    /// DATA was accepted though no recipient was: the message is a lone dot (RFC 2920 3.1).
    LoneDot {
        written: bool,
    },
    /// So many recipients were accepted.
    Body {
        accepted: usize,
    },
    /// So many replies are to come.
    EndOfData {
        due: usize,
    },
    Quit,
    Closed,
}

impl Client {
    /// For a connection just made, or one whose implicit TLS is up.
    #[must_use]
    pub fn new(starttls: StartTls) -> Self {
        Self::speaking(Protocol::Smtp, starttls)
    }

    /// The same, for a peer that speaks this protocol.
    #[must_use]
    pub fn speaking(protocol: Protocol, starttls: StartTls) -> Self {
        Self {
            protocol,
            reader: ReplyReader::new(),
            offer: Offer::default(),
            starttls,
            state: State::Greeting,
            open_transaction: false,
        }
    }

    /// What the machine waits for now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Upgrade => Phase::Upgrade,
            State::Ready => Phase::Ready,
            State::Body { .. } => Phase::Body,
            State::Envelope(group) if group.is_chunk_due() => Phase::Body,
            State::EndOfData { .. } => Phase::EndOfData,
            State::Envelope(group) if group.awaited() == Some(Awaited::EndOfData) => {
                Phase::EndOfData
            }
            State::Closed => Phase::Closed,
            _ => Phase::Talking,
        }
    }

    /// What the peer offers: since the last EHLO, so nothing between STARTTLS and the next.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The last reply, which the last event is about.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        self.reader.reply()
    }

    /// Whether STARTTLS has been written and TLS is not up.
    #[must_use]
    pub fn is_starting_tls(&self) -> bool {
        matches!(self.state, State::StartTls { .. } | State::Upgrade)
    }

    /// How long to wait for the next reply or, in the body, for a block to go out (RFC 5321 4.5.3.2).
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self.awaited() {
            Some(Awaited::Greeting) => limits::PEER_GREETING,
            Some(Awaited::StartTls) => limits::PEER_STARTTLS,
            Some(Awaited::Hello) => limits::PEER_HELLO,
            Some(Awaited::Reset | Awaited::Mail) => limits::PEER_MAIL,
            Some(Awaited::Recipient) => limits::PEER_RCPT,
            Some(Awaited::Data) => limits::PEER_DATA,
            Some(Awaited::EndOfData) => limits::PEER_END_OF_DATA,
            Some(Awaited::Quit) => limits::PEER_QUIT,
            None => limits::PEER_BLOCK,
        }
    }

    /// What is awaited or being done, in words for an error line.
    #[must_use]
    pub fn doing(&self) -> &'static str {
        match self.awaited() {
            Some(Awaited::Greeting) => "awaiting the greeting",
            Some(Awaited::Hello) => "awaiting the reply to EHLO",
            Some(Awaited::StartTls) => "awaiting the reply to STARTTLS",
            Some(Awaited::Reset) => "awaiting the reply to RSET",
            Some(Awaited::Mail) => "awaiting the reply to MAIL",
            Some(Awaited::Recipient) => "awaiting the reply to RCPT",
            Some(Awaited::Data) => "awaiting the reply to DATA",
            Some(Awaited::EndOfData) => "awaiting the reply to the message",
            Some(Awaited::Quit) => "awaiting the reply to QUIT",
            None if self.phase() == Phase::Body => "sending the message",
            None => "writing a command",
        }
    }

    /// Puts EHLO, HELO or STARTTLS into `out` when one is due.
    ///
    /// # Errors
    /// [`Failure::Unsolicited`]: a reply began before the command.
    pub fn write_opening(&mut self, own_name: &str, out: &mut VecView<u8>) -> Result<(), Failure> {
        self.check_step()?;
        match &mut self.state {
            State::Hello { word, written } if !*written => {
                *written = push(out, &[word.verb(), own_name, "\r\n"]);
            }
            State::StartTls { written } if !*written => *written = push(out, &["STARTTLS\r\n"]),
            _ => {}
        }
        Ok(())
    }

    /// TLS is up: all that was said before is forgotten, and EHLO is due (RFC 3207 4.2).
    pub fn tls_established(&mut self) {
        self.reader = ReplyReader::new();
        self.offer = Offer::default();
        self.starttls = StartTls::Never;
        self.state = self.hello();
    }

    /// The peer is known to refuse BDAT, whatever it offers: messages go by DATA.
    pub fn avoid_chunks(&mut self) {
        self.offer.chunking = false;
    }

    /// Begins a transaction, in [`Phase::Ready`]. Nothing is sent to a peer that lacks what the message needs.
    ///
    /// # Errors
    /// What the peer lacks; the connection stays ready.
    pub fn begin(&mut self, envelope: &impl Envelope) -> Result<(), Lack> {
        debug_assert_eq!(self.phase(), Phase::Ready);
        let group = Group::new(envelope.recipients(), self.open_transaction);
        let group = match self.protocol {
            Protocol::Smtp => group.with_chunk(envelope, &self.offer),
            Protocol::Lmtp => group,
        };
        self.begin_group(envelope, group)
    }

    /// The same, to hear what the peer says to the recipients: there is no DATA, and [`Phase::Ready`] comes behind RCPT.
    ///
    /// # Errors
    /// As [`Client::begin`]'s.
    pub fn begin_probe(&mut self, envelope: &impl Envelope) -> Result<(), Lack> {
        let group = Group::new(envelope.recipients(), self.open_transaction);
        self.begin_group(envelope, group.without_data())
    }

    fn begin_group(&mut self, envelope: &impl Envelope, group: Group) -> Result<(), Lack> {
        self.offer.admits(envelope)?;
        for index in 0..envelope.recipients() {
            self.offer.admits_address(envelope.recipient(index))?;
        }
        self.state = State::Envelope(group);
        Ok(())
    }

    /// Puts as many of the transaction's commands into `out` as are due and fit. `envelope` is [`Client::begin`]'s.
    ///
    /// # Errors
    /// [`Failure::Unsolicited`]: a reply began before the command.
    pub fn write_envelope(
        &mut self,
        envelope: &impl Envelope,
        out: &mut VecView<u8>,
    ) -> Result<(), Failure> {
        self.check_step()?;
        match &mut self.state {
            State::Envelope(group) => group.write(envelope, &self.offer, out),
            State::LoneDot { written } if !*written => *written = push(out, &[".\r\n"]),
            _ => {}
        }
        Ok(())
    }

    /// Octets of the message if, in [`Phase::Body`], it goes as one chunk: as it is, without a final dot.
    #[must_use]
    pub fn chunk(&self) -> Option<u64> {
        match &self.state {
            State::Envelope(group) => group.chunk(),
            _ => None,
        }
    }

    /// The message has been written to its end.
    pub fn body_sent(&mut self) {
        match &mut self.state {
            State::Envelope(group) => group.chunk_sent(),
            State::Body { accepted } => {
                let due = match self.protocol {
                    Protocol::Smtp => 1,
                    Protocol::Lmtp => *accepted,
                };
                self.state = State::EndOfData { due };
            }
            _ => {}
        }
    }

    fn hello(&self) -> State {
        State::Hello {
            word: Hello::of(self.protocol),
            written: false,
        }
    }

    /// Puts QUIT into `out`, in [`Phase::Ready`]; then one reply is awaited, whatever it says.
    pub fn write_quit(&mut self, out: &mut VecView<u8>) {
        self.state = match self.state {
            State::Ready if push(out, &["QUIT\r\n"]) => State::Quit,
            _ => State::Closed,
        };
    }

    /// Reads what the peer sent, to the end of one reply at most: how many octets were read, and what the reply meant.
    ///
    /// Call it again with the rest before the next command is written.
    pub fn handle_input(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        match self.state {
            State::Closed => return (input.len(), None),
            State::Upgrade if !input.is_empty() => {
                return (0, Some(self.fail(Failure::BehindStartTls)));
            }
            _ => {}
        }
        let mut read = 0;
        while read < input.len() {
            let (taken, line) = self.reader.read(&input[read..]);
            read += taken;
            match line {
                Ok(None) => {}
                Ok(Some(Line::More)) => self.take_line(),
                Ok(Some(Line::Last)) => {
                    self.take_line();
                    let behind = read < input.len();
                    return (read, Some(self.take_reply(behind)));
                }
                Err(problem) => return (read, Some(self.fail(Failure::NoReply(problem)))),
            }
        }
        (read, None)
    }

    fn take_line(&mut self) {
        let to_ehlo = matches!(
            self.state,
            State::Hello {
                word: Hello::Ehlo | Hello::Lhlo,
                written: true
            }
        );
        if to_ehlo && self.reply().class() == Class::Done {
            // The first line is the peer's name and greeting (RFC 5321 4.1.1.1).
            if self.reader.lines() > 1 {
                self.offer.take_line(self.reader.line());
            }
            self.reader.forget_line();
        }
    }

    /// The oldest command without a reply.
    fn awaited(&self) -> Option<Awaited> {
        match &self.state {
            State::Greeting => Some(Awaited::Greeting),
            State::Hello { written: true, .. } => Some(Awaited::Hello),
            State::StartTls { written: true } => Some(Awaited::StartTls),
            State::Envelope(group) => group.awaited(),
            State::LoneDot { written: true } | State::EndOfData { .. } => Some(Awaited::EndOfData),
            State::Quit => Some(Awaited::Quit),
            _ => None,
        }
    }

    /// A command must not go out behind the beginning of a reply that nothing asked for.
    fn check_step(&mut self) -> Result<(), Failure> {
        let in_step = self.reader.is_between() || self.awaited().is_some();
        if in_step {
            return Ok(());
        }
        self.state = State::Closed;
        Err(Failure::Unsolicited)
    }

    fn fail(&mut self, failure: Failure) -> Event {
        self.state = State::Closed;
        Event::Failed(failure)
    }

    fn take_reply(&mut self, behind: bool) -> Event {
        let (code, class) = (self.reply().code(), self.reply().class());
        if code == 421 && !matches!(self.state, State::Quit) {
            return self.fail(Failure::Closing);
        }
        match &mut self.state {
            State::Greeting if class == Class::Done => {
                let hello = self.hello();
                self.step(hello)
            }
            State::Hello {
                word,
                written: true,
            } => match class {
                Class::Done => self.after_hello(),
                Class::Permanent if *word == Hello::Ehlo && (500..=504).contains(&code) => self
                    .step(State::Hello {
                        word: Hello::Helo,
                        written: false,
                    }),
                _ => self.refused(class),
            },
            State::Greeting => self.refused(class),
            State::StartTls { written: true } => match code {
                220 if behind => self.fail(Failure::BehindStartTls),
                220 => self.step(State::Upgrade),
                _ => self.fail(Failure::StartTlsRefused),
            },
            State::Envelope(group) => {
                let event = group.take_reply(self.reader.reply());
                self.after_command(event)
            }
            State::LoneDot { written: true } => self.step(State::Ready),
            State::Body { .. } => self.early_verdict(class),
            State::EndOfData { due } => {
                let due = due.saturating_sub(1);
                self.verdict(class, due)
            }
            State::Quit => self.step(State::Closed),
            _ => self.fail(Failure::Unsolicited),
        }
    }

    fn step(&mut self, next: State) -> Event {
        self.state = next;
        Event::Step
    }

    fn refused(&mut self, class: Class) -> Event {
        self.fail(match class {
            Class::GoOn => Failure::Unexpected,
            _ => Failure::Refused,
        })
    }

    fn after_hello(&mut self) -> Event {
        match (self.starttls, self.offer.starttls) {
            (StartTls::Never, _) | (StartTls::IfOffered, false) => self.step(State::Ready),
            (StartTls::Required, false) => self.fail(Failure::NoStartTls),
            (_, true) => self.step(State::StartTls { written: false }),
        }
    }

    fn after_command(&mut self, event: Result<Event, Failure>) -> Event {
        let event = match event {
            Ok(event) => event,
            Err(failure) => return self.fail(failure),
        };
        let State::Envelope(group) = &self.state else {
            return event;
        };
        if !group.is_answered() {
            return event;
        }
        self.open_transaction = group.is_open();
        self.state = match (group.takes_data(), group.accepted()) {
            // What is still to be written of the chunk could be read as commands.
            _ if group.is_chunk_due() => State::Closed,
            (false, _) => State::Ready,
            _ if group.chunk().is_some() => State::Ready,
            // No reply follows a dot that is for nobody (RFC 2033 4.2): there is no way back into step.
            (true, 0) if self.protocol == Protocol::Lmtp => State::Closed,
            (true, 0) => State::LoneDot { written: false },
            (true, accepted) if group.is_sender_accepted() => State::Body { accepted },
            // A dot now could end a message that the peer believes in: close before it instead.
            (true, _) => return self.fail(Failure::Unexpected),
        };
        event
    }

    fn early_verdict(&mut self, class: Class) -> Event {
        match class {
            Class::Temporary | Class::Permanent => {
                self.state = State::Closed;
                self.on_message(class)
            }
            _ => self.fail(Failure::Unsolicited),
        }
    }

    fn verdict(&mut self, class: Class, due: usize) -> Event {
        if class == Class::GoOn {
            return self.fail(Failure::Unexpected);
        }
        self.open_transaction = false;
        self.state = match due {
            0 => State::Ready,
            due => State::EndOfData { due },
        };
        self.on_message(class)
    }

    fn on_message(&self, class: Class) -> Event {
        match self.protocol {
            Protocol::Smtp => Event::EndOfData(class),
            Protocol::Lmtp => Event::EndOfDataForOne(class),
        }
    }
}
