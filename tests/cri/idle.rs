//! While nothing happens, nothing of corten runs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::{Node, Options, Scratch, container, node_with, patience, pod_net, until};

/// For how long nothing may wake up.
const QUIET: Duration = Duration::from_secs(12);

#[tokio::test]
async fn an_idle_daemon_and_its_monitors_never_wake_up() {
    // Its own, and empty: others put plugins where the node's are, of which every daemon takes note.
    let plugins = Scratch::new();
    let options = Options {
        plugins: Some(plugins.path().to_owned()),
        ..Options::default()
    };
    node_with(options, async |node| {
        for n in 0..3 {
            let config = pod_net(&format!("sleeper-{n}"));
            let pod = node.pod(&config).await;
            let main = container("main", &["sleep", "1000000"]);
            node.launch(&pod, &config, &main).await;
        }
        // Threads that nobody needs end, and memory is given back.
        let deadline = Instant::now() + patience();
        loop {
            let before = switches(node);
            assert!(before.len() > 3, "{before:?}");
            tokio::time::sleep(QUIET).await;
            let after = switches(node);
            if after == before {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "something wakes up: {before:?}, then {after:?}"
            );
        }
    })
    .await;
}

/// What a monitor may hold of its own at rest, in KB: the pages that a program of this kind writes to by being started,
/// and a few more.
const HELD: u64 = 68;

#[tokio::test]
async fn a_monitor_gives_back_what_its_work_took() {
    node_with(Options::default(), async |node| {
        let (_, _, id) = node.idle("worker").await;
        node.sh(&id, "yes | head -c 3000000 >/proc/1/fd/1").await;
        let everything = node.exec(&id, &["env"]).await;
        assert!(!everything.contains("TUNABLES"), "{everything}");
        let [monitor] = node.monitors()[..] else {
            panic!("{:?}", node.monitors());
        };
        let what = format!("no more than {HELD} KB are held");
        until(&what, async || {
            monitor.memory("Private_Dirty").unwrap() <= HELD
        })
        .await;
    })
    .await;
}

/// How often each thread of the daemon and of its monitors has been given a processor, by names of both.
fn switches(node: &Node) -> BTreeMap<String, u64> {
    let monitors = node.monitors().into_iter().map(|monitor| monitor.0);
    let mut counted = BTreeMap::new();
    for pid in monitors.chain([node.pid()]) {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let number = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
            let sum = status
                .lines()
                .filter(|line| line.contains("ctxt_switches:"))
                .filter_map(number);
            let name = status.lines().next().unwrap_or_default();
            let name = name.trim_start_matches("Name:").trim();
            counted.insert(format!("{name} {}", task.path().display()), sum.sum());
        }
    }
    counted
}
