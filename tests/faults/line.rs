//! No waiting in line: whatever one pod hangs in, all else is as fast as before.

use std::time::{Duration, Instant};

use corten::cri::api;
use futures_util::future::join_all;

use super::{
    front::{Front, HOLD},
    monitors::monitor_of,
    volumes::{volume, with_volume},
    wire::{Line, Wire},
};
use crate::support::{
    Behaviour, FakeRegistry, Node, busybox, container, insecure, node, node_with, patience, pod,
    pod_net, shell, until,
};

/// How much slower things may be beside what hangs: far less than any wait for it.
const FACTOR: u32 = 6;
/// Shorter than this nothing need be.
const FLOOR: Duration = Duration::from_secs(2);

/// How long calls take, the middle one of several.
#[derive(Debug, Clone, Copy)]
struct Pace {
    list: Duration,
    status: Duration,
    stats: Duration,
    exec: Duration,
    life: Duration,
}

async fn median(times: usize, what: &str, mut call: impl AsyncFnMut()) -> Duration {
    let mut all = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        let ended = tokio::time::timeout(patience(), call()).await;
        assert!(ended.is_ok(), "{what} hangs");
        all.push(begun.elapsed());
    }
    all.sort();
    all[all.len() / 2]
}

impl Pace {
    /// Of calls that have to do with another container, and of the whole life of another pod.
    async fn of(node: &Node, beside: &str) -> Self {
        Self {
            list: median(9, "ListPodSandbox", async || {
                node.pods(None).await;
            })
            .await,
            status: median(9, "ContainerStatus", async || {
                node.status(beside).await;
            })
            .await,
            stats: median(5, "ListContainerStats", async || {
                let request = api::ListContainerStatsRequest::default();
                node.runtime().list_container_stats(request).await.unwrap();
            })
            .await,
            exec: median(5, "ExecSync", async || {
                assert_eq!(node.exec(beside, &["echo", "well"]).await, "well");
            })
            .await,
            life: median(1, "the life of a pod", async || {
                super::others_work(node, "lives").await;
            })
            .await,
        }
    }

    /// Panics where calls have become much slower.
    #[track_caller]
    fn kept(self, before: Self, beside: &str) {
        for (what, before, now) in [
            ("listing", before.list, self.list),
            ("a status", before.status, self.status),
            ("statistics", before.stats, self.stats),
            ("an exec", before.exec, self.exec),
            ("the life of a pod", before.life, self.life),
        ] {
            assert!(
                now <= (before * FACTOR).max(FLOOR),
                "{what} took {now:?} beside {beside}, and {before:?} before"
            );
        }
    }
}

/// Calls that hang: they are under way until the test lets them go.
type Stuck = tokio::task::JoinSet<Result<(), tonic::Status>>;

/// Begins a call on a connection like all others.
macro_rules! begin {
    ($stuck:expr, $client:expr, $call:ident, $request:expr) => {{
        let (mut client, request) = ($client, $request);
        $stuck.spawn(async move { client.$call(request).await.map(drop) });
    }};
}

/// A request to run a pod by the handler in front.
fn run_odd(node: &Node, config: &api::PodSandboxConfig) -> api::RunPodSandboxRequest {
    api::RunPodSandboxRequest {
        config: Some(node.completed(config)),
        runtime_handler: "odd".into(),
    }
}

