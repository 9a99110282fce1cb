//! Settings of the redaction: redactors, their modes, and what users add.

use crate::available::RedactionAvailable;
use crate::doc::path::{Path, PathError};
use crate::redactor::{Counts, Redactor};
use crate::stage::redact::mark::{Key, SHORTEST_KEY};
use crate::stage::redact::names::{LONGEST, Names};
use kube_audit_text::suggest::nearest;

/// The extent to which a redactor hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// All that the redactor is for.
    On,
    /// All values.
    All,
    /// Values with a secret name.
    Named,
    /// Words that are not known to be harmless.
    Words,
    /// Queries.
    Query,
}

impl Redactor {
    /// The modes that the option `Redact` can give it, the default first; empty for those
    /// that other options, or none, turn on.
    fn modes(self) -> &'static [Mode] {
        use Mode::{All, Named, Off, On, Query, Words};
        match self {
            Redactor::ConfigMap | Redactor::Env => &[All, Named, Off],
            Redactor::Args => &[Named, All, Off],
            Redactor::Exec => &[Words, Named, All, Off],
            Redactor::Proxy => &[Query, All, Off],
            Redactor::Annotation => &[On, All, Off],
            Redactor::Csr => &[Off, On],
            Redactor::Deep | Redactor::Path => &[],
            _ => &[On, Off],
        }
    }

    fn default_mode(self) -> Mode {
        self.modes().first().copied().unwrap_or(Mode::On)
    }
}

impl Mode {
    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::On => "on",
            Mode::All => "all",
            Mode::Named => "named",
            Mode::Words => "words",
            Mode::Query => "query",
        }
    }
}

/// Settings of the redaction.
#[derive(Clone, Debug)]
pub struct Settings {
    modes: [Mode; Redactor::ALL.len()],
    /// Names that hold a secret.
    pub names: Names,
    /// Makes marks of equal values equal.
    pub key: Option<Key>,
    /// Places that are hidden.
    pub paths: Vec<Place>,
    /// Places that stay as they are.
    pub keeps: Vec<Place>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            modes: Redactor::ALL.map(Redactor::default_mode),
            names: Names::default(),
            key: None,
            paths: Vec::new(),
            keeps: Vec::new(),
        }
    }
}

impl Settings {
    /// Hides nothing.
    pub(crate) fn off() -> Settings {
        Settings {
            modes: [Mode::Off; Redactor::ALL.len()],
            ..Settings::default()
        }
    }

    /// Reads the words of `Redact`: a base, `on` or `off`, and redactors with their modes.
    pub fn parse(words: &str) -> Result<Settings, SettingsError> {
        let words = words.to_ascii_lowercase();
        let words = || words.split(',').map(str::trim_ascii);
        let mut settings = Settings::default();
        let mut bases = words().filter(|word| matches!(*word, "on" | "off"));
        if bases.next() == Some("off") {
            settings = Settings::off();
        }
        if bases.next().is_some() {
            return Err(SettingsError::TwoBases);
        }
        let mut seen = Counts::default();
        for word in words().filter(|word| !matches!(*word, "on" | "off")) {
            if word.is_empty() {
                return Err(SettingsError::EmptyWord);
            }
            let (name, mode) = match word.split_once('=') {
                Some((name, mode)) => (name.trim_ascii(), Some(mode.trim_ascii())),
                None => (word, None),
            };
            let redactor = Redactor::from_name(name)
                .filter(|redactor| !redactor.modes().is_empty())
                .ok_or_else(|| SettingsError::unknown(name))?;
            if seen.of(redactor) > 0 {
                return Err(SettingsError::Twice(redactor.name()));
            }
            seen.add(redactor, 1);
            settings.set(redactor, mode)?;
        }
        Ok(settings)
    }

    fn set(&mut self, redactor: Redactor, mode: Option<&str>) -> Result<(), SettingsError> {
        let modes = redactor.modes();
        let turned_on = modes.iter().find(|mode| **mode != Mode::Off).copied();
        let mode = match mode {
            None | Some("on") => turned_on,
            Some(name) => modes.iter().find(|mode| mode.name() == name).copied(),
        }
        .ok_or_else(|| SettingsError::Mode {
            redactor: redactor.name(),
            found: mode.unwrap_or_default().into(),
            modes: listed(modes.iter().map(|mode| mode.name())),
        })?;
        if let Some(place) = self.modes.get_mut(redactor.index()) {
            *place = mode;
        }
        Ok(())
    }

