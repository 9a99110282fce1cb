//! The chaos of [`chaos`](crate::chaos), with a real Fluent Bit before it:
//! a log file → `tail` → `kube_audit` → three faulty receivers.
//!
//! `KUBE_AUDIT_CHAOS_SECONDS` and `KUBE_AUDIT_CHAOS_SEED` as there.

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chaos::{Chaos, fate, mark, resident};
use crate::process::{Process, skip};
use kube_audit_testkit::library::{Installed, SecondName};

/// Lines that are written each second.
const RATE: usize = 1000;

fn fluent_bit(version: &str) -> Option<PathBuf> {
    let home = env::home_dir().unwrap_or_default();
    let binary = home
        .join(".cache/fluent-bit")
        .join(version)
        .join("fluent-bit");
    if !binary.is_file() {
        skip(&format!(
            "chaos through Fluent Bit: no {}",
            binary.display()
        ));
        return None;
    }
    Some(binary)
}

/// `audit.log` in a directory → `tail` → `kube_audit` with these options → these receivers.
pub fn configuration(
    directory: &Path,
    library: &Path,
    endpoints: &str,
    options: &[&str],
) -> PathBuf {
    let at = |name: &str| directory.join(name);
    let plugins = format!("[PLUGINS]\n    Path {}\n", library.display());
    fs::write(at("plugins.conf"), plugins).unwrap();
    let text = format!(
        "\
[SERVICE]
    Flush          0.2
    Grace          5
    Log_Level      info
    Log_File       {log}
    Plugins_File   {plugins}
    Scheduler.Base 1
    Scheduler.Cap  3

[INPUT]
    Name           tail
    Tag            kube.audit
    Path           {input}
    Read_From_Head on
    Mem_Buf_Limit  20M

[OUTPUT]
    Name           kube_audit
    Match          *
    Endpoint       {endpoints}
    Retry_Limit    no_limits
    {options}
",
        options = options.join("\n    "),
        log = at("fluent-bit.log").display(),
        plugins = at("plugins.conf").display(),
        input = at("audit.log").display(),
    );
    let path = at("fluent-bit.conf");
    fs::write(&path, text).unwrap();
    path
}

/// The host that the plugin is mostly run in.
#[test]
fn case_52_and_65_chaos_through_fluent_bit() {
    survive("4.0.0", 3, 100, &[]);
}

/// Many frames of two events each, of which few are on their way, in the oldest host.
#[test]
fn case_52_and_65_chaos_of_small_frames() {
    survive("1.9.5", 2, 2000, &["Max_Frame 5000", "Ack_Window 3"]);
}

/// Events have so many bytes.
fn survive(version: &str, receivers: u64, length: usize, options: &[&str]) {
    let Some(binary) = fluent_bit(version) else {
        return;
    };
    let (time, seed) = fate();
    let chaos = Chaos::start(receivers, seed, Duration::from_secs(2), 4);
    let directory = tempfile::tempdir().unwrap();
    let installed = Installed::new(SecondName::Symlink);
    let conf = configuration(
        directory.path(),
        &installed.output(),
        &chaos.endpoints(),
        options,
    );
    let mut log = BufWriter::new(File::create(directory.path().join("audit.log")).unwrap());
    let host = Process::start(Command::new(binary).arg("-c").arg(conf));
    let start = Instant::now();
    let mut written = 0;
    let mut memory = Vec::new();
    while start.elapsed() < time {
        while written < start.elapsed().as_millis() as usize * RATE / 1000 {
            writeln!(log, "{} {}", mark(written), "x".repeat(length)).unwrap();
            written += 1;
        }
        log.flush().unwrap();
        let sample = (start.elapsed().as_millis() * 8 / time.as_millis()) as usize;
        if sample > memory.len() {
            memory.push(resident(host.id()));
        }
        sleep(Duration::from_millis(20));
    }
    chaos.calm();
    let patience = Instant::now() + Duration::from_secs(90);
    let said = || {
        let log = fs::read_to_string(directory.path().join("fluent-bit.log")).unwrap();
        let lines: Vec<_> = log.lines().rev().take(40).collect();
        lines.join("\n")
    };
    while chaos.books.lock().unwrap().acked_records < written {
        let late = Instant::now() > patience;
        assert!(!late, "of {written}: {}\n{}", chaos.summary(), said());
        sleep(Duration::from_millis(50));
    }
    let summary = format!(
        "seed {seed}: {written} records, memory {memory:?} KiB; {}",
        chaos.summary()
    );
    println!("{summary}");
    let books = chaos.books.lock().unwrap();
    assert!(
        (0..written).all(|number| books.is_acked(number)),
        "{summary}"
    );
    assert_eq!(books.needless, 0, "{summary}");
    assert!(books.resplit < written / 10, "{summary}\n{}", said());
    assert!(!said().contains("cannot be retried"), "{}", said());
    let seconds = start.elapsed().as_secs() as usize;
    let attempts = chaos.connections().into_iter().max().unwrap();
    assert!(attempts < 40 + 2 * seconds, "{summary}");
    let early = memory[memory.len() / 2];
    let last = memory[memory.len() - 1];
    assert!(last < early + 32 * 1024, "{summary}");
}
