//! An audit event as it stands in a document: which fields it has and where.

use std::borrow::Cow;

use crate::bytes;
use crate::policy::{Attributes, Level, Resource, Stage, Target, User};

use super::tree::{Kind, Malformed, Text, Tree};
use super::uri::{self, ResourcePath};

/// The fields of an event that something here looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `annotations`
    Annotations,
    /// `level`
    Level,
    /// `requestObject`
    RequestObject,
    /// `responseObject`
    ResponseObject,
    /// Any other.
    Other,
}

/// One top-level member of a document.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Which field it is.
    pub field: Field,
    /// Where its key begins.
    pub start: usize,
    /// Where its value begins.
    pub value: usize,
    /// Where its value ends.
    pub end: usize,
}

/// What a document holds at its top level, seen as an audit event. Where a key
/// repeats, the last one counts, as in Go's decoder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'a> {
    /// Where the document begins.
    pub at: usize,
    /// Where its members begin.
    pub members: usize,
    /// Where it ends.
    pub end: usize,
    kind: Option<Text<'a>>,
    api_version: Option<Text<'a>>,
    audit_id: Option<Text<'a>>,
    level: Option<Text<'a>>,
    stage: Option<Text<'a>>,
    request_uri: Option<Text<'a>>,
    verb: Option<Text<'a>>,
    user: UserView<'a>,
    object_ref: Option<ObjectRef<'a>>,
    received: Option<Text<'a>>,
    staged: Option<Text<'a>>,
    items: Option<usize>,
}

/// What is needed of `user`; its groups are kept beside it.
#[derive(Clone, Copy, Debug, Default)]
struct UserView<'a> {
    name: Option<Text<'a>>,
    /// Whether there is a UID, group or extra: without any and without a name
    /// authentication failed.
    more: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct ObjectRef<'a> {
    api_group: Option<Text<'a>>,
    api_version: Option<Text<'a>>,
    resource: Option<Text<'a>>,
    subresource: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    name: Option<Text<'a>>,
}

/// What of a member's value is read.
enum Read<'e, 'a> {
    Nothing,
    String(&'e mut Option<Text<'a>>),
    User,
    ObjectRef,
}

/// Buffers for reading events, reused from record to record.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The top-level members of the document read last.
    pub slots: Vec<Slot>,
    /// Groups of the user, as ranges of the document.
    groups: Vec<GroupSpan>,
    /// Whether user and object are stepped over, because no policy will ask for them.
    pub outline: bool,
}

#[derive(Clone, Copy, Debug)]
struct GroupSpan {
    start: usize,
    end: usize,
    escaped: bool,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// An audit event.
    Event,
    /// A list of audit events, with the place of its items.
    EventList(usize),
    /// Anything else.
    Other,
}

