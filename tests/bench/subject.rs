//! An endpoint that is measured.

use std::path::PathBuf;

use corten::cri::api;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::{Outcome, client::Client};

/// An endpoint that is measured, and what is known of its processes.
pub(crate) struct Subject {
    pub(crate) name: String,
    version: String,
    pub(crate) client: Client,
    /// The process that listens.
    pub(crate) daemon: i32,
    /// Parent cgroup of its pods; empty: its own choice.
    pub(crate) cgroup_parent: String,
    /// Cgroup that holds the daemon, all that it starts, and the pods, where it has one: relative to the hierarchies.
    pub(crate) cgroup: Option<PathBuf>,
}

impl Subject {
    /// `[NAME=]unix:///PATH`.
    pub(crate) async fn connect(text: &str, cgroup_parent: &str) -> Outcome<Self> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name.to_owned(), address),
            None => (String::new(), text),
        };
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
        let daemon = UnixStream::connect(&path)
            .await
            .and_then(|stream| stream.peer_cred())
            .map_err(|error| format!("{address}: {error}"))?
            .pid()
            .unwrap_or_default();
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }),
        );
        let client = Client::new(channel);
        let version = client.version().await?;
        let api::VersionResponse {
            runtime_name,
            runtime_version,
            ..
        } = version;
        Ok(Self {
            name: if name.is_empty() { runtime_name } else { name },
            version: runtime_version,
            client,
            daemon,
            cgroup_parent: cgroup_parent.to_owned(),
            cgroup: None,
        })
    }

    /// Name and version.
    pub(crate) fn title(&self) -> String {
        let version = self.version.split(['~', '+']).next().unwrap_or_default();
        format!("{} {version}", self.name)
    }
}

/// The type of the connection.
pub(crate) type Connection = Channel;
