//! The Forward client against receivers: a scripted faulty one, and real ones.
//!
//! A test named `case_35_…` covers case 35 of `CASES.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

mod cases;
#[cfg(feature = "tls")]
mod certificates;
mod chaos;
mod faults;
mod fluent_bit;
mod fluentd;
mod handshake;
mod host;
mod host_chaos;
#[cfg(feature = "input")]
mod input_chaos;
mod nodes;
mod npm;
mod outage;
mod output;
mod peer;
mod process;
#[cfg(feature = "tls")]
mod tls;

/// Cases of `CASES.md` and numbers in the names of tests must be the same.
#[test]
fn each_case_has_a_test_of_its_number() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tested = BTreeSet::new();
    let mut folders: Vec<_> = ["src", "tests", "crates"]
        .map(|name| root.join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                tested.extend(tested_cases(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    let listed: Vec<usize> = listed_cases(include_str!("CASES.md")).collect();
    assert_eq!(listed, (1..=listed.len()).collect::<Vec<_>>(), "CASES.md");
    assert_eq!(tested.into_iter().collect::<Vec<_>>(), listed);
}

/// Numbers in the first column of the tables.
fn listed_cases(text: &str) -> impl Iterator<Item = usize> {
    let first_cell = |line: &str| {
        line.strip_prefix('|')?
            .split('|')
            .next()?
            .trim()
            .parse()
            .ok()
    };
    text.lines().filter_map(first_cell)
}

/// Numbers in the names of tests such as `case_01_and_02_both`.
fn tested_cases(code: &str) -> impl Iterator<Item = usize> {
    let names = code.lines().filter_map(|line| {
        let name = line.trim_start().strip_prefix("fn case_")?;
        name.split_once('(').map(|(name, _)| name)
    });
    let numbers = names.flat_map(|name| name.split('_').filter(|word| word.len() == 2));
    numbers.filter_map(|number| number.parse().ok())
}
