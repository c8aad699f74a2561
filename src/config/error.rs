//! What can be wrong with a configuration, and where.

use std::{fmt, path::PathBuf};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file or a drop-in.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Flag(name) => write!(f, "the flag --{name}"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory could not be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than a configuration can be.
    #[error("the configuration {} is larger than {limit} bytes; is it the right file?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A file is not TOML.
    #[error("the configuration {} is not valid TOML: {source}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key that is no option.
    #[error("{origin} sets {key}, which is no option; {hint}")]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What was perhaps meant.
        hint: String,
    },
    /// A value that its option cannot have.
    #[error("{origin} sets {key} = {value}, which {problem}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The option.
        key: String,
        /// The value, as TOML.
        value: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// A variable that is not text.
    #[error("the variable {0} is not UTF-8 text")]
    NotText(String),
    /// There is no monitor program.
    #[error(
        "cannot find the monitor program {program} (looked in {looked}); install it there or name it with --conmon PATH"
    )]
    NoMonitor {
        /// What was looked for.
        program: String,
        /// Where.
        looked: String,
    },
}
