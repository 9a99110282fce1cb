//! Output instances.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use super::{CommonLayout, Field, Section, SectionError, at, filters_of, layout_of, nodes, owned};
use crate::ffi::NAME;
use crate::ffi::bindings as abi;
use crate::ffi::host::{Host, Version, lossy, optional};
use kube_audit_plugin::{HostSettings, HostTls};

/// An output section.
#[derive(Debug)]
pub(crate) struct OutputSection {
    /// The part that every section has.
    pub section: Section,
    /// Settings that the host keeps to itself.
    pub settings: HostSettings,
    /// `Retry_Limit`.
    pub retry_limit: RetryLimit,
    /// `Workers`, `None` before 2.2.0.
    pub workers: Option<c_int>,
    /// `storage.total_limit_size` in bytes, 0 or less without a limit; `None` from 2.0.0 on.
    pub storage_limit: Option<isize>,
}

/// The host's value of `Retry_Limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryLimit {
    /// Not in the configuration.
    Unset,
    /// The default value, from a host that does not tell whether it is configured.
    UnsetOrDefault,
    /// That many, or one of the host's special numbers.
    Chosen(c_int),
}

/// Offsets of the fields that are read of an output instance.
#[derive(Clone, Copy)]
struct OutputLayout {
    common: CommonLayout,
    retry_limit: Field<c_int>,
    retry_limit_is_set: Option<Field<c_int>>,
    use_tls: Field<c_int>,
    tls_verify: Field<c_int>,
    /// `tls.vhost`, `ca_path`, `ca_file`, `crt_file`, `key_file`, `key_passwd`.
    tls_texts: Field<[*const c_char; 6]>,
    /// `tls.min_version`, `max_version`, `ciphers`.
    tls_versions: Option<Field<[*const c_char; 3]>>,
    port: Field<c_int>,
    host: Field<*const c_char>,
    /// The node in the configuration's list of outputs, from 2.2.0 on, like the next one.
    node: Option<Field<abi::mk_list>>,
    workers: Option<Field<c_int>>,
    storage_limit: Option<Field<isize>>,
}

/// The layouts, newest first, with the first version that has each.
const LAYOUTS: [(Version, OutputLayout); 16] = [
    (Version(5, 1, 0), V5_1_0.with_end(600, 872)),
    (Version(5, 0, 3), V5_0_3.with_end(576, 840)),
    (Version(5, 0, 0), V4_0_0.with_end(568, 832)),
    (Version(4, 0, 6), V4_0_0.with_end(512, 768)),
    (Version(4, 0, 4), V4_0_0.with_end(512, 760)),
    (Version(4, 0, 0), V4_0_0.with_end(504, 752)),
    (Version(3, 2, 2), V3_1_0.with_end(480, 728)),
    (Version(3, 2, 0), V3_1_0.with_end(480, 680)),
    (Version(3, 1, 0), V3_1_0.with_end(464, 664)),
    (Version(2, 2, 2), V2_1_0.with_end(456, 656)),
    (Version(2, 2, 1), V2_1_0.with_end(448, 648)),
    (Version(2, 2, 0), V2_1_0.with_end(448, 640)),
    (Version(2, 1, 0), V2_1_0),
    (Version(2, 0, 9), V2_0_9),
    (Version(2, 0, 0), V1_9_0),
    (
        Version(1, 9, 0),
        OutputLayout {
            storage_limit: Some(at(592)),
            ..V1_9_0
        },
    ),
];

const V1_9_0: OutputLayout = OutputLayout {
    common: CommonLayout {
        log_level: at(80),
        name: at(84),
        alias: at(120),
        properties: at(312),
    },
    retry_limit: at(160),
    retry_limit_is_set: None,
    use_tls: at(164),
    tls_verify: at(184),
    tls_texts: at(192),
    tls_versions: None,
    port: at(256),
    host: at(264),
    node: None,
    workers: None,
    storage_limit: None,
};

const V2_0_9: OutputLayout = OutputLayout {
    common: CommonLayout {
        name: at(88),
        ..V1_9_0.common
    },
    ..V1_9_0
};

const V2_1_0: OutputLayout = OutputLayout {
    common: CommonLayout {
        log_level: at(88),
        name: at(96),
        alias: at(128),
        properties: at(320),
    },
    retry_limit: at(168),
    use_tls: at(172),
    tls_verify: at(192),
    tls_texts: at(200),
    port: at(264),
    host: at(272),
    ..V1_9_0
};

