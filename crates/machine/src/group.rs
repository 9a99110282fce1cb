//! The records of one event, which come one by one, in several chunks maybe, and between
//! those of others.
//!
//! Records of an event have the same tag, form, node, time and serial number. What is held
//! is bounded; time is that of the records. No record is left out for a partner that does not
//! come, and none changes its place among those of its event.

use crate::header::{Form, Header, Part, Role};

/// Milliseconds after which an event gets no more records.
const WAIT: u64 = 2000;

/// Bounds of what is held, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records and texts.
    pub bytes: usize,
    /// Records.
    pub records: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 1 << 20,
            records: 4096,
        }
    }
}

/// Events of which some records are there.
#[derive(Default)]
pub struct Grouper {
    /// The oldest first.
    open: Vec<Open>,
    /// The earliest time of an event, or an earlier one.
    earliest: u64,
    records: usize,
    bytes: usize,
    limits: Limits,
}

/// An event that is held: what tells it from others, and its records.
struct Open {
    millis: u64,
    serial: u64,
    group: Box<Group>,
}

/// The records of one event.
pub struct Group {
    tag: Vec<u8>,
    /// The first record, as the host gave it.
    pub record: Vec<u8>,
    /// The texts of all records, parted by line feeds.
    pub texts: Vec<u8>,
    /// The header and the end of the text of each.
    parts: Vec<(Header, usize)>,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is held.
    Held,
    /// It is an event by itself.
    Alone,
}

impl Group {
    /// The records.
    pub fn parts(&self) -> Vec<Part<'_>> {
        let mut start = 0usize;
        let part = |&(header, end): &(Header, usize)| {
            let text = self.texts.get(start..end).unwrap_or_default();
            start = end.saturating_add(1);
            Part { header, text }
        };
        self.parts.iter().map(part).collect()
    }

    fn form(&self) -> Option<Form> {
        self.parts.first().map(|(header, _)| header.form)
    }

    fn node(&self) -> &[u8] {
        self.parts
            .first()
            .map_or(&[], |(header, _)| header.node(&self.texts))
    }

    fn size(&self) -> usize {
        self.record.len().saturating_add(self.texts.len())
    }

    fn add(&mut self, header: Header, text: &[u8]) {
        if !self.parts.is_empty() {
            self.texts.push(b'\n');
        }
        self.texts.extend_from_slice(text);
        self.parts.push((header, self.texts.len()));
    }
}

impl Grouper {
    /// Holds no more than the limits allow.
    pub fn new(limits: Limits) -> Grouper {
        Grouper {
            limits,
            ..Grouper::default()
        }
    }

    /// The number of records that are held.
    pub fn held(&self) -> usize {
        self.records
    }

    /// Takes a record that came under a tag; `record` is all of it as the host gave it. Events
    /// that it ends are appended to `done`.
    pub fn take(
        &mut self,
        tag: &[u8],
        part: &Part<'_>,
        record: &[u8],
        done: &mut Vec<Group>,
    ) -> Taken {
        let Header {
            millis,
            serial,
            form,
            ..
        } = part.header;
        let node = part.header.node(part.text);
        let is_this = |open: &Open| {
            open.millis == millis
                && open.serial == serial
                && open.group.form() == Some(form)
                && open.group.node() == node
                && open.group.tag == tag
        };
        if millis >= self.earliest.saturating_add(WAIT) && !self.open.is_empty() {
            self.expire(tag, millis, done);
        }
        let at = self.open.iter().rposition(is_this);
        let role = part.header.role();
        let Some(at) = at else {
            if matches!(role, Role::Last | Role::Single) {
                return Taken::Alone;
            }
            if self.open.is_empty() || millis < self.earliest {
                self.earliest = millis;
            }
            let mut group = Box::new(Group {
                tag: tag.to_vec(),
                record: record.to_vec(),
                texts: Vec::new(),
                parts: Vec::new(),
            });
            group.add(part.header, part.text);
            self.records = self.records.saturating_add(1);
            self.bytes = self.bytes.saturating_add(group.size());
            self.open.push(Open {
                millis,
                serial,
                group,
            });
            self.shrink(done);
            return Taken::Held;
        };
        if let Some(open) = self.open.get_mut(at) {
            let before = open.group.size();
            open.group.add(part.header, part.text);
            self.records = self.records.saturating_add(1);
            let grown = open.group.size().saturating_sub(before);
            self.bytes = self.bytes.saturating_add(grown);
        }
        if role == Role::Last {
            self.close(at, done);
        } else {
            self.shrink(done);
        }
        Taken::Held
    }

