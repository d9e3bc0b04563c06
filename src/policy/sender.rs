//! Which senders of this machine's own mail are replaced on the way out: a smarthost refuses `root@raspberrypi`.

use super::{idn, target};
use crate::smtp::address::Mailbox;
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
        let (what, by) = match text.split_once('=') {
            // An address may hold a `=` itself, before its `@`.
            Some((what, by)) if what.contains('@') => (Some(what), by),
            _ => (None, text),
        };
        let what = match what {
            None => Match::Own,
            Some(what) => match what.strip_prefix('@') {
                Some(domain) => Match::Domain(
                    target::host_name(domain)
                        .ok_or_else(|| format!("{what:?} is neither an address nor @domain"))?,
                ),
                None => Match::Address(address(what)?),
            },
        };
        let by = address(by)?;
        Ok(Self { what, by })
    }
}

fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address, such as ann@example.org");
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
    hostname: String,
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
    /// The rules of a machine called `hostname`.
    ///
    /// # Errors
    /// One line that names the rules that clash.
    pub fn new(hostname: &str, rules: Vec<Rule>, from_field: FromField) -> Result<Self, String> {
        if rules.is_empty() && from_field == FromField::Replaced {
            return Err(
                "--relay-sender-header replaces by what --relay-sender says: give one".into(),
            );
        }
        for (at, rule) in rules.iter().enumerate() {
            if let Some(twin) = rules[..at].iter().find(|other| other.what == rule.what) {
                return Err(format!(
                    "--relay-sender {} and {}: one for the same senders",
                    twin.by, rule.by
                ));
            }
        }
        Ok(Self {
            rules,
            hostname: hostname.trim_end_matches('.').to_owned(),
            from_field,
        })
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
        let is_own = |what: &Match| {
            let own = |domain| is_name(domain, &self.hostname) || is_name(domain, "localhost");
            *what == Match::Own && domain.is_none_or(own)
        };
        let find = |is: &dyn Fn(&Match) -> bool| self.rules.iter().find(|rule| is(&rule.what));
        let rule = find(&is_address).or_else(|| find(&is_domain));
        let rule = rule.or_else(|| find(&is_own))?;
        Some(&rule.by)
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
        Senders::new("RaspberryPi", rules?, FromField::Kept)
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
        let verp: Rule = "a=b@isp.example".parse().unwrap();
        assert_eq!(
            verp,
            Rule {
                what: Match::Own,
                by: "a=b@isp.example".into()
            }
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (rules, part) in [
            (&["root"][..], "no address"),
            (&["@a b=root@isp.example"], "@domain"),
            (&["x@y@z=root@isp.example"], "no address"),
            (
                &["a@isp.example", "b@isp.example"],
                "a@isp.example and b@isp.example",
            ),
        ] {
            let why = senders(rules).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let header = Senders::new("h", Vec::new(), FromField::Replaced).unwrap_err();
        assert!(header.contains("--relay-sender-header"), "{header}");
    }
}
