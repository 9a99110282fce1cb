//! An event as detections see it: a request, who made it, and what became of it.

use std::cell::OnceCell;

use super::body::{Body, Value};
use super::kind::{Kind, Subresource, Verb};
use super::names::{KCM, KUBE_SYSTEM_ACCOUNT, NODE, SERVICE_ACCOUNT, is_human};
use super::pods::Properties;
use super::uri::{Uri, UriBuffer};
use crate::doc::keys::{Keys, KnownMember, Walk};
use crate::doc::{Doc, Malformed, Text};
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
    response_status: Option<usize>,
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
                Field::ResponseStatus => &mut places.response_status,
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
pub(super) struct Request<'r, 'a, D> {
    doc: D,
    event: Event<'r, 'a>,
    members: &'r [Member],
    places: Places,
    logged: &'r Attributes<'r>,
    /// The resource; `None` where the request is for another path.
    target: Option<Resource<'r>>,
    /// Verb.
    pub verb: Verb,
    /// Kind of resource.
    pub kind: Kind,
    /// Subresource.
    pub subresource: Subresource,
    /// Response code; 0 where there is none.
    pub code: i64,
    /// Request URI; empty until [`Request::read_uri`].
    pub uri: Uri<'r>,
    /// Properties of the pod specs in the body, once they were asked for.
    pods: OnceCell<Properties>,
}

impl<'r, 'a: 'r, D: Doc<'a>> Request<'r, 'a, D> {
    /// Reads what every detection needs of an event whose top level was read into `members`.
    pub(super) fn new(
        doc: D,
        event: Event<'r, 'a>,
        members: &'r [Member],
        logged: &'r Attributes<'r>,
    ) -> Request<'r, 'a, D> {
        let places = Places::of(members);
        let target = match logged.target {
            Target::Resource(resource) => Some(resource),
            Target::NonResource { .. } => None,
        };
        // A reference without any member is none.
        let target = target.filter(|resource| {
            *resource != Resource::default() || {
                let reference = members
                    .iter()
                    .rfind(|member| member.field == Field::ObjectRef);
                reference.is_some_and(|member| has_members(doc, member.value))
            }
        });
        let resource = target.unwrap_or_default();
        let status = places.response_status;
        let code = status.and_then(|status| code_of(doc, status).ok().flatten());
        Request {
            doc,
            event,
            members,
            places,
            logged,
            target,
            verb: Verb::from_name(logged.verb),
            kind: Kind::of(resource.group, resource.resource),
            subresource: Subresource::from_name(resource.subresource),
            code: code.unwrap_or_default(),
            uri: Uri::default(),
            pods: OnceCell::new(),
        }
    }

    /// Reads the request URI, which most events are judged without.
    pub(super) fn read_uri(&mut self, buffer: &'r mut UriBuffer) {
        self.uri = buffer.read(self.event.request_uri());
    }

    /// Returns the attributes as logged.
    pub(super) fn logged(&self) -> &'r Attributes<'r> {
        self.logged
    }

    // What became of it.

    /// Says whether this is the event that tells how the request ended; of the up to three
    /// events of a request exactly one does.
    ///
    /// Requests for other paths need the URI for it.
    pub(super) fn is_outcome(&self, counts: LongRunning) -> bool {
        let long_running = match self.target {
            Some(_) => {
                matches!(self.verb, Verb::Watch | Verb::Proxy) || self.subresource.is_long_running()
            }
            None => self.uri.path.starts_with(b"/debug/pprof/"),
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

    /// Says whether the request was answered, and not with an error: `exec` answers 101.
    pub(super) fn is_ok(&self) -> bool {
        (100..400).contains(&self.code)
    }

    /// Says whether the request asked for nothing to be done.
    pub(super) fn is_dry(&self) -> bool {
        let deletes = matches!(self.verb, Verb::Delete | Verb::DeleteCollection);
        self.uri.has("dryRun")
            || deletes && {
                let options = self.places.request_object;
                let mut list = options.map(|at| Value::new(self.doc, at).list("dryRun"));
                list.as_mut().is_some_and(|list| list.next().is_some())
            }
    }

    /// Says whether it made an object; server-side apply does so with a patch.
    pub(super) fn is_created(&self) -> bool {
        self.verb == Verb::Create || self.verb == Verb::Patch && self.code == 201
    }

    /// Returns the decision of the authorizer; empty where there is none.
    pub(super) fn decision(&self) -> Text<'a> {
        self.annotation("authorization.k8s.io/decision")
    }

    fn annotation(&self, key: &str) -> Text<'a> {
        let annotations = self.places.annotations;
        annotations.map_or(Text::default(), |at| Value::new(self.doc, at).text_of(key))
    }

