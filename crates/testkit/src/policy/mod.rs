//! Recorded answers of the API server about policies, requests, and the oracle.

pub mod oracle;

use std::io::Read;
use std::path::PathBuf;

use kube_audit_core::policy::{
    Attributes, Decision, Policy, Resource, Rule, StageSet, Syntax, Target, User,
};
use serde_json::{Value, json};

use crate::judge::ground_truth;
use crate::root;

/// Recorded answers of the real API server: the full set if `KUBE_AUDIT_GROUND_TRUTH`
/// names a directory with it, otherwise the part that is in this repository.
pub fn vectors() -> PathBuf {
    match ground_truth("only the recorded answers in the repository are checked") {
        Some(directory) => directory.join("vectors"),
        None => root().join("tests/fixtures/policy"),
    }
}

/// The lines of a file of JSON lines, which may be compressed.
pub fn json_lines(name: &str) -> Vec<Value> {
    let path = vectors().join(name);
    let compressed = path.with_file_name(format!("{name}.gz"));
    let text = if path.exists() {
        std::fs::read_to_string(&path).unwrap()
    } else {
        let file =
            std::fs::File::open(&compressed).unwrap_or_else(|e| panic!("{compressed:?}: {e}"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        text
    };
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A request that owns its strings, spelt as in the recorded answers.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name of the user, if the request has one.
    pub user: Option<String>,
    /// The groups of the user.
    pub groups: Vec<String>,
    /// The verb in lower case, such as `get`.
    pub verb: String,
    /// Group, resource, subresource, namespace, name.
    pub resource: Option<[String; 5]>,
    /// The path of a request for something that is not a resource.
    pub path: Vec<u8>,
}

impl Request {
    /// Reads a request as the recordings spell it.
    pub fn from_json(attrs: &Value) -> Request {
        let string = |key: &str| attrs[key].as_str().unwrap_or_default().to_owned();
        let resource = ["apiGroup", "resource", "subresource", "namespace", "name"].map(string);
        Request {
            user: (attrs["hasUser"] == true).then(|| string("user")),
            groups: strings(&attrs["groups"]),
            verb: string("verb"),
            resource: (attrs["isResource"] == true).then_some(resource),
            // Bytes that are no UTF-8 are recorded in hexadecimal.
            path: match attrs["pathHex"].as_str() {
                Some(hex) => (0..hex.len())
                    .step_by(2)
                    .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                    .collect(),
                None => string("path").into_bytes(),
            },
        }
    }

    /// Lends the attributes for one call.
    pub fn with<T>(&self, call: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let groups: Vec<&[u8]> = self.groups.iter().map(|group| group.as_bytes()).collect();
        call(&self.attributes(&groups))
    }

    /// The attributes, with the groups as the caller keeps them.
    pub fn attributes<'a>(&'a self, groups: &'a [&'a [u8]]) -> Attributes<'a> {
        Attributes {
            user: self.user.as_ref().map(|name| User {
                name: name.as_bytes(),
                groups,
            }),
            verb: self.verb.as_bytes(),
            target: match &self.resource {
                Some(parts) => {
                    let [group, resource, subresource, namespace, name] =
                        parts.each_ref().map(|part| part.as_bytes());
                    Target::Resource(Resource {
                        group,
                        resource,
                        subresource,
                        namespace,
                        name,
                    })
                }
                None => Target::NonResource { path: &self.path },
            },
        }
    }
}

/// The strings in a list of JSON.
pub fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .map(|item| item.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// A decision as the recorded answers spell it.
pub fn decision_json(decision: &Decision) -> Value {
    let rule = decision.rule.map_or(-1, i64::from);
    let stages = sorted_stages(decision.omit_stages);
    json!([
        rule,
        decision.level.name(),
        stages,
        decision.omit_managed_fields
    ])
}

/// The names of the stages in alphabetical order.
pub fn sorted_stages(stages: StageSet) -> Vec<&'static str> {
    let mut names: Vec<_> = stages.iter().map(|stage| stage.name()).collect();
    names.sort_unstable();
    names
}

/// Reads a policy that is valid.
pub fn policy(value: &Value) -> Policy {
    let mut value = value.clone();
    let id = value
        .as_object_mut()
        .unwrap()
        .remove("id")
        .unwrap_or_default();
    let parsed = Policy::parse("test", value.to_string().as_bytes(), Syntax::File);
    parsed
        .unwrap_or_else(|error| panic!("{id}: {error}"))
        .policy
}

/// The model in the words of the API, without what is empty; stages are sorted.
pub fn policy_json(policy: &Policy) -> Value {
    let rules: Vec<Value> = policy.rules().iter().map(rule_json).collect();
    compact(json!({
        "rules": rules,
        "omitStages": sorted_stages(policy.omit_stages()),
        "omitManagedFields": policy.omit_managed_fields(),
    }))
}

fn rule_json(rule: &Rule) -> Value {
    let resources: Vec<Value> = rule
        .resources
        .iter()
        .map(|entry| {
            compact(json!({
                "group": entry.group,
                "resources": entry.resources,
                "resourceNames": entry.resource_names,
            }))
        })
        .collect();
    let mut out = compact(json!({
        "level": rule.level.name(),
        "users": rule.users,
        "userGroups": rule.user_groups,
        "verbs": rule.verbs,
        "resources": resources,
        "namespaces": rule.namespaces,
        "nonResourceURLs": rule.non_resource_urls,
        "omitStages": sorted_stages(rule.omit_stages),
    }));
    if let Some(omit) = rule.omit_managed_fields {
        out["omitManagedFields"] = omit.into();
    }
    out
}

/// Drops fields that are false, empty or nothing, as the API server's own JSON does.
fn compact(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| match value {
            Value::Array(items) => !items.is_empty(),
            Value::String(text) => !text.is_empty(),
            Value::Bool(flag) => *flag,
            _ => true,
        });
    }
    value
}

/// What the API server made of a policy, comparable with [`policy_json`].
pub fn normalized(value: &Value) -> Value {
    let mut value = value.clone();
    let map = value.as_object_mut().unwrap();
    for meaningless in ["id", "kind", "apiVersion", "metadata"] {
        map.remove(meaningless);
    }
    let sort = |map: &mut serde_json::Map<String, Value>| {
        if let Some(stages) = map.get_mut("omitStages").and_then(Value::as_array_mut) {
            stages.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            stages.dedup();
        }
    };
    sort(map);
    for rule in map["rules"].as_array_mut().unwrap() {
        sort(rule.as_object_mut().unwrap());
    }
    value
}
