//! Redaction: secrets are replaced by a mark, and the structure of the event stays.
//!
//! | module | duty |
//! |---|---|
//! | `settings` | redactors, their modes, and what users add |
//! | `mark` | the mark, and the keyed one |
//! | `names`, `catalogue` | names and places that say that a value is a secret |
//! | `net`, `lines`, `words`, `uri`, `message` | secrets inside texts |
//! | `walk` | from container to container through a part of the event |
//! | `roles`, `object`, `patch`, `annotation` | the rules: the role of each value |
//! | `suspects`, `glance`, `seen` | quick looks that spare most events and values the rules |
//! | `list` | lists of words |
//! | `places` | places that users name |
//! | `unreadable` | text that cannot be read as an event |
//! | `hide` | the places to be hidden, and the edits that come of them |
//!
//! Inside a value that is known to be a secret, everything is hidden that is not known to be
//! harmless; elsewhere, everything is kept that is not known to be a secret. Nothing is
//! removed, and nothing is decoded and written anew.

mod annotation;
mod catalogue;
mod glance;
mod hide;
mod lines;
mod list;
mod mark;
mod message;
mod names;
mod net;
mod object;
mod patch;
mod places;
mod roles;
mod scalar;
mod scan;
mod seen;
mod settings;
mod spans;
mod suspects;
pub(crate) mod unreadable;
mod uri;
mod walk;
mod words;

use std::ops::Range;

use crate::available::RedactionAvailable;
use crate::doc::edit::Edits;
use crate::doc::path::pointer_to;
use crate::doc::{AnyDoc, Doc, Kind, Malformed};
use crate::event::kube::{Event, Field, Member, Requested};
use crate::policy::Level;
use crate::stage::Job;
use crate::stage::cut;
use crate::stage::note::{Annotations, Note};
use crate::stats;

use catalogue::{Catalogue, Places};
use hide::{Content, Hide};
use places::Found;
use roles::{Body, Class, Role};
use suspects::{Familiar, Suspects};
use walk::{Document, Levels, Node, Of, Stop, Unreadable, Walk};

pub use crate::redactor::{Counts, Redactor};
pub use hide::ANNOTATION;
pub use mark::MARK;
pub use settings::{Mode, Place, ResourcePattern, Settings, SettingsError};

/// Hides the secrets of events. Keeps its buffers from event to event.
#[derive(Debug)]
pub struct Redaction {
    _available: RedactionAvailable,
    settings: Settings,
    catalogue: Catalogue,
    familiar: Familiar,
    finder: Finder,
}

/// Places found in an event, and buffers for finding them.
#[derive(Debug, Default)]
struct Finder {
    hides: Vec<Hide>,
    /// Places that are kept whatever redactors find in them.
    stays: Vec<Range<usize>>,
    found: Vec<Found>,
    levels: Levels,
    spare: Vec<u8>,
    /// Counts of the uses of each place of `Redact_Path`.
    uses: Vec<PlaceUse>,
}

/// Counts of the uses of a place that a user names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceUse {
    /// Bodies or events that the place may be in.
    pub seen: u64,
    /// Values at the place.
    pub matches: u64,
}

/// The target of a request, as far as the redaction needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'t> {
    verb: &'t [u8],
    group: &'t [u8],
    resource: &'t [u8],
    subresource: &'t [u8],
    name: &'t [u8],
    /// Places of the catalogue that objects of the resource have.
    places: Option<Places<'t>>,
}

impl<'t> Target<'t> {
    fn of(requested: &'t Requested<'_>, catalogue: &'t Catalogue) -> Target<'t> {
        Target {
            verb: &requested.verb,
            group: &requested.group,
            resource: &requested.resource,
            subresource: &requested.subresource,
            name: &requested.name,
            places: catalogue.places(&requested.group, &requested.resource),
        }
    }
}

impl Target<'_> {
    /// The class of objects without kind, in requests about this resource.
    fn class(&self) -> Class {
        match (self.group, self.resource, self.subresource) {
            (b"", b"secrets", b"") => Class::Secret,
            (b"", b"configmaps", b"") => Class::ConfigMap,
            (b"", b"serviceaccounts", b"token") => Class::TokenRequest,
            (b"authentication.k8s.io", b"tokenreviews", b"") => Class::TokenReview,
            _ => Class::None,
        }
    }

