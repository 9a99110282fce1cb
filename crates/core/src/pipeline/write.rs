//! The second half of a record's way: stages, shape and enrichment of what was
//! recognised, up to the record that is written.

use std::ops::Range;
use std::sync::Arc;

use crate::chunk::{EventTime, Origin, Original, Record, Sink};
use crate::doc::convert;
use crate::doc::edit::{Cause, Edits, Plan};
use crate::doc::json::Json;
use crate::doc::msgpack::{self, Msgpack};
use crate::doc::{AnyDoc, Doc, Malformed};
use crate::event::kube::{Event, Field, MapView, Member, Scratch};
use crate::input::Slot;
use crate::input::recognise::{Carrier, Content, EventList, Line, LinePlace, Prefixes};
use crate::pipeline::copies;
use crate::pipeline::settings::{EventTimeSource, OnOther, OnUnreadable, OutputShape, Settings};
use crate::policy::{Decision, Ruleset};
use crate::stage::detect::{Detect, DetectSettings, Detector, Labels};
use crate::stage::enrich::Enrich;
use crate::stage::redact::{MARK, unreadable};
use crate::stage::select::{Subject, Whole};
use crate::stage::{Flow, Job, Stages};
use crate::stats::{self, RuleStats, Stats};

/// Applies stages, shape and enrichment, and hands records to the sink.
pub(super) struct Writer {
    pub settings: Settings,
    pub stages: Stages,
    pub stats: Stats,
    enrich: Enrich,
    /// Edits of the event.
    pub event_edits: Edits,
    /// Edits of the record around the event, or of a body that was built.
    pub record_edits: Edits,
    /// Edits of the record's other copies of the event.
    pub copy_edits: Edits,
    /// Labels of the event that is being written; none at any other time.
    pub labels: Labels,
    pub built: Built,
}

/// A body that was built anew; grown once, then reused.
#[derive(Default)]
pub(super) struct Built {
    /// The event as it is left by the stages.
    pub event: Vec<u8>,
    /// The event in the other form.
    pub converted: Vec<u8>,
    pub body: Vec<u8>,
    scratch: Scratch,
}

/// A record, and the place of its events in it.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    pub original: Original<'p>,
    /// The record's map.
    pub map: &'p MapView<'p>,
    /// The members of the record's map.
    pub members: &'p [Member],
    pub carrier: Carrier<'p>,
}

/// What the text is that pieces make together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// Events, which were handled.
    Events,
    /// Something that begins like an event and cannot be read.
    Unreadable,
    /// Something else.
    Other,
}

/// The share of an event in what its carrier holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// An item of a list: a record of its own is written for it.
    Item,
}

/// A map on its way out.
#[derive(Clone, Copy)]
struct Body<'b, 'a, D> {
    doc: D,
    map: &'b MapView<'a>,
    members: &'b [Member],
}

impl Writer {
    pub(super) fn new(settings: Settings, enrich: Enrich) -> Writer {
        Writer {
            settings,
            stages: Stages::default(),
            stats: Stats::default(),
            enrich,
            event_edits: Edits::default(),
            record_edits: Edits::default(),
            copy_edits: Edits::default(),
            labels: Labels::default(),
            built: Built::default(),
        }
    }

    pub(super) fn set_ruleset(&mut self, ruleset: Option<Arc<Ruleset>>) {
        self.stats.rules.clear();
        if let Some(ruleset) = &ruleset {
            let rules = ruleset.rule_count().saturating_add(1);
            self.stats.rules.resize(rules, RuleStats::default());
        }
        self.built.scratch.outline = true;
        self.stages.decide.ruleset = ruleset;
    }

    /// Makes detections look at every event; each has its counters from then on.
    pub(super) fn set_detect(&mut self, detector: Arc<Detector>, settings: DetectSettings) {
        self.stages.detect = Some(Detect::new(detector, settings, &mut self.stats));
    }

