//! The calls of a kubelet that are measured.

use corten::cri::api::{
    self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};

use super::{Outcome, subject::Connection};

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    runtime: RuntimeServiceClient<Connection>,
    images: ImageServiceClient<Connection>,
}

/// The network of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Own,
    Host,
}

/// A pod with its container.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) sandbox: String,
    pub(crate) container: String,
}

impl Client {
    pub(crate) fn new(channel: Connection) -> Self {
        const LARGEST: usize = 64 << 20;
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST),
            images: ImageServiceClient::new(channel),
        }
    }

    pub(crate) async fn version(&self) -> Outcome<api::VersionResponse> {
        let request = api::VersionRequest::default();
        Ok(self.runtime.clone().version(request).await?.into_inner())
    }

    /// Whether pods can have a network.
    pub(crate) async fn network_ready(&self) -> Outcome<bool> {
        let request = api::StatusRequest::default();
        let reply = self.runtime.clone().status(request).await?.into_inner();
        let conditions = reply.status.unwrap_or_default().conditions;
        Ok(conditions
            .iter()
            .any(|condition| condition.r#type == "NetworkReady" && condition.status))
    }

    pub(crate) async fn run_pod(&self, config: &api::PodSandboxConfig) -> Outcome<String> {
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        let reply = self.runtime.clone().run_pod_sandbox(request).await?;
        Ok(reply.into_inner().pod_sandbox_id)
    }

    /// Creates the container that sleeps.
    pub(crate) async fn create(
        &self,
        sandbox: &str,
        pod: &api::PodSandboxConfig,
        image: &str,
    ) -> Outcome<String> {
        let namespaces = pod
            .linux
            .as_ref()
            .and_then(|linux| linux.security_context.as_ref()?.namespace_options.clone());
        let request = api::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(api::ContainerConfig {
                metadata: Some(api::ContainerMetadata {
                    name: "sleeper".into(),
                    attempt: 0,
                }),
                image: Some(spec(image)),
                command: ["/bin/sh", "-c", "exec sleep 100000"]
                    .map(str::to_owned)
                    .into(),
                log_path: "sleeper.log".into(),
                linux: Some(api::LinuxContainerConfig {
                    security_context: Some(api::LinuxContainerSecurityContext {
                        namespace_options: namespaces,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            sandbox_config: Some(pod.clone()),
        };
        let reply = self.runtime.clone().create_container(request).await?;
        Ok(reply.into_inner().container_id)
    }

    pub(crate) async fn start(&self, container: &str) -> Outcome<()> {
        let container_id = container.to_owned();
        let request = api::StartContainerRequest { container_id };
        self.runtime.clone().start_container(request).await?;
        Ok(())
    }

    /// Stops and removes, as a kubelet does one after the other.
    pub(crate) async fn remove(&self, pod: &Pod) -> Outcome<()> {
        let mut runtime = self.runtime.clone();
        let (container_id, pod_sandbox_id) = (pod.container.clone(), pod.sandbox.clone());
        let stop = api::StopContainerRequest {
            container_id: container_id.clone(),
            timeout: 0,
        };
        runtime.stop_container(stop).await?;
        let stop = api::StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        };
        runtime.stop_pod_sandbox(stop).await?;
        let remove = api::RemoveContainerRequest { container_id };
        runtime.remove_container(remove).await?;
        let remove = api::RemovePodSandboxRequest { pod_sandbox_id };
        runtime.remove_pod_sandbox(remove).await?;
        Ok(())
    }

    /// Runs a command to its end; an exit code other than 0 is an error.
    pub(crate) async fn exec(&self, container: &str, command: &str) -> Outcome<()> {
        let request = api::ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: vec![command.to_owned()],
            timeout: 30,
        };
        let reply = self.runtime.clone().exec_sync(request).await?.into_inner();
        match reply.exit_code {
            0 => Ok(()),
            code => Err(format!("{command} exited with {code}").into()),
        }
    }

    pub(crate) async fn list_pods(&self) -> Outcome<usize> {
        let request = api::ListPodSandboxRequest::default();
        let reply = self.runtime.clone().list_pod_sandbox(request).await?;
        Ok(reply.into_inner().items.len())
    }

    pub(crate) async fn list_containers(&self) -> Outcome<usize> {
        let request = api::ListContainersRequest::default();
        let reply = self.runtime.clone().list_containers(request).await?;
        Ok(reply.into_inner().containers.len())
    }

    pub(crate) async fn status(&self, container: &str) -> Outcome<()> {
        let request = api::ContainerStatusRequest {
            container_id: container.to_owned(),
            verbose: false,
        };
        self.runtime.clone().container_status(request).await?;
        Ok(())
    }

    pub(crate) async fn container_stats(&self) -> Outcome<usize> {
        let request = api::ListContainerStatsRequest::default();
        let reply = self.runtime.clone().list_container_stats(request).await?;
        Ok(reply.into_inner().stats.len())
    }

    pub(crate) async fn pod_stats(&self) -> Outcome<usize> {
        let request = api::ListPodSandboxStatsRequest::default();
        let reply = self.runtime.clone().list_pod_sandbox_stats(request).await?;
        Ok(reply.into_inner().stats.len())
    }

    pub(crate) async fn pull(&self, image: &str) -> Outcome<()> {
        let request = api::PullImageRequest {
            image: Some(spec(image)),
            ..Default::default()
        };
        self.images.clone().pull_image(request).await?;
        Ok(())
    }

    pub(crate) async fn remove_image(&self, image: &str) -> Outcome<()> {
        let request = api::RemoveImageRequest {
            image: Some(spec(image)),
        };
        self.images.clone().remove_image(request).await?;
        Ok(())
    }
}

fn spec(image: &str) -> api::ImageSpec {
    api::ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    }
}

/// A pod to run; no two have one name.
pub(crate) fn pod_config(
    name: &str,
    network: Network,
    cgroup_parent: &str,
) -> api::PodSandboxConfig {
    let network = match network {
        Network::Own => api::NamespaceMode::Pod,
        Network::Host => api::NamespaceMode::Node,
    };
    // Every pod in a cgroup of its own, as a kubelet has it.
    let cgroup_parent = match cgroup_parent {
        "" => String::new(),
        parent => format!("{parent}/{name}"),
    };
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("{name}-{}", std::process::id()),
            namespace: "bench".into(),
            attempt: 0,
        }),
        log_directory: std::env::temp_dir()
            .join(format!("corten-bench-logs-{}", std::process::id()))
            .join(name)
            .display()
            .to_string(),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent,
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: Some(api::NamespaceOption {
                    network: network.into(),
                    pid: api::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
