//! Profiles in files: the runtime specification's form, with the conditions that Docker, Podman
//! and the Kubernetes tools write around it.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use serde::Deserialize;

use super::{MACHINE, Target, argument};
use crate::oci::capability::{CapSet, UnknownCapability};

/// Most rules of a profile.
const RULES_CAP: usize = 8192;

/// Most names in all rules together.
const NAMES_CAP: usize = 65536;

/// A profile that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON, or not of the right form.
    #[error("it is not a profile: {0}")]
    Json(#[from] serde_json::Error),
    /// A word that stands for nothing.
    #[error("{field} {value:?} is not known")]
    Word {
        /// Where it stands.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// An error number by a name that is none.
    #[error("errno {0:?} is not known")]
    Errno(String),
    /// Two lists of architectures.
    #[error("it has both architectures and archMap")]
    TwoArchitectures,
    /// A rule with both forms of its names, or neither.
    #[error("rule {0} has to have either name or names")]
    Names(usize),
    /// A condition on a capability that is none.
    #[error("a condition names an {0}")]
    Capability(#[from] UnknownCapability),
    /// A condition on a kernel version that is none.
    #[error("minKernel {0:?} is not a version")]
    Kernel(String),
    /// Too much of something.
    #[error("it has more than {cap} {what}")]
    TooMany {
        /// How much is taken.
        cap: usize,
        /// Of what.
        what: &'static str,
    },
}

/// A profile, read and checked.
#[derive(Debug, Clone)]
pub struct Profile {
    default_action: Action,
    default_errno: Option<u32>,
    arches: Vec<Arch>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    names: Vec<String>,
    action: Action,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
    includes: Condition,
    excludes: Condition,
}

/// What a rule depends on; empty parts always hold.
#[derive(Debug, Clone, Default)]
struct Condition {
    capabilities: Vec<CapSet>,
    machines: Vec<String>,
    min_kernel: Option<(u32, u32)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<FileArch>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArch {
    architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<FileArg>,
    #[serde(default, deserialize_with = "null_is_empty")]
    includes: FileCondition,
    #[serde(default, deserialize_with = "null_is_empty")]
    excludes: FileCondition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArg {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileCondition {
    #[serde(deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Profile {
    /// Reads a profile.
    pub fn parse(json: &[u8]) -> Result<Self, ProfileError> {
        let file: File = serde_json::from_slice(json)?;
        if file.syscalls.len() > RULES_CAP {
            return Err(ProfileError::TooMany {
                cap: RULES_CAP,
                what: "rules",
            });
        }
        let names: usize = file.syscalls.iter().map(|rule| rule.names.len()).sum();
        if names > NAMES_CAP {
            return Err(ProfileError::TooMany {
                cap: NAMES_CAP,
                what: "names",
            });
        }
        Ok(Self {
            default_action: word("defaultAction", &file.default_action)?,
            default_errno: errno(file.default_errno_ret, file.default_errno.as_deref())?,
            arches: arches(&file.architectures, &file.arch_map)?,
            flags: file
                .flags
                .map(|flags| flags.iter().map(|flag| word("flag", flag)).collect())
                .transpose()?,
            listener_path: file.listener_path.filter(|path| !path.is_empty()),
            listener_metadata: file.listener_metadata.filter(|text| !text.is_empty()),
            rules: file
                .syscalls
                .into_iter()
                .enumerate()
                .map(|(at, rule)| Rule::check(at, rule))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The filter of a container.
    pub fn compile(&self, target: &Target) -> LinuxSeccomp {
        let rules = self
            .rules
            .iter()
            .filter(|rule| rule.applies(target))
            .map(Rule::to_oci)
            .collect();
        let mut seccomp = LinuxSeccomp::default();
        seccomp
            .set_default_action(self.default_action)
            .set_default_errno_ret(self.default_errno)
            .set_architectures(Some(self.arches.clone()).filter(|arches| !arches.is_empty()))
            .set_flags(self.flags.clone())
            .set_listener_path(self.listener_path.as_ref().map(Into::into))
            .set_listener_metadata(self.listener_metadata.clone())
            .set_syscalls(Some(rules));
        seccomp
    }
}

impl Rule {
    fn check(at: usize, rule: FileRule) -> Result<Self, ProfileError> {
        let names = match (rule.name.is_empty(), rule.names.is_empty()) {
            (false, true) => vec![rule.name],
            (true, false) => rule.names,
            _ => return Err(ProfileError::Names(at)),
        };
        Ok(Self {
            names,
            action: word("action", &rule.action)?,
            errno: errno(rule.errno_ret, rule.errno.as_deref())?,
            args: rule
                .args
                .iter()
                .map(check_argument)
                .collect::<Result<_, _>>()?,
            includes: Condition::check(rule.includes)?,
            excludes: Condition::check(rule.excludes)?,
        })
    }

    fn applies(&self, target: &Target) -> bool {
        let holds = &self.includes;
        let machine = |names: &[String]| names.iter().any(|name| name == MACHINE.name);
        let has = |caps: &[CapSet], all: bool| {
            let mut each = caps.iter().map(|cap| target.capabilities.contains(*cap));
            if all {
                each.all(|b| b)
            } else {
                each.any(|b| b)
            }
        };
        has(&holds.capabilities, true)
            && (holds.machines.is_empty() || machine(&holds.machines))
            && holds.min_kernel.is_none_or(|min| target.kernel >= min)
            && !has(&self.excludes.capabilities, false)
            && !machine(&self.excludes.machines)
            && self
                .excludes
                .min_kernel
                .is_none_or(|min| target.kernel < min)
    }

    fn to_oci(&self) -> LinuxSyscall {
        let mut rule = LinuxSyscall::default();
        rule.set_names(self.names.clone())
            .set_action(self.action)
            .set_errno_ret(self.errno)
            .set_args(Some(self.args.clone()).filter(|args| !args.is_empty()));
        rule
    }
}

impl Condition {
    fn check(condition: FileCondition) -> Result<Self, ProfileError> {
        Ok(Self {
            capabilities: condition
                .caps
                .iter()
                .map(|name| CapSet::one(name))
                .collect::<Result<_, _>>()?,
            machines: condition.arches,
            min_kernel: condition
                .min_kernel
                .filter(|text| !text.is_empty())
                .map(|text| kernel(&text).ok_or(ProfileError::Kernel(text)))
                .transpose()?,
        })
    }
}

fn check_argument(arg: &FileArg) -> Result<LinuxSeccompArg, ProfileError> {
    let op: LinuxSeccompOperator = word("op", &arg.op)?;
    Ok(argument(arg.index, op, arg.value, arg.value_two))
}

fn word<T: std::str::FromStr>(field: &'static str, value: &str) -> Result<T, ProfileError> {
    value.parse().map_err(|_| ProfileError::Word {
        field,
        value: value.to_owned(),
    })
}

/// A number, where given, goes before a name.
fn errno(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>, ProfileError> {
    match (number, name) {
        (Some(number), _) => Ok(Some(number)),
        (None, None | Some("")) => Ok(None),
        (None, Some(name)) => ERRNOS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| Some(*number as u32))
            .ok_or_else(|| ProfileError::Errno(name.to_owned())),
    }
}

/// Error numbers that profiles write by name.
const ERRNOS: [(&str, i32); 10] = [
    ("EPERM", libc::EPERM),
    ("ENOENT", libc::ENOENT),
    ("EIO", libc::EIO),
    ("EACCES", libc::EACCES),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
    ("ENOTSUP", libc::ENOTSUP),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
    ("EPROTONOSUPPORT", libc::EPROTONOSUPPORT),
];

/// The map's entry for this machine, or the plain list.
fn arches(plain: &[String], map: &[FileArch]) -> Result<Vec<Arch>, ProfileError> {
    if map.is_empty() {
        return plain
            .iter()
            .map(|arch| word("architecture", arch))
            .collect();
    }
    if !plain.is_empty() {
        return Err(ProfileError::TwoArchitectures);
    }
    let own = map
        .iter()
        .find(|entry| entry.architecture.parse::<Arch>().ok().as_ref() == MACHINE.arches.first());
    let Some(own) = own else {
        return Ok(Vec::new());
    };
    std::iter::once(&own.architecture)
        .chain(&own.sub_architectures)
        .map(|arch| word("architecture", arch))
        .collect()
}

fn kernel(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compile(json: &str, capabilities: CapSet) -> LinuxSeccomp {
        Profile::parse(json.as_bytes()).unwrap().compile(&Target {
            capabilities,
            kernel: (5, 4),
        })
    }

    fn names(seccomp: &LinuxSeccomp) -> Vec<String> {
        let rules = seccomp.syscalls().iter().flatten();
        rules.flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn the_plain_form() {
        let seccomp = compile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
            "flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[
            {"names":["chmod","fchmodat"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
            {"name":"clone","action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
            CapSet::EMPTY,
        );
        assert_eq!(seccomp.default_action(), Action::ScmpActAllow);
        assert_eq!(names(&seccomp), ["chmod", "fchmodat", "clone"]);
        let rules = seccomp.syscalls().as_ref().unwrap();
        assert_eq!(rules[0].errno_ret(), Some(13));
        let arg = rules[1].args().as_ref().unwrap()[0];
        assert_eq!((arg.index(), arg.value(), arg.value_two()), (0, 1, Some(2)));
    }

    #[test]
    fn conditions_are_decided() {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS",
            "archMap":[{{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}},
                       {{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}}],
            "syscalls":[
            {{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{{"caps":["CAP_SYS_ADMIN"]}}}},
            {{"names":["b"],"action":"SCMP_ACT_ALLOW","excludes":{{"caps":["CAP_SYS_ADMIN"]}}}},
            {{"names":["c"],"action":"SCMP_ACT_ALLOW","includes":{{"arches":["{0}"]}}}},
            {{"names":["d"],"action":"SCMP_ACT_ALLOW","excludes":{{"arches":["{0}"]}}}},
            {{"names":["e"],"action":"SCMP_ACT_ALLOW","includes":{{"minKernel":"4.8"}}}},
            {{"names":["f"],"action":"SCMP_ACT_ALLOW","includes":{{"minKernel":"5.10"}}}},
            {{"names":["g"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{{}},"comment":""}}]}}"#,
            MACHINE.name
        );
        let plain = compile(&json, CapSet::EMPTY);
        assert_eq!(names(&plain), ["b", "c", "e", "g"]);
        assert_eq!(plain.default_errno_ret(), Some(libc::ENOSYS as u32));
        let admin = compile(&json, CapSet::one("SYS_ADMIN").unwrap());
        assert_eq!(names(&admin), ["a", "c", "e", "g"]);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(plain.architectures().as_ref().unwrap().len(), 2);
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |json: &str| Profile::parse(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"defaultAction":"ALLOW"}"#),
            "defaultAction \"ALLOW\" is not known"
        );
        let rule = |rule: &str| {
            error(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#
            ))
        };
        assert_eq!(
            rule(r#"{"action":"SCMP_ACT_ALLOW"}"#),
            "rule 0 has to have either name or names"
        );
        assert_eq!(
            rule(r#"{"name":"x","action":"SCMP_ACT_ERRNO","errno":"EWHAT"}"#),
            "errno \"EWHAT\" is not known"
        );
        assert_eq!(
            rule(r#"{"name":"x","action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_X"]}}"#),
            "a condition names an unknown capability \"CAP_X\""
        );
        assert!(error("{}").contains("defaultAction"));
        assert!(error("").starts_with("it is not a profile"));
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes: Vec<u8>) {
            let _ = Profile::parse(&bytes);
        }

        #[test]
        fn any_words_will_do(word in "[A-Z_]{0,20}", version in "[0-9.]{0,6}") {
            let json = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
                {{"name":"x","action":"{word}","includes":{{"minKernel":"{version}"}}}}]}}"#);
            let _ = Profile::parse(json.as_bytes());
        }
    }
}
