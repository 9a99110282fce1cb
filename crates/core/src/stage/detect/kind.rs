//! The verbs, resources and subresources that built-in detections tell apart.

use super::lexicon::{Lexicon, flags};
use crate::bytes;

flags! {
    /// The verb of a request, or several.
    Verbs
        GET = "get";
        LIST = "list";
        WATCH = "watch";
        CREATE = "create";
        UPDATE = "update";
        PATCH = "patch";
        DELETE = "delete";
        DELETE_COLLECTION = "deletecollection";
        PROXY = "proxy";
}

flags! {
    /// The subresource of a request, or several.
    Subresources
        ITSELF = "";
        EXEC = "exec";
        ATTACH = "attach";
        PORT_FORWARD = "portforward";
        EPHEMERAL_CONTAINERS = "ephemeralcontainers";
        LOG = "log";
        PROXY = "proxy";
        TOKEN = "token";
        APPROVAL = "approval";
}

flags! {
    /// The kind of resource that a request is for, or several.
    Kinds
        PODS = "pods";
        NODES = "nodes";
        SECRETS = "secrets";
        SERVICE_ACCOUNTS = "serviceaccounts";
        CONFIG_MAPS = "configmaps";
        NAMESPACES = "namespaces";
        EVENTS = "events";
        ROLES = "roles";
        CLUSTER_ROLES = "clusterroles";
        ROLE_BINDINGS = "rolebindings";
        CLUSTER_ROLE_BINDINGS = "clusterrolebindings";
        SIGNING_REQUESTS = "certificatesigningrequests";
        RULES_REVIEWS = "selfsubjectrulesreviews";
        RESOURCE_DEFINITIONS = "customresourcedefinitions";
        MUTATING_WEBHOOKS = "mutatingwebhookconfigurations";
        VALIDATING_WEBHOOKS = "validatingwebhookconfigurations";
        VALIDATING_POLICIES = "validatingadmissionpolicies";
        VALIDATING_POLICY_BINDINGS = "validatingadmissionpolicybindings";
        MUTATING_POLICIES = "mutatingadmissionpolicies";
        MUTATING_POLICY_BINDINGS = "mutatingadmissionpolicybindings";
        REPLICATION_CONTROLLERS = "replicationcontrollers";
        POD_TEMPLATES = "podtemplates";
        DEPLOYMENTS = "deployments";
        DAEMON_SETS = "daemonsets";
        STATEFUL_SETS = "statefulsets";
        REPLICA_SETS = "replicasets";
        JOBS = "jobs";
        CRON_JOBS = "cronjobs";
}

impl Verbs {
    /// The number of places in a table by verb.
    pub(super) const PLACES: usize = Verbs::OTHER.number() + 1;
}

impl Subresources {
    /// The number of places in a table by subresource.
    pub(super) const PLACES: usize = Subresources::OTHER.number() + 1;

    /// Those for which kube-apiserver takes requests for long-running ones.
    pub(super) const LONG_RUNNING: Subresources = Subresources::ATTACH
        .and(Subresources::EXEC)
        .and(Subresources::PROXY)
        .and(Subresources::LOG)
        .and(Subresources::PORT_FORWARD);
}

const BINDINGS: Kinds = Kinds::ROLE_BINDINGS.and(Kinds::CLUSTER_ROLE_BINDINGS);
const ROLES: Kinds = Kinds::ROLES.and(Kinds::CLUSTER_ROLES);
const WEBHOOKS: Kinds = Kinds::MUTATING_WEBHOOKS.and(Kinds::VALIDATING_WEBHOOKS);
const POLICIES: Kinds = Kinds::MUTATING_POLICIES.and(Kinds::VALIDATING_POLICIES);
const POLICY_BINDINGS: Kinds =
    Kinds::MUTATING_POLICY_BINDINGS.and(Kinds::VALIDATING_POLICY_BINDINGS);
const APPS: Kinds = Kinds::DEPLOYMENTS
    .and(Kinds::DAEMON_SETS)
    .and(Kinds::STATEFUL_SETS)
    .and(Kinds::REPLICA_SETS);
const BATCH: Kinds = Kinds::JOBS.and(Kinds::CRON_JOBS);

