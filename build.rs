//! Builds what the firmware fixes at compile time: the limits and the table of domains and certificates.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-env=FACTEUR_TARGET={}",
        env::var("TARGET").unwrap_or_default()
    );
    if let Err(problem) = generate_limits(Path::new("config/limits.toml")) {
        eprintln!("error: {problem}");
        process::exit(1);
    }
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
