//! `kube-audit explain`: the rule that decides on an event, and why others do not.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use kube_audit_core::policy::{
    Attributes, GroupResources, Level, Parsed, Resource, Rule, Ruleset, Selector, Stage, Target,
};
use kube_audit_core::stage::redact::{Finding, Redaction};
use kube_audit_core::stage::shrink::{Loss, Shrink};
use kube_audit_core::stage::{
    Cuts, Evaluation, NotEvaluated, Stages, detect, examine, explain_detections,
};

use super::args::{Events, Explain, Format};
use super::detect::{words as answer_words, write_text};
use super::output::Output;
use super::policy::Choice;
use super::{Exit, Failure, filter_options, input, machine};

pub(crate) fn run(arguments: Explain) -> Result<Exit, Failure> {
    let Explain {
        policy,
        detect,
        machine_audit,
        format,
        redaction,
        events: Events { out, files },
    } = arguments;
    let detect = detect.load(None)?;
    let policy = match &detect {
        None if !machine_audit => Some(policy.required("explain")?),
        _ => policy.choice(),
    };
    let policy = policy.as_ref().map(Choice::load).transpose()?;
    let mut compiled = policy.as_ref().map(|policy| {
        let ruleset = Arc::new(Ruleset::compile(&policy.policy));
        (policy, Stages::of_policy(&ruleset))
    });
    let options = filter_options(&redaction.properties())?;
    if let Some((_, stages)) = &mut compiled {
        stages.redact = Redaction::new(options.redaction);
        stages.shrink = Shrink::new(options.shrink);
    }
    let mut out = Output::open(&out)?;
    let mut exit = Exit::Done;
    input::for_each_line(&files, |place, line| {
        if machine_audit && let Some(text) = machine::explain(place, line, format) {
            return out.write(text.as_bytes());
        }
        let mut answers = Answers::default();
        let result = of_record(line, |line| {
            answers = Answers::default();
            if let Some((policy, stages)) = &mut compiled {
                examine(line, stages, |evaluation, attributes, cuts| {
                    let explanation = Explanation::new(policy, evaluation, attributes, cuts);
                    answers.explanations.push(explanation);
                })?;
            }
            match &detect {
                Some(detect) => explain_detections(line, &detect.detector, |found| {
                    answers.detections.push(found);
                }),
                // Only Linux audit records are asked about.
                None if compiled.is_none() => Err(NotEvaluated::NoEvent),
                None => Ok(()),
            }
        });
        let place = format!("{}:{}", place.file, place.line);
        let mut text = match format {
            Format::Text => answers.text(&place),
            Format::Json => answers.json(&place),
        };
        if let Err(error) = result {
            exit = Exit::Failed;
            match format {
                Format::Text => text += &format!("{place}: {error}\n"),
                Format::Json => {
                    text += &format!(
                        "{}\n",
                        json!({ "place": place, "error": error.to_string() })
                    );
                }
            }
        }
        out.write(text.as_bytes())
    })?;
    out.finish()?;
    Ok(exit)
}

/// Works on a line; where it is a record of Fluent Bit's, on the text under `log`.
fn of_record(
    line: &[u8],
    mut work: impl FnMut(&[u8]) -> Result<(), NotEvaluated>,
) -> Result<(), NotEvaluated> {
    match work(line) {
        Err(NotEvaluated::NoEvent) => {}
        result => return result,
    }
    let record = serde_json::from_slice::<Value>(line).unwrap_or_default();
    let text = ["log", "message"]
        .iter()
        .find_map(|key| record.get(key)?.as_str());
    match text {
        Some(text) => work(text.trim_end().as_bytes()),
        None => Err(NotEvaluated::NoEvent),
    }
}

/// The answers for the events of a line, in order.
#[derive(Default)]
struct Answers {
    /// Those of the policy, if there is one.
    explanations: Vec<Explanation>,
    /// Those of detections, if they are on.
    detections: Vec<Option<Vec<detect::Explanation>>>,
}

