#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kube_audit_testkit::fuzz::machine(data));
