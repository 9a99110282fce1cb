//! Members of X.509 certificates that rustls does not give out: names as OpenSSL
//! compares them, and version 1. Pure.

use std::net::IpAddr;

use kube_audit_core::chunk::EventTime;
use rustls::pki_types::ServerName;

/// Tags of DER.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Contents of object identifiers.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Form of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a receiver's certificate should be.
    Usual,
    /// Version 1, which has no extensions, and which webpki does not read.
    Version1,
    /// With the flag of an authority, which webpki does not accept from a receiver.
    Authority,
}

/// Use of the common name where a certificate has no DNS name among its
/// alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommonName {
    /// It is a name, as for OpenSSL.
    Counts,
    /// It is none: name constraints, which apply to alternative names alone, may
    /// forbid it.
    Ignored,
}

/// A parsed certificate.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    pub(super) form: Form,
    /// The part that is signed.
    pub(super) signed: &'a [u8],
    /// Algorithm of the signature, without its header.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// Name of the issuer, without its header.
    pub(super) issuer: &'a [u8],
    subject: &'a [u8],
    /// Public key with its algorithm.
    pub(super) key: Element<'a>,
    /// Period of validity in seconds since 1970.
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    alt_names: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Parses a certificate; `None` if it is malformed.
    pub(super) fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut outer = Elements(Elements(der).read(SEQUENCE)?);
        let signed = outer.next()?;
        let algorithm = outer.read(SEQUENCE)?;
        let signature = bits(outer.read(BIT_STRING)?)?;

        let mut members = Elements(signed.content);
        let is_version_1 = members.0.first() != Some(&VERSION);
        if !is_version_1 {
            members.next()?;
        }
        members.read(INTEGER)?;
        members.read(SEQUENCE)?;
        let issuer = members.read(SEQUENCE)?;
        let mut validity = Elements(members.read(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = members.read(SEQUENCE)?;
        let key = members.next().filter(|key| key.tag == SEQUENCE)?;
        if is_version_1 && !members.0.is_empty() {
            return None;
        }
        let extensions = members.find(|member| member.tag == EXTENSIONS);
        let extensions = extensions.map_or(&[][..], |extensions| extensions.content);
        let form = match extension(extensions, BASIC_CONSTRAINTS) {
            _ if is_version_1 => Form::Version1,
            Some([BOOLEAN, 1, 0xff, ..]) if extension(extensions, EXTENDED_KEY_USAGE).is_none() => {
                Form::Authority
            }
            _ => Form::Usual,
        };
        let alt_names = extension(extensions, SUBJECT_ALT_NAME);
        Some(Certificate {
            form,
            signed: signed.whole,
            algorithm,
            signature,
            issuer,
            subject,
            key,
            not_before,
            not_after,
            alt_names: alt_names.unwrap_or_default(),
        })
    }

    /// Returns true if the certificate is for the receiver. As for OpenSSL, an IP
    /// address may be written as a DNS name.
    pub(super) fn is_for(&self, receiver: &ServerName<'_>, common: CommonName) -> bool {
        let names = self.dns_names(common);
        let mut names = names.iter();
        match receiver {
            ServerName::DnsName(name) => names.any(|pattern| covers(pattern, name.as_ref())),
            ServerName::IpAddress(ip) => {
                let ip = IpAddr::from(*ip);
                let text = ip.to_string();
                self.addresses().any(|address| address == ip)
                    || names.any(|name| *name == text.as_bytes())
            }
            _ => false,
        }
    }

    /// Returns all names of the certificate for a message.
    pub(super) fn names(&self, common: CommonName) -> Vec<String> {
        let names = self.dns_names(common).into_iter();
        let names = names.map(|name| name.escape_ascii().to_string());
        let addresses = self.addresses().map(|address| address.to_string());
        names.chain(addresses).collect()
    }

    /// Returns the common name of the issuer for a message.
    pub(super) fn issuer_name(&self) -> String {
        let name = common_names(self.issuer).next().unwrap_or(b"?");
        name.escape_ascii().to_string()
    }

    fn dns_names(&self, common: CommonName) -> Vec<&'a [u8]> {
        let names: Vec<_> = self.alt_names(DNS_NAME).collect();
        match common {
            CommonName::Counts if names.is_empty() => common_names(self.subject).collect(),
            _ => names,
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ip = |octets: &[u8]| match <[u8; 4]>::try_from(octets) {
            Ok(octets) => Some(IpAddr::from(octets)),
            Err(_) => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
        };
        self.alt_names(IP_ADDRESS).filter_map(ip)
    }

    fn alt_names(&self, tag: u8) -> impl Iterator<Item = &'a [u8]> {
        let names = Elements(self.alt_names).filter(move |name| name.tag == tag);
        names.map(|name| name.content)
    }
}

/// Returns algorithm and key of a `SubjectPublicKeyInfo` without its header.
pub(super) fn key_parts(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = Elements(info);
    Some((parts.read(SEQUENCE)?, bits(parts.read(BIT_STRING)?)?))
}

