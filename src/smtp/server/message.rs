//! The machine inside a message: DATA to its end, or BDAT by its count (RFC 3030).

use super::{Ended, Server, Settings, State, Step, Verdict};
use crate::smtp::intake::{Intake, Taken};
use crate::smtp::reply::{self, Reply};
use core::fmt::Display;
use heapless::VecView;

/// The octets of one BDAT that are still to come (RFC 3030).
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub size: u64,
    pub left: u64,
    pub last: bool,
    /// They are read and dropped, and get this reply: they must not become commands.
    pub refusal: Option<Reply>,
}

impl<D: Display, T> Server<D, T> {
    /// BDAT: whatever comes of it, its octets are read as octets.
    pub(super) fn bdat(
        &mut self,
        settings: &Settings<'_>,
        size: u64,
        last: bool,
        out: &mut VecView<u8>,
    ) -> Step<'static> {
        let refusal = if settings.require_tls && self.tls.is_none() {
            Some(reply::TLS_FIRST)
        } else if self.recipients == 0 || self.chunk_failed {
            Some(reply::BAD_SEQUENCE)
        } else {
            None
        };
        let chunk = Chunk {
            size,
            left: size,
            last,
            refusal,
        };
        if refusal.is_some() {
            self.chunk_failed = self.transaction;
            if size > settings.message_size.saturating_mul(2) {
                reply::write(out, reply::FAR_TOO_BIG);
                return self.close(Ended::FarTooBig);
            }
        } else if self.intake.is_none() {
            self.state = State::AwaitChunk(chunk);
            return Step::Data;
        }
        self.state = State::Chunk(chunk);
        Step::Next
    }

    /// The verdict on the first chunk of a message; where it is a refusal, its octets are still read as octets.
    pub(super) fn first_chunk(
        &mut self,
        settings: &Settings<'_>,
        chunk: Chunk,
        verdict: Verdict,
    ) -> Step<'static> {
        let refusal = match verdict {
            Verdict::Accept => {
                let intake = Intake::of_chunks(settings.line_ends, settings.message_size);
                self.intake = Some(intake);
                None
            }
            Verdict::Refuse(why) => {
                self.chunk_failed = true;
                Some(why)
            }
        };
        self.state = State::Chunk(Chunk { refusal, ..chunk });
        Step::Next
    }

    pub(super) fn handle_data<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut VecView<u8>,
    ) -> (usize, Step<'a>) {
        let Some(intake) = &mut self.intake else {
            return (input.len(), self.close(Ended::Shut)); // DATA is read only with an intake
        };
        let (used, taken) = intake.take(input);
        self.taken(used, taken, out)
    }

    fn taken<'a>(
        &mut self,
        used: usize,
        taken: Taken<'a>,
        out: &mut VecView<u8>,
    ) -> (usize, Step<'a>) {
        match taken {
            Taken::Nothing => (used, Step::Input),
            Taken::Text(text) => (used, Step::Body(text)),
            Taken::Doomed => (used, Step::Doomed),
            Taken::FarTooBig => {
                reply::write(out, reply::FAR_TOO_BIG);
                (used, self.close(Ended::FarTooBig))
            }
            Taken::End(Ok(summary)) => {
                self.state = State::AwaitEnd;
                (used, Step::EndOfData(summary))
            }
            Taken::End(Err(refusal)) => {
                self.state = State::Command;
                self.forget_transaction();
                match self.refuse(refusal, out) {
                    Step::Next => (used, Step::Refused(refusal)),
                    closed => (used, closed),
                }
            }
        }
    }

    pub(super) fn handle_chunk<'a>(
        &mut self,
        chunk: Chunk,
        input: &'a [u8],
        out: &mut VecView<u8>,
    ) -> (usize, Step<'a>) {
        let most = usize::try_from(chunk.left)
            .unwrap_or(usize::MAX)
            .min(input.len());
        let dropped = chunk.refusal.is_some();
        let (used, taken) = match &mut self.intake {
            Some(intake) if !dropped => intake.take(&input[..most]),
            _ => (most, Taken::Nothing),
        };
        let left = chunk.left - used as u64;
        self.state = State::Chunk(Chunk { left, ..chunk });
        match (taken, chunk.refusal) {
            (Taken::Nothing, _) if left > 0 => (used, Step::Input),
            (Taken::Nothing, Some(refusal)) => {
                self.state = State::Command;
                (used, self.refuse(refusal, out))
            }
            (Taken::Nothing, None) if chunk.last => match &mut self.intake {
                Some(intake) => {
                    let taken = intake.finish();
                    self.taken(used, taken, out)
                }
                None => (used, self.close(Ended::Shut)), // a chunk is kept only with an intake
            },
            (Taken::Nothing, None) => {
                self.state = State::Command;
                reply::write_line(
                    out,
                    format_args!("250 2.0.0 {} octets received", chunk.size),
                );
                match chunk.size {
                    0 => (used, self.idle(Step::Next, out)),
                    _ => (used, Step::Next),
                }
            }
            (taken, _) => self.taken(used, taken, out),
        }
    }
}
