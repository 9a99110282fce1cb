//! Input instances.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use super::{CommonLayout, Field, Section, SectionError, at, layout_of, nodes};
use crate::ffi::NAME;
use crate::ffi::bindings as abi;
use crate::ffi::host::{InputApi, Version, lossy, optional};
use kube_audit_plugin::{ChunkList, InputSettings, Storage};

/// An input section.
#[derive(Debug)]
pub(crate) struct InputSection {
    /// The part that every section has.
    pub section: Section,
    /// What the host keeps to itself.
    pub settings: InputSettings,
    /// `Tag`.
    pub tag: Tag,
}

/// The host's value of `Tag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Not in the configuration: the host's default, the instance's name.
    Unset,
    /// Another one.
    Chosen,
}

/// Offsets of the fields that are read of an input instance.
#[derive(Clone, Copy)]
struct InputLayout {
    common: CommonLayout,
    tag: Field<*const c_char>,
    storage_type: Field<c_int>,
    chunks: Field<abi::mk_list>,
    /// From 2.0.0 on, like the next one.
    is_threaded: Option<Field<c_int>>,
    metrics: Option<Field<*mut abi::cmt>>,
}

/// The layouts, newest first, with the first version that has each, less the fields for
/// tracing chunks: those are before all others here from 2.0.0 on, see
/// [`InputApi::trace_size`].
const LAYOUTS: [(Version, InputLayout); 7] = [
    (Version(5, 1, 0), V5_1_0),
    (
        Version(4, 1, 0),
        InputLayout {
            metrics: Some(at(632)),
            ..V3_2_3
        },
    ),
    (Version(3, 2, 3), V3_2_3),
    (Version(2, 1, 0), V2_1_0),
    (Version(2, 0, 1), V2_0_1),
    (Version(2, 0, 0), V2_0_0),
    (Version(1, 9, 0), V1_9_0),
];

const V1_9_0: InputLayout = InputLayout {
    common: CommonLayout {
        log_level: at(84),
        name: at(100),
        alias: at(136),
        properties: at(352),
    },
    tag: at(168),
    storage_type: at(248),
    chunks: at(384),
    is_threaded: None,
    metrics: None,
};

const V2_0_0: InputLayout = InputLayout {
    common: CommonLayout {
        log_level: at(88),
        name: at(104),
        alias: at(136),
        properties: at(352),
    },
    tag: at(168),
    storage_type: at(248),
    chunks: at(384),
    is_threaded: Some(at(496)),
    metrics: Some(at(552)),
};

const V2_0_1: InputLayout = InputLayout {
    common: CommonLayout {
        log_level: at(80),
        name: at(96),
        alias: at(128),
        properties: at(344),
    },
    tag: at(160),
    storage_type: at(240),
    chunks: at(376),
    is_threaded: Some(at(488)),
    metrics: Some(at(544)),
};

const V2_1_0: InputLayout = InputLayout {
    common: CommonLayout {
        log_level: at(88),
        name: at(108),
        alias: at(144),
        properties: at(360),
    },
    tag: at(176),
    storage_type: at(256),
    chunks: at(392),
    is_threaded: Some(at(504)),
    metrics: Some(at(560)),
};

const V3_2_3: InputLayout = InputLayout {
    common: CommonLayout {
        properties: at(368),
        ..V2_1_0.common
    },
    tag: at(184),
    storage_type: at(264),
    chunks: at(400),
    is_threaded: Some(at(560)),
    metrics: Some(at(616)),
};

const V5_1_0: InputLayout = InputLayout {
    common: CommonLayout {
        properties: at(376),
        ..V2_1_0.common
    },
    tag: at(184),
    storage_type: at(272),
    chunks: at(408),
    is_threaded: Some(at(568)),
    metrics: Some(at(640)),
};

impl InputLayout {
    fn of(version: Version, trace: usize) -> InputLayout {
        let InputLayout {
            common,
            tag,
            storage_type,
            chunks,
            is_threaded,
            metrics,
        } = layout_of(&LAYOUTS, version, V1_9_0);
        InputLayout {
            common: CommonLayout {
                log_level: common.log_level.behind(trace),
                name: common.name.behind(trace),
                alias: common.alias.behind(trace),
                properties: common.properties.behind(trace),
            },
            tag: tag.behind(trace),
            storage_type: storage_type.behind(trace),
            chunks: chunks.behind(trace),
            is_threaded: is_threaded.map(|field| field.behind(trace)),
            metrics: metrics.map(|field| field.behind(trace)),
        }
    }
}

/// The alias of an input, or `kube_audit.N`.
///
/// # Safety
/// `ins` is a live input instance of the host.
pub(crate) unsafe fn input_name(api: &InputApi, ins: *mut abi::flb_input_instance) -> String {
    // SAFETY: the instance is one of the host's.
    let name = unsafe { (api.name)(ins) };
    // SAFETY: null or a NUL-terminated string of the instance.
    unsafe { optional(name) }.map_or_else(String::new, lossy)
}

