//! Which senders of this machine's own mail are replaced on the way out: a smarthost refuses `root@raspberrypi`.

use super::{idn, target};
use crate::smtp::address::Mailbox;
use std::fmt;
use std::str::FromStr;

/// One `--relay-sender [MATCH=]ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    what: Match,
    /// An address whose domain is in A-labels.
    by: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Address(String),
    Domain(String),
    /// Without a domain, or at a name of this machine.
    Own,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An address may hold a `=` itself: the first one that parts a match from an address.
        let parted = text.match_indices('=').find_map(|(at, _)| {
            Some(Self {
                what: Match::of(&text[..at]).ok()?,
                by: address(&text[at + 1..]).ok()?,
            })
        });
        if let Some(rule) = parted {
            return Ok(rule);
        }
        match text.split_once('=') {
            // A `root=ann@isp.example` could be an address, and hardly ever is: whoever means it writes it in quotes.
            Some((what, by)) if !text.starts_with('"') => {
                Match::of(what).map_err(|why| better(what, by).unwrap_or(why))?;
                Err(no_address(by))
            }
            _ => Ok(Self {
                what: Match::Own,
                by: address(text)?,
            }),
        }
    }
}

impl Match {
    fn of(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some(domain) => target::host_name(domain)
                .map(Self::Domain)
                .ok_or_else(|| format!("{text:?} is neither an address nor @domain")),
            None => address(text).map(Self::Address),
        }
    }

    /// Whether it means the same senders.
    fn is_twin_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one.eq_ignore_ascii_case(other),
            _ => self == other,
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => f.write_str(address),
            Self::Domain(domain) => write!(f, "senders @{domain}"),
            Self::Own => f.write_str("this machine's own senders"),
        }
    }
}

/// What is right in place of a word, a domain or nothing before the `=`; None where something else is wrong.
fn better(what: &str, by: &str) -> Option<String> {
    if what.contains('@') {
        return None;
    }
    let host = target::host_name(what).unwrap_or_else(|| "raspberrypi".to_owned());
    let by = address(by).unwrap_or_else(|_| "ADDRESS".to_owned());
    Some(format!(
        "{what:?} is neither an address nor @domain: give root@raspberrypi={by} for one sender, @{host}={by} for a domain, \
         or {by} alone for all of this machine; an address with a = before its @ stands in quotes, \"a=b\"@example.org"
    ))
}

fn no_address(text: &str) -> String {
    format!("{text:?} is no address, such as ann@example.org")
}

fn address(text: &str) -> Result<String, String> {
    let wrong = || no_address(text);
    let mailbox = Mailbox::parse(text).map_err(|_| wrong())?;
    match idn::a_labels(mailbox.domain().as_str()) {
        Ok(domain) if mailbox.local_part().as_str().is_ascii() => {
            Ok(format!("{}@{domain}", mailbox.local_part()))
        }
        _ => Err(wrong()),
    }
}

/// The rules, and what this machine is called.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    rules: Vec<Rule>,
    /// What this machine is called, beside names without a dot.
    own: Vec<String>,
    /// `--relay-sender-header`.
    from_field: FromField,
}

/// Whether the From field is looked at, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FromField {
    /// It goes out as it is.
    #[default]
    Kept,
    /// An address in it that would be replaced as a sender is replaced.
    Replaced,
}

impl Senders {
    /// The rules of a machine that has these names, `--hostname` among them.
    ///
    /// # Errors
    /// One line that names the rules that clash.
    pub fn new(own: &[&str], rules: Vec<Rule>, from_field: FromField) -> Result<Self, String> {
        if rules.is_empty() && from_field == FromField::Replaced {
            return Err(
                "--relay-sender-header replaces by what --relay-sender says: give one".into(),
            );
        }
        for (at, rule) in rules.iter().enumerate() {
            let twin = rules[..at].iter().find(|it| it.what.is_twin_of(&rule.what));
            if let Some(twin) = twin {
                return Err(format!(
                    "--relay-sender {} and {}: both in place of {}; leave out one, or give it a MATCH= of its own",
                    twin.by, rule.by, twin.what
                ));
            }
        }
        Ok(Self {
            rules,
            own: own
                .iter()
                .map(|name| name.trim_end_matches('.').to_owned())
                .collect(),
            from_field,
        })
    }

    /// Whether any sender is replaced.
    #[must_use]
    pub fn replaces_any(&self) -> bool {
        !self.rules.is_empty()
    }

    /// What the From field is.
    #[must_use]
    pub fn from_field(&self) -> FromField {
        self.from_field
    }

    /// The address in place of this one: by the rule for the very address, else for its domain, else for this machine's.
    /// None: it stays, as the null sender always does.
    #[must_use]
    pub fn instead_of(&self, sender: &str) -> Option<&str> {
        if sender.is_empty() || self.rules.is_empty() {
            return None;
        }
        let domain = sender.rsplit_once('@').map(|(_, domain)| domain);
        let is_address = |what: &Match| matches!(what, Match::Address(address) if address.eq_ignore_ascii_case(sender));
        let is_domain = |what: &Match| match (what, domain) {
            (Match::Domain(wanted), Some(domain)) => is_name(domain, wanted),
            _ => false,
        };
        let is_own = |what: &Match| *what == Match::Own && domain.is_none_or(|it| self.is_own(it));
        let find = |is: &dyn Fn(&Match) -> bool| self.rules.iter().find(|rule| is(&rule.what));
        let rule = find(&is_address).or_else(|| find(&is_domain));
        let rule = rule.or_else(|| find(&is_own))?;
        Some(&rule.by)
    }

