//! The one way of a record: from the chunk through recognition and stages to the sink.

mod copies;
#[cfg(feature = "machine")]
mod machine;
#[cfg(not(feature = "machine"))]
#[path = "no_machine.rs"]
mod machine;
mod settings;
mod write;

use std::sync::Arc;

use crate::chunk::record::RecordKind;
use crate::chunk::{EventTime, Origin, Original, Record, Sink};
use crate::doc::Malformed;
use crate::doc::msgpack::Msgpack;
use crate::event::kube::{MapView, Scratch};
use crate::input::assemble::{Assembled, Assembly, Limits, Piece, PiecePlace, Pieces};
use crate::input::cri::Stream;
use crate::input::recognise::{Carrier, Content, Line, LinePlace, Prefixes};
use crate::policy::Ruleset;
use crate::stage::Condition;
use crate::stage::detect::{DetectSettings, Detector};
use crate::stage::enrich::Enrich;
use crate::stage::redact::{self, Redaction};
use crate::stage::shrink::{self, Shrink};
use crate::stats::{self, Stats};

pub use settings::{
    EventTimeSource, Format, MachineAudit, OnOther, OnUnreadable, OutputShape, Settings,
};

use copies::{Buffers, Spot};
use machine::Machine;
use write::{Joined, Place, Writer};

/// Takes records through recognition and stages. Keeps its buffers and counts.
pub struct Pipeline {
    assembly: Assembly<Stream>,
    views: Views,
    machine: Machine,
    writer: Writer,
}

/// Buffers for the maps of one record; grown once, then reused.
#[derive(Default)]
struct Views {
    /// The record's map.
    record: Scratch,
    /// The event, or the list of events, in a text of the record.
    text: Scratch,
    /// An item of a list.
    item: Scratch,
}

/// The way in which a record is taken.
#[derive(Clone, Copy)]
enum Take<'t> {
    /// With the pieces of its event that came before it under this tag.
    Assemble(&'t [u8]),
    /// By itself.
    Alone,
    /// As a piece of a line that cannot be put together.
    Remains,
}

impl Pipeline {
    /// Makes a pipeline; `random` gives the bytes of UUIDs.
    pub fn new(
        mut settings: Settings,
        ruleset: Option<Arc<Ruleset>>,
        random: impl FnMut() -> [u8; 16] + Send + 'static,
    ) -> Pipeline {
        let enrich = Enrich::new(std::mem::take(&mut settings.enrichment), random);
        let mut pipeline = Pipeline {
            assembly: Assembly::new(Limits::default()),
            views: Views::default(),
            machine: Machine::default(),
            writer: Writer::new(settings, enrich),
        };
        pipeline.set_ruleset(ruleset);
        pipeline
    }

    /// Puts another policy in force. The counters by rule start again from 0.
    pub fn set_ruleset(&mut self, ruleset: Option<Arc<Ruleset>>) {
        self.writer.set_ruleset(ruleset);
        self.outline_views();
    }

    /// Hides the secrets of events; `None` leaves them in.
    pub fn set_redaction(&mut self, settings: Option<redact::Settings>) {
        self.writer.stages.redact = settings.and_then(Redaction::new);
        self.outline_views();
    }

    /// Makes events fit; the default settings leave them as they are.
    pub fn set_shrink(&mut self, settings: shrink::Settings) {
        self.writer.stages.shrink = Shrink::new(settings);
    }

    /// The redaction, unless it is off.
    pub fn redaction(&self) -> Option<&Redaction> {
        self.writer.stages.redact.as_ref()
    }

    /// True if records that are not a pair of time and map are dropped: nothing passes
    /// unjudged under a policy or redaction.
    pub fn drops_what_is_no_record(&self) -> bool {
        self.writer.on_no_record() == OnOther::Drop
    }

    /// Makes detections look at every event. To be called once, before the first chunk.
    pub fn set_detect(&mut self, detector: Arc<Detector>, settings: DetectSettings) {
        self.writer.set_detect(detector, settings);
        self.outline_views();
    }

