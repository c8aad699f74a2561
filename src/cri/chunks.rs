//! Long lists, sent as a stream of messages of moderate size.

use std::pin::Pin;

use futures_util::{Stream, stream};
use prost::Message;
use tonic::Status;

/// A stream of messages.
pub(super) type Chunks<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// Most entries of one message.
const ENTRIES: usize = 3000;
/// Size beyond which a message gets no further entry, well below what clients accept.
const BYTES: usize = 2 << 20;

/// Sends `entries` in messages made by `wrap`. An entry is converted when its message is about to be sent, so
/// that a long list never is in memory twice.
pub(super) fn chunks<T, R>(
    entries: impl Iterator<Item = T> + Send + 'static,
    wrap: fn(Vec<T>) -> R,
) -> Chunks<R>
where
    T: Message + 'static,
    R: Send + 'static,
{
    let mut entries = entries;
    Box::pin(stream::iter(std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while chunk.len() < ENTRIES && bytes < BYTES {
            let Some(entry) = entries.next() else { break };
            bytes += entry.encoded_len();
            chunk.push(entry);
        }
        (!chunk.is_empty()).then(|| Ok(wrap(chunk)))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::api;
    use futures_util::StreamExt;

    async fn sizes(count: usize, name: &str) -> Vec<usize> {
        let name = name.to_owned();
        let entries = (0..count).map(move |_| api::Image {
            id: name.clone(),
            ..Default::default()
        });
        chunks(entries, |images| api::StreamImagesResponse { images })
            .map(|chunk| chunk.unwrap().images.len())
            .collect()
            .await
    }

    #[tokio::test]
    async fn bounded_by_number_and_size() {
        assert_eq!(sizes(0, "a").await, Vec::<usize>::new());
        assert_eq!(sizes(7000, "a").await, [3000, 3000, 1000]);
        assert_eq!(sizes(3, &"a".repeat(1 << 20)).await, [2, 1]);
    }
}
