//! Waiting for something to become true, with a deadline so generous that only a fault reaches it.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it; `CORTEN_TEST_PATIENCE` has it in seconds.
pub(crate) fn patience() -> Duration {
    let given = std::env::var("CORTEN_TEST_PATIENCE").ok();
    Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(60))
}

/// Waits until `check` gives something; panics with `what` when it never does.
pub(crate) async fn until_some<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = patience();
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `check` is true; panics with `what` when it never is.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    until_some(what, async || check().await.then_some(())).await;
}
