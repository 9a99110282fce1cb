//! The net: secrets that are known by their form, anywhere in a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stage::redact::Redactor;
use crate::stage::redact::glance;
use crate::stage::redact::list::List;
use crate::stage::redact::scan::{after, find, follows, from, is_space, is_word, run, skip};
use crate::stage::redact::spans::Spans;

/// Schemes of the header `Authorization` that are followed by a secret.
const SCHEMES: List = List("bearer basic token digest negotiate");

/// The front of a PEM block in base64.
const PEM_IN_BASE64: &[u8] = b"LS0tLS1CRUdJTi";

/// The shortest base64 of a PEM block that reaches its label.
const SHORTEST_PEM_IN_BASE64: usize = PEM_IN_BASE64.len() + 8;

/// Collects the parts of a text that are secrets by their form.
pub(super) fn catch(text: &[u8], spans: &mut Spans) {
    if !glance::may_catch(text) {
        return;
    }
    let mut free = 0;
    for (at, byte) in text.iter().enumerate() {
        if at < free {
            continue;
        }
        let end = match byte {
            b'e' => web_token(text, at),
            b'-' => private_key(text, at),
            b'L' => private_key_in_base64(text, at),
            b':' => {
                let password = password_of_url(text, at);
                if let Some(at) = &password {
                    spans.add(at.clone(), Redactor::Net);
                    free = at.end;
                }
                continue;
            }
            b'a' | b'A' | b'g' | b'x' | b's' | b'r' | b'h' | b'd' | b'n' => {
                if let Some(word) = authorization(text, at) {
                    free = word.end;
                    spans.add(word, Redactor::Net);
                    continue;
                }
                token(text, at)
            }
            _ => continue,
        };
        if let Some(end) = end {
            spans.add(at..end, Redactor::Net);
            free = end;
        }
    }
}

fn is_base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn begins_word(text: &[u8], at: usize) -> bool {
    follows(text, at, |before| !is_word(before))
}

/// The end of a JSON web token.
pub(super) fn web_token(text: &[u8], at: usize) -> Option<usize> {
    if !from(text, at).starts_with(b"eyJ") || !begins_word(text, at) {
        return None;
    }
    let header = run(text, at, is_base64_url);
    let dot = header.saturating_add(1);
    let claims = run(text, dot, is_base64_url);
    let long_enough = header >= at.saturating_add(11) && claims >= header.saturating_add(6);
    let dots = text.get(header) == Some(&b'.') && text.get(claims) == Some(&b'.');
    let is_token = long_enough && dots && from(text, dot).starts_with(b"eyJ");
    is_token.then(|| run(text, claims.saturating_add(1), is_base64_url))
}

/// The end of a private key in PEM.
pub(super) fn private_key(text: &[u8], at: usize) -> Option<usize> {
    let label = after(text, at, b"-----BEGIN ")?;
    let mut end = end_of_private_label(text, label)?;
    while let Some(next) = find(text, end, b"-----END ") {
        end = after(text, next, b"-----END ")?;
        if let Some(end) = end_of_private_label(text, end) {
            return Some(end);
        }
    }
    Some(text.len())
}

/// The end of a label of upper-case words that ends in `PRIVATE KEY-----`.
fn end_of_private_label(text: &[u8], at: usize) -> Option<usize> {
    let end = run(text, at, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
    });
    let is_private = text.get(at..end)?.ends_with(b"PRIVATE KEY");
    after(text, end, b"-----").filter(|_| is_private)
}

pub(super) fn private_key_in_base64(text: &[u8], at: usize) -> Option<usize> {
    if !from(text, at).starts_with(PEM_IN_BASE64) {
        return None;
    }
    let end = run(text, at, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
    });
    let code = text.get(at..end)?;
    if code.len() < SHORTEST_PEM_IN_BASE64 {
        return None;
    }
    let mut decoded = [0; 66];
    // Four letters are three bytes.
    let front = code.get(..(code.len() & !3).min(88))?;
    // What cannot be decoded may be one.
    let is_private = match STANDARD.decode_slice(front, &mut decoded) {
        Ok(length) => find(decoded.get(..length)?, 0, b"PRIVATE KEY-----").is_some(),
        Err(_) => true,
    };
    let padding = skip(text, end, |byte| byte == b'=');
    is_private.then(|| skip(text, padding, |byte| byte == b'='))
}

