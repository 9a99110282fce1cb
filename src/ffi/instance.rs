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
use kube_audit_plugin::{HostSettings, HostTls, Properties};

/// One section of the configuration.
#[derive(Debug)]
pub struct Section {
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

/// Alias or `kube_audit.N`.
///
/// # Safety
/// `ins` is a live filter instance of `host`.
pub unsafe fn filter_name(host: &Host, ins: *mut abi::flb_filter_instance) -> String {
    // SAFETY: the host's answer is a NUL-terminated string of the instance.
    unsafe { optional((host.api.filter_name)(ins)) }.map_or_else(String::new, lossy)
}

/// Alias or `kube_audit.N`.
///
/// # Safety
/// `ins` is a live output instance of `host`.
pub unsafe fn output_name(host: &Host, ins: *mut abi::flb_output_instance) -> String {
    // SAFETY: the host's answer is a NUL-terminated string of the instance.
    unsafe { optional((host.api.output_name)(ins)) }.map_or_else(String::new, lossy)
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
    let (fields, name) = unsafe {
        (
            filter_fields(host.version, ins),
            (host.api.filter_name)(ins),
        )
    };
    // SAFETY: key and instance are valid, and nothing is changed.
    let get = |key: &CStr| unsafe { (host.api.filter_get_property)(key.as_ptr(), ins) };
    // SAFETY: `head` was read from the instance, which the caller vouches for.
    unsafe { section(host.version, fields.head, name, get) }
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
    let tls = {
        let text = |option: &str, value: *const c_char| {
            // SAFETY: the layout's check passed, so this is null or the host's string.
            unsafe { owned(option, value) }
        };
        Some(HostTls {
            on: fields.use_tls != 0,
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

/// A filter's metrics, null where they are not known. They lie between two things
/// whose place is confirmed: the properties, see [`filter()`], and the configuration,
/// which the host also passes to `cb_init`.
///
/// # Safety
/// `ins` is a live filter instance of `host` that no other thread changes.
pub unsafe fn filter_metrics(
    host: &Host,
    ins: *mut abi::flb_filter_instance,
    config: *mut abi::flb_config,
) -> *mut abi::cmt {
    let Some(offset) = config_offset(host.version) else {
        return ptr::null_mut();
    };
    // SAFETY: an aligned pointer within the instance of this version.
    let found = unsafe { ins.byte_add(offset).cast::<*mut abi::flb_config>().read() };
    if !ptr::eq(found, config) {
        return ptr::null_mut();
    }
    // SAFETY: the layout is the one of this version.
    unsafe { filter_fields(host.version, ins).cmt }
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

/// What is read of a filter instance.
struct FilterFields {
    head: Head,
    cmt: *mut abi::cmt,
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
unsafe fn filter_fields(version: Version, ins: *const abi::flb_filter_instance) -> FilterFields {
    macro_rules! layout {
        ($layout:ident) => {{
            let ins: *const abi::$layout = ins.cast();
            // SAFETY: the caller guarantees the layout.
            unsafe {
                FilterFields {
                    head: head!(ins),
                    cmt: (*ins).cmt,
                }
            }
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

/// Where the configuration is in a filter instance, from 2.0.0 on.
fn config_offset(version: Version) -> Option<usize> {
    const LAYOUTS: [(Version, c_int); 4] = [
        (Version(3, 2, 0), abi::FLB_FILTER_CONFIG_V3_2_0),
        (Version(2, 1, 4), abi::FLB_FILTER_CONFIG_V2_1_4),
        (Version(2, 1, 0), abi::FLB_FILTER_CONFIG_V2_1_0),
        (Version(2, 0, 0), abi::FLB_FILTER_CONFIG_V2_0_0),
    ];
    offset(&LAYOUTS, version)
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
    offset(&LAYOUTS, version)
}

/// The offset in a version, from a list that begins with the newest one.
fn offset(layouts: &[(Version, c_int)], version: Version) -> Option<usize> {
    let (_, offset) = layouts.iter().find(|(since, _)| version >= *since)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::CString;
    use std::io::Write;
    use std::mem::MaybeUninit;

    const VERSION: Version = Version(4, 0, 0);

    /// A property list as the host builds it; leaked, as its nodes point to each other.
    fn list(properties: &[(&CStr, Option<&CStr>)]) -> *mut abi::mk_list {
        let null = abi::mk_list {
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
        };
        let head: *mut abi::mk_list = Box::leak(Box::new(null));
        let mut nodes = vec![head];
        for (key, value) in properties {
            let item = Box::leak(Box::new(abi::flb_kv {
                key: CString::from(*key).into_raw(),
                val: value.map_or(ptr::null_mut(), |value| CString::from(value).into_raw()),
                _head: null,
            }));
            nodes.push(&raw mut item._head);
        }
        for (at, &node) in nodes.iter().enumerate() {
            let next = nodes[(at + 1) % nodes.len()];
            // SAFETY: leaked nodes, used on this thread only.
            unsafe {
                (*node).next = next;
                (*next).prev = node;
            }
        }
        head
    }

    /// Reads a section whose host finds properties and name where `found` and `name` say.
    fn read(
        properties: *const abi::mk_list,
        found: *const abi::mk_list,
        name: &CStr,
    ) -> Result<Section, SectionError> {
        let own_name = c"kube_audit.0";
        let head = Head {
            log_level: 3,
            name: own_name.as_ptr(),
            alias: ptr::null(),
            properties,
        };
        let name = if name == own_name { own_name } else { name };
        let get = |wanted: &CStr| {
            // SAFETY: a list made by `list`.
            let items = unsafe { items(found) }.unwrap();
            let same = |item: &&abi::flb_kv| {
                // SAFETY: keys made by `list`.
                let key = unsafe { CStr::from_ptr(item.key) };
                key.to_bytes().eq_ignore_ascii_case(wanted.to_bytes())
            };
            items
                .iter()
                .find(same)
                .map_or(ptr::null(), |item| item.val.cast_const())
        };
        // SAFETY: lists made by `list`, whose strings are NUL-terminated.
        unsafe { section(VERSION, head, name.as_ptr(), get) }
    }

    fn layout(what: &'static str) -> SectionError {
        SectionError::Layout {
            version: VERSION,
            what,
        }
    }

    #[test]
    fn properties_come_in_order_with_repeated_keys() {
        let properties = list(&[
            (c"record", Some(c"a 1")),
            (c"Policy", Some(c"x")),
            (c"Record", Some(c"b 2")),
            (c"empty", None),
        ]);
        let section = read(properties, properties, c"kube_audit.0").unwrap();
        let expected = [
            ("record", "a 1"),
            ("Policy", "x"),
            ("Record", "b 2"),
            ("empty", ""),
        ];
        assert_eq!(
            section.properties,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert_eq!(section.log_level, 3);

        let empty = list(&[]);
        assert!(
            read(empty, empty, c"kube_audit.0")
                .unwrap()
                .properties
                .is_empty()
        );
    }

    #[test]
    fn what_the_host_does_not_confirm_is_refused() {
        let one = list(&[(c"a", Some(c"1"))]);
        let other = list(&[(c"a", Some(c"1"))]);
        let none = list(&[]);
        for found in [other, none] {
            assert_eq!(
                read(one, found, c"kube_audit.0").unwrap_err(),
                layout("properties")
            );
        }
        assert_eq!(read(one, one, c"kube_audit.1").unwrap_err(), layout("name"));

        let broken = list(&[(c"a", Some(c"1")), (c"b", Some(c"2"))]);
        // SAFETY: leaked nodes, used on this thread only.
        unsafe { (*(*broken).next).prev = ptr::null_mut() };
        assert_eq!(
            read(broken, one, c"kube_audit.0").unwrap_err(),
            layout("properties")
        );
    }

    #[test]
    fn a_value_that_is_no_text_is_an_error() {
        let properties = list(&[(c"policy", Some(c"\xff"))]);
        assert_eq!(
            read(properties, properties, c"kube_audit.0")
                .unwrap_err()
                .to_string(),
            "option `policy`: the value is not UTF-8"
        );
    }

    type Offsets = BTreeMap<&'static str, usize>;

    /// Where `filter_fields` and `output_fields` look, by putting a number at every
    /// place and reading it back.
    fn places(version: Version) -> (Offsets, Offsets) {
        let mut numbered = MaybeUninit::<[u32; 512]>::uninit();
        let base = numbered.as_mut_ptr();
        let start = base.addr();
        let numbers = std::array::from_fn(|at| at as u32 * 4);
        // SAFETY: the array is ours, and larger than every layout; all fields are
        // numbers and pointers, for which any bytes will do.
        let (filter, output) = unsafe {
            base.write(numbers);
            (
                filter_fields(version, base.cast()),
                output_fields(version, base.cast()),
            )
        };
        // The low half of a pointer is the number at its place.
        let int = |value: c_int| value as usize;
        fn pointer<T>(value: *const T) -> usize {
            value.addr() & 0xffff_ffff
        }
        let head = |head: Head| {
            BTreeMap::from([
                ("log_level", int(head.log_level)),
                ("name", head.name.addr() - start),
                ("alias", pointer(head.alias)),
                ("properties", head.properties.addr() - start),
            ])
        };
        let mut filter_fields = head(filter.head);
        filter_fields.insert("cmt", pointer(filter.cmt));
        filter_fields.extend(config_offset(version).map(|at| ("config", at)));
        let mut fields = head(output.head);
        fields.extend([
            ("retry_limit", int(output.retry_limit)),
            ("use_tls", int(output.use_tls)),
            ("tls_verify", int(output.tls_verify)),
            ("tls_vhost", pointer(output.tls_vhost)),
            ("tls_ca_path", pointer(output.tls_ca_path)),
            ("tls_ca_file", pointer(output.tls_ca_file)),
            ("tls_crt_file", pointer(output.tls_crt_file)),
            ("tls_key_file", pointer(output.tls_key_file)),
            ("tls_key_passwd", pointer(output.tls_key_passwd)),
            ("host", int(output.host.ipv6)),
        ]);
        for (name, later) in [
            ("tls_min_version", output.tls_min_version),
            ("tls_max_version", output.tls_max_version),
            ("tls_ciphers", output.tls_ciphers),
        ] {
            if !later.is_null() {
                fields.insert(name, pointer(later));
            }
        }
        fields.extend(
            output
                .retry_limit_is_set
                .map(|set| ("retry_limit_is_set", int(set))),
        );
        fields.extend(workers_offset(version).map(|at| ("tp_workers", at)));
        (filter_fields, fields)
    }

    /// Compares with offsets that a compiler computed from the headers of every
    /// release: `reference/abi/offsets-ARCH.json` of the directory named by
    /// `KUBE_AUDIT_GROUND_TRUTH`.
    #[test]
    fn offsets_are_those_of_every_release() {
        let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH") else {
            // Not `eprintln`, which the test harness hides.
            let skipped = "SKIPPED: offsets of every release: KUBE_AUDIT_GROUND_TRUTH is not set";
            writeln!(std::io::stderr(), "{skipped}").unwrap();
            return;
        };
        let file = format!("reference/abi/offsets-{}.json", std::env::consts::ARCH);
        let text = std::fs::read_to_string(std::path::Path::new(&truth).join(file)).unwrap();
        let truth: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (layout, is_filter) in [
            ("flb_filter_instance", true),
            ("flb_output_instance", false),
        ] {
            for range in truth[layout].as_array().unwrap() {
                for end in ["from", "to"] {
                    let tag = range[end].as_str().unwrap();
                    let mut numbers = tag.trim_start_matches('v').split('.');
                    let mut number = || numbers.next().unwrap().parse().unwrap();
                    let version = Version(number(), number(), number());
                    let (filter, output) = places(version);
                    let ours = if is_filter { filter } else { output };
                    let fields = range["fields"].as_object().unwrap();
                    for (name, offset) in &ours {
                        let theirs = fields[*name][0].as_u64().unwrap();
                        assert_eq!(*offset as u64, theirs, "{tag} {layout}.{name}");
                    }
                    // A field that came later is read wherever it exists.
                    for name in ["retry_limit_is_set", "tls_min_version", "tls_ciphers"] {
                        assert_eq!(
                            ours.contains_key(name),
                            fields.contains_key(name),
                            "{tag} {layout}.{name}"
                        );
                    }
                }
            }
        }
    }
}
