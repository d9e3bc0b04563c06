//! Changes as octets, from a process that may read certificates to one that may not.
//!
//! ```text
//! frame   length of what follows (u32), kind (u8), then
//!   1     folder      its --certs (u32), its name, read
//!   2     gone        its --certs (u32), its name
//!   3     listed      its --certs (u32), why it cannot be (empty: it can)
//!   4     file        its place in the compiled-in table (u32), read
//!   5     the look is over
//!   6     the look that was asked for is over
//!   7     a look saw nothing new
//! read    0, why there is no pair; or 1, 2, 3 (PKCS#8, SEC1, PKCS#1), the key, the chain's length (u32), its certificates
//! ```
//!
//! Numbers are little-endian; names, reasons, keys and certificates begin with their length (u32). The receiving side
//! checks a pair as if it had read it itself.

use std::ffi::OsString;
use std::io::{self, Read as Input, Write as Output};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_rustls::rustls::crypto::CryptoProvider;
use zeroize::{Zeroize as _, Zeroizing};

use super::compiled::Compiled;
use super::found::{Change, Read};
use super::pair::Pair;
use super::provider;
use super::reader::{files_of, named};
use crate::limits;

/// What goes over.
#[derive(Debug)]
pub enum Handed {
    /// Something has changed.
    Change(Change),
    /// So it is at the end of a look.
    Over,
    /// So it is at the end of a look that was asked for.
    OverAsAsked,
    /// A look saw nothing new: the reader lives.
    Same,
}

/// Hands `handed` over. What was a private key is wiped from the memory that this used.
///
/// # Errors
/// The other side's end.
pub fn send(out: &mut impl Output, handed: Handed) -> io::Result<()> {
    let mut frame = Zeroizing::new(Vec::with_capacity(room(&handed)));
    frame.extend([0; 4]);
    match handed {
        Handed::Change(change) => put_change(&mut frame, change),
        Handed::Over => frame.push(5),
        Handed::OverAsAsked => frame.push(6),
        Handed::Same => frame.push(7),
    }
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    out.write_all(&frame)
}

/// So that a frame with a key does not leave copies of it behind as it grows.
fn room(handed: &Handed) -> usize {
    const FIXED: usize = 1024;
    match handed {
        Handed::Change(
            Change::Folder { read: Ok(pair), .. } | Change::File { read: Ok(pair), .. },
        ) => {
            let chain = pair.certified.cert.iter().map(|der| der.len() + 4);
            FIXED + pair.key.secret_der().len() + chain.sum::<usize>()
        }
        _ => FIXED,
    }
}

fn put_change(frame: &mut Vec<u8>, change: Change) {
    match change {
        Change::Folder { dir, name, read } => {
            put_place(frame, 1, dir);
            put(frame, name.as_bytes());
            put_read(frame, read);
        }
        Change::Gone { dir, name } => {
            put_place(frame, 2, dir);
            put(frame, name.as_bytes());
        }
        Change::Listed { dir, problem } => {
            put_place(frame, 3, dir);
            put(frame, problem.unwrap_or_default().as_bytes());
        }
        Change::File { at, read } => {
            put_place(frame, 4, at as usize);
            put_read(frame, read);
        }
    }
}

fn put_place(frame: &mut Vec<u8>, kind: u8, place: usize) {
    frame.push(kind);
    put_number(frame, place);
}

/// Larger ones than a frame may say do not occur: the receiver refuses them.
fn put_number(frame: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    frame.extend(number.to_le_bytes());
}

fn put(frame: &mut Vec<u8>, octets: &[u8]) {
    put_number(frame, octets.len());
    frame.extend(octets);
}

fn put_read(frame: &mut Vec<u8>, read: Read) {
    let mut pair = match read {
        Ok(pair) => pair,
        Err(reason) => {
            frame.push(0);
            return put(frame, reason.as_bytes());
        }
    };
    frame.push(match &*pair.key {
        PrivateKeyDer::Sec1(_) => 2,
        PrivateKeyDer::Pkcs1(_) => 3,
        _ => 1,
    });
    put(frame, pair.key.secret_der());
    pair.key.zeroize();
    put_number(frame, pair.certified.cert.len());
    for der in &pair.certified.cert {
        put(frame, der);
    }
}

