//! How long to wait before what failed is tried again.

use std::time::Duration;

/// The wait after `tries` failures before this one: 1 s, doubled each time, up to 1 min.
pub(crate) fn backoff(tries: u32) -> Duration {
    Duration::from_secs((1u64 << tries.min(6)).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_minute() {
        let waits: Vec<u64> = (0..9).map(|tries| backoff(tries).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX), Duration::from_secs(60));
    }
}
