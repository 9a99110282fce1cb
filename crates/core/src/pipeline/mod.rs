//! Applies policy and enrichment to the records of a chunk, or to lines.

use std::sync::Arc;

use crate::policy::{Level, Ruleset};

use crate::chunk::record::{EventTime, Record, RecordKind};
use crate::chunk::sink::Sink;
use crate::doc::convert;
use crate::doc::edit::{Cause, Edits};
use crate::doc::json::Json;
use crate::doc::msgpack::{self, Msgpack};
use crate::doc::{Doc, Malformed, Text};
use crate::event::kube::{DocumentKind, Event, Scratch, Slot};
use crate::input::assemble::{Partials, Piece, Pieces};
use crate::input::cri::Prefix;
use crate::input::recognise::{TextDocument, list_items};
use crate::stage::cut::LevelCut as Cut;
use crate::stage::enrich::{Enrichment, uuid_v4};
use crate::stage::select::{self, Condition, Document, Subject, Whole};
use crate::stats::Tally;

/// Bytes of split lines that one rewriter withholds at most while it waits for
/// their ends.
pub const PARTIALS_LIMIT: usize = 8 << 20;

/// How records are read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the input looks like.
    pub format: Format,
    /// The key that holds the event's text; by default `log`, then `message`.
    pub log_key: Option<String>,
    /// What the output looks like.
    pub output_shape: OutputShape,
    /// Records that hold no audit event.
    pub non_audit: Fate,
    /// Records that look like an audit event and cannot be read.
    pub on_error: Fate,
    /// Where the time of a record comes from.
    pub event_time: EventTimeSource,
    /// Keys that are added and removed.
    pub enrichment: Enrichment,
}

/// What the input looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Found out record by record.
    #[default]
    Auto,
    /// The record is the event.
    Map,
    /// A key of the record holds the event as JSON text.
    Json,
    /// A key of the record holds a container runtime's line with JSON text.
    Cri,
}

/// What the output looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputShape {
    /// As the input.
    #[default]
    Keep,
    /// The event's fields are the record's.
    Map,
    /// The event is JSON text under one key.
    Json,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Drop,
}

/// Where the time of a record comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventTimeSource {
    /// The record keeps the time that it came with.
    #[default]
    Keep,
    /// `stageTimestamp` of the event.
    Stage,
    /// `requestReceivedTimestamp` of the event.
    Received,
}

/// Applies policy and enrichment to records. Keeps its buffers and counts.
pub struct Rewriter {
    settings: Settings,
    ruleset: Option<Arc<Ruleset>>,
    conditions: Vec<Condition>,
    random: Box<dyn FnMut() -> [u8; 16] + Send>,
    partials: Partials,
    tally: Tally,
    buffers: Buffers,
}

/// Grown once, then reused.
#[derive(Default)]
struct Buffers {
    /// The record, seen as an event.
    record: Scratch,
    record_edits: Edits,
    /// The event inside the record.
    event: Scratch,
    event_edits: Edits,
    /// A record's new body, and JSON text on the way there.
    body: Vec<u8>,
    text: Vec<u8>,
}

/// What the policy says of an event.
#[derive(Clone, Copy)]
enum Judgement {
    Drop,
    /// `None` without a policy.
    Log {
        cut: Option<Cut>,
        rule: Option<u32>,
    },
}

/// The record that holds an event's text.
struct Holder<'a> {
    source: &'a [u8],
    record: &'a Record,
    /// The record's map.
    map: &'a Event<'a>,
    /// The member with the text.
    slot: Slot,
    /// Whether the text is put together from several records.
    joined: bool,
}

impl Rewriter {
    /// `random` gives the bytes of UUIDs.
    pub fn new(
        settings: Settings,
        ruleset: Option<Arc<Ruleset>>,
        random: impl FnMut() -> [u8; 16] + Send + 'static,
    ) -> Rewriter {
        let mut rewriter = Rewriter {
            settings,
            ruleset: None,
            conditions: Vec::new(),
            random: Box::new(random),
            partials: Partials::new(PARTIALS_LIMIT),
            tally: Tally::default(),
            buffers: Buffers::default(),
        };
        rewriter.set_ruleset(ruleset);
        rewriter
    }

