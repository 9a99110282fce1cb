//! The layers inside packages, which cargo does not know; those between packages are in
//! their `Cargo.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What code without I/O, clocks, threads and randomness does without.
const IMPURE: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "getrandom",
];

fn source(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates")
        .join(package)
        .join("src")
}

/// The Rust files of a module, a folder or a file, with their code without comments and
/// tests.
fn code(module: &Path) -> Vec<(PathBuf, String)> {
    if module.is_dir() {
        let entries = fs::read_dir(module).unwrap();
        return entries
            .flat_map(|entry| code(&entry.unwrap().path()))
            .collect();
    }
    if module.extension().is_none_or(|extension| extension != "rs") || module.ends_with("tests.rs")
    {
        return Vec::new();
    }
    let text = fs::read_to_string(module).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    vec![(module.to_owned(), code)]
}

/// The modules of a package's root that code names as `crate::NAME` or in `crate::{…}`.
fn named<'a>(code: &'a str, modules: &'a BTreeSet<String>) -> impl Iterator<Item = &'a String> {
    let paths: Vec<&str> = code
        .match_indices("crate::")
        // `$crate::` of a macro counts as well, `my_crate::` does not.
        .filter(|(at, _)| {
            !code[..*at].ends_with(|before: char| before == '_' || before.is_alphanumeric())
        })
        .map(|(at, path)| &code[at + path.len()..])
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        })
        .map(|path| {
            let path = path.trim_start();
            let end = path.find(|c: char| c != '_' && !c.is_alphanumeric());
            &path[..end.unwrap_or(path.len())]
        })
        .collect();
    modules
        .iter()
        .filter(move |module| paths.contains(&module.as_str()))
}

/// Which modules each module of a package's root uses, itself left out.
fn uses(package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let entries = fs::read_dir(source(package)).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let modules: BTreeSet<String> = paths.iter().map(|path| name(path)).collect();
    let is_root = |path: &&PathBuf| name(path) != "lib";
    let uses = paths.iter().filter(is_root).map(|path| {
        let mut used = BTreeSet::new();
        for (_, code) in code(path) {
            used.extend(named(&code, &modules).cloned());
        }
        used.remove(&name(path));
        (name(path), used)
    });
    uses.collect()
}

#[test]
fn modules_of_the_engine_form_no_circle() {
    let mut open = uses("core");
    assert!(open.len() > 5, "{open:?}");
    // Takes away what uses nothing that is left, floor by floor.
    loop {
        let floor: BTreeSet<String> = open
            .iter()
            .filter(|(_, used)| used.is_empty())
            .map(|(module, _)| module.clone())
            .collect();
        if floor.is_empty() {
            break;
        }
        open.retain(|module, _| !floor.contains(module));
        for used in open.values_mut() {
            used.retain(|module| !floor.contains(module));
        }
    }
    assert!(open.is_empty(), "these use each other: {open:#?}");
}

#[test]
fn the_engine_and_the_protocol_are_pure() {
    for module in [
        source("text"),
        source("machine"),
        source("core"),
        source("forward").join("protocol"),
    ] {
        let files = code(&module);
        assert!(!files.is_empty(), "{}", module.display());
        for (file, code) in files {
            for word in IMPURE {
                assert!(!code.contains(word), "{}: {word}", file.display());
            }
        }
    }
}

#[test]
fn the_protocol_knows_no_sockets() {
    let uses = uses("forward");
    assert!(!uses["protocol"].contains("net"), "{uses:?}");
}

#[test]
fn named_modules_are_found() {
    let modules = BTreeSet::from(["doc", "event", "input"].map(str::to_owned));
    let found = |code: &str| -> Vec<String> { named(code, &modules).cloned().collect() };
    assert_eq!(found("use crate::doc::Json;"), ["doc"]);
    assert_eq!(found("crate::{event::Event, doc};"), ["doc", "event"]);
    assert_eq!(
        found("my_crate::doc crate::documents super::input"),
        [""; 0]
    );
}
