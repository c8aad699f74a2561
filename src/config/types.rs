//! Types of options that are more than text or a number.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use toml::Value;

use super::value::{Setting, Shape, absolute, no_control, text};

/// Longest path of a unix socket the kernel takes.
const SOCKET_PATH_MAX: usize = 107;

/// A unix socket, written `unix:///run/corten/corten.sock` or as the path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixAddress(PathBuf);

impl UnixAddress {
    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for UnixAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(format!(
                "uses {scheme}://, but corten listens on unix sockets only; write unix:///PATH"
            ));
        }
        let path = absolute(path)?;
        if path.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(format!(
                "is too long for a unix socket ({} bytes, at most {SOCKET_PATH_MAX}); choose a shorter path",
                path.as_os_str().len()
            ));
        }
        if path.file_name().is_none() {
            return Err("names no file".into());
        }
        Ok(Self(path))
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

/// An IP address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpAddress(pub IpAddr);

impl FromStr for IpAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| "is not an IP address; write one like 127.0.0.1 or ::1".into())
    }
}

impl fmt::Display for IpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of bytes: a whole number, or text with a unit (`KiB`, `MiB`, `GiB`, `TiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl Size {
    /// How many bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "is not a size; write a number of bytes, or one with KiB, MiB, GiB or TiB, like 64MiB"
                .to_owned()
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "ki" | "kib" => 1 << 10,
            "m" | "mi" | "mib" => 1 << 20,
            "g" | "gi" | "gib" => 1 << 30,
            "t" | "ti" | "tib" => 1 << 40,
            _ => return Err(wrong()),
        };
        number
            .checked_mul(factor)
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(|| "is larger than any file or memory can be".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Setting for Size {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Integer(bytes) => u64::try_from(*bytes)
                .map(Self)
                .map_err(|_| "is negative".into()),
            other => text(other, "a size in quotes, like \"64MiB\"")?.parse(),
        }
    }
    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// 0 stands for none.
impl Setting for Option<Size> {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        Size::read(value).map(|size| (size.0 > 0).then_some(size))
    }
    fn write(&self) -> Value {
        self.unwrap_or(Size(0)).write()
    }
}

/// A program: a name looked up in PATH, or an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(pub PathBuf);

impl Program {
    /// The file to run: the path itself, or the first match in `search`.
    pub fn locate<'a>(&self, search: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
        let runnable = |path: &Path| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        if self.0.is_absolute() {
            return runnable(&self.0).then(|| self.0.clone());
        }
        search
            .into_iter()
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(&self.0))
            .find(|path| runnable(path))
    }
}

impl FromStr for Program {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return absolute(text).map(Self);
        }
        no_control(text)?;
        if text.is_empty() || text == "." || text == ".." {
            return Err("is not a program; write its name or its absolute path".into());
        }
        Ok(Self(PathBuf::from(text)))
    }
}

/// Who manages cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// Directories made in the cgroup file system.
    Cgroupfs,
    /// Scopes and slices asked of systemd.
    Systemd,
}

/// Who runs execs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecBy {
    /// The container's monitor where it can, else the runtime.
    Auto,
    /// The runtime.
    Runtime,
}

/// What an OCI runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// A program that speaks the command line of runc.
    Oci,
    /// corten itself.
    Embedded,
}

/// Whether the work of CNI plugins is done without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CniNative {
    /// Where it comes to the same.
    Auto,
    /// Never.
    Never,
}

/// How log lines of the daemon look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text.
    Text,
    /// One JSON object a line.
    Json,
}

macro_rules! words {
    ($name:ident: $($variant:ident = $word:literal),+) => {
        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("is not one of {}", [$($word),+].join(", "))),
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(CgroupManager: Cgroupfs = "cgroupfs", Systemd = "systemd");
words!(ExecBy: Auto = "auto", Runtime = "runtime");
words!(RuntimeKind: Oci = "oci", Embedded = "embedded");
words!(CniNative: Auto = "auto", Never = "never");
words!(LogFormat: Text = "text", Json = "json");

/// What the daemon logs: a level, or directives like `info,corten::network=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// As `tracing_subscriber::EnvFilter` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // A bare word that is no level would be taken for a module's name and silence everything.
        let level =
            |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.trim());
        let valid = !text.is_empty()
            && text
                .split(',')
                .all(|part| level(part.rsplit_once('=').map_or(part, |(_, level)| level)))
            && tracing_subscriber::EnvFilter::try_new(text).is_ok();
        if !valid {
            return Err(
                "is not a log level; write off, error, warn, info, debug or trace, or directives like \"info,corten::network=debug\""
                    .into(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A resource limit, written `nofile=1024:4096`; `unlimited` and a single value are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimit {
    /// Name in lower case without `RLIMIT_`.
    pub name: String,
    /// Soft limit; `u64::MAX` for none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` for none.
    pub hard: u64,
}

const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Rlimit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is not a limit; write NAME=SOFT:HARD, like nofile=1024:4096".to_owned();
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("rlimit_").unwrap_or(&name).to_owned();
        if !RLIMITS.contains(&name.as_str()) {
            return Err(format!(
                "names the limit {name:?}, which is not one of {}",
                RLIMITS.join(", ")
            ));
        }
        let number = |text: &str| match text.trim() {
            "unlimited" | "-1" => Ok(u64::MAX),
            digits => digits.parse().map_err(|_| wrong()),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err("has a soft limit above its hard limit".into());
        }
        Ok(Self { name, soft, hard })
    }
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: u64| match value {
            u64::MAX => "unlimited".to_owned(),
            value => value.to_string(),
        };
        write!(
            f,
            "{}={}:{}",
            self.name,
            number(self.soft),
            number(self.hard)
        )
    }
}

