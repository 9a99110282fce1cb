//! Filter instances.

use std::ffi::CStr;
use std::ptr;

use super::next;
use super::{CommonLayout, Field, Section, SectionError, at, layout_of};
use crate::ffi::bindings as abi;
use crate::ffi::host::{Host, Version, lossy, optional};

/// Offsets of the fields that are read of a filter instance.
#[derive(Clone, Copy)]
struct FilterLayout {
    common: CommonLayout,
    /// The node in the configuration's list of filters; of none for a processor.
    node: Field<abi::mk_list>,
    metrics: Field<*mut abi::cmt>,
    config: Field<*mut abi::flb_config>,
}

/// The layouts, newest first, with the first version that has each.
const LAYOUTS: [(Version, FilterLayout); 5] = [
    (
        Version(3, 2, 0),
        FilterLayout {
            config: at(208),
            ..V2_1_4
        },
    ),
    (Version(2, 1, 4), V2_1_4),
    (Version(2, 1, 0), V2_1_0),
    (
        Version(2, 0, 0),
        FilterLayout {
            config: at(176),
            ..V1_9_0
        },
    ),
    (Version(1, 9, 0), V1_9_0),
];

const V1_9_0: FilterLayout = FilterLayout {
    common: CommonLayout {
        log_level: at(4),
        name: at(8),
        alias: at(40),
        properties: at(88),
    },
    node: at(112),
    metrics: at(128),
    config: at(160),
};

const V2_1_0: FilterLayout = FilterLayout {
    common: CommonLayout {
        log_level: at(8),
        name: at(16),
        alias: at(48),
        properties: at(96),
    },
    node: at(120),
    metrics: at(136),
    config: at(184),
};

const V2_1_4: FilterLayout = FilterLayout {
    common: CommonLayout {
        properties: at(104),
        ..V2_1_0.common
    },
    node: at(128),
    metrics: at(144),
    config: at(192),
};

impl FilterLayout {
    fn of(version: Version) -> FilterLayout {
        layout_of(&LAYOUTS, version, V1_9_0)
    }
}

/// The alias of a filter, or `kube_audit.N`.
///
/// # Safety
/// `ins` is a live filter instance of `host`.
pub(crate) unsafe fn filter_name(host: &Host, ins: *mut abi::flb_filter_instance) -> String {
    // SAFETY: the instance is one of the host's.
    let name = unsafe { (host.filter.name)(ins) };
    // SAFETY: null or a NUL-terminated string of the instance.
    unsafe { optional(name) }.map_or_else(String::new, lossy)
}

/// Reads a filter's section.
///
/// # Safety
/// `ins` is a live filter instance of `host` that no other thread changes.
pub(crate) unsafe fn read_filter(
    host: &Host,
    ins: *mut abi::flb_filter_instance,
) -> Result<Section, SectionError> {
    // SAFETY: the instance is one of the host's.
    let name = unsafe { (host.filter.name)(ins) };
    // SAFETY: key and instance are valid, and nothing is changed.
    let get = |key: &CStr| unsafe { (host.filter.get_property)(key.as_ptr(), ins) };
    let layout = FilterLayout::of(host.version).common;
    // SAFETY: the caller vouches for the instance.
    unsafe { layout.read(host.version, ins.cast(), name, get) }
}

/// The metrics context of a filter, null where it is not known. It lies between two fields
/// whose places are confirmed: the properties, see [`read_filter`], and the configuration,
/// which the host also passes to `cb_init`.
///
/// # Safety
/// `ins` is a live filter instance of `host` that no other thread changes.
pub(crate) unsafe fn filter_metrics(
    host: &Host,
    ins: *mut abi::flb_filter_instance,
    config: *mut abi::flb_config,
) -> *mut abi::cmt {
    let layout = FilterLayout::of(host.version);
    // SAFETY: an aligned pointer within the instance of this version, only compared.
    let found = unsafe { layout.config.read(ins.cast()) };
    if !ptr::eq(found, config) {
        return ptr::null_mut();
    }
    // SAFETY: the layout is the one of this version.
    unsafe { layout.metrics.read(ins.cast()) }
}

/// The list of filters in the configuration, if the instance is in it.
///
/// # Safety
/// `ins` is a live filter instance of `host`, and `config` its configuration; no other
/// thread changes them.
pub(super) unsafe fn filters_of(
    host: &Host,
    ins: *mut abi::flb_filter_instance,
    config: *const abi::flb_config,
) -> Option<*const abi::mk_list> {
    /// The list's head is within the first bytes of every configuration; it has more.
    const CONFIG: std::ops::Range<usize> = 512..1024;
    /// Far more than any pipeline has.
    const MOST: usize = 4096;

    let mut node = FilterLayout::of(host.version).node.place(ins.cast());
    for _ in 0..MOST {
        // SAFETY: a node within the instance, or a sound one after it.
        node = unsafe { next(node) }?;
        if CONFIG.contains(&node.addr().wrapping_sub(config.addr())) {
            return Some(node);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::compare_with_every_release;
    use super::*;

    #[test]
    fn offsets_are_those_of_every_release() {
        compare_with_every_release("flb_filter_instance", &[], |version| {
            let layout = FilterLayout::of(version);
            let mut offsets = layout.common.offsets();
            offsets.push(("_head", layout.node.offset));
            offsets.extend([
                ("cmt", layout.metrics.offset),
                ("config", layout.config.offset),
            ]);
            offsets
        });
    }
}
