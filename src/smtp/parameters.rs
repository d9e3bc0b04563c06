//! The parameters of MAIL and RCPT: `KEY=VALUE` words behind the path (RFC 5321 4.1.2).

use super::address::OriginalRecipient;
use super::reply::{self, Reply};
use super::xtext::XText;
use crate::limits;

/// What MAIL says of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters<'a> {
    /// SIZE, in octets (RFC 1870); a declaration, not a promise.
    pub size: Option<u64>,
    /// BODY (RFC 6152). What the message is decides on the way out, not what is claimed here.
    pub body: Option<Body>,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461 4.4).
    pub envid: Option<XText<'a>>,
    /// SMTPUTF8 (RFC 6531 3.4): addresses and header may be UTF-8.
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
}

/// What RCPT says of its recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters<'a> {
    /// NOTIFY (RFC 3461 4.1).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461 4.2).
    pub orcpt: Option<OriginalRecipient<'a>>,
}

/// What BODY claims of the message (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// How much of the message a DSN returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`: all of it.
    Full,
    /// `HDRS`: its header.
    Headers,
}

/// When a DSN is wanted; nothing set is NEVER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// When it has been delivered.
    pub success: bool,
    /// When it cannot be.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

impl Notify {
    /// Where RCPT does not say (RFC 3461 4.1).
    const UNSTATED: Self = Self {
        success: false,
        failure: true,
        delay: false,
    };

    /// Two wishes for one mailbox in one: what either wants told is told.
    #[must_use]
    pub fn of_either(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        if one == other {
            return one;
        }
        let (one, other) = (
            one.unwrap_or(Self::UNSTATED),
            other.unwrap_or(Self::UNSTATED),
        );
        Some(Self {
            success: one.success || other.success,
            failure: one.failure || other.failure,
            delay: one.delay || other.delay,
        })
    }
}

impl<'a> MailParameters<'a> {
    /// Reads what stands behind the path.
    ///
    /// # Errors
    /// The reply: 555 for a parameter that is not known, 501 for one that comes twice or has a wrong value.
    pub fn parse(text: &'a str) -> Result<Self, Reply> {
        let mut found = Self::default();
        for (key, value) in words(text)? {
            let is = |name: &str| key.eq_ignore_ascii_case(name);
            if is("SIZE") {
                set(&mut found.size, size(value)?)?;
            } else if is("BODY") {
                set(&mut found.body, body(value)?)?;
            } else if is("RET") {
                set(&mut found.ret, ret(value)?)?;
            } else if is("ENVID") {
                set(&mut found.envid, xtext(value, limits::ENVID)?)?;
            } else if is("SMTPUTF8") {
                set_switch(&mut found.smtputf8, value)?;
            } else if is("REQUIRETLS") {
                set_switch(&mut found.require_tls, value)?;
            } else {
                return Err(reply::UNKNOWN_PARAMETER);
            }
        }
        Ok(found)
    }
}

impl<'a> RcptParameters<'a> {
    /// Reads what stands behind the path. `utf8`: the transaction has SMTPUTF8, so ORCPT may hold UTF-8 (RFC 6533 3).
    ///
    /// # Errors
    /// The reply, as for [`MailParameters::parse`].
    pub fn parse(text: &'a str, utf8: bool) -> Result<Self, Reply> {
        let mut found = Self::default();
        for (key, value) in words(text)? {
            if key.eq_ignore_ascii_case("NOTIFY") {
                set(&mut found.notify, notify(value)?)?;
            } else if key.eq_ignore_ascii_case("ORCPT") {
                set(&mut found.orcpt, orcpt(value, utf8)?)?;
            } else {
                return Err(reply::UNKNOWN_PARAMETER);
            }
        }
        Ok(found)
    }
}

/// The words behind a path, each split at its first `=`.
fn words(text: &str) -> Result<impl Iterator<Item = (&str, Option<&str>)>, Reply> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(reply::BAD_SYNTAX); // `<a@b>SIZE=1`
    }
    Ok(text
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        }))
}

fn set<V>(place: &mut Option<V>, value: V) -> Result<(), Reply> {
    match place.replace(value) {
        Some(_) => Err(reply::BAD_PARAMETER),
        None => Ok(()),
    }
}

fn set_switch(place: &mut bool, value: Option<&str>) -> Result<(), Reply> {
    if value.is_some() || core::mem::replace(place, true) {
        Err(reply::BAD_PARAMETER)
    } else {
        Ok(())
    }
}

/// 1 to 20 digits (RFC 1870 3); more than a u64 holds is only too big.
fn size(value: Option<&str>) -> Result<u64, Reply> {
    let digits = value.ok_or(reply::BAD_PARAMETER)?;
    if !(1..=20).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(reply::BAD_PARAMETER);
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn body(value: Option<&str>) -> Result<Body, Reply> {
    match value {
        Some(word) if word.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        Some(word) if word.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBitMime),
        // BINARYMIME (RFC 3030 3) is not offered.
        Some(word) if word.eq_ignore_ascii_case("BINARYMIME") => Err(reply::UNKNOWN_PARAMETER),
        _ => Err(reply::BAD_PARAMETER),
    }
}

