//! A message into the Maildirs of its recipients.

use super::attempt::{Outcome, Reason};
use super::destinations::local_part;
use super::maildir::{Maildir, MaildirError};
use crate::policy::target::MaildirTemplate;
use crate::spool::{Id, Message, ReadError};

enum Trouble {
    Maildir(MaildirError),
    Read(ReadError),
}

/// Delivers to each recipient; none of them has to do with the others.
pub(super) async fn deliver(
    maildir: &Maildir,
    template: &MaildirTemplate,
    message: &mut Message,
) -> Vec<Outcome> {
    let addresses: Vec<String> = message
        .recipients
        .iter()
        .map(|to| to.address.clone())
        .collect();
    let mut outcomes = Vec::with_capacity(addresses.len());
    for address in addresses {
        outcomes.push(deliver_to(maildir, template, message, &address).await);
    }
    outcomes
}

async fn deliver_to(
    maildir: &Maildir,
    template: &MaildirTemplate,
    message: &mut Message,
    address: &str,
) -> Outcome {
    let unknown = || {
        Outcome::Failed(ours(
            "5.1.1",
            format!("there is no mailbox for {address:?} here"),
        ))
    };
    let Ok(folder) = template.folder(&local_part(address)) else {
        return unknown();
    };
    match write(maildir, folder, message, address).await {
        Ok(()) => Outcome::Delivered {
            host: "maildir".to_owned(),
            reply: "durable".to_owned(),
        },
        Err(Trouble::Maildir(error)) if error.is_permanent() => unknown(),
        Err(Trouble::Maildir(error)) => {
            Outcome::Deferred(ours(error.status(), format!("Maildir: {error}")))
        }
        Err(Trouble::Read(error)) => unreadable(message.id, &error),
    }
}

async fn write(
    maildir: &Maildir,
    folder: std::path::PathBuf,
    message: &mut Message,
    address: &str,
) -> Result<(), Trouble> {
    message.rewind();
    let mut delivery = maildir.deliver(folder, &message.sender, address);
    while let Some(octets) = message.next_chunk().await.map_err(Trouble::Read)? {
        delivery.write(octets).await.map_err(Trouble::Maildir)?;
    }
    delivery.finish().await.map_err(Trouble::Maildir)
}

/// What becomes of a recipient when the message's own octets cannot be read: damaged, it cannot be sent; otherwise it may
/// be read later.
pub(super) fn unreadable(id: Id, error: &ReadError) -> Outcome {
    match error {
        ReadError::Damaged { .. } => {
            log::error!("unreadable id={id} reason=\"{error}\"");
            Outcome::Failed(ours(
                "5.3.0",
                "the message was damaged on the disk of this mail relay",
            ))
        }
        ReadError::Io(_) => Outcome::Deferred(ours("4.3.0", error.to_string())),
    }
}

/// A reason that no host gave.
pub(super) fn ours(status: &str, text: impl Into<String>) -> Reason {
    Reason {
        code: 0,
        status: status.to_owned(),
        text: text.into(),
        host: None,
    }
}
