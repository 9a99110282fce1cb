//! Detections: events that matter are labelled with what they are.
//!
//! A detection is a set of conditions on one event: no state, no clock, no look-ups. Each
//! request is judged by exactly one of its up to three events, the one that tells how it
//! ended. The built-in detections are data ([`BUILTINS`]); own ones, exceptions and other
//! severities come from a text ([`Detections`]); [`Selection`] says which are enabled.
//!
//! [`Detector::new`] compiles all that into an index from what an event is about to the
//! detections that may fire. An event is read once; nearly all of them have no candidate
//! and are done then. Bodies are looked into last, when all other conditions hold.

mod body;
mod catalog;
mod condition;
mod coverage;
#[cfg(test)]
mod docs;
mod explain;
mod file;
mod kind;
mod label;
mod names;
mod pods;
mod rbac;
mod request;
mod selection;
mod severity;
mod uri;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use catalog::{BUILTINS, Builtin};
pub use coverage::{BlindSpot, Missed};
pub use explain::{Explanation, Verdict};
pub use file::{Detections, DetectionsError, Outcome, Problem};
pub use label::{Detect, DetectSettings, LabelFormat, LabelShape};
pub use request::LongRunning;
pub use selection::Selection;
pub use severity::Severity;

use catalog::{Case, Trigger};
use condition::Condition;
use file::Own;
use kind::{Kind, Subresource, Verb};
use request::Request;
use uri::UriBuffer;

use crate::doc::Doc;
use crate::event::kube::{Event, Member};
use crate::policy::{Attributes, Level, Selectors, Stage};
use kube_audit_text::suggest::nearest;

/// An enabled detection.
#[derive(Debug)]
pub struct Detection {
    severity: Severity,
    definition: Definition,
    except: Vec<Selectors>,
}

#[derive(Debug)]
enum Definition {
    Builtin(&'static Builtin),
    Own(Box<Own>),
}

impl Detection {
    /// Returns the id.
    pub fn id(&self) -> &str {
        match &self.definition {
            Definition::Builtin(builtin) => builtin.id,
            Definition::Own(own) => &own.id,
        }
    }

    /// Returns the severity.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the technique of MITRE ATT&CK; empty where an own detection names none.
    pub fn technique(&self) -> &str {
        match &self.definition {
            Definition::Builtin(builtin) => builtin.technique,
            Definition::Own(own) => &own.technique,
        }
    }

    /// Returns the least level at which the API server must log a request for it.
    pub fn level(&self) -> Level {
        match &self.definition {
            Definition::Builtin(builtin) => builtin.level,
            Definition::Own(_) => Level::Metadata,
        }
    }
}

/// Requests that no detection sees, by who makes them; whoever impersonates is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredActors {
    /// User names.
    pub users: Vec<String>,
    /// Groups, of which the user is in one.
    pub groups: Vec<String>,
}

/// What is set of detections besides which there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectorSettings {
    /// Actors without labels.
    pub ignored: IgnoredActors,
    /// The event of long-running requests that counts.
    pub long_running: LongRunning,
}

/// A selection that does not fit the detections there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// An id that no detection has.
    #[error("unknown detection `{id}`{}", did_you_mean(.nearest))]
    Unknown {
        /// The id.
        id: String,
        /// The id that was most likely meant.
        nearest: Option<String>,
    },
    /// Everything is taken out again.
    #[error("it enables no detection: set `off` for none, `on` for all")]
    Nothing,
}

fn did_you_mean(nearest: &Option<String>) -> Cow<'static, str> {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?").into(),
        None => ": use `on`, `off`, a severity (low, medium, high, critical), or ids".into(),
    }
}

/// The place of a detection among those that are enabled.
type Place = u16;

/// Enabled detections, compiled. Immutable; share it in an `Arc`.
#[derive(Debug)]
pub struct Detector {
    /// All of them, in the order of labels: severity, then the table, then the file.
    detections: Vec<Detection>,
    /// Places of the built-in ones; the index holds a bit for each.
    builtins: Vec<Place>,
    /// Places of own ones.
    own: Vec<Place>,
    index: Index,
    ignore: Vec<Selectors>,
    settings: DetectorSettings,
}

