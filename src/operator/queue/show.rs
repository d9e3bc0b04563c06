//! `facteur queue show`: one message, all that is known of it.

use super::{Arguments, Failure, Form, Inspector, Present, Recipient, Shown, Try};
use super::{list, now, plain};
use crate::limits;
use crate::smtp::date::Date;
use crate::smtp::parameters::{Notify, Ret};
use crate::spool::{Id, Message, Note, ReadError, Reply};
use std::io::{self, Write};

pub fn show(
    inspector: &Inspector,
    id: Id,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let missing = || format!("{id} is not in the queue");
    let queued = inspector.queued().iter().find(|queued| queued.id == id);
    let queued = queued.ok_or_else(missing)?;
    let present = match arguments.form {
        Form::Body => Present::default(),
        Form::Plain | Form::Json => Present::of(&arguments.spool),
    };
    let mut shown = Shown::read((inspector, &present), queued, u128::MAX).ok_or_else(missing)?;
    if arguments.form == Form::Json {
        let header = shown.envelope.as_mut().ok().map(Header::read);
        let header = header.and_then(Result::ok);
        return Ok(writeln!(out, "{}", object(&shown, header.as_ref(), now()))?);
    }
    if let (Form::Plain, Ok(message)) = (arguments.form, &shown.envelope) {
        write_envelope(&shown, message, now(), out)?;
        write_attempts(&shown, message, now(), out)?;
    }
    let message = shown.envelope.as_mut();
    let message = message.map_err(|why| format!("{id}: {why}"))?;
    match arguments.form {
        Form::Body => write_octets(message, out),
        _ => {
            let header = Header::read(message).map_err(|problem| problem.to_string())?;
            Ok(header.write(out)?)
        }
    }
}

/// The message as its next hop would get it.
fn write_octets(message: &mut Message, out: &mut impl Write) -> Result<(), Failure> {
    loop {
        match smol::block_on(message.next_chunk()) {
            Ok(Some(octets)) => out.write_all(octets)?,
            Ok(None) => return Ok(()),
            Err(problem) => {
                out.flush()?;
                return Err(format!("{}: {problem}", message.id).into());
            }
        }
    }
}

/// The header's lines, at most `limits::QUEUE_HEADER` octets.
struct Header {
    lines: Vec<u8>,
    extent: Extent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    Cut,
}

impl Header {
    fn read(message: &mut Message) -> Result<Self, ReadError> {
        let mut lines = Vec::new();
        message.rewind();
        while let Some(octets) = smol::block_on(message.next_chunk())? {
            // The empty line may begin in what was there before.
            let from = lines.len().saturating_sub(3);
            lines.extend_from_slice(octets);
            let mut ends = lines[from..].windows(4);
            let end = ends.position(|octets| octets == b"\r\n\r\n");
            if let Some(end) = end {
                lines.truncate(from + end + 2);
                break;
            }
            if lines.len() > limits::QUEUE_HEADER {
                break;
            }
        }
        let extent = match lines.len() > limits::QUEUE_HEADER {
            true => Extent::Cut,
            false => Extent::Whole,
        };
        lines.truncate(limits::QUEUE_HEADER);
        Ok(Self { lines, extent })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out)?;
        let text = String::from_utf8_lossy(&self.lines);
        for line in text.lines() {
            let cleaned: Vec<_> = line.split('\t').map(plain::clean).collect();
            writeln!(out, "{}", cleaned.join("\t"))?;
        }
        match self.extent {
            Extent::Whole => Ok(()),
            Extent::Cut => writeln!(
                out,
                "\n(the header goes on: these are its first {} octets; --body gives all)",
                limits::QUEUE_HEADER
            ),
        }
    }
}

