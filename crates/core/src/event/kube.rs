//! An audit event as it stands in a document: which fields it has and where.

use std::borrow::Cow;

use crate::bytes;
use crate::policy::{Attributes, Level, Resource, Stage, Target, User};

use crate::doc::keys::{Keys, KnownMember, Walk};
use crate::doc::{Doc, Kind, Malformed, Text};
use crate::event::uri::{self, ResourcePath};

/// Names of members as an enum, in the order in which the API server writes them.
macro_rules! fields {
    ($(#[$doc:meta])* $visibility:vis enum $name:ident { $($variant:ident = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $(#[doc = concat!("`", $key, "`")] $variant,)*
            /// Any other.
            Other,
        }

        impl $name {
            const ALL: &'static [$name] = &[$($name::$variant,)* $name::Other];
            const COUNT: usize = $name::ALL.len() - 1;
            const KEYS: &'static Keys<{ $name::COUNT }> = &Keys::new([$($key,)*]);
        }
    };
}

fields! {
    /// The fields of an event, and the items of a list of them.
    pub enum Field {
        Kind = "kind",
        ApiVersion = "apiVersion",
        Level = "level",
        AuditId = "auditID",
        Stage = "stage",
        RequestUri = "requestURI",
        Verb = "verb",
        User = "user",
        ImpersonatedUser = "impersonatedUser",
        SourceIps = "sourceIPs",
        UserAgent = "userAgent",
        ObjectRef = "objectRef",
        ResponseStatus = "responseStatus",
        RequestObject = "requestObject",
        ResponseObject = "responseObject",
        RequestReceivedTimestamp = "requestReceivedTimestamp",
        StageTimestamp = "stageTimestamp",
        Annotations = "annotations",
        Items = "items",
    }
}

impl Field {
    /// Whether the level at which an event is logged has a say in it.
    #[inline]
    pub fn depends_on_level(self) -> bool {
        const THESE: u32 = 1 << Field::Level as u32
            | 1 << Field::RequestObject as u32
            | 1 << Field::ResponseObject as u32
            | 1 << Field::Annotations as u32;
        THESE >> self as u32 & 1 != 0
    }
}

fields! {
    /// What a user is made of.
    enum UserField {
        Username = "username",
        Uid = "uid",
        Groups = "groups",
        Extra = "extra",
    }
}

fields! {
    /// What the reference of an object is made of.
    enum RefField {
        Resource = "resource",
        Namespace = "namespace",
        Name = "name",
        Uid = "uid",
        ApiGroup = "apiGroup",
        ApiVersion = "apiVersion",
        ResourceVersion = "resourceVersion",
        Subresource = "subresource",
    }
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
    texts: FieldTexts<'a, { Field::COUNT }>,
    user: UserView<'a>,
    object_ref: Option<FieldTexts<'a, { RefField::COUNT }>>,
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

/// The strings of an object, by the places of their names.
#[derive(Clone, Copy, Debug)]
struct FieldTexts<'a, const N: usize>([Option<Text<'a>>; N]);

impl<const N: usize> Default for FieldTexts<'_, N> {
    fn default() -> Self {
        FieldTexts([None; N])
    }
}

impl<'a, const N: usize> FieldTexts<'a, N> {
    #[inline(always)]
    fn set(&mut self, place: usize, text: Option<Text<'a>>) {
        if let Some(place) = self.0.get_mut(place) {
            *place = text;
        }
    }