    /// Puts other detections in force, if there are any.
    pub(super) fn set_detector(&mut self, detector: Arc<Detector>) {
        if let Some(detect) = &mut self.stages.detect {
            detect.set_detector(detector, &self.stats);
        }
    }

    /// Handles a record whose text may hold events.
    #[inline(never)]
    pub(super) fn text(
        &mut self,
        place: &Place<'_>,
        line: &Line<'_>,
        scratch: &mut Scratch,
        item: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        let mut view = MapView::default();
        let content = Content::of_text(line.text, line.prefix, &mut view, scratch);
        let place = Place {
            carrier: Carrier::Text(line),
            ..*place
        };
        self.content(&place, Json(line.text), content, scratch, item, sink);
    }

    /// Handles a text that was put together, if it holds events; returns what it is.
    #[inline(never)]
    pub(super) fn assembled(
        &mut self,
        place: &Place<'_>,
        line: &Line<'_>,
        scratch: &mut Scratch,
        item: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Joined {
        let mut view = MapView::default();
        let content = Content::of_text(line.text, line.prefix, &mut view, scratch);
        match content {
            Content::Other => return Joined::Other,
            Content::Malformed => return Joined::Unreadable,
            Content::Event(_) | Content::List(_) => {}
        }
        let place = Place {
            carrier: Carrier::Text(line),
            ..*place
        };
        self.content(&place, Json(line.text), content, scratch, item, sink);
        Joined::Events
    }

    /// Handles what a map of the record holds.
    #[inline(never)]
    pub(super) fn map(
        &mut self,
        place: &Place<'_>,
        content: Content<'_, '_>,
        scratch: &Scratch,
        item: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        let doc = Msgpack(place.original.bytes);
        self.content(place, doc, content, scratch, item, sink);
    }

    /// Handles what a carrier holds. `scratch` has the members of an event, `item` is for
    /// the items of a list.
    #[inline(always)]
    pub(super) fn content<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        content: Content<'_, 'a>,
        scratch: &Scratch,
        item: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        match content {
            Content::Event(event) => {
                if let Err(Malformed) = self.event(place, doc, event, scratch, Extent::Whole, sink)
                {
                    self.malformed(place, sink);
                }
            }
            Content::List(list) => self.list(place, doc, list, item, sink),
            Content::Other => self.no_event(place, sink),
            Content::Malformed => self.malformed(place, sink),
        }
    }

