//! `corten run`: a pod with one container, or one more container in a pod.

mod config;
mod interrupt;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    client::Context,
    error::CliError,
    exec::{exit_code, refuse_interactive},
    logs::{
        self,
        file::LogFile,
        follow,
        printer::{Printer, Show},
    },
    lookup::Inventory,
    output,
    parse::{self, mount::MountArg, user::UserArg},
    pull, rm, stop,
};
use crate::{
    cri::api::{self, PodSandboxState},
    id::Id,
    pod::spec::PortMapping,
};
use interrupt::Signals;

/// Arguments of `corten run`.
#[derive(Args)]
#[command(
    after_help = "In the foreground the output of the container is shown, its exit code becomes that of corten (125 is a failure of\ncorten's own), and pod, container and logs are removed when it ends, also after Ctrl-C. With -d they stay until\n`corten rm`.\n\nExamples:\n  corten run docker.io/library/alpine echo hello\n  corten run -e GREETING=hi -v ./data:/data:ro docker.io/library/alpine sh -c 'echo $GREETING; ls /data'\n  corten run -d --name web -p 8080:80 --memory 64MiB docker.io/library/nginx\n  corten run --pod web --name probe docker.io/library/alpine wget -qO- localhost    (beside it, in its pod)\n  corten run -d --pod new:shop --name db registry.example/db    (a pod for others to join)"
)]
pub(super) struct RunArgs {
    /// Image by name, digest or ID
    image: String,
    /// Arguments of the image's entry point, or the command if it has none
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,

    /// Name of pod and container [default: made from the image]
    #[arg(long)]
    name: Option<String>,
    /// Run in this pod that is there already, beside its containers; new:NAME makes one of that name
    #[arg(long, value_name = "[new:]POD")]
    pod: Option<String>,
    /// Print the container's ID and leave it running
    #[arg(short, long)]
    detach: bool,
    /// Leave pod, container and logs when it ends
    #[arg(long)]
    keep: bool,
    /// Remove them when it ends: what happens anyway in the foreground
    #[arg(long, hide = true, conflicts_with_all = ["keep", "detach"])]
    rm: bool,
    /// When to download the image: missing (if it is not there), always or never
    #[arg(
        long,
        value_enum,
        default_value_t = PullPolicy::Missing,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pull: PullPolicy,

    /// Replace the image's entry point by this program
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Environment variable; NAME alone passes on your own
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// File with a variable a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Show a directory or file of the host in the container; OPTIONS: ro, rw, rro, rslave, rshared
    #[arg(
        short = 'v',
        long = "mount",
        visible_alias = "volume",
        value_name = "SRC:DST[:OPTIONS]"
    )]
    mounts: Vec<MountArg>,
    /// User to run as, by name of the image or number
    #[arg(short, long, value_name = "USER[:GID]")]
    user: Option<UserArg>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Publish a port of the pod on the host
    #[arg(short, long, value_name = "[IP:]HOST:CTR[/PROTO]", value_parser = parse::publish::parse)]
    publish: Vec<PortMapping>,
    /// Host name of the pod [default: its name]
    #[arg(long)]
    hostname: Option<String>,
    /// Use the host's network
    #[arg(long, conflicts_with_all = ["publish", "hostname"])]
    host_network: bool,

    /// Limit of memory, like 64MiB
    #[arg(long, value_name = "SIZE", value_parser = parse::resources::memory)]
    memory: Option<i64>,
    /// Limit of processor time, like 0.5
    #[arg(long, value_name = "NUMBER", value_parser = parse::resources::cpus)]
    cpus: Option<i64>,
    /// Give it every right and device of the host
    #[arg(long)]
    privileged: bool,
    /// OCI runtime handler
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,

    /// Keep standard input open (not available yet)
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal (not available yet)
    #[arg(short, long)]
    tty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PullPolicy {
    Missing,
    Always,
    Never,
}

impl RunArgs {
    /// Refuses what needs no daemon to be refused.
    pub(super) fn check(&self) -> Result<(), CliError> {
        refuse_interactive(self.interactive, self.tty, "run")
    }
}

/// What was made and must go away again.
#[derive(Default)]
struct Made {
    pod: Option<String>,
    container: Option<String>,
    logs: Option<PathBuf>,
}