/// Takes over what a reader of the same `--certs` and the same compiled-in table hands.
pub struct Receiver {
    dirs: Vec<PathBuf>,
    compiled: &'static Compiled,
    provider: Arc<CryptoProvider>,
}

impl Receiver {
    /// From a reader of these.
    pub fn new(compiled: &'static Compiled, dirs: &[PathBuf]) -> Self {
        Self {
            dirs: dirs.to_vec(),
            compiled,
            provider: provider(),
        }
    }

    /// The length of the next frame; it may be long in coming.
    ///
    /// # Errors
    /// The other side's end, or a frame that is none.
    pub fn length(input: &mut impl Input) -> io::Result<usize> {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        match length {
            1..=limits::CERTIFICATE_FRAME => Ok(length),
            _ => Err(malformed()),
        }
    }

    /// The frame of that length.
    ///
    /// # Errors
    /// The other side's end, or a frame that is none.
    pub fn frame(&self, input: &mut impl Input, length: usize) -> io::Result<Handed> {
        let mut frame = Zeroizing::new(vec![0; length]);
        input.read_exact(&mut frame)?;
        self.parse(&frame).ok_or_else(malformed)
    }

    /// None: it is malformed.
    fn parse(&self, frame: &[u8]) -> Option<Handed> {
        let mut rest = Rest(frame);
        let handed = match rest.octet()? {
            1 => {
                let (dir, name) = (self.dir(&mut rest)?, rest.name()?);
                let folder = self.dirs.get(dir)?.join(&name);
                let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
                let read = self.read(&mut rest, &chain, &key)?;
                let read = read.and_then(|pair| named(&chain, pair));
                Handed::Change(Change::Folder { dir, name, read })
            }
            2 => {
                let (dir, name) = (self.dir(&mut rest)?, rest.name()?);
                Handed::Change(Change::Gone { dir, name })
            }
            3 => {
                let (dir, problem) = (self.dir(&mut rest)?, rest.text()?);
                let problem = Some(problem).filter(|problem| !problem.is_empty());
                Handed::Change(Change::Listed { dir, problem })
            }
            4 => {
                let place = u32::try_from(rest.number()?).ok()?;
                let (at, chain, key) = files_of(self.compiled).find(|file| file.0 == place)?;
                let read = self.read(&mut rest, chain, key)?;
                Handed::Change(Change::File { at, read })
            }
            5 => Handed::Over,
            6 => Handed::OverAsAsked,
            7 => Handed::Same,
            _ => return None,
        };
        rest.0.is_empty().then_some(handed)
    }

    fn dir(&self, rest: &mut Rest<'_>) -> Option<usize> {
        rest.number().filter(|&dir| dir < self.dirs.len())
    }

