//! What a host says of a recipient, without a message for it.

use std::time::Instant;

use super::connection::Connection;
use super::walk::Walk;
use super::{Connector, Hops};
use crate::limits;
use crate::net::deadline::within;
use crate::smtp::client::{Envelope, Event, Phase};
use crate::smtp::reply_reader::Class;

/// What a host said of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It takes mail for it.
    Accepted,
    /// 5xx to RCPT, with this reply.
    Refused(String),
    /// It cannot say so of this recipient, or not now.
    Undecided,
    /// Nothing about any recipient: it is down, or does not take the null sender.
    Nothing,
}

/// A transaction of the null sender with one recipient.
pub(super) struct Question<'a>(pub &'a str);

impl Envelope for Question<'_> {
    fn sender(&self) -> &str {
        ""
    }
    fn recipients(&self) -> usize {
        1
    }
    fn recipient(&self, _: usize) -> &str {
        self.0
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
    /// Asks the first host that is ready for mail. The deadline is the caller's.
    pub async fn ask(&self, hops: &mut Hops<'_>, address: &str) -> Said {
        let Ok(mut connection) = self.open(&mut Walk::new(hops)).await else {
            return Said::Nothing;
        };
        let said = said(&mut connection, address).await;
        // Politeness must not hold the client up.
        let _ = within(limits::VERIFY_QUIT, async {
            connection.quit().await;
            Ok(())
        })
        .await;
        said
    }
}

async fn said(connection: &mut Connection, address: &str) -> Said {
    let question = Question(address);
    let link = &mut connection.link;
    if link.client_mut().begin_probe(&question).is_err() {
        return Said::Undecided;
    }
    let end = Instant::now() + limits::VERIFY_WAIT;
    let mut said = Said::Nothing;
    let mut has_sender = true;
    while let Ok(Some(event)) = link.envelope_event(&question, end).await {
        match event {
            Event::SenderRefused => has_sender = false,
            // Behind a refused MAIL it says nothing of the recipient.
            Event::Recipient { class, .. } if has_sender => match class {
                Class::Done => said = Said::Accepted,
                Class::Permanent => said = Said::Refused(link.client().reply().to_string()),
                _ => said = Said::Undecided,
            },
            _ => {}
        }
    }
    match link.client().phase() {
        Phase::Ready => said,
        _ => Said::Nothing,
    }
}