/// Runs a container.
pub(super) async fn run(context: Context, args: Box<RunArgs>) -> Result<u8, CliError> {
    let plan = config::Plan::new(&args, |name| std::env::var(name).ok())?;
    let mut signals = Signals::new()?;
    let image = tokio::select! {
        image = image(&context, &args) => image?,
        signal = signals.next() => return Ok(signal.exit_code()),
    };
    let mut made = Made::default();
    // A request that is dropped goes on in the daemon: creation is waited for, so that what it made is known.
    let created = tokio::select! {
        created = create(&context, &plan, &image, &mut made) => created,
        signal = signals.second() => {
            output::complain(&CliError::State(format!(
                "interrupted while the pod {} was being made; remove it with `corten rm -f {}`",
                plan.pod_name(), plan.pod_name()
            )));
            return Ok(signal.exit_code());
        }
    };
    let result = match created {
        Ok(()) if args.detach => {
            if let Some(signal) = signals.pending() {
                clean_up_in_time(&context, &made).await?;
                return Ok(signal.exit_code());
            }
            return output::print(&format!("{}\n", made.container.unwrap_or_default())).map(|()| 0);
        }
        Ok(()) => watch(&context, &made, &mut signals).await,
        Err(e) => Err(e),
    };
    let stays = args.keep && result.is_ok();
    if !stays && let Err(error) = clean_up_in_time(&context, &made).await {
        // How the container ended matters more than what stays of it.
        output::complain(&error);
    }
    result
}

/// Finds the image, or downloads it; returns its ID.
async fn image(context: &Context, args: &RunArgs) -> Result<String, CliError> {
    if args.pull != PullPolicy::Always {
        let request = api::ImageStatusRequest {
            image: Some(config::image_spec(&args.image)),
            verbose: false,
        };
        let found = context
            .images()
            .image_status(request)
            .await
            .map_err(CliError::rpc(format!("look for the image {}", args.image)))?;
        if let Some(image) = found.into_inner().image {
            return Ok(image.id);
        }
    }
    if args.pull == PullPolicy::Never {
        return Err(CliError::NotFound {
            kind: "image",
            name: args.image.clone(),
            hint: "`corten pull` downloads it, `corten load` reads it from a file.",
        });
    }
    pull::image(context, &args.image).await
}

/// Makes the pod, unless the container joins one, and starts the container.
async fn create(
    context: &Context,
    plan: &config::Plan<'_>,
    image: &str,
    made: &mut Made,
) -> Result<(), CliError> {
    let inventory = Inventory::load(context).await?;
    let (pod, sandbox) = match plan.joins() {
        Some(name) => join(context, &inventory, name, plan).await?,
        None => {
            if let Ok(pod) = inventory.find_pod(plan.pod_name()) {
                return Err(CliError::State(format!(
                    "the name {} is taken by the pod {}; choose another, or remove that one with `corten rm -f {}`",
                    plan.pod_name(),
                    output::short(&pod.id),
                    plan.pod_name()
                )));
            }
            let logs = context.config.log_dir.join(plan.directory());
            make_directory(&logs)?;
            made.logs = Some(logs.clone());
            let sandbox = plan.sandbox(&logs);
            let request = api::RunPodSandboxRequest {
                config: Some(sandbox.clone()),
                runtime_handler: plan.args.runtime.clone().unwrap_or_default(),
            };
            let answer = context.runtime().run_pod_sandbox(request).await;
            let answer =
                answer.map_err(CliError::rpc(format!("run the pod {}", plan.pod_name())))?;
            let pod = answer.into_inner().pod_sandbox_id;
            made.pod = Some(pod.clone());
            (pod, sandbox)
        }
    };
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod,
        config: Some(plan.container(image, &sandbox)),
        sandbox_config: Some(sandbox),
    };
    let mut runtime = context.runtime();
    let answer = runtime.create_container(request).await;
    let id = answer
        .map_err(CliError::rpc(format!("create the container {}", plan.name)))?
        .into_inner()
        .container_id;
    made.container = Some(id.clone());
    start(context, &plan.name, &id).await
}

