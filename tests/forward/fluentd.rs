//! Real Fluentd behind a real Fluent Bit 4.0.0: a log file → `tail` → `kube_audit` → Fluentd.
//!
//! `KUBE_AUDIT_FLUENTD` names programs that take fluentd's arguments, separated by colons;
//! without it these tests are skipped. `KUBE_AUDIT_FLUENTD_SENDER=forward` lets the host's own
//! output do the same, for figures beside; then nothing is asserted.

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::chaos::{mark, marks};
use crate::host::until;
use crate::process::{Process, free_port, skip};
use kube_audit_testkit::library::{Installed, SecondName};

/// Output of Fluentd that stores nothing for a while, as a slow or stuck backend.
const GATE: &str = r#"
require 'fluent/plugin/output'
class GateOutput < Fluent::Plugin::Output
  Fluent::Plugin.register_output('gate', self)
  config_param :closed_for, :time
  def start
    super
    @opens = Time.now + @closed_for
  end
  def format(tag, time, record)
    record['log'] + "\n"
  end
  def write(chunk)
    sleep 0.05 while Time.now < @opens
    chunk.open { |io| $stdout.write(io.read) }
    $stdout.flush
  end
end
"#;

/// Prints each record at once.
const PRINT: &str = "<match **>\n@type stdout\n<format>\n@type single_value\nmessage_key log\n\
    </format>\n</match>\n";

/// Buffers as that section says, and prints after a while.
fn gate(closed_for: &str, buffer: &str) -> String {
    format!(
        "<match **>\n@type gate\nclosed_for {closed_for}\n<buffer>\n{buffer}\n</buffer>\n</match>\n"
    )
}

/// Prints times as well, and so reads them.
const PRINT_ALL: &str = "<match **>\n@type stdout\n</match>\n";

/// A Fluentd, killed in the end.
struct Fluentd {
    process: Process,
    port: u16,
    _directory: TempDir,
}

impl Fluentd {
    /// Starts one with these lines in its `forward` source, and these sections behind it.
    fn start(program: &Path, system: &str, source: &str, sections: &str) -> Fluentd {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let conf = directory.path().join("fluentd.conf");
        let text = format!(
            "<system>\n{system}\n</system>\n<source>\n@type forward\nbind 127.0.0.1\n\
             port {port}\n{source}\n</source>\n{sections}\n<label @FLUENT_LOG>\n<match **>\n\
             @type null\n</match>\n</label>\n"
        );
        fs::write(&conf, text).unwrap();
        fs::write(directory.path().join("out_gate.rb"), GATE).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&conf).arg("-p").arg(directory.path());
        if system.is_empty() {
            command.arg("--no-supervisor");
        }
        let process = Process::start(&mut command);
        until("Fluentd runs", || {
            let lines = process.lines();
            lines.iter().any(|line| line.contains("is now running"))
        });
        Fluentd {
            process,
            port,
            _directory: directory,
        }
    }

    /// How often each record was printed. Fluentd's own log quotes records that it skips.
    fn stored(&self) -> HashMap<usize, usize> {
        let mut stored = HashMap::new();
        let mut printed = self.process.lines();
        printed.retain(|line| !line.contains("[warn]: "));
        for line in printed {
            for number in marks(line.as_bytes()) {
                *stored.entry(number).or_default() += 1;
            }
        }
        stored
    }
}

impl Drop for Fluentd {
    /// A supervisor ends its workers only if it is asked.
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        sleep(Duration::from_secs(2));
    }
}

/// What came of a run.
struct Outcome {
    written: usize,
    stored: usize,
    duplicates: usize,
    /// Time until all were stored, if they were.
    took: Option<Duration>,
    log: String,
    /// Records of the worker that has least.
    least: usize,
}

impl Outcome {
    fn said(&self, words: &str) -> bool {
        self.log.contains(words)
    }
}

/// The sender of a run.
struct Sender {
    directory: TempDir,
    _installed: Installed,
    process: Process,
    written: usize,
}

/// True if the plugin is measured, and not the host's own output.
fn is_ours() -> bool {
    env::var("KUBE_AUDIT_FLUENTD_SENDER").as_deref() != Ok("forward")
}

