//! The shrink: an event that is larger than a sink takes loses what matters least, and says so.

use crate::available::RedactionAvailable;
use crate::doc::convert;
use crate::doc::edit::{Cause, Edits};
use crate::doc::msgpack::Msgpack;
use crate::doc::{AnyDoc, Doc, Kind, Malformed, Text};
use crate::event::kube::{Event, Field, Member};
use crate::policy::Level;
use crate::stage::Job;
use crate::stage::cut;
use crate::stage::note::{Annotations, Note};
use crate::stats::{self, Stats};

/// The annotation that the API server writes when it leaves the bodies of an event out.
pub(crate) const TRUNCATED: &[u8] = b"audit.k8s.io/truncated";

/// The annotation that says what was left out, and how many bytes.
pub const SHRUNK: &[u8] = b"kube-audit/shrunk";

/// The length to which strings are cut that are no attributes of the request.
pub const LONGEST_STRING: usize = 1024;

/// The end of a string that was cut.
const CUT_MARK: &[u8] = b"...";

/// Limits of what events may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of an event, as JSON; `None` for any number.
    pub limit: Option<usize>,
    /// The form of bodies.
    pub bodies: Bodies,
}

/// The form of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bodies {
    /// As they came.
    #[default]
    Keep,
    /// Text, with the body as JSON.
    Json,
    /// They are left out.
    Drop,
}

/// The limits of sinks that are known by name.
pub const SINKS: [(&str, usize); 4] = [
    ("aks", 16 << 10),
    ("cloudwatch", 256 << 10),
    ("loki", 256 << 10),
    ("splunk", 10_000),
];

/// Something that an event may lose. They go in this order, until the event fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// `managedFields` of the bodies.
    ManagedFields,
    /// The response body.
    ResponseObject,
    /// The request body.
    RequestObject,
    /// The ends of strings longer than [`LONGEST_STRING`].
    Strings,
}

impl Loss {
    const ALL: [Loss; 4] = [
        Loss::ManagedFields,
        Loss::ResponseObject,
        Loss::RequestObject,
        Loss::Strings,
    ];

    /// The name in the annotation.
    pub fn name(self) -> &'static str {
        match self {
            Loss::ManagedFields => "managedFields",
            Loss::ResponseObject => "responseObject",
            Loss::RequestObject => "requestObject",
            Loss::Strings => "strings",
        }
    }
}

/// Makes events fit. Keeps its buffers from event to event.
#[derive(Debug)]
pub struct Shrink {
    _available: RedactionAvailable,
    settings: Settings,
    losses: Vec<(Loss, usize)>,
    event: Vec<u8>,
    json: Vec<u8>,
}

/// An event on its way through the stage.
#[derive(Clone, Copy)]
struct Subject<'j, 'a> {
    doc: AnyDoc<'a>,
    event: Event<'j, 'a>,
    members: &'j [Member],
    level: Level,
}

impl Shrink {
    /// Prepares the stage; `None` if all events may be as they are, or this build has none.
    pub fn new(settings: Settings) -> Option<Shrink> {
        let available = RedactionAvailable::proof()?;
        (settings != Settings::default()).then(|| Shrink {
            _available: available,
            settings,
            losses: Vec::new(),
            event: Vec::new(),
            json: Vec::new(),
        })
    }

    /// What the event lost that was shrunk last, and how many bytes.
    pub fn losses(&self) -> &[(Loss, usize)] {
        &self.losses
    }

