//! Rotated files by their names, in the order in which they were written.
//!
//! | written by | names for `audit.log` | order |
//! |---|---|---|
//! | kube-apiserver (lumberjack 2.2.1) | `audit-2006-01-02T15-04-05.000.log`, `.gz` after it | time of the rotation |
//! | kubelet | `0.log.20230102-150405`, `.gz` after it | time of the rotation |
//! | logrotate, `dateext` | `audit.log-20230102`, `audit.log-20230102-1672617600`, `.gz` | date, seconds |
//! | logrotate | `audit.log.1`, `audit.log.2.gz` | the highest number is the oldest |

use std::cmp::Ordering;

use crate::disk::{Entry, FileId, Listing, Packing};

/// The age of a rotated file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// The time of its rotation: digits of a date and time, and what logrotate adds.
    Time(u64, u64),
    /// The number of rotations since.
    Number(u64),
}

impl Age {
    /// Orders by age, oldest first. Schemes are not mixed within one log.
    fn compare(self, other: Age) -> Ordering {
        match (self, other) {
            (Age::Time(a, b), Age::Time(c, d)) => (a, b).cmp(&(c, d)),
            (Age::Number(a), Age::Number(b)) => b.cmp(&a),
            (Age::Time(..), Age::Number(_)) => Ordering::Less,
            (Age::Number(_), Age::Time(..)) => Ordering::Greater,
        }
    }

    /// True if this file was certainly rotated after another one: numbers move with each
    /// rotation and tell nothing later.
    pub(crate) fn is_after(self, other: Age) -> bool {
        matches!((self, other), (Age::Time(a, b), Age::Time(c, d)) if (a, b) > (c, d))
    }
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sibling {
    /// The file.
    pub(crate) entry: Entry,
    /// `None` for the live file.
    pub(crate) age: Option<Age>,
    /// The way in which it holds the log.
    pub(crate) packing: Packing,
}

impl Sibling {
    fn is_before(&self, other: &Sibling) -> bool {
        match (self.age, other.age) {
            (Some(own), Some(age)) => own
                .compare(age)
                .then(self.packing.cmp(&other.packing))
                .is_lt(),
            (own, age) => own.is_some() && age.is_none(),
        }
    }
}

/// The files of a log, oldest first; the live one, if it exists, is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Siblings(pub(crate) Vec<Sibling>);

impl Siblings {
    /// Finds the files of the log in a listing. Of a file that is there plain and
    /// compressed, the plain one counts: the other may not be complete.
    pub(crate) fn of(listing: Listing) -> Siblings {
        let Listing { live, files } = listing;
        let mut siblings: Vec<Sibling> = Vec::new();
        for entry in files {
            let (age, packing) = match rotated(&live, &entry.name) {
                Some((age, packing)) => (Some(age), packing),
                None if entry.name == live => (None, Packing::Plain),
                None => continue,
            };
            let new = Sibling {
                entry,
                age,
                packing,
            };
            let place = siblings.partition_point(|before| before.is_before(&new));
            siblings.insert(place, new);
        }
        siblings.dedup_by(|later, earlier| later.age.is_some() && later.age == earlier.age);
        Siblings(siblings)
    }

    /// The live file.
    pub(crate) fn live(&self) -> Option<&Sibling> {
        self.0.last().filter(|sibling| sibling.age.is_none())
    }

