//! The lines that are put before a message: Received (RFC 5321 4.4), and from trusted clients what is missing.

use crate::smtp::address::Domain;
use crate::smtp::date::Date;
use crate::smtp::header::Seen;
use crate::tls::{Established, Verdict};
use std::fmt::Write as _;
use std::net::IpAddr;

/// What a Received line tells.
pub struct Trace<'a> {
    /// The client's name for itself.
    pub hello: &'a str,
    /// EHLO, not HELO.
    pub extended: bool,
    /// Where the connection came from.
    pub client: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// What was agreed on, inside TLS.
    pub tls: Option<&'a Established>,
    /// MAIL had SMTPUTF8.
    pub utf8: bool,
    /// The queue id.
    pub id: String,
    /// The recipient, where there is only one: with more, `for` would tell one of another.
    pub only_recipient: Option<&'a str>,
    /// Unix seconds.
    pub now: u64,
}

impl Trace<'_> {
    /// The Received line, folded, with its CR LF.
    #[must_use]
    pub fn received(&self) -> String {
        let literal = literal(self.client);
        let mut line = match Domain::parse(self.hello) {
            Ok(name) if name.is_ascii() => format!("Received: from {name} ({literal})"),
            _ => format!("Received: from {literal} (helo={})", printable(self.hello)),
        };
        let _ = write!(
            line,
            "\r\n\tby {} with {} id {}",
            self.hostname,
            self.with(),
            self.id
        );
        if let Some(recipient) = self.only_recipient {
            let _ = write!(line, "\r\n\tfor <{recipient}>");
        }
        if let Some(tls) = self.tls {
            line += &told(tls);
        }
        let _ = write!(line, ";\r\n\t{}\r\n", Date(self.now));
        line
    }

    /// RFC 3848, and RFC 6531 4.3 for what was sent with SMTPUTF8.
    fn with(&self) -> &'static str {
        match (self.extended, self.utf8, self.tls) {
            (false, ..) => "SMTP",
            (true, false, None) => "ESMTP",
            (true, false, Some(_)) => "ESMTPS",
            (true, true, None) => "UTF8SMTP",
            (true, true, Some(_)) => "UTF8SMTPS",
        }
    }

    /// The Date and Message-ID that a trusted client left out.
    #[must_use]
    pub fn missing(&self, seen: Seen) -> String {
        let mut lines = String::new();
        if !seen.date {
            let _ = write!(lines, "Date: {}\r\n", Date(self.now));
        }
        if !seen.message_id {
            let _ = write!(lines, "Message-ID: <{}@{}>\r\n", self.id, self.hostname);
        }
        lines
    }
}

/// The clause of RFC 8314 4.3, and what its grammar has no word for as comments (RFC 5321 4.4 allows them before the date):
/// how the server name was answered, and the client's certificate. Folded, each line under 78 octets but for names.
fn told(tls: &Established) -> String {
    let mut lines = format!("\r\n\ttls {}", tls.suite());
    if let Some(group) = tls.group() {
        let _ = write!(lines, " group {group}");
    }
    let _ = write!(lines, " ({})", tls.version());
    // What stands here is no one's free text: rustls takes only letters, digits, hyphens and underscores for a name, and
    // Shown keeps brackets, quotes and line ends out of a certificate's.
    let _ = match (tls.sni(), tls.entry()) {
        (Some(name), Some(Verdict::Exact)) => write!(lines, "\r\n\t(sni {name} exact)"),
        (Some(name), Some(Verdict::Parent(entry) | Verdict::Wildcard(entry))) => {
            write!(lines, "\r\n\t(sni {name} {entry})")
        }
        (Some(name), _) => write!(lines, "\r\n\t(sni {name} unknown)"),
        (None, _) => write!(lines, "\r\n\t(no sni)"),
    };
    if let Some(shown) = tls.client() {
        let (name, verdict) = (&shown.name, shown.verdict);
        let told = format!("client certificate \"{name}\"");
        let fold = if told.len() + verdict.to_string().len() < 70 {
            " "
        } else {
            "\r\n\t"
        };
        let _ = write!(lines, "\r\n\t({told}{fold}{verdict})");
    }
    lines
}

/// RFC 5321 4.1.3.
fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// What a client calls itself, fit for a comment.
fn printable(word: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "-._:[]".contains(c) {
            c
        } else {
            '?'
        }
    };
    word.chars().map(fit).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace<'static> {
        Trace {
            hello: "client.example",
            extended: true,
            client: "192.0.2.1".parse().unwrap(),
            hostname: "mx.example",
            tls: None,
            utf8: false,
            id: "q1".into(),
            only_recipient: Some("bob@local.example"),
            now: 1_795_492_800,
        }
    }

    #[test]
    fn a_received_line_tells_the_way() {
        assert_eq!(
            trace().received(),
            "Received: from client.example ([192.0.2.1])\r\n\tby mx.example with ESMTP id q1\r\n\
             \tfor <bob@local.example>;\r\n\tTue, 24 Nov 2026 04:00:00 +0000\r\n"
        );
        let other = Trace {
            extended: false,
            only_recipient: None,
            client: "::ffff:192.0.2.1".parse().unwrap(),
            ..trace()
        };
        assert!(
            other
                .received()
                .contains("([192.0.2.1])\r\n\tby mx.example with SMTP id q1;\r\n")
        );
        let utf8 = Trace {
            hello: "[192.0.2.1]",
            utf8: true,
            ..trace()
        };
        assert!(utf8.received().starts_with(
            "Received: from [192.0.2.1] ([192.0.2.1])\r\n\tby mx.example with UTF8SMTP id q1\r\n"
        ));
    }

    #[test]
    fn what_a_client_calls_itself_cannot_break_the_line() {
        for hello in ["a(b", "x;y", "\u{e9}.example", "\u{e9} z", "<a@b>"] {
            let line = Trace {
                hello,
                client: "2001:db8::1".parse().unwrap(),
                ..trace()
            }
            .received();
            assert!(
                line.starts_with("Received: from [IPv6:2001:db8::1] (helo="),
                "{line}"
            );
            assert!(
                line.is_ascii() && !line.contains("a(b") && !line.contains(";y"),
                "{line}"
            );
        }
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let both = trace().missing(Seen::default());
        assert_eq!(
            both,
            "Date: Tue, 24 Nov 2026 04:00:00 +0000\r\nMessage-ID: <q1@mx.example>\r\n"
        );
        assert_eq!(
            trace().missing(Seen {
                date: true,
                message_id: true,
                ..Seen::default()
            }),
            ""
        );
    }
}
