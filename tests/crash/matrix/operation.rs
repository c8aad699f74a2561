//! The operations: what each is done to, how it is asked for, and what a client sees of it.

use corten::cri::api::{
    self, ContainerConfig, ContainerState, IdMapping, LinuxContainerResources, Mount,
    NamespaceMode, PodSandboxConfig, PodSandboxState, PortMapping, Protocol, UserNamespace,
};
use tonic::Status;

use super::{
    lawful::{ASKED, Seen},
    world::{OLD_RUNTIME, World},
};
use crate::support::{IMAGE, container, image_spec, namespaces, pod, pod_net, shell, until};

/// An operation that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Of a pod with a network, a port of the host and shared processes.
    RunPodSandbox,
    /// Of a pod with a user namespace.
    RunPodSandboxWithUsers,
    /// Of a container that mounts an image, a part of one, and a volume whose IDs are mapped.
    CreateContainer,
    /// Of the same by a runtime that cannot map IDs.
    CreateContainerByOldRuntime,
    StartContainer,
    StopContainer,
    RemoveContainer,
    /// Of a pod in which a container runs.
    StopPodSandbox,
    /// Of the same.
    RemovePodSandbox,
    UpdatePodSandboxResources,
    /// Of an image with three layers.
    PullImage,
    RemoveImage,
}

/// What an operation is done to.
pub(super) struct Subject {
    pod: (PodSandboxConfig, String),
    container: (ContainerConfig, String),
}

/// IDs of the host for pods that have users of their own.
const FIRST: u32 = 300_000;
const LENGTH: u32 = 65_536;

fn mapping() -> Vec<IdMapping> {
    vec![IdMapping {
        container_id: 0,
        host_id: FIRST,
        length: LENGTH,
    }]
}

/// A pod with what takes the most steps.
fn full_pod(world: &World<'_>, name: &str) -> PodSandboxConfig {
    let mut config = pod_net(name);
    namespaces(&mut config).pid = NamespaceMode::Pod as i32;
    config.port_mappings = vec![PortMapping {
        protocol: Protocol::Tcp as i32,
        container_port: 8080,
        host_port: world.port.into(),
        host_ip: String::new(),
    }];
    config
}

/// A container that ends when it is asked to, with a code of its own.
fn full_container(world: &World<'_>, name: &str) -> ContainerConfig {
    let script = format!("trap 'exit {ASKED}' TERM; echo up; while :; do sleep 0.05; done");
    let mut config = shell(name, &script);
    let image = |path: &str, sub_path: &str| Mount {
        container_path: path.into(),
        image: Some(image_spec(IMAGE)),
        image_sub_path: sub_path.into(),
        readonly: true,
        ..Mount::default()
    };
    let volume = world.node.scratch.join("volume");
    let _ = std::fs::create_dir(&volume);
    config.mounts = vec![
        image("/whole", ""),
        image("/part", "bin"),
        Mount {
            host_path: volume.to_str().unwrap().into(),
            container_path: "/volume".into(),
            uid_mappings: mapping(),
            gid_mappings: mapping(),
            ..Mount::default()
        },
    ];
    config
}

impl Operation {
    /// All of them.
    pub(super) const ALL: [Self; 12] = [
        Self::RunPodSandbox,
        Self::RunPodSandboxWithUsers,
        Self::CreateContainer,
        Self::CreateContainerByOldRuntime,
        Self::StartContainer,
        Self::StopContainer,
        Self::RemoveContainer,
        Self::StopPodSandbox,
        Self::RemovePodSandbox,
        Self::UpdatePodSandboxResources,
        Self::PullImage,
        Self::RemoveImage,
    ];

    pub(super) fn is_of_images(self) -> bool {
        matches!(self, Self::PullImage | Self::RemoveImage)
    }

    pub(super) fn needs_network(self) -> bool {
        matches!(
            self,
            Self::RunPodSandbox
                | Self::RunPodSandboxWithUsers
                | Self::StopPodSandbox
                | Self::RemovePodSandbox
        )
    }

