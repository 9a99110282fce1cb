//! A Fluent Bit pipeline, independent of the format of its file.

use crate::kkp::Release;

/// Sections of a configuration.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// All sections, in the order of the file.
    pub sections: Vec<Section>,
    /// True if the file lists plugins to load.
    pub names_plugins: bool,
    /// True if it includes other files, so that sections may be missing here.
    pub includes: bool,
    /// The KKP that runs it.
    pub kkp: Option<Release>,
    /// The outputs that routes of inputs name: aliases, instances or plugins.
    pub routed: Vec<String>,
}

/// One section.
#[derive(Debug)]
pub(super) struct Section {
    /// The kind of section.
    pub kind: Kind,
    /// The offset of its beginning.
    pub at: usize,
    /// Keys and values.
    pub properties: Vec<Property>,
}

/// The kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
    pub(super) fn name(self) -> &'static str {
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
pub(super) struct Property {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The offset of the key.
    pub key_at: usize,
    /// The offset of the value.
    pub value_at: usize,
}

impl Section {
    /// Finds a property by its name; of several the first, as the host does.
    pub(super) fn get(&self, key: &str) -> Option<&Property> {
        let named = |property: &&Property| property.key.eq_ignore_ascii_case(key);
        self.properties.iter().find(named)
    }

    /// The value of a property.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(|property| property.value.as_str())
    }

    /// True if a flag is on.
    pub(super) fn is_on(&self, key: &str) -> bool {
        let on = |value: &str| {
            ["on", "true", "yes"]
                .iter()
                .any(|on| value.eq_ignore_ascii_case(on))
        };
        self.value(key).is_some_and(on)
    }

    /// True if it is a section of the plugin of that name.
    pub(super) fn is(&self, plugin: &str) -> bool {
        self.value("name")
            .is_some_and(|name| name.eq_ignore_ascii_case(plugin))
    }

    /// The plugin's name in lower case.
    pub(super) fn plugin(&self) -> String {
        self.value("name").unwrap_or_default().to_ascii_lowercase()
    }
}

impl Pipeline {
    /// True if it loads plugins that are not part of Fluent Bit.
    pub(super) fn loads_plugins(&self) -> bool {
        let names_file = |service: &Section| service.get("plugins_file").is_some();
        self.names_plugins || self.of(Kind::Service).any(names_file)
    }

    /// True if a route of an input names the output: by its alias, its plugin, or the instance,
    /// such as `stdout.0`.
    pub(super) fn is_routed(&self, output: &Section) -> bool {
        let plugin = output.plugin();
        let instance = |name: &str| {
            name.strip_prefix(&plugin)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.routed.iter().any(|name| {
            output.value("alias") == Some(name.as_str()) || *name == plugin || instance(name)
        })
    }

    /// The sections of a kind.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(move |section| section.kind == kind)
    }
}
