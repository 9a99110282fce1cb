//! Broken and hostile policy texts are errors: never a panic, a hang or a stack overflow.

#![expect(clippy::unwrap_used, reason = "recorded texts are as they are")]

use std::time::{Duration, Instant};

use kube_audit_core::policy::{Policy, Preset, Syntax};
use kube_audit_testkit::policy::json_lines;

/// A small reproducible random generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn parse(text: &[u8]) {
    for syntax in [Syntax::File, Syntax::Inline] {
        let start = Instant::now();
        if let Err(error) = Policy::parse("policy.yaml", text, syntax) {
            assert!(!error.problems().is_empty());
            for problem in error.problems() {
                assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
        // Generous, for slow machines; the point is the order of magnitude.
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{}",
            String::from_utf8_lossy(&text[..60])
        );
    }
}

fn texts() -> Vec<Vec<u8>> {
    let recorded = json_lines("invalid.jsonl");
    let recorded = recorded
        .iter()
        .map(|case| case["text"].as_str().unwrap().as_bytes().to_vec());
    let presets = Preset::ALL
        .into_iter()
        .map(|preset| preset.text().as_bytes().to_vec());
    recorded.chain(presets).collect()
}

#[test]
fn truncated_texts() {
    for text in texts() {
        let step = 1 + text.len() / 200;
        for end in (0..text.len()).step_by(step) {
            parse(&text[..end]);
        }
    }
}

#[test]
fn mutated_texts() {
    const PIECES: &[&[u8]] = &[
        b"\n",
        b" ",
        b"\t",
        b"- ",
        b": ",
        b"? ",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"\"",
        b"'",
        b"|",
        b">",
        b"#",
        b"&a ",
        b"*a",
        b"!!str ",
        b"!!int ",
        b"!",
        b"<<: ",
        b"%",
        b"---\n",
        b"...\n",
        b"\r",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\0",
        b"\\u",
        b"\\",
        b"\xe2\x80\xa8",
        b"0x",
        b"1e9",
        b"\xff\xfe",
        b"~",
    ];
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for text in texts() {
        for _ in 0..100 {
            let mut text = text.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(text.len() + 1);
                match random.below(3) {
                    0 => drop(
                        text.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied()),
                    ),
                    1 => drop(text.drain(at..(at + random.below(20)).min(text.len()))),
                    _ => text.truncate(at.max(1)),
                }
            }
            parse(&text);
        }
    }
}

#[test]
fn random_bytes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..5000 {
        let length = random.below(64);
        let text: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        parse(&text);
        parse(&[b"{\"", &text[..]].concat());
        parse(&[b"\xff\xfe", &text[..]].concat());
    }
}

#[test]
fn hostile_texts() {
    let header = "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  users: ";
    let bomb: String = (1..200).fold("a0: &a0 [x,x]\n".to_owned(), |yaml, i| {
        format!("{yaml}a{i}: &a{i} [*a{0},*a{0}]\n", i - 1)
    });
    for text in [
        "[".repeat(1 << 17),
        "{\"a\":".repeat(1 << 17),
        "{a: ".repeat(1 << 16),
        "- ".repeat(1 << 17),
        "? ".repeat(1 << 17),
        "&a ".repeat(1 << 16),
        "!!x ".repeat(1 << 16),
        "a: |\n".repeat(1 << 16),
        "\"a\n".repeat(1 << 17),
        "#".repeat(1 << 19),
        "\n".repeat(1 << 19),
        " ".repeat(1 << 19),
        "x".repeat(1 << 19),
        "x".repeat((8 << 20) + 1),
        format!("{header}[{}]", "a,".repeat(1 << 17)),
        format!("{header}\n{}", "  - a\n".repeat(1 << 16)),
        format!("{header}[{}]", "1,".repeat(1 << 16)),
        format!("{header}[a]\n{}", "  level: None\n".repeat(1 << 17)),
        format!("{header}[a]\n{}", "  usres: None\n".repeat(1 << 17)),
        format!(
            "{{\"apiVersion\":\"audit.k8s.io/v1\",{}\"a\":0}}",
            "\"rules\":[1],".repeat(1 << 17)
        ),
        format!(
            "apiVersion: audit.k8s.io/v1\nrules: [{}]",
            "{},".repeat(1 << 16)
        ),
        bomb,
    ] {
        parse(text.as_bytes());
    }
}
