//! Work that goes on when its caller has gone.

use std::future::Future;

use tracing::Instrument;

use super::{
    backend::Outcome,
    status::{Failure, Kind},
};

/// Runs work as a task of its own. A caller that hangs up or runs out of time stops waiting; the work is done
/// all the same, so that a repeated request finds it done or under way.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(outcome) => outcome,
        Err(e) => {
            tracing::error!(error = %e, "a request's work broke off");
            Err(Failure::new(
                Kind::Internal,
                "internal error: the work broke off; the daemon's log says where",
            ))
        }
    }
}
