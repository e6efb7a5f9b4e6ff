//! The system's allocator, except that memory is overwritten before it is freed.
//!
//! A secret leaves copies in buffers of the HTTP, TLS and JSON libraries, where no wrapper around
//! the value reaches them. Each of these buffers is freed at some time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr;

/// An allocator for `#[global_allocator]`.
pub struct WipingAlloc;

#[expect(unsafe_code, reason = "an allocator can't be written without it")]
// SAFETY: each call is passed to the system allocator, and only memory that its caller gives up is
// overwritten. `realloc` is the trait's own, which allocates, copies and frees: the system's would
// free the old memory without overwriting it.
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
        // SAFETY: the caller owns these bytes and gives them up. Without the black box the compiler
        // would remove the writes, because nothing reads them.
        unsafe {
            ptr::write_bytes(memory, 0, layout.size());
            System.dealloc(black_box(memory), layout);
        }
    }
}