/// Starts the container. A daemon that goes away meanwhile may have done so already, and is asked when it is back.
async fn start(context: &Context, name: &str, id: &str) -> Result<(), CliError> {
    let begun = std::time::Instant::now();
    loop {
        let request = api::StartContainerRequest {
            container_id: id.to_owned(),
        };
        let answer = context.runtime().start_container(request).await;
        let error = match answer.map_err(CliError::rpc(format!("start the container {name}"))) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_lost_connection() || begun.elapsed() > follow::PATIENCE {
            return Err(error);
        }
        match follow::status(context, id).await {
            Ok(status) if status.state() != api::ContainerState::ContainerCreated => return Ok(()),
            Err(other) if !other.is_lost_connection() => return Err(other),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The pod to join, and its configuration as far as a container needs it.
async fn join(
    context: &Context,
    inventory: &Inventory,
    name: &str,
    plan: &config::Plan<'_>,
) -> Result<(String, api::PodSandboxConfig), CliError> {
    let pod = inventory.find_pod(name)?;
    if pod.state() != PodSandboxState::SandboxReady {
        return Err(CliError::State(format!(
            "the pod {name} has been stopped and takes no more containers; remove it with `corten rm {name}`"
        )));
    }
    let taken = inventory
        .containers_of(&pod.id)
        .find(|c| super::lookup::container_name(c) == plan.name);
    if let Some(container) = taken {
        return Err(CliError::State(format!(
            "the container {} is there already; choose another --name",
            inventory.full_name(container)
        )));
    }
    let request = api::PodSandboxStatusRequest {
        pod_sandbox_id: pod.id.clone(),
        verbose: false,
    };
    let doing = format!("ask for the state of the pod {name}");
    let status = context
        .runtime()
        .pod_sandbox_status(request)
        .await
        .map_err(CliError::rpc(doing.clone()))?
        .into_inner()
        .status
        .ok_or(CliError::Answer {
            doing,
            lacks: "the status",
        })?;
    Ok((pod.id.clone(), config::sandbox_of(status)))
}

fn make_directory(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|source| CliError::File {
            doing: "make the log directory",
            path: path.to_owned(),
            source,
        })
}

/// Shows the container's output until it ends; returns its exit code, or that of the signal that ended us.
async fn watch(context: &Context, made: &Made, signals: &mut Signals) -> Result<u8, CliError> {
    let id = made.container.as_deref().unwrap_or_default();
    let path = logs::path(context, id)
        .await?
        .unwrap_or_else(|| "/dev/null".into());
    let mut printer = Printer::new(io::stdout(), io::stderr(), Show::default());
    let following = follow::until_exit(context, id, LogFile::new(&path, 0)?, &mut printer);
    tokio::pin!(following);
    let mut interrupted = None;
    let mut grace = context.config.stop_timeout;
    loop {
        tokio::select! {
            ended = &mut following => {
                let ended = ended?;
                let code = ended.map_or(255, |status| exit_code(status.exit_code));
                return Ok(interrupted.unwrap_or(code));
            }
            signal = signals.next() => {
                interrupted = Some(signal.exit_code());
                let (context, id) = (context.clone(), id.to_owned());
                // The output goes on meanwhile; what goes wrong here shows when the pod is removed.
                tokio::spawn(async move { stop::container(&context, &id, grace).await });
                // Whoever asks twice will not wait.
                grace = Duration::ZERO;
            }
        }
    }
}

/// Removes what was made, also when the daemon is just being restarted.
async fn clean_up_in_time(context: &Context, made: &Made) -> Result<(), CliError> {
    let begun = std::time::Instant::now();
    loop {
        match clean_up(context, made).await {
            Err(error) if error.is_lost_connection() && begun.elapsed() < follow::PATIENCE => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            done => return done,
        }
    }
}

/// Removes what was made; the pod last, with all that is in it.
async fn clean_up(context: &Context, made: &Made) -> Result<(), CliError> {
    if let Some(container) = &made.container {
        rm::container(context, container).await?;
    }
    match (&made.pod, &made.logs) {
        (Some(pod), logs) => {
            stop::pod(context, pod, &[], Duration::ZERO).await?;
            rm::pod(context, pod, logs.clone()).await
        }
        (None, Some(logs)) => {
            // Nothing was written there yet; the directory is empty unless the pod is being made after all.
            let _ = std::fs::remove_dir(logs);
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// A name's random ending.
fn ending() -> String {
    Id::random().as_str()[..5].to_owned()
}
