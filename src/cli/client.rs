//! The connection to the daemon.

use std::{error::Error, io, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::error::CliError;
use crate::{
    config::{Config, Sources, UnixAddress},
    cri::{
        api::{
            image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
        },
        control_api::control_client::ControlClient,
    },
};

/// The most of one message, as kubelets and other runtimes have it.
const MESSAGE_MAX: usize = 80 << 20;

/// How long the daemon may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a command works with.
#[derive(Clone)]
pub(super) struct Context {
    /// The configuration as this command sees it; the daemon's may differ in flags.
    pub(super) config: Config,
    channel: Channel,
}

impl Context {
    /// The runtime service.
    pub(super) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// The image service.
    pub(super) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// The service of corten's own.
    pub(super) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }
}

/// Connects, and runs a command to its exit code.
pub(super) fn with<T>(
    sources: &Sources,
    command: impl AsyncFnOnce(Context) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let config = sources.load()?.config;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::System("start", e))?;
    let result = runtime.block_on(async {
        let channel = connect(&config.listen).await?;
        command(Context { config, channel }).await
    });
    // A blocked read of standard input must not hold us back.
    runtime.shutdown_background();
    result
}

async fn connect(address: &UnixAddress) -> Result<Channel, CliError> {
    let path = address.path().to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The host becomes :authority, which servers expect to be this one on a unix socket.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|e| explain(address, e))
}

fn explain(address: &UnixAddress, error: tonic::transport::Error) -> CliError {
    let address = address.clone();
    match io_cause(&error) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => CliError::NoDaemon {
            address,
            source: io::Error::other(error),
        },
        Some(io::ErrorKind::PermissionDenied) => CliError::Denied {
            address,
            source: io::Error::other(error),
        },
        _ => CliError::Connect {
            address,
            source: error.into(),
        },
    }
}

fn io_cause(error: &dyn Error) -> Option<io::ErrorKind> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
}
