//! What happens, as a stream.

use futures_util::StreamExt;

use crate::cri::{
    api,
    backend::{Backend, Outcome},
    chunks::Chunks,
    convert::event,
    status::{Failure, Kind},
};

/// Events from this call on: nothing that happens before the answer's headers are sent is missed.
pub(super) fn subscribe<B: Backend>(backend: &B) -> Outcome<Chunks<api::ContainerEventResponse>> {
    let events = backend.subscribe()?;
    Ok(Box::pin(events.map(|event| match event {
        Ok(event) => Ok(event::to_api(&event)),
        Err(error) => Err(Failure::of(Kind::ResourceExhausted, &error).into()),
    })))
}
