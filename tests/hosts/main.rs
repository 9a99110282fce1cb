//! The plugin in real Fluent Bits, and the shipped files as they are.
//!
//! Each test runs in every Fluent Bit of this machine that is new enough for it, see
//! `kube_audit_testkit::fluent_bit::hosts`. CONTRIBUTING.md says how to get them.

mod beside_forward;
mod check_agrees;
mod delivery;
mod detections;
mod input;
mod lifecycle;
mod machine;
mod metrics;
mod pipelines;
mod redaction;
mod select;
mod shipped;
mod shipped_inputs;
mod shipped_kkp;
mod shipped_outputs;

use kube_audit_testkit::{fluent_bit, image, judge};

/// The list of judges that this run has; with `KUBE_AUDIT_REQUIRE_HOSTS`, it must have
/// those.
#[test]
fn the_judges_of_this_run() {
    let hosts: Vec<String> = fluent_bit::hosts().iter().map(|host| host.name()).collect();
    let or_none = |list: Vec<String>| match list.is_empty() {
        true => "none".to_owned(),
        false => list.join(", "),
    };
    let missing = fluent_bit::WANTED.map(str::to_owned).into_iter();
    let missing = missing.filter(|version| !hosts.contains(version)).collect();
    let found = |is_here: bool| if is_here { "here" } else { "MISSING" };
    judge::say(&format!(
        "JUDGES: Fluent Bit {} (missing: {}); private mounts {}; recordings {}",
        or_none(hosts.clone()),
        or_none(missing),
        found(image::is_possible()),
        found(std::env::var_os("KUBE_AUDIT_GROUND_TRUTH").is_some()),
    ));
    for version in judge::required_hosts() {
        assert!(hosts.contains(&version), "no Fluent Bit {version}");
    }
}