impl Sender {
    /// Sends these lines, with these options of the output.
    fn start(port: u16, lines: &str, options: &str) -> Sender {
        let directory = tempfile::tempdir().unwrap();
        let installed = Installed::new(SecondName::Symlink);
        let at = |name: &str| directory.path().join(name).display().to_string();
        fs::write(at("audit.log"), lines).unwrap();
        let library = installed.output().display().to_string();
        fs::write(
            at("plugins.conf"),
            format!("[PLUGINS]\n    Path {library}\n"),
        )
        .unwrap();
        let output = match is_ours() {
            true => "kube_audit",
            false => {
                "forward\n    Require_ack_response on\n    Retain_Metadata_In_Forward_Mode off"
            }
        };
        let text = format!(
            "[SERVICE]\n    Flush 0.2\n    Grace 1\n    Log_File {log}\n    Plugins_File {plugins}\n    \
             Scheduler.Base 1\n    Scheduler.Cap 3\n[INPUT]\n    Name tail\n    Tag kube.audit\n    \
             Path {input}\n    Read_From_Head on\n    Mem_Buf_Limit 30M\n    \
             Buffer_Max_Size 8M\n[OUTPUT]\n    Name {output}\n    Match *\n    Host 127.0.0.1\n    \
             Port {port}\n    Retry_Limit no_limits\n{options}\n",
            log = at("fluent-bit.log"),
            plugins = at("plugins.conf"),
            input = at("audit.log"),
        );
        fs::write(at("fluent-bit.conf"), text).unwrap();
        let process = Process::start(Command::new(host()).arg("-c").arg(at("fluent-bit.conf")));
        Sender {
            directory,
            _installed: installed,
            process,
            written: marks(lines.as_bytes()).count(),
        }
    }

    /// Writes more lines.
    fn append(&mut self, lines: &str) {
        let path = self.directory.path().join("audit.log");
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        self.written += marks(lines.as_bytes()).count();
    }

    /// Waits until all is stored, or so long, and then for duplicates.
    fn wait(self, fluentd: &Fluentd, most: Duration) -> Outcome {
        let start = Instant::now();
        let mut took = None;
        while took.is_none() && start.elapsed() < most {
            sleep(Duration::from_millis(300));
            if fluentd.stored().len() >= self.written {
                took = Some(start.elapsed());
            }
        }
        let total = || fluentd.stored().values().sum::<usize>();
        let mut before = total();
        loop {
            sleep(Duration::from_secs(3));
            let now = total();
            if now == before {
                break;
            }
            before = now;
        }
        drop(self.process);
        let log = self.directory.path().join("fluent-bit.log");
        let stored = fluentd.stored();
        Outcome {
            written: self.written,
            stored: stored.len(),
            duplicates: stored.values().sum::<usize>() - stored.len(),
            took,
            log: fs::read_to_string(log).unwrap(),
            least: 0,
        }
    }
}

fn host() -> PathBuf {
    let home = env::home_dir().unwrap_or_default();
    home.join(".cache/fluent-bit/4.0.0/fluent-bit")
}

/// So many lines of that length.
fn lines(count: usize, length: usize) -> String {
    lines_of(0..count, length)
}

fn lines_of(numbers: Range<usize>, length: usize) -> String {
    let padding = "x".repeat(length.saturating_sub(13));
    let mut lines = String::new();
    for number in numbers {
        writeln!(lines, "{} {padding}", mark(number)).unwrap();
    }
    lines
}

/// Runs with each Fluentd; `judge` is asked where the plugin sends.
fn with_each(
    what: &str,
    run: impl Fn(&Path) -> Outcome,
    judge: impl Fn(&str, &Outcome) -> Result<(), &'static str>,
) {
    let programs = env::var("KUBE_AUDIT_FLUENTD").unwrap_or_default();
    if programs.is_empty() || !host().is_file() {
        return skip("Fluentd: needs KUBE_AUDIT_FLUENTD and Fluent Bit 4.0.0");
    }
    for program in programs.split(':') {
        let outcome = run(Path::new(program));
        let Outcome {
            written,
            stored,
            duplicates,
            took,
            ref log,
            ..
        } = outcome;
        let sender = if is_ours() { "kube_audit" } else { "forward" };
        let took = took.map(|took| took.as_secs_f32());
        println!(
            "FIGURES {what}; {program}; {sender}: {stored} of {written} stored, \
             {duplicates} duplicates, {took:?} s"
        );
        if env::var_os("KUBE_AUDIT_FLUENTD_LOG").is_some() {
            println!("{log}");
        }
        if is_ours()
            && let Err(complaint) = judge(program, &outcome)
        {
            panic!("{what}; {program}: {complaint}: {log}");
        }
    }
}

