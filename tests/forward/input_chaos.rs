//! The input with everything against it: a log that rotates and is compressed, a host that
//! is killed, ended and reloaded, receivers that lose acknowledgements. Nothing is lost.
//!
//! `KUBE_AUDIT_CHAOS_SECONDS` and `KUBE_AUDIT_CHAOS_SEED` as in [`chaos`](crate::chaos); each
//! host has that time.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use kube_audit_testkit::fluent_bit;
use kube_audit_testkit::library::{Installed, SecondName};

use crate::chaos::{Chaos, Dice, fate, mark, resident};
use crate::process::Process;

/// Lines that are written each second.
const RATE: usize = 1000;

/// Bytes after which the log rotates.
const ROTATES_AT: usize = 300_000;

/// A writer that behaves as the API server's: whole lines, rotation by renaming, compression
/// in the background, a broken line now and then as a full disk leaves it.
struct Writer {
    ends: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(directory: &Path, seed: u64) -> Writer {
        let ends = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicUsize::new(0));
        let (own_end, own_count) = (Arc::clone(&ends), Arc::clone(&written));
        let directory = directory.to_path_buf();
        let thread = spawn(move || write(&directory, seed, &own_end, &own_count));
        Writer {
            ends,
            written,
            thread: Some(thread),
        }
    }

    fn stop(&mut self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.written.load(Ordering::Relaxed)
    }
}

fn write(directory: &Path, seed: u64, ends: &AtomicBool, written: &AtomicUsize) {
    let live = directory.join("audit.log");
    let open = || {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(&live).unwrap()
    };
    let mut dice = Dice::new(seed);
    let (mut log, mut size, mut rotations) = (open(), 0, 0);
    let mut compressing: Option<JoinHandle<()>> = None;
    let start = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        let number = written.load(Ordering::Relaxed);
        if number >= start.elapsed().as_millis() as usize * RATE / 1000 {
            sleep(Duration::from_millis(2));
            continue;
        }
        let padding = match dice.below(2000) {
            0 => 100_000,
            other => 100 + other as usize % 400,
        };
        let line = format!("{} {}\n", mark(number), "x".repeat(padding));
        if size > 0 && size + line.len() > ROTATES_AT {
            rotations += 1;
            let name = format!(
                "audit-2026-11-20T08-{:02}-{:02}.{:03}.log",
                rotations / 60_000,
                rotations / 1000 % 60,
                rotations % 1000
            );
            let rotated = directory.join(name);
            drop(log);
            fs::rename(&live, &rotated).unwrap();
            (log, size) = (open(), 0);
            if dice.below(2) == 0 {
                if let Some(before) = compressing.take() {
                    before.join().unwrap();
                }
                compressing = Some(spawn(move || compress(&rotated)));
            }
        }
        if dice.below(5000) == 0 {
            // Nobody is told of it, and the next line is glued to it.
            log.write_all(b"a part of a line ").unwrap();
        }
        log.write_all(line.as_bytes()).unwrap();
        size += line.len();
        written.store(number + 1, Ordering::Relaxed);
    }
    if let Some(before) = compressing {
        before.join().unwrap();
    }
}

/// Beside the plain file, in parts; then that one goes.
fn compress(rotated: &Path) {
    let plain = fs::read(rotated).unwrap();
    let mut to = rotated.as_os_str().to_owned();
    to.push(".gz");
    let mut packed = GzEncoder::new(File::create(to).unwrap(), Compression::fast());
    for part in plain.chunks(64 << 10) {
        packed.write_all(part).unwrap();
        packed.flush().unwrap();
        sleep(Duration::from_millis(20));
    }
    packed.finish().unwrap();
    fs::remove_file(rotated).unwrap();
}

