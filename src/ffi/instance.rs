//! What the host knows of one section: name, options, settings.
//!
//! Nothing here trusts the layout of the host's version alone. An instance's
//! name and its list of properties are compared with what the host's own
//! functions say of them before anything is used.

use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::ptr;

use super::bindings as abi;
use super::host::{Host, Version, lossy, optional};
use crate::plugin::{HostSettings, HostTls, Properties};

/// One section of the configuration.
#[derive(Debug)]
pub struct Section {
    /// Alias or `kube_audit.N`.
    pub name: String,
    /// The host's number of the log level; negative while the host has none.
    pub log_level: c_int,
    /// Its options, in order.
    pub properties: Properties,
}

/// An output section.
#[derive(Debug)]
pub struct OutputSection {
    /// What every section has.
    pub section: Section,
    /// What the host keeps to itself.
    pub settings: HostSettings,
    /// `Retry_Limit`.
    pub retry_limit: RetryLimit,
    /// `Workers`, from 2.2.0 on.
    pub workers: Option<c_int>,
}

/// What the host knows of `Retry_Limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLimit {
    /// Not in the configuration.
    Unset,
    /// The default value, and the host does not tell whether somebody chose it.
    UnsetOrDefault,
    /// That many, or one of the host's special numbers.
    Chosen(c_int),
}

/// Why a section can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    #[error(
        "this Fluent Bit says that it is {version}, but keeps the {what} of an instance somewhere \
         else: a build with other layouts, which this plugin does not know"
    )]
    Layout {
        version: Version,
        what: &'static str,
    },
    #[error("option `{0}`: the value is not UTF-8")]
    NotUtf8(String),
    #[error("option `Port`: {0} is no port, which is a number from 1 to 65535")]
    Port(c_int),
}

/// Reads a filter's section.
///
/// # Safety
/// `ins` is a live filter instance of `host` that no other thread changes.
pub unsafe fn filter(
    host: &Host,
    ins: *mut abi::flb_filter_instance,
) -> Result<Section, SectionError> {
    // SAFETY: the layout is the one of this version; a name belongs to its instance.
    let (head, name) = unsafe { (filter_head(host.version, ins), (host.api.filter_name)(ins)) };
    // SAFETY: key and instance are valid, and nothing is changed.
    let get = |key: &CStr| unsafe { (host.api.filter_get_property)(key.as_ptr(), ins) };
    // SAFETY: `head` was read from the instance, which the caller vouches for.
    unsafe { section(host.version, head, name, get) }
}

/// Reads an output's section.
///
/// # Safety
/// `ins` is a live output instance of `host` that no other thread changes.
pub unsafe fn output(
    host: &Host,
    ins: *mut abi::flb_output_instance,
) -> Result<OutputSection, SectionError> {
    // SAFETY: the layout is the one of this version; a name belongs to its instance.
    let (fields, name) = unsafe {
        (
            output_fields(host.version, ins),
            (host.api.output_name)(ins),
        )
    };
    // SAFETY: key and instance are valid, and nothing is changed.
    let get = |key: &CStr| unsafe { (host.api.output_get_property)(key.as_ptr(), ins) };
    // SAFETY: `head` was read from the instance, which the caller vouches for.
    let section = unsafe { section(host.version, fields.head, name, get) }?;

    let retry_limit = match (fields.retry_limit_is_set, fields.retry_limit) {
        (Some(0), _) => RetryLimit::Unset,
        (None, abi::FLB_OUT_RETRY_DEFAULT) => RetryLimit::UnsetOrDefault,
        (_, limit) => RetryLimit::Chosen(limit),
    };
    let port = match fields.host.port {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| SectionError::Port(port))?),
    };
    let tls = if fields.use_tls == 0 {
        None
    } else {
        let text = |option: &str, value: *const c_char| {
            // SAFETY: the layout's check passed, so this is null or the host's string.
            unsafe { owned(option, value) }
        };
        Some(HostTls {
            verify: fields.tls_verify != 0,
            vhost: text("tls.vhost", fields.tls_vhost)?,
            ca_path: text("tls.ca_path", fields.tls_ca_path)?,
            ca_file: text("tls.ca_file", fields.tls_ca_file)?,
            crt_file: text("tls.crt_file", fields.tls_crt_file)?,
            key_file: text("tls.key_file", fields.tls_key_file)?,
            key_passwd: text("tls.key_passwd", fields.tls_key_passwd)?,
            min_version: text("tls.min_version", fields.tls_min_version)?,
            max_version: text("tls.max_version", fields.tls_max_version)?,
            ciphers: text("tls.ciphers", fields.tls_ciphers)?,
        })
    };
    Ok(OutputSection {
        section,
        settings: HostSettings {
            // SAFETY: the layout's check passed, so this is null or the host's string.
            host: unsafe { owned("Host", fields.host.name) }?,
            port,
            tls,
        },
        retry_limit,
        workers: workers_offset(host.version).map(|offset| {
            // SAFETY: an aligned int within the instance of this version.
            unsafe { ins.byte_add(offset).cast::<c_int>().read() }
        }),
    })
}

