//! The library as a file: what it exports and needs, and of libraries that are to be
//! shipped also their size and the glibc that they ask for. Those are the paths in
//! `KUBE_AUDIT_ARTEFACTS`, separated by colons.

use kube_audit_testkit::{judge, library};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The filter alone, for a Kubernetes Secret.
const MOST_BYTES_OF_FILTER: u64 = 960 << 10;
/// All three plugins, with TLS.
const MOST_BYTES: u64 = 3 << 20;

/// The glibc of the oldest official images, those of Fluent Bit 1.9 to 3.0.6.
const OLDEST_GLIBC: (u32, u32) = (2, 31);

/// What the official images have of system libraries.
const SYSTEM: [&str; 7] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
];

const FILTER: (&str, &str) = ("D", "filter_kube_audit_plugin");
const INPUT: (&str, &str) = ("D", "in_kube_audit_plugin");
const OUTPUT: [(&str, &str); 4] = [
    ("T", "FLBPluginRegister"),
    ("T", "FLBPluginInit"),
    ("T", "FLBPluginFlushCtx"),
    ("T", "FLBPluginExitCtx"),
];

/// The libraries to be shipped.
fn artefacts() -> Vec<PathBuf> {
    let paths = std::env::var_os("KUBE_AUDIT_ARTEFACTS").unwrap_or_default();
    let paths: Vec<PathBuf> = std::env::split_paths(&paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if paths.is_empty() {
        judge::skip("KUBE_AUDIT_ARTEFACTS is not set: no library to be shipped is checked");
    }
    paths
}

/// What a tool of binutils prints about a library.
fn tool(name: &str, arguments: &[&str], library: &Path) -> String {
    let output = Command::new(name).args(arguments).arg(library).output();
    let output = output.expect(name);
    let path = library.display();
    assert!(output.status.success(), "{name} cannot read {path}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What it exports, with the kind of each symbol: `T` for code, `D` for writable data.
fn exports(symbols: &str) -> BTreeSet<(&str, &str)> {
    let symbol = |line| {
        let mut words = str::split_whitespace(line).skip(1);
        Some((words.next()?, words.next()?))
    };
    symbols.lines().filter_map(symbol).collect()
}

fn check_exports(library: &Path) {
    let symbols = tool("nm", &["-D", "--defined-only"], library);
    let exports = exports(&symbols);
    let path = library.display();
    // The filter is in every library; the output comes whole or not at all.
    let known = OUTPUT.into_iter().chain([FILTER, INPUT]).collect();
    let outputs = OUTPUT.iter().filter(|symbol| exports.contains(*symbol));
    let is_whole = [0, OUTPUT.len()].contains(&outputs.count());
    assert!(
        exports.is_subset(&known) && exports.contains(&FILTER) && is_whole,
        "{path}: {exports:?}"
    );
    let sizes = tool("nm", &["-D", "-S", "--defined-only"], library);
    // The largest object that a host copies.
    for ((_, symbol), largest) in [(FILTER, 88), (INPUT, 232)] {
        let object = sizes
            .lines()
            .find(|line| line.ends_with(&format!(" {symbol}")));
        let size =
            object.and_then(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
        let is_large = size.is_none_or(|size| size >= largest);
        assert!(is_large, "{path}: {sizes}");
    }
}

/// Nothing of the host is linked: a host finds out whether it has what is needed.
fn check_needs(library: &Path) {
    let path = library.display();
    for line in tool("nm", &["-D", "--undefined-only"], library).lines() {
        let name = line.split_whitespace().last().unwrap_or_default();
        let known = name.contains("@GLIBC_") || name.contains("@GCC_");
        // Weak symbols of the compiler's start files.
        assert!(
            known || line.trim_start().starts_with("w "),
            "{path}: {line}"
        );
    }
    let dynamic = tool("readelf", &["-d"], library);
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let needed = line.split(['[', ']']).nth(1).unwrap_or_default();
        assert!(SYSTEM.contains(&needed), "{path} needs {needed}");
    }
    assert!(dynamic.contains("NODELETE"), "{path}: {dynamic}");
}

/// The versions in `GLIBC_2.31` and the like.
fn glibc_versions(text: &str) -> impl Iterator<Item = (u32, u32)> {
    text.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let mut numbers = rest[..end].split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    })
}

#[test]
fn versions_in_symbols() {
    let text = "Name: GLIBC_2.2.5  Flags: none\n Name: GLIBC_2.30 Name: GCC_3.0";
    assert_eq!(glibc_versions(text).max(), Some((2, 30)));
}

#[test]
fn exports_are_those_of_the_doors() {
    check_exports(&library::library());
    artefacts()
        .iter()
        .for_each(|library| check_exports(library));
}

#[test]
fn nothing_but_the_system_is_needed() {
    check_needs(&library::library());
    artefacts().iter().for_each(|library| check_needs(library));
}

#[test]
fn libraries_to_be_shipped_load_everywhere_and_are_small() {
    for library in artefacts() {
        let path = library.display();
        let glibc = glibc_versions(&tool("readelf", &["-VW"], &library)).max();
        assert!(
            glibc.is_some_and(|glibc| glibc <= OLDEST_GLIBC),
            "{path} needs glibc {glibc:?}"
        );
        let symbols = tool("nm", &["-D", "--defined-only"], &library);
        let most = match exports(&symbols).contains(&OUTPUT[0]) {
            true => MOST_BYTES,
            false => MOST_BYTES_OF_FILTER,
        };
        let bytes = std::fs::metadata(&library).expect("size").len();
        assert!(bytes <= most, "{path} has {bytes} bytes, more than {most}");
        let _ = writeln!(std::io::stderr(), "{path}: {bytes} bytes, glibc {glibc:?}");
    }
}
