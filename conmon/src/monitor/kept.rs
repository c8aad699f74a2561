//! Output of an exec, kept for when whoever reads it is gone: its process is not to notice.

use std::os::fd::OwnedFd;

use rustix::termios::SpecialCodeIndex;

/// Most that is read of one output at a time, so that others have their turn.
const TURN: usize = 64 * 1024;

/// Descriptors that an exec's output can be read from. Nothing is read from them as long as its client is there.
#[derive(Debug)]
pub(crate) struct Kept {
    outputs: Vec<OwnedFd>,
    /// Everything was given up but the right to outlive the client.
    released: bool,
    taken_over: bool,
}

impl Kept {
    /// Keeps the reading ends of pipes.
    pub(crate) fn new(outputs: Vec<OwnedFd>) -> Self {
        Self {
            outputs,
            released: false,
            taken_over: false,
        }
    }

    /// Keeps a terminal too.
    pub(crate) fn add_terminal(&mut self, master: OwnedFd) {
        if self.taken_over {
            prepare(&master);
        }
        if !self.released {
            self.outputs.push(master);
        }
    }

    /// Closes all of it: whoever writes on is told that nobody reads.
    pub(crate) fn release(&mut self) {
        self.released = true;
        self.outputs.clear();
    }

    /// Begins to take the client's place.
    pub(crate) fn take_over(&mut self) {
        self.taken_over = true;
        for output in &self.outputs {
            prepare(output);
        }
    }

    /// What there is to be read.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &OwnedFd> {
        self.outputs.iter()
    }

    /// Reads the `n`th, and drops what it reads. At its end it is closed.
    pub(crate) fn drain(&mut self, n: usize, scratch: &mut [u8]) {
        let Some(output) = self.outputs.get(n) else {
            return;
        };
        let mut left = TURN;
        loop {
            match rustix::io::read(output, &mut *scratch) {
                Ok(read @ 1..) if read < left => left -= read,
                Ok(1..) | Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                // A terminal that nobody has open any more cannot be read.
                Ok(0) | Err(_) => {
                    self.outputs.swap_remove(n);
                    return;
                }
            }
        }
    }
}

/// Makes reading possible without waiting. Whoever reads from a terminal finds its end, as nobody will type any more.
fn prepare(output: &OwnedFd) {
    // Cannot fail for what can be read from.
    let _ = rustix::io::ioctl_fionbio(output, true);
    if let Ok(modes) = rustix::termios::tcgetattr(output) {
        let end = modes.special_codes[SpecialCodeIndex::VEOF];
        if end != 0 {
            // In a line that was begun the first only gives the line to the process. Shells that edit lines take the
            // character for the end whatever the mode is.
            let _ = rustix::io::write(output, &[end, end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::PipeFlags;

    use super::*;

    #[test]
    fn what_is_taken_over_is_read_to_its_end_and_what_is_released_is_closed() {
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let ((read, write), (other, unread)) = (pipe(), pipe());
        let mut kept = Kept::new(vec![read]);
        kept.take_over();
        let mut written = 0;
        while written < 1 << 20 {
            match rustix::io::write(&write, &[7; 4096]) {
                Ok(n) => written += n,
                Err(rustix::io::Errno::AGAIN) => kept.drain(0, &mut [0; 4096]),
                Err(error) => panic!("{error}"),
            }
        }
        drop(write);
        while kept.outputs().next().is_some() {
            kept.drain(0, &mut [0; 4096]);
        }
        let mut kept = Kept::new(vec![other]);
        kept.release();
        assert_eq!(
            rustix::io::write(&unread, b"x"),
            Err(rustix::io::Errno::PIPE)
        );
    }
}
