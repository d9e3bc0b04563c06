//! Parse, don't validate: what the grammar allows is read and written back as it came; whatever is read keeps to the limits
//! and holds nothing that could break a line, a path or a log. Legal strings are made from the RFCs' own grammar.

use facteur::limits;
use facteur::policy::idn;
use facteur::smtp::address::{
    Domain, Encoded, LocalPart, Mailbox, OriginalRecipient, Path, Utf8Address,
};
use facteur::smtp::parameters::RcptParameters;
use facteur::smtp::xtext::XText;
use proptest::prelude::*;

const ATOM: &str = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~éßжあ\u{10400}-]{1,12}";
const QUOTED: &str = "\"([ !#-\\[\\]-~éжあ]|\\\\[ -~]){0,20}\"";
const LABEL: &str = "[a-zA-Z0-9_éßжあ]([a-zA-Z0-9_éжあ-]{0,10}[a-zA-Z0-9éжあ])?";
/// Any text, and text of what the grammars have uses for.
const NEAR: &str = "[a-z0-9@.<>\"\\\\\\[\\]:;+={}x,_ é\u{85}\0\r\n-]{0,30}";
/// Escapes of RFC 6533, few of them legal.
const ESCAPES: &str = "(utf-8;)?a?(\\\\x[{][0-9A-Fa-f]{1,3}[}]|\\\\x[{][01D][0-9A-F]{3,5}[}]){1,2}";

fn local_part() -> impl Strategy<Value = String> {
    let atoms = prop::collection::vec(ATOM, 1..4).prop_map(|atoms| atoms.join("."));
    prop_oneof![3 => atoms, 1 => QUOTED]
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(LABEL, 1..5).prop_map(|labels| labels.join("."))
}

fn domain() -> impl Strategy<Value = String> {
    let four =
        any::<[u8; 4]>().prop_map(|octets| format!("[{}]", std::net::Ipv4Addr::from(octets)));
    let six = (any::<u128>(), "(IPv6|ipv6)")
        .prop_map(|(bits, tag)| format!("[{tag}:{}]", std::net::Ipv6Addr::from(bits)));
    prop_oneof![6 => name(), 1 => four, 1 => six]
}

fn mailbox() -> impl Strategy<Value = String> {
    (local_part(), domain()).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

/// A path, and how it is written once its source route is dropped.
fn path() -> impl Strategy<Value = (String, String)> {
    let routed = (prop::collection::vec(name(), 0..3), mailbox()).prop_map(|(hops, mailbox)| {
        let route: Vec<String> = hops.iter().map(|hop| format!("@{hop}")).collect();
        let colon = if route.is_empty() { "" } else { ":" };
        let route = route.join(",");
        (format!("<{route}{colon}{mailbox}>"), format!("<{mailbox}>"))
    });
    let alone = prop_oneof![Just(String::new()), local_part()];
    let alone = alone.prop_map(|inside| (format!("<{inside}>"), format!("<{inside}>")));
    prop_oneof![4 => routed, 1 => alone]
}

fn xtext() -> impl Strategy<Value = String> {
    "([!-*,-<>-~]|[+][0-9A-F]{2}){1,30}"
}

/// RFC 6533 3, less what a mailbox cannot hold: controls.
fn utf8_address() -> impl Strategy<Value = String> {
    let hex = prop_oneof![
        Just("20".to_owned()),
        Just("2B".to_owned()),
        Just("3d".to_owned()),
        Just("5C".to_owned()),
        "[A-Fa-f][0-9A-Fa-f]",
        "[1-9A-F][0-9a-f]{2}",
        "[1-9A-CEF][0-9A-F]{3}",
        "D[0-7][0-9A-F]{2}",
        "[1-9A-F][0-9A-F]{4}",
        "10[0-9A-F]{4}",
    ];
    let piece = prop_oneof![
        3 => "[!-*,-<>-\\[\\]-~]{1,5}",
        1 => "[éßжあ\u{10400}]",
        2 => hex.prop_map(|hex| format!("\\x{{{hex}}}")),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

fn original_recipient() -> impl Strategy<Value = String> {
    let kind = "[a-zA-Z0-9!#$%&'*+/?^_`{|}~-]{1,10}"
        .prop_filter("is utf-8", |kind| !kind.eq_ignore_ascii_case("utf-8"));
    prop_oneof![
        (kind, xtext()).prop_map(|(kind, address)| format!("{kind};{address}")),
        xtext().prop_map(|address| format!("rfc822;{address}")),
        ("(utf-8|UTF-8|Utf-8)", utf8_address())
            .prop_map(|(kind, address)| format!("{kind};{address}")),
    ]
}

/// The text with one character taken out, put in or changed.
fn nearly(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let odd = "[ \0-\u{1f}\u{7f}\u{85}<>@\".\\\\+={}\\[\\],;:é-]?";
    (text, any::<prop::sample::Index>(), odd, any::<bool>()).prop_map(|(text, at, odd, take)| {
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len() + 1);
        if take && at < chars.len() {
            chars.remove(at);
        }
        let (before, behind) = chars.split_at(at.min(chars.len()));
        before
            .iter()
            .copied()
            .chain(odd.chars())
            .chain(behind.iter().copied())
            .collect()
    })
}

/// No control anywhere; outside quotes no white space and no angle bracket.
fn harmless(text: &str) -> Result<(), TestCaseError> {
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        prop_assert!(!c.is_control(), "{text:?}");
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '<' | '>' => prop_assert!(quoted, "{text:?}"),
            _ => {}
        }
    }
    prop_assert!(!quoted && !escaped, "{text:?}");
    Ok(())
}

