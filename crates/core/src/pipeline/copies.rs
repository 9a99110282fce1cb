//! Records that hold an event more than once, hold several, or hold one elsewhere than
//! expected: parsers and the kubernetes filter keep a text beside what they read from it.
//!
//! One of them is the event of the record, which shapes and labels are about. The others are
//! judged as well: what a policy or the redaction takes from an event, it takes from each copy.

use std::ops::Range;

use crate::chunk::Sink;
use crate::doc::edit::{Cause, Edits};
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::doc::{AnyDoc, Doc, Kind, Malformed, Text};
use crate::event::kube::{Event, Field, MapView, Member, Scratch};
use crate::input::cri::Prefix;
use crate::input::recognise::{Carrier, Content, Line, Prefixes};
use crate::input::{FieldPath, Slot};
use crate::stage::detect::Labels;
use crate::stage::redact::{Redaction, unreadable};
use crate::stage::{Flow, Job};
use crate::stats::{self, Stats};

use super::settings::OnUnreadable;
use super::write::{Place, Writer, count_kept, hide_value, is_rest_of_event};

/// Length of the shortest event, as a map with three members.
const SHORTEST: usize = 27;

/// A place of a record that may hold events.
#[derive(Clone, Copy)]
pub(super) enum Spot<'a> {
    /// The whole record.
    Map,
    /// A map in it.
    Inner(Slot),
    /// A text in it.
    Text(Line<'a>),
}

/// What a spot holds.
#[derive(PartialEq, Eq)]
enum Held {
    /// An event with this audit ID and stage.
    Event([Vec<u8>; 2]),
    /// A list of events.
    List,
    /// Something that begins like an event and cannot be read.
    Malformed,
    /// Something else.
    Other,
}

impl Held {
    fn of(content: &Content<'_, '_>) -> Held {
        match content {
            Content::Event(event) => Held::of_event(*event),
            Content::List(_) => Held::List,
            Content::Malformed => Held::Malformed,
            Content::Other => Held::Other,
        }
    }

    fn of_event(event: Event<'_, '_>) -> Held {
        let value =
            |text: Option<Text<'_>>| text.map_or(Vec::new(), |text| text.value().into_owned());
        Held::Event([value(event.audit_id()), value(event.stage_name())])
    }

    fn of_map<'a, D: Doc<'a>>(doc: D, at: usize, scratch: &mut Scratch) -> Held {
        let mut view = MapView::default();
        match view.read(doc, at, scratch) {
            Ok(()) => Held::of(&Content::of_map(doc, &view)),
            Err(Malformed) => Held::Malformed,
        }
    }

    fn of_text(text: &[u8], prefix: Option<Prefix>, scratch: &mut Scratch) -> Held {
        let mut view = MapView::default();
        Held::of(&Content::of_text(text, prefix, &mut view, scratch))
    }

    fn has_events(&self) -> bool {
        matches!(self, Held::Event(_) | Held::List)
    }
}

/// The share of a copy in the counters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// It is an event of its own.
    Itself,
    /// The event that it is a copy of is counted.
    Elsewhere,
}

impl Counted {
    /// The share of what is `held` beside the event that is counted.
    fn of(held: &Held, event: Option<&Held>) -> Counted {
        match event == Some(held) {
            true => Counted::Elsewhere,
            false => Counted::Itself,
        }
    }
}

/// The buffers of a record with several events.
pub(super) struct Buffers<'b> {
    /// For maps and texts in the record.
    pub part: &'b mut Scratch,
    /// For items of lists.
    pub item: &'b mut Scratch,
}

/// True if a map may hold an event outside of `expected`, a place in it. Of a map that is an
/// event, the fields are no events of their own.
#[inline]
pub(super) fn may_exist(
    bytes: &[u8],
    members: &[Member],
    is_event: bool,
    expected: Option<&Line<'_>>,
) -> bool {
    members.iter().any(|member| {
        (member.field == Field::Other || !is_event)
            && member.end.saturating_sub(member.value) > SHORTEST
            && expected.is_none_or(|line| line.slot.member.start != member.start)
            && may_hold_event(bytes, member, expected)
    })
}

