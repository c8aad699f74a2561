//! Sockets in other network namespaces.
//!
//! A socket belongs for good to the namespace of the thread that made it, so it is made on a thread of its own,
//! which enters the namespace and ends: no thread of a pool is ever in a wrong one.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use nix::sched::CloneFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Which addresses a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A new TCP socket, non-blocking and not connected, in the namespace pinned at `netns`.
pub async fn tcp_socket(netns: &Path, family: Family) -> io::Result<OwnedFd> {
    let netns = netns.to_owned();
    let work = move || {
        enter(&netns)?;
        tcp_socket_here(family)
    };
    let made = on_a_thread("netns", 64 * 1024, work).await?;
    made.unwrap_or_else(|| Err(io::Error::other("the thread in the network namespace died")))
}

/// Does `work` on a thread of its own, which may enter any namespace, and ends with it; `None` when that died. An error
/// is that there is no such thread.
pub async fn on_a_thread<T: Send + 'static>(
    name: &str,
    stack: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (sender, done) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(stack)
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(work());
        })?;
    Ok(done.await.ok())
}

/// Enters a network namespace for the rest of the thread's life.
pub fn enter(netns: &Path) -> io::Result<()> {
    Ok(nix::sched::setns(
        File::open(netns)?,
        CloneFlags::CLONE_NEWNET,
    )?)
}

fn tcp_socket_here(family: Family) -> io::Result<OwnedFd> {
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_made_and_what_is_no_namespace_refused() {
        let own = Path::new("/proc/self/ns/net");
        tcp_socket(own, Family::V4).await.unwrap();
        let error = tcp_socket(Path::new("/proc/self/ns/uts"), Family::V4)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let missing = tcp_socket(Path::new("/nonexistent"), Family::V6).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
