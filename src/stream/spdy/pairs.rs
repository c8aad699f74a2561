//! Which two streams belong to one forwarded connection.

use std::{collections::HashMap, mem};

use super::headers::Headers;

/// What a stream of port forwarding is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Error,
}

/// What the headers of a stream of port forwarding say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) port: u16,
    request: String,
}

impl Part {
    /// Reads headers; `None` when they make no sense.
    pub(super) fn from_headers(stream: u32, headers: &Headers) -> Option<Self> {
        let kind = match headers.get("streamtype")? {
            "data" => Kind::Data,
            "error" => Kind::Error,
            _ => return None,
        };
        let port = headers.get("port")?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let request = match headers.get("requestid").unwrap_or_default() {
            // Old clients open the error stream, and the data stream right after it.
            "" => match kind {
                Kind::Error => stream.to_string(),
                Kind::Data => stream.saturating_sub(2).to_string(),
            },
            id => id.to_owned(),
        };
        Some(Self {
            kind,
            port,
            request,
        })
    }
}

/// What comes of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Paired<T> {
    /// The other one is awaited.
    Waiting,
    /// It is the second one.
    Both { port: u16, data: T, error: T },
    /// It does not fit the one before: neither can be used.
    Wrong(T, T),
}

#[derive(Debug)]
struct Waiting<T> {
    kind: Kind,
    port: u16,
    since: u64,
    stream: T,
}

/// Streams that wait for their other one. Bounded by the number of streams.
#[derive(Debug)]
pub(super) struct Pairs<T> {
    waiting: HashMap<String, Waiting<T>>,
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
        }
    }
}

impl<T> Pairs<T> {
    /// Takes a stream that came at `now`.
    pub(super) fn add(&mut self, part: Part, stream: T, now: u64) -> Paired<T> {
        let Some(first) = self.waiting.remove(&part.request) else {
            self.waiting.insert(
                part.request,
                Waiting {
                    kind: part.kind,
                    port: part.port,
                    since: now,
                    stream,
                },
            );
            return Paired::Waiting;
        };
        if first.kind == part.kind || first.port != part.port {
            return Paired::Wrong(first.stream, stream);
        }
        let (mut data, mut error) = (first.stream, stream);
        if part.kind == Kind::Data {
            mem::swap(&mut data, &mut error);
        }
        Paired::Both {
            port: part.port,
            data,
            error,
        }
    }

    /// Since when the longest waiting one waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting.values().map(|w| w.since).min()
    }

    /// Gives up those that came at `until` or before.
    pub(super) fn give_up(&mut self, until: u64) -> impl Iterator<Item = T> {
        self.waiting
            .extract_if(move |_, w| w.since <= until)
            .map(|(_, w)| w.stream)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(stream: u32, kind: &str, port: &str, request: &str) -> Option<Part> {
        let headers = Headers::new()
            .with("streamtype", kind)
            .with("port", port)
            .with("requestid", request);
        Part::from_headers(stream, &headers)
    }

    #[test]
    fn either_order_makes_a_pair() {
        let mut pairs = Pairs::default();
        let error = part(1, "error", "80", "a").unwrap();
        let data = part(3, "data", "80", "a").unwrap();
        let both = |data, error| Paired::Both {
            port: 80,
            data,
            error,
        };
        assert_eq!(pairs.add(error.clone(), 1, 0), Paired::Waiting);
        assert_eq!(pairs.add(data.clone(), 3, 0), both(3, 1));
        assert_eq!(pairs.add(data, 5, 0), Paired::Waiting);
        assert_eq!(pairs.add(error, 7, 0), both(5, 7));
        assert_eq!(pairs.oldest(), None);
    }

    #[test]
    fn two_of_a_kind_make_none() {
        let mut pairs = Pairs::default();
        let data = part(1, "data", "80", "a").unwrap();
        pairs.add(data.clone(), 1, 0);
        assert_eq!(pairs.add(data, 3, 0), Paired::Wrong(1, 3));
        assert_eq!(pairs.oldest(), None);
    }

    #[test]
    fn those_that_wait_too_long_are_given_up() {
        let mut pairs = Pairs::default();
        for since in 1..=3 {
            let request = since.to_string();
            pairs.add(part(1, "data", "80", &request).unwrap(), since, since);
        }
        let mut given_up: Vec<_> = pairs.give_up(2).collect();
        given_up.sort_unstable();
        assert_eq!(given_up, [1, 2]);
        assert_eq!(pairs.oldest(), Some(3));
    }

    proptest! {
        #[test]
        fn ports_are_ports(text in "[0-9+ -]{0,6}") {
            let port = part(1, "data", &text, "").map(|part| u32::from(part.port));
            let wanted = text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
            prop_assert_eq!(port, wanted.filter(|port| (1..=65535).contains(port)));
        }
    }
}
