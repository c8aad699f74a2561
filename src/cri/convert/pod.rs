//! Sandboxes as `RunPodSandbox` asks for them.

use std::path::Path;

use super::{
    dns,
    error::{At, FieldError},
    namespaces, number, port, resources, security, sysctl, text, user,
};
use crate::{
    cri::api,
    pod::spec::{PodMetadata, PodSpec, SecurityProfile},
};

/// A sandbox from its configuration and the name of its runtime handler.
pub fn spec(
    config: Option<api::PodSandboxConfig>,
    runtime_handler: String,
) -> Result<PodSpec, FieldError> {
    let at = At::root("config");
    let config = config.ok_or_else(|| at.missing())?;
    if config.windows.is_some() {
        return Err(at.field("windows").wrong("is for Windows, this is Linux"));
    }
    let linux = config.linux.unwrap_or_default();
    let linux_at = at.field("linux");
    let security_at = linux_at.field("security_context");
    let security = linux.security_context.unwrap_or_default();
    #[allow(deprecated)]
    let seccomp_path = security.seccomp_profile_path.as_str();
    let seccomp = security::seccomp(&security_at, security.seccomp.as_ref(), seccomp_path)?;
    let apparmor = match security.apparmor.as_ref() {
        None => SecurityProfile::default(),
        profile => security::apparmor(&security_at, profile, "")?,
    };
    let namespaces = namespaces::pod(
        &security_at.field("namespace_options"),
        security.namespace_options,
    )?;
    user::groups_policy(
        &security_at.field("supplemental_groups_policy"),
        security.supplemental_groups_policy,
    )?;
    Ok(PodSpec {
        metadata: metadata(&at.field("metadata"), config.metadata)?,
        runtime_handler: handler(&At::root("runtime_handler"), runtime_handler)?,
        hostname: dns::hostname(&at.field("hostname"), config.hostname)?,
        log_directory: match config.log_directory.as_str() {
            "" => None,
            path => Some(text::absolute_path(&at.field("log_directory"), path)?),
        },
        dns: config
            .dns_config
            .map(|config| dns::dns(&at.field("dns_config"), config))
            .transpose()?,
        port_mappings: port::mappings(&at.field("port_mappings"), config.port_mappings)?,
        labels: text::map(&at.field("labels"), config.labels)?,
        annotations: text::map(&at.field("annotations"), config.annotations)?,
        cgroup_parent: cgroup_parent(&linux_at.field("cgroup_parent"), linux.cgroup_parent)?,
        sysctls: sysctl::sysctls(&linux_at.field("sysctls"), linux.sysctls, &namespaces)?,
        namespaces,
        privileged: security.privileged,
        run_as_user: optional_id(
            &security_at.field("run_as_user"),
            security.run_as_user,
            "a user ID",
        )?,
        // Unlike a container's, a group alone is fine: the kubelet sends it for pods that set only that.
        run_as_group: optional_id(
            &security_at.field("run_as_group"),
            security.run_as_group,
            "a group ID",
        )?,
        supplemental_groups: number::groups(
            &security_at.field("supplemental_groups"),
            &security.supplemental_groups,
        )?
        .into_iter()
        .map(i64::from)
        .collect(),
        readonly_rootfs: security.readonly_rootfs,
        seccomp,
        apparmor,
        selinux: security::selinux(
            &security_at.field("selinux_options"),
            security.selinux_options,
        )?,
        overhead: linux
            .overhead
            .map(|r| resources::resources(&linux_at.field("overhead"), r))
            .transpose()?,
        resources: linux
            .resources
            .map(|r| resources::resources(&linux_at.field("resources"), r))
            .transpose()?,
    })
}

/// The name of a sandbox.
fn metadata(
    at: &At<'_>,
    metadata: Option<api::PodSandboxMetadata>,
) -> Result<PodMetadata, FieldError> {
    let metadata = metadata.ok_or_else(|| at.missing())?;
    Ok(PodMetadata {
        name: text::name(&at.field("name"), metadata.name)?,
        uid: text::name(&at.field("uid"), metadata.uid)?,
        namespace: text::name(&at.field("namespace"), metadata.namespace)?,
        attempt: metadata.attempt,
    })
}

/// A handler's name is looked up in the configuration; here it must only be a plain word.
pub fn handler(at: &At<'_>, value: String) -> Result<String, FieldError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if value.len() > 253 || !value.bytes().all(plain) {
        return Err(at.bad(&value, "is not the name of a runtime handler"));
    }
    Ok(value)
}

