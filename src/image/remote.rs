//! A repository, wherever it is to be had: mirrors in turn, failures that pass waited out.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, OnceCell};

use super::{
    auth::{Auth, Credential},
    authfile,
    config::ImageConfig,
    digest::Digest,
    error::ImageError,
    manifest::{self, Document, Entry, Layer, Manifest},
    platform::Platform,
    progress::Meter,
    registries::Resolution,
    registry::{Failure, FailureKind, Http, PlainHosts, RawManifest, Session, foreign_blob},
    stream::{Piece, Sender},
};

/// Longest wait between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// Indexes that may lead to one another.
const MAX_NESTING: usize = 3;

/// How failures are waited out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Tries in a row that may bring nothing.
    pub(crate) tries: u32,
    /// Wait after the first, doubled with each.
    pub(crate) backoff: Duration,
}

/// What all pulls share.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    pub(crate) http: Arc<Http>,
    pub(crate) plain: PlainHosts,
    pub(crate) retry: Retry,
    pub(crate) auth_file: Option<std::path::PathBuf>,
}

/// The places of one image.
#[derive(Debug)]
pub(crate) struct Remote {
    net: Net,
    /// For messages.
    image: String,
    places: Vec<Place>,
    /// The place that gave the manifest, and so most likely has the rest.
    chosen: Mutex<usize>,
}

#[derive(Debug)]
struct Place {
    endpoint: super::registries::Endpoint,
    credential: Credential,
    session: OnceCell<Session>,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Digest of the document that the name leads to.
    pub(crate) top: Digest,
    /// Digests of the documents below it that led to the image.
    pub(crate) inner: Vec<Digest>,
    /// The image.
    pub(crate) manifest: Manifest,
}

impl Remote {
    /// Prepares to ask for an image, without asking yet.
    pub(crate) fn new(
        net: Net,
        resolution: &Resolution,
        auth: Option<&Auth>,
    ) -> Result<Self, ImageError> {
        let image = resolution.reference.to_string();
        let registry = resolution.reference.registry();
        let mut places = Vec::with_capacity(resolution.endpoints.len());
        for endpoint in &resolution.endpoints {
            let given = auth.filter(|auth| auth.is_for(&endpoint.host, registry));
            let mut credential = match given {
                Some(auth) => auth
                    .credential()
                    .map_err(|source| ImageError::Credentials {
                        image: image.clone(),
                        source,
                    })?,
                None => Credential::Anonymous,
            };
            if let (Credential::Anonymous, Some(path)) = (&credential, &net.auth_file) {
                credential = authfile::find(path, &endpoint.host, &endpoint.repository).map_err(
                    |source| ImageError::AuthFile {
                        image: image.clone(),
                        source: Arc::new(source),
                    },
                )?;
            }
            places.push(Place {
                endpoint: endpoint.clone(),
                credential,
                session: OnceCell::new(),
            });
        }
        Ok(Self {
            net,
            image,
            places,
            chosen: Mutex::new(0),
        })
    }

