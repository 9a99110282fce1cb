//! Detections in words: which fire, and which condition kept the near ones from it.

use super::catalog::{Builtin, Trigger};
use super::condition::{Actor, Condition, Property};
use super::file::Own;
use super::kind::Subresource;
use super::pods::PodSpec;
use super::request::Request;
use super::uri::UriBuffer;
use super::{Answer, Definition, Detection, Detector, Severity};
use crate::doc::Doc;
use crate::event::kube::{Event, Scratch};
use crate::policy::Level;

/// The answer of one detection to an event, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Id of the detection.
    pub id: String,
    /// Its severity.
    pub severity: Severity,
    /// Its answer.
    pub verdict: Verdict,
}

/// The answer of a detection that is about such an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fires.
    Fires,
    /// It does not fire, because the request is ignored or excepted.
    Excused,
    /// It needs the request's body, which an event of this level has.
    Undecided(Level),
    /// It does not fire, because this condition fails.
    Near(String),
}

impl Detector {
    /// Answers for each detection that is about such an event; `None` where another event
    /// of the request is the one that tells how it ended, or none of them does.
    pub fn explain<'a, D: Doc<'a>>(
        &self,
        doc: D,
        event: Event<'_, 'a>,
        scratch: &Scratch,
    ) -> Option<Vec<Explanation>> {
        event.logged_attributes(doc.bytes(), scratch, |logged| {
            let mut uri = UriBuffer::default();
            let mut request = Request::new(doc, event, &scratch.members, logged);
            request.read_uri(&mut uri);
            if !request.is_outcome(self.settings.long_running) {
                return None;
            }
            let ignored = self.is_ignored(&request);
            let explanations = self.detections.iter().filter_map(|detection| {
                Some(Explanation {
                    id: detection.id().to_owned(),
                    severity: detection.severity(),
                    verdict: detection.verdict(&request, ignored)?,
                })
            });
            Some(explanations.collect())
        })
    }
}

impl Detection {
    /// Returns nothing where the detection is about other requests.
    fn verdict<'r, 'a: 'r, D: Doc<'a>>(
        &self,
        request: &Request<'r, 'a, D>,
        ignored: bool,
    ) -> Option<Verdict> {
        let answer = self.answer(request);
        if answer != Answer::Silent && (ignored || self.is_excepted(request)) {
            return Some(Verdict::Excused);
        }
        match answer {
            Answer::Fires => Some(Verdict::Fires),
            Answer::Undecided => Some(Verdict::Undecided(self.level())),
            Answer::Silent => {
                let failure = match &self.definition {
                    Definition::Builtin(builtin) => builtin.failure(request),
                    Definition::Own(own) => own.failure(request),
                };
                failure.map(Verdict::Near)
            }
        }
    }
}

impl Builtin {
    /// Describes the cases in which it fires, each in one sentence without a full stop.
    pub fn describe(&self) -> impl Iterator<Item = String> {
        self.cases.iter().map(|case| {
            let conditions = case.conditions.iter().map(|condition| condition.words());
            let words: Vec<String> = std::iter::once(case.trigger.words())
                .chain(conditions)
                .collect();
            words.join("; ")
        })
    }

    /// Returns the failing condition of the case that came furthest, in words.
    fn failure<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> Option<String> {
        let cases = self
            .cases
            .iter()
            .filter(|case| case.trigger.is_met(request));
        let failures = cases.filter_map(|case| {
            let mut conditions = case.conditions.iter().enumerate();
            conditions.find(|(_, condition)| !condition.holds(request))
        });
        let (_, condition) = failures.max_by_key(|(number, _)| *number)?;
        let found = condition.found(request);
        Some(format!("{found}; it needs {}", condition.words()))
    }
}

impl Own {
    fn failure<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> Option<String> {
        if !self.selectors.concerns(request.logged()) {
            return None;
        }
        if let Some(selector) = self.selectors.mismatch(request.logged()) {
            return Some(format!("its `{}` does not match", selector.name()));
        }
        if request.is_dry() {
            return Some("the request is a dry run".to_owned());
        }
        let results: Vec<&str> = self.results.iter().map(|result| result.name()).collect();
        let results = results.join(", ");
        Some(format!(
            "code {}; it needs a result of {results}",
            request.code
        ))
    }
}