impl<'a> Event<'a> {
    /// Reads the map at a position, once and whole, into what was an event before:
    /// it is too large to be moved around.
    pub fn read<T: Tree<'a>>(
        &mut self,
        tree: T,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        scratch.slots.clear();
        scratch.groups.clear();
        let mut map = tree.open_map(at)?;
        *self = Event {
            at,
            members: map.next,
            ..Event::default()
        };
        let event = self;
        while let Some(member) = tree.next_member(&mut map)? {
            let value = member.value;
            let mut field = Field::Other;
            let read = match member.key.value().as_ref() {
                b"kind" => Read::String(&mut event.kind),
                b"apiVersion" => Read::String(&mut event.api_version),
                b"auditID" => Read::String(&mut event.audit_id),
                b"stage" => Read::String(&mut event.stage),
                b"requestURI" => Read::String(&mut event.request_uri),
                b"verb" => Read::String(&mut event.verb),
                b"requestReceivedTimestamp" => Read::String(&mut event.received),
                b"stageTimestamp" => Read::String(&mut event.staged),
                b"level" => {
                    field = Field::Level;
                    Read::String(&mut event.level)
                }
                b"user" if !scratch.outline => Read::User,
                b"objectRef" if !scratch.outline => Read::ObjectRef,
                b"items" => {
                    event.items = (tree.kind(value)? == Kind::List).then_some(value);
                    Read::Nothing
                }
                b"annotations" => {
                    field = Field::Annotations;
                    Read::Nothing
                }
                b"requestObject" => {
                    field = Field::RequestObject;
                    Read::Nothing
                }
                b"responseObject" => {
                    field = Field::ResponseObject;
                    Read::Nothing
                }
                _ => Read::Nothing,
            };
            map.next = match read {
                Read::Nothing => tree.end(value)?,
                Read::String(text) => string(tree, value, text)?,
                Read::User => event.read_user(tree, value, scratch)?,
                Read::ObjectRef => event.read_object_ref(tree, value)?,
            };
            scratch.slots.push(Slot {
                field,
                start: member.start,
                value,
                end: map.next,
            });
        }
        event.end = map.next;
        Ok(())
    }

    fn read_user<T: Tree<'a>>(
        &mut self,
        tree: T,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, Malformed> {
        self.user = UserView::default();
        scratch.groups.clear();
        if tree.kind(at)? != Kind::Map {
            return tree.end(at);
        }
        let mut map = tree.open_map(at)?;
        while let Some(member) = tree.next_member(&mut map)? {
            let value = member.value;
            map.next = match member.key.value().as_ref() {
                b"username" => string(tree, value, &mut self.user.name)?,
                b"uid" => {
                    let mut uid = None;
                    let end = string(tree, value, &mut uid)?;
                    self.user.more |= uid.is_some_and(|uid| !uid.raw.is_empty());
                    end
                }
                b"groups" => self.read_groups(tree, value, scratch)?,
                b"extra" if tree.kind(value)? == Kind::Map => {
                    let mut extra = tree.open_map(value)?;
                    self.user.more |= tree.next_member(&mut extra)?.is_some();
                    tree.end(value)?
                }
                _ => tree.end(value)?,
            };
        }
        Ok(map.next)
    }

    fn read_groups<T: Tree<'a>>(
        &mut self,
        tree: T,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, Malformed> {
        scratch.groups.clear();
        if tree.kind(at)? != Kind::List {
            return tree.end(at);
        }
        let mut list = tree.open_list(at)?;
        while let Some(item) = tree.next_item(&mut list)? {
            self.user.more = true;
            let mut group = None;
            list.next = string(tree, item, &mut group)?;
            if let Some(Text { raw, at, escaped }) = group {
                scratch.groups.push(GroupSpan {
                    start: at,
                    end: at + raw.len(),
                    escaped,
                });
            }
        }
        Ok(list.next)
    }

    fn read_object_ref<T: Tree<'a>>(&mut self, tree: T, at: usize) -> Result<usize, Malformed> {
        self.object_ref = None;
        if tree.kind(at)? != Kind::Map {
            return tree.end(at);
        }
        let reference = self.object_ref.insert(ObjectRef::default());
        let mut map = tree.open_map(at)?;
        while let Some(member) = tree.next_member(&mut map)? {
            let value = member.value;
            let text = match member.key.value().as_ref() {
                b"apiGroup" => Some(&mut reference.api_group),
                b"apiVersion" => Some(&mut reference.api_version),
                b"resource" => Some(&mut reference.resource),
                b"subresource" => Some(&mut reference.subresource),
                b"namespace" => Some(&mut reference.namespace),
                b"name" => Some(&mut reference.name),
                _ => None,
            };
            map.next = match text {
                Some(text) => string(tree, value, text)?,
                None => tree.end(value)?,
            };
        }
        Ok(map.next)
    }
}

impl<'a> Event<'a> {
    /// What the document is.
    ///
    /// An event is told by its audit id and stage, or by its type: items of an
    /// `EventList` carry no type of their own.
    pub fn document_kind(&self) -> DocumentKind {
        let typed = self
            .api_version
            .is_some_and(|version| version.value().starts_with(b"audit.k8s.io/"));
        let kind = |name: &[u8]| self.kind.is_some_and(|kind| kind.is(name));
        match self.items {
            Some(items) if typed && kind(b"EventList") => DocumentKind::EventList(items),
            _ if self.stage.is_some() && self.audit_id.is_some() || typed && kind(b"Event") => {
                DocumentKind::Event
            }
            _ => DocumentKind::Other,
        }
    }

