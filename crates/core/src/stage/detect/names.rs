//! Names of Kubernetes' own users, groups and service accounts.

use super::lexicon::{Lexicon, Words};

/// User name of the controller manager.
pub(super) const KCM: &[u8] = b"system:kube-controller-manager";

/// Prefix of the user names of service accounts.
pub(super) const SERVICE_ACCOUNT: &[u8] = b"system:serviceaccount:";
/// Prefix of the user names of service accounts in `kube-system`.
pub(super) const KUBE_SYSTEM_ACCOUNT: &[u8] = b"system:serviceaccount:kube-system:";
/// Prefix of the user names of kubelets.
pub(super) const NODE: &[u8] = b"system:node:";

/// Prefix of the names that no identity provider gives.
const SYSTEM: &[u8] = b"system:";

/// Control-plane components, which are nobody's person, without that prefix.
const COMPONENTS: &Lexicon<10> = &Lexicon::new(
    "|apiserver|kube-controller-manager|kube-scheduler|kube-proxy|cloud-controller-manager\
     |volume-scheduler|aggregator|kube-aggregator|addon-manager|konnectivity-server",
);

/// Says whether a user name belongs to a person, as far as names tell: `system:admin` and
/// `system:anonymous` do, components, service accounts and kubelets do not.
pub(super) fn is_human(name: &[u8]) -> bool {
    const MACHINES: Words = Words("serviceaccount:* node:* bootstrap:*");
    match name.strip_prefix(SYSTEM) {
        None => !name.is_empty(),
        Some(name) => !(COMPONENTS.has(name) || MACHINES.fit(name)),
    }
}

/// Users whom to be is to own the cluster, or to act for a part of it.
const PRIVILEGED_USERS: Words = Words(
    "system:admin kubernetes-admin kubernetes-super-admin cluster-admin system:apiserver \
     system:kube-controller-manager system:kube-scheduler system:node:* \
     system:serviceaccount:kube-system:*",
);

/// Groups whose members own the cluster, or act for nodes.
const PRIVILEGED_GROUPS: Words = Words("system:masters kubeadm:cluster-admins system:nodes");

/// Says whether a user may do next to anything, or acts for a node.
pub(super) fn is_privileged_user(name: &[u8]) -> bool {
    PRIVILEGED_USERS.fit(name)
}

/// Says whether the members of a group may do next to anything, or act for a node.
pub(super) fn is_privileged_group(name: &[u8]) -> bool {
    PRIVILEGED_GROUPS.has(name)
}

/// Service accounts in `kube-system` of the controllers that kube-controller-manager runs,
/// up to Kubernetes 1.35. An exact list, because names such as
/// `aws-load-balancer-controller` belong to ordinary pods.
const CONTROLLERS: Words = Words(
    "attachdetach-controller bootstrap-signer certificate-controller \
     clusterrole-aggregation-controller cronjob-controller daemon-set-controller \
     deployment-controller device-taint-eviction-controller disruption-controller \
     endpoint-controller endpointslice-controller endpointslicemirroring-controller \
     ephemeral-volume-controller expand-controller generic-garbage-collector \
     horizontal-pod-autoscaler job-controller \
     kube-apiserver-serving-clustertrustbundle-publisher legacy-service-account-token-cleaner \
     namespace-controller node-controller persistent-volume-binder pod-garbage-collector \
     podcertificaterequestcleaner pv-protection-controller pvc-protection-controller \
     replicaset-controller replication-controller resource-claim-controller \
     resourcequota-controller root-ca-cert-publisher route-controller \
     selinux-warning-controller service-account-controller service-cidrs-controller \
     service-controller statefulset-controller storage-version-garbage-collector \
     storage-version-migrator-controller token-cleaner ttl-after-finished-controller \
     ttl-controller validatingadmissionpolicy-status-controller \
     volumeattributesclass-protection-controller",
);

/// Says whether a service account of `kube-system` belongs to a built-in controller.
pub(super) fn is_controller(account: &[u8]) -> bool {
    CONTROLLERS.has(account)
}
