//! Counts the pieces of memory that a test takes, by an allocator that is the program's in tests alone.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Memory that was taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How often any was taken, or moved to grow.
    pub(crate) times: usize,
    /// Bytes, whether they were given back or not; of what grew its new size.
    pub(crate) bytes: usize,
}

thread_local! {
    static TAKEN: Cell<Taken> = const { Cell::new(Taken { times: 0, bytes: 0 }) };
}

/// The system's allocator, with a count for each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    // A thread that ends may have no count any more, and none is asked for then.
    let _ = TAKEN.try_with(|taken| {
        let Taken { times, bytes } = taken.get();
        taken.set(Taken {
            times: times + 1,
            bytes: bytes + size,
        });
    });
}

// SAFETY: every call is passed on to the system's allocator as it came; counting takes no memory, for the count is made with
// the thread and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

/// What this thread takes during some work.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let before = TAKEN.get();
    let done = work();
    let after = TAKEN.get();
    let taken = Taken {
        times: after.times - before.times,
        bytes: after.bytes - before.bytes,
    };
    (done, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_threads_are_counted() {
        let (boxes, taken) = during(|| [Box::new(1u32), Box::new(2)]);
        assert_eq!((taken.times, taken.bytes, boxes.len()), (2, 8, 2));
        let (_, taken) = during(|| std::hint::black_box(boxes));
        assert_eq!(taken, Taken::default());
    }
}
