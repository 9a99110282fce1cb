//! Findings about files: sorts, places and messages.

use std::fmt;

use kube_audit_text::{Place, Source};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Works, but hardly as intended.
    Warning,
    /// Is refused, does not start, or loses data.
    Error,
}

impl Severity {
    /// Returns the name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    /// Returns the escape sequence that begins its colour on a terminal.
    const fn colour(self) -> &'static str {
        match self {
            Severity::Note => "\x1b[36m",
            Severity::Warning => "\x1b[33m",
            Severity::Error => "\x1b[1;31m",
        }
    }
}

/// Finding in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Position in the file.
    pub place: Place,
    /// Sort of finding.
    pub code: Code,
    /// Field that it is about; empty for none.
    pub path: String,
    /// Text: what was found and what would be right.
    pub message: String,
}

/// Shows `FILE:LINE:COLUMN: SEVERITY[CODE]: FIELD: MESSAGE`; the alternate form has colours
/// for a terminal.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            place,
            code,
            path,
            message,
        } = self;
        let severity = code.severity();
        let (on, off) = match f.alternate() {
            true => (severity.colour(), "\x1b[0m"),
            false => ("", ""),
        };
        write!(
            f,
            "{place}: {on}{}[{}]{off}: ",
            severity.name(),
            code.name()
        )?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Findings of one file.
pub(crate) struct Findings<'s> {
    source: &'s Source<'s>,
    list: Vec<Finding>,
}

impl<'s> Findings<'s> {
    /// Makes an empty list for a file.
    pub(crate) fn new(source: &'s Source<'s>) -> Findings<'s> {
        Findings {
            source,
            list: Vec::new(),
        }
    }

    /// Adds a finding at a byte offset of the file.
    pub(crate) fn push(
        &mut self,
        at: usize,
        code: Code,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) {
        self.list.push(Finding {
            place: self.source.place(at),
            code,
            path: path.to_string(),
            message: message.into(),
        });
    }

    /// Adds a finding at a place.
    pub(crate) fn add(
        &mut self,
        place: &Place,
        code: Code,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) {
        self.list.push(Finding {
            place: place.clone(),
            code,
            path: path.to_string(),
            message: message.into(),
        });
    }

    /// Returns the line of a byte offset.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.source.line(at)
    }

    /// Returns all findings, in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        let order = |finding: &Finding| (finding.place.line, finding.place.column, finding.code);
        self.list.sort_by_key(order);
        self.list
    }
}

/// Defines [`Code`] with the severity, name and meaning of each code.
macro_rules! codes {
    ($($code:ident $severity:ident $name:literal $meaning:literal)*) => {
        /// Sort of a finding. Names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// All codes.
            pub(crate) const ALL: &[Code] = &[$(Code::$code,)*];

            /// Returns the name in reports.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Code::$code => $name,)* }
            }

            /// Returns the severity.
            pub(crate) fn severity(self) -> Severity {
                match self { $(Code::$code => Severity::$severity,)* }
            }

            /// Returns the meaning, in a few words.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Code::$code => $meaning,)* }
            }
        }
    };
}

