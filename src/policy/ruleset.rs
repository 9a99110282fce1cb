//! A policy made ready to answer for many requests.
//!
//! For every selector there is a table from a request's value to the set of rules
//! that let it through. A decision looks up the few strings of a request,
//! intersects the sets and takes the first rule that is left, so it hardly
//! matters how many rules there are.

use super::index::{Index, Listing, Rules};
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

/// Some consecutive rules, in sets as small as their number allows.
#[derive(Debug)]
enum Block {
    Small(Box<Selectors<1>>),
    Medium(Box<Selectors<4>>),
    Large(Box<Selectors<16>>),
}

/// Longer policies are cut into blocks, which bounds the size of sets and so of tables.
const LARGEST_BLOCK: usize = Rules::<16>::CAPACITY;

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
        Ruleset {
            blocks: policy.rules.chunks(LARGEST_BLOCK).map(Block::new).collect(),
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
        let rule = match &request.target {
            // No server has such a resource, so it isn't worth an index.
            Target::Resource(resource) if resource.resource.contains(&b'/') => {
                self.rules.iter().position(|rule| rule.matches(request))
            }
            _ => self.first(request),
        };
        rule.and_then(|rule| self.decisions.get(rule))
            .copied()
            .unwrap_or(self.fallback)
    }

    fn first(&self, request: &Attributes<'_>) -> Option<usize> {
        let mut start = 0;
        for (block, rules) in self.blocks.iter().zip(self.rules.chunks(LARGEST_BLOCK)) {
            let found = match block {
                Block::Small(selectors) => selectors.first(request, rules),
                Block::Medium(selectors) => selectors.first(request, rules),
                Block::Large(selectors) => selectors.first(request, rules),
            };
            if let Some(rule) = found {
                return Some(start + rule);
            }
            start += rules.len();
        }
        None
    }
}

impl Block {
    fn new(rules: &[Rule]) -> Block {
        if rules.len() <= Rules::<1>::CAPACITY {
            Block::Small(Box::new(Selectors::new(rules)))
        } else if rules.len() <= Rules::<4>::CAPACITY {
            Block::Medium(Box::new(Selectors::new(rules)))
        } else {
            Block::Large(Box::new(Selectors::new(rules)))
        }
    }
}

/// What each selector lets through.
#[derive(Debug)]
struct Selectors<const W: usize> {
    users: Strings<W>,
    user_groups: Strings<W>,
    verbs: Strings<W>,
    namespaces: Strings<W>,
    /// `resourceNames`, rule by rule; `resources` pays no heed to them.
    names: Strings<W>,
    resources: Resources<W>,
    urls: Urls<W>,
    /// Rules that don't ask who the user is.
    for_anyone: Rules<W>,
    /// Rules whose entries of `resources` need a second look, because a name
    /// counts only together with its own entry.
    with_names: Rules<W>,
}

impl<const W: usize> Selectors<W> {
    fn new(rules: &[Rule]) -> Selectors<W> {
        let names = |rule: &Rule| {
            rule.resources
                .iter()
                .any(|entry| !entry.resource_names.is_empty())
        };
        Selectors {
            users: Strings::new(rules, |rule| Selector::of(&rule.users)),
            user_groups: Strings::new(rules, |rule| Selector::of(&rule.user_groups)),
            verbs: Strings::new(rules, |rule| Selector::of(&rule.verbs)),
            namespaces: Strings::new(rules, |rule| Selector::of(&rule.namespaces)),
            names: Strings::new(rules, Selector::of_names),
            resources: Resources::new(rules),
            urls: Urls::new(rules),
            for_anyone: rules_where(rules, |rule| {
                rule.users.is_empty() && rule.user_groups.is_empty()
            }),
            with_names: rules_where(rules, names),
        }
    }

    fn first(&self, request: &Attributes<'_>, rules: &[Rule]) -> Option<usize> {
        let (mut left, resource) = match &request.target {
            Target::Resource(resource) => {
                let mut left = self.resources.get(resource);
                left.intersect(self.namespaces.get(resource.namespace));
                left.intersect(self.names.get(resource.name));
                (left, Some(resource))
            }
            Target::NonResource { path } => (*self.urls.get(path), None),
        };
        left.intersect(self.verbs.get(request.verb));
        // Often the answer doesn't depend on the user, whose strings are the longest.
        let mut user_counted = false;
        loop {
            let rule = left.first()?;
            if !user_counted && !self.for_anyone.contains(rule) {
                self.intersect_user(&mut left, request.user.as_ref());
                user_counted = true;
                continue;
            }
            let doubtful = self.with_names.contains(rule);
            match resource.filter(|_| doubtful).zip(rules.get(rule)) {
                Some((resource, rule_itself)) if !rule_itself.selects(resource) => {
                    left.remove(rule)
                }
                _ => return Some(rule),
            }
        }
    }

