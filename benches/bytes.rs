//! How fast the filter goes through the bytes of a log, beside one pass of serde_json
//! that reads the attributes of each event and nothing else.
//!
//! `cargo bench --bench bytes`. One thread, best of several rounds over records
//! `{"log": LINE}`. Asserts nothing about time.

#![allow(clippy::unwrap_used, reason = "a bench that lacks its input may stop")]

mod workload;

use std::time::Instant;

use workload::Workload;

const ROUNDS: usize = 30;
const EVENTS: usize = 4000;

fn main() {
    let reference = rate(Workload::new("attributes", EVENTS));
    println!("{:<44} {:>8} {:>10}", "", "MB/s", "of serde");
    for name in Workload::NAMES
        .into_iter()
        .filter(|name| *name != "decisions")
    {
        let rate = rate(Workload::new(name, EVENTS));
        let what = Workload::meaning(name);
        println!("{what:<44} {rate:>8.0} {:>9.0}%", 100.0 * rate / reference);
    }
}

/// Megabytes per second.
fn rate(mut work: Workload) -> f64 {
    let seconds = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work.run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    work.bytes() as f64 / seconds / 1e6
}
