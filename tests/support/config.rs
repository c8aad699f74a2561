//! Requests in few words.

use corten::cri::api::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, SecurityProfile,
    security_profile::ProfileType,
};

/// The image that [`container`] names.
pub(crate) const IMAGE: &str = "localhost/busybox:test";

/// A pod on the host's network: what most tests need, without the cost of network plugins.
pub(crate) fn pod(name: &str) -> PodSandboxConfig {
    let mut config = pod_net(name);
    namespaces(&mut config).network = NamespaceMode::Node as i32;
    config
}

/// A pod with a network of its own.
pub(crate) fn pod_net(name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            namespace: "tests".to_owned(),
            attempt: 0,
        }),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(NamespaceOption {
                    pid: NamespaceMode::Container as i32,
                    ..NamespaceOption::default()
                }),
                ..LinuxSandboxSecurityContext::default()
            }),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    }
}

/// The Linux part of a pod, made if it is not there.
pub(crate) fn pod_linux(config: &mut PodSandboxConfig) -> &mut LinuxPodSandboxConfig {
    config.linux.get_or_insert_default()
}

/// The namespaces of a pod.
pub(crate) fn namespaces(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    pod_linux(config)
        .security_context
        .get_or_insert_default()
        .namespace_options
        .get_or_insert_default()
}

/// A container that runs `command` from the image all tests share.
pub(crate) fn container(name: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(image_spec(IMAGE)),
        command: args(command),
        log_path: format!("{name}.log"),
        ..ContainerConfig::default()
    }
}

/// A container that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> ContainerConfig {
    container(name, &["sh", "-c", script])
}

/// A container of the image's own command.
pub(crate) fn userless(name: &str, image: &str) -> ContainerConfig {
    ContainerConfig {
        image: Some(image_spec(image)),
        ..container(name, &[])
    }
}

/// The Linux part of a container, made if it is not there.
pub(crate) fn linux(config: &mut ContainerConfig) -> &mut LinuxContainerConfig {
    config.linux.get_or_insert_default()
}

/// The security context of a container, made if it is not there.
pub(crate) fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    linux(config).security_context.get_or_insert_default()
}

/// A profile of a security module or a filter, as one asks for it.
pub(crate) fn profile(kind: ProfileType, file: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: file.to_owned(),
    })
}

/// An image by name.
pub(crate) fn image_spec(image: &str) -> ImageSpec {
    ImageSpec {
        image: image.to_owned(),
        ..ImageSpec::default()
    }
}

/// A `registries.conf` by which a registry may be spoken to over HTTP.
pub(crate) fn insecure(host: &str) -> String {
    format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n")
}

/// Owned words.
pub(crate) fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