    /// Adds the names of `Redact_Names`, separated by commas or blanks.
    pub fn add_names(&mut self, names: &str) -> Result<(), SettingsError> {
        let is_between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t' | b'\n');
        let names = names.as_bytes().split(is_between);
        for name in names.filter(|name| !name.is_empty()) {
            if !self.names.add(name) {
                return Err(SettingsError::Name(String::from_utf8_lossy(name).into()));
            }
        }
        Ok(())
    }

    /// Sets `Redact_Key`.
    pub fn set_key(&mut self, key: &[u8]) -> Result<(), SettingsError> {
        self.key = Some(Key::new(key).ok_or(SettingsError::ShortKey(key.len()))?);
        Ok(())
    }

    /// The mode of a redactor.
    pub fn mode(&self, redactor: Redactor) -> Mode {
        self.modes
            .get(redactor.index())
            .copied()
            .unwrap_or(Mode::On)
    }

    /// True if a redactor hides anything.
    pub fn is_on(&self, redactor: Redactor) -> bool {
        self.mode(redactor) != Mode::Off
    }

    /// True if users name places.
    pub fn has_places(&self) -> bool {
        !(self.paths.is_empty() && self.keeps.is_empty())
    }

    /// Describes the settings in one line, for the log.
    pub fn summary(&self) -> String {
        if RedactionAvailable::proof().is_none() {
            return "this library has no redaction, to be small: secrets in bodies, URIs and \
                    messages are passed on unless the policy leaves them out; the full library \
                    hides them"
                .to_owned();
        }
        if self.hides_nothing() {
            return "redaction is off: secrets in events are passed on".to_owned();
        }
        let default = Settings::default();
        let built_in = Redactor::ALL.into_iter();
        let built_in = built_in.filter(|redactor| !redactor.modes().is_empty());
        let changed = built_in
            .filter(|redactor| self.mode(*redactor) != default.mode(*redactor))
            .map(|redactor| format!(", {}={}", redactor.name(), self.mode(redactor).name()));
        let changed: String = changed.collect();
        let (paths, keeps) = (self.paths.len(), self.keeps.len());
        let more = [
            (paths, "places of Redact_Path"),
            (keeps, "places of Redact_Keep"),
        ];
        let more = more.iter().filter(|(count, _)| *count > 0);
        let more: String = more
            .map(|(count, what)| format!(", {count} {what}"))
            .collect();
        let key = if self.key.is_some() {
            ", marks with a key"
        } else {
            ""
        };
        format!("redaction is on{changed}{more}{key}")
    }

    /// Remarks about valid settings that users should know of: the option, and the
    /// sentence.
    pub fn remarks(&self) -> Vec<(&'static str, String)> {
        let mut remarks = Vec::new();
        if self.hides_nothing() {
            let text = "secrets in bodies, URIs and messages pass: turn off single redactors \
                        instead (`Redact env=named`)";
            remarks.push(("Redact", text.to_owned()));
        }
        for place in &self.keeps {
            if place.resource.is_of_secrets() {
                let text = format!("`{place}` passes on data of Secrets");
                remarks.push(("Redact_Keep", text));
            }
        }
        remarks
    }

    /// True if nothing is hidden at all.
    pub fn hides_nothing(&self) -> bool {
        let mut built_in = Redactor::ALL
            .into_iter()
            .filter(|redactor| !redactor.modes().is_empty());
        self.paths.is_empty() && built_in.all(|redactor| !self.is_on(redactor))
    }
}

/// Places in the objects of a resource, as `Redact_Path` and `Redact_Keep` name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The objects.
    pub resource: ResourcePattern,
    /// The path in each of them.
    pub path: Path,
}

/// The objects that have a [`Place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourcePattern {
    /// Objects of any resource.
    Any,
    /// The event itself.
    Event,
    /// Objects of one resource.
    One {
        /// Plural name.
        resource: String,
        /// API group, empty for the core group.
        group: String,
        /// Subresource, empty for none; `*` for any or none.
        subresource: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.resource {
            ResourcePattern::Any => f.write_str("*")?,
            ResourcePattern::Event => f.write_str("event")?,
            ResourcePattern::One {
                resource,
                group,
                subresource,
            } => {
                f.write_str(resource)?;
                if !group.is_empty() {
                    write!(f, ".{group}")?;
                }
                if !subresource.is_empty() {
                    write!(f, "/{subresource}")?;
                }
            }
        }
        write!(f, " {}", self.path)
    }
}

