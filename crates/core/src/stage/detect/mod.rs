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
mod facts;
mod file;
mod kind;
mod label;
mod lexicon;
mod names;
mod pods;
mod rbac;
mod request;
mod selection;
mod severity;
mod uri;

#[cfg(test)]
mod mutants;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::available::DetectionsAvailable;
pub use catalog::{BUILTINS, Builtin};
pub use coverage::{BlindSpot, Missed};
pub use explain::{Explanation, Verdict};
pub use file::{Detections, DetectionsError, Outcome, Problem};
pub use label::{Detect, DetectSettings, LabelFormat, LabelShape};
pub use request::LongRunning;
pub use selection::Selection;
pub use severity::Severity;

use catalog::Case;
use facts::Facts;
use file::Own;
use kind::{Kinds, Subresources, Verbs};
use request::{Glance, Request, Source};
use uri::UriBuffer;

use crate::doc::AnyDoc;
use crate::event::kube::{Event, Member};
use crate::policy::{Attributes, Level, Selectors, Stage, Target};
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
    /// This build has no detections.
    #[error(
        "this library was built without detections: load the full one, `libkube_audit.so` built \
         with its default features, or set `Detect off`"
    )]
    Absent,
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

/// Cases of built-in detections, a bit for each.
type CaseSet = u64;

/// Enabled detections, compiled. Immutable; share it in an `Arc`.
#[derive(Debug)]
pub struct Detector {
    available: DetectionsAvailable,
    /// All of them, in the order of labels: severity, then the table, then the file.
    detections: Vec<Detection>,
    /// Places of own ones, which may fire for any request.
    own: Vec<Place>,
    index: Index,
    ignore: Vec<Selectors>,
    settings: DetectorSettings,
}

/// Cases of the enabled built-in detections, by what makes an event their candidate.
#[derive(Debug)]
struct Index {
    /// By bit: the place of the detection, the bits of all its cases, and the case.
    cases: Vec<(Place, CaseSet, &'static Case)>,
    /// By kind and subresource of the request.
    targets: [[CaseSet; Subresources::PLACES]; Kinds::PLACES],
    /// By verb.
    verbs: [CaseSet; Verbs::PLACES],
    /// By the only kind and subresource that they may be, if they are not other ones.
    guessed_targets: [[CaseSet; Subresources::PLACES]; Kinds::PLACES],
    /// By the only verb that it may be, if it is not another one.
    guessed_verbs: [CaseSet; Verbs::PLACES],
    /// By the known facts that hold: those that need no other one of them.
    facts: [CaseSet; KNOWN_FACTS],
    /// Those that leave dry runs out.
    in_earnest: CaseSet,
}

/// The number of sets of known facts.
const KNOWN_FACTS: usize = 1 << Facts::KNOWN.bits().count_ones();

impl Index {
    fn new() -> Index {
        Index {
            cases: Vec::new(),
            targets: [[0; Subresources::PLACES]; Kinds::PLACES],
            verbs: [0; Verbs::PLACES],
            guessed_targets: [[0; Subresources::PLACES]; Kinds::PLACES],
            guessed_verbs: [0; Verbs::PLACES],
            facts: [0; KNOWN_FACTS],
            in_earnest: 0,
        }
    }

    /// Adds the cases of the detection at a place.
    fn add(&mut self, place: Place, cases: &'static [Case]) {
        let first = self.cases.len();
        let bits = (first..)
            .zip(cases)
            .filter_map(|(at, case)| Some((bit(at)?, case)));
        let all = bits.clone().fold(0, |all, (bit, _)| all | bit);
        for (bit, case) in bits {
            self.cases.push((place, all, case));
            let add = |set: &mut CaseSet, holds| *set |= if holds { bit } else { 0 };
            for (kind, row) in (0..).map(Kinds::at).zip(&mut self.targets) {
                for (subresource, set) in (0..).map(Subresources::at).zip(row) {
                    add(set, case.is_on(kind, subresource));
                }
            }
            for (verb, set) in (0..).map(Verbs::at).zip(&mut self.verbs) {
                add(set, case.verbs.meets(verb));
            }
            for (kind, row) in (0..).map(Kinds::at).zip(&mut self.guessed_targets) {
                let kind = kind.and(Kinds::OTHER);
                for (subresource, set) in (0..).map(Subresources::at).zip(row) {
                    add(set, case.is_on(kind, subresource.and(Subresources::OTHER)));
                }
            }
            for (verb, set) in (0..).map(Verbs::at).zip(&mut self.guessed_verbs) {
                add(set, case.verbs.meets(verb.and(Verbs::OTHER)));
            }
            add(&mut self.in_earnest, case.excludes.meets(Facts::DRY_RUN));
            let needs = case.needs.without(Facts::ALL.without(Facts::KNOWN));
            for (facts, set) in (0..).map(Facts::of_bits).zip(&mut self.facts) {
                add(set, facts.has(needs));
            }
        }
    }

