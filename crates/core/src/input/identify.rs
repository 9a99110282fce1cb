//! Which event an entry holds, for a word about it.

use crate::chunk::record::Record;
use crate::doc::msgpack::Msgpack;
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{Event, Scratch};
use crate::input::cri::Prefix;
use crate::input::recognise::TextDocument;

/// The `auditID` of the event that is the body of an entry, or the text of one of
/// its members.
pub fn audit_id(entry: &[u8]) -> Option<String> {
    find(entry).ok().flatten()
}

fn find(entry: &[u8]) -> Result<Option<String>, Malformed> {
    let body = Record::read(entry, 0)?.body;
    let (tree, mut scratch) = (Msgpack(entry), Scratch::default());
    let id = |event: &Event<'_>| {
        let id = event.audit_id()?;
        Some(String::from_utf8_lossy(&id.value()).into_owned())
    };
    let mut event = Event::default();
    event.read(tree, body, &mut scratch)?;
    if let Some(id) = id(&event) {
        return Ok(Some(id));
    }
    let mut map = tree.open_map(body)?;
    while let Some(member) = tree.next_member(&mut map)? {
        map.next = tree.end(member.value)?;
        if tree.kind(member.value)? != Kind::Text {
            continue;
        }
        let line = tree.text(member.value)?.0.raw;
        let text = TextDocument::read(line, Prefix::read(line), &mut event, &mut scratch);
        if let TextDocument::Event = text
            && let Some(id) = id(&event)
        {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_maps_and_as_texts() {
        let text = br#"{"kind":"Event","auditID":"a-1","stage":"Panic"}"#;
        let text = [&[b'\xd9', text.len() as u8][..], text].concat();
        let cases: [(&[&[u8]], Option<&str>); 5] = [
            (
                &[b"\x92\x01\x82\xa7auditID\xa3a-1\xa5stage\xa5Panic"],
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