impl Kinds {
    /// A request for another path than a resource's.
    pub(super) const NO_RESOURCE: Kinds = Kinds(Kinds::OTHER.0 << 1);
    /// The number of places in a table by kind.
    pub(super) const PLACES: usize = Kinds::NO_RESOURCE.number() + 1;
    /// Resources of any kind.
    pub(super) const ANY_RESOURCE: Kinds = Kinds::ALL.without(Kinds::NO_RESOURCE);

    /// Kinds of roles.
    pub(super) const ANY_ROLE: Kinds = ROLES;
    /// Kinds of bindings of roles.
    pub(super) const ANY_BINDING: Kinds = BINDINGS;
    /// Kinds that tell the API server what to admit.
    pub(super) const ADMISSION: Kinds = WEBHOOKS.and(POLICIES).and(POLICY_BINDINGS);
    /// Kinds whose pod spec is a template, which can be changed.
    pub(super) const TEMPLATES: Kinds = Kinds::REPLICATION_CONTROLLERS
        .and(Kinds::POD_TEMPLATES)
        .and(APPS)
        .and(BATCH);
    /// Kinds with a pod spec.
    pub(super) const WORKLOADS: Kinds = Kinds::TEMPLATES.and(Kinds::PODS);

    /// Recognises a resource by its API group and plural name.
    #[inline]
    pub(super) fn of(group: &[u8], resource: &[u8]) -> Kinds {
        let kind = Kinds::named(resource);
        match kind.groups() {
            _ if kind == Kinds::OTHER => kind,
            (own, _) if bytes::equal(own.as_bytes(), group) => kind,
            (_, other) if other.as_bytes() == group => kind,
            _ => Kinds::OTHER,
        }
    }

    /// Returns the API group of the first one, and the other one that it has been in; the
    /// same if there is none.
    fn groups(self) -> (&'static str, &'static str) {
        let only = |group| (group, group);
        match self {
            _ if ROLES.and(BINDINGS).has(self) => only("rbac.authorization.k8s.io"),
            _ if Kinds::ADMISSION.has(self) => only("admissionregistration.k8s.io"),
            _ if APPS.has(self) => ("apps", "extensions"),
            _ if BATCH.has(self) => only("batch"),
            Kinds::EVENTS => ("", "events.k8s.io"),
            Kinds::SIGNING_REQUESTS => only("certificates.k8s.io"),
            Kinds::RULES_REVIEWS => only("authorization.k8s.io"),
            Kinds::RESOURCE_DEFINITIONS => only("apiextensions.k8s.io"),
            _ => only(""),
        }
    }

    /// Returns API group and name of the resource; of several groups the first one.
    pub(super) fn address(self) -> (&'static [u8], &'static [u8]) {
        (self.groups().0.as_bytes(), self.name().as_bytes())
    }

    /// Returns the path of the pod spec in an object of a kind that has one.
    pub(super) fn pod_spec(self) -> &'static str {
        match self {
            Kinds::PODS => "spec",
            Kinds::POD_TEMPLATES => "template spec",
            Kinds::CRON_JOBS => "spec jobTemplate spec template spec",
            _ => "spec template spec",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_group_and_name() {
        for (group, resource, want) in [
            ("", "pods", Kinds::PODS),
            ("apps", "pods", Kinds::OTHER),
            ("", "events", Kinds::EVENTS),
            ("events.k8s.io", "events", Kinds::EVENTS),
            ("apps", "daemonsets", Kinds::DAEMON_SETS),
            ("extensions", "daemonsets", Kinds::DAEMON_SETS),
            ("", "daemonsets", Kinds::OTHER),
            ("extensions", "jobs", Kinds::OTHER),
            ("batch", "cronjobs", Kinds::CRON_JOBS),
            ("rbac.authorization.k8s.io", "roles", Kinds::ROLES),
            ("", "leases", Kinds::OTHER),
            ("", "", Kinds::OTHER),
        ] {
            let kind = Kinds::of(group.as_bytes(), resource.as_bytes());
            assert_eq!(kind, want, "{group} {resource}");
        }
        for kind in Kinds::ALL.each() {
            let (group, resource) = kind.address();
            assert_eq!(Kinds::of(group, resource), kind);
        }
    }
}
