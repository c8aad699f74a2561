//! The calls of a kubelet, as short as tests like them.

use std::path::{Path, PathBuf};

use corten::cri::api::{self, ContainerConfig, ContainerState, ContainerStatus, PodSandboxConfig};
use tonic::Status;

use super::{
    LogLine, Node, container, image_spec, namespaces, pod, read_log, security, shell, until_some,
};

/// What most calls give.
type Reply<T> = Result<T, Status>;

impl Node {
    /// The configuration as sent: with a log directory.
    pub(crate) fn completed(&self, config: &PodSandboxConfig) -> PodSandboxConfig {
        let mut config = config.clone();
        if config.log_directory.is_empty() {
            let name = &config.metadata.get_or_insert_default().name;
            config.log_directory = self
                .scratch
                .join("logs")
                .join(name)
                .to_string_lossy()
                .into_owned();
        }
        config
    }

    /// Tries to run a pod by a handler.
    pub(crate) async fn try_pod_by(
        &self,
        handler: &str,
        config: &PodSandboxConfig,
    ) -> Reply<String> {
        let request = api::RunPodSandboxRequest {
            config: Some(self.completed(config)),
            runtime_handler: handler.to_owned(),
        };
        let id = self
            .runtime()
            .run_pod_sandbox(request)
            .await?
            .into_inner()
            .pod_sandbox_id;
        self.ids.lock().unwrap().insert(id.clone());
        Ok(id)
    }

    /// Tries to run a pod.
    pub(crate) async fn try_pod(&self, config: &PodSandboxConfig) -> Reply<String> {
        self.try_pod_by("", config).await
    }

