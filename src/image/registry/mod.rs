//! The registry protocol, the reading half of it.
//!
//! oci-client moves the blobs ([`engine`], which says why not more). Beside it, on the HTTP client
//! itself, is what it does not do: manifests, tokens and refusals read within bounds, identity tokens,
//! and client certificates.

mod body;
mod certs;
pub(crate) mod challenge;
mod engine;
pub(crate) mod failure;
mod http;
mod tls;
pub(crate) mod token;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use tokio::sync::Mutex as AsyncMutex;

pub(crate) use body::BlobBody;
pub(crate) use failure::{Failure, FailureKind};
pub(crate) use http::{Http, Timeouts};

use self::{
    challenge::Challenge,
    engine::{Engine, Grant, Miss},
    http::{Answer, Get, Trust},
};
use super::{auth::Credential, digest::Digest, manifest, registries::Endpoint};

/// Hosts that were found to speak plain HTTP; shared by all sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainHosts(Arc<Mutex<HashSet<String>>>);

impl PlainHosts {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One repository at one host, spoken to with one credential.
#[derive(Debug)]
pub(crate) struct Session {
    http: Arc<Http>,
    endpoint: Endpoint,
    credential: Credential,
    base: Url,
    /// oci-client, where that can do what the endpoint needs.
    engine: Option<Engine>,
    authorization: AsyncMutex<Authorization>,
}

#[derive(Debug, Default)]
struct Authorization {
    header: Option<HeaderValue>,
    /// Counts renewals, so that requests refused together renew once.
    generation: u64,
}

/// A manifest as it came.
#[derive(Debug)]
pub(crate) struct RawManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
}

impl Session {
    /// Finds out how the endpoint is spoken to.
    pub(crate) async fn open(
        http: Arc<Http>,
        plain: &PlainHosts,
        endpoint: Endpoint,
        credential: Credential,
    ) -> Result<Self, Failure> {
        let trust = trust(&endpoint);
        let secure = base(&endpoint, "https")?;
        let base = if !endpoint.plain_http {
            secure
        } else if plain.set().contains(&endpoint.host) {
            base(&endpoint, "http")?
        } else {
            probe(&http, plain, &endpoint, trust, secure).await?
        };
        let engine = http.engine(&base, trust, &endpoint, &credential);
        let header = match &credential {
            Credential::Bearer(token) => {
                let grant = Grant::Token(token.clone());
                let header = grant.header()?;
                if let Some(engine) = &engine {
                    engine.adopt(&grant).await;
                }
                Some(header)
            }
            _ => None,
        };
        Ok(Self {
            http,
            endpoint,
            credential,
            base,
            engine,
            authorization: AsyncMutex::new(Authorization {
                header,
                generation: 0,
            }),
        })
    }

    /// A manifest by tag or digest.
    pub(crate) async fn manifest(&self, key: &str) -> Result<RawManifest, Failure> {
        let url = self.url("manifests", key)?;
        let response = self.get(url, Some(manifest::ACCEPT), 0).await?;
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let bytes = self.http.body(response, manifest::MAX_MANIFEST).await?;
        let digest = Digest::of(&bytes);
        Ok(RawManifest {
            bytes,
            media_type,
            digest,
        })
    }

    /// A whole blob of at most `most` bytes.
    pub(crate) async fn small_blob(
        &self,
        digest: &Digest,
        most: usize,
    ) -> Result<Vec<u8>, Failure> {
        self.blob(digest, 0).await?.collect(most).await
    }

    /// A blob from byte `from` on.
    pub(crate) async fn blob(&self, digest: &Digest, from: u64) -> Result<BlobBody, Failure> {
        if let Some(engine) = &self.engine {
            match engine.blob(digest, from).await {
                Ok(body) => return Ok(body),
                Err(Miss::Failed(failure)) => return Err(failure),
                // The answer to our own request says what is wrong, or is the blob.
                Err(Miss::Ask) => {}
            }
        }
        let url = self.url("blobs", digest.as_str())?;
        let response = self.get(url, None, from).await?;
        BlobBody::from_response(self.http.clone(), response, from)
    }

    fn url(&self, kind: &str, key: &str) -> Result<Url, Failure> {
        let path = format!("v2/{}/{kind}/{key}", self.endpoint.repository);
        self.base
            .join(&path)
            .map_err(|e| Failure::new(FailureKind::Protocol, e.to_string()))
    }

