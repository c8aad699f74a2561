//! Requests: one HTTP client per trust setting, and redirects that take no credentials along.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, Identity, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    certs::{self, Certs},
    engine::{Engine, Engines},
    failure::{Failure, FailureKind, document},
    tls,
};
use crate::image::{auth::Credential, registries::Endpoint};

const MAX_REDIRECTS: usize = 8;
/// Most of an error document that is read.
const MAX_ERROR: usize = 64 << 10;
pub(super) const USER_AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For a connection.
    pub(crate) connect: Duration,
    /// For the next bytes of an answer.
    pub(crate) stall: Duration,
}

/// The HTTP clients, by host and trust.
#[derive(Debug)]
pub(crate) struct Http {
    certs_dirs: Vec<PathBuf>,
    timeouts: Timeouts,
    clients: Mutex<HashMap<(String, Trust), Client>>,
    pub(super) engines: Engines,
}

/// Whether a server must prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// By a certificate.
    Verified,
    /// It need not.
    Any,
}

/// A request to send.
#[derive(Debug, Clone)]
pub(super) struct Get<'a> {
    /// Where.
    pub(super) url: Url,
    /// Whether the host of the URL must prove itself.
    pub(super) trust: Trust,
    /// Media types wanted.
    pub(super) accept: Option<&'static str>,
    /// First byte wanted.
    pub(super) from: u64,
    /// For the host of the URL, and no other.
    pub(super) authorization: Option<&'a HeaderValue>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether it comes from the host that was asked, not one it pointed to.
    pub(super) own: bool,
}

impl Http {
    pub(crate) fn new(certs_dirs: Vec<PathBuf>, timeouts: Timeouts) -> Self {
        // Another part of the process may have chosen already, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            certs_dirs,
            timeouts,
            clients: Mutex::default(),
            engines: Engines::default(),
        }
    }

    /// What moves an endpoint's blobs, unless only [`Http::get`] can.
    pub(super) fn engine(
        &self,
        base: &Url,
        trust: Trust,
        endpoint: &Endpoint,
        credential: &Credential,
    ) -> Option<Engine> {
        self.engines.engine(
            &self.certs_dirs,
            self.timeouts,
            base,
            trust,
            endpoint,
            credential,
        )
    }

    /// The client for a URL's host.
    pub(super) fn client(&self, url: &Url, trust: Trust) -> Result<Client, Failure> {
        let key = (authority(url), trust);
        let lock = || self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lock().get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key.0, url, trust)?;
        Ok(lock().entry(key).or_insert(client).clone())
    }

    fn build(&self, host: &str, url: &Url, trust: Trust) -> Result<Client, Failure> {
        let bad = |detail: String| Failure::new(FailureKind::Certificates, detail);
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(self.timeouts.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .danger_accept_invalid_certs(trust == Trust::Any);
        if url.scheme() == "http" {
            // No TLS, so no need of the system's authorities, which may be missing.
            builder = builder.tls_certs_only([]);
        } else {
            let certs = certs::load(&self.certs_dirs, host).map_err(bad)?;
            match (&certs.identity, trust) {
                (Some(pem), Trust::Any) => {
                    let identity = Identity::from_pem(pem).map_err(|e| bad(e.to_string()))?;
                    builder = builder.identity(identity);
                }
                (_, Trust::Verified) if certs != Certs::default() => {
                    let config =
                        tls::config(&certs).map_err(|e| bad(format!("in certs.d/{host}: {e}")))?;
                    builder = builder.tls_backend_preconfigured(config);
                }
                _ => {}
            }
        }
        builder
            .build()
            .map_err(|e| bad(crate::image::error::chain(&e)))
    }

    /// Sends a request and follows redirects.
    pub(super) async fn get(&self, get: Get<'_>) -> Result<Answer, Failure> {
        let mut url = get.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let own = same_origin(&url, &get.url);
            // Another host proves itself, whatever this one may be spared.
            let trust = if own { get.trust } else { Trust::Verified };
            let mut request = self.client(&url, trust)?.get(url.clone());
            if let Some(accept) = get.accept {
                request = request.header(ACCEPT, accept);
            }
            if get.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", get.from));
            }
            if let Some(authorization) = get.authorization
                && own
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = self.answered(request).await?;
            let Some(next) = redirect(&url, &response)? else {
                return Ok(Answer { response, own });
            };
            if url.scheme() == "https" && next.scheme() != "https" && get.trust == Trust::Verified {
                return Err(Failure::new(
                    FailureKind::Protocol,
                    format!("redirect from HTTPS to plain HTTP at {}", authority(&next)),
                ));
            }
            url = next;
        }
        Err(Failure::new(
            FailureKind::Protocol,
            format!("more than {MAX_REDIRECTS} redirects"),
        ))
    }

    /// The head of the answer, unless the server falls silent.
    pub(super) async fn answered(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, Failure> {
        match tokio::time::timeout(self.timeouts.stall, request.send()).await {
            Ok(sent) => sent.map_err(Failure::from_http),
            Err(_) => Err(self.stalled()),
        }
    }

    /// The next bytes of a body.
    pub(super) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        match tokio::time::timeout(self.timeouts.stall, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|e| {
                Failure::new(
                    FailureKind::Transient,
                    crate::image::error::chain(&e.without_url()),
                )
            }),
            Err(_) => Err(self.stalled()),
        }
    }

    /// A whole body of at most `most` bytes.
    pub(super) async fn body(
        &self,
        mut response: Response,
        most: usize,
    ) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > most {
                return Err(Failure::new(
                    FailureKind::Protocol,
                    format!("the answer is larger than {most} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What an answer that is no success means.
    pub(super) async fn refusal(&self, mut response: Response) -> Failure {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        while body.len() < MAX_ERROR
            && let Ok(Some(chunk)) = self.chunk(&mut response).await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(MAX_ERROR);
        let kind = match status {
            StatusCode::NOT_FOUND => FailureKind::NotFound,
            StatusCode::UNAUTHORIZED => FailureKind::Unauthenticated,
            StatusCode::FORBIDDEN => FailureKind::Denied,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => FailureKind::Transient,
            s if s.is_server_error() => FailureKind::Transient,
            _ => FailureKind::Protocol,
        };
        Failure {
            kind,
            detail: document(status.as_u16(), &body),
            retry_after,
        }
    }

    fn stalled(&self) -> Failure {
        Failure::stalled(self.timeouts.stall)
    }
}

/// `host[:port]` as an endpoint names it.
pub(super) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

/// Whether two URLs lead to one server by one protocol.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let bad = || Failure::new(FailureKind::Protocol, "redirect to nowhere");
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|v| v.to_str().ok())
        .ok_or_else(bad)?;
    let url = from.join(location).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad());
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_apart() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(same_origin(
            &url("https://a.b/x"),
            &url("https://a.b:443/y")
        ));
        assert!(!same_origin(&url("https://a.b/"), &url("http://a.b/")));
        assert!(!same_origin(&url("https://a.b/"), &url("https://a.b:444/")));
        assert!(!same_origin(&url("https://a.b/"), &url("https://a.b.c/")));
    }
}