#[tokio::test]
async fn one_pod_that_hangs_in_any_step_slows_no_other() {
    let (front, plugin) = (Front::runtime(), Front::plugin());
    let registry = FakeRegistry::start(&busybox(), Behaviour::default()).await;
    let wire = Wire::to(registry.host()).await;
    let mut options = front.as_handler();
    let with_plugin = plugin.as_plugins();
    options.plugins = with_plugin.plugins;
    options.args.extend(with_plugin.args);
    options.registries = insecure(wire.host());
    options.args.push("--pull-progress-timeout=10m".into());
    node_with(options, async |node| {
        let (_, _, beside) = node.idle("beside").await;
        let mut stuck = Stuck::new();

        // What is to hang later stands ready.
        let config = pod("odd");
        let odd = node.try_pod_by("odd", &config).await.unwrap();
        let idle = |name: &str| container(name, &["sleep", "1000000"]);
        let starts = node.create(&odd, &config, &idle("starts")).await;
        let deletes = node.launch(&odd, &config, &idle("deletes")).await;
        let (_, _, execs) = node.idle("execs").await;
        let (_, _, frozen) = node.idle("frozen").await;
        let deaf = shell("deaf", "trap '' TERM; echo up; while :; do sleep 1; done");
        let (deaf_config, deaf_pod, _) = node.idle("deaf").await;
        let deaf_id = node.launch(&deaf_pod, &deaf_config, &deaf).await;
        until("it runs", async || {
            node.output(&deaf_config, &deaf) == "up\n"
        })
        .await;
        let leaving = node.pod(&pod_net("leaving")).await;
        let (fuse, volume) = volume(node);

        let before = Pace::of(node, &beside).await;

        plugin.set("ADD", HOLD);
        begin!(
            stuck,
            node.runtime(),
            run_pod_sandbox,
            run_odd(node, &pod_net("arriving"))
        );
        plugin.called("ADD", 2).await;
        Pace::of(node, &beside)
            .await
            .kept(before, "a CNI ADD that hangs");

        plugin.set("DEL", HOLD);
        let request = api::StopPodSandboxRequest {
            pod_sandbox_id: leaving,
        };
        begin!(stuck, node.runtime(), stop_pod_sandbox, request);
        plugin.called("DEL", 1).await;
        Pace::of(node, &beside)
            .await
            .kept(before, "a CNI DEL that hangs");

        front.set("create", HOLD);
        let creates = front.calls("create");
        let request = api::CreateContainerRequest {
            pod_sandbox_id: odd.clone(),
            config: Some(idle("creates")),
            sandbox_config: Some(node.completed(&config)),
        };
        begin!(stuck, node.runtime(), create_container, request);
        front.called("create", creates + 1).await;
        front.set("start", HOLD);
        let count = front.calls("start");
        let request = api::StartContainerRequest {
            container_id: starts,
        };
        begin!(stuck, node.runtime(), start_container, request);
        front.called("start", count + 1).await;
        front.set("delete", HOLD);
        let request = api::RemoveContainerRequest {
            container_id: deletes,
        };
        begin!(stuck, node.runtime(), remove_container, request);
        front.called("delete", 1).await;
        Pace::of(node, &beside)
            .await
            .kept(before, "an OCI runtime that hangs");

        let request = api::ExecSyncRequest {
            container_id: execs.clone(),
            cmd: ["sleep", "1000000"].map(str::to_owned).into(),
            timeout: 0,
        };
        begin!(stuck, node.runtime(), exec_sync, request);
        let request = api::StopContainerRequest {
            container_id: deaf_id.clone(),
            timeout: 100_000,
        };
        begin!(stuck, node.runtime(), stop_container, request);
        Pace::of(node, &beside)
            .await
            .kept(before, "an exec and a stop without end");

        let monitor = monitor_of(node, &frozen).await;
        nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGSTOP).unwrap();
        let request = api::ExecSyncRequest {
            container_id: frozen.clone(),
            cmd: vec!["true".into()],
            timeout: 0,
        };
        begin!(stuck, node.runtime(), exec_sync, request);
        Pace::of(node, &beside)
            .await
            .kept(before, "a monitor that hangs");

        wire.set(Line::Stalled(100));
        let request = api::PullImageRequest {
            image: Some(crate::support::image_spec(&format!(
                "{}/test/image:tag",
                wire.host()
            ))),
            ..Default::default()
        };
        begin!(stuck, node.images(), pull_image, request);
        until("it pulls", async || wire.connections() > 0).await;
        Pace::of(node, &beside)
            .await
            .kept(before, "a pull that stalls");

        fuse.fall_silent();
        let request = api::CreateContainerRequest {
            pod_sandbox_id: deaf_pod,
            config: Some(with_volume(idle("mounts"), &volume)),
            sandbox_config: Some(node.completed(&deaf_config)),
        };
        begin!(stuck, node.runtime(), create_container, request);
        Pace::of(node, &beside)
            .await
            .kept(before, "a volume that does not answer");

        // All of it was there all the time; let go, it comes to its end.
        assert!(stuck.len() >= 9, "{}", stuck.len());
        for verb in ["create", "start", "delete"] {
            front.clear(verb);
        }
        for verb in ["ADD", "DEL"] {
            plugin.clear(verb);
        }
        drop(fuse);
        wire.set(Line::Whole);
        nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGCONT).unwrap();
        // The stop is shortened by a sharper one, and the exec ends with its container.
        node.stop_container(&deaf_id, 0).await.unwrap();
        node.stop_container(&execs, 0).await.unwrap();
        while let Some(ended) = stuck.join_next().await {
            // How is each one's own affair.
            let _ = ended.unwrap();
        }
        node.remove_all().await;
        front.quiet().await;
        plugin.quiet().await;
    })
    .await;
}

#[tokio::test]
async fn six_hundred_that_hang_on_a_volume_slow_no_other() {
    node(async |node| {
        let (_, _, beside) = node.idle("beside").await;
        let config = pod("crowd");
        let pod = node.pod(&config).await;
        let (fuse, path) = volume(node);
        let before = Pace::of(node, &beside).await;
        fuse.fall_silent();
        let crowd = (0..600).map(|n| {
            let main = with_volume(container(&format!("main-{n}"), &["true"]), &path);
            let (config, pod) = (&config, &pod);
            async move { node.try_create(pod, config, &main).await }
        });
        let (ended, ()) = tokio::join!(join_all(crowd), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Pace::of(node, &beside)
                .await
                .kept(before, "six hundred containers with a volume that hangs");
            let threads = std::fs::read_dir(format!("/proc/{}/task", node.pid()));
            assert!(threads.unwrap().count() < 200);
        });
        for error in ended {
            let error = error.unwrap_err();
            assert_eq!(error.code(), tonic::Code::DeadlineExceeded, "{error}");
        }
        drop(fuse);
    })
    .await;
}

#[tokio::test]
async fn more_hanging_plugins_than_may_run_at_once_keep_no_pod_from_its_network() {
    let plugin = Front::plugin();
    node_with(plugin.as_plugins(), async |node| {
        plugin.set(
            "ADD",
            "case \"$CNI_ARGS\" in *K8S_POD_NAME=stuck*) exec sleep 1000000;; esac",
        );
        let mut stuck = Stuck::new();
        for n in 0..70 {
            let request = api::RunPodSandboxRequest {
                config: Some(node.completed(&pod_net(&format!("stuck-{n}")))),
                runtime_handler: String::new(),
            };
            begin!(stuck, node.runtime(), run_pod_sandbox, request);
        }
        // Each is one that hangs, beyond the sixty-four that may run side by side.
        plugin.called("ADD", 70).await;
        let other = tokio::time::timeout(patience(), node.pod(&pod_net("other"))).await;
        let other = other.expect("a pod beside them gets its network");
        assert!(!node.pod_status(&other).await.network.unwrap().ip.is_empty());
        node.remove_pod(&other).await.unwrap();
        // They end with their plugins.
        plugin.clear("ADD");
        for pid in plugin.sleeping() {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        while let Some(ended) = stuck.join_next().await {
            assert!(ended.unwrap().is_err());
        }
        plugin.quiet().await;
    })
    .await;
}