    /// Writes a record for each event of a list.
    #[inline(never)]
    fn list<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        list: EventList<'a>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        sink.leave_out(place.original);
        for range in list.items {
            let mut view = MapView::default();
            let read = view.read(doc, range.start, scratch);
            let done = read.and_then(|()| {
                let event = view.item_of_list(list.version);
                self.event(place, doc, event, scratch, Extent::Item, sink)
            });
            if let Err(Malformed) = done {
                self.unreadable_item(place, doc, range, sink);
            }
        }
    }

    /// Takes an event through the stages and writes what is left of it.
    #[inline]
    fn event<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        event: Event<'_, 'a>,
        scratch: &Scratch,
        extent: Extent,
        sink: &mut dyn Sink,
    ) -> Result<(), Malformed> {
        let done = self.staged(place, doc, event, scratch, extent, sink);
        // What is written next may not be an event.
        self.labels.clear();
        done
    }

    fn staged<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        event: Event<'_, 'a>,
        scratch: &Scratch,
        extent: Extent,
        sink: &mut dyn Sink,
    ) -> Result<(), Malformed> {
        self.event_edits.clear();
        let mut job = Job {
            doc,
            event,
            scratch,
            record: match place.carrier {
                Carrier::Map => None,
                Carrier::Inner(_) | Carrier::Text(_) => {
                    Some((Msgpack(place.original.bytes), place.members))
                }
            },
            decision: None,
            edits: &mut self.event_edits,
            labels: &mut self.labels,
            stats: &mut self.stats,
        };
        let flow = self.stages.apply(&mut job)?;
        let decision = job.decision;
        if let Flow::Drop(_) = flow {
            sink.leave_out(place.original);
            return Ok(());
        }
        let is_record = matches!(place.carrier, Carrier::Map) && extent == Extent::Whole;
        if !is_record && copies::may_exist(doc.bytes(), &scratch.members, true, None) {
            self.judge_members(place, doc.into(), event, &scratch.members)?;
        }
        let time = self.event_time(event);
        match (place.carrier, self.settings.output_shape) {
            (Carrier::Map, OutputShape::Keep | OutputShape::Map) => {
                let body = Body {
                    doc,
                    map: event.view(),
                    members: &scratch.members,
                };
                let (enrich, stats) = (&mut self.enrich, &mut self.stats);
                let edits = &mut self.event_edits;
                if extent == Extent::Whole {
                    edits.add(&self.copy_edits);
                }
                let written = Written {
                    time,
                    extent,
                    label: Label::of(&self.stages, &self.labels),
                };
                finish(enrich, stats, place, body, edits, written, sink)?;
            }
            (Carrier::Map, OutputShape::Json) => {
                if extent == Extent::Whole {
                    self.event_edits.add(&self.copy_edits);
                }
                self.event_edits.settle(doc);
                self.fold(doc, event)?;
                self.write_built(place, time, sink)?;
            }
            (Carrier::Inner(slot), shape) => {
                self.event_edits.settle(doc);
                if shape == OutputShape::Map {
                    self.unfold(place, slot, doc, event)?;
                    self.write_built(place, time, sink)?;
                } else {
                    self.replace_inner(slot, doc, event)?;
                    self.write_record(place, time, extent, sink)?;
                }
            }
            (Carrier::Text(line), OutputShape::Map) => {
                self.event_edits.settle(doc);
                self.unfold(place, line.slot, doc, event)?;
                self.write_built(place, time, sink)?;
            }
            (Carrier::Text(line), shape) => {
                let plan = self.event_edits.settle(doc);
                let kept = match shape {
                    OutputShape::Keep => Surroundings::of(line, event, extent),
                    _ => Surroundings::none(event),
                };
                self.record_edits.clear();
                embed(line, kept, plan, &mut self.record_edits);
                self.write_record(place, time, extent, sink)?;
            }
        }
        count_kept(&mut self.stats, event, decision, self.event_edits.plan());
        Ok(())
    }

    /// Builds the event as it is left by the stages, and as JSON text.
    #[inline(never)]
    fn build_text<'a, D: Doc<'a>>(
        &mut self,
        doc: D,
        event: Event<'_, 'a>,
    ) -> Result<(), Malformed> {
        let built = &mut self.built;
        built.clear();
        let plan = self.event_edits.plan();
        plan.apply(doc.bytes(), event.range(), &mut built.event);
        convert::msgpack_to_json(Msgpack(&built.event), 0, &mut built.converted)
    }

    /// Builds a body that holds an event as JSON text.
    #[inline(never)]
    fn fold<'a, D: Doc<'a>>(&mut self, doc: D, event: Event<'_, 'a>) -> Result<(), Malformed> {
        self.build_text(doc, event)?;
        let built = &mut self.built;
        msgpack::write_map_head(&mut built.body, 1);
        Msgpack::write_key(&mut built.body, self.settings.text_key());
        Msgpack::write_text(&mut built.body, &built.converted);
        Ok(())
    }

    /// Builds a body from the event at a place of the record, and the other members of the
    /// record.
    #[inline(never)]
    fn unfold<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        slot: Slot,
        doc: D,
        event: Event<'_, 'a>,
    ) -> Result<(), Malformed> {
        let built = &mut self.built;
        built.clear();
        let plan = self.event_edits.plan();
        if D::HAS_SIZES {
            plan.apply(doc.bytes(), event.range(), &mut built.converted);
        } else {
            plan.apply(doc.bytes(), event.range(), &mut built.event);
            convert::json_to_msgpack(Json(&built.event), 0, &mut built.converted)?;
        }
        let record = Msgpack(place.original.bytes);
        let edits = &mut self.record_edits;
        edits.clear();
        edits.add(&self.copy_edits);
        let own = slot.member.start..slot.member.end;
        edits.remove_member(slot.owner, own, Cause::Shape);
        built.event.clear();
        let range = place.map.at..place.map.end;
        let plan = edits.settle(record);
        plan.apply(record.bytes(), range, &mut built.event);
        let event = Msgpack(&built.converted).open_map(0)?;
        let others = Msgpack(&built.event).open_map(0)?;
        let count = event.count.saturating_add(others.count);
        msgpack::write_map_head(&mut built.body, count);
        for (members, from) in [(&built.converted, event.next), (&built.event, others.next)] {
            let members = members.get(from..).unwrap_or_default();
            built.body.extend_from_slice(members);
        }
        Ok(())
    }

    /// Asks for the edit of the record that makes a map in it the event as planned, in its
    /// shape.
    #[inline(never)]
    fn replace_inner<'a, D: Doc<'a>>(
        &mut self,
        slot: Slot,
        doc: D,
        event: Event<'_, 'a>,
    ) -> Result<(), Malformed> {
        self.record_edits.clear();
        let value = slot.member.value..slot.member.end;
        if self.settings.output_shape == OutputShape::Json {
            self.build_text(doc, event)?;
            let text = &self.built.converted;
            let edits = &mut self.record_edits;
            edits.replace_value(value, Cause::Shape, |out| Msgpack::write_text(out, text));
        } else if !self.event_edits.plan().is_empty() || value != event.range() {
            let plan = self.event_edits.plan();
            let edits = &mut self.record_edits;
            edits.replace_value(value, Cause::Shape, |out| {
                plan.apply(doc.bytes(), event.range(), out);
            });
        }
        Ok(())
    }

    /// Writes the body that was built.
    pub(super) fn write_built(
        &mut self,
        place: &Place<'_>,
        time: Option<EventTime>,
        sink: &mut dyn Sink,
    ) -> Result<(), Malformed> {
        let Writer {
            stages,
            labels,
            enrich,
            stats,
            record_edits: edits,
            built: Built { body, scratch, .. },
            ..
        } = self;
        let doc = Msgpack(body);
        let mut map = MapView::default();
        map.read(doc, 0, scratch)?;
        let body = Body {
            doc,
            map: &map,
            members: &scratch.members,
        };
        edits.clear();
        let written = Written {
            time,
            extent: Extent::Item,
            label: Label::of(stages, labels),
        };
        finish(enrich, stats, place, body, edits, written, sink)
    }

    /// Writes the record with the edits that have been asked for.
    pub(super) fn write_record(
        &mut self,
        place: &Place<'_>,
        time: Option<EventTime>,
        extent: Extent,
        sink: &mut dyn Sink,
    ) -> Result<(), Malformed> {
        let body = Body {
            doc: Msgpack(place.original.bytes),
            map: place.map,
            members: place.members,
        };
        let (enrich, stats) = (&mut self.enrich, &mut self.stats);
        let edits = &mut self.record_edits;
        edits.add(&self.copy_edits);
        let written = Written {
            time,
            extent,
            label: Label::of(&self.stages, &self.labels),
        };
        finish(enrich, stats, place, body, edits, written, sink)
    }

    /// Handles an item of a list that cannot be read, or not be written in the form that
    /// is wanted: a record of its own all the same, with the item as it is.
    fn unreadable_item<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        item: Range<usize>,
        sink: &mut dyn Sink,
    ) {
        stats::count(&mut self.stats.malformed);
        if self.settings.on_error == OnOther::Drop {
            return;
        }
        let whole = Whole::Value(doc.into(), item.start);
        if !self.holds(whole, &[]) {
            return;
        }
        let bytes = doc.bytes().get(item.clone()).unwrap_or_default();
        let done = match place.carrier {
            Carrier::Text(line) => {
                self.record_edits.clear();
                let value = line.slot.member.value..line.slot.member.end;
                self.record_edits
                    .replace_value(value, Cause::Shape, |out| Msgpack::write_text(out, bytes));
                self.write_record(place, None, Extent::Item, sink)
            }
            Carrier::Inner(slot) => {
                self.record_edits.clear();
                let value = slot.member.value..slot.member.end;
                self.record_edits
                    .replace_value(value, Cause::Shape, |out| out.extend_from_slice(bytes));
                self.write_record(place, None, Extent::Item, sink)
            }
            Carrier::Map => {
                self.built.clear();
                self.built.body.extend_from_slice(bytes);
                self.write_built(place, None, sink)
            }
        };
        if let Err(Malformed) = done {
            sink.write(place.original, None, &mut |out| {
                out.extend_from_slice(bytes)
            });
        }
    }

    /// Handles a record that is not a pair of time and map.
    #[cold]
    pub(super) fn unreadable(&mut self, original: Original<'_>, sink: &mut dyn Sink) {
        stats::count(&mut self.stats.unreadable);
        match self.on_no_record() {
            OnOther::Keep => sink.keep(original),
            OnOther::Drop => sink.leave_out(original),
        }
    }

    /// Handles text or a map that is not an event, unless it is the rest of one.
    fn no_event(&mut self, place: &Place<'_>, sink: &mut dyn Sink) {
        if let Carrier::Text(line) = place.carrier
            && self.stages.redact.is_some()
            && is_rest_of_event(line)
            && self.remains(place, line, sink)
        {
            return;
        }
        self.other(place, sink);
    }

    /// Handles the end of a chunk that is not even msgpack.
    #[cold]
    pub(super) fn rest(&mut self, chunk: &[u8], at: usize, sink: &mut dyn Sink) {
        stats::count(&mut self.stats.unreadable);
        if self.on_no_record() == OnOther::Drop {
            let record = Record::unreadable_up_to(at, chunk.len());
            sink.begin(&record);
            sink.leave_out(Original {
                bytes: chunk,
                record: &record,
                origin: Origin::Chunk,
            });
        }
    }

    /// The outcome for what is not a record. Under a policy or redaction nothing passes
    /// unjudged.
    pub(super) fn on_no_record(&self) -> OnOther {
        match (&self.stages.decide.ruleset, self.on_unreadable()) {
            (None, OnUnreadable::Keep) => self.settings.non_audit,
            _ => OnOther::Drop,
        }
    }

    /// Handles a record that holds no audit event.
    pub(super) fn other(&mut self, place: &Place<'_>, sink: &mut dyn Sink) {
        stats::count(&mut self.stats.non_audit);
        self.pass(self.settings.non_audit, place, sink);
    }

    /// Handles a record that looks like an audit event and cannot be read.
    #[cold]
    pub(super) fn malformed(&mut self, place: &Place<'_>, sink: &mut dyn Sink) {
        stats::count(&mut self.stats.malformed);
        match self.on_unreadable() {
            OnUnreadable::Keep => self.pass(OnOther::Keep, place, sink),
            OnUnreadable::Drop => sink.leave_out(place.original),
            OnUnreadable::Cut => match place.carrier {
                Carrier::Text(line) if unreadable::looks_like_event(line.text) => {
                    self.salvage(place, line, sink);
                }
                Carrier::Text(_) => self.pass(OnOther::Keep, place, sink),
                Carrier::Map => self.hide_members(place, sink),
                Carrier::Inner(slot) => {
                    self.record_edits.clear();
                    hide_value(slot.member, &mut self.record_edits);
                    self.write_hidden(place, sink);
                }
            },
        }
    }

    /// Handles a piece of a split line that could not be put together; returns whether
    /// that is all to be done, because the piece may hold secrets.
    #[cold]
    pub(super) fn remains(
        &mut self,
        place: &Place<'_>,
        line: &Line<'_>,
        sink: &mut dyn Sink,
    ) -> bool {
        let outcome = self.on_unreadable();
        if outcome == OnUnreadable::Keep {
            return false;
        }
        let place = &Place {
            carrier: Carrier::Text(line),
            ..*place
        };
        if outcome == OnUnreadable::Drop || unreadable::looks_like_event(line.text) {
            self.malformed(place, sink);
            return true;
        }
        stats::count(&mut self.stats.malformed);
        let front = line.prefix.map_or(0, |prefix| prefix.length);
        self.write_text(place, line, sink, |out| {
            out.extend_from_slice(line.text.get(..front).unwrap_or_default());
            out.extend_from_slice(MARK);
        });
        true
    }

    /// The outcome for text that cannot be read. Without redaction nothing is hidden.
    pub(super) fn on_unreadable(&self) -> OnUnreadable {
        match (self.settings.on_error, &self.stages.redact) {
            (OnOther::Drop, _) => OnUnreadable::Drop,
            (OnOther::Keep, Some(_)) => self.settings.on_unreadable,
            (OnOther::Keep, None) => OnUnreadable::Keep,
        }
    }

    /// Judges the events in a text that can be read, and cuts the others.
    fn salvage(&mut self, place: &Place<'_>, line: &Line<'_>, sink: &mut dyn Sink) {
        let front = line.prefix.map_or(0, |prefix| prefix.length);
        let text = line.text.get(front..).unwrap_or_default();
        let doc = Json(line.text);
        let mut scratch = Scratch::default();
        let mut rest = Vec::new();
        sink.leave_out(place.original);
        for part in unreadable::events_in(text) {
            let part = front.saturating_add(part.start)..front.saturating_add(part.end);
            let mut view = MapView::default();
            let whole = view.read(doc, part.start, &mut scratch).is_ok() && view.end <= part.end;
            if whole
                && let Content::Event(event) = Content::of_map(doc, &view)
                && self
                    .event(place, doc, event, &scratch, Extent::Item, sink)
                    .is_ok()
            {
                continue;
            }
            rest.clear();
            rest.extend_from_slice(line.text.get(..front).unwrap_or_default());
            unreadable::cut(line.text.get(part).unwrap_or_default(), &mut rest);
            self.write_text(place, line, sink, |out| out.extend_from_slice(&rest));
        }
    }

    /// Writes a record with another text.
    fn write_text(
        &mut self,
        place: &Place<'_>,
        line: &Line<'_>,
        sink: &mut dyn Sink,
        text: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut value = Vec::new();
        text(&mut value);
        if !self.holds(Whole::Text(&value), &[]) {
            return sink.leave_out(place.original);
        }
        self.record_edits.clear();
        let member = line.slot.member.value..line.slot.member.end;
        self.record_edits
            .replace_value(member, Cause::Redact, |out| {
                Msgpack::write_text(out, &value);
            });
        // The record was read before, so that its edits can be written.
        if let Err(Malformed) = self.write_record(place, None, Extent::Item, sink) {
            sink.leave_out(place.original);
        }
    }

    /// Hides what may hold secrets in a map that cannot be read as an event.
    fn hide_members(&mut self, place: &Place<'_>, sink: &mut dyn Sink) {
        self.record_edits.clear();
        for member in place.members {
            let may_hold_secrets = matches!(
                member.field,
                Field::RequestUri
                    | Field::ResponseStatus
                    | Field::RequestObject
                    | Field::ResponseObject
                    | Field::Annotations
                    | Field::Items
            );
            if may_hold_secrets {
                hide_value(*member, &mut self.record_edits);
            }
        }
        self.write_hidden(place, sink);
    }

    /// Writes the record with marks in place of what cannot be read.
    fn write_hidden(&mut self, place: &Place<'_>, sink: &mut dyn Sink) {
        if let Err(Malformed) = self.write_record(place, None, Extent::Whole, sink) {
            sink.leave_out(place.original);
        }
    }

    fn pass(&mut self, outcome: OnOther, place: &Place<'_>, sink: &mut dyn Sink) {
        let original = place.original;
        if outcome == OnOther::Drop {
            return sink.leave_out(original);
        }
        if !self.stages.select.conditions.is_empty() {
            let doc = Msgpack(original.bytes);
            let key = self.settings.log_key.as_ref();
            let line = Line::find(doc, place.map.at, place.members, key, Prefixes::Ignore);
            let whole = match line {
                Some(line) => Whole::Text(line.text),
                None => Whole::Value(doc.into(), place.map.at),
            };
            if !self.holds(whole, &[(doc.into(), place.members)]) {
                return sink.leave_out(original);
            }
        }
        self.record_edits.clear();
        if let Err(Malformed) = self.write_record(place, None, Extent::Whole, sink) {
            sink.keep(original);
        }
    }

    /// Returns whether the conditions hold for something that is not an event, and counts
    /// it if they do not.
    fn holds(&mut self, whole: Whole<'_>, fields: &[(AnyDoc<'_>, &[Member])]) -> bool {
        let holds = self.stages.select.holds(&Subject { whole, fields });
        if !holds {
            stats::count(&mut self.stats.excluded_others);
        }
        holds
    }

    fn event_time(&self, event: Event<'_, '_>) -> Option<EventTime> {
        let text = match self.settings.event_time {
            EventTimeSource::Keep => None,
            EventTimeSource::Stage => event.stage_timestamp(),
            EventTimeSource::Received => event.received_timestamp(),
        }?;
        EventTime::parse(&text.value())
    }
}

