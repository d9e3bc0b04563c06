//! What a session may waste between two accepted messages: errors, refused recipients, commands that lead nowhere.

use crate::limits;
use crate::smtp::reply::Reply;

/// What was wasted since the last accepted message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    errors: usize,
    refused_recipients: usize,
    /// Commands that lead nowhere: NOOP, RSET, VRFY, HELP, EHLO, HELO, an empty chunk, and what is refused for a reason that
    /// is no mistake of speech.
    idle: usize,
}

impl Budget {
    /// A command, or a message, got this reply. What is refused for now (4xx) costs nothing.
    pub fn refused(&mut self, reply: Reply) {
        match reply.code() {
            500..=504 | 555 => self.errors += 1,
            505.. => self.idle(),
            _ => {}
        }
    }

    /// A recipient got this reply.
    pub fn refused_recipient(&mut self, reply: Reply) {
        self.refused_recipients += usize::from(reply.code() >= 500);
    }

    /// A command that leads nowhere: beyond so many, each is an error.
    pub fn idle(&mut self) {
        if self.idle < limits::IDLE_COMMANDS {
            self.idle += 1;
        } else {
            self.errors += 1;
        }
    }

    /// Whether the session has to end.
    pub fn spent(&self) -> bool {
        self.errors >= limits::COMMAND_ERRORS
            || self.refused_recipients >= limits::REFUSED_RECIPIENTS
    }
}