fn write_envelope(
    shown: &Shown<'_>,
    message: &Message,
    now: u64,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "id         {}", message.id)?;
    match shown.accepted(now) {
        Some(at) => {
            let age = plain::span(now.saturating_sub(at));
            writeln!(out, "accepted   {}, {age} ago", Date(at))?;
        }
        None => writeln!(out, "accepted   {}", plain::UNSET)?,
    }
    writeln!(out, "size       {} octets", message.size)?;
    writeln!(out, "sender     {}", plain::sender(&message.sender))?;
    if let Some(envid) = &message.envid {
        writeln!(out, "envid      {}", plain::clean(envid))?;
    }
    if let Some(ret) = message.ret {
        writeln!(out, "ret        {}", ret_word(ret))?;
    }
    if let Some(original) = shown.queued.refers {
        writeln!(out, "sends back {original}, whose octets its size counts")?;
    }
    if message.facts.require_tls {
        writeln!(out, "tls        required at every hop (REQUIRETLS)")?;
    }
    for recipient in &message.recipients {
        let state = match shown.waiting(recipient) {
            None => match shown.kept_for(recipient) {
                Some(report) => format!("failed, and kept for {report}, which sends it back"),
                None => "done".to_owned(),
            },
            Some((waiting, at)) => {
                let attempts = plain::count(waiting.attempts.into(), "attempt");
                match at {
                    Try::Now => format!("queued, {attempts}, being tried"),
                    at => format!("queued, {attempts}, next try {}", plain::next(at, now)),
                }
            }
        };
        writeln!(out, "recipient  {}", plain::clean(&recipient.address))?;
        writeln!(out, "           {state}")?;
        if let Some(notify) = recipient.notify {
            writeln!(out, "           notify {}", notify_words(notify))?;
        }
        if let Some(orcpt) = &recipient.orcpt {
            writeln!(out, "           orcpt {}", plain::clean(orcpt))?;
        }
    }
    if let Some(why) = &shown.present.unknown {
        writeln!(out, "           {why}")?;
    }
    Ok(())
}

/// Oldest first.
fn write_attempts(
    shown: &Shown<'_>,
    message: &Message,
    now: u64,
    out: &mut impl Write,
) -> io::Result<()> {
    let queued = shown.queued;
    let forgotten = queued.waiting.iter().any(|waiting| {
        let said = |note: &&Note| {
            let mut replies = note.replies.iter();
            replies.any(|reply| reply.recipients & waiting.recipients != 0)
        };
        queued.notes.iter().filter(said).count() < waiting.attempts.into()
    });
    if forgotten {
        writeln!(out, "attempt    earlier: {}", plain::FORGOTTEN)?;
    }
    for note in &queued.notes {
        match shown.present.said(note.at, now) {
            Some(at) => writeln!(out, "attempt    {}", Date(at))?,
            None => writeln!(out, "attempt    {}", plain::UNSET)?,
        }
        for reply in &note.replies {
            let host = reply.host.as_deref().map(|host| format!("{host}: "));
            let said = host.unwrap_or_default() + &reply.text;
            writeln!(out, "           {}", plain::clean(&said))?;
            for recipient in told(message, reply) {
                writeln!(out, "           to {}", plain::clean(&recipient.address))?;
            }
        }
    }
    Ok(())
}

/// The recipients to whom something was said.
fn told<'a>(message: &'a Message, reply: &Reply) -> impl Iterator<Item = &'a Recipient> {
    let mask = reply.recipients;
    let all = message.recipients.iter();
    all.filter(move |recipient| recipient.bit() & mask != 0)
}

fn ret_word(ret: Ret) -> &'static str {
    match ret {
        Ret::Full => "full",
        Ret::Headers => "headers",
    }
}

fn notify_words(notify: Notify) -> String {
    let words = [
        (notify.success, "success"),
        (notify.failure, "failure"),
        (notify.delay, "delay"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(wanted, word)| wanted.then_some(word))
        .collect();
    match words.is_empty() {
        true => "never".to_owned(),
        false => words.join(","),
    }
}

fn object(shown: &Shown<'_>, header: Option<&Header>, now: u64) -> String {
    let mut object = list::object(shown, now);
    let message = shown.envelope.as_ref().ok();
    object.text(
        "envid",
        message.and_then(|message| message.envid.as_deref()),
    );
    let ret = message.and_then(|message| message.ret);
    object.text("ret", ret.map(ret_word));
    let require_tls = message.map(|message| message.facts.require_tls);
    object.value("require_tls", require_tls);
    let told_by = |note: &crate::spool::Note, reply: &Reply| {
        let mut attempt = super::json::Object::new();
        attempt.value("at", shown.present.said(note.at, now));
        attempt.text("host", reply.host.as_deref());
        attempt.text("reply", Some(&reply.text));
        let to = message.map(|message| told(message, reply)).into_iter();
        attempt.texts("to", to.flatten().map(|recipient| &*recipient.address));
        attempt
    };
    let notes = shown.queued.notes.iter();
    let attempts =
        notes.flat_map(|note| note.replies.iter().map(move |reply| told_by(note, reply)));
    object.objects("attempted", attempts);
    let lines = header.map(|header| String::from_utf8_lossy(&header.lines));
    object.text("header", lines.as_deref());
    object.value(
        "header_cut",
        header.map(|header| header.extent == Extent::Cut),
    );
    object.end()
}
