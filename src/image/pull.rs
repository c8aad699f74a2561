//! Pulling an image: name → manifest → configuration → layers → record.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Inner,
    auth::Auth,
    config::{self, Parsed},
    digest::Digest,
    error::{ErrorKind, ImageError},
    flights::{Flight, Landing},
    layers::{Origin, wanted},
    manifest::{Manifest, ManifestError},
    platform::Platform,
    progress::{Board, Progress, Step},
    record::{Image, ImageRecord, LayerRecord},
    reference::{Named, Reference},
    remote::{Remote, Resolved, check_platform},
};

/// What is asked of a pull.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// The image's name.
    pub reference: String,
    /// Credentials for its registry.
    pub auth: Option<Auth>,
    /// For another platform than this one.
    pub platform: Option<Platform>,
}

/// A pull under way, which goes on whether or not anyone waits for it.
#[derive(Debug)]
pub struct Pull {
    flight: Flight,
}

impl Pull {
    pub(super) fn new(flight: Flight) -> Self {
        Self { flight }
    }

    /// How far it is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.flight.board.watch()
    }

    /// Waits for its end.
    pub async fn wait(self) -> Result<Arc<Image>, ImageError> {
        self.flight.landing.await
    }
}

/// Two pulls with one key are one pull.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PullKey {
    names: Vec<Reference>,
    platform: Platform,
    auth: Option<Digest>,
}

/// A pull that can begin.
#[derive(Debug)]
pub(super) struct Prepared {
    names: Vec<Reference>,
    platform: Platform,
    auth: Option<Auth>,
    given: String,
}

impl Prepared {
    /// Checks a request, as far as that can be done without asking anyone.
    pub(super) fn new(inner: &Inner, request: PullRequest) -> Result<Self, ImageError> {
        let given = super::digest::clip(&request.reference);
        let named =
            Named::parse(&request.reference).map_err(|source| ImageError::InvalidReference {
                value: given.clone(),
                source,
            })?;
        let names =
            inner
                .registries()
                .candidates(&named)
                .map_err(|source| ImageError::Resolve {
                    image: given.clone(),
                    source,
                })?;
        let auth = request.auth.filter(|auth| *auth != Auth::default());
        if let Some(auth) = &auth {
            auth.credential()
                .map_err(|source| ImageError::Credentials {
                    image: given.clone(),
                    source,
                })?;
        }
        Ok(Self {
            names,
            platform: request
                .platform
                .unwrap_or_else(|| inner.config.platform.clone()),
            auth,
            given,
        })
    }

    pub(super) fn key(&self) -> PullKey {
        PullKey {
            names: self.names.clone(),
            platform: self.platform.clone(),
            auth: self.auth.as_ref().map(Auth::fingerprint),
        }
    }

    pub(super) fn given(&self) -> &str {
        &self.given
    }

    /// Does it. Of several names that a short one may stand for, the first that exists is taken.
    pub(super) async fn run(self, inner: Arc<Inner>, board: Board) -> Landing {
        let mut failed: Option<ImageError> = None;
        for name in &self.names {
            match self.pull(&inner, name, &board).await {
                Ok(image) => {
                    board.step(Step::Done);
                    return Ok(image);
                }
                Err(error) => {
                    let elsewhere = matches!(
                        error.kind(),
                        ErrorKind::NotFound
                            | ErrorKind::Unavailable
                            | ErrorKind::Unauthenticated
                            | ErrorKind::PermissionDenied
                    );
                    failed = Some(error);
                    if !elsewhere {
                        break;
                    }
                }
            }
        }
        Err(failed.unwrap_or(ImageError::Interrupted { image: self.given }))
    }