codes! {
    Syntax Error "syntax" "Fluent Bit or Kubernetes cannot read it"
    UnknownKind Error "unknown-kind" "neither a manifest of KKP, nor a configuration of Fluent Bit, nor an audit policy"
    UnquotedStar Error "unquoted-star" "an unquoted `*` begins a YAML alias"

    WrongType Error "wrong-type" "a value of another type than KKP takes"
    NotAString Error "not-a-string" "a value that is no string, in a map of strings"
    UnknownField Error "unknown-field" "a field that KKP does not know"
    RepeatedKey Error "repeated-key" "a key that is set twice; the last one counts"
    UnknownPreset Error "unknown-preset" "a policy preset that KKP does not have"
    NoAuditLogging Note "no-audit-logging" "a manifest of KKP without `auditLogging`"
    AuditLoggingOff Warning "audit-logging-off" "the sidecar is configured, and audit logging is off"
    Mangled Error "mangled" "KKP's template replaces characters of a value"
    LineBreak Warning "line-break" "a value with line breaks becomes several lines"
    InjectedSection Note "injected-section" "a value with line breaks that brings sections along"
    UnusableKey Error "unusable-key" "a key that is none in fluent-bit.conf"
    SplitKey Note "split-key" "a key of several words, of which the first is the key in fluent-bit.conf"
    NoVariables Error "no-variables" "a variable that this KKP does not set"
    UnknownVariable Warning "unknown-variable" "a variable that nothing sets"
    ReservedVariable Warning "reserved-variable" "a variable that KKP overwrites"
    ValueFromInFilter Error "value-from-in-filter" "KKP replaces a variable with `valueFrom` by nothing"
    KkpLongLines Note "kkp-long-lines" "KKP's input stops at a line over 32 KiB"

    NoName Error "no-name" "a section that names no plugin"
    NoMatch Error "no-match" "a section that gets no records, because it has no `Match`"
    Unmatched Error "unmatched" "a `Match` that fits no tag"
    BadOption Error "bad-option" "an option of kube_audit that stops the start"
    OptionRemark Warning "option-remark" "an option of kube_audit that is not followed"
    SecondOutput Error "second-output" "two outputs kube_audit where the Fluent Bit takes one"
    PluginNotLoaded Error "plugin-not-loaded" "nothing loads kube_audit"
    PluginFromElsewhere Note "plugin-from-elsewhere" "nothing in the file loads kube_audit"
    LongLineStops Warning "long-line-stops" "a `tail` that stops at the first long line"
    LongLineSkipped Warning "long-line-skipped" "a `tail` that skips lines over 32 KiB"
    LongLineCut Warning "long-line-cut" "a `tail` that cuts lines which audit events exceed"
    RelativePluginsFile Warning "relative-plugins-file" "a relative `Plugins_File`, which a hot reload does not find"
    GrepWithoutKey Error "grep-without-key" "`grep` without a key"
    InsideLog Error "inside-log" "a filter looks for a field that is inside the text under `log`"
    NoParser Error "no-parser" "a parser that nothing defines"
    MachineLogsDropped Warning "machine-logs-dropped" "`Non_Audit drop` for records of Linux audit"
    MachineAnySource Warning "machine-any-source" "`Machine_Audit` for the records of any input, which could be forged"
    MachineTransport Warning "machine-transport" "Linux audit from a journal of which any process may write"
    MachineAusearch Warning "machine-ausearch" "Linux audit as text of `ausearch`, which cannot be read"
    WebhookLosesBatches Note "webhook-loses-batches" "an audit webhook, of which API servers lose whole batches"
    ServiceKey Warning "service-key" "a misspelt setting of Fluent Bit itself"
    RetryOnce Warning "retry-once" "an output that gives up after one retry"
    BacklogCrash Error "backlog-crash" "chunks on disk, with a Fluent Bit that crashes on them"
    BacklogOf400 Note "backlog-of-4.0.0" "chunks on disk, on which Fluent Bit 4.0.0 crashes"

    PolicyRefused Error "policy-refused" "the API server refuses the policy"
    PolicyUnknownField Warning "policy-unknown-field" "a field that is ignored"
    PolicyRepeatedKey Warning "policy-repeated-key" "a key that is set twice; the last one counts"
    PolicyOldVersion Warning "policy-old-version" "a version that current API servers refuse"
    PolicyLaterDocument Warning "policy-later-document" "a YAML document that is not read"
    PolicyShadowedRule Warning "policy-shadowed-rule" "a rule that never decides, because an earlier one does"
    PolicyLiteralStar Warning "policy-literal-star" "a `*` where there are no wildcards"
    PolicyVerb Warning "policy-verb" "a verb that no request has"
    PolicyResource Warning "policy-resource" "a resource that no request has"
    PolicyCoreGroup Warning "policy-core-group" "a group that no API server has"
    PolicyWrongGroup Warning "policy-wrong-group" "a resource in a group that does not have it"
    PolicyAnyGroup Note "policy-any-group" "the group `*`, which older API servers refuse"
    PolicyUserOrGroup Warning "policy-user-or-group" "a name that no user, or no group, has"
    PolicyResourceUrl Warning "policy-resource-url" "the path of a resource among `nonResourceURLs`"
    PolicyDiscoveryUrl Note "policy-discovery-url" "the path of a group among `nonResourceURLs`, without its resources"
    PolicyClusterScoped Warning "policy-cluster-scoped" "a resource without namespaces in a rule for namespaces"
    PolicyNamelessVerb Warning "policy-nameless-verb" "`resourceNames` for requests that have no name"
    PolicyWebSocket Warning "policy-websocket" "a rule that misses connections to pods over WebSocket"
    PolicyDropsEverybody Warning "policy-drops-everybody" "a rule that drops the requests of all authenticated users"
    PolicyLogsSecrets Warning "policy-logs-secrets" "a rule that logs bodies with secrets"
    PolicyLogsSensitive Note "policy-logs-sensitive" "a rule that logs bodies that may hold secrets"
    PolicyLosesPatches Note "policy-loses-patches" "changes of which an API server that logs by the policy tells nothing"
    PolicyOmitsAll Warning "policy-omits-all" "a rule whose stages are all omitted"
    PolicyNoEffect Note "policy-no-effect" "a setting that changes nothing at this level"
    PolicyLogsNothing Warning "policy-logs-nothing" "a policy whose rules are all None"
    BlindDetection Warning "blind-detection" "a detection that sees nothing of what this policy logs (with --detect)"
    HalfBlindDetection Note "half-blind-detection" "a detection that does not see all that it is about (with --detect)"
    PolicyNoCatchAll Note "policy-no-catch-all" "a policy that says nothing of some requests"
}
