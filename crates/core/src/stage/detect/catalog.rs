//! The built-in detections, as data.

use super::condition::Condition::*;
use super::condition::{Actor, Condition, Property};
use super::kind::Kind::{self, *};
use super::kind::Subresource::{self, *};
use super::kind::Verb;
use super::pods::PodSpec;
use super::severity::Severity::{self, *};
use crate::policy::Level;

/// A built-in detection.
#[derive(Debug)]
pub struct Builtin {
    /// Id, by which options and labels call it.
    pub id: &'static str,
    /// Severity, unless a file of detections sets another.
    pub severity: Severity,
    /// Technique of MITRE ATT&CK.
    pub technique: &'static str,
    /// What happened.
    pub title: &'static str,
    /// Least level at which the API server must log the request.
    pub level: Level,
    /// Cases; the detection fires where one of them holds.
    pub(super) cases: &'static [Case],
}

/// One way in which a detection may fire.
#[derive(Debug)]
pub(super) struct Case {
    /// What makes an event a candidate, found by one look-up.
    pub trigger: Trigger,
    /// Conditions, all of which must hold; those on bodies come last.
    pub conditions: &'static [Condition],
}

/// What makes an event a candidate.
#[derive(Debug)]
pub(super) enum Trigger {
    /// A request for one of these kinds and subresources.
    On(&'static [Kind], &'static [Subresource]),
    /// A request for one of these kinds, or any subresource of it.
    Within(&'static [Kind]),
    /// A `deletecollection` of any resource.
    DeleteCollection,
    /// A response code.
    Code(i64),
    /// A request without credentials.
    Anonymous,
    /// A request as somebody else.
    Impersonation,
}

const ITSELF: &[Subresource] = &[Subresource::None];
const READ: Condition = Condition::Verb(&[Verb::Get, Verb::List, Verb::Watch]);
const WROTE: Condition = Condition::Verb(&[Verb::Create, Verb::Update, Verb::Patch]);
const CHANGED: Condition = Condition::Verb(&[Verb::Update, Verb::Patch]);
const DELETED: Condition = Condition::Verb(&[Verb::Delete, Verb::DeleteCollection]);
/// Verbs of a stream: kubectl opens it with POST, or with GET where it is a WebSocket.
const STREAM: Condition = Condition::Verb(&[Verb::Create, Verb::Get]);
const CREATE: Condition = Condition::Verb(&[Verb::Create]);

const NOT_LOOPBACK: Condition = NotBy(&[Actor::Loopback]);
/// The controllers that clean up after others.
const NOT_SWEEPING: Condition = NotBy(&[
    Actor::Controllers(&["namespace-controller", "generic-garbage-collector"]),
    Actor::Kcm,
    Actor::Loopback,
]);
/// The controller that puts rules of small roles into large ones, and the server's own start.
const NOT_AGGREGATING: Condition = NotBy(&[
    Actor::Loopback,
    Actor::Controllers(&["clusterrole-aggregation-controller"]),
]);
/// Controllers that make pods of what others asked for, and kubelets with their mirror pods.
const NOT_BY_WORKLOADS: Condition = NotBy(&[
    Actor::Kcm,
    Actor::Loopback,
    Actor::Node,
    Actor::Controllers(&[
        "deployment-controller",
        "replicaset-controller",
        "replication-controller",
        "daemon-set-controller",
        "statefulset-controller",
        "job-controller",
        "cronjob-controller",
    ]),
]);

const ROLES: &[Kind] = &[Roles, ClusterRoles];
const BINDINGS: &[Kind] = &[RoleBindings, ClusterRoleBindings];
/// Kinds whose pod spec is a template, which can be changed.
const TEMPLATES: &[Kind] = &[
    ReplicationControllers,
    PodTemplates,
    Deployments,
    DaemonSets,
    StatefulSets,
    ReplicaSets,
    Jobs,
    CronJobs,
];
const WORKLOADS: &[Kind] = &[
    Pods,
    ReplicationControllers,
    PodTemplates,
    Deployments,
    DaemonSets,
    StatefulSets,
    ReplicaSets,
    Jobs,
    CronJobs,
];
const ADMISSION: &[Kind] = &[
    MutatingWebhooks,
    ValidatingWebhooks,
    ValidatingPolicies,
    ValidatingPolicyBindings,
    MutatingPolicies,
    MutatingPolicyBindings,
];

const fn on(
    kinds: &'static [Kind],
    subresources: &'static [Subresource],
    conditions: &'static [Condition],
) -> Case {
    Case {
        trigger: Trigger::On(kinds, subresources),
        conditions,
    }
}

const fn within(kinds: &'static [Kind], conditions: &'static [Condition]) -> Case {
    Case {
        trigger: Trigger::Within(kinds),
        conditions,
    }
}

const fn when(trigger: Trigger, conditions: &'static [Condition]) -> Case {
    Case {
        trigger,
        conditions,
    }
}

/// Requests that bring a pod spec: new objects, changed templates, and debug containers.
/// A pod's own update carries its old spec, which cannot be changed.
macro_rules! pod_specs {
    ($($condition:expr),+) => {
        &[
            on(WORKLOADS, ITSELF, &[Created, Did, NOT_BY_WORKLOADS, $($condition),+]),
            on(TEMPLATES, ITSELF, &[CHANGED, Did, NOT_BY_WORKLOADS, $($condition),+]),
            on(
                &[Pods],
                &[EphemeralContainers],
                &[CHANGED, Did, NOT_BY_WORKLOADS, $($condition),+],
            ),
        ]
    };
}

macro_rules! builtins {
    ($($id:literal $severity:ident $technique:literal $level:ident $title:literal $cases:expr;)*) => {
        &[$(Builtin {
            id: $id,
            severity: $severity,
            technique: $technique,
            title: $title,
            level: Level::$level,
            cases: $cases,
        },)*]
    };
}

/// The built-in detections, in the order of labels of one severity.
#[rustfmt::skip]
pub static BUILTINS: &[Builtin] = builtins! {
    // Into pods and nodes.
    "exec-into-pod" Medium "T1609" Metadata
        "Command run in a container"
        &[on(&[Pods], &[Exec], &[STREAM, Ok])];
    "attach-to-pod" Medium "T1609" Metadata
        "Attached to a container's process"
        &[on(&[Pods], &[Attach], &[STREAM, Ok])];
    "port-forward-to-pod" Low "T1090" Metadata
        "Port of a pod forwarded"
        &[on(&[Pods], &[PortForward], &[STREAM, Ok])];
    "ephemeral-container-added" Medium "T1609" Metadata
        "Debug container added to a pod"
        &[on(&[Pods], &[EphemeralContainers], &[CHANGED, Did])];
    // The status is the kubelet's own: 404 may have been reached all the same.
    "node-proxy" High "T1609" Metadata
        "Kubelet's API used through a node's proxy"
        &[on(&[Nodes], &[Subresource::Proxy], &[Admitted, NodePath])];
    "exec-reads-credentials" High "T1552.007" Metadata
        "Command run in a container that reads credentials"
        &[on(&[Pods], &[Exec], &[STREAM, Ok, ReadsCredentials])];
    "copy-from-pod" Medium "T1005" Metadata
        "Files copied out of a container"
        &[on(&[Pods], &[Exec], &[STREAM, Ok, Archives])];

    // Secrets and tokens.
    "secrets-enumerated" High "T1552.007" Metadata
        "Secrets of all namespaces read"
        &[on(&[Secrets], ITSELF, &[
            // A watch begins with all there are.
            Condition::Verb(&[Verb::List, Verb::Watch]), Everywhere, Ok,
            NotBy(&[
                Actor::Loopback,
                Actor::Kcm,
                Actor::Controllers(&[
                    "generic-garbage-collector",
                    "resourcequota-controller",
                    "namespace-controller",
                ]),
            ]),
            NotInformer,
        ])];
    "secret-read" Low "T1552.007" Metadata
        "Secrets read by a person"
        &[on(&[Secrets], ITSELF, &[READ, Ok, By(Actor::Human)])];
    "secret-access-denied" Medium "T1552.007" Metadata
        "Reading of secrets refused"
        &[on(&[Secrets], ITSELF, &[
            READ, NotOk, Decision("forbid"), NotBy(&[Actor::Anonymous, Actor::NodeByName]),
        ])];
    "serviceaccount-token-requested" Medium "T1528" Metadata
        "Token of a service account requested"
        &[on(&[ServiceAccounts], &[Token], &[CREATE, Ok, NotBy(&[Actor::Node, Actor::Kcm])])];
    "serviceaccount-token-long-lived" High "T1098.001" Request
        "Token of a service account made for more than a day"
        &[
            on(&[ServiceAccounts], &[Token], &[CREATE, Ok, Body(Property::LongLivedToken)]),
            on(&[Secrets], ITSELF, &[
                Created, Did, NotBy(&[Actor::Kcm]), Body(Property::TokenSecret),
            ]),
        ];
    "bootstrap-token-changed" Medium "T1098.001" Metadata
        "Token for joining nodes made or changed"
        &[on(&[Secrets], ITSELF, &[
            WROTE, Namespace(&["kube-system"]), Name(&["bootstrap-token-*"]), Did,
        ])];

    // Roles and bindings.
    "cluster-admin-bound" High "T1098.006" Request
        "Cluster role cluster-admin bound"
        &[
            on(BINDINGS, ITSELF, &[
                WROTE, Did, NOT_LOOPBACK, Body(Property::ClusterRole(&["cluster-admin"])),
            ]),
            // The reference of a binding cannot be changed: its name is enough.
            on(&[ClusterRoleBindings], ITSELF, &[
                CHANGED, Name(&["cluster-admin"]), Did, NOT_LOOPBACK,
            ]),
        ];
    // Which of the two kinds of bindings it is comes after the body, so that a binding
    // without one is undecided for all detections of bindings alike.
    "privileged-role-bound" High "T1098.006" Request
        "Privileged cluster role bound in the whole cluster"
        &[on(BINDINGS, ITSELF, &[
            WROTE, Did, NOT_LOOPBACK,
            Body(Property::ClusterRole(&[
                "admin",
                "edit",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:node",
                "system:kubelet-api-admin",
                "system:controller:*",
            ])),
            Condition::Kind(&[ClusterRoleBindings]),
        ])];
    "role-bound-to-everyone" Critical "T1098.006" Request
        "Role bound to everybody"
        &[on(BINDINGS, ITSELF, &[
            WROTE, Did, NOT_LOOPBACK, Body(Property::Everyone), NotNamespace(&["kube-public"]),
        ])];
    "wildcard-role" High "T1098.006" Request
        "Role that allows everything made or changed"
        &[on(ROLES, ITSELF, &[WROTE, Did, NOT_AGGREGATING, Body(Property::WildcardRule)])];
    "escalation-role" Medium "T1098.006" Request
        "Role with which more permissions are to be had made or changed"
        &[on(ROLES, ITSELF, &[WROTE, Did, NOT_AGGREGATING, Body(Property::EscalationRule)])];
    "system-role-modified" High "T1098.006" Metadata
        "Built-in role changed or deleted"
        &[on(ROLES, ITSELF, &[
            Condition::Verb(&[Verb::Update, Verb::Patch, Verb::Delete]),
            Name(&["system:*", "cluster-admin", "admin", "edit", "view"]),
            NotName(&["system:coredns"]), Did, NotCreated, NOT_AGGREGATING,
        ])];
    "rbac-escalation-denied" High "T1098.006" Metadata
        "Attempt to give permissions that one does not have"
        &[within(&[Roles, ClusterRoles, RoleBindings, ClusterRoleBindings], &[
            WROTE, Code(403), Decision("allow"),
            Message("attempting to grant RBAC permissions not currently held"),
        ])];

    // Certificates and identities.
    "client-cert-requested" Medium "T1098.001" Request
        "Client certificate for the API server requested"
        &[on(&[CertificateSigningRequests], ITSELF, &[
            Created, Did, Body(Property::ClientCertificate),
        ])];
    "csr-approved" Medium "T1098.001" Metadata
        "Certificate approved by hand"
        &[on(&[CertificateSigningRequests], &[Approval], &[
            CHANGED, Did,
            NotBy(&[Actor::Kcm, Actor::Controllers(&["certificate-controller"])]),
            Approves,
        ])];
    "privileged-impersonation" High "T1078" Metadata
        "Acted as a privileged user or group"
        &[when(Trigger::Impersonation, &[PrivilegedImpersonation, NotOwnNode])];
    "admission-config-changed" High "T1562.001" Metadata
        "Admission webhook or policy made, changed or deleted"
        &[
            on(ADMISSION, ITSELF, &[DELETED, Did, NOT_LOOPBACK]),
            on(ADMISSION, ITSELF, &[Created, Did, NOT_LOOPBACK]),
            // Owners renew the certificates of their webhooks all the time.
            on(ADMISSION, ITSELF, &[
                CHANGED, Did, NotBy(&[Actor::Loopback, Actor::ServiceAccount]),
            ]),
        ];

    // Workloads.
    "privileged-pod" High "T1611" Request
        "Privileged container asked for"
        pod_specs![Body(Property::Pod(PodSpec::Privileged))];
    "host-namespace-pod" Medium "T1611" Request
        "Pod in a namespace of its node asked for"
        pod_specs![Body(Property::Pod(PodSpec::HostNamespace))];
    "sensitive-hostpath-pod" High "T1611" Request
        "Pod with a sensitive directory of its node asked for"
        pod_specs![Body(Property::Pod(PodSpec::SensitiveHostPath))];
    "dangerous-capability-pod" Medium "T1611" Request
        "Container with a dangerous capability asked for"
        pod_specs![Body(Property::Pod(PodSpec::DangerousCapability))];
    "pod-in-system-namespace" Medium "T1610" Metadata
        "Workload created in a system namespace"
        &[on(WORKLOADS, ITSELF, &[
            Created, Namespace(&["kube-system", "kube-public", "kube-node-lease"]), Did,
            NOT_BY_WORKLOADS,
        ])];
    "controller-serviceaccount-pod" High "T1078.001" Request
        "Pod with the service account of a built-in controller asked for"
        pod_specs![
            Namespace(&["kube-system"]),
            Body(Property::Pod(PodSpec::ControllerServiceAccount))
        ];

    // Hiding and destroying.
    "events-deleted" Medium "T1070" Metadata
        "Events deleted"
        &[within(&[Events], &[DELETED, Did, NOT_SWEEPING])];
    "critical-configmap-changed" High "T1565.001" Metadata
        "Configmap that names or authentication depend on changed"
        &[within(&[ConfigMaps], &[
            Condition::Verb(&[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete]),
            Namespace(&["kube-system"]),
            Name(&[
                "coredns",
                "coredns-custom",
                "kube-dns",
                "node-local-dns",
                "aws-auth",
                "extension-apiserver-authentication",
            ]),
            Did, NOT_LOOPBACK,
        ])];
    "pod-security-weakened" Medium "T1562.001" Request
        "Pod security of a namespace lifted"
        &[on(&[Namespaces], ITSELF, &[WROTE, Did, NOT_LOOPBACK, Body(Property::PodSecurity)])];
    "namespace-deleted" Medium "T1485" Metadata
        "Namespace deleted"
        &[on(&[Namespaces], ITSELF, &[DELETED, Did])];
    "bulk-delete" Medium "T1485" Metadata
        "Many objects deleted at once"
        &[when(Trigger::DeleteCollection, &[NotKind(&[Events]), Did, NOT_SWEEPING])];
    "crd-deleted" High "T1485" Metadata
        "Custom resource definition deleted, and with it all its objects"
        &[on(&[CustomResourceDefinitions], ITSELF, &[DELETED, Did])];

    // Who is not let in, and who looks around.
    "anonymous-request-allowed" High "T1078.001" Metadata
        "Request without credentials answered"
        &[when(Trigger::Anonymous, &[Ok, NotDecision("forbid"), NotPublicPath, NotClusterInfo])];
    "authentication-failed" Low "T1110" Metadata
        "Credentials refused"
        &[when(Trigger::Code(401), &[NoUser])];
    "access-denied" Low "T1613" Metadata
        "Request refused"
        &[
            when(Trigger::Code(403), &[
                NotDecision("allow"), NotBy(&[Actor::Anonymous, Actor::Node]),
            ]),
            // Refused after the decision was written down: the verb of a WebSocket is `get`.
            on(&[Pods], &[Exec, Attach, PortForward], &[
                Code(403), NotBy(&[Actor::Anonymous, Actor::Node]),
            ]),
        ];
    "permission-enumeration" Low "T1069" Metadata
        "Own permissions listed"
        &[within(&[SelfSubjectRulesReviews], &[CREATE, Ok, NOT_LOOPBACK])];
};
