//! Profiles of security modules.

use std::path::PathBuf;

use super::{
    error::{At, FieldError},
    number, text,
};
use crate::{
    container::spec::Seccomp,
    cri::api,
    pod::spec::{SecurityProfile, SelinuxLabel},
};

/// Prefix of the profiles that lie on the node, in the deprecated text form.
const LOCALHOST: &str = "localhost/";
/// Longest profile name or part of a label.
const PART_MAX: usize = 4096;

/// A profile before it is known which module it is for.
enum Profile<'a> {
    Default,
    Unconfined,
    Localhost(&'a str),
}

/// The system call filter; the deprecated `seccomp_profile_path` counts when the profile is absent.
pub fn seccomp(
    at: &At<'_>,
    profile: Option<&api::SecurityProfile>,
    deprecated: &str,
) -> Result<Seccomp, FieldError> {
    let (place, profile) = match profile {
        Some(profile) => ("seccomp", structured(&at.field("seccomp"), profile)?),
        None if deprecated.is_empty() => return Ok(Seccomp::Unconfined),
        None => (
            "seccomp_profile_path",
            textual(&at.field("seccomp_profile_path"), deprecated)?,
        ),
    };
    Ok(match profile {
        Profile::Default => Seccomp::RuntimeDefault,
        Profile::Unconfined => Seccomp::Unconfined,
        Profile::Localhost(path) => Seccomp::Localhost(localhost_path(&at.field(place), path)?),
    })
}

fn localhost_path(at: &At<'_>, path: &str) -> Result<PathBuf, FieldError> {
    if path.is_empty() {
        return Err(at.field("localhost_ref").missing());
    }
    text::absolute_path(at, path)
}

/// The AppArmor profile; the deprecated `apparmor_profile` counts when the profile is absent.
pub fn apparmor(
    at: &At<'_>,
    profile: Option<&api::SecurityProfile>,
    deprecated: &str,
) -> Result<SecurityProfile, FieldError> {
    let (place, profile) = match profile {
        Some(profile) => ("apparmor", structured(&at.field("apparmor"), profile)?),
        None if deprecated.is_empty() => return Ok(SecurityProfile::RuntimeDefault),
        None => (
            "apparmor_profile",
            textual(&at.field("apparmor_profile"), deprecated)?,
        ),
    };
    Ok(match profile {
        Profile::Default => SecurityProfile::RuntimeDefault,
        Profile::Unconfined => SecurityProfile::Unconfined,
        Profile::Localhost(name) => {
            SecurityProfile::Localhost(text::word(&at.field(place), name.to_owned(), PART_MAX)?)
        }
    })
}

fn structured<'a>(
    at: &At<'_>,
    profile: &'a api::SecurityProfile,
) -> Result<Profile<'a>, FieldError> {
    use api::security_profile::ProfileType;
    let kind = number::choice(
        &at.field("profile_type"),
        profile.profile_type,
        "a profile type",
    )?;
    let reference = profile.localhost_ref.as_str();
    match kind {
        ProfileType::Localhost if reference.is_empty() => Err(at.field("localhost_ref").missing()),
        ProfileType::Localhost => Ok(Profile::Localhost(
            reference.strip_prefix(LOCALHOST).unwrap_or(reference),
        )),
        _ if !reference.is_empty() => Err(at
            .field("localhost_ref")
            .bad(reference, "is given, but profile_type is not Localhost")),
        ProfileType::RuntimeDefault => Ok(Profile::Default),
        ProfileType::Unconfined => Ok(Profile::Unconfined),
    }
}

fn textual<'a>(at: &At<'_>, value: &'a str) -> Result<Profile<'a>, FieldError> {
    match value {
        "runtime/default" | "docker/default" => Ok(Profile::Default),
        "unconfined" => Ok(Profile::Unconfined),
        other => match other.strip_prefix(LOCALHOST) {
            Some(reference) => Ok(Profile::Localhost(reference)),
            None => Err(at.bad(
                value,
                "is none of runtime/default, unconfined and localhost/PROFILE",
            )),
        },
    }
}

/// An SELinux label; all parts empty means none.
pub fn selinux(
    at: &At<'_>,
    option: Option<api::SeLinuxOption>,
) -> Result<Option<SelinuxLabel>, FieldError> {
    let Some(option) = option.filter(|o| *o != api::SeLinuxOption::default()) else {
        return Ok(None);
    };
    let part = |name: &'static str, value: String, colons: bool| {
        let at = at.field(name);
        if value.is_empty() {
            return Ok(value);
        }
        let value = text::word(&at, value, PART_MAX)?;
        if !colons && value.contains(':') {
            return Err(at.bad(&value, "has a colon"));
        }
        Ok(value)
    };
    Ok(Some(SelinuxLabel {
        user: part("user", option.user, false)?,
        role: part("role", option.role, false)?,
        kind: part("type", option.r#type, false)?,
        level: part("level", option.level, true)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::security_profile::ProfileType;

    const AT: At<'static> = At::root("sc");

    fn profile(kind: ProfileType, reference: &str) -> api::SecurityProfile {
        api::SecurityProfile {
            profile_type: kind as i32,
            localhost_ref: reference.into(),
        }
    }

    #[test]
    fn the_new_field_wins() {
        let new = profile(ProfileType::RuntimeDefault, "");
        assert_eq!(
            seccomp(&AT, Some(&new), "unconfined"),
            Ok(Seccomp::RuntimeDefault)
        );
        assert_eq!(seccomp(&AT, None, ""), Ok(Seccomp::Unconfined));
        assert_eq!(
            seccomp(&AT, None, "runtime/default"),
            Ok(Seccomp::RuntimeDefault)
        );
        assert_eq!(
            seccomp(&AT, None, "localhost//var/p.json"),
            Ok(Seccomp::Localhost("/var/p.json".into()))
        );
        assert_eq!(
            apparmor(&AT, None, "localhost/web"),
            Ok(SecurityProfile::Localhost("web".into()))
        );
        let prefixed = profile(ProfileType::Localhost, "localhost/web");
        assert_eq!(
            apparmor(&AT, Some(&prefixed), ""),
            Ok(SecurityProfile::Localhost("web".into()))
        );
        assert_eq!(apparmor(&AT, None, ""), Ok(SecurityProfile::RuntimeDefault));
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |p: api::SecurityProfile| seccomp(&AT, Some(&p), "").unwrap_err().to_string();
        assert_eq!(
            error(profile(ProfileType::Localhost, "")),
            "sc.seccomp.localhost_ref: is required"
        );
        assert_eq!(
            error(profile(ProfileType::Localhost, "p.json")),
            "sc.seccomp: \"p.json\" is not an absolute path"
        );
        assert!(error(profile(ProfileType::Unconfined, "/p")).contains("is not Localhost"));
        assert!(seccomp(&AT, None, "elsewhere").is_err());
        assert!(apparmor(&AT, None, "localhost/").is_err());
    }

    #[test]
    fn labels() {
        let option = |kind: &str, level: &str| {
            Some(api::SeLinuxOption {
                r#type: kind.into(),
                level: level.into(),
                ..Default::default()
            })
        };
        assert_eq!(selinux(&AT, option("", "")), Ok(None));
        assert_eq!(
            selinux(&AT, option("spc_t", "s0:c1,c2"))
                .unwrap()
                .unwrap()
                .level,
            "s0:c1,c2"
        );
        assert!(selinux(&AT, option("a:b", "")).is_err());
        assert!(selinux(&AT, option("a b", "")).is_err());
    }
}
