//! A Fluent Bit pipeline, whichever way it is written.

use crate::kkp::Release;

/// Sections of a configuration.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// All sections, in the order of the file.
    pub sections: Vec<Section>,
    /// Whether the file lists plugins to load.
    pub names_plugins: bool,
    /// Whether it includes other files, so that sections may be missing here.
    pub includes: bool,
    /// The KKP that runs it.
    pub kkp: Option<Release>,
}

/// One section.
#[derive(Debug)]
pub struct Section {
    /// What sort of section.
    pub kind: Kind,
    /// Where it begins.
    pub at: usize,
    /// Keys and values.
    pub properties: Vec<Property>,
}

/// The sorts of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Settings of Fluent Bit itself.
    Service,
    /// An input.
    Input,
    /// A filter.
    Filter,
    /// An output.
    Output,
    /// A filter that works inside an input or output.
    Processor,
    /// Parsers and the like.
    Other,
}

impl Kind {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Service => "service",
            Kind::Input => "input",
            Kind::Filter => "filter",
            Kind::Output => "output",
            Kind::Processor => "processor",
            Kind::Other => "section",
        }
    }
}

/// A key with its value, as Fluent Bit gets them.
#[derive(Clone, Debug)]
pub struct Property {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where the key stands.
    pub key_at: usize,
    /// Where the value stands.
    pub value_at: usize,
}

impl Section {
    /// A property by its name; of several the first, as the host looks it up.
    pub fn get(&self, key: &str) -> Option<&Property> {
        let named = |property: &&Property| property.key.eq_ignore_ascii_case(key);
        self.properties.iter().find(named)
    }

    /// The value of a property.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(|property| property.value.as_str())
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        let on = |value: &str| {
            ["on", "true", "yes"]
                .iter()
                .any(|on| value.eq_ignore_ascii_case(on))
        };
        self.value(key).is_some_and(on)
    }

    /// Whether it is one of the plugin of that name.
    pub fn is(&self, plugin: &str) -> bool {
        self.value("name")
            .is_some_and(|name| name.eq_ignore_ascii_case(plugin))
    }

    /// The plugin's name in lower case.
    pub fn plugin(&self) -> String {
        self.value("name").unwrap_or_default().to_ascii_lowercase()
    }
}

impl Pipeline {
    /// Whether it loads plugins that are not part of Fluent Bit.
    pub fn loads_plugins(&self) -> bool {
        let names_file = |service: &Section| service.get("plugins_file").is_some();
        self.names_plugins || self.of(Kind::Service).any(names_file)
    }

    /// The sections of a sort.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(move |section| section.kind == kind)
    }
}