    /// Returns the message of the response's status; empty where there is none.
    pub(super) fn message(&self) -> Text<'a> {
        let status = self.places.response_status;
        status.map_or(Text::default(), |at| {
            Value::new(self.doc, at).text_of("message")
        })
    }

    /// Returns the last source IP, the only one that is not the client's word.
    fn peer(&self) -> Text<'a> {
        let Some(at) = self.places.source_ips else {
            return Text::default();
        };
        let last = Value::new(self.doc, at).items().last();
        last.and_then(Value::text).unwrap_or_default()
    }

    // What it is about.

    /// Says whether the request is for a resource.
    pub(super) fn has_resource(&self) -> bool {
        self.target.is_some()
    }

    /// Returns the resource; empty where the request is for another path.
    pub(super) fn resource(&self) -> Resource<'r> {
        self.target.unwrap_or_default()
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

    /// Returns the user that the request was made as, where that is another.
    pub(super) fn impersonated(&self) -> Option<Value<'r, D>> {
        let at = self.places.impersonated_user?;
        has_members(self.doc, at).then(|| Value::new(self.doc, at))
    }

    /// Says whether the request came from the API server itself. Name and group could be
    /// claimed by whoever can sign certificates, the source could not.
    pub(super) fn is_loopback(&self) -> bool {
        self.user() == b"system:apiserver"
            && self.is_in_group(b"system:masters")
            && matches!(&*self.peer().value(), b"127.0.0.1" | b"::1")
            && self.impersonated().is_none()
    }

    /// Says whether it was made by the controller manager.
    pub(super) fn is_kcm(&self) -> bool {
        self.user() == KCM && self.impersonated().is_none()
    }

    /// Says whether it was made by one of these service accounts of `kube-system`.
    pub(super) fn is_controller(&self, names: &[&str]) -> bool {
        let account = self.user().strip_prefix(KUBE_SYSTEM_ACCOUNT);
        account.is_some_and(|account| names.iter().any(|name| name.as_bytes() == account))
            && self.impersonated().is_none()
    }

    /// Says whether it was made by a kubelet. Names can be claimed, the group is checked.
    pub(super) fn is_node(&self) -> bool {
        self.user().starts_with(NODE)
            && self.is_in_group(b"system:nodes")
            && self.impersonated().is_none()
    }

    /// Says whether it was made by a service account.
    pub(super) fn is_service_account(&self) -> bool {
        self.user().starts_with(SERVICE_ACCOUNT) && self.impersonated().is_none()
    }

    /// Says whether it was made without credentials.
    pub(super) fn is_anonymous(&self) -> bool {
        (self.user() == b"system:anonymous" || self.is_in_group(b"system:unauthenticated"))
            && self.impersonated().is_none()
    }

    /// Says whether it was made by a person, as far as names tell. Who impersonates is one:
    /// a proxy that people go through.
    pub(super) fn is_human(&self) -> bool {
        is_human(self.user()) || self.impersonated().is_some()
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
    pub(super) fn body(&self) -> Body<'a, D> {
        Body::new(self.doc, self.places.request_object)
    }

    /// Returns the properties of the pod spec that the body has, or of what a JSON patch
    /// puts into one. Several detections ask for them.
    pub(super) fn pods(&self) -> Properties {
        *self.pods.get_or_init(|| {
            let mut properties = Properties::default();
            if let Some(path) = self.kind.pod_spec() {
                self.body().any(|piece| {
                    if let Some(spec) = piece.dig(path) {
                        properties.add(Properties::of(spec));
                    }
                    false
                });
            }
            properties
        })
    }

    /// Returns the body of the response.
    pub(super) fn response(&self) -> Option<Value<'a, D>> {
        Some(Value::new(self.doc, self.places.response_object?))
    }

    /// Says whether the body is absent because of the level, or because it was too large.
    pub(super) fn is_blind(&self) -> bool {
        self.body().is_absent()
            && (self.event.level() == Some(Level::Metadata)
                || self.annotation("audit.k8s.io/truncated").is(b"true"))
    }
}

/// The members of a response's status, in the order in which the API server writes them.
const STATUS: &Keys<6> = &Keys::new(["metadata", "status", "message", "reason", "details", "code"]);
/// The place of `code` among them.
const CODE: usize = 5;

/// Reads the code of a response's status; every event that counts is asked for it.
fn code_of<'a>(doc: impl Doc<'a>, status: usize) -> Result<Option<i64>, Malformed> {
    let mut code = None;
    let mut walk = Walk::new(STATUS, doc.open_map(status)?);
    while let Some(KnownMember { which, value, .. }) = walk.next(doc)? {
        if which == CODE {
            code = doc.integer(value);
        }
        walk.map.next = doc.end(value)?;
    }
    Ok(code)
}

/// Says whether the value at a position is a map with at least one member.
fn has_members<'a>(doc: impl Doc<'a>, at: usize) -> bool {
    let map = doc.open_map(at);
    map.is_ok_and(|mut map| matches!(doc.next_member(&mut map), Ok(Some(_))))
}
