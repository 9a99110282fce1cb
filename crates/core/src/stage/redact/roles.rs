//! The rules: the role of each child of a container, by the role of the container.

use std::borrow::Cow;

use crate::doc::{Kind, Malformed};
use crate::policy::Level;
use crate::stage::cut;
use crate::stage::redact::annotation;
use crate::stage::redact::catalogue::Content;
use crate::stage::redact::names::{is_secret_key, may_be_path};
use crate::stage::redact::object::Parts;
use crate::stage::redact::walk::{Document, Frame, Name, Node, Stop, Walk};
use crate::stage::redact::words::is_path;
use crate::stage::redact::{Mode, Redactor};

/// True for members that are never looked into: names, selectors, schemas, and encrypted
/// data.
fn is_never_looked_into(key: &[u8]) -> bool {
    matches!(
        key,
        b"managedFields"
            | b"openAPIV3Schema"
            | b"labels"
            | b"matchLabels"
            | b"nodeSelector"
            | b"encryptedData"
    )
}

/// The kind of objects that do not name it, as far as the rules need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing that is a secret as such.
    None,
    /// Secrets.
    Secret,
    /// ConfigMaps.
    ConfigMap,
    /// Requests for tokens of service accounts.
    TokenRequest,
    /// Tokens to be checked.
    TokenReview,
    /// Certificate signing requests.
    SigningRequest,
}

impl Class {
    /// The class of a kind.
    pub(super) fn of_kind(kind: &[u8]) -> Class {
        match kind {
            b"Secret" => Class::Secret,
            b"ConfigMap" => Class::ConfigMap,
            b"TokenRequest" => Class::TokenRequest,
            b"TokenReview" => Class::TokenReview,
            b"CertificateSigningRequest" => Class::SigningRequest,
            _ => Class::None,
        }
    }

    /// True if messages and annotations about such objects may quote secrets.
    pub(super) fn is_classed(self) -> bool {
        !matches!(self, Class::None | Class::SigningRequest)
    }

    /// The redactor of objects all of whose data goes.
    pub(super) fn whole(self) -> Option<Redactor> {
        match self {
            Class::Secret => Some(Redactor::Secret),
            Class::ConfigMap => Some(Redactor::ConfigMap),
            _ => None,
        }
    }
}

/// The source of an object, which decides how far the kind that it names is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The API server, or an object around it: believed.
    Object,
    /// A request: believed if the kind is that of the resource.
    Request,
    /// A patch: not believed.
    Patch,
}

/// The role of a value, which decides what is hidden in it; that of a container also
/// decides the roles of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing is hidden in it.
    Skip,
    /// All leaves go.
    Leaves {
        /// The redactor that hides them.
        redactor: Redactor,
        /// True if they hold bytes in base64.
        is_base64: bool,
    },
    /// Secrets are hidden by their form only.
    Net,
    /// Any value, of which nothing is known.
    Generic,
    /// An object of the API, or a JSON patch.
    Object(Body),
    /// A map whose members are judged by their names.
    Members(Members),
    /// A map `spec` or `status` with a secret in it.
    Part(Parts),
    /// A Secret or ConfigMap.
    Whole(Class),
    /// Data of a ConfigMap, judged key by key.
    Entries,
    /// A configuration file.
    Lines(Redactor),
    /// The metadata of an object.
    Metadata,
    /// The annotations of an object.
    Annotations,
    /// A document inside a string.
    Document(Document),
    /// A list of environment variables, and one of them.
    Env,
    EnvItem {
        is_secret: bool,
    },
    /// A script.
    Script(Redactor),
    /// The words of a command, and one of them.
    Args,
    Word,
    /// The operations of a JSON patch.
    Patch,
    /// The annotation of the API server about the patch of a webhook.
    Webhook,
    /// A Status, and the parts of it that lead to messages.
    Status {
        is_classed: bool,
    },
    Details {
        is_classed: bool,
    },
    Causes {
        is_classed: bool,
    },
    Cause {
        is_classed: bool,
        field: Option<usize>,
    },
    Message {
        is_classed: bool,
        field: Option<usize>,
    },
    /// A list of objects, and its items.
    List,
    Items,
    /// A table, its rows, and the cells of one.
    Table,
    Rows,
    Row,
    Cells,
    /// An object of which only the metadata is there.
    MetadataOnly,
    /// A user of the event, and its extra fields.
    User,
    Extra,
    /// The annotations of an event that is logged at this level.
    EventAnnotations {
        level: Level,
    },
    /// A path or name whose last segment is a secret.
    LastSegment,
}

impl Role {
    /// All leaves go.
    pub(super) fn leaves(redactor: Redactor) -> Role {
        Role::Leaves {
            redactor,
            is_base64: false,
        }
    }
}

