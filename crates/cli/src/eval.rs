//! `kube-audit eval`: the decision of a policy on each event.

use std::sync::Arc;

use serde_json::{Value, json};

use kube_audit_core::policy::{Ruleset, Stage};
use kube_audit_core::stage::{Evaluation, evaluate};

use super::args::{Eval, Events};
use super::output::Output;
use super::{Exit, Failure, input};

pub(crate) fn run(arguments: Eval) -> Result<Exit, Failure> {
    let Events { out, files } = arguments.events;
    let policy = arguments.policy.required("eval")?.load()?.policy;
    let ruleset = Arc::new(Ruleset::compile(&policy));
    let mut out = Output::open(&out)?;
    let mut exit = Exit::Done;
    input::for_each_line(&files, |place, line| {
        let mut written = Ok(());
        let mut write = |answer: Value| {
            if written.is_ok() {
                written = out.write(format!("{answer}\n").as_bytes());
            }
        };
        if let Err(error) = evaluate(line, &ruleset, |evaluation| write(answer(&evaluation))) {
            exit = Exit::Failed;
            write(json!({ "error": format!("{}:{}: {error}", place.file, place.line) }));
        }
        written
    })?;
    out.finish()?;
    Ok(exit)
}

fn answer(evaluation: &Evaluation) -> Value {
    let decision = &evaluation.decision;
    let mut stages: Vec<&str> = decision.omit_stages.iter().map(Stage::name).collect();
    stages.sort_unstable();
    json!({
        "auditID": evaluation.audit_id,
        "stage": evaluation.stage.map(Stage::name),
        "rule": decision.rule.map_or(-1, i64::from),
        "level": decision.level.name(),
        "omitStages": stages,
        "omitManagedFields": decision.omit_managed_fields,
        "decision": if evaluation.logged.is_some() { "keep" } else { "drop" },
        "loggedLevel": evaluation.logged.map(|level| level.name()),
    })
}
