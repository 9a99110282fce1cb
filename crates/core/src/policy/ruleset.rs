//! A policy made ready to answer for many requests.
//!
//! For every selector there is a table from a request's value to the set of rules
//! that let it through. A decision looks up the few strings of a request,
//! intersects the sets and takes the first rule that is left.
//!
//! It matters little how many rules there are, because rules that have the same
//! kinds of selectors are neighbours in the sets: where a selector fails it fails
//! for whole words of 64 rules, and the summaries of the sets tell which.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{CAPACITY, Index, Listing, Rules, Set, Sets, Union};
use super::model::url_prefix;
use super::{Attributes, Level, Policy, Resource, Rule, StageSet, Target, User};

/// What a policy says about one request. All stages of the request share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rule that matched, counted from 0; `None` if none did.
    pub rule: Option<u32>,
    /// The most that may be logged; `None` without a rule.
    pub level: Level,
    /// Stages at which nothing is logged: the policy's and the rule's.
    pub omit_stages: StageSet,
    /// Whether managed fields are dropped from bodies.
    pub omit_managed_fields: bool,
}

/// An immutable index of a policy's rules. Share it behind an `Arc`.
///
/// ```
/// use kube_audit::policy::{Attributes, Level, Preset, Ruleset, Target};
///
/// let ruleset = Ruleset::compile(&Preset::Gce.policy().unwrap());
/// let decision = ruleset.decide(&Attributes {
///     user: None,
///     verb: b"get",
///     target: Target::NonResource { path: b"/healthz" },
/// });
/// assert_eq!((decision.rule, decision.level), (Some(8), Level::None));
/// ```
#[derive(Debug)]
pub struct Ruleset {
    blocks: Box<[Block]>,
    rules: Box<[Rule]>,
    /// By rule.
    decisions: Box<[Decision]>,
    /// When no rule matches.
    fallback: Decision,
}

impl Ruleset {
    /// Indexes a policy. Takes a few milliseconds for a thousand rules.
    pub fn compile(policy: &Policy) -> Ruleset {
        let fallback = Decision {
            rule: None,
            level: Level::None,
            omit_stages: policy.omit_stages,
            omit_managed_fields: policy.omit_managed_fields,
        };
        let decision = |(number, rule): (u32, &Rule)| Decision {
            rule: Some(number),
            level: rule.level,
            omit_stages: rule.omit_stages.union(policy.omit_stages),
            omit_managed_fields: rule
                .omit_managed_fields
                .unwrap_or(policy.omit_managed_fields),
        };
        let starts = (0..policy.rules.len()).step_by(CAPACITY);
        let blocks = starts.zip(policy.rules.chunks(CAPACITY));
        Ruleset {
            blocks: blocks
                .map(|(start, rules)| Block::new(start, rules))
                .collect(),
            rules: policy.rules.clone().into(),
            decisions: (0..).zip(&policy.rules).map(decision).collect(),
            fallback,
        }
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// What the first matching rule says; without one the level is `None`. Does not allocate.
    pub fn decide(&self, request: &Attributes<'_>) -> Decision {
        let rule = match self
            .blocks
            .iter()
            .find_map(|block| block.first(request, &self.rules))
        {
            Some(Found::Rule(rule)) => Some(rule),
            Some(Found::NotIndexed) => self.scan(request),
            None => None,
        };
        rule.and_then(|rule| self.decisions.get(rule))
            .copied()
            .unwrap_or(self.fallback)
    }

    #[cold]
    fn scan(&self, request: &Attributes<'_>) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(request))
    }
}

/// What a block says to a request that some of its rules may match.
enum Found {
    /// The number of the first rule.
    Rule(usize),
    /// The request is of a kind that the tables are not made for.
    NotIndexed,
}

/// Some consecutive rules of a policy: as many as a set can hold.
#[derive(Debug)]
struct Block {
    /// The rules' numbers, by position in the sets; of no meaning where no rule is.
    /// In a word of 64 they ascend.
    numbers: Box<[usize]>,
    sets: Sets,
    users: Strings,
    user_groups: Strings,
    verbs: Strings,
    namespaces: Strings,
    /// `resourceNames`, rule by rule; `resources` pays no heed to them.
    names: Strings,
    resources: Resources,
    urls: Urls,
    /// Rules that ask for the user's name.
    with_users: Set,
    /// Rules that ask for the user's groups.
    with_groups: Set,
    /// Rules whose entries of `resources` need a second look, because a name
    /// counts only together with its own entry.
    with_names: Set,
}

impl Block {
    fn new(start: usize, rules: &[Rule]) -> Block {
        let order = positions(rules);
        let rules: Vec<Option<&Rule>> = order.iter().map(|i| Some(&rules[(*i)?])).collect();
        let rules = rules.as_slice();
        let mut sets = Sets::default();
        let mut block = Block {
            numbers: order
                .iter()
                .map(|i| start + i.unwrap_or_default())
                .collect(),
            users: Strings::new(rules, &mut sets, |rule| Selector::of(&rule.users)),
            user_groups: Strings::new(rules, &mut sets, |rule| Selector::of(&rule.user_groups)),
            verbs: Strings::new(rules, &mut sets, |rule| Selector::of(&rule.verbs)),
            namespaces: Strings::new(rules, &mut sets, |rule| Selector::of(&rule.namespaces)),
            names: Strings::new(rules, &mut sets, Selector::of_names),
            resources: Resources::new(rules, &mut sets),
            urls: Urls::new(rules, &mut sets),
            with_users: sets.add(&rules_where(rules, |rule| !rule.users.is_empty())),
            with_groups: sets.add(&rules_where(rules, |rule| !rule.user_groups.is_empty())),
            with_names: sets.add(&rules_where(rules, asks_for_name)),
            sets,
        };
        block.sets.finish();
        block
    }

