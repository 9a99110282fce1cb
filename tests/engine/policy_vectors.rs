//! Recorded answers of k8s.io/apiserver 0.36.4: its policy reader and its evaluator.

use kube_audit_core::policy::{Policy, Preset, ProblemKind, Rule, Ruleset, Syntax};
use kube_audit_testkit::judge::ground_truth;
use kube_audit_testkit::policy::{
    Request, decision_json, json_lines, normalized, oracle, policy, policy_json,
};
use serde_json::{Value, json};

#[test]
fn decisions() {
    let policies = json_lines("policies.jsonl");
    let requests: Vec<Request> = json_lines("attrs.jsonl")
        .iter()
        .map(|line| Request::from_json(&line["attrs"]))
        .collect();
    let mut count = 0;
    for expected in json_lines("expected.jsonl") {
        let value = policies
            .iter()
            .find(|policy| policy["id"] == expected["policy"])
            .unwrap();
        let policy = policy(value);
        let ruleset = Ruleset::compile(&policy);
        let shadowed: Vec<usize> = policy.shadowed().iter().map(|shadow| shadow.rule).collect();
        let results = expected["results"].as_array().unwrap();
        assert_eq!(results.len(), requests.len());
        for (request, expected) in requests.iter().zip(results) {
            let decision = request.with(|attributes| ruleset.decide(attributes));
            assert_eq!(
                decision_json(&decision),
                *expected,
                "{} {request:?}",
                value["id"]
            );
            assert_eq!(
                oracle::decide(value, request),
                *expected,
                "{} {request:?}",
                value["id"]
            );
            // The explanation of a decision: each earlier rule fails, the one that decides does not.
            let fits = |rule: &Rule| {
                request
                    .with(|attributes| rule.mismatch(attributes))
                    .is_none()
            };
            let decides = policy.rules().iter().position(fits);
            assert_eq!(decides, decision.rule.map(|rule| rule as usize));
            assert!(
                decides.is_none_or(|rule| !shadowed.contains(&rule)),
                "{}: rule {decides:?} decides on {request:?}",
                value["id"]
            );
            count += 1;
        }
    }
    println!("{count} decisions agree");
}

#[test]
fn verdicts_on_texts() {
    let texts = json_lines("invalid.jsonl");
    for case in &texts {
        let id = &case["id"];
        let text = case["text"].as_str().unwrap();
        let accepted = case["accepted"] == true || case["accepted_1_23"] == true;
        match Policy::parse("policy.yaml", text.as_bytes(), Syntax::File) {
            Ok(parsed) => {
                assert!(accepted, "{id}: accepted");
                if case["accepted"] == true {
                    assert_eq!(
                        policy_json(&parsed.policy),
                        normalized(&case["normalized"]),
                        "{id}"
                    );
                    let warned = !case["strictWarning"].is_null();
                    assert_eq!(
                        !parsed.warnings.is_empty(),
                        warned,
                        "{id}: {:?}",
                        parsed.warnings
                    );
                }
            }
            Err(error) => {
                assert!(!accepted, "{id}: {error}");
                let problems = error.problems();
                let kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
                match case["stage"].as_str().unwrap() {
                    "validation" => {
                        let found: Vec<Value> = problems
                            .iter()
                            .map(|problem| json!([problem.field, api_kind(problem.kind)]))
                            .collect();
                        let expected = case["fieldErrors"].as_array().unwrap().iter();
                        let expected: Vec<Value> = expected
                            .map(|error| json!([error["field"], error["type"]]))
                            .collect();
                        assert_eq!(found, expected, "{id}: {error}");
                    }
                    "empty" => assert_eq!(kinds, [ProblemKind::NoRules], "{id}"),
                    "version" => assert_eq!(kinds, [ProblemKind::Version], "{id}"),
                    "decode" => assert!(
                        kinds.iter().all(|kind| {
                            use ProblemKind::{Syntax, Type, Version};
                            matches!(kind, Syntax | Type | Version)
                        }),
                        "{id}: {error}"
                    ),
                    stage => panic!("{id}: unknown stage {stage}"),
                }
            }
        }
    }
    println!("{} verdicts agree", texts.len());
}

fn api_kind(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Required => "FieldValueRequired",
        ProblemKind::NotSupported => "FieldValueNotSupported",
        ProblemKind::Invalid => "FieldValueInvalid",
        _ => "not a field error",
    }
}

#[test]
fn presets_mean_what_their_models_mean() {
    let policies = json_lines("policies.jsonl");
    for (preset, id) in [
        (Preset::Metadata, "p-real-kkp-metadata"),
        (Preset::Minimal, "p-real-kkp-minimal"),
        (Preset::Recommended, "p-real-kkp-recommended"),
        (Preset::Gce, "p-real-gce-gke"),
        (Preset::Giantswarm, "p-real-giantswarm"),
    ] {
        let model = policies.iter().find(|policy| policy["id"] == id).unwrap();
        assert_eq!(preset.policy().unwrap(), policy(model), "{id}");
    }
}

#[test]
fn presets_equal_the_policies_of_the_recorded_logs() {
    let Some(truth) = ground_truth("presets are not compared") else {
        return;
    };
    let directory = truth.join("corpus/apiserver");
    for (preset, file) in [
        (Preset::Metadata, "kkp-metadata"),
        (Preset::Minimal, "kkp-minimal"),
        (Preset::Recommended, "kkp-recommended"),
        (Preset::Giantswarm, "giantswarm"),
    ] {
        let text = std::fs::read(directory.join(format!("{file}.policy.yaml"))).unwrap();
        let parsed = Policy::parse(file, &text, Syntax::File).unwrap();
        assert_eq!(preset.policy().unwrap(), parsed.policy, "{file}");
    }
}