/// True for text that is not an event, and may be the rest of one.
pub(super) fn is_rest_of_event(line: &Line<'_>) -> bool {
    let (_, text) = line.split();
    unreadable::is_rest_of_event(text, line.prefix.map(|prefix| prefix.piece))
}

/// Asks for a mark in place of a value of the record.
pub(super) fn hide_value(member: Member, edits: &mut Edits) {
    edits.replace_value(member.value..member.end, Cause::Redact, |out| {
        Msgpack::write_text(out, MARK);
    });
}

impl Built {
    pub(super) fn clear(&mut self) {
        self.event.clear();
        self.converted.clear();
        self.body.clear();
    }
}

/// The parts of a line that stay: up to `front`, and `within`, which holds the event.
struct Surroundings {
    front: usize,
    within: Range<usize>,
}

impl Surroundings {
    /// The prefix, and the white space around the event.
    fn of(line: &Line<'_>, event: Event<'_, '_>, extent: Extent) -> Surroundings {
        let front = line.prefix.map_or(0, |prefix| prefix.length);
        let within = match extent {
            Extent::Whole => front..line.text.len(),
            Extent::Item => event.range(),
        };
        Surroundings { front, within }
    }

    /// Nothing but the event.
    fn none(event: Event<'_, '_>) -> Surroundings {
        Surroundings {
            front: 0,
            within: event.range(),
        }
    }
}

