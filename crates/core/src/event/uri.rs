//! Request URIs: the decoded path, and the API resource it names.

use std::borrow::Cow;

use crate::doc::scan;

/// Percent-decodes a path to bytes. A path with a malformed escape stays
/// as it is, and a `+` is a `+`.
pub(super) fn decode_path(path: &[u8]) -> Cow<'_, [u8]> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    let mut decoded = Vec::new();
    let mut rest = path;
    let next = |rest| memchr::memchr(b'%', rest).and_then(|at| rest.split_at_checked(at));
    while let Some((before, escape)) = next(rest) {
        let &[_, high, low, ref after @ ..] = escape else {
            return Cow::Borrowed(path);
        };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Cow::Borrowed(path);
        };
        decoded.extend_from_slice(before);
        decoded.push(high << 4 | low);
        rest = after;
    }
    if rest.len() == path.len() {
        return Cow::Borrowed(path);
    }
    decoded.extend_from_slice(rest);
    Cow::Owned(decoded)
}

/// The part of a request URI in front of the query.
pub(super) fn without_query(uri: &[u8]) -> &[u8] {
    let query = memchr::memchr(b'?', uri).unwrap_or(uri.len());
    uri.get(..query).unwrap_or(uri)
}

/// The parts of a resource request's decoded path, as the API server's request
/// info reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ResourcePath<'a> {
    /// API group, empty for the core group.
    pub group: &'a [u8],
    /// Namespace; a namespace object is in itself.
    pub namespace: &'a [u8],
    /// Resource name.
    pub resource: &'a [u8],
    /// Object name.
    pub name: &'a [u8],
    /// Subresource.
    pub subresource: &'a [u8],
}

impl<'a> ResourcePath<'a> {
    /// Reads `/api/{version}/…` or `/apis/{group}/{version}/…`; `None` for any other path.
    pub(super) fn parse(path: &'a [u8]) -> Option<ResourcePath<'a>> {
        // The longest form: apis/group/version/watch/namespaces/ns/resource/name/subresource.
        const LONGEST: usize = 9;
        let path = trim_slashes(path);
        let mut parts = [&[][..]; LONGEST];
        let (mut count, mut start) = (0usize, 0usize);
        let ends = scan::places(path, b'/').chain([path.len()]);
        for (slot, end) in parts.iter_mut().zip(ends) {
            *slot = path.get(start..end)?;
            start = end.wrapping_add(1);
            count = count.wrapping_add(1);
        }
        let parts = parts.get(..count)?;
        if parts.len() < 3 {
            return None;
        }
        let (group, parts) = match parts {
            [b"api", _, rest @ ..] => (&[][..], rest),
            [b"apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (verb, parts) = match parts {
            [verb @ (b"proxy" | b"watch"), rest @ ..] => (*verb, rest),
            _ => (&[][..], parts),
        };
        let (namespace, parts) = match parts {
            [b"namespaces", namespace, b"status" | b"finalize", ..] => (*namespace, parts),
            [b"namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            [b"namespaces", namespace] => (*namespace, parts),
            _ => (&[][..], parts),
        };
        let part = |i: usize| parts.get(i).copied().unwrap_or_default();
        Some(ResourcePath {
            group,
            namespace,
            resource: parts.first()?,
            name: part(1),
            // The part after the name of a proxied object is the object's own path.
            subresource: if verb == b"proxy" { &[] } else { part(2) },
        })
    }
}

fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_to_bytes() {
        for (path, want) in [
            ("/a", &b"/a"[..]),
            ("/a%2Fb+c%ff", b"/a/b+c\xff"),
            ("/a%zz%20", b"/a%zz%20"),
            ("/a%20%4", b"/a%20%4"),
            ("%41", b"A"),
        ] {
            assert_eq!(decode_path(path.as_bytes()), want, "{path}");
        }
        assert_eq!(without_query(b"/a?b?c"), b"/a");
    }

    #[test]
    fn resource_paths() {
        let check = |path: &str, want: Option<[&str; 5]>| {
            let want = want.map(
                |[group, namespace, resource, name, subresource]| ResourcePath {
                    group: group.as_bytes(),
                    namespace: namespace.as_bytes(),
                    resource: resource.as_bytes(),
                    name: name.as_bytes(),
                    subresource: subresource.as_bytes(),
                },
            );
            assert_eq!(ResourcePath::parse(path.as_bytes()), want, "{path}");
        };
        check("/api/v1", None);
        check("/apis/apps/v1", None);
        check("/healthz/a/b", None);
        check("/", None);
        check("/api/v1/pods", Some(["", "", "pods", "", ""]));
        check(
            "/api/v1/namespaces/x",
            Some(["", "x", "namespaces", "x", ""]),
        );
        check(
            "/api/v1/namespaces/x/status",
            Some(["", "x", "namespaces", "x", "status"]),
        );
        check("/api/v1/namespaces", Some(["", "", "namespaces", "", ""]));
        check(
            "/api/v1/namespaces/x/pods/p/log/",
            Some(["", "x", "pods", "p", "log"]),
        );
        check(
            "/api/v1/watch/namespaces/x/pods",
            Some(["", "x", "pods", "", ""]),
        );
        check(
            "/api/v1/proxy/namespaces/x/pods/p/a/b",
            Some(["", "x", "pods", "p", ""]),
        );
        check(
            "/apis/apps/v1/namespaces/x/deployments/d/scale/y/z",
            Some(["apps", "x", "deployments", "d", "scale"]),
        );
    }
}
