//! Conditions on pod specs: what gives a container power over its node.

use super::body::Value;
use super::names::is_controller;
use crate::doc::{Doc, Text};

/// A property of a pod spec, or of one of its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PodSpec {
    /// A container is privileged.
    Privileged,
    /// The pod shares a namespace of the node.
    HostNamespace,
    /// A hostPath volume shows a sensitive directory or a runtime's socket.
    SensitiveHostPath,
    /// A container adds a capability that amounts to the node's root.
    DangerousCapability,
    /// The pod runs as one of the service accounts of built-in controllers.
    ControllerServiceAccount,
}

impl PodSpec {
    /// Says whether a pod spec has the property.
    pub(super) fn is_in<'a, D: Doc<'a>>(self, spec: Value<'_, D>) -> bool {
        match self {
            PodSpec::Privileged => containers(spec).any(|container| {
                let context = container.get("securityContext");
                context.is_some_and(|context| context.is_true("privileged"))
            }),
            PodSpec::HostNamespace => ["hostPID", "hostIPC", "hostNetwork"]
                .into_iter()
                .any(|field| spec.is_true(field)),
            PodSpec::SensitiveHostPath => {
                let volumes = spec.list("volumes").filter(|volume| !is_deleted(*volume));
                let paths = volumes.filter_map(|volume| volume.dig(&["hostPath", "path"])?.text());
                let mut values = paths.map(|path| path.value());
                values.any(|path| !path.is_empty() && is_sensitive(&path))
            }
            PodSpec::DangerousCapability => containers(spec).any(|container| {
                let capabilities = container.dig(&["securityContext", "capabilities"]);
                let added = capabilities.into_iter().flat_map(|list| list.list("add"));
                added.filter_map(Value::text).any(is_dangerous)
            }),
            PodSpec::ControllerServiceAccount => {
                // `serviceAccount` is the old name, which counts where the new one is empty.
                let account = match spec.text_of("serviceAccountName") {
                    Text { raw: [], .. } => spec.text_of("serviceAccount"),
                    account => account,
                };
                is_controller(&account.value())
            }
        }
    }
}

/// Returns the containers of all kinds, without those that a strategic merge patch deletes.
fn containers<'p, 'a, D: Doc<'a>>(spec: Value<'p, D>) -> impl Iterator<Item = Value<'p, D>> {
    ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |list| spec.list(list))
        .filter(|container| !is_deleted(*container))
}

/// Says whether an item of a strategic merge patch stands for a removal.
fn is_deleted<'a, D: Doc<'a>>(item: Value<'_, D>) -> bool {
    item.has_text("$patch", "delete")
}

/// Capabilities with which a container reaches its node.
const DANGEROUS: [&str; 9] = [
    "ALL",
    "SYS_ADMIN",
    "SYS_PTRACE",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_BOOT",
    "DAC_READ_SEARCH",
    "NET_ADMIN",
    "BPF",
];

/// Runtimes read capabilities in any case, with or without `CAP_`.
fn is_dangerous(capability: Text<'_>) -> bool {
    let name = capability.value();
    let bare = match name.split_first_chunk::<4>() {
        Some((prefix, bare)) if prefix.eq_ignore_ascii_case(b"CAP_") => bare,
        _ => &name,
    };
    DANGEROUS
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(bare))
}

/// Directories that are sensitive themselves, which need not hold for what is in them.
const SENSITIVE: [&str; 18] = [
    "/",
    "/etc",
    "/root",
    "/home",
    "/proc",
    "/sys",
    "/dev",
    "/var",
    "/var/lib",
    "/var/run",
    "/run",
    "/var/lib/kubelet",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/rancher",
    "/opt/cni/bin",
    "/etc/cni/net.d",
];

/// Directories that are sensitive with all that is in them.
const SENSITIVE_TREES: [&str; 7] = [
    "/etc/kubernetes",
    "/root",
    "/var/lib/kubelet/pki",
    "/var/lib/etcd",
    "/etc/cron.d",
    "/etc/ssh",
    "/etc/systemd",
];

/// Sockets through which a container runtime takes orders, wherever they are.
const RUNTIME_SOCKETS: [&str; 4] = [
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "cri-dockerd.sock",
];

/// Compares segments, so that `//etc/./` is `/etc`, and `/etcd` is not below it.
fn is_sensitive(path: &[u8]) -> bool {
    let own = || segments(path);
    let within = |tree: &str| {
        let mut own = own();
        segments(tree.as_bytes()).all(|segment| own.next() == Some(segment))
    };
    let last = own().last().unwrap_or_default();
    SENSITIVE
        .iter()
        .any(|known| own().eq(segments(known.as_bytes())))
        || SENSITIVE_TREES.iter().any(|tree| within(tree))
        || RUNTIME_SOCKETS.iter().any(|name| name.as_bytes() == last)
}

