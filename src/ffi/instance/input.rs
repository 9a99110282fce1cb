//! Input instances.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use super::{CommonLayout, Field, Section, SectionError, at, layout_of, nodes};
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

/// The layouts, newest first, with the first version that has each.
const LAYOUTS: [(Version, InputLayout); 7] = [
    (Version(5, 1, 0), V5_1_0),
    (
        Version(4, 1, 0),
        InputLayout {
            metrics: Some(behind_lock(640)),
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
        log_level: behind_lock(96),
        name: behind_lock(112),
        alias: behind_lock(144),
        properties: behind_lock(360),
    },
    tag: behind_lock(176),
    storage_type: behind_lock(256),
    chunks: behind_lock(392),
    is_threaded: Some(behind_lock(504)),
    metrics: Some(behind_lock(560)),
};

const V2_0_1: InputLayout = InputLayout {
    common: CommonLayout {
        log_level: behind_lock(88),
        name: behind_lock(104),
        alias: behind_lock(136),
        properties: behind_lock(352),
    },
    tag: behind_lock(168),
    storage_type: behind_lock(248),
    chunks: behind_lock(384),
    is_threaded: Some(behind_lock(496)),
    metrics: Some(behind_lock(552)),
};

const V2_1_0: InputLayout = InputLayout {
    common: CommonLayout {
        log_level: behind_lock(96),
        name: behind_lock(116),
        alias: behind_lock(152),
        properties: behind_lock(368),
    },
    tag: behind_lock(184),
    storage_type: behind_lock(264),
    chunks: behind_lock(400),
    is_threaded: Some(behind_lock(512)),
    metrics: Some(behind_lock(568)),
};

const V3_2_3: InputLayout = InputLayout {
    common: CommonLayout {
        properties: behind_lock(376),
        ..V2_1_0.common
    },
    tag: behind_lock(192),
    storage_type: behind_lock(272),
    chunks: behind_lock(408),
    is_threaded: Some(behind_lock(568)),
    metrics: Some(behind_lock(624)),
};

const V5_1_0: InputLayout = InputLayout {
    common: CommonLayout {
        properties: behind_lock(384),
        ..V2_1_0.common
    },
    tag: behind_lock(192),
    storage_type: behind_lock(280),
    chunks: behind_lock(416),
    is_threaded: Some(behind_lock(576)),
    metrics: Some(behind_lock(648)),
};

/// A field behind `chunk_trace_lock`, whose size depends on the processor, as if that had
/// none.
const fn behind_lock<T>(offset: usize) -> Field<T> {
    at(offset.wrapping_add(size_of::<libc::pthread_mutex_t>()))
}

impl InputLayout {
    fn of(version: Version) -> InputLayout {
        layout_of(&LAYOUTS, version, V1_9_0)
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
    let layout = InputLayout::of(version);
    // SAFETY: the caller vouches for the instance.
    let section = unsafe { layout.common.read(version, ins.cast(), name, get) }?;

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
        None | Some(0) => ChunkList::Known,
        Some(_) => ChunkList::OtherThread,
    };
    // SAFETY: the layout is confirmed.
    let tag = unsafe { layout.tag.read(ins.cast()) };
    // SAFETY: null or a NUL-terminated string of the instance.
    let tag = unsafe { optional(tag) };
    let own_name = layout.common.name.place(ins.cast());
    // SAFETY: a NUL-terminated string of the instance.
    let own_name = unsafe { CStr::from_ptr(own_name.cast()) };
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
    ins: *const abi::flb_input_instance,
    held: &mut Vec<usize>,
) {
    let list = InputLayout::of(version).chunks.place(ins.cast());
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

    #[test]
    fn offsets_are_those_of_every_release() {
        compare_with_every_release("flb_input_instance", &["is_threaded"], |version| {
            let layout = InputLayout::of(version);
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