fn configuration(directory: &Path, installed: &Installed, endpoints: &str) -> PathBuf {
    let at = |name: &str| directory.join(name).display().to_string();
    let plugins = [installed.output(), installed.input()];
    let plugins = plugins.map(|path| format!("    Path {}\n", path.display()));
    fs::write(
        at("plugins.conf"),
        format!("[PLUGINS]\n{}", plugins.concat()),
    )
    .unwrap();
    let text = format!(
        "\
[SERVICE]
    Flush          0.2
    Grace          5
    Log_Level      info
    Log_File       {}
    Plugins_File   {}
    Scheduler.Base 1
    Scheduler.Cap  3
    Hot_Reload     on

[INPUT]
    Name                kube_audit
    Path                {}
    Max_Unacknowledged  1M
    Checkpoint_Interval 100ms

[OUTPUT]
    Name           kube_audit
    Match          *
    Endpoint       {endpoints}
    Ack_Timeout    2s
    Retry_Limit    no_limits
",
        at("fluent-bit.log"),
        at("plugins.conf"),
        at("audit.log"),
    );
    fs::write(at("fluent-bit.conf"), text).unwrap();
    directory.join("fluent-bit.conf")
}

#[derive(Debug, Default)]
struct Fates {
    killed: usize,
    ended: usize,
    reloaded: usize,
}

#[test]
fn nothing_is_lost_between_the_log_and_the_receivers() {
    let wanted = [(1, 9, 5), (4, 0, 0), (5, 1, 1)];
    let hosts = fluent_bit::hosts().iter();
    for host in hosts.filter(|host| wanted.contains(&host.version)) {
        let (time, seed) = fate();
        let chaos = Chaos::start(3, seed, Duration::from_secs(2), 4);
        let directory = tempfile::tempdir().unwrap();
        let installed = Installed::new(SecondName::Symlink);
        let conf = configuration(directory.path(), &installed, &chaos.endpoints());
        let start = || Process::start(Command::new(host.program()).arg("-c").arg(&conf));
        let mut writer = Writer::start(directory.path(), seed);
        let mut process = start();
        let mut dice = Dice::new(seed ^ 0x5eed);
        let mut fates = Fates::default();
        let mut memory = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < time {
            sleep(Duration::from_millis(200 + dice.below(1500)));
            memory.push(resident(process.id()));
            match dice.below(10) {
                0..=6 => {
                    drop(process);
                    fates.killed += 1;
                }
                7 | 8 => {
                    process.terminate(Duration::from_secs(20));
                    fates.ended += 1;
                }
                // Only later ones can.
                _ if host.version >= (2, 2, 0) => {
                    process.signal("HUP");
                    fates.reloaded += 1;
                    continue;
                }
                _ => continue,
            }
            process = start();
        }
        let written = writer.stop();
        chaos.calm();
        let said = || {
            let log = fs::read_to_string(directory.path().join("fluent-bit.log")).unwrap();
            let lines: Vec<_> = log.lines().rev().take(60).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        let patience = Instant::now() + Duration::from_secs(120);
        loop {
            let books = chaos.books.lock().unwrap();
            let missing = (0..written).filter(|number| !books.is_acked(*number));
            let missing: Vec<_> = missing.take(20).collect();
            drop(books);
            if missing.is_empty() {
                break;
            }
            assert!(
                Instant::now() < patience,
                "{}: of {written} are missing {missing:?}…; {fates:?}; {}\n{}",
                host.name(),
                chaos.summary(),
                said()
            );
            sleep(Duration::from_millis(100));
        }
        process.terminate(Duration::from_secs(20));
        let log = fs::read_to_string(directory.path().join("fluent-bit.log")).unwrap();
        let bad = |line: &&str| line.contains("[error]") || line.contains("is lost");
        let bad: Vec<_> = log.lines().filter(bad).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", host.name());
        let most = memory.iter().max().copied().unwrap_or(0);
        println!(
            "{}: seed {seed}: {written} lines, 0 lost, {fates:?}, at most {most} KiB; {}",
            host.name(),
            chaos.summary()
        );
        assert!(most < 64 * 1024, "{most} KiB");
    }
}
