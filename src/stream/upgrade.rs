//! Reads the request of a client that wants a stream, and decides how to speak with it.
//!
//! A token is not looked at here: a client whose protocols are not spoken may come again with others.
//!
//! Any `Origin` is as good as none. Clients on a command line send none, a kubelet passes on that of a browser that
//! came to its cluster, and what a web page could be after is behind a token that it cannot know.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::{
    request::Kind,
    spdy::{FORWARD_PROTOCOL, RemoteVersion},
    websocket::{
        PORTS_MAX,
        handshake::{HandshakeError, accept, offers},
        subprotocol::{FORWARD, ForwardKind, ForwardProtocol, REMOTE, RemoteProtocol, choose},
    },
};

/// Longest token that is looked up.
const TOKEN_MAX: usize = 128;

/// A request that can be granted to whoever has the right token.
#[derive(Debug)]
pub struct Asked {
    /// What for.
    pub kind: Kind,
    /// The token as it came.
    pub token: String,
    /// How the stream will be spoken.
    pub protocol: Protocol,
    /// The headers of the answer.
    pub answer: HeaderMap,
}

/// How a stream is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Exec or attach over SPDY.
    SpdyRemote(RemoteVersion),
    /// Ports over SPDY.
    SpdyForward,
    /// Exec or attach over WebSocket.
    SocketRemote(RemoteProtocol),
    /// Ports in channels of a WebSocket: those of the query, if it names any.
    SocketForward(ForwardProtocol, Vec<u16>),
}

/// A request that is refused.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Why, for people.
    pub text: String,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// One without further headers.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The answer to a token that is not known, which says nothing of why.
    pub fn unknown() -> Self {
        let text = "no stream is waiting here: its URL is good once, for a minute";
        Self::new(StatusCode::NOT_FOUND, text)
    }
}

/// Reads a request.
pub fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Asked, Refusal> {
    let (kind, token) = place(uri.path()).ok_or_else(Refusal::unknown)?;
    if method != Method::GET && method != Method::POST {
        let refusal = Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and POST are served",
        );
        return Err(refusal.with(header::ALLOW, "GET, POST"));
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err(no_upgrade());
    }
    let (protocol, answer) = if lists(headers, header::UPGRADE, "websocket") {
        socket(kind, method, uri, headers)?
    } else if lists(headers, header::UPGRADE, "SPDY/3.1") {
        spdy(kind, headers)?
    } else {
        return Err(no_upgrade());
    };
    Ok(Asked {
        kind,
        token: token.to_owned(),
        protocol,
        answer,
    })
}

fn no_upgrade() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "unable to upgrade: the headers Connection and Upgrade ask for neither SPDY/3.1 nor websocket",
    )
}

/// What a path asks for: `/KIND/TOKEN`.
fn place(path: &str) -> Option<(Kind, &str)> {
    let (kind, token) = path.strip_prefix('/')?.split_once('/')?;
    let kind = Kind::ALL.into_iter().find(|known| known.path() == kind)?;
    let fits = !token.is_empty() && token.len() <= TOKEN_MAX && !token.contains('/');
    fits.then_some((kind, token))
}

/// Whether a header of comma-separated words has a word.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// The protocols that a client of SPDY names, and the one that is chosen.
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// The protocols there are, for a client that names none of them.
const SPDY_KNOWN: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

fn spdy(kind: Kind, headers: &HeaderMap) -> Result<(Protocol, HeaderMap), Refusal> {
    let values = headers.get_all(SPDY_PROTOCOL);
    let offered: Vec<&str> = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    if offered.iter().all(|value| value.trim().is_empty()) {
        let text = "unable to upgrade: header X-Stream-Protocol-Version is empty";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    let (chosen, known): (_, Vec<&'static str>) = match kind {
        Kind::Exec | Kind::Attach => (
            RemoteVersion::negotiate(&offered)
                .map(|(name, version)| (name, Protocol::SpdyRemote(version))),
            RemoteVersion::protocols().collect(),
        ),
        Kind::Forward => (
            lists(headers, SPDY_PROTOCOL, FORWARD_PROTOCOL)
                .then_some((FORWARD_PROTOCOL, Protocol::SpdyForward)),
            vec![FORWARD_PROTOCOL],
        ),
    };
    let Some((name, protocol)) = chosen else {
        let mut refusal = no_protocol(&offered, &known);
        for name in known {
            let value = HeaderValue::from_static(name);
            refusal.headers.push((SPDY_KNOWN, value));
        }
        return Err(refusal);
    };
    let mut answer = HeaderMap::new();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    answer.insert(SPDY_PROTOCOL, HeaderValue::from_static(name));
    Ok((protocol, answer))
}

fn socket(
    kind: Kind,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Protocol, HeaderMap), Refusal> {
    if method != Method::GET {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "WebSocket begins with GET");
        return Err(refusal.with(header::ALLOW, "GET"));
    }
    let key = accept(headers).map_err(|error| match error {
        HandshakeError::Version => Refusal::new(StatusCode::UPGRADE_REQUIRED, error.to_string())
            .with(header::SEC_WEBSOCKET_VERSION, "13"),
        HandshakeError::Key => Refusal::new(StatusCode::BAD_REQUEST, error.to_string()),
    })?;
    let offered = offers(headers);
    let (name, protocol) = match kind {
        Kind::Exec | Kind::Attach => {
            let chosen = choose(&offered, &REMOTE, |known| known.name)
                .ok_or_else(|| no_protocol(&offered, &names(REMOTE.iter().map(|p| p.name))))?;
            (chosen.name, Protocol::SocketRemote(*chosen))
        }
        Kind::Forward => {
            let chosen = choose(&offered, &FORWARD, |known| known.name)
                .ok_or_else(|| no_protocol(&offered, &names(FORWARD.iter().map(|p| p.name))))?;
            let ports = match chosen.kind {
                ForwardKind::Channels(_) => ports(uri.query().unwrap_or_default())?,
                ForwardKind::Tunnel => Vec::new(),
            };
            (chosen.name, Protocol::SocketForward(*chosen, ports))
        }
    };
    let mut answer = HeaderMap::new();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    if !name.is_empty() {
        let value = HeaderValue::from_static(name);
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok((protocol, answer))
}

fn no_protocol(offered: &[&str], known: &[&str]) -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        format!(
            "unable to upgrade: the client speaks {}, the server {}",
            offered.join(", "),
            known.join(", ")
        ),
    )
}

fn names(known: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    known.filter(|name| !name.is_empty()).collect()
}

/// The ports of a query: `port=80&port=443` or `port=80,443`.
fn ports(query: &str) -> Result<Vec<u16>, Refusal> {
    let bad = |text: String| Refusal::new(StatusCode::BAD_REQUEST, text);
    let mut ports = Vec::new();
    let values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("port="));
    // A comma may come as it is or encoded.
    for value in values.flat_map(|value| value.split(',').flat_map(|part| part.split("%2C"))) {
        let port = value.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| {
            bad(format!(
                "port {value:?} in the query is no number from 1 to 65535"
            ))
        })?;
        if ports.len() == PORTS_MAX {
            return Err(bad(format!("the query names more than {PORTS_MAX} ports")));
        }
        ports.push(port);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests;
