//! The gRPC server on the unix socket.

use std::{future::Future, io, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::Server;
use tracing::{info, warn};

use super::{
    api::{image_service_server::ImageServiceServer, runtime_service_server::RuntimeServiceServer},
    backend::Backend,
    control_api::control_server::ControlServer,
    control_service::Control,
    deadline::DeadlineLayer,
    image_service::Images,
    observe::{Observe, ObserveLayer},
    runtime_service::Runtime,
    socket::{Socket, SocketError},
    under_way::UnderWay,
};

/// Largest message in either direction: a list of ten thousand containers has room in it.
pub const MESSAGE_MAX: usize = 80 << 20;
/// Requests at a time on one connection. The kubelet has one connection for all its probes, and HTTP/2 makes
/// it wait beyond this number.
const STREAMS_MAX: u32 = 10_000;
/// Data in flight in one request, and in all requests of a connection: loading an image is limited by these.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How long clients have to read the last events when nothing else is under way.
const LISTENERS_GRACE: Duration = Duration::from_secs(2);
/// How long to wait when no further connection can be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be handed to the runtime.
    #[error("cannot serve on the socket")]
    Socket(#[source] io::Error),
    /// The server broke off.
    #[error("the server broke off")]
    Serve(#[source] tonic::transport::Error),
    /// The socket could not be removed at the end.
    #[error("cannot clean up after the server")]
    CleanUp(#[source] SocketError),
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All requests were answered.
    Whole,
    /// Some were cut off: the grace period was over.
    Cut,
}

/// Serves until `shutdown`; then takes no more requests, lets those under way end for at most `grace`, and
/// removes the socket if it is still the one that was bound.
///
/// No keepalive is asked for: a unix socket tells at once when the other side is gone.
pub async fn serve<B: Backend>(
    socket: Socket,
    backend: Arc<B>,
    observe: Arc<dyn Observe>,
    shutdown: impl Future<Output = ()> + Send,
    grace: Duration,
) -> Result<Drained, ServeError> {
    let (listener, place) = socket.into_parts();
    let listener = UnixListener::from_std(listener).map_err(ServeError::Socket)?;
    let (begin_drain, drain_began) = tokio::sync::watch::channel(false);
    let under_way = UnderWay::default();
    let ending = backend.clone();
    let stop = async move {
        shutdown.await;
        // They would never end by themselves.
        ending.end_subscriptions();
        info!(?grace, "no more requests are taken");
        begin_drain.send_replace(true);
    };
    let draining = || {
        let mut began = drain_began.clone();
        async move {
            if began.wait_for(|began| *began).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let (late, rest) = (draining(), draining());
    let too_late = async move {
        late.await;
        tokio::time::sleep(grace).await;
    };
    let counted = under_way.clone();
    let only_listeners = async move {
        rest.await;
        counted.none().await;
        // Whoever reads gets the rest.
        tokio::time::sleep(LISTENERS_GRACE).await;
        counted.none().await;
    };
    let serving = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .layer(under_way)
        .layer(ObserveLayer(observe))
        .layer(DeadlineLayer)
        .add_service(
            RuntimeServiceServer::new(Runtime::new(backend.clone()))
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX),
        )
        .add_service(
            ImageServiceServer::new(Images::new(backend.clone()))
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX),
        )
        .add_service(ControlServer::new(Control::new(backend)))
        .serve_with_incoming_shutdown(connections(listener), stop);
    let outcome = tokio::select! {
        ended = serving => ended.map(|()| Drained::Whole).map_err(ServeError::Serve),
        () = only_listeners => {
            info!("nothing is under way but events that clients do not read");
            Ok(Drained::Whole)
        }
        () = too_late => {
            warn!("requests are cut off: the grace period is over");
            Ok(Drained::Cut)
        }
    };
    let removed = tokio::task::spawn_blocking(move || place.remove()).await;
    let drained = outcome?;
    match removed {
        Ok(removed) => removed.map_err(ServeError::CleanUp)?,
        Err(e) => warn!(error = %e, "the socket was not removed"),
    }
    Ok(drained)
}

/// The connections as they come. Running out of descriptors is no reason to stop serving.
fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((Ok(connection), listener)),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    warn!(
                        error = crate::causes::whole(&e),
                        "cannot accept a connection"
                    );
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}
