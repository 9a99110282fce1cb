//! Ready-made policies.

use super::{Parsed, Policy, PolicyError, Syntax};
use kube_audit_text::suggest::nearest;

/// Policy that comes with the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Everything at level Metadata.
    Metadata,
    /// Kubermatic's `minimal`: changes to workloads, access to pods and secrets, nothing else.
    Minimal,
    /// Kubermatic's `recommended`: as `minimal`, and everything else at level Metadata.
    Recommended,
    /// The policy of Kubernetes on Google Compute Engine.
    Gce,
    /// The policy that Giant Swarm publishes.
    Giantswarm,
}

/// Error for the name of a preset that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown preset `{name}`: {}presets are {}", hint(*.nearest), names().join(", "))]
pub struct UnknownPreset {
    name: String,
    nearest: Option<&'static str>,
}

fn hint(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("did you mean `{name}`? "))
        .unwrap_or_default()
}

fn names() -> [&'static str; 5] {
    Preset::ALL.map(Preset::name)
}

impl Preset {
    /// All presets, shortest policy first.
    pub const ALL: [Preset; 5] = [
        Preset::Metadata,
        Preset::Minimal,
        Preset::Recommended,
        Preset::Gce,
        Preset::Giantswarm,
    ];

    /// Returns the name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Preset::Metadata => "metadata",
            Preset::Minimal => "minimal",
            Preset::Recommended => "recommended",
            Preset::Gce => "gce",
            Preset::Giantswarm => "giantswarm",
        }
    }

    /// Finds a preset by its name, in any case.
    pub fn from_name(name: &str) -> Result<Preset, UnknownPreset> {
        Preset::ALL
            .into_iter()
            .find(|preset| preset.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownPreset {
                name: name.to_owned(),
                nearest: nearest(name, names()),
            })
    }

    /// Returns the text: commented YAML that kube-apiserver accepts.
    pub const fn text(self) -> &'static str {
        match self {
            Preset::Metadata => include_str!("presets/metadata.yaml"),
            Preset::Minimal => include_str!("presets/minimal.yaml"),
            Preset::Recommended => include_str!("presets/recommended.yaml"),
            Preset::Gce => include_str!("presets/gce.yaml"),
            Preset::Giantswarm => include_str!("presets/giantswarm.yaml"),
        }
    }

    /// Parses the policy. Fails only if the text is broken, which a test rules out.
    pub fn policy(self) -> Result<Policy, PolicyError> {
        let name = format!("preset {}", self.name());
        Policy::parse(&name, self.text().as_bytes(), Syntax::File)
            .map(|Parsed { policy, .. }| policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_policies_without_warnings() {
        for preset in Preset::ALL {
            let parsed = Policy::parse(preset.name(), preset.text().as_bytes(), Syntax::File);
            assert_eq!(
                parsed.map(|parsed| parsed.warnings),
                Ok(Vec::new()),
                "{}",
                preset.name()
            );
            assert_eq!(Preset::from_name(preset.name()), Ok(preset));
        }
    }

    #[test]
    fn names() {
        assert_eq!(Preset::from_name("GCE"), Ok(Preset::Gce));
        assert_eq!(
            Preset::from_name("recomended").unwrap_err().to_string(),
            "unknown preset `recomended`: did you mean `recommended`? \
             presets are metadata, minimal, recommended, gce, giantswarm",
        );
    }
}
