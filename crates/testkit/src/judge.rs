//! Judges from outside: real hosts, private mounts, recordings of a real API server.
//!
//! A test whose judge is not on this machine is skipped, and says so on stderr, past the
//! capture of the test harness. `KUBE_AUDIT_REQUIRE_HOSTS` makes that a failure.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;

/// The versions of Fluent Bit that this run must have: `KUBE_AUDIT_REQUIRE_HOSTS`,
/// separated by commas.
pub fn required_hosts() -> Vec<String> {
    let list = std::env::var("KUBE_AUDIT_REQUIRE_HOSTS").unwrap_or_default();
    let versions = list.split(',').map(str::trim);
    versions
        .filter(|version| !version.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Says that the running test is skipped, or a part of it, and why.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    say(&format!(
        "SKIPPED {}: {reason}",
        thread.name().unwrap_or("a test")
    ));
}

/// The directory with all recordings of a real API server, as `KUBE_AUDIT_GROUND_TRUTH`
/// names it; without it `missing` is skipped.
///
/// # Panics
///
/// If the variable names something that is not a directory.
pub fn ground_truth(missing: &str) -> Option<PathBuf> {
    let Some(path) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH").map(PathBuf::from) else {
        skip(&format!("KUBE_AUDIT_GROUND_TRUTH is not set: {missing}"));
        return None;
    };
    assert!(
        path.is_dir(),
        "KUBE_AUDIT_GROUND_TRUTH is not a directory: {}",
        path.display()
    );
    Some(path)
}

/// Writes a line to stderr past the capture of the test harness, which hides what passing
/// tests print; the same line only once.
pub fn say(line: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().expect("nothing here panics");
    if said.insert(line.to_owned()) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}
