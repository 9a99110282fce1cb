//! A receiver that is away for long, with real Fluent Bits before it, and a
//! steady flow of events: a log file → `tail` → `kube_audit`.
//!
//! `KUBE_AUDIT_OUTAGE_SECONDS` makes it last longer than the usual 10 s.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::chaos::{Chaos, Mood, mark, most_resident, resident};
use crate::fluent_bit::binaries;
use crate::host_chaos::configuration;
use crate::process::Process;
use kube_audit_testkit::library::{Installed, SecondName};

/// Lines that are written each second, and their bytes.
const RATE: usize = 300;
const LINE: usize = 1000;

/// `Mem_Buf_Limit` of the host and the client's own limit, in KiB; twice, because
/// allocators and the chunk in work take their share.
const HELD: usize = 2 * (20 + 8) * 1024;

/// The client tries again within 30 s, and the host within 3 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// Tries in so many seconds: one for each of the first steps of the backoff, then
/// every 15 s to 30 s.
fn tries(seconds: usize) -> usize {
    12 + seconds / 12
}

#[test]
fn case_59_an_outage_of_a_real_host() {
    let seconds = env::var("KUBE_AUDIT_OUTAGE_SECONDS").map(|text| text.parse().unwrap());
    let outage = Duration::from_secs(seconds.unwrap_or(10));
    scope(|scope| {
        for binary in binaries() {
            scope.spawn(move || survive(&binary, outage));
        }
    });
}

/// Refused for one half of the time, accepted and closed for the other.
fn survive(binary: &Path, outage: Duration) {
    let receiver = Chaos::composed();
    let directory = tempfile::tempdir().unwrap();
    let installed = Installed::new(SecondName::Symlink);
    let conf = configuration(
        directory.path(),
        &installed.output(),
        &receiver.endpoints(),
        &[],
    );
    let mut log = File::create(directory.path().join("audit.log")).unwrap();
    let host = Process::start(Command::new(binary).arg("-c").arg(conf));
    let start = Instant::now();
    let mut written = 0;
    let mut write = |until: &mut dyn FnMut(usize) -> bool| {
        while until(written) {
            while written < start.elapsed().as_millis() as usize * RATE / 1000 {
                let padding = "x".repeat(LINE - 14);
                writeln!(log, "{} {padding}", mark(written)).unwrap();
                written += 1;
            }
            sleep(Duration::from_millis(20));
        }
        written
    };
    let log = || fs::read_to_string(directory.path().join("fluent-bit.log")).unwrap();
    let acked = || receiver.books.lock().unwrap().acked_records;

    let before = write(&mut |written| written < 3 * RATE || acked() < written / 2);
    let usual = resident(host.id());
    receiver.feel(Mood::Gone);
    let half = Instant::now() + outage / 2;
    write(&mut |_| Instant::now() < half);
    let refused = tries_said(&log());
    receiver.feel(Mood::Closing);
    let closed = receiver.connections()[0];
    let end = Instant::now() + outage / 2;
    let missed = write(&mut |_| Instant::now() < end);
    let closed = receiver.connections()[0] - closed;
    let held = resident(host.id());
    assert!(acked() <= before + RATE, "it was away");

    receiver.feel(Mood::Well);
    let back = Instant::now();
    let mut caught_up = None;
    let all = write(&mut |written| {
        let late = back.elapsed() > PATIENCE;
        assert!(!late, "{} of {written}: {}", acked(), log());
        let (has, now) = (acked(), back.elapsed());
        if has >= missed {
            caught_up.get_or_insert(now);
        }
        caught_up.is_none() || now < Duration::from_secs(5)
    });
    while acked() < all {
        assert!(back.elapsed() < PATIENCE, "{} of {all}: {}", acked(), log());
        sleep(Duration::from_millis(20));
    }
    let peak = most_resident(host.id());
    let books = receiver.books.lock().unwrap();
    let summary = format!(
        "{}: {outage:?} away, {all} records; all of it there {:?} after the return; tries while refused {refused}, \
         while closed {closed}; memory {usual} KiB before, {held} KiB at the end of it, {peak} KiB at most; {} duplicates",
        binary.display(),
        caught_up.unwrap_or_default(),
        books.duplicates + books.resplit
    );
    println!("{summary}");
    assert!((0..all).all(|number| books.is_acked(number)), "{summary}");
    assert_eq!(books.needless, 0, "{summary}");
    assert!(!log().contains("cannot be retried"), "{summary}");
    let half = outage.as_secs() as usize / 2;
    assert!((1..=tries(half)).contains(&refused), "{summary}");
    assert!(closed <= tries(half), "{summary}");
    assert!(held < usual + HELD, "{summary}");
    // Later the host reads as fast as it can what was written in the meantime.
    assert!(peak < usual + 2 * HELD, "{summary}");
}

/// How often it could not connect, as the log says it: a line at once, then one a
/// minute with the number of those between.
fn tries_said(log: &str) -> usize {
    let lines = log
        .lines()
        .filter(|line| line.contains("cannot connect to"));
    let more = |line: &str| line.split_once("(and ")?.1.split(' ').next()?.parse().ok();
    lines.map(|line| 1 + more(line).unwrap_or(0usize)).sum()
}
