//! A client of streams, over WebSocket.

use corten::cri::api;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tonic::Status;

use super::{Node, args};

/// Which streams a test asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

impl Node {
    /// Asks for the URL of an exec; its output is always wanted.
    pub(crate) async fn exec_url(&self, id: &str, command: &[&str], streams: Streams) -> String {
        let request = api::ExecRequest {
            container_id: id.to_owned(),
            cmd: args(command),
            stdin: streams.stdin,
            stdout: true,
            stderr: streams.stderr,
            tty: streams.tty,
        };
        let reply = self.runtime().exec(request).await;
        reply
            .unwrap_or_else(|e| panic!("Exec: {e}"))
            .into_inner()
            .url
    }

    /// Asks for the URL of an attach; its output is always wanted.
    pub(crate) async fn attach_url(&self, id: &str, streams: Streams) -> String {
        let request = api::AttachRequest {
            container_id: id.to_owned(),
            stdin: streams.stdin,
            stdout: true,
            stderr: streams.stderr,
            tty: streams.tty,
        };
        let reply = self.runtime().attach(request).await;
        reply
            .unwrap_or_else(|e| panic!("Attach: {e}"))
            .into_inner()
            .url
    }

    /// Asks for the URL of a port forwarding.
    pub(crate) async fn forward_url(&self, pod: &str) -> Result<String, Status> {
        let request = api::PortForwardRequest {
            pod_sandbox_id: pod.to_owned(),
            port: Vec::new(),
        };
        let reply = self.runtime().port_forward(request).await?;
        Ok(reply.into_inner().url)
    }
}

/// Sends the head of a request to a URL, and gives the answer's head, with what comes after it unread.
pub(crate) async fn ask(url: &str, method: &str, headers: &str) -> (String, TcpStream) {
    let rest = url.strip_prefix("http://").expect(url);
    let (host, path) = rest.split_once('/').expect(url);
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    (String::from_utf8(head).unwrap(), stream)
}

/// The headers that ask for a WebSocket of a subprotocol.
pub(crate) fn upgrade(protocol: &str) -> String {
    let named = match protocol {
        "" => String::new(),
        name => format!("Sec-WebSocket-Protocol: {name}\r\n"),
    };
    format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{named}"
    )
}

/// The status of an answer.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {head:?}"))
}

/// A client's end of a stream.
pub(crate) struct Socket {
    socket: WebSocketStream<TcpStream>,
    base64: bool,
    /// What came so far, by channel.
    pub(crate) seen: [Vec<u8>; 4],
    /// The server closed it.
    pub(crate) closed: bool,
}

impl Socket {
    /// Opens a stream of a subprotocol.
    pub(crate) async fn open(url: &str, protocol: &str) -> Self {
        let (head, stream) = ask(url, "GET", &upgrade(protocol)).await;
        assert_eq!(status(&head), 101, "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(lower.contains(protocol), "{head}");
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Client, None).await,
            base64: protocol.contains("base64"),
            seen: Default::default(),
            closed: false,
        }
    }

    /// Sends data on a channel.
    pub(crate) async fn send(&mut self, channel: u8, data: &[u8]) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let message = match self.base64 {
            false => Message::Binary([&[channel], data].concat().into()),
            true => Message::Text(format!("{channel}{}", STANDARD.encode(data)).into()),
        };
        self.socket.send(message).await.unwrap();
    }

    /// Says that there is no more input; from version 5 on.
    pub(crate) async fn half_close(&mut self) {
        let message = Message::Binary(vec![255, 0].into());
        self.socket.send(message).await.unwrap();
    }

    /// Closes the connection in order.
    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
    }

    /// Receives one message; false at the end.
    pub(crate) async fn receive(&mut self) -> bool {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let message = tokio::time::timeout(super::patience(), self.socket.next());
        match message.await.expect("the server sends nothing") {
            Some(Ok(Message::Binary(data))) => {
                self.seen[usize::from(data[0])].extend_from_slice(&data[1..]);
            }
            Some(Ok(Message::Text(text))) => {
                let data = STANDARD.decode(&text.as_str()[1..]).unwrap();
                let channel = usize::from(text.as_bytes()[0] - b'0');
                self.seen[channel].extend_from_slice(&data);
            }
            Some(Ok(Message::Close(frame))) => {
                self.closed = true;
                let code = frame.map(|frame| u16::from(frame.code));
                assert_eq!(code, Some(1000));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
        true
    }

    /// Receives until a channel has some text.
    pub(crate) async fn until(&mut self, channel: usize, text: &str) {
        while !self.text(channel).contains(text) {
            assert!(
                self.receive().await,
                "it ended after {:?} and {:?}",
                self.text(channel),
                self.text(3)
            );
        }
    }

    /// Receives until the end.
    pub(crate) async fn finish(&mut self) {
        while self.receive().await {}
    }

    /// What came on a channel.
    pub(crate) fn text(&self, channel: usize) -> String {
        String::from_utf8_lossy(&self.seen[channel]).into_owned()
    }

    /// The status that was told.
    pub(crate) fn outcome(&self) -> Value {
        serde_json::from_slice(&self.seen[3])
            .unwrap_or_else(|e| panic!("{e}: no status in {:?}", self.text(3)))
    }

    /// The exit code that the status tells.
    pub(crate) fn exit_code(&self) -> i32 {
        let status = self.outcome();
        if status["status"] == "Success" {
            return 0;
        }
        assert_eq!(status["reason"], "NonZeroExitCode", "{status}");
        status["details"]["causes"][0]["message"]
            .as_str()
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no code in {status}"))
    }
}
