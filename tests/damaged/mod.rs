//! A relay whose disk damages a message that waits in its queue.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use crate::support::facteur::Facteur;
use crate::support::{Folder, free_port};

/// Somewhere in the message's body.
pub const MARK: &[u8] = b"something that the disk will not give back";

/// Of a relay whose next hop is down.
pub fn flags() -> Vec<String> {
    [
        "--hostname",
        "relay.test",
        "--domain",
        "home.test=maildir:mail/{user}",
        "--postmaster",
        "chief@home.test",
        "--relay",
        &format!("[127.0.0.1]:{}", free_port()),
        "--spool-size",
        "24M",
    ]
    .map(str::to_owned)
    .to_vec()
}

pub fn start(folder: &Folder, flags: &[String]) -> Facteur {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Facteur::start(folder.as_ref(), &flags)
}

/// Changes an octet of the message where it is kept, in the first segment; what that holds now.
pub fn damage(folder: &Folder) -> Vec<u8> {
    let path = folder.join("facteur-spool/000001.seg");
    let octets = fs::read(&path).expect("a segment");
    let place = octets.windows(MARK.len()).position(|part| part == MARK);
    let at = place.expect("it holds the message");
    let mut file = fs::OpenOptions::new().write(true).open(&path);
    let file = file.as_mut().expect("a segment");
    file.seek(SeekFrom::Start(at as u64)).expect("a place");
    file.write_all(b"S").expect("written");
    fs::read(&path).expect("a segment")
}
