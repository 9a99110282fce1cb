//! The global allocator.
//!
//! Hosts bring their own `malloc` (jemalloc with a quantum of 8), which aligns
//! some sizes to 8 bytes only. Rust's default allocator trusts `malloc` with 16
//! on 64-bit Linux, and std's hash tables crash on such a block. So alignments
//! above 8 are asked for explicitly.
//!
//! Blocks aligned to 8 or less are plain C `malloc` blocks of the process, and
//! anybody may `free` them: [`into_malloc`] hands bytes to the host that way.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr;

#[global_allocator]
static HEAP: Heap = Heap;

/// The alignment of every block of any `malloc`.
const MALLOC_ALIGN: usize = 8;

struct Heap;

// SAFETY: all blocks come from the process's C allocator with the size and
// alignment asked for (8 from `malloc`, which C guarantees for every type of 8
// bytes; more from `posix_memalign`), and go back to its `free`. Nothing unwinds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: `malloc` may be called with any size.
            unsafe { libc::malloc(layout.size()) }.cast()
        } else {
            aligned(layout)
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: `calloc` may be called with any size.
            unsafe { libc::calloc(1, layout.size()) }.cast()
        } else {
            let block = aligned(layout);
            if !block.is_null() {
                // SAFETY: the block has `size` bytes and is ours alone.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: the caller got `block` from this allocator, so from the C allocator.
            return unsafe { libc::realloc(block.cast(), new_size) }.cast();
        }
        // SAFETY: the caller guarantees that `new_size` is valid for this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let moved = aligned(new);
        if !moved.is_null() {
            // SAFETY: both blocks hold at least the smaller size and do not overlap.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size)) };
            // SAFETY: the caller got `block` from this allocator and gives it up.
            unsafe { libc::free(block.cast()) };
        }
        moved
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller got `block` from this allocator, so from the C allocator.
        unsafe { libc::free(block.cast()) }
    }
}

fn aligned(layout: Layout) -> *mut u8 {
    let mut block = ptr::null_mut();
    // SAFETY: `block` is a valid place for the result; the alignment is a power
    // of two (Layout) and above 8, so a multiple of the pointer size.
    match unsafe { libc::posix_memalign(&mut block, layout.align(), layout.size()) } {
        0 => block.cast(),
        _ => ptr::null_mut(),
    }
}

/// Gives bytes away as a block of the C allocator, which the receiver frees
/// with `free`. They are copied only if half of the block or more is unused.
/// No bytes become a null pointer.
pub(super) fn into_malloc(mut bytes: Vec<u8>) -> (*mut c_void, usize) {
    if bytes.is_empty() {
        return (ptr::null_mut(), 0);
    }
    if bytes.capacity() / 2 >= bytes.len() {
        bytes.shrink_to_fit();
    }
    let mut bytes = ManuallyDrop::new(bytes);
    (bytes.as_mut_ptr().cast(), bytes.len())
}

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "tests")]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::process::Command;

    #[test]
    fn blocks_are_aligned_and_keep_their_bytes() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in [1, 7, 24, 52, 100, 5000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout isn't empty, and sizes and layouts match between calls.
                unsafe {
                    let block = HEAP.alloc(layout);
                    assert_eq!(block.addr() % align, 0, "{layout:?}");
                    block.write_bytes(0xab, size);
                    let grown = HEAP.realloc(block, layout, size * 3);
                    assert_eq!(grown.addr() % align, 0, "{layout:?}");
                    assert!((0..size).all(|i| *grown.add(i) == 0xab));
                    let layout = Layout::from_size_align(size * 3, align).unwrap();
                    let shrunk = HEAP.realloc(grown, layout, 1);
                    assert_eq!(*shrunk, 0xab);
                    HEAP.dealloc(shrunk, Layout::from_size_align(1, align).unwrap());

                    let zeroed = HEAP.alloc_zeroed(layout);
                    assert!((0..layout.size()).all(|i| *zeroed.add(i) == 0));
                    HEAP.dealloc(zeroed, layout);
                }
            }
        }
    }

    /// Their tables are asked for with an alignment of 16.
    #[test]
    fn hash_tables_of_all_small_sizes() {
        for items in 0..200u64 {
            let set: HashSet<u64> = (0..items).collect();
            assert_eq!(set.len() as u64, items);
        }
    }

    /// Runs the test above in a process whose `malloc` never aligns to 16, which
    /// Rust's default allocator does not survive.
    #[test]
    fn hash_tables_survive_a_malloc_that_aligns_to_8() {
        let directory = tempfile::tempdir().unwrap();
        let malloc = kube_audit_testkit::c_host::malloc8_library(directory.path());
        let output = Command::new(std::env::current_exe().unwrap())
            .arg("hash_tables_of_all_small_sizes")
            .env("LD_PRELOAD", malloc)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {printed}", output.status);
        assert!(printed.contains("1 passed"), "{printed}");
    }

    #[test]
    fn bytes_are_given_away_without_a_copy_unless_wasteful() {
        assert_eq!(into_malloc(Vec::with_capacity(10)), (ptr::null_mut(), 0));

        let full = b"abcd".repeat(1000);
        let place = full.as_ptr().addr();
        let (block, len) = into_malloc(full);
        assert_eq!((block.addr(), len), (place, 4000));
        // SAFETY: `into_malloc` made it a block of the C allocator.
        unsafe { libc::free(block) };

        let mut sparse = Vec::with_capacity(1 << 20);
        sparse.extend_from_slice(b"abcd");
        let (block, len) = into_malloc(sparse);
        // SAFETY: `into_malloc` made it a block of the C allocator, with `len` bytes.
        unsafe {
            assert_eq!(std::slice::from_raw_parts(block.cast::<u8>(), len), b"abcd");
            assert!(libc::malloc_usable_size(block) < 4096);
            libc::free(block);
        }
    }
}
