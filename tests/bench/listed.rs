//! Lists of a node with many containers, none of which runs: a daemon is started on records of them.
//!
//! Answers are taken as bytes, as they come from the socket: what a client makes of them is not corten's to answer for.

use std::{
    convert::Infallible,
    future::poll_fn,
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use corten::{
    container::{
        record::ContainerRecord,
        state::{ContainerState, Exit, ExitCause},
    },
    cri::{api, convert},
    id::Id,
    pod::{record::PodRecord, state::PodState},
    store::Store,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::body::{Body, Frame};
use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prost::Message;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::{
    Outcome,
    figures::{
        CONTAINERS_OF_POD, CONTAINERS_RECEIVED, CONTAINERS_WRITTEN, Figures, PODS_BY_LABEL,
        PODS_RECEIVED, PODS_WRITTEN, STATUS_OF_ONE, Sheet,
    },
};
use crate::support::{Scratch, monitor_program};

/// Records that are written at a time.
const TOGETHER: usize = 256;

/// Starts a daemon that knows `count` pods of one container each, and makes each call `calls` times.
pub(crate) async fn measure(count: u32, calls: u32, figures: &mut Figures) -> Outcome<()> {
    let scratch = Scratch::new();
    eprintln!("writing records of {count} pods");
    let ids = records(&scratch.join("root/records"), count).await?;
    let mut daemon = Daemon::start(&scratch)?;
    let measured = async {
        let client = connect(&scratch.join("cri.sock")).await?;
        figures.add_subject(&format!("corten, {count} pods of one container"));
        asked(client, &ids, calls, &mut figures.sheet(0)).await
    };
    let measured = measured.await;
    let log = std::fs::read_to_string(scratch.join("log")).unwrap_or_default();
    daemon.end()?;
    measured.map_err(|error| format!("{error}\n{log}").into())
}

/// IDs of a pod and of its container.
type Pair = (Id, Id);

async fn records(dir: &Path, count: u32) -> Outcome<Vec<Pair>> {
    std::fs::create_dir_all(dir)?;
    let store = Store::open(dir)?;
    store.load::<PodRecord>()?;
    store.load::<ContainerRecord>()?;
    let one = |n: u32| {
        let store = &store;
        async move {
            let (pod, container) = (Id::random(), Id::random());
            store.note(pod.as_str(), &pod_record(n)?).await?;
            let record = container_record(n, &pod)?;
            store.note(container.as_str(), &record).await?;
            Outcome::Ok((pod, container))
        }
    };
    stream::iter((0..count).map(one))
        .buffered(TOGETHER)
        .try_collect()
        .await
}

/// What a kubelet calls its pod number `n`.
fn uid(n: u32) -> String {
    format!("6f1c2d3e-0000-4000-8000-{n:012}")
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> std::collections::HashMap<String, String> {
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// A stopped pod with the labels and annotations that a kubelet gives.
fn pod_record(n: u32) -> Outcome<PodRecord> {
    let name = format!("frontend-7d4b9c6f5d-{n:05}");
    let config = api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: name.clone(),
            uid: uid(n),
            namespace: "production".into(),
            attempt: 0,
        }),
        labels: texts([
            ("app", "frontend"),
            ("pod-template-hash", "7d4b9c6f5d"),
            ("io.kubernetes.pod.name", &name),
            ("io.kubernetes.pod.namespace", "production"),
            ("io.kubernetes.pod.uid", &uid(n)),
        ]),
        annotations: texts([
            (
                "kubernetes.io/config.seen",
                "2026-01-01T00:00:00.000000000Z",
            ),
            ("kubernetes.io/config.source", "api"),
        ]),
        ..Default::default()
    };
    Ok(PodRecord {
        spec: convert::pod::spec(Some(config), String::new())?.into(),
        handler: "corten".into(),
        created_at: i64::from(n),
        boot_id: "an earlier one".into(),
        selinux_level: None,
        attachment: None,
        infra_pid: None,
        resources: None,
        state: PodState::Stopped,
    })
}

fn container_record(n: u32, pod: &Id) -> Outcome<ContainerRecord> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let name = format!("frontend-7d4b9c6f5d-{n:05}");
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata {
            name: "main".into(),
            attempt: 0,
        }),
        image: Some(api::ImageSpec {
            image: digest.clone(),
            user_specified_image: "registry.example.com/team/frontend:v1".into(),
            ..Default::default()
        }),
        labels: texts([
            ("io.kubernetes.container.name", "main"),
            ("io.kubernetes.pod.name", &name),
            ("io.kubernetes.pod.namespace", "production"),
            ("io.kubernetes.pod.uid", &uid(n)),
        ]),
        annotations: texts([
            ("io.kubernetes.container.hash", "5f3c2a1b"),
            ("io.kubernetes.container.restartCount", "0"),
            (
                "io.kubernetes.container.terminationMessagePath",
                "/dev/termination-log",
            ),
            ("io.kubernetes.container.terminationMessagePolicy", "File"),
            ("io.kubernetes.pod.terminationGracePeriod", "30"),
        ]),
        ..Default::default()
    };
    let spec = convert::container::spec(Some(config))?;
    Ok(ContainerRecord {
        pod: pod.clone(),
        image_id: digest.clone(),
        image_ref: format!("registry.example.com/team/frontend@{digest}"),
        created_at: i64::from(n),
        log_path: Some(format!("/var/log/pods/production_{name}_{}/main/0.log", uid(n)).into()),
        handler: "corten".into(),
        stop_signal: nix::libc::SIGTERM,
        user: None,
        mount_images: Default::default(),
        resources: spec.resources.clone(),
        boot_id: "an earlier one".into(),
        state: ContainerState::Exited(Exit {
            started_at: Some(1),
            finished_at: 2,
            cause: ExitCause::Process {
                code: 0,
                oom_killed: false,
            },
        }),
        removing: false,
        reaped: true,
        spec: spec.into(),
    })
}

