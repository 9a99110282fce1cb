//! For every selector of rules, a table from a value of a request to the rules that
//! accept it.

use super::bitset::{BitSets, RuleBits, SetId, Union};
use super::table::{Listing, Table, key};
use crate::policy::model::url_prefix;
use crate::policy::{Resource, Rule};

/// Yields the rules with their positions.
fn placed<'a>(rules: &[Option<&'a Rule>]) -> impl Iterator<Item = (usize, &'a Rule)> {
    let places = rules.iter().enumerate();
    places.filter_map(|(i, rule)| Some((i, (*rule)?)))
}

/// Collects the rules for which `holds` is true.
pub(super) fn rules_where(rules: &[Option<&Rule>], holds: fn(&Rule) -> bool) -> RuleBits {
    let mut set = RuleBits::none(rules.len());
    for (i, _) in placed(rules).filter(|(_, rule)| holds(rule)) {
        set.insert(i);
    }
    set
}

/// Values of one string that a rule accepts.
pub(super) struct Accepted<'a> {
    /// Values that the rule lists.
    listed: Vec<&'a str>,
    /// True if it accepts all others as well.
    open: bool,
}

impl Accepted<'_> {
    pub(super) fn of(list: &[String]) -> Accepted<'_> {
        Accepted {
            listed: list.iter().map(String::as_str).collect(),
            open: list.is_empty(),
        }
    }

    pub(super) fn of_names(rule: &Rule) -> Accepted<'_> {
        let names = rule
            .resources
            .iter()
            .flat_map(|entry| &entry.resource_names);
        let open = rule
            .resources
            .iter()
            .any(|entry| entry.resource_names.is_empty());
        Accepted {
            listed: names.map(String::as_str).collect(),
            open: open || rule.resources.is_empty(),
        }
    }
}

/// Rules by the value of one string of a request.
#[derive(Debug)]
pub(super) struct StringTable {
    pub(super) listed: Table<1>,
    /// Rules for a value that no rule lists.
    pub(super) unlisted: SetId,
}

impl StringTable {
    pub(super) fn new(
        rules: &[Option<&Rule>],
        sets: &mut BitSets,
        selector: fn(&Rule) -> Accepted<'_>,
    ) -> StringTable {
        let none = RuleBits::none(rules.len());
        let mut listing: Listing<'_> = Listing::new();
        let mut unlisted = none.clone();
        for (i, rule) in placed(rules) {
            let selector = selector(rule);
            for string in selector.listed {
                listing
                    .entry(key([string.as_bytes()]))
                    .or_insert_with(|| none.clone())
                    .insert(i);
            }
            if selector.open {
                unlisted.insert(i);
            }
        }
        StringTable::with_rest(listing, unlisted, sets)
    }

    /// Adds the rules that accept any value to those of each value.
    fn with_rest(mut listing: Listing<'_>, unlisted: RuleBits, sets: &mut BitSets) -> StringTable {
        listing
            .values_mut()
            .for_each(|rules| rules.unite(&unlisted));
        StringTable {
            listed: Table::new(&listing, sets),
            unlisted: sets.add(&unlisted),
        }
    }

    #[inline]
    pub(super) fn get(&self, string: &[u8]) -> SetId {
        self.listed.get(&[string]).unwrap_or(self.unlisted)
    }
}

/// Rules by group, resource and subresource of a request; names are not considered.
///
/// `exact` has the whole answer for everything that an entry spells out, so one look-up
/// is mostly enough. Each other table has a part of the answer.
#[derive(Debug)]
pub(super) struct ResourceTable {
    exact: Table<3>,
    /// Rules for a group as a whole.
    of_group: StringTable,
    /// `R/*` by group and resource.
    of_resource: Table<2>,
    /// `*/S` by group and subresource.
    of_subresource: Table<2>,
    /// True if an entry is for all groups.
    any_group: bool,
    /// True if a pattern has two slashes. Then the tables have no answer for resources with
    /// a slash, which no server has.
    pub(super) nested: bool,
}

/// Group of entries for all groups; right for a request with this very group as well.
const ANY_GROUP: &[u8] = b"*";

