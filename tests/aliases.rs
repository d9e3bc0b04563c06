//! Files of aliases and of recipients that nobody in his right mind would write: each is read or named by its line, and
//! what is read keeps to its limits.

use facteur::limits;
use facteur::policy::aliases::{Aliases, Home};
use facteur::policy::recipients::Recipients;
use facteur::smtp::address::Mailbox;
use proptest::prelude::*;

/// Lines of what aliases(5) has uses for.
const LINES: &str = "([ \t#a-d:,@\"\\\\|/+.éB<>\r\n-]|a: b|b: c@d|: |:include:|\n ){0,60}";
/// Small files, most of them right: loops, nesting and doubles.
const GRAPHS: &str = "([a-f]: [a-f](, ?[a-f]|,\n\\\\?[a-f]@[xyz]|, [a-f]@x){0,4}\n){1,8}";

fn home(domain: &str) -> Home {
    match domain {
        "x" => Home::Mailboxes,
        "y" => Home::NamesOnly,
        _ => Home::Elsewhere,
    }
}

fn check(text: &str, hostname: &str) -> Result<(), TestCaseError> {
    let aliases = match Aliases::parse(text, hostname, home) {
        Ok(aliases) => aliases,
        Err(bad) => {
            let lines = text.lines().count();
            prop_assert!((1..=lines).contains(&bad.line), "{bad:?}");
            prop_assert!(!bad.why.is_empty() && !bad.why.contains('\n'), "{bad:?}");
            return Ok(());
        }
    };
    for name in text.split([':', ',', ' ', '\n']) {
        let Some(found) = aliases.expand(name) else {
            continue;
        };
        prop_assert!((1..=limits::RECIPIENTS).contains(&found.len()), "{name}");
        for (at, address) in found.iter().enumerate() {
            prop_assert!(Mailbox::parse(address).is_ok(), "{address}");
            prop_assert!(!found[..at].contains(address), "{address} twice");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_named(text in any::<String>()) {
        check(&text, "x")?;
    }

    #[test]
    fn lines_near_the_grammar(text in LINES) {
        check(&text, "x")?;
        check(&text, "y")?;
    }

    #[test]
    fn names_that_lead_to_names(text in GRAPHS) {
        check(&text, "x")?;
        check(&text, "y")?;
    }

    #[test]
    fn recipients_near_the_grammar(text in "[a-c@.# \"\\\\+é\n]{0,40}") {
        if let Err(bad) = Recipients::parse(&text, |domain| domain.len() < 3) {
            prop_assert!((1..=text.lines().count()).contains(&bad.line), "{bad:?}");
            prop_assert!(!bad.why.contains('\n'), "{bad:?}");
        }
    }
}