struct Daemon(Child);

impl Daemon {
    fn start(scratch: &Scratch) -> Outcome<Self> {
        let log = std::fs::File::create(scratch.join("log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command.arg("serve");
        for (flag, value) in [
            ("--config", scratch.file("config.toml", "")),
            ("--config-dir", scratch.dir("config.d")),
            ("--listen", scratch.join("cri.sock")),
            ("--root", scratch.join("root")),
            ("--runroot", scratch.join("run")),
            ("--cni-conf-dir", scratch.dir("cni")),
            ("--default-runtime", "corten".into()),
            ("--conmon", monitor_program()),
            ("--log-level", "warn".into()),
        ] {
            command.arg(flag).arg(value);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    fn end(&mut self) -> Outcome<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        self.0.wait()?;
        Ok(())
    }
}

/// Waits for the daemon to listen. Windows are wide enough not to be waited for.
async fn connect(socket: &Path) -> Outcome<Channel> {
    const WINDOW: u32 = 64 << 20;
    let begun = Instant::now();
    while UnixStream::connect(socket).await.is_err() {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("the daemon does not listen".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let socket = socket.to_owned();
    Ok(Endpoint::from_static("http://localhost")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect_with_connector_lazy(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        })))
}

async fn asked(
    mut client: Channel,
    ids: &[Pair],
    calls: u32,
    sheet: &mut Sheet<'_>,
) -> Outcome<()> {
    let all = api::ListContainersRequest::default();
    let answer = call(&mut client, "ListContainers", &all).await?;
    let listed = api::ListContainersResponse::decode(&answer.bytes[..])?;
    if listed.containers.len() != ids.len() {
        return Err(format!("{} containers are listed", listed.containers.len()).into());
    }
    eprintln!("the longest answer has {} bytes", answer.bytes.len());
    for n in 0..calls {
        let (pod, container) = &ids[(n as usize * 7919) % ids.len()];
        let answer = call(&mut client, "ListContainers", &all).await?;
        sheet.time(CONTAINERS_WRITTEN, answer.begun);
        sheet.time(CONTAINERS_RECEIVED, answer.whole);
        let request = api::ListPodSandboxRequest::default();
        let answer = call(&mut client, "ListPodSandbox", &request).await?;
        sheet.time(PODS_WRITTEN, answer.begun);
        sheet.time(PODS_RECEIVED, answer.whole);
        let request = api::ListContainersRequest {
            filter: Some(api::ContainerFilter {
                pod_sandbox_id: pod.to_string(),
                ..Default::default()
            }),
        };
        let answer = call(&mut client, "ListContainers", &request).await?;
        sheet.time(CONTAINERS_OF_POD, answer.whole);
        let label = [("io.kubernetes.pod.uid".to_owned(), uid(n))];
        let request = api::ListPodSandboxRequest {
            filter: Some(api::PodSandboxFilter {
                label_selector: label.into(),
                ..Default::default()
            }),
        };
        let answer = call(&mut client, "ListPodSandbox", &request).await?;
        sheet.time(PODS_BY_LABEL, answer.whole);
        let request = api::ContainerStatusRequest {
            container_id: container.to_string(),
            verbose: false,
        };
        let answer = call(&mut client, "ContainerStatus", &request).await?;
        sheet.time(STATUS_OF_ONE, answer.whole);
    }
    Ok(())
}

/// An answer that was not read.
struct Answer {
    bytes: Vec<u8>,
    /// When its first bytes came: by then it has been written as a whole, for it is sent as one piece.
    begun: Duration,
    /// When its last bytes came.
    whole: Duration,
}

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

async fn call(client: &mut Channel, method: &str, request: &impl Message) -> Outcome<Answer> {
    let mut frame = vec![0; PREFIX];
    frame[1..].copy_from_slice(&u32::try_from(request.encoded_len())?.to_be_bytes());
    request.encode(&mut frame)?;
    let request = http::Request::post(format!("/runtime.v1.RuntimeService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Whole(Some(frame.into()))))?;
    poll_fn(|context| client.poll_ready(context)).await?;
    let since = Instant::now();
    let mut body = client.call(request).await?.into_body();
    let mut answer = Answer {
        bytes: Vec::new(),
        begun: Duration::ZERO,
        whole: Duration::ZERO,
    };
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if answer.bytes.is_empty() {
            answer.begun = since.elapsed();
            // Growing is not to be measured; a message has its length before it.
            let length = data.get(1..PREFIX).ok_or("an answer without a length")?;
            let length = u32::from_be_bytes(length.try_into()?) as usize;
            answer.bytes.reserve(length + PREFIX);
        }
        answer.bytes.extend_from_slice(&data);
    }
    answer.whole = since.elapsed();
    if answer.bytes.len() <= PREFIX {
        return Err(format!("{method} found nothing").into());
    }
    answer.bytes.drain(..PREFIX);
    Ok(answer)
}

/// A request of one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}
