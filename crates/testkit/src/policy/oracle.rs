//! Policies the slow and obvious way: JSON as it is, one rule after the other,
//! one comparison after the other. Shares no code with the product.

use serde_json::{Value, json};

use super::Request;

/// `[rule or -1, level, sorted omitStages, omitManagedFields]`
pub fn decide(policy: &Value, request: &Request) -> Value {
    for (i, rule) in list(&policy["rules"]).iter().enumerate() {
        if rule_matches(rule, request) {
            let omit = match &rule["omitManagedFields"] {
                Value::Null => policy["omitManagedFields"] == true,
                own => own == true,
            };
            let stages = [list(&policy["omitStages"]), list(&rule["omitStages"])].concat();
            return json!([i, rule["level"], sorted(stages), omit]);
        }
    }
    let stages = list(&policy["omitStages"]).to_vec();
    json!([
        -1,
        "None",
        sorted(stages),
        policy["omitManagedFields"] == true
    ])
}

/// Tells if a rule is about a request.
pub fn rule_matches(rule: &Value, request: &Request) -> bool {
    let users = list(&rule["users"]);
    if !users.is_empty() && !request.user.as_ref().is_some_and(|user| has(users, user)) {
        return false;
    }
    let groups = list(&rule["userGroups"]);
    let in_group = request.user.is_some() && request.groups.iter().any(|group| has(groups, group));
    if !groups.is_empty() && !in_group {
        return false;
    }
    let verbs = list(&rule["verbs"]);
    if !verbs.is_empty() && !has(verbs, &request.verb) {
        return false;
    }
    let namespaces = list(&rule["namespaces"]);
    let resources = list(&rule["resources"]);
    if !namespaces.is_empty() || !resources.is_empty() {
        let Some(parts) = &request.resource else {
            return false;
        };
        if !namespaces.is_empty() && !has(namespaces, &parts[3]) {
            return false;
        }
        return resources.is_empty() || resources.iter().any(|entry| entry_matches(entry, parts));
    }
    let urls = list(&rule["nonResourceURLs"]);
    if !urls.is_empty() {
        return request.resource.is_none()
            && urls.iter().any(|url| url_matches(url, &request.path));
    }
    true
}

fn entry_matches(entry: &Value, [group, resource, subresource, _, name]: &[String; 5]) -> bool {
    let wanted = entry["group"].as_str().unwrap_or_default();
    if wanted != group && wanted != "*" {
        return false;
    }
    let patterns = list(&entry["resources"]);
    if patterns.is_empty() {
        return true;
    }
    let names = list(&entry["resourceNames"]);
    if !names.is_empty() && !has(names, name) {
        return false;
    }
    let combined = match subresource.as_str() {
        "" => resource.clone(),
        _ => format!("{resource}/{subresource}"),
    };
    patterns
        .iter()
        .map(|pattern| pattern.as_str().unwrap_or_default())
        .any(|pattern| {
            pattern == combined
                || pattern == "*"
                || (!subresource.is_empty() && pattern == format!("*/{subresource}"))
                || pattern == format!("{resource}/*")
        })
}

fn url_matches(url: &Value, path: &[u8]) -> bool {
    let url = url.as_str().unwrap_or_default();
    url == "*"
        || url.as_bytes() == path
        || (url.ends_with('*') && path.starts_with(url.trim_end_matches('*').as_bytes()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn has(list: &[Value], wanted: &str) -> bool {
    list.iter()
        .any(|item| item.as_str().unwrap_or_default() == wanted)
}

fn sorted(mut stages: Vec<Value>) -> Vec<Value> {
    stages.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    stages.dedup();
    stages
}
