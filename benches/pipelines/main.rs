//! What whole Fluent Bit processes cost: with this plugin, with what does parts of its
//! job, and with nothing.
//!
//! `cargo bench --bench pipelines` builds the library as it ships, makes a log of
//! 60,000 events, runs the pipelines in turn in the newest Fluent Bit of this machine
//! and in 4.0.0, and prints tables as Markdown. Receivers are other processes or
//! threads of this one, and never counted. Asserts nothing about time.
//!
//! Words behind `--` choose: `cpu`, `memory`, `start`, `throughput`; `runs=N` and
//! `events=N` make it shorter. `KUBE_AUDIT_LIBRARY` names a library to take instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that lacks its input may stop"
)]

mod cases;
mod process;
mod receivers;

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cases::{Case, Reading};
use kube_audit_testkit::audit_log::{Events, large_event};
use kube_audit_testkit::fluent_bit::{FluentBit, hosts};
use kube_audit_testkit::library::{self, Installed, SecondName};
use process::{Process, Usage};
use receivers::{Relay, Sink, Traffic};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let value = words.iter().find_map(|word| word.strip_prefix(name));
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let parts = ["cpu", "memory", "start", "throughput"];
    let all = !words.iter().any(|word| parts.contains(&word.as_str()));
    let wants = |part: &str| all || words.iter().any(|word| word == part);

    let shipped = library::chosen().unwrap_or_else(|| library::build(&["--release"]));
    let bench = Bench {
        installed: Installed::of(&shipped, SecondName::Symlink),
        logs: Logs::write(number("events=", 60_000)),
        runs: number("runs=", 8),
    };
    let newest = hosts().last().expect("a Fluent Bit");
    let older = hosts().iter().find(|host| host.version == (4, 0, 0));
    let hosts: Vec<&FluentBit> = [newest].into_iter().chain(older).collect();
    for host in &hosts {
        if wants("cpu") {
            bench.cpu(host);
        }
    }
    if wants("memory") {
        bench.memory(newest);
    }
    if wants("start") {
        bench.start(newest);
    }
    if wants("throughput") {
        for receiver in &hosts {
            bench.throughput(newest, receiver);
        }
    }
}

/// How often the longest log repeats the usual one.
const BACKLOG: usize = 4;

/// The logs that pipelines read.
struct Logs {
    /// On disk: `tail` makes the system forget what it has read, as it does anywhere.
    directory: tempfile::TempDir,
    /// In memory, where that is possible: no disk is to set the pace.
    memory: tempfile::TempDir,
    events: usize,
    bytes: u64,
}

impl Logs {
    fn write(events: usize) -> Logs {
        let memory = Path::new("/dev/shm");
        let memory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| BufWriter::new(File::create(directory.path().join(name)).unwrap());
        let (mut usual, mut large) = (file("usual.log"), file("large.log"));
        let mut bytes = 0;
        for (number, line) in Events::new().take(events).enumerate() {
            writeln!(usual, "{line}").unwrap();
            writeln!(large, "{line}").unwrap();
            bytes += line.len() as u64 + 1;
            if number % 2000 == 0 {
                writeln!(large, "{}", large_event(1_400_000)).unwrap();
            }
        }
        usual.flush().unwrap();
        large.flush().unwrap();
        let mut backlog = File::create(memory.path().join("usual.log")).unwrap();
        for _ in 0..BACKLOG {
            // In pieces: the peak of this process counts as that of its children.
            let mut usual = File::open(directory.path().join("usual.log")).unwrap();
            io::copy(&mut usual, &mut backlog).unwrap();
        }
        file("empty.log").flush().unwrap();
        Logs {
            directory,
            memory,
            events,
            bytes,
        }
    }

    fn path(&self, name: &str) -> String {
        text(&self.directory.path().join(name))
    }