    /// True for the tokens of OpenShift whose names are the tokens themselves.
    fn names_are_tokens(&self) -> bool {
        self.group == b"oauth.openshift.io"
            && matches!(
                self.resource,
                b"oauthaccesstokens" | b"oauthauthorizetokens"
            )
    }
}

impl Redaction {
    /// Prepares the redaction; `None` if these settings hide nothing, or this build has none.
    pub fn new(settings: Settings) -> Option<Redaction> {
        let available = RedactionAvailable::proof()?;
        if settings.hides_nothing() {
            return None;
        }
        let uses = vec![PlaceUse::default(); settings.paths.len()];
        Some(Redaction {
            _available: available,
            settings,
            catalogue: Catalogue::default(),
            familiar: Familiar::default(),
            finder: Finder {
                uses,
                ..Finder::default()
            },
        })
    }

    /// The places of `Redact_Path`, with counts of their uses.
    pub fn places(&self) -> impl Iterator<Item = (&Place, PlaceUse)> {
        let uses = self.finder.uses.iter().copied();
        self.settings.paths.iter().zip(uses)
    }

    /// Exchanges the counts of uses for others. Uses of places that are not in these are not
    /// counted.
    pub(crate) fn swap_uses(&mut self, uses: &mut Vec<PlaceUse>) {
        std::mem::swap(&mut self.finder.uses, uses);
    }

    /// Asks for the edits that hide the secrets in the part of an event that its level
    /// leaves, and for a note that counts them.
    #[inline]
    pub(crate) fn apply<'a, D: Doc<'a>>(
        &mut self,
        job: &mut Job<'_, 'a, D>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Malformed> {
        let left = Left {
            members: &job.scratch.members,
            level: cut::level_left(job).unwrap_or(Level::RequestResponse),
        };
        let (doc, event) = (job.doc.into(), job.event);
        self.finder.hides.clear();
        let suspects = self.suspects(doc, event, &left);
        if suspects.is_empty() && !self.settings.has_places() {
            return Ok(());
        }
        let counts = self.hide(doc, event, &left, suspects, job.edits, notes)?;
        if !counts.is_empty() {
            stats::count(&mut job.stats.redacted);
            job.stats.values_redacted.add_all(&counts);
        }
        Ok(())
    }

    /// Hides what there is to be hidden in members that may hold something; counts it.
    #[cold]
    fn hide<'a>(
        &mut self,
        doc: AnyDoc<'a>,
        event: Event<'_, 'a>,
        left: &Left<'_>,
        suspects: Suspects,
        edits: &mut Edits,
        notes: &mut Vec<Note>,
    ) -> Result<Counts, Malformed> {
        let Redaction {
            settings,
            catalogue,
            finder,
            ..
        } = self;
        finder.find(settings, catalogue, doc, event, left, suspects)?;
        let counts = hide::edit(doc, &finder.hides, settings.key.as_ref(), edits);
        if !counts.is_empty() {
            let annotations = Annotations::find(doc, left.members, left.level)?;
            let earlier = annotations.get(doc, ANNOTATION)?;
            let earlier = earlier.as_ref().map_or(&[][..], |(_, text)| text);
            let mut text = Vec::new();
            counts.write(earlier, &mut text);
            notes.push((ANNOTATION, text));
        }
        Ok(counts)
    }
}

/// The members that the cut leaves of an event.
#[derive(Clone, Copy)]
struct Left<'j> {
    members: &'j [Member],
    level: Level,
}

impl<'j> Left<'j> {
    /// The members that are left, each with its number.
    fn members(&self) -> impl Iterator<Item = (usize, &'j Member)> + 'j {
        let level = self.level;
        let members = self.members.iter().enumerate();
        members.filter(move |(_, member)| !cut::leaves_out(member.field, level))
    }
}

/// A value or a part of one that was hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The JSON pointer of the value, from the top of the event.
    pub pointer: String,
    /// The redactor that hides it.
    pub redactor: Redactor,
}

