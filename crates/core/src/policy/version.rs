//! `apiVersion` and `kind`: which version of the policy API a document is written in.

use super::ProblemKind;
use super::decode::Spanned;
use super::error::Findings;
use kube_audit_text::suggest::nearest;
use kube_audit_text::{Entry, Node, Value, shown};

/// Version of the policy API. All three have the same fields; they differ in the servers
/// that read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// Read by kube-apiserver 1.12 and later.
    V1,
    /// Read by kube-apiserver 1.8 to 1.23.
    V1Beta1,
    /// Read by kube-apiserver 1.7 to 1.23.
    V1Alpha1,
}

impl ApiVersion {
    const ALL: [ApiVersion; 3] = [ApiVersion::V1, ApiVersion::V1Beta1, ApiVersion::V1Alpha1];

    /// Name in `apiVersion`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            ApiVersion::V1 => "audit.k8s.io/v1",
            ApiVersion::V1Beta1 => "audit.k8s.io/v1beta1",
            ApiVersion::V1Alpha1 => "audit.k8s.io/v1alpha1",
        }
    }

    /// True if a server exists that reads this version and accepts the group `*`, which came
    /// with kube-apiserver 1.36.
    pub(super) const fn has_any_group(self) -> bool {
        matches!(self, ApiVersion::V1)
    }
}

/// Rule for a document without `apiVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingVersion {
    /// The document is refused, as kube-apiserver does.
    Refused,
    /// The document counts as `audit.k8s.io/v1`.
    IsV1,
}

/// Order in which keys that differ only in case overwrite each other.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum KeyOrder {
    /// As in the text (JSON).
    Written,
    /// Sorted, as the conversion from YAML to JSON leaves them.
    Sorted,
}

/// Reads the version of a policy document; fails for any other kind of document.
///
/// The keys `apiVersion` and `kind` alone are matched without regard to case, because
/// kube-apiserver reads them with Go's own JSON decoder.
pub(super) fn read_version(
    node: &Node,
    order: KeyOrder,
    missing: MissingVersion,
) -> Result<ApiVersion, Findings<ProblemKind>> {
    let mut problems = Findings::new();
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        let message = format!("found {}, expected a mapping with `apiVersion`", node.value);
        problems.push(node.at, "", ProblemKind::Type, message);
        return Err(problems);
    }
    let api_version = find(node, "apiVersion", order, &mut problems);
    let kind = find(node, "kind", order, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let name = api_version.value.as_str();
    let known = ApiVersion::ALL
        .into_iter()
        .find(|known| known.name() == name);
    let version = match missing {
        MissingVersion::IsV1 if name.is_empty() => Some(ApiVersion::V1),
        _ => known,
    };
    let Some(version) = version else {
        let newest = ApiVersion::V1.name();
        let message = match name {
            "" => format!("missing: write `apiVersion: {newest}`"),
            other => {
                let meant = nearest(other, ApiVersion::ALL.map(ApiVersion::name));
                let meant = meant.unwrap_or(newest);
                format!("unknown version `{}`: write `{meant}`", shown(other))
            }
        };
        problems.push(api_version.at, "apiVersion", ProblemKind::Version, message);
        return Err(problems);
    };
    if !matches!(kind.value.as_str(), "" | "Policy") {
        let message = format!("found `{}`, expected `Policy`", shown(&kind.value));
        problems.push(kind.at, "kind", ProblemKind::Version, message);
        return Err(problems);
    }
    Ok(version)
}

fn find(node: &Node, name: &str, order: KeyOrder, problems: &mut Findings<ProblemKind>) -> Spanned {
    let mut found: Vec<&Entry> = Vec::new();
    for entry in node.entries() {
        if equal_fold(&entry.key, name) {
            let place = match order {
                KeyOrder::Sorted => found.partition_point(|before| before.key <= entry.key),
                _ => found.len(),
            };
            found.insert(place, entry);
        }
    }
    let mut into = Spanned {
        value: String::new(),
        at: node.at,
    };
    for entry in found {
        if !matches!(entry.value.value, Value::Text(_) | Value::Null) {
            let message = format!("found {}, expected a string", entry.value.value);
            problems.push(entry.value.at, name, ProblemKind::Type, message);
        }
        into.fill(&entry.value);
    }
    into
}

/// Compares without regard to case, including the two letters beyond ASCII that Go's
/// `EqualFold` folds into it.
fn equal_fold(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}
