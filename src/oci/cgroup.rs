//! Where a container's cgroup is, under either driver.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::Id;

/// Begins the name of every cgroup made here.
const PREFIX: &str = "corten";

/// Longest name the kernel takes for one directory.
const NAME_MAX: usize = 255;

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The OCI runtime, as directories.
    #[default]
    Cgroupfs,
    /// systemd, as scopes in slices.
    Systemd,
}

/// A cgroup parent that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupError {
    /// Not an absolute path.
    #[error("cgroup parent {0:?} is not an absolute path, as the cgroupfs driver needs")]
    NotAbsolute(String),
    /// Leads out of where it claims to be.
    #[error("cgroup parent {0:?} has a component {1:?}")]
    Component(String, String),
    /// Holds a byte no cgroup name may have, or a name too long.
    #[error("cgroup parent {0:?} is not a valid cgroup name")]
    Name(String),
    /// Not a slice.
    #[error(
        "cgroup parent {0:?} is not the name of a slice (\"….slice\"), as the systemd driver needs"
    )]
    NotSlice(String),
}

/// A cgroup parent, checked for its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    driver: Driver,
    /// An absolute path, or the name of a slice.
    name: String,
}

/// A container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPath {
    /// As `linux.cgroupsPath` of the runtime specification has it.
    pub spec: String,
    /// Directory below the root of each hierarchy, relative.
    pub relative: PathBuf,
}

impl Parent {
    /// Reads what a caller named. The systemd driver also takes a path whose last component is a
    /// slice, as some callers send it.
    pub fn parse(driver: Driver, text: &str) -> Result<Self, CgroupError> {
        check_bytes(text)?;
        match driver {
            Driver::Cgroupfs => {
                if !text.starts_with('/') {
                    return Err(CgroupError::NotAbsolute(text.to_owned()));
                }
                let mut name = String::new();
                for part in components(text)? {
                    name.push('/');
                    name.push_str(part);
                }
                if name.is_empty() {
                    name.push('/');
                }
                Ok(Self { driver, name })
            }
            Driver::Systemd => {
                let last = components(text)?.last().copied().unwrap_or("");
                if !is_slice(last) {
                    return Err(CgroupError::NotSlice(text.to_owned()));
                }
                Ok(Self {
                    driver,
                    name: last.to_owned(),
                })
            }
        }
    }

    /// The path or slice as it was read.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The driver it was read for.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// Directory below the root of each hierarchy, relative; empty for the root itself.
    pub fn relative(&self) -> PathBuf {
        match self.driver {
            Driver::Cgroupfs => PathBuf::from(self.name.trim_start_matches('/')),
            Driver::Systemd => expand_slice(&self.name),
        }
    }

    /// The cgroup of one container.
    pub fn container(&self, id: &Id) -> CgroupPath {
        match self.driver {
            Driver::Cgroupfs => {
                let leaf = format!("{PREFIX}-{id}");
                let relative = self.relative().join(&leaf);
                CgroupPath {
                    spec: Path::new("/").join(&relative).display().to_string(),
                    relative,
                }
            }
            Driver::Systemd => CgroupPath {
                spec: format!("{}:{PREFIX}:{id}", self.name),
                relative: self.relative().join(format!("{PREFIX}-{id}.scope")),
            },
        }
    }
}

fn check_bytes(text: &str) -> Result<(), CgroupError> {
    let bad = text.chars().any(|c| c.is_control() || c == ':');
    if bad || text.len() > 4000 {
        return Err(CgroupError::Name(text.to_owned()));
    }
    Ok(())
}

fn components(text: &str) -> Result<Vec<&str>, CgroupError> {
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" => {}
            "." | ".." => {
                return Err(CgroupError::Component(text.to_owned(), part.to_owned()));
            }
            long if long.len() > NAME_MAX => return Err(CgroupError::Name(text.to_owned())),
            part => parts.push(part),
        }
    }
    Ok(parts)
}

/// A slice's dashes are its place in the tree, so none may be empty: `a--b.slice` is no slice.
fn is_slice(name: &str) -> bool {
    match name.strip_suffix(".slice") {
        Some("-") => true,
        Some(stem) => !stem.is_empty() && stem.split('-').all(|part| !part.is_empty()),
        None => false,
    }
}

/// `a-b.slice` lies in `a.slice/a-b.slice`.
fn expand_slice(name: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let Some(stem) = name.strip_suffix(".slice").filter(|stem| *stem != "-") else {
        return path;
    };
    for (at, _) in stem.match_indices('-') {
        path.push(format!("{}.slice", &stem[..at]));
    }
    path.push(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> Id {
        Id::parse(&"ab".repeat(32)).unwrap()
    }

    #[test]
    fn cgroupfs_is_a_path() {
        let parent = Parent::parse(Driver::Cgroupfs, "/kubepods//burstable/pod1/").unwrap();
        assert_eq!(parent.as_str(), "/kubepods/burstable/pod1");
        let cgroup = parent.container(&id());
        assert_eq!(
            cgroup.spec,
            format!("/kubepods/burstable/pod1/corten-{}", id())
        );
        assert_eq!(cgroup.relative, Path::new(&cgroup.spec[1..]));
        let root = Parent::parse(Driver::Cgroupfs, "/").unwrap();
        assert_eq!(root.container(&id()).spec, format!("/corten-{}", id()));
    }

    #[test]
    fn systemd_is_a_slice() {
        let parent = Parent::parse(Driver::Systemd, "kubepods-burstable-pod1.slice").unwrap();
        let cgroup = parent.container(&id());
        assert_eq!(
            cgroup.spec,
            format!("kubepods-burstable-pod1.slice:corten:{}", id())
        );
        assert_eq!(
            cgroup.relative,
            Path::new("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice")
                .join(format!("corten-{}.scope", id()))
        );
        let deep = Parent::parse(Driver::Systemd, "/kubepods.slice/kubepods-x.slice").unwrap();
        assert_eq!(deep.as_str(), "kubepods-x.slice");
        assert_eq!(
            Parent::parse(Driver::Systemd, "-.slice")
                .unwrap()
                .relative(),
            Path::new("")
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for driver in [Driver::Cgroupfs, Driver::Systemd] {
            assert!(matches!(
                Parent::parse(driver, "/a/../b.slice"),
                Err(CgroupError::Component(..))
            ));
            assert!(matches!(
                Parent::parse(driver, "/a\n.slice"),
                Err(CgroupError::Name(_))
            ));
        }
        assert!(matches!(
            Parent::parse(Driver::Cgroupfs, "a/b"),
            Err(CgroupError::NotAbsolute(_))
        ));
        for no_slice in ["", "/a", "a.scope", "a--b.slice", ".slice", "a-.slice"] {
            assert!(matches!(
                Parent::parse(Driver::Systemd, no_slice),
                Err(CgroupError::NotSlice(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_below_the_root(text in "[/a-c.:-]{0,30}(\\.slice)?", systemd: bool) {
            let driver = if systemd { Driver::Systemd } else { Driver::Cgroupfs };
            if let Ok(parent) = Parent::parse(driver, &text) {
                let cgroup = parent.container(&id());
                prop_assert!(cgroup.relative.is_relative());
                prop_assert!(cgroup.relative.components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert_eq!(cgroup.spec.matches(':').count(), if systemd { 2 } else { 0 });
            }
        }
    }
}