/// Built-in detections by what makes an event their candidate, as sets of bits.
#[derive(Debug)]
struct Index {
    /// By kind and subresource of the request.
    targets: Vec<[u64; Subresource::COUNT]>,
    /// By verb: those that have a case for it.
    verbs: [u64; Verb::COUNT],
    codes: Vec<(i64, u64)>,
    delete_collection: u64,
    anonymous: u64,
    impersonation: u64,
}

impl Index {
    fn new(builtins: impl Iterator<Item = &'static Builtin>) -> Index {
        let mut index = Index {
            targets: vec![[0; Subresource::COUNT]; Kind::COUNT],
            verbs: [0; Verb::COUNT],
            codes: Vec::new(),
            delete_collection: 0,
            anonymous: 0,
            impersonation: 0,
        };
        for (builtin, bit) in builtins.zip(bits()) {
            for case in builtin.cases {
                index.add(&case.trigger, bit);
                for verb in Verb::ALL {
                    if let Some(set) = index.verbs.get_mut(verb.place())
                        && case.admits(verb)
                    {
                        *set |= bit;
                    }
                }
            }
        }
        index
    }

    fn add(&mut self, trigger: &Trigger, bit: u64) {
        match *trigger {
            Trigger::On(kinds, subresources) => {
                for &kind in kinds {
                    for &subresource in subresources {
                        if let Some(set) = self.target(kind, subresource) {
                            *set |= bit;
                        }
                    }
                }
            }
            Trigger::Within(kinds) => {
                for &kind in kinds {
                    let row = self.targets.get_mut(kind.place());
                    row.into_iter().flatten().for_each(|set| *set |= bit);
                }
            }
            Trigger::DeleteCollection => self.delete_collection |= bit,
            Trigger::Anonymous => self.anonymous |= bit,
            Trigger::Impersonation => self.impersonation |= bit,
            Trigger::Code(code) => match self.codes.iter_mut().find(|(known, _)| *known == code) {
                Some((_, set)) => *set |= bit,
                None => self.codes.push((code, bit)),
            },
        }
    }

    fn target(&mut self, kind: Kind, subresource: Subresource) -> Option<&mut u64> {
        self.targets
            .get_mut(kind.place())?
            .get_mut(subresource.place())
    }

    /// Returns the detections that may fire.
    fn candidates<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> u64 {
        let row = self.targets.get(request.kind.place());
        let target = row.and_then(|row| row.get(request.subresource.place()));
        let mut candidates = target.copied().unwrap_or_default();
        for &(code, set) in &self.codes {
            if request.code == code {
                candidates |= set;
            }
        }
        if request.verb == Verb::DeleteCollection && request.has_resource() {
            candidates |= self.delete_collection;
        }
        if self.anonymous != 0 && request.is_anonymous() {
            candidates |= self.anonymous;
        }
        if self.impersonation != 0 && request.impersonated().is_some() {
            candidates |= self.impersonation;
        }
        let verb = self.verbs.get(request.verb.place());
        candidates & verb.copied().unwrap_or_default()
    }
}

/// Each bit of a set, lowest first.
fn bits() -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|bit| 1 << bit)
}

// A set has a bit for each.
const _: () = assert!(BUILTINS.len() <= 64);

/// What was found in an event; reused from event to event.
#[derive(Debug, Default)]
pub struct Labels {
    hits: Vec<Place>,
    undecided: Vec<Place>,
    uri: UriBuffer,
}

impl Labels {
    /// Forgets what was found.
    pub fn clear(&mut self) {
        self.hits.clear();
        self.undecided.clear();
    }

    /// Says whether no detection fired or is undecided.
    pub fn found_nothing(&self) -> bool {
        self.hits.is_empty() && self.undecided.is_empty()
    }

    /// Returns the places of the detections that fired, in the order of labels.
    pub fn hits(&self) -> impl Iterator<Item = usize> + Clone {
        self.hits.iter().map(|&place| place.into())
    }

    /// Returns the places of the detections that would need a body which is not there.
    pub fn undecided(&self) -> impl Iterator<Item = usize> + Clone {
        self.undecided.iter().map(|&place| place.into())
    }
}

/// The answer of a detection to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It fires.
    Fires,
    /// It would need the body, which is not there.
    Undecided,
    /// It does not fire.
    Silent,
}

