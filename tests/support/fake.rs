//! A registry that misbehaves as told, and counts what it is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{Blob, Image};

/// How it serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Only to holders of a token from its token service, which asks for `tester` and `secret word`.
    pub(crate) bearer: bool,
    /// The first download of every layer breaks off in its middle.
    pub(crate) break_first: bool,
    /// Layers come with other bytes than their digest says.
    pub(crate) corrupt: bool,
    /// Answers to manifests wait until [`FakeRegistry::release`].
    pub(crate) hold: bool,
    /// Every request fails with this status.
    pub(crate) status: Option<u16>,
}

struct State {
    behaviour: Behaviour,
    manifests: HashMap<String, Blob>,
    blobs: HashMap<String, Blob>,
    requests: Mutex<Vec<String>>,
    gate: tokio::sync::Semaphore,
}

/// A registry inside the test.
pub(crate) struct FakeRegistry {
    host: String,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

const TOKEN: &str = "a-token-of-the-tests";
/// `tester:secret word` in base64.
const BASIC: &str = "Basic dGVzdGVyOnNlY3JldCB3b3Jk";

impl FakeRegistry {
    /// Serves `image` as `test/image:tag`, and by digest.
    pub(crate) async fn start(image: &Image, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let manifests = ["tag", &image.manifest.digest]
            .map(|reference| (reference.to_owned(), image.manifest.clone()));
        let state = Arc::new(State {
            behaviour,
            manifests: manifests.into(),
            blobs: image
                .blobs()
                .map(|blob| (blob.digest.clone(), blob.clone()))
                .collect(),
            requests: Mutex::default(),
            gate: tokio::sync::Semaphore::new(0),
        });
        let (shared, realm) = (state.clone(), host.clone());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, realm) = (shared.clone(), realm.clone());
                tokio::spawn(async move {
                    // A client that goes away is no concern of the registry's.
                    let _ = serve(&state, &realm, stream).await;
                });
            }
        });
        Self {
            host,
            state,
            server,
        }
    }

    /// `127.0.0.1:PORT/test/image:tag`.
    pub(crate) fn reference(&self) -> String {
        format!("{}/test/image:tag", self.host)
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// How many GET requests for a path that contains `part` came in.
    pub(crate) fn asked_for(&self, part: &str) -> usize {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|line| line.contains(part)).count()
    }

    /// Lets answers go that were held.
    pub(crate) fn release(&self) {
        self.state.gate.add_permits(1000);
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
}

async fn read_request(reader: &mut BufReader<&mut TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    Ok(Some(Request {
        method,
        path,
        headers,
    }))
}

async fn serve(state: &State, realm: &str, mut stream: TcpStream) -> std::io::Result<()> {
    let Some(request) = read_request(&mut BufReader::new(&mut stream)).await? else {
        return Ok(());
    };
    let repeats = {
        let mut requests = state.requests.lock().unwrap();
        let before = requests
            .iter()
            .filter(|&line| *line == request.path)
            .count();
        if request.method == "GET" {
            requests.push(request.path.clone());
        }
        before
    };
    if state.behaviour.hold && request.path.contains("/manifests/") {
        state.gate.acquire().await.unwrap().forget();
    }
    let reply = answer(state, realm, &request, repeats);
    let mut head = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.length.unwrap_or(reply.body.len())
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body).await?;
    }
    stream.shutdown().await
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Promised length where it is not the body's.
    length: Option<usize>,
}

impl Reply {
    fn new(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            length: None,
        }
    }
}

fn answer(state: &State, host: &str, request: &Request, repeats: usize) -> Reply {
    let behaviour = &state.behaviour;
    if let Some(status) = behaviour.status {
        return Reply::new(status, b"{}");
    }
    let authorization = request.headers.get("authorization").map(String::as_str);
    if request.path.starts_with("/token") {
        let body = format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#);
        return match authorization {
            Some(BASIC) => Reply::new(200, body.as_bytes()),
            _ => Reply::new(401, br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#),
        };
    }
    if behaviour.bearer && authorization != Some(&format!("Bearer {TOKEN}")) {
        let mut reply = Reply::new(401, br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
        reply.headers.push((
            "www-authenticate",
            format!(r#"Bearer realm="http://{host}/token",service="tests",scope="repository:test/image:pull""#),
        ));
        return reply;
    }
    if request.path == "/v2/" {
        return Reply::new(200, b"{}");
    }
    let Some((kind, name)) = request
        .path
        .strip_prefix("/v2/test/image/")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Reply::new(404, br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#);
    };
    let blob = match kind {
        "manifests" => state.manifests.get(name),
        _ => state.blobs.get(name),
    };
    let Some(blob) = blob else {
        return Reply::new(404, br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
    };
    let mut reply = Reply::new(200, &blob.bytes);
    reply
        .headers
        .push(("content-type", blob.media_type.clone()));
    reply
        .headers
        .push(("docker-content-digest", blob.digest.clone()));
    if !blob.media_type.contains("layer") {
        return reply;
    }
    if behaviour.corrupt {
        reply.body.reverse();
    }
    let start: usize = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split('-').next())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if start > 0 && start < reply.body.len() {
        let total = reply.body.len();
        reply.headers.push((
            "content-range",
            format!("bytes {start}-{}/{total}", total - 1),
        ));
        reply.status = 206;
        reply.body.drain(..start);
    }
    if behaviour.break_first && repeats == 0 {
        reply.length = Some(reply.body.len());
        reply.body.truncate(reply.body.len() / 2);
    }
    reply
}
