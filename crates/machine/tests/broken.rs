//! Records that are broken at random: none gets lost, what is held is bounded, and each event
//! is JSON. `KUBE_AUDIT_ROUNDS` asks for more rounds.

use kube_audit_machine::{Content, Grouper, Header, Limits, Part, Slim, Taken, write_event};
use serde_json::Value;

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What writers of records have put in the wrong place.
const WORDS: [&[u8]; 24] = [
    b" ",
    b"=",
    b"\"",
    b"'",
    b"{",
    b"}",
    b"(",
    b")",
    b"#035A=",
    b"\x1d",
    b"\x01",
    b"\0",
    b"\xff",
    b" msg='",
    b" key=",
    b"(null)",
    b" (enforce)",
    b" a99999=",
    b" a1[9]=4",
    b" saddr=0100",
    b"avc: denied { a } for ",
    b"UID=\"r\" ",
    b"SADDR={ lport=5 x }",
    b"type=EXECVE msg=audit(1.000:1): ",
];

fn broken(line: &[u8], random: &mut Random) -> Vec<u8> {
    let mut line = line.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(line.len() + 1);
        match random.below(4) {
            0 | 1 => {
                let word = WORDS[random.below(WORDS.len())];
                line.splice(at..at, word.iter().copied());
            }
            2 => line.truncate(at),
            _ => {
                let end = (at + random.below(20)).min(line.len());
                line.drain(at..end);
            }
        }
    }
    line
}

#[test]
fn broken_records() {
    let rounds = std::env::var("KUBE_AUDIT_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let text = std::fs::read_to_string("tests/vectors.jsonl").unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .flat_map(|vector| vector["records"].as_array().unwrap().clone())
        .filter_map(|record| {
            record["log"]
                .as_str()
                .or(record["MESSAGE"].as_str())
                .map(str::to_owned)
        })
        .collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let limits = Limits {
        bytes: 8192,
        records: 32,
    };
    let mut grouper = Grouper::new(limits);
    let (mut found, mut written) = (0, 0);
    let mut event = |parts: &[Part<'_>]| {
        written += parts.len();
        let bytes: usize = parts.iter().map(|part| part.text.len()).sum();
        let mut json = Vec::new();
        if write_event(parts, Slim::Off, &mut json) == Content::Event {
            let event: Result<Value, _> = serde_json::from_slice(&json);
            assert!(event.is_ok(), "{}", String::from_utf8_lossy(&json));
            assert!(json.len() <= 8 * bytes + 8192 * parts.len());
        }
    };
    for round in 0..rounds.unwrap_or(50_000) {
        let line = broken(lines[random.below(lines.len())].as_bytes(), &mut random);
        let mut done = Vec::new();
        if let Some(header) = Header::find(&line) {
            found += 1;
            let part = Part {
                header,
                text: &line,
            };
            if grouper.take(b"tag", &part, &line, &mut done) == Taken::Alone {
                event(&[part]);
            }
        }
        if round % 50 == 0 {
            grouper.end_of_chunk(b"tag", &mut done);
        }
        assert!(grouper.held() <= limits.records);
        done.iter().for_each(|group| event(&group.parts()));
    }
    let mut rest = Vec::new();
    grouper.release(b"tag", &mut rest);
    rest.iter().for_each(|group| event(&group.parts()));
    assert_eq!((found, grouper.held()), (written, 0));
    assert!(found > 1000);
}
