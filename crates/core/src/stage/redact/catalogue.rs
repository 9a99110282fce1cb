//! Places of custom resources that hold secrets although their names do not say so.

use crate::doc::Text;
use crate::doc::path::Path;

/// The content that is hidden at a place of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The value is a secret.
    Secret,
    /// A configuration file with secrets among its lines.
    Lines,
}

/// API group, resources, paths with blanks between them, content.
type Entry = (&'static str, &'static [&'static str], &'static str, Content);

/// Places by API group and resource.
const CATALOGUE: [Entry; 16] = [
    (
        "kubermatic.k8c.io",
        &["clusters", "clustertemplates"],
        "/spec/cloud/*/serviceAccount",
        Content::Secret,
    ),
    (
        "kubermatic.k8c.io",
        &["presets"],
        "/spec/*/serviceAccount",
        Content::Secret,
    ),
    (
        "kubermatic.k8c.io",
        &["externalclusters"],
        "/spec/cloudSpec/*/serviceAccount",
        Content::Secret,
    ),
    (
        "kubermatic.k8c.io",
        &["kubermaticconfigurations"],
        "/spec/imagePullSecret",
        Content::Secret,
    ),
    (
        "cluster.k8s.io",
        &["machinedeployments", "machinesets", "machines"],
        "/**/cloudProviderSpec/serviceAccount",
        Content::Secret,
    ),
    (
        "apps.kubermatic.k8c.io",
        &["applicationinstallations"],
        "/spec/valuesBlock",
        Content::Lines,
    ),
    (
        "argoproj.io",
        &["applications", "applicationsets"],
        "/**/helm/values",
        Content::Lines,
    ),
    (
        "helm.cattle.io",
        &["helmcharts", "helmchartconfigs"],
        "/spec/valuesContent",
        Content::Lines,
    ),
    (
        "bootstrap.cluster.x-k8s.io",
        &["kubeadmconfigs", "kubeadmconfigtemplates"],
        "/**/files/*/content",
        Content::Secret,
    ),
    (
        "controlplane.cluster.x-k8s.io",
        &["kubeadmcontrolplanes"],
        "/**/files/*/content",
        Content::Secret,
    ),
    (
        "oauth.openshift.io",
        &["oauthclients"],
        "/secret /additionalSecrets",
        Content::Secret,
    ),
    (
        "build.openshift.io",
        &["buildconfigs"],
        "/spec/triggers/*/*/secret",
        Content::Secret,
    ),
    (
        "external-secrets.io",
        &["secretstores", "clustersecretstores"],
        "/spec/provider/fake/data/*/value /spec/provider/fake/data/*/valueMap/*",
        Content::Secret,
    ),
    (
        "generators.external-secrets.io",
        &["fakes"],
        "/spec/data/*",
        Content::Secret,
    ),
    (
        "k8s.keycloak.org",
        &["keycloakrealmimports"],
        "/spec/realm/clients/*/secret",
        Content::Secret,
    ),
    (
        "machineconfiguration.openshift.io",
        &["machineconfigs"],
        "/spec/config/storage/files/*/contents/source /spec/config/passwd/users/*/passwordHash",
        Content::Secret,
    ),
];

/// The places of all resources.
#[derive(Clone, Debug)]
pub(super) struct Catalogue {
    entries: Vec<(&'static Entry, Vec<Path>)>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let paths = |entry: &Entry| {
            let paths = entry.2.split(' ').filter_map(|path| Path::parse(path).ok());
            paths.collect()
        };
        let entries = CATALOGUE.iter().map(|entry| (entry, paths(entry)));
        Catalogue {
            entries: entries.collect(),
        }
    }
}

impl Catalogue {
    /// True if a resource of this name may have places.
    pub(super) fn may_have(&self, resource: Text<'_>) -> bool {
        let is_it = |known: &&str| known.as_bytes() == resource.raw;
        let mut resources = CATALOGUE.iter().flat_map(|(_, resources, ..)| *resources);
        resource.escaped || resources.any(is_it)
    }

    /// The places of one resource, if it has any.
    pub(super) fn places(&self, group: &[u8], resource: &[u8]) -> Option<Places<'_>> {
        let (entry, paths) = self.entries.iter().find(|((in_group, resources, ..), _)| {
            in_group.as_bytes() == group
                && resources.iter().any(|known| known.as_bytes() == resource)
        })?;
        Some(Places {
            paths,
            content: entry.3,
        })
    }
}

/// The places of one resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'c> {
    paths: &'c [Path],
    content: Content,
}

impl Places<'_> {
    /// The content that is hidden at a place, if any is.
    pub(super) fn content(&self, place: &[impl AsRef<[u8]>]) -> Option<Content> {
        let leads = |path: &Path| path.leads_to(place);
        self.paths.iter().any(leads).then_some(self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_of_the_catalogue_can_be_read() {
        let written: usize = CATALOGUE
            .iter()
            .map(|entry| entry.2.split(' ').count())
            .sum();
        let read = Catalogue::default().entries;
        assert_eq!(
            read.iter().map(|(_, paths)| paths.len()).sum::<usize>(),
            written
        );
    }

    #[test]
    fn places_of_a_resource() {
        let catalogue = Catalogue::default();
        assert!(catalogue.places(b"", b"pods").is_none());
        let places = catalogue.places(b"argoproj.io", b"applications").unwrap();
        let place = ["spec", "sources", "0", "helm", "values"];
        assert_eq!(places.content(&place), Some(Content::Lines));
        assert_eq!(places.content(&place[..4]), None);
    }
}
