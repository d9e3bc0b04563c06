//! A table of many names, for a build of its own: `config/domains` and a certificate for each line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The name of line `n`, spread so that they are not in order. The table is sorted, the file need not be.
pub fn name(n: usize) -> String {
    format!("mx{}.domain-{n}.example", n % 7)
}

/// Writes `dir`/config/domains with `count` lines, and for each `dir`/certs/N.pem: a key and a self-signed certificate of
/// its own, both ECDSA.
pub fn write(dir: &Path, count: usize) -> Result<(), String> {
    let mut domains = String::new();
    for folder in ["config", "certs"] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    for n in 0..count {
        let name = name(n);
        let _ = writeln!(domains, "{name} {n}.pem {n}.pem");
        put(&dir.join(format!("certs/{n}.pem")), &pair(name)?)?;
    }
    put(&dir.join("config/domains"), &domains)
}

fn pair(name: String) -> Result<String, String> {
    let made = rcgen::generate_simple_self_signed([name]);
    let made = made.map_err(|e| format!("certificate: {e}"))?;
    Ok(made.signing_key.serialize_pem() + &made.cert.pem())
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
