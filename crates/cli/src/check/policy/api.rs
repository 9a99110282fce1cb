//! Resources that API servers of Kubernetes have, in current and former versions.
//!
//! Source: the API reference of Kubernetes 1.7 to 1.36 (`kubectl api-resources`). Resources
//! of custom definitions are not known here, so nothing is said about their groups.

use kube_audit_text::suggest::nearest;

/// Resource of a group.
pub(super) struct ApiResource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name, as requests have it.
    pub name: &'static str,
    /// Scope of its objects.
    pub scope: Scope,
}

/// Scope of the objects of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Objects belong to a namespace.
    Namespaced,
    /// Objects belong to the cluster, and requests for them have no namespace.
    Cluster,
}

/// Resources of one group in one scope.
struct Row {
    group: &'static str,
    scope: Scope,
    /// Plural names, separated by blanks.
    names: &'static str,
}

const fn namespaced(group: &'static str, names: &'static str) -> Row {
    Row {
        group,
        scope: Scope::Namespaced,
        names,
    }
}

const fn cluster(group: &'static str, names: &'static str) -> Row {
    Row {
        group,
        scope: Scope::Cluster,
        names,
    }
}

const ROWS: &[Row] = &[
    namespaced(
        "",
        "bindings configmaps endpoints events limitranges persistentvolumeclaims pods podtemplates \
         replicationcontrollers resourcequotas secrets serviceaccounts services",
    ),
    cluster("", "componentstatuses namespaces nodes persistentvolumes"),
    cluster(
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations \
         validatingadmissionpolicies validatingadmissionpolicybindings \
         validatingwebhookconfigurations initializerconfigurations \
         externaladmissionhookconfigurations",
    ),
    cluster("apiextensions.k8s.io", "customresourcedefinitions"),
    cluster("apiregistration.k8s.io", "apiservices"),
    namespaced(
        "apps",
        "controllerrevisions daemonsets deployments replicasets statefulsets",
    ),
    cluster("authentication.k8s.io", "selfsubjectreviews tokenreviews"),
    namespaced("authorization.k8s.io", "localsubjectaccessreviews"),
    cluster(
        "authorization.k8s.io",
        "selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews",
    ),
    namespaced("autoscaling", "horizontalpodautoscalers"),
    namespaced("batch", "cronjobs jobs"),
    namespaced("certificates.k8s.io", "podcertificaterequests"),
    cluster(
        "certificates.k8s.io",
        "certificatesigningrequests clustertrustbundles",
    ),
    namespaced("coordination.k8s.io", "leasecandidates leases"),
    namespaced("discovery.k8s.io", "endpointslices"),
    namespaced("events.k8s.io", "events"),
    namespaced(
        "extensions",
        "daemonsets deployments ingresses networkpolicies replicasets replicationcontrollers",
    ),
    cluster("extensions", "podsecuritypolicies thirdpartyresources"),
    cluster(
        "flowcontrol.apiserver.k8s.io",
        "flowschemas prioritylevelconfigurations",
    ),
    cluster("imagepolicy.k8s.io", "imagereviews"),
    cluster("internal.apiserver.k8s.io", "storageversions"),
    namespaced("metrics.k8s.io", "pods"),
    cluster("metrics.k8s.io", "nodes"),
    namespaced("networking.k8s.io", "ingresses networkpolicies"),
    cluster(
        "networking.k8s.io",
        "clustercidrs ingressclasses ipaddresses servicecidrs",
    ),
    cluster("node.k8s.io", "runtimeclasses"),
    namespaced("policy", "poddisruptionbudgets"),
    cluster("policy", "podsecuritypolicies"),
    namespaced("rbac.authorization.k8s.io", "rolebindings roles"),
    cluster(
        "rbac.authorization.k8s.io",
        "clusterrolebindings clusterroles",
    ),
    namespaced(
        "resource.k8s.io",
        "podschedulingcontexts resourceclaimparameters resourceclaims resourceclaimtemplates \
         resourceclassparameters",
    ),
    cluster(
        "resource.k8s.io",
        "deviceclasses devicetaintrules resourceclasses resourceslices",
    ),
    cluster("scheduling.k8s.io", "priorityclasses"),
    namespaced("scheduling.k8s.io", "podgroups workloads"),
    namespaced("settings.k8s.io", "podpresets"),
    namespaced("storage.k8s.io", "csistoragecapacities"),
    cluster(
        "storage.k8s.io",
        "csidrivers csinodes storageclasses volumeattachments volumeattributesclasses",
    ),
    cluster("storagemigration.k8s.io", "storageversionmigrations"),
];

