//! The vocabulary of built-in detections: conditions on a request.

use super::body::{Body, Value};
use super::kind::{Kind, Verb};
use super::names::{fits, is_privileged_group, is_privileged_user};
use super::pods::PodSpec;
use super::rbac;
use super::request::Request;
use super::uri::find;
use crate::doc::Doc;

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The verb is one of these.
    Verb(&'static [Verb]),
    /// The resource is one of these.
    Kind(&'static [Kind]),
    /// The resource is none of these.
    NotKind(&'static [Kind]),
    /// An object was made, by `create` or by server-side apply.
    Created,
    /// No object was made.
    NotCreated,
    /// Answered without an error.
    Ok,
    /// Not answered, or with an error.
    NotOk,
    /// Answered without an error, and not a dry run.
    Did,
    /// The response has this code.
    Code(i64),
    /// The authorizer decided so.
    Decision(&'static str),
    /// The authorizer did not decide so, if at all.
    NotDecision(&'static str),
    /// The authorizer allowed it, or said nothing and there was no error.
    Admitted,
    /// The response's message contains this.
    Message(&'static str),
    /// The namespace is one of these.
    Namespace(&'static [&'static str]),
    /// The namespace is none of these.
    NotNamespace(&'static [&'static str]),
    /// The name is one of these, where a final `*` means any rest.
    Name(&'static [&'static str]),
    /// The name is none of these.
    NotName(&'static [&'static str]),
    /// Neither namespace nor name: all objects of the cluster.
    Everywhere,
    /// Made by somebody of this kind.
    By(Actor),
    /// Made by nobody of these kinds.
    NotBy(&'static [Actor]),
    /// The user name is empty.
    NoUser,
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
    ClusterRole(&'static [&'static str]),
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
    /// Pod security is set to `privileged` or no longer enforced.
    PodSecurity,
}

/// Who may have made a request; never somebody who impersonates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// The API server itself.
    Loopback,
    /// The controller manager.
    Kcm,
    /// Built-in controllers by the names of their service accounts.
    Controllers(&'static [&'static str]),
    /// A kubelet.
    Node,
    /// A kubelet that names an object.
    NodeByName,
    /// A service account.
    ServiceAccount,
    /// Somebody without credentials.
    Anonymous,
    /// A person, or somebody who impersonates.
    Human,
}

impl Actor {
    /// Says whether the request was made by such a one.
    pub(super) fn made<'r, 'a: 'r, D: Doc<'a>>(self, request: &Request<'r, 'a, D>) -> bool {
        match self {
            Actor::Loopback => request.is_loopback(),
            Actor::Kcm => request.is_kcm(),
            Actor::Controllers(names) => request.is_controller(names),
            Actor::Node => request.is_node(),
            Actor::NodeByName => request.is_node() && !request.resource().name.is_empty(),
            Actor::ServiceAccount => request.is_service_account(),
            Actor::Anonymous => request.is_anonymous(),
            Actor::Human => request.is_human(),
        }
    }
}

/// Parts of commands that get at credentials: files of pods and nodes, and the metadata
/// services of clouds.
const CREDENTIALS: [&str; 13] = [
    "/run/secrets/kubernetes.io/serviceaccount",
    "/run/secrets/eks.amazonaws.com/serviceaccount",
    "/run/secrets/azure/tokens",
    "/run/secrets/tokens/",
    "/etc/shadow",
    "/etc/kubernetes/pki",
    "/etc/kubernetes/admin.conf",
    "/var/lib/kubelet/pki",
    "169.254.169.254",
    "metadata.google.internal",
    "/.aws/credentials",
    "/.kube/config",
    "/.ssh/id_",
];

/// The longest life of a token that counts as short, in seconds.
const ONE_DAY: i64 = 86_400;

/// The label of a namespace that says which pods it admits.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Pointer to it in a JSON patch.
const ENFORCE_POINTER: &str = "/metadata/labels/pod-security.kubernetes.io~1enforce";

/// Signers of the certificates that kubelets ask for all the time.
const KUBELET_SIGNERS: [&str; 2] = [
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/kube-apiserver-client-kubelet",
];

