//! The architecture as rules: which room may know which, and what pure rooms lack.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may use besides itself.
const ARROWS: [(&str, &[&str]); 8] = [
    ("text", &[]),
    ("policy", &["suggest", "text", "bytes"]),
    ("record", &["policy", "bytes"]),
    ("forward", &[]),
    ("net", &["forward"]),
    (
        "plugin",
        &["suggest", "text", "policy", "record", "forward", "net"],
    ),
    ("ffi", &["plugin"]),
    (
        "cli",
        &[
            "suggest", "text", "policy", "record", "forward", "net", "plugin",
        ],
    ),
];

/// Rooms without I/O, clock, threads and randomness.
const PURE: [&str; 4] = ["text", "policy", "record", "forward"];

/// What pure rooms do without.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "std::io::",
    "SystemTime",
    "Instant::now",
    "getrandom::",
];

/// Crates that only certain rooms may know.
const OWNERS: [(&str, &[&str]); 9] = [
    ("fearless_simd", &["record"]),
    ("granit_parser", &["text"]),
    ("lexopt", &["cli"]),
    // One reads what the other one writes.
    ("flate2", &["cli", "forward"]),
    ("sha2", &["forward"]),
    ("libc::", &["ffi"]),
    ("once_cell", &["ffi"]),
    ("polling", &["net"]),
    ("rustls", &["net"]),
];

/// The code of a room, file by file, without comments and without tests.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                files.push((path, code.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    files
}

fn mentions(code: &str, room: &str) -> bool {
    [
        format!("crate::{room}::"),
        format!("crate::{room};"),
        format!("crate::{room} as"),
    ]
    .iter()
    .any(|path| code.contains(path.as_str()))
}

#[test]
fn arrows_point_downwards() {
    for (room, allowed) in ARROWS {
        for (file, code) in code(room) {
            for other in ARROWS
                .map(|(other, _)| other)
                .into_iter()
                .chain(["suggest", "bytes"])
            {
                let fine = other == room || allowed.contains(&other);
                assert!(
                    fine || !mentions(&code, other),
                    "{}: {room} must not use {other}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn pure_rooms_are_pure() {
    for room in PURE {
        for (file, code) in code(room) {
            for word in IMPURE {
                assert!(
                    !code.contains(word),
                    "{}: {word} in a pure room",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn unsafe_code_is_in_one_room() {
    for (room, _) in ARROWS {
        for (file, code) in code(room) {
            let unsafe_code = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|word| code.contains(word));
            assert!(
                room == "ffi" || !unsafe_code,
                "{}: unsafe code",
                file.display()
            );
        }
    }
}

#[test]
fn each_crate_has_its_owners() {
    for (krate, owners) in OWNERS {
        for (room, _) in ARROWS {
            for (file, code) in code(room) {
                assert!(
                    owners.contains(&room) || !code.contains(krate),
                    "{}: {krate} belongs to {owners:?}",
                    file.display()
                );
            }
        }
    }
}
