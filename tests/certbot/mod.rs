//! A folder of certificates as certbot keeps it, and renews them: links in live/NAME that lead to numbered files in
//! archive/NAME, both for root alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::certificates::Made;

pub struct Certbot(PathBuf);

impl Certbot {
    /// In a folder that is there.
    pub fn in_folder(folder: &Path) -> Self {
        let root = folder.join("letsencrypt");
        for name in ["live", "archive"] {
            fs::create_dir_all(root.join(name)).expect("a folder");
            let only_root = Permissions::from_mode(0o700);
            fs::set_permissions(root.join(name), only_root).expect("its mode");
        }
        Self(root)
    }

    /// What `--certs` is given.
    pub fn live(&self) -> String {
        self.path("live")
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes the numbered files of a lineage, the key for root alone.
    pub fn archive(&self, name: &str, version: u32, made: &Made) {
        let folder = self.0.join("archive").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let chain = folder.join(format!("fullchain{version}.pem"));
        fs::write(chain, &made.chain).expect("a chain");
        let key = folder.join(format!("privkey{version}.pem"));
        fs::write(&key, &made.key).expect("a key");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("its mode");
    }

    /// Points `fullchain.pem` or `privkey.pem` to that version, as certbot does: the old link goes first.
    pub fn link(&self, name: &str, kind: &str, version: u32) {
        let folder = self.0.join("live").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let link = folder.join(format!("{kind}.pem"));
        let _ = fs::remove_file(&link);
        let target = format!("../../archive/{name}/{kind}{version}.pem");
        symlink(target, link).expect("a link");
    }

    /// Obtains or renews.
    pub fn renew(&self, name: &str, version: u32, made: &Made) {
        self.archive(name, version, made);
        for kind in ["privkey", "fullchain"] {
            self.link(name, kind, version);
        }
    }
}
