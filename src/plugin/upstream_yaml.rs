//! The YAML form of upstream files, as Fluent Bit reads it from 3.2 on.
//!
//! ```text
//! upstream_servers:
//!   - name: aggregators
//!     nodes:
//!       - name: first
//!         host: logs-1.example
//!         port: 24224
//! ```
//!
//! What else the file holds is passed over: it may be the host's own configuration.

use granit_parser::{Event, Parser, Span};

/// Keys and values of one mapping, with scalars as they are spelt.
pub struct Mapping {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// Its scalars: line, key, value.
    pub scalars: Vec<(usize, String, String)>,
}

/// An item of `upstream_servers`.
pub struct Server {
    /// Its own keys.
    pub own: Mapping,
    /// Its nodes.
    pub nodes: Vec<Mapping>,
}

/// What is wrong, and in which line.
pub type Wrong = (usize, String);

type Events<'a> = Box<dyn Iterator<Item = Result<(Event<'a>, Span), Wrong>> + 'a>;

/// Reads `upstream_servers` of a text.
pub fn servers(text: &str) -> Result<Vec<Server>, Wrong> {
    let events = Parser::new_from_str(text).map(|event| {
        event.map_err(|error| (error.marker().line(), format!("not YAML: {}", error.info())))
    });
    let mut events: Events<'_> = Box::new(events);
    let mut servers = Vec::new();
    while let Some((event, _)) = events.next().transpose()? {
        if matches!(event, Event::MappingStart(..)) {
            break;
        }
    }
    while let Some((line, key)) = next_key(&mut events)? {
        match key.as_str() {
            "upstream_servers" => items(&mut events, line, &key, |events, line| {
                servers.push(server(events, line)?);
                Ok(())
            })?,
            _ => pass_over(&mut events)?,
        }
    }
    Ok(servers)
}

fn server(events: &mut Events<'_>, line: usize) -> Result<Server, Wrong> {
    let mut nodes = Vec::new();
    let own = mapping(events, line, |events, line, key| {
        if key != "nodes" {
            return Ok(false);
        }
        items(events, line, key, |events, line| {
            nodes.push(mapping(events, line, |_, _, _| Ok(false))?);
            Ok(())
        })?;
        Ok(true)
    })?;
    Ok(Server { own, nodes })
}

/// Reads a mapping up to its end; `other` reads the value of a key that is none of
/// its scalars, and says whether it was one.
fn mapping<'a>(
    events: &mut Events<'a>,
    line: usize,
    mut other: impl FnMut(&mut Events<'a>, usize, &str) -> Result<bool, Wrong>,
) -> Result<Mapping, Wrong> {
    let mut scalars = Vec::new();
    while let Some((line, key)) = next_key(events)? {
        if other(events, line, &key)? {
            continue;
        }
        match next(events)? {
            Some((Event::Scalar(value, ..), _)) => {
                scalars.push((line, key, value.into_owned()));
            }
            _ => return Err((line, format!("`{key}` needs one value, in the same line"))),
        }
    }
    Ok(Mapping { line, scalars })
}

/// Reads a list of mappings, each of them with `item`.
fn items<'a>(
    events: &mut Events<'a>,
    line: usize,
    key: &str,
    mut item: impl FnMut(&mut Events<'a>, usize) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let wrong = |line| {
        let text = format!("`{key}` needs a list: write `- name: …` below it for each of them");
        Err((line, text))
    };
    if !matches!(next(events)?, Some((Event::SequenceStart(..), _))) {
        return wrong(line);
    }
    loop {
        match next(events)? {
            Some((Event::MappingStart(..), span)) => item(events, span.start.line())?,
            Some((Event::SequenceEnd, _)) | None => return Ok(()),
            Some((_, span)) => return wrong(span.start.line()),
        }
    }
}

/// The next key of a mapping, with its line; `None` at its end.
fn next_key(events: &mut Events<'_>) -> Result<Option<(usize, String)>, Wrong> {
    match next(events)? {
        Some((Event::Scalar(key, ..), span)) => {
            Ok(Some((span.start.line(), key.to_ascii_lowercase())))
        }
        Some((Event::MappingEnd, _)) | None => Ok(None),
        Some((_, span)) => Err((span.start.line(), "a key must be a word".to_owned())),
    }
}

/// Reads a value of any kind.
fn pass_over(events: &mut Events<'_>) -> Result<(), Wrong> {
    let mut depth = 0usize;
    while let Some((event, _)) = next(events)? {
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    Ok(())
}

/// The next part of a value; `None` at the end of the document.
fn next<'a>(events: &mut Events<'a>) -> Result<Option<(Event<'a>, Span)>, Wrong> {
    let part = events.next().transpose()?;
    let ends =
        |(event, _): &(Event<'_>, Span)| matches!(event, Event::DocumentEnd | Event::StreamEnd);
    Ok(part.filter(|part| !ends(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name of each server, and the lines and scalars of its nodes.
    fn read(text: &str) -> Result<Vec<String>, Wrong> {
        let scalars = |mapping: &Mapping| {
            let scalars = mapping.scalars.iter();
            let scalars = scalars.map(|(line, key, value)| format!("{line}:{key}={value}"));
            scalars.collect::<Vec<_>>().join(" ")
        };
        let server = |server: &Server| {
            let nodes: Vec<_> = server.nodes.iter().map(scalars).collect();
            format!("{} [{}]", scalars(&server.own), nodes.join("; "))
        };
        Ok(servers(text)?.iter().map(server).collect())
    }

    #[test]
    fn servers_of_a_configuration() {
        let text = "\
# of a host
service:
  flush: 1
pipeline:
  inputs: [{name: tail, upstream_servers: x}]
upstream_servers:
  - name: one
    nodes:
      - Name: a
        port: 0123
        tls: on
      - {name: b, tls.verify: 'off'}
  - nodes: []
    name: two
parsers:
";
        let expected = [
            "7:name=one [9:name=a 10:port=0123 11:tls=on; 12:name=b 12:tls.verify=off]",
            "14:name=two []",
        ];
        assert_eq!(read(text).unwrap(), expected);
        for none in ["", "a: b", "- x", "upstream_servers: []"] {
            assert_eq!(read(none).unwrap(), [""; 0], "{none}");
        }
    }

    #[test]
    fn names_the_line_and_what_would_be_right() {
        for (text, line, part) in [
            (
                "upstream_servers:\n  name: x",
                1,
                "`upstream_servers` needs a list",
            ),
            (
                "upstream_servers:\n- x",
                2,
                "`upstream_servers` needs a list",
            ),
            (
                "upstream_servers:\n- name: x\n  nodes: y",
                3,
                "`nodes` needs a list",
            ),
            (
                "upstream_servers:\n- nodes:\n  - host: [a]",
                3,
                "`host` needs one value",
            ),
            ("upstream_servers:\n- [a]: b", 2, "a key must be a word"),
            ("a: [", 1, "not YAML"),
        ] {
            let (at, problem) = read(text).expect_err(text);
            assert!(problem.contains(part), "{text}: {problem}");
            assert_eq!(at, line, "{text}: {problem}");
        }
    }
}
