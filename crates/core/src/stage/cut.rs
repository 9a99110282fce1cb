//! What a level and `omitManagedFields` take out of an event.

use crate::policy::Level;

use crate::doc::edit::{Cutter, Edits};
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{Event, Field, Slot};
use crate::stage::enrich::{Enrichment, KeyRule};

/// The annotations that the API server records at level `Request` and above:
/// the JSON patches of mutating webhooks, which may hold secrets.
pub const REQUEST_LEVEL_ANNOTATIONS: &[u8] = b"patch.webhook.admission.k8s.io/";

/// How an event is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The level of the rule; an event's own level is never raised to it.
    pub level: Level,
    /// Whether `managedFields` go.
    pub omit_managed_fields: bool,
}

/// What the edits do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The policy takes something out.
    pub stripped: bool,
    /// The enrichment leaves no member.
    pub emptied: bool,
}

/// Collects the edits that bring an event down to what `cut` leaves, together
/// with the enrichment of the map, and a UUID for it, where it is the record.
pub fn plan<'a, T: Doc<'a>>(
    tree: T,
    event: &Event<'a>,
    slots: &[Slot],
    cut: Option<Cut>,
    enrich: Option<(&Enrichment, &[u8])>,
    edits: &mut Edits,
) -> Result<Plan, Malformed> {
    if cut.is_none() && enrich.is_none() {
        return Ok(Plan::default());
    }
    let mut cutter = Cutter::new(event.at, event.members);
    let mut stripped = false;
    let own_level = event.level();
    let by_key = enrich.is_some_and(|(enrichment, _)| enrichment.keys != KeyRule::KeepAll);
    let in_question = |slot: &Slot| by_key || cut.is_some() && slot.field.depends_on_level();
    // Members that stay as they are, since the last one that does not.
    let mut same = 0;
    for (at, slot) in slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| in_question(slot))
    {
        let goes = match cut {
            Some(cut) => cut_member(tree, event, own_level, slot, cut, edits, &mut stripped)?,
            None => false,
        };
        let member = slot.start..slot.end;
        if !goes {
            match enrich {
                Some((enrichment, _)) if !enrichment.keeps(tree, slot)? => {
                    edits.forget_within(&member);
                }
                _ => continue,
            }
        }
        keep(&mut cutter, &slots[same..at], edits);
        cutter.cut(member);
        same = at + 1;
    }
    keep(&mut cutter, &slots[same..], edits);
    let additions = enrich
        .into_iter()
        .flat_map(|(enrichment, uuid)| enrichment.additions(uuid));
    let members = cutter.close(tree, additions, edits);
    edits.settle();
    let emptied = enrich.is_some() && members == 0 && !slots.is_empty();
    Ok(Plan { stripped, emptied })
}

fn keep(cutter: &mut Cutter, slots: &[Slot], edits: &mut Edits) {
    if let [first, .., last] | [first @ last] = slots {
        cutter.keep_all(slots.len(), first.start..last.end, edits);
    }
}

/// Brings a member down to what `cut` leaves of it; whether it goes as a whole.
#[inline]
fn cut_member<'a, T: Doc<'a>>(
    tree: T,
    event: &Event<'a>,
    own_level: Option<Level>,
    slot: &Slot,
    cut: Cut,
    edits: &mut Edits,
    stripped: &mut bool,
) -> Result<bool, Malformed> {
    let level = own_level.map_or(cut.level, |level| level.min(cut.level));
    let goes = match slot.field {
        Field::Annotations => {
            level < Level::Request && strip_annotations(tree, slot.value, edits, stripped)?
        }
        field => body_goes(field, level),
    };
    if goes {
        *stripped = true;
        return Ok(true);
    }
    match slot.field {
        Field::Level if own_level != Some(level) => {
            edits.replace(slot.value..slot.end, |out| {
                T::write_text(out, level.name().as_bytes())
            });
        }
        // The body of a patch is the patch itself, not an object.
        Field::RequestObject if cut.omit_managed_fields && !event.is_patch() => {
            *stripped |= strip_managed_fields(tree, slot.value, edits)?;
        }
        Field::ResponseObject if cut.omit_managed_fields => {
            *stripped |= strip_managed_fields(tree, slot.value, edits)?;
        }
        _ => {}
    }
    Ok(false)
}

/// Whether a field is a body that a level does not have.
pub fn body_goes(field: Field, level: Level) -> bool {
    match field {
        Field::RequestObject => level < Level::Request,
        Field::ResponseObject => level < Level::RequestResponse,
        _ => false,
    }
}

