//! Names that tell instances apart in the log and in metrics.
//!
//! The host numbers the filters of a pipeline, but not those in `processors:` blocks:
//! each of them is `kube_audit.0`. Series of the same name overwrite each other.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names of the live instances of one plugin kind.
pub(super) struct Names(Mutex<Vec<String>>);

/// A name that no other live instance of its kind has; free again when it is dropped.
pub(super) struct InstanceName {
    names: &'static Names,
    name: String,
}

impl Names {
    /// No names yet.
    pub(super) const fn new() -> Names {
        Names(Mutex::new(Vec::new()))
    }

    /// Takes a name. One that is taken already gets the first free suffix: `#2`, `#3`,
    /// and so on, in the order in which the host starts its instances.
    pub(super) fn take(&'static self, name: &str) -> InstanceName {
        let mut taken = self.lock();
        let suffixed = (2_u64..).map(|number| format!("{name}#{number}"));
        let free = std::iter::once(name.to_owned())
            .chain(suffixed)
            .find(|name| !taken.contains(name))
            .unwrap_or_default();
        taken.push(free.clone());
        InstanceName {
            names: self,
            name: free,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InstanceName {
    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for InstanceName {
    fn drop(&mut self) {
        self.names.lock().retain(|name| *name != self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_live_instances_differ() {
        static NAMES: Names = Names::new();
        let first = NAMES.take("kube_audit.0");
        let second = NAMES.take("kube_audit.0");
        let alias = NAMES.take("audit");
        let names = [&first, &second, &alias].map(InstanceName::as_str);
        assert_eq!(names, ["kube_audit.0", "kube_audit.0#2", "audit"]);

        drop(first);
        assert_eq!(NAMES.take("kube_audit.0").as_str(), "kube_audit.0");
        assert_eq!(NAMES.take("kube_audit.0#2").as_str(), "kube_audit.0#2#2");
    }
}
