//! The receiving side as a state machine: bytes in, replies and steps out.
//!
//! [`Server::handle_input`] takes the front of what has come in and tells what to do about it. The steps [`Step::Mail`],
//! [`Step::Rcpt`], [`Step::Data`] and [`Step::EndOfData`] wait for a verdict from outside; until it is given, no input is
//! taken. Replies are appended to the caller's buffer, so that a pipelined group is answered in one write (RFC 2920 3.2).
//!
//! The machine is generic over two proofs that only other layers can make: `D`, whose text is the queue id, without which
//! no 250 follows a message; and `T`, without which no session is inside TLS.

use super::address::Path;
use super::command::{self, Command};
use super::extensions::Offer;
use super::intake::Intake;
use super::line::{Cut, Lines};
use super::parameters::{MailParameters, RcptParameters};
use super::reply::{self, Quoted, Reply};
use crate::limits;
use core::fmt::Display;
use core::marker::PhantomData;
use core::time::Duration;
use heapless::VecView;

mod budget;
mod message;

pub use super::steps::{Ended, Settings, Step, Verdict};
use budget::Budget;
use message::Chunk;

#[derive(Clone, Copy, Debug)]
enum State {
    Command,
    AwaitMail,
    AwaitRcpt,
    AwaitData,
    /// As [`State::AwaitData`], for the first chunk of a message.
    AwaitChunk(Chunk),
    Data,
    Chunk(Chunk),
    AwaitEnd,
    AwaitTls,
    Closed,
}

/// One session's receiving side.
#[derive(Debug)]
pub struct Server<D, T> {
    lines: Lines,
    state: State,
    tls: Option<T>,
    greeted: bool,
    /// MAIL was accepted.
    transaction: bool,
    /// MAIL had SMTPUTF8.
    utf8: bool,
    /// A chunk was refused: no message comes of this transaction (RFC 3030 2).
    chunk_failed: bool,
    /// The message being read.
    intake: Option<Intake>,
    recipients: usize,
    budget: Budget,
    durable: PhantomData<fn(D)>,
}

