//! The vocabulary of built-in detections: conditions beyond verb, resource and actor.

use super::body::{Body, Value};
use super::facts::Facts;
use super::kind::{Kinds, Verbs};
use super::lexicon::Words;
use super::names::{is_privileged_group, is_privileged_user};
use super::pods::{PodSpec, runs_as_controller};
use super::rbac;
use super::request::Request;
use super::uri::find;

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The resource is one of these.
    Kind(Kinds),
    /// The namespace is one of these.
    Namespace(Words),
    /// The namespace is none of these.
    NotNamespace(Words),
    /// The name is one of these, where a final `*` means any rest.
    Name(Words),
    /// The name is none of these.
    NotName(Words),
    /// The authorizer allowed it.
    Allowed,
    /// The authorizer did not allow it, or was not asked.
    NotAllowed,
    /// The authorizer refused it.
    Refused,
    /// The authorizer did not refuse it.
    NotRefused,
    /// The authorizer allowed it, or said nothing and there was no error.
    Admitted,
    /// The response says that permissions were to be given that one does not have.
    EscalationMessage,
    /// Not a service account that keeps up to date: its list or watch names a version.
    NotInformer,
    /// The impersonated user or group is privileged.
    PrivilegedImpersonation,
    /// Not a kubelet's pod that acts for its own node.
    NotOwnNode,
    /// The command reads credentials of a pod, a node or a cloud.
    ReadsCredentials,
    /// The command is a `tar` that writes to its output, as `kubectl cp` runs it.
    Archives,
    /// The path on the node is more than metrics and health.
    NodePath,
    /// Not one of the paths that anybody may see.
    NotPublicPath,
    /// Not the reading of the configmap that a joining node starts with.
    NotClusterInfo,
    /// The request's body has this property.
    Body(Property),
    /// A signing request's approval, unless it is the routine one of a kubelet's
    /// certificate or no approval; counts without a body, too.
    Approves,
}

/// Properties of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// A token for more than a day.
    LongLivedToken,
    /// A secret that holds a token without end.
    TokenSecret,
    /// A reference to a cluster role of one of these names.
    ClusterRole(Words),
    /// A subject that is everybody.
    Everyone,
    /// A rule that gives everything.
    WildcardRule,
    /// A rule that gives permissions with which more are to be had.
    EscalationRule,
    /// A client certificate is asked for.
    ClientCertificate,
    /// A pod spec with this property.
    Pod(PodSpec),
    /// A pod spec with the service account of a built-in controller.
    ControllerAccount,
    /// Pod security is set to `privileged` or no longer enforced.
    PodSecurity,
}

/// What the API server answers to whoever would give permissions that he does not have.
pub(super) const ESCALATION: &str = "attempting to grant RBAC permissions not currently held";

/// Parts of commands that get at credentials: files of pods and nodes, and the metadata
/// services of clouds.
const CREDENTIALS: Words = Words(
    "/run/secrets/kubernetes.io/serviceaccount /run/secrets/eks.amazonaws.com/serviceaccount \
     /run/secrets/azure/tokens /run/secrets/tokens/ /etc/shadow /etc/kubernetes/pki \
     /etc/kubernetes/admin.conf /var/lib/kubelet/pki 169.254.169.254 metadata.google.internal \
     /.aws/credentials /.kube/config /.ssh/id_",
);

/// The longest life of a token that counts as short, in seconds.
const ONE_DAY: i64 = 86_400;

/// The label of a namespace that says which pods it admits, behind the way to it.
const ENFORCE: &str = "metadata labels pod-security.kubernetes.io/enforce";
/// Pointer to it in a JSON patch.
const ENFORCE_POINTER: &str = "/metadata/labels/pod-security.kubernetes.io~1enforce";

/// Signers of the certificates that kubelets ask for all the time.
const KUBELET_SIGNERS: Words =
    Words("kubernetes.io/kubelet-serving kubernetes.io/kube-apiserver-client-kubelet");

impl Condition {
    /// Says whether it cannot be judged without the request's body.
    pub(super) fn needs_body(self) -> bool {
        matches!(self, Condition::Body(_))
    }