    /// The pair, checked, or why there is none.
    fn read(&self, rest: &mut Rest<'_>, chain: &Path, key: &Path) -> Option<Read> {
        let kind = rest.octet()?;
        if kind == 0 {
            return Some(Err(rest.text()?));
        }
        let der = rest.octets()?.to_vec();
        let der = match kind {
            1 => PrivateKeyDer::Pkcs8(der.into()),
            2 => PrivateKeyDer::Sec1(der.into()),
            3 => PrivateKeyDer::Pkcs1(der.into()),
            _ => return None,
        };
        let count = rest.number()?;
        let mut certificates = Vec::new();
        for _ in 0..count {
            certificates.push(CertificateDer::from(rest.octets()?.to_vec()));
        }
        let pair = Pair::check(certificates, der, (chain, key), &self.provider);
        Some(pair.map_err(|problem| problem.to_string()))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed frame")
}

/// What of a frame is not yet parsed; None throughout: it ends too early.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<usize> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        usize::try_from(u32::from_le_bytes(*number)).ok()
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        let (octets, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(octets)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.octets()?.to_vec()).ok()
    }

    /// A folder's name: one part of a path.
    fn name(&mut self) -> Option<OsString> {
        let octets = self.octets()?;
        let plain = !octets.is_empty() && !octets.starts_with(b".") && !octets.contains(&b'/');
        plain.then(|| OsString::from_vec(octets.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Folder, made, made_rsa, traditional};
    use super::super::found::Found;
    use super::super::reader::{Look, Reader};
    use super::super::table::COMPILED;
    use super::*;

    /// What a reader of `dir` hands.
    fn frames(dir: &Folder) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut add = |handed| {
            let mut frame = Vec::new();
            send(&mut frame, handed).unwrap();
            frames.push(frame);
        };
        let mut reader = Reader::new(&COMPILED, &[dir.path().into()]);
        reader.look(Look::Final, &mut |change| add(Handed::Change(change)));
        add(Handed::Over);
        frames
    }

    fn receive(receiver: &Receiver, mut octets: &[u8]) -> io::Result<Handed> {
        let length = Receiver::length(&mut octets)?;
        receiver.frame(&mut octets, length)
    }

    fn lineages() -> Folder {
        let dir = Folder::new();
        let (ec, rsa) = (made(&["a.example.org"]), made_rsa(&["b.example.org"]));
        dir.lineage("a", &ec);
        dir.lineage("b", &rsa);
        dir.lineage("sec1", &ec);
        dir.write("sec1/privkey.pem", &traditional("EC PRIVATE KEY", &ec.key));
        dir.lineage("pkcs1", &rsa);
        let pkcs1 = traditional("RSA PRIVATE KEY", &rsa.key);
        dir.write("pkcs1/privkey.pem", &pkcs1);
        dir.lineage("mismatched", &rsa);
        dir.write("mismatched/privkey.pem", &ec.key);
        dir
    }

    #[test]
    fn what_is_handed_is_what_was_found() {
        let dir = lineages();
        let dirs = [dir.path().to_path_buf()];
        let receiver = Receiver::new(&COMPILED, &dirs);
        let mut found = Found::nothing(&dirs);
        for frame in frames(&dir) {
            match receive(&receiver, &frame).unwrap() {
                Handed::Change(change) => found.apply(change),
                Handed::Over => {}
                Handed::OverAsAsked | Handed::Same => panic!("nobody asked"),
            }
        }
        let told = |found: &Found| {
            let all = found.dirs[0].entries().map(|(path, read)| {
                let read = read.as_ref();
                let read = read.map(|pair| (pair.certified.cert.clone(), pair.names.clone()));
                (path, read.map_err(String::clone))
            });
            all.collect::<Vec<_>>()
        };
        let here = Found::now(&COMPILED, &dirs);
        assert_eq!(told(&found), told(&here));
        assert_eq!(told(&found).len(), 5);
        assert_eq!(
            told(&found).iter().filter(|told| told.1.is_err()).count(),
            1
        );
    }

    #[test]
    fn what_is_cut_short_or_garbled_is_an_error() {
        let dir = lineages();
        let receiver = Receiver::new(&COMPILED, &[dir.path().into()]);
        for frame in frames(&dir) {
            for end in 0..frame.len().min(600) {
                assert!(receive(&receiver, &frame[..end]).is_err());
                // The length fits, the content does not.
                if let Some(body) = frame[..end].get(4..) {
                    assert!(receiver.parse(body).is_none(), "{end}");
                }
            }
            let longer = [&frame[4..], &[0]].concat();
            assert!(receiver.parse(&longer).is_none());
            for at in 0..frame.len() {
                let mut garbled = frame.clone();
                garbled[at] ^= 0x81;
                let _ = receive(&receiver, &garbled); // no panic
            }
        }
        let long = (limits::CERTIFICATE_FRAME as u32 + 1).to_le_bytes();
        assert!(Receiver::length(&mut &long[..]).is_err());
        assert!(Receiver::length(&mut &[0; 4][..]).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let receiver = Receiver::new(&COMPILED, &["/certs".into()]);
        for name in ["", ".", "..", "a/b", "../etc"] {
            let name = OsString::from(name);
            let mut frame = Vec::new();
            let gone = Change::Gone { dir: 0, name };
            send(&mut frame, Handed::Change(gone)).unwrap();
            assert!(receive(&receiver, &frame).is_err());
        }
    }
}
