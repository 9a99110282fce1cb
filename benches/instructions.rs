//! Instructions per event, as a gate: more of them than recorded here is a regression.
//!
//! `cargo bench --bench instructions` runs each kind of work twice under valgrind's
//! callgrind, once for more rounds than the other time, so that only the rounds count.
//! It fails when one takes over [`TOLERANCE`] more than [`RECORDED`]; without valgrind
//! it says so and measures nothing.
//!
//! Compilers come and go, so the figures are not plain instructions but hundredths of
//! what serde_json's pass over the same lines takes, measured in the same run. After a
//! change that is wanted, or a new compiler, `cargo bench --bench instructions -- print`
//! prints the figures to record.

#![allow(clippy::unwrap_used, reason = "a bench that lacks its input may stop")]

mod workload;

use std::process::{Command, ExitCode};

use workload::Workload;

/// Instructions per event, in hundredths of those of `attributes`, on a machine with AVX2.
const RECORDED: [(&str, f64); 12] = [
    ("unfiltered", 28.5),
    ("kept", 35.6),
    ("stripped", 40.2),
    ("dropped", 31.8),
    ("giantswarm", 41.3),
    ("detected", 47.0),
    ("metadata", 31.9),
    ("metadata redacted", 45.4),
    ("bodies", 42.5),
    ("bodies redacted", 236.5),
    ("entries", 25.9),
    ("decisions", 2.2),
];

/// How much more is taken for noise: another compiler, another `memcpy`.
const TOLERANCE: f64 = 1.05;

const EVENTS: usize = 2000;
/// How often a process goes through the events in its two runs.
const ROUNDS: [usize; 2] = [1, 3];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, work, name, rounds] = &words[..]
        && work == "work"
    {
        let mut work = Workload::new(name, EVENTS);
        (0..rounds.parse().unwrap()).for_each(|_| work.run());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("NOT MEASURED: instructions per event need `valgrind`, which is not installed");
        return ExitCode::SUCCESS;
    }
    let reference = per_event("attributes");
    println!("serde_json takes {reference:.0} instructions for the attributes of an event");
    let mut exceeded = false;
    for (name, recorded) in RECORDED {
        let instructions = per_event(name);
        let found = 100.0 * instructions / reference;
        let too_many = found > recorded * TOLERANCE;
        println!(
            "{:<46} {instructions:>7.0} {found:>6.1} (recorded {recorded:.1}){}",
            Workload::meaning(name),
            if too_many { " TOO MANY" } else { "" }
        );
        exceeded |= too_many;
    }
    let print = words.iter().any(|word| word == "print");
    if exceeded && !print {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What a round takes, divided among its events.
fn per_event(name: &str) -> f64 {
    let [less, more] = ROUNDS.map(|rounds| instructions(name, rounds));
    (more - less) as f64 / (EVENTS * (ROUNDS[1] - ROUNDS[0])) as f64
}

/// Instructions of this program when it does the work so many times.
fn instructions(name: &str, rounds: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["work", name, &rounds.to_string()])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = report
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.split_whitespace().next()?.parse().ok());
    assert!(output.status.success(), "{report}");
    count.unwrap_or_else(|| panic!("no count in:\n{report}"))
}