/// Facts about a map whose members are judged by their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    /// True if its `name` or `key` is that of a secret, and so its `value` is one.
    pub is_secret_pair: bool,
    /// The redactor that hides its `value`, if that is a secret because of the name of the
    /// map or of its place.
    pub value: Option<Redactor>,
    /// True if the map refers to a Secret.
    pub has_reference: bool,
    /// The secrets that objects of its kind have at known places.
    pub parts: Parts,
    /// The secrets among its own members.
    pub here: Parts,
}

impl Walk<'_, '_> {
    /// The role and class of a container that is opened.
    pub(super) fn role_of_container(
        &mut self,
        node: Node,
        is_map: bool,
        role: Role,
        class: Class,
    ) -> Result<(Role, Class), Stop> {
        Ok(match role {
            Role::Object(_) if !is_map => (Role::Patch, class),
            Role::Object(body) => self.role_of_object(node, body, class)?,
            Role::Generic if is_map => self.role_of_map(node, Members::default(), class)?,
            Role::Members(members) if is_map => self.role_of_map(node, members, class)?,
            Role::Members(_) => (Role::Generic, class),
            Role::Part(here) => {
                let members = Members {
                    here,
                    ..Members::default()
                };
                self.role_of_map(node, members, class)?
            }
            Role::EnvItem { .. } => {
                let is_secret = match node {
                    Node::Real(at) => self.env_is_secret(at)?,
                    Node::Step(_) => self.settings.mode(Redactor::Env) == Mode::All,
                };
                (Role::EnvItem { is_secret }, class)
            }
            Role::Cause { is_classed, .. } => {
                let field = match node {
                    Node::Real(at) => self.member(at, b"field")?,
                    Node::Step(_) => None,
                };
                (Role::Cause { is_classed, field }, class)
            }
            // Only strings have these roles; any other value is judged like any value.
            Role::Word | Role::Script(_) | Role::Document(_) | Role::Message { .. } => {
                return self.role_of_container(node, is_map, Role::Generic, class);
            }
            role => (role, class),
        })
    }

    fn env_is_secret(&self, at: usize) -> Result<bool, Malformed> {
        Ok(match self.settings.mode(Redactor::Env) {
            Mode::All => true,
            Mode::Named => match self.member(at, b"name")? {
                Some(name) => self.has_secret_name(name)?,
                None => false,
            },
            _ => false,
        })
    }

    fn has_secret_name(&self, at: usize) -> Result<bool, Malformed> {
        let name = self.doc.string(at)?;
        Ok(name.is_some_and(|name| self.settings.names.is_secret_name(&name.value())))
    }

    /// The value of a member of a map; of a key that repeats, the last one.
    pub(super) fn member(&self, map: usize, key: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut found = None;
        let mut map = self.doc.open_map(map)?;
        while let Some(member) = self.doc.next_member(&mut map)? {
            map.next = self.doc.end(member.value)?;
            if member.key.is(key) {
                found = Some(member.value);
            }
        }
        Ok(found)
    }

    /// The role of a child of the innermost container, and the class of objects in it.
    pub(super) fn role_of_child(&mut self, name: Name, node: Node) -> Result<(Role, Class), Stop> {
        let Some(&frame) = self.frame() else {
            return Ok((Role::Skip, Class::None));
        };
        let class = frame.class;
        // The roles whose children all are the same need no key.
        let role = match frame.role {
            role @ (Role::Leaves { .. } | Role::Net | Role::Lines(_) | Role::Generic) => {
                let is_directive = frame.role != Role::Generic && self.is_directive(name)?;
                if is_directive { Role::Skip } else { role }
            }
            Role::Skip => Role::Skip,
            Role::Patch => {
                self.operation(node, class)?;
                Role::Skip
            }
            Role::Items => self.role_of_item(node, class)?,
            Role::Env => match self.kind(node)? {
                Kind::Map => Role::EnvItem { is_secret: false },
                Kind::List => Role::Env,
                _ => Role::Script(Redactor::Env),
            },
            Role::Args => match self.kind(node)? {
                Kind::Text => Role::Word,
                _ => {
                    self.skip_word();
                    Role::Generic
                }
            },
            Role::Causes { is_classed } => self.only(
                node,
                Kind::Map,
                Role::Cause {
                    is_classed,
                    field: None,
                },
            )?,
            Role::Rows => self.only(node, Kind::Map, Role::Row)?,
            Role::Cells => match self.level.columns.get(frame.index) {
                Some(true) => Role::leaves(Redactor::Named),
                _ => Role::Net,
            },
            _ => {
                let key = self.name(name)?;
                return self.role_of_member(&frame, &key, node);
            }
        };
        Ok((role, class))
    }

    /// The given role if the value is of this kind; anything else is skipped.
    fn only(&self, node: Node, kind: Kind, role: Role) -> Result<Role, Malformed> {
        Ok(if self.kind(node)? == kind {
            role
        } else {
            Role::Skip
        })
    }

