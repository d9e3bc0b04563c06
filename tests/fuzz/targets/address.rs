//! What is read as an address is written as an address that reads the same, and can hold nothing that breaks a line.

#![no_main]

use facteur::limits;
use facteur::smtp::address::{Mailbox, Path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok((path, rest)) = Path::parse(text) {
        assert!(text.ends_with(rest));
        let written = path.to_string();
        assert_eq!(Path::parse(&written), Ok((path, "")), "{written:?}");
        assert!(!written.contains(char::is_control), "{written:?}");
        if let Path::Mailbox(mailbox) = path {
            check(mailbox);
        }
    }
    if let Ok(mailbox) = Mailbox::parse(text) {
        check(mailbox);
        let written = format!("<{mailbox}>");
        let path = Path::parse(&written);
        assert_eq!(path, Ok((Path::Mailbox(mailbox), "")), "{written:?}");
    }
});

fn check(mailbox: Mailbox<'_>) {
    let (local, domain) = (mailbox.local_part(), mailbox.domain());
    assert_eq!(format!("{local}@{domain}"), mailbox.as_str());
    assert_eq!(Mailbox::parse(mailbox.as_str()), Ok(mailbox));
    assert!(!local.is_empty() && local.len() <= limits::LOCAL_PART);
    assert!(!domain.is_empty() && domain.len() <= limits::DOMAIN);
    assert!(mailbox.as_str().len() <= limits::MAILBOX);
}