    /// Whether a domain can only be this machine's: one of its names, or one without a dot, which is nobody's on the Internet
    /// and what programs take that know no more of their host than `hostname` says.
    fn is_own(&self, domain: &str) -> bool {
        let is_literal = domain.starts_with('[');
        let has_dot = domain.trim_end_matches('.').contains(['.', '\u{3002}']);
        (!has_dot && !is_literal) || self.own.iter().any(|own| is_name(domain, own))
    }
}

fn is_name(domain: &str, wanted: &str) -> bool {
    let labels = idn::a_labels(domain);
    let domain = labels.as_deref().unwrap_or(domain);
    domain.trim_end_matches('.').eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders(rules: &[&str]) -> Result<Senders, String> {
        let rules: Result<Vec<Rule>, String> = rules.iter().map(|rule| rule.parse()).collect();
        let own = ["pi.home.arpa", "RaspberryPi.lan", "localhost.localdomain"];
        Senders::new(&own, rules?, FromField::Kept)
    }

    #[test]
    fn senders_of_this_machine_are_replaced_and_no_others() {
        let all = [
            "pi@isp.example",
            "@lab.example=lab@isp.example",
            "bob@raspberrypi=bob=x@isp.example",
        ];
        let senders = senders(&all).unwrap();
        for (sender, wanted) in [
            ("", None),
            ("root", Some("pi@isp.example")),
            ("root@raspberrypi", Some("pi@isp.example")),
            ("root@RASPBERRYPI", Some("pi@isp.example")),
            ("root@localhost", Some("pi@isp.example")),
            ("bob@raspberrypi", Some("bob=x@isp.example")),
            ("root@raspberrypi.LAN.", Some("pi@isp.example")),
            ("root@pi.home.arpa", Some("pi@isp.example")),
            ("root@pi", Some("pi@isp.example")),
            ("root@nas.", Some("pi@isp.example")),
            ("root@localhost.localdomain", Some("pi@isp.example")),
            ("root@nas.home.arpa", None),
            ("root@home.arpa", None),
            ("root@[127.0.0.1]", None),
            ("root@[IPv6:::1]", None),
            ("bob", Some("pi@isp.example")),
            ("any@lab.example", Some("lab@isp.example")),
            ("any@sub.lab.example", None),
            ("ann@example.org", None),
            ("root@raspberrypi.example.org", None),
            ("pi@isp.example", None),
        ] {
            assert_eq!(senders.instead_of(sender), wanted, "{sender}");
        }
        assert_eq!(Senders::default().instead_of("root"), None);
    }

    #[test]
    fn without_a_match_nothing_but_this_machine_s_is_meant() {
        let lab = senders(&["@lab.example=lab@isp.example"]).unwrap();
        assert_eq!(lab.instead_of("root@raspberrypi"), None);
    }

    #[test]
    fn an_equals_sign_may_stand_in_addresses_where_nothing_else_can_be_meant() {
        let address = |text: &str| Match::Address(text.to_owned());
        for (text, what, by) in [
            ("\"a=b\"@isp.example", Match::Own, "\"a=b\"@isp.example"),
            (
                "a=b@pi.example=you@isp.example",
                address("a=b@pi.example"),
                "you@isp.example",
            ),
            (
                "@pi=a=b@isp.example",
                Match::Domain("pi".into()),
                "a=b@isp.example",
            ),
        ] {
            let by = by.to_owned();
            assert_eq!(text.parse(), Ok(Rule { what, by }), "{text}");
        }
    }

    /// The mail would go out as from `root=you@isp.example`, and nobody would know why it is refused.
    #[test]
    fn a_match_that_is_none_is_no_address_but_an_error_that_tells_what_is_right() {
        let right = "root@raspberrypi=you@isp.example";
        for (text, parts) in [
            (
                "root=you@isp.example",
                ["root", "@root=you@isp.example", right],
            ),
            (
                "pi.home.arpa=you@isp.example",
                ["pi.home.arpa", "@pi.home.arpa=you@isp.example", right],
            ),
            (
                "=you@isp.example",
                ["\"\"", "@raspberrypi=you@isp.example", right],
            ),
            (
                "a b=you@isp.example",
                ["a b", "@raspberrypi=you@isp.example", right],
            ),
            (
                "root=",
                ["root", "@root=ADDRESS", "root@raspberrypi=ADDRESS"],
            ),
        ] {
            let why = text.parse::<Rule>().unwrap_err();
            assert!(parts.iter().all(|part| why.contains(part)), "{text}: {why}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (rules, part) in [
            (&["root"][..], "no address"),
            (&["@a b=root@isp.example"], "@domain"),
            (&["x@y@z=root@isp.example"], "no address"),
            (
                &["a@isp.example", "b@isp.example"],
                "a@isp.example and b@isp.example: both in place of this machine's own senders; leave out one",
            ),
            (
                &["@lab=a@isp.example", "@lab=b@isp.example"],
                "both in place of senders @lab; leave out one",
            ),
            (
                &["x@lab=a@isp.example", "X@lab=b@isp.example"],
                "both in place of x@lab; leave out one",
            ),
        ] {
            let why = senders(rules).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let header = Senders::new(&["h"], Vec::new(), FromField::Replaced).unwrap_err();
        assert!(header.contains("--relay-sender-header"), "{header}");
    }
}
