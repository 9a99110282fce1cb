//! The host's functions for inputs, and the layout of its input plugin object.
//!
//! The object changed more often than the filter's, so it is checked on its own: a host
//! where it is another one is refused by the input alone.

use std::ffi::CStr;

use super::{Function, Refusal, Version, confirm_size, function, symbol};
use crate::ffi::bindings as abi;

/// The layouts of the input plugin object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputPluginLayout {
    /// 128 bytes, before 2.0.0.
    V1_9_0,
    /// 144 bytes, with `type` and `proxy` in front.
    V2_0_0,
    /// 152 bytes, with `cb_destroy`.
    V2_0_7,
    /// 160 bytes, with `cb_notification`.
    V3_2_0,
    /// 208 bytes, with `test_formatter`.
    V3_2_3,
    /// 232 bytes, with `cb_pause_checked`, `cb_resume_checked` and `cb_pre_exit`.
    V5_1_0,
}

impl InputPluginLayout {
    const fn of(version: Version) -> InputPluginLayout {
        match version {
            Version(..=1, ..) => InputPluginLayout::V1_9_0,
            Version(2, 0, ..=6) => InputPluginLayout::V2_0_0,
            Version(2, ..) | Version(3, ..=1, _) => InputPluginLayout::V2_0_7,
            Version(3, 2, ..=2) => InputPluginLayout::V3_2_0,
            Version(3 | 4, ..) | Version(5, 0, _) => InputPluginLayout::V3_2_3,
            _ => InputPluginLayout::V5_1_0,
        }
    }

    const fn size(self) -> u64 {
        match self {
            InputPluginLayout::V1_9_0 => size_of::<abi::flb_input_plugin_v1_9_0>() as u64,
            InputPluginLayout::V2_0_0 => size_of::<abi::flb_input_plugin_v2_0_0>() as u64,
            InputPluginLayout::V2_0_7 => size_of::<abi::flb_input_plugin_v2_0_7>() as u64,
            InputPluginLayout::V3_2_0 => size_of::<abi::flb_input_plugin_v3_2_0>() as u64,
            InputPluginLayout::V3_2_3 => size_of::<abi::flb_input_plugin_v3_2_3>() as u64,
            InputPluginLayout::V5_1_0 => size_of::<abi::flb_input_plugin_v5_1_0>() as u64,
        }
    }

    /// The offset of the plugin's name.
    const fn name(self) -> usize {
        match self {
            InputPluginLayout::V1_9_0 => std::mem::offset_of!(abi::flb_input_plugin_v1_9_0, name),
            _ => std::mem::offset_of!(abi::flb_input_plugin_v2_0_0, name),
        }
    }

    /// The layout whose start a host reads that is not known: a function that came with
    /// 2.0.0 tells the two apart.
    pub(crate) fn of_unknown() -> InputPluginLayout {
        if symbol(c"flb_input_log_append").is_null() {
            InputPluginLayout::V1_9_0
        } else {
            InputPluginLayout::V2_0_0
        }
    }
}

/// Bytes of the fields for tracing chunks, a pointer and a lock, whose size depends on the
/// processor.
pub(crate) const TRACE_SIZE: usize = size_of::<*const ()>() + size_of::<libc::pthread_mutex_t>();

/// The host's functions for inputs.
pub(crate) struct InputApi {
    /// The layout of the input plugin object that the host copies.
    pub plugin: InputPluginLayout,
    /// [`TRACE_SIZE`] where instances have those fields: from 2.0.0 on, unless the host was
    /// built without them. 0 where they have not.
    pub trace_size: usize,
    pub get_property: Function<abi::flb_input_get_property_fn>,
    pub set_property: Function<abi::flb_input_set_property_fn>,
    pub name: Function<abi::flb_input_name_fn>,
    pub set_context: Function<abi::flb_input_set_context_fn>,
    pub set_collector_time: Function<abi::flb_input_set_collector_time_fn>,
    pub set_collector_event: Function<abi::flb_input_set_collector_event_fn>,
    pub collector_pause: Function<abi::flb_input_collector_pause_fn>,
    pub append: Function<abi::flb_input_append_fn>,
    /// `None` before 2.0.0.
    pub get_cmt_instance: abi::flb_input_get_cmt_instance_fn,
}

impl InputApi {
    /// The functions of a host of that version.
    pub(super) fn probe(version: Version) -> Result<InputApi, Refusal> {
        const BUILTIN: [(&CStr, &CStr); 4] = [
            (c"in_dummy_plugin", c"dummy"),
            (c"in_tail_plugin", c"tail"),
            (c"in_emitter_plugin", c"emitter"),
            (c"in_lib_plugin", c"lib"),
        ];

        let plugin = InputPluginLayout::of(version);
        confirm_size(version, &BUILTIN, plugin.size(), plugin.name())?;
        let since_2 = version >= Version(2, 0, 0);
        let traces = !symbol(c"flb_chunk_trace_do_input").is_null();
        Ok(InputApi {
            plugin,
            trace_size: if traces { TRACE_SIZE } else { 0 },
            get_property: function!(c"flb_input_get_property": abi::flb_input_get_property_fn),
            set_property: function!(c"flb_input_set_property": abi::flb_input_set_property_fn),
            name: function!(c"flb_input_name": abi::flb_input_name_fn),
            set_context: function!(c"flb_input_set_context": abi::flb_input_set_context_fn),
            set_collector_time: function!(
                c"flb_input_set_collector_time": abi::flb_input_set_collector_time_fn
            ),
            set_collector_event: function!(
                c"flb_input_set_collector_event": abi::flb_input_set_collector_event_fn
            ),
            collector_pause: function!(
                c"flb_input_collector_pause": abi::flb_input_collector_pause_fn
            ),
            append: if since_2 {
                function!(c"flb_input_log_append": abi::flb_input_append_fn)
            } else {
                function!(c"flb_input_chunk_append_raw": abi::flb_input_append_fn)
            },
            get_cmt_instance: if since_2 {
                Some(function!(
                    c"flb_input_get_cmt_instance": abi::flb_input_get_cmt_instance_fn
                ))
            } else {
                None
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_begin_with_their_release() {
        for (first, layout) in [
            (Version(1, 9, 3), InputPluginLayout::V1_9_0),
            (Version(2, 0, 0), InputPluginLayout::V2_0_0),
            (Version(2, 0, 7), InputPluginLayout::V2_0_7),
            (Version(2, 1, 0), InputPluginLayout::V2_0_7),
            (Version(3, 1, 10), InputPluginLayout::V2_0_7),
            (Version(3, 2, 0), InputPluginLayout::V3_2_0),
            (Version(3, 2, 3), InputPluginLayout::V3_2_3),
            (Version(4, 2, 8), InputPluginLayout::V3_2_3),
            (Version(5, 0, 9), InputPluginLayout::V3_2_3),
            (Version(5, 1, 0), InputPluginLayout::V5_1_0),
        ] {
            assert_eq!(InputPluginLayout::of(first), layout, "{first}");
        }
        for (last, layout) in [
            (Version(1, 9, 10), InputPluginLayout::V1_9_0),
            (Version(2, 0, 6), InputPluginLayout::V2_0_0),
            (Version(3, 2, 2), InputPluginLayout::V3_2_0),
        ] {
            assert_eq!(InputPluginLayout::of(last), layout, "{last}");
        }
    }
}
