use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::client::{Client, Got, accepted, goaway, reset};
use crate::stream::spdy::{
    Limits,
    channel::Channel,
    connection::Connection,
    frame::{Frame, INITIAL_WINDOW_SIZE, data},
    mux::{ALL_INPUT, INPUT, OUTPUT, WINDOW},
};

fn start(limits: Limits) -> (Connection, Client<DuplexStream>) {
    let (ours, theirs) = duplex(64 << 10);
    (Connection::start(ours, limits), Client::new(theirs))
}

async fn open(connection: &Connection, client: &mut Client<DuplexStream>) -> (u32, Channel) {
    let id = client.syn(&[("k", "v")]).await;
    let (got, headers) = connection.next().await.unwrap();
    assert_eq!((got, headers.get("k")), (id, Some("v")));
    let channel = connection.accept(id);
    assert_eq!(client.next().await, accepted(id));
    (id, channel)
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_close_by_halves() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut first) = open(&connection, &mut client).await;
    let (two, mut second) = open(&connection, &mut client).await;
    client.data(two, b"to two", false).await;
    client.data(one, b"to one", true).await;
    let mut got = Vec::new();
    first.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"to one");
    // The other half is open still.
    first.write_all(b"from one").await.unwrap();
    first.shutdown().await.unwrap();
    assert_eq!(client.all(1).await, [(one, b"from one".to_vec())]);
    assert_eq!(
        first.write(b"x").await.unwrap_err().kind(),
        std::io::ErrorKind::BrokenPipe
    );
    let mut six = [0; 6];
    second.read_exact(&mut six).await.unwrap();
    assert_eq!(&six, b"to two");
    second.write_all(b"from two").await.unwrap();
    drop(second);
    assert_eq!(client.all(1).await, [(two, b"from two".to_vec())]);
}

#[tokio::test]
async fn pings_come_back() {
    let (_connection, mut client) = start(Limits::default());
    client.send(Frame::Ping(7)).await;
    assert_eq!(client.next().await, Got::Control(Frame::Ping(7)));
    // One that answers ours gets no answer.
    client.send(Frame::Ping(2)).await;
    client.send(Frame::Ping(9)).await;
    assert_eq!(client.next().await, Got::Control(Frame::Ping(9)));
}

#[tokio::test]
async fn a_reset_breaks_the_stream_off_and_no_other() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut first) = open(&connection, &mut client).await;
    let (two, mut second) = open(&connection, &mut client).await;
    client
        .send(Frame::RstStream {
            stream: one,
            status: 5,
        })
        .await;
    let error = first.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(first.write(b"x").await.is_err());
    // What the client sends on it all the same is dropped, and so is what it sends on one that is forgotten.
    client.data(one, b"late", false).await;
    drop(first);
    client.data(one, b"later", true).await;
    client.data(two, b"x", true).await;
    assert_eq!(second.read(&mut [0]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cancelled_stream_is_told() {
    let (connection, mut client) = start(Limits::default());
    let (one, channel) = open(&connection, &mut client).await;
    channel.cancel();
    assert_eq!(client.next().await, reset(one, 5));
}

#[tokio::test]
async fn streams_are_bounded() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let (connection, mut client) = start(limits);
    let (_, first) = open(&connection, &mut client).await;
    let (_, _second) = open(&connection, &mut client).await;
    let third = client.syn(&[]).await;
    assert_eq!(client.next().await, reset(third, 3));
    // There is room again when one is over on both sides.
    drop(first);
    assert_eq!(client.next().await, Got::Data(1, vec![], true));
    client.data(1, b"", true).await;
    open(&connection, &mut client).await;
}

#[tokio::test]
async fn data_on_a_stream_that_never_was_is_refused() {
    let (_connection, mut client) = start(Limits::default());
    client.data(5, b"x", false).await;
    assert_eq!(client.next().await, reset(5, 2));
}

#[tokio::test]
async fn violations_end_the_connection_with_a_word() {
    for wrong in [
        Frame::SynStream {
            stream: 2,
            associated: 0,
            priority: 0,
            fin: false,
            unidirectional: false,
            headers: Default::default(),
        },
        Frame::SynReply {
            stream: 1,
            fin: false,
            headers: Default::default(),
        },
        Frame::Settings(vec![(INITIAL_WINDOW_SIZE, u32::MAX)]),
        Frame::WindowUpdate {
            stream: 0,
            delta: 0x7fff_ffff,
        },
    ] {
        let (connection, mut client) = start(Limits::default());
        client.send(wrong).await;
        assert_eq!(client.next().await, goaway(0, 1));
        assert_eq!(client.next().await, Got::Closed);
        drop(client);
        connection.gone().cancelled().await;
        assert!(connection.next().await.is_none());
    }
    let (_connection, mut client) = start(Limits::default());
    client.raw(b"GET / HTTP/1.1\r\n\r\n").await;
    // Data on a stream that never was, to a client that speaks something else.
    assert_eq!(client.next().await, reset(0x4745_5420, 2));
}

#[tokio::test]
async fn a_stream_opened_twice_is_a_violation() {
    let (connection, mut client) = start(Limits::default());
    let (_, mut channel) = open(&connection, &mut client).await;
    client.syn_as(1, &[]).await;
    assert_eq!(client.next().await, goaway(1, 1));
    assert!(channel.read(&mut [0]).await.is_err() || connection.gone().is_cancelled());
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut channel) = open(&connection, &mut client).await;
    client.data(one, b"rest", false).await;
    drop(client);
    connection.gone().cancelled().await;
    // What came is still there.
    let mut rest = [0; 4];
    channel.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"rest");
    assert!(channel.read(&mut rest).await.is_err());
    assert!(channel.write(b"x").await.is_err());
    assert!(connection.next().await.is_none());
}

