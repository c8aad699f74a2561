//! The programs are replaced under containers that run: nobody in them notices.

use std::path::{Path, PathBuf};

use corten::cri::api::{
    ContainerEventType, ContainerState, GetEventsRequest, ListContainerStatsRequest,
};
use futures_util::future::join_all;
use nix::sys::signal::Signal;

use crate::support::{
    Node, Process, Programs, Socket, Streams, container, monitor_program, node, patience, pod,
    shell, until,
};

const V5: &str = "v5.channel.k8s.io";
const STDOUT: usize = 1;
const STDIN: u8 = 0;

/// How the daemon of before ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Asked,
    Killed,
}

/// Ends the daemon and starts the other build of it, with the monitor's program replaced.
async fn upgrade(node: &Node, ending: Ending, programs: &Programs) {
    match ending {
        Ending::Asked => assert!(node.terminate().await.success()),
        Ending::Killed => node.kill(),
    }
    replace(&monitor_program(), programs.conmon.as_ref().unwrap());
    node.set_programs(programs.clone());
    node.start().await;
}

/// Puts a program in the place of one that may be running, as a package manager does.
fn replace(from: &Path, to: &Path) {
    let staged = to.with_extension("new");
    std::fs::copy(from, &staged).unwrap();
    std::fs::rename(staged, to).unwrap();
}

/// Two builds of the daemon, and where the monitor lies for both.
fn builds(node: &Node) -> [Programs; 2] {
    let conmon = node.scratch.join("conmon");
    replace(&monitor_program(), &conmon);
    ["a", "b"].map(|name| {
        let corten = node.scratch.join(format!("corten-{name}"));
        std::fs::copy(env!("CARGO_BIN_EXE_corten"), &corten).unwrap();
        Programs {
            corten: Some(corten),
            conmon: Some(conmon.clone()),
            boot: None,
        }
    })
}

/// Checks a log of numbered lines, none of which may be missing, doubled or cut; gives how many there are.
fn check_lines(path: &Path) -> usize {
    let lines = crate::support::read_log(path);
    let mut text = String::new();
    for line in &lines {
        text.push_str(&line.text);
        if line.tag == "F" {
            text.push('\n');
        }
    }
    let mut count = 0;
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, format!("line {number} of many"), "{}", path.display());
        count += 1;
    }
    count
}

#[tokio::test]
async fn twenty_containers_that_log_notice_no_upgrade() {
    node(async |node| {
        let builds = builds(node);
        let script = |pause: &str| {
            format!(
                "i=0; while [ ! -e /enough ]; do \
                 for n in 1 2 3 4 5 6 7 8 9 10; do echo line $i of many; i=$((i+1)); done; {pause}; \
                 done; exit 3"
            )
        };
        let mut logging = Vec::new();
        for pods in 0..5 {
            let config = pod(&format!("busy-{pods}"));
            let pod = node.pod(&config).await;
            let made = (0..4).map(|n| {
                // One of them writes as fast as it can.
                let pause = match (pods, n) {
                    (0, 0) => ":",
                    _ => "sleep 0.2",
                };
                let main = shell(&format!("main-{n}"), &script(pause));
                let (pod, config) = (pod.clone(), config.clone());
                async move {
                    let id = node.launch(&pod, &config, &main).await;
                    (id, node.log_path(&config, &main))
                }
            });
            logging.extend(join_all(made).await);
        }
        let mut inits = Vec::new();
        for (id, _) in &logging {
            inits.push(node.init_pid(id).await);
        }
        let mut sizes: Vec<u64> = vec![0; logging.len()];
        for round in 0..5 {
            let ending = [Ending::Asked, Ending::Killed][round % 2];
            upgrade(node, ending, &builds[round % 2]).await;
            for (n, (id, log)) in logging.iter().enumerate() {
                let status = node.status(id).await;
                assert_eq!(status.state(), ContainerState::ContainerRunning);
                assert_eq!(node.init_pid(id).await, inits[n]);
                until("it goes on logging", async || size(log) > sizes[n]).await;
                sizes[n] = size(log);
            }
            // The new programs work too.
            let config = pod(&format!("round-{round}"));
            let pod = node.pod(&config).await;
            let new = node
                .launch(&pod, &config, &container("new", &["sleep", "1000000"]))
                .await;
            assert_eq!(node.exec(&new, &["echo", "well"]).await, "well");
            node.remove_pod(&pod).await.unwrap();
        }
        for init in &inits {
            std::fs::write(format!("/proc/{init}/root/enough"), "").unwrap();
        }
        let ended = logging.iter().map(|(id, _)| async {
            assert_eq!(node.exit(id).await.exit_code, 3);
        });
        join_all(ended).await;
        for (_, log) in &logging {
            let count = check_lines(log);
            assert!(count > 0 && count.is_multiple_of(10), "{count} lines");
        }
    })
    .await;
}