impl Redaction {
    /// The places that were hidden in the event that was redacted last.
    pub fn findings<'a, D: Doc<'a>>(
        &self,
        doc: D,
        event: Event<'_, 'a>,
    ) -> Result<Vec<Finding>, Malformed> {
        let findings = self.finder.hides.iter().map(|hide| {
            Ok(Finding {
                pointer: pointer_to(doc.into(), event.start(), hide.at.start)?,
                redactor: hide.redactor,
            })
        });
        findings.collect()
    }
}

impl Finder {
    /// Finds what is to be hidden in an event.
    fn find<'a>(
        &mut self,
        settings: &Settings,
        catalogue: &Catalogue,
        doc: AnyDoc<'a>,
        event: Event<'_, 'a>,
        left: &Left<'_>,
        suspects: Suspects,
    ) -> Result<(), Malformed> {
        self.stays.clear();
        let has_places = settings.has_places();
        let requested = event.requested();
        let target = Target::of(&requested, catalogue);
        let class = target.class();
        let is_classed = class.is_classed();
        for (number, member) in left.members() {
            let is_body = matches!(member.field, Field::RequestObject | Field::ResponseObject);
            if has_places && is_body {
                self.user_places(settings, doc, member, &target)?;
            }
            if !suspects.has(number) {
                continue;
            }
            let (hides, levels) = (&mut self.hides, &mut self.levels);
            let mut walk = Walk::new(settings, &target, doc, member.end, hides, levels);
            let role = match member.field {
                Field::RequestUri => {
                    hide_uri(&mut walk, member, &mut self.spare)?;
                    continue;
                }
                Field::ObjectRef => {
                    hide_name(&mut walk, member)?;
                    continue;
                }
                Field::RequestObject | Field::ResponseObject => {
                    walk.body(member);
                    continue;
                }
                Field::User | Field::ImpersonatedUser => Role::User,
                Field::UserAgent => Role::Net,
                Field::ResponseStatus => Role::Status { is_classed },
                Field::Annotations => Role::EventAnnotations { level: left.level },
                _ => continue,
            };
            match walk.run(Node::Real(member.value), role, class) {
                Err(Stop::Malformed) => return Err(Malformed),
                Err(Stop::Deep) => hide_whole(doc, member, &mut self.hides),
                Ok(()) => {}
            }
        }
        if has_places {
            self.user_places_of_event(settings, doc, event.start())?;
        }
        hide::settle(&mut self.hides, &self.stays);
        Ok(())
    }

    /// Hides and keeps what users name in a body.
    fn user_places(
        &mut self,
        settings: &Settings,
        doc: AnyDoc<'_>,
        member: &Member,
        target: &Target<'_>,
    ) -> Result<(), Malformed> {
        self.found.clear();
        places::find_in_body(doc, member.value, &settings.paths, target, &mut self.found)?;
        self.count_uses(settings, |resource| resource.fits(target));
        self.hide_found(settings, doc)?;
        self.found.clear();
        places::find_in_body(doc, member.value, &settings.keeps, target, &mut self.found)?;
        self.keep_found(doc)
    }

    fn user_places_of_event(
        &mut self,
        settings: &Settings,
        doc: AnyDoc<'_>,
        at: usize,
    ) -> Result<(), Malformed> {
        self.found.clear();
        places::find_in_event(doc, at, &settings.paths, &mut self.found)?;
        self.count_uses(settings, |resource| *resource == ResourcePattern::Event);
        self.hide_found(settings, doc)?;
        self.found.clear();
        places::find_in_event(doc, at, &settings.keeps, &mut self.found)?;
        self.keep_found(doc)
    }

    fn count_uses(&mut self, settings: &Settings, fits: impl Fn(&ResourcePattern) -> bool) {
        for (place, used) in settings.paths.iter().zip(&mut self.uses) {
            let fits = u64::from(fits(&place.resource));
            used.seen = used.seen.saturating_add(fits);
        }
        for found in &self.found {
            if let Some(used) = self.uses.get_mut(found.place) {
                stats::count(&mut used.matches);
            }
        }
    }

    fn hide_found(&mut self, settings: &Settings, doc: AnyDoc<'_>) -> Result<(), Malformed> {
        let nothing = Target::default();
        for found in &self.found {
            let (hides, levels) = (&mut self.hides, &mut self.levels);
            let mut walk = Walk::new(settings, &nothing, doc, found.value, hides, levels);
            let leaves = Role::leaves(Redactor::Path);
            match walk.run(Node::Real(found.value), leaves, Class::None) {
                Err(Stop::Malformed) => return Err(Malformed),
                // The body goes as a whole.
                Err(Stop::Deep) | Ok(()) => {}
            }
        }
        Ok(())
    }

    fn keep_found(&mut self, doc: AnyDoc<'_>) -> Result<(), Malformed> {
        for found in &self.found {
            self.stays.push(found.value..doc.end(found.value)?);
        }
        Ok(())
    }
}

