//! Entries of a chunk, grouped by the tags that they are sent with.

use std::collections::HashMap;

use kube_audit_core::chunk::{EntrySink, TagTemplate};
use kube_audit_forward::protocol::frames::Batch;

/// Groups entries into one batch for each tag. Batches are in the order in which
/// their tags come up, and entries keep their order within a batch.
pub(crate) fn batches(
    sink: EntrySink,
    template: Option<&TagTemplate>,
    chunk_tag: &[u8],
) -> Vec<Batch> {
    let EntrySink { entries, ends, .. } = sink;
    let tag = match template {
        None => chunk_tag.to_vec(),
        Some(template) if template.is_fixed() => template.tag(chunk_tag, &[]),
        Some(template) => return by_record(&entries, &ends, template, chunk_tag),
    };
    vec![Batch { tag, entries, ends }]
}

fn by_record(
    entries: &[u8],
    ends: &[usize],
    template: &TagTemplate,
    chunk_tag: &[u8],
) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut start = 0;
    for &end in ends {
        let entry = entries.get(start..end).unwrap_or_default();
        start = end;
        let tag = template.tag(chunk_tag, entry);
        let place = *places.entry(tag).or_insert_with_key(|tag| {
            let place = batches.len();
            batches.push(Batch {
                tag: tag.clone(),
                ..Batch::default()
            });
            place
        });
        if let Some(batch) = batches.get_mut(place) {
            batch.entries.extend_from_slice(entry);
            batch.ends.push(batch.entries.len());
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries `[0, {"k": value}]` of four bytes and the value.
    fn sink(values: &[&str]) -> EntrySink {
        let mut sink = EntrySink::default();
        for value in values {
            sink.entries.extend(b"\x92\x00\x81\xa1k");
            sink.entries.push(0xa0 | value.len() as u8);
            sink.entries.extend(value.bytes());
            sink.ends.push(sink.entries.len());
        }
        sink
    }

    #[test]
    fn entries_by_tag() {
        let values = ["a", "b", "a", "", "b"];
        let tags = |template: Option<&str>| {
            let template = template.map(|text| TagTemplate::parse(text).unwrap());
            let batches = batches(sink(&values), template.as_ref(), b"kube");
            let tag = |batch: &Batch| String::from_utf8(batch.tag.clone()).unwrap();
            batches
                .iter()
                .map(|batch| {
                    assert_eq!(batch.ends.last(), Some(&batch.entries.len()));
                    (tag(batch), batch.ends.len())
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(tags(None), [("kube".into(), 5)]);
        assert_eq!(tags(Some("x.$TAG")), [("x.kube".into(), 5)]);
        let by_key = [("x.a".into(), 2), ("x.b".into(), 2), ("x.".into(), 1)];
        assert_eq!(tags(Some("x.$k")), by_key);
        assert_eq!(
            batches(EntrySink::default(), None, b"kube")[0].ends.len(),
            0
        );
    }
}
