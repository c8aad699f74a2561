//! How a request to a registry can fail.

use std::time::Duration;

use crate::image::{
    digest::clip,
    error::{ImageError, chain},
};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection.
    Unreachable,
    /// A failure that may pass: the server's trouble, a connection that broke or fell silent.
    Transient,
    /// Not there.
    NotFound,
    /// It does not know us.
    Unauthenticated,
    /// It knows us and refuses.
    Denied,
    /// An answer that makes no sense.
    Protocol,
    /// Our certificates for it are unusable.
    Certificates,
}

/// A request that failed. Its text holds no credential and no query string.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
    /// How long the server asks us to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// From an error of the HTTP client, without the URL, whose query may be a signature.
    pub(crate) fn from_http(error: reqwest::Error) -> Self {
        let kind = if error.is_connect() {
            FailureKind::Unreachable
        } else if error.is_builder() || error.is_request() && error.is_redirect() {
            FailureKind::Protocol
        } else {
            FailureKind::Transient
        };
        Self::new(kind, chain(&error.without_url()))
    }

    /// Nothing came for so long.
    pub(super) fn stalled(limit: Duration) -> Self {
        Self::new(
            FailureKind::Transient,
            format!("nothing came for {limit:?}"),
        )
    }

    /// Whether asking again may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.kind, FailureKind::Transient | FailureKind::Unreachable)
    }

    /// The error of the image whose pull this failed.
    pub(crate) fn of(self, image: &str, host: &str, step: &str) -> ImageError {
        let (image, host, step, detail) = (
            image.to_owned(),
            host.to_owned(),
            step.to_owned(),
            self.detail,
        );
        match self.kind {
            FailureKind::Unreachable | FailureKind::Transient => ImageError::Unavailable {
                image,
                host,
                step,
                detail,
            },
            FailureKind::NotFound => ImageError::NotFound {
                image,
                host,
                step,
                detail,
            },
            FailureKind::Unauthenticated | FailureKind::Denied => ImageError::Denied {
                image,
                host,
                step,
                known: self.kind == FailureKind::Denied,
                detail,
            },
            FailureKind::Protocol => ImageError::Protocol {
                image,
                host,
                step,
                detail,
            },
            FailureKind::Certificates => ImageError::Certificates { host, detail },
        }
    }
}

/// What an error document says, made fit for one line of a message.
pub(crate) fn document(status: u16, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let said = match serde_json::from_slice::<Document>(body) {
        Ok(document) => document
            .errors
            .iter()
            .take(3)
            .map(|e| format!("{}: {}", e.code, e.message))
            .collect::<Vec<_>>()
            .join("; "),
        Err(_) => String::new(),
    };
    let said: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if said.is_empty() {
        format!("HTTP status {status}")
    } else {
        format!("{} (HTTP status {status})", clip(&said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_one_line() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown","detail":{}}]}"#;
        assert_eq!(
            document(404, body),
            "MANIFEST_UNKNOWN: manifest unknown (HTTP status 404)"
        );
        assert_eq!(document(500, b"<html>"), "HTTP status 500");
    }

    #[test]
    fn an_unreachable_registry_is_called_so_first() {
        let error = Failure::new(FailureKind::Unreachable, "connection refused").of(
            "r.example/x",
            "r.example",
            "fetching the manifest",
        );
        let text = error.to_string();
        assert!(text.starts_with("RegistryUnavailable"), "{text}");
        for part in ["r.example/x", "fetching the manifest", "refused"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
