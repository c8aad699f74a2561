//! System call filters: the default one, and those of files on the node.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
};

use super::capability::CapSet;
use crate::container::spec::Seccomp;

mod default;
mod filters;
mod groups;
mod profile;
mod program;
#[cfg(test)]
mod program_tests;
mod unknown;

pub use default::runtime_default;
pub use filters::Filters;
pub use profile::{Profile, ProfileError};
pub use program::{Newer, Program, ProgramError};

/// Largest profile that is read.
const FILE_CAP: u64 = 1 << 20;

/// A filter as asked for, read from its file where it has one.
#[derive(Debug, Clone, Default)]
pub enum Filter {
    /// None.
    #[default]
    Unconfined,
    /// The default one.
    RuntimeDefault,
    /// That of a file.
    Profile(Box<Profile>),
}

/// A filter that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The path is not absolute.
    #[error("seccomp profile {0:?} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// The file cannot be read.
    #[error("cannot read seccomp profile {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file makes no sense.
    #[error("seccomp profile {path:?} cannot be used")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ProfileError,
    },
}

/// What a filter depends on besides its text.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Capabilities of the container.
    pub capabilities: CapSet,
    /// Kernel version.
    pub kernel: (u32, u32),
}

/// Reads the filter asked for. Blocks on the file system.
pub fn load(asked: &Seccomp) -> Result<Filter, SeccompError> {
    match asked {
        Seccomp::Unconfined => Ok(Filter::Unconfined),
        Seccomp::RuntimeDefault => Ok(Filter::RuntimeDefault),
        Seccomp::Localhost(path) => {
            let text = read(path)?;
            Profile::parse(&text)
                .map(|profile| Filter::Profile(Box::new(profile)))
                .map_err(|source| SeccompError::Parse {
                    path: path.clone(),
                    source,
                })
        }
    }
}

impl Filter {
    /// As the runtime specification has it; `None` for no filter.
    pub fn compile(&self, target: &Target) -> Option<LinuxSeccomp> {
        match self {
            Self::Unconfined => None,
            Self::RuntimeDefault => Some(runtime_default(target)),
            Self::Profile(profile) => Some(profile.compile(target)),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SeccompError> {
    if !path.is_absolute() {
        return Err(SeccompError::NotAbsolute(path.to_owned()));
    }
    let read = || {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "is not a regular file",
            ));
        }
        let mut text = Vec::new();
        file.take(FILE_CAP + 1).read_to_end(&mut text)?;
        if text.len() as u64 > FILE_CAP {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("is larger than {FILE_CAP} bytes"),
            ));
        }
        Ok(text)
    };
    read().map_err(|source| SeccompError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A condition on one argument.
fn argument(
    index: usize,
    op: LinuxSeccompOperator,
    value: u64,
    value_two: Option<u64>,
) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(op)
        .value(value);
    let builder = match value_two {
        Some(value_two) => builder.value_two(value_two),
        None => builder,
    };
    // Building cannot fail: every field has a default.
    builder.build().unwrap_or_default()
}

/// An architecture that programs here can have been built for.
struct Machine {
    /// As profiles name it in their conditions.
    name: &'static str,
    /// Its own, then those whose programs it runs too.
    arches: &'static [Arch],
}

#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = Machine {
    name: "amd64",
    arches: &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
};
#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = Machine {
    name: "arm64",
    arches: &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
};
#[cfg(target_arch = "riscv64")]
const MACHINE: Machine = Machine {
    name: "riscv64",
    arches: &[Arch::ScmpArchRiscv64],
};
#[cfg(target_arch = "s390x")]
const MACHINE: Machine = Machine {
    name: "s390x",
    arches: &[Arch::ScmpArchS390x, Arch::ScmpArchS390],
};
#[cfg(target_arch = "powerpc64")]
const MACHINE: Machine = Machine {
    name: "ppc64le",
    arches: &[Arch::ScmpArchPpc64le],
};
#[cfg(target_arch = "loongarch64")]
const MACHINE: Machine = Machine {
    name: "loong64",
    arches: &[Arch::ScmpArchLoongarch64],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        let ask = || load(&Seccomp::Localhost(path.clone())).unwrap_err();
        assert_eq!(
            ask().to_string(),
            format!("cannot read seccomp profile {path:?}")
        );
        std::fs::write(&path, "{").unwrap();
        assert_eq!(
            ask().to_string(),
            format!("seccomp profile {path:?} cannot be used")
        );
        std::fs::write(&path, " ".repeat(FILE_CAP as usize + 1)).unwrap();
        assert!(matches!(ask(), SeccompError::Read { .. }));
        assert!(matches!(
            load(&Seccomp::Localhost("p.json".into())),
            Err(SeccompError::NotAbsolute(_))
        ));
        assert!(matches!(
            load(&Seccomp::Localhost("/dev/zero".into())),
            Err(SeccompError::Read { .. })
        ));
    }

    #[test]
    fn a_filter_becomes_its_profile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        std::fs::write(&path, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        let target = Target {
            capabilities: CapSet::EMPTY,
            kernel: (6, 1),
        };
        assert!(
            load(&Seccomp::Localhost(path))
                .unwrap()
                .compile(&target)
                .is_some()
        );
        assert!(
            load(&Seccomp::RuntimeDefault)
                .unwrap()
                .compile(&target)
                .is_some()
        );
        assert!(
            load(&Seccomp::Unconfined)
                .unwrap()
                .compile(&target)
                .is_none()
        );
    }
}
