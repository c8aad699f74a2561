//! Network configurations: what a `.conflist` or a single plugin's `.conf` says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::version::{UnknownVersion, Version};

/// Most plugins in a list.
pub const MAX_PLUGINS: usize = 64;
/// Longest name of a network.
const MAX_NAME: usize = 200;

/// A list of plugins that together attach a pod to a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfList {
    /// Name of the network: unique on the node, and a plain file name.
    pub name: String,
    /// The version spoken with its plugins.
    pub version: Version,
    /// All versions it asks for, among those this runtime speaks.
    pub versions: Vec<Version>,
    /// CHECK is not to be called.
    pub disable_check: bool,
    /// GC is not to be called.
    pub disable_gc: bool,
    /// In the order they are called in by ADD.
    pub plugins: Vec<PluginConf>,
}

/// One plugin of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginConf {
    /// The program's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it takes through `runtimeConfig`.
    pub capabilities: BTreeSet<String>,
    /// Its whole object, passed on as written.
    pub object: Map<String, Value>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// Not JSON, or not an object.
    #[error("not a JSON object")]
    Json(#[source] serde_json::Error),
    /// A field is missing or has a wrong value.
    #[error("{field}: {reason}")]
    Field {
        /// Which.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// No version that this runtime speaks.
    #[error("cniVersion")]
    Version(#[source] UnknownVersion),
}

/// A parsed list, which may lack plugins still to come from files beside it.
#[derive(Debug)]
pub struct Parsed {
    /// What the file holds; maybe without plugins.
    pub list: ConfList,
    /// More plugins lie in the directory named for the network.
    pub load_more: bool,
}

impl ConfList {
    /// Reads a `.conflist`.
    pub fn parse_list(bytes: &[u8]) -> Result<Parsed, ConfError> {
        let object: Map<String, Value> = serde_json::from_slice(bytes).map_err(ConfError::Json)?;
        let name = network_name(&object)?;
        let versions = versions(&object)?;
        let plugins = match object.get("plugins") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(plugins)) if plugins.len() > MAX_PLUGINS => {
                return Err(field("plugins", format!("more than {MAX_PLUGINS}")));
            }
            Some(Value::Array(plugins)) => plugins
                .iter()
                .enumerate()
                .map(|(i, plugin)| PluginConf::parse(plugin, &format!("plugins[{i}]")))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(field("plugins", "is not a list")),
        };
        let only_inlined = flag(&object, "loadOnlyInlinedPlugins")?;
        if plugins.is_empty() && only_inlined {
            return Err(field("plugins", "is empty"));
        }
        let list = Self {
            name,
            version: newest(&versions),
            versions,
            disable_check: flag(&object, "disableCheck")?,
            disable_gc: flag(&object, "disableGC")?,
            plugins,
        };
        Ok(Parsed {
            list,
            load_more: !only_inlined,
        })
    }

    /// Reads the configuration of a single plugin as a list of one.
    pub fn parse_single(bytes: &[u8]) -> Result<Self, ConfError> {
        let object: Map<String, Value> = serde_json::from_slice(bytes).map_err(ConfError::Json)?;
        if object.contains_key("plugins") {
            return Err(field(
                "plugins",
                "a list of plugins belongs in a .conflist file",
            ));
        }
        let versions = versions(&object)?;
        Ok(Self {
            name: network_name(&object)?,
            version: newest(&versions),
            versions,
            disable_check: false,
            disable_gc: false,
            plugins: vec![PluginConf::from_object(object, "")?],
        })
    }

    /// Whether any plugin takes `capability`.
    pub fn has_capability(&self, capability: &str) -> bool {
        self.plugins
            .iter()
            .any(|p| p.capabilities.contains(capability))
    }
}

impl PluginConf {
    /// Reads one plugin's object from a file of its own.
    pub fn parse_file(bytes: &[u8]) -> Result<Self, ConfError> {
        let object = serde_json::from_slice(bytes).map_err(ConfError::Json)?;
        Self::from_object(object, "")
    }

    fn parse(value: &Value, at: &str) -> Result<Self, ConfError> {
        match value {
            Value::Object(object) => Self::from_object(object.clone(), at),
            _ => Err(field(at, "is not an object")),
        }
    }

    fn from_object(object: Map<String, Value>, at: &str) -> Result<Self, ConfError> {
        let at = |name: &str| match at {
            "" => name.to_owned(),
            at => format!("{at}.{name}"),
        };
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            None => return Err(field(at("type"), "is missing")),
            Some(_) => return Err(field(at("type"), "is not a string")),
        };
        if !is_plain_name(&kind) {
            return Err(field(
                at("type"),
                format!("{kind:?} is not a plain file name"),
            ));
        }
        let capabilities = match object.get("capabilities") {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(value) => BTreeMap::<String, bool>::deserialize(value)
                .map_err(|e| field(at("capabilities"), e.to_string()))?
                .into_iter()
                .filter_map(|(name, on)| on.then_some(name))
                .collect(),
        };
        Ok(Self {
            kind,
            capabilities,
            object,
        })
    }
}

/// The name of a network: it becomes a part of paths and of packet filter names in plugins.
fn network_name(object: &Map<String, Value>) -> Result<String, ConfError> {
    match object.get("name") {
        Some(Value::String(name)) if is_plain_name(name) => Ok(name.clone()),
        Some(Value::String(name)) => Err(field(
            "name",
            format!(
                "{:?} must start with a letter or digit and go on with these, '_', '.' or '-'",
                name.chars().take(80).collect::<String>()
            ),
        )),
        None => Err(field("name", "is missing")),
        Some(_) => Err(field("name", "is not a string")),
    }
}

