//! Builds what the firmware fixes at compile time: the limits and the table of domains and certificates.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

use layout::Layout;

#[allow(dead_code)] // as for compiled.rs
#[path = "src/tls/algorithm.rs"]
mod algorithm;
#[path = "src/tls/chain.rs"]
mod chain;
#[allow(dead_code)] // its readers are in the crate
#[path = "src/tls/compiled.rs"]
mod compiled;
#[allow(dead_code)] // as for compiled.rs
#[path = "src/tls/der.rs"]
mod der;
#[path = "src/tls/domains.rs"]
mod domains;
#[allow(dead_code)] // as for compiled.rs
#[path = "src/tls/extension.rs"]
mod extension;
#[allow(dead_code)] // the crate has other users of it
#[path = "src/policy/idn.rs"]
mod idn;
#[path = "src/tls/kind.rs"]
mod kind;
#[path = "src/tls/layout.rs"]
mod layout;
#[allow(dead_code)] // as for compiled.rs
#[path = "src/tls/pair.rs"]
mod pair;
#[path = "src/tls/title.rs"]
mod title;
#[allow(dead_code)] // as for compiled.rs
#[path = "src/tls/validity.rs"]
mod validity;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-env=FACTEUR_TARGET={}",
        env::var("TARGET").unwrap_or_default()
    );
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Relative relocations in a bitmap: 135 KB less. Linkers that do not know it ignore it with a warning.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        // One copy of what is there twice: 120 KB, most of it the curve tables that aws-lc has once for each of two
        // kinds of CPU. GNU ld cannot, and refuses to link when told.
        if release() && links_with(&FOLDING) {
            for flag in FOLDING {
                println!("cargo::rustc-link-arg-bins={flag}");
            }
        }
    }
    let generated = generate_limits(Path::new("config/limits.toml"))
        .and_then(|()| generate_domains(Path::new("config/domains"), Path::new("certs")));
    if let Err(problem) = generated {
        eprintln!("error: {problem}");
        process::exit(1);
    }
}

/// Functions and constants with the same octets become one. Nothing here compares their addresses.
const FOLDING: [&str; 2] = ["-Wl,--icf=all", "-Wl,--ignore-data-address-equality"];

fn release() -> bool {
    env::var("PROFILE").as_deref() == Ok("release")
}

/// Whether the linker that will link the binary takes `flags`: asked by linking an empty program with them. LLD, which
/// rustc brings along and uses on x86_64 GNU/Linux, takes them all.
fn links_with(flags: &[&str]) -> bool {
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let probe = out_file("probe.rs");
    if fs::write(&probe, "fn main() {}\n").is_err() {
        return false;
    }
    let of = |name: &str| env::var(name).unwrap_or_default();
    let mut rustc = process::Command::new(of("RUSTC"));
    rustc.args(["--target", &of("TARGET"), "--out-dir", &of("OUT_DIR")]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let given = of("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(given.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.args(flags.iter().map(|flag| format!("-Clink-arg={flag}")));
    let linked = rustc.arg(&probe).output();
    linked.is_ok_and(|linked| linked.status.success())
}

fn out_file(name: &str) -> PathBuf {
    Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join(name)
}

/// Turns `config/limits.toml` into constants, its comments into their documentation.
///
/// The file is read by hand because a TOML library would drop the comments.
fn generate_limits(path: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut constants = String::new();
    let mut comment = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(words) = line.strip_prefix('#') {
            let _ = writeln!(comment, "///{words}");
        } else if line.is_empty() {
            comment.clear();
        } else {
            let constant = limit(line).ok_or_else(|| {
                format!(
                    "{}:{}: {line:?} is not `name = number`",
                    path.display(),
                    number + 1
                )
            })?;
            constants += &comment;
            constants += &constant;
            comment.clear();
        }
    }
    fs::write(out_file("limits.rs"), constants).map_err(|e| format!("limits.rs: {e}"))
}

/// `command_line = 2048` as a Rust constant; the name's ending gives the unit.
fn limit(line: &str) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    let value: u64 = value.trim().replace('_', "").parse().ok()?;
    let constant = name.trim();
    if constant.is_empty()
        || !constant
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_')
    {
        return None;
    }
    Some(if let Some(stem) = constant.strip_suffix("_seconds") {
        let stem = stem.to_uppercase();
        format!(
            "pub const {stem}: core::time::Duration = core::time::Duration::from_secs({value});\n"
        )
    } else if let Some(stem) = constant.strip_suffix("_ms") {
        let stem = stem.to_uppercase();
        format!(
            "pub const {stem}: core::time::Duration = core::time::Duration::from_millis({value});\n"
        )
    } else {
        format!("pub const {}: usize = {value};\n", constant.to_uppercase())
    })
}

/// Lays out the table of names and certificates that `config/domains` describes.
fn generate_domains(path: &Path, certs: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rerun-if-changed=src/policy/idn.rs");
    for name in [
        "chain", "compiled", "der", "domains", "kind", "layout", "pair", "validity",
    ] {
        println!("cargo::rerun-if-changed=src/tls/{name}.rs");
    }
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let provider = async_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let domains = domains::read(&text, certs, &provider)?;
    for file in &domains.files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    for trouble in domains.out_of_date(now.unwrap_or_default().as_secs()) {
        println!("cargo::warning={trouble}");
    }
    let mut layout = domains.layout;
    if layout.pairs.is_empty() {
        layout = development()?;
    }
    for (name, bytes) in layout.contents() {
        write(&out_file(name), &bytes)?;
    }
    write(&out_file("domains.rs"), layout.source().as_bytes())
}

/// The certificate for `localhost` of a table without a line. It is kept while the build's folder is, so that a client
/// that was told to trust it need not be told again after every build.
fn development() -> Result<Layout, String> {
    let (chain, key) = (out_file("development.der"), out_file("development.key"));
    if !(chain.exists() && key.exists()) {
        let failed = |e: rcgen::Error| format!("the development certificate: {e}");
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2046, 1, 1);
        let title = "facteur development certificate";
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, title);
        let pair = rcgen::KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&pair).map_err(failed)?;
        write(&key, pair.serialized_der())?;
        write(&chain, certificate.der())?;
    }
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    Ok(Layout::development(&read(&chain)?, &read(&key)?))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}
