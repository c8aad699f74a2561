//! Image references and credentials.

use std::fmt;

use super::{
    error::{At, FieldError},
    text,
};
use crate::{
    container::spec::ImageRef,
    cri::{api, control_api},
};

/// Longest reference: a name of 255 characters, a tag of 128 and a digest, with room to spare.
const REFERENCE_MAX: usize = 1024;
/// Longest credential.
const CREDENTIAL_MAX: usize = 64 * 1024;

/// An image that must be named. Whether the name is well-formed the image part says.
pub fn reference(at: &At<'_>, spec: Option<api::ImageSpec>) -> Result<ImageRef, FieldError> {
    let spec = spec.ok_or_else(|| at.missing())?;
    Ok(ImageRef {
        image: name(&at.field("image"), spec.image)?,
        user_specified: text::text(
            &at.field("user_specified_image"),
            spec.user_specified_image,
            REFERENCE_MAX,
        )?,
        annotations: text::map(&at.field("annotations"), spec.annotations)?,
    })
}

/// The name of an image: a word.
pub fn name(at: &At<'_>, value: String) -> Result<String, FieldError> {
    text::word(at, value, REFERENCE_MAX)
}

/// A reference back to the protocol.
pub fn to_api(image: &ImageRef) -> api::ImageSpec {
    api::ImageSpec {
        image: image.image.clone(),
        annotations: image.annotations.clone().into_iter().collect(),
        user_specified_image: image.user_specified.clone(),
        ..Default::default()
    }
}

/// Credentials for a registry, as a caller gives them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// `user:password` in base 64; stands in for the two.
    pub auth: String,
    /// The registry they are for; empty for the image's.
    pub server_address: String,
    /// Traded for a token at the registry's token service.
    pub identity_token: String,
    /// Sent to the registry as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

/// Credentials; all fields empty means none. No message repeats a value.
pub fn credentials(
    at: &At<'_>,
    auth: Option<api::AuthConfig>,
) -> Result<Option<Credentials>, FieldError> {
    let Some(auth) = auth else { return Ok(None) };
    checked(
        at,
        Credentials {
            username: auth.username,
            password: auth.password,
            auth: auth.auth,
            server_address: auth.server_address,
            identity_token: auth.identity_token,
            registry_token: auth.registry_token,
        },
    )
}

/// Credentials of corten's own service, likewise.
pub fn control_credentials(
    at: &At<'_>,
    given: control_api::Credentials,
) -> Result<Option<Credentials>, FieldError> {
    checked(
        at,
        Credentials {
            username: given.username,
            password: given.password,
            identity_token: given.identity_token,
            registry_token: given.registry_token,
            ..Default::default()
        },
    )
}

fn checked(at: &At<'_>, given: Credentials) -> Result<Option<Credentials>, FieldError> {
    let fields = [
        ("username", &given.username),
        ("password", &given.password),
        ("auth", &given.auth),
        ("server_address", &given.server_address),
        ("identity_token", &given.identity_token),
        ("registry_token", &given.registry_token),
    ];
    for (name, value) in fields {
        if value.len() > CREDENTIAL_MAX {
            return Err(at.field(name).wrong(format!(
                "is {} bytes long, at most {CREDENTIAL_MAX} are possible",
                value.len()
            )));
        }
        if value.contains(['\0', '\r', '\n']) {
            return Err(at.field(name).wrong("has a NUL or a line break"));
        }
    }
    let secrets = [
        &given.username,
        &given.password,
        &given.auth,
        &given.identity_token,
        &given.registry_token,
    ];
    if secrets.iter().all(|s| s.is_empty()) {
        return Ok(None);
    }
    Ok(Some(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("image");

    #[test]
    fn references() {
        let spec = |image: &str| {
            Some(api::ImageSpec {
                image: image.into(),
                ..Default::default()
            })
        };
        assert!(reference(&AT, spec("docker.io/library/busybox:1@sha256:00")).is_ok());
        assert_eq!(
            reference(&AT, None).unwrap_err().to_string(),
            "image: is required"
        );
        assert_eq!(
            reference(&AT, spec("")).unwrap_err().to_string(),
            "image.image: is required"
        );
        assert!(reference(&AT, spec("a b")).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = |password: &str| {
            Some(api::AuthConfig {
                username: "u".into(),
                password: password.into(),
                ..Default::default()
            })
        };
        let given = credentials(&AT, auth("s3cret")).unwrap().unwrap();
        assert!(!format!("{given:?}").contains("s3cret"));
        let error = credentials(&AT, auth("s3cret\n")).unwrap_err().to_string();
        assert!(!error.contains("s3cret"));
        assert_eq!(credentials(&AT, Some(api::AuthConfig::default())), Ok(None));
    }
}