fn is_plain_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The versions asked for that this runtime speaks, at least one.
fn versions(object: &Map<String, Value>) -> Result<Vec<Version>, ConfError> {
    let text = |value: &Value, name: &str| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(field(name, "is not a string")),
    };
    let mut texts = Vec::new();
    if let Some(value) = object.get("cniVersion") {
        texts.push(text(value, "cniVersion")?);
    }
    match object.get("cniVersions") {
        None | Some(Value::Null) => {}
        Some(Value::Array(values)) if values.len() <= 32 => {
            for value in values {
                texts.push(text(value, "cniVersions")?);
            }
        }
        Some(_) => return Err(field("cniVersions", "is not a list of at most 32 strings")),
    }
    if texts.is_empty() {
        texts.push(String::new());
    }
    let mut known = Vec::new();
    let mut unknown = None;
    for text in texts {
        match Version::parse(&text) {
            Ok(version) => known.push(version),
            Err(e) => unknown = Some(e),
        }
    }
    known.sort_unstable();
    known.dedup();
    match (known.is_empty(), unknown) {
        (true, Some(e)) => Err(ConfError::Version(e)),
        _ => Ok(known),
    }
}

fn newest(versions: &[Version]) -> Version {
    versions.iter().copied().max().unwrap_or(Version::V0_1)
}

/// A boolean, also where it was written as a string.
fn flag(object: &Map<String, Value>, name: &str) -> Result<bool, ConfError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(field(name, "is neither true nor false")),
    }
}

fn field(field: impl Into<String>, reason: impl Into<String>) -> ConfError {
    ConfError::Field {
        field: field.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> Result<Parsed, ConfError> {
        ConfList::parse_list(text.as_bytes())
    }

    #[test]
    fn reads_a_list() {
        let parsed = list(
            r#"{"cniVersion":"1.0.0","cniVersions":["0.4.0","1.1.0","9.9.9"],"name":"pods","disableCheck":"true",
                "disableGC":true,"loadOnlyInlinedPlugins":true,"plugins":[
                {"type":"bridge","bridge":"br0","nested":{"a":[1,2.5,null]}},
                {"type":"portmap","capabilities":{"portMappings":true,"dns":false}}]}"#,
        )
        .unwrap();
        let list = parsed.list;
        assert!(!parsed.load_more && list.disable_check && list.disable_gc);
        assert_eq!(list.version, Version::V1_1);
        assert_eq!(list.versions, [Version::V0_4, Version::V1_0, Version::V1_1]);
        assert_eq!(list.plugins[0].object["nested"]["a"][1], 2.5);
        assert!(list.has_capability("portMappings") && !list.has_capability("dns"));
    }

    #[test]
    fn wraps_a_single_plugin() {
        let list =
            ConfList::parse_single(br#"{"cniVersion":"0.3.1","name":"one","type":"ptp"}"#).unwrap();
        assert_eq!(
            (list.name.as_str(), list.plugins.len(), list.version),
            ("one", 1, Version::V0_3_1)
        );
        let old = ConfList::parse_single(br#"{"name":"old","type":"bridge"}"#).unwrap();
        assert_eq!(old.version, Version::V0_1);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{}", "name: is missing"),
            (r#"{"name":"../x"}"#, "name: \"../x\" must start"),
            (r#"{"name":"a b"}"#, "name: \"a b\" must start"),
            (r#"{"name":1}"#, "name: is not a string"),
            (r#"{"name":"n","plugins":{}}"#, "plugins: is not a list"),
            (
                r#"{"name":"n","plugins":[],"loadOnlyInlinedPlugins":true}"#,
                "plugins: is empty",
            ),
            (
                r#"{"name":"n","plugins":[{}]}"#,
                "plugins[0].type: is missing",
            ),
            (
                r#"{"name":"n","plugins":[{"type":"/bin/sh"}]}"#,
                "plugins[0].type: \"/bin/sh\" is not a plain file name",
            ),
            (
                r#"{"name":"n","plugins":[{"type":"a","capabilities":[1]}]}"#,
                "plugins[0].capabilities: ",
            ),
            (
                r#"{"name":"n","disableCheck":3}"#,
                "disableCheck: is neither true nor false",
            ),
            (r#"{"name":"n","cniVersion":"2.0.0"}"#, "cniVersion"),
        ] {
            let error = list(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        assert!(ConfList::parse_single(br#"{"name":"n","plugins":[]}"#).is_err());
        assert!(ConfList::parse_single(br#"{"name":"n"}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ConfList::parse_list(&bytes);
            let _ = ConfList::parse_single(&bytes);
        }

        #[test]
        fn a_network_name_that_is_taken_is_a_plain_file_name(name in ".{0,20}") {
            let text = serde_json::json!({"name": name, "plugins": [{"type": "x"}]}).to_string();
            if let Ok(parsed) = list(&text) {
                prop_assert!(!parsed.list.name.contains('/') && !parsed.list.name.starts_with('.'));
            }
        }

        #[test]
        fn a_list_survives_the_record(kinds in proptest::collection::vec("[a-z]{1,8}", 1..5), value in any::<i64>()) {
            let plugins: Vec<_> = kinds.iter().map(|k| serde_json::json!({"type": k, "x": value, "capabilities": {k: true}})).collect();
            let text = serde_json::json!({"name": "n", "cniVersion": "1.0.0", "plugins": plugins}).to_string();
            let parsed = list(&text).unwrap().list;
            let again: ConfList = serde_json::from_str(&serde_json::to_string(&parsed).unwrap()).unwrap();
            prop_assert_eq!(parsed, again);
        }
    }
}