#[tokio::test]
async fn closing_sends_all_that_was_written() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut channel) = open(&connection, &mut client).await;
    channel.write_all(&vec![1; OUTPUT]).await.unwrap();
    let closing = tokio::spawn(connection.close());
    assert_eq!(client.all(1).await, [(one, vec![1; OUTPUT])]);
    // The client has all, and closes.
    drop(client);
    closing.await.unwrap().unwrap();
    assert!(channel.write(b"x").await.is_err());
}

#[tokio::test]
async fn a_client_that_does_not_close_is_left() {
    let limits = Limits {
        linger: Duration::from_millis(100),
        ..Limits::default()
    };
    let (connection, mut client) = start(limits);
    let (one, _channel) = open(&connection, &mut client).await;
    let closing = tokio::spawn(connection.close());
    assert_eq!(client.next().await, Got::Data(one, vec![], true));
    // What it still sends hurts nobody.
    client.data(one, &[0; 50_000], false).await;
    assert_eq!(client.next().await, goaway(one, 0));
    assert_eq!(client.next().await, Got::Closed);
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let limits = Limits {
        idle: Duration::from_secs(2),
        ..Limits::default()
    };
    let (connection, mut client) = start(limits);
    for id in [1, 3, 5, 7, 9, 11] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.send(Frame::Ping(id)).await;
        assert_eq!(client.next().await, Got::Control(Frame::Ping(id)));
    }
    assert_eq!(client.next().await, goaway(0, 0));
    assert_eq!(client.next().await, Got::Closed);
    drop(client);
    connection.gone().cancelled().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_writer() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut channel) = open(&connection, &mut client).await;
    let writing = tokio::spawn(async move {
        for _ in 0..64 {
            channel.write_all(&[1; 64 << 10]).await.unwrap();
        }
        channel.shutdown().await.unwrap();
    });
    // Far less than all fits in between.
    assert!(
        timeout(Duration::from_millis(50), async {
            while !writing.is_finished() {
                tokio::task::yield_now().await
            }
        })
        .await
        .is_err()
    );
    let got = client.all(1).await;
    assert_eq!((got[0].0, got[0].1.len()), (one, 4 << 20));
    writing.await.unwrap();
}

#[tokio::test]
async fn streams_take_turns() {
    let (connection, mut client) = start(Limits::default());
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(open(&connection, &mut client).await.1);
    }
    let mut writers = Vec::new();
    for mut channel in channels {
        writers.push(tokio::spawn(async move {
            while channel.write_all(&[1; 64 << 10]).await.is_ok() {}
        }));
    }
    let mut sizes = std::collections::BTreeMap::<u32, usize>::new();
    while sizes.values().sum::<usize>() < 8 << 20 {
        let Got::Data(id, payload, _) = client.next().await else {
            panic!("something else than data");
        };
        *sizes.entry(id).or_default() += payload.len();
    }
    let (least, most) = (sizes.values().min().unwrap(), sizes.values().max().unwrap());
    assert_eq!(sizes.len(), 4);
    assert!(least * 3 > *most, "{sizes:?}");
    drop(client);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// How much of the streams' data the connection takes while nobody reads it, and the rest of the frame that it did not
/// take whole.
async fn taken<I: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<I>,
    streams: &[u32],
) -> (usize, BytesMut) {
    let mut sent = 0;
    let mut out = BytesMut::new();
    for stream in streams.iter().cycle() {
        data(*stream, false, &[3; 16 << 10], &mut out);
        while !out.is_empty() {
            match timeout(Duration::from_millis(200), client.some(&out)).await {
                Ok(size) => out.advance(size),
                Err(_) => return (sent, out),
            }
        }
        sent += 16 << 10;
    }
    unreachable!("streams without end");
}

