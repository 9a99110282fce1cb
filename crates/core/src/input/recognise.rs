//! What a record carries: its text, and the events in a map or text.

use std::ops::Range;

use crate::chunk::EventTime;
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::doc::{Doc, Kind, Malformed, Text};
use crate::event::kube::{Event, MapView, Member, Recognised, Scratch};
use crate::input::cri::Prefix;
use crate::input::{FieldPath, Slot};

/// The part of a record that holds its events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier<'a> {
    /// The record's map is the event, or a list of events.
    Map,
    /// A map in the record is.
    Inner(Slot),
    /// A text of the record holds them as JSON.
    Text(&'a Line<'a>),
}

/// The text of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// The place of the record that it is the value of.
    pub slot: Slot,
    /// The text.
    pub text: &'a [u8],
    /// The prefix of a container runtime, if there is one.
    pub prefix: Option<Prefix>,
    /// The buffer that the text is in.
    pub place: LinePlace,
}

/// The buffer that the text of a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinePlace {
    /// The record's.
    InRecord,
    /// In a buffer of its own: the line was put together from several records.
    Assembled,
}

impl<'a> Line<'a> {
    /// Finds the text in a record's map, which begins at `map`: at `key`, or by default under
    /// `log`, then `message`. With `Prefixes::Read`, a container runtime's prefix is split off.
    #[inline(always)]
    pub(crate) fn find(
        doc: Msgpack<'a>,
        map: usize,
        members: &[Member],
        key: Option<&FieldPath>,
        prefixes: Prefixes,
    ) -> Option<Line<'a>> {
        let (member, text) = match key {
            Some(key) => {
                let slot = key.find(doc, map, members).ok()??;
                return Line::at(doc, slot, prefixes);
            }
            None => {
                let log = text_member(doc, members, b"log");
                match log {
                    Some((_, text)) if may_hold_event(text.raw) => log,
                    _ => text_member(doc, members, b"message")
                        .filter(|(_, text)| log.is_none() || may_hold_event(text.raw))
                        .or(log),
                }
            }
        }?;
        let slot = Slot { owner: map, member };
        Some(Line::new(slot, text.raw, prefixes))
    }

    /// The text at a place of a record, if there is one.
    pub(crate) fn at(doc: Msgpack<'a>, slot: Slot, prefixes: Prefixes) -> Option<Line<'a>> {
        let text = doc.text_or_bin(slot.member.value).ok()?;
        Some(Line::new(slot, text.raw, prefixes))
    }

    fn new(slot: Slot, text: &'a [u8], prefixes: Prefixes) -> Line<'a> {
        let prefix = match prefixes {
            Prefixes::Read => Prefix::read(text),
            Prefixes::Ignore => None,
        };
        Line {
            slot,
            text,
            prefix,
            place: LinePlace::InRecord,
        }
    }

    /// The prefix, and the text after it.
    pub(crate) fn split(&self) -> (&'a [u8], &'a [u8]) {
        let length = self.prefix.map_or(0, |prefix| prefix.length);
        self.text
            .split_at_checked(length)
            .unwrap_or((&[], self.text))
    }

    /// The time in the line's prefix.
    pub(crate) fn time(&self) -> Option<EventTime> {
        self.prefix?.time(self.text)
    }
}

/// The treatment of container runtimes' prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefixes {
    /// A prefix is split off.
    Read,
    /// The text is JSON from its first byte on.
    Ignore,
}

/// Returns true for text that may be an event or a piece of one.
#[inline]
fn may_hold_event(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'{' | b'0'..=b'9')) || is_object(text)
}

/// Returns true for text with an object behind what does not count.
#[cold]
fn is_object(text: &[u8]) -> bool {
    text.get(start_of(text, 0)) == Some(&b'{')
}

/// The position of the first byte that counts: after white space, NUL, and a byte order
/// mark.
fn start_of(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let rest = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest);
    let blank = rest.iter().take_while(|&&byte| is_blank(byte)).count();
    text.len().saturating_sub(rest.len()).saturating_add(blank)
}

fn is_blank(byte: u8) -> bool {
    byte == 0 || byte.is_ascii_whitespace()
}

/// The last member of this name that is a text.
#[inline]
fn text_member<'a>(
    doc: Msgpack<'a>,
    members: &[Member],
    name: &[u8],
) -> Option<(Member, Text<'a>)> {
    members.iter().rev().find_map(|member| {
        if doc.key(member.start).ok()?.raw != name {
            return None;
        }
        let text = doc.text_or_bin(member.value).ok()?;
        Some((*member, text))
    })
}

/// The content of a map or text.
pub(crate) enum Content<'v, 'a> {
    /// An event.
    Event(Event<'v, 'a>),
    /// A list of events.
    List(EventList<'a>),
    /// Something else.
    Other,
    /// Something that begins like an event and cannot be read.
    Malformed,
}

/// A list of events.
pub(crate) struct EventList<'a> {
    /// `apiVersion` of the list, which is that of its items.
    pub version: Option<Text<'a>>,
    /// Start of the list of its items.
    pub at: usize,
    /// The ranges of its items.
    pub items: Vec<Range<usize>>,
}

impl<'v, 'a> Content<'v, 'a> {
    /// Recognises the map that was read into `view`.
    #[inline(always)]
    pub(crate) fn of_map<D: Doc<'a>>(doc: D, view: &'v MapView<'a>) -> Content<'v, 'a> {
        match view.recognise() {
            Recognised::Event(event) => Content::Event(event),
            Recognised::EventList(list) => match list_items(doc, list) {
                Ok(items) => Content::List(EventList {
                    version: view.api_version(),
                    at: list,
                    items,
                }),
                Err(Malformed) => Content::Malformed,
            },
            Recognised::Other => Content::Other,
        }
    }

    /// Reads the JSON after a container runtime's prefix into `view`, and recognises it.
    pub(crate) fn of_text(
        line: &'a [u8],
        prefix: Option<Prefix>,
        view: &'v mut MapView<'a>,
        scratch: &mut Scratch,
    ) -> Content<'v, 'a> {
        let doc = Json(line);
        let at = start_of(line, prefix.map_or(0, |prefix| prefix.length));
        if line.get(at) != Some(&b'{') {
            return Content::Other;
        }
        let is_blank_after = |end: usize| {
            let rest = line.get(end..).unwrap_or_default();
            rest.iter().all(|&byte| is_blank(byte))
        };
        if view.read(doc, at, scratch).is_err() || !is_blank_after(view.end) {
            return Content::Malformed;
        }
        Content::of_map(doc, view)
    }
}

/// Finds the items of a list; all of them must be maps.
fn list_items<'a, D: Doc<'a>>(doc: D, at: usize) -> Result<Vec<Range<usize>>, Malformed> {
    let mut items = Vec::new();
    let mut list = doc.open_list(at)?;
    while let Some(item) = doc.next_item(&mut list)? {
        if doc.kind(item)? != Kind::Map {
            return Err(Malformed);
        }
        list.next = doc.end(item)?;
        items.push(item..list.next);
    }
    Ok(items)
}
