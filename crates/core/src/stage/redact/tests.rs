//! The redaction of whole events, in both forms.

use serde_json::Value;

use super::*;
use crate::doc::convert;
use crate::event::kube::{DocumentKind, Scratch};

/// What becomes of one line with an event or a list of them.
fn redact_line(redaction: &mut Redaction, line: &str) -> String {
    let doc = Json(line.as_bytes());
    let mut scratch = Scratch::default();
    let mut event = Event::default();
    event.read(doc, 0, &mut scratch).unwrap();
    let mut edits = Edits::default();
    if let DocumentKind::EventList(items) = event.document_kind() {
        let list = event;
        let mut items = doc.open_list(items).unwrap();
        while let Some(item) = doc.next_item(&mut items).unwrap() {
            let mut event = Event::default();
            event.read(doc, item, &mut scratch).unwrap();
            event.inherit(list.api_version());
            items.next = event.end;
            redaction
                .apply(doc, &event, scratch.slots.iter().copied(), &mut edits)
                .unwrap();
        }
    } else {
        redaction
            .apply(doc, &event, scratch.slots.iter().copied(), &mut edits)
            .unwrap();
    }
    let mut out = Vec::new();
    edits
        .settle(doc)
        .apply(line.as_bytes(), 0..line.len(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_of_a_file() {
    let Ok(input) = std::env::var("REDACT_IN") else {
        return;
    };
    let mut redaction = Redaction::new(Settings::default());
    let text = std::fs::read_to_string(input).unwrap();
    let out: String = text
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| redact_line(&mut redaction, l) + "\n")
        .collect();
    std::fs::write(std::env::var("REDACT_OUT").unwrap(), out).unwrap();
}