    /// True for the directives of a strategic merge patch.
    fn is_directive(&self, name: Name) -> Result<bool, Malformed> {
        Ok(match name {
            Name::Item => false,
            name => is_directive(&self.name(name)?),
        })
    }

    fn role_of_item(&self, node: Node, class: Class) -> Result<Role, Malformed> {
        Ok(match (self.kind(node)?, class.whole()) {
            (Kind::Map, Some(redactor))
                if self.settings.is_on(redactor) && self.begins_with_metadata(node)? =>
            {
                Role::Whole(class)
            }
            (Kind::Map, _) => Role::Object(Body::Object),
            (_, Some(redactor)) if self.settings.is_on(redactor) => Role::leaves(redactor),
            _ => Role::Generic,
        })
    }

    /// True for the items of lists that name their kind: whoever writes kinds writes them first.
    fn begins_with_metadata(&self, node: Node) -> Result<bool, Malformed> {
        let Node::Real(at) = node else {
            return Ok(false);
        };
        let first = self.doc.next_member(&mut self.doc.open_map(at)?)?;
        Ok(first.is_some_and(|member| member.key.is(b"metadata")))
    }

    fn role_of_member(
        &mut self,
        frame: &Frame,
        key: &[u8],
        node: Node,
    ) -> Result<(Role, Class), Stop> {
        let class = frame.class;
        let kind = self.kind(node)?;
        let role = match frame.role {
            Role::Members(members) => self.role_by_name(members, key, kind, node)?,
            Role::Whole(whole) => match self.role_in_whole(whole, key, kind) {
                Role::Metadata => return Ok((Role::Metadata, whole)),
                role => role,
            },
            Role::Entries if self.settings.names.is_secret_name(key) => {
                Role::leaves(Redactor::ConfigMap)
            }
            Role::Entries => Role::Lines(Redactor::ConfigMap),
            Role::Metadata => self.role_in_metadata(key, kind),
            Role::Annotations => annotation::role_of_object(self.settings, key, kind, class),
            Role::EventAnnotations { level } if cut::annotation_goes(key, level) => Role::Skip,
            Role::EventAnnotations { .. } => {
                annotation::role_of_event(self.settings, key, kind, class)
            }
            Role::EnvItem { is_secret } => match key {
                b"value" if is_secret => Role::leaves(Redactor::Env),
                b"value" => Role::Net,
                _ => Role::Skip,
            },
            Role::Status { is_classed } => match (key, kind) {
                (b"message", _) => Role::Message {
                    is_classed,
                    field: None,
                },
                (b"details", Kind::Map) => Role::Details { is_classed },
                _ => Role::Skip,
            },
            Role::Details { is_classed } => match (key, kind) {
                (b"causes", Kind::List) => Role::Causes { is_classed },
                _ => Role::Skip,
            },
            Role::Cause { is_classed, field } => match key {
                b"message" => Role::Message { is_classed, field },
                _ => Role::Skip,
            },
            Role::List => match (key, kind) {
                (b"items", Kind::List) => Role::Items,
                _ => self.role_by_name(Members::default(), key, kind, node)?,
            },
            Role::Table => match (key, kind) {
                (b"rows", Kind::List) => Role::Rows,
                _ => Role::Skip,
            },
            Role::Row => match (key, kind) {
                (b"cells", Kind::List) => Role::Cells,
                (b"object", Kind::Map) => Role::Object(Body::Object),
                _ => Role::Skip,
            },
            Role::MetadataOnly => match (key, kind) {
                (b"metadata", Kind::Map) => Role::Metadata,
                _ => Role::Skip,
            },
            Role::Webhook => match (key, kind) {
                (b"patch", Kind::List | Kind::Map) => Role::Object(Body::Patch),
                _ => Role::Generic,
            },
            Role::User => match (key, kind) {
                (b"extra", Kind::Map) => Role::Extra,
                _ => Role::Skip,
            },
            Role::Extra => annotation::role_of_extra(self.settings, key),
            _ => Role::Generic,
        };
        Ok((role, class))
    }

    /// The role of a member of a Secret or ConfigMap.
    fn role_in_whole(&self, whole: Class, key: &[u8], kind: Kind) -> Role {
        let redactor = match whole {
            Class::Secret => Redactor::Secret,
            _ => Redactor::ConfigMap,
        };
        let by_key = self.settings.mode(redactor) == Mode::Named;
        let is_leaf = !matches!(kind, Kind::Map | Kind::List);
        match (key, kind) {
            (b"metadata", Kind::Map) => Role::Metadata,
            (b"apiVersion" | b"kind" | b"immutable", _) if is_leaf => Role::Skip,
            (b"type", _) if is_leaf && whole == Class::Secret => Role::Skip,
            _ if is_directive(key) => Role::Skip,
            (_, Kind::Map) if by_key => Role::Entries,
            _ => Role::Leaves {
                redactor,
                is_base64: key == b"binaryData" || whole == Class::Secret && key == b"data",
            },
        }
    }

