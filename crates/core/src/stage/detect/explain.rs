//! Detections in words: which fire, and which condition kept the near ones from it.

use super::catalog::{Builtin, Case};
use super::condition::{Condition, ESCALATION, Property};
use super::facts::Facts;
use super::file::Own;
use super::kind::{Kinds, Subresources, Verbs};
use super::lexicon::Words;
use super::pods::PodSpec;
use super::request::{Glance, Request, Source};
use super::uri::UriBuffer;
use super::{Answer, Definition, Detection, Detector, Severity, answer_of};
use crate::doc::AnyDoc;
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
    pub fn explain<'a>(
        &self,
        doc: AnyDoc<'a>,
        event: Event<'_, 'a>,
        scratch: &Scratch,
    ) -> Option<Vec<Explanation>> {
        let stage = event.stage()?;
        event.logged_attributes(doc.bytes(), scratch, |logged| {
            let mut uri = UriBuffer::default();
            let source = Source {
                doc,
                event,
                members: &scratch.members,
            };
            let glance = Glance::at(source, logged);
            let mut request = Request::new(source, stage, logged, glance);
            request.read_actor();
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
    fn verdict(&self, request: &Request<'_, '_>, ignored: bool) -> Option<Verdict> {
        let answer = match &self.definition {
            Definition::Builtin(builtin) => {
                let cases = builtin.cases.iter();
                answer_of(cases.filter(|case| case.is_open_to(request)), request)
            }
            Definition::Own(own) if own.matches(request) => Answer::Fires,
            Definition::Own(_) => Answer::Silent,
        };
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
            let clauses = case.clauses().into_iter().map(|clause| clause.words());
            let words: Vec<String> = case.target().into_iter().chain(clauses).collect();
            words.join("; ")
        })
    }

    /// Returns the failing clause of the case that came furthest, in words.
    fn failure(&self, request: &Request<'_, '_>) -> Option<String> {
        let cases = self.cases.iter().filter(|case| case.concerns(request));
        let failures = cases.filter_map(|case| {
            let mut clauses = case.clauses().into_iter().enumerate();
            clauses.find(|(_, clause)| !clause.holds(request))
        });
        let (_, clause) = failures.max_by_key(|(number, _)| *number)?;
        let found = clause.found(request);
        Some(format!("{found}; it needs {}", clause.words()))
    }
}

/// One thing that a case asks for.
#[derive(Clone, Copy)]
enum Clause {
    Verb(Verbs),
    Fact(Facts),
    /// None of these facts.
    Not(Facts),
    Condition(Condition),
}

impl Case {
    /// Says whether target, verb and facts fit.
    fn is_open_to(&self, request: &Request<'_, '_>) -> bool {
        self.is_on(request.kind, request.subresource)
            && self.verbs.meets(request.verb)
            && self.fits(request.facts)
    }

    /// Says whether the case is about such requests. Where it is about all resources, what
    /// else makes it rare counts.
    fn concerns(&self, request: &Request<'_, '_>) -> bool {
        let rare = !self.is_about_any()
            || self.verbs.meets(request.verb) && request.facts.has(self.rare_needs());
        self.is_on(request.kind, request.subresource) && rare
    }

    /// Says whether the case is about resources of all kinds.
    pub(super) fn is_about_any(&self) -> bool {
        self.kinds.meets(Kinds::OTHER)
    }

    fn rare_needs(&self) -> Facts {
        self.needs.without(Facts::ALL.without(Facts::RARE))
    }

    /// Names the requests that it is about.
    fn target(&self) -> Option<String> {
        if self.is_about_any() {
            let others = Kinds::ANY_RESOURCE.without(self.kinds).each();
            let others: Vec<&str> = others.map(Kinds::name).collect();
            let words = format!("any resource but {}", others.join(", "));
            return (!others.is_empty()).then_some(words);
        }
        let names = self.kinds.each().flat_map(|kind| {
            let subresources = match self.subresources {
                Subresources::ALL => Subresources::ITSELF,
                subresources => subresources,
            };
            subresources
                .each()
                .map(move |subresource| match subresource {
                    Subresources::ITSELF => kind.name().to_owned(),
                    subresource => format!("{}/{}", kind.name(), subresource.name()),
                })
        });
        Some(either(names))
    }

    /// Lists what it asks for, in the order in which failures are looked for.
    fn clauses(&self) -> Vec<Clause> {
        let mut clauses = Vec::new();
        // The fact that an object was made says all about the verb.
        if self.verbs != Verbs::ALL && !self.needs.has(Facts::CREATED) {
            clauses.push(Clause::Verb(self.verbs));
        }
        let excluded = self.excludes.without(Facts::ACTORS);
        clauses.extend(self.needs.each().map(Clause::Fact));
        clauses.extend(excluded.each().map(Clause::Not));
        let actors = self.excludes.without(excluded);
        if actors != Facts::NONE {
            clauses.push(Clause::Not(actors));
        }
        clauses.extend(self.conditions.iter().copied().map(Clause::Condition));
        clauses
    }
}

impl Clause {
    fn holds(self, request: &Request<'_, '_>) -> bool {
        match self {
            Clause::Verb(verbs) => verbs.meets(request.verb),
            Clause::Fact(fact) => request.facts.has(fact),
            Clause::Not(facts) => !request.facts.meets(facts),
            Clause::Condition(condition) => condition.holds(request),
        }
    }

