//! The built-in detections, as data.

use super::condition::Condition::{self, *};
use super::condition::Property;
use super::facts::Facts;
use super::kind::{Kinds, Subresources, Verbs};
use super::lexicon::Words;
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
    /// Least level at which the API server must log the request.
    pub level: Level,
    /// Cases; the detection fires where one of them holds.
    pub(super) cases: &'static [Case],
}

/// One way in which a detection may fire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Kinds of what is requested.
    pub kinds: Kinds,
    /// Subresources of it.
    pub subresources: Subresources,
    /// Verbs.
    pub verbs: Verbs,
    /// Facts that must hold.
    pub needs: Facts,
    /// Facts none of which may hold.
    pub excludes: Facts,
    /// Further conditions, all of which must hold; those on bodies come last.
    pub conditions: &'static [Condition],
}

const fn on(kinds: Kinds, subresources: Subresources, verbs: Verbs) -> Case {
    Case {
        kinds,
        subresources,
        verbs,
        needs: Facts::NONE,
        excludes: Facts::NONE,
        conditions: &[],
    }
}

impl Case {
    const fn needs(self, facts: Facts) -> Case {
        let needs = self.needs.and(facts);
        Case { needs, ..self }
    }

    const fn excludes(self, facts: Facts) -> Case {
        let excludes = self.excludes.and(facts);
        Case { excludes, ..self }
    }

    /// Answered without an error.
    const fn ok(self) -> Case {
        self.needs(Facts::OK)
    }

    /// Answered without an error, and not a dry run.
    const fn did(self) -> Case {
        self.needs(Facts::OK).excludes(Facts::DRY_RUN)
    }

    /// An object was made.
    const fn created(self) -> Case {
        self.needs(Facts::CREATED).did()
    }

    const fn with(self, conditions: &'static [Condition]) -> Case {
        Case { conditions, ..self }
    }
}

const ITSELF: Subresources = Subresources::ITSELF;
const ANY: Subresources = Subresources::ALL;

const READ: Verbs = Verbs::GET.and(Verbs::LIST).and(Verbs::WATCH);
const WROTE: Verbs = Verbs::CREATE.and(Verbs::UPDATE).and(Verbs::PATCH);
const CHANGED: Verbs = Verbs::UPDATE.and(Verbs::PATCH);
const DELETED: Verbs = Verbs::DELETE.and(Verbs::DELETE_COLLECTION);
/// Verbs of a stream: kubectl opens it with POST, or with GET where it is a WebSocket.
const STREAM: Verbs = Verbs::CREATE.and(Verbs::GET);
/// Verbs that make an object; `patch` only by server-side apply.
const CREATING: Verbs = Verbs::CREATE.and(Verbs::PATCH);

/// The controllers that clean up after others.
const SWEEPING: Facts = Facts::SWEEPER.and(Facts::KCM).and(Facts::LOOPBACK);
/// The controller that puts rules of small roles into large ones, and the server's own start.
const AGGREGATING: Facts = Facts::LOOPBACK.and(Facts::AGGREGATOR);
/// Controllers that make pods of what others asked for, and kubelets with their mirror pods.
const BY_WORKLOADS: Facts = Facts::WORKLOADS
    .and(Facts::KCM)
    .and(Facts::LOOPBACK)
    .and(Facts::NODE);

/// Requests that bring a pod spec: new objects, changed templates, and debug containers.
/// A pod's own update carries its old spec, which cannot be changed.
const fn pod_specs(conditions: &'static [Condition]) -> [Case; 3] {
    [
        on(Kinds::WORKLOADS, ITSELF, CREATING)
            .created()
            .excludes(BY_WORKLOADS)
            .with(conditions),
        on(Kinds::TEMPLATES, ITSELF, CHANGED)
            .did()
            .excludes(BY_WORKLOADS)
            .with(conditions),
        on(Kinds::PODS, Subresources::EPHEMERAL_CONTAINERS, CHANGED)
            .did()
            .excludes(BY_WORKLOADS)
            .with(conditions),
    ]
}