impl Place {
    /// Reads `RESOURCE POINTER`.
    pub fn parse(text: &str) -> Result<Place, SettingsError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(resource), Some(path), None) = (words.next(), words.next(), words.next()) else {
            return Err(SettingsError::NotAPlace(text.trim_ascii().into()));
        };
        Ok(Place {
            resource: ResourcePattern::parse(resource)?,
            path: Path::parse(path)?,
        })
    }

    /// Reads several places with `;` between them.
    pub fn parse_list(text: &str) -> impl Iterator<Item = Result<Place, SettingsError>> {
        let places = text
            .split(';')
            .filter(|place| !place.trim_ascii().is_empty());
        places.map(Place::parse)
    }
}

impl ResourcePattern {
    fn is_of_secrets(&self) -> bool {
        match self {
            ResourcePattern::Any => true,
            ResourcePattern::Event => false,
            ResourcePattern::One {
                resource, group, ..
            } => resource == "secrets" && group.is_empty(),
        }
    }

    fn parse(text: &str) -> Result<ResourcePattern, SettingsError> {
        match text {
            "*" => return Ok(ResourcePattern::Any),
            "event" => return Ok(ResourcePattern::Event),
            _ => {}
        }
        let error = |reason| SettingsError::Resource {
            found: text.into(),
            reason,
        };
        let (name, subresource) = text.split_once('/').unwrap_or((text, ""));
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(error("resources are written in lower case, in the plural"));
        }
        if resource == "core" || group == "core" || is_version(group) {
            return Err(error(
                "a resource is written without version, one of the core group without group",
            ));
        }
        let is_plain = |text: &str, others: &[u8]| {
            text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte)
            })
        };
        let begins_well = resource
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        let is_well_formed = begins_well
            && is_plain(resource, b"-")
            && is_plain(group, b"-.")
            && (subresource == "*" || is_plain(subresource, b""))
            && (text.len() == resource.len()
                || !group.is_empty()
                || !subresource.is_empty() && name.len() == resource.len());
        if !is_well_formed {
            return Err(error(
                "write `pods`, `deployments.apps`, `pods/status`, `*` or `event`",
            ));
        }
        Ok(ResourcePattern::One {
            resource: resource.into(),
            group: group.into(),
            subresource: subresource.into(),
        })
    }
}

/// True for `v1`, `v2beta1`.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v').and_then(after_digits) else {
        return false;
    };
    let minor = rest
        .strip_prefix("alpha")
        .or_else(|| rest.strip_prefix("beta"));
    rest.is_empty() || minor.and_then(after_digits) == Some("")
}

/// The text after the digits that it begins with.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

/// The reason why settings of the redaction are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing between two commas.
    #[error(
        "there is an empty word; write `on`, `off`, or redactors such as `env=named`, with commas between them"
    )]
    EmptyWord,
    /// More than one base.
    #[error("`on` or `off`, for all redactors, may be there once")]
    TwoBases,
    /// A word that is not a redactor.
    #[error("`{found}` is not a redactor; {meant}")]
    Unknown {
        /// The word.
        found: String,
        /// The redactors that would be right.
        meant: String,
    },
    /// A redactor more than once.
    #[error("the redactor `{0}` is there twice")]
    Twice(&'static str),
    /// A mode that a redactor does not have.
    #[error("`{redactor}` cannot be `{found}`; it can be {modes}")]
    Mode {
        /// The redactor.
        redactor: &'static str,
        /// The mode.
        found: String,
        /// The modes it has.
        modes: String,
    },
    /// Not a resource and a pointer.
    #[error("`{0}` must be `RESOURCE POINTER`, such as `configmaps /data/password`")]
    NotAPlace(String),
    /// Not a resource.
    #[error("the resource `{found}` is invalid: {reason}")]
    Resource {
        /// The text.
        found: String,
        /// The form that would be right.
        reason: &'static str,
    },
    /// Not a pointer.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A name that cannot be compared.
    #[error("the name `{0}` has no letters, or more than {LONGEST}")]
    Name(String),
    /// A key that can be guessed.
    #[error("it has {0} bytes; use at least {SHORTEST_KEY}")]
    ShortKey(usize),
}

