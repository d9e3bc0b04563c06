//! What a DSN says to people: in plain words what happened, and what they can do.

use super::{Action, Cause, Reader, Report};
use crate::smtp::date::Date;

/// The subject.
pub fn subject(reports: &[Report], reader: Reader<'_>) -> &'static str {
    let any = |wanted: Action| {
        let mut actions = reports.iter().map(|report| report.cause.action());
        actions.any(|action| action == wanted)
    };
    let (failed, delayed) = (any(Action::Failed), any(Action::Delayed));
    let taken = [Action::Delivered, Action::Relayed, Action::Expanded]
        .into_iter()
        .any(any);
    let expired = |report: &Report| report.cause == Cause::Expired;
    match reader {
        Reader::Postmaster { sender, .. } if !sender.is_empty() => {
            "A message whose sender has no mailbox here could not be delivered"
        }
        Reader::Postmaster { .. } => "A message without a sender could not be delivered",
        Reader::Sender if failed && (delayed || taken) => {
            "Your message could not be delivered to some of its recipients"
        }
        Reader::Sender if reports.iter().all(expired) => {
            "Your message could not be delivered in time"
        }
        Reader::Sender if failed => "Your message could not be delivered",
        Reader::Sender if delayed && taken => "Your message is delayed for some of its recipients",
        Reader::Sender if delayed => "Your message is delayed, and will be tried again",
        Reader::Sender if any(Action::Relayed) => "Your message was handed on",
        Reader::Sender if any(Action::Expanded) => "Your message was passed on",
        Reader::Sender => "Your message was delivered",
    }
}

/// What stands before the recipients of one fate.
pub fn opening(action: Action, reports: &[&Report], reader: Reader<'_>) -> &'static str {
    let expired = reports.iter().all(|report| report.cause == Cause::Expired);
    match (action, reader) {
        (Action::Failed, Reader::Postmaster { .. }) => "It could not be delivered to:",
        (Action::Failed, Reader::Sender) if expired => {
            "Your message has been tried again and again, and could still not be delivered to:"
        }
        (Action::Failed, Reader::Sender) => "Your message could not be delivered to:",
        (Action::Delayed, _) => {
            "This is only a warning: your message is still here, because it could not yet be delivered to:"
        }
        (Action::Delivered, _) => "Your message is in the mailbox of:",
        (Action::Relayed, _) => "Your message was handed on to the mail server of:",
        (Action::Expanded, _) => {
            "Your message came to this address, which stands for several others, and is passed on to each of them:"
        }
    }
}

/// Behind the recipients of a delayed message.
pub fn patience(until: Date) -> String {
    format!(
        "You need not do anything, and need not send it again: it will be tried again and again until {until}, and \
         if it cannot be delivered by then you will get another message like this one. If it is urgent, reach the \
         recipient in another way."
    )
}

/// Behind the recipients of a fate that is not the last word.
pub fn closing(action: Action) -> Option<&'static str> {
    match action {
        Action::Relayed => Some(RELAYED),
        Action::Expanded => Some(EXPANDED),
        Action::Failed | Action::Delayed | Action::Delivered => None,
    }
}

/// Behind aliases: of what they stand for no success is told, and of failures only what was asked for.
const EXPANDED: &str = "There will be no confirmation from each of those. If the message cannot be delivered to one of \
     them, you will be told, if your mail program asked for that, too.";

/// Behind recipients whose next hop tells nothing.
const RELAYED: &str = "That server does not tell when a message reaches its mailbox, so there will be no further \
     confirmation. It is up to that server to tell you if it cannot deliver the message after all.";

/// What the postmaster needs to know first.
pub fn for_postmaster(sender: &str, untold: u64) -> String {
    let why = match sender {
        "" => "the message below has no sender who could be told (its return path is <>: it is a report or an \
               automatic reply itself)"
            .to_owned(),
        sender => format!(
            "the sender of the message below, <{sender}>, has no mailbox here, so nobody else could be told"
        ),
    };
    let mut text = format!(
        "This goes to you, the postmaster, because {why}. You need not do anything unless there are many of these, or \
         the address should exist."
    );
    if untold > 0 {
        text += &format!(
            " Of such messages, {untold} more have failed since the last note like this one; the log names them all \
             (result=failed, then \"dropped\")."
        );
    }
    text
}

/// The end, up to the words "message here was".
pub fn end(reports: &[Report], reader: Reader<'_>) -> &'static str {
    let failures = reports.iter().filter(|report| report.cause.is_failure());
    match (reader, failures.count()) {
        (Reader::Postmaster { .. }, _) => "It will not be tried again. The number of the",
        (Reader::Sender, 0) => {
            "You get this because you, or your mail program, asked to be told. The number of your"
        }
        (Reader::Sender, failed) if failed < reports.len() => {
            "What could not be delivered will not be tried again. If you ask somebody for help, show them this whole \
             message. The number of your"
        }
        (Reader::Sender, _) => {
            "It will not be tried again. If you ask somebody for help, show them this whole message. The number of \
             your"
        }
    }
}

/// What stands before the diagnostic: only what a host said is called its answer.
#[must_use]
pub fn introduction(report: &Report) -> String {
    let answered = report.code != 0;
    match (&report.host, report.cause) {
        (Some(host), Cause::Expired | Cause::Delayed { .. }) if answered => {
            format!("The last answer, from {host}, was:")
        }
        (Some(host), Cause::Expired | Cause::Delayed { .. }) => {
            format!("The last attempt, at {host}, came to nothing:")
        }
        (Some(host), _) if answered => format!("The mail server {host} answered:"),
        (Some(host), _) => format!("It cannot be handed to the mail server {host}:"),
        (None, Cause::Expired | Cause::Delayed { .. }) => {
            "The last attempt came to nothing:".to_owned()
        }
        (None, _) => "The reason is:".to_owned(),
    }
}

/// What the sender can do.
#[must_use]
pub fn advice(status: &str, cause: Cause) -> &'static str {
    let detail = status.split_once('.').map_or("", |(_, detail)| detail);
    let by_detail = || {
        let row = ADVICE.iter().find(|(details, _)| details.contains(&detail));
        row.map(|(_, advice)| *advice)
    };
    match (cause, detail) {
        (Cause::Expired, _) => {
            "The receiving side could not be reached, or put the message off each time, for as long as messages \
             are kept here. You can send it again later, or reach the recipient in another way and tell them \
             that their mail server has a problem."
        }
        // Of a host that says the same, nothing is known here.
        (Cause::Impossible, "3.0") => {
            "The message was kept here until it could be handed on, and the disk it was kept on failed. It is lost: \
             please send it again."
        }
        (Cause::Impossible, "0.0") => {
            "Whoever looks after this mail relay took your message out of its queue. Ask them why, or reach the \
             recipient in another way."
        }
        _ => by_detail().unwrap_or(match detail.starts_with("7.") {
            true => {
                "The receiving side has a rule against this message. The words above may say which; the recipient, \
                 or who looks after your mail, can find out more."
            }
            false => {
                "The words above are all that is known here. The recipient, or who looks after your mail, can find \
                 out more with them."
            }
        }),
    }
}

/// By the subject and detail of the enhanced status code (RFC 3463, and the registry that goes with it).
const ADVICE: [(&[&str], &str); 13] = [
    (
        &["1.1", "1.6"],
        "There is no such mailbox. Check the address for a typing mistake, or ask the recipient for their present \
         address.",
    ),
    (
        &["1.0"],
        "The receiving side does not accept this address. Check it for a typing mistake, or ask the recipient for \
         their present address.",
    ),
    (
        &["1.2", "4.4"],
        "There is no mail server for the part of the address behind the @ sign. Check it for a typing mistake.",
    ),
    (
        &["1.3"],
        "The address is not written as addresses are. Check it for a typing mistake.",
    ),
    (
        &["1.10"],
        "The part of the address behind the @ sign states that it receives no mail at all. Check it for a typing \
         mistake, or ask the recipient for another address.",
    ),
    (
        &["1.7", "1.8"],
        "The receiving side does not accept your own address as a sender. Check how your mail program is set up, or \
         ask who looks after your mail.",
    ),
    (
        &["2.1"],
        "The mailbox exists but is closed. Reach the recipient in another way.",
    ),
    (
        &["2.2"],
        "The recipient's mailbox is full. Try again later, or reach them in another way.",
    ),
    (
        &["2.3", "3.4"],
        "The message is larger than the receiving side accepts. Send it in parts, or put large files where the \
         recipient can fetch them.",
    ),
    (
        &["4.6"],
        "The receiving side is set up in such a way that mail to it goes round in circles. Only those who look after \
         it can change that: reach the recipient in another way.",
    ),
    (
        &["6.3", "6.5", "6.7", "6.9"],
        "The message, or an address in it, is written with characters that the receiving side cannot take. Write it \
         with plain letters (a to z), or use another address of the recipient.",
    ),
    (
        &["7.30"],
        "You asked for encryption all the way to the mailbox (REQUIRETLS), and that cannot be promised here. Send it \
         without that demand, or reach the recipient in another way.",
    ),
    (
        &[
            "7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27", "7.29",
        ],
        "The receiving side could not make sure that the message is really from you (SPF, DKIM or the like). You \
         cannot change that yourself: show this message to who looks after your mail.",
    ),
];
