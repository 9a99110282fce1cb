//! What a policy says of the events in a line, without rewriting it.

use crate::policy::{Decision, Level, Ruleset, Stage};

use super::cri::Prefix;
use super::document::TextDocument;
use super::event::{Event, Scratch};
use super::json::Json;
use super::tree::Malformed;

/// A policy's answer for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// `auditID`, where the event has one.
    pub audit_id: Option<String>,
    /// The stage, where the event has a known one.
    pub stage: Option<Stage>,
    /// What the policy says.
    pub decision: Decision,
    /// The level that the event is logged at: not above that of the rule, nor above
    /// its own. `None` when it is dropped.
    pub logged: Option<Level>,
}

/// A line that holds no audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEvaluated {
    /// The line holds something else.
    #[error("this is no audit event: expected a JSON object with `auditID` and `stage`")]
    NoEvent,
    /// The line looks like an event and cannot be read.
    #[error("this is no well-formed JSON object")]
    Malformed,
}

/// Answers for each event in a line: one, or those of a list.
pub fn evaluate(
    line: &[u8],
    ruleset: &Ruleset,
    mut answer: impl FnMut(Evaluation),
) -> Result<(), NotEvaluated> {
    let mut scratch = Scratch::default();
    let prefix = Prefix::read(line);
    let mut event = Event::default();
    match TextDocument::read(line, prefix, &mut event, &mut scratch) {
        TextDocument::Event => answer(evaluate_event(&event, line, &scratch, ruleset)),
        TextDocument::List(items) => {
            let list = event.api_version();
            for (item, _) in items {
                event
                    .read(Json(line), item, &mut scratch)
                    .map_err(|Malformed| NotEvaluated::Malformed)?;
                event.inherit(list);
                answer(evaluate_event(&event, line, &scratch, ruleset));
            }
        }
        TextDocument::Other => return Err(NotEvaluated::NoEvent),
        TextDocument::Malformed => return Err(NotEvaluated::Malformed),
    }
    Ok(())
}

fn evaluate_event<'a>(
    event: &Event<'a>,
    line: &'a [u8],
    scratch: &Scratch,
    ruleset: &Ruleset,
) -> Evaluation {
    let decision = event.attributes(line, scratch, |attributes| ruleset.decide(attributes));
    let stage = event.stage();
    let dropped = decision.level == Level::None
        || stage.is_some_and(|stage| decision.omit_stages.contains(stage));
    Evaluation {
        audit_id: event
            .audit_id()
            .map(|id| String::from_utf8_lossy(&id.value()).into_owned()),
        stage,
        decision,
        logged: (!dropped).then(|| {
            event
                .level()
                .map_or(decision.level, |level| level.min(decision.level))
        }),
    }
}
