//! oci-client, which moves the blobs: one client per registry and credential, with its cache of tokens.
//!
//! What it does not do is done beside it, by [`super::Session`] on the HTTP client itself, for these
//! reasons:
//!
//! * It reads manifests, the answers of token services and all refusals whole, whatever their size; here
//!   every reader has a cap. So manifests and tokens are fetched by us, and tokens are given to it.
//! * It asks for tokens only as `/v2/` tells it to, of a token service that it cannot tell to be down
//!   rather than to refuse. Registries that are open in part challenge at the repository alone.
//! * It knows no identity tokens and no client certificates, and of a server's certificate it accepts
//!   none that calls itself an authority, as self-signed ones do.
//! * Its errors lack the status, the challenge and the wait that a server asks for. So a refusal is left
//!   unread, and the request repeated by us, which either says precisely what is wrong or succeeds.
//!
//! It follows redirects by itself, without credentials where they lead to another origin, and also from
//! HTTPS to plain HTTP, which our own requests refuse; what comes is held against the blob's digest.
//! Two bodies that it reads whole are out of our reach, those of answers that are neither a success nor
//! an error (3xx without an address) and, when resuming, of successes other than 200 and 206: only the
//! limit to silence, which bounds the whole exchange up to the stream, ends these.

use std::{
    io,
    path::PathBuf,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use oci_client::{
    Client, Reference, RegistryOperation,
    client::{
        BlobResponse, Certificate, CertificateEncoding, ClientConfig, ClientProtocol,
        LayerDescriptor,
    },
    errors::{DigestError, OciDistributionError},
    secrets::RegistryAuth,
    token_cache::RegistryTokenType,
};
use reqwest::{Url, header::HeaderValue};

use super::{
    body::BlobBody,
    certs,
    failure::{Failure, FailureKind},
    http::{Timeouts, Trust, USER_AGENT, authority},
    token::sensitive,
};
use crate::image::{
    auth::{Credential, basic_header},
    digest::Digest,
    registries::Endpoint,
};

/// Most clients kept; each holds connections, certificates and one credential.
const MAX_CLIENTS: usize = 16;
/// An alternative address that cannot be parsed.
///
/// The library turns to a blob's alternative addresses when the registry refuses. At one that cannot be
/// parsed it returns at once, and drops the refusal's body, which it would read whole otherwise.
const NOWHERE: &str = "";

/// The clients made so far, the one used last at the end.
#[derive(Default)]
pub(super) struct Engines(Mutex<Vec<(Key, Client)>>);

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engines").finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    base: Url,
    trust: Trust,
    credential: Credential,
}

/// A client, for one repository.
pub(super) struct Engine {
    client: Client,
    place: Reference,
    timeouts: Timeouts,
    /// Whether the library could not connect where it was led.
    off: AtomicBool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("place", &self.place)
            .field("off", &self.off)
            .finish_non_exhaustive()
    }
}

/// What a registry was found to want.
pub(super) enum Grant {
    /// A name and a password with each request.
    Basic { username: String, password: String },
    /// A token; it is fit for a header.
    Token(String),
}

/// Why the library gave no blob.
#[derive(Debug)]
pub(super) enum Miss {
    /// It was refused, or led where it cannot connect: to be asked again by other means.
    Ask,
    /// As told.
    Failed(Failure),
}

impl Grant {
    /// What to send.
    pub(super) fn header(&self) -> Result<HeaderValue, Failure> {
        match self {
            Self::Basic { username, password } => sensitive(&basic_header(username, password)),
            Self::Token(token) => sensitive(&format!("Bearer {token}")),
        }
    }
}

impl Engines {
    /// A client for an endpoint, unless it needs what the library does not have.
    pub(super) fn engine(
        &self,
        certs_dirs: &[PathBuf],
        timeouts: Timeouts,
        base: &Url,
        trust: Trust,
        endpoint: &Endpoint,
        credential: &Credential,
    ) -> Option<Engine> {
        let key = Key {
            base: base.clone(),
            trust,
            credential: credential.clone(),
        };
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let mut clients = lock();
            let at = clients.iter().position(|(other, _)| *other == key);
            at.map(|at| {
                let entry = clients.remove(at);
                let client = entry.1.clone();
                clients.push(entry);
                client
            })
        };
        let client = match known {
            Some(client) => client,
            None => {
                let client = build(certs_dirs, timeouts, base, trust)?;
                let mut clients = lock();
                if clients.len() >= MAX_CLIENTS {
                    clients.remove(0);
                }
                clients.push((key, client.clone()));
                client
            }
        };
        Some(Engine {
            client,
            place: Reference::with_tag(
                endpoint.host.clone(),
                endpoint.repository.clone(),
                "latest".into(),
            ),
            timeouts,
            off: AtomicBool::new(false),
        })
    }
}

