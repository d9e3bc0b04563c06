//! Holds `src/` to its layers, by reading it: see `src/lib.rs` for the order and ARCHITECTURE for its reasons.

#[path = "layers/scan.rs"]
mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module uses only modules that stand before it.
const ORDER: [&str; 10] = [
    "limits", "smtp", "policy", "spool", "tls", "net", "inbound", "outbound", "operator", "main",
];

/// Pairs of one layer: the later may not use the earlier either.
const STRANGERS: [(&str, &str); 1] = [("outbound", "inbound")];

/// smol's pool of blocking threads has 500 of them, and its global executor is not ours.
const NEVER: [&[&str]; 5] = [
    &["smol", "fs"],
    &["smol", "unblock"],
    &["smol", "Unblock"],
    &["smol", "spawn"],
    &["smol", "*"],
];

/// What needs an allocator or an operating system: not in the protocol.
const NOT_IN_SMTP: [&str; 14] = [
    "std",
    "alloc",
    "String",
    "Box",
    "Rc",
    "Arc",
    "vec!",
    "format!",
    "to_string",
    "to_owned",
    "to_vec",
    "println!",
    "eprintln!",
    "HashMap",
];

const MOST_LINES: usize = 499;

struct Source {
    /// `src/net/dns.rs` is `["net", "dns"]`; main.rs `["main"]`; lib.rs nothing.
    module: Vec<String>,
    name: String,
    text: String,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        let module = stem.split('/').map(str::to_owned);
        let module = module
            .filter(|part| part != "mod" && part != "lib")
            .collect();
        Self {
            module,
            name: format!("src/{name}"),
            text: text.to_owned(),
        }
    }

    /// The layer it belongs to; None for lib.rs, which only names the modules.
    fn layer(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// The paths as seen from the crate's root, so that `crate`, `super` and `self` all begin with a layer's name behind
    /// "crate"; other paths stay as written.
    fn paths(&self) -> Vec<scan::Path> {
        let mut paths = scan::paths(&scan::tokens(&self.text));
        for path in &mut paths {
            if let Some(resolved) = self.resolve(&path.segments, &path.inside) {
                path.segments = resolved;
            }
        }
        paths
    }

    fn resolve(&self, segments: &[String], inside: &[String]) -> Option<Vec<String>> {
        let crate_root = vec!["crate".to_owned()];
        let mut here = [&crate_root[..], &self.module, inside].concat();
        let mut rest = segments;
        match rest.first()?.as_str() {
            "crate" | "facteur" => here = crate_root,
            "self" | "super" => {}
            _ => return None,
        }
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "super" => drop(here.pop()),
                "self" | "crate" | "facteur" => {}
                _ => break,
            }
            rest = others;
        }
        here.extend_from_slice(rest);
        Some(here)
    }
}

fn later_layers(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else {
        return Vec::new();
    };
    let Some(rank) = ORDER.iter().position(|name| *name == layer) else {
        return vec![format!("{}: {layer} is in no layer", source.name)];
    };
    let is_allowed = |used: &str| {
        let earlier = ORDER[..=rank].contains(&used);
        earlier && !STRANGERS.contains(&(layer, used))
    };
    let paths = source.paths().into_iter();
    let of_crate = paths.filter(|path| path.segments[0] == "crate" && path.segments.len() > 1);
    of_crate
        .filter(|path| !is_allowed(&path.segments[1]))
        .map(|path| {
            let (name, line, used) = (&source.name, path.line, path.segments.join("::"));
            format!("{name}:{line}: {layer} may not use {used}")
        })
        .collect()
}

fn forbidden_calls(source: &Source) -> Vec<String> {
    let paths = source.paths().into_iter();
    paths
        .filter(|path| NEVER.iter().any(|never| starts_with(&path.segments, never)))
        .map(|path| {
            let (name, line, call) = (&source.name, path.line, path.segments.join("::"));
            format!("{name}:{line}: {call} is for no one here")
        })
        .collect()
}

fn starts_with(segments: &[String], prefix: &[&str]) -> bool {
    segments.len() >= prefix.len() && segments.iter().zip(prefix).all(|(s, p)| s == p)
}