impl Condition {
    /// Says whether it cannot be judged without the request's body.
    pub(super) fn needs_body(self) -> bool {
        matches!(self, Condition::Body(_))
    }

    /// Says whether the request meets the condition.
    pub(super) fn holds<'r, 'a: 'r, D: Doc<'a>>(self, request: &Request<'r, 'a, D>) -> bool {
        match self {
            Condition::Verb(verbs) => verbs.contains(&request.verb),
            Condition::Kind(kinds) => kinds.contains(&request.kind),
            Condition::NotKind(kinds) => !kinds.contains(&request.kind),
            Condition::Created => request.is_created(),
            Condition::NotCreated => !request.is_created(),
            Condition::Ok => request.is_ok(),
            Condition::NotOk => !request.is_ok(),
            Condition::Did => request.is_ok() && !request.is_dry(),
            Condition::Code(code) => request.code == code,
            Condition::Decision(decision) => request.decision().is(decision.as_bytes()),
            Condition::NotDecision(decision) => !request.decision().is(decision.as_bytes()),
            Condition::Admitted => match &*request.decision().value() {
                b"" => request.is_ok(),
                decision => decision == b"allow",
            },
            Condition::Message(part) => find(&request.message().value(), part).is_some(),
            Condition::Namespace(names) => is_one_of(names, request.resource().namespace),
            Condition::NotNamespace(names) => !is_one_of(names, request.resource().namespace),
            Condition::Name(names) => is_one_of(names, request.resource().name),
            Condition::NotName(names) => !is_one_of(names, request.resource().name),
            Condition::Everywhere => {
                request.resource().namespace.is_empty() && request.resource().name.is_empty()
            }
            Condition::By(actor) => actor.made(request),
            Condition::NotBy(actors) => !actors.iter().any(|actor| actor.made(request)),
            Condition::NoUser => request.user().is_empty(),
            Condition::NotInformer => {
                !(request.is_service_account() && request.uri.has("resourceVersion"))
            }
            Condition::PrivilegedImpersonation => is_privileged_impersonation(request),
            Condition::NotOwnNode => !request
                .impersonation_constraint()
                .is(b"impersonate:associated-node"),
            Condition::ReadsCredentials => reads_credentials(request),
            Condition::Archives => archives(request),
            Condition::NodePath => is_node_path(request.uri.path),
            Condition::NotPublicPath => request.has_resource() || !is_public(request.uri.path),
            Condition::NotClusterInfo => !reads_cluster_info(request),
            Condition::Body(property) => property.is_of(request),
            Condition::Approves => approves(request.body()),
        }
    }
}

fn is_one_of(patterns: &[&str], name: &[u8]) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

fn is_privileged_impersonation<'r, 'a: 'r, D: Doc<'a>>(request: &Request<'r, 'a, D>) -> bool {
    let Some(user) = request.impersonated() else {
        return false;
    };
    let mut groups = user.list("groups").filter_map(Value::text);
    is_privileged_user(&user.text_of("username").value())
        || groups.any(|group| is_privileged_group(&group.value()))
}

