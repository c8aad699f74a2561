//! `--mount SRC:DST[:OPTIONS]`.

use std::path::{Component, Path, PathBuf};

/// Propagation of a mount between host and container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) enum Propagation {
    /// None.
    #[default]
    Private,
    /// From the host.
    Slave,
    /// Both ways.
    Shared,
}

/// A directory or file of the host, seen in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct MountArg {
    /// Path on the host, as given.
    pub(in crate::cli) source: PathBuf,
    /// Absolute path in the container.
    pub(in crate::cli) target: PathBuf,
    /// Not writable.
    pub(in crate::cli) read_only: bool,
    /// Nor is anything mounted below it.
    pub(in crate::cli) recursive: bool,
    /// Propagation.
    pub(in crate::cli) propagation: Propagation,
}

impl std::str::FromStr for MountArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err("write SRC:DST or SRC:DST:ro, like /srv/data:/data:ro".into());
        };
        let options = parts.next();
        if parts.next().is_some() {
            return Err("holds more than two ':'; write SRC:DST or SRC:DST:ro".into());
        }
        if source.is_empty() {
            return Err("names no source; write SRC:DST".into());
        }
        if !source.starts_with(['/', '.']) {
            return Err(format!(
                "the source {source:?} is no path; write /{source} or ./{source} (named volumes do not exist here)"
            ));
        }
        let path = Path::new(target);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(format!(
                "the target {target:?} must be an absolute path in the container, without \"..\""
            ));
        }
        if path.components().count() < 2 {
            return Err("the target is the container's root; choose a directory below it".into());
        }
        let mut mount = Self {
            source: source.into(),
            target: target.into(),
            read_only: false,
            recursive: false,
            propagation: Propagation::Private,
        };
        for option in options.into_iter().flat_map(|list| list.split(',')) {
            mount.option(option)?;
        }
        Ok(mount)
    }
}

impl MountArg {
    fn option(&mut self, option: &str) -> Result<(), String> {
        match option {
            "rw" => self.read_only = false,
            "ro" => self.read_only = true,
            "rro" => (self.read_only, self.recursive) = (true, true),
            "rprivate" | "private" => self.propagation = Propagation::Private,
            "rslave" | "slave" => self.propagation = Propagation::Slave,
            "rshared" | "shared" => self.propagation = Propagation::Shared,
            other => {
                return Err(format!(
                    "the option {other:?} is not known; there are ro, rw, rro, rprivate, rslave and rshared"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_mounts() {
        let mount: MountArg = "/srv:/data".parse().unwrap();
        assert_eq!(mount.source, PathBuf::from("/srv"));
        assert!(!mount.read_only);
        let mount: MountArg = "./x:/data:rro,rslave".parse().unwrap();
        assert!(mount.read_only && mount.recursive);
        assert_eq!(mount.propagation, Propagation::Slave);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "SRC:DST"),
            ("/srv", "SRC:DST"),
            (":/data", "no source"),
            ("data:/data", "./data"),
            ("/srv:data", "absolute"),
            ("/srv:/a/../b", ".."),
            ("/srv:/", "root"),
            ("/srv:/data:xx", "\"xx\""),
            ("/srv:/data:ro:rw", "more than two"),
        ] {
            let problem = text.parse::<MountArg>().unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_the_root(text in "[a./:,ro]{0,24}") {
            if let Ok(mount) = text.parse::<MountArg>() {
                prop_assert!(mount.target.is_absolute());
                prop_assert!(!mount.target.components().any(|c| c == Component::ParentDir));
            }
        }
    }
}