fn size(path: &PathBuf) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn a_subscriber_that_comes_back_has_the_whole_picture() {
    node(async |node| {
        let builds = builds(node);
        for (round, ending) in [Ending::Killed, Ending::Asked].into_iter().enumerate() {
            let config = pod(&format!("told-{round}"));
            let pod = node.pod(&config).await;
            let main = |name: &str| shell(name, "while [ ! -e /go ]; do sleep 0.05; done; exit 9");
            let between = node.launch(&pod, &config, &main("between")).await;
            let after = node.launch(&pod, &config, &main("after")).await;
            let init = Process(node.init_pid(&between).await);
            let go_after = go_file(node.init_pid(&after).await);
            let request = GetEventsRequest {};
            let mut ear = node
                .runtime()
                .get_container_events(request)
                .await
                .unwrap()
                .into_inner();
            match ending {
                Ending::Asked => assert!(node.terminate().await.success()),
                Ending::Killed => node.kill(),
            }
            // The stream ends rather than going on in silence.
            let end = tokio::time::timeout(patience(), ear.message()).await;
            assert!(!matches!(end.expect("the stream ends"), Ok(Some(_))));
            std::fs::write(go_file(init.0), "").unwrap();
            until("it has ended", async || !init.is_alive()).await;

            node.set_programs(builds[round].clone());
            node.start().await;
            let mut ear = node
                .runtime()
                .get_container_events(request)
                .await
                .unwrap()
                .into_inner();
            let listed = node.containers(None).await;
            assert!(listed.iter().any(|c| c.id == between));
            assert_eq!(node.exit(&between).await.exit_code, 9);
            std::fs::write(&go_after, "").unwrap();
            // What came before the subscription may be told once more, by whoever was the first to find it out.
            loop {
                let event = tokio::time::timeout(patience(), ear.message()).await;
                let event = event.expect("an event").unwrap().expect("the stream ended");
                let stopped = ContainerEventType::ContainerStoppedEvent;
                if event.container_id == after && event.container_event_type() == stopped {
                    break;
                }
                assert_eq!(event.container_id, between, "{event:?}");
            }
            assert_eq!(node.exit(&after).await.exit_code, 9);
            let main = container("counted", &["sleep", "1000000"]);
            let counted = node.launch(&pod, &config, &main).await;
            node.set_programs(builds[round].clone());
            node.restart().await;
            let request = ListContainerStatsRequest::default();
            let stats = node.runtime().list_container_stats(request).await.unwrap();
            let stats = stats.into_inner().stats;
            let of = |id: &str| {
                let found = stats
                    .iter()
                    .find(|s| s.attributes.as_ref().unwrap().id == id);
                found.cloned().unwrap_or_else(|| panic!("none of {id}"))
            };
            let cpu = of(&counted).cpu.unwrap();
            assert!(cpu.usage_core_nano_seconds.unwrap().value > 0);
            node.remove_pod(&pod).await.unwrap();
        }
    })
    .await;
}

/// The file that lets a container end.
fn go_file(init: u32) -> PathBuf {
    format!("/proc/{init}/root/go").into()
}

#[tokio::test]
async fn streams_end_with_the_daemon_and_what_they_were_joined_to_does_as_documented() {
    node(async |node| {
        let builds = builds(node);
        let config = pod("streams");
        let pod = node.pod(&config).await;
        let mut main = shell(
            "main",
            "while read line; do echo got $line; done; echo no more",
        );
        main.stdin = true;
        let id = node.launch(&pod, &config, &main).await;
        let fed = Streams {
            stdin: true,
            ..Streams::default()
        };
        let init = Process(node.init_pid(&id).await);
        for (round, ending) in [Ending::Killed, Ending::Asked].into_iter().enumerate() {
            let url = node.attach_url(&id, fed).await;
            let mut attached = Socket::open(&url, V5).await;
            attached
                .send(STDIN, format!("before {round}\n").as_bytes())
                .await;
            attached.until(STDOUT, &format!("got before {round}")).await;
            let begun = |name: &str| PathBuf::from(format!("/proc/{}/root/{name}", init.0));
            let script = |name: &str| {
                format!(
                    "echo $$ >/{name}; echo here; until [ -e /over-{round} ]; do sleep 0.05; done; \
                     echo over >>/{name}"
                )
            };
            let [by_stream, by_call] = ["stream", "call"].map(|kind| format!("{kind}-{round}"));
            let words = ["sh", "-c", &script(&by_stream)];
            let url = node.exec_url(&id, &words, Streams::default()).await;
            let mut running = Socket::open(&url, V5).await;
            running.until(STDOUT, "here").await;
            // A request under way is waited for by a daemon that is asked to end, so there is none then.
            let in_flight = async {
                if ending == Ending::Killed {
                    let words = ["sh", "-c", &script(&by_call)];
                    node.try_exec(&id, &words, 0).await.unwrap_err();
                }
            };
            let replacing = async {
                if ending == Ending::Killed {
                    until("the exec runs", async || begun(&by_call).exists()).await;
                }
                upgrade(node, ending, &builds[round]).await;
            };
            tokio::join!(in_flight, replacing);
            // The client is told, by the end of its connection at the least.
            running.finish().await;
            attached.finish().await;
            // Nobody can reach these again, and they go on to their end.
            std::fs::write(begun(&format!("over-{round}")), "").unwrap();
            for name in [&by_stream, &by_call] {
                let over = async || {
                    let said = std::fs::read_to_string(begun(name)).unwrap_or_default();
                    said.ends_with("over\n") || (name == &by_call && ending == Ending::Asked)
                };
                until("the execs are over", over).await;
            }
            assert!(init.is_alive());
            // The container's own input was not closed.
            let url = node.attach_url(&id, fed).await;
            let mut attached = Socket::open(&url, V5).await;
            attached
                .send(STDIN, format!("after {round}\n").as_bytes())
                .await;
            attached.until(STDOUT, &format!("got after {round}")).await;
            attached.close().await;
        }
        // Who is attached hears of a line before the log has it.
        until("the log has all of it", async || {
            node.output(&config, &main) == "got before 0\ngot after 0\ngot before 1\ngot after 1\n"
        })
        .await;
        assert!(init.signal(Signal::SIGKILL));
        assert_eq!(node.exit(&id).await.exit_code, 137);
    })
    .await;
}
