//! How long, how many, and from which seed.

use std::time::Duration;

/// What the environment says of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How long there is churn.
    pub(crate) time: Duration,
    /// How many pods there are.
    pub(crate) pods: usize,
    /// Where the numbers come from by which everything is chosen.
    pub(crate) seed: u64,
    /// How many requests are under way at a time, about.
    pub(crate) workers: usize,
}

impl Settings {
    /// `LOAD_SECONDS`, `LOAD_PODS`, `LOAD_SEED` and `LOAD_WORKERS`.
    pub(crate) fn from_environment() -> Self {
        let of = |name: &str, usual: u64| match std::env::var(name) {
            Err(_) => usual,
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        };
        Self {
            time: Duration::from_secs(of("LOAD_SECONDS", 45)),
            pods: of("LOAD_PODS", 60) as usize,
            seed: of("LOAD_SEED", u64::from(std::process::id())),
            workers: of("LOAD_WORKERS", 6) as usize,
        }
    }

    /// For how long the daemon is killed now and then; afterwards it is left alone, and must not grow.
    pub(crate) fn stormy(&self) -> Duration {
        self.time * 3 / 5
    }
}
