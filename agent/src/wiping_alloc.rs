//! The system's allocator, but memory is overwritten before it is freed.
//!
//! A secret on its way from the server to a supervisor leaves copies in buffers of libraries,
//! HTTP's, TLS's and JSON's, which no wrapper around the value itself reaches. All of them are
//! freed at some time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr;

/// For a program's `#[global_allocator]`.
pub struct WipingAlloc;

#[expect(unsafe_code, reason = "an allocator can't be made otherwise")]
// SAFETY: each call is the system allocator's, and what is overwritten was its caller's until then.
// `realloc` is the trait's own, which allocates, copies and frees: the system's would free what it
// moves from without a chance to overwrite it.
unsafe impl GlobalAlloc for WipingAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller owns so many bytes there, and gives them up. Without the black box the
        // compiler would leave the writes out, as nobody reads them.
        unsafe {
            ptr::write_bytes(memory, 0, layout.size());
            System.dealloc(black_box(memory), layout);
        }
    }
}