    fn role_in_metadata(&self, key: &[u8], kind: Kind) -> Role {
        let is_container = matches!(kind, Kind::Map | Kind::List);
        let is_secret =
            || self.settings.is_on(Redactor::Named) && self.settings.names.is_secret_member(key);
        match key {
            b"annotations" if kind == Kind::Map => Role::Annotations,
            b"name" | b"selfLink" if self.hides_oauth_names() => Role::LastSegment,
            _ if is_never_looked_into(key) => Role::Skip,
            _ if is_container => Role::Generic,
            _ if is_secret() => Role::leaves(Redactor::Named),
            _ => Role::Skip,
        }
    }

    /// True if the names of the objects are tokens.
    pub(super) fn hides_oauth_names(&self) -> bool {
        self.target.names_are_tokens() && self.settings.is_on(Redactor::Crd)
    }

    /// The role of a member by its name and value alone.
    pub(super) fn role_by_name(
        &mut self,
        members: Members,
        key: &[u8],
        kind: Kind,
        node: Node,
    ) -> Result<Role, Stop> {
        let is_container = matches!(kind, Kind::Map | Kind::List);
        if is_never_looked_into(key) {
            return Ok(Role::Skip);
        }
        if key == b"metadata" && kind == Kind::Map {
            return Ok(Role::Metadata);
        }
        let value = members.value.filter(|_| key == b"value");
        if let Some(redactor) = value.or_else(|| members.here.redactor_of(key)) {
            return Ok(Role::leaves(redactor));
        }
        if kind == Kind::Map && !members.parts.below(key).is_empty() {
            return Ok(Role::Part(members.parts.below(key)));
        }
        if let Some(role) = self.role_in_catalogue(kind, node)? {
            return Ok(role);
        }
        match (key, kind) {
            (b"env", Kind::List) => return Ok(Role::Env),
            (b"args" | b"command", Kind::List) if self.settings.is_on(Redactor::Args) => {
                return Ok(Role::Args);
            }
            _ => {}
        }
        if !self.settings.is_on(Redactor::Named) {
            return Ok(Role::Generic);
        }
        if members.is_secret_pair && key == b"value" && !is_container {
            return Ok(Role::leaves(Redactor::Named));
        }
        let is_name = members.has_reference && is_secret_key(key);
        if is_name || !self.settings.names.is_secret_member(key) {
            return Ok(Role::Generic);
        }
        Ok(match kind {
            Kind::Map => Role::Members(Members {
                value: Some(Redactor::Named),
                ..Members::default()
            }),
            Kind::List if !self.holds_only_texts(node)? => Role::Generic,
            Kind::Text if may_be_path(key) && self.is_path(node)? => Role::Skip,
            _ => Role::leaves(Redactor::Named),
        })
    }

    fn role_in_catalogue(&mut self, kind: Kind, node: Node) -> Result<Option<Role>, Stop> {
        let Some(places) = self
            .target
            .places
            .filter(|_| self.settings.is_on(Redactor::Crd))
        else {
            return Ok(None);
        };
        let place: Vec<Cow<'_, [u8]>> = self.place()?;
        let Some(content) = places.content(&place) else {
            return Ok(None);
        };
        let has_value = match (kind, node) {
            (Kind::Map, Node::Real(at)) => self.member(at, b"value")?.is_some(),
            _ => false,
        };
        Ok(Some(match content {
            // A reference to a Secret may be next to the value.
            _ if has_value => Role::Members(Members {
                value: Some(Redactor::Crd),
                ..Members::default()
            }),
            Content::Lines if kind == Kind::Text => Role::Lines(Redactor::Crd),
            _ => Role::leaves(Redactor::Crd),
        }))
    }

    fn holds_only_texts(&self, node: Node) -> Result<bool, Malformed> {
        let Node::Real(at) = node else {
            return Ok(false);
        };
        let mut list = self.doc.open_list(at)?;
        while let Some(item) = self.doc.next_item(&mut list)? {
            list.next = self.doc.end(item)?;
            if self.doc.kind(item)? != Kind::Text {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_path(&self, node: Node) -> Result<bool, Malformed> {
        let Node::Real(at) = node else {
            return Ok(false);
        };
        let text = self.doc.string(at)?;
        Ok(text.is_some_and(|text| is_path(&text.value())))
    }
}

fn is_directive(key: &[u8]) -> bool {
    key == b"$patch" || key.starts_with(b"$setElementOrder") || key.starts_with(b"$retainKeys")
}