/// Returns true if a name of a certificate, maybe with `*` as its first label, is
/// the name of a host.
fn covers(pattern: &[u8], name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.strip_prefix(b"*.") {
        None => pattern.eq_ignore_ascii_case(name.as_bytes()),
        Some(domain) => {
            let rest = name.split_once('.').map(|(_, rest)| rest.as_bytes());
            domain.contains(&b'.') && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(domain))
        }
    }
}

/// Returns the elements of an extension's value.
fn extension<'a>(extensions: &'a [u8], id: &[u8]) -> Option<&'a [u8]> {
    let mut members = Elements(Elements(extensions).read(SEQUENCE)?).find_map(|extension| {
        let mut members = Elements(extension.content);
        (members.read(OBJECT)? == id).then_some(members)
    })?;
    let value = members.find(|member| member.tag == OCTET_STRING)?;
    Elements(value.content).read(SEQUENCE)
}

/// Returns the common names of a distinguished name.
fn common_names(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sets = Elements(name).filter(|part| part.tag == SET);
    let attributes = sets.flat_map(|set| Elements(set.content));
    attributes.filter_map(|attribute| {
        let mut members = Elements(attribute.content);
        let is_common = members.read(OBJECT)? == COMMON_NAME;
        is_common.then(|| members.next().map(|value| value.content))?
    })
}

/// Returns the bytes of a bit string without unused bits.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

/// Reads a time, in seconds since 1970: `YYMMDDhhmmssZ` up to 2049, or
/// `YYYYMMDDhhmmssZ`. Times that [`EventTime`] cannot express become its limits.
fn time(element: Element<'_>) -> Option<u64> {
    let text = str::from_utf8(element.content).ok()?;
    let century = match (element.tag, text.get(..1)?) {
        (0x17, "0" | "1" | "2" | "3" | "4") => "20",
        (0x17, _) => "19",
        (0x18, _) => "",
        _ => return None,
    };
    let text = format!("{century}{text}");
    let part = |from: usize| text.get(from..from.saturating_add(2));
    let (month, day, hour) = (part(4)?, part(6)?, part(8)?);
    let (minute, second, zone) = (part(10)?, part(12)?, text.get(14..)?);
    let year = text.get(..4)?;
    match year.parse().ok()? {
        ..1970 => Some(0),
        2106.. => Some(u64::MAX),
        1970..2106u16 => {
            let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}{zone}");
            Some(EventTime::parse(text.as_bytes())?.seconds.into())
        }
    }
}

/// An element of DER.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    tag: u8,
    pub(super) content: &'a [u8],
    /// Header and content.
    pub(super) whole: &'a [u8],
}

/// Elements of DER in a row. Ends at the first that is malformed.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Returns the content of the next element if it has this tag.
    fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let element = self.next()?;
        (element.tag == tag).then_some(element.content)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                let add = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
                (length.iter().fold(0, add), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len().checked_sub(after.len())?)?;
        self.0 = after;
        Some(Element {
            tag,
            content,
            whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        let cases = [
            ("logs.example", "logs.example", true),
            ("Logs.Example", "logs.eXample.", true),
            ("logs.example", "other.example", false),
            ("*.logs.example", "a.logs.example", true),
            ("*.logs.example", "a.b.logs.example", false),
            ("*.logs.example", "logs.example", false),
            ("*.example", "logs.example", false),
            ("a*.logs.example", "ab.logs.example", false),
            ("*", "logs", false),
            ("", "logs", false),
        ];
        for (pattern, name, covered) in cases {
            assert_eq!(
                covers(pattern.as_bytes(), name),
                covered,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn times() {
        let read = |tag, text: &str| {
            let content = text.as_bytes();
            time(Element {
                tag,
                content,
                whole: content,
            })
        };
        assert_eq!(read(0x17, "700101000001Z"), Some(1));
        assert_eq!(read(0x17, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(read(0x17, "500101000000Z"), Some(0));
        assert_eq!(read(0x18, "20261120080000Z"), Some(1_795_161_600));
        assert_eq!(read(0x18, "99991231235959Z"), Some(u64::MAX));
        for text in ["", "é", "20261320080000Z", "20261120080000", "2026112008Z"] {
            assert_eq!(read(0x18, text), None, "{text}");
        }
        assert_eq!(read(0x04, "20261120080000Z"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
            tag in proptest::sample::select(vec![SEQUENCE, VERSION, EXTENSIONS]),
        ) {
            let mut nested = bytes;
            for _ in 0..3 {
                nested.insert(0, u8::try_from(nested.len()).unwrap_or_default());
                nested.insert(0, tag);
                let _ = Certificate::parse(&nested);
                let _ = extension(&nested, SUBJECT_ALT_NAME);
                let _ = common_names(&nested).count();
            }
        }
    }
}
