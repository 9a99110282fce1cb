//! A block of rules and its search for the first one that matches.

use super::bitset::{BitSets, CAPACITY, SetId, Union, WORD};
use super::lookup::{Accepted, ResourceTable, StringTable, UrlTable, rules_where};
use crate::policy::{Attributes, Rule, Target, User};

/// Answer of a block to a request.
pub(super) enum Found {
    /// Number of the first rule that matches.
    Rule(usize),
    /// The tables have no answer for this kind of request; the rules themselves have one.
    NotIndexed,
}

/// Consecutive rules of a policy, at most [`CAPACITY`], with their tables.
#[derive(Debug)]
pub(super) struct Block {
    /// Numbers of the rules by position in the sets, ascending inside a word; positions
    /// without a rule have a number without meaning.
    numbers: Box<[usize]>,
    sets: BitSets,
    users: StringTable,
    user_groups: StringTable,
    verbs: StringTable,
    namespaces: StringTable,
    /// `resourceNames` of a rule's entries together; `resources` ignores them.
    names: StringTable,
    resources: ResourceTable,
    urls: UrlTable,
    /// Rules with `users`.
    with_users: SetId,
    /// Rules with `userGroups`.
    with_groups: SetId,
    /// Rules with `resourceNames`. They need a second look, because a name counts only
    /// together with its own entry.
    with_names: SetId,
}

impl Block {
    pub(super) fn new(start: usize, rules: &[Rule]) -> Block {
        let order = positions(rules);
        let rules: Vec<Option<&Rule>> = order.iter().map(|i| rules.get((*i)?)).collect();
        let rules = rules.as_slice();
        let mut sets = BitSets::default();
        let mut block = Block {
            numbers: order
                .iter()
                .map(|i| start.saturating_add(i.unwrap_or_default()))
                .collect(),
            users: StringTable::new(rules, &mut sets, |rule| Accepted::of(&rule.users)),
            user_groups: StringTable::new(rules, &mut sets, |rule| Accepted::of(&rule.user_groups)),
            verbs: StringTable::new(rules, &mut sets, |rule| Accepted::of(&rule.verbs)),
            namespaces: StringTable::new(rules, &mut sets, |rule| Accepted::of(&rule.namespaces)),
            names: StringTable::new(rules, &mut sets, Accepted::of_names),
            resources: ResourceTable::new(rules, &mut sets),
            urls: UrlTable::new(rules, &mut sets),
            with_users: sets.add(&rules_where(rules, |rule| !rule.users.is_empty())),
            with_groups: sets.add(&rules_where(rules, |rule| !rule.user_groups.is_empty())),
            with_names: sets.add(&rules_where(rules, asks_for_name)),
            sets,
        };
        block.sets.finish();
        block
    }

    /// Finds the first rule that matches. Not inlined, or every decision would prepare for
    /// several blocks, which hardly any policy has.
    #[inline(never)]
    pub(super) fn first(&self, request: &Attributes<'_>, rules: &[Rule]) -> Option<Found> {
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

    /// Finds the least number among the rules in `matching` that accept the user and pass
    /// `sure`, the check of names.
    ///
    /// The user's strings are the longest of all, so they are looked up only if a rule
    /// asks for them, or at once where that may leave out whole words.
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        reason = "positions of bits in words of 64, and each position has a number"
    )]
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
        // Built in place: moving it costs more than the look-ups.
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
                let number = self.numbers[word * WORD + rule];
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

    /// Looks up the rules that accept the user's name.
    fn by_name(&self, user: Option<User<'_>>) -> SetId {
        user.map_or(self.users.unlisted, |user| self.users.get(user.name))
    }

    /// Adds the rules that accept one of the user's groups; false if the user is in more of
    /// the groups that rules name than a union has room for.
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

/// Orders the rules for the sets: in words of 64, each in the order of the policy.
///
/// Rules that have the same kinds of selectors get words of their own, partly empty if need
/// be, so that one failing selector rules out whole words. Kinds with few rules share words.
fn positions(rules: &[Rule]) -> Vec<Option<usize>> {
    let mut kinds = vec![Vec::new(); 1 << 6];
    for (i, rule) in rules.iter().enumerate() {
        let kind = [
            rule.users.is_empty(),
            rule.user_groups.is_empty(),
            rule.resources.is_empty(),
            rule.namespaces.is_empty(),
            rule.non_resource_urls.is_empty(),
            rule.verbs.is_empty(),
        ];
        let kind = kind
            .into_iter()
            .fold(0, |kind, is_empty| kind << 1 | usize::from(is_empty));
        if let Some(rules) = kinds.get_mut(kind) {
            rules.push(Some(i));
        }
    }
    // Words that may stay partly empty.
    let mut spare = (CAPACITY / WORD).saturating_sub(rules.len().div_ceil(WORD));
    let mut order = Vec::new();
    let mut others = vec![None; rules.len()];
    for word in kinds.iter().flat_map(|kind| kind.chunks(WORD)) {
        let full = word.len() == WORD;
        if full || word.len() >= ENOUGH && spare > 0 {
            spare = spare.saturating_sub(usize::from(!full));
            order.extend_from_slice(word);
            order.resize(order.len().next_multiple_of(WORD), None);
        } else {
            for rule in word.iter().flatten() {
                if let Some(other) = others.get_mut(*rule) {
                    *other = Some(*rule);
                }
            }
        }
    }
    order.extend(others.into_iter().filter(Option::is_some));
    order
}

/// Rules of a kind that are worth a word of their own.
const ENOUGH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Syntax};

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
}