fn hide_uri<'a>(
    walk: &mut Walk<'_, 'a>,
    member: &Member,
    spare: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let Some(text) = walk.doc.string(member.value)? else {
        return Ok(());
    };
    let target = walk.target;
    let hides_name = walk.hides_oauth_names();
    walk.parts(member.value, text, &mut |uri, settings, spans| {
        uri::hide(uri, target, settings, spare, spans);
        if hides_name {
            uri::hide_name(uri, target.name, spans);
        }
    });
    Ok(())
}

fn hide_name(walk: &mut Walk<'_, '_>, member: &Member) -> Result<(), Malformed> {
    if !walk.hides_oauth_names() || walk.doc.kind(member.value)? != Kind::Map {
        return Ok(());
    }
    if let Some(name) = walk.member(member.value, b"name")? {
        // A name is a leaf: the walk cannot stop early.
        let _ = walk.run(Node::Real(name), Role::LastSegment, Class::None);
    }
    Ok(())
}

/// Hides a value that is not looked into.
fn hide_whole(doc: AnyDoc<'_>, member: &Member, hides: &mut Vec<Hide>) {
    let value = member.value..member.end;
    hides.retain(|hide| hide.at.start < value.start || hide.at.end > value.end);
    hides.push(Hide {
        content: match doc.kind(member.value) {
            Ok(Kind::Map) => Content::Map,
            Ok(Kind::List) => Content::List,
            _ => Content::Text,
        },
        at: value,
        redactor: Redactor::Deep,
    });
}

impl Walk<'_, '_> {
    /// Goes through a body. One that cannot be walked through to its end goes as a whole.
    fn body(&mut self, member: &Member) {
        if self.try_body(member).is_err() {
            let doc = self.doc;
            if let Some(hides) = self.collected() {
                hide_whole(doc, member, hides);
            }
        }
    }

    fn try_body(&mut self, member: &Member) -> Result<(), Stop> {
        let at = member.value;
        let class = self.target.class();
        let is_request = member.field == Field::RequestObject;
        let role = match self.doc.kind(at)? {
            Kind::Map if !is_request => Role::Object(Body::Object),
            Kind::Map if self.target.verb != b"patch" => Role::Object(Body::Request),
            Kind::Map => Role::Object(Body::Patch),
            Kind::List => Role::Object(Body::Patch),
            Kind::Text => Role::Document(Document {
                redactor: class.whole().unwrap_or(Redactor::Net),
                of: Of::SameObject(class),
                // Text that is not an object is not data of a ConfigMap.
                unreadable: if class.is_classed() && class != Class::ConfigMap {
                    Unreadable::Hides
                } else {
                    Unreadable::IsText
                },
                is_webhook: false,
            }),
            Kind::Null | Kind::Other => match class.whole() {
                Some(redactor) => Role::leaves(redactor),
                None => return Ok(()),
            },
        };
        self.run(Node::Real(at), role, class)
    }
}

#[cfg(test)]
mod tests;
