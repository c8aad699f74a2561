//! A connection to a server that can be cut, and can stall.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of what is sent through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It arrives.
    Whole,
    /// After so many bytes from the server nothing more arrives on a connection, and nobody is told.
    Stalled(usize),
    /// After so many bytes from the server each connection breaks off.
    Cut(usize),
}

/// A port of this machine that leads to another.
pub(super) struct Wire {
    host: String,
    line: watch::Sender<Line>,
    connections: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Wire {
    /// Leads to `to`, an address and port.
    pub(super) async fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (line, watched) = watch::channel(Line::Whole);
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, to) = (connections.clone(), to.to_owned());
        let server = tokio::spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                all.spawn(carry(client, to.clone(), watched.clone()));
            }
        });
        Self {
            host,
            line,
            connections,
            server,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How many connections there have been.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One connection, until either side or the line has had enough.
async fn carry(mut client: TcpStream, to: String, mut line: watch::Receiver<Line>) {
    let Ok(mut server) = TcpStream::connect(&to).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async { drop(tokio::io::copy(&mut from_client, &mut to_server).await) };
    let down = async {
        let mut buffer = [0; 4096];
        let mut carried = 0;
        loop {
            let state = *line.borrow_and_update();
            match state {
                Line::Cut(after) if carried >= after => return,
                Line::Stalled(after) if carried >= after => {
                    if line.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                _ => {}
            }
            let read = tokio::select! {
                read = from_server.read(&mut buffer) => read,
                changed = line.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            match read {
                Ok(len) if len > 0 => {
                    carried += len;
                    if to_client.write_all(&buffer[..len]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