fn check_domain(read: Domain<'_>, text: &str) -> Result<(), TestCaseError> {
    let (written, upper) = (read.to_string(), text.to_ascii_uppercase());
    prop_assert_eq!(&written, text);
    prop_assert_eq!(Domain::parse(&written), Ok(read));
    prop_assert_eq!(Domain::parse(&upper), Ok(read));
    prop_assert!(!text.is_empty() && text.len() <= limits::DOMAIN);
    prop_assert!(!text.contains([' ', '@', '"', '<', '>']), "{:?}", text);
    prop_assert_eq!(read.literal().is_some(), text.starts_with('['));
    harmless(text)?;
    // What it is known by is known by the same, and DNS can hold it.
    if let (None, Ok(known)) = (read.literal(), idn::a_labels(text)) {
        prop_assert!(known.is_ascii() && !known.bytes().any(|b| b.is_ascii_uppercase()));
        prop_assert_eq!(idn::key(&known), &*known);
        prop_assert!(Domain::parse(&known).is_ok(), "{:?} is {:?}", text, known);
    }
    Ok(())
}

fn check_mailbox(read: Mailbox<'_>, text: &str) -> Result<(), TestCaseError> {
    let written = read.to_string();
    prop_assert_eq!(&written, text);
    prop_assert_eq!(Mailbox::parse(&written), Ok(read));
    let (local, domain) = (read.local_part(), read.domain());
    prop_assert_eq!(format!("{local}@{domain}"), text);
    prop_assert_eq!(LocalPart::parse(local.as_str()), Ok(local));
    prop_assert!(!local.as_str().is_empty() && local.as_str().len() <= limits::LOCAL_PART);
    prop_assert!(text.len() <= limits::MAILBOX);
    prop_assert_eq!(read.is_ascii(), text.is_ascii());
    check_domain(domain, domain.as_str())?;
    harmless(text)
}

fn check_path(read: Path<'_>) -> Result<(), TestCaseError> {
    let written = read.to_string();
    prop_assert_eq!(Path::parse(&written), Ok((read, "")));
    let inside = written
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'));
    let inside = inside.expect("angle brackets");
    match read {
        Path::Null => prop_assert_eq!(inside, ""),
        Path::Bare(local) => prop_assert_eq!(local.as_str(), inside),
        Path::Mailbox(mailbox) => check_mailbox(mailbox, inside)?,
    }
    harmless(inside)
}

fn check_xtext(read: XText<'_>, text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(read.to_string(), text);
    prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'='));
    let escapes = text.matches('+').count();
    prop_assert_eq!(read.octets().count(), text.len() - 2 * escapes);
    let again: String = read.octets().map(in_xtext).collect();
    let again = XText::parse(&again, usize::MAX).expect("octets are written as xtext");
    prop_assert!(again.octets().eq(read.octets()));
    Ok(())
}

fn in_xtext(octet: u8) -> String {
    match octet {
        b'+' | b'=' => format!("+{octet:02X}"),
        b'!'..=b'~' => char::from(octet).into(),
        other => format!("+{other:02X}"),
    }
}

fn check_utf8_address(read: Utf8Address<'_>, text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(read.to_string(), text);
    prop_assert!(!text.contains([' ', '+', '=']) && !text.contains(char::is_control));
    let address: String = read.chars().collect();
    prop_assert!(
        !address.is_empty() && !address.contains(char::is_control),
        "{:?}",
        address
    );
    let ascii = read.in_ascii().to_string();
    prop_assert!(ascii.is_ascii());
    let again = Utf8Address::parse(&ascii).expect("in ASCII");
    prop_assert!(again.chars().eq(read.chars()), "{:?}", ascii);
    Ok(())
}

