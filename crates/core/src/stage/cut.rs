//! The cut: what the level and `omitManagedFields` of the deciding rule leave out of an event.

use crate::policy::Level;

use crate::doc::edit::{Cause, Edits};
use crate::doc::{AnyDoc, Doc, Kind, Malformed};
use crate::event::kube::Field;
use crate::stage::Job;

/// The annotations that the API server records at level `Request` and above:
/// the JSON patches of mutating webhooks, which may hold secrets.
pub(crate) const REQUEST_LEVEL_ANNOTATIONS: &[u8] = b"patch.webhook.admission.k8s.io/";

/// Asks for the edits that bring an event down to the level of the rule, or to its own
/// where that is lower. A `level` that the API server does not know stays as it is.
#[inline]
pub(crate) fn apply<'a, D: Doc<'a>>(job: &mut Job<'_, 'a, D>) -> Result<(), Malformed> {
    let Some(decision) = &job.decision else {
        return Ok(());
    };
    let Job {
        doc, event, edits, ..
    } = job;
    let own = event.level();
    let level = lower(own, decision.level);
    let members = job.scratch.members.iter();
    for member in members.filter(|member| member.field.depends_on_level()) {
        let goes = match member.field {
            Field::Annotations if level < Level::Request => {
                remove_annotations(*doc, member.value, edits)?
            }
            field => leaves_out(field, level),
        };
        if goes {
            edits.remove_member(event.start(), member.start..member.end, Cause::Level);
            continue;
        }
        match member.field {
            Field::Level if own.is_some_and(|own| own != level) => {
                edits.replace_value(member.value..member.end, Cause::LevelName, |out| {
                    D::write_text(out, level.name().as_bytes());
                });
            }
            // The body of a patch is the patch itself, not an object.
            Field::RequestObject if decision.omit_managed_fields && !event.is_patch() => {
                remove_managed_fields((*doc).into(), member.value, Cause::ManagedFields, edits)?;
            }
            Field::ResponseObject if decision.omit_managed_fields => {
                remove_managed_fields((*doc).into(), member.value, Cause::ManagedFields, edits)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The level of the rule, or the event's own where that is lower.
fn lower(own: Option<Level>, rule: Level) -> Level {
    own.map_or(rule, |own| own.min(rule))
}

/// The level that the cut brings an event down to; `None` without a policy.
#[inline]
pub(crate) fn level_left<'a, D: Doc<'a>>(job: &Job<'_, 'a, D>) -> Option<Level> {
    let rule = job.decision.as_ref()?.level;
    Some(lower(job.event.level(), rule))
}

/// True for the bodies that an event does not have at a level.
#[inline]
pub(crate) fn leaves_out(field: Field, level: Level) -> bool {
    match field {
        Field::RequestObject => level < Level::Request,
        Field::ResponseObject => level < Level::RequestResponse,
        _ => false,
    }
}

/// True for the annotations that an event does not have at a level.
pub(crate) fn annotation_goes(key: &[u8], level: Level) -> bool {
    level < Level::Request && key.starts_with(REQUEST_LEVEL_ANNOTATIONS)
}

/// Removes the annotations of level `Request`; returns whether that leaves none.
fn remove_annotations<'a, D: Doc<'a>>(
    doc: D,
    at: usize,
    edits: &mut Edits,
) -> Result<bool, Malformed> {
    if doc.kind(at)? != Kind::Map {
        return Ok(false);
    }
    let mut map = doc.open_map(at)?;
    let (mut stays, mut goes) = (false, false);
    while let Some(member) = doc.next_member(&mut map)? {
        map.next = doc.end(member.value)?;
        if member.key.value().starts_with(REQUEST_LEVEL_ANNOTATIONS) {
            edits.remove_member(at, member.start..map.next, Cause::Level);
            goes = true;
        } else {
            stays = true;
        }
    }
    Ok(goes && !stays)
}

/// Removes `managedFields` from an object, the items of a list and the rows of a table:
/// top level only, as the API server does.
pub(crate) fn remove_managed_fields(
    doc: AnyDoc<'_>,
    at: usize,
    cause: Cause,
    edits: &mut Edits,
) -> Result<(), Malformed> {
    let Some(parts) = ObjectParts::read(doc, at)? else {
        return Ok(());
    };
    remove_from_metadata(doc, parts.metadata, cause, edits)?;
    if let Some(items) = parts.items {
        for_each(doc, items, &mut |item| {
            let item = ObjectParts::read(doc, item)?;
            remove_from_metadata(doc, item.and_then(|item| item.metadata), cause, edits)
        })?;
    }
    if let (Some(rows), true) = (parts.rows, parts.is_table) {
        for_each(doc, rows, &mut |row| {
            let object = ObjectParts::read(doc, row)?.and_then(|row| row.object);
            let Some(object) = object else {
                return Ok(());
            };
            let object = ObjectParts::read(doc, object)?;
            remove_from_metadata(doc, object.and_then(|object| object.metadata), cause, edits)
        })?;
    }
    Ok(())
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
    fn read(doc: AnyDoc<'_>, at: usize) -> Result<Option<ObjectParts>, Malformed> {
        if doc.kind(at)? != Kind::Map {
            return Ok(None);
        }
        let mut parts = ObjectParts::default();
        let (mut table_kind, mut table_version) = (false, false);
        let mut map = doc.open_map(at)?;
        while let Some(member) = doc.next_member(&mut map)? {
            let value = member.value;
            map.next = doc.end(value)?;
            let kind = doc.kind(value)?;
            match (member.key.value().as_ref(), kind) {
                (b"metadata", Kind::Map) => parts.metadata = Some(value),
                (b"object", Kind::Map) => parts.object = Some(value),
                (b"items", Kind::List) => parts.items = Some(value),
                (b"rows", Kind::List) => parts.rows = Some(value),
                (b"kind", Kind::Text) => {
                    table_kind = doc.value(value)?.0.unwrap_or_default().is(b"Table")
                }
                (b"apiVersion", Kind::Text) => {
                    table_version = doc
                        .value(value)?
                        .0
                        .unwrap_or_default()
                        .value()
                        .starts_with(b"meta.k8s.io/");
                }
                _ => {}
            }
        }
        parts.is_table = table_kind && table_version;
        Ok(Some(parts))
    }
}

fn for_each(
    doc: AnyDoc<'_>,
    at: usize,
    each: &mut dyn FnMut(usize) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut list = doc.open_list(at)?;
    while let Some(item) = doc.next_item(&mut list)? {
        list.next = doc.end(item)?;
        each(item)?;
    }
    Ok(())
}

fn remove_from_metadata(
    doc: AnyDoc<'_>,
    metadata: Option<usize>,
    cause: Cause,
    edits: &mut Edits,
) -> Result<(), Malformed> {
    let Some(at) = metadata else { return Ok(()) };
    let mut map = doc.open_map(at)?;
    while let Some(member) = doc.next_member(&mut map)? {
        map.next = doc.end(member.value)?;
        if member.key.is(b"managedFields") {
            edits.remove_member(at, member.start..map.next, cause);
        }
    }
    Ok(())
}
