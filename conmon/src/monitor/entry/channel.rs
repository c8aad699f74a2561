//! What a process tells the monitor on its way into a container.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use corten_conmon::{
    ctl::{ExecEnd, Step},
    socket,
    wire::{Decoder, Encoder, Version, Wire},
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

const ALIVE: u8 = 0;
const TERMINAL: u8 = 1;
const FAILED: u8 = 2;

/// News of a process on its way.
#[derive(Debug)]
pub(crate) enum Word {
    /// It is there, as this process.
    Alive(i32),
    /// It has made this terminal.
    Terminal(OwnedFd),
    /// It cannot go on.
    Failed(ExecEnd),
    /// It says no more: it runs its program, or is gone.
    Over,
}

/// The monitor's end.
#[derive(Debug)]
pub(crate) struct Ear(OwnedFd);

/// The other end, which closes when the program is run.
#[derive(Debug)]
pub(crate) struct Mouth(OwnedFd);

/// A new channel.
pub(crate) fn new() -> io::Result<(Ear, Mouth)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The kernel says who sends, in the numbers that are valid here.
    rustix::net::sockopt::set_socket_passcred(&ours, true)?;
    Ok((Ear(ours), Mouth(theirs)))
}

impl Ear {
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.0
    }

    /// What was said; `None` when there is nothing for now.
    pub(crate) fn hear(&self) -> Option<Word> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 16];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut text)];
            rustix::net::recvmsg(&self.0, &mut parts, &mut control, flags)
        });
        let len = match received {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN) => return None,
            Err(_) => return Some(Word::Over),
        };
        let (mut sender, mut sent) = (None, None);
        for item in control.drain() {
            match item {
                RecvAncillaryMessage::ScmCredentials(from) => {
                    sender = Some(from.pid.as_raw_nonzero().get());
                }
                RecvAncillaryMessage::ScmRights(mut fds) => sent = fds.next(),
                _ => {}
            }
        }
        let word = match (text[..len].split_first(), sent) {
            (Some((&ALIVE, _)), _) => sender.map(Word::Alive),
            (Some((&TERMINAL, _)), Some(master)) => Some(Word::Terminal(master)),
            (Some((&FAILED, rest)), _) => {
                let end = ExecEnd::decode(&mut Decoder::new(Version::CURRENT, rest));
                end.ok().map(Word::Failed)
            }
            _ => None,
        };
        Some(word.unwrap_or(Word::Over))
    }
}

impl AsFd for Mouth {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Mouth {
    /// Says that this process is the one.
    pub(crate) fn alive(&self) -> io::Result<()> {
        socket::send(&self.0, &[ALIVE], &[])
    }

    /// Gives a terminal away.
    pub(crate) fn terminal(&self, master: &OwnedFd) -> io::Result<()> {
        socket::send(&self.0, &[TERMINAL], &[master.as_fd()])
    }

    /// Says why it goes no further. Nobody may be there to hear it.
    pub(crate) fn failed(&self, failed: Failed) {
        let end = ExecEnd::NotStarted {
            step: failed.step,
            errno: failed.errno,
            place: failed.place,
        };
        let mut out = Encoder::new(Version::CURRENT);
        out.raw(&[FAILED]);
        end.encode(&mut out);
        let _ = socket::send_parts(&self.0, &[IoSlice::new(&out.into_bytes())], &[]);
    }
}

/// A step that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) step: Step,
    pub(crate) errno: i32,
    pub(crate) place: u16,
}

impl Failed {
    /// A step, by the error that it met.
    pub(crate) fn at<E: Into<io::Error>>(step: Step) -> impl Fn(E) -> Self {
        move |error| Self {
            step,
            errno: error.into().raw_os_error().unwrap_or_default(),
            place: 0,
        }
    }
}
