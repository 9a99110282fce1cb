//! What a policy says of the events in a line, without rewriting it.

use crate::policy::{Attributes, Decision, Level, Ruleset, Stage};

use crate::doc::edit::{Cause, Edits, Plan};
use crate::doc::json::Json;
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{Event, Field, Scratch};
use crate::input::cri::Prefix;
use crate::input::recognise::TextDocument;
use crate::stage::cut::LevelCut;

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

/// What is taken out of an event that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Bytes of `requestObject`.
    pub request_object: usize,
    /// Bytes of `responseObject`.
    pub response_object: usize,
    /// Names of annotations.
    pub annotations: Vec<String>,
    /// Bytes of `managedFields`.
    pub managed_fields: usize,
    /// Bytes of the event as it was logged.
    pub bytes_in: usize,
    /// Bytes of what is left of it.
    pub bytes_out: usize,
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
    for_each_event(line, |event, scratch| {
        answer(evaluate_event(event, line, scratch, ruleset));
        Ok(())
    })
}

/// The same with what the policy saw of each request, and with what is taken out of
/// each event that is kept.
pub fn examine(
    line: &[u8],
    ruleset: &Ruleset,
    mut answer: impl FnMut(Evaluation, &Attributes<'_>, Option<Cuts>),
) -> Result<(), NotEvaluated> {
    for_each_event(line, |event, scratch| {
        let evaluation = evaluate_event(event, line, scratch, ruleset);
        let cut = evaluation.logged.map(|_| LevelCut {
            level: evaluation.decision.level,
            omit_managed_fields: evaluation.decision.omit_managed_fields,
        });
        let cuts = cut
            .map(|cut| Cuts::of(line, event, scratch, cut))
            .transpose()?;
        event.attributes(line, scratch, |attributes| {
            answer(evaluation, attributes, cuts);
        });
        Ok(())
    })
}

fn for_each_event<'l>(
    line: &'l [u8],
    mut each: impl FnMut(&Event<'l>, &Scratch) -> Result<(), Malformed>,
) -> Result<(), NotEvaluated> {
    let mut scratch = Scratch::default();
    let prefix = Prefix::read(line);
    let malformed = |Malformed| NotEvaluated::Malformed;
    let mut event = Event::default();
    match TextDocument::read(line, prefix, &mut event, &mut scratch) {
        TextDocument::Event => each(&event, &scratch).map_err(malformed)?,
        TextDocument::List(items) => {
            let list = event.api_version();
            for (item, _) in items {
                event
                    .read(Json(line), item, &mut scratch)
                    .map_err(malformed)?;
                event.inherit(list);
                each(&event, &scratch).map_err(malformed)?;
            }
        }
        TextDocument::Other => return Err(NotEvaluated::NoEvent),
        TextDocument::Malformed => return Err(NotEvaluated::Malformed),
    }
    Ok(())
}

impl Cuts {
    fn of(
        line: &[u8],
        event: &Event<'_>,
        scratch: &Scratch,
        cut: LevelCut,
    ) -> Result<Cuts, Malformed> {
        let doc = Json(line);
        let mut edits = Edits::default();
        cut.apply(doc, event, &scratch.slots, &mut edits)?;
        let plan = edits.settle(doc);
        let bytes_in = event.end - event.at;
        let mut cuts = Cuts {
            managed_fields: plan.bytes(Cause::ManagedFields).removed,
            bytes_in,
            bytes_out: plan.length_of(bytes_in),
            ..Cuts::default()
        };
        for slot in &scratch.slots {
            let goes = plan.removal_of(slot.start) == Some(Cause::Level);
            match slot.field {
                Field::RequestObject if goes => cuts.request_object += slot.end - slot.value,
                Field::ResponseObject if goes => cuts.response_object += slot.end - slot.value,
                Field::Annotations => cuts.annotations = removed_members(doc, slot.value, plan)?,
                _ => {}
            }
        }
        Ok(cuts)
    }
}

/// The names of a map's members that are removed.
fn removed_members(doc: Json<'_>, at: usize, plan: Plan<'_>) -> Result<Vec<String>, Malformed> {
    let mut names = Vec::new();
    if doc.kind(at)? == Kind::Map {
        let mut map = doc.open_map(at)?;
        while let Some(member) = doc.next_member(&mut map)? {
            map.next = doc.end(member.value)?;
            if plan.removal_of(member.start).is_some() {
                names.push(String::from_utf8_lossy(&member.key.value()).into_owned());
            }
        }
    }
    Ok(names)
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
