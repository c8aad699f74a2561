//! Attached clients: output to all of them, input from any.

use std::{
    io::{ErrorKind, IoSlice},
    os::fd::OwnedFd,
};

use corten_conmon::{
    attach,
    socket::{self, Received},
};

use super::{control::Listener, input::Input};

/// Clients at one time.
const MAX_CLIENTS: usize = 16;
/// Output that may wait for a client, in the kernel.
const BACKLOG: usize = 1024 * 1024;

/// The clients, and where they come from.
#[derive(Debug)]
pub(crate) struct Fanout {
    listener: Option<Listener>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    /// It gets output.
    listens: bool,
    input: ClientInput,
}

#[derive(Debug, PartialEq, Eq)]
enum ClientInput {
    /// It sent none so far, and may only be listening.
    Unused,
    /// It sent some.
    Open,
    /// It said that there is no more.
    Ended,
}

impl Fanout {
    pub(crate) fn new(listener: Option<Listener>) -> Self {
        Self {
            listener,
            clients: Vec::new(),
        }
    }

    /// What to wait on for new clients.
    pub(crate) fn listening_on(&self) -> Option<&OwnedFd> {
        let room = self.clients.len() < MAX_CLIENTS;
        self.listener
            .as_ref()
            .filter(|_| room)
            .map(Listener::socket)
    }

    /// What to wait on for the clients' input or their leaving, by number.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (usize, &OwnedFd)> {
        self.clients.iter().map(|client| &client.socket).enumerate()
    }

    /// Lets a client in.
    pub(crate) fn accept(&mut self) {
        let Some(socket) = self.listener.as_ref().and_then(Listener::accept) else {
            return;
        };
        // The kernel's own limit is only for those without privilege; with neither the default holds.
        if rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, BACKLOG).is_err() {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, BACKLOG);
        }
        self.clients.push(Client {
            socket,
            listens: true,
            input: ClientInput::Unused,
        });
    }

    /// Sends output to every client. Whoever has no room for it is let go: neither the container nor
    /// anyone else waits for the slowest.
    pub(crate) fn send(&mut self, stream: u8, data: &[u8]) {
        let number = [stream];
        let parts = [IoSlice::new(&number), IoSlice::new(data)];
        for client in self.clients.iter_mut().filter(|client| client.listens) {
            if socket::send_parts(&client.socket, &parts, &[]).is_err() {
                // What it gave before is still read, up to the end that this makes.
                client.listens = false;
                let _ = rustix::net::shutdown(&client.socket, rustix::net::Shutdown::Both);
            }
        }
    }

    /// Takes one packet of a client's; only while `input` is not blocked.
    pub(crate) fn receive(&mut self, number: usize, scratch: &mut [u8], input: &mut Input) {
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        let keep = match socket::receive(&client.socket, scratch) {
            Ok(Received::Packet(len, _)) => client.take(&scratch[..len], input),
            Ok(Received::Oversized | Received::Closed) => false,
            // A client that left output unread resets the connection, once: its input is behind that.
            Err(error) => matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionReset
            ),
        };
        if !keep {
            let client = self.clients.remove(number);
            if client.input == ClientInput::Open {
                input.client_ended();
            }
        }
    }
}

impl Client {
    /// Whether it may stay.
    fn take(&mut self, packet: &[u8], input: &mut Input) -> bool {
        match packet {
            [attach::STDIN] => {
                if self.input != ClientInput::Ended {
                    self.input = ClientInput::Ended;
                    input.client_ended();
                }
                true
            }
            [attach::STDIN, data @ ..] if data.len() <= attach::MAX_DATA => {
                if self.input == ClientInput::Ended {
                    return false;
                }
                self.input = ClientInput::Open;
                input.give(data);
                true
            }
            _ => false,
        }
    }
}