impl ResourceTable {
    pub(super) fn new(rules: &[Option<&Rule>], sets: &mut BitSets) -> ResourceTable {
        let none = RuleBits::none(rules.len());
        let mut exact: Listing<'_> = Listing::new();
        let mut of_group: Listing<'_> = Listing::new();
        let mut of_resource: Listing<'_> = Listing::new();
        let mut of_subresource: Listing<'_> = Listing::new();
        let mut nested = false;
        let mut unlisted = rules_where(rules, |rule| {
            rule.resources.is_empty() && rule.non_resource_urls.is_empty()
        });
        let entries =
            placed(rules).flat_map(|(i, rule)| rule.resources.iter().map(move |e| (i, e)));
        for (i, entry) in entries {
            let group = entry.group.as_bytes();
            let whole = of_group.entry(key([group])).or_insert_with(|| none.clone());
            if entry.resources.is_empty() || entry.resources.iter().any(|pattern| pattern == "*") {
                whole.insert(i);
            }
            for pattern in &entry.resources {
                // The first slash ends the resource, unless that is the whole pattern.
                let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
                let whole = (pattern.as_str(), "");
                let split = (!subresource.is_empty()).then_some((resource, subresource));
                for (resource, subresource) in split.into_iter().chain([whole]) {
                    let whole = [group, resource.as_bytes(), subresource.as_bytes()];
                    exact.entry(whole).or_insert_with(|| none.clone()).insert(i);
                }
                nested |= subresource.contains('/');
                if let Some(resource) = pattern.strip_suffix("/*") {
                    of_resource
                        .entry(key([group, resource.as_bytes()]))
                        .or_insert_with(|| none.clone())
                        .insert(i);
                }
                if let Some(subresource) = pattern.strip_prefix("*/")
                    && !subresource.is_empty()
                {
                    of_subresource
                        .entry(key([group, subresource.as_bytes()]))
                        .or_insert_with(|| none.clone())
                        .insert(i);
                }
            }
        }
        let any_group = of_group.contains_key(&key([ANY_GROUP]));
        if let Some(whole) = of_group.get(&key([ANY_GROUP])) {
            unlisted.unite(whole);
        }
        let mut whole_answers: Listing<'_> = Listing::new();
        for ([group, resource, subresource], rules) in &exact {
            let parts = [
                of_group.get(&key([group])),
                of_resource.get(&key([group, resource])),
                of_resource.get(&key([ANY_GROUP, resource])),
                of_subresource.get(&key([group, subresource])),
                of_subresource.get(&key([ANY_GROUP, subresource])),
                exact.get(&[ANY_GROUP, resource, subresource]),
            ];
            let mut whole = rules.clone();
            parts
                .into_iter()
                .flatten()
                .for_each(|part| whole.unite(part));
            whole.unite(&unlisted);
            whole_answers.insert([*group, resource, subresource], whole);
        }
        ResourceTable {
            exact: Table::new(&whole_answers, sets),
            of_group: StringTable::with_rest(of_group, unlisted, sets),
            of_resource: Table::new(&of_resource, sets),
            of_subresource: Table::new(&of_subresource, sets),
            any_group,
            nested,
        }
    }

    /// Returns the whole answer, if an entry spells the resource out.
    #[inline]
    pub(super) fn whole(&self, request: &Resource<'_>) -> Option<SetId> {
        self.exact
            .get(&[request.group, request.resource, request.subresource])
    }

    /// Returns the rules for the group as a whole, the first part of the answer.
    #[inline]
    pub(super) fn group(&self, request: &Resource<'_>) -> SetId {
        self.of_group.get(request.group)
    }

    /// Adds the other parts of the answer: at most five, for which a union has room.
    #[inline]
    pub(super) fn add_wildcards(&self, request: &Resource<'_>, rules: &mut Union) {
        let Resource {
            resource,
            subresource,
            ..
        } = *request;
        let mut add = |part: Option<_>| part.is_none_or(|part| rules.add(part));
        let mut add_wildcards = |group: &[u8]| {
            add(self.of_resource.get(&[group, resource]));
            if !subresource.is_empty() {
                add(self.of_subresource.get(&[group, subresource]));
            }
        };
        add_wildcards(request.group);
        if self.any_group {
            add_wildcards(ANY_GROUP);
            add(self.exact.get(&[ANY_GROUP, resource, subresource]));
        }
    }
}

/// Rules by the path of a non-resource request.
#[derive(Debug)]
pub(super) struct UrlTable {
    /// Paths that are spelled out, with the rules of the prefixes that fit.
    exact: Table<1>,
    /// Prefixes, with the rules of the shorter ones that fit.
    prefixes: Table<1>,
    /// Lengths of prefixes, longest first.
    lengths: Box<[usize]>,
    unlisted: SetId,
}

impl UrlTable {
    pub(super) fn new(rules: &[Option<&Rule>], sets: &mut BitSets) -> UrlTable {
        let unlisted = rules_where(rules, |rule| {
            rule.non_resource_urls.is_empty()
                && rule.resources.is_empty()
                && rule.namespaces.is_empty()
        });
        let mut exact: Listing<'_> = Listing::new();
        let mut prefixes: Listing<'_> = Listing::new();
        for (i, rule) in placed(rules) {
            for spec in &rule.non_resource_urls {
                let (listing, path) = match url_prefix(spec) {
                    Some(prefix) => (&mut prefixes, prefix),
                    None => (&mut exact, spec.as_str()),
                };
                listing
                    .entry(key([path.as_bytes()]))
                    .or_insert_with(|| unlisted.clone())
                    .insert(i);
            }
        }
        let mut lengths = Vec::new();
        for [prefix, ..] in prefixes.keys() {
            let length = prefix.len();
            if let Err(at) = lengths.binary_search_by(|other| length.cmp(other)) {
                lengths.insert(at, length);
            }
        }
        let with_prefixes = |listing: &Listing<'_>, sets: &mut BitSets| {
            let mut whole = listing.clone();
            for ([path, ..], rules) in &mut whole {
                let shorter = lengths
                    .iter()
                    .filter_map(|&length| prefixes.get(&key([path.get(..length)?])));
                shorter.for_each(|shorter| rules.unite(shorter));
            }
            Table::new(&whole, sets)
        };
        UrlTable {
            exact: with_prefixes(&exact, sets),
            prefixes: with_prefixes(&prefixes, sets),
            lengths: lengths.into(),
            unlisted: sets.add(&unlisted),
        }
    }

    pub(super) fn get(&self, path: &[u8]) -> SetId {
        let prefix = |&length: &usize| self.prefixes.get(&[path.get(..length)?]);
        self.exact
            .get(&[path])
            .or_else(|| self.lengths.iter().find_map(prefix))
            .unwrap_or(self.unlisted)
    }
}
