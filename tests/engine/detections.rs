//! Detections in a pipeline: a log of a real API server gets the labels that the reference
//! gives it.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use kube_audit_core::chunk::{LineForm, LineSink, write_line_record};
use kube_audit_core::pipeline::{Pipeline, Settings};
use kube_audit_core::stage::detect::{
    DetectSettings, Detections, Detector, DetectorSettings, Selection,
};
use kube_audit_testkit::judge;
use serde_json::Value;

/// Labels of the log, as the reference counts them.
const IN_THE_LOG: [(&str, u64); 24] = [
    ("exec-into-pod", 3),
    ("attach-to-pod", 3),
    ("port-forward-to-pod", 3),
    ("ephemeral-container-added", 3),
    ("node-proxy", 1),
    ("secret-read", 7),
    ("secret-access-denied", 23),
    ("serviceaccount-token-requested", 3),
    ("serviceaccount-token-long-lived", 2),
    ("cluster-admin-bound", 1),
    ("wildcard-role", 1),
    ("escalation-role", 2),
    ("privileged-impersonation", 1),
    ("admission-config-changed", 1),
    ("privileged-pod", 2),
    ("host-namespace-pod", 5),
    ("sensitive-hostpath-pod", 2),
    ("dangerous-capability-pod", 2),
    ("pod-in-system-namespace", 1),
    ("namespace-deleted", 2),
    ("bulk-delete", 4),
    ("authentication-failed", 2),
    ("access-denied", 70),
    ("permission-enumeration", 3),
];

fn pipeline() -> Pipeline {
    let detector = Detector::new(
        &Selection::all(),
        &Detections::default(),
        DetectorSettings::default(),
    );
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    pipeline.set_detect(Arc::new(detector.unwrap()), DetectSettings::default());
    pipeline
}

/// The records that come of a log, one JSON object per line.
fn records(pipeline: &mut Pipeline, log: &str) -> Vec<Value> {
    let mut sink = LineSink::new(LineForm::Record);
    for line in log.lines() {
        let mut chunk = Vec::new();
        write_line_record(line.as_bytes(), &mut chunk);
        pipeline.chunk(b"", &chunk, &mut sink).unwrap();
    }
    let lines = String::from_utf8(sink.lines).unwrap();
    let records = lines.lines().map(serde_json::from_str);
    records.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_real_log_is_labelled_as_by_the_reference() {
    let Some(truth) = judge::ground_truth("no log of a real server is labelled") else {
        return;
    };
    let file = std::fs::File::open(truth.join("corpus/bulk/audit.log.gz")).unwrap();
    let mut log = String::new();
    GzDecoder::new(file).read_to_string(&mut log).unwrap();
    let mut pipeline = pipeline();
    let records = records(&mut pipeline, &log);
    assert_eq!(records.len(), 6404);
    let labelled = records
        .iter()
        .filter(|record| record.get("kube_audit_severity").is_some());
    assert_eq!(labelled.count(), 122);
    let counters = pipeline.stats().detections.iter();
    let mut found: Vec<(&str, u64)> = counters
        .filter(|counter| counter.hits > 0)
        .map(|counter| (counter.id.as_str(), counter.hits))
        .collect();
    let mut wanted = IN_THE_LOG.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let undecided = pipeline.stats().detections.iter();
    assert_eq!(undecided.map(|counter| counter.undecided).sum::<u64>(), 0);
}