/// Takes the annotations of level `Request` out; true when that leaves none.
fn strip_annotations<'a, T: Doc<'a>>(
    tree: T,
    at: usize,
    edits: &mut Edits,
    stripped: &mut bool,
) -> Result<bool, Malformed> {
    if tree.kind(at)? != Kind::Map {
        return Ok(false);
    }
    let mark = edits.mark();
    let mut map = tree.open_map(at)?;
    let mut cutter = Cutter::new(at, map.next);
    let mut cut_any = false;
    while let Some(member) = tree.next_member(&mut map)? {
        map.next = tree.end(member.value)?;
        if member.key.value().starts_with(REQUEST_LEVEL_ANNOTATIONS) {
            cutter.cut(member.start..map.next);
            cut_any = true;
        } else {
            cutter.keep(member.start..map.next, edits);
        }
    }
    if cut_any && cutter.kept() == 0 {
        edits.rewind(mark);
        return Ok(true);
    }
    *stripped |= cut_any;
    cutter.close(tree, [], edits);
    Ok(false)
}

/// Takes `managedFields` out of an object, the items of a list and the rows of a
/// table: top level only, as the API server does.
fn strip_managed_fields<'a, T: Doc<'a>>(
    tree: T,
    at: usize,
    edits: &mut Edits,
) -> Result<bool, Malformed> {
    let Some(parts) = ObjectParts::read(tree, at)? else {
        return Ok(false);
    };
    let mut stripped = strip_metadata(tree, parts.metadata, edits)?;
    if let Some(items) = parts.items {
        stripped |= for_each(tree, items, |item| {
            let item = ObjectParts::read(tree, item)?;
            strip_metadata(tree, item.and_then(|item| item.metadata), edits)
        })?;
    }
    if let (Some(rows), true) = (parts.rows, parts.is_table) {
        stripped |= for_each(tree, rows, |row| {
            let object = ObjectParts::read(tree, row)?.and_then(|row| row.object);
            let Some(object) = object else {
                return Ok(false);
            };
            let object = ObjectParts::read(tree, object)?;
            strip_metadata(tree, object.and_then(|object| object.metadata), edits)
        })?;
    }
    Ok(stripped)
}

/// The members of an API object, a list or a table row that may lead to `managedFields`.
#[derive(Default)]
struct ObjectParts {
    metadata: Option<usize>,
    items: Option<usize>,
    rows: Option<usize>,
    object: Option<usize>,
    is_table: bool,
}

impl ObjectParts {
    fn read<'a, T: Doc<'a>>(tree: T, at: usize) -> Result<Option<ObjectParts>, Malformed> {
        if tree.kind(at)? != Kind::Map {
            return Ok(None);
        }
        let mut parts = ObjectParts::default();
        let (mut table_kind, mut table_version) = (false, false);
        let mut map = tree.open_map(at)?;
        while let Some(member) = tree.next_member(&mut map)? {
            let value = member.value;
            map.next = tree.end(value)?;
            let kind = tree.kind(value)?;
            match (member.key.value().as_ref(), kind) {
                (b"metadata", Kind::Map) => parts.metadata = Some(value),
                (b"object", Kind::Map) => parts.object = Some(value),
                (b"items", Kind::List) => parts.items = Some(value),
                (b"rows", Kind::List) => parts.rows = Some(value),
                (b"kind", Kind::Text) => table_kind = tree.text(value)?.0.is(b"Table"),
                (b"apiVersion", Kind::Text) => {
                    table_version = tree.text(value)?.0.value().starts_with(b"meta.k8s.io/");
                }
                _ => {}
            }
        }
        parts.is_table = table_kind && table_version;
        Ok(Some(parts))
    }
}

fn for_each<'a, T: Doc<'a>>(
    tree: T,
    at: usize,
    mut strip: impl FnMut(usize) -> Result<bool, Malformed>,
) -> Result<bool, Malformed> {
    let mut stripped = false;
    let mut list = tree.open_list(at)?;
    while let Some(item) = tree.next_item(&mut list)? {
        list.next = tree.end(item)?;
        stripped |= strip(item)?;
    }
    Ok(stripped)
}

fn strip_metadata<'a, T: Doc<'a>>(
    tree: T,
    metadata: Option<usize>,
    edits: &mut Edits,
) -> Result<bool, Malformed> {
    let Some(at) = metadata else { return Ok(false) };
    let mut map = tree.open_map(at)?;
    let mut cutter = Cutter::new(at, map.next);
    let mut stripped = false;
    while let Some(member) = tree.next_member(&mut map)? {
        map.next = tree.end(member.value)?;
        if member.key.is(b"managedFields") {
            cutter.cut(member.start..map.next);
            stripped = true;
        } else {
            cutter.keep(member.start..map.next, edits);
        }
    }
    cutter.close(tree, [], edits);
    Ok(stripped)
}
