//! Sealing: what a record says is on the disk only in the hands of who has the spool's key (FORMAT.md).
//!
//! **Nonces.** Each life of a segment has a key of its own, derived from the spool's key, its salt, the life's generation
//! and the segment's number; under it, each record has a nonce drawn at random. So a block that is written again after a
//! power cut took its first version, and a segment that is used again, and even the copy of a card that goes on beside
//! its original, never make two records with one key and nonce: a life has room for some 60,000 records, and among so
//! many the chance of two equal ones is below 2^-64.
//!
//! **ChaCha20-Poly1305,** because the boards this is for have no instructions for AES.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs as provider;
use provider::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce};
use provider::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use provider::rand::{SecureRandom as _, SystemRandom};
#[cfg(not(feature = "aws-lc-rs"))]
use ring as provider;
use std::fmt;
use std::io;
use zeroize::Zeroizing;

/// Octets that sealing adds to a record: behind what it hides stand the tag and the nonce.
pub const SEAL: usize = MAX_TAG_LEN + NONCE_LEN;
/// Octets of a key.
const KEY: usize = 32;
/// Octets of the check by which a segment's header knows its key. All of them 0: the life is not sealed.
pub const CHECK: usize = 16;

/// The key of a spool, as its owner keeps it. Not shown by Debug, and wiped from memory when dropped.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Most octets of a file that holds a key.
    pub const FILE: usize = 2 * KEY + 2;

    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// The system has none.
    pub fn fresh() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        random(&mut *key)?;
        Ok(Self(key))
    }

    /// The key in a file's octets: 32 of them, or 64 hexadecimal digits and at most one line end.
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        if let Ok(raw) = <&[u8; KEY]>::try_from(file) {
            // 32 digits are half a key that somebody cut off, not a key.
            let digits = raw.iter().all(u8::is_ascii_hexdigit);
            key.copy_from_slice(raw);
            // A file that was made and never written holds zeros.
            let written = raw.iter().any(|&octet| octet != raw[0]);
            return (written && !digits).then_some(Self(key));
        }
        let line = file.strip_suffix(b"\n").unwrap_or(file);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() != 2 * KEY || (line.len() < file.len() && !file.ends_with(b"\n")) {
            return None;
        }
        let digit = |byte: u8| Some(char::from(byte).to_digit(16)? as u8);
        for (octet, pair) in key.iter_mut().zip(line.chunks(2)) {
            *octet = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(key))
    }

    /// As a line of 64 digits.
    #[must_use]
    pub fn line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(Self::FILE));
        for digit in self.0.iter().flat_map(|octet| [octet >> 4, octet & 15]) {
            line.extend(char::from_digit(digit.into(), 16));
        }
        line.push('\n');
        line
    }
}

/// Fills a buffer from the system's random numbers.
fn random(buffer: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(buffer)
        .map_err(|_| io::Error::other("no random numbers"))
}

/// A key in use: what seals and opens the records of one spool.
pub struct Sealer {
    secret: Prk,
    check: [u8; CHECK],
}

/// The length of what [`Prk::expand`] gives.
struct Check;

impl KeyType for Check {
    fn len(&self) -> usize {
        CHECK
    }
}

impl Sealer {
    /// What a key is to the spool of that salt.
    ///
    /// # Errors
    /// None with the libraries as they are.
    pub fn new(key: &Key, salt: u64) -> io::Result<Self> {
        let secret = Salt::new(HKDF_SHA256, &salt.to_le_bytes()).extract(&*key.0);
        let mut check = [0; CHECK];
        let expanded = secret.expand(&[b"facteur spool check"], Check);
        expanded
            .and_then(|okm| okm.fill(&mut check))
            .map_err(|_| unusable())?;
        Ok(Self { secret, check })
    }

    /// What the headers of this spool's segments hold.
    #[must_use]
    pub fn check(&self) -> [u8; CHECK] {
        self.check
    }

    /// What seals one life of a segment.
    ///
    /// # Errors
    /// None with the libraries as they are.
    pub fn life(&self, generation: u64, segment: u32) -> io::Result<Life> {
        let (generation, segment) = (generation.to_le_bytes(), segment.to_le_bytes());
        let info = [&b"facteur spool life"[..], &generation, &segment];
        let okm = self.secret.expand(&info, &CHACHA20_POLY1305);
        let okm = okm.map_err(|_| unusable())?;
        Ok(Life(LessSafeKey::new(okm.into())))
    }
}

fn unusable() -> io::Error {
    io::Error::other("the key cannot be used")
}

