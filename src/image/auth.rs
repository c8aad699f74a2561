//! Credentials: what a request carries, and what a registry is shown of it.

use std::fmt;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};

use super::digest::{Digest, clip};

/// Credentials as the CRI's `AuthConfig` carries them; empty fields are not given.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// `base64(username:password)`.
    pub auth: String,
    /// The registry these are for; empty for that of the image.
    pub server_address: String,
    /// A refresh token for the registry's token service.
    pub identity_token: String,
    /// A token to send to the registry as it is.
    pub registry_token: String,
}

/// Credentials that cannot be used; never says more of them than which field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not base64, or not text.
    #[error("field \"auth\" of the credentials is not base64 of user:password")]
    Encoding,
    /// Characters that would end a header.
    #[error("field {0:?} of the credentials holds a control character")]
    Control(&'static str),
}

/// What is shown to one registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Nothing.
    Anonymous,
    /// A name and a password.
    Basic {
        /// Name.
        username: String,
        /// Password.
        password: String,
    },
    /// A refresh token for its token service.
    Identity(String),
    /// A bearer token.
    Bearer(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("server_address", &clip(&self.server_address))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

impl Auth {
    /// The credential these fields make.
    pub(crate) fn credential(&self) -> Result<Credential, AuthError> {
        let credential = if !self.registry_token.is_empty() {
            Credential::Bearer(self.registry_token.clone())
        } else if !self.identity_token.is_empty() {
            Credential::Identity(self.identity_token.clone())
        } else if !self.username.is_empty() {
            Credential::Basic {
                username: self.username.clone(),
                password: self.password.clone(),
            }
        } else if !self.auth.is_empty() {
            decode(&self.auth)?
        } else {
            Credential::Anonymous
        };
        credential.check()?;
        Ok(credential)
    }

    /// Whether these are meant for `host`, to which an image of `registry` may lead.
    ///
    /// Without an address they are for the image's own registry, and go nowhere else: a mirror gets
    /// only what names it.
    pub(crate) fn is_for(&self, host: &str, registry: &str) -> bool {
        let meant = if self.server_address.is_empty() {
            registry
        } else {
            address_host(&self.server_address)
        };
        canonical(meant) == canonical(host)
    }

    /// A key that tells these from others without keeping them.
    pub(crate) fn fingerprint(&self) -> Digest {
        let mut text = String::new();
        for field in [
            &self.username,
            &self.password,
            &self.auth,
            &self.server_address,
            &self.identity_token,
            &self.registry_token,
        ] {
            text.push_str(&format!("{}:{field}", field.len()));
        }
        Digest::of(text.as_bytes())
    }
}

impl Credential {
    fn check(&self) -> Result<(), AuthError> {
        let bad = |text: &str| text.chars().any(char::is_control);
        match self {
            Self::Basic { username, .. } if bad(username) => Err(AuthError::Control("username")),
            Self::Basic { password, .. } if bad(password) => Err(AuthError::Control("password")),
            Self::Identity(token) if bad(token) => Err(AuthError::Control("identity_token")),
            Self::Bearer(token) if bad(token) => Err(AuthError::Control("registry_token")),
            _ => Ok(()),
        }
    }
}

/// Reads `base64(username:password)`.
pub(crate) fn decode(text: &str) -> Result<Credential, AuthError> {
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let bytes = lenient
        .decode(text.trim())
        .map_err(|_| AuthError::Encoding)?;
    let text = String::from_utf8(bytes).map_err(|_| AuthError::Encoding)?;
    let (username, password) = text.split_once(':').ok_or(AuthError::Encoding)?;
    Ok(Credential::Basic {
        username: username.to_owned(),
        // Some tools pad with NUL bytes.
        password: password.trim_end_matches('\0').to_owned(),
    })
}

/// The value of a `Basic` authorization header.
pub(crate) fn basic_header(username: &str, password: &str) -> String {
    let text = format!("{username}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

/// The host of a server address, which may be a URL.
pub(crate) fn address_host(address: &str) -> &str {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    rest.split('/').next().unwrap_or_default()
}

/// Docker Hub has several hosts for one set of accounts; ports that go without saying are dropped.
pub(crate) fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(":443").unwrap_or(&host) {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" | "auth.docker.io" => {
            "docker.io".into()
        }
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(u: &str, p: &str) -> Credential {
        Credential::Basic {
            username: u.into(),
            password: p.into(),
        }
    }

    #[test]
    fn every_form_is_understood() {
        let auth = |f: fn(&mut Auth)| {
            let mut auth = Auth::default();
            f(&mut auth);
            auth.credential()
        };
        assert_eq!(auth(|_| {}), Ok(Credential::Anonymous));
        assert_eq!(
            auth(|a| {
                a.username = "u".into();
                a.password = "p:q".into();
            }),
            Ok(basic("u", "p:q"))
        );
        assert_eq!(auth(|a| a.auth = "dTpwOnE=".into()), Ok(basic("u", "p:q")));
        assert_eq!(auth(|a| a.auth = "dTpwOnE".into()), Ok(basic("u", "p:q")));
        assert_eq!(auth(|a| a.auth = "%%".into()), Err(AuthError::Encoding));
        assert_eq!(
            auth(|a| a.auth = "dXNlcg==".into()),
            Err(AuthError::Encoding)
        );
        assert_eq!(
            auth(|a| a.registry_token = "t\r\nX: y".into()),
            Err(AuthError::Control("registry_token"))
        );
        assert_eq!(
            auth(|a| a.identity_token = "t".into()),
            Ok(Credential::Identity("t".into()))
        );
    }

    #[test]
    fn credentials_go_to_their_registry_alone() {
        let unaddressed = Auth::default();
        assert!(unaddressed.is_for("r.example:5000", "r.example:5000"));
        assert!(!unaddressed.is_for("mirror.example", "r.example:5000"));
        assert!(unaddressed.is_for("registry-1.docker.io", "docker.io"));
        let addressed = Auth {
            server_address: "https://index.docker.io/v1/".into(),
            ..Auth::default()
        };
        assert!(addressed.is_for("registry-1.docker.io", "docker.io"));
        assert!(!addressed.is_for("quay.io", "quay.io"));
        let mirror = Auth {
            server_address: "mirror.example".into(),
            ..Auth::default()
        };
        assert!(mirror.is_for("mirror.example", "r.example"));
        assert!(!mirror.is_for("r.example", "r.example"));
        assert!(!mirror.is_for("mirror.example.evil", "r.example"));
    }

    #[test]
    fn nothing_is_shown() {
        let auth = Auth {
            username: "hidden-user".into(),
            password: "hidden-pass".into(),
            auth: "hidden-auth".into(),
            identity_token: "hidden-id".into(),
            registry_token: "hidden-reg".into(),
            server_address: "shown.example".into(),
        };
        let text = format!("{auth:?} {:?}", basic("hidden-u", "hidden-p"));
        assert!(!text.contains("hidden"), "{text}");
        assert!(text.contains("shown.example"));
    }

    #[test]
    fn fingerprints_differ_when_fields_do() {
        let a = Auth {
            username: "ab".into(),
            password: "c".into(),
            ..Auth::default()
        };
        let b = Auth {
            username: "a".into(),
            password: "bc".into(),
            ..Auth::default()
        };
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.fingerprint(), a.clone().fingerprint());
    }
}
