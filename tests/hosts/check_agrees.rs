//! What `kube-audit check` and `render` say of a start, in real hosts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kube_audit_testkit::fluent_bit::{self, FluentBit};

/// No start takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the sidecar has the log.
const FOLDER: &str = "/var/log/kubernetes/audit/";

/// What KKP would write for a fixture, with its files in a directory.
fn rendered(fixture: &Path, directory: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .arg("render")
        .arg(fixture)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let folder = format!("{}/", directory.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let config = directory.join("fluent-bit.conf");
    // Parsers are those of the image.
    let parsers = directory.join("parsers.conf");
    fs::write(&parsers, "[PARSER]\n    Name json\n    Format json\n").unwrap();
    fs::write(directory.join("audit.log"), "").unwrap();
    let text = text
        .replace(FOLDER, &folder)
        .replace("/fluent-bit/etc/", &folder);
    fs::write(&config, text).unwrap();
    config
}

/// A host, ended with the test.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a host starts; its log.
fn starts(host: &FluentBit, fixture: &Path) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let config = rendered(fixture, directory.path());
    let log = directory.path().join("log");
    let output = File::create(&log).unwrap();
    let child = Command::new(host.program())
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut child = Host(child);
    let start = Instant::now();
    loop {
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        if child.0.try_wait().unwrap().is_some() {
            return (false, text);
        }
        if text.contains("stream processor started") {
            return (true, text);
        }
        assert!(
            start.elapsed() < PATIENCE,
            "neither starts nor ends: {text}"
        );
        sleep(Duration::from_millis(20));
    }
}

fn fixture(quality: &str, code: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/fixtures/check/{quality}/{code}.yaml"))
}

#[test]
fn errors_keep_a_sidecar_from_starting() {
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        for (code, says) in [
            ("grep-without-key", "expected field and regular expression"),
            ("no-parser", "requested parser 'json' not found"),
            ("plugin-not-loaded", "plugin name"),
        ] {
            let (started, log) = starts(host, &fixture("bad", code));
            assert!(
                !started && log.contains(says),
                "{} {code}: {log}",
                host.name()
            );
        }
        for code in ["grep-without-key", "no-parser", "split-key", "retry-once"] {
            let (started, log) = starts(host, &fixture("good", code));
            assert!(started, "{} {code}: {log}", host.name());
        }
    });
}
