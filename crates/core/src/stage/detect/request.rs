//! An event as detections see it: a request, who made it, and what became of it.

use std::cell::OnceCell;

use super::body::{Body, Value};
use super::facts::Facts;
use super::kind::{Kinds, Subresources, Verbs};
use super::names::{KCM, KUBE_SYSTEM_ACCOUNT, NODE, SERVICE_ACCOUNT, is_human};
use super::pods::Properties;
use super::rbac::Bindings;
use super::uri::{Uri, UriBuffer};
use crate::bytes;
use crate::doc::{AnyDoc, Text};
use crate::event::kube::{Event, Field, Member};
use crate::policy::{Attributes, Level, Resource, Stage, Target, User};

/// The event of a long-running request that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongRunning {
    /// `ResponseStarted`, which comes when the response begins.
    #[default]
    First,
    /// `ResponseComplete`, for servers that omit `ResponseStarted`.
    Complete,
}

/// What every event is asked for: mostly enough to tell that no detection fires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance {
    /// Response code; 0 where there is none.
    pub code: i64,
    /// Those of [`Facts::KNOWN`] that hold.
    pub facts: Facts,
}

/// An event where it stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'r, 'a> {
    /// Its document.
    pub doc: AnyDoc<'a>,
    /// The event.
    pub event: Event<'r, 'a>,
    /// Its top-level members.
    pub members: &'r [Member],
}

impl Glance {
    /// Looks at an event whose request was logged so.
    #[inline]
    pub(super) fn at(source: Source<'_, '_>, logged: &Attributes<'_>) -> Glance {
        let Source { doc, event, .. } = source;
        let status = event.response_status();
        let code = status.map_or(0, |(at, end)| code_of(doc, at, end));
        let impersonated = event.impersonated_user();
        let impersonating = impersonated.is_some_and(|at| Value::new(doc, at).has_members());
        let anonymous = !impersonating && logged.user.is_some_and(is_anonymous);
        Glance {
            code,
            facts: Facts::OK
                .when((100..400).contains(&code))
                .and(Facts::UNAUTHENTICATED.when(code == 401))
                .and(Facts::FORBIDDEN.when(code == 403))
                .and(Facts::IMPERSONATING.when(impersonating))
                .and(Facts::ANONYMOUS.when(anonymous)),
        }
    }
}

/// Finds a member; of a field that repeats, the last.
fn last(members: &[Member], field: Field) -> Option<&Member> {
    members.iter().rfind(|member| member.field == field)
}

/// Tells kind and subresource of what was requested.
fn target_of(source: Source<'_, '_>, logged: &Attributes<'_>) -> (Kinds, Subresources) {
    let Target::Resource(target) = logged.target else {
        return (Kinds::NO_RESOURCE, Subresources::ITSELF);
    };
    let reference = || last(source.members, Field::ObjectRef);
    let is_empty = |reference: &Member| !Value::new(source.doc, reference.value).has_members();
    // A reference without any member is none.
    let kind = match target.resource {
        [] if reference().is_none_or(is_empty) => Kinds::NO_RESOURCE,
        resource => Kinds::of(target.group, resource),
    };
    (kind, Subresources::named(target.subresource))
}

/// Says whether a user came without credentials.
fn is_anonymous(user: User<'_>) -> bool {
    user.name == b"system:anonymous" || is_in_group(user, b"system:unauthenticated")
}

fn is_in_group(user: User<'_>, group: &[u8]) -> bool {
    user.groups.iter().any(|own| bytes::equal(own, group))
}

/// Reads the code of a response's status; 0 where there is none.
#[inline]
fn code_of(doc: AnyDoc<'_>, at: usize, end: usize) -> i64 {
    let text = doc.bytes().get(at..end);
    let last = match doc {
        AnyDoc::Json(_) => text.and_then(last_code),
        AnyDoc::Msgpack(_) => None,
    };
    last.unwrap_or_else(|| {
        let code = Value::new(doc, at).get("code");
        code.and_then(Value::integer).unwrap_or_default()
    })
}