fn ret(value: Option<&str>) -> Result<Ret, Reply> {
    match value {
        Some(word) if word.eq_ignore_ascii_case("FULL") => Ok(Ret::Full),
        Some(word) if word.eq_ignore_ascii_case("HDRS") => Ok(Ret::Headers),
        _ => Err(reply::BAD_PARAMETER),
    }
}

fn xtext(value: Option<&str>, most: usize) -> Result<XText<'_>, Reply> {
    XText::parse(value.unwrap_or(""), most).map_err(|_| reply::BAD_PARAMETER)
}

/// `NEVER`, or a list of the others, each at most once.
fn notify(value: Option<&str>) -> Result<Notify, Reply> {
    let value = value.ok_or(reply::BAD_PARAMETER)?;
    let mut found = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(found);
    }
    for word in value.split(',') {
        let place = match () {
            () if word.eq_ignore_ascii_case("SUCCESS") => &mut found.success,
            () if word.eq_ignore_ascii_case("FAILURE") => &mut found.failure,
            () if word.eq_ignore_ascii_case("DELAY") => &mut found.delay,
            () => return Err(reply::BAD_PARAMETER),
        };
        if core::mem::replace(place, true) {
            return Err(reply::BAD_PARAMETER);
        }
    }
    Ok(found)
}

/// RFC 6533 3: characters above 127 only in a transaction with SMTPUTF8.
fn orcpt(value: Option<&str>, utf8: bool) -> Result<OriginalRecipient<'_>, Reply> {
    let read = OriginalRecipient::parse(value.unwrap_or("")).map_err(|_| reply::BAD_PARAMETER)?;
    if utf8 || read.is_ascii() {
        Ok(read)
    } else {
        Err(reply::BAD_PARAMETER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_in_any_case_and_order() {
        let all = MailParameters::parse(
            " size=10  BODY=8BitMime RET=hdrs ENVID=QQ+2B1 smtputf8 RequireTLS ",
        )
        .unwrap();
        assert_eq!(
            (all.size, all.body, all.ret),
            (Some(10), Some(Body::EightBitMime), Some(Ret::Headers))
        );
        assert_eq!(all.envid.unwrap().as_str(), "QQ+2B1");
        assert!(all.smtputf8 && all.require_tls);
        assert_eq!(MailParameters::parse(""), Ok(MailParameters::default()));
        let huge = MailParameters::parse(" SIZE=99999999999999999999").unwrap();
        assert_eq!(huge.size, Some(u64::MAX));
    }

    #[test]
    fn wrong_ones_get_their_code() {
        for (text, code) in [
            (" XSIZE=1", 555),
            (" BODY=BINARYMIME", 555),
            (" SIZE=1 SIZE=1", 501),
            (" SIZE", 501),
            (" SIZE=-1", 501),
            (" SIZE=", 501),
            (" SIZE=123456789012345678901", 501),
            (" BODY=9BIT", 501),
            ("SIZE=1", 501),
            (" RET=SOME", 501),
            (" ENVID=", 501),
            (" ENVID=+zz", 501),
            (" SMTPUTF8=1", 501),
            (" SMTPUTF8 SMTPUTF8", 501),
            (" REQUIRETLS=yes", 501),
        ] {
            assert_eq!(
                MailParameters::parse(text).unwrap_err().code(),
                code,
                "{text}"
            );
        }
    }

    #[test]
    fn dsn_parameters_of_a_recipient() {
        let parse = |text| RcptParameters::parse(text, false);
        let both = parse(" NOTIFY=success,DELAY ORCPT=rfc822;ann+2Bx@example.org").unwrap();
        assert_eq!(
            both.notify,
            Some(Notify {
                success: true,
                failure: false,
                delay: true
            })
        );
        assert_eq!(both.orcpt.unwrap().as_str(), "rfc822;ann+2Bx@example.org");
        assert_eq!(
            parse(" NOTIFY=NEVER").unwrap().notify,
            Some(Notify::default())
        );
        assert!(RcptParameters::parse(" ORCPT=utf-8;ren\u{e9}e@example.org", true).is_ok());
        for text in [
            " NOTIFY=NEVER,FAILURE",
            " NOTIFY=",
            " NOTIFY=FAILURE,FAILURE",
            " NOTIFY=OFTEN",
            " ORCPT=ann@example.org",
            " ORCPT=rfc822;",
            " ORCPT=;x",
            " ORCPT=rfc822;a=b",
            " ORCPT=rfc822;a+zz",
            " ORCPT=utf-8;ren\u{e9}e@x",
            " ORCPT=utf-8;ren\\x{zz}e@x",
            " ORCPT",
            " ORCPT=rfc822;a ORCPT=rfc822;a",
        ] {
            assert_eq!(parse(text).unwrap_err().code(), 501, "{text}");
        }
        assert_eq!(parse(" XFOO").unwrap_err().code(), 555);
    }
}