    /// The image's full name.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Finds the manifest for a platform behind a tag or a digest.
    pub(crate) async fn resolve(
        &self,
        key: &str,
        expected: Option<&Digest>,
        platform: &Platform,
    ) -> Result<Resolved, ImageError> {
        let mut failed: Option<ImageError> = None;
        for n in 0..self.places.len() {
            match self.resolve_at(n, key, expected, platform).await {
                Ok(resolved) => {
                    *self.chosen.lock().await = n;
                    return Ok(resolved);
                }
                Err(error) => {
                    if n + 1 < self.places.len() {
                        tracing::info!(%error, "a mirror does not have the image");
                    }
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| ImageError::Interrupted {
            image: self.image.clone(),
        }))
    }

    async fn resolve_at(
        &self,
        place: usize,
        key: &str,
        expected: Option<&Digest>,
        platform: &Platform,
    ) -> Result<Resolved, ImageError> {
        let raw = self.manifest(place, key).await?;
        self.verify("the manifest", expected, &raw)?;
        let top = raw.digest.clone();
        let mut document = self.parse(&raw, &raw.media_type)?;
        let mut inner = Vec::new();
        for _ in 0..=MAX_NESTING {
            let entries = match document {
                Document::Image(manifest) => {
                    return Ok(Resolved {
                        top,
                        inner,
                        manifest,
                    });
                }
                Document::Index(entries) => entries,
            };
            let entry = choose(&self.image, &entries, platform)?;
            let raw = self.manifest(place, entry.digest.as_str()).await?;
            self.verify("the manifest", Some(&entry.digest), &raw)?;
            inner.push(raw.digest.clone());
            document = self.parse(&raw, &entry.media_type)?;
        }
        Err(ImageError::Manifest {
            image: self.image.clone(),
            source: manifest::ManifestError::Nested,
        })
    }

    async fn manifest(&self, place: usize, key: &str) -> Result<RawManifest, ImageError> {
        self.patiently(place, "fetching the manifest", |session| {
            session.manifest(key)
        })
        .await
    }

    /// The image's configuration.
    pub(crate) async fn config(&self, blob: &manifest::Descriptor) -> Result<Vec<u8>, ImageError> {
        let place = *self.chosen.lock().await;
        let bytes = self
            .patiently(place, "fetching the configuration", |session| {
                session.small_blob(&blob.digest, manifest::MAX_CONFIG)
            })
            .await?;
        let actual = Digest::of(&bytes);
        if actual != blob.digest {
            return Err(ImageError::DigestMismatch {
                image: self.image.clone(),
                what: "the configuration".into(),
                expected: blob.digest.clone(),
                actual: actual.to_string(),
            });
        }
        Ok(bytes)
    }

    /// Sends a layer's blob into the pipe, resuming where it broke off.
    ///
    /// Returns early, without an error, when the reading side is gone: then that has the reason.
    pub(crate) async fn feed(
        &self,
        layer: &Layer,
        pipe: &Sender,
        mut meter: Meter,
    ) -> Result<(), ImageError> {
        let size = layer.blob.size;
        let first = *self.chosen.lock().await;
        let others = (0..self.places.len()).filter(|n| *n != first);
        let places: Vec<Source<'_>> = std::iter::once(first)
            .chain(others)
            .map(Source::Place)
            .chain(layer.urls.iter().map(|url| Source::Foreign(url)))
            .collect();
        let mut sent = 0u64;
        let mut failed: Option<ImageError> = None;
        for source in places {
            let mut fruitless = 0u32;
            loop {
                let before = sent;
                let failure = match self
                    .transfer(source, layer, &mut sent, pipe, &mut meter)
                    .await
                {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                };
                fruitless = if sent > before { 1 } else { fruitless + 1 };
                let again = failure.may_pass() && fruitless < self.net.retry.tries;
                tracing::debug!(image = %self.image, layer = %layer.blob.digest, sent, size, again,
                    reason = failure.detail, "a download broke off");
                if again {
                    tokio::time::sleep(self.net.retry.wait(fruitless, &failure)).await;
                    continue;
                }
                let step = format!("fetching layer {}", layer.blob.digest);
                failed = Some(failure.of(&self.image, &self.host(source), &step));
                break;
            }
        }
        Err(failed.unwrap_or_else(|| ImageError::Interrupted {
            image: self.image.clone(),
        }))
    }

    /// One try at the rest of a blob.
    async fn transfer(
        &self,
        source: Source<'_>,
        layer: &Layer,
        sent: &mut u64,
        pipe: &Sender,
        meter: &mut Meter,
    ) -> Result<(), Failure> {
        let size = layer.blob.size;
        let mut body = match source {
            Source::Place(n) => {
                let session = self.session(n).await?;
                session.blob(&layer.blob.digest, *sent).await?
            }
            Source::Foreign(url) => foreign_blob(&self.net.http, url, *sent).await?,
        };
        while *sent < size {
            let Some(chunk) = body.chunk().await? else {
                return Err(Failure::new(
                    FailureKind::Transient,
                    format!("the transfer ended after {sent} of {size} bytes"),
                ));
            };
            // What exceeds the promised size is seen by the verifier as the wrong size.
            *sent += chunk.len() as u64;
            meter.advance(chunk.len());
            if pipe.send(Piece::Data(chunk)).await.is_err() {
                return Ok(());
            }
        }
        let _ = pipe.send(Piece::End).await;
        Ok(())
    }

    /// Asks, and asks again where that may help.
    async fn patiently<'a, T, F, Fut>(
        &'a self,
        place: usize,
        step: &str,
        ask: F,
    ) -> Result<T, ImageError>
    where
        F: Fn(&'a Session) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut tried = 0;
        loop {
            let failure = match self.session(place).await {
                Ok(session) => match ask(session).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            tried += 1;
            // A registry that is not there is for the caller to try again; it holds no work of ours.
            if failure.kind != FailureKind::Transient || tried >= self.net.retry.tries {
                return Err(failure.of(&self.image, &self.host(Source::Place(place)), step));
            }
            tokio::time::sleep(self.net.retry.wait(tried, &failure)).await;
        }
    }

    async fn session(&self, place: usize) -> Result<&Session, Failure> {
        let place = self
            .places
            .get(place)
            .ok_or_else(|| Failure::new(FailureKind::Protocol, "no such place"))?;
        place
            .session
            .get_or_try_init(|| {
                Session::open(
                    self.net.http.clone(),
                    &self.net.plain,
                    place.endpoint.clone(),
                    place.credential.clone(),
                )
            })
            .await
    }

    fn host(&self, source: Source<'_>) -> String {
        match source {
            Source::Place(n) => self
                .places
                .get(n)
                .map(|p| p.endpoint.host.clone())
                .unwrap_or_default(),
            Source::Foreign(_) => "foreign layer".into(),
        }
    }

    fn verify(
        &self,
        what: &str,
        expected: Option<&Digest>,
        raw: &RawManifest,
    ) -> Result<(), ImageError> {
        match expected {
            Some(expected) if *expected != raw.digest => Err(ImageError::DigestMismatch {
                image: self.image.clone(),
                what: what.into(),
                expected: expected.clone(),
                actual: raw.digest.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn parse(&self, raw: &RawManifest, media_type: &str) -> Result<Document, ImageError> {
        Document::parse(&raw.bytes, media_type).map_err(|source| ImageError::Manifest {
            image: self.image.clone(),
            source,
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Place(usize),
    Foreign(&'a str),
}

impl Retry {
    fn wait(&self, tried: u32, failure: &Failure) -> Duration {
        let doubled = self
            .backoff
            .saturating_mul(1 << tried.saturating_sub(1).min(10));
        failure
            .retry_after
            .unwrap_or_default()
            .max(doubled)
            .min(MAX_BACKOFF)
    }
}

/// The entry for a platform, or an error that says what there is.
pub(crate) fn choose<'a>(
    image: &str,
    entries: &'a [Entry],
    platform: &Platform,
) -> Result<&'a manifest::Descriptor, ImageError> {
    manifest::choose(entries, platform)
        .map(|entry| &entry.manifest)
        .map_err(|available| ImageError::NoPlatform {
            image: image.to_owned(),
            wanted: platform.clone(),
            available,
        })
}

/// Refuses a configuration for another platform.
pub(crate) fn check_platform(
    image: &str,
    config: &ImageConfig,
    wanted: &Platform,
) -> Result<(), ImageError> {
    match config.platform() {
        Some(platform) if wanted.rank(&platform).is_none() => Err(ImageError::NoPlatform {
            image: image.to_owned(),
            wanted: wanted.clone(),
            available: vec![platform.to_string()],
        }),
        _ => Ok(()),
    }
}