    /// Runs a pod.
    #[track_caller]
    pub(crate) fn pod(&self, config: &PodSandboxConfig) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            self.try_pod(config)
                .await
                .unwrap_or_else(|e| panic!("{at}: RunPodSandbox: {e}"))
        }
    }

    /// Tries to create a container; where it says nothing of namespaces they are the pod's, as a kubelet has it.
    pub(crate) async fn try_create(
        &self,
        pod: &str,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> Reply<String> {
        let mut container = container.clone();
        security(&mut container)
            .namespace_options
            .get_or_insert_with(|| namespaces(&mut config.clone()).clone());
        self.try_create_bare(pod, config, container).await
    }

    /// Tries to create a container from just what is given.
    pub(crate) async fn try_create_bare(
        &self,
        pod: &str,
        config: &PodSandboxConfig,
        container: ContainerConfig,
    ) -> Reply<String> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(container),
            sandbox_config: Some(self.completed(config)),
        };
        let id = self
            .runtime()
            .create_container(request)
            .await?
            .into_inner()
            .container_id;
        self.ids.lock().unwrap().insert(id.clone());
        Ok(id)
    }

    /// Creates a container.
    pub(crate) async fn create(
        &self,
        pod: &str,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> String {
        self.try_create(pod, config, container)
            .await
            .unwrap_or_else(|e| panic!("CreateContainer: {e}"))
    }

    pub(crate) async fn start_container(&self, id: &str) -> Reply<()> {
        let request = api::StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime().start_container(request).await.map(drop)
    }

    /// Creates and starts a container.
    pub(crate) async fn launch(
        &self,
        pod: &str,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> String {
        let id = self.create(pod, config, container).await;
        self.start_container(&id)
            .await
            .unwrap_or_else(|e| panic!("StartContainer: {e}"));
        id
    }

    pub(crate) async fn stop_container(&self, id: &str, timeout: i64) -> Reply<()> {
        let request = api::StopContainerRequest {
            container_id: id.to_owned(),
            timeout,
        };
        self.runtime().stop_container(request).await.map(drop)
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Reply<()> {
        let request = api::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime().remove_container(request).await.map(drop)
    }

    pub(crate) async fn stop_pod(&self, id: &str) -> Reply<()> {
        let request = api::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.runtime().stop_pod_sandbox(request).await.map(drop)
    }

    pub(crate) async fn remove_pod(&self, id: &str) -> Reply<()> {
        let request = api::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.runtime().remove_pod_sandbox(request).await.map(drop)
    }

    /// Stops and removes every pod.
    pub(crate) async fn remove_all(&self) {
        for pod in self.pods(None).await {
            self.stop_pod(&pod.id)
                .await
                .unwrap_or_else(|e| panic!("StopPodSandbox: {e}"));
            self.remove_pod(&pod.id)
                .await
                .unwrap_or_else(|e| panic!("RemovePodSandbox: {e}"));
        }
    }

    pub(crate) async fn try_status(&self, id: &str) -> Reply<ContainerStatus> {
        let request = api::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let reply = self.runtime().container_status(request).await?;
        Ok(reply.into_inner().status.unwrap())
    }

    pub(crate) async fn status(&self, id: &str) -> ContainerStatus {
        self.try_status(id)
            .await
            .unwrap_or_else(|e| panic!("ContainerStatus: {e}"))
    }

    /// Waits until a container has exited.
    pub(crate) async fn exit(&self, id: &str) -> ContainerStatus {
        until_some("the container exits", async || {
            let status = self.status(id).await;
            (status.state() == ContainerState::ContainerExited).then_some(status)
        })
        .await
    }

    pub(crate) async fn try_pod_status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Reply<api::PodSandboxStatusResponse> {
        let request = api::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose,
        };
        Ok(self
            .runtime()
            .pod_sandbox_status(request)
            .await?
            .into_inner())
    }

    pub(crate) async fn pod_status(&self, id: &str) -> api::PodSandboxStatus {
        let reply = self
            .try_pod_status(id, false)
            .await
            .unwrap_or_else(|e| panic!("PodSandboxStatus: {e}"));
        reply.status.unwrap()
    }

    pub(crate) async fn pods(&self, filter: Option<api::PodSandboxFilter>) -> Vec<api::PodSandbox> {
        let request = api::ListPodSandboxRequest { filter };
        let reply = self.runtime().list_pod_sandbox(request).await;
        reply
            .unwrap_or_else(|e| panic!("ListPodSandbox: {e}"))
            .into_inner()
            .items
    }

    pub(crate) async fn containers(
        &self,
        filter: Option<api::ContainerFilter>,
    ) -> Vec<api::Container> {
        let request = api::ListContainersRequest { filter };
        let reply = self.runtime().list_containers(request).await;
        reply
            .unwrap_or_else(|e| panic!("ListContainers: {e}"))
            .into_inner()
            .containers
    }

    pub(crate) async fn try_exec(
        &self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Reply<api::ExecSyncResponse> {
        let request = api::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout,
        };
        Ok(self.runtime().exec_sync(request).await?.into_inner())
    }

    /// Runs a command in a container; gives what it printed, without the last line's end.
    pub(crate) async fn exec(&self, id: &str, command: &[&str]) -> String {
        let done = self
            .try_exec(id, command, 0)
            .await
            .unwrap_or_else(|e| panic!("ExecSync {command:?}: {e}"));
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        assert_eq!(done.exit_code, 0, "{command:?}: {out:?} {err:?}");
        out.trim_end_matches('\n').to_owned()
    }

    /// Runs a script in a container.
    pub(crate) async fn sh(&self, id: &str, script: &str) -> String {
        self.exec(id, &["sh", "-c", script]).await
    }

    pub(crate) async fn reopen_log(&self, id: &str) -> Reply<()> {
        let request = api::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        self.runtime().reopen_container_log(request).await.map(drop)
    }

    /// Where a container logs.
    pub(crate) fn log_path(
        &self,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> PathBuf {
        Path::new(&self.completed(config).log_directory).join(&container.log_path)
    }

    /// What a container logged.
    pub(crate) fn log(
        &self,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> Vec<LogLine> {
        read_log(&self.log_path(config, container))
    }

    /// What it wrote to standard output, its lines put together again.
    pub(crate) fn output(&self, config: &PodSandboxConfig, container: &ContainerConfig) -> String {
        let mut text = String::new();
        for line in self.log(config, container) {
            if line.stream == "stdout" {
                text.push_str(&line.text);
                if line.tag == "F" {
                    text.push('\n');
                }
            }
        }
        text
    }

    /// What `ContainerStatus` says of a container when it is asked for more.
    pub(crate) async fn container_info(&self, id: &str) -> serde_json::Value {
        let request = api::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let reply = self.runtime().container_status(request).await.unwrap();
        let info = reply.into_inner().info;
        serde_json::from_str(&info["info"]).unwrap()
    }

    /// The first process of a running container, as the host numbers it.
    pub(crate) async fn init_pid(&self, id: &str) -> u32 {
        let value = self.container_info(id).await;
        let pid = value["pid"]
            .as_u64()
            .unwrap_or_else(|| panic!("no pid in {value}"));
        u32::try_from(pid).unwrap()
    }

    /// A pod on the host's network and a running container in it that does nothing.
    pub(crate) async fn idle(&self, name: &str) -> (PodSandboxConfig, String, String) {
        let config = pod(name);
        let pod = self.pod(&config).await;
        let id = self
            .launch(&pod, &config, &container("idle", &["sleep", "1000000"]))
            .await;
        (config, pod, id)
    }

    /// Runs a container to its end in a pod of its own; gives how it ended and what it printed.
    pub(crate) async fn run_once(
        &self,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> (ContainerStatus, String) {
        // What an earlier one of this name logged is not its output.
        let _ = std::fs::remove_dir_all(self.completed(config).log_directory);
        let pod = self.pod(config).await;
        let id = self.launch(&pod, config, container).await;
        let status = self.exit(&id).await;
        let output = self.output(config, container);
        self.stop_pod(&pod).await.unwrap();
        self.remove_pod(&pod).await.unwrap();
        (status, output)
    }

    /// What a script prints in a container changed by `change`, in a pod of its own.
    pub(crate) async fn prints(
        &self,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> String {
        let mut container = shell("main", script);
        change(&mut container);
        let (status, output) = self.run_once(&pod(name), &container).await;
        assert_eq!(status.exit_code, 0, "{status:?}\n{output}");
        output.trim_end().to_owned()
    }

    pub(crate) async fn try_pull(
        &self,
        image: &str,
        auth: Option<api::AuthConfig>,
    ) -> Reply<String> {
        let request = api::PullImageRequest {
            image: Some(image_spec(image)),
            auth,
            sandbox_config: None,
        };
        Ok(self
            .images()
            .pull_image(request)
            .await?
            .into_inner()
            .image_ref)
    }

    pub(crate) async fn pull(&self, image: &str) -> String {
        self.try_pull(image, None)
            .await
            .unwrap_or_else(|e| panic!("PullImage {image}: {e}"))
    }

    pub(crate) async fn image_status(&self, image: &str) -> Reply<Option<api::Image>> {
        let request = api::ImageStatusRequest {
            image: Some(image_spec(image)),
            verbose: false,
        };
        Ok(self
            .images()
            .image_status(request)
            .await?
            .into_inner()
            .image)
    }

    pub(crate) async fn image_list(&self) -> Vec<api::Image> {
        let request = api::ListImagesRequest::default();
        let reply = self.images().list_images(request).await;
        reply
            .unwrap_or_else(|e| panic!("ListImages: {e}"))
            .into_inner()
            .images
    }

    pub(crate) async fn remove_image(&self, image: &str) -> Reply<()> {
        let request = api::RemoveImageRequest {
            image: Some(image_spec(image)),
        };
        self.images().remove_image(request).await.map(drop)
    }
}