    /// Puts other detections in force, if there are any. Those that were not there from
    /// the start have no counters.
    pub fn set_detector(&mut self, detector: Arc<Detector>) {
        self.writer.set_detector(detector);
    }

    /// Leaves user and object of events unread if no stage asks for them.
    fn outline_views(&mut self) {
        let stages = &self.writer.stages;
        let outline =
            stages.decide.ruleset.is_none() && stages.detect.is_none() && stages.redact.is_none();
        let Views { record, text, item } = &mut self.views;
        for scratch in [record, text, item] {
            scratch.outline = outline;
        }
    }

    /// Makes events and records stay only if all of these hold.
    pub fn set_conditions(&mut self, conditions: Vec<Condition>) {
        self.writer.stages.select.conditions = conditions;
    }

    /// Counters of what was done so far.
    pub fn stats(&self) -> &Stats {
        &self.writer.stats
    }

    /// Processes the records of a chunk. A value that is not a record is passed over. If
    /// bytes are not even a value, `Err` is their position: the records before them are
    /// done, and the rest is left to the sink unless it might hold what a policy hides. Zeros
    /// at the end are no records: a host that was killed leaves them in its chunks on disk.
    pub fn chunk(&mut self, tag: &[u8], chunk: &[u8], sink: &mut dyn Sink) -> Result<(), usize> {
        let mut at = 0;
        let mut result = Ok(());
        let last = chunk.iter().rposition(|byte| *byte != 0);
        while last.is_some_and(|last| at <= last) {
            let record = Record::read(chunk, at).or_else(|_| Record::unreadable(chunk, at));
            let Ok(record) = record else {
                self.writer.rest(chunk, at, sink);
                result = Err(at);
                break;
            };
            at = record.end;
            sink.begin(&record);
            let original = Original {
                bytes: chunk,
                record: &record,
                origin: Origin::Chunk,
            };
            match record.kind {
                RecordKind::Log(time) => {
                    stats::count(&mut self.writer.stats.records);
                    self.record(original, time, Take::Assemble(tag), sink);
                }
                RecordKind::GroupMarker => sink.keep(original),
                RecordKind::Unreadable => self.writer.unreadable(original, sink),
            }
        }
        sink.end(at);
        self.machine.end_of_chunk(tag, &mut self.writer, sink);
        self.count_withheld();
        result
    }

    /// Gives back what is withheld under a tag: pieces of split events, and records of
    /// machine audit events.
    pub fn release(&mut self, tag: &[u8], sink: &mut dyn Sink) {
        for pieces in self.assembly.release(tag) {
            self.give_back(&pieces, Take::Remains, sink);
        }
        self.machine.release(tag, &mut self.writer, sink);
        self.count_withheld();
    }

    fn count_withheld(&mut self) {
        let withheld = u64::try_from(self.assembly.withheld());
        self.writer.stats.withheld = withheld.unwrap_or(u64::MAX);
        let held = u64::try_from(self.machine.held());
        self.writer.stats.machine_held = held.unwrap_or(u64::MAX);
    }

    /// Takes each of the records. They were counted when they came.
    fn give_back(&mut self, pieces: &Pieces, take: Take<'_>, sink: &mut dyn Sink) {
        let mut at = 0;
        while let Ok(record) = Record::read(&pieces.records, at) {
            at = record.end;
            let original = Original {
                bytes: &pieces.records,
                record: &record,
                origin: Origin::Withheld,
            };
            if let RecordKind::Log(time) = record.kind {
                self.record(original, time, take, sink);
            }
        }
    }

