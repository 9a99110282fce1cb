//! Whole events against detections, in both forms of documents.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::doc::convert::json_to_msgpack;
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;

/// Ids of the detections that fire, and of those that are undecided.
type Found = (Vec<String>, Vec<String>);

fn found<'a, D: Scalar<'a>>(detector: &Detector, doc: D, labels: &mut Labels) -> Found {
    let (mut event, mut scratch) = (Event::default(), Scratch::default());
    event.read(doc, 0, &mut scratch).unwrap();
    detector.evaluate(doc, &event, &scratch, labels);
    let id = |place| detector.detection(place).unwrap().id().to_owned();
    (
        labels.hits().map(id).collect(),
        labels.undecided().map(id).collect(),
    )
}

/// Evaluates an event in both forms, which must agree.
fn evaluate(detector: &Detector, event: &str) -> Found {
    let mut msgpack = Vec::new();
    json_to_msgpack(Json(event.as_bytes()), 0, &mut msgpack).unwrap();
    let mut labels = Labels::default();
    let text = found(detector, Json(event.as_bytes()), &mut labels);
    let map = found(detector, Msgpack(&msgpack), &mut labels);
    assert_eq!(text, map, "the forms differ for {event}");
    text
}

fn all() -> Detector {
    Detector::new(
        &Selection::all(),
        &Detections::default(),
        DetectorSettings::default(),
    )
    .unwrap()
}

fn sorted(ids: &Value) -> Vec<String> {
    let ids = ids.as_array().into_iter().flatten();
    let mut ids: Vec<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn handed_vectors() {
    let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH").map(PathBuf::from) else {
        eprintln!("SKIPPED: KUBE_AUDIT_GROUND_TRUTH is not set, only own events are checked");
        return;
    };
    let text = std::fs::read_to_string(truth.join("vectors/detections.jsonl")).unwrap();
    let detector = all();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in text.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        // The event as it is written: its members must keep their order.
        let (mut hits, mut undecided) = evaluate(&detector, &vector["event"].to_string());
        hits.sort();
        undecided.sort();
        count += 1;
        let undecided_wrong = vector
            .get("undecided")
            .is_some_and(|want| sorted(want) != undecided);
        if sorted(&vector["want"]) != hits || undecided_wrong {
            wrong.push(format!(
                "{}: want {} {}, found {hits:?} {undecided:?}: {}",
                vector["id"], vector["want"], vector["undecided"], vector["why"]
            ));
        }
    }
    assert!(count > 200, "{count} vectors");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
