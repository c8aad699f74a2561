//! Containers as `CreateContainer` asks for them.

use super::{
    capabilities, device, env,
    error::{At, FieldError},
    image, mount, namespaces, number, resources, security, signal, text, user,
};
use crate::{
    container::spec::{ContainerMetadata, ContainerSpec, Resources, Security},
    cri::api,
};

/// Most masked or read-only paths.
const PATHS_MAX: usize = 1024;

/// A container from its configuration.
pub fn spec(config: Option<api::ContainerConfig>) -> Result<ContainerSpec, FieldError> {
    let at = At::root("config");
    let config = config.ok_or_else(|| at.missing())?;
    if config.windows.is_some() {
        return Err(at.field("windows").wrong("is for Windows, this is Linux"));
    }
    let linux = config.linux.unwrap_or_default();
    let linux_at = at.field("linux");
    Ok(ContainerSpec {
        metadata: metadata(&at.field("metadata"), config.metadata)?,
        image: image::reference(&at.field("image"), config.image)?,
        command: env::argv(&at.field("command"), config.command)?,
        args: env::argv(&at.field("args"), config.args)?,
        working_dir: env::working_dir(&at.field("working_dir"), config.working_dir)?,
        envs: env::envs(&at.field("envs"), config.envs)?,
        mounts: mount::mounts(&at.field("mounts"), config.mounts)?,
        devices: device::devices(&at.field("devices"), config.devices)?,
        cdi_devices: device::cdi(&at.field("CDI_devices"), config.cdi_devices)?,
        labels: text::map(&at.field("labels"), config.labels)?,
        annotations: text::map(&at.field("annotations"), config.annotations)?,
        log_path: match config.log_path.as_str() {
            "" => None,
            path => Some(text::relative_path(&at.field("log_path"), path)?),
        },
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        resources: match linux.resources {
            Some(given) => resources::resources(&linux_at.field("resources"), given)?,
            None => Resources::default(),
        },
        security: security(
            &linux_at.field("security_context"),
            linux.security_context.unwrap_or_default(),
        )?,
        stop_signal: signal::stop_signal(&at.field("stop_signal"), config.stop_signal)?,
    })
}

fn metadata(
    at: &At<'_>,
    metadata: Option<api::ContainerMetadata>,
) -> Result<ContainerMetadata, FieldError> {
    let metadata = metadata.ok_or_else(|| at.missing())?;
    Ok(ContainerMetadata {
        name: text::name(&at.field("name"), metadata.name)?,
        attempt: metadata.attempt,
    })
}

#[allow(deprecated)]
fn security(
    at: &At<'_>,
    given: api::LinuxContainerSecurityContext,
) -> Result<Security, FieldError> {
    let (pid, users) =
        namespaces::container(&at.field("namespace_options"), given.namespace_options)?;
    Ok(Security {
        seccomp: security::seccomp(at, given.seccomp.as_ref(), &given.seccomp_profile_path)?,
        apparmor: security::apparmor(at, given.apparmor.as_ref(), &given.apparmor_profile)?,
        privileged: given.privileged,
        pid,
        users,
        capabilities: capabilities::capabilities(&at.field("capabilities"), given.capabilities)?,
        user: user::run_as(
            at,
            given.run_as_user,
            given.run_as_username,
            given.run_as_group,
        )?,
        supplemental_groups: number::groups(
            &at.field("supplemental_groups"),
            &given.supplemental_groups,
        )?,
        supplemental_groups_policy: user::groups_policy(
            &at.field("supplemental_groups_policy"),
            given.supplemental_groups_policy,
        )?,
        readonly_rootfs: given.readonly_rootfs,
        no_new_privs: given.no_new_privs,
        masked_paths: paths(&at.field("masked_paths"), given.masked_paths)?,
        readonly_paths: paths(&at.field("readonly_paths"), given.readonly_paths)?,
        selinux: security::selinux(&at.field("selinux_options"), given.selinux_options)?,
    })
}

fn paths(at: &At<'_>, given: Vec<String>) -> Result<Vec<String>, FieldError> {
    if given.len() > PATHS_MAX {
        return Err(at.wrong(format!(
            "has {} entries, at most {PATHS_MAX} are possible",
            given.len()
        )));
    }
    for (i, path) in given.iter().enumerate() {
        text::absolute_path(&at.index(i), path)?;
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        container::spec::{RunAs, Seccomp},
        pod::spec::PidMode,
    };

    fn minimal() -> api::ContainerConfig {
        api::ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: "main".into(),
                attempt: 1,
            }),
            image: Some(api::ImageSpec {
                image: "busybox".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn error(change: impl FnOnce(&mut api::ContainerConfig)) -> String {
        let mut config = minimal();
        change(&mut config);
        spec(Some(config)).unwrap_err().to_string()
    }

    fn context(config: &mut api::ContainerConfig) -> &mut api::LinuxContainerSecurityContext {
        config
            .linux
            .get_or_insert_default()
            .security_context
            .get_or_insert_default()
    }

    #[test]
    fn a_name_and_an_image_are_enough() {
        let spec = spec(Some(minimal())).unwrap();
        assert_eq!(spec.metadata.name, "main");
        assert_eq!(spec.security.user, RunAs::Image);
        assert_eq!(spec.security.pid, PidMode::Pod);
        assert_eq!(spec.security.seccomp, Seccomp::Unconfined);
        assert_eq!(spec.stop_signal, None);
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(spec(None).unwrap_err().to_string(), "config: is required");
        assert_eq!(error(|c| c.metadata = None), "config.metadata: is required");
        assert_eq!(error(|c| c.image = None), "config.image: is required");
        assert_eq!(
            error(|c| c.log_path = "/etc/passwd".into()),
            "config.log_path: \"/etc/passwd\" is absolute, a relative path is needed"
        );
        assert_eq!(
            error(|c| c.log_path = "../../x".into()),
            "config.log_path: \"../../x\" has a \"..\" component"
        );
        assert_eq!(
            error(|c| c.command = vec!["a".into(), "b\0".into()]),
            "config.command[1]: \"b\\0\" has a NUL"
        );
        assert_eq!(
            error(|c| context(c).run_as_user = Some(api::Int64Value { value: -5 })),
            "config.linux.security_context.run_as_user: -5 is not a user ID (0 to 4294967294)"
        );
        assert_eq!(
            error(|c| context(c).masked_paths = vec!["proc".into()]),
            "config.linux.security_context.masked_paths[0]: \"proc\" is not an absolute path"
        );
        assert_eq!(
            error(|c| context(c).supplemental_groups_policy = 4),
            "config.linux.security_context.supplemental_groups_policy: 4 is not a policy"
        );
        assert!(error(|c| c.windows = Some(Default::default())).starts_with("config.windows"));
    }
}