    fn intersect_user(&self, left: &mut Rules<W>, user: Option<&User<'_>>) {
        let Some(user) = user else {
            left.intersect(&self.for_anyone);
            return;
        };
        left.intersect(self.users.get(user.name));
        let mut groups = self.user_groups.unlisted;
        for group in user.groups {
            if let Some(rules) = self.user_groups.listed.get(&[group]) {
                groups.unite(rules);
            }
        }
        left.intersect(&groups);
    }
}

fn rules_where<const W: usize>(rules: &[Rule], holds: impl Fn(&Rule) -> bool) -> Rules<W> {
    let mut set = Rules::NONE;
    for (i, _) in rules.iter().enumerate().filter(|(_, rule)| holds(rule)) {
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
struct Strings<const W: usize> {
    listed: Index<1, W>,
    /// For a string that no rule lists.
    unlisted: Rules<W>,
}

impl<const W: usize> Strings<W> {
    fn new(rules: &[Rule], selector: impl Fn(&Rule) -> Selector<'_>) -> Strings<W> {
        let mut listing: Listing<'_, 1, W> = Listing::new();
        let mut unlisted = Rules::NONE;
        for (i, rule) in rules.iter().enumerate() {
            let selector = selector(rule);
            for string in selector.listed {
                listing
                    .entry([string.as_bytes()])
                    .or_insert(Rules::NONE)
                    .insert(i);
            }
            if selector.open {
                unlisted.insert(i);
            }
        }
        listing
            .values_mut()
            .for_each(|rules| rules.unite(&unlisted));
        Strings {
            listed: Index::new(&listing),
            unlisted,
        }
    }

    #[inline]
    fn get(&self, string: &[u8]) -> &Rules<W> {
        self.listed.get(&[string]).unwrap_or(&self.unlisted)
    }
}

/// Group, resource and subresource of the request: the rules that let them through, names aside.
///
/// `exact` has the whole answer for everything that an entry spells out, so one look
/// is mostly enough. The other tables have parts, which only together are the answer.
#[derive(Debug)]
struct Resources<const W: usize> {
    exact: Index<3, W>,
    /// Rules for a group as a whole.
    of_group: Strings<W>,
    /// `R/*` by group and resource.
    of_resource: Index<2, W>,
    /// `*/S` by group and subresource.
    of_subresource: Index<2, W>,
}

/// The group that stands for all groups. For a request with this very group it is right as well.
const ANY_GROUP: &[u8] = b"*";

impl<const W: usize> Resources<W> {
    fn new(rules: &[Rule]) -> Resources<W> {
        let mut exact: Listing<'_, 3, W> = Listing::new();
        let mut of_group: Listing<'_, 1, W> = Listing::new();
        let mut of_resource: Listing<'_, 2, W> = Listing::new();
        let mut of_subresource: Listing<'_, 2, W> = Listing::new();
        let mut unlisted = rules_where(rules, |rule| {
            rule.resources.is_empty() && rule.non_resource_urls.is_empty()
        });
        let entries = rules
            .iter()
            .enumerate()
            .flat_map(|(i, rule)| rule.resources.iter().map(move |e| (i, e)));
        for (i, entry) in entries {
            let group = entry.group.as_bytes();
            let whole = of_group.entry([group]).or_insert(Rules::NONE);
            if entry.resources.is_empty() || entry.resources.iter().any(|pattern| pattern == "*") {
                whole.insert(i);
            }
            for pattern in &entry.resources {
                // A resource with a slash never gets here, so the first slash ends the resource.
                let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
                if !pattern.ends_with('/') || !subresource.is_empty() {
                    let key = [group, resource.as_bytes(), subresource.as_bytes()];
                    exact.entry(key).or_insert(Rules::NONE).insert(i);
                }
                if let Some(resource) = pattern.strip_suffix("/*") {
                    of_resource
                        .entry([group, resource.as_bytes()])
                        .or_insert(Rules::NONE)
                        .insert(i);
                }
                if let Some(subresource) = pattern.strip_prefix("*/") {
                    of_subresource
                        .entry([group, subresource.as_bytes()])
                        .or_insert(Rules::NONE)
                        .insert(i);
                }
            }
        }
        if let Some(whole) = of_group.get(&[ANY_GROUP]) {
            unlisted.unite(whole);
        }
        of_group
            .values_mut()
            .for_each(|rules| rules.unite(&unlisted));
        let of_group = Strings {
            listed: Index::new(&of_group),
            unlisted,
        };
        let parts = Resources {
            exact: Index::new(&exact),
            of_group,
            of_resource: Index::new(&of_resource),
            of_subresource: Index::new(&of_subresource),
        };
        for ([group, resource, subresource], rules) in &mut exact {
            rules.unite(&parts.unite(group, resource, subresource));
        }
        Resources {
            exact: Index::new(&exact),
            ..parts
        }
    }

    #[inline]
    fn get(&self, request: &Resource<'_>) -> Rules<W> {
        match self
            .exact
            .get(&[request.group, request.resource, request.subresource])
        {
            Some(rules) => *rules,
            None => self.unite(request.group, request.resource, request.subresource),
        }
    }

    /// Everything but the rules that spell it out for this very group.
    fn unite(&self, group: &[u8], resource: &[u8], subresource: &[u8]) -> Rules<W> {
        let mut rules = *self.of_group.get(group);
        let mut add = |part: Option<&Rules<W>>| part.into_iter().for_each(|part| rules.unite(part));
        add(self.exact.get(&[ANY_GROUP, resource, subresource]));
        for group in [group, ANY_GROUP] {
            add(self.of_resource.get(&[group, resource]));
            if !subresource.is_empty() {
                add(self.of_subresource.get(&[group, subresource]));
            }
        }
        rules
    }
}

/// The path of a non-resource request: the rules that let it through.
#[derive(Debug)]
struct Urls<const W: usize> {
    /// Paths that are spelt out, each with the prefixes that fit it.
    exact: Index<1, W>,
    /// Sorted by prefix.
    prefixes: Box<[Prefix<W>]>,
    unlisted: Rules<W>,
}

/// A non-resource URL up to its `*`.
#[derive(Debug)]
struct Prefix<const W: usize> {
    prefix: Box<[u8]>,
    /// The next shorter prefix of this prefix.
    shorter: Option<usize>,
    /// With the rules of all shorter ones.
    rules: Rules<W>,
}

impl<const W: usize> Urls<W> {
    fn new(rules: &[Rule]) -> Urls<W> {
        let unlisted = rules_where(rules, |rule| {
            rule.non_resource_urls.is_empty()
                && rule.resources.is_empty()
                && rule.namespaces.is_empty()
        });
        let mut exact: Listing<'_, 1, W> = Listing::new();
        let mut prefixes: Listing<'_, 1, W> = Listing::new();
        for (i, rule) in rules.iter().enumerate() {
            for spec in &rule.non_resource_urls {
                let (listing, key) = match url_prefix(spec) {
                    Some(prefix) => (&mut prefixes, prefix),
                    None => (&mut exact, spec.as_str()),
                };
                listing
                    .entry([key.as_bytes()])
                    .or_insert(unlisted)
                    .insert(i);
            }
        }
        let mut urls = Urls {
            exact: Index::new(&Listing::new()),
            prefixes: [].into(),
            unlisted,
        };
        let mut sorted: Vec<Prefix<W>> = Vec::with_capacity(prefixes.len());
        for ([prefix], mut rules) in prefixes {
            let shorter = longest_prefix(&sorted, prefix);
            if let Some(shorter) = shorter {
                rules.unite(&sorted[shorter].rules);
            }
            sorted.push(Prefix {
                prefix: prefix.into(),
                shorter,
                rules,
            });
        }
        urls.prefixes = sorted.into();
        for ([path], rules) in &mut exact {
            rules.unite(urls.by_prefix(path));
        }
        urls.exact = Index::new(&exact);
        urls
    }

    fn get(&self, path: &[u8]) -> &Rules<W> {
        self.exact
            .get(&[path])
            .unwrap_or_else(|| self.by_prefix(path))
    }

    fn by_prefix(&self, path: &[u8]) -> &Rules<W> {
        longest_prefix(&self.prefixes, path).map_or(&self.unlisted, |i| &self.prefixes[i].rules)
    }
}

/// The longest of the sorted prefixes that fits a path: what sorts right before the path,
/// or one of the prefixes of that.
fn longest_prefix<const W: usize>(sorted: &[Prefix<W>], path: &[u8]) -> Option<usize> {
    let mut candidate = sorted
        .partition_point(|prefix| *prefix.prefix <= *path)
        .checked_sub(1);
    while let Some(i) = candidate {
        if path.starts_with(&sorted[i].prefix) {
            break;
        }
        candidate = sorted[i].shorter;
    }
    candidate
}