    /// Sends a request, and once more with new authorization when it is refused.
    async fn get(
        &self,
        url: Url,
        accept: Option<&'static str>,
        from: u64,
    ) -> Result<Response, Failure> {
        let mut renewed = false;
        loop {
            let (header, generation) = {
                let state = self.authorization.lock().await;
                (state.header.clone(), state.generation)
            };
            let Answer { response, own } = self
                .http
                .get(Get {
                    url: url.clone(),
                    trust: trust(&self.endpoint),
                    accept,
                    from,
                    authorization: header.as_ref(),
                })
                .await?;
            if response.status().is_success() {
                return Ok(response);
            }
            // A storage host that a registry points to gets no answer to its challenge.
            if response.status() != StatusCode::UNAUTHORIZED || !own || renewed {
                return Err(self.http.refusal(response).await);
            }
            renewed = true;
            self.renew(response, generation).await?;
        }
    }

    /// Meets the challenge of a refusal, unless another request has met it since.
    async fn renew(&self, refused: Response, generation: u64) -> Result<(), Failure> {
        let challenges: Vec<Challenge> = refused
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let mut state = self.authorization.lock().await;
        if state.generation != generation {
            return Ok(());
        }
        let bearer = challenges.iter().find_map(|c| match c {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        let grant = match (bearer, &self.credential) {
            // It was sent already, and refused.
            (_, Credential::Bearer(_)) => return Err(self.http.refusal(refused).await),
            (Some((realm, service)), credential) => {
                let token = token::fetch(
                    &self.http,
                    &token::Ask {
                        realm,
                        service: service.as_deref(),
                        repository: &self.endpoint.repository,
                        credential,
                        registry_is_https: self.base.scheme() == "https",
                        trust: trust(&self.endpoint),
                    },
                )
                .await?;
                Grant::Token(token)
            }
            (None, Credential::Basic { username, password })
                if challenges.contains(&Challenge::Basic) && state.header.is_none() =>
            {
                Grant::Basic {
                    username: username.clone(),
                    password: password.clone(),
                }
            }
            _ => return Err(self.http.refusal(refused).await),
        };
        // A token that is unfit for a header goes no further: the library would panic over it.
        state.header = Some(grant.header()?);
        if let Some(engine) = &self.engine {
            engine.adopt(&grant).await;
        }
        state.generation += 1;
        Ok(())
    }
}

/// A blob from an address outside any registry: without credentials, and by HTTP or HTTPS only.
pub(crate) async fn foreign_blob(
    http: &Arc<Http>,
    address: &str,
    from: u64,
) -> Result<BlobBody, Failure> {
    let url = Url::parse(address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
        .ok_or_else(|| Failure::new(FailureKind::Protocol, "foreign layer without HTTP address"))?;
    let answer = http
        .get(Get {
            url,
            trust: Trust::Verified,
            accept: None,
            from,
            authorization: None,
        })
        .await?;
    if !answer.response.status().is_success() {
        return Err(http.refusal(answer.response).await);
    }
    BlobBody::from_response(http.clone(), answer.response, from)
}

fn trust(endpoint: &Endpoint) -> Trust {
    if endpoint.insecure {
        Trust::Any
    } else {
        Trust::Verified
    }
}

fn base(endpoint: &Endpoint, scheme: &str) -> Result<Url, Failure> {
    Url::parse(&format!("{scheme}://{}/", endpoint.host))
        .map_err(|e| Failure::new(FailureKind::Protocol, e.to_string()))
}

/// Tries HTTPS, then HTTP, on a host that may speak either.
async fn probe(
    http: &Http,
    plain: &PlainHosts,
    endpoint: &Endpoint,
    trust: Trust,
    secure: Url,
) -> Result<Url, Failure> {
    let ask = |base: &Url| {
        let url = base
            .join("v2/")
            .map_err(|e| Failure::new(FailureKind::Protocol, e.to_string()));
        async move {
            http.get(Get {
                url: url?,
                trust,
                accept: None,
                from: 0,
                authorization: None,
            })
            .await
            .map(drop)
        }
    };
    let Err(first) = ask(&secure).await else {
        return Ok(secure);
    };
    // A certificate that fails is no invitation to do without.
    if !first.may_pass() || first.detail.contains("certificate") {
        return Err(first);
    }
    let open = base(endpoint, "http")?;
    ask(&open).await?;
    plain.set().insert(endpoint.host.clone());
    Ok(open)
}