    /// The place of the plain file of that identity.
    pub(crate) fn find(&self, id: FileId) -> Option<usize> {
        let is = |sibling: &Sibling| sibling.entry.id == id && sibling.packing == Packing::Plain;
        self.0.iter().position(is)
    }
}

/// The age and packing of a rotated file; `None` for a name that is none of the log's.
fn rotated(live: &str, name: &str) -> Option<(Age, Packing)> {
    let (name, packing) = match name.strip_suffix(".gz") {
        Some(name) => (name, Packing::Gzip),
        None => (name, Packing::Plain),
    };
    let age = lumberjack(live, name).or_else(|| after_the_name(name.strip_prefix(live)?))?;
    Some((age, packing))
}

/// `audit-2006-01-02T15-04-05.000.log`
fn lumberjack(live: &str, name: &str) -> Option<Age> {
    let (stem, extension) = match live.rsplit_once('.') {
        Some((stem, extension)) => (stem, Some(extension)),
        None => (live, None),
    };
    let rest = name.strip_prefix(stem)?.strip_prefix('-')?;
    let time = match extension {
        Some(extension) => rest.strip_suffix(extension)?.strip_suffix('.')?,
        None => rest,
    };
    const SHAPE: &[u8] = b"0000-00-00T00-00-00.000";
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *shape,
    };
    if time.len() != SHAPE.len() || !time.bytes().zip(SHAPE).all(fits) {
        return None;
    }
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    Some(Age::Time(digits.parse().ok()?, 0))
}

/// What kubelet and logrotate append to the name.
fn after_the_name(rest: &str) -> Option<Age> {
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let (separator, rest) = rest.split_at_checked(1)?;
    match (separator, rest.split_once('-')) {
        ("." | "-", Some((date, time))) if date.len() == 8 => {
            Some(Age::Time(number(date)?, number(time)?))
        }
        ("." | "-", None) if rest.len() == 8 => Some(Age::Time(number(rest)?, 0)),
        (".", None) if rest.len() <= 6 => Some(Age::Number(number(rest)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(live: &str, names: &[&str]) -> Vec<String> {
        let entry = |(at, name): (usize, &&str)| Entry {
            name: (*name).to_owned(),
            id: FileId {
                device: 1,
                inode: at as u64,
            },
            size: 1,
            modified: 0,
        };
        let listing = Listing {
            live: live.to_owned(),
            files: names.iter().enumerate().map(entry).collect(),
        };
        let siblings = Siblings::of(listing);
        siblings.0.into_iter().map(|one| one.entry.name).collect()
    }

    #[test]
    fn files_of_the_api_server() {
        assert_eq!(
            order(
                "audit.log",
                &[
                    "audit.log",
                    "audit-2026-11-20T08-00-01.000.log",
                    "audit-2026-11-20T08-00-00.999.log.gz",
                    "audit-2026-11-20T08-00-00.001.log",
                    // Plain and compressed for a while.
                    "audit-2026-11-20T08-00-00.001.log.gz",
                    "audit-2026-11-20T08-00-00.log",
                    "audit-policy.log",
                    "audit.log.kube-audit.db",
                    "audit-2026-11-20T08-00-00.001.txt",
                    "other.log",
                ]
            ),
            [
                "audit-2026-11-20T08-00-00.001.log",
                "audit-2026-11-20T08-00-00.999.log.gz",
                "audit-2026-11-20T08-00-01.000.log",
                "audit.log",
            ]
        );
        assert_eq!(
            order("audit", &["audit", "audit-2026-11-20T08-00-01.000"]),
            ["audit-2026-11-20T08-00-01.000", "audit"]
        );
    }

    #[test]
    fn files_of_kubelet_and_logrotate() {
        assert_eq!(
            order(
                "0.log",
                &[
                    "0.log",
                    "0.log.20230102-150405",
                    "0.log.20230102-150404.gz",
                    "1.log"
                ]
            ),
            ["0.log.20230102-150404.gz", "0.log.20230102-150405", "0.log"]
        );
        assert_eq!(
            order(
                "a.log",
                &["a.log.1", "a.log", "a.log.10.gz", "a.log.2.gz", "a.log.x"]
            ),
            ["a.log.10.gz", "a.log.2.gz", "a.log.1", "a.log"]
        );
        assert_eq!(
            order(
                "a.log",
                &[
                    "a.log-20230103",
                    "a.log-20230102-1672617600",
                    "a.log-20230102-1672617500.gz"
                ]
            ),
            [
                "a.log-20230102-1672617500.gz",
                "a.log-20230102-1672617600",
                "a.log-20230103"
            ]
        );
    }
}