    /// The value of a string, empty where there is none.
    fn value(&self, place: usize) -> Cow<'a, [u8]> {
        let text = self.0.get(place).copied().flatten();
        text.map_or(Cow::Borrowed(&[]), |text| text.value())
    }
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
    pub fn read<T: Doc<'a>>(
        &mut self,
        tree: T,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        scratch.slots.clear();
        scratch.groups.clear();
        let map = tree.open_map(at)?;
        *self = Event {
            at,
            members: map.next,
            ..Event::default()
        };
        let event = self;
        let mut walk = Walk::new(Field::KEYS, map);
        while let Some(member) = walk.next(tree)? {
            let KnownMember {
                which,
                start,
                value,
            } = member;
            let field = Field::ALL.get(which).copied().unwrap_or(Field::Other);
            let end = match field {
                Field::User | Field::ObjectRef | Field::Items => {
                    event.read_nested(tree, field, value, scratch)?
                }
                _ => {
                    let (text, end) = tree.value(value)?;
                    event.texts.set(which, text);
                    end
                }
            };
            scratch.slots.push(Slot {
                field,
                start,
                value,
                end,
            });
            walk.map.next = end;
        }
        event.end = walk.map.next;
        Ok(())
    }

    #[inline(never)]
    fn read_nested<T: Doc<'a>>(
        &mut self,
        tree: T,
        field: Field,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, Malformed> {
        match field {
            Field::User if !scratch.outline => self.read_user(tree, at, scratch),
            Field::ObjectRef if !scratch.outline => self.read_object_ref(tree, at),
            Field::Items => {
                self.items = (tree.kind(at)? == Kind::List).then_some(at);
                tree.end(at)
            }
            _ => tree.end(at),
        }
    }

    fn read_user<T: Doc<'a>>(
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
        let mut walk = Walk::new(UserField::KEYS, tree.open_map(at)?);
        while let Some(KnownMember { which, value, .. }) = walk.next(tree)? {
            let field = UserField::ALL.get(which).copied();
            walk.map.next = match field.unwrap_or(UserField::Other) {
                field @ (UserField::Username | UserField::Uid) => {
                    let (text, end) = tree.value(value)?;
                    if field == UserField::Username {
                        self.user.name = text;
                    } else {
                        self.user.more |= text.is_some_and(|uid| !uid.raw.is_empty());
                    }
                    end
                }
                UserField::Groups => self.read_groups(tree, value, scratch)?,
                UserField::Extra if tree.kind(value)? == Kind::Map => {
                    let mut extra = tree.open_map(value)?;
                    self.user.more |= tree.next_member(&mut extra)?.is_some();
                    tree.end(value)?
                }
                _ => tree.end(value)?,
            };
        }
        Ok(walk.map.next)
    }

    fn read_groups<T: Doc<'a>>(
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
            let (group, end) = tree.value(item)?;
            list.next = end;
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

    fn read_object_ref<T: Doc<'a>>(&mut self, tree: T, at: usize) -> Result<usize, Malformed> {
        self.object_ref = None;
        if tree.kind(at)? != Kind::Map {
            return tree.end(at);
        }
        let reference = self.object_ref.insert(FieldTexts::default());
        let mut walk = Walk::new(RefField::KEYS, tree.open_map(at)?);
        while let Some(KnownMember { which, value, .. }) = walk.next(tree)? {
            let (text, end) = tree.value(value)?;
            reference.set(which, text);
            walk.map.next = end;
        }
        Ok(walk.map.next)
    }
}