    /// Not inlined, or every decision would prepare what only several blocks share.
    #[inline(never)]
    fn first(&self, request: &Attributes<'_>, rules: &[Rule]) -> Option<Found> {
        let sets = &self.sets;
        let verbs = self.verbs.get(request.verb);
        match &request.target {
            Target::Resource(resource) => {
                if self.resources.nested && resource.resource.contains(&b'/') {
                    return Some(Found::NotIndexed);
                }
                let whole = self.resources.whole(resource);
                let mut target = Union::of(whole.unwrap_or_else(|| self.resources.group(resource)));
                if whole.is_none() {
                    self.resources.add_wildcards(resource, &mut target);
                }
                let namespaces = self.namespaces.get(resource.namespace);
                let summary =
                    sets.summary_of_any(&target) & sets.summary(verbs) & sets.summary(namespaces);
                let mut names = None;
                let matching = |word| {
                    let left = sets.word_of_any(&target, word)
                        & sets.word(verbs, word)
                        & sets.word(namespaces, word);
                    if left & sets.word(self.with_names, word) == 0 {
                        return left;
                    }
                    let name = || self.names.get(resource.name);
                    left & sets.word(*names.get_or_insert_with(name), word)
                };
                let sure = |rule: usize| rules.get(rule).is_some_and(|rule| rule.selects(resource));
                self.least(request.user, summary, matching, sure)
            }
            Target::NonResource { path } => {
                let urls = self.urls.get(path);
                let matching = |word| sets.word(urls, word) & sets.word(verbs, word);
                let summary = sets.summary(urls) & sets.summary(verbs);
                self.least(request.user, summary, matching, |_| true)
            }
        }
    }

