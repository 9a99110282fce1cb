//! Records as JSON lines on standard input, with an empty line where a chunk ends; what they
//! give on standard output: events, and `{"untouched":…}` with the line's number.
//! For comparison with other readers of audit records.

use std::io::{self, BufRead, BufWriter, Write};

use kube_audit_machine::{Content, Grouper, Part, Slim, Source, Taken, write_event};

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut grouper = Grouper::default();
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let mut done = Vec::new();
        if line.is_empty() {
            grouper.end_of_chunk(b"", &mut done);
        } else {
            let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line)?;
            let mut source = Source::new(None);
            for (at, (name, value)) in record.iter().enumerate() {
                source.see(at, name.as_bytes(), value.as_str().map(str::as_bytes));
            }
            match source.find() {
                None => writeln!(out, "{{\"untouched\":{number}}}")?,
                Some(found) => {
                    let part = Part {
                        header: found.header,
                        text: &found.text,
                    };
                    let taken = grouper.take(b"", &part, b"", &mut done);
                    for group in done.drain(..) {
                        event(&group.parts(), &mut out)?;
                    }
                    if taken == Taken::Alone {
                        event(&[part], &mut out)?;
                    }
                }
            }
        }
        for group in done {
            event(&group.parts(), &mut out)?;
        }
    }
    let mut done = Vec::new();
    grouper.release(b"", &mut done);
    for group in done {
        event(&group.parts(), &mut out)?;
    }
    Ok(())
}

fn event(parts: &[Part<'_>], out: &mut impl Write) -> io::Result<()> {
    let mut json = Vec::new();
    if write_event(parts, Slim::Off, &mut json) == Content::Event {
        json.push(b'\n');
        out.write_all(&json)?;
    }
    Ok(())
}
