//! `corten stop`.

use std::time::Duration;

use clap::Args;

use super::{
    client::Context,
    error::CliError,
    lookup::{Inventory, Target},
    output,
};
use crate::{
    config::parse_duration,
    cri::api::{self, ContainerState},
};

/// Arguments of `corten stop`.
#[derive(Args)]
#[command(
    after_help = "Each container is sent its stop signal (SIGTERM, or what its image says) and, after the grace period,\nSIGKILL. A pod that is stopped gives back its network and cannot run again; `corten rm` removes it.\n\nExamples:\n  corten stop web\n  corten stop -t 2s web db/sidecar"
)]
pub(super) struct StopArgs {
    /// Names, POD/NAMEs, IDs or beginnings of IDs, of pods or containers
    #[arg(required = true)]
    names: Vec<String>,
    /// Grace period before SIGKILL [default: stop_timeout of the configuration]
    #[arg(short = 't', long = "timeout", visible_alias = "time", value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// Stops pods or containers.
pub(super) async fn run(context: Context, args: StopArgs) -> Result<u8, CliError> {
    let inventory = Inventory::load(&context).await?;
    let grace = args.timeout.unwrap_or(context.config.stop_timeout);
    for name in &args.names {
        match inventory.find(name)? {
            Target::Container(id) => container(&context, &id, grace).await?,
            Target::Pod(id) => {
                let containers: Vec<&str> = inventory
                    .containers_of(&id)
                    .filter(|c| c.state() == ContainerState::ContainerRunning)
                    .map(|c| c.id.as_str())
                    .collect();
                pod(&context, &id, &containers, grace).await?;
            }
        }
        output::print(&format!("{name}\n"))?;
    }
    Ok(0)
}

/// Stops a container; one that is gone is stopped.
pub(super) async fn container(
    context: &Context,
    id: &str,
    grace: Duration,
) -> Result<(), CliError> {
    let request = api::StopContainerRequest {
        container_id: id.to_owned(),
        timeout: i64::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i64::MAX),
    };
    context
        .runtime()
        .stop_container(request)
        .await
        .map_err(CliError::rpc(format!(
            "stop the container {}",
            output::short(id)
        )))?;
    Ok(())
}

/// Stops a pod, its containers first and at once.
pub(super) async fn pod(
    context: &Context,
    id: &str,
    containers: &[&str],
    grace: Duration,
) -> Result<(), CliError> {
    let stops = containers.iter().map(|c| container(context, c, grace));
    futures_util::future::try_join_all(stops).await?;
    let request = api::StopPodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    context
        .runtime()
        .stop_pod_sandbox(request)
        .await
        .map_err(CliError::rpc(format!("stop the pod {}", output::short(id))))?;
    Ok(())
}