/// Asks for the edits of a record that make its text the event as planned.
#[inline(always)]
fn embed(line: &Line<'_>, kept: Surroundings, plan: Plan<'_>, edits: &mut Edits) {
    let is_all = kept.front == kept.within.start && kept.within.end == line.text.len();
    if !(is_all && plan.is_empty() && line.place == LinePlace::InRecord) {
        embed_changed(line, kept, plan, edits);
    }
}

#[inline(never)]
fn embed_changed(line: &Line<'_>, kept: Surroundings, plan: Plan<'_>, edits: &mut Edits) {
    let Surroundings { front, within } = kept;
    let text = line.text;
    let Member { value, end, .. } = line.slot.member;
    if line.place == LinePlace::Assembled {
        edits.replace_value(value..end, Cause::Shape, |out| {
            msgpack::write_str_head(out, front.saturating_add(plan.length_of(within.len())));
            out.extend_from_slice(text.get(..front).unwrap_or_default());
            plan.apply(text, within, out);
        });
        return;
    }
    let offset = end.saturating_sub(text.len());
    for part in [front..within.start, within.end..text.len()] {
        if !part.is_empty() {
            let part = offset.saturating_add(part.start)..offset.saturating_add(part.end);
            edits.replace_part(value, part, Cause::Shape, |_| ());
        }
    }
    edits.embed(value, offset, plan);
}

