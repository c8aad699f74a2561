//! The control socket's clients.

use std::{io, os::fd::OwnedFd, path::Path};

use corten_conmon::{
    ctl::{Answer, EVENT, MAX_CLIENTS, Refusal, Reply, Request, Verb},
    socket::{self, Address, Received},
    wire::{self, Since, Version, Wire, WireError},
};
use rustix::net::SocketType;

use super::PROGRAM;

/// A listening socket, whose file goes away with it.
#[derive(Debug)]
pub(crate) struct Listener {
    address: Address,
    socket: OwnedFd,
}

impl Listener {
    pub(crate) fn bind(path: &Path, kind: SocketType) -> io::Result<Self> {
        let address = Address::of(path)?;
        let socket = address.listen(kind, 16)?;
        Ok(Self { address, socket })
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The next connection of someone who may be trusted as this process is.
    pub(crate) fn accept(&self) -> Option<OwnedFd> {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let socket = rustix::net::accept_with(&self.socket, flags).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?.uid;
        (peer.is_root() || peer == rustix::process::geteuid()).then_some(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.address.unlink();
    }
}

/// The clients, each under a number that is never used again.
#[derive(Debug)]
pub(crate) struct Clients {
    listener: Listener,
    clients: Vec<Client>,
    next: u32,
    newest: Version,
}

/// Which versions of the protocol are spoken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speech {
    /// With the daemon that started the monitor.
    pub(crate) version: Version,
    /// The newest that is understood.
    pub(crate) newest: Version,
}

#[derive(Debug)]
struct Client {
    key: u32,
    socket: OwnedFd,
    /// What it was heard to speak, in which it is answered.
    version: Version,
    greeted: bool,
    subscribed: bool,
}

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Nothing, or nothing that is not answered already.
    Nothing,
    /// This.
    Request(Request, Vec<OwnedFd>),
    /// To be gone.
    Gone,
}

impl Clients {
    /// Begins with the daemon that started the monitor: it knows us and hears of everything.
    pub(crate) fn new(listener: Listener, daemon: OwnedFd, speech: Speech) -> Self {
        let daemon = Client {
            key: 0,
            socket: daemon,
            version: speech.version,
            greeted: true,
            subscribed: true,
        };
        Self {
            listener,
            clients: vec![daemon],
            next: 1,
            newest: speech.newest,
        }
    }

    /// What to wait on for new clients.
    pub(crate) fn listening_on(&self) -> Option<&OwnedFd> {
        (self.clients.len() < MAX_CLIENTS).then(|| self.listener.socket())
    }

    /// What to wait on for requests.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (u32, &OwnedFd)> {
        self.clients
            .iter()
            .map(|client| (client.key, &client.socket))
    }

    /// Lets a client in.
    pub(crate) fn accept(&mut self) {
        if let Some(socket) = self.listener.accept() {
            let key = self.next;
            self.next = self.next.wrapping_add(1);
            self.clients.push(Client {
                key,
                socket,
                version: self.newest,
                greeted: false,
                subscribed: false,
            });
        }
    }

    /// Reads one request.
    pub(crate) fn receive(&mut self, key: u32, scratch: &mut [u8]) -> Wish {
        let newest = self.newest;
        let Some(client) = self.get(key) else {
            return Wish::Nothing;
        };
        let (len, fds) = match socket::receive(&client.socket, scratch) {
            Ok(Received::Packet(len, fds)) => (len, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wish::Nothing,
            Ok(Received::Oversized | Received::Closed) | Err(_) => return self.forget(key),
        };
        let greeted = client.greeted;
        let mut input = match wire::open(&scratch[..len]) {
            Ok(input) if input.version() <= newest => input,
            Ok(_) | Err(WireError::Version(_)) => return self.misunderstood(key),
            Err(_) => return self.forget(key),
        };
        client.version = input.version();
        // The number first: what is not understood is refused by it, so that newer clients can go on.
        let Ok(id) = u64::decode(&mut input) else {
            return self.forget(key);
        };
        let verb = Verb::decode(&mut input).and_then(|verb| input.finish().map(|()| verb));
        match verb {
            Ok(Verb::Hello) => {
                client.greeted = true;
                let monitor = rustix::process::getpid().as_raw_nonzero().get();
                let program = Since(PROGRAM.to_owned());
                self.answer(key, id, Reply::Hello { monitor, program })
            }
            Ok(verb) if greeted && id != EVENT => Wish::Request(Request { id, verb }, fds),
            Ok(_) => self.refuse(key, id, Refusal::NotUnderstood, "say hello first"),
            Err(error) => self.refuse(key, id, Refusal::NotUnderstood, &error.to_string()),
        }
    }

    /// Answers a request. Whoever leaves so many answers unread that there is no room is let go.
    pub(crate) fn answer(&mut self, key: u32, id: u64, reply: Reply) -> Wish {
        let Some(client) = self.get(key) else {
            return Wish::Nothing;
        };
        match wire::frame(client.version, &Answer { id, reply })
            .map(|frame| socket::send(&client.socket, &frame, &[]))
        {
            Ok(Ok(())) => Wish::Nothing,
            _ => self.forget(key),
        }
    }

    /// Answers that it cannot be.
    pub(crate) fn refuse(&mut self, key: u32, id: u64, kind: Refusal, text: &str) -> Wish {
        self.answer(
            key,
            id,
            Reply::Refused {
                kind,
                text: text.to_owned(),
            },
        )
    }

    /// Says in the newest version which versions are spoken, and lets the client go: it may come again in one of them.
    fn misunderstood(&mut self, key: u32) -> Wish {
        let newest = self.newest;
        let text = format!(
            "versions {} to {} of the protocol are spoken here",
            Version::OLDEST,
            newest
        );
        if let Some(client) = self.get(key) {
            client.version = newest;
        }
        let _ = self.refuse(key, EVENT, Refusal::NotUnderstood, &text);
        self.forget(key)
    }

    /// Has a client hear of events.
    pub(crate) fn subscribe(&mut self, key: u32) {
        if let Some(client) = self.get(key) {
            client.subscribed = true;
        }
    }

    /// Tells everyone who wants to hear it.
    pub(crate) fn tell(&mut self, reply: Reply) {
        let answer = Answer { id: EVENT, reply };
        for client in self.clients.iter().filter(|client| client.subscribed) {
            // Who cannot be told finds the exit record.
            if let Ok(frame) = wire::frame(client.version, &answer) {
                let _ = socket::send(&client.socket, &frame, &[]);
            }
        }
    }

    fn get(&mut self, key: u32) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.key == key)
    }

    fn forget(&mut self, key: u32) -> Wish {
        self.clients.retain(|client| client.key != key);
        Wish::Gone
    }
}