/// True if a member may hold an event outside of `expected`.
#[inline(never)]
fn may_hold_event(bytes: &[u8], member: &Member, expected: Option<&Line<'_>>) -> bool {
    let within = |range: &Range<usize>| member.value < range.start && range.end <= member.end;
    let expected = expected.map(|line| line.slot.member.start..line.slot.member.end);
    let hole = expected.filter(within).unwrap_or(member.end..member.end);
    [member.value..hole.start, hole.end..member.end]
        .into_iter()
        .any(|part| unreadable::looks_like_event(bytes.get(part).unwrap_or_default()))
}

/// The members of an event that may hold one as well.
fn holders<'m>(bytes: &'m [u8], members: &'m [Member]) -> impl Iterator<Item = &'m Member> {
    let others = members.iter().filter(|member| member.field == Field::Other);
    others.filter(|member| may_hold_event(bytes, member, None))
}

/// The map in a record at the path of `Log_Key`.
pub(super) fn inner<'a>(
    doc: Msgpack<'_>,
    map: usize,
    members: &[Member],
    key: &FieldPath,
) -> Option<Spot<'a>> {
    let slot = key.find(doc, map, members).ok()??;
    (doc.kind(slot.member.value) == Ok(Kind::Map)).then_some(Spot::Inner(slot))
}

/// The places of a record that may hold events, `expected` first.
#[cold]
fn spots<'p>(
    place: &Place<'p>,
    is_event: bool,
    expected: Option<Spot<'p>>,
    prefixes: Prefixes,
) -> Vec<Spot<'p>> {
    let doc = Msgpack(place.original.bytes);
    let mut spots: Vec<Spot<'_>> = expected.into_iter().collect();
    let expected_slot = match expected {
        Some(Spot::Text(line)) => Some(line.slot),
        Some(Spot::Inner(slot)) => Some(slot),
        Some(Spot::Map) | None => None,
    };
    let owner = expected_slot.map(|slot| slot.owner);
    let siblings = owner.filter(|owner| *owner != place.map.at);
    if is_event && !matches!(expected, Some(Spot::Map)) {
        spots.push(Spot::Map);
    }
    let members = place.members.iter();
    let members = members.filter(|member| member.field == Field::Other || !is_event);
    let at_top = members.map(|member| Slot {
        owner: place.map.at,
        member: *member,
    });
    let beside = siblings.into_iter().flat_map(|owner| slots_of(doc, owner));
    for slot in at_top.chain(beside) {
        let is_expected = expected_slot.is_some_and(|own| own.member.start == slot.member.start);
        if is_expected || !may_hold_event(doc.0, &slot.member, None) {
            continue;
        }
        if doc.kind(slot.member.value) == Ok(Kind::Map) {
            spots.push(Spot::Inner(slot));
        } else if let Some(line) = Line::at(doc, slot, prefixes) {
            spots.push(Spot::Text(line));
        }
    }
    spots
}

/// The members of a map in a record.
#[cold]
fn slots_of(doc: Msgpack<'_>, owner: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    let Ok(mut map) = doc.open_map(owner) else {
        return slots;
    };
    while let Ok(Some(member)) = doc.next_member(&mut map)
        && let Ok(end) = doc.end(member.value)
    {
        map.next = end;
        let (start, value, field) = (member.start, member.value, Field::Other);
        let member = Member {
            field,
            start,
            value,
            end,
        };
        slots.push(Slot { owner, member });
    }
    slots
}

