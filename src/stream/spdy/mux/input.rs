//! What the client sends.

use super::*;

impl Mux {
    /// Takes what the client sent. An error ends the connection.
    pub(in super::super) fn take(&mut self, event: Event<'_>) -> Result<(), ConnectionError> {
        match event {
            Event::Data {
                stream,
                fin,
                payload,
            } => {
                self.active = true;
                self.data(stream, fin, payload);
            }
            // The answer to a ping of ours: no sign that anyone uses the connection.
            Event::Control(Frame::Ping(id)) if id % 2 == 0 => {}
            Event::Control(frame) => {
                self.active = true;
                self.frame(frame)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        match frame {
            Frame::SynStream {
                stream,
                fin,
                unidirectional,
                headers,
                ..
            } => return self.open(stream, fin, unidirectional, headers),
            // No stream is opened from here, so there is none to be accepted.
            Frame::SynReply { stream, .. } => return Err(ConnectionError::Reply(stream)),
            Frame::Headers { stream, fin, .. } => {
                if fin {
                    self.data(stream, true, &[]);
                }
            }
            Frame::RstStream { stream, .. } => self.broken_off(stream),
            Frame::Settings(settings) => {
                let size =
                    |(id, value): &(u32, u32)| (*id == INITIAL_WINDOW_SIZE).then_some(*value);
                if let Some(size) = settings.iter().rev().find_map(size) {
                    return self.initial_window(size);
                }
            }
            Frame::Ping(_) => self.answer(&frame),
            // The client opens no streams any more; those that there are go on until it closes the connection.
            Frame::GoAway { .. } => {}
            Frame::WindowUpdate { stream: 0, delta } => {
                let closed = self.connection_window && self.window <= 0;
                self.connection_window = true;
                self.window += i64::from(delta);
                if self.window > i64::from(MAX_31) {
                    return Err(ConnectionError::Window(delta));
                }
                if closed && self.window > 0 {
                    self.queue_all();
                }
            }
            Frame::WindowUpdate { stream, delta } => self.widened(stream, delta),
        }
        Ok(())
    }

    fn open(
        &mut self,
        id: u32,
        fin: bool,
        unidirectional: bool,
        headers: Headers,
    ) -> Result<(), ConnectionError> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(ConnectionError::StreamId {
                stream: id,
                last: self.last,
            });
        }
        self.last = id;
        if !self.accepting || self.streams.len() >= self.limits.streams {
            self.refuse(id);
            return Ok(());
        }
        self.streams.insert(
            id,
            Stream {
                input: BytesMut::new(),
                input_ended: fin,
                read: true,
                reader: None,
                allowed: WINDOW,
                grant: 0,
                output: BytesMut::new(),
                fin: if unidirectional { Fin::Sent } else { Fin::Open },
                writer: None,
                window: self.initial_window,
                queued: false,
                reset: false,
                held: false,
            },
        );
        self.fresh.push_back((id, headers));
        wake(&mut self.acceptor);
        Ok(())
    }

    fn data(&mut self, id: u32, fin: bool, payload: &[u8]) {
        let size = payload.len();
        self.all_grant = self.all_grant.saturating_add(size as u32);
        let Some(stream) = self.streams.get_mut(&id) else {
            // On a stream that was: the client could not know yet. Else it never was.
            if id > self.last {
                self.answer(&Frame::RstStream {
                    stream: id,
                    status: reset::INVALID_STREAM,
                });
            }
            return;
        };
        if stream.reset || stream.input_ended {
            return;
        }
        stream.allowed -= size as i64;
        self.ignores_windows |= stream.allowed < 0;
        stream.input_ended = fin;
        wake(&mut stream.reader);
        if stream.read {
            let before = stream.input.len();
            stream.input.extend_from_slice(payload);
            self.all_input += size;
            self.full += usize::from(before < INPUT && stream.input.len() >= INPUT);
        } else {
            // Nobody wants it. The client may go on all the same, so that it comes to see the end of our side.
            self.grant(id, size);
        }
        if fin {
            self.forget_if_over(id);
        }
    }

    /// The client broke a stream off.
    fn broken_off(&mut self, id: u32) {
        self.fresh.retain(|(fresh, _)| *fresh != id);
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.reset = true;
        stream.fin = Fin::Sent;
        stream.output = BytesMut::new();
        wake(&mut stream.reader);
        wake(&mut stream.writer);
        // What came with its end in order is good. Anything else is not the whole.
        if !stream.input_ended {
            self.drop_input(id);
        }
        wake(&mut self.drainer);
        self.forget_if_over(id);
    }

    fn initial_window(&mut self, size: u32) -> Result<(), ConnectionError> {
        if size > MAX_31 {
            return Err(ConnectionError::Window(size));
        }
        self.stream_windows = true;
        let more = i64::from(size) - self.initial_window;
        self.initial_window += more;
        if more != 0 {
            for stream in self.streams.values_mut() {
                stream.window += more;
            }
            self.queue_all();
        }
        Ok(())
    }

    fn widened(&mut self, id: u32, delta: u32) {
        self.stream_windows = true;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.window += i64::from(delta);
        if stream.window > i64::from(MAX_31) {
            self.answer(&Frame::RstStream {
                stream: id,
                status: reset::FLOW_CONTROL_ERROR,
            });
            self.broken_off(id);
            return;
        }
        self.queue(id);
    }
}