/// `tests` are the file names that hold only tests: they may use std.
fn allocations_in_smtp(source: &Source) -> Vec<String> {
    if source.layer() != Some("smtp") {
        return Vec::new();
    }
    let (tokens, _) = scan::without_tests(&scan::tokens(&source.text));
    let paths = scan::paths(&tokens);
    let heapless = |name: &str| {
        paths
            .iter()
            .any(|path| path.segments[0] == "heapless" && path.segments.iter().any(|s| s == name))
    };
    let is_allocation = |path: &scan::Path| {
        let own = path.segments[0] == "heapless" || path.segments[0] == "core";
        let named = |name: &str| path.segments.iter().any(|segment| segment == name);
        let vec = named("Vec") && !heapless("Vec");
        let listed = NOT_IN_SMTP
            .iter()
            .any(|name| named(name) && !heapless(name));
        !own && (vec || listed)
    };
    let found = paths.iter().filter(|path| is_allocation(path));
    found
        .map(|path| {
            let (name, line, what) = (&source.name, path.line, path.segments.join("::"));
            format!("{name}:{line}: the protocol is without std and allocation, not {what}")
        })
        .collect()
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MOST_LINES).then(|| format!("{}: {lines} lines, more than {MOST_LINES}", source.name))
}

/// The modules that only tests include, as file names.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let named = sources.iter().flat_map(|source| {
        let (_, names) = scan::without_tests(&scan::tokens(&source.text));
        let folder = [&["src".to_owned()][..], &source.module].concat().join("/");
        let beside = source
            .name
            .rsplit_once('/')
            .map_or("src", |(folder, _)| folder)
            .to_owned();
        let is_root = source.name.ends_with("/mod.rs") || source.name == "src/lib.rs";
        let folder = if is_root { beside } else { folder };
        names.into_iter().flat_map(move |name| {
            [
                format!("{folder}/{name}.rs"),
                format!("{folder}/{name}/mod.rs"),
            ]
        })
    });
    named.collect()
}

fn complaints(sources: &[Source]) -> Vec<String> {
    let tests = test_files(sources);
    let mut all = Vec::new();
    for source in sources {
        all.extend(later_layers(source));
        all.extend(forbidden_calls(source));
        all.extend(too_long(source));
        if !tests.contains(&source.name) {
            all.extend(allocations_in_smtp(source));
        }
    }
    all
}