/// The way in which a record is written.
#[derive(Clone, Copy)]
struct Written<'w> {
    /// New time of the record, if it changes.
    time: Option<EventTime>,
    extent: Extent,
    label: Option<Label<'w>>,
}

/// The labels of a record, and the stage that writes them.
#[derive(Clone, Copy)]
struct Label<'w> {
    detect: &'w Detect,
    labels: &'w Labels,
}

impl<'w> Label<'w> {
    fn of(stages: &'w Stages, labels: &'w Labels) -> Option<Label<'w>> {
        let detect = stages.detect.as_ref()?;
        (!labels.found_nothing()).then_some(Label { detect, labels })
    }
}

/// The one way out: enriches and labels a body whose other edits have been asked for, and
/// hands it to the sink.
#[inline]
fn finish<'a, D: Doc<'a>>(
    enrich: &mut Enrich,
    stats: &mut Stats,
    place: &Place<'_>,
    body: Body<'_, 'a, D>,
    edits: &mut Edits,
    written: Written<'_>,
    sink: &mut dyn Sink,
) -> Result<(), Malformed> {
    let Body { doc, map, members } = body;
    let Written {
        time,
        extent,
        label,
    } = written;
    let range = map.at..map.end;
    enrich.apply(doc, range.clone(), members, edits)?;
    if let Some(Label { detect, labels }) = label {
        detect.write(labels, doc, range.clone(), members, edits);
    }
    let plan = edits.settle(doc);
    let is_emptied = || {
        let left = members
            .len()
            .checked_add_signed(plan.members_gained(map.at));
        !members.is_empty() && left == Some(0)
    };
    if enrich.removes_keys() && is_emptied() {
        stats::count(&mut stats.emptied);
        sink.leave_out(place.original);
    } else if plan.is_empty() && time.is_none() && extent == Extent::Whole {
        sink.keep(place.original);
    } else {
        sink.write(place.original, time, &mut |out| {
            plan.apply(doc.bytes(), range.clone(), out);
        });
    }
    Ok(())
}

/// Counts an event that is kept, by its plan.
#[inline]
pub(super) fn count_kept(
    stats: &mut Stats,
    event: Event<'_, '_>,
    decision: Option<Decision>,
    plan: Plan<'_>,
) {
    if plan.has(Cause::Level) || plan.has(Cause::ManagedFields) {
        let managed = plan.bytes(Cause::ManagedFields).removed;
        stats::count(&mut stats.stripped);
        stats::count_bytes(&mut stats.level_bytes, plan.bytes(Cause::Level).removed);
        stats::count_bytes(&mut stats.managed_fields_bytes, managed);
    }
    let (enriched, labels) = (plan.bytes(Cause::Enrich), plan.bytes(Cause::Detect));
    let length = plan
        .length_of(event.range().len())
        .saturating_add(enriched.removed)
        .saturating_sub(enriched.added)
        .saturating_sub(labels.added);
    stats::count_bytes(&mut stats.bytes_out, length);
    if let Some(rule) = decision.and_then(|decision| stats.rule(decision.rule)) {
        stats::count_bytes(&mut rule.bytes_out, length);
    }
}
