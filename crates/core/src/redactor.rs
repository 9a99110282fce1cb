//! Names of the redactors, and counts by redactor. Stages and counters share them.

/// A rule that hides values. Variants are in the order of their names, which is that of
/// the annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redactor {
    /// Annotations of events that others than the API server write.
    Annotation,
    /// Words of commands in bodies.
    Args,
    /// Data of ConfigMaps.
    ConfigMap,
    /// Places of custom resources whose names say nothing.
    Crd,
    /// Certificate signing requests.
    Csr,
    /// Bodies that are nested too deeply to be looked into.
    Deep,
    /// Values of environment variables.
    Env,
    /// Commands that are run in containers.
    Exec,
    /// Extra fields of users.
    Extra,
    /// Copies of an object in its annotations.
    LastApplied,
    /// Messages of failed requests.
    Message,
    /// Members with a secret name.
    Named,
    /// Secrets that are known by their form.
    Net,
    /// Paths that the user gave.
    Path,
    /// Queries of requests that are passed on.
    Proxy,
    /// Data of Secrets.
    Secret,
    /// Tokens of service accounts and token reviews.
    Token,
    /// Parameters of URIs.
    Uri,
}

impl Redactor {
    /// All redactors, in the order of their names.
    pub const ALL: [Redactor; 18] = [
        Redactor::Annotation,
        Redactor::Args,
        Redactor::ConfigMap,
        Redactor::Crd,
        Redactor::Csr,
        Redactor::Deep,
        Redactor::Env,
        Redactor::Exec,
        Redactor::Extra,
        Redactor::LastApplied,
        Redactor::Message,
        Redactor::Named,
        Redactor::Net,
        Redactor::Path,
        Redactor::Proxy,
        Redactor::Secret,
        Redactor::Token,
        Redactor::Uri,
    ];

    /// The place among [`ALL`](Redactor::ALL).
    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The name in options, annotations and metrics.
    pub fn name(self) -> &'static str {
        // One text takes less room than a pointer to each.
        const NAMES: &str = "annotation args configmap crd csr deep env exec extra last-applied \
                             message named net path proxy secret token uri";
        let mut names = NAMES.split(' ');
        names.nth(self.index()).unwrap_or_default()
    }

    /// The reason for which it hides a value, in a few words.
    pub fn reason(self) -> &'static str {
        match self {
            Redactor::Annotation => "a webhook's patch, or what others than the API server wrote",
            Redactor::Args => "a word of a command that may be a secret",
            Redactor::ConfigMap => "data of a ConfigMap",
            Redactor::Crd => "a place of a custom resource that holds secrets",
            Redactor::Csr => "a certificate signing request",
            Redactor::Deep => "nested too deeply, or malformed",
            Redactor::Env => "the value of an environment variable",
            Redactor::Exec => "a word of a command that is not known to be harmless",
            Redactor::Extra => "an extra field of a user that holds a secret",
            Redactor::LastApplied => "a copy of the object with something secret in it",
            Redactor::Message => "a refused value that the message quotes",
            Redactor::Named => "a member with the name of a secret",
            Redactor::Net => "a secret by its form",
            Redactor::Path => "a place of Redact_Path",
            Redactor::Proxy => "a parameter of a request that is passed on",
            Redactor::Secret => "data of a Secret",
            Redactor::Token => "a token of a service account or user",
            Redactor::Uri => "a parameter with the name of a secret",
        }
    }

    /// The redactor of a name.
    pub fn from_name(name: &str) -> Option<Redactor> {
        let is_named = |redactor: &Redactor| redactor.name() == name;
        Redactor::ALL.into_iter().find(is_named)
    }
}

/// The number of values that each redactor has hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Redactor::ALL.len()]);

impl Counts {
    /// Adds to the count of a redactor.
    pub fn add(&mut self, redactor: Redactor, count: u64) {
        if let Some(place) = self.0.get_mut(redactor.index()) {
            *place = place.saturating_add(count);
        }
    }

    /// Adds other counts.
    pub fn add_all(&mut self, other: &Counts) {
        for (redactor, count) in other.iter() {
            self.add(redactor, count);
        }
    }

    /// The count of a redactor.
    pub fn of(&self, redactor: Redactor) -> u64 {
        self.0.get(redactor.index()).copied().unwrap_or_default()
    }

    /// The redactors that have hidden something, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (Redactor, u64)> + '_ {
        let counts = Redactor::ALL.into_iter().zip(self.0);
        counts.filter(|(_, count)| *count > 0)
    }

    /// True if nothing was hidden.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}
