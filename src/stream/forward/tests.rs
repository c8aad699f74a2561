use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::*;

fn pod() -> Id {
    Id::parse(&"0".repeat(64)).unwrap()
}

/// A client's connection, and what the client gets: data and error.
fn connection(port: u16) -> (Forward, tokio::io::DuplexStream, tokio::io::DuplexStream) {
    let (data, client) = tokio::io::duplex(1 << 10);
    let (error, told) = tokio::io::duplex(1 << 10);
    let forward = Forward {
        port,
        data: Box::new(data),
        error: Box::new(error),
    };
    (forward, client, told)
}

async fn text(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn half_close_goes_both_ways() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut server, _) = listener.accept().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        server
            .write_all(format!("<{heard}>").as_bytes())
            .await
            .unwrap();
    });
    let (forward, mut client, told) = connection(port);
    let serving = tokio::spawn(one(pod(), Ok(None), forward));
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(text(client).await, "<hello>");
    assert_eq!(text(told).await, "");
    serving.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_is_told() {
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let (forward, client, told) = connection(port);
    one(pod(), Ok(None), forward).await;
    let said = text(told).await;
    assert!(said.contains(&port.to_string()), "{said}");
    assert!(said.contains("127.0.0.1"), "{said}");
    assert!(said.contains("[::1]"), "{said}");
    drop(client);
    let (forward, _client, told) = connection(80);
    one(pod(), Err("no sandbox".into()), forward).await;
    assert!(text(told).await.ends_with("no sandbox"));
}

#[tokio::test]
async fn a_client_that_leaves_and_the_daemons_end_end_it() {
    for leaves in [true, false] {
        let (_sender, incoming) = mpsc::channel(1);
        let forwards = Forwards {
            incoming,
            gone: CancellationToken::new(),
        };
        let stop = CancellationToken::new();
        if leaves {
            forwards.gone.cancel();
        } else {
            stop.cancel();
        }
        super::forward(&pod(), Ok(None), forwards, &stop).await;
    }
}
