//! Notes on an event about what was done to it: annotations at the end of those it has.

use std::borrow::Cow;
use std::ops::Range;

use crate::doc::edit::{Cause, Edits};
use crate::doc::{AnyDoc, Doc, Kind, Malformed};
use crate::event::kube::{Field, Member};
use crate::policy::Level;
use crate::stage::{Job, cut};

/// Key and value of an annotation that a stage writes.
pub(crate) type Note = (&'static [u8], Vec<u8>);

/// An annotation of an event: the place of its value, and the value if it is a string.
type Earlier<'a> = (Range<usize>, Cow<'a, [u8]>);

/// Asks for the edits that write notes on an event.
#[cold]
pub(crate) fn write<'a, D: Doc<'a>>(
    job: &mut Job<'_, 'a, D>,
    notes: &[Note],
) -> Result<(), Malformed> {
    let level = cut::level_left(job).unwrap_or(Level::RequestResponse);
    let (doc, event) = (job.doc.into(), job.event.range());
    let annotations = Annotations::find(doc, &job.scratch.members, level)?;
    annotations.write(doc, event, notes, job.edits)
}

/// The annotations of an event.
pub(crate) struct Annotations {
    /// Their place, if the cut leaves any.
    at: Option<Range<usize>>,
}

impl Annotations {
    /// Finds the annotations among the members of an event of which a level is left.
    #[cold]
    pub(crate) fn find(
        doc: AnyDoc<'_>,
        members: &[Member],
        level: Level,
    ) -> Result<Annotations, Malformed> {
        for member in members.iter().rev() {
            if member.field != Field::Annotations || doc.kind(member.value)? != Kind::Map {
                continue;
            }
            let mut map = doc.open_map(member.value)?;
            let (mut stays, mut has_some) = (false, false);
            while let Some(annotation) = doc.next_member(&mut map)? {
                map.next = doc.end(annotation.value)?;
                stays |= !cut::annotation_goes(&annotation.key.value(), level);
                has_some = true;
            }
            let at = (stays || !has_some).then_some(member.value..member.end);
            return Ok(Annotations { at });
        }
        Ok(Annotations { at: None })
    }

    /// Finds an annotation.
    #[cold]
    pub(crate) fn get<'a>(
        &self,
        doc: AnyDoc<'a>,
        key: &[u8],
    ) -> Result<Option<Earlier<'a>>, Malformed> {
        let Some(at) = &self.at else {
            return Ok(None);
        };
        let mut found = None;
        let mut map = doc.open_map(at.start)?;
        while let Some(member) = doc.next_member(&mut map)? {
            let (text, end) = doc.value(member.value)?;
            map.next = end;
            if member.key.is(key) {
                found = Some((member.value..end, text.unwrap_or_default().value()));
            }
        }
        Ok(found)
    }

    /// Asks for the edits that write notes: in place of earlier ones, or at the end.
    #[cold]
    fn write(
        &self,
        doc: AnyDoc<'_>,
        event: Range<usize>,
        notes: &[Note],
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        let (mut new, mut value) = (Vec::new(), Vec::new());
        for (key, text) in notes {
            value.clear();
            doc.write_text(text, &mut value);
            let (earlier, annotations) = (self.get(doc, key)?, &self.at);
            match (earlier, annotations) {
                (Some((at, _)), _) => {
                    edits.replace_value(at, Cause::Redact, |out| out.extend_from_slice(&value));
                }
                (None, Some(at)) => {
                    doc.append_member(at.clone(), key, &value, Cause::Redact, edits);
                }
                (None, None) => new.push((*key, value.clone())),
            }
        }
        if !new.is_empty() {
            let mut map = Vec::new();
            doc.write_map(&new, &mut map);
            doc.append_member(event, b"annotations", &map, Cause::Redact, edits);
        }
        Ok(())
    }
}