impl Answers {
    fn text(&self, place: &str) -> String {
        let mut text = String::new();
        for number in 0..self.explanations.len().max(self.detections.len()) {
            match self.explanations.get(number) {
                Some(explanation) => explanation.write_text(place, &mut text),
                None => text += &format!("{place}:\n"),
            }
            if let Some(found) = self.detections.get(number) {
                write_text(found.as_deref(), &mut text);
            }
        }
        text
    }

    fn json(&self, place: &str) -> String {
        let mut text = String::new();
        for number in 0..self.explanations.len().max(self.detections.len()) {
            let explanation = self.explanations.get(number);
            let mut answer = match explanation {
                Some(explanation) => explanation.json(place),
                None => json!({ "place": place }),
            };
            if let (Some(found), Some(object)) =
                (self.detections.get(number), answer.as_object_mut())
            {
                let found = found.as_ref().map(|found| {
                    let answers = found.iter().map(|explanation| {
                        json!({
                            "id": explanation.id,
                            "severity": explanation.severity.name(),
                            "fires": explanation.verdict == detect::Verdict::Fires,
                            "answer": answer_words(explanation),
                        })
                    });
                    answers.collect::<Vec<_>>()
                });
                object.insert("detections".to_owned(), json!(found));
            }
            text += &format!("{answer}\n");
        }
        text
    }
}

/// The explanation of one event.
struct Explanation {
    evaluation: Evaluation,
    /// The request, in words.
    request: String,
    /// The rules before the one that decides.
    before: Vec<Reason>,
    /// Line of the rule that decides.
    line: Option<usize>,
    cuts: Option<Cuts>,
}

/// Reason why a rule does not match.
struct Reason {
    rule: usize,
    line: usize,
    selector: Selector,
    words: String,
}

impl Explanation {
    fn new(
        policy: &Parsed,
        evaluation: Evaluation,
        attributes: &Attributes<'_>,
        cuts: Option<Cuts>,
    ) -> Explanation {
        let line_of = |rule: usize| policy.places.get(rule).map_or(0, |place| place.line);
        let rules = policy.policy.rules();
        let decides = evaluation.decision.rule;
        let decides = decides.and_then(|rule| usize::try_from(rule).ok());
        let before = rules
            .iter()
            .take(decides.unwrap_or(rules.len()))
            .enumerate();
        let before = before.filter_map(|(index, rule)| {
            let selector = rule.mismatch(attributes)?;
            Some(Reason {
                rule: index,
                line: line_of(index),
                selector,
                words: words(rule, selector, attributes),
            })
        });
        Explanation {
            request: request(attributes),
            before: before.collect(),
            line: decides.map(line_of),
            evaluation,
            cuts,
        }
    }

    fn write_text(&self, place: &str, out: &mut String) {
        let Evaluation {
            audit_id,
            stage,
            decision,
            ..
        } = &self.evaluation;
        *out += &format!(
            "{place}: event {} {}: {}\n",
            audit_id.as_deref().unwrap_or("without an auditID"),
            stage.map_or("of an unknown stage", Stage::name),
            self.request
        );
        for Reason {
            rule,
            line,
            selector,
            words,
        } in &self.before
        {
            *out += &format!(
                "  rules[{rule}] (line {line}): {}: {words}\n",
                selector.name()
            );
        }
        if let (Some(rule), Some(line)) = (decision.rule, self.line) {
            *out += &format!(
                "  rules[{rule}] (line {line}) decides: level {}\n",
                decision.level.name()
            );
        }
        *out += &format!("  {}\n", self.outcome());
        for Finding { pointer, redactor } in self.redacted() {
            *out += &format!(
                "  redacted: {pointer} ({}: {})\n",
                redactor.name(),
                redactor.reason()
            );
        }
        for (loss, bytes) in self.shrunk() {
            *out += &format!("  shrunk: {} ({bytes} bytes)\n", loss.name());
        }
    }

