//! Descriptors that tasks wait for.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

/// Has a descriptor watched, which must not block. Must be called on a thread of the runtime.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and is the same descriptor for as long as it lives, and the result owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
