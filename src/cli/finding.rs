//! What is wrong or odd in a file, and where.

use std::fmt;

use crate::text::{Place, Source};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Works, but hardly as it was meant.
    Warning,
    /// Is refused, does not start, or loses data.
    Error,
}

impl Severity {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What sort of finding.
    pub code: Code,
    /// The field that it is about; empty for none.
    pub path: String,
    /// What was found and what would be right.
    pub message: String,
}

/// `FILE:LINE:COLUMN: SEVERITY[CODE]: FIELD: MESSAGE`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            place,
            code,
            path,
            message,
        } = self;
        write!(f, "{place}: {}[{}]: ", code.severity().name(), code.name())?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Findings of one file.
pub struct Findings<'s> {
    source: &'s Source<'s>,
    list: Vec<Finding>,
}

impl<'s> Findings<'s> {
    /// None yet.
    pub fn new(source: &'s Source<'s>) -> Findings<'s> {
        Findings {
            source,
            list: Vec::new(),
        }
    }

    /// Adds one at a byte offset of the file.
    pub fn push(
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

    /// The line of a byte offset.
    pub fn line(&self, at: usize) -> usize {
        self.source.line(at)
    }

    /// All of them, in the order of the file.
    pub fn into_sorted(mut self) -> Vec<Finding> {
        let order = |finding: &Finding| (finding.place.line, finding.place.column, finding.code);
        self.list.sort_by_key(order);
        self.list
    }
}

/// Makes [`Code`] and what belongs to each code.
macro_rules! codes {
    ($($code:ident $severity:ident $name:literal $meaning:literal)*) => {
        /// The sorts of findings. Their names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Code] = &[$(Code::$code,)*];

            /// The name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Code::$code => $name,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$code => Severity::$severity,)* }
            }

            /// What it means, in a few words.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$code => $meaning,)* }
            }
        }
    };
}

codes! {
    Syntax Error "syntax" "the text is neither JSON nor YAML"
    UnquotedStar Error "unquoted-star" "an unquoted `*` begins a YAML alias"
    WrongType Error "wrong-type" "a value of another type than KKP takes"
    NotAString Error "not-a-string" "a value that is no string, in a map of strings"
    UnknownField Error "unknown-field" "a field that KKP does not know"
    RepeatedKey Error "repeated-key" "a key that is set twice; the last one counts"
}