/// Looks at all words as one text, because shells take them as one.
fn reads_credentials<'r, 'a: 'r, D: Doc<'a>>(request: &Request<'r, 'a, D>) -> bool {
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
fn archives<'r, 'a: 'r, D: Doc<'a>>(request: &Request<'r, 'a, D>) -> bool {
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
    let after = |text: &'_ [u8], part| find(text, part).map(|range| range.end);
    let node = after(path, "/nodes/").and_then(|end| path.get(end..));
    let node = node.unwrap_or(path);
    let tail = after(node, "/proxy").and_then(|end| node.get(end..));
    let tail = trim_slashes(tail.unwrap_or_default());
    let harmless = matches!(tail, b"metrics" | b"healthz" | b"stats/summary")
        || tail.starts_with(b"metrics/")
        || tail.starts_with(b"healthz/");
    !harmless || find(tail, "..").is_some()
}

/// Says whether a path shows anybody no more than that there is an API server.
fn is_public(path: &[u8]) -> bool {
    let end = path.iter().rposition(|&byte| byte != b'/');
    let path = end.and_then(|end| path.get(..=end)).unwrap_or_default();
    let health = ["/healthz", "/livez", "/readyz"].into_iter().any(|check| {
        let rest = path.strip_prefix(check.as_bytes());
        rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    });
    let documents = matches!(
        path,
        b"/version"
            | b"/.well-known/openid-configuration"
            | b"/.well-known/oauth-authorization-server"
            | b"/openid/v1/jwks"
    );
    health || documents
}

fn reads_cluster_info<'r, 'a: 'r, D: Doc<'a>>(request: &Request<'r, 'a, D>) -> bool {
    let resource = request.resource();
    request.kind == Kind::ConfigMaps
        && resource.namespace == b"kube-public"
        && resource.name == b"cluster-info"
        && matches!(request.verb, Verb::Get | Verb::List | Verb::Watch)
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

fn approves<'a, D: Doc<'a>>(body: Body<'a, D>) -> bool {
    let kubelet = body.any(|piece| {
        let signer = piece.dig(&["spec", "signerName"]).and_then(Value::text);
        signer.is_some_and(|signer| {
            KUBELET_SIGNERS
                .iter()
                .any(|name| signer.is(name.as_bytes()))
        })
    });
    let condition = |fits: fn(Value<'_, D>) -> bool| {
        body.any(|piece| {
            let status = piece.get("status");
            status.is_some_and(|status| status.list("conditions").any(fits))
        })
    };
    let approved = condition(|condition| condition.has_text("type", "Approved"));
    !kubelet && (approved || !condition(|_| true))
}

impl Property {
    /// Says whether the request's body has the property.
    fn is_of<'r, 'a: 'r, D: Doc<'a>>(self, request: &Request<'r, 'a, D>) -> bool {
        let body = request.body();
        match self {
            Property::LongLivedToken => body.any(|piece| {
                let seconds = piece.dig(&["spec", "expirationSeconds"]);
                seconds
                    .and_then(Value::integer)
                    .is_some_and(|life| life > ONE_DAY)
            }),
            Property::TokenSecret => {
                body.any(|piece| piece.has_text("type", "kubernetes.io/service-account-token"))
            }
            Property::ClusterRole(names) => {
                let response = request.response().filter(|_| request.verb == Verb::Patch);
                rbac::binds(body, response, names)
            }
            Property::Everyone => rbac::binds_everyone(body),
            Property::WildcardRule => {
                rbac::any_rule(body, request.response(), |rule| rbac::is_wildcard(rule))
            }
            Property::EscalationRule => {
                let cluster_wide = request.kind == Kind::ClusterRoles;
                rbac::any_rule(body, request.response(), |rule| {
                    rbac::is_escalation(rule, cluster_wide)
                })
            }
            Property::ClientCertificate => body.any(|piece| {
                let signer = piece.get("spec");
                signer.is_some_and(|spec| {
                    spec.has_text("signerName", "kubernetes.io/kube-apiserver-client")
                })
            }),
            Property::Pod(property) => request.pods().has(property),
            Property::PodSecurity => weakens_pod_security(request),
        }
    }
}

/// A label set to `privileged`, or taken away.
fn weakens_pod_security<'r, 'a: 'r, D: Doc<'a>>(request: &Request<'r, 'a, D>) -> bool {
    let body = request.body();
    // An operator that applies the same whole object again and again is no news.
    let reapplies =
        request.is_service_account() && request.verb == Verb::Patch && request.code == 200;
    let weakens = |piece: Value<'_, D>| {
        let label = piece.dig(&["metadata", "labels", ENFORCE]);
        label.is_some_and(|label| {
            let removed = request.verb == Verb::Patch && label.is_null();
            removed || label.text().is_some_and(|level| level.is(b"privileged"))
        })
    };
    body.removes(ENFORCE_POINTER)
        || body.any(|piece| !(reapplies && piece.get("kind").is_some()) && weakens(piece))
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