    /// Says whether the request meets the condition.
    pub(super) fn holds(self, request: &Request<'_, '_>) -> bool {
        match self {
            Condition::Kind(kinds) => kinds.meets(request.kind),
            Condition::Namespace(names) => names.has(request.resource.namespace),
            Condition::NotNamespace(names) => !names.has(request.resource.namespace),
            Condition::Name(names) => names.fit(request.resource.name),
            Condition::NotName(names) => !names.fit(request.resource.name),
            Condition::Allowed => request.decision().is(b"allow"),
            Condition::NotAllowed => !request.decision().is(b"allow"),
            Condition::Refused => request.decision().is(b"forbid"),
            Condition::NotRefused => !request.decision().is(b"forbid"),
            Condition::Admitted => match &*request.decision().value() {
                b"" => request.facts.has(Facts::OK),
                decision => decision == b"allow",
            },
            Condition::EscalationMessage => {
                find(&request.message().value(), ESCALATION.as_bytes()).is_some()
            }
            Condition::NotInformer => {
                !(request.facts.has(Facts::SERVICE_ACCOUNT) && request.uri.has("resourceVersion"))
            }
            Condition::PrivilegedImpersonation => is_privileged_impersonation(request),
            Condition::NotOwnNode => !request
                .impersonation_constraint()
                .is(b"impersonate:associated-node"),
            Condition::ReadsCredentials => reads_credentials(request),
            Condition::Archives => archives(request),
            Condition::NodePath => is_node_path(request.uri.path),
            Condition::NotPublicPath => {
                request.kind != Kinds::NO_RESOURCE || !is_public(request.uri.path)
            }
            Condition::NotClusterInfo => !reads_cluster_info(request),
            Condition::Body(property) => property.is_of(request),
            Condition::Approves => approves(request.body()),
        }
    }
}

fn is_privileged_impersonation(request: &Request<'_, '_>) -> bool {
    let Some(user) = request.impersonated() else {
        return false;
    };
    let mut groups = user.list("groups").filter_map(Value::text);
    is_privileged_user(&user.text_of("username").value())
        || groups.any(|group| is_privileged_group(&group.value()))
}

/// Looks at all words as one text, because shells take them as one.
fn reads_credentials(request: &Request<'_, '_>) -> bool {
    let mut command = Vec::new();
    for (number, word) in request.uri.values("command").enumerate() {
        if number > 0 {
            command.push(b' ');
        }
        command.extend(word.bytes());
    }
    CREDENTIALS
        .iter()
        .any(|part| find(&command, part).is_some())
}

