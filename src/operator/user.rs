//! `--user NAME`: root binds the ports and then becomes somebody who may do little.

use nix::unistd::{self, Gid, Uid};
use rustix::fs::OFlags;
use rustix::thread::{capabilities, set_no_new_privs};
use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// Whom root becomes.
#[derive(Clone, Debug)]
pub struct User {
    /// As the system knows it.
    pub name: String,
    /// Never root's.
    pub uid: Uid,
    /// Its own group.
    pub gid: Gid,
}

impl User {
    /// Whom to become for `--user NAME`; None if this process is that user already.
    ///
    /// # Errors
    /// One line.
    pub fn named(name: &str) -> Result<Option<Self>, String> {
        let wrong = |why: &str| Err(format!("--user {name}: {why}"));
        let found = match unistd::User::from_name(name) {
            Ok(Some(found)) => found,
            Ok(None) => return wrong("no such user; useradd --system makes one"),
            Err(problem) => return wrong(&problem.to_string()),
        };
        if found.uid.is_root() {
            return wrong("that is root, who may do everything: name another user");
        }
        let own = Uid::effective();
        if own == found.uid {
            return Ok(None);
        }
        if !own.is_root() {
            let why = format!("only root can become another user, and this is user {own}");
            return wrong(&why);
        }
        Ok(Some(Self {
            name: found.name,
            uid: found.uid,
            gid: found.gid,
        }))
    }

    /// Who owns a file, for root who is to work on it in that user's place; None if it is root's, or this is not root.
    pub fn owner_of(path: &Path) -> Option<Self> {
        let uid = Uid::from_raw(fs::metadata(path).ok()?.uid());
        if !Uid::effective().is_root() || uid.is_root() {
            return None;
        }
        let found = unistd::User::from_uid(uid).ok()??;
        Some(Self {
            name: found.name,
            uid,
            gid: found.gid,
        })
    }

    /// Becomes the user, for good. To be called before the first thread starts.
    ///
    /// # Errors
    /// One line; the process is then neither root nor the user, and is to end.
    pub fn become_for_good(&self) -> Result<(), String> {
        let told = |what: &str, why: &dyn std::fmt::Display| {
            format!("--user {}: {what}: {why}", self.name)
        };
        let name = CString::new(self.name.as_str()).map_err(|e| told("its name", &e))?;
        unistd::initgroups(&name, self.gid).map_err(|e| told("its groups", &e))?;
        unistd::setresgid(self.gid, self.gid, self.gid).map_err(|e| told("its group", &e))?;
        unistd::setresuid(self.uid, self.uid, self.uid).map_err(|e| told("its id", &e))?;
        set_no_new_privs(true).map_err(|e| told("no new privileges", &e))?;
        // Securebits, or a strange kernel, may keep what should be gone.
        let left = capabilities(None).map_err(|e| told("capabilities", &e))?;
        if !left.permitted.is_empty() || is_root_still_to_be_had() {
            return Err(told("root", &"it can be had back"));
        }
        Ok(())
    }

    /// Makes the spool's folder the user's if it is missing; else looks whether it is the user's.
    ///
    /// # Errors
    /// One line, which names the command that mends it.
    pub fn give_spool(&self, dir: &Path) -> Result<(), String> {
        let told = |problem: io::Error| format!("--spool {}: {problem}", dir.display());
        self.can_come_to(dir)?;
        match fs::metadata(dir) {
            Ok(_) => {}
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = dir.parent() {
                    fs::create_dir_all(parent).map_err(told)?;
                }
                DirBuilder::new().mode(0o700).create(dir).map_err(told)?;
                return self.take(dir).map_err(told);
            }
            Err(problem) => return Err(told(problem)),
        }
        match self.not_its(dir).map_err(told)? {
            None => Ok(()),
            Some(owner) => Err(format!(
                "--spool {}: it, or a file in it, belongs to user {owner}, not to --user {}: chown -R {}: {}",
                dir.display(),
                self.name,
                self.name,
                dir.display()
            )),
        }
    }

    /// Looks whether the user may enter every folder on the way to `dir`, of those that are there. To be called before the
    /// first thread starts: root is the user meanwhile.
    ///
    /// # Errors
    /// One line, which names the first folder that the user cannot enter.
    pub fn can_come_to(&self, dir: &Path) -> Result<(), String> {
        let told = |problem: io::Error| format!("--spool {}: {problem}", dir.display());
        let dir = std::path::absolute(dir).map_err(told)?;
        let way: Vec<&Path> = dir.ancestors().skip(1).collect();
        let closed = self.in_its_place(|| {
            let is_closed = |folder: &&&Path| {
                let entered = fs::metadata(folder.join("."));
                entered.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
            };
            way.iter().rev().find(is_closed).copied()
        });
        match closed.map_err(told)? {
            None => Ok(()),
            Some(folder) => Err(format!(
                "--spool {}: --user {} may not enter {}: give a folder that this user can reach, such as \
                 /var/spool/facteur, or chmod o+x {}",
                dir.display(),
                self.name,
                folder.display(),
                folder.display()
            )),
        }
    }

    /// Does something with the rights of the user, and is root again.
    ///
    /// # Errors
    /// The system's.
    fn in_its_place<R>(&self, work: impl FnOnce() -> R) -> io::Result<R> {
        let name = CString::new(self.name.as_str())?;
        let (gid, groups) = (Gid::effective(), unistd::getgroups()?);
        unistd::initgroups(&name, self.gid)?;
        unistd::setegid(self.gid)?;
        unistd::seteuid(self.uid)?;
        let done = work();
        unistd::seteuid(Uid::from_raw(0))?;
        unistd::setegid(gid)?;
        unistd::setgroups(&groups)?;
        Ok(done)
    }

    /// Makes the user the folder's owner: of nothing else, if somebody else may write where it is and was quick to put
    /// another thing in its place.
    ///
    /// # Errors
    /// The system's.
    fn take(&self, dir: &Path) -> io::Result<()> {
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        let folder = File::options().read(true).custom_flags(flags).open(dir)?;
        fchown(folder, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Who owns the folder, or something in it, if it is not the user.
    fn not_its(&self, dir: &Path) -> io::Result<Option<u32>> {
        let mut owners = vec![fs::metadata(dir)?.uid()];
        for entry in fs::read_dir(dir)? {
            owners.push(entry?.metadata()?.uid());
        }
        Ok(owners.into_iter().find(|&owner| owner != self.uid.as_raw()))
    }
}

/// Whether this process could become root.
pub fn is_root_still_to_be_had() -> bool {
    let root = Uid::from_raw(0);
    unistd::setresuid(root, root, root).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_and_root_are_told() {
        let why = User::named("no-such-user").expect_err("no user");
        assert!(
            why.starts_with("--user no-such-user: no such user") && !why.contains('\n'),
            "{why}"
        );
        let why = User::named("root").expect_err("root");
        assert!(why.starts_with("--user root: that is root"), "{why}");
    }

    #[test]
    fn a_folder_changes_hands_and_what_took_its_place_does_not() {
        let root = std::env::temp_dir().join(format!("facteur-user-{}", fastrand::u64(..)));
        let (folder, link, file) = (root.join("folder"), root.join("link"), root.join("file"));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(&file, "").expect("a file");
        std::os::unix::fs::symlink(&folder, &link).expect("a link");
        let user = User {
            name: "me".to_owned(),
            uid: Uid::effective(),
            gid: Gid::effective(),
        };
        user.take(&folder).expect("a folder");
        for other in [link, file] {
            user.take(&other).expect_err("no folder");
        }
        fs::remove_dir_all(root).expect("removed");
    }
}
