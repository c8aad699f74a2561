//! The file of credentials, containers-auth.json(5) or Docker's config.json.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::auth::{AuthError, Credential, address_host, canonical, decode};

const MAX_FILE: u64 = 1 << 20;

/// A file of credentials that cannot be used; its content never shows.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// It cannot be read.
    #[error("reading the credentials in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large.
    #[error("{0} is larger than {MAX_FILE} bytes")]
    TooLarge(PathBuf),
    /// It is no JSON of the expected shape.
    #[error("{path} is malformed at line {line}, column {column}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// An entry is malformed.
    #[error("{path}: auths[{key:?}]")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry.
        key: String,
        /// Why.
        #[source]
        source: AuthError,
    },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

/// The credential of the file at `path` for a repository at a host; a missing file has none.
///
/// The longest entry that covers `host/repository` wins.
pub(crate) fn find(path: &Path, host: &str, repository: &str) -> Result<Credential, AuthFileError> {
    let read = |source| AuthFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Credential::Anonymous),
        Err(e) => return Err(read(e)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(read)?;
    if text.len() as u64 > MAX_FILE {
        return Err(AuthFileError::TooLarge(path.to_owned()));
    }
    find_in(&text, path, host, repository)
}

/// The same in a file's text.
pub(crate) fn find_in(
    text: &[u8],
    path: &Path,
    host: &str,
    repository: &str,
) -> Result<Credential, AuthFileError> {
    let file: File = serde_json::from_slice(text).map_err(|e| AuthFileError::Json {
        path: path.to_owned(),
        line: e.line(),
        column: e.column(),
    })?;
    let Some((key, entry)) = file
        .auths
        .iter()
        .filter_map(|(key, entry)| covers(key, host, repository).map(|n| (n, key, entry)))
        .max_by_key(|(n, ..)| *n)
        .map(|(_, key, entry)| (key, entry))
    else {
        return Ok(Credential::Anonymous);
    };
    entry.credential().map_err(|source| AuthFileError::Entry {
        path: path.to_owned(),
        key: key.clone(),
        source,
    })
}

/// How much of `host/repository` the key covers; `None` when it is for another.
fn covers(key: &str, host: &str, repository: &str) -> Option<usize> {
    let key_host = address_host(key);
    if canonical(key_host) != canonical(host) {
        return None;
    }
    // A URL's path is an API version, not a namespace.
    if key.contains("://") {
        return Some(0);
    }
    let path = key[key_host.len()..].trim_matches('/');
    let below = repository.strip_prefix(path)?;
    (path.is_empty() || below.is_empty() || below.starts_with('/')).then_some(path.len())
}

impl Entry {
    fn credential(&self) -> Result<Credential, AuthError> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Credential::Bearer(token));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Credential::Identity(token));
        }
        if let Some(auth) = given(&self.auth) {
            return decode(&auth);
        }
        Ok(match given(&self.username) {
            Some(username) => Credential::Basic {
                username,
                password: self.password.clone().unwrap_or_default(),
            },
            None => Credential::Anonymous,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str, host: &str, repository: &str) -> Result<Credential, AuthFileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        fs::write(&path, text).unwrap();
        find(&path, host, repository)
    }

    const FILE: &str = r#"{"auths": {
        "r.example": {"auth": "aG9zdDpw"},
        "r.example/team": {"auth": "dGVhbTpw"},
        "r.example/team/app": {"auth": "YXBwOnA="},
        "https://index.docker.io/v1/": {"identitytoken": "t"}
    }, "credHelpers": {"x": "y"}}"#;

    #[test]
    fn the_longest_entry_wins() {
        let user = |repository: &str| match look(FILE, "r.example", repository) {
            Ok(Credential::Basic { username, .. }) => username,
            other => panic!("{other:?}"),
        };
        assert_eq!(user("x"), "host");
        assert_eq!(user("teamwork"), "host");
        assert_eq!(user("team/x"), "team");
        assert_eq!(user("team/app"), "app");
        assert!(matches!(
            look(FILE, "registry-1.docker.io", "library/x"),
            Ok(Credential::Identity(_))
        ));
        assert_eq!(
            look(FILE, "other.example", "team").unwrap(),
            Credential::Anonymous
        );
    }

    #[test]
    fn a_missing_file_is_fine_and_a_broken_one_stays_private() {
        assert_eq!(
            find(Path::new("/nonexistent/auth.json"), "r", "x").unwrap(),
            Credential::Anonymous
        );
        let error = look(r#"{"auths": {"r.example": "s3cret"}}"#, "r.example", "x").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
        let error = look(r#"{"auths": {"r": {"auth": "s3cret%"}}}"#, "r", "x").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
        assert!(error.to_string().contains("auths[\"r\"]"));
    }
}
