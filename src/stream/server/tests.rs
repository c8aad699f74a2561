use std::{net::Ipv4Addr, path::Path};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    id::Id,
    stream::{
        behind::Behind,
        request::Kind,
        session::{Forwards, Outcome, Remote, Wanted},
    },
};

/// Runs no commands, and says so.
struct Refuses;

impl Behind for Refuses {
    async fn exec(
        &self,
        container: &Id,
        command: Vec<String>,
        _: bool,
        remote: Remote,
        _: &CancellationToken,
    ) {
        let text = format!("{} in {}", command.join(" "), &container.as_str()[..4]);
        let _ = remote.ending.finish(Outcome::Failed(text)).await;
    }

    async fn attach(&self, _: &Id, _: bool, remote: Remote, stop: &CancellationToken) {
        stop.cancelled().await;
        let _ = remote.ending.finish(Outcome::Success).await;
    }

    async fn forward(&self, _: &Id, forwards: Forwards, _: &CancellationToken) {
        forwards.gone.cancelled().await;
    }
}

fn config(tls: Option<TlsFiles>) -> StreamConfig {
    StreamConfig {
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        tls,
        idle: Duration::from_secs(3600),
        creation: Duration::from_secs(30),
    }
}

fn exec() -> Request {
    Request::Exec {
        container: Id::parse(&"ab".repeat(32)).unwrap(),
        command: vec!["run".into()],
        wanted: Wanted {
            stdin: false,
            stdout: true,
            stderr: false,
            tty: false,
        },
    }
}

async fn serving(tls: Option<TlsFiles>) -> (Streams, CancellationToken) {
    let server = Server::bind(config(tls)).await.unwrap();
    let (streams, stop) = (server.streams(), CancellationToken::new());
    tokio::spawn(server.run(Arc::new(Refuses), stop.clone(), Duration::from_secs(5)));
    (streams, stop)
}

fn place(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split_once('/').unwrap()
}

/// Asks for a WebSocket over a connection, and gives all that comes until its end.
async fn ask(mut io: impl Duplex, path: &str) -> String {
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    );
    io.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    // The end of a stream is a frame that closes it, which this client does not answer.
    while let Ok(n @ 1..) = io.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&said);
        if text.contains("InternalError") || text.contains("good once") {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_token_is_served_once() {
    let (streams, _stop) = serving(None).await;
    let url = streams.url(exec()).unwrap();
    let (host, path) = place(&url);
    assert!(path.starts_with("exec/"), "{url}");
    let first = ask(TcpStream::connect(host).await.unwrap(), path).await;
    assert!(first.starts_with("HTTP/1.1 101"), "{first}");
    assert!(first.contains("run in abab"), "{first}");
    let second = ask(TcpStream::connect(host).await.unwrap(), path).await;
    assert!(second.starts_with("HTTP/1.1 404"), "{second}");
}

#[tokio::test]
async fn ports_have_to_be_named_somewhere() {
    let (streams, _stop) = serving(None).await;
    let request = Request::Forward {
        pod: Id::parse(&"0".repeat(64)).unwrap(),
        ports: vec![],
    };
    assert_eq!(request.kind(), Kind::Forward);
    let url = streams.url(request).unwrap();
    let (host, path) = place(&url);
    let answer = ask(TcpStream::connect(host).await.unwrap(), path).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("\"port\" is required"), "{answer}");
}

#[tokio::test]
async fn heads_without_end_are_cut() {
    let (streams, _stop) = serving(None).await;
    let url = streams.url(exec()).unwrap();
    let (host, _) = place(&url);
    let mut client = TcpStream::connect(host).await.unwrap();
    client.write_all(b"GET /exec/x HTTP/1.1\r\n").await.unwrap();
    let line = format!("X-Long: {}\r\n", "x".repeat(1000));
    for _ in 0..100 {
        if client.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn it_stops_with_its_streams() {
    let server = Server::bind(config(None)).await.unwrap();
    let (streams, stop) = (server.streams(), CancellationToken::new());
    let running = tokio::spawn(server.run(Arc::new(Refuses), stop.clone(), Duration::MAX));
    let url = streams
        .url(Request::Attach {
            container: Id::parse(&"0".repeat(64)).unwrap(),
            wanted: Wanted {
                stdin: false,
                stdout: true,
                stderr: false,
                tty: false,
            },
        })
        .unwrap();
    let (host, path) = place(&url);
    let client = TcpStream::connect(host).await.unwrap();
    let asking = tokio::spawn({
        let path = path.to_owned();
        async move { ask(client, &path).await }
    });
    while !streams.0.tokens.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    asking.abort();
    running.await.unwrap();
    assert!(TcpStream::connect(host).await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let first = Server::bind(config(None)).await.unwrap();
    let port = first.listener.local_addr().unwrap().port();
    let taken = StreamConfig {
        port,
        ..config(None)
    };
    let error = Server::bind(taken).await.unwrap_err();
    assert!(whole(&error).contains(&format!("127.0.0.1:{port}")));
}

/// Makes a certificate for 127.0.0.1 and its key.
fn certificate(dir: &Path) -> TlsFiles {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    TlsFiles {
        cert,
        key,
        client_ca: None,
    }
}

/// Connects over TLS to a server whose certificate must be the one in a file.
async fn over_tls(host: &str, cert: &Path) -> std::io::Result<impl Duplex> {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(cert).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = TcpStream::connect(host).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, connection)
        .await
}

#[tokio::test]
async fn a_certificate_is_read_again_when_it_changes_and_kept_when_it_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let (streams, _stop) = serving(Some(files.clone())).await;
    let url = streams.url(exec()).unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let (host, path) = place(&url);
    let said = ask(over_tls(host, &files.cert).await.unwrap(), path).await;
    assert!(said.contains("run in abab"), "{said}");

    let old = dir.path().join("old.pem");
    std::fs::copy(&files.cert, &old).unwrap();
    certificate(dir.path());
    assert!(over_tls(host, &old).await.is_err());
    assert!(over_tls(host, &files.cert).await.is_ok());

    std::fs::copy(&files.cert, &old).unwrap();
    std::fs::write(&files.cert, "nonsense").unwrap();
    assert!(over_tls(host, &old).await.is_ok());
    // At its start a server does not put up with that.
    let error = Server::bind(config(Some(files.clone()))).await.unwrap_err();
    assert!(whole(&error).contains("cert.pem"), "{}", whole(&error));
}

#[tokio::test]
async fn clients_need_a_certificate_where_authorities_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = certificate(dir.path());
    files.client_ca = Some(files.cert.clone());
    let (streams, _stop) = serving(Some(files.clone())).await;
    let url = streams.url(exec()).unwrap();
    let (host, path) = place(&url);
    // The refusal may come after the client's own part of the handshake.
    let said = match over_tls(host, &files.cert).await {
        Ok(mut io) => {
            let _ = io
                .write_all(format!("GET /{path} HTTP/1.1\r\n\r\n").as_bytes())
                .await;
            let mut said = Vec::new();
            let _ = io.read_to_end(&mut said).await;
            said
        }
        Err(_) => Vec::new(),
    };
    assert!(said.is_empty(), "{:?}", String::from_utf8_lossy(&said));
}
