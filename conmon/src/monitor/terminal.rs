//! The container's terminal.

use std::{io, os::fd::OwnedFd};

use corten_conmon::socket::{self, Received};
use rustix::termios::{OptionalActions, OutputModes, Winsize};

/// Receives the terminal on a connection of the console socket. `None` when it has not come yet.
pub(crate) fn receive(connection: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    // The message is the terminal's path, of no interest here.
    let mut name = [0; 4096];
    let fds = match socket::receive(connection, &mut name) {
        Ok(Received::Packet(_, fds)) => fds,
        Ok(Received::Oversized) => return Err(invalid("too much was sent with it")),
        Ok(Received::Closed) => return Err(invalid("the runtime closed the connection")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut fds = fds.into_iter();
    let (Some(master), None) = (fds.next(), fds.next()) else {
        return Err(invalid("not exactly one descriptor was sent"));
    };
    prepare(&master)?;
    Ok(Some(master))
}

fn prepare(master: &OwnedFd) -> io::Result<()> {
    // Fails for what is no terminal.
    let mut modes = rustix::termios::tcgetattr(master)?;
    // Some runtimes switch this off, and lines would step down the screen.
    if !modes.output_modes.contains(OutputModes::ONLCR) {
        modes.output_modes.insert(OutputModes::ONLCR);
        rustix::termios::tcsetattr(master, OptionalActions::Now, &modes)?;
    }
    rustix::io::ioctl_fionbio(master, true)?;
    Ok(())
}

/// Sets the size in characters.
pub(crate) fn resize(master: &OwnedFd, width: u16, height: u16) -> io::Result<()> {
    let size = Winsize {
        ws_col: width,
        ws_row: height,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}
