//! Texts that hide in a line: percent coding, base64, hexadecimal and escapes undone,
//! several layers deep.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

const LAYERS: usize = 4;

/// Those of the words that stand in a line in any coding.
pub fn leaks(line: &str, words: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut layer = vec![line.to_owned()];
    let mut found = HashSet::new();
    for _ in 0..LAYERS {
        let mut next = Vec::new();
        for text in layer {
            if !seen.insert(text.clone()) {
                continue;
            }
            let here = words.iter().filter(|word| text.contains(word.as_str()));
            found.extend(here.cloned());
            next.extend(undone(&text));
        }
        layer = next;
    }
    found.into_iter().collect()
}

/// The text with one coding undone, in each way that may apply.
fn undone(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.contains('%') {
        out.push(percent(text));
        out.push(percent(&text.replace('+', " ")));
    }
    if text.contains('\\') {
        let mut plain = Vec::new();
        crate::doc::escape::unescape(text.as_bytes(), &mut plain);
        out.push(String::from_utf8_lossy(&plain).into_owned());
    }
    let is_code = |c: char| c.is_ascii_alphanumeric() || "+/_-".contains(c);
    for run in text.split(|c: char| !is_code(c)) {
        let run = run.replace('-', "+").replace('_', "/");
        for offset in 0..4.min(run.len()) {
            let part = &run[offset..];
            for part in [part, &part[..part.len() / 4 * 4]] {
                if part.len() >= 12
                    && let Ok(bytes) = STANDARD_NO_PAD.decode(part)
                {
                    out.push(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
    }
    for run in text.split(|c: char| !c.is_ascii_hexdigit()) {
        if run.len() >= 16 {
            let digits = run.as_bytes().chunks_exact(2);
            let bytes = digits
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
            let bytes: Vec<u8> = bytes.collect();
            out.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    out
}

fn percent(text: &str) -> String {
    let decoded = text.split('%').enumerate().map(|(at, part)| {
        let code = part
            .get(..2)
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) if at > 0 => format!("{}{}", char::from(byte), &part[2..]),
            _ if at > 0 => format!("%{part}"),
            _ => part.to_owned(),
        }
    });
    decoded.collect()
}

#[test]
fn codings_are_undone() {
    let secret = ["not-a-secret-1".to_owned()];
    for line in [
        "x not-a-secret-1 y",
        "bm90LWEtc2VjcmV0LTE=",
        "6e6f742d612d7365637265742d31",
        "a%6eot-a-secret-1",
        r"\u006eot-a-secret-1",
        "Ym05MExXRXRjMlZqY21WMExURT0=",
    ] {
        assert_eq!(leaks(line, &secret), secret, "{line}");
    }
    assert!(leaks("not-a-secret-2", &secret).is_empty());
}