/// Makes a client. Where that fails, our own means say what is wrong.
fn build(dirs: &[PathBuf], timeouts: Timeouts, base: &Url, trust: Trust) -> Option<Client> {
    // On the way the library makes a client with defaults, and panics where that fails, as it does
    // without the system's authorities.
    static DEFAULTS: OnceLock<bool> = OnceLock::new();
    if !*DEFAULTS.get_or_init(|| reqwest::Client::builder().build().is_ok()) {
        return None;
    }
    let secure = base.scheme() == "https";
    let mut authorities = Vec::new();
    if secure {
        let certs = certs::load(dirs, &authority(base)).ok()?;
        if certs.identity.is_some() {
            return None;
        }
        authorities.extend(certs.authorities.into_iter().map(|data| Certificate {
            encoding: CertificateEncoding::Pem,
            data,
        }));
    }
    let config = ClientConfig {
        protocol: match secure {
            true => ClientProtocol::Https,
            false => ClientProtocol::Http,
        },
        accept_invalid_certificates: trust == Trust::Any,
        extra_root_certificates: authorities,
        connect_timeout: Some(timeouts.connect),
        read_timeout: Some(timeouts.stall),
        user_agent: USER_AGENT,
        platform_resolver: None,
        ..ClientConfig::default()
    };
    Client::try_from(config)
        .inspect_err(|error| {
            tracing::debug!(
                host = authority(base),
                error = error as &dyn std::error::Error,
                "no oci-client for a registry"
            );
        })
        .ok()
}

impl Engine {
    /// Lets the library authenticate as the registry was found to want it.
    ///
    /// Of its own means only those that send no request are used. With a token, [`Client::auth`] just
    /// remembers it, for this repository until it runs out, and for others while they have none.
    pub(super) async fn adopt(&self, grant: &Grant) {
        let pull = RegistryOperation::Pull;
        match grant {
            Grant::Token(token) => {
                let auth = RegistryAuth::Bearer(token.clone());
                let _ = self.client.auth(&self.place, &auth, pull).await;
            }
            Grant::Basic { username, password } => {
                let token = RegistryTokenType::Basic(username.clone(), password.clone());
                self.client.tokens.insert(&self.place, pull, token).await;
                let auth = RegistryAuth::Basic(username.clone(), password.clone());
                let registry = self.place.resolve_registry();
                self.client.store_auth_if_needed(registry, &auth).await;
            }
        }
    }

    /// A blob from byte `from` on.
    pub(super) async fn blob(&self, digest: &Digest, from: u64) -> Result<BlobBody, Miss> {
        if self.off.load(Ordering::Relaxed) {
            return Err(Miss::Ask);
        }
        let nowhere = Some(vec![NOWHERE.to_owned()]);
        let layer = LayerDescriptor {
            digest: digest.as_str(),
            urls: &nowhere,
        };
        let ask = async {
            match from {
                0 => {
                    let stream = self.client.pull_blob_stream(&self.place, &layer).await?;
                    Ok((stream, 0))
                }
                _ => {
                    let client = &self.client;
                    let answer = client.pull_blob_stream_partial(&self.place, &layer, from, None);
                    match answer.await? {
                        BlobResponse::Partial(stream) => Ok((stream, 0)),
                        // The server knows no ranges: it starts again at the front.
                        BlobResponse::Full(stream) => Ok((stream, from)),
                    }
                }
            }
        };
        let stall = self.timeouts.stall;
        match tokio::time::timeout(stall, ask).await {
            Ok(Ok((sized, skip))) => Ok(BlobBody::from_library(sized.stream, skip, stall)),
            Ok(Err(error)) => Err(self.miss(error)),
            Err(_) => Err(Miss::Failed(Failure::stalled(stall))),
        }
    }

    fn miss(&self, error: OciDistributionError) -> Miss {
        match error {
            OciDistributionError::RequestError(error) if error.is_connect() => {
                self.off.store(true, Ordering::Relaxed);
                Miss::Ask
            }
            OciDistributionError::RequestError(error) => {
                Miss::Failed(sending(error, self.timeouts.stall))
            }
            _ => Miss::Ask,
        }
    }
}

/// What an error of the library's HTTP client means.
fn sending(error: reqwest::Error, stall: Duration) -> Failure {
    if error.is_timeout() && !error.is_connect() {
        Failure::stalled(stall)
    } else {
        Failure::from_http(error)
    }
}

