//! The Fluent Forward protocol as bytes and state machines. Pure, sans-IO.