/// A cgroup path as cgroupfs has it (`/kubepods/podX`) or a systemd slice (`a-b.slice`).
fn cgroup_parent(at: &At<'_>, value: String) -> Result<String, FieldError> {
    text::check(at, &value, text::PATH_MAX)?;
    if value.split('/').any(|c| c == ".." || c == ".") {
        return Err(at.bad(&value, "has a \".\" or \"..\" component"));
    }
    if value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(at.bad(&value, "has white space or a control character"));
    }
    if Path::new(&value)
        .components()
        .any(|c| c.as_os_str().len() > 255)
    {
        return Err(at.bad(&value, "has a name of more than 255 bytes"));
    }
    Ok(value)
}

fn optional_id(
    at: &At<'_>,
    value: Option<api::Int64Value>,
    what: &str,
) -> Result<Option<i64>, FieldError> {
    value
        .map(|v| number::id(at, v.value, what).map(i64::from))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn minimal() -> api::PodSandboxConfig {
        api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: "web".into(),
                uid: "u-1".into(),
                namespace: "default".into(),
                attempt: 2,
            }),
            ..Default::default()
        }
    }

    fn error(change: impl FnOnce(&mut api::PodSandboxConfig)) -> String {
        let mut config = minimal();
        change(&mut config);
        spec(Some(config), String::new()).unwrap_err().to_string()
    }

    fn linux(config: &mut api::PodSandboxConfig) -> &mut api::LinuxPodSandboxConfig {
        config.linux.get_or_insert_default()
    }

    #[test]
    fn a_name_is_enough() {
        let spec = spec(Some(minimal()), "runc".into()).unwrap();
        assert_eq!(spec.metadata.attempt, 2);
        assert_eq!(spec.runtime_handler, "runc");
        assert_eq!(spec.log_directory, None);
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            spec(None, String::new()).unwrap_err().to_string(),
            "config: is required"
        );
        assert_eq!(error(|c| c.metadata = None), "config.metadata: is required");
        for (name, clear) in [
            (
                "name",
                (|m| m.name.clear()) as fn(&mut api::PodSandboxMetadata),
            ),
            ("uid", |m| m.uid.clear()),
            ("namespace", |m| m.namespace.clear()),
        ] {
            assert_eq!(
                error(|c| clear(c.metadata.as_mut().unwrap())),
                format!("config.metadata.{name}: is required")
            );
        }
        assert_eq!(
            error(|c| c.log_directory = "logs".into()),
            "config.log_directory: \"logs\" is not an absolute path"
        );
        assert_eq!(
            error(|c| c.log_directory = "/var/log/../../etc".into()),
            "config.log_directory: \"/var/log/../../etc\" has a \"..\" component"
        );
        assert!(error(|c| c.hostname = "a_b".into()).starts_with("config.hostname: \"a_b\""));
        assert!(error(|c| c.windows = Some(Default::default())).starts_with("config.windows"));
        assert_eq!(
            error(|c| linux(c).cgroup_parent = "/a/../..".into()),
            "config.linux.cgroup_parent: \"/a/../..\" has a \".\" or \"..\" component"
        );
        assert_eq!(
            error(|c| {
                let security = linux(c).security_context.get_or_insert_default();
                security.run_as_user = Some(api::Int64Value { value: -5 });
            }),
            "config.linux.security_context.run_as_user: -5 is not a user ID (0 to 4294967294)"
        );
        assert!(
            spec(Some(minimal()), "../x".into())
                .unwrap_err()
                .to_string()
                .starts_with("runtime_handler: \"../x\"")
        );
    }

    #[test]
    #[allow(deprecated)]
    fn the_deprecated_seccomp_path_counts_alone() {
        use crate::container::spec::Seccomp;
        let mut config = minimal();
        let security = linux(&mut config).security_context.get_or_insert_default();
        security.seccomp_profile_path = "runtime/default".into();
        assert_eq!(
            spec(Some(config.clone()), String::new()).unwrap().seccomp,
            Seccomp::RuntimeDefault
        );
        linux(&mut config)
            .security_context
            .get_or_insert_default()
            .seccomp = Some(api::SecurityProfile {
            profile_type: api::security_profile::ProfileType::Unconfined as i32,
            localhost_ref: String::new(),
        });
        assert_eq!(
            spec(Some(config), String::new()).unwrap().seccomp,
            Seccomp::Unconfined
        );
    }
}