/// Reads an input's section.
///
/// # Safety
/// `ins` is an input instance of a host of that version, at its start, that no other thread
/// changes.
pub(crate) unsafe fn read_input(
    version: Version,
    api: &InputApi,
    ins: *mut abi::flb_input_instance,
) -> Result<InputSection, SectionError> {
    let misplaced = |what| SectionError::Layout { version, what };

    // SAFETY: the instance is one of the host's.
    let name = unsafe { (api.name)(ins) };
    // SAFETY: key and instance are valid, and nothing is changed.
    let get = |key: &CStr| unsafe { (api.get_property)(key.as_ptr(), ins) };
    let layout = InputLayout::of(version, api.trace_size);
    // SAFETY: the caller vouches for the instance.
    let section = unsafe { layout.common.read(version, ins.cast(), name, get) }?;

    // An alias confirms its own place alone; the name is that of the plugin with a number.
    // SAFETY: within the instance.
    let own_name = unsafe { layout.common.name.read(ins.cast()) }.map(|byte| byte as u8);
    let own_name = CStr::from_bytes_until_nul(&own_name).unwrap_or_default();
    let number = own_name.to_bytes().strip_prefix(NAME.to_bytes());
    if !number.is_some_and(|number| number.starts_with(b".")) {
        return Err(misplaced("name"));
    }
    // Name and properties are confirmed, and tag and storage lie between them. The list of
    // chunks is the second one after the properties, and an instance starts without any.
    // SAFETY: within the instance.
    let chunks = unsafe { nodes(layout.chunks.place(ins.cast())) };
    if chunks.is_none_or(|chunks| !chunks.is_empty()) {
        return Err(misplaced("chunks"));
    }
    // The metrics follow `is_threaded`, and a function of the host confirms their place.
    if let (Some(field), Some(get)) = (layout.metrics, api.get_cmt_instance) {
        // SAFETY: an aligned pointer within the instance of this version, only compared.
        let found = unsafe { field.read(ins.cast()) };
        // SAFETY: the instance is one of the host's.
        if !ptr::eq(found, unsafe { get(ins) }.cast()) {
            return Err(misplaced("metrics"));
        }
    }
    let number = |field: Field<c_int>| {
        // SAFETY: the layout is confirmed.
        unsafe { field.read(ins.cast()) }
    };
    let storage = match number(layout.storage_type) {
        abi::FLB_STORAGE_FS => Storage::Filesystem,
        _ => Storage::Memory,
    };
    let chunks = match layout.is_threaded.map(number) {
        Some(threaded) if threaded != 0 => ChunkList::OtherThread,
        _ if number(layout.storage_type) == abi::FLB_STORAGE_MEMRB => ChunkList::Ring,
        _ => ChunkList::Known,
    };
    // SAFETY: the layout is confirmed.
    let tag = unsafe { layout.tag.read(ins.cast()) };
    // SAFETY: null or a NUL-terminated string of the instance.
    let tag = unsafe { optional(tag) };
    Ok(InputSection {
        section,
        settings: InputSettings { storage, chunks },
        tag: match tag {
            Some(tag) if tag != own_name => Tag::Chosen,
            _ => Tag::Unset,
        },
    })
}

/// Replaces `held` by the addresses of the chunks that the host holds for an input. It is
/// left as it is if their list is not sound.
///
/// # Safety
/// `ins` is a live input instance of a host of that version, which [`read_input`] has
/// confirmed, and this is the engine's thread.
pub(crate) unsafe fn chunks_of(
    version: Version,
    api: &InputApi,
    ins: *const abi::flb_input_instance,
    held: &mut Vec<usize>,
) {
    let layout = InputLayout::of(version, api.trace_size);
    let list = layout.chunks.place(ins.cast());
    // SAFETY: the list's head, which no other thread changes; each node is part of a chunk.
    if let Some(nodes) = unsafe { nodes(list) } {
        held.clear();
        held.extend(nodes.into_iter().map(|node| node.addr()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::compare_with_every_release;
    use super::*;
    use crate::ffi::host::TRACE_SIZE;

    #[test]
    fn offsets_are_those_of_every_release() {
        compare_with_every_release("flb_input_instance", &["is_threaded"], |version| {
            let trace = match version >= Version(2, 0, 0) {
                true => TRACE_SIZE,
                false => 0,
            };
            let layout = InputLayout::of(version, trace);
            let mut offsets = layout.common.offsets();
            offsets.extend([
                ("tag", layout.tag.offset),
                ("storage_type", layout.storage_type.offset),
                ("chunks", layout.chunks.offset),
            ]);
            let is_threaded = layout.is_threaded;
            offsets.extend(is_threaded.map(|field| ("is_threaded", field.offset)));
            offsets.extend(layout.metrics.map(|field| ("cmt", field.offset)));
            offsets
        });
    }
}