impl<D: Display, T> Server<D, T> {
    /// A session in clear.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: Lines::default(),
            state: State::Command,
            tls: None,
            greeted: false,
            transaction: false,
            utf8: false,
            chunk_failed: false,
            intake: None,
            recipients: 0,
            budget: Budget::default(),
            durable: PhantomData,
        }
    }

    /// A session whose handshake came first (RFC 8314).
    #[must_use]
    pub fn in_tls(proof: T) -> Self {
        Self {
            tls: Some(proof),
            ..Self::new()
        }
    }

    /// The proof that TLS is up, where it is.
    #[must_use]
    pub fn tls(&self) -> Option<&T> {
        self.tls.as_ref()
    }

    /// Whether message data is being read.
    #[must_use]
    pub fn in_data(&self) -> bool {
        matches!(self.state, State::Data | State::Chunk(_))
    }

    /// Whether a message is being read: its data, or a command between its chunks (RFC 3030).
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.intake.is_some() || self.in_data()
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction
    }

    /// How long to wait for the client (RFC 5321 4.5.3.2).
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.in_data() {
            limits::DATA_READ
        } else {
            limits::COMMAND_IDLE
        }
    }

    /// Writes the greeting.
    pub fn greet(&self, settings: &Settings<'_>, out: &mut VecView<u8>) {
        reply::write_line(out, format_args!("220 {} ESMTP facteur", settings.hostname));
    }

    /// Takes the front of the input: how many octets of it are used, and what to do now.
    pub fn handle_input<'a>(
        &mut self,
        settings: &Settings<'_>,
        input: &'a [u8],
        out: &mut VecView<u8>,
    ) -> (usize, Step<'a>) {
        if out.capacity() - out.len() < limits::REPLY {
            return (0, Step::Output);
        }
        match self.state {
            State::Data => self.handle_data(input, out),
            State::Chunk(chunk) => self.handle_chunk(chunk, input, out),
            State::Command => self.handle_line(settings, input, out),
            State::Closed => (input.len(), Step::Close(Ended::Shut)),
            State::AwaitMail
            | State::AwaitRcpt
            | State::AwaitData
            | State::AwaitChunk(_)
            | State::AwaitEnd
            | State::AwaitTls => (0, Step::Input),
        }
    }

    fn handle_line<'a>(
        &mut self,
        settings: &Settings<'_>,
        input: &'a [u8],
        out: &mut VecView<u8>,
    ) -> (usize, Step<'a>) {
        match self.lines.cut(input) {
            Cut::Partial { used } => (used, Step::Input),
            Cut::Bare { text } | Cut::Line { text, .. } if command::is_http(text) => {
                (input.len(), self.vanish())
            }
            Cut::TooLong { start, .. } if command::is_http(&start) => (input.len(), self.vanish()),
            Cut::TooLong { start, .. } if command::begins_chunk(&start) => {
                (input.len(), self.bad_chunk(out))
            }
            Cut::TooLong { used, .. } => (used, self.refuse(reply::LINE_TOO_LONG, out)),
            Cut::Bare { .. } => {
                reply::write(out, reply::BARE_LINE_END);
                (input.len(), self.close(Ended::BareLineEnd))
            }
            Cut::Line { text, used } => {
                let in_clear = settings.require_tls && self.tls.is_none();
                let parsed = if in_clear {
                    Command::parse_in_clear(text)
                } else {
                    Command::parse(text)
                };
                let step = match self.check(settings, parsed) {
                    Err(reply::BAD_CHUNK) => self.bad_chunk(out),
                    Ok(command) => self.obey(settings, command, input.len() > used, out),
                    Err(refusal) => self.refuse(refusal, out),
                };
                (
                    if matches!(step, Step::Close(_) | Step::Vanish) {
                        input.len()
                    } else {
                        used
                    },
                    step,
                )
            }
        }
    }

    /// Whether the command may come now.
    fn check<'a>(
        &self,
        settings: &Settings<'_>,
        command: Result<Command<'a>, Reply>,
    ) -> Result<Command<'a>, Reply> {
        let command = command?;
        match command {
            Command::Mail(..) if !self.greeted => Err(reply::HELLO_FIRST),
            Command::Mail(..) if self.transaction => Err(reply::BAD_SEQUENCE),
            Command::Rcpt(..) | Command::Data if self.intake.is_some() || self.chunk_failed => {
                Err(reply::BAD_SEQUENCE)
            }
            Command::Rcpt(..) if !self.transaction => Err(reply::BAD_SEQUENCE),
            Command::Rcpt(..) if self.recipients >= limits::RECIPIENTS => {
                Err(reply::TOO_MANY_RECIPIENTS)
            }
            Command::Data if self.recipients == 0 => Err(reply::BAD_SEQUENCE),
            Command::StartTls if self.tls.is_some() => Err(reply::ALREADY_TLS),
            Command::StartTls if !settings.starttls => Err(reply::NOT_IMPLEMENTED),
            Command::Expn | Command::Auth => Err(reply::NOT_IMPLEMENTED),
            _ => Ok(command),
        }
    }

    fn obey<'a>(
        &mut self,
        settings: &Settings<'_>,
        command: Command<'a>,
        more_input: bool,
        out: &mut VecView<u8>,
    ) -> Step<'a> {
        match command {
            Command::Ehlo(word) => self.hello(settings, word, true, out),
            Command::Helo(word) => self.hello(settings, word, false, out),
            Command::Mail(sender, rest) => self.mail(settings, sender, rest, out),
            Command::Rcpt(recipient, rest) => self.rcpt(recipient, rest, out),
            Command::Data => {
                self.state = State::AwaitData;
                Step::Data
            }
            Command::Bdat(size, last) => self.bdat(settings, size, last, out),
            Command::StartTls if more_input => {
                reply::write(out, reply::AFTER_STARTTLS);
                self.close(Ended::Injection)
            }
            Command::StartTls => {
                reply::write(out, reply::READY_FOR_TLS);
                self.state = State::AwaitTls;
                Step::StartTls
            }
            Command::Rset => {
                self.forget_transaction();
                reply::write(out, reply::RESET_OK);
                self.idle(Step::Reset, out)
            }
            Command::Quit => {
                reply::write(out, reply::BYE);
                self.close(Ended::Quit)
            }
            Command::Noop => self.idle_answer(reply::OK, out),
            Command::Vrfy => self.idle_answer(reply::CANNOT_VERIFY, out),
            Command::Help => self.idle_answer(reply::HELP, out),
            Command::Expn | Command::Auth => self.refuse(reply::NOT_IMPLEMENTED, out),
        }
    }

    /// EHLO or HELO: a transaction is reset (RFC 5321 4.1.4).
    fn hello<'a>(
        &mut self,
        settings: &Settings<'_>,
        word: &'a str,
        extended: bool,
        out: &mut VecView<u8>,
    ) -> Step<'a> {
        self.forget_transaction();
        self.greeted = true;
        if extended {
            let offer = Offer {
                size: settings.message_size,
                starttls: settings.starttls && self.tls.is_none(),
                require_tls: self.tls.is_some(),
            };
            offer.write(out, settings.hostname);
        } else {
            reply::write_line(out, format_args!("250 {}", settings.hostname));
        }
        self.idle(Step::Hello { word, extended }, out)
    }

    fn mail<'a>(
        &mut self,
        settings: &Settings<'_>,
        sender: Path<'a>,
        rest: &'a str,
        out: &mut VecView<u8>,
    ) -> Step<'a> {
        let parameters = match MailParameters::parse(rest) {
            Ok(parameters) => parameters,
            Err(refusal) => return self.refuse(refusal, out),
        };
        if !sender.is_ascii() && !parameters.smtputf8 {
            return self.refuse(reply::UTF8_SENDER, out);
        }
        if parameters.require_tls && self.tls.is_none() {
            return self.refuse(reply::TLS_NEEDED, out);
        }
        if parameters
            .size
            .is_some_and(|size| size > settings.message_size)
        {
            return self.refuse(reply::TOO_BIG, out);
        }
        self.state = State::AwaitMail;
        self.utf8 = parameters.smtputf8;
        Step::Mail { sender, parameters }
    }

    fn rcpt<'a>(&mut self, recipient: Path<'a>, rest: &'a str, out: &mut VecView<u8>) -> Step<'a> {
        let parameters = match RcptParameters::parse(rest, self.utf8) {
            Ok(parameters) => parameters,
            Err(refusal) => return self.refuse(refusal, out),
        };
        if !recipient.is_ascii() && !self.utf8 {
            return self.refuse_recipient(reply::UTF8_RECIPIENT, out);
        }
        self.state = State::AwaitRcpt;
        Step::Rcpt {
            recipient,
            parameters,
        }
    }

    /// Answers what [`Step::Mail`], [`Step::Rcpt`], [`Step::Data`] or [`Step::EndOfData`] asked.
    ///
    /// Accepting a message takes [`Server::accepted`]: `Accept` at the end of data is answered 451, for nothing proves
    /// that the message is kept.
    pub fn verdict(
        &mut self,
        settings: &Settings<'_>,
        verdict: Verdict,
        out: &mut VecView<u8>,
    ) -> Step<'static> {
        let state = core::mem::replace(&mut self.state, State::Command);
        match (state, verdict) {
            (State::AwaitMail, Verdict::Accept) => {
                self.transaction = true;
                self.recipients = 0;
                self.answer(reply::SENDER_OK, out)
            }
            (State::AwaitRcpt, Verdict::Accept) => {
                self.recipients += 1;
                self.answer(reply::RECIPIENT_OK, out)
            }
            (State::AwaitRcpt, Verdict::Refuse(refusal)) => self.refuse_recipient(refusal, out),
            (State::AwaitData, Verdict::Accept) => {
                self.state = State::Data;
                self.intake = Some(Intake::new(settings.line_ends, settings.message_size));
                self.answer(reply::SEND_DATA, out)
            }
            (State::AwaitChunk(chunk), verdict) => self.first_chunk(settings, chunk, verdict),
            (State::AwaitEnd, verdict) => {
                self.forget_transaction();
                let refusal = match verdict {
                    Verdict::Refuse(refusal) => refusal,
                    Verdict::Accept => reply::DISK_ERROR,
                };
                self.refuse(refusal, out)
            }
            (State::AwaitMail | State::AwaitData, Verdict::Refuse(refusal)) => {
                self.refuse(refusal, out)
            }
            (state, _) => {
                self.state = state; // nothing was asked
                Step::Next
            }
        }
    }

    /// The message is on the disk, and `proof` says under which id: the final 250.
    pub fn accepted(&mut self, proof: D, out: &mut VecView<u8>) {
        if matches!(self.state, State::AwaitEnd) {
            self.state = State::Command;
            self.forget_transaction();
            self.budget = Budget::default();
            reply::write_line(out, format_args!("250 2.0.0 Ok: queued as {proof}"));
        }
    }

    /// The message being read cannot be kept: the rest is read and dropped, and its end gets this reply.
    pub fn doom(&mut self, refusal: Reply) {
        if let Some(intake) = &mut self.intake {
            intake.doom(refusal);
        }
    }

    /// The handshake behind [`Step::StartTls`] is done: all that was said before is forgotten (RFC 3207 4.2).
    pub fn tls_is_up(&mut self, proof: T) {
        let budget = self.budget;
        *self = Self {
            budget,
            ..Self::in_tls(proof)
        };
    }

    /// Ends the session from outside, with a 421.
    pub fn shut(&mut self, farewell: Reply, out: &mut VecView<u8>) {
        reply::write(out, farewell);
        self.state = State::Closed;
    }

    fn answer(&mut self, reply: Reply, out: &mut VecView<u8>) -> Step<'static> {
        reply::write(out, reply);
        Step::Next
    }

    /// Writes a refusal; too many of them end the session.
    fn refuse(&mut self, refusal: Reply, out: &mut VecView<u8>) -> Step<'static> {
        reply::write(out, refusal);
        self.budget.refused(refusal);
        self.unless_spent(Step::Next, out)
    }

    fn refuse_recipient(&mut self, refusal: Reply, out: &mut VecView<u8>) -> Step<'static> {
        reply::write(out, refusal);
        self.budget.refused_recipient(refusal);
        self.unless_spent(Step::Next, out)
    }

    /// Answers [`Step::Rcpt`] in the words of the host that has the mailbox.
    pub fn refuse_in_words(&mut self, words: Quoted<'_>, out: &mut VecView<u8>) -> Step<'static> {
        if matches!(self.state, State::AwaitRcpt) {
            self.state = State::Command;
            reply::write_line(out, format_args!("{words}"));
            self.budget.refused_recipient(reply::UNKNOWN_MAILBOX);
        }
        self.unless_spent(Step::Next, out)
    }

    fn idle_answer(&mut self, reply: Reply, out: &mut VecView<u8>) -> Step<'static> {
        reply::write(out, reply);
        self.idle(Step::Next, out)
    }

    /// A command that leads nowhere was answered: goes on with this step, unless it was one too many.
    fn idle<'a>(&mut self, step: Step<'a>, out: &mut VecView<u8>) -> Step<'a> {
        self.budget.idle();
        self.unless_spent(step, out)
    }

    fn unless_spent<'a>(&mut self, step: Step<'a>, out: &mut VecView<u8>) -> Step<'a> {
        if !self.budget.spent() {
            return step;
        }
        reply::write(out, reply::TOO_MANY_ERRORS);
        self.close(Ended::TooManyErrors)
    }

    /// The octets of a chunk whose size is not known must not become commands.
    fn bad_chunk(&mut self, out: &mut VecView<u8>) -> Step<'static> {
        reply::write(out, reply::BAD_CHUNK);
        self.close(Ended::BadChunk)
    }

    fn forget_transaction(&mut self) {
        self.transaction = false;
        self.utf8 = false;
        self.chunk_failed = false;
        self.intake = None;
        self.recipients = 0;
    }

    fn close(&mut self, why: Ended) -> Step<'static> {
        self.state = State::Closed;
        Step::Close(why)
    }

    fn vanish(&mut self) -> Step<'static> {
        self.state = State::Closed;
        Step::Vanish
    }
}

impl<D: Display, T> Default for Server<D, T> {
    fn default() -> Self {
        Self::new()
    }
}
