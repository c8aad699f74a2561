//! The services, driven by a real client over a real socket, on a small fake backend.

mod checkpoint;
mod containers;
mod control;
mod events;
mod fake;
mod images;
mod life;
mod node;
mod pods;
mod protocol;
mod scale;
mod stats;

use std::{sync::Arc, sync::Mutex, time::Duration};

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::UnixStream, sync::oneshot, task::JoinHandle};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{
    api::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
    control_api::control_client::ControlClient,
    observe::Observe,
    server::{Drained, MESSAGE_MAX, ServeError, serve},
    socket::Socket,
};
use fake::Fake;

/// A server on a socket of its own, and a connection to it.
struct Served {
    directory: TempDir,
    backend: Arc<Fake>,
    seen: Arc<Seen>,
    channel: Channel,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<Drained, ServeError>>,
}

/// The requests that ended.
#[derive(Default)]
struct Seen(Mutex<Vec<(&'static str, Code)>>);

impl Observe for Seen {
    fn ended(&self, method: &'static str, code: Code, _: Duration) {
        self.0.lock().unwrap().push((method, code));
    }
}

impl Served {
    async fn start() -> Self {
        Self::with_grace(Duration::from_secs(60)).await
    }

    async fn with_grace(grace: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("corten.sock");
        let socket = Socket::bind(&path).unwrap();
        let backend = Arc::new(Fake::default());
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(
            socket,
            backend.clone(),
            seen.clone(),
            async { drop(stopped.await) },
            grace,
        ));
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }))
            .await
            .unwrap();
        Self {
            directory,
            backend,
            seen,
            channel,
            stop,
            server,
        }
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
    }
}

/// Code and message of a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}
