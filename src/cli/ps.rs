//! `corten ps`.

use clap::Args;
use serde::Serialize;

use super::{
    client::Context,
    error::CliError,
    lookup::{Inventory, container_name, pod_name},
    output::{self, short},
    time::{age, now},
};
use crate::cri::api::{self, ContainerState, PodSandboxState};

/// Arguments of `corten ps`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  corten ps                    running containers\n  corten ps -a                 those that have ended too, with their exit codes\n  corten ps --pods             pods, with their addresses\n  corten rm -f $(corten ps -aq)"
)]
pub(super) struct PsArgs {
    /// Show those that don't run too
    #[arg(short, long)]
    all: bool,
    /// Show pods rather than containers
    #[arg(short, long)]
    pods: bool,
    /// Print whole IDs alone
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ContainerRow {
    id: String,
    name: String,
    pod: String,
    namespace: String,
    pod_id: String,
    image: String,
    state: &'static str,
    exit_code: Option<i32>,
    reason: String,
    created_at: i64,
    started_at: i64,
    finished_at: i64,
}

#[derive(Serialize)]
struct PodRow {
    id: String,
    name: String,
    namespace: String,
    state: &'static str,
    ips: Vec<String>,
    containers: usize,
    runtime: String,
    created_at: i64,
}

/// Lists containers or pods.
pub(super) async fn run(context: Context, args: PsArgs) -> Result<u8, CliError> {
    let inventory = Inventory::load(&context).await?;
    match args.pods {
        true => pods(&context, &inventory, &args).await?,
        false => containers(&context, &inventory, &args).await?,
    }
    Ok(0)
}

async fn containers(
    context: &Context,
    inventory: &Inventory,
    args: &PsArgs,
) -> Result<(), CliError> {
    let mut shown: Vec<&api::Container> = inventory
        .containers
        .iter()
        .filter(|c| args.all || c.state() == ContainerState::ContainerRunning)
        .collect();
    shown.sort_by_key(|c| std::cmp::Reverse(c.created_at));
    if args.quiet {
        let ids: String = shown.iter().map(|c| format!("{}\n", c.id)).collect();
        return output::print(&ids);
    }
    let mut rows = Vec::new();
    for container in shown {
        let request = api::ContainerStatusRequest {
            container_id: container.id.clone(),
            verbose: false,
        };
        let status = match context.runtime().container_status(request).await {
            Ok(answer) => answer.into_inner().status.unwrap_or_default(),
            // Gone since it was listed.
            Err(e) if e.code() == tonic::Code::NotFound => continue,
            Err(e) => return Err(CliError::rpc("ask for the state of a container")(e)),
        };
        rows.push(container_row(inventory, container, &status));
    }
    if args.json {
        return output::json(&rows);
    }
    let now = now();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.pod.clone(),
                row.image.clone(),
                state_for_people(row, now),
                age(row.created_at, now),
                short(&row.id).to_owned(),
            ]
        })
        .collect();
    output::print(&output::table(
        &["CONTAINER", "POD", "IMAGE", "STATE", "AGE", "ID"],
        &cells,
    ))
}

fn container_row(
    inventory: &Inventory,
    container: &api::Container,
    status: &api::ContainerStatus,
) -> ContainerRow {
    let pod = inventory.pod(&container.pod_sandbox_id);
    let exited = status.state() == ContainerState::ContainerExited;
    let asked = container.image.clone().unwrap_or_default();
    ContainerRow {
        id: container.id.clone(),
        name: container_name(container).to_owned(),
        pod: pod.map_or_else(String::new, |pod| pod_name(pod).to_owned()),
        namespace: pod
            .and_then(|pod| pod.metadata.clone())
            .map(|meta| meta.namespace)
            .unwrap_or_default(),
        pod_id: container.pod_sandbox_id.clone(),
        image: image_name(&asked),
        state: container_state(status.state()),
        exit_code: exited.then_some(status.exit_code),
        reason: status.reason.clone(),
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
    }
}

