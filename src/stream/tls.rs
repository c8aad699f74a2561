//! The certificate of the streaming server, read again when its files change.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

/// Largest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// The files of a server's identity, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate, with those that lead to its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients; clients need no certificate when there are none.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.cert, &self.key]
            .into_iter()
            .chain(&self.client_ca)
            .map(PathBuf::as_path)
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The certificate and the key do not make an identity.
    #[error("using the certificate {} with its key", path.display())]
    Identity {
        /// The certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("using the clients' authorities")]
    Clients(#[source] VerifierBuilderError),
}

/// What tells a changed file: a replaced one has another inode.
type Stamp = Vec<(u64, u64, i64, i64)>;

/// The identity in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: Mutex<(Stamp, Arc<ServerConfig>)>,
}

impl Tls {
    /// Reads the files. Blocking, but brief.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // First: what changes while it is read is read again.
        let stamp = stamp(&files).unwrap_or_default();
        let config = config(&files)?;
        Ok(Self {
            files,
            current: Mutex::new((stamp, config)),
        })
    }

    /// The identity for the next connection: the files' present one, or the last that worked. Blocking, but brief.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(stamp) = stamp(&self.files)
            && stamp != current.0
        {
            match config(&self.files) {
                Ok(config) => {
                    info!(cert = %self.files.cert.display(), "the streaming certificate was read again");
                    current.1 = config;
                }
                Err(error) => warn!(
                    error = crate::causes::whole(&error),
                    "the streaming certificate changed and cannot be used; the old one stays"
                ),
            }
            current.0 = stamp;
        }
        current.1.clone().into()
    }
}

fn stamp(files: &TlsFiles) -> io::Result<Stamp> {
    files
        .all()
        .map(|path| {
            let meta = fs::metadata(path)?;
            Ok((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        })
        .collect()
}

fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let certs = certificates(&files.cert)?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|source| TlsError::Pem {
            path: files.key.clone(),
            what: "key",
            source,
        })?;
    let identity = |source| TlsError::Identity {
        path: files.cert.clone(),
        source,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(identity)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|source| TlsError::Identity {
                    path: path.clone(),
                    source,
                })?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(TlsError::Clients)?)
        }
    };
    let mut config = builder.with_single_cert(certs, key).map_err(identity)?;
    // An upgrade is of HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    match found.is_empty() {
        true => Err(wrong(pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
        .map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}
