//! The input over real files, with a host of our own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use kube_audit_core::chunk::{LineForm, LineSink};
use kube_audit_core::pipeline::{Pipeline, Settings};

use super::*;
use crate::test::{Lines, PanickingAt};

/// A host that keeps what it is given in chunks.
#[derive(Default)]
struct Host {
    /// Number and records of each chunk that is not delivered.
    chunks: Vec<(usize, Vec<u8>)>,
    delivered: Vec<u8>,
    next: usize,
    refuses: bool,
}

impl Ingest for Host {
    fn append(&mut self, records: &[u8]) -> Result<(), Refused> {
        if self.refuses {
            return Err(Refused);
        }
        self.next += 1;
        self.chunks.push((self.next, records.to_vec()));
        Ok(())
    }

    fn chunks(&mut self, held: &mut Vec<usize>) {
        held.clear();
        held.extend(self.chunks.iter().map(|(number, _)| *number));
    }
}

impl Host {
    fn deliver(&mut self) {
        for (_, records) in self.chunks.drain(..) {
            self.delivered.extend(records);
        }
    }

    /// The texts under `log` that were delivered.
    fn lines(&self) -> Vec<String> {
        let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
        let mut sink = LineSink::new(LineForm::Event);
        pipeline.chunk(b"", &self.delivered, &mut sink).unwrap();
        let text = String::from_utf8(sink.lines).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

struct Scene {
    directory: tempfile::TempDir,
    log: Arc<Lines>,
    host: Host,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            directory: tempfile::tempdir().unwrap(),
            log: Arc::default(),
            host: Host::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn properties(&self, options: &[(&str, &str)]) -> Properties {
        let path = self.path("audit.log").display().to_string();
        let own = [("path", &*path), ("checkpoint_interval", "1ms")];
        let all = own.iter().chain(options);
        all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn start(&self, options: &[(&str, &str)]) -> Input {
        self.try_start(options, SETTINGS).unwrap()
    }

    fn try_start(
        &self,
        options: &[(&str, &str)],
        settings: InputSettings,
    ) -> Result<Input, OptionError> {
        let log: Arc<Lines> = Arc::clone(&self.log);
        Input::new(&self.properties(options), settings, None, log)
    }

    /// Reads until there is nothing to read.
    fn run(&mut self, input: &mut Input) {
        while input.collect(&mut self.host) == Collected::More {}
    }

    fn logged(&self) -> String {
        self.log.take().join("\n")
    }
}

const SETTINGS: InputSettings = InputSettings {
    storage: Storage::Memory,
    chunks: ChunkList::Known,
};

fn event(id: u32) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{id}","stage":"ResponseComplete","verb":"get","stageTimestamp":"2026-11-20T08:00:00.123456Z","annotations":{{}}}}"#
    ) + "\n"
}

fn ids(lines: &[String]) -> Vec<u32> {
    let id = |line: &String| {
        let (_, rest) = line.split_once("\"auditID\":\"")?;
        rest.split('"').next()?.parse().ok()
    };
    lines.iter().filter_map(id).collect()
}

#[test]
fn lines_become_records_and_the_policy_applies() {
    let mut scene = Scene::new();
    scene.append("audit-2026-11-20T08-00-00.000.log", event(1));
    scene.append(
        "audit.log",
        event(2) + &event(3).replace("Complete", "Started"),
    );
    let policy =
        r#"{"kind":"Policy","rules":[{"level":"Metadata","omitStages":["ResponseStarted"]}]}"#;
    let mut input = scene.start(&[("policy", policy)]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2]);
    input.close(Some(&mut scene.host));
    let log = scene.logged();
    assert!(
        log.contains("events kept: 2") && log.contains("lines read: 3"),
        "{log}"
    );
}

