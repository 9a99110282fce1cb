//! Objects of the API: what they are, by their kind, or without one by the resource.

use crate::doc::{Kind, Malformed, Text};
use crate::stage::redact::roles::{Body, Class, Members, Role};
use crate::stage::redact::walk::{Node, Stop, Walk};
use crate::stage::redact::{Redactor, Settings};

/// Secrets at known places of an object: a set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts(u8);

/// The places: a bit, the member of the object, the member in it, the redactor.
const PLACES: [(u8, &[u8], &[u8], Redactor); 4] = [
    (1, b"status", b"token", Redactor::Token),
    (2, b"spec", b"token", Redactor::Token),
    (4, b"spec", b"request", Redactor::Csr),
    (4, b"status", b"certificate", Redactor::Csr),
];

impl Parts {
    fn of(class: Class) -> Parts {
        Parts(match class {
            Class::TokenRequest => 1,
            Class::TokenReview => 2,
            Class::SigningRequest => 4,
            _ => 0,
        })
    }

    fn and(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }

    /// True if the set is empty.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The secrets in a member of the object; for [`redactor_of`](Parts::redactor_of).
    pub(super) fn below(self, key: &[u8]) -> Parts {
        // From here on, a bit is the number of a place.
        let places = PLACES.iter().enumerate();
        let here = places.filter(|(_, (bit, member, ..))| self.0 & bit != 0 && *member == key);
        Parts(here.fold(0, |set, (number, _)| set | 1 << number))
    }

    /// The redactor of a member, if it is one of those.
    pub(super) fn redactor_of(self, key: &[u8]) -> Option<Redactor> {
        let places = PLACES.iter().enumerate();
        let mut here = places.filter(|(number, _)| self.0 >> number & 1 == 1);
        here.find_map(|(_, (_, _, member, redactor))| (*member == key).then_some(*redactor))
    }
}

/// The members of an object by which its kind is recognised.
#[derive(Clone, Copy, Debug, Default)]
struct Facts<'a> {
    kind: Option<Text<'a>>,
    api_version: Option<Text<'a>>,
    /// True if the object has a list of items.
    has_items: bool,
    /// The place of the columns, in a table.
    columns: Option<usize>,
    /// True if the object has data, as Secrets and ConfigMaps do.
    has_data: bool,
    /// True if the object refers to a Secret.
    has_reference: bool,
    name: Option<Text<'a>>,
    key: Option<Text<'a>>,
}

