//! Measures any CRI endpoint: `cargo bench --bench cri -- --endpoint unix:///run/corten/corten.sock`.
//!
//! Prints the median and the spread of each step of a pod's life, one at a time and ten at a time.
//! The image must be on the node already; it needs a `/bin/sh` with `sleep`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use corten::cri::api::{self, runtime_service_client::RuntimeServiceClient};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Measures a CRI endpoint.
#[derive(Debug, Parser)]
struct Options {
    /// Address of the runtime.
    #[arg(long, default_value = "unix:///run/corten/corten.sock")]
    endpoint: String,
    /// Image of the containers.
    #[arg(long, default_value = "localhost/corten-sample:latest")]
    image: String,
    /// How many pods.
    #[arg(long, default_value_t = 50)]
    pods: u32,
    /// How many requests at a time in the parallel part.
    #[arg(long, default_value_t = 10)]
    parallel: u32,
    /// Use the host's network.
    #[arg(long)]
    host_network: bool,
    /// How many times to run /bin/true in one container.
    #[arg(long, default_value_t = 50)]
    execs: u32,
    /// How many times to ask for the statistics of all containers, and of all pods.
    #[arg(long, default_value_t = 20)]
    stats: u32,
    /// Parent cgroup of the pods.
    #[arg(long, default_value = "")]
    cgroup_parent: String,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

type Client = RuntimeServiceClient<Channel>;
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let options = Options::parse();
    let client = connect(&options.endpoint).await?;
    let version = client
        .clone()
        .version(api::VersionRequest::default())
        .await?
        .into_inner();
    println!(
        "{} {}, {} pods, {} network",
        version.runtime_name,
        version.runtime_version,
        options.pods,
        if options.host_network { "host" } else { "pod" }
    );
    serial(&client, &options).await?;
    parallel(&client, &options).await
}

async fn connect(endpoint: &str) -> Outcome<Client> {
    let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(RuntimeServiceClient::new(channel))
}

/// Times of one pod's life.
#[derive(Default)]
struct Times {
    sandbox: Vec<Duration>,
    create: Vec<Duration>,
    start: Vec<Duration>,
    ready: Vec<Duration>,
    gone: Vec<Duration>,
    exec: Vec<Duration>,
    container_stats: Vec<Duration>,
    pod_stats: Vec<Duration>,
}

async fn serial(client: &Client, options: &Options) -> Outcome<()> {
    let mut times = Times::default();
    let mut pods = Vec::new();
    for n in 0..options.pods {
        let mut client = client.clone();
        let config = pod_config(options, n, "serial");
        let begun = Instant::now();
        let pod = run_pod(&mut client, &config).await?;
        let sandbox = begun.elapsed();
        let container = create(&mut client, &pod, &config, options).await?;
        let created = begun.elapsed();
        start(&mut client, &container).await?;
        let ready = begun.elapsed();
        times.sandbox.push(sandbox);
        times.create.push(created - sandbox);
        times.start.push(ready - created);
        times.ready.push(ready);
        pods.push((pod, container));
    }
    if let Some((_, container)) = pods.first() {
        let mut client = client.clone();
        for _ in 0..options.execs {
            let begun = Instant::now();
            let response = client
                .exec_sync(api::ExecSyncRequest {
                    container_id: container.clone(),
                    cmd: vec!["/bin/true".into()],
                    timeout: 30,
                })
                .await?;
            times.exec.push(begun.elapsed());
            if response.into_inner().exit_code != 0 {
                return Err("an exec of /bin/true failed".into());
            }
        }
    }
    for _ in 0..options.stats {
        let mut client = client.clone();
        let begun = Instant::now();
        client
            .list_container_stats(api::ListContainerStatsRequest::default())
            .await?;
        times.container_stats.push(begun.elapsed());
        let begun = Instant::now();
        client
            .list_pod_sandbox_stats(api::ListPodSandboxStatsRequest::default())
            .await?;
        times.pod_stats.push(begun.elapsed());
    }
    for (pod, container) in pods {
        let begun = Instant::now();
        remove(&mut client.clone(), &pod, &container).await?;
        times.gone.push(begun.elapsed());
    }
    print_times("sandbox", times.sandbox);
    print_times("create", times.create);
    print_times("start", times.start);
    print_times("pod ready (sandbox + create + start)", times.ready);
    print_times("ExecSync /bin/true", times.exec);
    print_times("ListContainerStats", times.container_stats);
    print_times("ListPodSandboxStats", times.pod_stats);
    print_times("stop and remove a pod", times.gone);
    Ok(())
}

