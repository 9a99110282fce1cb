//! A decision allocates nothing.
#![expect(unsafe_code, reason = "an allocator that counts is unsafe by nature")]

mod policy_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kube_audit::policy::{Preset, Ruleset};
use policy_support::{Request, json_lines};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer comes from `System`, by `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn deciding_allocates_nothing() {
    let requests: Vec<Request> = json_lines("attrs.jsonl")
        .iter()
        .map(|line| Request::from_json(&line["attrs"]))
        .collect();
    for preset in Preset::ALL {
        let ruleset = Ruleset::compile(&preset.policy().unwrap());
        for request in &requests {
            let allocations = request.with(|attributes| {
                let before = ALLOCATIONS.get();
                std::hint::black_box(ruleset.decide(attributes));
                ALLOCATIONS.get() - before
            });
            assert_eq!(allocations, 0, "{} {request:?}", preset.name());
        }
    }
}