    /// The least number among the matching rules that let the user through, too;
    /// `sure` has the last word on names.
    ///
    /// The user's strings, the longest of all, are looked up only if a rule asks for them,
    /// or at once where that may leave out whole words.
    #[inline]
    fn least(
        &self,
        user: Option<User<'_>>,
        summary: u64,
        mut matching: impl FnMut(usize) -> u64,
        sure: impl Fn(usize) -> bool,
    ) -> Option<Found> {
        let sets = &self.sets;
        let mut words = summary;
        let mut by_name = None;
        // Made in place, because moving it costs more than the tables do.
        let mut by_group = Union::of(self.user_groups.unlisted);
        let mut has_groups = false;
        let mut least = None;
        if !words.is_power_of_two() {
            words &= sets.summary(*by_name.insert(self.by_name(user)));
            if !self.add_groups(user, &mut by_group) {
                return Some(Found::NotIndexed);
            }
            has_groups = true;
            words &= sets.summary_of_any(&by_group);
        }
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let mut left = matching(word);
            if left & sets.word(self.with_users, word) != 0 {
                let rules = *by_name.get_or_insert_with(|| self.by_name(user));
                left &= sets.word(rules, word);
            }
            if left & sets.word(self.with_groups, word) != 0 {
                if !has_groups && !self.add_groups(user, &mut by_group) {
                    return Some(Found::NotIndexed);
                }
                has_groups = true;
                left &= sets.word_of_any(&by_group, word);
            }
            while left != 0 {
                let rule = left.trailing_zeros() as usize;
                let number = self.numbers[word * 64 + rule];
                if least.is_some_and(|least| least < number) {
                    break;
                }
                let doubtful = sets.word(self.with_names, word) & (1 << rule) != 0;
                if !doubtful || sure(number) {
                    least = Some(number);
                    break;
                }
                left &= left - 1;
            }
        }
        least.map(Found::Rule)
    }

    /// The rules that let the user's name through.
    fn by_name(&self, user: Option<User<'_>>) -> Set {
        user.map_or(self.users.unlisted, |user| self.users.get(user.name))
    }

    /// Adds the rules that let one of the user's groups through; false if the user is in
    /// more of the groups that rules name than a union has room for.
    #[inline(never)]
    fn add_groups(&self, user: Option<User<'_>>, rules: &mut Union) -> bool {
        let groups = user.map_or(&[][..], |user| user.groups);
        let mut sets = groups
            .iter()
            .filter_map(|group| self.user_groups.listed.get(&[group]));
        sets.all(|set| rules.add(set))
    }
}

fn asks_for_name(rule: &Rule) -> bool {
    rule.resources
        .iter()
        .any(|entry| !entry.resource_names.is_empty())
}

/// The rules by position in the sets: in words of 64, in each the order of the policy.
///
/// Rules of a kind, which have the same kinds of selectors, get words of their own, if
/// need be not full ones, so that a whole word is left out where the kind is. Kinds with
/// few rules share words.
fn positions(rules: &[Rule]) -> Vec<Option<usize>> {
    let mut kinds: BTreeMap<_, Vec<Option<usize>>> = BTreeMap::new();
    for (i, rule) in rules.iter().enumerate() {
        let kind = [
            rule.users.is_empty(),
            rule.user_groups.is_empty(),
            rule.resources.is_empty(),
            rule.namespaces.is_empty(),
            rule.non_resource_urls.is_empty(),
            rule.verbs.is_empty(),
        ];
        kinds.entry(kind).or_default().push(Some(i));
    }
    // How many words may be less than full.
    let mut spare = CAPACITY / 64 - rules.len().div_ceil(64);
    let mut order = Vec::new();
    let mut others = Vec::new();
    for word in kinds.values().flat_map(|kind| kind.chunks(64)) {
        let full = word.len() == 64;
        if full || word.len() >= ENOUGH && spare > 0 {
            spare -= usize::from(!full);
            order.extend_from_slice(word);
            order.resize(order.len().next_multiple_of(64), None);
        } else {
            others.extend_from_slice(word);
        }
    }
    others.sort_unstable();
    order.append(&mut others);
    order
}

/// So many rules of a kind are worth a word of their own.
const ENOUGH: usize = 16;

