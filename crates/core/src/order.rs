//! Sorting, for all types in one: the standard library's sort is compiled anew for each
//! type, and takes some four kilobytes of code every time.

/// Numbers by which something is sorted, the first one first.
pub(crate) type Rank = [usize; 5];

/// So few items are swapped in place.
const FEW: usize = 16;

/// Sorts by rank; what is of the same rank keeps its order. Allocates for many items.
pub(crate) fn sort_by_rank<T: Clone>(items: &mut [T], rank: impl Fn(&T) -> Rank) {
    if items.len() <= FEW {
        for end in 1..items.len() {
            for at in (1..=end).rev() {
                match items.get_mut(..=at) {
                    Some([.., a, b]) if rank(a) > rank(b) => std::mem::swap(a, b),
                    _ => break,
                }
            }
        }
        return;
    }
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
        for length in [0, 1, 2, 7, FEW, FEW + 1, 100] {
            // All of them, in an order without pattern.
            let numbers: Vec<usize> = (0..length).map(|at| at * 73 % length).collect();
            let mut sorted = numbers.clone();
            sort_by_rank(&mut sorted, |&number| [0, 0, number, 0, 0]);
            assert!(sorted.iter().copied().eq(0..length), "{sorted:?}");

            let mut by_half = numbers.clone();
            sort_by_rank(&mut by_half, |&number| [0, number % 2, 0, 0, 0]);
            let half = |rest| numbers.iter().filter(move |&number| number % 2 == rest);
            assert!(by_half.iter().eq(half(0).chain(half(1))), "{by_half:?}");
        }
    }
}
