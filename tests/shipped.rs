//! Every file of `fluent-bit-conf/`, run as shipped: in a root directory laid out
//! like the official image, made of a private mount namespace.
#[path = "common/fluent_bit.rs"]
mod fluent_bit;
#[path = "common/library.rs"]
mod library;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fluent_bit::FluentBit;
use serde_json::Value;

/// No start and no delivery takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The image: the host's program, the plugin under both names, the shipped
/// configuration, and an audit log.
struct Image {
    root: tempfile::TempDir,
}

impl Image {
    fn new(host: &FluentBit) -> Image {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in [
            "usr",
            "dev",
            "proc",
            "tmp",
            "etc",
            "fluent-bit/bin",
            "fluent-bit/etc",
            "fluent-bit/plugins",
            "var/log/kubernetes/audit",
            "var/lib/fluent-bit",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for link in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), at(link)).unwrap();
        }
        fs::copy(host.program(), at("fluent-bit/bin/fluent-bit")).unwrap();
        fs::copy(
            library::library(),
            at("fluent-bit/plugins/libkube_audit.so"),
        )
        .unwrap();
        symlink(
            "libkube_audit.so",
            at("fluent-bit/plugins/flb-filter_kube_audit.so"),
        )
        .unwrap();
        let shipped = shipped();
        for entry in fs::read_dir(&shipped).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, at("fluent-bit/etc").join(path.file_name().unwrap())).unwrap();
            }
        }
        fs::copy(
            shipped.join("sample/audit.log"),
            at("var/log/kubernetes/audit/audit.log"),
        )
        .unwrap();
        Image { root }
    }

    /// Starts the host with a shipped configuration.
    fn start(&self, config: &str) -> Running {
        let log = self.root.path().join(format!("tmp/{config}.log"));
        let output = File::create(&log).unwrap();
        let child = Command::new("unshare")
            .args([
                "-rm",
                "sh",
                "-c",
                "for d in usr dev proc; do mount --rbind /$d $d || exit; done; exec chroot . \"$@\"",
                "sh",
            ])
            .args(["/fluent-bit/bin/fluent-bit", "-c"])
            .arg(format!("/fluent-bit/etc/{config}"))
            .current_dir(self.root.path())
            .env("CLUSTER_ID", "c-1")
            .env("AGGREGATOR", "127.0.0.1:24224")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Running { child, log }
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fluent-bit-conf")
}

struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The records on standard output.
    fn records(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Running) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "no {what} in:\n{}", self.log());
            sleep(Duration::from_millis(50));
        }
    }

    fn stop(mut self) {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events in records, as text under `log` or as the record itself.
fn events(records: &[Value]) -> Vec<Value> {
    let event = |record: &Value| match record.get("log").and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).ok(),
        None => Some(record.clone()),
    };
    records
        .iter()
        .filter_map(event)
        .filter(|event| event.get("auditID").is_some())
        .collect()
}

fn has_secret(events: &[Value]) -> bool {
    events.iter().any(|event| {
        event["objectRef"]["resource"] == "secrets" && event.get("responseObject").is_some()
    })
}

#[test]
fn each_configuration_works_as_shipped() {
    let private = Command::new("unshare").args(["-rm", "true"]).status();
    if !private.is_ok_and(|status| status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no private mounts here (unshare -rm), shipped files are not run"
        );
        return;
    }
    // One after the other: they use the port that they name.
    let port = Mutex::new(());
    fluent_bit::in_each((1, 9, 3), |host| {
        let _one_at_a_time = port.lock().unwrap_or_else(PoisonError::into_inner);
        let image = Image::new(host);
        let aggregator = image.start("aggregator.conf");
        aggregator.wait_for("listener", |aggregator| {
            aggregator.log().contains("listening on")
        });

        // Policy `recommended`: three RequestReceived of fourteen lines go.
        let forward = image.start("forward.conf");
        aggregator.wait_for("records", |aggregator| aggregator.records().len() >= 11);
        forward.stop();
        let records = aggregator.records();
        assert_eq!(records.len(), 11, "{}", host.name());
        assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        assert_eq!(events(&records).len(), 10);
        assert!(!has_secret(&events(&records)));

        if host.version >= (3, 2, 0) {
            let processor = image.start("processor.yaml");
            aggregator.wait_for("more records", |aggregator| {
                aggregator.records().len() >= 22
            });
            processor.stop();
            let records = aggregator.records();
            assert_eq!(
                events(&records[..11]),
                events(&records[11..]),
                "{}",
                host.name()
            );
            assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        }
        aggregator.stop();

        // Policy file: leases, probes, watches of controllers and RequestReceived go.
        let filter = image.start("filter.conf");
        filter.wait_for("records", |filter| filter.records().len() >= 6);
        let records = filter.records();
        filter.stop();
        assert_eq!(records.len(), 6, "{}: {records:#?}", host.name());
        assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        let events = events(&records);
        assert!(!has_secret(&events));
        let body = |event: &Value| {
            event.get("requestObject").is_some() && event.get("responseObject").is_none()
        };
        assert_eq!(events.iter().filter(|event| body(event)).count(), 2);
        assert!(!filter_text(&records).contains("managedFields"));
    });
}

fn filter_text(records: &[Value]) -> String {
    records.iter().map(Value::to_string).collect()
}