    async fn pull(&self, inner: &Arc<Inner>, name: &Reference, board: &Board) -> Landing {
        let resolution = inner
            .registries()
            .resolve(name.clone())
            .map_err(|source| ImageError::Resolve {
                image: name.to_string(),
                source,
            })?
            .allowing(&inner.config.insecure_registries);
        let net = inner.net.clone();
        let auth = self.auth.clone();
        let remote = super::blocking(&self.given, move || {
            Remote::new(net, &resolution, auth.as_ref())
        })
        .await??;
        let resolved = remote
            .resolve(name.manifest_key(), name.digest(), &self.platform)
            .await?;
        if !inner.config.allow_foreign_layers {
            resolved
                .manifest
                .refuse_foreign()
                .map_err(|source| manifest_error(remote.image(), source))?;
        }
        let bytes = remote.config(&resolved.manifest.config).await?;
        let parsed = read_config(remote.image(), &bytes, &self.platform, &resolved.manifest)?;
        let incoming = Incoming {
            id: resolved.manifest.config.digest.clone(),
            tags: name.tagged().into_iter().collect(),
            digests: vec![name.with_digest(&resolved.top)],
            inner_digests: names_of(name, &resolved),
            parsed,
            config_size: bytes.len() as u64,
        };
        let image = remote.image().to_owned();
        let origin = Origin::Remote(Arc::new(remote));
        receive(inner, &image, &resolved.manifest, incoming, &origin, board).await
    }
}

fn names_of(name: &Reference, resolved: &Resolved) -> Vec<String> {
    resolved
        .inner
        .iter()
        .map(|digest| name.with_digest(digest))
        .collect()
}

pub(super) fn manifest_error(image: &str, source: ManifestError) -> ImageError {
    ImageError::Manifest {
        image: image.to_owned(),
        source,
    }
}

/// Reads a configuration whose digest has been verified.
pub(super) fn read_config(
    image: &str,
    bytes: &[u8],
    platform: &Platform,
    manifest: &Manifest,
) -> Result<Parsed, ImageError> {
    let parsed = config::parse(bytes).map_err(|source| ImageError::Config {
        image: image.to_owned(),
        source,
    })?;
    check_platform(image, &parsed.config, platform)?;
    if parsed.diff_ids.len() != manifest.layers.len() {
        return Err(manifest_error(
            image,
            ManifestError::LayerCount {
                layers: manifest.layers.len(),
                diff_ids: parsed.diff_ids.len(),
            },
        ));
    }
    Ok(parsed)
}

/// An image about to come in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: Digest,
    pub(super) tags: Vec<String>,
    pub(super) digests: Vec<String>,
    pub(super) inner_digests: Vec<String>,
    pub(super) parsed: Parsed,
    pub(super) config_size: u64,
}

/// Brings the layers in and writes the image down; until then the layers are held.
pub(super) async fn receive(
    inner: &Arc<Inner>,
    image: &str,
    manifest: &Manifest,
    incoming: Incoming,
    origin: &Origin,
    board: &Board,
) -> Landing {
    board.layers(
        manifest
            .layers
            .iter()
            .map(|l| (l.blob.digest.clone(), l.blob.size)),
    );
    let wanted = wanted(&manifest.layers, &incoming.parsed.diff_ids);
    let _held = inner
        .hold_for_arrival(wanted.iter().map(|w| w.chain).collect())
        .await;
    let layers = inner.unpacker.bring(image, wanted, origin, board).await?;
    board.step(Step::Recording);
    inner.record(incoming.record(layers), image).await
}

impl Incoming {
    fn record(self, layers: Vec<LayerRecord>) -> ImageRecord {
        let now = super::now();
        let stamped = |names: Vec<String>| names.into_iter().map(|name| (name, now)).collect();
        ImageRecord {
            id: self.id,
            tags: stamped(self.tags),
            digests: stamped(self.digests),
            inner_digests: self.inner_digests.into_iter().collect(),
            size: layers.iter().map(|l| l.size).sum::<u64>() + self.config_size,
            layers,
            config: self.parsed.config,
            added_at: now,
        }
    }
}
