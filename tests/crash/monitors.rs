//! Monitors, inits, or both are killed or stopped at every moment of a container's life: what clients are told is true.

use std::time::Duration;

use corten::cri::api::{
    self, ContainerState, LinuxContainerResources, NamespaceMode, PodSandboxState,
    UpdateContainerResourcesRequest,
};
use futures_util::future::{join_all, select};
use nix::sys::signal::Signal;

use crate::support::{
    Node, Options, Process, Programs, Scratch, Socket, Streams, container, namespaces, node,
    node_with, pod, runtime_behind, security, shell, until, until_some,
};

/// What a container does when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Created,
    Running,
    Exec,
    Attach,
    Stop,
    Reopen,
    Update,
}

/// Who is killed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    Monitor,
    Init,
    MonitorThenInit,
    InitThenMonitor,
}

const MOMENTS: [Moment; 7] = [
    Moment::Created,
    Moment::Running,
    Moment::Exec,
    Moment::Attach,
    Moment::Stop,
    Moment::Reopen,
    Moment::Update,
];

/// Time between two requests of the same kind: others are to have some of the machine too.
const PAUSE: Duration = Duration::from_millis(50);

const VICTIMS: [Victims; 4] = [
    Victims::Monitor,
    Victims::Init,
    Victims::MonitorThenInit,
    Victims::InitThenMonitor,
];

/// A container and its two processes.
struct Subject {
    moment: Moment,
    victims: Victims,
    id: String,
    init: Process,
    monitor: Process,
}

