//! Fluent Bit's own `in_forward`, the strictest receiver there is.
//!
//! Every `VERSION/fluent-bit` in `~/.cache/fluent-bit` is tried.

use std::env;
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube_audit::net::Flushed;

use crate::host::{Host, chunk, config, entry, until};
use crate::process::{Process, free_port, skip};

fn binaries() -> Vec<PathBuf> {
    let cache = env::home_dir()
        .unwrap_or_default()
        .join(".cache/fluent-bit");
    let entries = read_dir(&cache).into_iter().flatten().flatten();
    let binaries: Vec<_> = entries
        .map(|entry| entry.path().join("fluent-bit"))
        .filter(|binary| binary.is_file())
        .collect();
    if binaries.is_empty() {
        skip(&format!(
            "Fluent Bit: no VERSION/fluent-bit in {}",
            cache.display()
        ));
    }
    binaries
}

/// Prints every record with tag and time.
fn start(binary: &Path, port: u16) -> Process {
    let port = format!("port={port}");
    Process::start(Command::new(binary).args([
        "-q",
        "-f",
        "0.1",
        "-i",
        "forward",
        "-p",
        "listen=127.0.0.1",
        "-p",
        &port,
        "-o",
        "stdout",
        "-m",
        "*",
    ]))
}

/// Tag, time and number of a printed record:
/// `[0] TAG: [TIME, {"n"=>NUMBER, …}]`, from 2.1 on `[[TIME, {}], {…}]`.
fn records(process: &Process) -> Vec<(String, String, u32)> {
    let record = |line: &String| {
        let (tag, rest) = line.split_once("] ")?.1.split_once(": [")?;
        let time = rest.trim_start_matches('[').split_once(',')?.0;
        let number = rest.split_once("\"n\"=>")?.1.split_once(',')?.0;
        Some((tag.to_owned(), time.to_owned(), number.parse().ok()?))
    };
    process.lines().iter().filter_map(record).collect()
}

fn record(number: u32) -> (String, String, u32) {
    (
        "kube.audit".into(),
        format!("1700000000.{number:09}"),
        number,
    )
}

#[test]
fn case_01_02_and_11_records_of_chunks() {
    for binary in binaries() {
        let port = free_port();
        let receiver = start(&binary, port);
        let host = Host::start(config(&format!("127.0.0.1:{port}")));
        for chunk in [entry(0, 0), chunk(1..2000, 0), chunk(2000..5000, 1000)] {
            host.deliver(&chunk);
        }
        until("all are printed", || records(&receiver).len() >= 5000);
        let expected: Vec<_> = (0..5000).map(record).collect();
        assert_eq!(records(&receiver), expected, "{}", binary.display());
        assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    }
}

#[test]
fn case_43_killed_and_started_again() {
    for binary in binaries() {
        let port = free_port();
        let host = Host::start(config(&format!("127.0.0.1:{port}")));
        for number in 0..3 {
            let receiver = start(&binary, port);
            host.deliver(&entry(number, 0));
            until("it is printed", || {
                records(&receiver).contains(&record(number))
            });
        }
    }
}