fn check_original(read: OriginalRecipient<'_>, text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(read.to_string(), text);
    prop_assert!(text.len() <= limits::ORCPT && !text.contains(' '));
    let encoded = match read.address() {
        Encoded::XText(address) => address.as_str(),
        Encoded::Utf8(address) => {
            check_utf8_address(address, address.as_str())?;
            address.as_str()
        }
    };
    prop_assert_eq!(format!("{};{encoded}", read.kind()), text);
    let (plain, parameter) = (read.in_ascii().to_string(), format!(" ORCPT={text}"));
    let (with, without) = (
        RcptParameters::parse(&parameter, true),
        RcptParameters::parse(&parameter, false),
    );
    prop_assert_eq!(with.map(|found| found.orcpt), Ok(Some(read)));
    prop_assert_eq!(without.is_ok(), text.is_ascii());
    if plain.len() <= limits::ORCPT {
        prop_assert!(OriginalRecipient::parse(&plain).is_ok(), "{:?}", plain);
    }
    Ok(())
}

/// Everything that the text may be taken for.
fn check_all(text: &str) -> Result<(), TestCaseError> {
    if let Ok(read) = Domain::parse(text) {
        check_domain(read, text)?;
    }
    if let Ok(read) = Mailbox::parse(text) {
        check_mailbox(read, text)?;
    }
    if let Ok((read, rest)) = Path::parse(text) {
        prop_assert!(text.ends_with(rest));
        check_path(read)?;
    }
    if let Ok(read) = XText::parse(text, limits::ENVID) {
        prop_assert!(text.len() <= limits::ENVID);
        check_xtext(read, text)?;
    }
    if let Ok(read) = Utf8Address::parse(text) {
        check_utf8_address(read, text)?;
    }
    if let Ok(read) = OriginalRecipient::parse(text) {
        check_original(read, text)?;
    }
    let _ = idn::a_labels(text);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn legal_domains_are_read(text in domain()) {
        let read = Domain::parse(&text);
        prop_assert!(read.is_ok());
        check_domain(read.unwrap(), &text)?;
    }

    #[test]
    fn legal_mailboxes_are_read(text in mailbox()) {
        let read = Mailbox::parse(&text);
        prop_assert!(read.is_ok());
        check_mailbox(read.unwrap(), &text)?;
    }

    #[test]
    fn legal_paths_are_read_without_their_route((text, written) in path(), rest in "( .{0,9})?") {
        let line = text + &rest;
        let read = Path::parse(&line);
        prop_assert!(read.is_ok());
        let (read, behind) = read.unwrap();
        prop_assert_eq!((read.to_string(), behind), (written, rest.as_str()));
        check_path(read)?;
    }

    #[test]
    fn legal_xtext_is_read(text in xtext()) {
        let read = XText::parse(&text, limits::ENVID);
        prop_assert!(read.is_ok());
        check_xtext(read.unwrap(), &text)?;
    }

    #[test]
    fn legal_original_recipients_are_read(text in original_recipient()) {
        let read = OriginalRecipient::parse(&text);
        prop_assert!(read.is_ok());
        check_original(read.unwrap(), &text)?;
    }

    #[test]
    fn what_is_nearly_legal_is_harmless_or_refused(
        text in nearly(prop_oneof![
            domain(),
            mailbox(),
            path().prop_map(|(text, _)| text),
            xtext(),
            utf8_address(),
            original_recipient(),
        ]),
    ) {
        check_all(&text)?;
    }

    #[test]
    fn any_text_is_harmless_or_refused(text in prop_oneof![NEAR, ".{0,40}", "<.{0,40}>", "utf-8;.{0,20}", ESCAPES]) {
        check_all(&text)?;
    }

    #[test]
    fn what_is_long_is_within_the_limits_or_refused(local in 200usize..300, label in 50usize..70, labels in 1usize..8) {
        let domain = vec!["d".repeat(label); labels].join(".");
        let text = format!("{}@{domain}", "l".repeat(local));
        let legal = local <= limits::LOCAL_PART && label <= 63 && domain.len() <= limits::DOMAIN;
        prop_assert_eq!(Mailbox::parse(&text).is_ok(), legal && text.len() <= limits::MAILBOX);
        prop_assert_eq!(Path::parse(&format!("<{text}>")).is_ok(), legal && text.len() <= limits::MAILBOX);
    }
}