/// The request of an event, with names as they were logged.
pub(super) struct Request<'r, 'a> {
    doc: AnyDoc<'a>,
    event: Event<'r, 'a>,
    members: &'r [Member],
    stage: Stage,
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
    /// What is known of it so far: at first what a glance shows, then the actor, and with
    /// the URI whether it is a dry run.
    pub facts: Facts,
    /// Body of the request.
    body: Option<&'r Member>,
    /// Request URI; empty until [`Request::read_uri`].
    pub uri: Uri<'r>,
    /// Properties of the pod specs in the body, once they were asked for.
    pods: OnceCell<Properties>,
    /// Bindings of roles in the body, once they were asked for.
    bindings: OnceCell<Bindings<'a>>,
}

impl<'r, 'a: 'r> Request<'r, 'a> {
    /// Takes an event that was glanced at.
    pub(super) fn new(
        source: Source<'r, 'a>,
        stage: Stage,
        logged: &'r Attributes<'r>,
        glance: Glance,
    ) -> Request<'r, 'a> {
        let (kind, subresource) = target_of(source, logged);
        let Source {
            doc,
            event,
            members,
        } = source;
        Request {
            doc,
            event,
            members,
            stage,
            logged,
            verb: Verbs::named(logged.verb),
            resource: match logged.target {
                Target::Resource(resource) => resource,
                Target::NonResource { .. } => Resource::default(),
            },
            kind,
            subresource,
            code: glance.code,
            facts: glance.facts,
            body: last(members, Field::RequestObject),
            uri: Uri::default(),
            pods: OnceCell::new(),
            bindings: OnceCell::new(),
        }
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
        let in_group = |group| {
            self.logged
                .user
                .is_some_and(|user| is_in_group(user, group))
        };
        let node = user.starts_with(NODE) && in_group(b"system:nodes");
        let names_object = node && !self.resource.name.is_empty();
        Facts::HUMAN
            .when(is_human(user))
            .and(Facts::KCM.when(user == KCM))
            .and(Facts::NODE.when(node))
            .and(Facts::NODE_BY_NAME.when(names_object))
            .and(Facts::LOOPBACK.when(
                // Both could be claimed by whoever can sign certificates, the source could not.
                user == b"system:apiserver" && in_group(b"system:masters") && self.is_local(),
            ))
    }

    /// Reads the request URI, which most events are judged without, and adds whether the
    /// request asked for nothing to be done.
    pub(super) fn read_uri(&mut self, buffer: &'r mut UriBuffer) {
        self.uri = buffer.read(self.event.request_uri());
        let deletes = Verbs::DELETE.and(Verbs::DELETE_COLLECTION).meets(self.verb);
        let is_dry = self.uri.has("dryRun")
            || deletes && {
                let options = self.body.map(|body| Value::new(self.doc, body.value));
                let mut list = options.map(|options| options.list("dryRun"));
                list.as_mut().is_some_and(|list| list.next().is_some())
            };
        self.facts = self.facts.and(Facts::DRY_RUN.when(is_dry));
    }

    /// Returns the value of a field; of one that repeats, the last.
    fn field(&self, field: Field) -> Option<Value<'r, 'a>> {
        Some(Value::new(self.doc, last(self.members, field)?.value))
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
        match self.stage {
            Stage::Panic => true,
            // Where authentication fails no other event follows.
            Stage::ResponseStarted => {
                self.code == 401 || long_running && counts == LongRunning::First
            }
            Stage::ResponseComplete => !long_running || counts == LongRunning::Complete,
            Stage::RequestReceived => false,
        }
    }

    /// Returns the decision of the authorizer; empty where there is none.
    pub(super) fn decision(&self) -> Text<'a> {
        self.annotation("authorization.k8s.io/decision")
    }

    fn annotation(&self, key: &str) -> Text<'a> {
        let annotations = self.field(Field::Annotations);
        annotations.map_or(Text::default(), |annotations| annotations.text_of(key))
    }

    /// Returns the message of the response's status; empty where there is none.
    pub(super) fn message(&self) -> Text<'a> {
        let status = self.field(Field::ResponseStatus);
        status.map_or(Text::default(), |status| status.text_of("message"))
    }

    // Who made it.

    /// Returns the user name, of the one who impersonates where somebody does.
    pub(super) fn user(&self) -> &'r [u8] {
        self.logged.user.map_or(&[], |user| user.name)
    }

    /// Says whether it came from the host of the API server.
    fn is_local(&self) -> bool {
        matches!(&*self.peer().value(), b"127.0.0.1" | b"::1")
    }

    /// Returns the last source IP, the only one that is not the client's word.
    fn peer(&self) -> Text<'a> {
        let addresses = self.field(Field::SourceIps);
        let last = addresses.and_then(|addresses| addresses.items().last());
        last.and_then(Value::text).unwrap_or_default()
    }

    /// Returns the user that the request was made as, where that is another.
    pub(super) fn impersonated(&self) -> Option<Value<'r, 'a>> {
        let at = self.event.impersonated_user();
        let user = at.filter(|_| self.facts.has(Facts::IMPERSONATING));
        user.map(|at| Value::new(self.doc, at))
    }

    /// Returns the constraint on an impersonation; empty where there is none.
    pub(super) fn impersonation_constraint(&self) -> Text<'a> {
        let named = |member: &&Member| {
            let key = self.doc.key(member.start);
            member.field == Field::Other && key.is_ok_and(|key| key.is(b"authenticationMetadata"))
        };
        let found = self.members.iter().rfind(named);
        found.map_or(Text::default(), |member| {
            Value::new(self.doc, member.value).text_of("impersonationConstraint")
        })
    }

    // Its bodies.

    /// Returns the body of the request.
    pub(super) fn body(&self) -> Body<'a> {
        let value = self.body.map(|body| Value::new(self.doc, body.value));
        Body::new(self.doc, value)
    }

    /// Visits the pod specs that the body has, or what a JSON patch puts into one.
    pub(super) fn any_pod_spec(&self, fits: &mut dyn FnMut(Value<'_, 'a>) -> bool) -> bool {
        self.body()
            .any(&mut |piece| piece.dig(self.kind.pod_spec()).is_some_and(&mut *fits))
    }

    /// Returns the properties of these pod specs. Several detections ask for them.
    pub(super) fn pods(&self) -> Properties {
        *self.pods.get_or_init(|| {
            let mut properties = Properties::default();
            let text = |body: &Member| self.doc.bytes().get(body.value..body.end);
            if !self.body.and_then(text).is_some_and(Properties::may_be_in) {
                return properties;
            }
            self.any_pod_spec(&mut |spec| {
                properties.add(Properties::of(spec));
                false
            });
            properties
        })
    }

    /// Returns the bindings of roles in the body. Several detections ask for them.
    pub(super) fn bindings(&self) -> &Bindings<'a> {
        self.bindings.get_or_init(|| Bindings::of(self.body()))
    }

    /// Returns the body of the response.
    pub(super) fn response(&self) -> Option<Value<'r, 'a>> {
        self.field(Field::ResponseObject)
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
    let (key, rest) = status.last_chunk::<12>()?.split_first_chunk::<8>()?;
    let [hundreds, tens, ones, b'}'] = rest else {
        return None;
    };
    let digits = [*hundreds, *tens, *ones];
    let is_code = key == b",\"code\":" && digits.iter().all(u8::is_ascii_digit);
    let [hundreds, tens, ones] = digits.map(|digit| i64::from(digit & 0x0f));
    is_code.then(|| {
        let tens = hundreds.wrapping_mul(10).wrapping_add(tens);
        tens.wrapping_mul(10).wrapping_add(ones)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_at_the_end_of_a_status() {
        for (status, want) in [
            (r#"{"metadata":{},"code":200}"#, Some(200)),
            (
                r#"{"metadata":{},"status":"Failure","code":403}"#,
                Some(403),
            ),
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
