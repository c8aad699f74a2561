//! What an image says about how it is run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    digest::{Digest, clip},
    platform::Platform,
};

/// The parts of an image's configuration that a runtime needs.
///
/// Its texts come from whoever built the image: they are data, free of NUL bytes and otherwise
/// unchecked, save that the user's name holds no control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// User to run as: `user`, `uid`, `user:group`, …; empty for root.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// What is run.
    pub entrypoint: Vec<String>,
    /// Arguments, or the command where there is no entry point.
    pub cmd: Vec<String>,
    /// Where it is run; empty for `/`.
    pub working_dir: String,
    /// Paths that want a volume, sorted.
    pub volumes: Vec<String>,
    /// Signal that asks it to stop, by name or number; empty for SIGTERM.
    pub stop_signal: String,
    /// `port/protocol`, sorted.
    pub exposed_ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub architecture: String,
    /// Its variant.
    pub variant: String,
    /// When it was built, as written there.
    pub created: String,
}

/// Whom an image wants to run as, as `ImageStatus` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageUser {
    /// By number.
    Uid(i64),
    /// By name.
    Name(String),
}

/// An image configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or no object.
    #[error("image configuration is not a JSON object: {0}")]
    Json(String),
    /// A field of another type.
    #[error("field {field:?} of the image configuration: {reason}")]
    Field {
        /// The field's path.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// A configuration read, and the layers it promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// How the image is run.
    pub(crate) config: ImageConfig,
    /// Digests of the unpacked layers, lowest first.
    pub(crate) diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// The user without the group.
    pub fn image_user(&self) -> ImageUser {
        let user = self.user.split(':').next().unwrap_or_default();
        match user.parse::<u32>() {
            // The all-ones number means "no user" to the kernel, and a larger one would wrap.
            Ok(uid) if uid != u32::MAX => ImageUser::Uid(uid.into()),
            _ if user.is_empty() => ImageUser::Uid(0),
            _ => ImageUser::Name(user.to_owned()),
        }
    }

    /// The platform it was built for, when it says so.
    pub fn platform(&self) -> Option<Platform> {
        (!self.os.is_empty() && !self.architecture.is_empty()).then(|| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        })
    }
}

/// Reads an image configuration (OCI or Docker, which agree on what matters here).
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, ConfigError> {
    let top: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|e| ConfigError::Json(clip(&e.to_string())))?;
    let inner: Map<String, Value> = field(&top, "config", "config")?;
    let rootfs: Map<String, Value> = field(&top, "rootfs", "rootfs")?;
    let diff_ids: Vec<String> = field(&rootfs, "diff_ids", "rootfs.diff_ids")?;
    let diff_ids = diff_ids
        .iter()
        .map(|text| Digest::parse(text))
        .collect::<Result<_, _>>()
        .map_err(|e| ConfigError::Field {
            field: "rootfs.diff_ids",
            reason: e.to_string(),
        })?;
    let volumes: Map<String, Value> = field(&inner, "Volumes", "config.Volumes")?;
    let ports: Map<String, Value> = field(&inner, "ExposedPorts", "config.ExposedPorts")?;
    let config = ImageConfig {
        user: field(&inner, "User", "config.User")?,
        env: field(&inner, "Env", "config.Env")?,
        entrypoint: words(&inner, "Entrypoint", "config.Entrypoint")?,
        cmd: words(&inner, "Cmd", "config.Cmd")?,
        working_dir: field(&inner, "WorkingDir", "config.WorkingDir")?,
        volumes: sorted(volumes),
        stop_signal: field(&inner, "StopSignal", "config.StopSignal")?,
        exposed_ports: sorted(ports),
        labels: labels(&inner)?,
        os: field(&top, "os", "os")?,
        architecture: field(&top, "architecture", "architecture")?,
        variant: field(&top, "variant", "variant")?,
        created: field(&top, "created", "created")?,
    };
    check_texts(&config)?;
    Ok(Parsed { config, diff_ids })
}

/// A field, or nothing where it is absent or null.
fn field<T: DeserializeOwned + Default>(
    object: &Map<String, Value>,
    key: &str,
    path: &'static str,
) -> Result<T, ConfigError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::deserialize(value).map_err(|e| ConfigError::Field {
            field: path,
            reason: clip(&e.to_string()),
        }),
    }
}

/// An argument list; old images carry a lone string.
fn words(
    object: &Map<String, Value>,
    key: &str,
    path: &'static str,
) -> Result<Vec<String>, ConfigError> {
    match object.get(key) {
        Some(Value::String(word)) => Ok(vec![word.clone()]),
        _ => field(object, key, path),
    }
}

