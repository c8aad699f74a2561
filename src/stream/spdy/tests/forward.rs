use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split},
    time::{Instant, sleep, timeout},
};

use super::client::{Client, Got, reset};
use crate::stream::{
    session::{Forward, Forwards},
    spdy::{Limits, forward},
};

fn start() -> (Forwards, Client<DuplexStream>) {
    start_with(Limits::default())
}

fn start_with(limits: Limits) -> (Forwards, Client<DuplexStream>) {
    let (ours, theirs) = duplex(64 << 10);
    (forward(ours, limits), Client::new(theirs))
}

async fn connect(client: &mut Client<DuplexStream>, port: &str, request: &str) -> (u32, u32) {
    let headers = |kind| [("streamType", kind), ("port", port), ("requestID", request)];
    let error = client.open(&headers("error")).await;
    client.data(error, b"", true).await;
    (error, client.open(&headers("data")).await)
}

async fn echo(forward: Forward) {
    let (mut reader, mut writer) = split(forward.data);
    copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

#[tokio::test]
async fn connections_side_by_side() {
    let (mut forwards, mut client) = start();
    let mut opened = Vec::new();
    for number in 0..20u8 {
        let port = (8000 + u16::from(number)).to_string();
        let ids = connect(&mut client, &port, &number.to_string()).await;
        let forward = forwards.incoming.recv().await.unwrap();
        assert_eq!(forward.port, 8000 + u16::from(number));
        opened.push((number, ids));
        tokio::spawn(echo(forward));
    }
    for (number, (_, data)) in &opened {
        client.data(*data, &[*number; 1000], true).await;
    }
    // Each has a data stream and an error stream without a word.
    let all = client.all(40).await;
    for (number, (error, data)) in opened {
        assert!(all.contains(&(error, vec![])));
        assert!(all.contains(&(data, vec![number; 1000])));
    }
    drop(client);
    forwards.gone.cancelled().await;
    assert!(forwards.incoming.recv().await.is_none());
}

#[tokio::test]
async fn what_failed_is_told() {
    let (mut forwards, mut client) = start();
    let (error, data) = connect(&mut client, "80", "0").await;
    let mut forward = forwards.incoming.recv().await.unwrap();
    forward.error.write_all(b"refused").await.unwrap();
    drop(forward);
    let all = client.all(2).await;
    assert_eq!(all, [(error, b"refused".to_vec()), (data, vec![])]);
}

#[tokio::test]
async fn old_clients_without_requests() {
    let (mut forwards, mut client) = start();
    client.open(&[("streamtype", "error"), ("port", "1")]).await;
    client.open(&[("streamtype", "data"), ("port", "1")]).await;
    assert_eq!(forwards.incoming.recv().await.unwrap().port, 1);
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused() {
    let (_forwards, mut client) = start();
    for headers in [
        &[("streamtype", "data")][..],
        &[("streamtype", "data"), ("port", "0")],
        &[("streamtype", "data"), ("port", "65536")],
        &[("streamtype", "data"), ("port", "+80")],
        &[("streamtype", "data"), ("port", "")],
        &[("streamtype", "stdin"), ("port", "80")],
        &[("port", "80")],
    ] {
        let id = client.syn(headers).await;
        assert_eq!(client.next().await, reset(id, 3));
    }
}

#[tokio::test]
async fn streams_that_do_not_fit_each_other_are_broken_off() {
    let (mut forwards, mut client) = start();
    let one = client
        .open(&[("streamtype", "data"), ("port", "1"), ("requestid", "a")])
        .await;
    let two = client
        .syn(&[("streamtype", "error"), ("port", "2"), ("requestid", "a")])
        .await;
    let mut got = [
        client.next().await,
        client.next().await,
        client.next().await,
    ];
    got.sort_by_key(|got| format!("{got:?}"));
    assert_eq!(got[..2], [reset(one, 5), reset(two, 5)]);
    assert!(forwards.incoming.try_recv().is_err());
}

#[tokio::test]
async fn one_alone_is_broken_off_in_time() {
    let creation = Duration::from_secs(1);
    let (mut forwards, mut client) = start_with(Limits {
        creation,
        ..Limits::default()
    });
    let headers = |kind, request| [("streamtype", kind), ("port", "1"), ("requestid", request)];
    let begun = Instant::now();
    let first = client.open(&headers("data", "a")).await;
    sleep(creation / 2).await;
    client.open(&headers("data", "b")).await;
    assert_eq!(client.next().await, reset(first, 5));
    assert!(begun.elapsed() >= creation);
    // One that came in time is not concerned.
    client.open(&headers("data", "c")).await;
    client.open(&headers("error", "c")).await;
    assert_eq!(forwards.incoming.recv().await.unwrap().port, 1);
}

#[tokio::test]
async fn connections_that_nobody_takes_slow_the_client_down() {
    let (mut forwards, mut client) = start();
    let mut opened = 0;
    while timeout(
        Duration::from_millis(100),
        connect(&mut client, "1", &opened.to_string()),
    )
    .await
    .is_ok()
    {
        opened += 1;
        assert!(opened < 100);
    }
    for _ in 0..opened {
        forwards.incoming.recv().await.unwrap();
    }
}

#[tokio::test]
async fn dropping_the_receiver_ends_the_connection() {
    let (mut forwards, mut client) = start();
    let (error, data) = connect(&mut client, "80", "0").await;
    let mut forward = forwards.incoming.recv().await.unwrap();
    forward.data.write_all(b"last").await.unwrap();
    let gone = forwards.gone.clone();
    drop(forwards);
    assert_eq!(
        client.all(2).await,
        [(error, vec![]), (data, b"last".to_vec())]
    );
    drop(client);
    gone.cancelled().await;
    assert!(forward.data.read_u8().await.is_err());
}

#[tokio::test]
async fn a_broken_off_connection_is_an_error_for_its_reader() {
    let (mut forwards, mut client) = start();
    let (_, data) = connect(&mut client, "80", "0").await;
    let mut forward = forwards.incoming.recv().await.unwrap();
    client
        .send(crate::stream::spdy::frame::Frame::RstStream {
            stream: data,
            status: 5,
        })
        .await;
    assert!(forward.data.read_u8().await.is_err());
    // The error stream is still there.
    forward.error.write_all(b"broken off").await.unwrap();
    assert_eq!(
        client.next().await,
        Got::Data(data - 2, b"broken off".to_vec(), false)
    );
}