/// The rules with their positions.
fn placed<'a>(rules: &[Option<&'a Rule>]) -> impl Iterator<Item = (usize, &'a Rule)> {
    let places = rules.iter().enumerate();
    places.filter_map(|(i, rule)| Some((i, (*rule)?)))
}

fn rules_where(rules: &[Option<&Rule>], holds: impl Fn(&Rule) -> bool) -> Rules {
    let mut set = Rules::none(rules.len());
    for (i, _) in placed(rules).filter(|(_, rule)| holds(rule)) {
        set.insert(i);
    }
    set
}

/// What one rule wants of a string.
struct Selector<'a> {
    /// Strings that it lists.
    listed: Vec<&'a str>,
    /// Whether it lets others through as well.
    open: bool,
}

impl Selector<'_> {
    fn of(list: &[String]) -> Selector<'_> {
        Selector {
            listed: list.iter().map(String::as_str).collect(),
            open: list.is_empty(),
        }
    }

    fn of_names(rule: &Rule) -> Selector<'_> {
        let names = rule
            .resources
            .iter()
            .flat_map(|entry| &entry.resource_names);
        let open = rule
            .resources
            .iter()
            .any(|entry| entry.resource_names.is_empty());
        Selector {
            listed: names.map(String::as_str).collect(),
            open: open || rule.resources.is_empty(),
        }
    }
}

/// One string of the request: the rules that let it through.
#[derive(Debug)]
struct Strings {
    listed: Index<1>,
    /// For a string that no rule lists.
    unlisted: Set,
}

impl Strings {
    fn new(
        rules: &[Option<&Rule>],
        sets: &mut Sets,
        selector: impl Fn(&Rule) -> Selector<'_>,
    ) -> Strings {
        let none = Rules::none(rules.len());
        let mut listing: Listing<'_, 1> = Listing::new();
        let mut unlisted = none.clone();
        for (i, rule) in placed(rules) {
            let selector = selector(rule);
            for string in selector.listed {
                listing
                    .entry([string.as_bytes()])
                    .or_insert_with(|| none.clone())
                    .insert(i);
            }
            if selector.open {
                unlisted.insert(i);
            }
        }
        Strings::with_rest(listing, unlisted, sets)
    }

    /// The rules that let any string through join those of each.
    fn with_rest(mut listing: Listing<'_, 1>, unlisted: Rules, sets: &mut Sets) -> Strings {
        listing
            .values_mut()
            .for_each(|rules| rules.unite(&unlisted));
        Strings {
            listed: Index::new(&listing, sets),
            unlisted: sets.add(&unlisted),
        }
    }

    #[inline]
    fn get(&self, string: &[u8]) -> Set {
        self.listed.get(&[string]).unwrap_or(self.unlisted)
    }
}

/// Group, resource and subresource of the request: the rules that let them through, names aside.
///
/// `exact` has the whole answer for everything that an entry spells out, so one look
/// is mostly enough. The other tables have parts, which only together are the answer.
#[derive(Debug)]
struct Resources {
    exact: Index<3>,
    /// Rules for a group as a whole.
    of_group: Strings,
    /// `R/*` by group and resource.
    of_resource: Index<2>,
    /// `*/S` by group and subresource.
    of_subresource: Index<2>,
    /// Whether any entry is for all groups.
    any_group: bool,
    /// Whether any pattern has two slashes. Then the tables are not made for resources
    /// that have one, which no server has.
    nested: bool,
}

/// The group that stands for all groups. For a request with this very group it is right as well.
const ANY_GROUP: &[u8] = b"*";

