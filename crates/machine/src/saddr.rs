//! Socket addresses as the kernel logs them: the bytes of a `sockaddr` in hex.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt::Write as _;

use crate::text::{number, string};

/// Appends an address as a JSON object with auditd's names; `false` if there is none.
pub(crate) fn write(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let Some((&family, rest)) = raw.split_first_chunk::<2>() else {
        return false;
    };
    // The family is in the order of the machine's bytes: one that is too large tells which.
    let little = u16::from_le_bytes(family);
    let is_little = little <= 46;
    let family = if is_little {
        little
    } else {
        u16::from_be_bytes(family)
    };
    out.extend_from_slice(b"{\"saddr_fam\":");
    match name(family) {
        Some(name) => string(name, out),
        None => {
            out.push(b'"');
            number(family.into(), out);
            out.push(b'"');
        }
    }
    match (family, rest) {
        (2, [a, b, c, d, e, f, ..]) => {
            let address = Ipv4Addr::new(*c, *d, *e, *f);
            internet(format_args!("{address}"), [*a, *b], out);
        }
        (10, [a, b, _, _, _, _, rest @ ..]) => {
            if let Some((&address, _)) = rest.split_first_chunk::<16>() {
                internet(format_args!("{}", Ipv6Addr::from(address)), [*a, *b], out);
            }
        }
        (1, path) => {
            let (is_abstract, path) = match path {
                [0, path @ ..] if !path.is_empty() => (true, path),
                path => (false, path),
            };
            // What stands behind the end of a path is rubbish.
            let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
            if is_abstract {
                out.extend_from_slice(b",\"path\":");
                string(&[b"@", path].concat(), out);
            } else if !path.is_empty() {
                out.extend_from_slice(b",\"path\":");
                string(path, out);
            }
        }
        (16, [_, _, a, b, c, d, _, _, _, _, ..]) => {
            let id = [*a, *b, *c, *d];
            let id = if is_little {
                u32::from_le_bytes(id)
            } else {
                u32::from_be_bytes(id)
            };
            out.extend_from_slice(b",\"nlnk-fam\":16,\"nlnk-pid\":");
            number(id.into(), out);
        }
        _ => {}
    }
    out.push(b'}');
    true
}

fn internet(address: std::fmt::Arguments<'_>, port: [u8; 2], out: &mut Vec<u8>) {
    let mut text = String::new();
    // Strings take all that is written to them.
    let _ = text.write_fmt(address);
    out.extend_from_slice(b",\"laddr\":");
    string(text.as_bytes(), out);
    out.extend_from_slice(b",\"lport\":");
    number(u16::from_be_bytes(port).into(), out);
}

fn name(family: u16) -> Option<&'static [u8]> {
    Some(match family {
        0 => b"unspecified",
        1 => b"local",
        2 => b"inet",
        10 => b"inet6",
        16 => b"netlink",
        17 => b"packet",
        31 => b"bluetooth",
        38 => b"alg",
        40 => b"vsock",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::unhex;

    fn json(hex: &str) -> String {
        let (mut raw, mut out) = (Vec::new(), Vec::new());
        unhex(hex.as_bytes(), &mut raw);
        assert_eq!(write(&raw, &mut out), raw.len() > 1);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn families() {
        for (hex, want) in [
            ("", ""),
            ("02", ""),
            ("0200", r#"{"saddr_fam":"inet"}"#),
            (
                "020001BBC0000207",
                r#"{"saddr_fam":"inet","laddr":"192.0.2.7","lport":443}"#,
            ),
            (
                "000201BBC0000207",
                r#"{"saddr_fam":"inet","laddr":"192.0.2.7","lport":443}"#,
            ),
            (
                "0A0001BB0000000020010DB800000000000000000000002A00000000",
                r#"{"saddr_fam":"inet6","laddr":"2001:db8::2a","lport":443}"#,
            ),
            (
                "0A0001BB0000000000000000000000000000FFFFC000020700000000",
                r#"{"saddr_fam":"inet6","laddr":"::ffff:192.0.2.7","lport":443}"#,
            ),
            ("0A0001BB00000000", r#"{"saddr_fam":"inet6"}"#),
            ("01002F61002F62", r#"{"saddr_fam":"local","path":"/a"}"#),
            ("0100002F6100", r#"{"saddr_fam":"local","path":"@/a"}"#),
            ("010000", r#"{"saddr_fam":"local"}"#),
            (
                "100000000700000000000000",
                r#"{"saddr_fam":"netlink","nlnk-fam":16,"nlnk-pid":7}"#,
            ),
            (
                "001000000000000700000000",
                r#"{"saddr_fam":"netlink","nlnk-fam":16,"nlnk-pid":7}"#,
            ),
            ("2900", r#"{"saddr_fam":"41"}"#),
            ("FFFF", r#"{"saddr_fam":"65535"}"#),
        ] {
            assert_eq!(json(hex), want, "{hex}");
        }
    }
}
