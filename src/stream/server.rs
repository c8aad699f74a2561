//! The HTTP server that streams begin on.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::causes::whole;

use super::{
    behind::Behind,
    request::Request,
    session::{Duplex, Forwards, Remote, Wanted},
    spdy::{self, Limits},
    tls::{Tls, TlsError, TlsFiles},
    token::{Full, Token, Tokens},
    upgrade::{self, Asked, Protocol, Refusal},
    websocket::{self, subprotocol::ForwardKind},
};

/// Connections on which no stream has begun.
const WAITING_MAX: usize = 512;
/// Streams at one time.
const STREAMS_MAX: usize = 4096;
/// How long a client may take to get its upgrade, from when it connected.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_MAX: usize = 16 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long to wait when no further connection can be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// When the kernel asks whether a silent client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How streams are served.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Address to listen on.
    pub address: IpAddr,
    /// Port to listen on; 0 for any that is free.
    pub port: u16,
    /// The server's identity; without one it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long a stream may be silent.
    pub idle: Duration,
    /// How long a client may take to open the streams of its connection.
    pub creation: Duration,
}

/// Why streams cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The identity cannot be used.
    #[error("reading the certificate")]
    Tls(#[from] TlsError),
}

/// Why a request gets no URL.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Too many.
    #[error(transparent)]
    Full(#[from] Full),
    /// The kernel gave no random bytes.
    #[error("making a token")]
    Random(#[source] io::Error),
}

/// Gives out the URLs of streams.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Given>);

#[derive(Debug)]
struct Given {
    tokens: Mutex<Tokens<Request>>,
    base: String,
}

impl Streams {
    fn new(base: String) -> Self {
        Self(Arc::new(Given {
            tokens: Mutex::default(),
            base,
        }))
    }

    /// The URL at which a stream will be served, once.
    pub fn url(&self, request: Request) -> Result<String, UrlError> {
        let token = Token::random().map_err(UrlError::Random)?;
        let url = format!(
            "{}/{}/{}",
            self.0.base,
            request.kind().path(),
            token.as_str()
        );
        let mut tokens = self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token, request, Instant::now())?;
        Ok(url)
    }

    fn take(&self, asked: &Asked) -> Option<Request> {
        let mut tokens = self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.take(&asked.token, Instant::now(), |request| {
            request.kind() == asked.kind
        })
    }
}

/// A server that listens and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    config: StreamConfig,
    streams: Streams,
}

impl Server {
    /// Listens.
    pub async fn bind(config: StreamConfig) -> Result<Self, StreamError> {
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let address = SocketAddr::new(config.address, config.port);
        let listen = |source| StreamError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let streams = Streams::new(format!("{scheme}://{}", reachable(bound)));
        Ok(Self {
            listener,
            tls,
            config,
            streams,
        })
    }

