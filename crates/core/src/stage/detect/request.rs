//! An event as detections see it: a request, who made it, and what became of it.

use std::cell::OnceCell;

use super::body::{Body, Value};
use super::facts::Facts;
use super::kind::{Kinds, Subresources, Verbs};
use super::names::{KCM, KUBE_SYSTEM_ACCOUNT, NODE, SERVICE_ACCOUNT, is_human};
use super::pods::Properties;
use super::uri::{Uri, UriBuffer};
use crate::doc::{AnyDoc, Text};
use crate::event::kube::{Event, Field, Member};
use crate::policy::{Attributes, Level, Resource, Stage, Target};

/// The event of a long-running request that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongRunning {
    /// `ResponseStarted`, which comes when the response begins.
    #[default]
    First,
    /// `ResponseComplete`, for servers that omit `ResponseStarted`.
    Complete,
}

/// Positions of the fields that are looked into.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    impersonated_user: Option<usize>,
    source_ips: Option<usize>,
    object_ref: Option<usize>,
    /// From start to end.
    response_status: Option<(usize, usize)>,
    request_object: Option<usize>,
    response_object: Option<usize>,
    annotations: Option<usize>,
}

impl Places {
    /// Finds them in one walk; of a field that repeats, the last one counts.
    fn of(members: &[Member]) -> Places {
        let mut places = Places::default();
        for member in members {
            let place = match member.field {
                Field::ImpersonatedUser => &mut places.impersonated_user,
                Field::SourceIps => &mut places.source_ips,
                Field::ObjectRef => &mut places.object_ref,
                Field::ResponseStatus => {
                    places.response_status = Some((member.value, member.end));
                    continue;
                }
                Field::RequestObject => &mut places.request_object,
                Field::ResponseObject => &mut places.response_object,
                Field::Annotations => &mut places.annotations,
                _ => continue,
            };
            *place = Some(member.value);
        }
        places
    }
}

/// The request of an event, with names as they were logged.
pub(super) struct Request<'r, 'a> {
    doc: AnyDoc<'a>,
    event: Event<'r, 'a>,
    members: &'r [Member],
    places: Places,
    /// The attributes as logged.
    pub logged: &'r Attributes<'r>,
    /// Verb.
    pub verb: Verbs,
    /// The resource; empty where the request is for another path.
    pub resource: Resource<'r>,
    /// Kind of resource.
    pub kind: Kinds,
    /// Subresource.
    pub subresource: Subresources,
    /// Response code; 0 where there is none.
    pub code: i64,
    /// What is known of it so far: at first what decides on the candidates, then the
    /// actor, and with the URI whether it is a dry run.
    pub facts: Facts,
    /// Request URI; empty until [`Request::read_uri`].
    pub uri: Uri<'r>,
    /// Properties of the pod specs in the body, once they were asked for.
    pods: OnceCell<Properties>,
}

