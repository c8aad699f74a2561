//! Connections to ports inside of a pod's network.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::session::{Forward, Forwards};
use crate::{
    id::Id,
    sys::netns::{self, Family},
};

/// Connections of one client at a time; further ones wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection inside of a pod may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes in flight in one direction.
const BUFFER: usize = 32 << 10;

/// Serves a client's connections until it leaves. `place` is the pod's network namespace (`None` is the host's), or
/// why there is none.
pub(super) async fn forward(
    pod: &Id,
    place: Result<Option<PathBuf>, String>,
    mut forwards: Forwards,
    stop: &CancellationToken,
) {
    let serving = async {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                forward = forwards.incoming.recv(), if connections.len() < CONNECTIONS_MAX => {
                    let Some(forward) = forward else { break };
                    connections.spawn(one(pod.clone(), place.clone(), forward));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        while connections.join_next().await.is_some() {}
    };
    // Connections under way are dropped with their set.
    tokio::select! {
        () = serving => {}
        () = forwards.gone.cancelled() => {}
        () = stop.cancelled() => {}
    }
}

/// Serves one connection, and tells the client when that failed.
async fn one(pod: Id, place: Result<Option<PathBuf>, String>, forward: Forward) {
    let Forward {
        port,
        data,
        mut error,
    } = forward;
    let result = match place {
        Err(reason) => Err(reason),
        Ok(netns) => relay(netns.as_deref(), port, data).await,
    };
    if let Err(reason) = result {
        let text = format!("forwarding port {port} of sandbox {pod}: {reason}");
        tracing::debug!(text, "port forwarding");
        let _ = error.write_all(text.as_bytes()).await;
    }
    let _ = error.shutdown().await;
}

/// Only what keeps a connection from coming about is told: clients end all their forwarding when they hear of an
/// error, and a connection that breaks later is nothing out of the ordinary. It then breaks for the client as well.
async fn relay(
    netns: Option<&Path>,
    port: u16,
    mut data: Box<dyn super::session::Duplex>,
) -> Result<(), String> {
    let mut connection = connect(netns, port).await?;
    let copied =
        tokio::io::copy_bidirectional_with_sizes(&mut data, &mut connection, BUFFER, BUFFER).await;
    if let Err(error) = copied {
        tracing::debug!(port, %error, "a forwarded connection broke");
    }
    Ok(())
}

/// Connects to the port where the pod listens on its loopback: over IPv4, else over IPv6.
async fn connect(netns: Option<&Path>, port: u16) -> Result<TcpStream, String> {
    let mut problems = Vec::new();
    for ip in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        let address = SocketAddr::new(ip, port);
        match connect_to(netns, address).await {
            Ok(connection) => return Ok(connection),
            Err(error) => problems.push(format!("connecting to {address}: {error}")),
        }
    }
    Err(problems.join("; "))
}

async fn connect_to(netns: Option<&Path>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match netns {
        Some(netns) => {
            let family = if address.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            };
            let socket = netns::tcp_socket(netns, family).await?;
            TcpSocket::from_std_stream(socket.into())
        }
        None if address.is_ipv4() => TcpSocket::new_v4()?,
        None => TcpSocket::new_v6()?,
    };
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(address)).await??;
    connection.set_nodelay(true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
