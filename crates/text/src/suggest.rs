//! "Did you mean": finds the known name that is closest to an unknown one.

/// The longest name that is compared, in bytes; nobody misspells a longer one.
const MAX_LEN: usize = 64;

/// Finds the candidate that `name` was most likely meant to be, if one is close enough.
///
/// Letter case does not count. About one typing error in three characters is forgiven.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_LEN {
        return None;
    }
    let name = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_LEN)
        .map(|candidate| (distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, candidate)| distance <= name.len().max(candidate.len()) / 3)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (x, start) in a.chars().zip(1..) {
        let mut row = Vec::with_capacity(last.len());
        let mut left: usize = start;
        row.push(left);
        for (j, (&y, above)) in b.iter().zip(last.windows(2)).enumerate() {
            let &[diagonal, up] = above else { continue };
            let mut cost = diagonal
                .saturating_add(usize::from(x != y))
                .min(up.saturating_add(1))
                .min(left.saturating_add(1));
            let before = j.checked_sub(1).filter(|&j| b.get(j) == Some(&x));
            if previous == Some(y)
                && let Some(swapped) = before.and_then(|j| before_last.get(j))
            {
                cost = cost.min(swapped.saturating_add(1));
            }
            row.push(cost);
            left = cost;
        }
        before_last = std::mem::replace(&mut last, row);
        previous = Some(x);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = [
            "level",
            "users",
            "userGroups",
            "nonResourceURLs",
            "omitStages",
        ];
        for (name, expected) in [
            ("usergroups", Some("userGroups")),
            ("nonResourceUrls", Some("nonResourceURLs")),
            ("nonResourceURL", Some("nonResourceURLs")),
            ("user", Some("users")),
            ("omitStage", Some("omitStages")),
            ("lveel", Some("level")),
            ("foo", None),
            ("", None),
            ("größe", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
        assert_eq!(nearest(&"u".repeat(1000), names), None);
    }

    #[test]
    fn counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
            ("a", "a", 0),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }
}