    /// The usual one, [`BACKLOG`] times.
    fn backlog(&self) -> String {
        text(&self.memory.path().join("usual.log"))
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

struct Bench {
    installed: Installed,
    logs: Logs,
    runs: usize,
}

impl Bench {
    /// Runs a case on the usual log until it ends by itself.
    fn run(&self, host: &FluentBit, case: Case, port: u16) -> Usage {
        let log = self.logs.path("usual.log");
        let process = self.begin(host, case, &log, Reading::Whole, port);
        if case.has_input() {
            process.stop_at(self.logs.bytes);
        }
        process.wait()
    }

    fn begin(
        &self,
        host: &FluentBit,
        case: Case,
        log: &str,
        reading: Reading,
        port: u16,
    ) -> Process {
        let pipeline = case.pipeline(log, reading, port);
        Process::start(host, &pipeline, &self.installed)
    }

    fn cpu(&self, host: &FluentBit) {
        let sink = Sink::start();
        let cases = Case::CPU;
        let mut usages: Vec<Vec<Usage>> = vec![Vec::new(); cases.len()];
        let mut delivered = vec![0; cases.len()];
        // One run each that isn't counted brings the file into memory.
        for run in 0..=self.runs {
            for number in order(cases.len(), run) {
                let case = cases[number];
                let before = sink.records();
                let usage = self.run(host, case, sink.port());
                delivered[number] = sink.records() - before;
                if run > 0 {
                    usages[number].push(usage);
                }
            }
        }
        println!(
            "\n### CPU of Fluent Bit {} ({} events, {} MB, median of {} runs in turn)\n",
            host.name(),
            self.logs.events,
            self.logs.bytes / 1_000_000,
            self.runs
        );
        println!("| pipeline | user + system | ratio | records delivered |\n|---|---|---|---|");
        for (number, case) in cases.iter().enumerate() {
            let pairs = usages[number].iter().zip(&usages[0]);
            let ratio = median(pairs.map(|(usage, floor)| usage.cpu() / floor.cpu()));
            let cpu = median(usages[number].iter().map(Usage::cpu));
            let delivered = match delivered[number] {
                0 => "–".to_owned(),
                records => records.to_string(),
            };
            println!(
                "| {} | {cpu:.3} s | {ratio:.2} | {delivered} |",
                case.name()
            );
        }
    }

    fn memory(&self, host: &FluentBit) {
        let sink = Sink::start();
        println!(
            "\n### Memory of Fluent Bit {} over the same pipeline without this plugin\n",
            host.name()
        );
        println!(
            "| pipeline | idle: private and shared (PSS) | full load, events of 1.4 MB among them: peak |\n|---|---|---|"
        );
        for (case, without) in [
            (Case::Filter, Case::Floor),
            (Case::Output, Case::ForwardAlone),
            (Case::OutputGzip, Case::ForwardAloneGzip),
        ] {
            let idle = |case: Case| {
                let reading = Reading::Waiting;
                let log = self.logs.path("empty.log");
                let process = self.begin(host, case, &log, reading, sink.port());
                sleep(Duration::from_secs(2));
                process.proportional_set() as f64 / 1024.0
            };
            let peak = |case: Case| {
                let reading = Reading::Limited;
                let log = self.logs.path("large.log");
                let process = self.begin(host, case, &log, reading, sink.port());
                process.wait().peak_kib as f64 / 1024.0
            };
            let over = |measure: &dyn Fn(Case) -> f64| {
                median((0..self.runs.min(5)).map(|_| measure(case) - measure(without)))
            };
            println!(
                "| {} | {:+.1} MiB | {:+.1} MiB |",
                case.name(),
                over(&idle),
                over(&peak)
            );
        }
    }

    fn start(&self, host: &FluentBit) {
        let sink = Sink::start();
        let pairs = (0..self.runs * 3).map(|_| {
            [Case::Floor, Case::Filter, Case::Output].map(|case| {
                let log = self.logs.path("empty.log");
                let process = self.begin(host, case, &log, Reading::Whole, sink.port());
                process.wait().cpu() * 1e3
            })
        });
        let pairs: Vec<[f64; 3]> = pairs.collect();
        println!(
            "\n### Start of Fluent Bit {}: CPU beyond that of the floor, until an empty file is read\n",
            host.name()
        );
        println!("| | |\n|---|---|");
        for (number, name) in [(1, "filter, policy giantswarm"), (2, "output, the same")] {
            let more = median(pairs.iter().map(|pair| pair[number] - pair[0]));
            println!("| {name} | {more:.1} ms |");
        }
    }

    /// Over a log of several times the length, so that what is sent, and not what is
    /// read in the first second, sets the pace.
    fn throughput(&self, host: &FluentBit, receiver: &FluentBit) {
        println!(
            "\n### Records acknowledged per second, from Fluent Bit {} to `in_forward` of {}\n",
            host.name(),
            receiver.name()
        );
        println!(
            "| round trip | this output | `forward` with acks | ratio | connections |\n|---|---|---|---|---|"
        );
        for round_trip in [0, 50] {
            let rate = |case: Case| {
                let port = kube_audit_testkit::port::reserve();
                let _receiver = Process::receiver(receiver, port);
                receivers::wait_for(port);
                let relay =
                    (round_trip > 0).then(|| Relay::start(port, Duration::from_millis(round_trip)));
                let port = relay.as_ref().map_or(port, Relay::port);
                let traffic = Traffic::watch();
                let log = self.logs.backlog();
                self.begin(host, case, &log, Reading::Whole, port).wait();
                let rate = (self.logs.events * BACKLOG) as f64 / traffic.active().as_secs_f64();
                (rate, relay.map_or(0, |relay| relay.connections()))
            };
            let runs = 0..self.runs.min(5);
            let runs: Vec<_> = runs
                .map(|_| [Case::OutputAlone, Case::ForwardAlone].map(rate))
                .collect();
            let connections = |which: usize| runs.iter().map(|run| run[which].1).max().unwrap();
            let connections = match round_trip {
                0 => "–".to_owned(),
                _ => format!("{} and {}", connections(0), connections(1)),
            };
            println!(
                "| {round_trip} ms | {:.0} | {:.0} | {:.2} | {connections} |",
                median(runs.iter().map(|run| run[0].0)),
                median(runs.iter().map(|run| run[1].0)),
                median(runs.iter().map(|run| run[0].0 / run[1].0)),
            );
        }
    }
}

/// The order of a round. What ran before leaves traces: in as many rounds as there are
/// cases, which are an even number, each comes once at each place and once after each other.
fn order(cases: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..cases).map(move |place| {
        let step = place.div_ceil(2);
        let first = if place % 2 == 0 { cases - step } else { step };
        (first + round) % cases
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
