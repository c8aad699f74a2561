//! The memory that the allocator keeps for later.
#![allow(unsafe_code)]

/// Gives the kernel back what is free in the heap, `malloc_trim(3)`. Whether anything was.
///
/// Takes a millisecond for each few megabytes, and locks one arena of the heap after the other meanwhile.
pub fn trim() -> bool {
    // SAFETY: the function may be called at any time by any thread, and takes no pointer.
    unsafe { libc::malloc_trim(0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident anonymous memory of this process, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let words = line.unwrap().split_whitespace().next();
        words.unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_free_goes_back() {
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
