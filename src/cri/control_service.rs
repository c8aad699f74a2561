//! `Control`: what the corten command needs beyond the CRI.

use std::{io, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    backend::{Archive, Backend, LayerProgress, Outcome, Pull, PullProgress},
    control_api::{self, control_server, pull_event::Event},
    convert::{
        error::{At, FieldError},
        image::{self, Credentials},
        image_view,
    },
    detached::detached,
    image_service::run_pull,
};

/// Events that may wait for a slow client; meanwhile newer ones replace each other.
const EVENTS: usize = 16;
/// Parts of an archive that may wait for the loader.
const CHUNKS: usize = 8;

/// The service on top of a backend.
#[derive(Debug)]
pub struct Control<B> {
    backend: Arc<B>,
}

impl<B: Backend> Control<B> {
    /// A service that answers from `backend`.
    pub fn new(backend: Arc<B>) -> Self {
        Self { backend }
    }

    fn start_pull(
        &self,
        request: control_api::PullRequest,
    ) -> Result<ReceiverStream<Result<control_api::PullEvent, Status>>, FieldError> {
        let at = At::root("image");
        let reference = image::name(&at, request.image)?;
        let credentials = request
            .credentials
            .map(|given| image::control_credentials(&At::root("credentials"), given))
            .transpose()?
            .flatten();
        let platform = platform(request.platform)?;
        let (events, stream) = mpsc::channel(EVENTS);
        tokio::spawn(pull(
            self.backend.clone(),
            reference,
            credentials,
            platform,
            events,
        ));
        Ok(ReceiverStream::new(stream))
    }

    async fn load(
        &self,
        mut parts: Streaming<control_api::LoadRequest>,
    ) -> Outcome<control_api::LoadResponse> {
        let (send, archive) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
        // Lives in the request, so that it is dropped when the client goes.
        let guard = Unfinished(Some(send));
        let backend = self.backend.clone();
        let loading = detached(async move { backend.load_images(Archive(archive)).await });
        let receiving = async move {
            let mut guard = guard;
            while let Some(send) = &guard.0 {
                let (chunk, last) = match parts.message().await {
                    Ok(Some(part)) => (Bytes::from(part.chunk), part.last),
                    // Also how the transport shows a client that was killed.
                    Ok(None) | Err(_) => return,
                };
                // When nobody receives, the loader has had enough and will say why.
                let enough = send.send(Ok(chunk)).await.is_err();
                if last || enough {
                    guard.0 = None;
                }
            }
        };
        let (images, ()) = tokio::join!(loading, receiving);
        Ok(control_api::LoadResponse {
            images: images?
                .iter()
                .map(|image| image_view::control_image(image))
                .collect(),
        })
    }
}

/// An archive that has not come to its end. Dropped in that state it says so, lest the loader take what it has
/// for the whole.
struct Unfinished(Option<mpsc::Sender<io::Result<Bytes>>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            let gone = io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the archive was broken off",
            );
            match send.try_send(Err(gone)) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(gone)) => {
                    tokio::spawn(async move { send.send(gone).await });
                }
            }
        }
    }
}

/// Pulls, and tells how far it is until the client has gone; the pull goes on without it.
async fn pull<B: Backend>(
    backend: Arc<B>,
    reference: String,
    credentials: Option<Credentials>,
    platform: Option<String>,
    events: mpsc::Sender<Result<control_api::PullEvent, Status>>,
) {
    let (progress, mut watching) = watch::channel(PullProgress::default());
    let pulling = run_pull(
        backend,
        Pull {
            reference,
            credentials,
            platform,
            progress,
        },
    );
    tokio::pin!(pulling);
    let mut told = PullProgress::default();
    let mut more = true;
    let image = loop {
        tokio::select! {
            image = &mut pulling => break image,
            changed = watching.changed(), if more => {
                more = changed.is_ok();
                let now = watching.borrow_and_update().clone();
                // The pull is a task of its own: a slow client holds up nothing but its own news.
                for event in news(&told, &now) {
                    more &= send(&events, event).await;
                }
                told = now;
            }
        }
    };
    let now = watching.borrow_and_update().clone();
    for event in news(&told, &now) {
        send(&events, event).await;
    }
    let last = match image {
        Ok(image) => Ok(control_api::PullEvent {
            event: Some(Event::Done(image_view::control_image(&image))),
        }),
        Err(failure) => Err(failure.into()),
    };
    let _ = events.send(last).await;
}

async fn send(events: &mpsc::Sender<Result<control_api::PullEvent, Status>>, event: Event) -> bool {
    let event = control_api::PullEvent { event: Some(event) };
    events.send(Ok(event)).await.is_ok()
}

/// What is new: the list of layers when it became known, else the layers that changed.
fn news(told: &PullProgress, now: &PullProgress) -> Vec<Event> {
    let same_layers = told.layers.len() == now.layers.len()
        && told
            .layers
            .iter()
            .zip(&now.layers)
            .all(|(a, b)| a.digest == b.digest);
    if !same_layers {
        let layers = now.layers.iter().map(image_view::control_layer).collect();
        return vec![Event::Layers(control_api::Layers { layers })];
    }
    let changed = |(a, b): &(&LayerProgress, &LayerProgress)| a != b;
    told.layers
        .iter()
        .zip(&now.layers)
        .filter(changed)
        .map(|(_, layer)| Event::Layer(image_view::control_layer(layer)))
        .collect()
}

/// `os/architecture` with or without `/variant`.
fn platform(given: String) -> Result<Option<String>, FieldError> {
    if given.is_empty() {
        return Ok(None);
    }
    let part = |p: &str| {
        !p.is_empty() && p.len() <= 32 && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
    };
    if !(2..=3).contains(&given.split('/').count()) || !given.split('/').all(part) {
        return Err(At::root("platform").bad(&given, "is not a platform like \"linux/arm64\""));
    }
    Ok(Some(given))
}

#[async_trait]
impl<B: Backend> control_server::Control for Control<B> {
    type PullStream = Pin<Box<dyn Stream<Item = Result<control_api::PullEvent, Status>> + Send>>;

    async fn pull(
        &self,
        request: Request<control_api::PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        match self.start_pull(request.into_inner()) {
            Ok(stream) => Ok(Response::new(Box::pin(stream))),
            Err(e) => Err(super::status::Failure::from(e).into()),
        }
    }

    async fn load(
        &self,
        request: Request<Streaming<control_api::LoadRequest>>,
    ) -> Result<Response<control_api::LoadResponse>, Status> {
        match self.load(request.into_inner()).await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(failure) => Err(failure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::backend::LayerState;

    #[test]
    fn platforms() {
        assert_eq!(platform(String::new()), Ok(None));
        assert!(platform("linux/arm/v7".into()).is_ok());
        for bad in ["linux", "a/b/c/d", "linux/", "linux/a b"] {
            assert!(platform(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_news_is_told() {
        let layer = |digest: &str, transferred| LayerProgress {
            digest: digest.into(),
            state: LayerState::Pulling,
            transferred,
            size: 9,
        };
        let nothing = PullProgress::default();
        let known = PullProgress {
            layers: vec![layer("a", 0), layer("b", 0)],
        };
        let moved = PullProgress {
            layers: vec![layer("a", 0), layer("b", 5)],
        };
        assert!(news(&nothing, &nothing).is_empty());
        assert!(matches!(&news(&nothing, &known)[..], [Event::Layers(l)] if l.layers.len() == 2));
        assert!(
            matches!(&news(&known, &moved)[..], [Event::Layer(l)] if l.digest == "b" && l.transferred == 5)
        );
    }
}
