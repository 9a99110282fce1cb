//! The audit ID of the event in an entry, for log lines about the entry.

use crate::chunk::Record;
use crate::doc::msgpack::Msgpack;
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{MapView, Recognised, Scratch};
use crate::input::cri::Prefix;
use crate::input::recognise::Content;

/// The `auditID` of the event that is the body of an entry, or the text of one of
/// its members.
pub fn audit_id(entry: &[u8]) -> Option<String> {
    find(entry).ok().flatten()
}

fn find(entry: &[u8]) -> Result<Option<String>, Malformed> {
    let body = Record::read(entry, 0)?.body;
    let (doc, mut scratch) = (Msgpack(entry), Scratch::default());
    let mut view = MapView::default();
    view.read(doc, body, &mut scratch)?;
    if let Recognised::Event(event) = view.recognise() {
        return Ok(event.audit_id().map(|id| id.to_string()));
    }
    let mut map = doc.open_map(body)?;
    while let Some(member) = doc.next_member(&mut map)? {
        map.next = doc.end(member.value)?;
        let mut view = MapView::default();
        let content = match doc.kind(member.value)? {
            Kind::Text => {
                let line = doc.text(member.value)?.0.raw;
                Content::of_text(line, Prefix::read(line), &mut view, &mut scratch)
            }
            Kind::Map => {
                view.read(doc, member.value, &mut scratch)?;
                Content::of_map(doc, &view)
            }
            _ => continue,
        };
        if let Content::Event(event) = content
            && let Some(id) = event.audit_id()
        {
            return Ok(Some(id.to_string()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_maps_and_as_texts() {
        let text = br#"{"level":"Request","auditID":"a-1","stage":"Panic"}"#;
        let text = [&[b'\xd9', text.len() as u8][..], text].concat();
        let cases: [(&[&[u8]], Option<&str>); 6] = [
            (
                &[b"\x92\x01\x83\xa5level\xa7Request\xa7auditID\xa3a-1\xa5stage\xa5Panic"],
                Some("a-1"),
            ),
            (
                &[
                    b"\x92\x01\x82\xa1m\x80\xa1n\x83\xa5level\xa7Request\xa7auditID\xa3a-1\xa5stage\xa5Panic",
                ],
                Some("a-1"),
            ),
            (
                &[b"\x92\x92\x01\x80\x82\xa1n\x01\xa3log", &text],
                Some("a-1"),
            ),
            (&[b"\x92\x01\x81\xa3log\xa2{}"], None),
            (&[b"\x92\x01\x81\xa3log\x07"], None),
            (&[b"\x92\x01\x81\xa3log"], None),
        ];
        for (entry, id) in cases {
            let entry = entry.concat();
            assert_eq!(audit_id(&entry).as_deref(), id, "{entry:x?}");
        }
    }
}
