//! TLS security levels, by Postfix's names.

use std::fmt;
use std::str::FromStr;

/// How much TLS a side of the relay asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In: STARTTLS is not offered. Out: it is not used.
    None,
    /// In: offered. Out: used where offered; where it fails, clear on a new connection.
    May,
    /// In: nothing but a few commands in clear (RFC 3207 4). Out: no mail without it; the certificate is not checked.
    Encrypt,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "none" => Ok(Self::None),
            "may" => Ok(Self::May),
            "encrypt" => Ok(Self::Encrypt),
            other => Err(format!(
                "{other:?} is no security level: none, may or encrypt"
            )),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::May => "may",
            Self::Encrypt => "encrypt",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_postfix_s() {
        for word in ["none", "may", "encrypt"] {
            assert_eq!(word.parse::<Level>().unwrap().to_string(), word);
        }
        assert!(
            "starttls"
                .parse::<Level>()
                .unwrap_err()
                .contains("none, may or encrypt")
        );
        assert!("Encrypt".parse::<Level>().is_err());
    }
}