    /// `apiVersion`, where the document has one.
    pub fn api_version(&self) -> Option<Text<'a>> {
        self.api_version
    }

    /// Takes the API version of the list that the event is an item of, where it has none itself.
    pub fn inherit(&mut self, api_version: Option<Text<'a>>) {
        self.api_version = self.api_version.or(api_version);
    }

    /// The level it was logged at, where that is one.
    pub fn level(&self) -> Option<Level> {
        self.level
            .and_then(|level| Level::from_name(&level.value()))
    }

    /// The stage, where that is one.
    pub fn stage(&self) -> Option<Stage> {
        self.stage
            .and_then(|stage| Stage::from_name(&stage.value()))
    }

    /// `auditID`, where the document has one.
    pub fn audit_id(&self) -> Option<Text<'a>> {
        self.audit_id
    }

    /// `stageTimestamp`, where the document has one.
    pub fn stage_timestamp(&self) -> Option<Text<'a>> {
        self.staged
    }

    /// `requestReceivedTimestamp`, where the document has one.
    pub fn received_timestamp(&self) -> Option<Text<'a>> {
        self.received
    }

    /// Whether the request is a patch, whose body is no object of its own.
    pub fn is_patch(&self) -> bool {
        self.verb.is_some_and(|verb| verb.is(b"patch"))
    }

    /// Calls `use_attributes` with what the API server's evaluator saw of the request.
    ///
    /// The server decides before it fills empty fields of `objectRef` from the
    /// request's body, so that in later stages name and namespace come from the
    /// URL, as long as the URL and `objectRef` speak of the same thing.
    pub fn attributes<R>(
        &self,
        document: &'a [u8],
        scratch: &Scratch,
        use_attributes: impl FnOnce(&Attributes<'_>) -> R,
    ) -> R {
        let path = path_of(self.request_uri);
        let verb = value(self.verb);
        let name = value(self.user.name);
        // An event has a handful of groups without escapes; anything else costs an allocation.
        let mut few = [&[][..]; 16];
        let decoded: Vec<Cow<'a, [u8]>>;
        let many: Vec<&[u8]>;
        let spans = &scratch.groups;
        let groups = match few.get_mut(..spans.len()) {
            Some(few) if !spans.iter().any(|span| span.escaped) => {
                for (group, span) in few.iter_mut().zip(spans) {
                    *group = &document[span.start..span.end];
                }
                &*few
            }
            _ => {
                let text = |span: &GroupSpan| Text {
                    raw: &document[span.start..span.end],
                    at: span.start,
                    escaped: span.escaped,
                };
                decoded = spans.iter().map(|span| text(span).value()).collect();
                many = decoded.iter().map(Cow::as_ref).collect();
                &many
            }
        };
        let user = (self.user.more || !name.is_empty()).then_some(User {
            name: &name,
            groups,
        });
        let Some(reference) = self.object_ref else {
            return use_attributes(&Attributes {
                user,
                verb: &verb,
                target: Target::NonResource { path: &path },
            });
        };
        let version = value(reference.api_version);
        let logged = LoggedRef {
            group: value(reference.api_group),
            resource: value(reference.resource),
            subresource: value(reference.subresource),
            namespace: value(reference.namespace),
            name: value(reference.name),
        };
        let mut resource = Resource {
            group: &logged.group,
            resource: &logged.resource,
            subresource: &logged.subresource,
            namespace: &logged.namespace,
            name: &logged.name,
        };
        // v1alpha1 has the group in front of the version.
        if self
            .api_version
            .is_some_and(|version| version.is(b"audit.k8s.io/v1alpha1"))
            && let Some(slash) = memchr::memrchr(b'/', &version)
        {
            resource.group = &version[..slash];
        }
        if self.stage() != Some(Stage::RequestReceived) {
            undo_back_fill(&mut resource, &path, &verb);
        }
        use_attributes(&Attributes {
            user,
            verb: &verb,
            target: Target::Resource(resource),
        })
    }
}

/// The values of an `objectRef`, as logged.
struct LoggedRef<'a> {
    group: Cow<'a, [u8]>,
    resource: Cow<'a, [u8]>,
    subresource: Cow<'a, [u8]>,
    namespace: Cow<'a, [u8]>,
    name: Cow<'a, [u8]>,
}

/// Puts namespace and name back to what the URL says, where it speaks of the same object.
fn undo_back_fill<'a>(logged: &mut Resource<'a>, path: &'a [u8], verb: &[u8]) {
    let agrees = |url: &[u8], logged: &[u8]| url.is_empty() || bytes::equal(url, logged);
    match ResourcePath::parse(path) {
        Some(url)
            if bytes::equal(url.group, logged.group)
                && bytes::equal(url.resource, logged.resource)
                && bytes::equal(url.subresource, logged.subresource)
                && agrees(url.namespace, logged.namespace)
                && agrees(url.name, logged.name) =>
        {
            logged.namespace = url.namespace;
            // A list or watch may name its object by a field selector.
            if !(url.name.is_empty() && matches!(verb, b"list" | b"watch")) {
                logged.name = url.name;
            }
        }
        // A prefix or form of URL that the server's own request info does not know.
        _ if verb == b"create" && logged.subresource.is_empty() => logged.name = &[],
        _ => {}
    }
}

fn value<'a>(text: Option<Text<'a>>) -> Cow<'a, [u8]> {
    text.map_or(Cow::Borrowed(&[]), |text| text.value())
}

/// The decoded path of a request URI, without its query.
fn path_of<'a>(uri: Option<Text<'a>>) -> Cow<'a, [u8]> {
    let Some(uri) = uri else {
        return Cow::Borrowed(&[]);
    };
    // Queries are full of escaped ampersands: cut them off first.
    let raw = uri::without_query(uri.raw);
    let path = Text {
        raw,
        escaped: uri.escaped && memchr::memchr(b'\\', raw).is_some(),
        ..uri
    };
    match path.value() {
        Cow::Borrowed(path) => uri::decode_path(path),
        Cow::Owned(path) => Cow::Owned(uri::decode_path(uri::without_query(&path)).into_owned()),
    }
}

/// Reads a string value; a value of another kind counts as absent.
// Always inline: a call takes as long as a short string does.
#[inline(always)]
fn string<'a, T: Tree<'a>>(
    tree: T,
    at: usize,
    into: &mut Option<Text<'a>>,
) -> Result<usize, Malformed> {
    if tree.kind(at)? == Kind::Text {
        let (text, end) = tree.text(at)?;
        *into = Some(text);
        Ok(end)
    } else {
        *into = None;
        tree.end(at)
    }
}
