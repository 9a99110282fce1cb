//! What a text holds: an event, a list of them, or something else.

use crate::doc::json::Json;
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{DocumentKind, Event, Scratch};
use crate::input::cri::Prefix;

/// What a text holds.
pub enum TextDocument {
    /// An event.
    Event,
    /// A list of events: the places of its items and their ends.
    List(Vec<(usize, usize)>),
    /// No event.
    Other,
    /// Something that begins like an event and cannot be read.
    Malformed,
}

impl TextDocument {
    /// Reads the text behind a container runtime's prefix into `event`.
    pub fn read<'a>(
        line: &'a [u8],
        prefix: Option<Prefix>,
        event: &mut Event<'a>,
        scratch: &mut Scratch,
    ) -> TextDocument {
        let json = Json(line);
        let at = json.solid(prefix.map_or(0, |prefix| prefix.length));
        if line.get(at) != Some(&b'{') {
            return TextDocument::Other;
        }
        if event.read(json, at, scratch).is_err() || json.solid(event.end) != line.len() {
            return TextDocument::Malformed;
        }
        match event.document_kind() {
            DocumentKind::Event => TextDocument::Event,
            DocumentKind::EventList(items) => match list_items(json, items) {
                Ok(items) => TextDocument::List(items),
                Err(Malformed) => TextDocument::Malformed,
            },
            DocumentKind::Other => TextDocument::Other,
        }
    }
}

/// Where a list's items begin and end; all of them must be maps.
pub fn list_items<'a, T: Doc<'a>>(tree: T, at: usize) -> Result<Vec<(usize, usize)>, Malformed> {
    let mut items = Vec::new();
    let mut list = tree.open_list(at)?;
    while let Some(item) = tree.next_item(&mut list)? {
        if tree.kind(item)? != Kind::Map {
            return Err(Malformed);
        }
        list.next = tree.end(item)?;
        items.push((item, list.next));
    }
    Ok(items)
}