impl SettingsError {
    fn unknown(word: &str) -> SettingsError {
        let names = || {
            let built_in = |redactor: &Redactor| !redactor.modes().is_empty();
            Redactor::ALL
                .into_iter()
                .filter(built_in)
                .map(Redactor::name)
        };
        SettingsError::Unknown {
            found: word.into(),
            meant: match nearest(word, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the redactors are {}", listed(names())),
            },
        }
    }
}

fn listed(words: impl Iterator<Item = &'static str>) -> String {
    let mut list = String::new();
    for word in words {
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(word);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_option() {
        let settings = Settings::parse("env=named, configmap=off").unwrap();
        assert_eq!(settings.mode(Redactor::Env), Mode::Named);
        assert!(!settings.is_on(Redactor::ConfigMap));
        assert!(settings.is_on(Redactor::Secret));
        assert!(!settings.is_on(Redactor::Csr));
        let settings = Settings::parse("secret, off, args, csr").unwrap();
        assert!(settings.is_on(Redactor::Secret) && settings.is_on(Redactor::Csr));
        assert_eq!(settings.mode(Redactor::Args), Mode::Named);
        assert!(!settings.is_on(Redactor::Env));
        assert!(Settings::parse("off").unwrap().hides_nothing());
        assert!(!Settings::parse("ON").unwrap().hides_nothing());
    }

    #[test]
    fn the_summary_names_what_differs_from_the_defaults() {
        let mut settings = Settings::parse("env=named, csr").unwrap();
        settings.paths.push(Place::parse("* /a").unwrap());
        assert_eq!(
            settings.summary(),
            "redaction is on, csr=on, env=named, 1 places of Redact_Path"
        );
        assert_eq!(Settings::default().summary(), "redaction is on");
        assert!(Settings::parse("off").unwrap().summary().contains("is off"));
        assert!(settings.remarks().is_empty());
        settings
            .keeps
            .push(Place::parse("secrets /data/x").unwrap());
        assert_eq!(settings.remarks()[0].0, "Redact_Keep");
        assert_eq!(Settings::parse("off").unwrap().remarks()[0].0, "Redact");
    }

    #[test]
    fn wrong_words_are_explained() {
        for (words, shown) in [
            ("env=some", "all, named, off"),
            ("env=named, env=off", "env"),
            ("secret,,env", "empty word"),
            ("on, off", "`on` or `off`"),
            ("secrets", "`secret`"),
            ("x", "annotation, args"),
            ("path", "not a redactor"),
            ("", "empty word"),
        ] {
            let error = Settings::parse(words).unwrap_err().to_string();
            assert!(error.contains(shown), "{error}");
        }
    }

    #[test]
    fn places() {
        let place = Place::parse(" pods.x.io/status  /spec/*/a ").unwrap();
        assert_eq!(
            place.resource,
            ResourcePattern::One {
                resource: "pods".into(),
                group: "x.io".into(),
                subresource: "status".into()
            }
        );
        assert_eq!(place.to_string(), "pods.x.io/status /spec/*/a");
        assert_eq!(
            Place::parse_list("* /a; event /b;")
                .filter_map(Result::ok)
                .count(),
            2
        );
        for (text, shown) in [
            ("pods spec.pin", "`/spec/pin`"),
            ("configmaps.v1 /data/x", "configmaps"),
            ("Pods /a", "lower case"),
            ("core /a", "core"),
            ("a.b /c d", "RESOURCE POINTER"),
            ("pods. /a", "write"),
            ("pods/ /a", "write"),
        ] {
            let error = Place::parse(text).unwrap_err().to_string();
            assert!(error.contains(shown), "{error}");
        }
    }

    #[test]
    fn names_and_keys() {
        let mut settings = Settings::default();
        settings.add_names("pin, door-code").unwrap();
        assert!(settings.names.is_secret_member(b"doorCode"));
        assert!(settings.add_names("-").is_err());
        assert!(settings.set_key(b"short").is_err());
        assert!(settings.set_key(b"0123456789abcdef").is_ok());
    }

    #[test]
    fn redactors_are_in_the_order_of_their_names() {
        assert!(Redactor::ALL.is_sorted_by_key(|redactor| redactor.name()));
        assert!(
            Redactor::ALL
                .iter()
                .enumerate()
                .all(|(at, r)| r.index() == at)
        );
    }
}