fn labels(object: &Map<String, Value>) -> Result<BTreeMap<String, String>, ConfigError> {
    field(object, "Labels", "config.Labels")
}

fn sorted(set: Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<String> = set.into_iter().map(|(key, _)| key).collect();
    keys.sort();
    keys
}

fn check_texts(config: &ImageConfig) -> Result<(), ConfigError> {
    let lists = [
        ("config.Env", &config.env),
        ("config.Entrypoint", &config.entrypoint),
        ("config.Cmd", &config.cmd),
        ("config.Volumes", &config.volumes),
        ("config.ExposedPorts", &config.exposed_ports),
    ];
    for (field, list) in lists {
        if list.iter().any(|text| text.contains('\0')) {
            return Err(nul(field));
        }
    }
    if config
        .labels
        .iter()
        .any(|(key, value)| key.contains('\0') || value.contains('\0'))
    {
        return Err(nul("config.Labels"));
    }
    let texts = [
        ("config.WorkingDir", &config.working_dir),
        ("config.StopSignal", &config.stop_signal),
    ];
    for (field, text) in texts {
        if text.contains('\0') {
            return Err(nul(field));
        }
    }
    let names = [
        ("config.User", &config.user),
        ("os", &config.os),
        ("architecture", &config.architecture),
        ("variant", &config.variant),
        ("created", &config.created),
    ];
    for (field, text) in names {
        if text.chars().any(char::is_control) {
            return Err(ConfigError::Field {
                field,
                reason: format!("{:?} holds a control character", clip(text)),
            });
        }
    }
    Ok(())
}

fn nul(field: &'static str) -> ConfigError {
    ConfigError::Field {
        field,
        reason: "holds a NUL byte".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Parsed, ConfigError> {
        parse(value.to_string().as_bytes())
    }

    #[test]
    fn reads_what_matters_and_passes_over_the_rest() {
        let d = Digest::of(b"layer");
        let parsed = read(json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
            "history": [{"created_by": "x"}],
            "config": {
                "User": "1000:100", "Env": ["A=b", "PATH=/bin"], "Entrypoint": ["/e"], "Cmd": null,
                "WorkingDir": "/w", "Volumes": {"/b": {}, "/a": {}}, "StopSignal": "SIGINT",
                "ExposedPorts": {"80/tcp": {}}, "Labels": {"k": "v"}, "Healthcheck": {"Test": ["x"]},
            },
            "rootfs": {"type": "layers", "diff_ids": [d.as_str()]},
        }))
        .unwrap();
        assert_eq!(parsed.diff_ids, [d]);
        assert_eq!(parsed.config.volumes, ["/a", "/b"]);
        assert_eq!(parsed.config.entrypoint, ["/e"]);
        assert!(parsed.config.cmd.is_empty());
        assert_eq!(parsed.config.image_user(), ImageUser::Uid(1000));
        assert_eq!(
            parsed.config.platform().unwrap(),
            Platform::parse("linux/amd64").unwrap()
        );
    }

    #[test]
    fn users_by_name_and_number() {
        let user = |text: &str| {
            ImageConfig {
                user: text.into(),
                ..ImageConfig::default()
            }
            .image_user()
        };
        assert_eq!(user(""), ImageUser::Uid(0));
        assert_eq!(user("www:www"), ImageUser::Name("www".into()));
        assert_eq!(user("1002:x"), ImageUser::Uid(1002));
        // Neither wraps to root.
        assert_eq!(user("4294967296"), ImageUser::Name("4294967296".into()));
        assert_eq!(user("4294967295"), ImageUser::Name("4294967295".into()));
    }

    #[test]
    fn errors_name_the_field() {
        for (value, name) in [
            (json!({"config": {"Env": "A=b"}}), "config.Env"),
            (json!({"config": {"User": 1}}), "config.User"),
            (json!({"config": {"User": "x\nroot:0"}}), "config.User"),
            (json!({"config": {"Env": ["A=\u{0}"]}}), "config.Env"),
            (json!({"config": []}), "config"),
            (json!({"config": {"Labels": {"a": 1}}}), "config.Labels"),
            (
                json!({"rootfs": {"diff_ids": ["sha256:../x"]}}),
                "rootfs.diff_ids",
            ),
            (json!({"os": {}}), "os"),
        ] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        assert!(matches!(parse(b"[]"), Err(ConfigError::Json(_))));
        assert!(matches!(parse(b"{"), Err(ConfigError::Json(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
