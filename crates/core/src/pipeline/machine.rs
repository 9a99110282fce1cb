//! Linux audit records: found in records, held until their event is complete, and written in
//! the shape that is wanted. The policy, detections and redaction are about Kubernetes, and do
//! not apply to them.

use kube_audit_machine::{
    Content, Form, Found, Group, Grouper, Part, Slim, Source, Taken, write_event,
};

use crate::bytes::equal;
use crate::chunk::{EventTime, Origin, Original, Record, Sink};
use crate::doc::convert;
use crate::doc::edit::Cause;
use crate::doc::json::Json;
use crate::doc::msgpack::{self, Msgpack};
use crate::doc::{Doc, Malformed};
use crate::event::kube::{MapView, Member, Scratch};
use crate::input::FieldPath;
use crate::input::recognise::Carrier;
use crate::stage::select::{Subject, Whole};
use crate::stats;

use super::settings::{EventTimeSource, MachineAudit, OutputShape};
use super::write::{Extent, Place, Writer};

/// Finds audit records, and holds those whose event is not complete.
#[derive(Default)]
pub(super) struct Machine {
    grouper: Grouper,
    /// Members of a record that was held.
    held: Scratch,
    event: Event,
}

/// The event that is written. Its buffers are grown once, then reused.
#[derive(Default)]
struct Event {
    json: Vec<u8>,
    scratch: Scratch,
}

impl Machine {
    /// Handles a record if it is an audit record. Without a tag none is held.
    pub(super) fn record(
        &mut self,
        place: &Place<'_>,
        tag: Option<&[u8]>,
        writer: &mut Writer,
        sink: &mut dyn Sink,
    ) -> bool {
        let Some((found, text)) = find(place, writer) else {
            return false;
        };
        stats::count(&mut writer.stats.machine_records);
        let part = Part {
            header: found.header,
            text: &found.text,
        };
        let mut done = Vec::new();
        let taken = match (tag, writer.settings.machine_audit) {
            (Some(tag), MachineAudit::Events) => {
                let record = place.original.whole();
                self.grouper.take(tag, &part, record, &mut done)
            }
            _ => Taken::Alone,
        };
        self.groups(&done, writer, sink);
        match taken {
            Taken::Held => sink.leave_out(place.original),
            Taken::Alone => self
                .event
                .write(place, text, &[part], part.text, writer, sink),
        }
        true
    }

    /// Writes the events under a tag that need not wait for the next chunk.
    pub(super) fn end_of_chunk(&mut self, tag: &[u8], writer: &mut Writer, sink: &mut dyn Sink) {
        let mut done = Vec::new();
        self.grouper.end_of_chunk(tag, &mut done);
        self.groups(&done, writer, sink);
    }

    /// Writes all events under a tag.
    pub(super) fn release(&mut self, tag: &[u8], writer: &mut Writer, sink: &mut dyn Sink) {
        let mut done = Vec::new();
        self.grouper.release(tag, &mut done);
        self.groups(&done, writer, sink);
    }

    /// The number of records that are held.
    pub(super) fn held(&self) -> usize {
        self.grouper.held()
    }

    fn groups(&mut self, groups: &[Group], writer: &mut Writer, sink: &mut dyn Sink) {
        for group in groups {
            let bytes = &group.record[..];
            let Ok(record) = Record::read(bytes, 0) else {
                continue;
            };
            let original = Original {
                bytes,
                record: &record,
                origin: Origin::Withheld,
            };
            let mut map = MapView::default();
            let read = map.read(Msgpack(bytes), record.body, &mut self.held);
            let place = Place {
                original,
                map: &map,
                members: &self.held.members,
                carrier: Carrier::Map,
            };
            // It was read and found before.
            if let (Ok(()), Some((_, text))) = (read, find(&place, writer)) {
                let (parts, texts) = (group.parts(), &group.texts);
                self.event.write(&place, text, &parts, texts, writer, sink);
            }
        }
    }
}

/// Finds the audit record among the members of a record, and the member with its text.
fn find<'p>(place: &Place<'p>, writer: &Writer) -> Option<(Found<'p>, Member)> {
    let doc = Msgpack(place.original.bytes);
    let key = writer.settings.log_key.as_ref().map(FieldPath::first);
    let mut source = Source::new(key);
    for (number, member) in place.members.iter().enumerate() {
        let name = doc.key(member.start).ok()?.raw;
        let text = doc.value(member.value).ok()?.0;
        source.see(number, name, text.map(|text| text.raw));
    }
    let found = source.find()?;
    let member = *place.members.get(found.field)?;
    Some((found, member))
}

