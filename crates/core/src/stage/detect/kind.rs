//! The verbs, resources and subresources that built-in detections tell apart.

/// Declares an enum with the names that its variants have in events, and `Other`.
macro_rules! names {
    ($(#[$doc:meta])* enum $enum:ident { $($variant:ident = $bytes:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $enum {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other name.
            Other,
        }

        impl $enum {
            /// Recognises a name; comparison is exact.
            pub(super) fn from_name(name: &[u8]) -> $enum {
                match name {
                    $($bytes => $enum::$variant,)*
                    _ => $enum::Other,
                }
            }

            /// Returns the name in events.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $($enum::$variant => $text,)*
                    $enum::Other => "other",
                }
            }
        }
    };
}

names! {
    /// The verb of a request.
    enum Verb {
        Get = b"get" "get",
        List = b"list" "list",
        Watch = b"watch" "watch",
        Create = b"create" "create",
        Update = b"update" "update",
        Patch = b"patch" "patch",
        Delete = b"delete" "delete",
        DeleteCollection = b"deletecollection" "deletecollection",
        Proxy = b"proxy" "proxy",
    }
}

names! {
    /// The subresource of a request.
    enum Subresource {
        None = b"" "",
        Exec = b"exec" "exec",
        Attach = b"attach" "attach",
        PortForward = b"portforward" "portforward",
        EphemeralContainers = b"ephemeralcontainers" "ephemeralcontainers",
        Log = b"log" "log",
        Proxy = b"proxy" "proxy",
        Token = b"token" "token",
        Approval = b"approval" "approval",
    }
}

impl Subresource {
    /// The number of variants.
    pub(super) const COUNT: usize = Subresource::Other.place() + 1;

    /// The number of the variant, from 0.
    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    pub(super) const fn place(self) -> usize {
        self as usize
    }

    /// Says whether kube-apiserver takes requests for it for long-running ones.
    pub(super) fn is_long_running(self) -> bool {
        use Subresource::*;
        matches!(self, Attach | Exec | Proxy | Log | PortForward)
    }
}

impl Verb {
    /// The number of variants.
    pub(super) const COUNT: usize = Verb::Other.place() + 1;

    /// The number of the variant, from 0.
    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    pub(super) const fn place(self) -> usize {
        self as usize
    }

    /// All variants.
    pub(super) const ALL: [Verb; Verb::COUNT] = {
        use Verb::*;
        [
            Get,
            List,
            Watch,
            Create,
            Update,
            Patch,
            Delete,
            DeleteCollection,
            Proxy,
            Other,
        ]
    };
}

/// Declares the kinds of resources with the API groups and names that they have.
macro_rules! kinds {
    ($($kind:ident = $text:literal [$($group:literal / $resource:literal),+],)*) => {
        /// The kind of resource that a request is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind {
            $(#[doc = concat!("`", $text, "`")] $kind,)*
            /// A resource that no built-in detection names.
            Other,
        }

        impl Kind {
            /// The number of kinds.
            pub(super) const COUNT: usize = Kind::Other.place() + 1;

            /// The number of the variant, from 0.
            #[expect(clippy::as_conversions, reason = "the number of a variant")]
            pub(super) const fn place(self) -> usize {
                self as usize
            }

            /// Recognises a resource by its API group and plural name.
            pub(super) fn of(group: &[u8], resource: &[u8]) -> Kind {
                match (group, resource) {
                    $($(($group, $resource) => Kind::$kind,)+)*
                    _ => Kind::Other,
                }
            }

            /// Returns API group and name of the resource; of several groups the first one.
            pub(super) fn address(self) -> (&'static [u8], &'static [u8]) {
                const ADDRESSES: &[(Kind, &[u8], &[u8])] =
                    &[$($((Kind::$kind, $group, $resource),)+)*];
                let found = ADDRESSES.iter().find(|(kind, ..)| *kind == self);
                found.map_or((b"", b""), |(_, group, resource)| (group, resource))
            }

            /// Returns the name of the resource, without its API group.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $text,)*
                    Kind::Other => "other",
                }
            }
        }
    };
}

kinds! {
    Pods = "pods" [b"" / b"pods"],
    Nodes = "nodes" [b"" / b"nodes"],
    Secrets = "secrets" [b"" / b"secrets"],
    ServiceAccounts = "serviceaccounts" [b"" / b"serviceaccounts"],
    ConfigMaps = "configmaps" [b"" / b"configmaps"],
    Namespaces = "namespaces" [b"" / b"namespaces"],
    Events = "events" [b"" / b"events", b"events.k8s.io" / b"events"],
    Roles = "roles" [b"rbac.authorization.k8s.io" / b"roles"],
    ClusterRoles = "clusterroles" [b"rbac.authorization.k8s.io" / b"clusterroles"],
    RoleBindings = "rolebindings" [b"rbac.authorization.k8s.io" / b"rolebindings"],
    ClusterRoleBindings = "clusterrolebindings"
        [b"rbac.authorization.k8s.io" / b"clusterrolebindings"],
    CertificateSigningRequests = "certificatesigningrequests"
        [b"certificates.k8s.io" / b"certificatesigningrequests"],
    SelfSubjectRulesReviews = "selfsubjectrulesreviews"
        [b"authorization.k8s.io" / b"selfsubjectrulesreviews"],
    CustomResourceDefinitions = "customresourcedefinitions"
        [b"apiextensions.k8s.io" / b"customresourcedefinitions"],
    MutatingWebhooks = "mutatingwebhookconfigurations"
        [b"admissionregistration.k8s.io" / b"mutatingwebhookconfigurations"],
    ValidatingWebhooks = "validatingwebhookconfigurations"
        [b"admissionregistration.k8s.io" / b"validatingwebhookconfigurations"],
    ValidatingPolicies = "validatingadmissionpolicies"
        [b"admissionregistration.k8s.io" / b"validatingadmissionpolicies"],
    ValidatingPolicyBindings = "validatingadmissionpolicybindings"
        [b"admissionregistration.k8s.io" / b"validatingadmissionpolicybindings"],
    MutatingPolicies = "mutatingadmissionpolicies"
        [b"admissionregistration.k8s.io" / b"mutatingadmissionpolicies"],
    MutatingPolicyBindings = "mutatingadmissionpolicybindings"
        [b"admissionregistration.k8s.io" / b"mutatingadmissionpolicybindings"],
    ReplicationControllers = "replicationcontrollers" [b"" / b"replicationcontrollers"],
    PodTemplates = "podtemplates" [b"" / b"podtemplates"],
    Deployments = "deployments" [b"apps" / b"deployments", b"extensions" / b"deployments"],
    DaemonSets = "daemonsets" [b"apps" / b"daemonsets", b"extensions" / b"daemonsets"],
    StatefulSets = "statefulsets" [b"apps" / b"statefulsets", b"extensions" / b"statefulsets"],
    ReplicaSets = "replicasets" [b"apps" / b"replicasets", b"extensions" / b"replicasets"],
    Jobs = "jobs" [b"batch" / b"jobs"],
    CronJobs = "cronjobs" [b"batch" / b"cronjobs"],
}

impl Kind {
    /// Returns the path of the pod spec in an object of a kind that has one.
    pub(super) fn pod_spec(self) -> Option<&'static [&'static str]> {
        use Kind::*;
        match self {
            Pods => Some(&["spec"]),
            PodTemplates => Some(&["template", "spec"]),
            ReplicationControllers
            | Deployments
            | DaemonSets
            | StatefulSets
            | ReplicaSets
            | Jobs => Some(&["spec", "template", "spec"]),
            CronJobs => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
            _ => None,
        }
    }
}
