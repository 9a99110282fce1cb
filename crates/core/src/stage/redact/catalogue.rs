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

/// Places: resources with commas between them, their API group, the path, and `lines` for a
/// file. In one text, because a pointer to each word would take more room.
const CATALOGUE: &str = "\
clusters,clustertemplates kubermatic.k8c.io /spec/cloud/*/serviceAccount
presets kubermatic.k8c.io /spec/*/serviceAccount
externalclusters kubermatic.k8c.io /spec/cloudSpec/*/serviceAccount
kubermaticconfigurations kubermatic.k8c.io /spec/imagePullSecret
machinedeployments,machinesets,machines cluster.k8s.io /**/cloudProviderSpec/serviceAccount
applicationinstallations apps.kubermatic.k8c.io /spec/valuesBlock lines
applications,applicationsets argoproj.io /**/helm/values lines
helmcharts,helmchartconfigs helm.cattle.io /spec/valuesContent lines
kubeadmconfigs,kubeadmconfigtemplates bootstrap.cluster.x-k8s.io /**/files/*/content
kubeadmcontrolplanes controlplane.cluster.x-k8s.io /**/files/*/content
oauthclients oauth.openshift.io /secret
oauthclients oauth.openshift.io /additionalSecrets
buildconfigs build.openshift.io /spec/triggers/*/*/secret
secretstores,clustersecretstores external-secrets.io /spec/provider/fake/data/*/value
secretstores,clustersecretstores external-secrets.io /spec/provider/fake/data/*/valueMap/*
fakes generators.external-secrets.io /spec/data/*
keycloakrealmimports k8s.keycloak.org /spec/realm/clients/*/secret
machineconfigs machineconfiguration.openshift.io /spec/config/storage/files/*/contents/source
machineconfigs machineconfiguration.openshift.io /spec/config/passwd/users/*/passwordHash
";

/// The places of all resources.
#[derive(Clone, Debug)]
pub(super) struct Catalogue {
    entries: Vec<Entry>,
    /// A bit for the length and first letter of each resource.
    known: u64,
}

/// The bit of a resource: others may have the same.
fn bit_of(resource: &[u8]) -> u64 {
    let first = resource.first().copied().unwrap_or_default();
    let length = u32::try_from(resource.len()).unwrap_or_default();
    1u64.rotate_left(u32::from(first) ^ length.rotate_left(2))
}

#[derive(Clone, Debug)]
struct Entry {
    resources: Vec<&'static [u8]>,
    group: &'static str,
    path: Path,
    content: Content,
}

impl Entry {
    fn parse(line: &'static str) -> Option<Entry> {
        let mut words = line.split(' ');
        let resources = words.next()?.as_bytes();
        Some(Entry {
            resources: resources.split(|byte| *byte == b',').collect(),
            group: words.next()?,
            path: Path::parse(words.next()?).ok()?,
            content: match words.next() {
                Some(_) => Content::Lines,
                None => Content::Secret,
            },
        })
    }

    fn is_of(&self, resource: &[u8]) -> bool {
        self.resources.contains(&resource)
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        let entries: Vec<Entry> = CATALOGUE.lines().filter_map(Entry::parse).collect();
        let resources = entries.iter().flat_map(|entry| &entry.resources);
        let known = resources.fold(0, |known, resource| known | bit_of(resource));
        Catalogue { entries, known }
    }
}

impl Catalogue {
    /// True if a resource of this name may have places.
    pub(super) fn may_have(&self, resource: Text<'_>) -> bool {
        resource.escaped
            || self.known & bit_of(resource.raw) != 0
                && self.entries.iter().any(|entry| entry.is_of(resource.raw))
    }

    /// The places of one resource, if it has any.
    pub(super) fn places(&self, group: &[u8], resource: &[u8]) -> Option<Places<'_>> {
        if self.known & bit_of(resource) == 0 {
            return None;
        }
        let is_it = |entry: &Entry| entry.group.as_bytes() == group && entry.is_of(resource);
        let first = self.entries.iter().position(is_it)?;
        let rest = self.entries.get(first..)?;
        let others = rest.iter().position(|entry| !is_it(entry));
        Some(Places(rest.get(..others.unwrap_or(rest.len()))?))
    }
}

/// The places of one resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'c>(&'c [Entry]);

impl Places<'_> {
    /// The content that is hidden at a place, if any is.
    pub(super) fn content(&self, place: &[impl AsRef<[u8]>]) -> Option<Content> {
        let entry = self.0.iter().find(|entry| entry.path.leads_to(place))?;
        Some(entry.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_of_the_catalogue_can_be_read() {
        let read = Catalogue::default().entries;
        assert_eq!(read.len(), CATALOGUE.lines().count());
    }

    #[test]
    fn places_of_a_resource() {
        let catalogue = Catalogue::default();
        assert!(catalogue.places(b"", b"pods").is_none());
        let places = catalogue.places(b"argoproj.io", b"applications").unwrap();
        let place = ["spec", "sources", "0", "helm", "values"];
        assert_eq!(places.content(&place), Some(Content::Lines));
        assert_eq!(places.content(&place[..4]), None);
        let clients = catalogue
            .places(b"oauth.openshift.io", b"oauthclients")
            .unwrap();
        for place in ["secret", "additionalSecrets"] {
            assert_eq!(clients.content(&[place]), Some(Content::Secret));
        }
    }
}
