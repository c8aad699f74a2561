//! What the task that has the socket asks and does.

use super::*;

impl Mux {
    /// Whose turn it is when there is something to do.
    pub(in super::super) fn register(&mut self, waker: &Waker) {
        if !self.driver.as_ref().is_some_and(|w| w.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    /// Whether more may be taken from the client.
    pub(in super::super) fn may_take(&self) -> bool {
        self.full == 0 && self.all_input < ALL_INPUT && self.control.len() < CONTROL
    }

    /// Asks the client for a sign of life.
    pub(in super::super) fn ping(&mut self) {
        if self.control.is_empty() {
            // Even numbers are the server's.
            self.answer(&Frame::Ping(2));
        }
    }

    /// Whether the connection was used since this was last asked.
    pub(in super::super) fn was_active(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Writes the last frame of the connection.
    pub(in super::super) fn go_away(&mut self, in_order: bool, out: &mut BytesMut) {
        let status = if in_order {
            goaway::OK
        } else {
            goaway::PROTOCOL_ERROR
        };
        self.answer(&Frame::GoAway {
            last: self.last,
            status,
        });
        out.unsplit(self.control.split());
    }

    /// Ends the connection once all output is sent: all streams are ended in order, nothing is read or accepted.
    pub(in super::super) fn close(&mut self) {
        if self.stage != Stage::Open {
            return;
        }
        self.stop_accepting();
        self.stage = Stage::Closing;
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.ignore(id);
            self.finish(id);
            if let Some(stream) = self.streams.get_mut(&id) {
                wake(&mut stream.writer);
            }
        }
        wake(&mut self.acceptor);
        wake(&mut self.driver);
    }

    /// Whether all output, and the end of each stream, was put together.
    pub(in super::super) fn is_sent(&self) -> bool {
        let sent = |stream: &Stream| stream.output.is_empty() && stream.fin == Fin::Sent;
        self.streams.values().all(sent)
    }

    /// Whether the connection is ending, and nothing waits to be sent.
    pub(in super::super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closing && self.control.is_empty() && self.is_sent()
    }

    /// All was given to the socket.
    pub(in super::super) fn set_delivered(&mut self) {
        self.delivered = true;
    }

    /// Whether all was given to the socket.
    pub(in super::super) fn is_delivered(&self) -> bool {
        self.delivered
    }

    /// The socket is no longer used.
    pub(in super::super) fn end(&mut self) {
        self.stop_accepting();
        self.stage = Stage::Over;
        self.driver = None;
        self.control = BytesMut::new();
        for stream in self.streams.values_mut() {
            stream.output = BytesMut::new();
            wake(&mut stream.reader);
            wake(&mut stream.writer);
        }
        self.streams.retain(|_, stream| stream.held);
        wake(&mut self.acceptor);
        wake(&mut self.drainer);
    }

    /// Whether no output waits any more, or none can ever go.
    pub(in super::super) fn is_drained(&mut self, waker: &Waker) -> bool {
        let empty = |stream: &Stream| stream.output.is_empty();
        if self.stage == Stage::Over || self.streams.values().all(empty) {
            return true;
        }
        self.drainer = Some(waker.clone());
        false
    }
}

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
