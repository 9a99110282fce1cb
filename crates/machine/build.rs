//! Packs the tables of `tables/` into arrays without pointers, which cost no relocations.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=tables");
    println!("cargo::rerun-if-changed=build.rs");
    let mut out = String::new();
    calls(&lines("calls.txt"), &mut out);
    types(&lines("types.txt"), &mut out);
    names(&lines("names.txt"), &mut out);
    let directory = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&directory).join("tables.rs"), out).expect("OUT_DIR can be written");
}

/// The lines of a table, in words.
fn lines(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new("tables").join(name)).expect(name);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

/// Calls: names one after the other with their lengths, and for each architecture runs of
/// numbers whose names follow each other.
fn calls(lines: &[Vec<String>], out: &mut String) {
    let (head, rows) = lines.split_first().expect("calls.txt has a head");
    let mut names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let mut runs: Vec<[u8; 4]> = Vec::new();
    let mut arches = String::new();
    for (column, arch) in head.iter().enumerate().skip(1) {
        let (name, code) = arch.split_once(':').expect("NAME:CODE");
        names.push(name);
        let numbers: BTreeMap<usize, usize> = rows
            .iter()
            .enumerate()
            .filter_map(|(index, row)| Some((row[column].parse().ok()?, index)))
            .collect();
        let first = runs.len();
        let mut next = (0, usize::MAX);
        for (number, index) in numbers {
            match runs.last_mut() {
                Some(run) if next == (number, index) && run[1] < u8::MAX => run[1] += 1,
                _ => {
                    let gap = u8::try_from(number - next.0).expect("gaps are short");
                    let [high, low] = u16::try_from(index).expect("few names").to_be_bytes();
                    runs.push([gap, 1, high, low]);
                }
            }
            next = (number + 1, index + 1);
        }
        let (last, name) = (runs.len(), names.len() - 1);
        write!(arches, "(0x{code}, {name}, {first}, {last}),").expect("a string grows");
    }
    let count = head.len() - 1;
    writeln!(
        out,
        "static ARCHES: [(u32, u16, u16, u16); {count}] = [{arches}];"
    )
    .expect("grows");
    writeln!(out, "static RUNS: [[u8; 4]; {}] = {runs:?};", runs.len()).expect("grows");
    packed("CALL", &names, out);
}

/// Types: sorted by name.
fn types(lines: &[Vec<String>], out: &mut String) {
    let mut types: Vec<(&str, u16)> = lines
        .iter()
        .map(|line| (line[1].as_str(), line[0].parse().expect("a number")))
        .collect();
    types.sort_unstable();
    let numbers: Vec<u16> = types.iter().map(|&(_, number)| number).collect();
    writeln!(out, "static TYPES: [u16; {}] = {numbers:?};", numbers.len()).expect("grows");
    let mut ends = Vec::new();
    let mut names = String::new();
    for (name, _) in types {
        names.push_str(name);
        ends.push(names.len());
    }
    writeln!(out, "static TYPE_NAMES: &[u8] = b{names:?};").expect("grows");
    writeln!(out, "static TYPE_ENDS: [u16; {}] = {ends:?};", ends.len()).expect("grows");
}

/// Names of fields: for each length the length, the number of names, and the names.
fn names(lines: &[Vec<String>], out: &mut String) {
    for (list, table) in [("integers:", "INTEGERS"), ("encoded:", "ENCODED")] {
        let lines = lines.iter().filter(|line| line[0] == list);
        let mut by_length: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for name in lines.flat_map(|line| &line[1..]) {
            by_length.entry(name.len()).or_default().push(name);
        }
        let mut bytes = Vec::new();
        for (length, names) in by_length {
            bytes.push(u8::try_from(length).expect("short names"));
            bytes.push(u8::try_from(names.len()).expect("few names"));
            bytes.extend(names.concat().into_bytes());
        }
        writeln!(out, "static {table}: [u8; {}] = {bytes:?};", bytes.len()).expect("grows");
    }
}

/// Names one after the other, and their lengths.
fn packed(prefix: &str, names: &[&str], out: &mut String) {
    let lengths: Vec<usize> = names.iter().map(|name| name.len()).collect();
    writeln!(out, "static {prefix}_NAMES: &[u8] = b{:?};", names.concat()).expect("grows");
    writeln!(
        out,
        "static {prefix}_LENGTHS: [u8; {}] = {lengths:?};",
        lengths.len()
    )
    .expect("grows");
}
