//! Both ends over a pipe in memory.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{
    channels,
    codec::Encoding,
    remote,
    subprotocol::{REMOTE, RemoteProtocol},
    tunnel,
};
use crate::stream::session::{Outcome, Remote, TerminalSize, Wanted};

const LONG: Duration = Duration::from_secs(3600);
const ALL: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

type Client = WebSocketStream<DuplexStream>;

async fn client() -> (Client, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let client = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    (client, theirs)
}

fn protocol(name: &str) -> RemoteProtocol {
    *REMOTE.iter().find(|known| known.name == name).unwrap()
}

async fn open(name: &str, wanted: Wanted, idle: Duration) -> (Client, Remote) {
    let (client, io) = client().await;
    (client, remote(io, protocol(name), wanted, idle).await)
}

fn binary(data: &[u8]) -> Message {
    Message::Binary(data.to_vec().into())
}

async fn next(client: &mut Client) -> Message {
    client.next().await.unwrap().unwrap()
}

/// The code of the close that comes next, after pongs.
async fn close_code(client: &mut Client) -> u16 {
    loop {
        match next(client).await {
            Message::Close(frame) => return frame.unwrap().code.into(),
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn streams_are_channels() {
    let (mut client, mut remote) = open("v5.channel.k8s.io", ALL, LONG).await;
    assert_eq!(next(&mut client).await, binary(&[1]), "a sign of life");
    client.send(binary(b"\0some input")).await.unwrap();
    client.send(binary(b"\x07unknown")).await.unwrap();
    client.send(binary(b"")).await.unwrap();
    client.send(binary(&[255, 0])).await.unwrap();
    let mut input = String::new();
    let stdin = remote.stdin.as_mut().unwrap();
    stdin.read_to_string(&mut input).await.unwrap();
    assert_eq!(input, "some input");
    assert!(!remote.gone.is_cancelled(), "it was a half-close");
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
    let ending = tokio::spawn(remote.ending.finish(Outcome::Exit(9)));
    assert_eq!(next(&mut client).await, binary(b"\x01out"));
    assert_eq!(next(&mut client).await, binary(b"\x02err"));
    let status = next(&mut client).await.into_data();
    assert_eq!(status[0], 3);
    assert!(String::from_utf8_lossy(&status).contains("\"9\""));
    assert_eq!(close_code(&mut client).await, 1000);
    assert!(client.next().await.is_none());
    ending.await.unwrap().unwrap();
}

#[tokio::test]
async fn old_versions_say_it_in_text_or_not_at_all() {
    for (outcome, said) in [
        (Outcome::Success, None),
        (Outcome::Failed("no luck".into()), Some("3bm8gbHVjaw==")),
    ] {
        let (mut client, remote) = open("base64.channel.k8s.io", ALL, LONG).await;
        assert_eq!(next(&mut client).await, Message::Text("1".into()));
        let ending = tokio::spawn(remote.ending.finish(outcome));
        if let Some(said) = said {
            assert_eq!(next(&mut client).await, Message::Text(said.into()));
        }
        assert_eq!(close_code(&mut client).await, 1000);
        assert!(client.next().await.is_none());
        ending.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn sizes_are_told_and_nonsense_is_passed_over() {
    let wanted = Wanted {
        stderr: false,
        tty: true,
        ..ALL
    };
    let (mut client, remote) = open("v4.channel.k8s.io", wanted, LONG).await;
    let size = b"\x04{\"Width\":80,\"Height\":24}";
    client.send(binary(size)).await.unwrap();
    let mut sizes = remote.resize.unwrap();
    sizes.wait_for(Option::is_some).await.unwrap();
    let expected = TerminalSize {
        width: 80,
        height: 24,
    };
    assert_eq!(*sizes.borrow(), Some(expected));
    client.send(binary(b"\x04nonsense")).await.unwrap();
    assert!(sizes.changed().await.is_err(), "no more sizes will come");
    assert!(!remote.gone.is_cancelled());
}

#[tokio::test]
async fn a_client_that_leaves_is_known_to_be_gone_when_its_input_ends() {
    for in_order in [true, false] {
        let (mut client, mut remote) = open("v4.channel.k8s.io", ALL, LONG).await;
        client.send(binary(b"\0last")).await.unwrap();
        if in_order {
            client.close(None).await.unwrap();
        }
        drop(client);
        let mut input = Vec::new();
        let _ = remote.stdin.as_mut().unwrap().read_to_end(&mut input).await;
        assert_eq!(input, b"last");
        assert!(remote.gone.is_cancelled());
        let stdout = remote.stdout.as_mut().unwrap();
        assert!(stdout.write_all(&[0; 1 << 20]).await.is_err());
        assert!(remote.ending.finish(Outcome::Success).await.is_err());
    }
}

#[tokio::test]
async fn pings_are_answered_and_mistakes_are_named() {
    let (mut client, _remote) = open("v5.channel.k8s.io", ALL, LONG).await;
    next(&mut client).await;
    client.send(Message::Ping(b"x"[..].into())).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Pong(b"x"[..].into()));
    client.send(binary(&[255, 0, 0])).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1007);
    let (mut client, remote) = open("v5.channel.k8s.io", ALL, LONG).await;
    next(&mut client).await;
    let large = binary(&vec![0; (1 << 20) + 1]);
    let (_, _) = tokio::join!(client.send(large), remote.gone.cancelled());
}

#[tokio::test]
async fn both_ways_wait_for_whoever_is_slow() {
    let (mut client, mut remote) = open("v5.channel.k8s.io", ALL, LONG).await;
    let piece = binary(&[0; 32 << 10]);
    // Nobody reads: the pipes fill, and the client has to wait.
    let mut sent = 0;
    while let Ok(done) =
        tokio::time::timeout(Duration::from_millis(200), client.send(piece.clone())).await
    {
        done.unwrap();
        sent += 1;
        assert!(sent < 100, "input is taken without end");
    }
    let mut written = 0;
    let stdout = remote.stdout.as_mut().unwrap();
    while let Ok(done) =
        tokio::time::timeout(Duration::from_millis(200), stdout.write(&[0; 32 << 10])).await
    {
        written += done.unwrap();
        assert!(written < 4 << 20, "output is taken without end");
    }
}

#[tokio::test]
async fn silence_ends_a_connection_and_waiting_input_is_no_silence_to_the_client() {
    let (mut client, remote) = open("v5.channel.k8s.io", ALL, Duration::from_millis(50)).await;
    next(&mut client).await;
    remote.gone.cancelled().await;
    assert_eq!(close_code(&mut client).await, 1001);
    drop(remote);

    let (mut client, _remote) = open("v5.channel.k8s.io", ALL, LONG).await;
    next(&mut client).await;
    let (mut sink, mut stream) = client.split();
    let filling = async {
        for _ in 0..100 {
            sink.send(binary(&[0; 32 << 10])).await.unwrap();
        }
    };
    tokio::select! {
        () = filling => panic!("input is taken without end"),
        pong = stream.next() => assert!(matches!(pong, Some(Ok(Message::Pong(_))))),
    }
}

#[tokio::test]
async fn ports_have_two_channels_each() {
    let (mut client, io) = client().await;
    let mut forwards = channels(io, Encoding::Binary, &[80, 443], LONG).await;
    for (channel, port) in [(0, 80u16), (1, 80), (2, 443), (3, 443)] {
        let [low, high] = port.to_le_bytes();
        assert_eq!(next(&mut client).await, binary(&[channel, low, high]));
    }
    let mut first = forwards.incoming.recv().await.unwrap();
    let mut second = forwards.incoming.recv().await.unwrap();
    assert!(forwards.incoming.recv().await.is_none());
    assert_eq!((first.port, second.port), (80, 443));
    client.send(binary(b"\x02to the second")).await.unwrap();
    let mut data = [0; 13];
    second.data.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"to the second");
    first.error.write_all(b"refused").await.unwrap();
    second.data.write_all(b"answer").await.unwrap();
    assert_eq!(next(&mut client).await, binary(b"\x01refused"));
    assert_eq!(next(&mut client).await, binary(b"\x02answer"));
    // With nothing more to be said there is nothing more to be heard.
    second.data.shutdown().await.unwrap();
    assert_eq!(second.data.read(&mut data).await.unwrap(), 0);
    drop((first, second));
    assert_eq!(close_code(&mut client).await, 1000);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let (mut client, io) = client().await;
    let mut tunnel = tunnel(io, LONG).await;
    client.send(binary(b"one ")).await.unwrap();
    client.send(binary(b"two")).await.unwrap();
    let mut data = [0; 7];
    tunnel.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"one two");
    tunnel.write_all(b"three").await.unwrap();
    assert_eq!(next(&mut client).await, binary(b"three"));
    tunnel.shutdown().await.unwrap();
    assert_eq!(close_code(&mut client).await, 1000);
}
