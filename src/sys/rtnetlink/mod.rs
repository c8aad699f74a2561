//! Links, addresses and routes of a network namespace, by one socket.
//!
//! The socket goes on speaking of the namespace that it was opened in, whichever its thread enters afterwards.

mod address;
mod departures;
mod link;
mod route;
#[cfg(test)]
mod tests;

use std::io;

pub use address::{Address, octets};
pub use departures::Departures;
pub use link::{Link, Veth};
pub use route::{Route, Scope};

use super::netlink::{messages::Request, socket::Socket};

/// A question or a change that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct RtnetlinkError {
    /// What was asked for.
    what: String,
    #[source]
    source: io::Error,
}

impl RtnetlinkError {
    /// The kernel's word for it.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The link, address or route is there already.
    pub fn is_there_already(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// The link, address or route is not there, or is no more.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO)
        )
    }
}

/// A socket to ask by.
#[derive(Debug)]
pub struct Rtnetlink(Socket);

impl Rtnetlink {
    /// A new socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, RtnetlinkError> {
        Socket::route()
            .map(Self)
            .map_err(told(|| "opening a netlink socket".into()))
    }

    /// Has something changed.
    fn change(
        &mut self,
        request: Request,
        what: impl FnOnce() -> String,
    ) -> Result<(), RtnetlinkError> {
        self.0.ask(request, |_, _| {}).map_err(told(what))
    }
}

/// A request to change something, which is to be acknowledged.
fn change(kind: u16, flags: i32) -> Request {
    Request::new(kind, (flags | libc::NLM_F_ACK) as u16)
}

fn told(what: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> RtnetlinkError {
    |source| RtnetlinkError {
        what: what(),
        source,
    }
}