    fn shrunk(&self) -> &[(Loss, usize)] {
        self.cuts.as_ref().map_or(&[], |cuts| &cuts.shrunk)
    }

    fn redacted(&self) -> &[Finding] {
        self.cuts.as_ref().map_or(&[], |cuts| &cuts.redacted)
    }

    fn outcome(&self) -> String {
        let Evaluation {
            stage,
            decision,
            logged,
            ..
        } = &self.evaluation;
        let (Some(level), Some(cuts)) = (logged, &self.cuts) else {
            let why = match (decision.rule, decision.level, stage) {
                (None, ..) => "no rule matches".to_owned(),
                (_, Level::None, _) => "level None".to_owned(),
                (_, _, Some(stage)) => format!("stage {} is omitted", stage.name()),
                (_, _, None) => "its stage is omitted".to_owned(),
            };
            return format!("dropped: {why}");
        };
        let mut parts = Vec::new();
        let bodies = [
            ("requestObject", cuts.request_object),
            ("responseObject", cuts.response_object),
            ("managedFields", cuts.managed_fields),
        ];
        for (name, bytes) in bodies.into_iter().filter(|&(_, bytes)| bytes > 0) {
            parts.push(format!("{name} ({bytes} bytes)"));
        }
        let annotations = cuts.annotations.iter();
        parts.extend(annotations.map(|name| format!("annotation {name}")));
        let cut = match (parts.is_empty(), cuts.bytes_in == cuts.bytes_out) {
            (true, true) => "nothing is cut".to_owned(),
            (true, false) => "nothing is cut, `level` says the new level".to_owned(),
            (false, _) => format!("cut: {}", parts.join(", ")),
        };
        format!(
            "kept at level {}, {} of {} bytes; {cut}",
            level.name(),
            cuts.bytes_out,
            cuts.bytes_in
        )
    }

    fn json(&self, place: &str) -> Value {
        let Evaluation {
            audit_id,
            stage,
            decision,
            logged,
        } = &self.evaluation;
        let before = self.before.iter().map(|reason| {
            json!({
                "rule": reason.rule,
                "line": reason.line,
                "selector": reason.selector.name(),
                "reason": reason.words,
            })
        });
        json!({
            "place": place,
            "auditID": audit_id,
            "stage": stage.map(Stage::name),
            "request": self.request,
            "before": before.collect::<Vec<_>>(),
            "rule": decision.rule.map_or(-1, i64::from),
            "line": self.line,
            "level": decision.level.name(),
            "decision": if logged.is_some() { "keep" } else { "drop" },
            "loggedLevel": logged.map(Level::name),
            "outcome": self.outcome(),
            "cut": self.cuts.as_ref().map(|cuts| json!({
                "requestObject": cuts.request_object,
                "responseObject": cuts.response_object,
                "managedFields": cuts.managed_fields,
                "annotations": cuts.annotations,
            })),
            "redacted": self.redacted().iter().map(|finding| json!({
                "pointer": finding.pointer,
                "redactor": finding.redactor.name(),
                "reason": finding.redactor.reason(),
            })).collect::<Vec<_>>(),
            "shrunk": self.shrunk().iter().map(|(loss, bytes)| json!({
                "part": loss.name(),
                "bytes": bytes,
            })).collect::<Vec<_>>(),
            "bytesIn": self.cuts.as_ref().map(|cuts| cuts.bytes_in),
            "bytesOut": self.cuts.as_ref().map(|cuts| cuts.bytes_out),
        })
    }
}

/// Describes a request: "list pods in default by alice".
fn request(attributes: &Attributes<'_>) -> String {
    let user = match &attributes.user {
        Some(user) => format!("by {}", text(user.name)),
        None => "without a user".to_owned(),
    };
    let target = match &attributes.target {
        Target::NonResource { path } => text(path).into_owned(),
        Target::Resource(resource) => {
            let mut words = resource_name(resource);
            if !resource.name.is_empty() {
                words += &format!(" {}", text(resource.name));
            }
            if !resource.namespace.is_empty() {
                words += &format!(" in {}", text(resource.namespace));
            }
            words
        }
    };
    format!("{} {target} {user}", text(attributes.verb))
}

