//! What a DSN says to people: in plain words what happened, and what they can do.

use super::{Cause, Failure};

/// The subject and the first sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headline {
    pub subject: &'static str,
    pub opening: &'static str,
}

/// For all the failures together.
#[must_use]
pub fn headline(failures: &[Failure]) -> Headline {
    let expired = failures
        .iter()
        .all(|failure| failure.cause == Cause::Expired);
    if expired {
        Headline {
            subject: "Your message could not be delivered in time",
            opening: "Your message has been tried again and again, and could still not be\r\n\
                      delivered to:",
        }
    } else {
        Headline {
            subject: "Your message could not be delivered",
            opening: "Your message could not be delivered to:",
        }
    }
}

/// What stands before the diagnostic: only what a host said is called its answer.
#[must_use]
pub fn introduction(failure: &Failure) -> String {
    let answered = failure.code != 0;
    match (&failure.host, failure.cause) {
        (Some(host), Cause::Expired) if answered => format!("The last answer, from {host}, was:"),
        (Some(host), Cause::Expired) => format!("The last attempt, at {host}, came to nothing:"),
        (Some(host), _) if answered => format!("The mail server {host} answered:"),
        (Some(host), _) => format!("It cannot be handed to the mail server {host}:"),
        (None, Cause::Expired) => "The last attempt came to nothing:".to_owned(),
        (None, _) => "The reason is:".to_owned(),
    }
}

/// What the sender can do, by the enhanced status code (RFC 3463).
#[must_use]
pub fn advice(status: &str, cause: Cause) -> &'static str {
    if cause == Cause::Expired {
        return "The receiving side could not be reached, or put the message off each time, for as long as messages \
                are kept here. You can send it again later, or reach the recipient in another way and tell them \
                that their mail server has a problem.";
    }
    let detail = status.split_once('.').map_or("", |(_, detail)| detail);
    match detail {
        "1.1" | "1.0" | "1.6" => {
            "There is no such mailbox. Check the address for a typing mistake, or ask the recipient for their \
             present address."
        }
        "1.2" | "4.4" => {
            "There is no mail server for the part of the address behind the @ sign. Check it for a typing mistake."
        }
        "1.3" => "The address is not written as addresses are. Check it for a typing mistake.",
        "1.10" => {
            "The part of the address behind the @ sign states that it receives no mail at all."
        }
        "1.7" | "1.8" => {
            "The receiving side does not accept your own address as a sender. Check how your mail program is set \
             up, or ask who looks after your mail."
        }
        "2.1" => "The mailbox exists but is closed. Reach the recipient in another way.",
        "2.2" => "The recipient's mailbox is full. Try again later, or reach them in another way.",
        "2.3" | "3.4" => {
            "The message is larger than the receiving side accepts. Send it in parts, or put large files where the \
             recipient can fetch them."
        }
        "3.0" => {
            "The message was kept here until it could be handed on, and the disk it was kept on failed. It is lost: \
             please send it again."
        }
        "4.6" => {
            "The receiving side is set up in such a way that mail to it goes round in circles. Only those who look \
             after it can change that: reach the recipient in another way."
        }
        "6.3" | "6.7" | "6.9" | "6.5" => {
            "The message, or an address in it, is written with characters that the receiving side cannot take. \
             Write it with plain letters (a to z), or use another address of the recipient."
        }
        "7.30" => {
            "You asked for encryption all the way to the mailbox (REQUIRETLS), and that cannot be promised here. Send \
             it without that demand, or reach the recipient in another way."
        }
        _ if detail.starts_with("7.") => {
            "The receiving side has a rule against this message. The words above may say which; the recipient, or \
             who looks after your mail, can find out more."
        }
        _ => {
            "The words above are all that is known here. The recipient, or who looks after your mail, can find out \
             more with them."
        }
    }
}