/// All is stored, with at most so many duplicates.
fn all(outcome: &Outcome, duplicates: usize) -> Result<(), &'static str> {
    if outcome.took.is_none() {
        return Err("not all is stored");
    }
    if outcome.duplicates > duplicates {
        return Err("too many duplicates");
    }
    Ok(())
}

const MINUTE: Duration = Duration::from_secs(60);

/// Records of a burst.
const BURST: usize = 20_000;

fn burst(program: &Path, source: &str, sections: &str, options: &str, most: Duration) -> Outcome {
    let fluentd = Fluentd::start(program, "", source, sections);
    Sender::start(fluentd.port, &lines(BURST, 300), options).wait(&fluentd, most)
}

#[test]
fn a_burst_is_stored_once() {
    with_each(
        "defaults",
        |program| burst(program, "", PRINT, "", MINUTE),
        |_, outcome| all(outcome, 0),
    );
}

/// In some 45 frames, and in some 300.
#[test]
fn case_17_deny_keepalive() {
    for (length, options) in [(2000, ""), (300, "    Max_Frame 20000")] {
        with_each(
            &format!("deny_keepalive true, records of {length} bytes{options}"),
            |program| {
                let fluentd = Fluentd::start(program, "", "deny_keepalive true", PRINT);
                let options = if is_ours() { options } else { "" };
                let lines = lines(BURST, length);
                Sender::start(fluentd.port, &lines, options).wait(&fluentd, 4 * MINUTE)
            },
            |_, outcome| {
                // A window of frames may be stored before it is known.
                all(outcome, 16 * 900_000 / length)?;
                match outcome.said("one frame per connection") {
                    true => Ok(()),
                    false => Err("it does not say so"),
                }
            },
        );
    }
}

#[test]
fn case_46_chunk_size_limit() {
    for limit in ["500k", "100k"] {
        with_each(
            &format!("chunk_size_limit {limit}"),
            |program| {
                let source = format!("chunk_size_limit {limit}");
                burst(program, &source, PRINT, "", 2 * MINUTE)
            },
            |_, outcome| {
                all(outcome, 0)?;
                match outcome.said("chunk_size_limit") {
                    true => Ok(()),
                    false => Err("it does not name the option to raise"),
                }
            },
        );
    }
}

/// One record of 1.4 MB that the buffer cannot store, among 2,000.
#[test]
fn case_46_one_record_that_cannot_be_stored() {
    for (limit, options) in [("1m", ""), ("600k", ""), ("600k", "    Give_Up_After 3")] {
        with_each(
            &format!("chunk_limit_size {limit}{options}"),
            |program| {
                let buffer = format!("@type memory\nchunk_limit_size {limit}\nflush_interval 1s");
                let fluentd = Fluentd::start(program, "", "", &gate("0s", &buffer));
                let mut text = lines(1000, 300);
                writeln!(text, "large {}", "y".repeat(1_400_000)).unwrap();
                let all = lines(2000, 300);
                text.push_str(&all[text.find("large").unwrap()..]);
                let options = match is_ours() {
                    true => options,
                    false => "",
                };
                let sender = Sender::start(fluentd.port, &text, options);
                let outcome = sender.wait(&fluentd, 2 * MINUTE);
                let printed = fluentd.process.lines();
                let large = printed.iter().filter(|line| line.starts_with("large"));
                println!("FIGURES the large record: {} times", large.count());
                outcome
            },
            |_, outcome| all(outcome, 100),
        );
    }
}

/// Some 12 ms for a record, 35 s for a frame.
#[test]
fn case_62_a_slow_receiver() {
    let slow = "<filter **>\n@type record_transformer\nenable_ruby true\n<record>\n\
        slow ${sleep 0.012}\n</record>\n</filter>\n";
    with_each(
        "35 s for a frame",
        |program| {
            let fluentd = Fluentd::start(program, "", "", &format!("{slow}{PRINT}"));
            Sender::start(fluentd.port, &lines(10_000, 300), "").wait(&fluentd, 5 * MINUTE)
        },
        |_, outcome| all(outcome, 0),
    );
}

#[test]
fn case_44_overflow_throw_exception() {
    with_each(
        "overflow_action throw_exception",
        |program| {
            let buffer = "@type memory\ntotal_limit_size 1m\nchunk_limit_size 256k\n\
                flush_interval 1s\noverflow_action throw_exception";
            burst(program, "", &gate("20s", buffer), "", 4 * MINUTE)
        },
        |_, outcome| all(outcome, 500),
    );
}

