//! Pieces of DER (X.690): as much as certificates take that webpki does not tell.
//!
//! `build.rs` includes this file by path.

/// The DER of the attribute type id-at-commonName, 2.5.4.3.
pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// The DER of the attribute type id-at-organizationName, 2.5.4.10.
pub const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The first element of DER: its tag, its content, and what follows. Lengths of up to four octets, tags of one.
pub fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(short) {
        length @ ..0x80 => (length, rest),
        long => {
            let (octets, rest) = rest.split_at_checked(long & 0x7f)?;
            let fold = |length: usize, &octet: &u8| length << 8 | usize::from(octet);
            let is_usual = (1..=4).contains(&octets.len());
            (is_usual.then(|| octets.iter().fold(0, fold))?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The first attribute of this type that has a text: its tag and content. A Name (RFC 5280 4.1.2.4), whose content this
/// is, is a sequence of sets of sequences of type and value.
pub fn attribute<'a>(mut rdns: &'a [u8], wanted: &[u8]) -> Option<(u8, &'a [u8])> {
    while let Some((_, mut set, rest)) = element(rdns) {
        rdns = rest;
        while let Some((_, attribute, rest)) = element(set) {
            set = rest;
            let (_, kind, value) = element(attribute)?;
            if kind == wanted {
                let (tag, text, _) = element(value)?;
                return (!text.is_empty()).then_some((tag, text));
            }
        }
    }
    None
}

/// The length in bits of the modulus of an RSA key (RFC 8017 A.1.1), which stands in a bit string.
pub fn rsa_bits(bit_string: &[u8]) -> Option<usize> {
    let (_, bits, _) = element(bit_string)?;
    let (_, numbers, _) = element(bits.strip_prefix(&[0])?)?; // no unused bits
    let (_, modulus, _) = element(numbers)?;
    Some(bit_length(modulus))
}

/// The same of a private key (RFC 8017 A.1.2), where a version stands before it.
pub fn private_rsa_bits(key: &[u8]) -> Option<usize> {
    let (_, numbers, _) = element(key)?;
    let (_, _, numbers) = element(numbers)?;
    let (_, modulus, _) = element(numbers)?;
    Some(bit_length(modulus))
}

/// The elements of a sequence's or a set's content, down to the first that cannot be read: their tags and contents.
pub fn elements(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = element(der)?;
        der = rest;
        Some((tag, content))
    })
}

/// Of a positive number, its highest octet first.
fn bit_length(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|&&octet| octet == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let first = digits
        .first()
        .map_or(0, |octet| octet.leading_zeros() as usize);
    digits.len() * 8 - first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_der_is_too_odd() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x02, 0],
            &[0x30, 0x82, 1],
        ] {
            assert_eq!(element(der), None, "{der:?}");
            assert_eq!(attribute(der, COMMON_NAME), None);
        }
        assert_eq!(element(&[4, 0x81, 1, 7, 9]), Some((4, &[7][..], &[9][..])));
        assert_eq!(attribute(&[0x31, 2, 0x30, 0], COMMON_NAME), None);
    }

    #[test]
    fn a_number_is_as_long_as_its_highest_bit_says() {
        for junk in [&[][..], &[0], &[0, 0, 0], &[1], &[0xff; 3]] {
            let _ = bit_length(junk);
        }
        assert_eq!(bit_length(&[0, 0x80, 0]), 16);
        assert_eq!(bit_length(&[1, 0]), 9);
        assert_eq!(bit_length(&[]), 0);
    }
}
