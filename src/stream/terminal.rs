//! The terminal of an exec: received from the OCI runtime, read, written and resized here.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use corten_conmon::socket::{self, Address, Received};
use rustix::{
    io::Errno,
    net::SocketType,
    termios::{LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Winsize},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    net::UnixListener,
};

use super::session::TerminalSize;
use crate::sys::watched::watched;

/// A socket that a runtime sends a terminal to. Its file goes with it.
#[derive(Debug)]
pub(super) struct Console {
    listener: UnixListener,
    address: Address,
    path: PathBuf,
}

impl Console {
    /// Listens at `path`, for this user alone.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        let address = Address::of(path)?;
        let socket = address.listen(SocketType::STREAM, 1)?;
        Ok(Self {
            listener: UnixListener::from_std(socket.into())?,
            address,
            path: path.to_owned(),
        })
    }

    /// Waits for the terminal. Loses nothing when dropped before it is there.
    pub(super) async fn receive(&self) -> io::Result<Terminal> {
        let (connection, _) = self.listener.accept().await?;
        // The message is the terminal's path, of no interest here.
        let mut name = [0; 4096];
        let received = connection
            .async_io(Interest::READABLE, || {
                socket::receive(&connection, &mut name)
            })
            .await?;
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let fds = match received {
            Received::Packet(_, fds) => fds,
            Received::Oversized => return Err(invalid("too much was sent with the terminal")),
            Received::Closed => return Err(invalid("the runtime sent no terminal")),
        };
        let mut fds = fds.into_iter();
        match (fds.next(), fds.next()) {
            (Some(master), None) => Terminal::new(master),
            _ => Err(invalid("not exactly one descriptor was sent")),
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Err(error) = self.address.unlink()
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a console socket");
        }
    }
}

/// The master of a terminal. Clones are the same one; it is closed, and its processes hung up, with the last.
#[derive(Debug, Clone)]
pub(super) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    fn new(master: OwnedFd) -> io::Result<Self> {
        // Fails for what is no terminal.
        let mut modes = rustix::termios::tcgetattr(&master)?;
        // Some runtimes switch this off, and lines would step down the screen.
        if !modes.output_modes.contains(OutputModes::ONLCR) {
            modes.output_modes.insert(OutputModes::ONLCR);
            rustix::termios::tcsetattr(&master, OptionalActions::Now, &modes)?;
        }
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Self(Arc::new(watched(master)?)))
    }

    /// Another descriptor of it.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.get_ref().try_clone()
    }

    /// Sets the size in characters.
    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let size = Winsize {
            ws_col: size.width,
            ws_row: size.height,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }

    /// The character that ends input, if the terminal is in a mode in which there is one.
    pub(super) fn end_of_input(&self) -> Option<u8> {
        let modes = rustix::termios::tcgetattr(self.0.get_ref()).ok()?;
        modes
            .local_modes
            .contains(LocalModes::ICANON)
            .then(|| modes.special_codes[SpecialCodeIndex::VEOF])
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|fd| {
                Ok(rustix::io::read(
                    fd.get_ref(),
                    buffer.initialize_unfilled(),
                )?)
            });
            match read {
                Ok(Ok(n)) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has it open any more: its end.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
