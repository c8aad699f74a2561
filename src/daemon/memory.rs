//! Gives memory back after bursts: the allocator alone would keep what a pull or a long list once needed, and the kernel
//! the pages of the program that only the start did.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tonic::Code;

use crate::{
    cri::observe::Observe,
    sys::{heap, program},
};

/// How long after a request memory goes back, together with that of all requests meanwhile. Longer than
/// threads that nobody needs stay, so that theirs goes too.
const AFTER: Duration = Duration::from_secs(15);

/// Told of every request, it has memory given back a while after the first one since the last time. Without requests
/// it sleeps.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    used: Arc<Notify>,
}

impl Keeper {
    /// One whose task runs for as long as the runtime does.
    pub(super) fn start() -> Self {
        let keeper = Self::default();
        let used = keeper.used.clone();
        tokio::spawn(async move {
            loop {
                used.notified().await;
                tokio::time::sleep(AFTER).await;
                // Not in the pool of those who wait for the disk: a thread would be made for it, and stay a while.
                heap::trim();
                program::let_go();
            }
        });
        keeper
    }
}

impl Observe for Keeper {
    fn ended(&self, _: &'static str, _: Code, _: Duration) {
        self.used.notify_one();
    }
}
