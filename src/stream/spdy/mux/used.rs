//! What those who use the streams do.

use std::task::Context;

use super::*;

impl Mux {
    /// The next stream that the client opened; `Ok(None)` when there will be none.
    pub(in super::super) fn next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> std::task::Poll<Option<(u32, Headers)>> {
        if let Some(fresh) = self.fresh.pop_front() {
            return std::task::Poll::Ready(Some(fresh));
        }
        if self.stage != Stage::Open {
            return std::task::Poll::Ready(None);
        }
        self.acceptor = Some(cx.waker().clone());
        std::task::Poll::Pending
    }

    /// Takes no streams any more.
    pub(in super::super) fn stop_accepting(&mut self) {
        self.accepting = false;
        while let Some((id, _)) = self.fresh.pop_front() {
            self.reject(id);
        }
    }

    /// Accepts a stream, which has a channel from now on.
    pub(in super::super) fn accept(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.held = true;
            // Of a stream that the client only sends on, nothing is told but resets.
            if stream.fin == Fin::Open {
                self.answer(&Frame::SynReply {
                    stream: id,
                    fin: false,
                    headers: Headers::new(),
                });
                wake(&mut self.driver);
            }
        }
    }

    /// Refuses a stream that was not accepted.
    pub(in super::super) fn reject(&mut self, id: u32) {
        self.end_stream(id, reset::REFUSED_STREAM);
    }

    /// Breaks a stream off.
    pub(in super::super) fn cancel(&mut self, id: u32) {
        self.end_stream(id, reset::CANCEL);
    }

    fn end_stream(&mut self, id: u32, status: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.reset {
            stream.reset = true;
            stream.fin = Fin::Sent;
            stream.output = BytesMut::new();
            wake(&mut stream.reader);
            wake(&mut stream.writer);
            self.answer(&Frame::RstStream { stream: id, status });
        }
        self.drop_input(id);
        self.forget_if_over(id);
        wake(&mut self.driver);
    }

    /// Moves input of a stream to `target`, as much as it takes.
    pub(in super::super) fn read(
        &mut self,
        id: u32,
        target: &mut tokio::io::ReadBuf<'_>,
        waker: &Waker,
    ) -> Found {
        let over = self.stage == Stage::Over;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Found::Broken;
        };
        let size = stream.input.len().min(target.remaining());
        if size > 0 {
            target.put_slice(&stream.input.split_to(size));
            let kept = stream.input.len();
            self.full -= usize::from(kept < INPUT && kept + size >= INPUT);
            self.all_input -= size;
            if kept == 0 {
                stream.input = BytesMut::new();
            }
            self.grant(id, size);
            wake(&mut self.driver);
            return Found::Moved(size);
        }
        if stream.input.is_empty() && stream.input_ended || target.remaining() == 0 {
            return Found::Moved(0);
        }
        if stream.reset || over {
            return Found::Broken;
        }
        stream.reader = Some(waker.clone());
        Found::Wait
    }

    /// Moves `bytes` to the output of a stream, as much as fits.
    pub(in super::super) fn write(&mut self, id: u32, bytes: &[u8], waker: &Waker) -> Found {
        let open = self.stage == Stage::Open;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Found::Broken;
        };
        if !open || stream.reset || stream.fin != Fin::Open {
            return Found::Broken;
        }
        let size = bytes.len().min(OUTPUT.saturating_sub(stream.output.len()));
        if size == 0 && !bytes.is_empty() {
            stream.writer = Some(waker.clone());
            return Found::Wait;
        }
        stream.output.extend_from_slice(&bytes[..size]);
        self.queue(id);
        wake(&mut self.driver);
        Found::Moved(size)
    }

    /// Waits until all output of a stream is on its way.
    pub(in super::super) fn flush(&mut self, id: u32, waker: &Waker) -> Found {
        let over = self.stage == Stage::Over;
        match self.streams.get_mut(&id) {
            Some(stream) if stream.output.is_empty() && !stream.reset => Found::Moved(0),
            Some(stream) if !stream.reset && !over => {
                stream.writer = Some(waker.clone());
                Found::Wait
            }
            _ => Found::Broken,
        }
    }

    /// Ends our side of a stream, and waits until that and all output are on their way.
    pub(in super::super) fn shut(&mut self, id: u32, waker: &Waker) -> Found {
        self.finish(id);
        let over = self.stage == Stage::Over;
        match self.streams.get_mut(&id) {
            Some(stream) if stream.fin == Fin::Wanted && over => Found::Broken,
            Some(stream) if stream.fin == Fin::Wanted => {
                stream.writer = Some(waker.clone());
                Found::Wait
            }
            _ => Found::Moved(0),
        }
    }

    /// Ends our side of a stream once all output is sent.
    pub(in super::super) fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.fin == Fin::Open
        {
            stream.fin = Fin::Wanted;
            self.queue(id);
            wake(&mut self.driver);
        }
    }

    /// Wants no input of a stream any more: what comes is dropped.
    pub(in super::super) fn ignore(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.read = false;
            stream.reader = None;
            self.drop_input(id);
            wake(&mut self.driver);
        }
    }

    /// Lets go of a stream: it ends in order, and is forgotten once both sides have.
    pub(in super::super) fn release(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.held = false;
            stream.writer = None;
        }
        self.ignore(id);
        self.finish(id);
        self.forget_if_over(id);
    }

    pub(super) fn drop_input(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let size = stream.input.len();
            stream.input = BytesMut::new();
            self.all_input -= size;
            self.full -= usize::from(size >= INPUT);
            self.grant(id, size);
        }
    }

    /// Forgets a stream that nobody holds and that is over on the wire.
    pub(super) fn forget_if_over(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(&id) {
            let over = stream.reset || stream.input_ended && stream.fin == Fin::Sent;
            let fresh = self.fresh.iter().any(|(fresh, _)| *fresh == id);
            if over && !stream.held && !fresh {
                self.drop_input(id);
                self.streams.remove(&id);
            }
        }
    }
}
