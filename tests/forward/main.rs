//! The forward client against receivers: a scripted faulty one, and real ones.
//!
//! A test named `case_35_…` covers that case of the forward test list: faults
//! on the way between a client and a receiver, and what must become of them.
//! Every record reaches the peer at least once, and nothing counts as delivered
//! that was not acknowledged.

mod cases;
mod chaos;
mod faults;
mod fluent_bit;
mod handshake;
mod host;
mod host_chaos;
mod nodes;
mod npm;
mod outage;
mod output;
mod peer;
mod process;
#[cfg(feature = "tls")]
mod tls;

/// How many cases the list has.
const CASES: usize = 65;

#[test]
fn each_case_has_a_test_of_its_number() {
    let mut found = std::collections::BTreeSet::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(cases(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let missing: Vec<_> = (1..=CASES).filter(|case| !found.contains(case)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

/// Numbers in the names of tests such as `case_01_and_02_both`.
fn cases(code: &str) -> impl Iterator<Item = usize> {
    let names = code.lines().filter_map(|line| {
        let name = line.trim_start().strip_prefix("fn case_")?;
        name.split_once('(').map(|(name, _)| name)
    });
    let numbers = names.flat_map(|name| name.split('_').filter(|word| word.len() == 2));
    numbers.filter_map(|number| number.parse().ok())
}