/// Recognises `tar cf - FILE…` by its first words: any path to tar, any compression.
fn archives(request: &Request<'_, '_>) -> bool {
    let mut words = request.uri.values("command").map(|word| {
        let word: Vec<u8> = word.bytes().collect();
        word
    });
    let (Some(program), Some(flags), Some(output), Some(_)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let start = flags.iter().position(|&byte| byte != b'-');
    let flags = start
        .and_then(|start| flags.get(start..))
        .unwrap_or_default();
    program.rsplit(|&byte| byte == b'/').next() == Some(b"tar")
        && matches!(flags, b"cf" | b"czf" | b"cjf" | b"cJf")
        && output == b"-"
}

/// Says whether what is asked of a node through its proxy is more than its state of health.
fn is_node_path(path: &[u8]) -> bool {
    let after = |text: &'_ [u8], part: &[u8]| find(text, part).map(|range| range.end);
    let node = after(path, b"/nodes/").and_then(|end| path.get(end..));
    let node = node.unwrap_or(path);
    let tail = after(node, b"/proxy").and_then(|end| node.get(end..));
    let tail = trim_slashes(tail.unwrap_or_default());
    let harmless = matches!(tail, b"metrics" | b"healthz" | b"stats/summary")
        || tail.starts_with(b"metrics/")
        || tail.starts_with(b"healthz/");
    !harmless || find(tail, b"..").is_some()
}

/// Says whether a path shows anybody no more than that there is an API server.
fn is_public(path: &[u8]) -> bool {
    const CHECKS: Words = Words("healthz livez readyz");
    const DOCUMENTS: Words = Words(
        "/version /.well-known/openid-configuration \
         /.well-known/oauth-authorization-server /openid/v1/jwks",
    );
    let mut segments = path.split(|&byte| byte == b'/');
    let is_check =
        segments.next() == Some(b"") && segments.next().is_some_and(|check| CHECKS.has(check));
    let end = path.iter().rposition(|&byte| byte != b'/');
    let path = end.and_then(|end| path.get(..=end)).unwrap_or_default();
    is_check || DOCUMENTS.has(path)
}

fn reads_cluster_info(request: &Request<'_, '_>) -> bool {
    const READ: Verbs = Verbs::GET.and(Verbs::LIST).and(Verbs::WATCH);
    request.kind == Kinds::CONFIG_MAPS
        && request.resource.namespace == b"kube-public"
        && request.resource.name == b"cluster-info"
        && READ.meets(request.verb)
}

fn trim_slashes(text: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| *byte != b'/';
    let (first, last) = (
        text.iter().position(is_other),
        text.iter().rposition(is_other),
    );
    let range = first
        .zip(last)
        .and_then(|(first, last)| text.get(first..=last));
    range.unwrap_or_default()
}

fn approves(body: Body<'_>) -> bool {
    let kubelet = body.any(&mut |piece| {
        let signer = piece.dig("spec signerName").and_then(Value::text);
        signer.is_some_and(|signer| KUBELET_SIGNERS.has(&signer.value()))
    });
    let (mut any, mut approved) = (false, false);
    body.any(&mut |piece| {
        let status = piece.get("status");
        for condition in status
            .into_iter()
            .flat_map(|status| status.list("conditions"))
        {
            any = true;
            approved |= condition.has_text("type", "Approved");
        }
        false
    });
    !kubelet && (approved || !any)
}

impl Property {
    /// Says whether the request's body has the property.
    fn is_of(self, request: &Request<'_, '_>) -> bool {
        let body = request.body();
        match self {
            Property::LongLivedToken => body.any(&mut |piece| {
                let seconds = piece.dig("spec expirationSeconds");
                seconds
                    .and_then(Value::integer)
                    .is_some_and(|life| life > ONE_DAY)
            }),
            Property::TokenSecret => {
                body.any(&mut |piece| piece.has_text("type", "kubernetes.io/service-account-token"))
            }
            Property::ClusterRole(names) => {
                let response = request.response().filter(|_| request.verb == Verbs::PATCH);
                request.bindings().refer_to(response, names)
            }
            Property::Everyone => request.bindings().are_for_everyone(),
            Property::WildcardRule => {
                rbac::any_rule(body, request.response(), &mut rbac::is_wildcard)
            }
            Property::EscalationRule => {
                let cluster_wide = request.kind == Kinds::CLUSTER_ROLES;
                rbac::any_rule(body, request.response(), &mut |rule| {
                    rbac::is_escalation(rule, cluster_wide)
                })
            }
            Property::ClientCertificate => body.any(&mut |piece| {
                let signer = piece.dig("spec signerName");
                signer.is_some_and(|signer| signer.is_text("kubernetes.io/kube-apiserver-client"))
            }),
            Property::Pod(property) => request.pods().has(property),
            Property::ControllerAccount => request.any_pod_spec(&mut runs_as_controller),
            Property::PodSecurity => weakens_pod_security(request),
        }
    }
}

/// A label set to `privileged`, or taken away.
fn weakens_pod_security(request: &Request<'_, '_>) -> bool {
    let body = request.body();
    let patches = request.verb == Verbs::PATCH;
    // An operator that applies the same whole object again and again is no news.
    let reapplies = patches && request.facts.has(Facts::SERVICE_ACCOUNT) && request.code == 200;
    body.removes(ENFORCE_POINTER)
        || body.any(&mut |piece| {
            let label = piece.dig(ENFORCE);
            let weakens = label
                .is_some_and(|label| patches && label.is_null() || label.is_text("privileged"));
            weakens && !(reapplies && piece.get("kind").is_some())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_on_nodes() {
        for (path, want) in [
            ("/api/v1/nodes/n/proxy/metrics", false),
            ("/api/v1/nodes/n/proxy/metrics/cadvisor", false),
            ("/api/v1/nodes/n/proxy/healthz/", false),
            ("/api/v1/nodes/n/proxy/healthz/ping", false),
            ("/api/v1/nodes/https:n:10250/proxy/stats/summary", false),
            ("/api/v1/nodes/n/proxy/stats/summary/x", true),
            ("/api/v1/nodes/n/proxy/metrics/../run", true),
            ("/api/v1/nodes/n/proxy/metricsx", true),
            ("/api/v1/nodes/metrics/proxy/run/a", true),
            ("/api/v1/nodes/n/proxy", true),
            ("/api/v1/proxy/nodes/n/run", true),
            ("", true),
        ] {
            assert_eq!(is_node_path(path.as_bytes()), want, "{path}");
        }
    }

    #[test]
    fn paths_for_anybody() {
        for (path, want) in [
            ("/healthz", true),
            ("/healthz/", true),
            ("/readyz/ping", true),
            ("/livez//", true),
            ("/version", true),
            ("/version/", true),
            ("/.well-known/openid-configuration", true),
            ("/openid/v1/jwks", true),
            ("/healthzfoo", false),
            ("/version/x", false),
            ("/api", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(is_public(path.as_bytes()), want, "{path}");
        }
    }
}