    /// Says whether any case may hold, by what a glance shows and names may mean: they are
    /// compared with none.
    #[inline]
    fn may_have_any(&self, glance: &Glance, logged: &Attributes<'_>) -> bool {
        let (kind, subresource) = match logged.target {
            Target::NonResource { .. } => (Kinds::NO_RESOURCE.number(), &[][..]),
            // It may be a reference without members, which is none.
            Target::Resource(target) if target.resource.is_empty() => return true,
            Target::Resource(target) => (Kinds::guess(target.resource), target.subresource),
        };
        let subresource = match subresource {
            [] => Subresources::ITSELF.number(),
            name => Subresources::guess(name),
        };
        let row = self.guessed_targets.get(kind);
        let target = row.and_then(|row| row.get(subresource));
        let verb = self.guessed_verbs.get(Verbs::guess(logged.verb));
        match (target, verb) {
            (Some(target), Some(verb)) => target & verb & self.with_facts(glance.facts) != 0,
            _ => true,
        }
    }

    /// Returns the cases that the facts of a glance leave open.
    #[inline]
    fn with_facts(&self, facts: Facts) -> CaseSet {
        let known = facts.bits() & Facts::KNOWN.bits();
        let place = usize::try_from(known).ok();
        let cases = place.and_then(|place| self.facts.get(place));
        cases.copied().unwrap_or_default()
    }

    /// Returns the cases that may hold.
    fn candidates(&self, request: &Request<'_, '_>) -> CaseSet {
        let row = self.targets.get(request.kind.number());
        let target = row.and_then(|row| row.get(request.subresource.number()));
        let verb = self.verbs.get(request.verb.number());
        match (target, verb) {
            (Some(target), Some(verb)) => target & verb & self.with_facts(request.facts),
            _ => 0,
        }
    }

    /// Returns those of the cases that the facts known so far do not speak against.
    fn fitting(&self, cases: CaseSet, facts: Facts) -> CaseSet {
        let mut fitting = cases;
        let mut rest = cases;
        while let Some((bit, (_, _, case))) = self.take(&mut rest) {
            if !case.fits(facts) {
                fitting ^= bit;
            }
        }
        fitting
    }

    /// Takes the first case out of a set; returns it with its bit.
    #[inline]
    fn take(&self, set: &mut CaseSet) -> Option<(CaseSet, (Place, CaseSet, &'static Case))> {
        let without_first = *set & set.checked_sub(1)?;
        let first = *set ^ without_first;
        *set = without_first;
        let at = usize::try_from(first.trailing_zeros()).ok()?;
        Some((first, *self.cases.get(at)?))
    }
}

/// Returns the bit of a case; a test makes sure that there are enough.
fn bit(at: usize) -> Option<CaseSet> {
    1u64.checked_shl(u32::try_from(at).ok()?)
}

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
        let available = DetectionsAvailable::proof().ok_or(SelectionError::Absent)?;
        let own = file.own.iter().map(|own| own.id.as_str());
        let ids = BUILTINS.iter().map(|builtin| builtin.id).chain(own);
        if let Some(id) = selection
            .ids()
            .find(|id| !ids.clone().any(|known| known == *id))
        {
            let words = Severity::ALL.map(Severity::name).into_iter().chain(ids);
            return Err(SelectionError::Unknown {
                id: id.to_owned(),
                nearest: nearest(id, words).map(str::to_owned),
            });
        }
        let mut detector = Detector {
            available,
            detections: Vec::new(),
            own: Vec::new(),
            index: Index::new(),
            ignore: file.ignore.clone(),
            settings,
        };
        for severity in Severity::ALL.into_iter().rev() {
            detector.add(severity, selection, file);
        }
        if detector.detections.is_empty() {
            return Err(SelectionError::Nothing);
        }
        Ok(detector)
    }