    /// Gives back the events under a tag that need not wait for the next chunk: those without
    /// records of a system call.
    pub fn end_of_chunk(&mut self, tag: &[u8], done: &mut Vec<Group>) {
        self.close_if(done, &|group: &Group| {
            let waits = |(header, _): &(Header, usize)| header.role() == Role::Waits;
            group.tag == tag && !group.parts.iter().any(waits)
        });
    }

    /// Gives back all events under a tag.
    pub fn release(&mut self, tag: &[u8], done: &mut Vec<Group>) {
        self.close_if(done, &|group: &Group| group.tag == tag);
    }

    /// Gives back the events under a tag that get no more records, as it is now so late.
    fn expire(&mut self, tag: &[u8], now: u64, done: &mut Vec<Group>) {
        self.close_if(done, &|group: &Group| {
            let first = group.parts.first();
            group.tag == tag
                && first.is_some_and(|(header, _)| now >= header.millis.saturating_add(WAIT))
        });
        let times = self.open.iter().map(|open| open.millis);
        self.earliest = times.min().unwrap_or(0);
    }

    /// Gives back the oldest events as long as too much is held.
    fn shrink(&mut self, done: &mut Vec<Group>) {
        while self.records > self.limits.records || self.bytes > self.limits.bytes {
            self.close(0, done);
        }
    }

    fn close_if(&mut self, done: &mut Vec<Group>, goes: &dyn Fn(&Group) -> bool) {
        let mut at = 0;
        while let Some(open) = self.open.get(at) {
            if goes(&open.group) {
                self.close(at, done);
            } else {
                at = at.saturating_add(1);
            }
        }
    }

