//! Reading a process's output up to a cap.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::{io::AsyncReadExt, net::unix::pipe};

/// Output as far as it was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The first bytes of it.
    pub bytes: Vec<u8>,
    /// There was more.
    pub truncated: bool,
}

impl Output {
    fn keep(&mut self, data: &[u8], cap: usize) {
        let room = cap.saturating_sub(self.bytes.len()).min(data.len());
        self.bytes.extend_from_slice(&data[..room]);
        self.truncated |= room < data.len();
    }
}

/// The reading end of a process's output.
#[derive(Debug)]
pub(super) struct Reader {
    pipe: pipe::Receiver,
    output: Output,
    cap: usize,
}

impl Reader {
    /// A new pipe, both ends close-on-exec, and what to read it with.
    pub(super) fn new(cap: usize) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let pipe = pipe::Receiver::from_owned_fd(read)?;
        Ok((
            Self {
                pipe,
                output: Output::default(),
                cap,
            },
            write,
        ))
    }

    /// Another descriptor to read it with.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.pipe.as_fd().try_clone_to_owned()
    }

    /// Reads until every writer is gone. What is over the cap is read too, and dropped: the process must
    /// not block. May be dropped and called again.
    pub(super) async fn read_to_end(&mut self) -> io::Result<()> {
        let mut buf = Vec::with_capacity(16 * 1024);
        while self.pipe.read_buf(&mut buf).await? > 0 {
            self.output.keep(&buf, self.cap);
            buf.clear();
        }
        Ok(())
    }

    /// What was read.
    pub(super) fn into_output(self) -> Output {
        self.output
    }
}
