//! The memory that the allocator keeps for later.
#![allow(unsafe_code)]

/// From this size on a piece of memory is the kernel's own to give and to take back, `mallopt(3)`.
const OWN_MAPPING: libc::c_int = 128 * 1024;

/// Has large pieces go back to the kernel as soon as they are free.
///
/// By itself the allocator begins so, but takes the first large piece that is freed for a sign to keep all of that size; then
/// the buffers of a pull stay, with holes between them.
pub fn return_large() {
    // SAFETY: the function may be called at any time and takes no pointer. Where it does not know the parameter it changes
    // nothing.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING) };
}

/// Gives the kernel back what is free in the heap, `malloc_trim(3)`. Whether anything was.
///
/// Takes a millisecond for each few megabytes, and locks one arena of the heap after the other meanwhile.
pub fn trim() -> bool {
    // SAFETY: the function may be called at any time by any thread, and takes no pointer.
    unsafe { libc::malloc_trim(0) == 1 }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Each is to see its own memory come and go.
    static ALONE: Mutex<()> = Mutex::new(());

    /// Resident anonymous memory of this process, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let words = line.unwrap().split_whitespace().next();
        words.unwrap().parse().unwrap()
    }

    #[test]
    fn large_pieces_go_back_at_once() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        return_large();
        // Freed once, they would be kept from then on.
        drop(vec![1u8; 8 << 20]);
        let before = resident();
        let mut pieces: Vec<Vec<u8>> = (0..256).map(|_| vec![1u8; 1 << 20]).collect();
        let held = resident().saturating_sub(before);
        // Other tests take and give memory meanwhile, but not as much.
        assert!(held > 128 * 1024, "{held} KiB");
        // The one that was made last would keep the others from going, were they in one heap.
        pieces.drain(..255);
        let left = resident().saturating_sub(before);
        assert!(left < 128 * 1024, "{left} KiB");
    }

    #[test]
    fn what_is_free_goes_back() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        const PIECES: usize = 64 * 1024;
        // Small pieces, with one that stays above them: the heap cannot shrink by itself.
        let pieces: Vec<Box<[u8; 1024]>> = (0..PIECES).map(|_| Box::new([1; 1024])).collect();
        let last = Box::new([1u8; 1024]);
        drop(pieces);
        let before = resident();
        assert!(trim());
        let given = before.saturating_sub(resident());
        assert!(given > PIECES as u64 / 2, "{given} KiB of {before}");
        assert_eq!(last[0], 1);
    }
}