#[test]
fn case_45_overflow_block() {
    with_each(
        "overflow_action block, 100 s",
        |program| {
            let buffer = "@type memory\ntotal_limit_size 1m\nchunk_limit_size 256k\n\
                flush_interval 1s\noverflow_action block";
            burst(program, "", &gate("100s", buffer), "", 5 * MINUTE)
        },
        |_, outcome| all(outcome, 3500),
    );
}

#[test]
fn several_workers() {
    let name = "<filter **>\n@type record_transformer\nenable_ruby true\n<record>\n\
        log ${sleep 0.0003; record['log'][0, 12]} w${ENV['SERVERENGINE_WORKER_ID']}\n</record>\n</filter>\n";
    for options in ["", "    Connections 4"] {
        with_each(
            &format!("workers 2{options}"),
            |program| {
                let fluentd = Fluentd::start(program, "workers 2", "", &format!("{name}{PRINT}"));
                let options = if is_ours() { options } else { "" };
                let mut sender = Sender::start(fluentd.port, "", options);
                // While a worker is at work another one accepts the next connection.
                for round in 0..BURST / 1000 {
                    sender.append(&lines_of(round * 1000..round * 1000 + 1000, 300));
                    sleep(Duration::from_millis(300));
                }
                let mut outcome = sender.wait(&fluentd, MINUTE);
                let printed = fluentd.process.lines();
                let of = |worker: &str| printed.iter().filter(|it| it.ends_with(worker)).count();
                let (first, second) = (of(" w0"), of(" w1"));
                println!("FIGURES by worker: {first} and {second}");
                outcome.least = first.min(second);
                outcome
            },
            |_, outcome| {
                all(outcome, 0)?;
                match (options, outcome.least) {
                    ("", 0) | (_, 1000..) => Ok(()),
                    _ => Err("the workers share it otherwise"),
                }
            },
        );
    }
}

#[test]
fn case_08_and_09_compression() {
    for kind in ["gzip", "zstd"] {
        with_each(
            &format!("Compress {kind}"),
            |program| {
                let options = format!("    Compress {kind}");
                burst(program, "", PRINT, &options, MINUTE / 3)
            },
            |program, outcome| {
                let reads = kind == "gzip" || program.contains("1.19");
                match (reads, outcome.stored) {
                    (true, _) => all(outcome, 0),
                    (false, 0) if outcome.said("Fluentd before 1.19") => Ok(()),
                    (false, 0) => Err("it is not said"),
                    (false, _) => Err("Fluentd before 1.19 reads zstd"),
                }
            },
        );
    }
}

#[test]
fn case_07_metadata() {
    with_each(
        "Retain_Metadata_In_Forward_Mode on",
        |program| {
            let options = "    Retain_Metadata_In_Forward_Mode on";
            burst(program, "", PRINT_ALL, options, MINUTE / 3)
        },
        |_, outcome| match outcome.stored {
            0 => Ok(()),
            _ => Err("Fluentd stores entries with metadata"),
        },
    );
}

#[cfg(feature = "tls")]
#[test]
fn case_21_and_51_client_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let openssl = |arguments: &str| {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory.path())
            .output();
        assert!(made.is_ok_and(|made| made.status.success()), "{arguments}");
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 9 -keyout ca.key -out ca.pem -subj /CN=ca");
    for name in ["server", "client"] {
        openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN=127.0.0.1"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 \
             -out {name}.pem"
        ));
    }
    let ca = at("ca.pem");
    let source = format!(
        "<transport tls>\ncert_path {}\nprivate_key_path {}\nclient_cert_auth true\n\
         ca_path {ca}\n</transport>",
        at("server.pem"),
        at("server.key")
    );
    let tls = format!("    tls on\n    tls.verify on\n    tls.ca_file {ca}\n");
    let with = format!(
        "{tls}    tls.crt_file {}\n    tls.key_file {}\n",
        at("client.pem"),
        at("client.key")
    );
    with_each(
        "TLS with a client certificate",
        |program| burst(program, &source, PRINT, &with, MINUTE),
        |_, outcome| all(outcome, 0),
    );
    with_each(
        "TLS without the client certificate",
        |program| burst(program, &source, PRINT, &tls, MINUTE / 6),
        |_, outcome| match (outcome.stored, outcome.said("tls.crt_file")) {
            (0, true) => Ok(()),
            _ => Err("it does not say what is missing"),
        },
    );
}
