//! Audit events of Kubernetes, as they are in a document: which fields they have and where.
//!
//! [`MapView`] is the top level of any map; only one that is [recognised](MapView::recognise)
//! is an [`Event`].

use std::borrow::Cow;
use std::ops::Range;

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

        impl From<$name> for usize {
            #[inline(always)]
            #[expect(clippy::as_conversions, reason = "the number of a variant")]
            fn from(field: $name) -> usize {
                field as usize
            }
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
    /// Returns whether the level decides if the field is logged, or is the field itself.
    #[inline]
    pub fn depends_on_level(self) -> bool {
        matches!(
            self,
            Field::Level | Field::RequestObject | Field::ResponseObject | Field::Annotations
        )
    }
}

fields! {
    /// The fields of a user.
    enum UserField {
        Username = "username",
        Uid = "uid",
        Groups = "groups",
        Extra = "extra",
    }
}

fields! {
    /// The fields of an object reference.
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

/// One member at the top level of a map.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The field that it is.
    pub field: Field,
    /// Start of the key.
    pub start: usize,
    /// Start of the value.
    pub value: usize,
    /// End of the value.
    pub end: usize,
}

/// The top level of a map, with what an audit event would have there. Where a key
/// repeats, the last one counts, as in Go's decoder.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapView<'a> {
    /// Start of the map.
    pub at: usize,
    /// End of the map.
    pub end: usize,
    texts: FieldTexts<'a, { Field::COUNT }>,
    user: UserView<'a>,
    object_ref: Option<FieldTexts<'a, { RefField::COUNT }>>,
    /// Start of `impersonatedUser`.
    impersonated_user: Option<usize>,
    /// Where `responseStatus` begins and ends.
    response_status: Option<(usize, usize)>,
    items: Option<usize>,
}

/// The parts of `user` that a policy needs; its groups are kept beside it.
#[derive(Clone, Copy, Debug, Default)]
struct UserView<'a> {
    name: Option<Text<'a>>,
    /// There is a UID, group or extra: without any and without a name, authentication
    /// failed.
    more: bool,
    /// Where extra fields begin and end; of users that repeat, from the first to the last.
    extra: Option<(usize, usize)>,
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
    fn set(&mut self, place: impl Into<usize>, text: Option<Text<'a>>) {
        if let Some(place) = self.0.get_mut(place.into()) {
            *place = text;
        }
    }

    #[inline(always)]
    fn get(&self, place: impl Into<usize>) -> Option<Text<'a>> {
        self.0.get(place.into()).copied().flatten()
    }

    /// A string as it stands, empty where there is none.
    fn text(&self, place: impl Into<usize>) -> Text<'a> {
        self.get(place).unwrap_or_default()
    }

    /// The value of a string, empty where there is none.
    fn value(&self, place: impl Into<usize>) -> Cow<'a, [u8]> {
        let text = self.get(place);
        text.map_or(Cow::Borrowed(&[]), |text| text.value())
    }
}

/// Buffers for reading maps, reused from record to record.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The top-level members of the map read last.
    pub members: Vec<Member>,
    /// Groups of the user, as ranges of the document.
    groups: Vec<GroupSpan>,
    /// Steps over user and object, because no policy will ask for them.
    pub outline: bool,
}

#[derive(Clone, Copy, Debug)]
struct GroupSpan {
    start: usize,
    end: usize,
    escaped: bool,
}

impl GroupSpan {
    #[inline]
    fn raw<'a>(&self, document: &'a [u8]) -> &'a [u8] {
        document.get(self.start..self.end).unwrap_or_default()
    }
}

/// The content of a map.
#[derive(Clone, Copy, Debug)]
pub enum Recognised<'v, 'a> {
    /// An audit event.
    Event(Event<'v, 'a>),
    /// A list of audit events, with the position of its items.
    EventList(usize),
    /// Anything else.
    Other,
}

/// An audit event of Kubernetes.
#[derive(Clone, Copy, Debug)]
pub struct Event<'v, 'a> {
    view: &'v MapView<'a>,
}