    /// Adds the selected detections of one severity.
    fn add(&mut self, severity: Severity, selection: &Selection, file: &Detections) {
        for builtin in BUILTINS {
            let change = file.changes.iter().find(|change| change.id == builtin.id);
            let own = change.and_then(|change| change.severity);
            if own.unwrap_or(builtin.severity) == severity && selection.has(builtin.id, severity) {
                let Some(place) = self.next_place() else {
                    return;
                };
                self.index.add(place, builtin.cases);
                self.detections.push(Detection {
                    severity,
                    definition: Definition::Builtin(builtin),
                    except: change.map_or(Vec::new(), |change| change.except.clone()),
                });
            }
        }
        for own in &file.own {
            if own.severity == severity && selection.has(&own.id, severity) {
                let Some(place) = self.next_place() else {
                    return;
                };
                self.own.push(place);
                self.detections.push(Detection {
                    severity,
                    definition: Definition::Own(Box::new(own.clone())),
                    except: own.except.clone(),
                });
            }
        }
    }

    /// Returns the place of the detection that is added next. More than a place can count
    /// is more than anybody wants: the last ones are left out.
    fn next_place(&self) -> Option<Place> {
        Place::try_from(self.detections.len()).ok()
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
    pub fn evaluate<'a>(
        &self,
        doc: AnyDoc<'a>,
        event: Event<'_, 'a>,
        members: &[Member],
        stage: Option<Stage>,
        logged: &Attributes<'_>,
        labels: &mut Labels,
    ) {
        labels.clear();
        // About half of all events: done with a look at the stage.
        let Some(stage) = stage.filter(|stage| *stage != Stage::RequestReceived) else {
            return;
        };
        let source = Source {
            doc,
            event,
            members,
        };
        let glance = Glance::at(source, logged);
        if !self.own.is_empty() || self.index.may_have_any(&glance, logged) {
            self.look(source, stage, logged, glance, labels);
        }
    }

