//! What goes to the client.

use super::*;

impl Mux {
    /// Puts together what can be sent now.
    pub(in super::super) fn fill(&mut self, out: &mut BytesMut) {
        out.unsplit(self.control.split());
        self.widen(out);
        if !self.ready.is_empty() {
            out.reserve(BATCH + PAYLOAD);
        }
        while out.len() < BATCH {
            let Some(id) = self.ready.pop_front() else {
                wake(&mut self.drainer);
                break;
            };
            self.send(id, out);
        }
    }

    /// Sends one frame of a stream, and gives it another turn when it has more.
    fn send(&mut self, id: u32, out: &mut BytesMut) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.queued = false;
        let mut allowed = PAYLOAD as i64;
        if self.stream_windows {
            allowed = allowed.min(stream.window);
        }
        if self.connection_window {
            allowed = allowed.min(self.window);
        }
        let size = stream.output.len().min(allowed.max(0) as usize);
        let last = size == stream.output.len();
        let fin = last && stream.fin == Fin::Wanted;
        if size == 0 && !fin {
            // Its turn comes when the window is widened.
            return;
        }
        frame::data(id, fin, &stream.output.split_to(size), out);
        stream.window -= size as i64;
        self.window -= size as i64;
        self.active = true;
        if last {
            stream.output = BytesMut::new();
        }
        wake(&mut stream.writer);
        if fin {
            stream.fin = Fin::Sent;
            self.forget_if_over(id);
        } else if !last {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Gives a stream its turn, when it has something to send.
    pub(super) fn queue(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.queued
            && (!stream.output.is_empty() || stream.fin == Fin::Wanted)
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    pub(super) fn queue_all(&mut self) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.queue(id);
        }
    }

    /// Queues an answer.
    pub(super) fn answer(&mut self, frame: &Frame) {
        self.encoder.control(frame, &mut self.control);
    }

    pub(super) fn refuse(&mut self, id: u32) {
        self.answer(&Frame::RstStream {
            stream: id,
            status: reset::REFUSED_STREAM,
        });
    }

    /// Notes that so much of a stream's input is used up.
    pub(super) fn grant(&mut self, id: u32, size: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let half = (WINDOW / 2) as u32;
            let below = stream.grant < half;
            stream.grant = stream.grant.saturating_add(size as u32);
            if below && stream.grant >= half {
                self.grants.push_back(id);
            }
        }
    }

    /// Widens the windows that are used up by half or more.
    fn widen(&mut self, out: &mut BytesMut) {
        if i64::from(self.all_grant) >= WINDOW / 2 {
            let delta = self.all_grant.min(MAX_31);
            self.all_grant = 0;
            self.widen_one(0, delta, out);
        }
        while let Some(id) = self.grants.pop_front() {
            if let Some(stream) = self.streams.get_mut(&id) {
                let delta = std::mem::take(&mut stream.grant).min(MAX_31);
                stream.allowed += i64::from(delta);
                if !stream.input_ended && !stream.reset {
                    self.widen_one(id, delta, out);
                }
            }
        }
    }

    fn widen_one(&mut self, stream: u32, delta: u32, out: &mut BytesMut) {
        if !self.ignores_windows {
            let frame = Frame::WindowUpdate { stream, delta };
            self.encoder.control(&frame, out);
        }
    }
}
