//! Where rewritten records go.

use crate::chunk::record::{EventTime, Record, RecordKind};
use crate::doc::msgpack::{self, Msgpack};
use crate::doc::{Doc, Kind};

/// Takes what becomes of each record, in order.
pub trait Sink {
    /// The record of the chunk that comes next; what is emitted belongs in its place.
    fn begin(&mut self, record: &Record);
    /// The record stays as it stands in `source`.
    fn keep(&mut self, source: &[u8], record: &Record);
    /// The record goes.
    fn drop(&mut self, source: &[u8], record: &Record);
    /// A record with this body, and this time where it has another one, comes in
    /// its place; several may.
    fn emit(
        &mut self,
        source: &[u8],
        record: &Record,
        time: Option<EventTime>,
        body: impl FnOnce(&mut Vec<u8>),
    );
}

/// The chunk with its changes, for a filter. Costs nothing as long as nothing changes.
#[derive(Debug)]
pub struct ChunkSink<'a> {
    chunk: &'a [u8],
    /// How much is asked for when it changes.
    room: usize,
    /// Where the record in work begins.
    position: usize,
    /// Up to where the chunk has been copied or left out.
    settled: usize,
    changed: bool,
    out: Vec<u8>,
}

impl<'a> ChunkSink<'a> {
    /// For the records of a chunk, which is expected to take `room` bytes when it has
    /// changed: what is not written to costs no memory, but growing costs a copy.
    pub fn new(chunk: &'a [u8], room: usize) -> ChunkSink<'a> {
        ChunkSink {
            chunk,
            room,
            position: 0,
            settled: 0,
            changed: false,
            out: Vec::new(),
        }
    }

    /// The changed chunk, or `None` when it stays as it is.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if !self.changed {
            return None;
        }
        self.settle(self.chunk.len());
        Some(self.out)
    }

    fn settle(&mut self, upto: usize) {
        if self.settled < upto {
            self.out.extend_from_slice(&self.chunk[self.settled..upto]);
            self.settled = upto;
        }
    }

    /// Gets ready to write in the place of the record in work.
    fn change(&mut self, source: &[u8], record: &Record) {
        if !self.changed {
            self.out.reserve(self.room);
            self.changed = true;
        }
        self.settle(self.position);
        if std::ptr::eq(source, self.chunk) {
            self.settled = record.end;
        }
    }
}

impl Sink for ChunkSink<'_> {
    fn begin(&mut self, record: &Record) {
        self.position = record.at;
    }

    fn keep(&mut self, source: &[u8], record: &Record) {
        if !std::ptr::eq(source, self.chunk) {
            self.change(source, record);
            self.out.extend_from_slice(&source[record.at..record.end]);
        }
    }

    fn drop(&mut self, source: &[u8], record: &Record) {
        self.change(source, record);
    }

    fn emit(
        &mut self,
        source: &[u8],
        record: &Record,
        time: Option<EventTime>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        self.change(source, record);
        match time {
            None => self.out.extend_from_slice(&source[record.at..record.body]),
            Some(time) => {
                self.out
                    .extend_from_slice(&source[record.at..record.time.start]);
                time.write(&mut self.out);
                self.out
                    .extend_from_slice(&source[record.time.end..record.body]);
            }
        }
        body(&mut self.out);
    }
}

/// How an entry carries its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryTime {
    /// As the extension that keeps nanoseconds.
    #[default]
    EventTime,
    /// As whole seconds, for receivers such as Fluentd up to 0.12.
    Seconds,
}

/// What becomes of the metadata of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryMetadata {
    /// It stays behind: `[time, map]`. Every receiver takes that.
    #[default]
    Drop,
    /// It travels: `[[time, metadata], map]`. Fluent Bit 2.1 and later takes
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
/// markers stay behind.
#[derive(Debug, Default)]
pub struct EntrySink {
    form: EntryForm,
    /// The entries.
    pub entries: Vec<u8>,
    /// Where each of them ends.
    pub ends: Vec<usize>,
    /// Records that are none, because their body is no map: receivers read no
    /// further than to such a one.
    pub bodiless: usize,
}

impl EntrySink {
    /// For entries of this form, which are expected to take `room` bytes: what is not
    /// written to costs no memory, but growing costs a copy.
    pub fn new(form: EntryForm, room: usize) -> EntrySink {
        EntrySink {
            form,
            entries: Vec::with_capacity(room),
            ..EntrySink::default()
        }
    }
}

impl Sink for EntrySink {
    fn begin(&mut self, _: &Record) {}

    fn keep(&mut self, source: &[u8], record: &Record) {
        self.emit(source, record, None, |out| {
            out.extend_from_slice(&source[record.body..record.end])
        });
    }

    fn drop(&mut self, _: &[u8], _: &Record) {}

    fn emit(
        &mut self,
        source: &[u8],
        record: &Record,
        time: Option<EventTime>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let RecordKind::Log(own) = record.kind else {
            return;
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
            match &source[record.time.end..record.body] {
                // Up to Fluent Bit 2.0 records have none.
                [] => msgpack::write_map_head(&mut self.entries, 0),
                metadata => self.entries.extend_from_slice(metadata),
            }
        }
        let body_at = self.entries.len();
        body(&mut self.entries);
        if Msgpack(&self.entries).kind(body_at) == Ok(Kind::Map) {
            self.ends.push(self.entries.len());
        } else {
            self.entries.truncate(start);
            self.bodiless += 1;
        }
    }
}
