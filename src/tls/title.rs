//! What a certificate calls its subject or its issuer, short enough for a line.
//!
//! `build.rs` includes this file by path.

use super::der;

/// The attributes that name somebody, the preferred first.
const NAMES: [&[u8]; 2] = [der::COMMON_NAME, der::ORGANIZATION];

/// The DER tag of a BMPString, whose characters are UTF-16.
const BMP_STRING: u8 = 0x1e;

/// Of the content of a Name (RFC 5280 4.1.2.4): its common name, else its organization; at most so many characters, of any
/// kind: quote them.
pub fn of(rdns: &[u8], most: usize) -> Option<String> {
    let found = NAMES
        .into_iter()
        .find_map(|kind| der::attribute(rdns, kind));
    let (tag, text) = found?;
    let text = match tag {
        BMP_STRING => {
            let units: Vec<u16> = text
                .as_chunks()
                .0
                .iter()
                .copied()
                .map(u16::from_be_bytes)
                .collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(text).into_owned(),
    };
    Some(text.chars().take(most).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a Name with one attribute in each of its sets.
    fn rdns(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8][..], content].concat();
        let sets = attributes.iter().map(|(kind, tag, text)| {
            let inner = [wrap(6, kind), wrap(*tag, text)].concat();
            wrap(0x31, &wrap(0x30, &inner))
        });
        sets.collect::<Vec<_>>().concat()
    }

    #[test]
    fn somebody_is_told_by_a_common_name_or_an_organization() {
        let [common, organization] = NAMES;
        let own = rdns(&[(organization, 0x0c, b"Org"), (common, 0x0c, b"R3")]);
        assert_eq!(of(&own, 64).as_deref(), Some("R3"));
        let own = rdns(&[
            (&[0x55, 0x04, 0x06], 0x13, b"FR"),
            (organization, 0x0c, "Société".as_bytes()),
        ]);
        assert_eq!(of(&own, 64).as_deref(), Some("Société"));
        let own = rdns(&[(common, BMP_STRING, &[0, b'R', 0x20, 0xac, 7])]);
        assert_eq!(of(&own, 64).as_deref(), Some("R€"));
        let empty = rdns(&[(common, 0x0c, b""), (organization, 0x0c, b"Org")]);
        assert_eq!(of(&empty, 64).as_deref(), Some("Org"));
        let long = rdns(&[(common, 0x0c, &[b'x'; 100])]);
        assert_eq!(of(&long, 64).map(|name| name.len()), Some(64));
    }
}