/// `pods/log`, or `apps: deployments/scale` outside the core group.
fn resource_name(resource: &Resource<'_>) -> String {
    let mut name = text(resource.resource).into_owned();
    if !resource.subresource.is_empty() {
        name += &format!("/{}", text(resource.subresource));
    }
    match resource.group {
        b"" => name,
        group => format!("{}: {name}", text(group)),
    }
}

/// Reason why a selector fails, with what the request has and what the rule asks for.
fn words(rule: &Rule, selector: Selector, attributes: &Attributes<'_>) -> String {
    let resource = match &attributes.target {
        Target::Resource(resource) => Some(resource),
        Target::NonResource { .. } => None,
    };
    let not_in =
        |value: &[u8], list: &[String]| format!("{} is not in {}", quoted(value), listed(list));
    match (selector, resource, &attributes.target) {
        (Selector::Users, ..) => match &attributes.user {
            Some(user) => not_in(user.name, &rule.users),
            None => format!("there is no user, {} is asked for", listed(&rule.users)),
        },
        (Selector::UserGroups, ..) => {
            let groups = attributes.user.map_or(&[][..], |user| user.groups);
            let groups: Vec<Cow<'_, str>> = groups.iter().map(|group| text(group)).collect();
            format!(
                "none of {} is in {}",
                listed(&groups),
                listed(&rule.user_groups)
            )
        }
        (Selector::Verbs, ..) => not_in(attributes.verb, &rule.verbs),
        (Selector::NonResourceUrls, Some(resource), _) => {
            format!(
                "the request is for a resource, `{}`",
                resource_name(resource)
            )
        }
        (Selector::NonResourceUrls, None, Target::NonResource { path }) => {
            format!(
                "{} is none of {}",
                quoted(path),
                listed(&rule.non_resource_urls)
            )
        }
        (Selector::Namespaces, Some(resource), _) => not_in(resource.namespace, &rule.namespaces),
        (Selector::Resources, Some(resource), _) => {
            let entries: Vec<String> = rule.resources.iter().map(entry).collect();
            let entries = entries.join("; ");
            let named = match resource.name {
                b"" => " without a name".to_owned(),
                name => format!(" named {}", quoted(name)),
            };
            let asks = rule
                .resources
                .iter()
                .any(|entry| !entry.resource_names.is_empty());
            let named = if asks { named } else { String::new() };
            format!("`{}`{named} is not in [{entries}]", resource_name(resource))
        }
        (_, _, Target::NonResource { path }) => {
            format!("the request is for no resource, but for {}", quoted(path))
        }
        _ => String::new(),
    }
}

/// `apps: deployments, statefulsets named a, b`, as in [`resource_name`].
fn entry(entry: &GroupResources) -> String {
    let resources = match entry.resources.is_empty() {
        true => "*".to_owned(),
        false => entry.resources.join(", "),
    };
    let mut words = match entry.group.as_str() {
        "" => resources,
        group => format!("{group}: {resources}"),
    };
    if !entry.resource_names.is_empty() {
        words += &format!(" named {}", entry.resource_names.join(", "));
    }
    words
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn quoted(bytes: &[u8]) -> String {
    match bytes {
        b"" => "`\"\"`".to_owned(),
        _ => format!("`{}`", text(bytes)),
    }
}

/// `[a, b]`; of a long list the beginning.
fn listed(items: &[impl AsRef<str>]) -> String {
    const MOST: usize = 12;
    let mut shown: Vec<String> = items
        .iter()
        .take(MOST)
        .map(|item| match item.as_ref() {
            "" => "\"\"".to_owned(),
            item => item.to_owned(),
        })
        .collect();
    match items.len().saturating_sub(MOST) {
        0 => {}
        more => shown.push(format!("… {more} more")),
    }
    format!("[{}]", shown.join(", "))
}
