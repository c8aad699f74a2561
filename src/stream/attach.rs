//! A client at a container's own input and output, through its monitor.

use std::{io, path::Path, time::Duration};

use corten_conmon::{
    attach::{MAX_DATA, STDERR, STDIN, STDOUT},
    socket::{self, Address, Received},
};
use rustix::net::SocketType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    behind::{STOPPING, finish},
    session::{Outcome, Reader, Remote, TerminalSize, Writer},
};
use crate::monitor::Monitor;

/// How long the container's end may take to be known when its output ended.
const ENDING: Duration = Duration::from_secs(5);

/// Joins a client with a container until either leaves. The container lives on when the client leaves.
pub(super) async fn attach(
    monitor: &Monitor,
    path: &Path,
    tty: bool,
    remote: Remote,
    stop: &CancellationToken,
) {
    let Remote {
        stdin,
        stdout,
        stderr,
        mut resize,
        ending,
        gone,
    } = remote;
    let outcome = match connect(path) {
        Err(error) => Outcome::Failed(format!("reaching the monitor of the container: {error}")),
        Ok(socket) => tokio::select! {
            outcome = output(monitor, &socket, stdout, stderr) => outcome,
            () = input(&socket, stdin, tty, &gone) => Outcome::Success,
            () = resizing(monitor, &mut resize) => Outcome::Success,
            () = gone.cancelled() => Outcome::Success,
            () = stop.cancelled() => Outcome::Failed(STOPPING.to_owned()),
        },
    };
    finish(ending, outcome).await;
}

/// The socket is one of packets, of which a stream's type is the nearest that can be waited for. Nothing but
/// [`socket::send`] and [`socket::receive`] touches it.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Address::of(path)?.connect(SocketType::SEQPACKET)?;
    UnixStream::from_std(socket.into())
}

/// Passes output on until the monitor ends it.
async fn output(
    monitor: &Monitor,
    socket: &UnixStream,
    mut stdout: Option<Writer>,
    mut stderr: Option<Writer>,
) -> Outcome {
    let mut packet = vec![0; MAX_DATA + 1];
    let mut resets = 0;
    loop {
        let received = socket
            .async_io(Interest::READABLE, || socket::receive(socket, &mut packet))
            .await;
        let len = match received {
            Ok(Received::Packet(len, _)) => len,
            Ok(Received::Closed) => break,
            Ok(Received::Oversized) => {
                return Outcome::Failed("the monitor sent too large a packet".to_owned());
            }
            // A monitor that leaves with input unread resets the connection, once; output is behind that.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && resets == 0 => {
                resets += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Outcome::Failed(format!("reading from the monitor: {error}")),
        };
        let to = match packet[..len].first() {
            Some(&STDOUT) => &mut stdout,
            Some(&STDERR) => &mut stderr,
            _ => continue,
        };
        if let Some(writer) = to {
            let data = &packet[1..len];
            if writer.write_all(data).await.is_err() || writer.flush().await.is_err() {
                // The client is gone, or does not want this stream any more.
                *to = None;
            }
        }
    }
    // A container that lives on has a monitor that let this client go.
    match tokio::time::timeout(ENDING, monitor.exited()).await {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failed(
            "output was read too slowly: more than 1 MiB of it was waiting. The container runs on"
                .to_owned(),
        ),
    }
}

/// Passes input on. Its end is not the end of an attach, which may have output to come, but at a terminal: what is
/// typed ends there in no other way, so it is how a client leaves whose detach keys were pressed.
async fn input(socket: &UnixStream, stdin: Option<Reader>, tty: bool, gone: &CancellationToken) {
    if let Some(mut stdin) = stdin {
        let mut packet = vec![STDIN; MAX_DATA + 1];
        loop {
            let read = stdin.read(&mut packet[1..]).await;
            let n = match read {
                Ok(n) => n,
                Err(_) => break,
            };
            // The end of a client that left is no end of input: the monitor sees it leave, and knows what to do.
            if n == 0 && gone.is_cancelled() {
                break;
            }
            let sent = socket
                .async_io(Interest::WRITABLE, || {
                    socket::send(socket, &packet[..=n], &[])
                })
                .await;
            if n == 0 && tty {
                return;
            }
            if sent.is_err() || n == 0 {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Sets the terminal's size whenever the client tells it. Does not complete.
async fn resizing(monitor: &Monitor, sizes: &mut Option<watch::Receiver<Option<TerminalSize>>>) {
    if let Some(sizes) = sizes {
        loop {
            let size = *sizes.borrow_and_update();
            if let Some(size) = size
                && let Err(error) = monitor.resize(size).await
            {
                tracing::debug!(%error, "cannot resize a container's terminal");
            }
            if sizes.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}