/// Short names of `kubectl`.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("cm", "configmaps"),
    ("cj", "cronjobs"),
    ("crd", "customresourcedefinitions"),
    ("crds", "customresourcedefinitions"),
    ("cs", "componentstatuses"),
    ("csr", "certificatesigningrequests"),
    ("deploy", "deployments"),
    ("ds", "daemonsets"),
    ("ep", "endpoints"),
    ("ev", "events"),
    ("hpa", "horizontalpodautoscalers"),
    ("ing", "ingresses"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies"),
    ("no", "nodes"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses"),
    ("pdb", "poddisruptionbudgets"),
    ("po", "pods"),
    ("psp", "podsecuritypolicies"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rc", "replicationcontrollers"),
    ("rs", "replicasets"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses"),
    ("sts", "statefulsets"),
    ("svc", "services"),
];

fn all() -> impl Iterator<Item = ApiResource> {
    ROWS.iter().flat_map(|row| {
        row.names.split_whitespace().map(|name| ApiResource {
            group: row.group,
            name,
            scope: row.scope,
        })
    })
}

/// True for a group that Kubernetes itself has.
pub(super) fn is_group(group: &str) -> bool {
    ROWS.iter().any(|row| row.group == group)
}

/// Finds a resource by group and plural name.
pub(super) fn find(group: &str, name: &str) -> Option<ApiResource> {
    all().find(|resource| resource.group == group && resource.name == name)
}

/// Returns the groups that have a resource of that plural name, current ones first.
pub(super) fn groups_of(name: &str) -> Vec<&'static str> {
    let mut groups: Vec<_> = all()
        .filter(|resource| resource.name == name)
        .map(|resource| resource.group)
        .collect();
    groups.sort_by_key(|group| matches!(*group, "extensions" | "metrics.k8s.io"));
    groups
}

/// Returns the plural of a singular, a kind such as `Pod`, or a short name such as `po`;
/// `None` for anything else, plurals included.
pub(super) fn plural_of(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let short = SHORT_NAMES.iter().find(|(short, _)| *short == lower);
    short.map(|(_, plural)| *plural).or_else(|| {
        let mut names = all().map(|resource| resource.name);
        names.find(|plural| lower != *plural && singular(plural) == lower)
    })
}

/// Returns the resource of a group that a misspelled plural probably means.
pub(super) fn nearest_in(group: &str, name: &str) -> Option<&'static str> {
    let of_group = all().filter(|resource| resource.group == group);
    nearest(name, of_group.map(|resource| resource.name))
}

fn singular(plural: &str) -> String {
    let endings = [
        ("ies", "y"),
        ("sses", "ss"),
        ("statuses", "status"),
        ("s", ""),
    ];
    endings
        .into_iter()
        .find_map(|(ending, singular)| Some(format!("{}{singular}", plural.strip_suffix(ending)?)))
        .unwrap_or_else(|| plural.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_other_than_the_plural_lead_to_it() {
        for (name, plural) in [
            ("pod", Some("pods")),
            ("Pod", Some("pods")),
            ("po", Some("pods")),
            ("networkpolicy", Some("networkpolicies")),
            ("Ingress", Some("ingresses")),
            ("storageclass", Some("storageclasses")),
            ("componentstatus", Some("componentstatuses")),
            ("deploy", Some("deployments")),
            ("pods", None),
            ("endpoints", None),
            ("widgets", None),
        ] {
            assert_eq!(plural_of(name), plural, "{name}");
        }
    }

    #[test]
    fn resources_are_in_their_groups() {
        assert_eq!(groups_of("deployments"), ["apps", "extensions"]);
        assert_eq!(groups_of("pods"), ["", "metrics.k8s.io"]);
        assert_eq!(groups_of("widgets"), [""; 0]);
        assert_eq!(
            find("", "nodes").map(|node| node.scope),
            Some(Scope::Cluster)
        );
        assert!(find("", "deployments").is_none());
        assert_eq!(nearest_in("", "secretes"), Some("secrets"));
    }
}
