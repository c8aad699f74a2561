use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::client::{Client, Got, accepted};
use crate::stream::spdy::{Limits, connection::Connection};

const ALL: usize = 1 << 30;

/// Set where the test below has a process of its own, in which nothing else takes memory.
const ALONE: &str = "CORTEN_TEST_ALONE";

#[test]
fn a_gibibyte_goes_through_in_little_memory() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(echo());
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

async fn echo() {
    let (ours, theirs) = duplex(64 << 10);
    let connection = Connection::start(ours, Limits::default());
    let mut client = Client::new(theirs);
    let stream = client.syn(&[]).await;
    connection.next().await.unwrap();
    let mut channel = connection.accept(stream);
    assert_eq!(client.next().await, accepted(stream));
    let echo = tokio::spawn(async move {
        let mut piece = vec![0; 64 << 10];
        loop {
            let size = channel.read(&mut piece).await.unwrap();
            if size == 0 {
                return channel.shutdown().await.unwrap();
            }
            channel.write_all(&piece[..size]).await.unwrap();
        }
    });
    let before = resident();
    let (mut sent, mut got) = (0, 0);
    let piece = vec![5; 32 << 10];
    while got < ALL {
        // As much is under way as fits in between.
        while sent < ALL && sent - got < 64 << 10 {
            client.data(stream, &piece, sent + piece.len() == ALL).await;
            sent += piece.len();
        }
        if let Got::Data(_, payload, _) = client.next().await {
            got += payload.len();
        }
    }
    let after = resident();
    assert!(after < before + (8 << 20), "{before} before, {after} after");
    echo.await.unwrap();
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
