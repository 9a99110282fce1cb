//! Annotations of objects and events, and the extra fields of users.

use crate::doc::{AnyDoc, Kind, Malformed};
use crate::stage::cut::REQUEST_LEVEL_ANNOTATIONS;
use crate::stage::redact::list::List;
use crate::stage::redact::roles::{Class, Role};
use crate::stage::redact::scan::find;
use crate::stage::redact::walk::{Document, Of, Unreadable};
use crate::stage::redact::{Mode, Redactor, Settings};

/// True for annotations of objects that hold a copy of the object as JSON.
fn is_snapshot(key: &[u8]) -> bool {
    matches!(
        key,
        b"kubectl.kubernetes.io/last-applied-configuration"
            | b"kapp.k14s.io/original"
            | b"openshift.io/encoded-deployment-config"
    )
}

/// True for annotations of objects that hold a copy of the object in a packed form.
fn is_packed(key: &[u8]) -> bool {
    matches!(
        key,
        b"banzaicloud.com/last-applied" | b"objectset.rio.cattle.io/applied"
    )
}

/// Beginnings of the annotations of events that the API server writes itself.
const SERVER: List = List(
    "authentication.k8s.io/ authentication.kubernetes.io/ \
     pod-security.kubernetes.io/ podsecuritypolicy.policy.k8s.io/ \
     mutation.webhook.admission.k8s.io/ failed-open.mutation.webhook.admission.k8s.io/ \
     failed-open.validating.webhook.admission.k8s.io/ apiserver.latency.k8s.io/ audit.k8s.io/ \
     k8s.io/ kube-audit/ imagepolicywebhook.image-policy.k8s.io/ \
     insecure-sha1.invalid-cert.kubernetes.io/ missing-san.invalid-cert.kubernetes.io/ \
     resource-name-collision. admission.k8s.io/",
);

/// True for annotations of objects that hold a copy of the object.
pub(super) fn is_copy(key: &[u8]) -> bool {
    is_snapshot(key) || is_packed(key)
}

/// True if annotations of an event have the patch of a webhook among them.
pub(super) fn has_patch(annotations: &[u8]) -> bool {
    memchr::memchr_iter(b'/', annotations).any(|slash| {
        let front = annotations.get(..=slash).unwrap_or_default();
        front.ends_with(REQUEST_LEVEL_ANNOTATIONS)
    })
}

/// True if annotations of an event have one that the API server does not write itself.
pub(super) fn has_foreign(doc: AnyDoc<'_>, at: usize) -> bool {
    let find = || {
        let mut map = doc.open_map(at)?;
        while let Some(member) = doc.next_member(&mut map)? {
            map.next = doc.end(member.value)?;
            if member.key.escaped || !is_of_server(member.key.raw) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let found: Result<bool, Malformed> = find();
    found.unwrap_or(true)
}

fn is_of_server(key: &[u8]) -> bool {
    // By far the most are of the first kind.
    key.starts_with(b"authorization.k8s.io/") || SERVER.begins(key).is_some()
}

/// The role of an annotation of an object.
pub(super) fn role_of_object(settings: &Settings, key: &[u8], kind: Kind, class: Class) -> Role {
    let hides_copies = settings.is_on(Redactor::LastApplied);
    if hides_copies && is_packed(key) {
        return Role::leaves(Redactor::LastApplied);
    }
    let copy = |of, unreadable| {
        Role::Document(Document {
            redactor: Redactor::LastApplied,
            of,
            unreadable,
            is_webhook: false,
        })
    };
    if hides_copies && is_snapshot(key) {
        return copy(Of::SameObject(class), Unreadable::Hides);
    }
    if settings.is_on(Redactor::Named) && settings.names.is_secret_member(key) {
        return Role::leaves(Redactor::Named);
    }
    if hides_copies && kind == Kind::Text {
        return copy(Of::Anything, Unreadable::IsText);
    }
    Role::Net
}

/// The role of an annotation of an event whose resource is of this class.
pub(super) fn role_of_event(settings: &Settings, key: &[u8], kind: Kind, class: Class) -> Role {
    let mode = settings.mode(Redactor::Annotation);
    if mode == Mode::Off || kind != Kind::Text {
        return Role::Net;
    }
    if key.starts_with(REQUEST_LEVEL_ANNOTATIONS) {
        return Role::Document(Document {
            redactor: Redactor::Annotation,
            of: Of::SameObject(class),
            unreadable: Unreadable::Hides,
            is_webhook: true,
        });
    }
    if !is_of_server(key) && (mode == Mode::All || class.is_classed()) {
        return Role::leaves(Redactor::Annotation);
    }
    Role::Net
}

/// The role of an extra field of a user.
pub(super) fn role_of_extra(settings: &Settings, key: &[u8]) -> Role {
    // GKE keeps a signed assertion there.
    let is_secret =
        || find(key, 0, b"user-assertion").is_some() || settings.names.is_secret_member(key);
    if settings.is_on(Redactor::Extra) && is_secret() {
        Role::leaves(Redactor::Extra)
    } else {
        Role::Net
    }
}
