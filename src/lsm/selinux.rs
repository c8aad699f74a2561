//! SELinux: labels of processes and of what they may touch.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use super::mcs::Pairs;
use crate::{id::Id, pod::spec::SelinuxLabel};

/// The kernel's switches; there where SELinux is.
const SWITCH: &str = "/sys/fs/selinux/enforce";
/// The label of this very thread.
const OWN: &str = "/proc/thread-self/attr/current";
/// Names the policy of this machine.
const CONFIG: &str = "/etc/selinux/config";
/// The policies' directories.
const POLICIES: &str = "/etc/selinux";
/// Largest file of a policy that is read.
const FILE_MAX: u64 = 64 << 10;

/// Whether the kernel knows labels: SELinux is on, and a policy was loaded.
pub fn is_enabled() -> bool {
    // Without a policy all labels are this one, and none can be set.
    let own = std::fs::read(OWN).unwrap_or_default();
    let own = own.strip_suffix(b"\0").unwrap_or(&own);
    Path::new(SWITCH).exists() && !own.is_empty() && own != b"kernel"
}

/// A label, `USER:ROLE:TYPE:LEVEL`; the level may be missing, and may hold colons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// User.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type.
    pub kind: String,
    /// Level; empty under a policy without levels.
    pub level: String,
}

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no label like USER:ROLE:TYPE:LEVEL")]
pub struct NoLabel(String);

impl FromStr for Label {
    type Err = NoLabel;
    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let bad = || NoLabel(text.chars().take(256).collect());
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let mut next = || parts.next();
        let (Some(user), Some(role), Some(kind)) = (next(), next(), next()) else {
            return Err(bad());
        };
        let level = next();
        let named = [Some(&user), Some(&role), Some(&kind), level.as_ref()];
        if named.into_iter().flatten().any(|part| {
            part.is_empty() || part.contains(|c: char| c.is_whitespace() || c.is_control())
        }) {
            return Err(bad());
        }
        Ok(Self {
            user,
            role,
            kind,
            level: level.unwrap_or_default(),
        })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        if !self.level.is_empty() {
            write!(f, ":{}", self.level)?;
        }
        Ok(())
    }
}

/// What a policy has containers and their files labelled as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts {
    /// Of a container's processes.
    pub process: Label,
    /// Of files it may write.
    pub file: Label,
}

impl Default for Contexts {
    /// Those of Fedora's and Red Hat's policies.
    fn default() -> Self {
        let label = |role: &str, kind: &str| Label {
            user: "system_u".to_owned(),
            role: role.to_owned(),
            kind: kind.to_owned(),
            level: "s0".to_owned(),
        };
        Self {
            process: label("system_r", "container_t"),
            file: label("object_r", "container_file_t"),
        }
    }
}

/// Contexts of a policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextsError {
    /// The file cannot be read.
    #[error("reading {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What it says is no label.
    #[error("{path:?}: {name}")]
    Label {
        /// Which.
        path: PathBuf,
        /// The entry.
        name: &'static str,
        /// Why not.
        #[source]
        source: NoLabel,
    },
}

impl Contexts {
    /// Reads what the policy of this machine says of containers; what it does not say stays the usual.
    pub fn read() -> Result<Self, ContextsError> {
        Self::read_below(Path::new(CONFIG), Path::new(POLICIES))
    }

    fn read_below(config: &Path, policies: &Path) -> Result<Self, ContextsError> {
        let read = |path: &Path| match text(path) {
            Ok(text) => Ok(text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(ContextsError::Read {
                path: path.to_owned(),
                source,
            }),
        };
        let config = read(config)?;
        let Some(policy) = entry(&config, "SELINUXTYPE").filter(|name| !name.contains('/')) else {
            return Ok(Self::default());
        };
        let path = policies.join(policy).join("contexts/lxc_contexts");
        let text = read(&path)?;
        let label = |name: &'static str, usual: Label| match entry(&text, name) {
            None => Ok(usual),
            Some(label) => label.parse().map_err(|source| ContextsError::Label {
                path: path.clone(),
                name,
                source,
            }),
        };
        let usual = Self::default();
        Ok(Self {
            process: label("process", usual.process)?,
            file: label("file", usual.file)?,
        })
    }

    /// The labels of a pod or container: those of the policy at a level, with what was asked for in their
    /// place.
    pub fn labels(&self, asked: &SelinuxLabel, level: &str) -> Labels {
        let or = |asked: &str, usual: &str| {
            let text = if asked.is_empty() { usual } else { asked };
            text.to_owned()
        };
        let level_of = |usual: &Label| {
            if usual.level.is_empty() {
                // A policy without levels takes none.
                return String::new();
            }
            or(&asked.level, or(level, &usual.level).as_str())
        };
        Labels {
            process: Label {
                user: or(&asked.user, &self.process.user),
                role: or(&asked.role, &self.process.role),
                kind: or(&asked.kind, &self.process.kind),
                level: level_of(&self.process),
            },
            mount: Label {
                user: or(&asked.user, &self.file.user),
                role: self.file.role.clone(),
                kind: self.file.kind.clone(),
                level: level_of(&self.file),
            },
        }
    }
}