impl<'r, 'a: 'r> Request<'r, 'a> {
    /// Reads what every detection needs of an event whose top level was read into `members`.
    #[inline]
    pub(super) fn new(
        doc: AnyDoc<'a>,
        event: Event<'r, 'a>,
        members: &'r [Member],
        logged: &'r Attributes<'r>,
    ) -> Request<'r, 'a> {
        let places = Places::of(members);
        let (resource, kind) = match logged.target {
            Target::Resource(resource) => (resource, Kinds::of(resource.group, resource.resource)),
            Target::NonResource { .. } => (Resource::default(), Kinds::NO_RESOURCE),
        };
        let mut request = Request {
            doc,
            event,
            members,
            places,
            logged,
            verb: Verbs::named(logged.verb),
            resource,
            kind,
            subresource: Subresources::named(resource.subresource),
            code: 0,
            facts: Facts::NONE,
            uri: Uri::default(),
            pods: OnceCell::new(),
        };
        // A reference without any member is none.
        if resource.resource.is_empty() && !request.has_members(places.object_ref) {
            request.kind = Kinds::NO_RESOURCE;
        }
        request.code = request.read_code();
        let code = request.code;
        let impersonating = request.has_members(places.impersonated_user);
        request.facts = Facts::OK
            .when((100..400).contains(&code))
            .and(Facts::UNAUTHENTICATED.when(code == 401))
            .and(Facts::FORBIDDEN.when(code == 403))
            .and(Facts::IMPERSONATING.when(impersonating))
            .and(Facts::ANONYMOUS.when(!impersonating && request.is_anonymous()));
        request
    }

    /// Adds what is known by who made the request, and what for.
    pub(super) fn read_actor(&mut self) {
        let user = self.user();
        let created = self.verb == Verbs::CREATE || self.verb == Verbs::PATCH && self.code == 201;
        let everywhere = self.resource.namespace.is_empty() && self.resource.name.is_empty();
        let mut facts = Facts::CREATED
            .when(created)
            .and(Facts::CLUSTER_WIDE.when(everywhere))
            .and(Facts::NAMELESS.when(user.is_empty()));
        if self.facts.has(Facts::IMPERSONATING) {
            // A proxy that people go through.
            facts = facts.and(Facts::HUMAN);
        } else {
            facts = facts.and(self.component());
        }
        self.facts = self.facts.and(facts);
    }

    /// Returns who made a request as nobody else, as far as names tell.
    fn component(&self) -> Facts {
        let user = self.user();
        if user.starts_with(SERVICE_ACCOUNT) {
            let account = user.strip_prefix(KUBE_SYSTEM_ACCOUNT);
            let controller = account.map_or(Facts::NONE, Facts::of_controller);
            return Facts::SERVICE_ACCOUNT.and(controller);
        }
        // Names can be claimed, the group is checked.
        let node = user.starts_with(NODE) && self.is_in_group(b"system:nodes");
        let names_object = node && !self.resource.name.is_empty();
        Facts::HUMAN
            .when(is_human(user))
            .and(Facts::KCM.when(user == KCM))
            .and(Facts::NODE.when(node))
            .and(Facts::NODE_BY_NAME.when(names_object))
            .and(Facts::LOOPBACK.when(self.is_loopback()))
    }

    /// Reads the request URI, which most events are judged without, and adds whether the
    /// request asked for nothing to be done.
    pub(super) fn read_uri(&mut self, buffer: &'r mut UriBuffer) {
        self.uri = buffer.read(self.event.request_uri());
        let deletes = Verbs::DELETE.and(Verbs::DELETE_COLLECTION).meets(self.verb);
        let is_dry = self.uri.has("dryRun")
            || deletes && {
                let options = self.value(self.places.request_object);
                let mut list = options.map(|options| options.list("dryRun"));
                list.as_mut().is_some_and(|list| list.next().is_some())
            };
        self.facts = self.facts.and(Facts::DRY_RUN.when(is_dry));
    }

    fn value(&self, place: Option<usize>) -> Option<Value<'r, 'a>> {
        place.map(|at| Value::new(self.doc, at))
    }

    /// Says whether there is a map with at least one member.
    fn has_members(&self, place: Option<usize>) -> bool {
        self.value(place).is_some_and(Value::has_members)
    }

    // What became of it.

    /// Says whether this is the event that tells how the request ended; of the up to three
    /// events of a request exactly one does.
    ///
    /// Requests for other paths need the URI for it.
    pub(super) fn is_outcome(&self, counts: LongRunning) -> bool {
        let long_running = match self.kind {
            Kinds::NO_RESOURCE => self.uri.path.starts_with(b"/debug/pprof/"),
            _ => {
                Verbs::WATCH.and(Verbs::PROXY).meets(self.verb)
                    || Subresources::LONG_RUNNING.meets(self.subresource)
            }
        };
        match self.event.stage() {
            Some(Stage::Panic) => true,
            // Where authentication fails no other event follows.
            Some(Stage::ResponseStarted) => {
                self.code == 401 || long_running && counts == LongRunning::First
            }
            Some(Stage::ResponseComplete) => !long_running || counts == LongRunning::Complete,
            Some(Stage::RequestReceived) | None => false,
        }
    }

    /// Reads the code of the response's status.
    fn read_code(&self) -> i64 {
        let Some((start, end)) = self.places.response_status else {
            return 0;
        };
        let text = self.doc.bytes().get(start..end).unwrap_or_default();
        let last = match self.doc {
            AnyDoc::Json(_) => last_code(text),
            AnyDoc::Msgpack(_) => None,
        };
        last.unwrap_or_else(|| {
            let code = Value::new(self.doc, start).get("code");
            code.and_then(Value::integer).unwrap_or_default()
        })
    }

    fn status(&self) -> Option<Value<'r, 'a>> {
        self.value(self.places.response_status.map(|(start, _)| start))
    }

    /// Returns the decision of the authorizer; empty where there is none.
    pub(super) fn decision(&self) -> Text<'a> {
        self.annotation("authorization.k8s.io/decision")
    }

    fn annotation(&self, key: &str) -> Text<'a> {
        let annotations = self.value(self.places.annotations);
        annotations.map_or(Text::default(), |annotations| annotations.text_of(key))
    }

    /// Returns the message of the response's status; empty where there is none.
    pub(super) fn message(&self) -> Text<'a> {
        let status = self.status();
        status.map_or(Text::default(), |status| status.text_of("message"))
    }

    // Who made it.

    /// Returns the user name, of the one who impersonates where somebody does.
    pub(super) fn user(&self) -> &'r [u8] {
        self.logged.user.map_or(&[], |user| user.name)
    }

    fn is_in_group(&self, group: &[u8]) -> bool {
        let groups = self.logged.user.map_or(&[][..], |user| user.groups);
        groups.contains(&group)
    }

    /// Says whether it was made without credentials.
    fn is_anonymous(&self) -> bool {
        self.user() == b"system:anonymous" || self.is_in_group(b"system:unauthenticated")
    }

    /// Says whether the request came from the API server itself. Name and group could be
    /// claimed by whoever can sign certificates, the source could not.
    fn is_loopback(&self) -> bool {
        self.user() == b"system:apiserver"
            && self.is_in_group(b"system:masters")
            && matches!(&*self.peer().value(), b"127.0.0.1" | b"::1")
    }

    /// Returns the last source IP, the only one that is not the client's word.
    fn peer(&self) -> Text<'a> {
        let addresses = self.value(self.places.source_ips);
        let last = addresses.and_then(|addresses| addresses.items().last());
        last.and_then(Value::text).unwrap_or_default()
    }

    /// Returns the user that the request was made as, where that is another.
    pub(super) fn impersonated(&self) -> Option<Value<'r, 'a>> {
        let user = self.value(self.places.impersonated_user);
        user.filter(|_| self.facts.has(Facts::IMPERSONATING))
    }

    /// Returns the constraint on an impersonation; empty where there is none.
    pub(super) fn impersonation_constraint(&self) -> Text<'a> {
        let named = |member: &&Member| {
            let key = self.doc.key(member.start);
            member.field == Field::Other && key.is_ok_and(|key| key.is(b"authenticationMetadata"))
        };
        let found = self.members.iter().rfind(named);
        let found = self.value(found.map(|member| member.value));
        found.map_or(Text::default(), |metadata| {
            metadata.text_of("impersonationConstraint")
        })
    }

    // Its bodies.

    /// Returns the body of the request.
    pub(super) fn body(&self) -> Body<'a> {
        Body::new(self.doc, self.places.request_object)
    }

    /// Returns the properties of the pod spec that the body has, or of what a JSON patch
    /// puts into one. Several detections ask for them.
    pub(super) fn pods(&self) -> Properties {
        *self.pods.get_or_init(|| {
            let mut properties = Properties::default();
            self.body().any(&mut |piece| {
                if let Some(spec) = piece.dig(self.kind.pod_spec()) {
                    properties.add(Properties::of(spec));
                }
                false
            });
            properties
        })
    }

    /// Returns the body of the response.
    pub(super) fn response(&self) -> Option<Value<'r, 'a>> {
        self.value(self.places.response_object)
    }

    /// Says whether the body is absent because of the level, or because it was too large.
    pub(super) fn is_blind(&self) -> bool {
        self.body().is_absent()
            && (self.event.level() == Some(Level::Metadata)
                || self.annotation("audit.k8s.io/truncated").is(b"true"))
    }
}

