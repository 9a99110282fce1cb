//! How fast the records of a machine's audit log become events, beside laurel, the tool
//! that auditd runs for it.
//!
//! `cargo bench --bench machine` makes a log of auditd with 200,000 programs that start, six
//! records each, and gives it to two processes on their standard input, in turn: one that
//! takes it through the library as `tail` would hand it over, with `Machine_Audit events` and
//! `Output_Shape json`, and laurel. Both write the events into a file. CPU time of a whole
//! process counts, and its largest resident set. Asserts nothing about time.
//!
//! laurel is looked for in `LAUREL`, then on the `PATH`: `cargo install laurel`. `events=N`
//! makes the log shorter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that lacks its input may stop"
)]

#[path = "pipelines/process.rs"]
#[allow(dead_code, reason = "of hosts this bench has none")]
mod process;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kube_audit_core::chunk::{LineSink, write_line_record};
use kube_audit_core::pipeline::{MachineAudit, OutputShape, Pipeline, Settings};
use process::Usage;

/// About as much as `tail` hands over at once.
const CHUNK: usize = 32 << 10;

const RECORDS_PER_EVENT: usize = 6;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "work") {
        return through_the_library();
    }
    let events = words.iter().find_map(|word| word.strip_prefix("events="));
    let events = events.map_or(200_000, |number| number.parse().expect("a number"));
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit.log");
    write_log(&log, events);
    println!(
        "{events} events, {} bytes",
        fs::metadata(&log).unwrap().len()
    );

    println!("| | records per second of CPU | peak of memory |");
    println!("|---|---|---|");
    let mut own = Command::new(std::env::current_exe().unwrap());
    own.arg("work");
    let ours = best(own, &log, directory.path());
    let records = events * RECORDS_PER_EVENT;
    say("kube-audit, `Machine_Audit events`", &ours, records);
    match laurel(directory.path()) {
        Some(laurel) => {
            let theirs = best(laurel, &log, directory.path());
            say("laurel", &theirs, records);
            println!(
                "laurel takes {:.2} times the CPU",
                theirs.cpu() / ours.cpu()
            );
        }
        None => println!("NOT COMPARED: no laurel in `LAUREL` or on the `PATH`"),
    }
}

/// Three runs, of which the one with the least CPU time counts.
fn best(mut command: Command, log: &Path, directory: &Path) -> Usage {
    let run = |_| {
        let out = File::create(directory.join("stdout")).unwrap();
        let errors = File::create(directory.join("stderr")).unwrap();
        command
            .current_dir(directory)
            .stdin(File::open(log).unwrap())
            .stdout(out)
            .stderr(errors);
        process::wait(&command.spawn().unwrap())
            .unwrap_or_else(|| panic!("{}", fs::read_to_string(directory.join("stderr")).unwrap()))
    };
    let runs = (0..3).map(run);
    runs.min_by(|a, b| a.cpu().total_cmp(&b.cpu())).unwrap()
}

fn say(what: &str, usage: &Usage, records: usize) {
    println!(
        "| {what} | {:.0} | {:.1} MiB |",
        records as f64 / usage.cpu(),
        usage.peak_kib as f64 / 1024.0
    );
}

/// laurel, set up to read records and write events as it does by default.
fn laurel(directory: &Path) -> Option<Command> {
    let program = std::env::var_os("LAUREL").map(PathBuf::from);
    let program = program.unwrap_or_else(|| "laurel".into());
    let version = Command::new(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let version = version.ok()?.stdout;
    println!("{}", String::from_utf8_lossy(&version).trim_end());
    let config = directory.join("laurel.toml");
    let text = format!(
        "directory = \"{0}\"\nuser = \"root\"\n[auditlog]\nfile = \"{0}/laurel.log\"\n",
        directory.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    Some(command)
}

/// Lines on standard input become events on standard output.
fn through_the_library() {
    let settings = Settings {
        machine_audit: MachineAudit::Events,
        output_shape: OutputShape::Json,
        ..Settings::default()
    };
    let mut pipeline = Pipeline::new(settings, None, || [0; 16]);
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    let (mut line, mut chunk, mut read) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let length = input.read_until(b'\n', &mut line).unwrap();
        if length == 0 || read > CHUNK {
            let mut sink = LineSink::default();
            pipeline.chunk(b"machine", &chunk, &mut sink).unwrap();
            output.write_all(&sink.lines).unwrap();
            chunk.clear();
            read = 0;
        }
        if length == 0 {
            break;
        }
        read += length;
        write_line_record(line.strip_suffix(b"\n").unwrap_or(&line), &mut chunk);
    }
    let mut sink = LineSink::default();
    pipeline.release(b"machine", &mut sink);
    output.write_all(&sink.lines).unwrap();
}

/// Programs that start, as auditd writes them, two at a time with their records mixed.
fn write_log(path: &Path, events: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for pair in 0..events.div_ceil(2) {
        let texts = [2 * pair, 2 * pair + 1].map(event);
        let [first, second] = texts.each_ref().map(|text| text.lines());
        let both = 2 * pair + 1 < events;
        for (a, b) in first.zip(second) {
            writeln!(file, "{a}").unwrap();
            if both {
                writeln!(file, "{b}").unwrap();
            }
        }
    }
    file.flush().unwrap();
}

fn event(number: usize) -> String {
    let millis = number % 1000;
    let stamp = format!(
        "audit({}.{millis:03}:{number})",
        1_700_000_000 + number / 1000
    );
    let program = ["runc", "iptables", "sh", "id"][number % 4];
    let (pid, parent) = (1000 + number % 30_000, 999 + number % 7);
    let argument = format!("--path=/var/lib/{number} -v");
    let hex = |text: &str| {
        let mut hex = String::new();
        text.bytes()
            .for_each(|byte| write!(hex, "{byte:02X}").unwrap());
        hex
    };
    let title = hex(&format!("{program}\0-c\0{argument}"));
    let path = |item, name: &str| {
        format!(
            "type=PATH msg={stamp}: item={item} name=\"{name}\" inode={number} dev=fd:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"
        )
    };
    [
        format!("type=SYSCALL msg={stamp}: arch=c000003e syscall=59 success=yes exit=0 a0=55f0c1d6a2b0 a1=55f0c1d6a2d8 a2=55f0c1d69f10 a3=8 items=2 ppid={parent} pid={pid} auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=4294967295 comm=\"{program}\" exe=\"/usr/bin/{program}\" key=\"exec\""),
        format!("type=EXECVE msg={stamp}: argc=3 a0=\"{program}\" a1=\"-c\" a2={}", hex(&argument)),
        format!("type=CWD msg={stamp}: cwd=\"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{number}\""),
        path(0, &format!("/usr/bin/{program}")),
        path(1, "/lib64/ld-linux-x86-64.so.2"),
        format!("type=PROCTITLE msg={stamp}: proctitle={title}"),
    ]
    .join("\n")
}