impl Writer {
    /// Judges a record that may hold several events, and returns the place of the one that it
    /// is about: the first in which there is one. It is expected at `expected`. The edits of
    /// the others are left in `copy_edits`.
    #[cold]
    #[inline(never)]
    pub(super) fn several<'p>(
        &mut self,
        place: &Place<'p>,
        record: &Scratch,
        expected: Option<Spot<'p>>,
        prefixes: Prefixes,
        buffers: &mut Buffers<'_>,
    ) -> Option<Spot<'p>> {
        let doc = Msgpack(place.original.bytes);
        let is_event = !matches!(Content::of_map(doc, place.map), Content::Other);
        let spots = spots(place, is_event, expected, prefixes);
        let held = |spot| held(place, spot, buffers.part);
        let held: Vec<Held> = spots.iter().map(held).collect();
        let first = held.iter().position(Held::has_events);
        let malformed = || held.iter().position(|held| *held == Held::Malformed);
        let mut first = first.or_else(malformed)?;
        // Of events that differ, one that stays keeps the record.
        let all = || spots.iter().zip(&held).enumerate();
        let is_another = |other: &Held| held.get(first).is_some_and(|held| held != other);
        if held.iter().filter(|held| held.has_events()).any(is_another) {
            for (number, (spot, _)) in all().filter(|(_, (_, held))| held.has_events()) {
                let stays = self.judge(place, record, spot, Counted::Elsewhere, buffers);
                self.copy_edits.clear();
                if stays {
                    first = number;
                    break;
                }
            }
        }
        for (number, (spot, other)) in all() {
            if number == first || *other == Held::Other {
                continue;
            }
            let counted = Counted::of(other, held.get(first));
            if !self.judge(place, record, spot, counted, buffers) {
                self.remove(place, spot);
            }
        }
        spots.get(first).copied()
    }

    /// Handles the event that a record with several is about.
    #[cold]
    #[inline(never)]
    pub(super) fn write_spot(
        &mut self,
        place: &Place<'_>,
        record: &Scratch,
        spot: &Spot<'_>,
        buffers: Buffers<'_>,
        sink: &mut dyn Sink,
    ) {
        let Buffers { part, item } = buffers;
        let doc = Msgpack(place.original.bytes);
        let mut view = MapView::default();
        let (carrier, content, scratch) = match spot {
            Spot::Text(line) => return self.text(place, line, part, item, sink),
            Spot::Map => (Carrier::Map, Content::of_map(doc, place.map), record),
            Spot::Inner(slot) => {
                let content = match view.read(doc, slot.member.value, part) {
                    Ok(()) => Content::of_map(doc, &view),
                    Err(Malformed) => Content::Malformed,
                };
                (Carrier::Inner(*slot), content, &*part)
            }
        };
        let place = Place { carrier, ..*place };
        self.map(&place, content, scratch, item, sink);
    }

    /// Judges what a spot holds: its edits are added to those of the record's copies. False if
    /// nothing of it stays.
    #[cold]
    fn judge(
        &mut self,
        place: &Place<'_>,
        record: &Scratch,
        spot: &Spot<'_>,
        counted: Counted,
        buffers: &mut Buffers<'_>,
    ) -> bool {
        let doc = Msgpack(place.original.bytes);
        let mut edits = Edits::default();
        let judged = match spot {
            Spot::Map => {
                let content = Content::of_map(doc, place.map);
                let views = (record, &mut *buffers.item);
                self.judge_content(place, doc, content, views, counted, &mut edits)
            }
            Spot::Inner(slot) => {
                self.judge_map(place, doc, slot.member.value, counted, buffers, &mut edits)
            }
            Spot::Text(line) => {
                let (text, prefix) = (line.text, line.prefix);
                self.judge_text(place, text, prefix, counted, buffers, &mut edits)
            }
        };
        match (judged, spot) {
            (Err(Malformed), _) => return self.judge_unreadable(place, spot),
            (Ok(_), Spot::Map | Spot::Inner(_)) => self.copy_edits.add(&edits),
            (Ok(_), Spot::Text(line)) => {
                let plan = edits.settle(Json(line.text));
                let Member { value, end, .. } = line.slot.member;
                let offset = end.saturating_sub(line.text.len());
                self.copy_edits.embed(value, offset, plan);
            }
        }
        judged == Ok(true)
    }

    /// Judges the event, or the list, that a map is.
    #[cold]
    fn judge_map<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        at: usize,
        counted: Counted,
        buffers: &mut Buffers<'_>,
        edits: &mut Edits,
    ) -> Result<bool, Malformed> {
        let Buffers { part, item } = buffers;
        let mut view = MapView::default();
        view.read(doc, at, part)?;
        let content = Content::of_map(doc, &view);
        self.judge_content(place, doc, content, (part, item), counted, edits)
    }

    /// Judges the event, or the list, that a text holds.
    #[cold]
    fn judge_text(
        &mut self,
        place: &Place<'_>,
        text: &[u8],
        prefix: Option<Prefix>,
        counted: Counted,
        buffers: &mut Buffers<'_>,
        edits: &mut Edits,
    ) -> Result<bool, Malformed> {
        let Buffers { part, item } = buffers;
        let mut view = MapView::default();
        let content = Content::of_text(text, prefix, &mut view, part);
        self.judge_content(place, Json(text), content, (part, item), counted, edits)
    }

    /// Judges an event or the items of a list; false if none stays.
    #[cold]
    fn judge_content<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        content: Content<'_, 'a>,
        (scratch, item): (&Scratch, &mut Scratch),
        counted: Counted,
        edits: &mut Edits,
    ) -> Result<bool, Malformed> {
        let list = match content {
            Content::Event(event) => {
                return self.judge_event(place, doc, event, scratch, counted, edits);
            }
            Content::List(list) => list,
            Content::Other | Content::Malformed => return Err(Malformed),
        };
        let mut stays = false;
        for range in list.items {
            let mut view = MapView::default();
            view.read(doc, range.start, item)?;
            let event = view.item_of_list(list.version);
            if self.judge_event(place, doc, event, item, counted, edits)? {
                stays = true;
            } else {
                edits.remove_item(list.at, range, Cause::Shape);
            }
        }
        Ok(stays)
    }

    #[cold]
    #[inline(never)]
    fn judge_event<'a, D: Doc<'a>>(
        &mut self,
        place: &Place<'_>,
        doc: D,
        event: Event<'_, 'a>,
        scratch: &Scratch,
        counted: Counted,
        edits: &mut Edits,
    ) -> Result<bool, Malformed> {
        let (mut stats, mut uses) = (Stats::default(), Vec::new());
        let mut own = Edits::default();
        let is_counted = counted == Counted::Itself;
        let mut count_elsewhere = |redact: &mut Option<Redaction>| {
            if let (Some(redact), false) = (redact, is_counted) {
                redact.swap_uses(&mut uses);
            }
        };
        count_elsewhere(&mut self.stages.redact);
        let mut job = Job {
            doc,
            event,
            scratch,
            record: Some((Msgpack(place.original.bytes), place.members)),
            decision: None,
            edits: &mut own,
            labels: &mut Labels::default(),
            stats: match is_counted {
                true => &mut self.stats,
                false => &mut stats,
            },
        };
        let flow = self.stages.apply(&mut job);
        let decision = job.decision;
        // A copy in a copy tells nothing more.
        for member in holders(doc.bytes(), &scratch.members) {
            own.remove_member(event.start(), member.start..member.end, Cause::Shape);
        }
        count_elsewhere(&mut self.stages.redact);
        if flow? != Flow::Continue {
            return Ok(false);
        }
        let plan = own.settle(doc);
        if is_counted {
            count_kept(&mut self.stats, event, decision, plan);
        }
        edits.add(&own);
        Ok(true)
    }

    /// Judges the events that an event holds in members that are none of its fields; `event`
    /// is where it begins.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_members(
        &mut self,
        place: &Place<'_>,
        doc: AnyDoc<'_>,
        event: Event<'_, '_>,
        members: &[Member],
    ) -> Result<(), Malformed> {
        let own = Held::of_event(event);
        let (mut part, mut item) = (Scratch::default(), Scratch::default());
        let buffers = &mut Buffers {
            part: &mut part,
            item: &mut item,
        };
        for member in holders(doc.bytes(), members) {
            let mut edits = Edits::default();
            let at = member.value;
            let mut written = None;
            let judged = match (doc.string(at)?, doc) {
                (Some(text), _) => {
                    let text = text.value();
                    let prefix = Prefix::read(&text);
                    let held = Held::of_text(&text, prefix, buffers.part);
                    if held == Held::Other {
                        continue;
                    }
                    let counted = Counted::of(&held, Some(&own));
                    let judged =
                        self.judge_text(place, &text, prefix, counted, buffers, &mut edits);
                    let plan = edits.settle(Json(&text));
                    if !plan.is_empty() {
                        let mut left = Vec::new();
                        plan.apply(&text, 0..text.len(), &mut left);
                        doc.write_text(&left, written.insert(Vec::new()));
                    }
                    judged
                }
                (None, _) if doc.kind(at)? != Kind::Map => continue,
                (None, AnyDoc::Json(doc)) => {
                    let held = Held::of_map(doc, at, buffers.part);
                    if held == Held::Other {
                        continue;
                    }
                    let counted = Counted::of(&held, Some(&own));
                    self.judge_map(place, doc, at, counted, buffers, &mut edits)
                }
                (None, AnyDoc::Msgpack(doc)) => {
                    let held = Held::of_map(doc, at, buffers.part);
                    if held == Held::Other {
                        continue;
                    }
                    let counted = Counted::of(&held, Some(&own));
                    self.judge_map(place, doc, at, counted, buffers, &mut edits)
                }
            };
            let of_event = &mut self.event_edits;
            if judged != Ok(true) {
                let member = member.start..member.end;
                of_event.remove_member(event.start(), member, Cause::Shape);
            } else if let Some(written) = written {
                of_event.replace_value(at..member.end, Cause::Shape, |out| {
                    out.extend_from_slice(&written);
                });
            } else {
                of_event.add(&edits);
            }
        }
        Ok(())
    }

    /// Handles a copy that cannot be read; false if it goes.
    #[cold]
    fn judge_unreadable(&mut self, place: &Place<'_>, spot: &Spot<'_>) -> bool {
        stats::count(&mut self.stats.malformed);
        let outcome = self.on_unreadable();
        if outcome != OnUnreadable::Cut {
            return outcome == OnUnreadable::Keep;
        }
        let edits = &mut self.copy_edits;
        match spot {
            Spot::Map => {
                for member in fields(place) {
                    hide_value(*member, edits);
                }
            }
            Spot::Inner(slot) => hide_value(slot.member, edits),
            Spot::Text(line) => {
                let (front, text) = line.split();
                let mut kept = front.to_vec();
                unreadable::cut(text, &mut kept);
                let Member { value, end, .. } = line.slot.member;
                edits.replace_value(value..end, Cause::Redact, |out| {
                    Msgpack::write_text(out, &kept);
                });
            }
        }
        true
    }

    /// Removes a copy from its record.
    #[cold]
    fn remove(&mut self, place: &Place<'_>, spot: &Spot<'_>) {
        let edits = &mut self.copy_edits;
        let mut remove = |Slot { owner, member }: Slot| {
            edits.remove_member(owner, member.start..member.end, Cause::Shape);
        };
        match spot {
            Spot::Map => {
                for member in fields(place) {
                    remove(Slot {
                        owner: place.map.at,
                        member: *member,
                    });
                }
            }
            Spot::Inner(slot) => remove(*slot),
            Spot::Text(line) => remove(line.slot),
        }
    }
}

/// The members of a record that are fields of an event.
fn fields<'p>(place: &Place<'p>) -> impl Iterator<Item = &'p Member> {
    let members = place.members.iter();
    members.filter(|member| member.field != Field::Other)
}

/// What a spot of a record holds.
#[cold]
fn held(place: &Place<'_>, spot: &Spot<'_>, scratch: &mut Scratch) -> Held {
    let doc = Msgpack(place.original.bytes);
    match spot {
        Spot::Map => Held::of(&Content::of_map(doc, place.map)),
        Spot::Inner(slot) => Held::of_map(doc, slot.member.value, scratch),
        Spot::Text(line) => match Held::of_text(line.text, line.prefix, scratch) {
            // Text of other programs stays, unless it is the rest of an event.
            Held::Malformed if !unreadable::looks_like_event(line.text) => Held::Other,
            Held::Other if is_rest_of_event(line) => Held::Malformed,
            held => held,
        },
    }
}
