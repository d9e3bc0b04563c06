//! The spool's key in a file: read for `serve`, made by `facteur spool-key`.

use super::regular;
use super::user::User;
use crate::spool::Key;
use rustix::fs::FileType;
use rustix::process::geteuid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What a key's file holds.
const CONTENT: &str = "32 octets or 64 hexadecimal digits (facteur spool-key makes one)";

/// Reads a key that nobody but root and this process's user can read, or `user`, whose spool it is.
///
/// # Errors
/// One line that names the flag, the file, what is wrong with it and what would be right.
pub fn read(path: &Path, user: Option<&User>) -> Result<Key, String> {
    let problem =
        |problem: &dyn std::fmt::Display| format!("--spool-key {}: {problem}", path.display());
    let io = |error: io::Error| problem(&error);
    let file = regular::open(path).map_err(io)?;
    if let Some(wrong) = unsafe_for_a_key(&file.metadata().map_err(io)?, user) {
        return Err(problem(&wrong));
    }
    let mut content = zeroize::Zeroizing::new([0; Key::FILE + 1]);
    let length = read_up_to(file, &mut *content).map_err(io)?;
    let key = Key::read(&content[..length]);
    key.ok_or_else(|| problem(&format!("it holds no key: {CONTENT}")))
}

fn unsafe_for_a_key(file: &fs::Metadata, user: Option<&User>) -> Option<String> {
    let own = user.map_or(geteuid().as_raw(), |user| user.uid.as_raw());
    let owner = file.uid();
    let mode = file.mode() & 0o7777;
    if owner != own && owner != 0 {
        return Some(format!(
            "it belongs to user {owner}: root or user {own} should own it"
        ));
    }
    let more_than_owners = mode & !0o600 != 0;
    more_than_owners
        .then(|| format!("its mode is {mode:04o}, 0600 or 0400 would be right: chmod 600"))
}

/// Fills the buffer as far as the file goes; the octets it had.
fn read_up_to(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    loop {
        match file.read(&mut buffer[length..]) {
            Ok(0) => return Ok(length),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a new key into a new file of mode 0600, or to standard output.
///
/// # Errors
/// One line that names the file.
pub fn make(path: Option<&Path>) -> Result<(), String> {
    let key = Key::fresh().map_err(|error| error.to_string())?;
    let line = key.line();
    let Some(path) = path else {
        if is_nowhere(&io::stdout()) {
            return Err(
                "standard output is closed or /dev/null, the key would be lost: name a file"
                    .to_owned(),
            );
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        return written.map_err(|error| format!("standard output: {error}"));
    };
    let problem = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{}: it is there already, and a key is never written over: name a new file",
            path.display()
        ),
        _ => format!("{}: {error}", path.display()),
    };
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600);
    let mut file = file.open(path).map_err(problem)?;
    // A spool whose key a power cut takes is lost: the key must be on its disk before anything is sealed with it.
    let written = file.write_all(line.as_bytes());
    let synced = written
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder(path));
    if synced.is_err() {
        // The first problem is the one to tell.
        let _ = fs::remove_file(path);
    }
    synced.map_err(problem)
}

/// Whether what is written there is gone. A closed output is `/dev/null`, too: Rust opens that in its place.
fn is_nowhere(output: &impl AsFd) -> bool {
    let is_same = |output: rustix::fs::Stat| {
        fs::metadata("/dev/null").is_ok_and(|null| {
            FileType::from_raw_mode(output.st_mode).is_char_device()
                && output.st_rdev == null.rdev()
        })
    };
    rustix::fs::fstat(output).is_ok_and(is_same)
}

/// Makes a new name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("facteur-key-{}", fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_that_is_made_is_read_and_never_written_over() {
        let folder = Folder::new();
        let path = folder.0.join("key");
        make(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let before = fs::read(&path).unwrap();
        assert_eq!((before.len(), before[64]), (65, b'\n'));
        assert_eq!(read(&path, None).unwrap().line().as_bytes(), before);
        let why = make(Some(&path)).unwrap_err();
        assert!(why.contains("never written over"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), before);
        let why = make(Some(&folder.0.join("no/key"))).unwrap_err();
        assert!(why.contains("no/key: No such file"), "{why}");
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused_in_one_line() {
        let folder = Folder::new();
        let path = folder.0.join("key");
        let why = || {
            let why = read(&path, None).err().unwrap_or_default();
            let flag = format!("--spool-key {}: ", path.display());
            assert!(why.starts_with(&flag) && !why.contains('\n'), "{why:?}");
            why
        };
        assert!(why().contains("No such file"));
        make(Some(&path)).unwrap();
        let refused = [0o640, 0o604, 0o610, 0o700, 0o500, 0o4600, 0o1600];
        let refused = refused.map(|mode| (mode, true));
        for (mode, refused) in refused.into_iter().chain([(0o400, false)]) {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match refused {
                true => assert!(why().contains(&format!("{mode:04o}")), "{}", why()),
                false => assert!(read(&path, None).is_ok(), "{mode:04o}"),
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "too short\n").unwrap();
        assert!(why().contains("64 hexadecimal digits"), "{}", why());
        fs::write(&path, vec![b'0'; 100_000]).unwrap();
        assert!(why().contains("64 hexadecimal digits"), "{}", why());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(why().contains("no regular file"), "{}", why());
        fs::remove_dir(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(why().contains("no regular file"), "a pipe: {}", why());
    }
}
