//! Where the records that stay are written.

use std::ops::Range;

use crate::chunk::record::{EventTime, Record, RecordKind};
use crate::doc::convert;
use crate::doc::msgpack::{self, Msgpack};
use crate::doc::{Doc, Kind};

/// A record as it came.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// The buffer that it is in.
    pub bytes: &'a [u8],
    /// Place of the record in the buffer.
    pub record: &'a Record,
    /// The origin of the buffer.
    pub origin: Origin,
}

/// The origin of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the chunk in work.
    Chunk,
    /// From an earlier chunk, or earlier in this one: it was withheld, and left out there.
    Withheld,
}

impl<'a> Original<'a> {
    /// The record, framing included.
    pub fn whole(self) -> &'a [u8] {
        let Record { at, end, .. } = *self.record;
        self.bytes.get(at..end).unwrap_or_default()
    }

    /// The record's body.
    pub fn body(self) -> &'a [u8] {
        let Record { body, end, .. } = *self.record;
        self.bytes.get(body..end).unwrap_or_default()
    }
}

/// Takes what becomes of each record, in order. Each record of a chunk is announced, and
/// then kept, left out, or replaced by any number of records; records that were withheld
/// may come in front of it.
pub trait Sink {
    /// Announces the next record of the chunk.
    fn begin(&mut self, record: &Record);
    /// Keeps a record as it is.
    fn keep(&mut self, original: Original<'_>);
    /// Leaves a record out.
    fn leave_out(&mut self, original: Original<'_>);
    /// Announces that what comes next follows all records before a position.
    fn end(&mut self, _position: usize) {}
    /// Writes a record in the place of one: with the body that `body` appends, and with
    /// `time` where that is not the record's own.
    fn write(
        &mut self,
        original: Original<'_>,
        time: Option<EventTime>,
        body: &mut dyn FnMut(&mut Vec<u8>),
    );
}

/// The chunk with its changes, for a filter. Costs nothing as long as nothing changes.
#[derive(Debug)]
pub struct ChunkSink<'a> {
    chunk: &'a [u8],
    /// Bytes to reserve when the chunk changes.
    capacity: usize,
    /// Start of the record in work.
    position: usize,
    /// Up to where the chunk has been copied or left out.
    settled: usize,
    changed: bool,
    out: Vec<u8>,
}

impl<'a> ChunkSink<'a> {
    /// For the records of a chunk, which is expected to take `capacity` bytes when it has
    /// changed: what is not written to costs no memory, but growing costs a copy.
    pub fn new(chunk: &'a [u8], capacity: usize) -> ChunkSink<'a> {
        ChunkSink {
            chunk,
            capacity,
            position: 0,
            settled: 0,
            changed: false,
            out: Vec::new(),
        }
    }

    /// The changed chunk, or `None` if it stays as it is.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if !self.changed {
            return None;
        }
        self.settle(self.chunk.len());
        Some(self.out)
    }

    fn settle(&mut self, upto: usize) {
        if let Some(same) = self.chunk.get(self.settled..upto) {
            self.out.extend_from_slice(same);
            self.settled = upto;
        }
    }

    /// Gets ready to write in the place of a record.
    fn change(&mut self, original: Original<'_>) {
        if !self.changed {
            self.out.reserve(self.capacity);
            self.changed = true;
        }
        self.settle(self.position);
        if original.origin == Origin::Chunk {
            self.settled = original.record.end;
        }
    }
}

impl Sink for ChunkSink<'_> {
    fn begin(&mut self, record: &Record) {
        self.position = record.at;
    }

    fn end(&mut self, position: usize) {
        self.position = position;
    }

    fn keep(&mut self, original: Original<'_>) {
        if original.origin == Origin::Withheld {
            self.change(original);
            self.out.extend_from_slice(original.whole());
        }
    }

    fn leave_out(&mut self, original: Original<'_>) {
        if original.origin == Origin::Chunk {
            self.change(original);
        }
    }

    fn write(
        &mut self,
        original: Original<'_>,
        time: Option<EventTime>,
        body: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        self.change(original);
        let Original { bytes, record, .. } = original;
        let copy = |range: Range<usize>, out: &mut Vec<u8>| {
            out.extend_from_slice(bytes.get(range).unwrap_or_default());
        };
        match time {
            None => copy(record.at..record.body, &mut self.out),
            Some(time) => {
                copy(record.at..record.time.start, &mut self.out);
                time.write(&mut self.out);
                copy(record.time.end..record.body, &mut self.out);
            }
        }
        body(&mut self.out);
    }
}