async fn parallel(client: &Client, options: &Options) -> Outcome<()> {
    let begun = Instant::now();
    let pods = in_parallel(options, |n| {
        let mut client = client.clone();
        let config = pod_config(options, n, "parallel");
        async move {
            let pod = run_pod(&mut client, &config).await?;
            let container = create(&mut client, &pod, &config, options).await?;
            start(&mut client, &container).await?;
            Ok((pod, container))
        }
    })
    .await?;
    rate("pods started", options, begun.elapsed());
    let begun = Instant::now();
    in_parallel(options, |n| {
        let mut client = client.clone();
        let (pod, container) = pods[n as usize].clone();
        async move { remove(&mut client, &pod, &container).await }
    })
    .await?;
    rate("pods torn down", options, begun.elapsed());
    Ok(())
}

async fn in_parallel<T, F>(options: &Options, work: impl Fn(u32) -> F) -> Outcome<Vec<T>>
where
    F: Future<Output = Outcome<T>>,
{
    use futures_util::{StreamExt, TryStreamExt};
    futures_util::stream::iter((0..options.pods).map(work))
        .buffer_unordered(options.parallel.max(1) as usize)
        .try_collect()
        .await
}

fn pod_config(options: &Options, n: u32, kind: &str) -> api::PodSandboxConfig {
    let network = if options.host_network {
        api::NamespaceMode::Node
    } else {
        api::NamespaceMode::Pod
    };
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: format!("bench-{kind}-{n}"),
            uid: format!("bench-{kind}-{n}-{}", std::process::id()),
            namespace: "bench".into(),
            attempt: 0,
        }),
        log_directory: std::env::temp_dir()
            .join("corten-bench")
            .display()
            .to_string(),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent: options.cgroup_parent.clone(),
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

async fn run_pod(client: &mut Client, config: &api::PodSandboxConfig) -> Outcome<String> {
    let request = api::RunPodSandboxRequest {
        config: Some(config.clone()),
        ..Default::default()
    };
    Ok(client
        .run_pod_sandbox(request)
        .await?
        .into_inner()
        .pod_sandbox_id)
}

async fn create(
    client: &mut Client,
    pod: &str,
    config: &api::PodSandboxConfig,
    options: &Options,
) -> Outcome<String> {
    let pid = config
        .linux
        .as_ref()
        .and_then(|l| l.security_context.as_ref()?.namespace_options.clone());
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(api::ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: "sleeper".into(),
                attempt: 0,
            }),
            image: Some(api::ImageSpec {
                image: options.image.clone(),
                ..Default::default()
            }),
            command: vec!["/bin/sh".into(), "-c".into(), "sleep 100000".into()],
            log_path: format!("{pod}.log"),
            linux: Some(api::LinuxContainerConfig {
                security_context: Some(api::LinuxContainerSecurityContext {
                    namespace_options: pid,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        sandbox_config: Some(config.clone()),
    };
    Ok(client
        .create_container(request)
        .await?
        .into_inner()
        .container_id)
}

async fn start(client: &mut Client, container: &str) -> Outcome<()> {
    client
        .start_container(api::StartContainerRequest {
            container_id: container.to_owned(),
        })
        .await?;
    Ok(())
}

async fn remove(client: &mut Client, pod: &str, container: &str) -> Outcome<()> {
    client
        .stop_container(api::StopContainerRequest {
            container_id: container.to_owned(),
            timeout: 0,
        })
        .await?;
    client
        .remove_container(api::RemoveContainerRequest {
            container_id: container.to_owned(),
        })
        .await?;
    client
        .stop_pod_sandbox(api::StopPodSandboxRequest {
            pod_sandbox_id: pod.to_owned(),
        })
        .await?;
    client
        .remove_pod_sandbox(api::RemovePodSandboxRequest {
            pod_sandbox_id: pod.to_owned(),
        })
        .await?;
    Ok(())
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return;
    };
    let ms = |d: &Duration| d.as_secs_f64() * 1000.0;
    println!(
        "{what:<40} median {:8.1} ms   min {:8.1}   max {:8.1}",
        ms(&times[times.len() / 2]),
        ms(first),
        ms(last)
    );
}

fn rate(what: &str, options: &Options, took: Duration) {
    println!(
        "{what:<40} {:8.1} a second, {} at a time",
        f64::from(options.pods) / took.as_secs_f64(),
        options.parallel
    );
}