/// The fields that every instance has.
#[derive(Clone, Copy)]
struct Head {
    log_level: c_int,
    /// Where the name is, inside the instance.
    name: *const c_char,
    alias: *const c_char,
    /// Where the list's head is, inside the instance.
    properties: *const abi::mk_list,
}

/// What is read of an output instance besides; null where the version has no such field.
struct OutputFields {
    head: Head,
    retry_limit: c_int,
    retry_limit_is_set: Option<c_int>,
    use_tls: c_int,
    tls_verify: c_int,
    tls_vhost: *mut c_char,
    tls_ca_path: *mut c_char,
    tls_ca_file: *mut c_char,
    tls_crt_file: *mut c_char,
    tls_key_file: *mut c_char,
    tls_key_passwd: *mut c_char,
    tls_min_version: *mut c_char,
    tls_max_version: *mut c_char,
    tls_ciphers: *mut c_char,
    host: abi::flb_net_host,
}

/// The head of an instance of that layout.
macro_rules! head {
    ($ins:expr) => {
        Head {
            log_level: (*$ins).log_level,
            name: (&raw const (*$ins).name).cast(),
            alias: (*$ins).alias,
            properties: &raw const (*$ins).properties,
        }
    };
}

/// # Safety
/// `ins` points to a filter instance with the layout of this version.
unsafe fn filter_head(version: Version, ins: *const abi::flb_filter_instance) -> Head {
    macro_rules! layout {
        ($layout:ident) => {{
            let ins: *const abi::$layout = ins.cast();
            // SAFETY: the caller guarantees the layout.
            unsafe { head!(ins) }
        }};
    }
    if version < Version(2, 1, 0) {
        layout!(flb_filter_instance_v1_9_0)
    } else if version < Version(2, 1, 4) {
        layout!(flb_filter_instance_v2_1_0)
    } else {
        layout!(flb_filter_instance_v2_1_4)
    }
}

/// # Safety
/// `ins` points to an output instance with the layout of this version.
unsafe fn output_fields(version: Version, ins: *const abi::flb_output_instance) -> OutputFields {
    /// The fields of a layout, with those that came later than the first one.
    macro_rules! layout {
        ($layout:ident $(, $later:ident)*) => {{
            let ins: *const abi::$layout = ins.cast();
            // SAFETY: the caller guarantees the layout.
            #[allow(unused_mut, clippy::useless_conversion, reason = "differs by layout")]
            unsafe {
                let mut fields = OutputFields {
                    head: head!(ins),
                    retry_limit: (*ins).retry_limit,
                    retry_limit_is_set: None,
                    use_tls: (*ins).use_tls,
                    tls_verify: (*ins).tls_verify,
                    tls_vhost: (*ins).tls_vhost,
                    tls_ca_path: (*ins).tls_ca_path,
                    tls_ca_file: (*ins).tls_ca_file,
                    tls_crt_file: (*ins).tls_crt_file,
                    tls_key_file: (*ins).tls_key_file,
                    tls_key_passwd: (*ins).tls_key_passwd,
                    tls_min_version: ptr::null_mut(),
                    tls_max_version: ptr::null_mut(),
                    tls_ciphers: ptr::null_mut(),
                    host: (*ins).host,
                };
                $(fields.$later = (*ins).$later.into();)*
                fields
            }
        }};
    }
    if version < Version(2, 0, 9) {
        layout!(flb_output_instance_v1_9_0)
    } else if version < Version(2, 1, 0) {
        layout!(flb_output_instance_v2_0_9)
    } else if version < Version(3, 1, 0) {
        layout!(flb_output_instance_v2_1_0)
    } else if version < Version(4, 0, 0) {
        layout!(flb_output_instance_v3_1_0)
    } else if version < Version(5, 0, 3) {
        layout!(
            flb_output_instance_v4_0_0,
            tls_min_version,
            tls_max_version,
            tls_ciphers
        )
    } else if version < Version(5, 1, 0) {
        layout!(
            flb_output_instance_v5_0_3,
            retry_limit_is_set,
            tls_min_version,
            tls_max_version,
            tls_ciphers
        )
    } else {
        layout!(
            flb_output_instance_v5_1_0,
            retry_limit_is_set,
            tls_min_version,
            tls_max_version,
            tls_ciphers
        )
    }
}