impl<'a> Facts<'a> {
    fn read(walk: &mut Walk<'_, 'a>, at: usize) -> Result<Facts<'a>, Malformed> {
        let doc = walk.doc;
        let mut facts = Facts::default();
        let mut map = doc.open_map(at)?;
        while let Some(member) = doc.next_member(&mut map)? {
            let key = member.key.value();
            match &*key {
                b"items" => facts.has_items |= doc.kind(member.value)? == Kind::List,
                b"data" | b"stringData" | b"binaryData" => {
                    facts.has_data |= doc.kind(member.value)? != Kind::Null;
                }
                _ => {}
            }
            if facts.tell_a_secret(walk.settings) {
                // The rest may be large, and would not change it.
                return Ok(facts);
            }
            let (text, end) = doc.value(member.value)?;
            map.next = end;
            if text.is_none() {
                walk.level.ends.set(member.value, end);
            }
            match &*key {
                b"kind" => facts.kind = text,
                b"apiVersion" => facts.api_version = text,
                b"name" => facts.name = text,
                b"key" => facts.key = text,
                b"columnDefinitions" => facts.columns = Some(member.value),
                b"secretName" | b"secretRef" | b"remoteRef" => {
                    facts.has_reference |= doc.kind(member.value)? != Kind::Null;
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// True if the object is known to be a Secret or ConfigMap with data, or a list of them.
    fn tell_a_secret(&self, settings: &Settings) -> bool {
        if !(self.has_data || self.has_items) {
            return false;
        }
        let is_core = self.api_version.is_some_and(|version| version.is(b"v1"));
        let kind = self.kind.map(|kind| kind.raw).unwrap_or_default();
        let class = match kind.strip_suffix(b"List") {
            Some(item) if self.has_items => Class::of_kind(item),
            _ if self.has_data => Class::of_kind(kind),
            _ => Class::None,
        };
        is_core && class.whole().is_some_and(|it| settings.is_on(it))
    }

    /// The name of the `value` of the object.
    fn name_of_value(&self) -> Option<Text<'a>> {
        let is_named = |text: &Text<'a>| !text.raw.is_empty();
        self.name.filter(is_named).or(self.key)
    }
}

impl Walk<'_, '_> {
    /// The role of an object, and the class of its parts.
    pub(super) fn role_of_object(
        &mut self,
        node: Node,
        body: Body,
        class: Class,
    ) -> Result<(Role, Class), Stop> {
        let facts = match node {
            Node::Real(at) => Facts::read(self, at)?,
            Node::Step(_) => Facts::default(),
        };
        let kind = facts.kind.map(|kind| kind.value()).unwrap_or_default();
        let api_version = facts.api_version.map(|version| version.value());
        let api_version = api_version.unwrap_or_default();
        let is_core = api_version.is_empty() || *api_version == *b"v1";
        let is_patch = match body {
            Body::Object => false,
            // A request about Secrets or ConfigMaps may send something of another kind.
            Body::Request => {
                let is_right = kind.is_empty() || *kind == *b"DeleteOptions";
                class.whole().is_some() && !is_right && Class::of_kind(&kind) != class
            }
            Body::Patch => true,
        };
        if *kind == *b"Status" && !is_patch {
            let is_classed = class.is_classed();
            return Ok((Role::Status { is_classed }, class));
        }
        let hides_class = class.whole().is_some_and(|it| self.settings.is_on(it));
        if facts.has_items && kind.ends_with(b"List") && !(is_patch && hides_class) {
            let items = match &*kind {
                b"List" | b"PartialObjectMetadataList" => class,
                kind => {
                    let item = Class::of_kind(kind.strip_suffix(b"List").unwrap_or_default());
                    // Another group may have a kind of this name.
                    if is_core || item.whole().is_none() {
                        item
                    } else {
                        Class::None
                    }
                }
            };
            return Ok((Role::List, items));
        }
        if *kind == *b"Table" && api_version.starts_with(b"meta.k8s.io/") && !is_patch {
            self.read_columns(facts.columns)?;
            return Ok((Role::Table, class));
        }
        if *kind == *b"PartialObjectMetadata" && !is_patch {
            return Ok((Role::MetadataOnly, class));
        }
        let own = Class::of_kind(&kind);
        let given = if is_patch || kind.is_empty() {
            class
        } else {
            Class::None
        };
        for whole in [Class::Secret, Class::ConfigMap] {
            let is_it = own == whole && (is_core || class == whole) || given == whole;
            if is_it && whole.whole().is_some_and(|it| self.settings.is_on(it)) {
                return Ok((Role::Whole(whole), whole));
            }
        }
        let mut parts = Parts::default();
        for typed in [own, given] {
            let redactor = match typed {
                Class::SigningRequest => Redactor::Csr,
                _ => Redactor::Token,
            };
            if self.settings.is_on(redactor) {
                parts = parts.and(Parts::of(typed));
            }
        }
        let members = self.members(
            &facts,
            Members {
                parts,
                ..Members::default()
            },
        );
        Ok((Role::Members(members), class))
    }

    /// The role of a map inside an object, and the class of its parts.
    pub(super) fn role_of_map(
        &mut self,
        node: Node,
        members: Members,
        class: Class,
    ) -> Result<(Role, Class), Stop> {
        let Node::Real(at) = node else {
            return Ok((Role::Members(members), class));
        };
        let facts = Facts::read(self, at)?;
        let is_object = facts.has_data
            && facts.api_version.is_some_and(|version| version.is(b"v1"))
            && facts
                .kind
                .is_some_and(|kind| Class::of_kind(&kind.value()).whole().is_some());
        if is_object {
            return self.role_of_object(node, Body::Object, Class::None);
        }
        Ok((Role::Members(self.members(&facts, members)), class))
    }

    fn members(&self, facts: &Facts<'_>, members: Members) -> Members {
        let name = facts.name_of_value();
        let is_secret = |name: Text<'_>| self.settings.names.is_secret_name(&name.value());
        Members {
            is_secret_pair: name.is_some_and(is_secret),
            has_reference: facts.has_reference,
            ..members
        }
    }

    /// Notes which columns of a table hold secrets.
    fn read_columns(&mut self, columns: Option<usize>) -> Result<(), Malformed> {
        self.level.columns.clear();
        let Some(columns) = columns.filter(|_| self.settings.is_on(Redactor::Named)) else {
            return Ok(());
        };
        if self.doc.kind(columns)? != Kind::List {
            return Ok(());
        }
        let mut list = self.doc.open_list(columns)?;
        while let Some(column) = self.doc.next_item(&mut list)? {
            list.next = self.doc.end(column)?;
            let name = match self.doc.kind(column)? {
                Kind::Map => self.member(column, b"name")?,
                _ => None,
            };
            let name = match name {
                Some(name) => self.doc.string(name)?,
                None => None,
            };
            let is_secret =
                name.is_some_and(|name| self.settings.names.is_secret_member(&name.value()));
            self.level.columns.push(is_secret);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_typed_objects() {
        let request = Parts::of(Class::TokenRequest);
        assert!(request.below(b"spec").is_empty());
        let status = request.below(b"status");
        assert_eq!(status.redactor_of(b"token"), Some(Redactor::Token));
        assert_eq!(status.redactor_of(b"expirationTimestamp"), None);
        let both = Parts::of(Class::SigningRequest).and(Parts::of(Class::TokenReview));
        assert_eq!(
            both.below(b"spec").redactor_of(b"token"),
            Some(Redactor::Token)
        );
        assert_eq!(
            both.below(b"spec").redactor_of(b"request"),
            Some(Redactor::Csr)
        );
        assert_eq!(both.below(b"spec").redactor_of(b"certificate"), None);
    }
}
