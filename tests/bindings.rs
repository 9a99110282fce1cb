//! The kept bindings are those that the headers give.
#[test]
fn kept_bindings_are_up_to_date() {
    let made = concat!(env!("OUT_DIR"), "/bindings.rs");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ffi/bindings.rs");
    let read = |path| std::fs::read_to_string(path).expect("bindings");
    assert!(
        read(made) == read(kept),
        "the headers in include/ give other bindings: cp {made} {kept}"
    );
}
