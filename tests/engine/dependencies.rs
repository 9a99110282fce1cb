//! The packages that this one is built from: `deny.toml` for machines without cargo-deny.

use std::collections::BTreeSet;
use std::process::Command;

use kube_audit_testkit::root;
use serde_json::Value;

/// The licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, list) = text.split_once("\nallow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split(',')
        .map(|item| item.trim().trim_matches('"').to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

/// The licences that an SPDX expression names, each of them: what may be chosen is not
/// looked at. An exception only permits more.
fn licences(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split([' ', '/', '(', ')']);
    let mut is_exception = false;
    words.filter(move |word| {
        let skipped = std::mem::replace(&mut is_exception, *word == "WITH");
        !skipped && !matches!(*word, "" | "AND" | "OR" | "WITH")
    })
}

#[test]
fn licences_of_an_expression() {
    let list = |expression| licences(expression).collect::<Vec<_>>();
    assert_eq!(list("MIT/Apache-2.0"), ["MIT", "Apache-2.0"]);
    assert_eq!(list("(MIT OR ISC) AND Zlib"), ["MIT", "ISC", "Zlib"]);
    assert_eq!(
        list("Apache-2.0 WITH LLVM-exception OR MIT"),
        ["Apache-2.0", "MIT"]
    );
}

#[test]
fn licences_are_allowed() {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--all-features"])
        .args(["--filter-platform", &target])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 30);
    let allowed = allowed();
    for package in packages {
        let expression = package["license"].as_str().unwrap_or("no licence");
        for licence in licences(expression) {
            assert!(
                allowed.contains(licence),
                "{}: {licence} is not in deny.toml",
                package["name"]
            );
        }
    }
}