#[test]
fn the_position_moves_when_records_are_delivered() {
    let mut scene = Scene::new();
    scene.append("audit.log", event(1));
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    std::thread::sleep(Duration::from_millis(2));
    scene.append("audit.log", event(2));
    scene.run(&mut input);
    // The process is killed with the second event in memory.
    drop(input);
    scene.host.chunks.clear();
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2]);
    input.close(Some(&mut scene.host));

    let mut input = scene.start(&[]);
    scene.append("audit.log", event(3));
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2, 3]);
}

#[test]
fn without_deliveries_no_more_is_read_than_the_limit() {
    let mut scene = Scene::new();
    let all: String = (0..8000).map(event).collect();
    scene.append("audit.log", &all);
    let mut input = scene.start(&[("max_unacknowledged", "65536")]);
    scene.run(&mut input);
    let held: usize = scene
        .host
        .chunks
        .iter()
        .map(|(_, records)| records.len())
        .sum();
    assert!((65_536..2 * PIECE).contains(&held), "{held}");
    for _ in 0..100 {
        scene.host.deliver();
        scene.run(&mut input);
    }
    assert_eq!(ids(&scene.host.lines()), (0..8000).collect::<Vec<_>>());
}

#[test]
fn a_host_that_refuses_gets_the_same_records_later() {
    let mut scene = Scene::new();
    scene.append("audit.log", event(1));
    let mut input = scene.start(&[]);
    scene.host.refuses = true;
    scene.run(&mut input);
    scene.append("audit.log", event(2));
    scene.run(&mut input);
    scene.host.refuses = false;
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2]);
}

#[test]
fn compressed_files_are_read_and_go_on_where_they_were_left() {
    let mut scene = Scene::new();
    scene.append("audit.log", event(1) + &event(2));
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    scene.append("audit.log", event(3));
    input.close(Some(&mut scene.host));
    // Rotated and compressed while nobody reads.
    let plain = fs::read(scene.path("audit.log")).unwrap();
    let rotated = scene.path("audit-2026-11-20T08-00-00.000.log.gz");
    let mut packed = GzEncoder::new(fs::File::create(&rotated).unwrap(), Compression::fast());
    packed.write_all(&plain).unwrap();
    packed.finish().unwrap();
    fs::write(scene.path("audit.log"), event(4)).unwrap();

    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2, 3, 4]);
    input.close(Some(&mut scene.host));
    assert!(!scene.logged().contains("lost"));
}

#[test]
fn a_damaged_compressed_file_is_told_and_the_next_one_read() {
    let mut scene = Scene::new();
    let rotated = scene.path("audit-2026-11-20T08-00-00.000.log.gz");
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    packed.write_all((event(1) + &event(2)).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    fs::write(&rotated, &packed[..packed.len() - 40]).unwrap();
    scene.append("audit.log", event(3));
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 3]);
    let log = scene.logged();
    assert!(log.contains("cannot be unpacked beyond byte"), "{log}");
}

#[test]
fn places_that_are_no_log_are_waited_for() {
    let mut scene = Scene::new();
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    let log = scene.logged();
    assert!(
        log.contains("waiting for the log: there is no such file yet"),
        "{log}"
    );

    fs::create_dir(scene.path("audit.log")).unwrap();
    scene.run(&mut input);
    let log = scene.logged();
    assert!(
        log.contains("it is a directory, not a regular file"),
        "{log}"
    );
    fs::remove_dir(scene.path("audit.log")).unwrap();
    scene.append("audit.log", event(1));
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1]);
}

#[test]
fn lines_that_are_too_long_are_left_out() {
    let mut scene = Scene::new();
    scene.append("audit.log", event(1));
    scene.append("audit.log", vec![b'x'; 3_000_000]);
    scene.append("audit.log", format!("\n{}", event(2)));
    let mut input = scene.start(&[("max_event", "1M")]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2]);
    let log = scene.logged();
    let (start, end) = (event(1).len(), "audit.log is left out");
    assert!(
        log.contains(&format!("a line of 3000001 bytes at byte {start} of {end}")),
        "{log}"
    );
}

