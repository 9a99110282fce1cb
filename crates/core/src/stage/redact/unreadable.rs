//! Text that looks like an audit event and cannot be read: cut lines, and events glued
//! together.
//!
//! The API server writes all attributes of an event before its bodies. So the text up to
//! the first body tells who did what, and has no secrets but those in URIs.

use std::ops::Range;

use crate::input::assemble::PiecePlace;
use crate::stage::redact::list::List;
use crate::stage::redact::mark::MARK;
use crate::stage::redact::scan::{find, find_all, from, holds, run};
use crate::stage::redact::spans::Spans;
use crate::stage::redact::{Redactor, net};

/// Keys at which the text ends: their values may be, or quote, secrets.
const ENDS: List = List(r#""requestObject "responseObject "annotations "message user-assertion"#);

/// The beginning of an event that the API server has written.
const BEGINNING: &[u8] = b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/";

/// True if a text that cannot be read was an audit event.
pub(crate) fn looks_like_event(text: &[u8]) -> bool {
    holds(text, b"auditID") || holds(text, b"audit.k8s.io/")
}

/// True if a text that does not begin like an event may be the rest of one: it has members
/// that the API server writes after the bodies, or is JSON from the inside of a line. An
/// object that could be read is something else.
pub(crate) fn is_rest_of_event(text: &[u8], piece: Option<PiecePlace>) -> bool {
    if text.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let has = |needle: &[u8]| holds(text, needle);
    has(b"Timestamp\":\"") && (has(b"\"stageTimestamp\":") || has(b"\"requestReceivedTimestamp\":"))
        || piece == Some(PiecePlace::Inside) && has(b"\":")
}

/// The parts of a text that begin like events, and the text before the first of them.
pub(crate) fn events_in(text: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let begins = find_all(text, BEGINNING).filter(|at| *at > 0);
    let mut begin = 0;
    begins.chain([text.len()]).map(move |end| {
        let part = begin..end;
        begin = end;
        part
    })
}

/// Appends the part of an event that cannot be read which is kept, and a mark.
pub(crate) fn cut(text: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let ends = ENDS.words().filter_map(|end| find(text, 0, end));
    let end = ends.min().unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    let mut spans = Spans::default();
    if let Some(query) = query(text) {
        spans.add(query, Redactor::Uri);
    }
    net::catch(text, &mut spans);
    let mut at = 0;
    for span in spans.settle(text, 0) {
        out.extend_from_slice(text.get(at..span.at.start).unwrap_or_default());
        out.extend_from_slice(MARK);
        at = span.at.end;
    }
    out.extend_from_slice(from(text, at));
    if !from(out, begin).ends_with(b" REDACTED") {
        out.push(b' ');
        out.extend_from_slice(MARK);
    }
}

/// The query of the request's URI.
fn query(text: &[u8]) -> Option<Range<usize>> {
    const KEY: &[u8] = b"\"requestURI\"";
    let key_end = find(text, 0, KEY)?.checked_add(KEY.len())?;
    let uri = find(text, key_end, b"\"")?.checked_add(1)?;
    let end = run(text, uri, |byte| byte != b'"');
    let question = run(text, uri, |byte| byte != b'?');
    (question < end).then(|| question.saturating_add(1)..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> String {
        let mut out = Vec::new();
        cut(text.as_bytes(), &mut out);
        let out = String::from_utf8(out).unwrap();
        let mut again = Vec::new();
        cut(out.as_bytes(), &mut again);
        assert_eq!(String::from_utf8(again).unwrap(), out, "a second time");
        out
    }

    #[test]
    fn text_ends_before_the_first_body() {
        for (text, want) in [
            (
                r#"{"auditID":"a","requestURI":"/x?a=b","verb":"get","requestObject":{"a":"b"#,
                r#"{"auditID":"a","requestURI":"/x?REDACTED","verb":"get", REDACTED"#,
            ),
            (
                r#"{"auditID":"a","requestURI":"/x?a=b\u0026c=d"#,
                r#"{"auditID":"a","requestURI":"/x?REDACTED REDACTED"#,
            ),
            (
                r#"{"auditID":"a","responseStatus":{"message":"x"#,
                r#"{"auditID":"a","responseStatus":{ REDACTED"#,
            ),
            (
                r#"{"auditID":"a","annotations" : {"#,
                r#"{"auditID":"a", REDACTED"#,
            ),
            (
                r#"{"auditID":"a","userAgent":"https://u:p@h"#,
                r#"{"auditID":"a","userAgent":"https://u:REDACTED@h REDACTED"#,
            ),
        ] {
            assert_eq!(left(text), want);
        }
    }

    #[test]
    fn rests_of_events_are_known() {
        let inside = Some(PiecePlace::Inside);
        assert!(is_rest_of_event(b"data\":{\"p\":\"x\"},", inside));
        assert!(!is_rest_of_event(b"data\":{\"p\":\"x\"},", None));
        assert!(!is_rest_of_event(b"a long line of another program", inside));
        let other = br#" {"auditID":"a","stage":"b","stageTimestamp":"2026"}"#;
        assert!(!is_rest_of_event(other, None));
        assert!(is_rest_of_event(
            b"x\"}},\"stageTimestamp\":\"2026\"}",
            None
        ));
    }

    #[test]
    fn glued_events_are_taken_apart() {
        let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1"}"#;
        let text = format!("{event}{{\"x{event}");
        let parts: Vec<&str> = events_in(text.as_bytes()).map(|part| &text[part]).collect();
        assert_eq!(parts, [&format!("{event}{{\"x"), event]);
        assert!(looks_like_event(text.as_bytes()));
        assert!(!looks_like_event(b"{\"level\":\"info\""));
    }
}