    /// Asks for the edits that make an event fit; the notes are those of stages before.
    #[inline]
    pub fn apply<'a, D: Doc<'a>>(
        &mut self,
        job: &mut Job<'_, 'a, D>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Malformed> {
        let subject = Subject {
            doc: job.doc.into(),
            event: job.event,
            members: &job.scratch.members,
            level: cut::level_left(job).unwrap_or(Level::RequestResponse),
        };
        self.shrink(&subject, job.edits, notes, job.stats)
    }

    #[cold]
    #[inline(never)]
    fn shrink(
        &mut self,
        subject: &Subject<'_, '_>,
        edits: &mut Edits,
        notes: &mut Vec<Note>,
        stats: &mut Stats,
    ) -> Result<(), Malformed> {
        self.losses.clear();
        for field in [Field::ResponseObject, Field::RequestObject] {
            match self.settings.bodies {
                Bodies::Keep => {}
                Bodies::Json => self.write_bodies(subject, field, edits)?,
                Bodies::Drop => {
                    let before = self.length(subject, edits)?;
                    subject.remove(field, edits);
                    self.count_loss(subject, Loss::of(field), before, edits)?;
                }
            }
        }
        let mut fits = true;
        if let Some(limit) = self.settings.limit {
            let mut losses = Loss::ALL.into_iter();
            loop {
                let length = self.length(subject, edits)?;
                fits = length.saturating_add(self.length_of_notes(subject, notes)) <= limit;
                let Some(loss) = losses.next().filter(|_| !fits) else {
                    break;
                };
                subject.lose(loss, edits)?;
                self.count_loss(subject, loss, length, edits)?;
            }
        }
        if !fits {
            stats::count(&mut stats.oversize);
        }
        if !self.losses.is_empty() {
            stats::count(&mut stats.shrunk);
            let annotations = Annotations::find(subject.doc, subject.members, subject.level)?;
            let earlier = annotations.get(subject.doc, SHRUNK)?;
            let mut text = earlier.map_or(Vec::new(), |(_, text)| text.into_owned());
            self.write_losses(&mut text);
            notes.push((TRUNCATED, b"true".to_vec()));
            notes.push((SHRUNK, text));
        }
        Ok(())
    }

    /// The length of the event after the edits, as JSON.
    #[cold]
    fn length(&mut self, subject: &Subject<'_, '_>, edits: &mut Edits) -> Result<usize, Malformed> {
        let range = subject.event.range();
        let plan = subject.doc.settle(edits);
        let length = plan.length_of(range.len());
        // A byte of msgpack is never more than six of JSON.
        let is_small = self
            .settings
            .limit
            .is_none_or(|limit| length.saturating_mul(6) <= limit);
        if matches!(subject.doc, AnyDoc::Json(_)) || is_small {
            return Ok(length);
        }
        self.event.clear();
        plan.apply(subject.doc.bytes(), range, &mut self.event);
        self.json.clear();
        convert::msgpack_to_json(Msgpack(&self.event), 0, &mut self.json)?;
        Ok(self.json.len())
    }

    /// Remembers what an event lost, given its length before.
    #[cold]
    fn count_loss(
        &mut self,
        subject: &Subject<'_, '_>,
        loss: Loss,
        before: usize,
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        let lost = before.saturating_sub(self.length(subject, edits)?);
        if lost > 0 {
            self.losses.push((loss, lost));
        }
        Ok(())
    }

    /// At most the bytes that the notes on the event take.
    #[cold]
    fn length_of_notes(&self, subject: &Subject<'_, '_>, notes: &[Note]) -> usize {
        const AROUND: usize = br#","":"""#.len();
        const MAP: usize = br#","annotations":{}"#.len();
        let length_of = |key: &[u8], value: usize| key.len().saturating_add(value);
        let mut notes: Vec<usize> = notes
            .iter()
            .map(|(key, value)| length_of(key, value.len()))
            .collect();
        if !self.losses.is_empty() {
            let mut text = Vec::new();
            self.write_losses(&mut text);
            notes.push(length_of(TRUNCATED, 4));
            notes.push(length_of(SHRUNK, text.len()));
        }
        let has_some = |member: &Member| member.field == Field::Annotations;
        let map = match notes.is_empty() || subject.members.iter().any(has_some) {
            true => 0,
            false => MAP,
        };
        let notes = notes.into_iter().map(|note| note.saturating_add(AROUND));
        notes.fold(map, usize::saturating_add)
    }

    /// Appends `NAME=BYTES` of each loss, with commas between.
    #[cold]
    fn write_losses(&self, out: &mut Vec<u8>) {
        for (loss, bytes) in &self.losses {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(loss.name().as_bytes());
            out.push(b'=');
            out.extend_from_slice(bytes.to_string().as_bytes());
        }
    }

    /// Asks for text in place of bodies.
    #[cold]
    fn write_bodies(
        &mut self,
        subject: &Subject<'_, '_>,
        field: Field,
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        let doc = subject.doc;
        for member in subject.bodies(field) {
            if !matches!(doc.kind(member.value)?, Kind::Map | Kind::List) {
                continue;
            }
            let body = member.value..member.end;
            self.event.clear();
            let plan = doc.settle(edits);
            plan.apply_within(doc.bytes(), body.clone(), &mut self.event);
            let text = match doc {
                AnyDoc::Json(_) => &self.event,
                AnyDoc::Msgpack(_) => {
                    self.json.clear();
                    convert::msgpack_to_json(Msgpack(&self.event), 0, &mut self.json)?;
                    &self.json
                }
            };
            edits.replace_value(body, Cause::Shape, |out| doc.write_text(text, out));
        }
        Ok(())
    }
}

impl Loss {
    fn of(body: Field) -> Loss {
        match body {
            Field::RequestObject => Loss::RequestObject,
            _ => Loss::ResponseObject,
        }
    }
}

impl Subject<'_, '_> {
    /// The bodies of this field that the level leaves.
    fn bodies(&self, field: Field) -> impl Iterator<Item = &Member> {
        let level = self.level;
        let members = self.members.iter();
        members.filter(move |member| member.field == field && !cut::leaves_out(field, level))
    }