    fn close(&mut self, at: usize, done: &mut Vec<Group>) {
        let group = self.open.remove(at).group;
        self.records = self.records.saturating_sub(group.parts.len());
        self.bytes = self.bytes.saturating_sub(group.size());
        done.push(*group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(grouper: &mut Grouper, tag: &str, line: &str, done: &mut Vec<Group>) -> Taken {
        let header = Header::find(line.as_bytes()).unwrap();
        let part = Part {
            header,
            text: line.as_bytes(),
        };
        grouper.take(tag.as_bytes(), &part, b"record", done)
    }

    /// Takes records under tags: `t type second serial`; says what comes out of each.
    fn run(limits: Limits, records: &[&str]) -> Vec<String> {
        let mut grouper = Grouper::new(limits);
        let mut said = Vec::new();
        for record in records {
            let words: Vec<&str> = record.split(' ').collect();
            let mut done = Vec::new();
            let mut out = String::new();
            match words[..] {
                ["end", tag] => grouper.end_of_chunk(tag.as_bytes(), &mut done),
                ["release", tag] => grouper.release(tag.as_bytes(), &mut done),
                [tag, kind, seconds, serial, ..] => {
                    let node = words
                        .get(4)
                        .map_or(String::new(), |node| format!("node={node} "));
                    let line = format!("{node}type={kind} msg=audit({seconds}:{serial}): ");
                    if take(&mut grouper, tag, &line, &mut done) == Taken::Alone {
                        out = "alone".to_owned();
                    }
                }
                _ => unreachable!(),
            }
            for group in &done {
                let kinds = group
                    .parts()
                    .into_iter()
                    .map(|part| String::from_utf8_lossy(&part.header.name(part.text)).into_owned());
                out += &format!(
                    "{}:{} ",
                    group.parts[0].0.serial,
                    kinds.collect::<Vec<_>>().join("+")
                );
            }
            said.push(out.trim_end().to_owned());
        }
        let open: usize = grouper.open.iter().map(|open| open.group.parts.len()).sum();
        assert_eq!(grouper.held(), open);
        assert_eq!(
            grouper.bytes,
            grouper
                .open
                .iter()
                .map(|open| open.group.size())
                .sum::<usize>()
        );
        said
    }

    #[test]
    fn an_event_ends_with_its_last_record() {
        let said = run(
            Limits::default(),
            &[
                "t SYSCALL 1.000 1",
                "t SYSCALL 1.000 2",
                "t CWD 1.000 1",
                "t PROCTITLE 1.000 2",
                "t EOE 1.000 1",
                "t EOE 1.000 2",
                "t USER_LOGIN 1.000 3",
                "t PROCTITLE 1.000 4",
            ],
        );
        let want = [
            "",
            "",
            "",
            "2:SYSCALL+PROCTITLE",
            "1:SYSCALL+CWD+EOE",
            "alone",
            "alone",
            "alone",
        ];
        assert_eq!(said, want);
    }

    #[test]
    fn what_tells_events_apart() {
        let said = run(
            Limits::default(),
            &[
                "t SYSCALL 1.000 1",
                "t SYSCALL 1.001 1",
                "t SYSCALL 1.000 1 n",
                "u SYSCALL 1.000 1",
                "release t",
                "release u",
            ],
        );
        assert_eq!(said[4..], ["1:SYSCALL 1:SYSCALL 1:SYSCALL", "1:SYSCALL"]);
    }

    #[test]
    fn a_later_record_ends_the_wait() {
        let said = run(
            Limits::default(),
            &[
                "t SYSCALL 1.500 1",
                "u SYSCALL 1.500 1",
                "t SYSCALL 3.000 2",
                "t SYSCALL 3.499 3",
                "t SYSCALL 3.500 4",
                "t SYSCALL 1.500 1",
                "t SYSCALL 5.499 5",
            ],
        );
        let want = [
            "",
            "",
            "",
            "",
            "1:SYSCALL",
            "",
            "2:SYSCALL 3:SYSCALL 1:SYSCALL",
        ];
        assert_eq!(
            said, want,
            "a late record stays alone; another tag has its own time"
        );
    }

    #[test]
    fn the_end_of_a_chunk() {
        let said = run(
            Limits::default(),
            &[
                "t AVC 1.000 1",
                "t BPF 1.000 2",
                "t SYSCALL 1.000 2",
                "u AVC 1.000 1",
                "end t",
                "end u",
            ],
        );
        assert_eq!(said[4..], ["1:AVC", "1:AVC"]);
    }

    #[test]
    fn bounds() {
        let records = [
            "t SYSCALL 1.000 1",
            "t CWD 1.000 1",
            "t SYSCALL 1.000 2",
            "t PATH 1.000 1",
        ];
        let limits = Limits {
            bytes: 1000,
            records: 3,
        };
        assert_eq!(run(limits, &records), ["", "", "", "1:SYSCALL+CWD+PATH"]);
        let limits = Limits {
            bytes: 100,
            records: 99,
        };
        assert_eq!(run(limits, &records), ["", "", "1:SYSCALL+CWD", ""]);
        let limits = Limits {
            bytes: 1,
            records: 99,
        };
        assert_eq!(run(limits, &records[..2]), ["1:SYSCALL", "1:CWD"]);
    }

    #[test]
    fn texts_are_kept() {
        let mut grouper = Grouper::default();
        let mut done = Vec::new();
        let lines = [
            "type=SYSCALL msg=audit(1.000:1): a=1",
            "type=EOE msg=audit(1.000:1):",
        ];
        for line in lines {
            assert_eq!(take(&mut grouper, "t", line, &mut done), Taken::Held);
        }
        assert_eq!((done.len(), done[0].parts.len()), (1, 2));
        assert_eq!(done[0].texts, lines.join("\n").as_bytes());
        assert_eq!(done[0].record, b"record");
        for (part, line) in done[0].parts().iter().zip(lines) {
            assert_eq!(part.text, line.as_bytes());
        }
    }
}
