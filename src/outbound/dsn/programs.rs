//! The part for programs: RFC 3464 2, RFC 6533 3.

use super::text::{LONGEST_LINE, clean, fold};
use super::{Action, Cause, Dsn, Form, Report};
use crate::limits;
use crate::smtp::address::{self, Encoded, OriginalRecipient};
use crate::smtp::date::Date;
use crate::smtp::xtext::XText;
use std::fmt::Write as _;
use std::net::IpAddr;

impl Action {
    /// RFC 3464 2.3.3.
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

impl Dsn<'_> {
    /// The fields about the message, then those of each recipient.
    pub(super) fn for_programs(&self, text: &mut String) {
        let _ = write!(
            text,
            "Reporting-MTA: dns; {}\r\n{}X-Queue-ID: {}\r\n",
            self.hostname,
            self.envelope_id(),
            self.original_id
        );
        // Optional (RFC 3464 2.2.5): none rather than 1970.
        if let Some(arrived) = self.arrived {
            let _ = write!(text, "Arrival-Date: {}\r\n", Date(arrived));
        }
        for report in self.reports {
            self.recipient(report, text);
        }
    }

    fn recipient(&self, report: &Report, text: &mut String) {
        let address = clean(&report.address, Form::Global);
        let recipient = match self.form() {
            _ if address.is_ascii() => format!("rfc822; {address}"),
            Form::Global => format!("utf-8; {address}"),
            Form::Ascii => format!("utf-8; {}", address::in_ascii(&address)),
        };
        let _ = write!(
            text,
            "\r\n{}Final-Recipient: {recipient}\r\nAction: {}\r\nStatus: {}\r\n",
            self.original_recipient(report),
            report.cause.action().word(),
            clean(&report.status, Form::Ascii)
        );
        if let Some(host) = &report.host {
            let _ = write!(text, "Remote-MTA: dns; {}\r\n", mta_name(host));
        }
        let kind = match report.code {
            0 => "x-facteur",
            _ => "smtp",
        };
        let words = clean(&report.diagnostic, Form::Ascii);
        fold(text, &format!("Diagnostic-Code: {kind}; {words}"));
        if let Some(tried) = report.tried {
            let _ = write!(text, "Last-Attempt-Date: {}\r\n", Date(tried));
        }
        if let Cause::Delayed { until } = report.cause {
            let _ = write!(text, "Will-Retry-Until: {}\r\n", Date(until));
        }
    }

    /// What the sender calls the transaction, out of its xtext (RFC 3464 2.2.1, RFC 3461 6.3).
    fn envelope_id(&self) -> String {
        let read = self.envid.map(|envid| XText::parse(envid, limits::ENVID));
        let Some(Ok(envid)) = read else {
            return String::new();
        };
        let envid = clean(&decoded(envid), Form::Ascii);
        format!("Original-Envelope-Id: {envid}\r\n")
    }

    /// Whom the sender wrote to, out of its xtext (RFC 3464 2.3.1). None where it would not fit into one line.
    fn original_recipient(&self, report: &Report) -> String {
        let read = report.original.as_deref().map(OriginalRecipient::parse);
        let Some(Ok(original)) = read else {
            return String::new();
        };
        let address: String = match original.address() {
            Encoded::XText(text) => decoded(text),
            Encoded::Utf8(address) => address.chars().collect(),
        };
        let address = match clean(&address, Form::Global) {
            beyond if self.form() == Form::Ascii && !beyond.is_ascii() => {
                address::in_ascii(&beyond).to_string()
            }
            plain => plain,
        };
        let field = format!("Original-Recipient: {}; {address}\r\n", original.kind());
        if field.len() > LONGEST_LINE {
            return String::new();
        }
        field
    }
}

/// What xtext stands for.
fn decoded(text: XText<'_>) -> String {
    let octets: Vec<u8> = text.octets().collect();
    String::from_utf8_lossy(&octets).into_owned()
}

/// A host as RFC 3464 2.3.5 wants it: an address stands in brackets (RFC 5321 4.1.3).
fn mta_name(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(four)) => format!("[{four}]"),
        Ok(IpAddr::V6(six)) => format!("[IPv6:{six}]"),
        Err(_) => clean(host, Form::Ascii),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hosts_stand_in_brackets() {
        for (host, written) in [
            ("mx.example", "mx.example"),
            ("127.0.0.1", "[127.0.0.1]"),
            ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ] {
            assert_eq!(mta_name(host), written);
        }
    }
}