/// Where `Workers` is in an output instance, from 2.2.0 on.
fn workers_offset(version: Version) -> Option<usize> {
    const LAYOUTS: [(Version, c_int); 12] = [
        (Version(5, 1, 0), abi::FLB_OUTPUT_TP_WORKERS_V5_1_0),
        (Version(5, 0, 3), abi::FLB_OUTPUT_TP_WORKERS_V5_0_3),
        (Version(5, 0, 0), abi::FLB_OUTPUT_TP_WORKERS_V5_0_0),
        (Version(4, 0, 6), abi::FLB_OUTPUT_TP_WORKERS_V4_0_6),
        (Version(4, 0, 4), abi::FLB_OUTPUT_TP_WORKERS_V4_0_4),
        (Version(4, 0, 0), abi::FLB_OUTPUT_TP_WORKERS_V4_0_0),
        (Version(3, 2, 2), abi::FLB_OUTPUT_TP_WORKERS_V3_2_2),
        (Version(3, 2, 0), abi::FLB_OUTPUT_TP_WORKERS_V3_2_0),
        (Version(3, 1, 0), abi::FLB_OUTPUT_TP_WORKERS_V3_1_0),
        (Version(2, 2, 2), abi::FLB_OUTPUT_TP_WORKERS_V2_2_2),
        (Version(2, 2, 1), abi::FLB_OUTPUT_TP_WORKERS_V2_2_1),
        (Version(2, 2, 0), abi::FLB_OUTPUT_TP_WORKERS_V2_2_0),
    ];
    let (_, offset) = LAYOUTS.iter().find(|(since, _)| version >= *since)?;
    usize::try_from(*offset).ok()
}

/// Reads a section once the host's functions confirm where its parts are.
///
/// # Safety
/// `head` was read from a live instance, `name` is what the host calls it, and
/// `get` is the host's lookup of a property in it.
unsafe fn section(
    version: Version,
    head: Head,
    name: *const c_char,
    get: impl Fn(&CStr) -> *const c_char,
) -> Result<Section, SectionError> {
    let layout = |what| SectionError::Layout { version, what };

    // The host answers with one of these two places.
    let expected = if head.alias.is_null() {
        head.name
    } else {
        head.alias
    };
    if name.is_null() || !ptr::eq(name, expected) {
        return Err(layout("name"));
    }
    // SAFETY: the host's own name of the instance, so NUL-terminated.
    let name = lossy(unsafe { CStr::from_ptr(name) });

    // SAFETY: the caller guarantees that `head` is in a live instance.
    let items = unsafe { items(head.properties) }.ok_or_else(|| layout("properties"))?;
    let mut properties = Properties::new();
    for (at, item) in items.iter().enumerate() {
        // SAFETY: a key is a NUL-terminated string that lives as long as the instance.
        let key = unsafe { CStr::from_ptr(item.key) };
        let first = items.iter().take(at).all(|earlier| {
            // SAFETY: as above.
            let earlier = unsafe { CStr::from_ptr(earlier.key) };
            !earlier.to_bytes().eq_ignore_ascii_case(key.to_bytes())
        });
        // The host finds the first property of a name only, by its place.
        if first && !ptr::eq(get(key), item.val) {
            return Err(layout("properties"));
        }
        let key = lossy(key);
        // SAFETY: null or a NUL-terminated string, as the host's lookup confirms.
        let value = unsafe { owned(&key, item.val) }?.unwrap_or_default();
        properties.push((key, value));
    }
    Ok(Section {
        name,
        log_level: head.log_level,
        properties,
    })
}

/// The items of a property list in order, `None` unless it is a sound circular list.
///
/// # Safety
/// `head` may be read as a list head; a pointer in it that looks like one is one.
unsafe fn items(head: *const abi::mk_list) -> Option<Vec<abi::flb_kv>> {
    /// Far more than any section has.
    const MOST: usize = 65_536;

    /// Aligned, and in no page that is never mapped.
    fn looks_like_a_pointer<T>(pointer: *const T) -> bool {
        pointer.is_aligned() && pointer.addr() >= 65_536
    }

    let mut items = Vec::new();
    let mut previous = head;
    // SAFETY: the caller guarantees that the head can be read.
    let mut node: *const abi::mk_list = unsafe { (*head).next };
    while items.len() < MOST {
        // SAFETY: the node looks like a pointer, which the caller vouches for.
        if !looks_like_a_pointer(node) || !ptr::eq(unsafe { (*node).prev }, previous) {
            return None;
        }
        if ptr::eq(node, head) {
            return Some(items);
        }
        // SAFETY: every node of the list but the head is part of a property.
        let (item, next) = unsafe {
            let item: *const abi::flb_kv = node.byte_sub(offset_of!(abi::flb_kv, _head)).cast();
            (*item, (*node).next)
        };
        if item.key.is_null() {
            return None;
        }
        items.push(item);
        previous = node;
        node = next;
    }
    None
}

/// The host's text for an option; `None` where it keeps none.
///
/// # Safety
/// `value` is null or a NUL-terminated string.
unsafe fn owned(option: &str, value: *const c_char) -> Result<Option<String>, SectionError> {
    // SAFETY: the caller guarantees it.
    let Some(value) = (unsafe { optional(value) }) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(value) => Ok(Some(value.to_owned())),
        Err(_) => Err(SectionError::NotUtf8(option.to_owned())),
    }
}
