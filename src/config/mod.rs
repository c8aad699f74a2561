//! The configuration: defaults, a file, drop-ins, the environment and flags, each laid over the one before.

mod args;
mod derived;
mod error;
mod options;
mod print;
mod runtime;
mod sources;
mod table;
mod types;
mod value;

pub use args::{config_arguments, flags_given, option_arguments};
pub use error::{ConfigError, Origin};
pub use options::Config;
pub use print::{commented, current, markdown};
pub use runtime::{Runtime, Runtimes};
pub use sources::{Loaded, Sources};
pub use table::OptionSpec;
pub use types::{
    Capability, CgroupManager, CniNative, DeviceSpec, ExecBy, IpAddress, LogFilter, LogFormat,
    Program, Rlimit, RuntimeKind, Size, UnixAddress,
};
pub use value::{format_duration, parse_duration};
