//! A client's open transaction: what the session knows of it besides what is in the spool.

use super::Inbound;
use super::received::Trace;
use crate::policy::relay::{Recipient, Trust};
use crate::smtp::address::Path;
use crate::smtp::intake::Summary;
use crate::smtp::parameters::{MailParameters, RcptParameters};
use crate::smtp::reply::{self, Reply};
use crate::spool::{
    Addressee, Durable, Error, Facts, Id, Last, Refusal, Sender, Source, Transaction,
};
use std::net::IpAddr;

/// An open transaction.
pub struct Mail {
    id: Id,
    /// None: given up, and nothing more is kept.
    spooled: Option<Transaction>,
    client: IpAddr,
    /// Empty: the null sender.
    pub sender: String,
    /// The first recipient: it stands in Received if it stays the only one.
    first: Option<String>,
    /// How many were accepted.
    pub recipients: usize,
    /// SMTPUTF8.
    smtputf8: bool,
    utf8_address: bool,
    /// REQUIRETLS.
    require_tls: bool,
}

/// The full address of a path: a trusted client's short form gets our name.
///
/// # Errors
/// The reply to a stranger's short form.
fn full_address(
    inbound: &Inbound,
    trust: Trust,
    path: Path<'_>,
    bad: Reply,
) -> Result<String, Reply> {
    match path {
        Path::Null => Ok(String::new()),
        Path::Mailbox(mailbox) => Ok(mailbox.as_str().to_owned()),
        Path::Bare(local) if trust == Trust::Trusted => Ok(format!("{local}@{}", inbound.hostname)),
        Path::Bare(_) => Err(bad),
    }
}

/// The recipient's address, if it may have mail from this client.
pub fn recipient(inbound: &Inbound, trust: Trust, path: Path<'_>) -> Result<String, Reply> {
    if let Path::Bare(local) = path
        && local.is_postmaster()
    {
        return inbound
            .relay
            .postmaster
            .clone()
            .ok_or(reply::UNKNOWN_MAILBOX);
    }
    let address = full_address(inbound, trust, path, reply::BAD_RECIPIENT)?;
    match inbound.relay.recipient(trust, &address, &inbound.routes) {
        Recipient::Accepted => Ok(address),
        Recipient::RelayDenied => Err(reply::RELAY_DENIED),
        Recipient::Unknown => Err(reply::UNKNOWN_MAILBOX),
        Recipient::NoDomain => Err(reply::NO_DOMAIN),
    }
}

/// A stranger's address holds its quarter of the spool.
fn over_share(client: IpAddr) -> Reply {
    log::warn!("over share client={client}: its queued mail takes a quarter of the spool");
    reply::SPOOL_FULL
}

/// What the client is told of the spool's trouble.
fn told(client: IpAddr, problem: &Error) -> Reply {
    match problem {
        Error::Full => reply::SPOOL_FULL,
        Error::OverShare => over_share(client),
        Error::Io(problem) => {
            log::error!("spool: {problem}");
            reply::DISK_ERROR
        }
    }
}

impl Mail {
    /// MAIL.
    ///
    /// # Errors
    /// The reply.
    pub async fn begin(
        inbound: &Inbound,
        (client, trust): (IpAddr, Trust),
        sender: Path<'_>,
        parameters: MailParameters<'_>,
    ) -> Result<Self, Reply> {
        let address = full_address(inbound, trust, sender, reply::BAD_SENDER)?;
        let source = (trust == Trust::Stranger).then(|| Source::from(client));
        let mut spooled = inbound
            .spool
            .begin_from(source, (inbound.clock)(), parameters.size)
            .map_err(|refusal| match refusal {
                Refusal::Full => reply::SPOOL_FULL,
                Refusal::OverShare => over_share(client),
                Refusal::ReadOnly => reply::DISK_ERROR,
            })?;
        let sender = Sender {
            address: &address,
            ret: parameters.ret,
            envid: parameters.envid.map(|envid| envid.as_str()),
        };
        spooled
            .sender(&sender)
            .await
            .map_err(|problem| told(client, &problem))?;
        Ok(Self {
            id: spooled.id(),
            spooled: Some(spooled),
            smtputf8: parameters.smtputf8,
            client,
            utf8_address: !address.is_ascii(),
            sender: address,
            require_tls: parameters.require_tls,
            first: None,
            recipients: 0,
        })
    }

    /// RCPT, once policy has allowed it.
    ///
    /// # Errors
    /// The reply.
    pub async fn recipient(
        &mut self,
        address: String,
        parameters: RcptParameters<'_>,
    ) -> Result<(), Reply> {
        let recipient = Addressee {
            address: &address,
            notify: parameters.notify,
            orcpt: parameters.orcpt.map(|original| original.as_str()),
        };
        let spooled = self.spooled.as_mut().ok_or(reply::DISK_ERROR)?;
        spooled
            .recipient(recipient)
            .await
            .map_err(|problem| told(self.client, &problem))?;
        self.utf8_address |= !address.is_ascii();
        self.recipients += 1;
        self.first.get_or_insert(address);
        Ok(())
    }

    /// DATA.
    pub fn data_begins(&mut self) {
        if let Some(spooled) = &mut self.spooled {
            spooled.data_begins();
        }
    }

    /// A piece of the message.
    ///
    /// # Errors
    /// The reply that the end of data will get.
    pub async fn body(&mut self, text: &[u8]) -> Result<(), Reply> {
        match &mut self.spooled {
            Some(spooled) => spooled
                .body(text)
                .await
                .map_err(|problem| told(self.client, &problem)),
            None => Ok(()),
        }
    }

    /// The message will be refused: its room in the spool is free from now on.
    pub fn give_up(&mut self) {
        self.spooled = None;
    }

    /// The queue id, as it stands in logs and Received.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// The end of data: returns once the message is on the disk. `trace` tells where it came from.
    ///
    /// # Errors
    /// The reply.
    pub async fn commit(
        self,
        trace: Trace<'_>,
        trust: Trust,
        summary: &Summary,
    ) -> Result<Durable, Reply> {
        let only = self.first.as_deref().filter(|_| self.recipients == 1);
        let trace = Trace {
            only_recipient: only,
            id: self.id(),
            utf8: self.smtputf8,
            ..trace
        };
        let mut head = trace.received();
        if trust == Trust::Trusted {
            head += &trace.missing(summary.seen);
        }
        if summary.seen.from_line {
            head += "X-Mailbox-Line: "; // the body's first line goes on from here, a field like any other
        } else if summary.seen.no_header {
            head += "\r\n"; // the body begins without one, and must not be taken for header lines
        }
        let facts = Facts {
            eight_bit_body: summary.seen.eight_bit_body,
            utf8_headers: summary.seen.eight_bit_header,
            utf8_address: self.utf8_address,
            require_tls: self.require_tls,
            note: false,
        };
        let last = Last {
            head: head.as_bytes(),
            facts,
            ..Last::default()
        };
        let spooled = self.spooled.ok_or(reply::DISK_ERROR)?;
        spooled
            .commit(last)
            .await
            .map_err(|problem| told(self.client, &problem))
    }
}