/// The form of an entry's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryTime {
    /// As the extension that keeps nanoseconds.
    #[default]
    EventTime,
    /// As whole seconds, for receivers such as Fluentd up to 0.12.
    Seconds,
}

/// The treatment of a record's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryMetadata {
    /// Entries have none: `[time, map]`. Every receiver takes that.
    #[default]
    Drop,
    /// Entries have it: `[[time, metadata], map]`. Fluent Bit 2.1 and later takes
    /// that; Fluentd 1.19 acknowledges and loses such entries.
    Retain,
}

/// The form of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryForm {
    /// Their times.
    pub time: EntryTime,
    /// Their metadata.
    pub metadata: EntryMetadata,
}

/// The records as entries one after the other, for the Forward protocol. Group
/// markers are left out.
#[derive(Debug, Default)]
pub struct EntrySink {
    form: EntryForm,
    /// The entries.
    pub entries: Vec<u8>,
    /// The end of each entry.
    pub ends: Vec<usize>,
    /// Records left out because they are not a pair of time and map: receivers stop reading
    /// at such a record.
    pub unreadable: usize,
}

impl EntrySink {
    /// For entries of this form, which are expected to take `capacity` bytes: what is not
    /// written to costs no memory, but growing costs a copy.
    pub fn new(form: EntryForm, capacity: usize) -> EntrySink {
        EntrySink {
            form,
            entries: Vec::with_capacity(capacity),
            ..EntrySink::default()
        }
    }
}

impl Sink for EntrySink {
    fn begin(&mut self, _: &Record) {}

    fn keep(&mut self, original: Original<'_>) {
        self.write(original, None, &mut |out| {
            out.extend_from_slice(original.body())
        });
    }

    fn leave_out(&mut self, _: Original<'_>) {}

    fn write(
        &mut self,
        original: Original<'_>,
        time: Option<EventTime>,
        body: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        let Original { bytes, record, .. } = original;
        let own = match record.kind {
            RecordKind::Log(own) => own,
            RecordKind::GroupMarker => return,
            RecordKind::Unreadable => {
                self.unreadable = self.unreadable.saturating_add(1);
                return;
            }
        };
        let time = time.unwrap_or(own);
        let retain = self.form.metadata == EntryMetadata::Retain;
        let start = self.entries.len();
        msgpack::write_array_head(&mut self.entries, 2);
        if retain {
            msgpack::write_array_head(&mut self.entries, 2);
        }
        match self.form.time {
            EntryTime::EventTime => time.write(&mut self.entries),
            EntryTime::Seconds => {
                msgpack::write_unsigned(&mut self.entries, time.seconds.into());
            }
        }
        if retain {
            match bytes.get(record.time.end..record.body) {
                // Up to Fluent Bit 2.0 records have none.
                None | Some([]) => msgpack::write_map_head(&mut self.entries, 0),
                Some(metadata) => self.entries.extend_from_slice(metadata),
            }
        }
        let body_at = self.entries.len();
        body(&mut self.entries);
        if Msgpack(&self.entries).kind(body_at) == Ok(Kind::Map) {
            self.ends.push(self.entries.len());
        } else {
            self.entries.truncate(start);
            self.unreadable = self.unreadable.saturating_add(1);
        }
    }
}

/// The content of a line of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineForm {
    /// The text under `log`, as it is.
    #[default]
    Event,
    /// The body of the record as JSON.
    Record,
}

/// The records as lines of text, for the tool.
#[derive(Debug, Default)]
pub struct LineSink {
    form: LineForm,
    /// The lines.
    pub lines: Vec<u8>,
    body: Vec<u8>,
}

/// The key under which [`write_line_record`] puts a line.
const LINE_KEY: &[u8] = b"log";

impl LineSink {
    /// For lines of this form.
    pub fn new(form: LineForm) -> LineSink {
        LineSink {
            form,
            ..LineSink::default()
        }
    }