    /// Says what it asks for; reads after "it needs".
    fn words(self) -> String {
        match self {
            Clause::Verb(verbs) => format!("verb {}", either(verbs.each().map(Verbs::name))),
            Clause::Fact(Facts::ANONYMOUS) => "a request without credentials".to_owned(),
            Clause::Fact(fact) => fact.name().to_owned(),
            Clause::Not(Facts::OK) => "a code of 400 or above".to_owned(),
            Clause::Not(Facts::DRY_RUN) => "no dry run".to_owned(),
            Clause::Not(Facts::CREATED) => "an object that was there before".to_owned(),
            Clause::Not(actors) => {
                format!("anybody but {}", either(actors.each().map(Facts::name)))
            }
            Clause::Condition(condition) => condition.words(),
        }
    }

    /// Says what the request has where this clause looks.
    fn found(self, request: &Request<'_, '_>) -> String {
        match self {
            Clause::Verb(_) => format!("verb {}", shown(request.logged.verb)),
            Clause::Fact(Facts::OK | Facts::UNAUTHENTICATED | Facts::FORBIDDEN)
            | Clause::Not(Facts::OK) => format!("code {}", request.code),
            Clause::Fact(Facts::CREATED) | Clause::Not(Facts::CREATED) => {
                format!(
                    "verb {} and code {}",
                    shown(request.logged.verb),
                    request.code
                )
            }
            Clause::Not(Facts::DRY_RUN) => "a dry run".to_owned(),
            Clause::Fact(Facts::CLUSTER_WIDE) => format!(
                "namespace {} and name {}",
                shown(request.resource.namespace),
                shown(request.resource.name)
            ),
            Clause::Fact(_) | Clause::Not(_) => format!("user {}", shown(request.user())),
            Clause::Condition(condition) => condition.found(request),
        }
    }
}

impl Own {
    fn failure(&self, request: &Request<'_, '_>) -> Option<String> {
        if !self.selectors.concerns(request.logged) {
            return None;
        }
        if let Some(selector) = self.selectors.mismatch(request.logged) {
            return Some(format!("its `{}` does not match", selector.name()));
        }
        if request.facts.has(Facts::DRY_RUN) {
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
fn either(words: impl IntoIterator<Item = impl Into<String>>) -> String {
    let words: Vec<String> = words.into_iter().map(Into::into).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(", "),
    }
}

fn any_of(names: Words) -> String {
    either(names.iter().map(String::from_utf8_lossy))
}

/// Quotes a text of the request.
fn shown(text: &[u8]) -> String {
    match text {
        [] => "none".to_owned(),
        text => format!("`{}`", String::from_utf8_lossy(text)),
    }
}

impl Condition {
    /// Says what it asks for; reads after "it needs".
    pub(super) fn words(self) -> String {
        let fixed = match self {
            Condition::Kind(kinds) => return either(kinds.each().map(Kinds::name)),
            Condition::Namespace(names) => return format!("namespace {}", any_of(names)),
            Condition::NotNamespace(names) => {
                return format!("a namespace other than {}", any_of(names));
            }
            Condition::Name(names) => return format!("name {}", any_of(names)),
            Condition::NotName(names) => return format!("a name other than {}", any_of(names)),
            Condition::EscalationMessage => return format!("a message with “{ESCALATION}”"),
            Condition::Body(property) => return property.words(),
            Condition::Allowed | Condition::Admitted => "decision `allow`",
            Condition::NotAllowed => "a decision other than `allow`",
            Condition::Refused => "decision `forbid`",
            Condition::NotRefused => "a decision other than `forbid`",
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
    fn found(self, request: &Request<'_, '_>) -> String {
        let resource = request.resource;
        match self {
            Condition::Kind(_) => format!("resource {}", shown(resource.resource)),
            Condition::Allowed
            | Condition::NotAllowed
            | Condition::Refused
            | Condition::NotRefused
            | Condition::Admitted => {
                format!("decision {}", shown(&request.decision().value()))
            }
            Condition::Namespace(_) | Condition::NotNamespace(_) => {
                format!("namespace {}", shown(resource.namespace))
            }
            Condition::Name(_) | Condition::NotName(_) => format!("name {}", shown(resource.name)),
            Condition::NodePath | Condition::NotPublicPath => {
                format!("path {}", shown(request.uri.path))
            }
            Condition::Body(_) => match request.body().is_absent() {
                true => "no body".to_owned(),
                false => "another body".to_owned(),
            },
            Condition::PrivilegedImpersonation => {
                let user = request.impersonated();
                let name = user.map(|user| user.text_of("username").value());
                format!("impersonated user {}", shown(&name.unwrap_or_default()))
            }
            Condition::EscalationMessage => "another message".to_owned(),
            Condition::NotInformer => "an informer".to_owned(),
            Condition::NotOwnNode => "an impersonation bound to the own node".to_owned(),
            // Commands may hold what is not to be shown.
            Condition::ReadsCredentials | Condition::Archives => "another command".to_owned(),
            Condition::NotClusterInfo => "a read of kube-public/cluster-info".to_owned(),
            Condition::Approves => "no such approval".to_owned(),
        }
    }
}

impl Property {
    fn words(self) -> String {
        let fixed = match self {
            Property::ClusterRole(names) => {
                return format!("a reference to cluster role {}", any_of(names));
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
            Property::ControllerAccount => "the service account of a built-in controller",
        };
        fixed.to_owned()
    }
}