impl Detector {
    /// Compiles the selected ones of all built-in and own detections.
    pub fn new(
        selection: &Selection,
        file: &Detections,
        settings: DetectorSettings,
    ) -> Result<Detector, SelectionError> {
        let mut changes: BTreeMap<&str, _> = file
            .changes
            .iter()
            .map(|change| (change.id, change))
            .collect();
        let builtins = BUILTINS.iter().map(|builtin| {
            let change = changes.remove(builtin.id);
            let severity = change.and_then(|change| change.severity);
            Detection {
                severity: severity.unwrap_or(builtin.severity),
                definition: Definition::Builtin(builtin),
                except: change.map_or(Vec::new(), |change| change.except.clone()),
            }
        });
        let own = file.own.iter().map(|own| Detection {
            severity: own.severity,
            definition: Definition::Own(Box::new(own.clone())),
            except: own.except.clone(),
        });
        let mut detections: Vec<Detection> = builtins.chain(own).collect();
        let known = |id: &str| detections.iter().any(|detection| detection.id() == id);
        if let Some(id) = selection.ids().find(|id| !known(id)) {
            let ids = detections.iter().map(Detection::id);
            let words = Severity::ALL.map(Severity::name).into_iter().chain(ids);
            return Err(SelectionError::Unknown {
                id: id.to_owned(),
                nearest: nearest(id, words).map(str::to_owned),
            });
        }
        detections.retain(|detection| selection.has(detection.id(), detection.severity));
        // More than a place can count is more than anybody wants; the last ones go.
        detections.truncate(Place::MAX.into());
        if detections.is_empty() {
            return Err(SelectionError::Nothing);
        }
        // Stable: within a severity the order stays.
        detections.sort_by_key(|detection| std::cmp::Reverse(detection.severity));
        Ok(Detector::of(detections, file.ignore.clone(), settings))
    }

    fn of(
        detections: Vec<Detection>,
        ignore: Vec<Selectors>,
        settings: DetectorSettings,
    ) -> Detector {
        let (mut builtins, mut own) = (Vec::new(), Vec::new());
        for (place, detection) in (0..).zip(&detections) {
            match &detection.definition {
                Definition::Builtin(_) => builtins.push(place),
                Definition::Own(_) => own.push(place),
            }
        }
        let index = Index::new(detections.iter().filter_map(
            |detection| match &detection.definition {
                Definition::Builtin(builtin) => Some(*builtin),
                Definition::Own(_) => None,
            },
        ));
        Detector {
            detections,
            builtins,
            own,
            index,
            ignore,
            settings,
        }
    }

    /// Returns the enabled detections, in the order of labels.
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// Returns the detection at a place.
    pub fn detection(&self, place: usize) -> Option<&Detection> {
        self.detections.get(place)
    }

    /// Finds the detections that fire for an event with these top-level members, whose
    /// request was logged so.
    ///
    /// Allocates only for an event that gets a label, or whose strings have escapes.
    #[inline]
    pub fn evaluate<'a, D: Doc<'a>>(
        &self,
        doc: D,
        event: Event<'_, 'a>,
        members: &[Member],
        logged: &Attributes<'_>,
        labels: &mut Labels,
    ) {
        labels.clear();
        // About half of all events: done with a look at the stage.
        if matches!(event.stage(), Some(Stage::RequestReceived) | None) {
            return;
        }
        let request = Request::new(doc, event, members, logged);
        let candidates = self.index.candidates(&request);
        if candidates != 0 || !self.own.is_empty() {
            self.look(request, candidates, labels);
        }
    }

    /// Asks the candidates, if the event tells how its request ended.
    #[inline(never)]
    fn look<'r, 'a: 'r, D: Doc<'a>>(
        &self,
        mut request: Request<'r, 'a, D>,
        candidates: u64,
        labels: &'r mut Labels,
    ) {
        let Labels {
            hits,
            undecided,
            uri,
        } = labels;
        let counts = self.settings.long_running;
        // Without a resource the path tells whether the request is long-running.
        if request.has_resource() && !request.is_outcome(counts) {
            return;
        }
        request.read_uri(uri);
        if request.has_resource() || request.is_outcome(counts) {
            self.judge(&request, candidates, hits, undecided);
        }
    }

