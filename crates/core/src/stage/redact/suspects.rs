//! The members of an event that may hold something to be hidden, as a quick look tells.
//!
//! Most events end here: they have no query, no message, no extra fields and no bodies, and
//! their agents and annotations have been seen before.

use crate::doc::{AnyDoc, Kind, Text};
use crate::event::kube::{Event, Field, Member};
use crate::stage::cut;
use crate::stage::redact::roles::Class;
use crate::stage::redact::scan::holds;
use crate::stage::redact::seen::Seen;
use crate::stage::redact::{
    Left, Mode, Redaction, Redactor, Target, annotation, glance, message, uri,
};

/// The members that may hold something, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspects(u64);

impl Suspects {
    fn add(&mut self, number: usize) {
        // Of more members than there are bits, the last bit is that of all the rest.
        self.0 |= 1 << number.min(63);
    }

    /// True if the member of a number is among them.
    pub(super) fn has(self, number: usize) -> bool {
        self.0 >> number.min(63) & 1 == 1
    }

    /// True if there are none.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Values of members that hold nothing, as seen before.
#[derive(Debug, Default)]
pub(super) struct Familiar {
    uris: Seen,
    user_agents: Seen,
    extras: Seen,
    annotations: Seen,
    /// Of events whose annotations are judged by their names.
    judged_annotations: Seen,
}

/// What a quick look tells of the request.
#[derive(Clone, Copy, Default)]
struct Hints {
    /// False if the resource holds no secrets as such.
    is_classed: bool,
    /// False if names of the resource's objects are not tokens.
    names_may_be_tokens: bool,
    /// True if the query or path of the request is read in a way of its own.
    is_special: bool,
}

/// The beginning of a response that is a Status, as the API server writes it.
const STATUS: &[u8] = br#"{"kind":"Status","apiVersion":"v1","#;

/// The length of a `responseStatus` without a message.
const SHORT_STATUS: usize = 48;

impl Redaction {
    /// Looks quickly at the members that are left of an event.
    pub(super) fn suspects<'a>(
        &mut self,
        doc: AnyDoc<'a>,
        event: Event<'_, 'a>,
        left: &Left<'_>,
    ) -> Suspects {
        let hints = self.hints(event);
        let mut suspects = Suspects::default();
        let text = doc.bytes();
        for (number, member) in left.members.iter().enumerate() {
            if !is_looked_into(member.field) {
                continue;
            }
            let raw = || text.get(member.value..member.end).unwrap_or_default();
            let Redaction {
                settings, familiar, ..
            } = self;
            let is_suspect = match member.field {
                Field::RequestUri => {
                    hints.names_may_be_tokens
                        || hints.is_special
                        || familiar.uris.look(raw(), |uri| {
                            uri::may_hide(uri, settings) || glance::may_catch(uri)
                        })
                }
                Field::UserAgent => familiar.user_agents.look(raw(), glance::may_catch),
                Field::User => match event.extra() {
                    Some((value, end)) => self.extra_matters(doc, value, end),
                    None => false,
                },
                Field::ImpersonatedUser => self.extra_matters(doc, member.value, member.end),
                Field::ObjectRef => hints.names_may_be_tokens,
                // Of a success it has no more than a code.
                Field::ResponseStatus => {
                    raw().len() > SHORT_STATUS && message_matters(raw(), hints)
                }
                Field::Annotations => self.annotations_matter(doc, member, hints),
                Field::RequestObject | Field::ResponseObject => {
                    !cut::leaves_out(member.field, left.level)
                        && self.body_matters(doc, event, member, hints)
                }
                _ => false,
            };
            if is_suspect {
                suspects.add(number);
            }
        }
        suspects
    }

    #[inline]
    fn hints(&self, event: Event<'_, '_>) -> Hints {
        match (event.resource(), event.request_uri()) {
            (Some(resource), _) => Hints {
                is_classed: may_be_classed(resource, event.subresource()),
                names_may_be_tokens: resource.escaped || resource.raw.starts_with(b"oauth"),
                is_special: uri::is_special(event.subresource()),
            },
            (None, Some(uri)) if uri::may_have_resource(uri.raw) => self.hints_of_path(event),
            _ => Hints::default(),
        }
    }