impl Event {
    /// Writes the event that records make: `place` is the first one, whose text is `text`, and
    /// `texts` are those of all.
    fn write(
        &mut self,
        place: &Place<'_>,
        text: Member,
        parts: &[Part<'_>],
        texts: &[u8],
        writer: &mut Writer,
        sink: &mut dyn Sink,
    ) {
        let Some(first) = parts.first() else {
            return sink.keep(place.original);
        };
        let settings = &writer.settings;
        let has_conditions = !writer.stages.select.conditions.is_empty();
        let slim = match settings.machine_audit_slim {
            true => Slim::On,
            false => Slim::Off,
        };
        self.json.clear();
        if write_event(parts, slim, &mut self.json) == Content::Nothing {
            stats::count(&mut writer.stats.machine_ends);
            // Its event is gone: only raw logs that are whole have a use for it.
            return match settings.output_shape {
                OutputShape::Keep if !has_conditions => sink.keep(place.original),
                _ => sink.leave_out(place.original),
            };
        }
        if has_conditions && !self.holds(place, writer) {
            stats::count(&mut writer.stats.machine_excluded);
            return sink.leave_out(place.original);
        }
        let time = match settings.event_time {
            EventTimeSource::Keep => None,
            EventTimeSource::Stage | EventTimeSource::Received => time_of(first.header.millis),
        };
        stats::count(&mut writer.stats.machine_kept);
        let is_journal = first.header.form == Form::Journal;
        let written = match settings.output_shape {
            OutputShape::Keep if parts.len() == 1 => {
                writer.record_edits.clear();
                writer.write_record(place, time, Extent::Whole, sink)
            }
            OutputShape::Keep => {
                writer.record_edits.clear();
                let value = text.value..text.end;
                writer
                    .record_edits
                    .replace_value(value, Cause::Shape, |out| Msgpack::write_text(out, texts));
                writer.write_record(place, time, Extent::Item, sink)
            }
            OutputShape::Map => self
                .unfold(place, text, is_journal, writer)
                .and_then(|()| writer.write_built(place, time, sink)),
            OutputShape::Json => self
                .fold(place, text, is_journal, writer)
                .and_then(|()| writer.write_built(place, time, sink)),
        };
        // JSON that was just written, and a record that was read, can be written again.
        if let Err(Malformed) = written {
            sink.keep(place.original);
        }
    }

    /// Returns whether the conditions hold for the event.
    fn holds(&mut self, place: &Place<'_>, writer: &Writer) -> bool {
        let doc = Json(&self.json);
        // What cannot be read stays.
        if MapView::default().read(doc, 0, &mut self.scratch).is_err() {
            return true;
        }
        let record = Msgpack(place.original.bytes);
        writer.stages.select.holds(&Subject {
            whole: Whole::Value(doc.into(), 0),
            fields: &[
                (doc.into(), &self.scratch.members),
                (record.into(), place.members),
            ],
        })
    }

    /// Builds a body of the event's fields and the other members of the record.
    fn unfold(
        &mut self,
        place: &Place<'_>,
        text: Member,
        is_journal: bool,
        writer: &mut Writer,
    ) -> Result<(), Malformed> {
        let built = &mut writer.built;
        built.clear();
        convert::json_to_msgpack(Json(&self.json), 0, &mut built.converted)?;
        let event = Msgpack(&built.converted);
        let mut map = MapView::default();
        map.read(event, 0, &mut self.scratch)?;
        let own = &self.scratch.members;
        let is_own = |name: &[u8]| {
            let mut keys = own.iter().filter_map(|member| event.key(member.start).ok());
            keys.any(|key| equal(key.raw, name))
        };
        let others = others(place, text, is_journal, &is_own);
        msgpack::write_map_head(&mut built.body, own.len().saturating_add(others.len()));
        let start = own.first().map_or(map.end, |member| member.start);
        let members = built.converted.get(start..map.end).unwrap_or_default();
        built.body.extend_from_slice(members);
        append(place, &others, &mut built.body);
        Ok(())
    }

    /// Builds a body that holds the event as JSON text, and the other members of the record.
    fn fold(
        &mut self,
        place: &Place<'_>,
        text: Member,
        is_journal: bool,
        writer: &mut Writer,
    ) -> Result<(), Malformed> {
        let key = writer.settings.text_key();
        let others = others(place, text, is_journal, &|name| name == key);
        let built = &mut writer.built;
        built.clear();
        msgpack::write_map_head(&mut built.body, others.len().saturating_add(1));
        Msgpack::write_key(&mut built.body, key);
        Msgpack::write_text(&mut built.body, &self.json);
        append(place, &others, &mut built.body);
        Ok(())
    }
}

/// The members of a record that its event does not say: neither the text nor what journald
/// makes of it, and none whose name the event has.
fn others(
    place: &Place<'_>,
    text: Member,
    is_journal: bool,
    is_own: &dyn Fn(&[u8]) -> bool,
) -> Vec<Member> {
    let doc = Msgpack(place.original.bytes);
    let stays = |member: &&Member| {
        let name = doc.key(member.start).map_or(&[][..], |key| key.raw);
        member.start != text.start && !(is_journal && is_copy(name)) && !is_own(name)
    };
    place.members.iter().filter(stays).copied().collect()
}

fn append(place: &Place<'_>, members: &[Member], body: &mut Vec<u8>) {
    for member in members {
        let member = place.original.bytes.get(member.start..member.end);
        body.extend_from_slice(member.unwrap_or_default());
    }
}

/// Fields that journald makes of an audit record, without `AUDIT_` and all in small letters.
const COPIES: [&[u8]; 8] = [
    b"pid",
    b"uid",
    b"gid",
    b"comm",
    b"exe",
    b"cmdline",
    b"tty",
    b"selinux_context",
];

/// Returns whether journald made a field of the audit record's text.
fn is_copy(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"_").unwrap_or(name);
    let is_audit = name
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"audit_"));
    is_audit || COPIES.iter().any(|copy| copy.eq_ignore_ascii_case(name))
}

fn time_of(millis: u64) -> Option<EventTime> {
    let nanoseconds = millis.checked_rem(1000)?.checked_mul(1_000_000)?;
    Some(EventTime {
        seconds: u32::try_from(millis.checked_div(1000)?).ok()?,
        nanoseconds: u32::try_from(nanoseconds).ok()?,
    })
}