/// Returns the parts of a path that mean something.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = path.split(|&byte| byte == b'/');
    parts.filter(|part| !matches!(part, [] | [b'.']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;

    fn is_in(property: PodSpec, spec: &str) -> bool {
        property.is_in(Value::new(Json(spec.as_bytes()), 0))
    }

    #[test]
    fn paths_are_compared_by_segment() {
        for path in [
            "/",
            "//",
            "/.",
            "/etc",
            "/etc/",
            "//etc/./",
            "/root/x",
            "/proc",
            "/var/run/",
            "/etc/kubernetes",
            "/etc/kubernetes/manifests",
            "/var/lib/etcd/member",
            "/run/docker.sock",
            "/x/y/crio.sock/",
            "/var/lib/kubelet/pki/x",
            "/etc/cni/net.d",
        ] {
            assert!(is_sensitive(path.as_bytes()), "{path}");
        }
        for path in [
            "/etcd-backup",
            "/etc/hosts",
            "/data",
            "/var/lib/kubelet/pods",
            "/procfs",
            "/rootfs",
            "/etc/kubernetes-old",
            "/x/docker.sock.d",
            "/home/me",
            "/opt/cni",
            "/var/lib/dockerx",
        ] {
            assert!(!is_sensitive(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn capabilities_in_any_spelling() {
        let adds = |name: &str| {
            let spec = format!(
                r#"{{"initContainers":[{{"securityContext":{{"capabilities":{{"add":[7,"{name}"]}}}}}}]}}"#
            );
            is_in(PodSpec::DangerousCapability, &spec)
        };
        for name in DANGEROUS {
            assert!(adds(name) && adds(&name.to_lowercase()) && adds(&format!("cap_{name}")));
        }
        for name in [
            "",
            "CAP_",
            "CHOWN",
            "NET_BIND_SERVICE",
            "SYS_ADMIN2",
            "CAP_CAP_BPF",
        ] {
            assert!(!adds(name), "{name}");
        }
    }

    #[test]
    fn containers_of_every_kind_but_not_deleted_ones() {
        for (list, extra, want) in [
            ("containers", "", true),
            ("initContainers", "", true),
            ("ephemeralContainers", "", true),
            ("containers", r#""$patch":"delete","#, false),
            ("containers", r#""$patch":"replace","#, true),
            ("others", "", false),
        ] {
            let spec =
                format!(r#"{{"{list}":[1,{{{extra}"securityContext":{{"privileged":true}}}}]}}"#);
            assert_eq!(is_in(PodSpec::Privileged, &spec), want, "{spec}");
        }
        for other in ["false", "\"true\"", "1", "null"] {
            let spec =
                format!(r#"{{"containers":[{{"securityContext":{{"privileged":{other}}}}}]}}"#);
            assert!(!is_in(PodSpec::Privileged, &spec), "{spec}");
        }
    }

    #[test]
    fn volumes_of_the_node() {
        for (volume, want) in [
            (r#"{"hostPath":{"path":"/etc"}}"#, true),
            (r#"{"$patch":"delete","hostPath":{"path":"/etc"}}"#, false),
            (r#"{"hostPath":{"path":""}}"#, false),
            (r#"{"hostPath":{"path":7}}"#, false),
            (r#"{"hostPath":"/etc"}"#, false),
            (r#"{"emptyDir":{"path":"/etc"}}"#, false),
            (r#""/etc""#, false),
        ] {
            let spec = format!(r#"{{"volumes":[{{"name":"x"}},{volume}]}}"#);
            assert_eq!(is_in(PodSpec::SensitiveHostPath, &spec), want, "{volume}");
        }
    }

    #[test]
    fn namespaces_of_the_node() {
        for field in ["hostPID", "hostIPC", "hostNetwork"] {
            assert!(is_in(
                PodSpec::HostNamespace,
                &format!(r#"{{"{field}":true}}"#)
            ));
            assert!(!is_in(
                PodSpec::HostNamespace,
                &format!(r#"{{"{field}":false}}"#)
            ));
        }
        assert!(!is_in(PodSpec::HostNamespace, r#"{"hostUsers":true}"#));
    }

    #[test]
    fn accounts_of_controllers_under_either_name() {
        for (spec, want) in [
            (r#"{"serviceAccountName":"job-controller"}"#, true),
            (r#"{"serviceAccount":"job-controller"}"#, true),
            (
                r#"{"serviceAccountName":"","serviceAccount":"job-controller"}"#,
                true,
            ),
            (
                r#"{"serviceAccountName":"mine","serviceAccount":"job-controller"}"#,
                false,
            ),
            (
                r#"{"serviceAccountName":"aws-load-balancer-controller"}"#,
                false,
            ),
            ("{}", false),
        ] {
            assert_eq!(
                is_in(PodSpec::ControllerServiceAccount, spec),
                want,
                "{spec}"
            );
        }
    }
}