fn read(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_source_keeps_to_its_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read(&root, &root, &mut sources);
    assert!(
        sources.len() > ORDER.len(),
        "only {} files read",
        sources.len()
    );
    let complaints = complaints(&sources);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What the test says of one file.
fn of(name: &str, text: &str) -> Vec<String> {
    complaints(&[Source::new(name, text)])
}

#[track_caller]
fn assert_refused(name: &str, text: &str, because: &str) {
    let said = of(name, text);
    assert!(
        said.iter().any(|line| line.contains(because)),
        "{name} {text:?}: {said:?}"
    );
}

#[track_caller]
fn assert_accepted(name: &str, text: &str) {
    assert_eq!(of(name, text), Vec::<String>::new(), "{name} {text:?}");
}

#[test]
fn a_later_layer_is_refused_however_it_is_named() {
    let refused = "may not use crate::";
    assert_refused(
        "spool/log.rs",
        "use crate::tls::Established;",
        "src/spool/log.rs:1: spool may not use crate::tls",
    );
    assert_refused(
        "spool/log.rs",
        "\n\nfn f() -> crate::net::Stream {}",
        "src/spool/log.rs:3: spool may not",
    );
    assert_refused(
        "spool/mod.rs",
        "use crate::{limits, policy::{self, Lane}, net};",
        refused,
    );
    assert_refused("spool/mod.rs", "use super::operator;", refused);
    assert_refused(
        "spool/log.rs",
        "use super::super::operator::flags;",
        refused,
    );
    assert_refused(
        "spool/log.rs",
        "mod inner { use super::super::super::net; }",
        refused,
    );
    assert_refused("spool/log.rs", "pub(in crate::net) fn f() {}", refused);
    assert_refused("tls/mod.rs", "use crate::*;", refused);
    assert_refused("smtp/server.rs", "use crate::policy::Level;", refused);
    assert_refused("limits.rs", "use crate::smtp;", refused);
    assert_refused("inbound/session.rs", "use crate::outbound::dsn;", refused);
    assert_refused("outbound/dsn.rs", "use crate::inbound::session;", refused);
    assert_refused("operator/serve.rs", "use crate::main;", refused);
    assert_refused("common.rs", "", "common is in no layer");
}

#[test]
fn an_earlier_layer_is_accepted() {
    assert_accepted(
        "spool/log.rs",
        "use crate::{limits, policy::Lane}; use super::record; use crate::spool::Id;",
    );
    assert_accepted(
        "spool/log.rs",
        "mod tests { use super::*; use super::super::disk; }",
    );
    assert_accepted("policy/relay.rs", "use crate::smtp::address;");
    assert_accepted("operator/serve.rs", "use crate::{inbound, outbound};");
    assert_accepted("main.rs", "fn main() { facteur::operator::main() }");
    assert_accepted("lib.rs", "pub mod tls; pub mod spool;");
}

#[test]
fn what_only_looks_like_a_path_is_none() {
    assert_accepted(
        "spool/log.rs",
        "//! [`crate::net`]\n/* crate::net /* crate::tls */ crate::tls */",
    );
    assert_accepted(
        "spool/log.rs",
        r##"const A: &str = "crate::net \" crate::net"; const B: &[u8] = br#"" crate::net"#;"##,
    );
    // A character literal that holds a quote does not hide what follows, nor does a lifetime.
    assert_refused(
        "spool/log.rs",
        "const Q: char = '\"'; use crate::net;",
        "may not use",
    );
    assert_refused(
        "spool/log.rs",
        r"const Q: char = '\''; use crate::net;",
        "may not use",
    );
    assert_refused(
        "spool/log.rs",
        "fn f<'a>(x: &'a str) {} use crate::net;",
        "may not use",
    );
    assert_refused(
        "spool/log.rs",
        r##"const R: &str = r#"a"b"#; use crate::net;"##,
        "may not use",
    );
}

#[test]
fn smols_blocking_pool_and_global_executor_are_refused() {
    assert_refused("net/dns.rs", "use smol::{Timer, fs};", "smol::fs");
    assert_refused(
        "net/dns.rs",
        "async fn f() { smol::fs::read(p).await; }",
        "smol::fs::read",
    );
    assert_refused(
        "net/dns.rs",
        "fn f() { smol::spawn(async {}).detach() }",
        "smol::spawn",
    );
    assert_refused(
        "operator/serve.rs",
        "fn f() { smol::unblock(|| 1); }",
        "smol::unblock",
    );
    assert_refused("operator/serve.rs", "use smol::Unblock;", "smol::Unblock");
    assert_refused("operator/serve.rs", "use smol::*;", "smol::*");
    assert_accepted(
        "net/dns.rs",
        "use smol::{Timer, future, Executor}; fn f() { executor.spawn(async {}) }",
    );
}

#[test]
fn the_protocol_is_without_std_and_allocation() {
    let refused = "without std and allocation";
    assert_refused("smtp/line.rs", "use std::fmt;", refused);
    assert_refused("smtp/line.rs", "extern crate alloc;", refused);
    assert_refused("smtp/line.rs", "fn f() -> Vec<u8> {}", refused);
    assert_refused("smtp/line.rs", "fn f() { let a = vec![1]; }", refused);
    assert_refused("smtp/line.rs", "fn f(s: String) {}", refused);
    assert_refused("smtp/line.rs", "fn f() { format!(\"{}\", 1); }", refused);
    assert_refused("smtp/line.rs", "struct A { b: Box<dyn B> }", refused);
    assert_refused("smtp/line.rs", "fn f() { text.to_owned() }", refused);
    assert_refused(
        "smtp/line.rs",
        "#[cfg(test)]\nuse core::{fmt, mem};\nuse std::fmt;",
        refused,
    );
    assert_refused(
        "smtp/line.rs",
        "#[cfg(test)]\nmod tests { fn f() { {} } }\nuse std::fmt;",
        refused,
    );
    assert_accepted(
        "smtp/line.rs",
        "use core::fmt; use heapless::{Vec, String}; fn f(a: Vec<u8, 4>, b: String<4>) {}",
    );
    assert_accepted(
        "smtp/line.rs",
        "fn f(a: heapless::Vec<u8, 4>) { let vec = a; vec != b }",
    );
    assert_accepted(
        "smtp/line.rs",
        "#[cfg(test)]\nmod tests { use std::vec::Vec; fn f() { format!(\"\"); } }",
    );
    assert_accepted("tls/mod.rs", "use std::fmt; fn f() -> Vec<String> {}");
}

#[test]
fn files_that_only_tests_include_may_use_std() {
    let with = |parent: &str, file: &str| {
        complaints(&[
            Source::new(parent, "#[cfg(test)]\nmod line_tests;"),
            Source::new(file, "use std::vec::Vec;"),
        ])
    };
    assert_eq!(
        with("smtp/mod.rs", "smtp/line_tests.rs"),
        Vec::<String>::new()
    );
    assert_eq!(
        with("smtp/line.rs", "smtp/line/line_tests.rs"),
        Vec::<String>::new()
    );
    assert_eq!(with("smtp/mod.rs", "smtp/other.rs").len(), 1);
}

#[test]
fn a_file_of_500_lines_is_refused() {
    assert_refused("tls/mod.rs", &"\n".repeat(500), "500 lines");
    assert_accepted("tls/mod.rs", &"\n".repeat(499));
}