    fn remove(&self, field: Field, edits: &mut Edits) {
        for member in self.bodies(field) {
            let at = member.start..member.end;
            edits.remove_member(self.event.start(), at, Cause::Shrink);
        }
    }

    #[cold]
    fn lose(&self, loss: Loss, edits: &mut Edits) -> Result<(), Malformed> {
        match loss {
            Loss::ResponseObject => self.remove(Field::ResponseObject, edits),
            Loss::RequestObject => self.remove(Field::RequestObject, edits),
            Loss::ManagedFields => {
                for field in [Field::RequestObject, Field::ResponseObject] {
                    // The body of a patch is the patch itself, not an object.
                    if field == Field::RequestObject && self.event.is_patch() {
                        continue;
                    }
                    for body in self.bodies(field) {
                        cut::remove_managed_fields(self.doc, body.value, Cause::Shrink, edits)?;
                    }
                }
            }
            Loss::Strings => {
                for member in self.members {
                    match member.field {
                        Field::UserAgent
                        | Field::ResponseStatus
                        | Field::Annotations
                        | Field::Other => shorten(self.doc, member.value, edits)?,
                        Field::User | Field::ImpersonatedUser => {
                            shorten_extra(self.doc, member.value, edits)?;
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// Shortens the extra fields of a user: name, groups and UID are attributes.
#[cold]
fn shorten_extra(doc: AnyDoc<'_>, at: usize, edits: &mut Edits) -> Result<(), Malformed> {
    if doc.kind(at)? != Kind::Map {
        return Ok(());
    }
    let mut map = doc.open_map(at)?;
    while let Some(member) = doc.next_member(&mut map)? {
        map.next = doc.end(member.value)?;
        if member.key.is(b"extra") {
            shorten(doc, member.value, edits)?;
        }
    }
    Ok(())
}

/// Shortens all long strings in a value.
#[cold]
fn shorten(doc: AnyDoc<'_>, at: usize, edits: &mut Edits) -> Result<(), Malformed> {
    let mut open = Vec::new();
    let mut here = at;
    'value: loop {
        let mut end = match doc.kind(here)? {
            Kind::Map => {
                open.push((Kind::Map, doc.open_map(here)?));
                None
            }
            Kind::List => {
                open.push((Kind::List, doc.open_list(here)?));
                None
            }
            _ => {
                let (text, end) = doc.value(here)?;
                if let Some(text) = text {
                    shorten_text(here, &text, edits);
                }
                Some(end)
            }
        };
        while let Some((kind, container)) = open.last_mut() {
            if let Some(end) = end.take() {
                container.next = end;
            }
            let next = match kind {
                Kind::Map => doc.next_member(container)?.map(|member| member.value),
                _ => doc.next_item(container)?,
            };
            if let Some(value) = next {
                here = value;
                continue 'value;
            }
            end = Some(container.next);
            open.pop();
        }
        return Ok(());
    }
}

/// Cuts the end off a string whose value begins at `value`, if it is too long.
#[cold]
fn shorten_text(value: usize, text: &Text<'_>, edits: &mut Edits) {
    if text.raw.len() <= LONGEST_STRING {
        return;
    }
    let kept = whole_letters(text.raw, text.escaped);
    let end = text.at.saturating_add(text.raw.len());
    let part = text.at.saturating_add(kept)..end;
    edits.replace_part(value, part, Cause::Shrink, |out| {
        out.extend_from_slice(CUT_MARK);
    });
}

/// The length of the front of a string that is kept: no letter and no escape is cut in two.
fn whole_letters(raw: &[u8], escaped: bool) -> usize {
    let room = LONGEST_STRING.saturating_sub(CUT_MARK.len());
    let mut kept = 0;
    while let Some(letter) = raw.get(kept) {
        let length = match letter {
            b'\\' if escaped => escape_length(raw.get(kept..).unwrap_or_default()),
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        match kept.saturating_add(length) {
            next if next <= room => kept = next,
            _ => break,
        }
    }
    kept
}

/// The length of the escape that a text begins with; two that make one letter together count
/// as one.
fn escape_length(text: &[u8]) -> usize {
    match text {
        [
            b'\\',
            b'u',
            b'd' | b'D',
            b'8' | b'9' | b'a' | b'b' | b'A' | b'B',
            _,
            _,
            b'\\',
            b'u',
            ..,
        ] => 12,
        [b'\\', b'u', ..] => 6,
        _ => 2,
    }
}
