//! Records of a chunk: framing, views of an event, rewriting by splicing. Pure.
