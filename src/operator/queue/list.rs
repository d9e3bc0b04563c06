//! `facteur queue list`: a message after another as they are read, so that a queue of any length comes at once.

use super::json::Object;
use super::{Arguments, Failure, Form, Inspector, Present, Recipient, Shown, Try};
use super::{last_reply, now, plain};
use std::io::{self, Write};

pub fn list(
    inspector: &Inspector,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (now, form) = (now(), arguments.form);
    let present = match inspector.queued().is_empty() {
        true => Present::default(),
        false => Present::of(&arguments.spool),
    };
    let mut total = Total::default();
    for queued in inspector.queued() {
        let Some(shown) = Shown::read(
            (inspector, &present),
            queued,
            queued.recipients() | queued.held,
        ) else {
            continue;
        };
        match form {
            Form::Json => writeln!(out, "{}", object(&shown, now).end())?,
            _ => {
                if total.messages == 0 {
                    writeln!(
                        out,
                        "{}",
                        row(["ID", "AGE", "SIZE", "TRIES", "NEXT", "SENDER"])
                    )?;
                }
                write_rows(&shown, now, out)?;
            }
        }
        total.add(&shown, now);
    }
    match form {
        Form::Json => Ok(()),
        _ => Ok(total.write(inspector, &present, out)?),
    }
}

#[derive(Default)]
struct Total {
    messages: usize,
    recipients: usize,
    octets: u64,
    tried: usize,
    deferred: usize,
    damaged: usize,
    /// For a report.
    kept: usize,
}

impl Total {
    fn add(&mut self, shown: &Shown<'_>, now: u64) {
        self.messages += 1;
        self.recipients += shown.queued.recipients().count_ones() as usize;
        self.octets += shown.envelope.as_ref().map_or(0, |message| message.size);
        self.kept += usize::from(shown.holder.is_some());
        match shown.present.first_try_of(shown.queued) {
            Try::Now => self.tried += 1,
            Try::At(next) => self.deferred += usize::from(next > now),
        }
        self.damaged += usize::from(shown.envelope.is_err());
    }

    fn write(
        &self,
        inspector: &Inspector,
        present: &Present,
        out: &mut impl Write,
    ) -> io::Result<()> {
        if self.messages == 0 && inspector.keeps_up() {
            return writeln!(out, "the queue is empty");
        }
        write!(
            out,
            "{}, {}, {}; {} deferred",
            plain::count(self.messages, "message"),
            plain::count(self.recipients, "recipient"),
            plain::size(self.octets),
            self.deferred
        )?;
        if self.tried > 0 {
            write!(out, ", {} being tried", self.tried)?;
        }
        if self.kept > 0 {
            write!(out, ", {} kept for a report", self.kept)?;
        }
        if self.damaged > 0 {
            write!(out, ", {} damaged", self.damaged)?;
        }
        if !inspector.keeps_up() {
            write!(
                out,
                "; the relay writes faster than this reads: some may be missing"
            )?;
        }
        match &present.unknown {
            None => writeln!(out),
            Some(why) => writeln!(out, "; {why}"),
        }
    }
}

/// The columns; only the last may be of any width.
fn row(columns: [&str; 6]) -> String {
    let [id, age, size, tries, next, sender] = columns;
    format!("{id:11}  {age:>6}  {size:>5}  {tries:>5}  {next:>9}  {sender}")
}

fn write_rows(shown: &Shown<'_>, now: u64, out: &mut impl Write) -> io::Result<()> {
    let queued = shown.queued;
    let (size, sender) = match &shown.envelope {
        Ok(message) => (plain::size(message.size), plain::sender(&message.sender)),
        Err(_) => ("-".to_owned(), "-".into()),
    };
    let attempts = queued.waiting.iter().map(|waiting| waiting.attempts);
    let line = row([
        &queued.id.to_string(),
        &match shown.accepted(now) {
            Some(accepted) => plain::span(now.saturating_sub(accepted)),
            None => "?".to_owned(),
        },
        &size,
        &attempts.max().unwrap_or(0).to_string(),
        &match queued.waiting.is_empty() {
            true => "failed".to_owned(),
            false => plain::next(shown.present.first_try_of(queued), now),
        },
        &sender,
    ]);
    writeln!(out, "{line}")?;
    if let Err(why) = &shown.envelope {
        writeln!(out, "    damaged: {}", plain::clean(why))?;
    }
    for recipient in shown.recipients() {
        writeln!(out, "    to {}", plain::clean(&recipient.address))?;
        if let Some(report) = shown.kept_for(recipient) {
            writeln!(
                out,
                "       (failed, and kept for {report}, which sends it back)"
            )?;
            continue;
        }
        let attempts = shown
            .waiting(recipient)
            .map(|(waiting, _)| waiting.attempts);
        match last_reply(queued, recipient) {
            Some((_, reply)) => {
                let host = reply.host.as_deref().map(|host| format!("{host}: "));
                let said = host.unwrap_or_default() + &reply.text;
                writeln!(out, "       {}", plain::clean(&said))?;
            }
            None if attempts > Some(0) => writeln!(out, "       ({})", plain::FORGOTTEN)?,
            None => {}
        }
    }
    Ok(())
}

/// A message as JSON; `show` adds to it.
pub fn object(shown: &Shown<'_>, now: u64) -> Object {
    let mut object = Object::new();
    let message = shown.envelope.as_ref();
    object.text("id", Some(&shown.queued.id.to_string()));
    object.value("accepted", shown.accepted(now));
    object.value("size", message.map(|message| message.size).ok());
    let sender = message.map(|message| message.sender.as_str());
    object.text("sender", sender.ok());
    let holder = shown.holder.map(|report| report.to_string());
    object.text("kept_for", holder.as_deref());
    let refers = shown.queued.refers.map(|original| original.to_string());
    object.text("sends_back", refers.as_deref());
    object.text("damaged", message.err().map(String::as_str));
    let recipients = shown.recipients().iter();
    let recipients = recipients.map(|recipient| of_recipient(shown, recipient, now));
    object.objects("recipients", recipients);
    object
}

fn of_recipient(shown: &Shown<'_>, recipient: &Recipient, now: u64) -> Object {
    let mut object = Object::new();
    let waiting = shown.waiting(recipient);
    object.text("address", Some(&recipient.address));
    let (state, next) = match waiting {
        None if shown.kept_for(recipient).is_some() => ("failed", None),
        None => ("done", None),
        Some((_, Try::Now)) => ("trying", None),
        Some((_, Try::At(next))) => ("queued", (next != 0).then_some(next)),
    };
    object.text("state", Some(state));
    object.value("attempts", waiting.map(|(waiting, _)| waiting.attempts));
    object.value("next", next);
    let last = last_reply(shown.queued, recipient).filter(|_| waiting.is_some());
    object.text("host", last.and_then(|(_, reply)| reply.host.as_deref()));
    object.text("reply", last.map(|(_, reply)| reply.text.as_str()));
    let replied = last.and_then(|(note, _)| shown.present.said(note.at, now));
    object.value("replied", replied);
    object
}