/// What seals the records of one life of a segment.
pub struct Life(LessSafeKey);

impl Life {
    /// Hides what stands in `out` from `from` on, and appends [`SEAL`] octets. Whoever opens it must know `known`.
    ///
    /// # Errors
    /// No random numbers: then what stands there must not be used.
    pub fn seal(&self, known: &[u8], out: &mut Vec<u8>, from: usize) -> io::Result<()> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        let hidden = out.get_mut(from..).unwrap_or_default();
        let tag = self
            .0
            .seal_in_place_separate_tag(unique, Aad::from(known), hidden)
            .map_err(|_| unusable())?;
        out.extend_from_slice(tag.as_ref());
        out.extend_from_slice(&nonce);
        Ok(())
    }

    /// Uncovers in place what [`Self::seal`] hid; how many octets it has, from the start. None: it is not what was sealed.
    #[must_use]
    pub fn open(&self, known: &[u8], sealed: &mut [u8]) -> Option<usize> {
        let (rest, nonce) = sealed.split_last_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(known), rest);
        opened.ok().map(|plain| plain.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(key: u8, salt: u64) -> Sealer {
        Sealer::new(&Key(Zeroizing::new([key; KEY])), salt).unwrap()
    }

    fn sealed(life: &Life, text: &[u8]) -> Vec<u8> {
        let mut out = b"in clear".to_vec();
        out.extend_from_slice(text);
        life.seal(b"known", &mut out, 8).unwrap();
        assert_eq!(&out[..8], b"in clear");
        out.split_off(8)
    }

    #[test]
    fn what_is_sealed_opens_for_its_key_and_place_only() {
        let life =
            |key, salt, generation, segment| sealer(key, salt).life(generation, segment).unwrap();
        let text = b"a text that nobody is to read";
        let whole = sealed(&life(1, 2, 3, 4), text);
        assert_eq!(whole.len(), text.len() + SEAL);
        let open = |life: Life, known: &[u8], mut octets: Vec<u8>| {
            let length = life.open(known, &mut octets)?;
            Some(octets[..length].to_vec())
        };
        let opened = open(life(1, 2, 3, 4), b"known", whole.clone());
        assert_eq!(opened.as_deref(), Some(&text[..]));
        assert_eq!(open(life(1, 2, 3, 4), b"other", whole.clone()), None);
        for other in [
            life(9, 2, 3, 4),
            life(1, 9, 3, 4),
            life(1, 2, 9, 4),
            life(1, 2, 3, 9),
        ] {
            assert_eq!(open(other, b"known", whole.clone()), None);
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(
                open(life(1, 2, 3, 4), b"known", flipped),
                None,
                "octet {at}"
            );
            let cut = whole[..at].to_vec();
            assert_eq!(open(life(1, 2, 3, 4), b"known", cut), None, "{at} octets");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike() {
        let life = sealer(1, 2).life(3, 4).unwrap();
        let (one, two) = (sealed(&life, b"text"), sealed(&life, b"text"));
        assert!(one[..4] != two[..4] && one[4 + MAX_TAG_LEN..] != two[4 + MAX_TAG_LEN..]);
    }

    #[test]
    fn a_key_file_is_32_octets_or_64_digits() {
        let key = Key::fresh().unwrap();
        let line = key.line();
        for file in [line.as_str(), line.trim_end(), &line.replace('\n', "\r\n")] {
            let read = Key::read(file.to_uppercase().as_bytes()).unwrap();
            assert_eq!(read.0, key.0);
        }
        assert_eq!(Key::read(&*key.0).unwrap().0, key.0);
        let half = &line.as_bytes()[..32];
        let long = [line.as_bytes(), b"\n"].concat();
        let wrong = line.replace(|digit: char| digit.is_ascii_hexdigit(), "g");
        let only_cr = line.replace('\n', "\r");
        for file in [
            &[0; KEY][..],
            b"",
            half,
            &line.as_bytes()[1..],
            &long,
            wrong.as_bytes(),
            only_cr.as_bytes(),
            &key.0[1..],
        ] {
            assert!(Key::read(file).is_none(), "{} octets", file.len());
        }
        assert_eq!(format!("{key:?}"), "Key");
    }

    #[test]
    fn the_check_tells_key_and_spool_apart() {
        let check = sealer(1, 2).check();
        assert_eq!(check, sealer(1, 2).check());
        assert!(check != sealer(2, 2).check() && check != sealer(1, 3).check());
        assert_ne!(check, [0; CHECK]);
    }
}
