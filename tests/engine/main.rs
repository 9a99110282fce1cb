//! The engine without a host: policies and events against recorded answers of the real
//! API server and a slow evaluator, corpora of the fuzz targets; and the rules for code and
//! dependencies that cargo does not enforce.

mod dependencies;
mod detections;
mod fuzz_corpus;
mod layers;
mod policy_oracle;
mod policy_robustness;
mod policy_vectors;
mod recorded_events;
mod redaction;