    #[cold]
    fn hints_of_path(&self, event: Event<'_, '_>) -> Hints {
        let requested = event.requested();
        let target = Target::of(&requested, &self.catalogue);
        Hints {
            is_classed: target.class() != Class::None,
            names_may_be_tokens: target.names_are_tokens(),
            is_special: uri::is_special(Some(Text {
                raw: &requested.subresource,
                ..Text::default()
            })),
        }
    }

    fn extra_matters(&mut self, doc: AnyDoc<'_>, value: usize, end: usize) -> bool {
        let Redaction {
            settings,
            familiar,
            finder,
            ..
        } = self;
        let extra = doc.bytes().get(value..end).unwrap_or_default();
        let look = |extra: &[u8]| {
            holds(extra, b"user-assertion")
                || finder
                    .levels
                    .glance()
                    .first(settings, doc, value..end)
                    .is_some()
        };
        settings.names.has_more() || familiar.extras.look(extra, look)
    }

    fn annotations_matter(&mut self, doc: AnyDoc<'_>, member: &Member, hints: Hints) -> bool {
        let mode = self.settings.mode(Redactor::Annotation);
        let judges_all = hints.is_classed || mode == Mode::All;
        let seen = if judges_all {
            &mut self.familiar.judged_annotations
        } else {
            &mut self.familiar.annotations
        };
        let annotations = doc.bytes().get(member.value..member.end);
        seen.look(annotations.unwrap_or_default(), |annotations| {
            annotation::has_patch(annotations)
                || judges_all && annotation::has_foreign(doc, member.value)
                || glance::may_catch(annotations)
        })
    }

    #[inline(never)]
    fn body_matters<'a>(
        &mut self,
        doc: AnyDoc<'a>,
        event: Event<'_, 'a>,
        member: &Member,
        hints: Hints,
    ) -> bool {
        let Redaction {
            settings,
            catalogue,
            finder,
            ..
        } = self;
        let (value, end) = (member.value, member.end);
        let raw = doc.bytes().get(value..end).unwrap_or_default();
        if hints.is_classed
            || settings.names.has_more()
            || !matches!(doc.kind(value), Ok(Kind::Map))
            || may_have_places(catalogue, event)
        {
            return true;
        }
        // Most bodies with a word of interest are those of failures.
        if member.field == Field::ResponseObject && raw.starts_with(STATUS) {
            return message_matters(raw, hints);
        }
        finder
            .levels
            .glance()
            .first(settings, doc, value..end)
            .is_some()
    }
}

/// True for the members that a redactor may find something in.
#[inline]
fn is_looked_into(field: Field) -> bool {
    matches!(
        field,
        Field::RequestUri
            | Field::User
            | Field::ImpersonatedUser
            | Field::UserAgent
            | Field::ObjectRef
            | Field::ResponseStatus
            | Field::RequestObject
            | Field::ResponseObject
            | Field::Annotations
    )
}

/// True unless the resource is known to hold no secrets as such.
#[inline]
fn may_be_classed(resource: Text<'_>, subresource: Option<Text<'_>>) -> bool {
    match resource.raw {
        b"secrets" | b"configmaps" | b"tokenreviews" => true,
        b"serviceaccounts" => subresource.is_some_and(|text| !text.raw.is_empty()),
        _ => resource.escaped,
    }
}

/// True unless the catalogue is known to have no places of the resource.
fn may_have_places(catalogue: &super::Catalogue, event: Event<'_, '_>) -> bool {
    match event.resource() {
        Some(resource) => catalogue.may_have(resource),
        None => Target::of(&event.requested(), catalogue).places.is_some(),
    }
}

fn message_matters(status: &[u8], hints: Hints) -> bool {
    message::may_hide(status, hints.is_classed) || glance::may_catch_escaped(status)
}