impl<'a> MapView<'a> {
    /// Parses the map at `at` into `self`, a view that is new; in place, because a view is
    /// too large to return by value.
    pub fn read<D: Doc<'a>>(
        &mut self,
        doc: D,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        scratch.members.clear();
        scratch.groups.clear();
        self.at = at;
        let mut walk = Walk::new(Field::KEYS, doc.open_map(at)?);
        while let Some(member) = walk.next(doc)? {
            let KnownMember {
                which,
                start,
                value,
            } = member;
            let field = Field::ALL.get(which).copied().unwrap_or(Field::Other);
            let end = match field {
                Field::User | Field::ImpersonatedUser | Field::ObjectRef | Field::Items => {
                    self.read_nested(doc, field, value, scratch)?
                }
                Field::ResponseStatus => {
                    let end = doc.end(value)?;
                    self.response_status = Some((value, end));
                    end
                }
                _ => {
                    let (text, end) = doc.value(value)?;
                    self.texts.set(which, text);
                    end
                }
            };
            scratch.members.push(Member {
                field,
                start,
                value,
                end,
            });
            walk.map.next = end;
        }
        self.end = walk.map.next;
        Ok(())
    }

    #[inline(never)]
    fn read_nested<D: Doc<'a>>(
        &mut self,
        doc: D,
        field: Field,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, Malformed> {
        match field {
            Field::User if !scratch.outline => self.read_user(doc, at, scratch),
            Field::ObjectRef if !scratch.outline => self.read_object_ref(doc, at),
            Field::ImpersonatedUser => {
                self.impersonated_user = Some(at);
                doc.end(at)
            }
            Field::Items => {
                self.items = (doc.kind(at)? == Kind::List).then_some(at);
                doc.end(at)
            }
            _ => doc.end(at),
        }
    }

    fn read_user<D: Doc<'a>>(
        &mut self,
        doc: D,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, Malformed> {
        self.user = UserView {
            extra: self.user.extra,
            ..UserView::default()
        };
        scratch.groups.clear();
        if doc.kind(at)? != Kind::Map {
            return doc.end(at);
        }
        let mut walk = Walk::new(UserField::KEYS, doc.open_map(at)?);
        while let Some(KnownMember { which, value, .. }) = walk.next(doc)? {
            let field = UserField::ALL.get(which).copied();
            walk.map.next = match field.unwrap_or(UserField::Other) {
                field @ (UserField::Username | UserField::Uid) => {
                    let (text, end) = doc.value(value)?;
                    if field == UserField::Username {
                        self.user.name = text;
                    } else {
                        self.user.more |= text.is_some_and(|uid| !uid.raw.is_empty());
                    }
                    end
                }
                UserField::Groups => self.read_groups(doc, value, scratch)?,
                UserField::Extra if doc.kind(value)? == Kind::Map => {
                    let mut extra = doc.open_map(value)?;
                    let has_some = doc.next_member(&mut extra)?.is_some();
                    let end = doc.end(value)?;
                    if has_some {
                        self.user.more = true;
                        let (first, _) = self.user.extra.unwrap_or((value, end));
                        self.user.extra = Some((first, end));
                    }
                    end
                }
                _ => doc.end(value)?,
            };
        }
        Ok(walk.map.next)
    }

    fn read_groups<D: Doc<'a>>(
        &mut self,
        doc: D,
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, Malformed> {
        scratch.groups.clear();
        if doc.kind(at)? != Kind::List {
            return doc.end(at);
        }
        let mut list = doc.open_list(at)?;
        while let Some(item) = doc.next_item(&mut list)? {
            self.user.more = true;
            let (group, end) = doc.value(item)?;
            list.next = end;
            if let Some(Text { raw, at, escaped }) = group {
                scratch.groups.push(GroupSpan {
                    start: at,
                    end: at.saturating_add(raw.len()),
                    escaped,
                });
            }
        }
        Ok(list.next)
    }

    fn read_object_ref<D: Doc<'a>>(&mut self, doc: D, at: usize) -> Result<usize, Malformed> {
        self.object_ref = None;
        if doc.kind(at)? != Kind::Map {
            return doc.end(at);
        }
        let reference = self.object_ref.insert(FieldTexts::default());
        let mut walk = Walk::new(RefField::KEYS, doc.open_map(at)?);
        while let Some(KnownMember { which, value, .. }) = walk.next(doc)? {
            let (text, end) = doc.value(value)?;
            reference.set(which, text);
            walk.map.next = end;
        }
        Ok(walk.map.next)
    }
}

impl<'a> MapView<'a> {
    /// A field whose value is a string.
    #[inline(always)]
    fn text(&self, field: Field) -> Option<Text<'a>> {
        self.texts.get(field)
    }

    /// Tells events and lists of them from other maps.
    ///
    /// An event is known by its type, or by audit ID, stage and level together: other
    /// products write the former two into logs of their own format.
    #[inline]
    pub fn recognise(&self) -> Recognised<'_, 'a> {
        let has = |field| self.text(field).is_some();
        let typed = || {
            self.text(Field::ApiVersion)
                .is_some_and(|version| version.value().starts_with(b"audit.k8s.io/"))
        };
        let kind = |name: &[u8]| self.text(Field::Kind).is_some_and(|kind| kind.is(name));
        if let Some(items) = self.items
            && kind(b"EventList")
            && typed()
        {
            return Recognised::EventList(items);
        }
        let is_event = match has(Field::AuditId) && has(Field::Stage) {
            true => has(Field::Level) || typed(),
            false => kind(b"Event") && typed(),
        };
        match is_event {
            true => Recognised::Event(Event { view: self }),
            false => Recognised::Other,
        }
    }

    /// `apiVersion`, if the map has one.
    pub fn api_version(&self) -> Option<Text<'a>> {
        self.text(Field::ApiVersion)
    }

    /// Takes the map for an event that is an item of a list. Items carry no type of their
    /// own: they have the API version of the list.
    pub fn item_of_list(&mut self, list_version: Option<Text<'a>>) -> Event<'_, 'a> {
        let own = self.api_version();
        self.texts.set(Field::ApiVersion, own.or(list_version));
        Event { view: self }
    }
}