/// Reads the code of a status in JSON if that is its last member, as the API server writes
/// it: every event that counts is asked for it.
///
/// The bracket at the end closes the status, so the number before it is a value, and the
/// quotes before that enclose the whole key: the comma in front does not escape the first.
fn last_code(status: &[u8]) -> Option<i64> {
    let [b',', b'"', b'c', b'o', b'd', b'e', b'"', b':', digits @ .., b'}'] =
        status.last_chunk::<12>()?
    else {
        return None;
    };
    let digit = |code: i64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit & 0x0f))?;
        code.checked_mul(10)?.checked_add(digit)
    };
    digits.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_at_the_end_of_a_status() {
        for (status, want) in [
            (r#"{"metadata":{},"code":200}"#, Some(200)),
            (r#"{"metadata":{},"status":"Failure","code":403}"#, Some(403)),
            (r#"{"metadata":{},"code":20}"#, None),
            (r#"{"metadata":{},"code":2000}"#, None),
            (r#"{"metadata":{},"code":"200"}"#, None),
            (r#"{"metadata":{},"code":2e2}"#, None),
            (r#"{"metadata":{},"code": 200}"#, None),
            (r#"{"details":{"a":1,"code":200}}"#, None),
            (r#"{"message":"\",\"code\":200}"}"#, None),
            (r#"{"code":200}"#, None),
            (r#"{"a\"code":200}"#, None),
            ("", None),
        ] {
            assert_eq!(last_code(status.as_bytes()), want, "{status}");
        }
    }
}
