//! How long a decision takes, beside a plain linear scan over the same rules.
//!
//! `cargo bench --bench decide`. Prints nanoseconds per decision, one thread,
//! best of several rounds over recorded requests. Asserts nothing about time.
//! With `KUBE_AUDIT_GROUND_TRUTH` set, the bench policies found there are used as well.

#![allow(clippy::unwrap_used, reason = "a bench that lacks its input may stop")]

use std::hint::black_box;
use std::time::Instant;

use kube_audit_core::policy::{
    Attributes, GroupResources, Policy, Preset, Rule, Ruleset, Syntax, Target,
};
use kube_audit_testkit::policy::{Request, json_lines, policy, vectors};
use serde_json::{Value, json};

const ROUNDS: usize = 40;

fn main() {
    let mut requests: Vec<Request> = json_lines("attrs.jsonl")
        .iter()
        .map(|line| Request::from_json(&line["attrs"]))
        .collect();
    // Made up, and beyond the simple scan below.
    requests.retain(|request| request.resource.iter().all(|parts| !parts[1].contains('/')));
    let groups: Vec<Vec<&[u8]>> = requests
        .iter()
        .map(|request| {
            request
                .groups
                .iter()
                .map(|group| group.as_bytes())
                .collect()
        })
        .collect();
    let attributes: Vec<Attributes<'_>> = requests
        .iter()
        .zip(&groups)
        .map(|(request, groups)| request.attributes(groups))
        .collect();

    println!(
        "{:<28} {:>6} {:>10} {:>12} {:>8}",
        "policy", "rules", "ns", "linear ns", "ratio"
    );
    for (name, policy) in policies() {
        let ruleset = Ruleset::compile(&policy);
        for request in &attributes {
            let found = ruleset.decide(request).rule.map(|rule| rule as usize);
            assert_eq!(found, scan(&policy, request), "{name} {request:?}");
        }
        let indexed = nanoseconds(&attributes, |request| {
            ruleset.decide(request).rule.is_some()
        });
        let linear = nanoseconds(&attributes, |request| scan(&policy, request).is_some());
        let rules = policy.rules().len();
        println!(
            "{name:<28} {rules:>6} {indexed:>10.1} {linear:>12.1} {:>8.1}",
            linear / indexed
        );
    }
}

fn nanoseconds<'a>(requests: &[Attributes<'a>], decide: impl Fn(&Attributes<'a>) -> bool) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for request in requests {
                black_box(decide(black_box(request)));
            }
            start.elapsed().as_nanos() as f64 / requests.len() as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn policies() -> Vec<(String, Policy)> {
    let mut policies: Vec<(String, Policy)> = Preset::ALL
        .into_iter()
        .map(|preset| (preset.name().to_owned(), preset.policy().unwrap()))
        .collect();
    for rules in [10, 100, 1000, 4000] {
        policies.push((format!("tenants-{rules}"), policy(&tenants(rules))));
    }
    if let Ok(files) = std::fs::read_dir(vectors().join("bench")) {
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        for path in paths
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
        {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let parsed = Policy::parse(&name, &std::fs::read(path).unwrap(), Syntax::File).unwrap();
            policies.push((name, parsed.policy));
        }
    }
    policies
}

/// A policy as it grows with the tenants of a cluster, one rule for each, and a last one for the rest.
fn tenants(rules: usize) -> Value {
    let groups = [
        "",
        "apps",
        "batch",
        "networking.k8s.io",
        "rbac.authorization.k8s.io",
    ];
    let resources = [
        "pods",
        "secrets",
        "configmaps",
        "services",
        "deployments",
        "jobs",
        "roles",
    ];
    let verbs = [
        "create", "update", "patch", "delete", "get", "list", "watch",
    ];
    let rule = |i: usize| {
        let entry = json!({
            "group": groups[i % groups.len()],
            "resources": [resources[i % resources.len()], resources[(i / 7 + 3) % resources.len()]],
        });
        match i % 6 {
            0 => {
                json!({"level": "Metadata", "userGroups": [format!("oidc:tenant-{i}")], "verbs": &verbs[..4]})
            }
            1 => {
                json!({"level": "Request", "users": [format!("system:serviceaccount:tenant-{i}:deployer")],
                        "verbs": [verbs[i % 7], verbs[(i + 2) % 7]], "resources": [entry]})
            }
            2 => {
                json!({"level": "None", "namespaces": [format!("tenant-{i}")], "resources": [entry]})
            }
            3 => {
                json!({"level": "None", "users": [format!("system:serviceaccount:tenant-{i}:monitor")]})
            }
            4 => {
                json!({"level": "None", "nonResourceURLs": [format!("/tenant-{i}"), format!("/tenant-{i}/*")]})
            }
            _ => json!({"level": "RequestResponse",
                        "resources": [{"group": format!("tenant-{i}.example.com"), "resources": ["widgets", "*/status"]}]}),
        }
    };
    let mut list: Vec<Value> = (0..rules - 1).map(rule).collect();
    list.push(json!({"level": "Metadata"}));
    json!({"apiVersion": "audit.k8s.io/v1", "rules": list})
}

/// The plain form: every rule in turn, every selector in turn.
fn scan(policy: &Policy, request: &Attributes<'_>) -> Option<usize> {
    policy
        .rules()
        .iter()
        .position(|rule| matches(rule, request))
}

fn matches(rule: &Rule, request: &Attributes<'_>) -> bool {
    let listed = |list: &[String], value: &[u8]| list.iter().any(|item| item.as_bytes() == value);
    if !rule.users.is_empty()
        && !request
            .user
            .is_some_and(|user| listed(&rule.users, user.name))
    {
        return false;
    }
    if !rule.user_groups.is_empty() {
        let groups = request.user.map(|user| user.groups).unwrap_or_default();
        if !groups.iter().any(|group| listed(&rule.user_groups, group)) {
            return false;
        }
    }
    if !rule.verbs.is_empty() && !listed(&rule.verbs, request.verb) {
        return false;
    }
    match request.target {
        Target::Resource(resource) => {
            let entry = |entry: &GroupResources| {
                if entry.group != "*" && entry.group.as_bytes() != resource.group {
                    return false;
                }
                let names = &entry.resource_names;
                if entry.resources.is_empty() {
                    return true;
                }
                if !names.is_empty() && !listed(names, resource.name) {
                    return false;
                }
                entry.resources.iter().any(|pattern| {
                    let (head, tail) = pattern.split_once('/').unwrap_or((pattern, ""));
                    pattern == "*"
                        || (head.as_bytes() == resource.resource
                            && (tail == "*" || tail.as_bytes() == resource.subresource))
                        || (head == "*"
                            && !resource.subresource.is_empty()
                            && tail.as_bytes() == resource.subresource)
                })
            };
            rule.non_resource_urls.is_empty()
                && (rule.namespaces.is_empty() || listed(&rule.namespaces, resource.namespace))
                && (rule.resources.is_empty() || rule.resources.iter().any(entry))
        }
        Target::NonResource { path } => {
            let url = |url: &String| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix.as_bytes()),
                None => url.as_bytes() == path,
            };
            rule.resources.is_empty()
                && rule.namespaces.is_empty()
                && (rule.non_resource_urls.is_empty() || rule.non_resource_urls.iter().any(url))
        }
    }
}