    fn judge<'r, 'a: 'r, D: Doc<'a>>(
        &self,
        request: &Request<'r, 'a, D>,
        candidates: u64,
        hits: &mut Vec<Place>,
        undecided: &mut Vec<Place>,
    ) {
        let builtins = self.builtins.iter().zip(bits());
        let builtins = builtins.filter(|(_, bit)| candidates & bit != 0);
        for &place in builtins.map(|(place, _)| place).chain(&self.own) {
            let Some(detection) = self.detections.get(usize::from(place)) else {
                continue;
            };
            match detection.answer(request) {
                Answer::Silent => {}
                answer => {
                    if detection.is_excepted(request) {
                        continue;
                    }
                    match answer {
                        Answer::Fires => hits.push(place),
                        _ => undecided.push(place),
                    }
                }
            }
        }
        if !(hits.is_empty() && undecided.is_empty()) && self.is_ignored(request) {
            hits.clear();
            undecided.clear();
        }
        hits.sort_unstable();
    }

    fn is_ignored<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> bool {
        let IgnoredActors { users, groups } = &self.settings.ignored;
        let listed = |list: &[String], name: &[u8]| list.iter().any(|own| own.as_bytes() == name);
        let user = request.logged().user;
        let by_name = user.is_some_and(|user| {
            listed(users, user.name) || user.groups.iter().any(|group| listed(groups, group))
        });
        by_name && request.impersonated().is_none() || excuse(&self.ignore, request)
    }
}

/// Says whether one of the selectors matches. Those that look at who makes a request
/// excuse nobody who impersonates: else a proxy would excuse all who go through it.
fn excuse<'r, 'a: 'r, D: Doc<'a>>(selectors: &[Selectors], request: &Request<'r, 'a, D>) -> bool {
    selectors.iter().any(|selectors| {
        selectors.matches(request.logged())
            && !(selectors.names_users() && request.impersonated().is_some())
    })
}

impl Detection {
    fn answer<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> Answer {
        match &self.definition {
            Definition::Builtin(builtin) => {
                let mut answer = Answer::Silent;
                for case in builtin.cases {
                    match case.answer(request) {
                        Answer::Fires => return Answer::Fires,
                        Answer::Undecided => answer = Answer::Undecided,
                        Answer::Silent => {}
                    }
                }
                answer
            }
            Definition::Own(own) if own.matches(request) => Answer::Fires,
            Definition::Own(_) => Answer::Silent,
        }
    }

    fn is_excepted<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> bool {
        excuse(&self.except, request)
    }
}

impl Own {
    fn matches<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> bool {
        self.selectors.matches(request.logged())
            && self.results.iter().any(|result| result.is_of(request))
            && !request.is_dry()
    }
}

impl Outcome {
    fn is_of<'r, 'a: 'r, D: Doc<'a>>(self, request: &Request<'r, 'a, D>) -> bool {
        match self {
            Outcome::Ok => request.is_ok(),
            Outcome::Denied => request.code == 403 && !request.decision().is(b"allow"),
            Outcome::Failed => request.code >= 400,
            Outcome::Any => true,
        }
    }
}

impl Case {
    /// Says whether requests with a verb may meet the conditions.
    fn admits(&self, verb: Verb) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Verb(verbs) => verbs.contains(&verb),
            Condition::Created => matches!(verb, Verb::Create | Verb::Patch),
            _ => true,
        })
    }

    fn answer<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> Answer {
        if !self.trigger.is_met(request) {
            return Answer::Silent;
        }
        match self.failure(request) {
            None => Answer::Fires,
            Some((_, true)) => Answer::Undecided,
            Some((_, false)) => Answer::Silent,
        }
    }

    /// Returns the first condition that does not hold, and whether that is for want of a body.
    fn failure<'r, 'a: 'r, D: Doc<'a>>(
        &self,
        request: &Request<'r, 'a, D>,
    ) -> Option<(&'static Condition, bool)> {
        let mut blind = false;
        for condition in self.conditions {
            blind = blind || condition.needs_body() && request.is_blind();
            if !condition.holds(request) {
                return Some((condition, blind));
            }
        }
        None
    }
}

impl Trigger {
    fn is_met<'r, 'a: 'r, D: Doc<'a>>(&self, request: &Request<'r, 'a, D>) -> bool {
        match *self {
            Trigger::On(kinds, subresources) => {
                kinds.contains(&request.kind) && subresources.contains(&request.subresource)
            }
            Trigger::Within(kinds) => kinds.contains(&request.kind),
            Trigger::DeleteCollection => {
                request.verb == Verb::DeleteCollection && request.has_resource()
            }
            Trigger::Code(code) => request.code == code,
            Trigger::Anonymous => request.is_anonymous(),
            Trigger::Impersonation => request.impersonated().is_some(),
        }
    }
}
