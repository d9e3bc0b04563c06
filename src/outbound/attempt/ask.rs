//! What a host says of a recipient, without a message for it.

use std::time::Instant;

use super::connection::Connection;
use super::walk::Walk;
use super::{Connector, Dials, Hops};
use crate::limits;
use crate::smtp::client::{Envelope, Event, Phase};
use crate::smtp::reply_reader::Class;

/// What a host said of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It takes mail for it; without a recipient, of the null sender.
    Accepted,
    /// 5xx to RCPT, with this reply.
    Refused(String),
    /// It cannot say so of this recipient, or not now.
    Undecided,
    /// 5xx to MAIL with the null sender, with this reply: it cannot be asked.
    NoNullSender(String),
    /// Nothing: it is down, or silent.
    Nothing,
}

/// A transaction of the null sender, with one recipient or none.
pub(super) struct Question<'a>(pub Option<&'a str>);

impl Envelope for Question<'_> {
    fn sender(&self) -> &str {
        ""
    }
    fn recipients(&self) -> usize {
        usize::from(self.0.is_some())
    }
    fn recipient(&self, _: usize) -> &str {
        self.0.unwrap_or_default()
    }
    fn size(&self) -> u64 {
        0
    }
    fn has_8bit_body(&self) -> bool {
        false
    }
    fn has_utf8_headers(&self) -> bool {
        false
    }
    fn requires_tls(&self) -> bool {
        false
    }
}

impl Connector {
    /// The first host that is ready for mail. The deadline is the caller's.
    pub async fn reach(&self, hops: &mut Hops<'_>) -> Option<Connection> {
        self.open(&mut Walk::new(hops), &mut Dials::default())
            .await
            .ok()
    }
}

impl Connection {
    /// Asks about a recipient or, without one, whether the null sender may write. The deadline is the caller's; where it
    /// passes, the connection is of no use any more.
    pub async fn ask(&mut self, address: Option<&str>) -> Said {
        let question = Question(address);
        let link = &mut self.link;
        if link.client_mut().begin_probe(&question).is_err() {
            return Said::Undecided;
        }
        let end = Instant::now() + limits::VERIFY_WAIT;
        let mut said = match address {
            Some(_) => Said::Nothing,
            None => Said::Accepted,
        };
        let mut has_sender = true;
        while let Ok(Some(event)) = link.envelope_event(&question, end).await {
            let reply = link.client().reply();
            match event {
                Event::SenderRefused => {
                    has_sender = false;
                    said = match reply.class() {
                        Class::Permanent => Said::NoNullSender(reply.to_string()),
                        _ => Said::Nothing,
                    };
                }
                // Behind a refused MAIL it says nothing of the recipient.
                Event::Recipient { class, .. } if has_sender => match class {
                    Class::Done => said = Said::Accepted,
                    Class::Permanent => said = Said::Refused(reply.to_string()),
                    _ => said = Said::Undecided,
                },
                _ => {}
            }
        }
        match (link.client().phase(), said) {
            (Phase::Ready, said) | (_, said @ Said::NoNullSender(_)) => said,
            _ => Said::Nothing,
        }
    }
}