    /// Puts another policy in force. The tallies by rule begin anew.
    pub fn set_ruleset(&mut self, ruleset: Option<Arc<Ruleset>>) {
        self.tally.rules.clear();
        if let Some(ruleset) = &ruleset {
            self.tally
                .rules
                .resize(ruleset.rule_count() + 1, Default::default());
        }
        for scratch in [&mut self.buffers.record, &mut self.buffers.event] {
            scratch.outline = ruleset.is_none();
        }
        self.ruleset = ruleset;
    }

    /// Makes events and records stay only if these hold.
    pub fn set_conditions(&mut self, conditions: Vec<Condition>) {
        self.conditions = conditions;
    }

    /// What was done so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Records withheld until the rest of their line comes.
    pub fn withheld(&self) -> usize {
        self.partials.withheld()
    }

    /// Rewrites the records of a chunk. What cannot be read as a record, and all
    /// behind it, is `Err` with its place; the records before it are done.
    pub fn chunk(&mut self, tag: &[u8], chunk: &[u8], sink: &mut impl Sink) -> Result<(), usize> {
        let mut at = 0;
        while at < chunk.len() {
            let record = Record::read(chunk, at).map_err(|Malformed| at)?;
            at = record.end;
            sink.begin(&record);
            self.record(Some(tag), chunk, &record, sink);
        }
        Ok(())
    }

    /// Gives back the pieces of split lines that are withheld under a tag.
    pub fn release(&mut self, tag: &[u8], sink: &mut impl Sink) {
        for pieces in self.partials.release(tag) {
            self.give_back(&pieces, sink);
        }
    }

    fn give_back(&mut self, pieces: &Pieces, sink: &mut impl Sink) {
        let mut at = 0;
        while let Ok(record) = Record::read(&pieces.originals, at) {
            at = record.end;
            self.record(None, &pieces.originals, &record, sink);
        }
    }

    /// Rewrites one record. Without a tag its text is not put together with others.
    fn record(&mut self, tag: Option<&[u8]>, source: &[u8], record: &Record, sink: &mut impl Sink) {
        if record.kind == RecordKind::GroupMarker {
            return sink.keep(source, record);
        }
        self.tally.records += 1;
        let tree = Msgpack(source);
        let mut map = Event::default();
        if map
            .read(tree, record.body, &mut self.buffers.record)
            .is_err()
        {
            // A body that is no map.
            return self.other(source, record, None, sink);
        }
        let format = self.settings.format;
        if matches!(format, Format::Auto | Format::Map) {
            match map.document_kind() {
                DocumentKind::Event => {
                    std::mem::swap(&mut self.buffers.record, &mut self.buffers.event);
                    if self.map_event(source, record, &map, sink).is_err() {
                        std::mem::swap(&mut self.buffers.record, &mut self.buffers.event);
                        self.malformed(source, record, Some(&map), sink);
                    }
                    return;
                }
                DocumentKind::EventList(items) => {
                    if self.map_list(source, record, &map, items, sink).is_err() {
                        self.malformed(source, record, Some(&map), sink);
                    }
                    return;
                }
                DocumentKind::Other => {}
            }
        }
        let text = if format == Format::Map {
            None
        } else {
            self.text_slot(source)
        };
        let Some((slot, text)) = text else {
            return self.other(source, record, Some(&map), sink);
        };
        let line = text.raw;
        let mut holder = Holder {
            source,
            record,
            map: &map,
            slot,
            joined: false,
        };
        let prefix = if format == Format::Json {
            None
        } else {
            Prefix::read(line)
        };
        if let (Some(prefix), Some(tag)) = (prefix, tag) {
            let (front, piece) = line.split_at(prefix.length);
            let original = &source[record.at..record.end];
            match self
                .partials
                .take(tag, prefix.stream, prefix.partial, piece, original)
            {
                Piece::Alone => {}
                Piece::Withheld => return sink.drop(source, record),
                Piece::Ends(pieces) => {
                    let whole = [front, &pieces.text, piece].concat();
                    if prefix.partial || !self.is_audit(&whole, prefix) {
                        self.give_back(&pieces, sink);
                        // Buffers now speak of another record.
                        return self.record(None, source, record, sink);
                    }
                    self.tally.records += pieces.count as u64;
                    holder.joined = true;
                    return self.text(&holder, &whole, Some(prefix), sink);
                }
            }
        }
        self.text(&holder, line, prefix, sink);
    }