    /// What gives out its URLs.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// Serves until `stop`, and then until all streams ended, for at most `grace`.
    pub async fn run(self, behind: Arc<impl Behind>, stop: CancellationToken, grace: Duration) {
        let sessions = TaskTracker::new();
        let context = Arc::new(Context {
            behind,
            config: self.config,
            streams: self.streams,
            sessions: sessions.clone(),
            room: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop: stop.clone(),
        });
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        let accepting = async {
            loop {
                // Never closed.
                let Ok(permit) = waiting.clone().acquire_owned().await else {
                    return;
                };
                match self.listener.accept().await {
                    Ok((connection, _)) => {
                        let (context, tls) = (context.clone(), self.tls.clone());
                        tokio::spawn(async move {
                            let serving = greet(connection, tls, context);
                            if tokio::time::timeout(REQUEST_TIME, serving).await.is_err() {
                                debug!("a client took too long to ask for a stream");
                            }
                            drop(permit);
                        });
                    }
                    Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        warn!(%error, "cannot accept a client of streams");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop.cancelled() => {}
        }
        sessions.close();
        if tokio::time::timeout(grace, sessions.wait()).await.is_err() {
            warn!(
                streams = sessions.len(),
                "streams are cut off: the grace period is over"
            );
        }
    }
}

/// Where a client on this machine reaches the server: not at the address that stands for all.
fn reachable(mut bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => bound.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => bound.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    bound
}

/// What every connection needs.
struct Context<B> {
    behind: Arc<B>,
    config: StreamConfig,
    streams: Streams,
    sessions: TaskTracker,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Speaks HTTP with a client until it has its upgrade.
async fn greet<B: Behind>(connection: TcpStream, tls: Option<Arc<Tls>>, context: Arc<Context<B>>) {
    tune(&connection);
    let io: Box<dyn Duplex> = match tls {
        None => Box::new(connection),
        Some(tls) => {
            let Ok(acceptor) = tokio::task::spawn_blocking(move || tls.acceptor()).await else {
                return;
            };
            match acceptor.accept(connection).await {
                Ok(stream) => Box::new(stream),
                Err(error) => return debug!(%error, "no TLS with a client of streams"),
            }
        }
    };
    let service = service_fn(move |request| {
        let answer = context.answer(request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%error, "a client of streams broke off");
    }
}

/// Small packets go at once, and a client that vanished is noticed.
fn tune(connection: &TcpStream) {
    use rustix::net::sockopt;
    let tuned = connection.set_nodelay(true).and_then(|()| {
        sockopt::set_socket_keepalive(connection, true)?;
        sockopt::set_tcp_keepidle(connection, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(connection, KEEPALIVE / 4)?;
        Ok(sockopt::set_tcp_keepcnt(connection, 4)?)
    });
    if let Err(error) = tuned {
        debug!(%error, "cannot tune a connection");
    }
}

impl<B: Behind> Context<B> {
    /// Grants a request or refuses it.
    fn answer(self: &Arc<Self>, request: http::Request<Incoming>) -> Response<String> {
        match self.grant(request) {
            Ok(response) => response,
            Err(refusal) => {
                debug!(status = %refusal.status, text = refusal.text, "a stream is refused");
                let mut response = Response::new(refusal.text + "\n");
                *response.status_mut() = refusal.status;
                let headers = response.headers_mut();
                for (name, value) in refusal.headers {
                    headers.append(name, value);
                }
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                headers.insert(header::CONTENT_TYPE, text);
                let sniff = HeaderValue::from_static("nosniff");
                headers.insert(header::X_CONTENT_TYPE_OPTIONS, sniff);
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                response
            }
        }
    }

    fn grant(
        self: &Arc<Self>,
        mut request: http::Request<Incoming>,
    ) -> Result<Response<String>, Refusal> {
        let asked = upgrade::read(request.method(), request.uri(), request.headers())?;
        let busy = |text| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text);
        if self.stop.is_cancelled() {
            return Err(busy("corten is stopping"));
        }
        let permit = self.room.clone().try_acquire_owned();
        let permit = permit.map_err(|_| busy("too many streams are open"))?;
        let wanted = self.streams.take(&asked).ok_or_else(Refusal::unknown)?;
        check_ports(&wanted, &asked.protocol)?;
        let upgraded = hyper::upgrade::on(&mut request);
        let context = self.clone();
        self.sessions.spawn(async move {
            match upgraded.await {
                Ok(io) => {
                    context
                        .serve(wanted, asked.protocol, TokioIo::new(io), permit)
                        .await;
                }
                Err(error) => debug!(%error, "a client left before its stream began"),
            }
        });
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = asked.answer;
        Ok(response)
    }

    /// Runs a stream to its end.
    async fn serve(
        &self,
        request: Request,
        protocol: Protocol,
        io: impl Duplex + 'static,
        _room: OwnedSemaphorePermit,
    ) {
        let (behind, stop) = (&self.behind, &self.stop);
        match request {
            Request::Exec {
                container,
                command,
                wanted,
            } => {
                if let Some(remote) = self.remote(io, protocol, wanted).await {
                    let tty = wanted.tty;
                    behind.exec(&container, command, tty, remote, stop).await;
                }
            }
            Request::Attach { container, wanted } => {
                if let Some(remote) = self.remote(io, protocol, wanted).await {
                    behind.attach(&container, wanted.tty, remote, stop).await;
                }
            }
            Request::Forward { pod, ports } => {
                if let Some(forwards) = self.forwards(io, protocol, &ports).await {
                    behind.forward(&pod, forwards, stop).await;
                }
            }
        }
    }

    /// The streams of an exec or attach.
    async fn remote(
        &self,
        io: impl Duplex + 'static,
        protocol: Protocol,
        wanted: Wanted,
    ) -> Option<Remote> {
        match protocol {
            Protocol::SocketRemote(protocol) => {
                Some(websocket::remote(io, protocol, wanted, self.config.idle).await)
            }
            Protocol::SpdyRemote(version) => {
                let opened = tokio::select! {
                    opened = spdy::remote(io, version, wanted, self.limits()) => opened,
                    () = self.stop.cancelled() => return None,
                };
                opened
                    .inspect_err(|error| debug!(error = whole(error), "no streams were opened"))
                    .ok()
            }
            // The path decides the request's kind and the protocol's.
            Protocol::SocketForward(..) | Protocol::SpdyForward => None,
        }
    }

    /// The connections of a port forwarding.
    async fn forwards(
        &self,
        io: impl Duplex + 'static,
        protocol: Protocol,
        ports: &[u16],
    ) -> Option<Forwards> {
        let idle = self.config.idle;
        match protocol {
            Protocol::SocketForward(protocol, named) => {
                let ports = if named.is_empty() { ports } else { &named };
                Some(match protocol.kind {
                    ForwardKind::Channels(encoding) => {
                        websocket::channels(io, encoding, ports, idle).await
                    }
                    ForwardKind::Tunnel => {
                        spdy::forward(websocket::tunnel(io, idle).await, self.limits())
                    }
                })
            }
            Protocol::SpdyForward => Some(spdy::forward(io, self.limits())),
            Protocol::SocketRemote(_) | Protocol::SpdyRemote(_) => None,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            idle: self.config.idle,
            creation: self.config.creation,
            ..Limits::default()
        }
    }
}

/// Whether a request and how it came leave a port to connect to.
fn check_ports(request: &Request, protocol: &Protocol) -> Result<(), Refusal> {
    if let Request::Forward { ports, .. } = request
        && let Protocol::SocketForward(protocol, named) = protocol
        && matches!(protocol.kind, ForwardKind::Channels(_))
        && ports.is_empty()
        && named.is_empty()
    {
        let text = "query parameter \"port\" is required";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
