//! Names of types and system calls, by number. Packed by `build.rs`.

// ARCHES: code, name, first and last run. RUNS: numbers left out, numbers, first name.
include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// The number of a type of records.
pub(crate) fn type_number(name: &[u8]) -> Option<u32> {
    let (mut low, mut high) = (0, TYPES.len());
    while low < high {
        let middle = low.midpoint(high);
        match type_at(middle).cmp(name) {
            std::cmp::Ordering::Equal => return TYPES.get(middle).map(|&number| number.into()),
            std::cmp::Ordering::Less => low = middle.saturating_add(1),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

/// The name of a type of records.
pub(crate) fn type_name(number: u32) -> Option<&'static [u8]> {
    let at = TYPES.iter().position(|&other| u32::from(other) == number)?;
    Some(type_at(at))
}

fn type_at(at: usize) -> &'static [u8] {
    let end = |at| TYPE_ENDS.get(at).map_or(0, |&end| usize::from(end));
    let start = at.checked_sub(1).map_or(0, end);
    TYPE_NAMES.get(start..end(at)).unwrap_or_default()
}

/// An architecture whose system calls have names.
#[derive(Clone, Copy)]
pub(crate) struct Arch {
    name: u16,
    first: u16,
    last: u16,
}

impl Arch {
    /// Finds an architecture by its code, such as `c000003e`.
    pub(crate) fn of(code: u32) -> Option<Arch> {
        let arch = ARCHES.iter().find(|arch| arch.0 == code);
        arch.map(|&(_, name, first, last)| Arch { name, first, last })
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static [u8] {
        call_at(self.name)
    }

    /// The name of a system call.
    pub(crate) fn call(self, number: u16) -> Option<&'static [u8]> {
        let runs = RUNS.get(usize::from(self.first)..usize::from(self.last))?;
        let mut from = 0u16;
        for &[gap, count, high, low] in runs {
            from = from.saturating_add(gap.into());
            let place = number.checked_sub(from)?;
            if place < count.into() {
                return Some(call_at(
                    u16::from_be_bytes([high, low]).saturating_add(place),
                ));
            }
            from = from.saturating_add(count.into());
        }
        None
    }
}

fn call_at(index: u16) -> &'static [u8] {
    let (before, from) = CALL_LENGTHS
        .split_at_checked(index.into())
        .unwrap_or_default();
    let start = before
        .iter()
        .fold(0, |sum: usize, &length| sum.saturating_add(length.into()));
    let length = from.first().map_or(0, |&length| usize::from(length));
    let rest = CALL_NAMES.get(start..).unwrap_or_default();
    rest.get(..length).unwrap_or_default()
}

/// Returns whether plain decimal values of a field are numbers.
pub(crate) fn is_integer(field: &[u8]) -> bool {
    is_in(field, &INTEGERS)
}

/// Returns whether values of a field are in hex where they hold what cannot be quoted.
pub(crate) fn is_encoded(field: &[u8]) -> bool {
    is_in(field, &ENCODED)
}

fn is_in(name: &[u8], mut table: &[u8]) -> bool {
    while let [length, count, rest @ ..] = table {
        let length = usize::from(*length);
        let size = length.saturating_mul(usize::from(*count));
        let Some((names, rest)) = rest.split_at_checked(size) else {
            break;
        };
        if length == name.len() {
            return names.chunks_exact(length).any(|other| other == name);
        }
        table = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types() {
        for (number, name) in [
            (1005, "USER"),
            (1300, "SYSCALL"),
            (1320, "EOE"),
            (1507, "APPARMOR_KILL"),
        ] {
            assert_eq!(type_name(number), Some(name.as_bytes()));
            assert_eq!(type_number(name.as_bytes()), Some(number));
        }
        assert_eq!(type_name(1899), None);
        assert_eq!(type_number(b""), None);
        assert_eq!(type_number(b"ZZZ"), None);
        for (at, &number) in TYPES.iter().enumerate() {
            assert_eq!(type_number(type_at(at)), Some(number.into()));
        }
    }

    #[test]
    fn names_of_calls_are_those_of_the_list() {
        let list = include_str!("../tables/calls.txt");
        let mut rows = list
            .lines()
            .skip(1)
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let head = rows.next().unwrap();
        let rows: Vec<_> = rows.collect();
        for (column, arch) in head.iter().enumerate().skip(1) {
            let (name, code) = arch.split_once(':').unwrap();
            let arch = Arch::of(u32::from_str_radix(code, 16).unwrap()).unwrap();
            assert_eq!(arch.name(), name.as_bytes());
            let mut known = 0;
            for row in &rows {
                if let Ok(number) = row[column].parse() {
                    assert_eq!(
                        arch.call(number),
                        Some(row[0].as_bytes()),
                        "{name} {number}"
                    );
                    known += 1;
                }
            }
            let named = (0..=u16::MAX).filter(|&number| arch.call(number).is_some());
            assert_eq!(named.count(), known, "{name}");
        }
        assert!(Arch::of(0).is_none());
    }

    #[test]
    fn fields() {
        assert!(is_integer(b"pid") && is_integer(b"old-auid") && !is_integer(b"a0"));
        assert!(is_encoded(b"proctitle") && is_encoded(b"vm") && !is_encoded(b"pid"));
        assert!(!is_integer(b"") && !is_encoded(b"a name that is longer than any"));
    }

    #[test]
    fn tables_are_small() {
        let size = size_of_val(&ARCHES)
            + size_of_val(&RUNS)
            + CALL_NAMES.len()
            + CALL_LENGTHS.len()
            + size_of_val(&TYPES)
            + TYPE_NAMES.len()
            + size_of_val(&TYPE_ENDS)
            + INTEGERS.len()
            + ENCODED.len();
        assert!(size < 15 << 10, "{size}");
    }
}
