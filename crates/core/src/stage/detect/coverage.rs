//! What detections can see of what an API server logs by its policy.
//!
//! Requests are made up that a detection is about, and the policy is asked how it logs them.

use super::catalog::{Builtin, Case};
use super::condition::Condition;
use super::facts::Facts;
use super::kind::{Kinds, Subresources, Verbs};
use super::{Definition, Detector, Severity};
use crate::policy::{Attributes, Level, Resource, Ruleset, Stage, Target, User};

/// Requests that a detection is about and cannot decide on, under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlindSpot {
    /// Id of the detection.
    pub id: String,
    /// Its severity.
    pub severity: Severity,
    /// The requests, in the order of the detection's cases; at least one.
    pub missed: Vec<Missed>,
    /// The number of requests that were tried.
    pub tried: usize,
}

/// A request that a detection cannot decide on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The request in words: `create pods/exec`.
    pub request: String,
    /// The level at which it is logged; `None` if the event that counts is not logged.
    pub level: Level,
    /// The level that is needed.
    pub needs: Level,
}

impl Detector {
    /// Finds the enabled built-in detections that cannot see all that they are about in
    /// what a server with this policy logs.
    pub fn blind_spots(&self, ruleset: &Ruleset) -> Vec<BlindSpot> {
        let spots = self.detections.iter().filter_map(|detection| {
            let Definition::Builtin(builtin) = detection.definition else {
                return None;
            };
            let mut samples: Vec<Missed> = Vec::new();
            let mut tried = 0usize;
            for case in builtin.cases {
                case.samples(builtin, &mut |sample, needs| {
                    tried = tried.saturating_add(1);
                    let level = sample.level(ruleset);
                    let request = sample.words();
                    let known = samples.iter().any(|missed| missed.request == request);
                    if level < needs && !known {
                        samples.push(Missed {
                            request,
                            level,
                            needs,
                        });
                    }
                });
            }
            (!samples.is_empty()).then(|| BlindSpot {
                id: builtin.id.to_owned(),
                severity: detection.severity,
                missed: samples,
                tried,
            })
        });
        spots.collect()
    }
}

impl BlindSpot {
    /// Says whether the detection sees nothing at all.
    pub fn is_total(&self) -> bool {
        self.missed.len() >= self.tried
    }
}

/// A request that is made up.
struct Sample {
    user: &'static str,
    group: &'static str,
    verb: Verbs,
    kind: Kinds,
    subresource: Subresources,
    namespace: &'static str,
    name: String,
    stage: Stage,
}

impl Sample {
    /// The level at which the event that counts is logged.
    fn level(&self, ruleset: &Ruleset) -> Level {
        let (group, resource) = self.kind.address();
        let groups = [self.group.as_bytes()];
        let user = (!self.user.is_empty()).then_some(User {
            name: self.user.as_bytes(),
            groups: &groups,
        });
        let decision = ruleset.decide(&Attributes {
            user,
            verb: self.verb.name().as_bytes(),
            target: Target::Resource(Resource {
                group,
                resource,
                subresource: self.subresource.name().as_bytes(),
                namespace: self.namespace.as_bytes(),
                name: self.name.as_bytes(),
            }),
        });
        match decision.omit_stages.contains(self.stage) {
            true => Level::None,
            false => decision.level,
        }
    }

    fn words(&self) -> String {
        let slash = match self.subresource {
            Subresources::ITSELF => "",
            _ => "/",
        };
        let mut words = format!(
            "{} {}{slash}{}",
            self.verb.name(),
            self.kind.name(),
            self.subresource.name()
        );
        if self.user != PERSON {
            words.push_str(match self.user {
                "" => " without valid credentials",
                _ => " without credentials",
            });
        }
        words
    }
}

/// Somebody who no policy names.
const PERSON: &str = "somebody";
const PEOPLE: &str = "system:authenticated";

impl Case {
    /// Makes requests up that the case is about, and names the level that it needs.
    fn samples(&self, builtin: &Builtin, visit: &mut dyn FnMut(Sample, Level)) {
        let needs_body = self
            .conditions
            .iter()
            .any(|condition| condition.needs_body());
        let needs = match needs_body {
            true => builtin.level,
            false => Level::Metadata,
        };
        // Where any resource would do, two stand for all.
        let kinds = match self.is_about_any() {
            true => Kinds::PODS.and(Kinds::SECRETS),
            false => self.kinds,
        };
        let subresources = match self.subresources {
            Subresources::ALL => Subresources::ITSELF,
            subresources => subresources,
        };
        for kind in kinds.each() {
            for subresource in subresources.each() {
                for verb in self.sample_verbs().each() {
                    let mut sample = Sample {
                        user: PERSON,
                        group: PEOPLE,
                        verb,
                        kind,
                        subresource,
                        namespace: "somewhere",
                        name: "something".to_owned(),
                        stage: Stage::ResponseComplete,
                    };
                    self.fill(&mut sample);
                    visit(sample, needs);
                }
            }
        }
    }