/// Joins words: `a, b or c`.
fn either<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(", "),
    }
}

impl Trigger {
    fn words(&self) -> String {
        match *self {
            Trigger::On(kinds, subresources) => {
                let names = kinds.iter().flat_map(|kind| {
                    subresources.iter().map(|subresource| match subresource {
                        Subresource::None => kind.name().to_owned(),
                        subresource => format!("{}/{}", kind.name(), subresource.name()),
                    })
                });
                either(names.collect::<Vec<_>>().iter().map(String::as_str))
            }
            Trigger::Within(kinds) => either(kinds.iter().map(|kind| kind.name())),
            Trigger::DeleteCollection => "verb deletecollection".to_owned(),
            Trigger::Code(code) => format!("code {code}"),
            Trigger::Anonymous => "anonymous".to_owned(),
            Trigger::Impersonation => "impersonation".to_owned(),
        }
    }
}

impl Condition {
    /// Says what it asks for; reads after "it needs".
    pub(super) fn words(self) -> String {
        let fixed = match self {
            Condition::Verb(verbs) => {
                return format!("verb {}", either(verbs.iter().map(|verb| verb.name())));
            }
            Condition::Kind(kinds) => return either(kinds.iter().map(|kind| kind.name())),
            Condition::NotKind(kinds) => {
                let kinds = either(kinds.iter().map(|kind| kind.name()));
                return format!("a resource other than {kinds}");
            }
            Condition::Code(code) => return format!("code {code}"),
            Condition::Decision(decision) => return format!("decision `{decision}`"),
            Condition::NotDecision(decision) => {
                return format!("a decision other than `{decision}`");
            }
            Condition::Message(part) => return format!("a message with “{part}”"),
            Condition::Namespace(names) => {
                return format!("namespace {}", either(names.iter().copied()));
            }
            Condition::NotNamespace(names) => {
                return format!("a namespace other than {}", either(names.iter().copied()));
            }
            Condition::Name(names) => return format!("name {}", either(names.iter().copied())),
            Condition::NotName(names) => {
                return format!("a name other than {}", either(names.iter().copied()));
            }
            Condition::By(actor) => return actor.words(),
            Condition::NotBy(actors) => {
                let actors: Vec<String> = actors.iter().map(|actor| actor.words()).collect();
                return format!("anybody but {}", either(actors.iter().map(String::as_str)));
            }
            Condition::Body(property) => return property.words(),
            Condition::Created => "an object created, by `create` or by server-side apply",
            Condition::NotCreated => "an object that was there before",
            Condition::Ok => "a code from 100 to 399",
            Condition::NotOk => "a code of 400 or above",
            Condition::Did => "a code from 100 to 399 and no dry run",
            Condition::Admitted => "decision `allow`",
            Condition::Everywhere => "neither a namespace nor a name",
            Condition::NoUser => "no user name",
            Condition::NotInformer => "a request that is not a service account's informer",
            Condition::PrivilegedImpersonation => "a privileged user or group impersonated",
            Condition::NotOwnNode => "an impersonation not bound to the own node",
            Condition::ReadsCredentials => "a command that names credentials",
            Condition::Archives => "a command `tar cf - …`",
            Condition::NodePath => "a path other than metrics, health and `stats/summary`",
            Condition::NotPublicPath => {
                "a path other than health checks, version and OpenID documents"
            }
            Condition::NotClusterInfo => "anything but reading kube-public/cluster-info",
            Condition::Approves => "an approval, not of a kubelet's certificate",
        };
        fixed.to_owned()
    }