/// The password in `scheme://user:password@`; the colon after the scheme is at a place.
pub(super) fn password_of_url(text: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let user = after(text, at, b"://")?;
    let scheme = text
        .get(..at)?
        .rsplit(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-')));
    if !scheme.take(1).flatten().any(u8::is_ascii_alphabetic) {
        return None;
    }
    let in_authority = |byte: u8| !is_space(byte) && !b"/?#@\"'<>\\".contains(&byte);
    let colon = run(text, user, |byte| in_authority(byte) && byte != b':');
    if text.get(colon) != Some(&b':') {
        return None;
    }
    let password = colon.saturating_add(1);
    let end = run(text, password, in_authority);
    (text.get(end) == Some(&b'@')).then_some(password..end)
}

/// The word after the scheme of a header `Authorization`.
pub(super) fn authorization(text: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    const NAME: &[u8] = b"authorization";
    let name = from(text, at).get(..NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let quote = |at: usize| {
        let at = skip(text, at, |byte| byte == b'\\');
        skip(text, at, |byte| matches!(byte, b'"' | b'\''))
    };
    let separator = run(text, quote(at.saturating_add(NAME.len())), is_space);
    if !matches!(text.get(separator), Some(b':' | b'=')) {
        return None;
    }
    // Go prints the values of a header in brackets.
    let value = skip(
        text,
        run(text, separator.saturating_add(1), is_space),
        |b| b == b'[',
    );
    let scheme = quote(value);
    let scheme_end = run(text, scheme, |byte| byte.is_ascii_alphabetic());
    let name = text.get(scheme..scheme_end)?;
    if !SCHEMES
        .words()
        .any(|known| name.eq_ignore_ascii_case(known))
    {
        return None;
    }
    let word = run(text, scheme_end, is_space);
    let end = run(text, word, |byte| {
        !is_space(byte) && !b"\"',;\\".contains(&byte)
    });
    (word > scheme_end && end > word).then_some(word..end)
}

/// The end of a token that is known by its first letters.
pub(super) fn token(text: &[u8], at: usize) -> Option<usize> {
    // The length of these letters, the least length of the rest, and the bytes beside letters
    // and digits that the rest may hold.
    let (front, least, others): (usize, usize, &[u8]) = match from(text, at) {
        [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r', b'_', ..] => (4, 20, b""),
        [b's' | b'r', b'k', b'_', b'l', b'i', b'v', b'e', b'_', ..] => (8, 16, b""),
        [b'x', b'o', b'x', b'a' | b'b' | b'p' | b'r', b'-', ..] => (5, 10, b"-"),
        [b'h', b'v', b's' | b'b', b'.', ..] => (4, 16, b"_-"),
        [b'n', b'p', b'm', b'_', ..] => (4, 20, b""),
        [b'A', b'I', b'z', b'a', ..] => (4, 30, b"_-"),
        rest if rest.starts_with(b"github_pat_") => (11, 20, b"_"),
        rest if rest.starts_with(b"dckr_pat_") => (9, 16, b"_-"),
        rest if rest.starts_with(b"glpat-") => (6, 16, b"_-"),
        _ => return None,
    };
    let begin = at.saturating_add(front);
    let end = run(text, begin, |byte| {
        byte.is_ascii_alphanumeric() || others.contains(&byte)
    });
    let is_long = end.saturating_sub(begin) >= least;
    (is_long && begins_word(text, at)).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> String {
        let mut spans = Spans::default();
        catch(text.as_bytes(), &mut spans);
        let mut out = String::new();
        let mut at = 0;
        for span in spans.settle(text.as_bytes(), 0) {
            out += &text[at..span.at.start];
            out += "*";
            at = span.at.end;
        }
        out + &text[at..]
    }

    #[test]
    fn tokens_are_caught() {
        let long = "0a".repeat(20);
        for (text, want) in [
            (format!("t=eyJ{long}.eyJ{long}.sig-_x y"), "t=* y"),
            (format!("a ghp_{long} b"), "a * b"),
            (format!("glpat-{long}"), "*"),
            (format!("x:xoxb-{long}."), "x:*."),
            (format!("sk_live_{long}"), "*"),
            (format!("hvs.{long}"), "*"),
            (format!("github_pat_{long}"), "*"),
            (format!("(AIza{long})"), "(*)"),
        ] {
            assert_eq!(hidden(&text), want, "{text}");
        }
    }

    #[test]
    fn passwords_of_urls_and_headers_are_caught() {
        for (text, want) in [
            ("postgres://u:not-a-secret@h/d", "postgres://u:*@h/d"),
            ("see http://:p:q@h", "see http://:*@h"),
            ("http://h:80/@x", "http://h:80/@x"),
            ("://u:p@h", "://u:p@h"),
            ("Authorization: Bearer abc, x", "Authorization: Bearer *, x"),
            (
                r#"{\"authorization\":\"Basic abc\"}"#,
                r#"{\"authorization\":\"Basic *\"}"#,
            ),
            ("Authorization:[Bearer abc]", "Authorization:[Bearer *"),
            (
                "rbac.authorization.k8s.io: Role x",
                "rbac.authorization.k8s.io: Role x",
            ),
        ] {
            assert_eq!(hidden(text), want, "{text}");
        }
    }

    #[test]
    fn private_keys_are_caught_and_certificates_stay() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----");
        assert_eq!(hidden(&(block("RSA PRIVATE KEY") + " x")), "* x");
        assert_eq!(hidden("a -----BEGIN PRIVATE KEY-----\nAAAA"), "a *");
        let certificate = block("CERTIFICATE");
        assert_eq!(hidden(&certificate), certificate);
        assert_eq!(
            hidden(&format!(
                "tls: {}",
                STANDARD.encode(block("EC PRIVATE KEY"))
            )),
            "tls: *"
        );
        let certificate = STANDARD.encode(certificate);
        assert_eq!(hidden(&certificate), certificate);
    }

    #[test]
    fn short_and_glued_tokens_stay() {
        for text in [
            "eyJhIjox.eyJ.x",
            "xghp_0a0a0a0a0a0a0a0a0a0a0a0a",
            "ghp_short",
            "network-policy-list",
            "LS0tLS1CRUdJTi",
            "",
        ] {
            assert_eq!(hidden(text), text);
        }
    }
}