    /// Makes what the operation is then done to.
    pub(super) async fn set_up(self, world: &World<'_>) -> Subject {
        let (node, name) = (world.node, &world.new_name());
        let mut subject = Subject {
            pod: world.home.clone(),
            container: (full_container(world, name), String::new()),
        };
        match self {
            Self::RunPodSandbox => subject.pod = (full_pod(world, name), String::new()),
            Self::RunPodSandboxWithUsers => {
                let mut config = pod_net(name);
                namespaces(&mut config).userns_options = Some(UserNamespace {
                    mode: NamespaceMode::Pod as i32,
                    uids: mapping(),
                    gids: mapping(),
                });
                subject.pod = (config, String::new());
            }
            Self::CreateContainer | Self::PullImage => {}
            Self::CreateContainerByOldRuntime => {
                let config = pod(name);
                let id = node.try_pod_by(OLD_RUNTIME, &config).await.unwrap();
                subject.pod = (config, id);
            }
            Self::StartContainer => {
                let (config, pod) = &subject.pod;
                subject.container.1 = node.create(pod, config, &subject.container.0).await;
            }
            Self::StopContainer | Self::RemoveContainer => {
                let (config, pod) = &subject.pod;
                let main = &subject.container.0;
                subject.container.1 = node.launch(pod, config, main).await;
                until("it heeds signals", async || {
                    node.output(config, main) == "up\n"
                })
                .await;
            }
            Self::StopPodSandbox | Self::RemovePodSandbox => {
                let config = full_pod(world, name);
                let pod = node.pod(&config).await;
                let main = container("main", &["sleep", "1000000"]);
                let id = node.launch(&pod, &config, &main).await;
                subject = Subject {
                    pod: (config, pod),
                    container: (main, id),
                };
            }
            Self::UpdatePodSandboxResources => {
                let config = pod(name);
                let pod = node.pod(&config).await;
                subject.pod = (config, pod);
            }
            Self::RemoveImage => {
                node.pull(&world.image).await;
            }
        }
        subject
    }

    /// Asks for it.
    pub(super) async fn request(self, world: &World<'_>, subject: &Subject) -> Result<(), Status> {
        let node = world.node;
        let (config, pod) = &subject.pod;
        let (main, id) = &subject.container;
        match self {
            Self::RunPodSandbox | Self::RunPodSandboxWithUsers => {
                node.try_pod(config).await.map(drop)
            }
            Self::CreateContainer | Self::CreateContainerByOldRuntime => {
                node.try_create(pod, config, main).await.map(drop)
            }
            Self::StartContainer => node.start_container(id).await,
            Self::StopContainer => node.stop_container(id, 600).await,
            Self::RemoveContainer => node.remove_container(id).await,
            Self::StopPodSandbox => node.stop_pod(pod).await,
            Self::RemovePodSandbox => node.remove_pod(pod).await,
            Self::UpdatePodSandboxResources => {
                let request = api::UpdatePodSandboxResourcesRequest {
                    pod_sandbox_id: pod.clone(),
                    resources: Some(LinuxContainerResources {
                        memory_limit_in_bytes: 64 << 20,
                        ..LinuxContainerResources::default()
                    }),
                    ..api::UpdatePodSandboxResourcesRequest::default()
                };
                let answer = node.runtime().update_pod_sandbox_resources(request).await;
                answer.map(drop)
            }
            Self::PullImage => node.try_pull(&world.image, None).await.map(drop),
            Self::RemoveImage => node.remove_image(&world.image).await,
        }
    }

    /// What a client sees of what it is done to.
    pub(super) async fn seen(self, world: &World<'_>, subject: &Subject) -> Seen {
        match self {
            Self::RunPodSandbox
            | Self::RunPodSandboxWithUsers
            | Self::StopPodSandbox
            | Self::RemovePodSandbox
            | Self::UpdatePodSandboxResources => seen_pod(world, &subject.pod.0).await,
            Self::CreateContainer
            | Self::CreateContainerByOldRuntime
            | Self::StartContainer
            | Self::StopContainer
            | Self::RemoveContainer => seen_container(world, &subject.container.0).await,
            Self::PullImage | Self::RemoveImage => seen_image(world).await,
        }
    }
}

async fn seen_pod(world: &World<'_>, config: &PodSandboxConfig) -> Seen {
    let pods = world.node.pods(None).await;
    let mut named = pods.iter().filter(|pod| pod.metadata == config.metadata);
    let seen = match named.next().map(api::PodSandbox::state) {
        None => Seen::Absent,
        Some(PodSandboxState::SandboxReady) => Seen::Ready,
        Some(PodSandboxState::SandboxNotready) => Seen::NotReady,
    };
    assert!(named.next().is_none(), "two pods of one name: {pods:?}");
    seen
}

async fn seen_container(world: &World<'_>, config: &ContainerConfig) -> Seen {
    let all = world.node.containers(None).await;
    let mut named = all.iter().filter(|c| c.metadata == config.metadata);
    let Some(found) = named.next() else {
        return Seen::Absent;
    };
    assert!(
        named.next().is_none(),
        "two containers of one name: {all:?}"
    );
    // It may go away while it is looked at.
    let Ok(status) = world.node.try_status(&found.id).await else {
        return Seen::Absent;
    };
    match status.state() {
        ContainerState::ContainerCreated => Seen::Created,
        ContainerState::ContainerRunning => Seen::Running,
        ContainerState::ContainerExited => Seen::Exited(status.exit_code),
        ContainerState::ContainerUnknown => panic!("{status:?}"),
    }
}

async fn seen_image(world: &World<'_>) -> Seen {
    match world.node.image_status(&world.image).await.unwrap() {
        None => Seen::Absent,
        Some(_) if world.image_is_whole() => Seen::Whole,
        Some(_) => Seen::Damaged,
    }
}
