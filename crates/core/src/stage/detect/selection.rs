//! The option `Detect`: which detections are enabled.

use super::severity::Severity;

/// Which detections are enabled: words that add to the set or take out of it, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// Says whether it takes detections out.
    removes: bool,
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    All,
    Severity(Severity),
    Id(String),
}

impl Selection {
    /// Enables all.
    pub fn all() -> Selection {
        Selection {
            words: vec![Word {
                removes: false,
                which: Which::All,
            }],
        }
    }

    /// Reads the value of the option: words separated by commas or blanks; `off` selects
    /// nothing. Whether ids exist is checked where all of them are known.
    ///
    /// ```
    /// use kube_audit_core::stage::detect::Selection;
    ///
    /// assert!(Selection::parse("off").is_empty());
    /// assert!(!Selection::parse("medium,secret-read,-bulk-delete").is_empty());
    /// ```
    pub fn parse(value: &str) -> Selection {
        let words = value
            .split([',', ' ', '\t'])
            .filter(|word| !word.is_empty());
        let words = words.filter_map(|word| {
            let (removes, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word),
            };
            let name = name.to_ascii_lowercase();
            let which = match (&*name, Severity::from_name(&name)) {
                ("off" | "false" | "no", _) if !removes => return None,
                ("on" | "true" | "yes" | "all", _) => Which::All,
                (_, Some(severity)) => Which::Severity(severity),
                _ => Which::Id(name),
            };
            Some(Word { removes, which })
        });
        Selection {
            words: words.collect(),
        }
    }

    /// Says whether it selects nothing, whatever detections there are.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns the ids that it names.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.words.iter().filter_map(|word| match &word.which {
            Which::Id(id) => Some(id.as_str()),
            Which::All | Which::Severity(_) => None,
        })
    }

    /// Says whether it selects a detection. A severity adds those of it and above, and takes
    /// out those of it alone, so that `all,-low` is what it looks like.
    pub(super) fn has(&self, id: &str, severity: Severity) -> bool {
        self.words.iter().fold(false, |selected, word| {
            let meant = match &word.which {
                Which::All => true,
                Which::Severity(least) if word.removes => severity == *least,
                Which::Severity(least) => severity >= *least,
                Which::Id(name) => name == id,
            };
            if meant { !word.removes } else { selected }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_add_and_take_out_from_left_to_right() {
        for (value, id, severity, want) in [
            ("on", "a", Severity::Low, true),
            ("ALL", "a", Severity::Low, true),
            ("off", "a", Severity::Critical, false),
            ("", "a", Severity::Critical, false),
            ("medium", "a", Severity::Low, false),
            ("medium", "a", Severity::Medium, true),
            ("Medium", "a", Severity::Critical, true),
            ("medium,a", "a", Severity::Low, true),
            ("medium a", "b", Severity::Low, false),
            ("medium, -a", "a", Severity::High, false),
            ("-a,medium", "a", Severity::High, true),
            ("all,-low", "a", Severity::Low, false),
            ("all,-low", "a", Severity::High, true),
            ("all,-low,a", "a", Severity::Low, true),
            ("all,-all", "a", Severity::Low, false),
        ] {
            assert_eq!(
                Selection::parse(value).has(id, severity),
                want,
                "{value} {id}"
            );
        }
    }

    #[test]
    fn ids_are_what_is_no_other_word() {
        let selection = Selection::parse("medium,-on,exec-into-pod,-x off");
        assert_eq!(selection.ids().collect::<Vec<_>>(), ["exec-into-pod", "x"]);
    }
}
