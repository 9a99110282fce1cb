//! Words about what the stages do with an event: for `eval` and `explain`.

use std::sync::Arc;

use crate::doc::edit::{Cause, Edits, Plan};
use crate::doc::json::Json;
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{Event, Field, MapView, Scratch};
use crate::input::cri::Prefix;
use crate::input::recognise::Content;
use crate::policy::{Attributes, Decision, Level, Ruleset, Stage};
use crate::stage::detect::{Detector, Explanation, Labels};
use crate::stage::redact::Finding;
use crate::stage::shrink::Loss;
use crate::stage::{Flow, Job, Stages};
use crate::stats::Stats;

/// The policy's answer for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// `auditID`, if the event has one.
    pub audit_id: Option<String>,
    /// The stage, if the event has a known one.
    pub stage: Option<Stage>,
    /// The policy's decision.
    pub decision: Decision,
    /// The level that the event is logged at: not above that of the rule, nor above
    /// its own. `None` when it is dropped.
    pub logged: Option<Level>,
}

/// The parts that are cut from an event that is kept.
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
    /// What is redacted.
    pub redacted: Vec<Finding>,
    /// What goes because of the event's size, or of `Bodies`, and how many bytes.
    pub shrunk: Vec<(Loss, usize)>,
    /// Bytes of the event as it was logged.
    pub bytes_in: usize,
    /// Bytes of what is left of it.
    pub bytes_out: usize,
}

/// A line that holds no audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEvaluated {
    /// The line holds something else.
    #[error(
        "this is not an audit event: expected a JSON object with `auditID`, `stage` and `level`"
    )]
    NoEvent,
    /// The line looks like an event and cannot be read.
    #[error("this is not a well-formed JSON object")]
    Malformed,
}

/// Evaluates each event in a line, one or those of a list, and passes on the answers.
pub fn evaluate(
    line: &[u8],
    ruleset: &Arc<Ruleset>,
    mut answer: impl FnMut(Evaluation),
) -> Result<(), NotEvaluated> {
    let mut stages = Stages::of_policy(ruleset);
    examine(line, &mut stages, |evaluation, _, _| answer(evaluation))
}

/// Like [`evaluate`], together with the request as the policy saw it, and with what stages
/// take from each event that is kept.
pub fn examine(
    line: &[u8],
    stages: &mut Stages,
    mut answer: impl FnMut(Evaluation, &Attributes<'_>, Option<Cuts>),
) -> Result<(), NotEvaluated> {
    for_each_event(line, |event, scratch| {
        let (mut edits, mut stats) = (Edits::default(), Stats::default());
        let mut labels = Labels::default();
        let mut job = Job {
            doc: Json(line),
            event,
            scratch,
            record: None,
            decision: None,
            edits: &mut edits,
            labels: &mut labels,
            stats: &mut stats,
        };
        let flow = stages.apply(&mut job)?;
        let Some(decision) = job.decision else {
            return Ok(());
        };
        let kept = flow == Flow::Continue;
        let evaluation = Evaluation {
            audit_id: event.audit_id().map(|id| id.to_string()),
            stage: event.stage(),
            decision,
            logged: kept.then(|| {
                let own = event.level();
                own.map_or(decision.level, |own| own.min(decision.level))
            }),
        };
        let plan = edits.settle(Json(line));
        let mut cuts = kept
            .then(|| Cuts::of(Json(line), event, scratch, plan))
            .transpose()?;
        if let (Some(cuts), Some(redaction)) = (&mut cuts, &stages.redact) {
            cuts.redacted = redaction.findings(Json(line), event)?;
        }
        if let (Some(cuts), Some(shrink)) = (&mut cuts, &stages.shrink) {
            cuts.shrunk = shrink.losses().to_vec();
        }
        event.attributes(line, scratch, |attributes| {
            answer(evaluation, attributes, cuts);
        });
        Ok(())
    })
}

/// Explains for each event in a line which detections fire, and why near ones do not;
/// `None` for an event that detections do not look at.
pub fn explain_detections(
    line: &[u8],
    detector: &Detector,
    mut answer: impl FnMut(Option<Vec<Explanation>>),
) -> Result<(), NotEvaluated> {
    for_each_event(line, |event, scratch| {
        answer(detector.explain(Json(line).into(), event, scratch));
        Ok(())
    })
}

fn for_each_event<'l>(
    line: &'l [u8],
    mut each: impl FnMut(Event<'_, 'l>, &Scratch) -> Result<(), Malformed>,
) -> Result<(), NotEvaluated> {
    let (mut view, mut scratch) = (MapView::default(), Scratch::default());
    match Content::of_text(line, Prefix::read(line), &mut view, &mut scratch) {
        Content::Event(event) => each(event, &scratch)?,
        Content::List(list) => {
            for range in list.items {
                let mut item = MapView::default();
                item.read(Json(line), range.start, &mut scratch)?;
                each(item.item_of_list(list.version), &scratch)?;
            }
        }
        Content::Other => return Err(NotEvaluated::NoEvent),
        Content::Malformed => return Err(NotEvaluated::Malformed),
    }
    Ok(())
}

impl From<Malformed> for NotEvaluated {
    fn from(Malformed: Malformed) -> NotEvaluated {
        NotEvaluated::Malformed
    }
}

impl Cuts {
    fn of(
        doc: Json<'_>,
        event: Event<'_, '_>,
        scratch: &Scratch,
        plan: Plan<'_>,
    ) -> Result<Cuts, Malformed> {
        let bytes_in = event.range().len();
        let mut cuts = Cuts {
            managed_fields: plan.bytes(Cause::ManagedFields).removed,
            bytes_in,
            bytes_out: plan.length_of(bytes_in),
            ..Cuts::default()
        };
        for member in &scratch.members {
            let goes = plan.removal_of(member.start) == Some(Cause::Level);
            let bytes = if goes { member.value..member.end } else { 0..0 }.len();
            match member.field {
                Field::RequestObject => {
                    cuts.request_object = cuts.request_object.saturating_add(bytes);
                }
                Field::ResponseObject => {
                    cuts.response_object = cuts.response_object.saturating_add(bytes);
                }
                Field::Annotations => cuts.annotations = removed_members(doc, member.value, plan)?,
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