impl Resources {
    fn new(rules: &[Option<&Rule>], sets: &mut Sets) -> Resources {
        let none = Rules::none(rules.len());
        let mut exact: Listing<'_, 3> = Listing::new();
        let mut of_group: Listing<'_, 1> = Listing::new();
        let mut of_resource: Listing<'_, 2> = Listing::new();
        let mut of_subresource: Listing<'_, 2> = Listing::new();
        let mut nested = false;
        let mut unlisted = rules_where(rules, |rule| {
            rule.resources.is_empty() && rule.non_resource_urls.is_empty()
        });
        let entries =
            placed(rules).flat_map(|(i, rule)| rule.resources.iter().map(move |e| (i, e)));
        for (i, entry) in entries {
            let group = entry.group.as_bytes();
            let whole = of_group.entry([group]).or_insert_with(|| none.clone());
            if entry.resources.is_empty() || entry.resources.iter().any(|pattern| pattern == "*") {
                whole.insert(i);
            }
            for pattern in &entry.resources {
                // The first slash ends the resource, unless that is the whole pattern.
                let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
                let whole = (pattern.as_str(), "");
                let split = (!subresource.is_empty()).then_some((resource, subresource));
                for (resource, subresource) in split.into_iter().chain([whole]) {
                    let key = [group, resource.as_bytes(), subresource.as_bytes()];
                    exact.entry(key).or_insert_with(|| none.clone()).insert(i);
                }
                nested |= subresource.contains('/');
                if let Some(resource) = pattern.strip_suffix("/*") {
                    of_resource
                        .entry([group, resource.as_bytes()])
                        .or_insert_with(|| none.clone())
                        .insert(i);
                }
                if let Some(subresource) = pattern.strip_prefix("*/")
                    && !subresource.is_empty()
                {
                    of_subresource
                        .entry([group, subresource.as_bytes()])
                        .or_insert_with(|| none.clone())
                        .insert(i);
                }
            }
        }
        let any_group = of_group.contains_key(&[ANY_GROUP]);
        if let Some(whole) = of_group.get(&[ANY_GROUP]) {
            unlisted.unite(whole);
        }
        let mut whole_answers: Listing<'_, 3> = Listing::new();
        for ([group, resource, subresource], rules) in &exact {
            let parts = [
                of_group.get(&[*group]),
                of_resource.get(&[*group, resource]),
                of_resource.get(&[ANY_GROUP, resource]),
                of_subresource.get(&[*group, subresource]),
                of_subresource.get(&[ANY_GROUP, subresource]),
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
        Resources {
            exact: Index::new(&whole_answers, sets),
            of_group: Strings::with_rest(of_group, unlisted, sets),
            of_resource: Index::new(&of_resource, sets),
            of_subresource: Index::new(&of_subresource, sets),
            any_group,
            nested,
        }
    }

    /// The whole answer, if an entry spells the resource out.
    #[inline]
    fn whole(&self, request: &Resource<'_>) -> Option<Set> {
        self.exact
            .get(&[request.group, request.resource, request.subresource])
    }

    /// Otherwise the first part: the rules for the group as a whole.
    #[inline]
    fn group(&self, request: &Resource<'_>) -> Set {
        self.of_group.get(request.group)
    }

    /// Adds the other parts: at most five, for which a union has room.
    #[inline]
    fn add_wildcards(&self, request: &Resource<'_>, rules: &mut Union) {
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

/// The path of a non-resource request: the rules that let it through.
#[derive(Debug)]
struct Urls {
    /// Paths that are spelt out, each with the prefixes that fit it.
    exact: Index<1>,
    /// Prefixes, each with the shorter ones that fit it.
    prefixes: Index<1>,
    /// How long prefixes are, longest first.
    lengths: Box<[usize]>,
    unlisted: Set,
}

impl Urls {
    fn new(rules: &[Option<&Rule>], sets: &mut Sets) -> Urls {
        let unlisted = rules_where(rules, |rule| {
            rule.non_resource_urls.is_empty()
                && rule.resources.is_empty()
                && rule.namespaces.is_empty()
        });
        let mut exact: Listing<'_, 1> = Listing::new();
        let mut prefixes: Listing<'_, 1> = Listing::new();
        for (i, rule) in placed(rules) {
            for spec in &rule.non_resource_urls {
                let (listing, key) = match url_prefix(spec) {
                    Some(prefix) => (&mut prefixes, prefix),
                    None => (&mut exact, spec.as_str()),
                };
                listing
                    .entry([key.as_bytes()])
                    .or_insert_with(|| unlisted.clone())
                    .insert(i);
            }
        }
        let lengths: BTreeSet<usize> = prefixes.keys().map(|[prefix]| prefix.len()).collect();
        let with_prefixes = |listing: &Listing<'_, 1>, sets: &mut Sets| {
            let mut whole = listing.clone();
            for ([path], rules) in &mut whole {
                let shorter = lengths
                    .iter()
                    .filter_map(|&length| prefixes.get(&[path.get(..length)?]));
                shorter.for_each(|shorter| rules.unite(shorter));
            }
            Index::new(&whole, sets)
        };
        Urls {
            exact: with_prefixes(&exact, sets),
            prefixes: with_prefixes(&prefixes, sets),
            lengths: lengths.iter().rev().copied().collect(),
            unlisted: sets.add(&unlisted),
        }
    }

    fn get(&self, path: &[u8]) -> Set {
        let prefix = |&length: &usize| self.prefixes.get(&[path.get(..length)?]);
        self.exact
            .get(&[path])
            .or_else(|| self.lengths.iter().find_map(prefix))
            .unwrap_or(self.unlisted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Syntax;
    use super::*;

    #[test]
    fn is_shared_between_threads() {
        fn assert<T: Send + Sync>() {}
        assert::<Ruleset>();
    }

    fn policy(rules: &[String]) -> Policy {
        let text = format!(
            "---\n{{apiVersion: audit.k8s.io/v1, rules: [{}]}}",
            rules.join(",")
        );
        let parsed = Policy::parse("p", text.as_bytes(), Syntax::File);
        parsed.unwrap().policy
    }

    #[test]
    fn kinds_of_rules_have_words_of_their_own() {
        let kinds = [
            "users: [a]",
            "verbs: [get]",
            "userGroups: [g]",
            "namespaces: [ns]",
        ];
        for (counts, words) in [
            ([10, 0, 3, 4], 1),
            ([64, 16, 3, 4], 3),
            ([65, 17, 15, 0], 3),
            ([100, 100, 100, 100], 8),
            ([1000, 1000, 1000, 1000], 63),
            ([4096, 0, 0, 0], 64),
            ([2048, 2000, 24, 24], 64),
        ] {
            let rules: Vec<String> = (0..4096)
                .flat_map(|i| (0..4).filter(move |&kind| i < counts[kind]))
                .map(|kind| format!("{{level: None, {}}}", kinds[kind]))
                .collect();
            let order = positions(&policy(&rules).rules);
            assert_eq!(order.len().div_ceil(64), words, "{counts:?}");
            for word in order.chunks(64) {
                let numbers: Vec<usize> = word.iter().flatten().copied().collect();
                assert!(numbers.is_sorted());
            }
            let mut numbers: Vec<usize> = order.into_iter().flatten().collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..rules.len()));
        }
    }

    #[test]
    fn users_in_many_of_the_groups_named() {
        let rule =
            |i: usize| format!("{{level: Metadata, userGroups: [group-{i}], verbs: [verb-{i}]}}");
        let rules: Vec<String> = (0..100).map(rule).collect();
        let ruleset = Ruleset::compile(&policy(&rules));
        let names: Vec<String> = (0..100).map(|i| format!("group-{i}")).collect();
        let groups: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        for (count, expected) in [(0, None), (90, None), (98, Some(97)), (100, Some(97))] {
            let user = Some(User {
                name: b"alice",
                groups: &groups[..count],
            });
            let target = Target::NonResource { path: b"/" };
            let decision = ruleset.decide(&Attributes {
                user,
                verb: b"verb-97",
                target,
            });
            assert_eq!(decision.rule, expected, "{count} groups");
        }
    }
}
