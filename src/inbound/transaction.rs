//! A client's open transaction: what the session knows of it besides what is in the spool.

use super::Inbound;
use super::mailboxes::{Mailboxes, Named};
use super::received::Trace;
use crate::limits;
use crate::policy::relay::{Recipient, Trust};
use crate::policy::routes::Routes;
use crate::smtp::address::Path;
use crate::smtp::intake::Summary;
use crate::smtp::parameters::{MailParameters, Notify, RcptParameters};
use crate::smtp::reply::{self, Reply};
use crate::smtp::xtext;
use crate::spool::{
    Addressee, Durable, Error, Facts, Id, Last, Refusal, Role, Sender, Source, Transaction,
};
use std::borrow::Cow;
use std::net::IpAddr;

/// An open transaction.
pub struct Mail {
    id: Id,
    /// None: given up, and nothing more is kept.
    spooled: Option<Transaction>,
    client: IpAddr,
    /// Empty: the null sender.
    pub sender: String,
    /// The first recipient as it was given: it stands in Received if it stays the only one.
    first: Option<String>,
    /// How many RCPTs were accepted.
    pub recipients: usize,
    /// The mailboxes that the message goes to.
    mailboxes: Mailboxes,
    /// How many aliases of several the sender is to be told of.
    expansions: usize,
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

/// A recipient that policy allows.
pub struct Allowed {
    /// As it was given, with our name where it had no domain.
    pub address: String,
    /// What it stands for: itself, or others. Never empty.
    pub stands_for: Vec<String>,
}

/// The recipient, if it may have mail from this client.
pub fn recipient(inbound: &Inbound, trust: Trust, path: Path<'_>) -> Result<Allowed, Reply> {
    let names = &inbound.names;
    if let Path::Bare(local) = path
        && local.is_postmaster()
    {
        let stands_for = names.postmaster();
        if stands_for.is_empty() {
            return Err(reply::UNKNOWN_MAILBOX);
        }
        return Ok(Allowed {
            address: format!("{local}@{}", inbound.hostname),
            stands_for,
        });
    }
    let address = full_address(inbound, trust, path, reply::BAD_RECIPIENT)?;
    let stands_for = match names.recipient(trust, &address) {
        Recipient::Accepted => vec![address.clone()],
        Recipient::Expanded(addresses) => addresses,
        Recipient::RelayDenied => return Err(reply::RELAY_DENIED),
        Recipient::Unknown => return Err(reply::UNKNOWN_MAILBOX),
        Recipient::NoDomain => return Err(reply::NO_DOMAIN),
    };
    Ok(Allowed {
        address,
        stands_for,
    })
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

/// What a sender asked for a recipient, as it goes with what that stands for (RFC 3461 5.2.7).
struct Asked<'a> {
    notify: Option<Notify>,
    orcpt: Option<Cow<'a, str>>,
}

impl<'a> Asked<'a> {
    /// What an alias of several stands for gets no report of success: there is one for the alias (5.2.7.3).
    /// Whom the sender wrote to stays known by ORCPT, which is added where there was none (5.2.1).
    fn of(allowed: &Allowed, parameters: RcptParameters<'a>) -> Self {
        let several = allowed.stands_for.len() > 1;
        let is_itself = !several && allowed.stands_for.first() == Some(&allowed.address);
        let notify = parameters.notify.map(|notify| Notify {
            success: notify.success && !several,
            ..notify
        });
        let given = parameters.orcpt.map(|original| original.as_str().into());
        let added = || {
            let original = format!("rfc822;{}", xtext::written(&allowed.address));
            (allowed.address.is_ascii() && original.len() <= limits::ORCPT).then(|| original.into())
        };
        Self {
            notify,
            orcpt: given.or_else(|| if is_itself { None } else { added() }),
        }
    }

    fn addressee<'b>(&'b self, address: &'b str) -> Addressee<'b> {
        Addressee {
            address,
            notify: self.notify,
            orcpt: self.orcpt.as_deref(),
            role: Role::Mailbox,
        }
    }
}

/// An alias of several as it is kept beside them, where its sender is to be told of it.
fn expanded<'a>(allowed: &'a Allowed, parameters: &RcptParameters<'a>) -> Option<Addressee<'a>> {
    let wanted = parameters.notify.is_some_and(|notify| notify.success);
    (wanted && allowed.stands_for.len() > 1).then(|| Addressee {
        address: &allowed.address,
        notify: parameters.notify,
        orcpt: parameters.orcpt.map(|original| original.as_str()),
        role: Role::Expanded,
    })
}

/// Puts what a RCPT adds into the spool; `kept` counts what is in.
async fn keep(
    spooled: &mut Transaction,
    named: &Named<'_>,
    asked: &Asked<'_>,
    expanded: Option<Addressee<'_>>,
    kept: &mut usize,
) -> Result<(), Error> {
    for &(address, _) in &named.fresh {
        spooled.recipient(asked.addressee(address)).await?;
        *kept += 1;
    }
    for wish in &named.wider {
        if let Some(notify) = wish.notify {
            spooled.asks(wish.ordinal, notify).await?;
            *kept += 1;
        }
    }
    if let Some(expanded) = expanded {
        spooled.recipient(expanded).await?;
        *kept += 1;
    }
    Ok(())
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
            mailboxes: Mailboxes::default(),
            expansions: 0,
        })
    }

    /// RCPT, once policy has allowed it. What it stands for is in the message's envelope, each mailbox once.
    ///
    /// # Errors
    /// The reply. Nothing of this recipient is kept then; where some of several are in the spool already, the message is
    /// given up.
    pub async fn recipient(
        &mut self,
        routes: &Routes,
        allowed: Allowed,
        parameters: RcptParameters<'_>,
    ) -> Result<(), Reply> {
        let spooled = self.spooled.as_mut().ok_or(reply::DISK_ERROR)?;
        let expanded = expanded(&allowed, &parameters).filter(|_| !self.sender.is_empty());
        let asked = Asked::of(&allowed, parameters);
        let named = (self.mailboxes).named(routes, &allowed.stands_for, asked.notify);
        let expansions = self.expansions + usize::from(expanded.is_some());
        if self.mailboxes.count() + named.fresh.len() > limits::RECIPIENTS
            || expansions > limits::EXPANSIONS
        {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let first = spooled.recipients();
        let mut kept = 0;
        if let Err(problem) = keep(spooled, &named, &asked, expanded, &mut kept).await {
            if kept > 0 {
                self.spooled = None; // who was in already would get a second copy when the client tries again
            }
            return Err(told(self.client, &problem));
        }
        self.utf8_address |= named.fresh.iter().any(|(address, _)| !address.is_ascii());
        self.mailboxes.keep(&named, first, asked.notify);
        self.expansions = expansions;
        self.recipients += 1;
        self.first.get_or_insert(allowed.address);
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
