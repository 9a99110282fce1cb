//! Sorting, for all types in one: the standard library's sort is compiled anew for each
//! type, and takes some four kilobytes of code every time.

/// Numbers by which something is sorted, the first one first.
pub(crate) type Rank = [usize; 5];

/// Sorts by rank; what is of the same rank keeps its order.
pub(crate) fn sort_by_rank<T: Clone>(items: &mut [T], rank: impl Fn(&T) -> Rank) {
    let mut ranked: Vec<(Rank, usize)> = items.iter().map(rank).zip(0..).collect();
    ranked.sort_unstable();
    let before = items.to_vec();
    for (item, (_, place)) in items.iter_mut().zip(ranked) {
        if let Some(before) = before.get(place) {
            item.clone_from(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_keeps_the_order_of_equals() {
        let words = ["ccc", "a", "bb", "dd", "", "e"];
        let mut sorted = words;
        sort_by_rank(&mut sorted, |word| [word.len(), 0, 0, 0, 0]);
        assert_eq!(sorted, ["", "a", "e", "bb", "dd", "ccc"]);
        sort_by_rank(&mut sorted, |word| [0, 0, 0, 0, !word.len()]);
        assert_eq!(sorted, ["ccc", "bb", "dd", "a", "e", ""]);
    }
}