fn image_name(image: &api::ImageSpec) -> String {
    match image.user_specified_image.as_str() {
        "" => match image.image.strip_prefix("sha256:") {
            Some(digits) => short(digits).to_owned(),
            None => image.image.clone(),
        },
        given => given.to_owned(),
    }
}

fn container_state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::ContainerCreated => "created",
        ContainerState::ContainerRunning => "running",
        ContainerState::ContainerExited => "exited",
        ContainerState::ContainerUnknown => "unknown",
    }
}

fn state_for_people(row: &ContainerRow, now: i64) -> String {
    match (row.state, row.exit_code) {
        ("exited", Some(code)) => {
            let reason = match row.reason.as_str() {
                "" | "Completed" | "Error" => String::new(),
                reason => format!("{reason}, "),
            };
            format!(
                "exited ({reason}code {code}) {} ago",
                age(row.finished_at, now)
            )
        }
        ("running", _) => format!("running {}", age(row.started_at, now)),
        (state, _) => state.to_owned(),
    }
}

async fn pods(context: &Context, inventory: &Inventory, args: &PsArgs) -> Result<(), CliError> {
    let mut shown: Vec<&api::PodSandbox> = inventory
        .pods
        .iter()
        .filter(|pod| args.all || pod.state() == PodSandboxState::SandboxReady)
        .collect();
    shown.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    if args.quiet {
        let ids: String = shown.iter().map(|pod| format!("{}\n", pod.id)).collect();
        return output::print(&ids);
    }
    let mut rows = Vec::new();
    for pod in shown {
        let request = api::PodSandboxStatusRequest {
            pod_sandbox_id: pod.id.clone(),
            verbose: false,
        };
        let status = match context.runtime().pod_sandbox_status(request).await {
            Ok(answer) => answer.into_inner().status.unwrap_or_default(),
            Err(e) if e.code() == tonic::Code::NotFound => continue,
            Err(e) => return Err(CliError::rpc("ask for the state of a pod")(e)),
        };
        let network = status.network.unwrap_or_default();
        let first = Some(network.ip).filter(|ip| !ip.is_empty());
        let more = network.additional_ips.into_iter().map(|ip| ip.ip);
        rows.push(PodRow {
            id: pod.id.clone(),
            name: pod_name(pod).to_owned(),
            namespace: pod.metadata.clone().unwrap_or_default().namespace,
            state: match pod.state() {
                PodSandboxState::SandboxReady => "ready",
                PodSandboxState::SandboxNotready => "not ready",
            },
            ips: first.into_iter().chain(more).collect(),
            containers: inventory.containers_of(&pod.id).count(),
            runtime: pod.runtime_handler.clone(),
            created_at: pod.created_at,
        });
    }
    if args.json {
        return output::json(&rows);
    }
    let now = now();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.namespace.clone(),
                row.state.to_owned(),
                match row.ips.is_empty() {
                    true => "host".to_owned(),
                    false => row.ips.join(","),
                },
                row.containers.to_string(),
                age(row.created_at, now),
                short(&row.id).to_owned(),
            ]
        })
        .collect();
    output::print(&output::table(
        &["POD", "NAMESPACE", "STATE", "IP", "CONTAINERS", "AGE", "ID"],
        &cells,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_well() {
        let inventory = Inventory {
            pods: Vec::new(),
            containers: Vec::new(),
        };
        let status = api::ContainerStatus {
            state: ContainerState::ContainerExited.into(),
            exit_code: 137,
            reason: "OOMKilled".into(),
            ..Default::default()
        };
        let row = container_row(&inventory, &api::Container::default(), &status);
        assert_eq!(
            state_for_people(&row, 5_000_000_000),
            "exited (OOMKilled, code 137) 5s ago"
        );
        let status = api::ContainerStatus {
            state: ContainerState::ContainerRunning.into(),
            ..Default::default()
        };
        let row = container_row(&inventory, &api::Container::default(), &status);
        assert_eq!(state_for_people(&row, 0), "running 0s");
        assert_eq!(row.exit_code, None);
    }
}