    /// The verbs of requests that the case is about.
    fn sample_verbs(&self) -> Verbs {
        match self.verbs {
            Verbs::ALL => Verbs::GET,
            // Hardly any `patch` makes an object.
            _ if self.needs.has(Facts::CREATED) => Verbs::CREATE,
            verbs => verbs,
        }
    }

    /// Sets what the case's conditions ask for.
    fn fill(&self, sample: &mut Sample) {
        for condition in self.conditions {
            match condition {
                Condition::Namespace(names) => sample.namespace = names.first(),
                Condition::Name(names) => sample.name = names.first().replace('*', "x"),
                _ => {}
            }
        }
        if self.needs.has(Facts::CLUSTER_WIDE) {
            sample.namespace = "";
            sample.name.clear();
        }
        if Verbs::WATCH.meets(sample.verb) || Subresources::LONG_RUNNING.meets(sample.subresource) {
            sample.stage = Stage::ResponseStarted;
        }
        if self.needs.has(Facts::NAMELESS) {
            sample.user = "";
        }
        if self.needs.has(Facts::ANONYMOUS) {
            sample.user = "system:anonymous";
            sample.group = "system:unauthenticated";
        }
        // It comes as this stage only.
        if self.needs.has(Facts::UNAUTHENTICATED) {
            sample.stage = Stage::ResponseStarted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Syntax};
    use crate::stage::detect::{Detections, DetectorSettings, Selection};

    fn spots(policy: &str) -> Vec<BlindSpot> {
        let policy = Policy::parse("p", policy.as_bytes(), Syntax::Inline);
        let ruleset = Ruleset::compile(&policy.unwrap().policy);
        let settings = DetectorSettings::default();
        let detector = Detector::new(&Selection::all(), &Detections::default(), settings);
        detector.unwrap().blind_spots(&ruleset)
    }

    fn total(policy: &str) -> Vec<String> {
        let spots = spots(policy).into_iter().filter(BlindSpot::is_total);
        spots.map(|spot| spot.id).collect()
    }

    #[test]
    fn a_server_that_logs_all_leaves_nothing_to_guess() {
        assert_eq!(spots("{rules: [{level: Request}]}"), []);
    }

    #[test]
    fn at_metadata_those_with_bodies_are_blind() {
        let blind = total("{rules: [{level: Metadata}]}");
        for id in ["role-bound-to-everyone", "privileged-pod", "wildcard-role"] {
            assert!(blind.iter().any(|other| other == id), "{id}: {blind:?}");
        }
        assert!(!blind.contains(&"exec-into-pod".to_owned()));
        assert_eq!(blind.len(), 12, "{blind:?}");
        // The name is enough for a part of it.
        let spots = spots("{rules: [{level: Metadata}]}");
        let bound = spots
            .iter()
            .find(|spot| spot.id == "cluster-admin-bound")
            .unwrap();
        assert!(!bound.is_total());
        assert_eq!(
            bound.missed[0],
            Missed {
                request: "create rolebindings".to_owned(),
                level: Level::Metadata,
                needs: Level::Request,
            }
        );
    }

    #[test]
    fn an_omitted_stage_blinds_what_is_judged_by_it() {
        let blind = total("{omitStages: [ResponseStarted], rules: [{level: Request}]}");
        for id in ["exec-into-pod", "node-proxy", "authentication-failed"] {
            assert!(blind.iter().any(|other| other == id), "{id}: {blind:?}");
        }
        assert!(!blind.contains(&"privileged-pod".to_owned()));
    }

    #[test]
    fn what_is_not_logged_is_not_seen() {
        let policy =
            "{rules: [{level: None, resources: [{resources: [secrets]}]}, {level: Request}]}";
        let blind = total(policy);
        assert!(
            blind.contains(&"secrets-enumerated".to_owned()),
            "{blind:?}"
        );
        assert!(!blind.contains(&"access-denied".to_owned()));
    }
}