/// SELinux in use.
#[derive(Debug)]
pub struct Selinux {
    /// What the policy says.
    pub contexts: Contexts,
    /// Which categories keep which pod apart.
    pub pairs: Pairs,
}

impl Selinux {
    /// The level of a new pod: the one asked for, or one that no other pod has. `None` when all are in use.
    pub fn level(&self, pod: &Id, asked: Option<&SelinuxLabel>) -> Option<String> {
        match asked.map(|label| label.level.as_str()) {
            Some(level) if !level.is_empty() => {
                self.pairs.note(pod, level);
                Some(level.to_owned())
            }
            _ if self.contexts.process.level.is_empty() => Some(String::new()),
            _ => {
                let usual = &self.contexts.process.level;
                // `s0-s15:c0.c1023` begins at s0.
                let end = usual.find([':', '-']).unwrap_or(usual.len());
                let pair = self.pairs.take(pod)?;
                Some(format!("{}:{pair}", &usual[..end]))
            }
        }
    }
}

/// Labels of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes.
    pub process: Label,
    /// Of its root, and of the volumes that are made its own.
    pub mount: Label,
}

impl Labels {
    /// Its processes are confined by nothing that a label of a volume could meet.
    pub fn is_super_privileged(&self) -> bool {
        self.process.kind == "spc_t"
    }
}

/// The value of the last `NAME = VALUE` of that name, with or without quotation marks.
fn entry<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().trim_matches('"'))
        .rfind(|value| !value.is_empty())
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    #[test]
    fn the_policy_says_what_labels_are() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        let read = || Contexts::read_below(&config, dir.path());
        assert_eq!(read().unwrap(), Contexts::default());
        std::fs::write(
            &config,
            "# SELINUXTYPE=other\nSELINUX=enforcing\nSELINUXTYPE=mine\n",
        )
        .unwrap();
        assert_eq!(read().unwrap(), Contexts::default());
        std::fs::create_dir_all(dir.path().join("mine/contexts")).unwrap();
        let contexts = dir.path().join("mine/contexts/lxc_contexts");
        std::fs::write(&contexts, "process = \"u:r:svirt_t:s0\"\nro_file=\"x\"\n").unwrap();
        let found = read().unwrap();
        assert_eq!(found.process, label("u:r:svirt_t:s0"));
        assert_eq!(found.file, Contexts::default().file);
        std::fs::write(&contexts, "file = \"nonsense\"\n").unwrap();
        let error = read().unwrap_err();
        assert!(matches!(error, ContextsError::Label { name: "file", .. }));
        std::fs::write(&config, "SELINUXTYPE=../../etc\n").unwrap();
        assert_eq!(read().unwrap(), Contexts::default());
    }

    #[test]
    fn every_pod_has_a_level_of_its_own() {
        let selinux = Selinux {
            contexts: Contexts::default(),
            pairs: Pairs::default(),
        };
        let (one, two) = (Id::random(), Id::random());
        let level = selinux.level(&one, None).unwrap();
        assert!(level.starts_with("s0:c"), "{level}");
        assert_ne!(selinux.level(&two, None).unwrap(), level);
        let asked = SelinuxLabel {
            level: "s0:c1,c2".into(),
            ..SelinuxLabel::default()
        };
        assert_eq!(selinux.level(&one, Some(&asked)).unwrap(), "s0:c1,c2");
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_the_usual() {
        let contexts = Contexts::default();
        let none = SelinuxLabel::default();
        let labels = contexts.labels(&none, "s0:c1,c2");
        assert_eq!(
            labels.process.to_string(),
            "system_u:system_r:container_t:s0:c1,c2"
        );
        assert_eq!(
            labels.mount.to_string(),
            "system_u:object_r:container_file_t:s0:c1,c2"
        );
        let asked = SelinuxLabel {
            user: "u".into(),
            role: "r".into(),
            kind: "spc_t".into(),
            level: "s0:c3,c4".into(),
        };
        let labels = contexts.labels(&asked, "s0:c1,c2");
        assert_eq!(labels.process.to_string(), "u:r:spc_t:s0:c3,c4");
        assert_eq!(
            labels.mount.to_string(),
            "u:object_r:container_file_t:s0:c3,c4"
        );
        assert!(labels.is_super_privileged());
        assert_eq!(contexts.labels(&none, "").process, contexts.process);
        let flat = Contexts {
            process: label("u:r:t"),
            file: label("u:o:f"),
        };
        assert_eq!(flat.labels(&asked, "s0").mount.to_string(), "u:o:f");
    }

    proptest! {
        #[test]
        fn there_and_back(text in "[a-z_]{1,5}(:[a-z_]{1,5}){2}(:s0(:c[0-9]{1,3})?)?") {
            prop_assert_eq!(label(&text).to_string(), text);
        }

        #[test]
        fn any_text_will_do(text in ".{0,40}") {
            if let Ok(label) = text.parse::<Label>() {
                prop_assert_eq!(label.to_string(), text.clone());
            }
            let _ = entry(&text, "process");
        }
    }
}
