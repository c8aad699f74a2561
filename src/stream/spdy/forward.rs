//! The connections of a port forwarding.

use std::{future, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Limits,
    channel::Channel,
    connection::Connection,
    headers::Headers,
    pairs::{Paired, Pairs, Part},
};
use crate::stream::session::{Forward, Forwards};

/// The protocol's name.
pub const FORWARD_PROTOCOL: &str = "portforward.k8s.io";

/// Forwarded connections that wait to be taken.
const WAITING: usize = 16;

/// Serves port forwarding on a connection whose HTTP upgrade is done. Who drops the receiver ends the connection.
pub fn forward<I>(io: I, limits: Limits) -> Forwards
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, incoming) = mpsc::channel(WAITING);
    let connection = Connection::start(io, limits);
    let gone = connection.gone().clone();
    tokio::spawn(pair(connection, limits.creation, sender));
    Forwards { incoming, gone }
}

/// Pairs streams until either side ends it.
async fn pair(connection: Connection, creation: Duration, sender: mpsc::Sender<Forward>) {
    let begun = Instant::now();
    let mut pairs = Pairs::default();
    loop {
        let oldest = pairs.oldest().map(Duration::from_nanos);
        let expired = async {
            match oldest {
                Some(since) => sleep_until(begun + since + creation).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            next = connection.next() => {
                let Some((id, headers)) = next else { return };
                let now = nanos(begun.elapsed());
                let Some(forward) = add(&connection, &mut pairs, id, &headers, now) else {
                    continue;
                };
                if sender.send(forward).await.is_err() {
                    return;
                }
            }
            () = expired => {
                let until = begun.elapsed().saturating_sub(creation);
                pairs.give_up(nanos(until)).for_each(Channel::cancel);
            }
            () = sender.closed() => return,
        }
    }
}

/// Takes a stream, and gives the forwarded connection when it is the second of one.
fn add(
    connection: &Connection,
    pairs: &mut Pairs<Channel>,
    id: u32,
    headers: &Headers,
    now: u64,
) -> Option<Forward> {
    let Some(part) = Part::from_headers(id, headers) else {
        connection.reject(id);
        return None;
    };
    match pairs.add(part, connection.accept(id), now) {
        Paired::Waiting => None,
        Paired::Wrong(first, second) => {
            first.cancel();
            second.cancel();
            None
        }
        Paired::Both { port, data, error } => {
            error.ignore_input();
            Some(Forward {
                port,
                data: Box::new(data),
                error: Box::new(error),
            })
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