    /// The member that holds the event's text.
    fn text_slot<'a>(&self, source: &'a [u8]) -> Option<(Slot, Text<'a>)> {
        let tree = Msgpack(source);
        let find = |name: &[u8]| {
            self.buffers.record.slots.iter().rev().find_map(|slot| {
                let key = tree.key(slot.start).ok()?;
                let text = tree.text(slot.value).ok()?.0;
                (key.raw == name).then_some((*slot, text))
            })
        };
        match &self.settings.log_key {
            Some(key) => find(key.as_bytes()),
            None => find(b"log").or_else(|| find(b"message")),
        }
    }

    /// Whether a line that was put together is an event or a list of them.
    fn is_audit(&mut self, line: &[u8], prefix: Prefix) -> bool {
        let mut event = Event::default();
        let scratch = &mut self.buffers.event;
        let document = TextDocument::read(line, Some(prefix), &mut event, scratch);
        matches!(document, TextDocument::Event | TextDocument::List(_))
    }

    /// A record whose text may be an event.
    fn text(
        &mut self,
        holder: &Holder<'_>,
        line: &[u8],
        prefix: Option<Prefix>,
        sink: &mut impl Sink,
    ) {
        let Holder {
            source,
            record,
            map,
            ..
        } = *holder;
        let mut event = Event::default();
        match TextDocument::read(line, prefix, &mut event, &mut self.buffers.event) {
            TextDocument::Event => {
                if self
                    .text_event(holder, line, prefix, &event, 0..line.len(), sink)
                    .is_err()
                {
                    self.malformed(source, record, Some(map), sink);
                }
            }
            TextDocument::List(items) => {
                self.text_list(holder, line, prefix, &event, &items, sink);
            }
            TextDocument::Other => self.other(source, record, Some(map), sink),
            TextDocument::Malformed => self.malformed(source, record, Some(map), sink),
        }
    }

    fn text_list(
        &mut self,
        holder: &Holder<'_>,
        line: &[u8],
        prefix: Option<Prefix>,
        list: &Event<'_>,
        items: &[(usize, usize)],
        sink: &mut impl Sink,
    ) {
        sink.drop(holder.source, holder.record);
        let mut event = Event::default();
        for &(at, end) in items {
            let read = event.read(Json(line), at, &mut self.buffers.event);
            let done = read.and_then(|()| {
                event.inherit(list.api_version());
                self.text_event(holder, line, prefix, &event, at..end, sink)
            });
            if done.is_err() {
                self.malformed_item(holder, &line[at..end], sink);
            }
        }
    }

    /// An item of a list that cannot be read: a record of its own all the same.
    fn malformed_item(&mut self, holder: &Holder<'_>, item: &[u8], sink: &mut impl Sink) {
        self.tally.malformed += 1;
        if self.settings.on_error == Fate::Drop {
            return;
        }
        let (whole, fields) = (Whole::Text(item), &[][..]);
        if !select::admit(&self.conditions, &Subject { whole, fields }) {
            self.tally.excluded_others += 1;
            return;
        }
        let Holder {
            source,
            record,
            map,
            slot,
            ..
        } = holder;
        let edits = &mut self.buffers.record_edits;
        edits.clear();
        edits.replace_value(slot.value..slot.end, Cause::Shape, |out| {
            Msgpack::write_text(out, item)
        });
        // The map was read before, so that it can be read again.
        let _ = self.finish_record(source, record, map, None, true, sink);
    }

    /// An event in `within` of a text; the whole text where it is not one of a list.
    fn text_event<'t>(
        &mut self,
        holder: &Holder<'_>,
        line: &'t [u8],
        prefix: Option<Prefix>,
        event: &Event<'t>,
        within: std::ops::Range<usize>,
        sink: &mut impl Sink,
    ) -> Result<(), Malformed> {
        let Holder {
            source,
            record,
            map,
            slot,
            joined,
        } = holder;
        let document = Document::Json(Json(line));
        let Judgement::Log { cut, rule } = self.judge(event, document, Some(source)) else {
            sink.drop(source, record);
            return Ok(());
        };
        let time = self.event_time(event);
        let document = event.at..event.end;
        let Buffers {
            event: scratch,
            event_edits: edits,
            ..
        } = &mut self.buffers;
        edits.clear();
        if let Some(cut) = cut {
            cut.apply(Json(line), event, &scratch.slots, edits)?;
        }
        let plan = edits.settle(Json(line));
        let stripped = plan.has(Cause::Level) || plan.has(Cause::ManagedFields);
        let length = plan.length_of(document.len());
        let whole = within == (0..line.len());
        match self.settings.output_shape {
            OutputShape::Keep | OutputShape::Json => {
                let keep_around = self.settings.output_shape == OutputShape::Keep;
                let front = match prefix {
                    Some(prefix) if keep_around => &line[..prefix.length],
                    _ => &[],
                };
                let within = match (keep_around, whole) {
                    (true, true) => front.len()..line.len(),
                    _ => document.clone(),
                };
                let Buffers {
                    event_edits,
                    record_edits,
                    ..
                } = &mut self.buffers;
                record_edits.clear();
                let same =
                    event_edits.plan().is_empty() && front.len() + within.len() == line.len();
                let event_plan = event_edits.plan();
                let length = front.len() + event_plan.length_of(within.len());
                if *joined {
                    record_edits.replace_value(slot.value..slot.end, Cause::Shape, |out| {
                        msgpack::write_str_head(out, length);
                        out.extend_from_slice(front);
                        event_plan.apply(line, within, out);
                    });
                } else if !same {
                    // The text stands in the record: what is edited in it is edited there.
                    let text = slot.end - line.len();
                    for part in [front.len()..within.start, within.end..line.len()] {
                        if !part.is_empty() {
                            let part = text + part.start..text + part.end;
                            record_edits.replace_part(slot.value, part, Cause::Shape, |_| ());
                        }
                    }
                    record_edits.embed(slot.value, text, event_plan);
                }
                self.finish_record(source, record, map, time, !whole, sink)?;
            }
            OutputShape::Map => {
                let mut text = std::mem::take(&mut self.buffers.text);
                let mut body = std::mem::take(&mut self.buffers.body);
                text.clear();
                body.clear();
                self.buffers
                    .event_edits
                    .plan()
                    .apply(line, document, &mut text);
                let built = self.unfold(&text, source, slot, &mut body);
                let done =
                    built.and_then(|()| self.finish_built(source, record, &body, time, sink));
                self.buffers.text = text;
                self.buffers.body = body;
                done?;
            }
        }
        self.count_kept(rule, stripped, length);
        Ok(())
    }

    /// Builds a body from the event in `text` and the other members of the record.
    fn unfold(
        &mut self,
        text: &[u8],
        source: &[u8],
        slot: &Slot,
        body: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut event = Vec::with_capacity(text.len());
        convert::json_to_msgpack(Json(text), 0, &mut event)?;
        let tree = Msgpack(&event);
        let map = tree.open_map(0)?;
        let siblings = || {
            self.buffers
                .record
                .slots
                .iter()
                .filter(|other| other.start != slot.start)
        };
        msgpack::write_map_head(body, map.count + siblings().count());
        body.extend_from_slice(&event[map.next..]);
        for sibling in siblings() {
            body.extend_from_slice(&source[sibling.start..sibling.end]);
        }
        Ok(())
    }

    /// An event that is the record's map, or an item of a list in it.
    fn map_event<'a>(
        &mut self,
        source: &'a [u8],
        record: &Record,
        event: &Event<'a>,
        sink: &mut impl Sink,
    ) -> Result<(), Malformed> {
        let Judgement::Log { cut, rule } =
            self.judge(event, Document::Msgpack(Msgpack(source)), None)
        else {
            sink.drop(source, record);
            return Ok(());
        };
        let time = self.event_time(event);
        let document = event.at..event.end;
        let uuid = self.uuid();
        let is_record = event.at == record.body;
        let Buffers {
            event: scratch,
            event_edits: edits,
            ..
        } = &mut self.buffers;
        edits.clear();
        let enrichment = &self.settings.enrichment;
        let as_json = self.settings.output_shape == OutputShape::Json;
        if let Some(cut) = cut {
            cut.apply(Msgpack(source), event, &scratch.slots, edits)?;
        }
        let emptied =
            !as_json && enrich(enrichment, &uuid, Msgpack(source), event, scratch, edits)?;
        let plan = edits.settle(Msgpack(source));
        let stripped = plan.has(Cause::Level) || plan.has(Cause::ManagedFields);
        let length = plan.length_of(document.len());
        let unchanged = plan.is_empty();
        if emptied {
            self.tally.emptied += 1;
            sink.drop(source, record);
        } else if as_json {
            let mut text = std::mem::take(&mut self.buffers.text);
            let mut body = std::mem::take(&mut self.buffers.body);
            text.clear();
            body.clear();
            self.buffers
                .event_edits
                .plan()
                .apply(source, document, &mut text);
            let built = self.fold(&text, &mut body);
            let done = built.and_then(|()| self.finish_built(source, record, &body, time, sink));
            self.buffers.text = text;
            self.buffers.body = body;
            done?;
        } else if unchanged && time.is_none() && is_record {
            sink.keep(source, record);
        } else {
            sink.emit(source, record, time, |out| {
                edits.plan().apply(source, document, out)
            });
        }
        self.count_kept(rule, stripped, length);
        Ok(())
    }

    /// Builds a body that holds a msgpack event as JSON text.
    fn fold(&mut self, event: &[u8], body: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut json = Vec::with_capacity(event.len() * 2);
        convert::msgpack_to_json(Msgpack(event), 0, &mut json)?;
        let key = self.settings.log_key.as_deref().unwrap_or("log");
        msgpack::write_map_head(body, 1);
        Msgpack::write_key(body, key.as_bytes());
        Msgpack::write_text(body, &json);
        Ok(())
    }

    fn map_list<'a>(
        &mut self,
        source: &'a [u8],
        record: &Record,
        list: &Event<'a>,
        items: usize,
        sink: &mut impl Sink,
    ) -> Result<(), Malformed> {
        let tree = Msgpack(source);
        let items = list_items(tree, items)?;
        sink.drop(source, record);
        let mut event = Event::default();
        for (at, end) in items {
            let read = event.read(tree, at, &mut self.buffers.event);
            let done = read.and_then(|()| {
                event.inherit(list.api_version());
                self.map_event(source, record, &event, sink)
            });
            if done.is_err() {
                self.tally.malformed += 1;
                if self.settings.on_error == Fate::Keep {
                    sink.emit(source, record, None, |out| {
                        out.extend_from_slice(&source[at..end])
                    });
                }
            }
        }
        Ok(())
    }

    /// A record that holds no audit event.
    fn other(
        &mut self,
        source: &[u8],
        record: &Record,
        map: Option<&Event<'_>>,
        sink: &mut impl Sink,
    ) {
        self.tally.non_audit += 1;
        self.pass(self.settings.non_audit, source, record, map, sink);
    }

    /// A record that looks like an audit event and cannot be read.
    fn malformed(
        &mut self,
        source: &[u8],
        record: &Record,
        map: Option<&Event<'_>>,
        sink: &mut impl Sink,
    ) {
        self.tally.malformed += 1;
        self.pass(self.settings.on_error, source, record, map, sink);
    }

    fn pass(
        &mut self,
        fate: Fate,
        source: &[u8],
        record: &Record,
        map: Option<&Event<'_>>,
        sink: &mut impl Sink,
    ) {
        let Some(map) = map.filter(|_| fate == Fate::Keep) else {
            return match fate {
                Fate::Keep => sink.keep(source, record),
                Fate::Drop => sink.drop(source, record),
            };
        };
        if !self.conditions.is_empty() {
            let document = Document::Msgpack(Msgpack(source));
            let whole = match self.text_slot(source) {
                Some((_, text)) => Whole::Text(text.raw),
                None => Whole::Value(document, map.at),
            };
            let fields = [(document, &self.buffers.record.slots[..])];
            let fields = &fields;
            if !select::admit(&self.conditions, &Subject { whole, fields }) {
                self.tally.excluded_others += 1;
                return sink.drop(source, record);
            }
        }
        self.buffers.record_edits.clear();
        if self
            .finish_record(source, record, map, None, false, sink)
            .is_err()
        {
            sink.keep(source, record);
        }
    }

    /// Enriches the record's map, whose other edits are collected, and passes it on.
    fn finish_record(
        &mut self,
        source: &[u8],
        record: &Record,
        map: &Event<'_>,
        time: Option<EventTime>,
        one_of_many: bool,
        sink: &mut impl Sink,
    ) -> Result<(), Malformed> {
        let uuid = self.uuid();
        let Buffers {
            record: scratch,
            record_edits: edits,
            ..
        } = &mut self.buffers;
        let enrichment = &self.settings.enrichment;
        let emptied = enrich(enrichment, &uuid, Msgpack(source), map, scratch, edits)?;
        if emptied {
            self.tally.emptied += 1;
            sink.drop(source, record);
        } else if edits.plan().is_empty() && time.is_none() && !one_of_many {
            sink.keep(source, record);
        } else {
            sink.emit(source, record, time, |out| {
                edits.plan().apply(source, map.at..map.end, out)
            });
        }
        Ok(())
    }

    /// Enriches a body that was built anew, and passes it on.
    fn finish_built(
        &mut self,
        source: &[u8],
        record: &Record,
        body: &[u8],
        time: Option<EventTime>,
        sink: &mut impl Sink,
    ) -> Result<(), Malformed> {
        let uuid = self.uuid();
        let Buffers {
            event: scratch,
            event_edits: edits,
            ..
        } = &mut self.buffers;
        let tree = Msgpack(body);
        let mut map = Event::default();
        map.read(tree, 0, scratch)?;
        edits.clear();
        if enrich(&self.settings.enrichment, &uuid, tree, &map, scratch, edits)? {
            self.tally.emptied += 1;
            sink.drop(source, record);
        } else {
            sink.emit(source, record, time, |out| {
                edits.plan().apply(body, 0..body.len(), out)
            });
        }
        Ok(())
    }

    /// Rewrites a line of a log file and appends what remains of it, with a line
    /// feed: nothing, one line, or several for the items of a list.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.tally.records += 1;
        let Some(prefix) = Prefix::read(line) else {
            return self.whole_line(line, None, out);
        };
        let (front, piece) = line.split_at(prefix.length);
        let original = [line, b"\n"].concat();
        match self
            .partials
            .take(b"", prefix.stream, prefix.partial, piece, &original)
        {
            Piece::Alone => self.whole_line(line, Some(prefix), out),
            Piece::Withheld => {}
            Piece::Ends(pieces) => {
                let whole = [front, &pieces.text, piece].concat();
                if prefix.partial || !self.is_audit(&whole, prefix) {
                    self.give_lines_back(&pieces, out);
                    self.whole_line(line, Some(prefix), out);
                } else {
                    self.whole_line(&whole, Some(prefix), out);
                }
            }
        }
    }

    /// Gives back the lines that are withheld, at the end of the input.
    pub fn release_lines(&mut self, out: &mut Vec<u8>) {
        for pieces in self.partials.release(b"") {
            self.give_lines_back(&pieces, out);
        }
    }

    fn give_lines_back(&mut self, pieces: &Pieces, out: &mut Vec<u8>) {
        for line in pieces.originals.split_inclusive(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            self.whole_line(line, Prefix::read(line), out);
        }
    }

    fn whole_line(&mut self, line: &[u8], prefix: Option<Prefix>, out: &mut Vec<u8>) {
        let done = out.len();
        let mut event = Event::default();
        let result = match TextDocument::read(line, prefix, &mut event, &mut self.buffers.event) {
            TextDocument::Event => self.line_event(line, 0, &event, 0..line.len(), out),
            TextDocument::List(items) => {
                let list = event.api_version();
                items.iter().try_for_each(|&(at, end)| {
                    event.read(Json(line), at, &mut self.buffers.event)?;
                    event.inherit(list);
                    let front = prefix.map_or(0, |prefix| prefix.length);
                    self.line_event(line, front, &event, at..end, out)
                })
            }
            TextDocument::Other => {
                self.tally.non_audit += 1;
                return self.pass_line(self.settings.non_audit, line, out);
            }
            TextDocument::Malformed => Err(Malformed),
        };
        if result.is_err() {
            out.truncate(done);
            self.tally.malformed += 1;
            self.pass_line(self.settings.on_error, line, out);
        }
    }

    fn pass_line(&mut self, fate: Fate, line: &[u8], out: &mut Vec<u8>) {
        if fate == Fate::Drop {
            return;
        }
        let (whole, fields) = (Whole::Text(line), &[][..]);
        if !select::admit(&self.conditions, &Subject { whole, fields }) {
            self.tally.excluded_others += 1;
            return;
        }
        out.extend_from_slice(line);
        out.push(b'\n');
    }

    /// An event in `within` of a line, to be written behind the first `front` bytes of it.
    fn line_event<'t>(
        &mut self,
        line: &'t [u8],
        front: usize,
        event: &Event<'t>,
        within: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let Judgement::Log { cut, rule } = self.judge(event, Document::Json(Json(line)), None)
        else {
            return Ok(());
        };
        let uuid = self.uuid();
        let Buffers {
            event: scratch,
            event_edits: edits,
            ..
        } = &mut self.buffers;
        edits.clear();
        let enrichment = &self.settings.enrichment;
        if let Some(cut) = cut {
            cut.apply(Json(line), event, &scratch.slots, edits)?;
        }
        let emptied = enrich(enrichment, &uuid, Json(line), event, scratch, edits)?;
        let plan = edits.settle(Json(line));
        let stripped = plan.has(Cause::Level) || plan.has(Cause::ManagedFields);
        let length = plan.length_of(event.end - event.at);
        if emptied {
            self.tally.emptied += 1;
        } else {
            out.extend_from_slice(&line[..front]);
            plan.apply(line, within, out);
            out.push(b'\n');
        }
        self.count_kept(rule, stripped, length);
        Ok(())
    }

    /// What becomes of an event, by the policy and then by the conditions; `holder`
    /// is where the record stands whose text it is, if it is one's.
    fn judge<'a>(
        &mut self,
        event: &Event<'a>,
        document: Document<'a>,
        holder: Option<&[u8]>,
    ) -> Judgement {
        let judgement = self.by_policy(event, document.bytes());
        if self.conditions.is_empty() || matches!(judgement, Judgement::Drop) {
            return judgement;
        }
        let within = (document, &self.buffers.event.slots[..]);
        let around = holder.map(|source| {
            let record = Document::Msgpack(Msgpack(source));
            (record, &self.buffers.record.slots[..])
        });
        let fields = [within, around.unwrap_or(within)];
        let subject = Subject {
            whole: Whole::Value(document, event.at),
            fields: &fields[..1 + usize::from(around.is_some())],
        };
        if select::admit(&self.conditions, &subject) {
            return judgement;
        }
        self.tally.excluded_events += 1;
        Judgement::Drop
    }

    fn by_policy<'a>(&mut self, event: &Event<'a>, document: &'a [u8]) -> Judgement {
        let size = (event.end - event.at) as u64;
        self.tally.events += 1;
        self.tally.bytes_in += size;
        let Some(ruleset) = &self.ruleset else {
            return Judgement::Log {
                cut: None,
                rule: None,
            };
        };
        let decision = event.attributes(document, &self.buffers.event, |attributes| {
            ruleset.decide(attributes)
        });
        if let Some(rule) = self.tally.rule(decision.rule) {
            rule.events += 1;
            rule.bytes_in += size;
        }
        let omitted = event
            .stage()
            .is_some_and(|stage| decision.omit_stages.contains(stage));
        if decision.level == Level::None || omitted {
            self.tally.dropped += 1;
            return Judgement::Drop;
        }
        let cut = Cut {
            level: decision.level,
            omit_managed_fields: decision.omit_managed_fields,
        };
        Judgement::Log {
            cut: Some(cut),
            rule: decision.rule,
        }
    }

    fn count_kept(&mut self, rule: Option<u32>, stripped: bool, length: usize) {
        self.tally.stripped += u64::from(stripped);
        self.tally.bytes_out += length as u64;
        if let Some(rule) = self.tally.rule(rule) {
            rule.bytes_out += length as u64;
        }
    }

    fn event_time(&self, event: &Event<'_>) -> Option<EventTime> {
        let text = match self.settings.event_time {
            EventTimeSource::Keep => None,
            EventTimeSource::Stage => event.stage_timestamp(),
            EventTimeSource::Received => event.received_timestamp(),
        }?;
        EventTime::parse(&text.value())
    }

    fn uuid(&mut self) -> [u8; 36] {
        match self.settings.enrichment.uuid_key {
            Some(_) => uuid_v4((self.random)()),
            None => [0; 36],
        }
    }
}

/// Plans what the enrichment does to a map that was read into `scratch`; says
/// whether that leaves nothing of it.
fn enrich<'a, D: Doc<'a>>(
    enrichment: &Enrichment,
    uuid: &[u8; 36],
    doc: D,
    map: &Event<'a>,
    scratch: &Scratch,
    edits: &mut Edits,
) -> Result<bool, Malformed> {
    if !enrichment.is_empty() {
        enrichment.apply(doc, map.at..map.end, &scratch.slots, uuid, edits)?;
    }
    edits.settle(doc);
    let gained = edits.plan().members_gained(map.at);
    let left = scratch.slots.len().checked_add_signed(gained);
    Ok(!enrichment.is_empty() && !scratch.slots.is_empty() && left == Some(0))
}

#[cfg(test)]
mod tests;
