//! `corten rm`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    client::Context,
    error::CliError,
    lookup::{Inventory, RUN_LABEL, Target, pod_name},
    output, stop,
};
use crate::cri::api::{self, ContainerState};

/// Arguments of `corten rm`.
#[derive(Args)]
#[command(
    after_help = "A pod that `corten run` made goes away with its last container, and so do its logs.\n\nExamples:\n  corten rm web                      what has ended\n  corten rm -f web                   what runs too: it is killed, without a grace period\n  corten rm -f $(corten ps -aq)      everything"
)]
pub(super) struct RmArgs {
    /// Names, POD/NAMEs, IDs or beginnings of IDs, of pods or containers
    #[arg(required = true)]
    names: Vec<String>,
    /// Kill what runs; don't mind what is not there
    #[arg(short, long)]
    force: bool,
}

/// Removes pods or containers.
pub(super) async fn run(context: Context, args: RmArgs) -> Result<u8, CliError> {
    for name in &args.names {
        // What was removed just now may have been the last container of the next name's pod.
        let inventory = Inventory::load(&context).await?;
        let target = match inventory.find(name) {
            Err(CliError::NotFound { .. }) if args.force => continue,
            other => other?,
        };
        match target {
            Target::Container(id) => remove_container(&context, &inventory, &id, &args).await?,
            Target::Pod(id) => remove_pod(&context, &inventory, &id, &args).await?,
        }
        output::print(&format!("{name}\n"))?;
    }
    Ok(0)
}

async fn remove_container(
    context: &Context,
    inventory: &Inventory,
    id: &str,
    args: &RmArgs,
) -> Result<(), CliError> {
    let running = inventory
        .containers
        .iter()
        .find(|c| c.id == id && c.state() == ContainerState::ContainerRunning);
    if let Some(container) = running {
        refuse(
            args,
            &format!("the container {}", inventory.full_name(container)),
        )?;
        stop::container(context, id, Duration::ZERO).await?;
    }
    container(context, id).await
}

async fn remove_pod(
    context: &Context,
    inventory: &Inventory,
    id: &str,
    args: &RmArgs,
) -> Result<(), CliError> {
    let running: Vec<&str> = inventory
        .containers_of(id)
        .filter(|c| c.state() == ContainerState::ContainerRunning)
        .map(|c| c.id.as_str())
        .collect();
    let found = inventory.pod(id);
    if !running.is_empty() {
        let name = found.map_or(id, pod_name);
        refuse(args, &format!("the pod {name} ({})", output::short(id)))?;
    }
    stop::pod(context, id, &running, Duration::ZERO).await?;
    pod(context, id, found.and_then(logs_of_run)).await
}

fn refuse(args: &RmArgs, what: &str) -> Result<(), CliError> {
    match args.force {
        true => Ok(()),
        false => Err(CliError::State(format!(
            "{what} is running; stop it first with `corten stop`, or give -f"
        ))),
    }
}

/// Removes a container.
pub(super) async fn container(context: &Context, id: &str) -> Result<(), CliError> {
    let request = api::RemoveContainerRequest {
        container_id: id.to_owned(),
    };
    context
        .runtime()
        .remove_container(request)
        .await
        .map_err(CliError::rpc(format!(
            "remove the container {}",
            output::short(id)
        )))?;
    Ok(())
}

/// Removes a pod and then its directory of logs.
pub(super) async fn pod(
    context: &Context,
    id: &str,
    logs: Option<PathBuf>,
) -> Result<(), CliError> {
    let request = api::RemovePodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    context
        .runtime()
        .remove_pod_sandbox(request)
        .await
        .map_err(CliError::rpc(format!(
            "remove the pod {}",
            output::short(id)
        )))?;
    let Some(logs) = logs else { return Ok(()) };
    match std::fs::remove_dir_all(&logs) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CliError::File {
            doing: "remove the logs",
            path: logs,
            source: e,
        }),
        _ => Ok(()),
    }
}

/// The directory `corten run` made for a pod's logs: its label names it.
fn logs_of_run(pod: &api::PodSandbox) -> Option<PathBuf> {
    let path = Path::new(pod.annotations.get(RUN_LABEL)?);
    let uid = &pod.metadata.as_ref()?.uid;
    // Only a directory named after this very pod is ours to remove.
    let named = path.file_name()?.to_str()?.ends_with(uid.as_str());
    (!uid.is_empty() && named && path.is_absolute()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pods_own_logs_are_removed() {
        let pod = |path: &str, uid: &str| api::PodSandbox {
            annotations: [(RUN_LABEL.to_owned(), path.to_owned())].into(),
            metadata: Some(api::PodSandboxMetadata {
                uid: uid.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            logs_of_run(&pod("/var/log/corten/web_77", "77")),
            Some("/var/log/corten/web_77".into())
        );
        assert_eq!(logs_of_run(&pod("/etc", "77")), None);
        assert_eq!(logs_of_run(&pod("/etc", "")), None);
        assert_eq!(logs_of_run(&pod("x_77", "77")), None);
        assert_eq!(logs_of_run(&api::PodSandbox::default()), None);
    }
}
