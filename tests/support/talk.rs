//! Talking to what a pod serves.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A port of the host that nothing listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}

/// Connects, says something and gives what is said in return; nothing when nobody answers.
pub(crate) async fn talk(address: &str, words: &str) -> Option<String> {
    let work = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(words.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    tokio::time::timeout(Duration::from_secs(2), work)
        .await
        .ok()
        .flatten()
        .filter(|text| !text.is_empty())
}