const V3_1_0: OutputLayout = OutputLayout {
    common: CommonLayout {
        properties: at(328),
        ..V2_1_0.common
    },
    tls_texts: at(208),
    port: at(272),
    host: at(280),
    ..V2_1_0
};

const V4_0_0: OutputLayout = OutputLayout {
    common: CommonLayout {
        properties: at(352),
        ..V3_1_0.common
    },
    tls_versions: Some(at(256)),
    port: at(296),
    host: at(304),
    ..V3_1_0
};

const V5_0_3: OutputLayout = OutputLayout {
    common: CommonLayout {
        properties: at(360),
        ..V4_0_0.common
    },
    retry_limit_is_set: Some(at(172)),
    use_tls: at(176),
    tls_verify: at(200),
    tls_texts: at(216),
    tls_versions: Some(at(264)),
    port: at(304),
    host: at(312),
    ..V4_0_0
};

const V5_1_0: OutputLayout = OutputLayout {
    common: CommonLayout {
        properties: at(384),
        ..V5_0_3.common
    },
    port: at(328),
    host: at(336),
    ..V5_0_3
};

impl OutputLayout {
    fn of(version: Version) -> OutputLayout {
        layout_of(&LAYOUTS, version, V1_9_0)
    }

    /// The same layout with these offsets of fields near its end, where releases differ
    /// most: the node, and the number of workers.
    const fn with_end(self, node: usize, workers: usize) -> OutputLayout {
        OutputLayout {
            node: Some(at(node)),
            workers: Some(at(workers)),
            ..self
        }
    }
}

/// The alias of an output, or `kube_audit.N`.
///
/// # Safety
/// `ins` is a live output instance of `host`.
pub(crate) unsafe fn output_name(host: &Host, ins: *mut abi::flb_output_instance) -> String {
    // SAFETY: the instance is one of the host's.
    let name = unsafe { (host.output.name)(ins) };
    // SAFETY: null or a NUL-terminated string of the instance.
    unsafe { optional(name) }.map_or_else(String::new, lossy)
}

/// The kube_audit outputs in the configuration of a filter; none before 2.2.0, or for a
/// filter that is a processor.
///
/// # Safety
/// `filter` is a live filter instance of `host`, and `config` its configuration; no other
/// thread changes them.
pub(crate) unsafe fn outputs_beside(
    host: &Host,
    filter: *mut abi::flb_filter_instance,
    config: *const abi::flb_config,
) -> Vec<*mut abi::flb_output_instance> {
    let layout = OutputLayout::of(host.version);
    let find = || {
        let node = layout.node?;
        // SAFETY: the caller guarantees it.
        let filters = unsafe { filters_of(host, filter, config) }?;
        // All releases have the list of outputs right before the one of filters.
        let outputs = filters.wrapping_sub(1);
        // SAFETY: within the configuration.
        let nodes = unsafe { nodes(outputs) }?;
        let instance =
            |at: *const abi::mk_list| at.wrapping_byte_sub(node.offset).cast_mut().cast();
        Some(nodes.into_iter().map(instance).collect::<Vec<_>>())
    };
    let is_ours = |ins: &*mut abi::flb_output_instance| {
        // SAFETY: the list of outputs has their instances.
        let name = unsafe { layout.common.name.read(ins.cast_const().cast()) };
        // A `c_char` has a sign on some processors only.
        let name = name.map(|byte| byte as u8);
        let name = name.strip_prefix(NAME.to_bytes());
        name.is_some_and(|number| number.starts_with(b"."))
    };
    find()
        .unwrap_or_default()
        .into_iter()
        .filter(is_ours)
        .collect()
}