impl<'v, 'a> Event<'v, 'a> {
    #[inline(always)]
    fn text(&self, field: Field) -> Option<Text<'a>> {
        self.view.text(field)
    }

    /// Start of the event's map.
    pub fn start(&self) -> usize {
        self.view.at
    }

    /// Range of the event in its document.
    pub fn range(&self) -> Range<usize> {
        self.view.at..self.view.end
    }

    /// The event as a map.
    pub fn view(&self) -> &'v MapView<'a> {
        self.view
    }

    /// The level it was logged at, if that is one the API server knows.
    pub fn level(&self) -> Option<Level> {
        self.text(Field::Level)
            .and_then(|level| Level::from_name(&level.value()))
    }

    /// The stage, if that is one the API server knows.
    pub fn stage(&self) -> Option<Stage> {
        self.text(Field::Stage)
            .and_then(|stage| Stage::from_name(&stage.value()))
    }

    /// `stage` as it stands, if the event has one.
    pub fn stage_name(&self) -> Option<Text<'a>> {
        self.text(Field::Stage)
    }

    /// `auditID`, if the event has one.
    pub fn audit_id(&self) -> Option<Text<'a>> {
        self.text(Field::AuditId)
    }

    /// `stageTimestamp`, if the event has one.
    pub fn stage_timestamp(&self) -> Option<Text<'a>> {
        self.text(Field::StageTimestamp)
    }

    /// `requestReceivedTimestamp`, if the event has one.
    pub fn received_timestamp(&self) -> Option<Text<'a>> {
        self.text(Field::RequestReceivedTimestamp)
    }

    /// `requestURI`, if the event has one.
    pub fn request_uri(&self) -> Option<Text<'a>> {
        self.text(Field::RequestUri)
    }

    /// Returns whether the request is a patch, whose body is not an object of its own.
    pub fn is_patch(&self) -> bool {
        self.text(Field::Verb).is_some_and(|verb| verb.is(b"patch"))
    }

    /// `resource` of the `objectRef`, as it stands; `None` if the event has no `objectRef`.
    pub fn resource(&self) -> Option<Text<'a>> {
        let reference = self.view.object_ref.as_ref()?;
        Some(reference.text(RefField::Resource))
    }

    /// `subresource` of the `objectRef`, as it stands; `None` if the event has no `objectRef`.
    pub fn subresource(&self) -> Option<Text<'a>> {
        let reference = self.view.object_ref.as_ref()?;
        Some(reference.text(RefField::Subresource))
    }

    /// Start of `impersonatedUser`, if the event has one.
    pub fn impersonated_user(&self) -> Option<usize> {
        self.view.impersonated_user
    }

    /// Where `responseStatus` begins and ends, if the event has one.
    pub fn response_status(&self) -> Option<(usize, usize)> {
        self.view.response_status
    }

    /// Where the extra fields of the user begin and end, if there are any.
    pub fn extra(&self) -> Option<(usize, usize)> {
        self.view.user.extra
    }

    /// What the request asked for.
    pub fn requested(&self) -> Requested<'a> {
        let verb = self.view.texts.value(Field::Verb);
        let Some(reference) = self.view.object_ref else {
            let path = path_of(self.text(Field::RequestUri));
            let owned = |part: &[u8]| Cow::Owned(part.to_vec());
            return match path {
                Cow::Borrowed(path) => Requested::at(verb, path, Cow::Borrowed),
                Cow::Owned(path) => Requested::at(verb, &path, owned),
            };
        };
        let mut group = reference.value(RefField::ApiGroup);
        // v1alpha1 has the group in front of the version.
        if self
            .text(Field::ApiVersion)
            .is_some_and(|version| version.is(b"audit.k8s.io/v1alpha1"))
        {
            let version = reference.value(RefField::ApiVersion);
            if let Some(slash) = memchr::memrchr(b'/', &version) {
                group = Cow::Owned(version.get(..slash).unwrap_or_default().to_vec());
            }
        }
        Requested {
            verb,
            group,
            resource: reference.value(RefField::Resource),
            subresource: reference.value(RefField::Subresource),
            name: reference.value(RefField::Name),
        }
    }

    /// Calls `use_attributes` with what the API server's evaluator saw of the request.
    pub fn attributes<R>(
        &self,
        document: &'a [u8],
        scratch: &Scratch,
        use_attributes: impl FnOnce(&Attributes<'_>) -> R,
    ) -> R {
        self.logged_attributes(document, scratch, |logged| {
            self.decided_attributes(logged, use_attributes)
        })
    }

    /// Calls `use_attributes` with what the API server's evaluator saw of a request that
    /// was logged so.
    ///
    /// The server decides before it fills empty fields of `objectRef` from the
    /// request's body, so that in later stages name and namespace come from the
    /// URL, as long as the URL and `objectRef` speak of the same thing.
    #[inline]
    pub fn decided_attributes<R>(
        &self,
        logged: &Attributes<'_>,
        use_attributes: impl FnOnce(&Attributes<'_>) -> R,
    ) -> R {
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
    }

    /// Calls `use_attributes` with the request as it was logged: namespace and name may
    /// come from the request's body.
    pub fn logged_attributes<R>(
        &self,
        document: &'a [u8],
        scratch: &Scratch,
        use_attributes: impl FnOnce(&Attributes<'_>) -> R,
    ) -> R {
        let view = self.view;
        let reference = view.object_ref.as_ref();
        let referred = |field: RefField| reference.and_then(|reference| reference.get(field));
        let texts = [
            self.text(Field::Verb),
            view.user.name,
            referred(RefField::ApiGroup),
            referred(RefField::ApiVersion),
            referred(RefField::Resource),
            referred(RefField::Subresource),
            referred(RefField::Namespace),
            referred(RefField::Name),
        ];
        let decoded;
        let values = match texts.iter().flatten().any(|text| text.escaped) {
            false => texts.map(|text| text.map_or(&[][..], |text| text.raw)),
            true => {
                decoded = texts.map(|text| text.unwrap_or_default().value());
                decoded.each_ref().map(Cow::as_ref)
            }
        };
        let [
            verb,
            user,
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
        ] = values;
        // An event has a handful of groups without escapes; anything else costs an allocation.
        let mut few = [&[][..]; 8];
        let decoded_groups: Vec<Cow<'a, [u8]>>;
        let many: Vec<&[u8]>;
        let spans = &scratch.groups;
        let groups = match few.get_mut(..spans.len()) {
            Some(few) if !spans.iter().any(|span| span.escaped) => {
                for (group, span) in few.iter_mut().zip(spans) {
                    *group = span.raw(document);
                }
                &*few
            }
            _ => {
                let text = |span: &GroupSpan| Text {
                    raw: span.raw(document),
                    at: span.start,
                    escaped: span.escaped,
                };
                decoded_groups = spans.iter().map(|span| text(span).value()).collect();
                many = decoded_groups.iter().map(Cow::as_ref).collect();
                &many
            }
        };
        let user = (view.user.more || !user.is_empty()).then_some(User { name: user, groups });
        if reference.is_none() {
            return use_attributes(&Attributes {
                user,
                verb,
                target: Target::NonResource {
                    path: &path_of(self.text(Field::RequestUri)),
                },
            });
        }
        let mut resource = Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        };
        // v1alpha1 has the group in front of the version, and knows no other place for it.
        let alpha = |version: Text<'_>| version.is(b"audit.k8s.io/v1alpha1");
        if self.text(Field::ApiVersion).is_some_and(alpha) {
            let group = memchr::memrchr(b'/', version).and_then(|slash| version.get(..slash));
            resource.group = group.unwrap_or_default();
        }
        use_attributes(&Attributes {
            user,
            verb,
            target: Target::Resource(resource),
        })
    }
}

/// What a request asked for, as logged; where there is no `objectRef`, as its path says.
#[derive(Clone, Debug, Default)]
pub struct Requested<'a> {
    /// Verb.
    pub verb: Cow<'a, [u8]>,
    /// API group, empty for the core group.
    pub group: Cow<'a, [u8]>,
    /// Resource name.
    pub resource: Cow<'a, [u8]>,
    /// Subresource.
    pub subresource: Cow<'a, [u8]>,
    /// Object name.
    pub name: Cow<'a, [u8]>,
}

impl<'a> Requested<'a> {
    /// What the path of a request says.
    fn at<'p>(
        verb: Cow<'a, [u8]>,
        path: &'p [u8],
        part: impl Fn(&'p [u8]) -> Cow<'a, [u8]>,
    ) -> Requested<'a> {
        let url = ResourcePath::parse(path).unwrap_or_default();
        Requested {
            verb,
            group: part(url.group),
            resource: part(url.resource),
            subresource: part(url.subresource),
            name: part(url.name),
        }
    }
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
