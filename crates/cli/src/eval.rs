//! `kube-audit eval`: the decision of a policy on each event.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Value, json};

use kube_audit_core::policy::{Ruleset, Stage};
use kube_audit_core::stage::{Evaluation, evaluate};

use super::{Failure, input, policy};

pub fn run(mut parser: Parser) -> Result<ExitCode, Failure> {
    let mut choice = None;
    let mut files = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("policy") => choice = Some(policy::Choice::File(parser.value()?)),
            Arg::Long("preset") => {
                choice = Some(policy::Choice::preset(&parser.value()?.string()?)?)
            }
            Arg::Value(file) => files.push(file),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let choice = choice
        .ok_or_else(|| Failure::Usage("eval needs --policy FILE or --preset NAME".to_owned()))?;
    let ruleset = Arc::new(Ruleset::compile(&choice.load()?.policy));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut code = ExitCode::SUCCESS;
    input::for_each_line(&files, |place, line| {
        let mut written = Ok(());
        let mut write = |answer: Value| {
            if written.is_ok() {
                written = writeln!(out, "{answer}");
            }
        };
        if let Err(error) = evaluate(line, &ruleset, |evaluation| write(answer(&evaluation))) {
            code = ExitCode::from(1);
            write(json!({ "error": format!("{}:{}: {error}", place.file, place.line) }));
        }
        written.map_err(Failure::output)
    })?;
    out.flush().map_err(Failure::output)?;
    Ok(code)
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