#[tokio::test]
async fn input_that_nobody_reads_is_not_taken() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut channel) = open(&connection, &mut client).await;
    let (sent, _) = taken(&mut client, &[one]).await;
    // The stream's bound, what is read at a time, and what the pipe holds.
    assert!((INPUT..INPUT + (160 << 10)).contains(&sent), "{sent}");
    let mut all = vec![0; sent];
    channel.read_exact(&mut all).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_though_nobody_reads_its_input() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let limits = Limits {
        ping: Duration::from_millis(100),
        ..Limits::default()
    };
    let connection = Connection::start(ours, limits);
    let mut client = Client::new(theirs);
    let stream = client.syn(&[]).await;
    connection.next().await.unwrap();
    let _channel = connection.accept(stream);
    assert_eq!(client.next().await, accepted(stream));
    // Until neither side's kernel takes more: the end comes behind all that.
    taken(&mut client, &[stream]).await;
    drop(client);
    connection.gone().cancelled().await;
}

#[tokio::test]
async fn input_of_many_streams_is_bounded_together() {
    let (connection, mut client) = start(Limits::default());
    let mut channels = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..32 {
        let (id, channel) = open(&connection, &mut client).await;
        ids.push(id);
        channels.push(channel);
    }
    let (sent, rest) = taken(&mut client, &ids).await;
    assert!(
        (ALL_INPUT..ALL_INPUT + (160 << 10)).contains(&sent),
        "{sent}"
    );
    // Letting go of the streams lets the others go on.
    channels.clear();
    client.raw(&rest).await;
    client.send(Frame::Ping(1)).await;
    let pong = Got::Control(Frame::Ping(1));
    while client.next().await != pong {}
}

#[tokio::test]
async fn windows_hold_back_only_those_who_know_them() {
    let (connection, mut client) = start(Limits::default());
    // Twice the window at once, to a client that says nothing.
    let (_, mut channel) = open(&connection, &mut client).await;
    let size = 2 * WINDOW as usize;
    let writing = tokio::spawn(async move {
        channel.write_all(&vec![1; size]).await.unwrap();
    });
    assert_eq!(client.all(1).await[0].1.len(), size);
    writing.await.unwrap();

    // Its size is told for streams to come as well.
    client
        .send(Frame::Settings(vec![(INITIAL_WINDOW_SIZE, 1000)]))
        .await;
    client.send(Frame::Ping(1)).await;
    assert_eq!(client.next().await, Got::Control(Frame::Ping(1)));
    let (two, mut channel) = open(&connection, &mut client).await;
    channel.write_all(&[2; 3000]).await.unwrap();
    drop(channel);
    assert_eq!(client.exactly(two, 1000).await, (vec![2; 1000], false));
    client
        .send(Frame::WindowUpdate {
            stream: two,
            delta: 500,
        })
        .await;
    assert_eq!(client.exactly(two, 500).await, (vec![2; 500], false));
    client
        .send(Frame::Settings(vec![(INITIAL_WINDOW_SIZE, 1700)]))
        .await;
    assert_eq!(client.exactly(two, 700).await, (vec![2; 700], false));
    client
        .send(Frame::WindowUpdate {
            stream: two,
            delta: 800,
        })
        .await;
    assert_eq!(client.exactly(two, 800).await, (vec![2; 800], true));
}

#[tokio::test]
async fn the_window_of_the_connection_holds_back_once_it_was_widened() {
    let (connection, mut client) = start(Limits::default());
    client
        .send(Frame::WindowUpdate {
            stream: 0,
            delta: 1,
        })
        .await;
    client.send(Frame::Ping(1)).await;
    assert_eq!(client.next().await, Got::Control(Frame::Ping(1)));
    let (one, mut channel) = open(&connection, &mut client).await;
    let size = WINDOW as usize + 10;
    let writing = tokio::spawn(async move {
        channel.write_all(&vec![1; size]).await.unwrap();
    });
    client.exactly(one, WINDOW as usize + 1).await;
    client
        .send(Frame::WindowUpdate {
            stream: 0,
            delta: 100,
        })
        .await;
    let mut rest = client.all(1).await;
    assert_eq!(rest.pop().unwrap().1.len(), 9);
    writing.await.unwrap();
}

#[tokio::test]
async fn windows_are_widened_as_streams_are_read() {
    let (connection, mut client) = start(Limits::default());
    let (one, mut channel) = open(&connection, &mut client).await;
    let half = WINDOW as u32 / 2;
    client.data(one, &vec![0; half as usize], false).await;
    // The connection's at once, so that one stream does not stop the others.
    let widened = |stream| {
        Got::Control(Frame::WindowUpdate {
            stream,
            delta: half,
        })
    };
    assert_eq!(client.next_of_all().await, widened(0));
    channel
        .read_exact(&mut vec![0; half as usize])
        .await
        .unwrap();
    assert_eq!(client.next_of_all().await, widened(one));
    // Who goes beyond a window is told of none any more.
    let size = 2 * WINDOW as usize;
    client.data(one, &vec![0; size], false).await;
    client.send(Frame::Ping(1)).await;
    assert_eq!(client.next().await, Got::Control(Frame::Ping(1)));
    channel.read_exact(&mut vec![0; size]).await.unwrap();
    client.send(Frame::Ping(3)).await;
    assert_eq!(client.next_of_all().await, Got::Control(Frame::Ping(3)));
}