impl Subject {
    async fn new(node: &Node, moment: Moment, victims: Victims) -> Self {
        let config = pod(&format!("{moment:?}-{victims:?}").to_lowercase());
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "trap 'touch /asked' TERM; echo begun; while :; do sleep 1000000 & wait $!; done",
        );
        let id = match moment {
            Moment::Created => node.create(&pod, &config, &main).await,
            _ => node.launch(&pod, &config, &main).await,
        };
        let info = node.container_info(&id).await;
        let number = |value: &serde_json::Value| Process(value.as_u64().unwrap() as u32);
        let (init, monitor) = (number(&info["pid"]), number(&info["monitor"]["pid"]));
        assert_eq!(init.parent(), monitor, "{info}");
        Self {
            moment,
            victims,
            id,
            init,
            monitor,
        }
    }

    /// Keeps the container in its moment for as long as the daemon and the container let it.
    async fn keep_busy(&self, node: &Node) {
        match self.moment {
            Moment::Created | Moment::Running => std::future::pending().await,
            Moment::Exec => {
                let command = ["sh", "-c", "touch /executing; exec sleep 1000000"];
                // It ends with an error, or as one that was killed.
                if let Ok(done) = node.try_exec(&self.id, &command, 0).await {
                    assert_eq!(done.exit_code, 137, "{done:?}");
                }
            }
            Moment::Attach => {
                let streams = Streams::default();
                let url = node.attach_url(&self.id, streams).await;
                let mut socket = Socket::open(&url, "v5.channel.k8s.io").await;
                std::fs::write(self.inside("attached"), "").unwrap();
                socket.finish().await;
            }
            Moment::Stop => {
                let _ = node.stop_container(&self.id, 1_000_000).await;
            }
            Moment::Reopen => loop {
                let request = api::ReopenContainerLogRequest {
                    container_id: self.id.clone(),
                };
                if node.runtime().reopen_container_log(request).await.is_err() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            },
            Moment::Update => loop {
                let request = UpdateContainerResourcesRequest {
                    container_id: self.id.clone(),
                    linux: Some(LinuxContainerResources {
                        cpu_shares: 100,
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                if node
                    .runtime()
                    .update_container_resources(request)
                    .await
                    .is_err()
                {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            },
        }
    }

    /// A file of the container's root.
    fn inside(&self, name: &str) -> std::path::PathBuf {
        format!("/proc/{}/root/{name}", self.init.0).into()
    }

    /// Waits until the moment has come.
    async fn ready(&self) {
        let sign = match self.moment {
            Moment::Created | Moment::Running | Moment::Reopen | Moment::Update => return,
            Moment::Exec => "executing",
            Moment::Attach => "attached",
            Moment::Stop => "asked",
        };
        let what = format!("{:?} has begun", self.moment);
        until(&what, async || self.inside(sign).exists()).await;
    }

    fn kill(&self) {
        let order: &[Process] = match self.victims {
            Victims::Monitor => &[self.monitor],
            Victims::Init => &[self.init],
            Victims::MonitorThenInit => &[self.monitor, self.init],
            Victims::InitThenMonitor => &[self.init, self.monitor],
        };
        for process in order {
            process.kill();
        }
    }

    /// Waits until it is told that the container ended, and checks that this is the truth.
    async fn check(&self, node: &Node) {
        let case = format!("{:?}, {:?}", self.moment, self.victims);
        let status = node.exit(&self.id).await;
        assert!(!self.init.is_alive(), "{case}: its process runs");
        let told = (status.exit_code, status.reason.as_str());
        let (killed, lost) = ((137, "Error"), (-1, "MonitorLost"));
        match self.victims {
            Victims::Init => assert_eq!(told, killed, "{case}"),
            Victims::Monitor | Victims::MonitorThenInit => assert_eq!(told, lost, "{case}"),
            // The monitor may have been faster.
            Victims::InitThenMonitor => assert!(told == killed || told == lost, "{case}: {told:?}"),
        }
        assert_eq!(
            status.started_at == 0,
            self.moment == Moment::Created,
            "{case}: {status:?}"
        );
        until(&format!("{case}: the monitor is gone"), async || {
            !self.monitor.is_alive()
        })
        .await;
        // An end is final.
        let again = node.status(&self.id).await;
        let end = (status.exit_code, status.reason, status.finished_at);
        assert_eq!(
            (again.exit_code, again.reason, again.finished_at),
            end,
            "{case}"
        );
    }
}

async fn subjects(node: &Node) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for moment in MOMENTS {
        let made = VICTIMS.map(|victims| Subject::new(node, moment, victims));
        subjects.extend(join_all(made).await);
    }
    subjects
}

/// Nobody else notices: a bystander is served as ever.
async fn others_are_served(node: &Node, bystander: &str) {
    assert_eq!(node.exec(bystander, &["echo", "well"]).await, "well");
    assert!(!node.containers(None).await.is_empty());
}

#[tokio::test]
async fn whoever_is_killed_the_truth_is_told() {
    node(async |node| {
        let (_, _, bystander) = node.idle("bystander").await;
        let subjects = subjects(node).await;
        let all = subjects.iter().map(|subject| async {
            let work = async {
                subject.ready().await;
                subject.kill();
                subject.check(node).await;
            };
            select(
                std::pin::pin!(work),
                std::pin::pin!(async {
                    subject.keep_busy(node).await;
                    std::future::pending::<()>().await
                }),
            )
            .await;
        });
        tokio::join!(join_all(all), others_are_served(node, &bystander));
        node.restart().await;
        for subject in &subjects {
            subject.check(node).await;
        }
        others_are_served(node, &bystander).await;
    })
    .await;
}

#[tokio::test]
async fn whoever_is_killed_while_the_daemon_is_away_the_truth_is_told() {
    node(async |node| {
        let (_, _, bystander) = node.idle("bystander").await;
        let subjects = subjects(node).await;
        let busy = join_all(subjects.iter().map(|subject| subject.keep_busy(node)));
        let ready = async {
            for subject in &subjects {
                subject.ready().await;
            }
        };
        select(std::pin::pin!(busy), std::pin::pin!(ready)).await;
        node.kill();
        for subject in &subjects {
            subject.kill();
        }
        node.start().await;
        others_are_served(node, &bystander).await;
        for subject in &subjects {
            subject.check(node).await;
        }
        others_are_served(node, &bystander).await;
    })
    .await;
}

/// A runtime whose `create` waits for a file, on either side of its work.
fn slow_runtime(scratch: &Scratch) -> (String, std::path::PathBuf) {
    let hold = scratch.join("hold");
    let begun = scratch.join("begun");
    let does = format!(
        "case \" $* \" in *' create '*)\n\
           echo $$ >>{begun}\n\
           while [ -e {hold} ]; do sleep 0.05; done;; esac",
        begun = begun.display(),
        hold = hold.display(),
    );
    let path = runtime_behind(scratch, "slow-runtime", &does);
    (path.to_str().unwrap().to_owned(), begun)
}

#[tokio::test]
async fn a_creation_without_its_monitor_fails_and_can_be_asked_for_again() {
    let scratch = Scratch::new();
    let (runtime, begun) = slow_runtime(&scratch);
    let hold = scratch.join("hold");
    let options = Options {
        args: vec![
            "--runtime".into(),
            format!("slow={runtime}"),
            "--default-runtime".into(),
            "slow".into(),
        ],
        ..Options::default()
    };
    node_with(options, async |node| {
        let config = pod("creating");
        let pod = node.pod(&config).await;
        let main = container("main", &["sleep", "1000000"]);
        for daemon_dies in [false, true] {
            std::fs::write(&hold, "").unwrap();
            let _ = std::fs::remove_file(&begun);
            let creating = node.try_create(&pod, &config, &main);
            let killing = async {
                let runtime = until_some("the runtime is at work", async || {
                    let text = std::fs::read_to_string(&begun).ok()?;
                    text.trim().parse().ok().map(Process)
                })
                .await;
                if daemon_dies {
                    node.kill();
                }
                runtime.parent().kill();
                until("the runtime ends with its monitor", async || {
                    !runtime.is_alive()
                })
                .await;
            };
            let (made, ()) = tokio::join!(creating, killing);
            let error = made.unwrap_err();
            assert!(
                daemon_dies || error.message().contains("monitor"),
                "{error}"
            );
            std::fs::remove_file(&hold).unwrap();
            if daemon_dies {
                node.start().await;
            }
            assert!(node.containers(None).await.is_empty());
            let id = node.launch(&pod, &config, &main).await;
            assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
            node.remove_container(&id).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_monitor_holds_nobody_up() {
    node(async |node| {
        let (_, _, bystander) = node.idle("bystander").await;
        let (_, pod, id) = node.idle("stopped").await;
        let (_, ending, dead) = node.idle("dead").await;
        let (init, monitor) = processes(node, &id).await;
        let (dead_init, dead_monitor) = processes(node, &dead).await;
        for monitor in [monitor, dead_monitor] {
            assert!(monitor.signal(Signal::SIGSTOP));
            until("it is stopped", async || monitor.is_stopped()).await;
        }
        dead_init.kill();
        // What is asked about neither is answered as ever; and nothing that was not asked of it wakes the first.
        for _ in 0..3 {
            let status = node.status(&id).await;
            assert_eq!(status.state(), ContainerState::ContainerRunning);
            others_are_served(node, &bystander).await;
            assert!(monitor.is_stopped());
        }
        // The kernel says that the second's init is gone, so its monitor is to tell how.
        let status = node.exit(&dead).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
        node.remove_pod(&ending).await.unwrap();

        node.kill();
        node.start().await;
        others_are_served(node, &bystander).await;
        assert_eq!(
            node.status(&id).await.state(),
            ContainerState::ContainerRunning
        );
        // Whoever needs it waits a little, and has it.
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        assert!(!monitor.is_stopped());
        assert!(monitor.signal(Signal::SIGSTOP));
        node.stop_container(&id, 0).await.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 137);
        assert!(!init.is_alive());
        node.remove_pod(&pod).await.unwrap();
    })
    .await;
}

async fn processes(node: &Node, id: &str) -> (Process, Process) {
    let init = Process(node.init_pid(id).await);
    (init, init.parent())
}

#[tokio::test]
async fn the_process_of_a_shared_pid_namespace_takes_its_pod_along() {
    node(async |node| {
        for victims in VICTIMS {
            for away in [false, true] {
                let mut config = pod(&format!("shared-{victims:?}-{away}").to_lowercase());
                namespaces(&mut config).pid = NamespaceMode::Pod as i32;
                let pod = node.pod(&config).await;
                let mut main = container("main", &["sleep", "1000000"]);
                security(&mut main).namespace_options = Some(namespaces(&mut config).clone());
                let id = node.launch(&pod, &config, &main).await;
                let (init, _) = processes(node, &id).await;
                let verbose = node.try_pod_status(&pod, true).await.unwrap();
                let info: serde_json::Value = serde_json::from_str(&verbose.info["info"]).unwrap();
                let infra = Process(info["pid"].as_u64().unwrap() as u32);
                let subject = Subject {
                    moment: Moment::Running,
                    victims,
                    id: id.clone(),
                    init: infra,
                    monitor: infra.parent(),
                };
                if away {
                    node.kill();
                }
                subject.kill();
                if away {
                    node.start().await;
                }
                until("the pod is not ready", async || {
                    node.pod_status(&pod).await.state() == PodSandboxState::SandboxNotready
                })
                .await;
                let status = node.status(&id).await;
                if status.state() == ContainerState::ContainerRunning {
                    // Only where the namespace's first process has outlived its monitor.
                    assert!(victims == Victims::Monitor && away || !infra.is_alive());
                }
                node.stop_pod(&pod).await.unwrap();
                let status = node.exit(&id).await;
                assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
                assert!(!init.is_alive() && !infra.is_alive());
                node.remove_pod(&pod).await.unwrap();
            }
        }
    })
    .await;
}

/// The monitor's program, limited to version 1 of the protocol.
fn conmon_of_version_1(scratch: &Scratch) -> std::path::PathBuf {
    let real = crate::support::monitor_program();
    let script = format!("#!/bin/sh\nexec {} \"$@\" --protocol 1\n", real.display());
    scratch.program("conmon-1", script)
}

#[tokio::test]
async fn monitors_of_the_previous_protocol_are_adopted() {
    node(async |node| {
        node.kill();
        node.set_programs(Programs {
            conmon: Some(conmon_of_version_1(&node.scratch)),
            ..Programs::default()
        });
        node.start().await;
        let config = pod("old");
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "i=0; while [ ! -e /go ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 7",
        );
        let old = node.launch(&pod, &config, &main).await;
        let idle = container("idle", &["sleep", "1000000"]);
        let lost = node.launch(&pod, &config, &idle).await;
        let protocol = async |id: &str| {
            let info = node.container_info(id).await;
            (
                info["monitor"]["protocol"].clone(),
                info["monitor"]["version"].clone(),
            )
        };
        assert_eq!(protocol(&old).await, (1.into(), serde_json::Value::Null));
        node.kill();
        node.set_programs(Programs::default());
        node.start().await;
        assert_eq!(node.exec(&old, &["echo", "well"]).await, "well");
        assert_eq!(protocol(&old).await, (1.into(), serde_json::Value::Null));
        let new = node
            .launch(&pod, &config, &container("new", &["sleep", "1000000"]))
            .await;
        assert_eq!(
            protocol(&new).await,
            (3.into(), env!("CARGO_PKG_VERSION").into())
        );
        let request = api::ReopenContainerLogRequest {
            container_id: old.clone(),
        };
        node.runtime().reopen_container_log(request).await.unwrap();
        processes(node, &lost).await.1.kill();
        assert_eq!(node.exit(&lost).await.reason, "MonitorLost");
        node.sh(&old, "touch /go").await;
        assert_eq!(node.exit(&old).await.exit_code, 7);
        for (number, line) in node.output(&config, &main).lines().enumerate() {
            assert_eq!(line, number.to_string());
        }
    })
    .await;
}