    fn record(
        &mut self,
        original: Original<'_>,
        time: EventTime,
        take: Take<'_>,
        sink: &mut dyn Sink,
    ) {
        let Pipeline {
            assembly,
            views,
            machine,
            writer,
        } = self;
        let Views {
            record: scratch,
            text,
            item,
        } = views;
        let doc = Msgpack(original.bytes);
        let mut map = MapView::default();
        if let Err(Malformed) = map.read(doc, original.record.body, scratch) {
            return writer.unreadable(original, sink);
        }
        let format = writer.settings.format;
        let place = Place {
            original,
            map: &map,
            members: &scratch.members,
            carrier: Carrier::Map,
        };
        let content = Content::of_map(doc, &map);
        let is_event = !matches!(content, Content::Other);
        if is_event && matches!(format, Format::Auto | Format::Map) {
            if copies::may_exist(doc.0, &scratch.members, is_event, None) {
                let mut buffers = Buffers { part: text, item };
                let expected = Some(Spot::Map);
                let spot = writer.several(&place, scratch, expected, Prefixes::Read, &mut buffers);
                let spot = spot.unwrap_or(Spot::Map);
                writer.write_spot(&place, scratch, &spot, buffers, sink);
                return writer.copy_edits.clear();
            }
            return writer.map(&place, content, scratch, item, sink);
        }
        if writer.settings.machine_audit != MachineAudit::Keep {
            let tag = match take {
                Take::Assemble(tag) => Some(tag),
                Take::Alone | Take::Remains => None,
            };
            if machine.record(&place, tag, writer, sink) {
                return;
            }
        }
        let prefixes = match format {
            Format::Json => Prefixes::Ignore,
            Format::Auto | Format::Cri | Format::Map => Prefixes::Read,
        };
        let key = writer.settings.log_key.as_ref();
        let line = match format {
            Format::Map => None,
            _ => Line::find(doc, map.at, &scratch.members, key, prefixes),
        };
        if is_event || copies::may_exist(doc.0, &scratch.members, is_event, line.as_ref()) {
            let mut buffers = Buffers { part: text, item };
            let inner = || copies::inner(doc, map.at, &scratch.members, key?);
            let expected = line.map(Spot::Text).or_else(inner);
            let spot = writer.several(&place, scratch, expected, prefixes, &mut buffers);
            if let Some(spot) = spot {
                writer.write_spot(&place, scratch, &spot, buffers, sink);
                return writer.copy_edits.clear();
            }
        }
        let Some(line) = line else {
            return writer.other(&place, sink);
        };
        if matches!(take, Take::Remains) && writer.remains(&place, &line, sink) {
            return;
        }
        let Take::Assemble(tag) = take else {
            return writer.text(&place, &line, text, item, sink);
        };
        let Some(prefix) = line.prefix else {
            return writer.text(&place, &line, text, item, sink);
        };
        if prefix.piece == PiecePlace::Last && assembly.is_empty() {
            return writer.text(&place, &line, text, item, sink);
        }
        let time = line.time().unwrap_or(time);
        let expired = assembly.expired(tag, time);
        if !expired.is_empty() {
            for pieces in &expired {
                self.give_back(pieces, Take::Remains, sink);
            }
            return self.record(original, time, take, sink);
        }
        let (front, end) = line.split();
        let piece = Piece {
            text: end,
            record: original.whole(),
            time,
            place: prefix.piece,
        };
        let before = match assembly.take(tag, prefix.stream, piece) {
            Assembled::Alone => return writer.text(&place, &line, text, item, sink),
            Assembled::Withheld => return sink.leave_out(original),
            Assembled::After(pieces) => pieces,
        };
        let mut take = Take::Remains;
        if prefix.piece == PiecePlace::Last {
            let whole = [front, &before.text, end].concat();
            let line = Line {
                text: &whole,
                place: LinePlace::Assembled,
                ..line
            };
            match writer.assembled(&place, &line, text, item, sink) {
                Joined::Events => return,
                Joined::Unreadable => {}
                Joined::Other => take = Take::Alone,
            }
        }
        self.give_back(&before, take, sink);
        self.record(original, time, take, sink);
    }
}

#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod redaction_tests;
#[cfg(test)]
mod shrink_tests;
#[cfg(test)]
mod tests;
