use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};

use super::client::{Client, Got, goaway, reset};
use crate::{
    monitor::TerminalSize,
    stream::{
        session::{Outcome, Remote, Wanted},
        spdy::{Limits, RemoteError, RemoteVersion, remote},
    },
};

const ALL: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

const TTY: Wanted = Wanted {
    stderr: false,
    tty: true,
    ..ALL
};

async fn started(
    version: RemoteVersion,
    wanted: Wanted,
    kinds: &[&str],
) -> (Remote, Client<DuplexStream>) {
    let (ours, theirs) = duplex(64 << 10);
    let server = tokio::spawn(remote(ours, version, wanted, Limits::default()));
    let mut client = Client::new(theirs);
    for kind in kinds {
        client.open(&[("streamType", kind)]).await;
    }
    (server.await.unwrap().unwrap(), client)
}

const KINDS: [&str; 4] = ["error", "stdin", "stdout", "stderr"];

#[tokio::test]
async fn an_exec_from_beginning_to_end() {
    let (mut remote, mut client) = started(RemoteVersion::V4, ALL, &KINDS).await;
    assert!(remote.resize.is_none());
    client.data(3, b"input", true).await;
    let mut input = String::new();
    remote
        .stdin
        .take()
        .unwrap()
        .read_to_string(&mut input)
        .await
        .unwrap();
    assert_eq!(input, "input");
    // Who no longer reads input says so.
    assert_eq!(client.next().await, Got::Data(3, vec![], true));
    remote
        .stdout
        .as_mut()
        .unwrap()
        .write_all(b"out")
        .await
        .unwrap();
    remote
        .stderr
        .as_mut()
        .unwrap()
        .write_all(b"err")
        .await
        .unwrap();
    let ending = tokio::spawn(remote.ending.finish(Outcome::Exit(42)));
    let all = client.all(3).await;
    assert_eq!(all[1..], [(5, b"out".to_vec()), (7, b"err".to_vec())]);
    let status: Value = serde_json::from_slice(&all[0].1).unwrap();
    assert_eq!(
        (all[0].0, &status["reason"]),
        (1, &json!("NonZeroExitCode"))
    );
    assert!(!remote.gone.is_cancelled());
    drop(client);
    ending.await.unwrap().unwrap();
    assert!(remote.gone.is_cancelled());
}

