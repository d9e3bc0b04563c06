//! A message into the Maildirs of its recipients.

use super::attempt::{Duty, FinalDot, Outcome, Reason};
use super::destinations::local_part;
use super::maildir::{Maildir, MaildirError};
use super::schedule::Shared;
use crate::policy::target::MaildirTemplate;
use crate::spool::{Id, Message, ReadError};

enum Trouble {
    Maildir(MaildirError),
    Read(ReadError),
}

/// Delivers to each recipient; none of them has to do with the others. Where the relay's stop cuts it off, the last
/// recipients have no outcome.
pub(super) async fn deliver(
    shared: &Shared,
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
        let dot = FinalDot::default();
        let delivering =
            async { Some(deliver_to(maildir, template, message, &address, &dot).await) };
        // Nothing more is begun once the relay stops: the way out stands first.
        match smol::future::or(shared.cut_off(&dot), delivering).await {
            Some(outcome) => outcomes.push(outcome),
            None => break,
        }
    }
    outcomes
}

async fn deliver_to(
    maildir: &Maildir,
    template: &MaildirTemplate,
    message: &mut Message,
    address: &str,
    dot: &FinalDot,
) -> Outcome {
    let unknown = || {
        Outcome::Failed(Reason::ours(
            "5.1.1",
            format!("there is no mailbox for {address:?} here"),
        ))
    };
    let Ok(folder) = template.folder(&local_part(address)) else {
        return unknown();
    };
    match write(maildir, folder, message, address, dot).await {
        Ok(()) => Outcome::Delivered {
            host: "maildir".to_owned(),
            reply: "durable".to_owned(),
            duty: Duty::Ours,
        },
        Err(Trouble::Maildir(error)) if error.is_permanent() => unknown(),
        Err(Trouble::Maildir(error)) => {
            Outcome::Deferred(Reason::ours(error.status(), format!("Maildir: {error}")))
        }
        Err(Trouble::Read(error)) => unreadable(message.id, &error),
    }
}

async fn write(
    maildir: &Maildir,
    folder: std::path::PathBuf,
    message: &mut Message,
    address: &str,
    dot: &FinalDot,
) -> Result<(), Trouble> {
    message.rewind();
    let mut delivery = maildir.deliver(folder, &message.sender, address);
    while let Some(octets) = message.next_chunk().await.map_err(Trouble::Read)? {
        delivery.write(octets).await.map_err(Trouble::Maildir)?;
    }
    // From here on the message may appear in the Maildir, whatever is heard of it.
    dot.set(true);
    delivery.finish().await.map_err(Trouble::Maildir)
}

/// What becomes of a recipient when the message's own octets cannot be read: damaged, it cannot be sent; otherwise it may
/// be read later.
pub(super) fn unreadable(id: Id, error: &ReadError) -> Outcome {
    match error {
        ReadError::Damaged { .. } => {
            log::error!("unreadable id={id} reason={:?}", error.to_string());
            Outcome::Failed(Reason::ours(
                "5.3.0",
                "the message was damaged on the disk of this mail relay",
            ))
        }
        ReadError::Io(_) => Outcome::Deferred(Reason::ours("4.3.0", error.to_string())),
    }
}