/// A device given to every container, written `/dev/fuse` or `/dev/sdc:/dev/xvdc:rwm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Path on the host.
    pub host_path: PathBuf,
    /// Path in the container.
    pub container_path: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

impl FromStr for DeviceSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let is_permissions =
            |part: &str| !part.is_empty() && part.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
        let (host, inside, permissions) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, last] if is_permissions(last) => (*host, *host, *last),
            [host, inside] => (*host, *inside, "rwm"),
            [host, inside, last] if is_permissions(last) => (*host, *inside, *last),
            _ => {
                return Err(
                    "is not a device; write HOST_PATH[:CONTAINER_PATH][:PERMISSIONS], like /dev/fuse or /dev/sdc:/dev/xvdc:rwm"
                        .into(),
                );
            }
        };
        Ok(Self {
            host_path: absolute(host)?,
            container_path: absolute(inside)?,
            permissions: permissions.to_owned(),
        })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.host_path.display(),
            self.container_path.display(),
            self.permissions
        )
    }
}

/// A capability by name, in capitals and without `CAP_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability(String);

impl Capability {
    /// A capability known to be well-formed.
    pub(super) fn known(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name, without `CAP_`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Capability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim().to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let valid = |c: char| c.is_ascii_uppercase() || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err("is not a capability; write a name like NET_BIND_SERVICE".into());
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

macro_rules! text_setting {
    ($($name:ty: $expected:literal),+ $(,)?) => {$(
        impl Setting for $name {
            const SHAPE: Shape = Shape::Text;
            fn read(value: &Value) -> Result<Self, String> {
                text(value, $expected)?.parse()
            }
            fn write(&self) -> Value {
                Value::String(self.to_string())
            }
        }
    )+};
}

text_setting!(
    UnixAddress: "an address in quotes, like \"unix:///run/corten/corten.sock\"",
    Program: "a program's name or path in quotes",
    RuntimeKind: "\"oci\" or \"embedded\"",
    CgroupManager: "\"cgroupfs\" or \"systemd\"",
    ExecBy: "\"auto\" or \"runtime\"",
    CniNative: "\"auto\" or \"never\"",
    LogFormat: "\"text\" or \"json\"",
    LogFilter: "a level in quotes, like \"info\"",
    Rlimit: "a limit in quotes, like \"nofile=1024:4096\"",
    DeviceSpec: "a device in quotes, like \"/dev/fuse\"",
    Capability: "a capability in quotes, like \"KILL\"",
    IpAddress: "an IP address in quotes, like \"127.0.0.1\"",
);

/// Empty text stands for none.
impl Setting for Option<Program> {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        match text(value, "a program's name or path in quotes, empty for none")? {
            "" => Ok(None),
            text => text.parse().map(Some),
        }
    }
    fn write(&self) -> Value {
        Value::String(self.as_ref().map(ToString::to_string).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