    /// Says what the request has where this condition looks.
    fn found<'r, 'a: 'r, D: Doc<'a>>(self, request: &Request<'r, 'a, D>) -> String {
        let text = |text: &[u8]| match text {
            [] => "none".to_owned(),
            text => format!("`{}`", String::from_utf8_lossy(text)),
        };
        let resource = request.resource();
        match self {
            Condition::Verb(_) => format!("verb {}", text(request.logged().verb)),
            Condition::Created | Condition::NotCreated => {
                format!(
                    "verb {} and code {}",
                    text(request.logged().verb),
                    request.code
                )
            }
            Condition::Kind(_) | Condition::NotKind(_) => {
                format!("resource {}", text(resource.resource))
            }
            Condition::Ok | Condition::NotOk | Condition::Code(_) => {
                format!("code {}", request.code)
            }
            Condition::Did if request.is_ok() => "a dry run".to_owned(),
            Condition::Did => format!("code {}", request.code),
            Condition::Decision(_) | Condition::NotDecision(_) | Condition::Admitted => {
                format!("decision {}", text(&request.decision().value()))
            }
            Condition::Namespace(_) | Condition::NotNamespace(_) => {
                format!("namespace {}", text(resource.namespace))
            }
            Condition::Name(_) | Condition::NotName(_) => format!("name {}", text(resource.name)),
            Condition::Everywhere => format!(
                "namespace {} and name {}",
                text(resource.namespace),
                text(resource.name)
            ),
            Condition::By(_) | Condition::NotBy(_) | Condition::NoUser => {
                format!("user {}", text(request.user()))
            }
            Condition::NodePath | Condition::NotPublicPath => {
                format!("path {}", text(request.uri.path))
            }
            Condition::Body(_) => match request.body().is_absent() {
                true => "no body".to_owned(),
                false => "another body".to_owned(),
            },
            Condition::PrivilegedImpersonation => {
                let user = request.impersonated();
                let name = user.map(|user| user.text_of("username").value());
                format!("impersonated user {}", text(&name.unwrap_or_default()))
            }
            Condition::Message(_) => "another message".to_owned(),
            Condition::NotInformer => "an informer".to_owned(),
            Condition::NotOwnNode => "an impersonation bound to the own node".to_owned(),
            // Commands may hold what is not to be shown.
            Condition::ReadsCredentials | Condition::Archives => "another command".to_owned(),
            Condition::NotClusterInfo => "a read of kube-public/cluster-info".to_owned(),
            Condition::Approves => "no such approval".to_owned(),
        }
    }
}

impl Actor {
    fn words(self) -> String {
        match self {
            Actor::Loopback => "the API server itself".to_owned(),
            Actor::Kcm => "the controller manager".to_owned(),
            Actor::Controllers(names) => either(names.iter().copied()),
            Actor::Node => "kubelets".to_owned(),
            Actor::NodeByName => "kubelets that name an object".to_owned(),
            Actor::ServiceAccount => "service accounts".to_owned(),
            Actor::Anonymous => "anonymous users".to_owned(),
            Actor::Human => "a person, or somebody who impersonates".to_owned(),
        }
    }
}

impl Property {
    fn words(self) -> String {
        let fixed = match self {
            Property::ClusterRole(names) => {
                return format!(
                    "a reference to cluster role {}",
                    either(names.iter().copied())
                );
            }
            Property::LongLivedToken => "`expirationSeconds` above 86400",
            Property::TokenSecret => "type kubernetes.io/service-account-token",
            Property::Everyone => {
                "a subject system:anonymous, system:unauthenticated, system:authenticated or \
                 system:serviceaccounts"
            }
            Property::WildcardRule => "a rule with `*` for verbs and resources or paths",
            Property::EscalationRule => "a rule with which more permissions are to be had",
            Property::ClientCertificate => "signer kubernetes.io/kube-apiserver-client",
            Property::PodSecurity => {
                "label pod-security.kubernetes.io/enforce set to privileged or removed"
            }
            Property::Pod(PodSpec::Privileged) => "a privileged container",
            Property::Pod(PodSpec::HostNamespace) => "`hostPID`, `hostIPC` or `hostNetwork`",
            Property::Pod(PodSpec::SensitiveHostPath) => {
                "a hostPath that is a sensitive directory or a runtime's socket"
            }
            Property::Pod(PodSpec::DangerousCapability) => {
                "an added capability such as ALL or SYS_ADMIN"
            }
            Property::Pod(PodSpec::ControllerServiceAccount) => {
                "the service account of a built-in controller"
            }
        };
        fixed.to_owned()
    }
}