    /// Asks the candidates, if the event tells how its request ended.
    #[inline(never)]
    fn look<'r, 'a: 'r>(
        &self,
        source: Source<'r, 'a>,
        stage: Stage,
        logged: &'r Attributes<'r>,
        glance: Glance,
        labels: &'r mut Labels,
    ) {
        let mut request = Request::new(source, stage, logged, glance);
        let Labels {
            hits,
            undecided,
            uri,
        } = labels;
        let counts = self.settings.long_running;
        let mut candidates = self.index.candidates(&request);
        // Without a resource the path tells whether the request is long-running.
        let is_other = request.kind != Kinds::NO_RESOURCE && !request.is_outcome(counts);
        if is_other || candidates == 0 && self.own.is_empty() {
            return;
        }
        request.read_actor();
        candidates = self.index.fitting(candidates, request.facts);
        if candidates == 0 && self.own.is_empty() {
            return;
        }
        request.read_uri(uri);
        if !request.is_outcome(counts) {
            return;
        }
        if request.facts.has(Facts::DRY_RUN) {
            candidates &= !self.index.in_earnest;
        }
        while let Some((first, (place, all, _))) = self.index.take(&mut candidates) {
            let cases = (candidates & all) | first;
            candidates &= !all;
            match self.answer(place, cases, &request) {
                Answer::Fires => hits.push(place),
                Answer::Undecided => undecided.push(place),
                Answer::Silent => {}
            }
        }
        for &place in &self.own {
            if let Some(Definition::Own(own)) = self.definition(place)
                && own.matches(&request)
                && !self.is_excepted(place, &request)
            {
                let before = hits.iter().take_while(|hit| **hit < place).count();
                hits.insert(before, place);
            }
        }
        if !(hits.is_empty() && undecided.is_empty()) && self.is_ignored(&request) {
            hits.clear();
            undecided.clear();
        }
    }

    /// Returns the answer of the detection at a place, of whose cases these may hold.
    fn answer(&self, place: Place, mut cases: CaseSet, request: &Request<'_, '_>) -> Answer {
        let cases = std::iter::from_fn(|| {
            let (_, (_, _, case)) = self.index.take(&mut cases)?;
            Some(case)
        });
        match answer_of(cases, request) {
            Answer::Silent => Answer::Silent,
            _ if self.is_excepted(place, request) => Answer::Silent,
            answer => answer,
        }
    }

    fn definition(&self, place: Place) -> Option<&Definition> {
        Some(&self.detections.get(usize::from(place))?.definition)
    }

    fn is_excepted(&self, place: Place, request: &Request<'_, '_>) -> bool {
        let detection = self.detections.get(usize::from(place));
        detection.is_some_and(|detection| detection.is_excepted(request))
    }

    fn is_ignored(&self, request: &Request<'_, '_>) -> bool {
        let IgnoredActors { users, groups } = &self.settings.ignored;
        let listed = |list: &[String], name: &[u8]| list.iter().any(|own| own.as_bytes() == name);
        let user = request.logged.user;
        let by_name = user.is_some_and(|user| {
            listed(users, user.name) || user.groups.iter().any(|group| listed(groups, group))
        });
        by_name && !request.facts.has(Facts::IMPERSONATING) || excuse(&self.ignore, request)
    }
}

/// Says whether one of the selectors matches. Those that look at who makes a request
/// excuse nobody who impersonates: else a proxy would excuse all who go through it.
fn excuse(selectors: &[Selectors], request: &Request<'_, '_>) -> bool {
    selectors.iter().any(|selectors| {
        selectors.matches(request.logged)
            && !(selectors.names_users() && request.facts.has(Facts::IMPERSONATING))
    })
}

impl Detection {
    fn is_excepted(&self, request: &Request<'_, '_>) -> bool {
        excuse(&self.except, request)
    }
}

impl Own {
    fn matches(&self, request: &Request<'_, '_>) -> bool {
        self.selectors.matches(request.logged)
            && self.results.iter().any(|result| result.is_of(request))
            && !request.facts.has(Facts::DRY_RUN)
    }
}

impl Outcome {
    fn is_of(self, request: &Request<'_, '_>) -> bool {
        match self {
            Outcome::Ok => request.facts.has(Facts::OK),
            Outcome::Denied => request.code == 403 && !request.decision().is(b"allow"),
            Outcome::Failed => request.code >= 400,
            Outcome::Any => true,
        }
    }
}

/// Returns the answer of a detection with these cases, whose facts all fit.
fn answer_of(cases: impl Iterator<Item = &'static Case>, request: &Request<'_, '_>) -> Answer {
    let mut answer = Answer::Silent;
    for case in cases {
        match case.answer(request) {
            Answer::Fires => return Answer::Fires,
            Answer::Undecided => answer = Answer::Undecided,
            Answer::Silent => {}
        }
    }
    answer
}

impl Case {
    /// Says whether it is about such a target.
    fn is_on(&self, kind: Kinds, subresource: Subresources) -> bool {
        self.kinds.meets(kind) && self.subresources.meets(subresource)
    }

    /// Says whether facts that are known so far do not speak against it.
    fn fits(&self, facts: Facts) -> bool {
        facts.has(self.needs) && !facts.meets(self.excludes)
    }

    /// Returns its answer to a request whose target, verb and facts fit.
    fn answer(&self, request: &Request<'_, '_>) -> Answer {
        let mut blind = false;
        for condition in self.conditions {
            blind = blind || condition.needs_body() && request.is_blind();
            if !condition.holds(request) {
                return match blind {
                    true => Answer::Undecided,
                    false => Answer::Silent,
                };
            }
        }
        Answer::Fires
    }
}
