//! TLS with authorities of one registry's own.
//!
//! A registry's certificate may also be put there itself, as is customary for self-signed ones: such a
//! certificate often calls itself an authority, which the library refuses of a server. It is accepted
//! when it is, byte for byte, one that the administrator put there, and is in date and for the name.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
};
use rustls_platform_verifier::Verifier;

use super::certs::Certs;

/// A client's settings for a registry with certificates of its own.
pub(super) fn config(certs: &Certs) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let mut own = Vec::new();
    for pem in &certs.authorities {
        own.extend(certificates(pem)?);
    }
    let verifier = WithOwn::new(own, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match &certs.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(pem) => {
            let key = PrivateKeyDer::from_pem_slice(pem).map_err(|e| describe("key", &e))?;
            builder
                .with_client_auth_cert(certificates(pem)?, key)
                .map_err(|e| e.to_string())
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| describe("certificate", &e))?;
    if found.is_empty() {
        return Err("no certificate in PEM is in the file".into());
    }
    Ok(found)
}

fn describe(what: &str, error: &pem::Error) -> String {
    format!("the {what} cannot be read: {error}")
}

/// The usual verifier, and certificates that are trusted as they are.
#[derive(Debug)]
struct WithOwn {
    usual: Verifier,
    own: Vec<CertificateDer<'static>>,
}

impl WithOwn {
    fn new(
        own: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let usual =
            Verifier::new_with_extra_roots(own.clone(), provider).map_err(|e| e.to_string())?;
        Ok(Self { usual, own })
    }
}

/// Whether the only fault of a certificate is that it calls itself an authority.
///
/// The library looks at its dates before.
fn is_authority(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(_))
        && format!("{error:?}").contains("CaUsedAsEndEntity")
}

impl ServerCertVerifier for WithOwn {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(error) if is_authority(&error) && self.own.iter().any(|c| c == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