/// What an error in the library's stream means; nothing if it is the end.
///
/// The library compares digests at the end. Whether the bytes are right is for our own verifier to say,
/// which sees them whole where the library does not.
pub(super) fn streaming(error: io::Error, stall: Duration) -> Option<Failure> {
    let Some(inner) = error.into_inner() else {
        return Some(Failure::new(
            FailureKind::Transient,
            "the transfer broke off",
        ));
    };
    let inner = match inner.downcast::<DigestError>() {
        Ok(_) => return None,
        Err(inner) => inner,
    };
    Some(match inner.downcast::<reqwest::Error>() {
        Ok(error) => Failure {
            kind: FailureKind::Transient,
            ..sending(*error, stall)
        },
        Err(inner) => Failure::new(FailureKind::Transient, inner.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::mpsc::{UnboundedReceiver, unbounded_channel},
    };

    use super::*;
    use crate::image::registry::http::Http;

    const BLOB: &[u8] = b"0123456789";

    /// Gives each request the same answer, and tells what was asked.
    async fn server(answer: &'static str) -> (String, UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (tell, told) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut asked = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        asked.push(byte);
                        if asked.ends_with(b"\r\n\r\n") {
                            let _ = tell.send(String::from_utf8(asked.split_off(0)).unwrap());
                            stream.write_all(answer.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        (host, told)
    }

    fn engine(http: &Http, host: &str) -> Engine {
        let endpoint = Endpoint {
            host: host.to_owned(),
            repository: "team/app".into(),
            insecure: false,
            plain_http: true,
        };
        let base = Url::parse(&format!("http://{host}/")).unwrap();
        http.engine(&base, Trust::Verified, &endpoint, &Credential::Anonymous)
            .unwrap()
    }

    /// So patient that a test which waits for it fails by never ending.
    fn patient() -> Http {
        let long = Duration::from_secs(100_000);
        let timeouts = Timeouts {
            connect: long,
            stall: long,
        };
        Http::new(Vec::new(), timeouts)
    }

    #[tokio::test]
    async fn refusals_are_not_read() {
        let http = patient();
        for head in ["401 Unauthorized", "404 Not Found", "503 Unavailable"] {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 99999999999\r\n\r\n{{");
            let (host, _asked) = server(answer.leak()).await;
            let engine = engine(&http, &host);
            for from in [0, 4] {
                let missed = engine.blob(&Digest::of(BLOB), from).await.unwrap_err();
                assert!(matches!(missed, Miss::Ask), "{missed:?}");
            }
            assert!(!engine.off.load(Ordering::Relaxed));
        }
    }

    #[tokio::test]
    async fn blobs_come_whole_and_in_part() {
        let http = patient();
        for (from, answer) in [
            (0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"),
            (4, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"),
            (
                4,
                "HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\n\r\n456789",
            ),
        ] {
            let (host, mut asked) = server(answer).await;
            let engine = engine(&http, &host);
            engine.adopt(&Grant::Token("first".into())).await;
            engine.adopt(&Grant::Token("good".into())).await;
            let body = engine.blob(&Digest::of(BLOB), from).await.unwrap();
            assert_eq!(body.collect(10).await.unwrap(), BLOB[from as usize..]);
            let request = asked.recv().await.unwrap().to_lowercase();
            assert!(
                request.starts_with("get /v2/team/app/blobs/sha256:"),
                "{request}"
            );
            assert!(request.contains("authorization: bearer good"), "{request}");
            assert_eq!(request.contains("range: bytes=4-"), from == 4, "{request}");
            let body = engine.blob(&Digest::of(BLOB), from).await.unwrap();
            assert!(body.collect(5).await.is_err());
        }
    }

    #[tokio::test]
    async fn whose_digest_is_wrong_is_for_another_to_say() {
        let http = patient();
        let (host, _asked) =
            server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456780").await;
        let body = engine(&http, &host).blob(&Digest::of(BLOB), 0).await;
        assert_eq!(body.unwrap().collect(10).await.unwrap(), b"0123456780");
    }

    #[tokio::test]
    async fn silence_is_called_that() {
        let timeouts = Timeouts {
            connect: Duration::from_secs(100_000),
            stall: Duration::from_millis(50),
        };
        let http = Http::new(Vec::new(), timeouts);
        let (host, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01").await;
        let body = engine(&http, &host).blob(&Digest::of(BLOB), 0).await;
        let failure = body.unwrap().collect(10).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Transient);
        assert_eq!(failure.detail, "nothing came for 50ms");
        let (host, _asked) = server("").await;
        let missed = engine(&http, &host).blob(&Digest::of(BLOB), 0).await;
        assert!(matches!(missed, Err(Miss::Failed(f)) if f.detail == "nothing came for 50ms"));
    }

    #[tokio::test]
    async fn a_client_is_shared_by_those_with_one_credential() {
        let http = patient();
        let (host, mut asked) =
            server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789").await;
        let grant = Grant::Basic {
            username: "user".into(),
            password: "pass".into(),
        };
        engine(&http, &host).adopt(&grant).await;
        engine(&http, &host)
            .blob(&Digest::of(BLOB), 0)
            .await
            .unwrap();
        let request = asked.recv().await.unwrap();
        assert!(request.contains("Basic dXNlcjpwYXNz"), "{request}");
        for n in 0..2 * MAX_CLIENTS {
            engine(&http, &format!("127.0.0.1:{}", n + 1));
        }
        assert_eq!(http.engines.0.lock().unwrap().len(), MAX_CLIENTS);
    }

    #[tokio::test]
    async fn where_no_one_listens_our_own_means_say_so() {
        let http = patient();
        let engine = engine(&http, "127.0.0.1:1");
        let missed = engine.blob(&Digest::of(BLOB), 0).await.unwrap_err();
        assert!(matches!(missed, Miss::Ask), "{missed:?}");
        assert!(engine.off.load(Ordering::Relaxed));
    }
}
