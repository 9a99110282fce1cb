//! Conditions on pod specs: what gives a container power over its node.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::body::Value;
use super::lexicon::{Lexicon, Words};
use super::names::is_controller;
use crate::doc::Text;

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
}

impl PodSpec {
    #[expect(clippy::as_conversions, reason = "the number of a variant, at most 3")]
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The properties of a pod spec, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(u8);

impl Properties {
    /// Says whether a property is among them.
    pub(super) fn has(self, property: PodSpec) -> bool {
        self.0 & property.bit() != 0
    }

    /// Adds those of another pod spec.
    pub(super) fn add(&mut self, other: Properties) {
        self.0 |= other.0;
    }

    fn set(&mut self, property: PodSpec, holds: bool) {
        self.0 |= if holds { property.bit() } else { 0 };
    }
}

/// Members of a pod spec.
const SPEC: &Lexicon<7> = &Lexicon::new(
    "|volumes|initContainers|containers|ephemeralContainers|hostNetwork|hostPID|hostIPC",
);
const CONTAINER: &Lexicon<2> = &Lexicon::new("|securityContext|$patch");
const SECURITY_CONTEXT: &Lexicon<2> = &Lexicon::new("|capabilities|privileged");
const VOLUME: &Lexicon<2> = &Lexicon::new("|hostPath|$patch");
/// Members of a pod spec that name its service account: the old name counts where the new
/// one is empty.
const ACCOUNT: &Lexicon<2> = &Lexicon::new("|serviceAccountName|serviceAccount");

/// Says whether a pod spec runs as one of the service accounts of built-in controllers.
pub(super) fn runs_as_controller(spec: Value<'_, '_>) -> bool {
    let texts = spec
        .fields(ACCOUNT)
        .map(|value| value.and_then(Value::text));
    let mut texts = texts.into_iter().flatten();
    let account = texts.find(|text| !text.raw.is_empty());
    account.is_some_and(|account| is_controller(&account.value()))
}

impl Properties {
    /// Says whether a body may have one of these properties, by a search for parts of its
    /// members' names, which costs less than to walk through members. They stand in objects
    /// as in the pointers of patches, unless letters are escaped.
    pub(super) fn may_be_in(body: &[u8]) -> bool {
        static PARTS: LazyLock<[Finder<'static>; 4]> =
            LazyLock::new(|| ["privileged", "host", "capabilities", r"\u"].map(Finder::new));
        PARTS.iter().any(|part| part.find(body).is_some())
    }

    /// Finds all properties of a pod spec in one walk.
    pub(super) fn of(spec: Value<'_, '_>) -> Properties {
        let mut properties = Properties::default();
        let [volumes, init, containers, ephemeral, network, pid, ipc] = spec.fields(SPEC);
        let lists = [containers, init, ephemeral].into_iter().flatten();
        for container in lists.flat_map(Value::items) {
            properties.add(Properties::of_container(container));
        }
        let shares = [network, pid, ipc]
            .into_iter()
            .flatten()
            .any(Value::is_true);
        properties.set(PodSpec::HostNamespace, shares);
        let mut volumes = volumes.into_iter().flat_map(Value::items);
        properties.set(PodSpec::SensitiveHostPath, volumes.any(is_sensitive_volume));
        properties
    }

    fn of_container(container: Value<'_, '_>) -> Properties {
        let mut properties = Properties::default();
        let [Some(context), patch] = container.fields(CONTAINER) else {
            return properties;
        };
        if is_deletion(patch) {
            return properties;
        }
        let [capabilities, privileged] = context.fields(SECURITY_CONTEXT);
        let is_privileged = privileged.is_some_and(Value::is_true);
        properties.set(PodSpec::Privileged, is_privileged);
        let added = capabilities.map(|capabilities| capabilities.list("add"));
        let mut added = added.into_iter().flatten().filter_map(Value::text);
        properties.set(PodSpec::DangerousCapability, added.any(is_dangerous));
        properties
    }
}

fn is_sensitive_volume(volume: Value<'_, '_>) -> bool {
    let [host_path, patch] = volume.fields(VOLUME);
    let path = host_path.map_or(Text::default(), |host_path| host_path.text_of("path"));
    let path = path.value();
    !path.is_empty() && is_sensitive(&path) && !is_deletion(patch)
}

/// Says whether `$patch` makes an item of a strategic merge patch a removal.
fn is_deletion(patch: Option<Value<'_, '_>>) -> bool {
    patch.is_some_and(|patch| patch.is_text("delete"))
}

/// Capabilities with which a container reaches its node.
const DANGEROUS: Words =
    Words("ALL SYS_ADMIN SYS_PTRACE SYS_MODULE SYS_RAWIO SYS_BOOT DAC_READ_SEARCH NET_ADMIN BPF");

/// Runtimes read capabilities in any case, with or without `CAP_`.
fn is_dangerous(capability: Text<'_>) -> bool {
    let name = capability.value().to_ascii_uppercase();
    DANGEROUS.has(name.strip_prefix(b"CAP_").unwrap_or(&name))
}

/// Directories that are sensitive themselves, which need not hold for what is in them.
const SENSITIVE: Words = Words(
    "/ /etc /root /home /proc /sys /dev /var /var/lib /var/run /run /var/lib/kubelet \
     /var/lib/docker /var/lib/containerd /var/lib/etcd /var/lib/rancher /opt/cni/bin \
     /etc/cni/net.d",
);

/// Directories that are sensitive with all that is in them.
const SENSITIVE_TREES: Words = Words(
    "/etc/kubernetes/* /root/* /var/lib/kubelet/pki/* /var/lib/etcd/* /etc/cron.d/* \
     /etc/ssh/* /etc/systemd/*",
);

/// Sockets through which a container runtime takes orders, wherever they are.
const RUNTIME_SOCKETS: Words = Words("docker.sock containerd.sock crio.sock cri-dockerd.sock");

/// Compares what a path means, so that `//etc/./` is `/etc`.
fn is_sensitive(path: &[u8]) -> bool {
    let mut clean = Vec::with_capacity(path.len());
    let mut last: &[u8] = &[];
    for part in path.split(|&byte| byte == b'/') {
        if !matches!(part, [] | [b'.']) {
            clean.push(b'/');
            clean.extend_from_slice(part);
            last = part;
        }
    }
    let is_itself = SENSITIVE.has(if clean.is_empty() { b"/" } else { &clean });
    clean.push(b'/');
    is_itself || SENSITIVE_TREES.fit(&clean) || RUNTIME_SOCKETS.has(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;

    fn is_in(property: PodSpec, spec: &str) -> bool {
        Properties::of(Value::new(Json(spec.as_bytes()).into(), 0)).has(property)
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
        for name in DANGEROUS.iter() {
            let name = std::str::from_utf8(name).unwrap();
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
            let value = Value::new(Json(spec.as_bytes()).into(), 0);
            assert_eq!(runs_as_controller(value), want, "{spec}");
        }
    }
}