impl<'a> Event<'a> {
    /// A field whose value is a string.
    #[inline(always)]
    fn text(&self, field: Field) -> Option<Text<'a>> {
        self.texts.0.get(field as usize).copied().flatten()
    }

    /// What the document is.
    ///
    /// An event is told by its audit id and stage, or by its type: items of an
    /// `EventList` carry no type of their own.
    pub fn document_kind(&self) -> DocumentKind {
        let typed = self
            .text(Field::ApiVersion)
            .is_some_and(|version| version.value().starts_with(b"audit.k8s.io/"));
        let kind = |name: &[u8]| self.text(Field::Kind).is_some_and(|kind| kind.is(name));
        match self.items {
            Some(items) if typed && kind(b"EventList") => DocumentKind::EventList(items),
            _ if self.text(Field::Stage).is_some() && self.audit_id().is_some()
                || typed && kind(b"Event") =>
            {
                DocumentKind::Event
            }
            _ => DocumentKind::Other,
        }
    }

    /// `apiVersion`, where the document has one.
    pub fn api_version(&self) -> Option<Text<'a>> {
        self.text(Field::ApiVersion)
    }

    /// Takes the API version of the list that the event is an item of, where it has none itself.
    pub fn inherit(&mut self, api_version: Option<Text<'a>>) {
        let own = self.api_version();
        self.texts
            .set(Field::ApiVersion as usize, own.or(api_version));
    }

    /// The level it was logged at, where that is one.
    pub fn level(&self) -> Option<Level> {
        self.text(Field::Level)
            .and_then(|level| Level::from_name(&level.value()))
    }

    /// The stage, where that is one.
    pub fn stage(&self) -> Option<Stage> {
        self.text(Field::Stage)
            .and_then(|stage| Stage::from_name(&stage.value()))
    }

    /// `auditID`, where the document has one.
    pub fn audit_id(&self) -> Option<Text<'a>> {
        self.text(Field::AuditId)
    }

    /// `stageTimestamp`, where the document has one.
    pub fn stage_timestamp(&self) -> Option<Text<'a>> {
        self.text(Field::StageTimestamp)
    }

    /// `requestReceivedTimestamp`, where the document has one.
    pub fn received_timestamp(&self) -> Option<Text<'a>> {
        self.text(Field::RequestReceivedTimestamp)
    }

    /// `requestURI`, where the document has one.
    pub fn request_uri(&self) -> Option<Text<'a>> {
        self.text(Field::RequestUri)
    }

    /// Whether the request is a patch, whose body is no object of its own.
    pub fn is_patch(&self) -> bool {
        self.text(Field::Verb).is_some_and(|verb| verb.is(b"patch"))
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
        self.logged_attributes(document, scratch, |logged| {
            let Target::Resource(mut resource) = logged.target else {
                return use_attributes(logged);
            };
            let path;
            // These have no body to fill anything from; lists name objects by field selectors.
            let reads = matches!(logged.verb, b"get" | b"list" | b"watch");
            if !reads && self.stage() != Some(Stage::RequestReceived) {
                path = path_of(self.text(Field::RequestUri));
                undo_back_fill(&mut resource, &path, logged.verb);
            }
            use_attributes(&Attributes {
                target: Target::Resource(resource),
                ..*logged
            })
        })
    }

    /// Calls `use_attributes` with the request as it was logged: namespace and name may
    /// come from the request's body.
    pub fn logged_attributes<R>(
        &self,
        document: &'a [u8],
        scratch: &Scratch,
        use_attributes: impl FnOnce(&Attributes<'_>) -> R,
    ) -> R {
        let verb = self.texts.value(Field::Verb as usize);
        let name = self
            .user
            .name
            .map_or(Cow::Borrowed(&[][..]), |name| name.value());
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
                target: Target::NonResource {
                    path: &path_of(self.text(Field::RequestUri)),
                },
            });
        };
        let version = reference.value(RefField::ApiVersion as usize);
        let logged = LoggedRef {
            group: reference.value(RefField::ApiGroup as usize),
            resource: reference.value(RefField::Resource as usize),
            subresource: reference.value(RefField::Subresource as usize),
            namespace: reference.value(RefField::Namespace as usize),
            name: reference.value(RefField::Name as usize),
        };
        let mut resource = Resource {
            group: &logged.group,
            resource: &logged.resource,
            subresource: &logged.subresource,
            namespace: &logged.namespace,
            name: &logged.name,
        };
        // v1alpha1 has the group in front of the version, and knows no other place for it.
        let alpha = |version: Text<'_>| version.is(b"audit.k8s.io/v1alpha1");
        if self.text(Field::ApiVersion).is_some_and(alpha) {
            let group = memchr::memrchr(b'/', &version).and_then(|slash| version.get(..slash));
            resource.group = group.unwrap_or_default();
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
            logged.name = url.name;
        }
        // A prefix or form of URL that the server's own request info does not know.
        _ if verb == b"create" && logged.subresource.is_empty() => logged.name = &[],
        _ => {}
    }
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