/// Reads an output's section.
///
/// # Safety
/// `ins` is a live output instance of `host` that no other thread changes.
pub(crate) unsafe fn read_output(
    host: &Host,
    ins: *mut abi::flb_output_instance,
) -> Result<OutputSection, SectionError> {
    // SAFETY: the instance is one of the host's.
    let name = unsafe { (host.output.name)(ins) };
    // SAFETY: key and instance are valid, and nothing is changed.
    let get = |key: &CStr| unsafe { (host.output.get_property)(key.as_ptr(), ins) };
    let layout = OutputLayout::of(host.version);
    // SAFETY: the caller vouches for the instance.
    let section = unsafe { layout.common.read(host.version, ins.cast(), name, get) }?;

    let number = |field: Field<c_int>| {
        // SAFETY: the layout is confirmed.
        unsafe { field.read(ins.cast()) }
    };
    let text = |option: &str, value: *const c_char| {
        // SAFETY: the layout is confirmed, so this is null or the host's string.
        unsafe { owned(option, value) }
    };
    let limit = number(layout.retry_limit);
    let retry_limit = match layout.retry_limit_is_set.map(number) {
        Some(0) => RetryLimit::Unset,
        None if limit == abi::FLB_OUT_RETRY_DEFAULT => RetryLimit::UnsetOrDefault,
        _ => RetryLimit::Chosen(limit),
    };
    let port = match number(layout.port) {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| SectionError::Port(port))?),
    };
    let tls = {
        // SAFETY: the layout is confirmed.
        let texts = unsafe { layout.tls_texts.read(ins.cast()) };
        let [vhost, ca_path, ca_file, crt_file, key_file, key_passwd] = texts;
        let versions = layout.tls_versions.map(|field| {
            // SAFETY: the layout is confirmed.
            unsafe { field.read(ins.cast()) }
        });
        let [min_version, max_version, ciphers] = versions.unwrap_or([ptr::null(); 3]);
        HostTls {
            on: number(layout.use_tls) != 0,
            verify: number(layout.tls_verify) != 0,
            vhost: text("tls.vhost", vhost)?,
            ca_path: text("tls.ca_path", ca_path)?,
            ca_file: text("tls.ca_file", ca_file)?,
            crt_file: text("tls.crt_file", crt_file)?,
            key_file: text("tls.key_file", key_file)?,
            key_passwd: text("tls.key_passwd", key_passwd)?,
            min_version: text("tls.min_version", min_version)?,
            max_version: text("tls.max_version", max_version)?,
            ciphers: text("tls.ciphers", ciphers)?,
        }
    };
    // SAFETY: the layout is confirmed.
    let address = unsafe { layout.host.read(ins.cast()) };
    Ok(OutputSection {
        section,
        settings: HostSettings {
            host: text("Host", address)?,
            port,
            tls: Some(tls),
        },
        retry_limit,
        workers: layout.workers.map(number),
        storage_limit: layout.storage_limit.map(|field| {
            // SAFETY: the layout is confirmed.
            unsafe { field.read(ins.cast()) }
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::compare_with_every_release;
    use super::*;

    #[test]
    fn offsets_are_those_of_every_release() {
        let later = ["retry_limit_is_set", "tls_min_version", "tls_ciphers"];
        compare_with_every_release("flb_output_instance", &later, |version| {
            let layout = OutputLayout::of(version);
            let mut offsets = layout.common.offsets();
            offsets.extend([
                ("retry_limit", layout.retry_limit.offset),
                ("use_tls", layout.use_tls.offset),
                ("tls_verify", layout.tls_verify.offset),
                // `struct flb_net_host` begins with `ipv6`, `address`, `port` and `name`.
                ("host", layout.port.offset - 16),
                ("host", layout.host.offset - 24),
            ]);
            let several = |first: usize, names: &[&'static str]| {
                let names = names.iter().enumerate();
                let offsets = names.map(|(at, name)| (*name, first + at * 8));
                offsets.collect::<Vec<_>>()
            };
            let texts = [
                "tls_vhost",
                "tls_ca_path",
                "tls_ca_file",
                "tls_crt_file",
                "tls_key_file",
                "tls_key_passwd",
            ];
            offsets.extend(several(layout.tls_texts.offset, &texts));
            if let Some(field) = layout.tls_versions {
                let versions = ["tls_min_version", "tls_max_version", "tls_ciphers"];
                offsets.extend(several(field.offset, &versions));
            }
            let is_set = layout.retry_limit_is_set;
            offsets.extend(is_set.map(|field| ("retry_limit_is_set", field.offset)));
            let limit = layout.storage_limit;
            offsets.extend(limit.map(|field| ("total_limit_size", field.offset)));
            offsets.extend(layout.node.map(|field| ("_head", field.offset)));
            offsets.extend(layout.workers.map(|field| ("tp_workers", field.offset)));
            offsets
        });
    }
}