/// Declares the detections, each with its title.
macro_rules! builtins {
    ($($id:literal $severity:ident $technique:literal $level:ident $title:literal $cases:expr;)*) => {
        /// The built-in detections, in the order of labels of one severity.
        pub static BUILTINS: &[Builtin] = &[$(Builtin {
            id: $id,
            severity: $severity,
            technique: $technique,
            level: Level::$level,
            cases: &$cases,
        },)*];

        impl Builtin {
            /// Says what happened.
            pub fn title(&self) -> &'static str {
                match self.id {
                    $($id => $title,)*
                    _ => "",
                }
            }
        }
    };
}

builtins! {
    // Into pods and nodes.
    "exec-into-pod" Medium "T1609" Metadata
        "Command run in a container"
        [on(Kinds::PODS, Subresources::EXEC, STREAM).ok()];
    "attach-to-pod" Medium "T1609" Metadata
        "Attached to a container's process"
        [on(Kinds::PODS, Subresources::ATTACH, STREAM).ok()];
    "port-forward-to-pod" Low "T1090" Metadata
        "Port of a pod forwarded"
        [on(Kinds::PODS, Subresources::PORT_FORWARD, STREAM).ok()];
    "ephemeral-container-added" Medium "T1609" Metadata
        "Debug container added to a pod"
        [on(Kinds::PODS, Subresources::EPHEMERAL_CONTAINERS, CHANGED).did()];
    // The status is the kubelet's own: 404 may have been reached all the same.
    "node-proxy" High "T1609" Metadata
        "Kubelet's API used through a node's proxy"
        [on(Kinds::NODES, Subresources::PROXY, Verbs::ALL).with(&[Admitted, NodePath])];
    "exec-reads-credentials" High "T1552.007" Metadata
        "Command run in a container that reads credentials"
        [on(Kinds::PODS, Subresources::EXEC, STREAM).ok().with(&[ReadsCredentials])];
    "copy-from-pod" Medium "T1005" Metadata
        "Files copied out of a container"
        [on(Kinds::PODS, Subresources::EXEC, STREAM).ok().with(&[Archives])];

    // Secrets and tokens.
    "secrets-enumerated" High "T1552.007" Metadata
        "Secrets of all namespaces read"
        // A watch begins with all there are.
        [on(Kinds::SECRETS, ITSELF, Verbs::LIST.and(Verbs::WATCH))
            .needs(Facts::OK.and(Facts::CLUSTER_WIDE))
            .excludes(SWEEPING.and(Facts::QUOTA))
            .with(&[NotInformer])];
    "secret-read" Low "T1552.007" Metadata
        "Secrets read by a person"
        [on(Kinds::SECRETS, ITSELF, READ).needs(Facts::OK.and(Facts::HUMAN))];
    "secret-access-denied" Medium "T1552.007" Metadata
        "Reading of secrets refused"
        [on(Kinds::SECRETS, ITSELF, READ)
            .excludes(Facts::OK.and(Facts::ANONYMOUS).and(Facts::NODE_BY_NAME))
            .with(&[Refused])];
    "serviceaccount-token-requested" Medium "T1528" Metadata
        "Token of a service account requested"
        [on(Kinds::SERVICE_ACCOUNTS, Subresources::TOKEN, Verbs::CREATE)
            .ok()
            .excludes(Facts::NODE.and(Facts::KCM))];
    "serviceaccount-token-long-lived" High "T1098.001" Request
        "Token of a service account made for more than a day"
        [
            on(Kinds::SERVICE_ACCOUNTS, Subresources::TOKEN, Verbs::CREATE)
                .ok()
                .with(&[Body(Property::LongLivedToken)]),
            on(Kinds::SECRETS, ITSELF, CREATING)
                .created()
                .excludes(Facts::KCM)
                .with(&[Body(Property::TokenSecret)]),
        ];
    "bootstrap-token-changed" Medium "T1098.001" Metadata
        "Token for joining nodes made or changed"
        [on(Kinds::SECRETS, ITSELF, WROTE)
            .did()
            .with(&[Namespace(Words("kube-system")), Name(Words("bootstrap-token-*"))])];

    // Roles and bindings.
    "cluster-admin-bound" High "T1098.006" Request
        "Cluster role cluster-admin bound"
        [
            on(Kinds::ANY_BINDING, ITSELF, WROTE)
                .did()
                .excludes(Facts::LOOPBACK)
                .with(&[Body(Property::ClusterRole(Words("cluster-admin")))]),
            // The reference of a binding cannot be changed: its name is enough.
            on(Kinds::CLUSTER_ROLE_BINDINGS, ITSELF, CHANGED)
                .did()
                .excludes(Facts::LOOPBACK)
                .with(&[Name(Words("cluster-admin"))]),
        ];
    // Which of the two kinds of bindings it is comes after the body, so that a binding
    // without one is undecided for all detections of bindings alike.
    "privileged-role-bound" High "T1098.006" Request
        "Privileged cluster role bound in the whole cluster"
        [on(Kinds::ANY_BINDING, ITSELF, WROTE)
            .did()
            .excludes(Facts::LOOPBACK)
            .with(&[
                Body(Property::ClusterRole(Words(
                    "admin edit system:kube-controller-manager system:kube-scheduler \
                     system:node system:kubelet-api-admin system:controller:*",
                ))),
                Kind(Kinds::CLUSTER_ROLE_BINDINGS),
            ])];
    "role-bound-to-everyone" Critical "T1098.006" Request
        "Role bound to everybody"
        [on(Kinds::ANY_BINDING, ITSELF, WROTE)
            .did()
            .excludes(Facts::LOOPBACK)
            .with(&[Body(Property::Everyone), NotNamespace(Words("kube-public"))])];
    "wildcard-role" High "T1098.006" Request
        "Role that allows everything made or changed"
        [on(Kinds::ANY_ROLE, ITSELF, WROTE)
            .did()
            .excludes(AGGREGATING)
            .with(&[Body(Property::WildcardRule)])];
    "escalation-role" Medium "T1098.006" Request
        "Role with which more permissions are to be had made or changed"
        [on(Kinds::ANY_ROLE, ITSELF, WROTE)
            .did()
            .excludes(AGGREGATING)
            .with(&[Body(Property::EscalationRule)])];
    "system-role-modified" High "T1098.006" Metadata
        "Built-in role changed or deleted"
        [on(Kinds::ANY_ROLE, ITSELF, CHANGED.and(Verbs::DELETE))
            .did()
            .excludes(Facts::CREATED.and(AGGREGATING))
            .with(&[
                Name(Words("system:* cluster-admin admin edit view")),
                NotName(Words("system:coredns")),
            ])];
    "rbac-escalation-denied" High "T1098.006" Metadata
        "Attempt to give permissions that one does not have"
        [on(Kinds::ANY_ROLE.and(Kinds::ANY_BINDING), ANY, WROTE)
            .needs(Facts::FORBIDDEN)
            .with(&[Allowed, EscalationMessage])];

    // Certificates and identities.
    "client-cert-requested" Medium "T1098.001" Request
        "Client certificate for the API server requested"
        [on(Kinds::SIGNING_REQUESTS, ITSELF, CREATING)
            .created()
            .with(&[Body(Property::ClientCertificate)])];
    "csr-approved" Medium "T1098.001" Metadata
        "Certificate approved by hand"
        [on(Kinds::SIGNING_REQUESTS, Subresources::APPROVAL, CHANGED)
            .did()
            .excludes(Facts::KCM.and(Facts::CERTIFIER))
            .with(&[Approves])];
    "privileged-impersonation" High "T1078" Metadata
        "Acted as a privileged user or group"
        [on(Kinds::ALL, ANY, Verbs::ALL)
            .needs(Facts::IMPERSONATING)
            .with(&[PrivilegedImpersonation, NotOwnNode])];
    "admission-config-changed" High "T1562.001" Metadata
        "Admission webhook or policy made, changed or deleted"
        [
            on(Kinds::ADMISSION, ITSELF, DELETED).did().excludes(Facts::LOOPBACK),
            on(Kinds::ADMISSION, ITSELF, CREATING).created().excludes(Facts::LOOPBACK),
            // Owners renew the certificates of their webhooks all the time.
            on(Kinds::ADMISSION, ITSELF, CHANGED)
                .did()
                .excludes(Facts::LOOPBACK.and(Facts::SERVICE_ACCOUNT)),
        ];

    // Workloads.
    "privileged-pod" High "T1611" Request
        "Privileged container asked for"
        pod_specs(&[Body(Property::Pod(PodSpec::Privileged))]);
    "host-namespace-pod" Medium "T1611" Request
        "Pod in a namespace of its node asked for"
        pod_specs(&[Body(Property::Pod(PodSpec::HostNamespace))]);
    "sensitive-hostpath-pod" High "T1611" Request
        "Pod with a sensitive directory of its node asked for"
        pod_specs(&[Body(Property::Pod(PodSpec::SensitiveHostPath))]);
    "dangerous-capability-pod" Medium "T1611" Request
        "Container with a dangerous capability asked for"
        pod_specs(&[Body(Property::Pod(PodSpec::DangerousCapability))]);
    "pod-in-system-namespace" Medium "T1610" Metadata
        "Workload created in a system namespace"
        [on(Kinds::WORKLOADS, ITSELF, CREATING)
            .created()
            .excludes(BY_WORKLOADS)
            .with(&[Namespace(Words("kube-system kube-public kube-node-lease"))])];
    "controller-serviceaccount-pod" High "T1078.001" Request
        "Pod with the service account of a built-in controller asked for"
        pod_specs(&[
            Namespace(Words("kube-system")),
            Body(Property::ControllerAccount),
        ]);

    // Hiding and destroying.
    "events-deleted" Medium "T1070" Metadata
        "Events deleted"
        [on(Kinds::EVENTS, ANY, DELETED).did().excludes(SWEEPING)];
    "critical-configmap-changed" High "T1565.001" Metadata
        "Configmap that names or authentication depend on changed"
        [on(Kinds::CONFIG_MAPS, ANY, WROTE.and(Verbs::DELETE))
            .did()
            .excludes(Facts::LOOPBACK)
            .with(&[
                Namespace(Words("kube-system")),
                Name(Words(
                    "coredns coredns-custom kube-dns node-local-dns aws-auth \
                     extension-apiserver-authentication",
                )),
            ])];
    "pod-security-weakened" Medium "T1562.001" Request
        "Pod security of a namespace lifted"
        [on(Kinds::NAMESPACES, ITSELF, WROTE)
            .did()
            .excludes(Facts::LOOPBACK)
            .with(&[Body(Property::PodSecurity)])];
    "namespace-deleted" Medium "T1485" Metadata
        "Namespace deleted"
        [on(Kinds::NAMESPACES, ITSELF, DELETED).did()];
    "bulk-delete" Medium "T1485" Metadata
        "Many objects deleted at once"
        [on(Kinds::ANY_RESOURCE.without(Kinds::EVENTS), ANY, Verbs::DELETE_COLLECTION)
            .did()
            .excludes(SWEEPING)];
    "crd-deleted" High "T1485" Metadata
        "Custom resource definition deleted, and with it all its objects"
        [on(Kinds::RESOURCE_DEFINITIONS, ITSELF, DELETED).did()];

    // Who is not let in, and who looks around.
    "anonymous-request-allowed" High "T1078.001" Metadata
        "Request without credentials answered"
        [on(Kinds::ALL, ANY, Verbs::ALL)
            .needs(Facts::OK.and(Facts::ANONYMOUS))
            .with(&[NotRefused, NotPublicPath, NotClusterInfo])];
    "authentication-failed" Low "T1110" Metadata
        "Credentials refused"
        [on(Kinds::ALL, ANY, Verbs::ALL)
            .needs(Facts::UNAUTHENTICATED.and(Facts::NAMELESS))];
    "access-denied" Low "T1613" Metadata
        "Request refused"
        [
            on(Kinds::ALL, ANY, Verbs::ALL)
                .needs(Facts::FORBIDDEN)
                .excludes(Facts::ANONYMOUS.and(Facts::NODE))
                .with(&[NotAllowed]),
            // Refused after the decision was written down: the verb of a WebSocket is `get`.
            on(
                Kinds::PODS,
                Subresources::EXEC
                    .and(Subresources::ATTACH)
                    .and(Subresources::PORT_FORWARD),
                Verbs::ALL,
            )
            .needs(Facts::FORBIDDEN)
            .excludes(Facts::ANONYMOUS.and(Facts::NODE)),
        ];
    "permission-enumeration" Low "T1069" Metadata
        "Own permissions listed"
        [on(Kinds::RULES_REVIEWS, ANY, Verbs::CREATE)
            .ok()
            .excludes(Facts::LOOPBACK)];
}
