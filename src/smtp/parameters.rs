//! The parameters of MAIL and RCPT: `KEY=VALUE` words behind the path (RFC 5321 4.1.2).

use super::reply::{self, Reply};

/// What MAIL says of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE, in octets (RFC 1870); a declaration, not a promise.
    pub size: Option<u64>,
    /// BODY (RFC 6152). What the message is decides on the way out, not what is claimed here.
    pub body: Option<Body>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    SevenBit,
    EightBitMime,
}

impl MailParameters {
    /// Reads what stands behind the path.
    ///
    /// # Errors
    /// The reply: 555 for a parameter that is not known, 501 for one that comes twice or has a wrong value.
    pub fn parse(text: &str) -> Result<Self, Reply> {
        let mut found = Self::default();
        for (key, value) in words(text)? {
            if key.eq_ignore_ascii_case("SIZE") {
                set(&mut found.size, size(value)?)?;
            } else if key.eq_ignore_ascii_case("BODY") {
                set(&mut found.body, body(value)?)?;
            } else {
                return Err(reply::UNKNOWN_PARAMETER);
            }
        }
        Ok(found)
    }
}

/// Checks what stands behind the path of RCPT: no parameter is known yet.
///
/// # Errors
/// The reply, as for [`MailParameters::parse`].
pub fn check_rcpt(text: &str) -> Result<(), Reply> {
    match words(text)?.next() {
        Some(_) => Err(reply::UNKNOWN_PARAMETER),
        None => Ok(()),
    }
}

/// The words behind a path, each split at its `=`.
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
        // BINARYMIME (RFC 3030) needs CHUNKING and is not offered.
        Some(word) if word.eq_ignore_ascii_case("BINARYMIME") => Err(reply::UNKNOWN_PARAMETER),
        _ => Err(reply::BAD_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_in_any_case_and_order() {
        let both = MailParameters {
            size: Some(10),
            body: Some(Body::EightBitMime),
        };
        assert_eq!(MailParameters::parse(" size=10  BODY=8BitMime "), Ok(both));
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
        ] {
            assert_eq!(
                MailParameters::parse(text).unwrap_err().code(),
                code,
                "{text}"
            );
        }
        assert_eq!(check_rcpt(" NOTIFY=NEVER").unwrap_err().code(), 555);
        assert_eq!(check_rcpt("  "), Ok(()));
    }
}
