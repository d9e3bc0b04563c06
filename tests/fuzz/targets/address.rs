//! What is read as an address is written as an address that reads the same, and can hold nothing that breaks a line.

#![no_main]

use facteur::limits;
use facteur::policy::idn;
use facteur::smtp::address::{
    Domain, Encoded, LocalPart, Mailbox, OriginalRecipient, Path, Utf8Address,
};
use facteur::smtp::xtext::XText;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok((path, rest)) = Path::parse(text) {
        assert!(text.ends_with(rest));
        let written = path.to_string();
        assert_eq!(Path::parse(&written), Ok((path, "")), "{written:?}");
        assert!(!written.contains(char::is_control), "{written:?}");
        if let Path::Mailbox(mailbox) = path {
            check_mailbox(mailbox);
        }
    }
    if let Ok(mailbox) = Mailbox::parse(text) {
        check_mailbox(mailbox);
        let written = format!("<{mailbox}>");
        let path = Path::parse(&written);
        assert_eq!(path, Ok((Path::Mailbox(mailbox), "")), "{written:?}");
    }
    if let Ok(domain) = Domain::parse(text) {
        check_domain(domain);
    }
    if let Ok(address) = Utf8Address::parse(text) {
        check_utf8(address);
    }
    if let Ok(original) = OriginalRecipient::parse(text) {
        check_original(original);
        assert_eq!(original.as_str(), text);
    }
    if let Ok(xtext) = XText::parse(text, limits::ENVID) {
        let escapes = text.matches('+').count();
        assert_eq!(xtext.octets().count(), text.len() - 2 * escapes);
    }
});

fn check_mailbox(mailbox: Mailbox<'_>) {
    let (local, domain) = (mailbox.local_part(), mailbox.domain());
    assert_eq!(format!("{local}@{domain}"), mailbox.as_str());
    assert_eq!(Mailbox::parse(mailbox.as_str()), Ok(mailbox));
    assert_eq!(LocalPart::parse(local.as_str()), Ok(local));
    assert!(!local.as_str().is_empty() && local.as_str().len() <= limits::LOCAL_PART);
    assert!(mailbox.as_str().len() <= limits::MAILBOX);
    check_domain(domain);
}

fn check_domain(domain: Domain<'_>) {
    let text = domain.as_str();
    assert_eq!(Domain::parse(text), Ok(domain));
    assert!(!text.is_empty() && text.len() <= limits::DOMAIN);
    assert!(!text.contains(|c: char| c.is_control() || " @\"<>".contains(c)));
    if let (None, Ok(known)) = (domain.literal(), idn::a_labels(text)) {
        assert!(
            known.is_ascii() && Domain::parse(&known).is_ok(),
            "{known:?}"
        );
        assert_eq!(idn::key(&known), known);
    }
}

fn check_utf8(address: Utf8Address<'_>) {
    assert_eq!(Utf8Address::parse(address.as_str()), Ok(address));
    assert!(!address.chars().any(char::is_control));
    let ascii = address.in_ascii().to_string();
    let again = Utf8Address::parse(&ascii).expect("in ASCII");
    assert!(
        ascii.is_ascii() && again.chars().eq(address.chars()),
        "{ascii:?}"
    );
}

fn check_original(original: OriginalRecipient<'_>) {
    let text = original.as_str();
    assert_eq!(OriginalRecipient::parse(text), Ok(original));
    assert!(text.len() <= limits::ORCPT && !text.contains(' '));
    assert!(!text.contains(char::is_control), "{text:?}");
    if let Encoded::Utf8(address) = original.address() {
        check_utf8(address);
    }
}