#[test]
fn zero_bytes_in_front_of_a_line_are_left_out() {
    let mut scene = Scene::new();
    scene.append("audit.log", [0; 5000]);
    scene.append("audit.log", event(1));
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(scene.host.lines(), [event(1).trim_end()]);
    assert!(
        scene
            .logged()
            .contains("5000 zero bytes in front of lines are left out")
    );
}

#[test]
fn a_line_that_panics_is_the_only_one_that_is_lost() {
    for (fate, expected) in [("drop", vec![1, 3]), ("keep", vec![1, 2, 3])] {
        let mut scene = Scene::new();
        scene.append("audit.log", event(1) + &event(2) + &event(3));
        let options = [("regex", "x"), ("on_panic", fate)];
        let patterns = PanickingAt(r#""auditID":"2""#);
        let log: Arc<Lines> = Arc::clone(&scene.log);
        let properties = scene.properties(&options);
        let mut input = Input::new(&properties, SETTINGS, Some(&patterns), log).unwrap();
        let mut panics = 0;
        loop {
            let call = std::panic::AssertUnwindSafe(|| input.collect(&mut scene.host));
            match std::panic::catch_unwind(call) {
                Err(_) => input.panicked(&"internal error: no way"),
                Ok(Collected::More) => continue,
                Ok(Collected::Idle) => break,
            }
            panics += 1;
            assert!(panics < 10);
        }
        scene.host.deliver();
        assert_eq!(ids(&scene.host.lines()), expected, "{fate}");
        input.close(Some(&mut scene.host));
        let log = scene.logged();
        assert!(log.contains("2 calls ended in an internal error"), "{log}");
    }
}

#[test]
fn pieces_that_wait_for_others_hold_the_position_back() {
    let mut scene = Scene::new();
    let piece = |flag: &str, text: &str| format!("2026-11-20T08:00:00.1Z stdout {flag} {text}\n");
    let whole = event(2);
    let (first, second) = whole.trim_end().split_at(100);
    scene.append(
        "audit.log",
        piece("F", event(1).trim_end()) + &piece("P", first),
    );
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    scene.host.deliver();
    scene.run(&mut input);
    input.close(Some(&mut scene.host));
    // The first piece is read again, because the second one came later.
    scene.append("audit.log", piece("F", second));
    let mut input = scene.start(&[("output_shape", "json")]);
    scene.run(&mut input);
    scene.host.deliver();
    let seen = ids(&scene.host.lines());
    assert_eq!(seen.last(), Some(&2), "{seen:?}");
}

#[test]
fn what_the_host_cannot_tell_is_said_at_the_start() {
    let scene = Scene::new();
    let settings = |storage, chunks| InputSettings { storage, chunks };
    let start = |options: &[(&str, &str)], settings| {
        let started = scene.try_start(options, settings);
        let error = started.as_ref().err().map(ToString::to_string);
        (
            started.ok().map(|input| input.acknowledge),
            error,
            scene.logged(),
        )
    };
    for (chunks, cause) in [
        (ChunkList::OtherThread, "`threaded on`"),
        (ChunkList::Ring, "`storage.type memrb`"),
    ] {
        for storage in [Storage::Memory, Storage::Filesystem] {
            let (acknowledge, _, log) = start(&[], settings(storage, chunks));
            assert_eq!(acknowledge, Some(Acknowledge::Read));
            assert!(
                log.contains(cause) && log.contains("`Acknowledge read` is used"),
                "{log}"
            );
        }
    }
    let (_, error, _) = start(&[("acknowledge", "stored")], SETTINGS);
    let error = error.unwrap();
    assert!(
        error.contains("`storage.type`") && error.contains("filesystem"),
        "{error}"
    );
}

#[test]
fn a_position_that_cannot_be_written_is_told() {
    let mut scene = Scene::new();
    scene.append("audit.log", event(1) + &event(2));
    let mut input = scene.start(&[("db", "/proc/missing/db")]);
    for _ in 0..50 {
        scene.run(&mut input);
        scene.host.deliver();
        scene.append("audit.log", event(3));
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = scene.logged();
    assert!(
        log.contains("the position cannot be kept in /proc/missing/db"),
        "{log}"
    );
    assert!(ids(&scene.host.lines()).len() > 40);
}

#[test]
fn a_link_that_leads_elsewhere_is_a_rotation() {
    let mut scene = Scene::new();
    let (first, second) = (scene.path("0.log"), scene.path("1.log"));
    scene.append("0.log", event(1));
    let (new, path) = (scene.path("new"), scene.path("audit.log"));
    let link = |to: &Path| {
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    link(&first);
    let mut input = scene.start(&[]);
    let run = |host: &mut Host, input: &mut Input| {
        for _ in 0..3 {
            while input.collect(host) == Collected::More {}
        }
    };
    let mut host = std::mem::take(&mut scene.host);
    run(&mut host, &mut input);
    scene.append("0.log", event(2));
    scene.append("1.log", event(3));
    link(&second);
    run(&mut host, &mut input);
    host.deliver();
    assert_eq!(ids(&host.lines()), [1, 2, 3]);
}

#[test]
fn something_compressed_that_is_not_is_waited_with_and_then_left() {
    let mut scene = Scene::new();
    scene.append("audit-2026-11-20T08-00-00.000.log.gz", "no gzip at all");
    let mut input = scene.start(&[]);
    // There is nothing after it: the host is not kept busy over it.
    assert_eq!(input.collect(&mut scene.host), Collected::Idle);
    assert_eq!(input.collect(&mut scene.host), Collected::Idle);
    let log = scene.logged();
    assert!(
        log.contains("waiting for audit-2026-11-20T08-00-00.000.log.gz: invalid gzip header"),
        "{log}"
    );
    scene.append("audit.log", event(1));
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1]);
    assert!(scene.logged().contains("its rest is lost"));
}

#[test]
fn a_fifo_in_the_place_of_the_log_holds_nothing_up() {
    let mut scene = Scene::new();
    let made = std::process::Command::new("mkfifo")
        .arg(scene.path("audit.log"))
        .status();
    assert!(made.unwrap().success());
    let mut input = scene.start(&[]);
    scene.run(&mut input);
    let log = scene.logged();
    assert!(
        log.contains("audit.log: it is a FIFO, not a regular file"),
        "{log}"
    );
}

#[test]
fn a_line_of_a_hundred_megabytes_takes_no_such_memory() {
    let mut scene = Scene::new();
    scene.append("audit.log", event(1));
    for _ in 0..100 {
        scene.append("audit.log", vec![b'x'; 1_000_000]);
    }
    scene.append("audit.log", format!("\n{}", event(2)));
    let mut input = scene.start(&[("max_event", "1M")]);
    scene.run(&mut input);
    scene.host.deliver();
    assert_eq!(ids(&scene.host.lines()), [1, 2]);
    assert!(scene.logged().contains("a line of 100000001 bytes"));
    assert!(input.reader.room() <= 4 * PIECE, "{}", input.reader.room());
}

#[test]
fn a_backlog_shows_in_the_lag_while_it_waits() {
    let mut scene = Scene::new();
    let all: String = (0..8000).map(event).collect();
    scene.append("audit-2026-11-20T08-00-00.000.log", &all);
    scene.append("audit.log", event(8000));
    let mut input = scene.start(&[("max_unacknowledged", "65536")]);
    input.looked = Duration::ZERO;
    std::thread::sleep(Duration::from_millis(1001));
    scene.run(&mut input);
    assert_eq!(input.stats.lag.files, 1);
    assert!(input.stats.lag.bytes > 500_000, "{:?}", input.stats.lag);
}