#[tokio::test]
async fn old_versions_get_text_and_nothing_at_all_for_success() {
    for (outcome, text) in [
        (Outcome::Success, ""),
        (Outcome::Exit(2), "command terminated with exit code 2"),
        (Outcome::Failed("no".to_owned()), "no"),
    ] {
        let wanted = Wanted {
            stdin: false,
            ..ALL
        };
        let (remote, mut client) =
            started(RemoteVersion::V1, wanted, &["error", "stdout", "stderr"]).await;
        let ending = tokio::spawn(remote.ending.finish(outcome));
        let all = client.all(3).await;
        assert_eq!(all[0], (1, text.as_bytes().to_vec()));
        drop(client);
        ending.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn sizes_of_the_terminal_come_through() {
    let kinds = ["error", "stdin", "stdout", "resize"];
    let (remote, mut client) = started(RemoteVersion::V3, TTY, &kinds).await;
    let mut resize = remote.resize.clone().unwrap();
    assert_eq!(*resize.borrow(), None);
    assert_eq!(client.next().await, Got::Data(7, vec![], true));
    client.data(7, b"{\"Width\":80,\"He", false).await;
    client.data(7, b"ight\":24}\n", false).await;
    resize.changed().await.unwrap();
    let size = |width, height| Some(TerminalSize { width, height });
    assert_eq!(*resize.borrow_and_update(), size(80, 24));
    // Nonsense ends sizes and nothing else.
    client.data(7, b"nonsense", false).await;
    assert!(resize.changed().await.is_err());
    assert_eq!(*resize.borrow(), size(80, 24));
    client.data(3, b"x", false).await;
    assert_eq!(remote.stdin.unwrap().read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn streams_beyond_those_that_are_wanted() {
    let (ours, theirs) = duplex(64 << 10);
    let wanted = Wanted {
        stdin: false,
        stderr: false,
        ..ALL
    };
    let server = tokio::spawn(remote(ours, RemoteVersion::V2, wanted, Limits::default()));
    let mut client = Client::new(theirs);
    // Of no known kind, or twice, they are refused; known ones end at once.
    let odd = client.syn(&[("streamtype", "odd")]).await;
    assert_eq!(client.next().await, reset(odd, 3));
    let none = client.syn(&[]).await;
    assert_eq!(client.next().await, reset(none, 3));
    client.open(&[("streamtype", "error")]).await;
    let twice = client.syn(&[("streamtype", "error")]).await;
    assert_eq!(client.next().await, reset(twice, 3));
    let stdin = client.open(&[("streamtype", "stdin")]).await;
    client.open(&[("streamtype", "stdout")]).await;
    let remote = server.await.unwrap().unwrap();
    assert!(remote.stdin.is_none() && remote.stderr.is_none());
    assert_eq!(client.next().await, Got::Data(stdin, vec![], true));
    let late = client.syn(&[("streamtype", "stderr")]).await;
    assert_eq!(client.next().await, reset(late, 3));
}

#[tokio::test]
async fn streams_that_do_not_come_are_not_waited_for_long() {
    let (ours, theirs) = duplex(64 << 10);
    let limits = Limits {
        creation: Duration::from_millis(500),
        linger: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = tokio::spawn(remote(ours, RemoteVersion::V4, TTY, limits));
    let mut client = Client::new(theirs);
    for kind in ["error", "stdin", "stdout"] {
        client.open(&[("streamtype", kind)]).await;
    }
    let error = server.await.unwrap().unwrap_err();
    assert!(matches!(error, RemoteError::Creation { missing: "resize" }));
    // The client is told in order.
    assert_eq!(client.all(3).await.len(), 3);
    assert_eq!(client.next().await, goaway(5, 0));
}

#[tokio::test]
async fn a_client_that_goes_before_all_streams_came() {
    let (ours, theirs) = duplex(64 << 10);
    let server = tokio::spawn(remote(ours, RemoteVersion::V4, ALL, Limits::default()));
    let mut client = Client::new(theirs);
    client.open(&[("streamtype", "error")]).await;
    drop(client);
    let error = server.await.unwrap().unwrap_err();
    assert!(matches!(error, RemoteError::Gone { missing: "stdin" }));
}

#[tokio::test]
async fn a_client_that_goes_breaks_everything_off() {
    let (mut remote, client) = started(RemoteVersion::V4, ALL, &KINDS).await;
    drop(client);
    remote.gone.cancelled().await;
    assert!(remote.stdin.take().unwrap().read_u8().await.is_err());
    assert!(remote.stdout.take().unwrap().write_u8(0).await.is_err());
    assert!(remote.ending.finish(Outcome::Success).await.is_err());
}

#[tokio::test]
async fn a_session_that_is_dropped_ends_in_order() {
    let (mut remote, mut client) = started(RemoteVersion::V4, ALL, &KINDS).await;
    remote
        .stdout
        .as_mut()
        .unwrap()
        .write_all(b"last")
        .await
        .unwrap();
    drop(remote);
    let all = client.all(4).await;
    assert!(all.contains(&(5, b"last".to_vec())));
}

#[tokio::test]
async fn nothing_is_lost_over_tcp_when_the_client_still_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let limits = Limits {
        linger: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = tokio::spawn(remote(ours, RemoteVersion::V4, ALL, limits));
    let mut client = Client::new(theirs);
    for kind in KINDS {
        client.open(&[("streamtype", kind)]).await;
    }
    let mut remote = server.await.unwrap().unwrap();
    // Input that nobody reads, and output beyond what fits between.
    client.data(3, &[0; 100_000], false).await;
    let mut stdout = remote.stdout.take().unwrap();
    let writing = tokio::spawn(async move {
        stdout.write_all(&vec![6; 20 << 20]).await?;
        stdout.shutdown().await?;
        io::Result::Ok(())
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ending = tokio::spawn(async move {
        writing.await.unwrap()?;
        remote.ending.finish(Outcome::Success).await
    });
    let all = client.all(4).await;
    let sizes: Vec<_> = all.iter().map(|(id, bytes)| (*id, bytes.len())).collect();
    assert_eq!(sizes[1..], [(3, 0), (5, 20 << 20), (7, 0)]);
    // It sends on, while the server waits for it to close.
    client.data(3, &[0; 1000], false).await;
    assert_eq!(client.next().await, goaway(7, 0));
    assert_eq!(client.next().await, Got::Closed);
    drop(client.into_io());
    ending.await.unwrap().unwrap();
}
