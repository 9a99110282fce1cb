//! Mistakes made on purpose: each thing that a built-in detection asks for is left out once,
//! and events of the tests notice it.

use super::catalog::{BUILTINS, Builtin, Case};
use super::condition::{Condition, Property};
use super::kind::{Kinds, Verbs};
use super::lexicon::Words;
use super::tests::{all_cases, evaluate};
use super::{Definition, Detection, Detections, Detector, DetectorSettings, Selection};

/// What is left out, in words, and the case without it.
type Mutant = (String, Case);

/// A list of words that holds one less.
fn fewer(words: Words) -> impl Iterator<Item = (String, Words)> {
    let words: Vec<String> = words
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    (0..words.len()).filter_map(move |at| {
        let mut rest = words.clone();
        let gone = rest.remove(at);
        (!rest.is_empty()).then(|| (gone, Words(String::leak(rest.join(" ")))))
    })
}

/// The same condition with a word less.
fn weaker(condition: Condition) -> Vec<(String, Condition)> {
    let with = |words, make: fn(Words) -> Condition| {
        fewer(words)
            .map(|(gone, words)| (gone, make(words)))
            .collect()
    };
    match condition {
        Condition::Namespace(words) => with(words, Condition::Namespace),
        Condition::NotNamespace(words) => with(words, Condition::NotNamespace),
        Condition::Name(words) => with(words, Condition::Name),
        Condition::NotName(words) => with(words, Condition::NotName),
        Condition::Body(Property::ClusterRole(words)) => {
            with(words, |words| Condition::Body(Property::ClusterRole(words)))
        }
        _ => Vec::new(),
    }
}

fn mutants(case: &Case) -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for fact in case.needs.each() {
        let needs = case.needs.without(fact);
        mutants.push((format!("needs {}", fact.name()), Case { needs, ..*case }));
    }
    for fact in case.excludes.each() {
        let excludes = case.excludes.without(fact);
        mutants.push((
            format!("excludes {}", fact.name()),
            Case { excludes, ..*case },
        ));
    }
    if case.verbs != Verbs::ALL {
        for verb in case.verbs.each() {
            let verbs = case.verbs.without(verb);
            mutants.push((format!("verb {}", verb.name()), Case { verbs, ..*case }));
        }
        let verbs = Verbs::ALL;
        mutants.push(("any verb".to_owned(), Case { verbs, ..*case }));
    }
    if !case.kinds.meets(Kinds::OTHER) {
        let kinds = Kinds::ANY_RESOURCE;
        mutants.push(("any kind".to_owned(), Case { kinds, ..*case }));
    }
    let change = |words: String, at: usize, with: &[Condition]| {
        let mut conditions = case.conditions.to_vec();
        conditions.splice(at..=at, with.iter().copied());
        let conditions = Vec::leak(conditions);
        (
            words,
            Case {
                conditions,
                ..*case
            },
        )
    };
    for (at, condition) in case.conditions.iter().enumerate() {
        mutants.push(change(format!("{condition:?}"), at, &[]));
        for (gone, condition) in weaker(*condition) {
            mutants.push(change(format!("{gone} of {condition:?}"), at, &[condition]));
        }
    }
    mutants
}

/// A detector with nothing but one detection, whose cases are these.
fn detector(builtin: &'static Builtin, cases: Vec<Case>) -> Detector {
    let settings = DetectorSettings::default();
    let mut detector = Detector::new(
        &Selection::parse(builtin.id),
        &Detections::default(),
        settings,
    )
    .unwrap();
    detector.index = super::Index::new();
    detector.index.add(0, Vec::leak(cases));
    detector.detections = vec![Detection {
        severity: builtin.severity,
        definition: Definition::Builtin(builtin),
        except: Vec::new(),
    }];
    detector
}

/// Mutants that an event notices at present: fewer means that a test was lost.
const NOTICED: usize = 225;

#[test]
fn events_notice_what_is_left_out() {
    let events = all_cases();
    let (mut noticed, mut survivors) = (0, Vec::new());
    for builtin in BUILTINS {
        let undecided = format!("?{}", builtin.id);
        let mut of_this = 0;
        for (number, case) in builtin.cases.iter().enumerate() {
            for (what, mutant) in mutants(case) {
                let mut cases = builtin.cases.to_vec();
                cases[number] = mutant;
                let detector = detector(builtin, cases);
                let is_noticed = events.iter().any(|(wanted, event)| {
                    let (hits, blind) = evaluate(&detector, event);
                    let has = |id: &str| wanted.contains(&id);
                    has(builtin.id) == hits.is_empty() || has(&undecided) == blind.is_empty()
                });
                match is_noticed {
                    true => of_this += 1,
                    false => survivors.push(format!("{} {number}: {what}", builtin.id)),
                }
            }
        }
        assert!(of_this > 0, "{} is not tested", builtin.id);
        noticed += of_this;
    }
    assert!(
        noticed >= NOTICED,
        "{noticed} mutants are noticed, these survive:\n{}",
        survivors.join("\n")
    );
}

#[test]
fn the_original_is_none_of_them() {
    let events = all_cases();
    for builtin in BUILTINS {
        let detector = detector(builtin, builtin.cases.to_vec());
        for (wanted, event) in &events {
            let (hits, _) = evaluate(&detector, event);
            let is_wanted = wanted.contains(&builtin.id);
            assert_eq!(is_wanted, !hits.is_empty(), "{} {event}", builtin.id);
        }
    }
}