    fn push_line(&mut self, body: &[u8]) {
        let doc = Msgpack(body);
        let text = match self.form {
            LineForm::Event => text_under(doc, LINE_KEY),
            LineForm::Record => None,
        };
        let start = self.lines.len();
        match text {
            Some(text) => self.lines.extend_from_slice(text),
            // Only deep nesting cannot be converted, and the record of a line has none.
            None if convert::msgpack_to_json(doc, 0, &mut self.lines).is_err() => {
                self.lines.truncate(start);
                return;
            }
            None => {}
        }
        self.lines.push(b'\n');
    }
}

fn text_under<'a>(doc: Msgpack<'a>, key: &[u8]) -> Option<&'a [u8]> {
    let mut map = doc.open_map(0).ok()?;
    let mut found = None;
    while let Some(member) = doc.next_member(&mut map).ok()? {
        let (text, end) = doc.value(member.value).ok()?;
        if member.key.is(key) {
            found = text.map(|text| text.raw);
        }
        map.next = end;
    }
    found
}

impl Sink for LineSink {
    fn begin(&mut self, _: &Record) {}

    fn keep(&mut self, original: Original<'_>) {
        self.push_line(original.body());
    }

    fn leave_out(&mut self, _: Original<'_>) {}

    fn write(&mut self, _: Original<'_>, _: Option<EventTime>, body: &mut dyn FnMut(&mut Vec<u8>)) {
        let mut written = std::mem::take(&mut self.body);
        written.clear();
        body(&mut written);
        self.push_line(&written);
        self.body = written;
    }
}

/// Appends a line as the record `[time, {"log": line}]` that an input makes of it.
/// The time is 0: the line tells its time itself, if it does.
pub fn write_line_record(line: &[u8], out: &mut Vec<u8>) {
    let time = EventTime {
        seconds: 0,
        nanoseconds: 0,
    };
    write_record(line, time, out);
}

/// Appends a line as the record `[time, {"log": line}]` of that time.
pub fn write_record(line: &[u8], time: EventTime, out: &mut Vec<u8>) {
    msgpack::write_array_head(out, 2);
    time.write(out);
    msgpack::write_map_head(out, 1);
    Msgpack::write_key(out, LINE_KEY);
    Msgpack::write_text(out, line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_text_or_the_record() {
        let mut chunk = Vec::new();
        write_line_record(b"{\"a\":\xff}", &mut chunk);
        let record = Record::read(&chunk, 0).unwrap();
        let original = Original {
            bytes: &chunk,
            record: &record,
            origin: Origin::Chunk,
        };
        let body = b"\x82\xa3log\xa1x\xa1k\xa1v";
        for (form, kept, written) in [
            (LineForm::Event, &b"{\"a\":\xff}\n"[..], &b"x\n"[..]),
            (
                LineForm::Record,
                "{\"log\":\"{\\\"a\\\":\u{fffd}}\"}\n".as_bytes(),
                b"{\"log\":\"x\",\"k\":\"v\"}\n",
            ),
        ] {
            let mut sink = LineSink::new(form);
            sink.keep(original);
            sink.leave_out(original);
            sink.write(original, None, &mut |out| out.extend_from_slice(body));
            assert_eq!(sink.lines, [kept, written].concat());
        }
    }

    #[test]
    fn withheld_records_come_before_the_record_in_work() {
        let chunk = b"\x92\x01\x80\x92\x02\x80\x92\x03\x80";
        let earlier = b"\x92\x09\x80";
        let withheld = Record::read(earlier, 0).unwrap();
        let withheld = Original {
            bytes: earlier,
            record: &withheld,
            origin: Origin::Withheld,
        };
        let mut sink = ChunkSink::new(chunk, chunk.len());
        for at in [0, 3, 6] {
            let record = Record::read(chunk, at).unwrap();
            let original = Original {
                bytes: chunk,
                record: &record,
                origin: Origin::Chunk,
            };
            sink.begin(&record);
            match at {
                3 => {
                    sink.keep(withheld);
                    sink.leave_out(withheld);
                    sink.leave_out(original);
                }
                _ => sink.keep(original),
            }
        }
        assert_eq!(
            sink.finish().as_deref(),
            Some(&b"\x92\x01\x80\x92\x09\x80\x92\x03\x80"[..])
        );
    }
}
