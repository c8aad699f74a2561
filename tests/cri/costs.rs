//! What a pod costs, in things that do not depend on how fast the machine is: programs started, processes made,
//! files synced, bytes written, system calls of the daemon, moves between cgroups that the whole machine waits for.
//!
//! The bounds are what is measured now, with little room: whoever makes a pod dearer has to say so here.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
};

use corten::cri::api::PodSandboxConfig;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Node, Options, container, node_with, pod, pod_net, until};

/// Pods whose cost is counted; figures are of one of them.
const PODS: u64 = 4;

/// Most system calls of the monitor, the embedded runtime and the container itself, of which a debug build's runtime has
/// some hundred more than another.
const OTHERS: u64 = 1_900;

/// What one pod's life costs: made, a container created and started, both stopped and removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Costs {
    /// Programs started, by name.
    programs: BTreeMap<String, u64>,
    /// Files and file systems synced by the daemon.
    syncs: u64,
    /// Bytes written by the daemon to whatever.
    written: u64,
    /// System calls of the daemon.
    calls: u64,
    /// Those of all that it starts.
    others: u64,
    /// Processes that were moved to another cgroup, or moved themselves, with all their threads.
    moves: u64,
}

#[tokio::test]
async fn a_pod_on_the_hosts_network_costs_what_it_did() {
    node_with(runtime("corten"), async |node| {
        let costs = costs(node, pod).await;
        assert_eq!(costs.programs.get("corten-conmon"), Some(&1), "{costs:?}");
        assert_eq!(costs.programs.get("sleep"), Some(&1), "{costs:?}");
        // The third is the runtime's create.
        within(&costs, 3, 6, 32 << 10, 1_000);
        // Nobody has to wait for the kernel to be sure of threads that there are none of.
        assert_eq!(costs.moves, 0, "{costs:?}");
        assert!(costs.others <= OTHERS, "{costs:?}");
    })
    .await;
}

#[tokio::test]
async fn a_pod_with_a_network_costs_what_it_did() {
    node_with(runtime("corten"), async |node| {
        let costs = costs(node, pod_net).await;
        // No more programs than without: where the kernel can masquerade, the network takes none.
        within(&costs, 3, 8, 40 << 10, 1_150);
        assert_eq!(costs.moves, 0, "{costs:?}");
    })
    .await;
}

#[tokio::test]
async fn a_pod_of_runc_costs_what_it_did() {
    node_with(runtime("runc"), async |node| {
        let costs = costs(node, pod).await;
        // The runtime's create, its init, start and delete.
        within(&costs, 6, 6, 32 << 10, 900);
    })
    .await;
}

fn runtime(name: &str) -> Options {
    Options {
        args: vec![format!("--default-runtime={name}")],
        ..Options::default()
    }
}

#[track_caller]
fn within(costs: &Costs, programs: u64, syncs: u64, written: u64, calls: u64) {
    println!("{costs:?}");
    assert!(
        costs.programs.values().sum::<u64>() <= programs,
        "{costs:?}"
    );
    assert!(costs.syncs <= syncs, "{costs:?}");
    assert!(costs.written <= written, "{costs:?}");
    assert!(costs.calls <= calls, "{costs:?}");
    // Nothing at all would mean that nothing was looked at.
    assert!(costs.calls > 50 && costs.written > 0, "{costs:?}");
}

async fn costs(node: &Node, config: impl Fn(&str) -> PodSandboxConfig) -> Costs {
    // The first pays for what is made once.
    live(node, &config("first")).await;
    let file = node.scratch.join("trace");
    let mut tracer = trace(node, &file).await;
    for n in 0..PODS {
        live(node, &config(&format!("counted-{n}"))).await;
    }
    kill(Pid::from_raw(tracer.id() as i32), Signal::SIGTERM).unwrap();
    tracer.wait().unwrap();
    let text = std::fs::read(&file).unwrap();
    count(&String::from_utf8_lossy(&text), &tasks(node))
}

async fn live(node: &Node, config: &PodSandboxConfig) {
    let pod = node.pod(config).await;
    let id = node
        .launch(&pod, config, &container("main", &["sleep", "1000000"]))
        .await;
    node.stop_container(&id, 0).await.unwrap();
    node.remove_container(&id).await.unwrap();
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
}

/// Has strace write down what the daemon and all that it starts ask of the kernel.
async fn trace(node: &Node, file: &Path) -> Child {
    let child = Command::new("strace")
        .args(["-f", "-qq", "--signal=none", "--string-limit=200", "-o"])
        .arg(file)
        .arg("-p")
        .arg(node.pid().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the daemon is traced", async || {
        tasks(node).iter().all(|task| {
            let status = std::fs::read_to_string(format!("/proc/{task}/status"));
            status.is_ok_and(|text| text.contains(&format!("TracerPid:\t{}\n", child.id())))
        })
    })
    .await;
    child
}

/// The daemon's threads.
fn tasks(node: &Node) -> Vec<u32> {
    std::fs::read_dir(format!("/proc/{}/task", node.pid()))
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}

/// Reads what strace wrote: `PID CALL(ARGUMENTS) = RESULT`, or in two lines where another call came between.
fn count(text: &str, daemon: &[u32]) -> Costs {
    let mut sum = Costs::default();
    for line in text.lines() {
        let Some((pid, call)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let call = call.trim_start();
        if let Some(words) = call.strip_prefix("execve(\"") {
            // Tried in one directory after another; only one of them is there.
            if !call.contains(" = -1 ") {
                let path = words.split('"').next().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                *sum.programs.entry(name.to_owned()).or_default() += 1;
            }
        }
        let moves = call.contains("/cgroup.procs\"") && call.contains("O_WRONLY");
        sum.moves += u64::from(moves && call.starts_with("openat"));
        let of_daemon = pid.parse().is_ok_and(|pid| daemon.contains(&pid));
        let ended = call.starts_with("+++");
        sum.others += u64::from(!of_daemon && !ended && !call.starts_with("<... "));
        if !of_daemon || ended {
            continue;
        }
        let (resumed, name) = match call.strip_prefix("<... ") {
            Some(rest) => (true, rest.split(' ').next().unwrap_or_default()),
            None => (false, call.split('(').next().unwrap_or_default()),
        };
        if !resumed {
            sum.calls += 1;
            let syncs = ["fsync", "fdatasync", "syncfs", "sync_file_range", "sync"];
            sum.syncs += u64::from(syncs.contains(&name));
        }
        if matches!(name, "write" | "pwrite64" | "writev" | "sendto" | "sendmsg") {
            let result = call.rsplit(" = ").next().unwrap_or_default();
            sum.written += result.trim().parse::<u64>().unwrap_or(0);
        }
    }
    Costs {
        programs: sum
            .programs
            .into_iter()
            .map(|(name, n)| (name, n.div_ceil(PODS)))
            .collect(),
        syncs: sum.syncs.div_ceil(PODS),
        written: sum.written.div_ceil(PODS),
        calls: sum.calls.div_ceil(PODS),
        others: sum.others.div_ceil(PODS),
        moves: sum.moves.div_ceil(PODS),
    }
}

#[test]
fn what_strace_writes_is_counted() {
    let text = "7 execve(\"/usr/sbin/runc\", [\"runc\"], 0x1 /* 2 vars */) = 0\n\
         7 execve(\"/bin/runc\", [\"runc\"], 0x1 /* 2 vars */) = -1 ENOENT (No such file or directory)\n\
         5 write(3, \"a = 9\", 5 <unfinished ...>\n\
         6 fsync(4)                          = 0\n\
         5 <... write resumed>)              = 5\n\
         9 fsync(4)                          = 0\n\
         8 openat(AT_FDCWD, \"/sys/fs/cgroup/cpu/a/cgroup.procs\", O_WRONLY|O_CLOEXEC) = 4\n\
         8 openat(AT_FDCWD, \"/sys/fs/cgroup/cpu/a/cgroup.procs\", O_RDONLY|O_CLOEXEC) = 4\n\
         6 sendmsg(8, {msg_name=NULL}, MSG_NOSIGNAL) = 40\n\
         6 +++ exited with 0 +++\n";
    let costs = count(text, &[5, 6]);
    assert_eq!(costs.programs, BTreeMap::from([("runc".into(), 1)]));
    assert_eq!((costs.syncs, costs.moves), (1, 1));
    assert_eq!((costs.written, costs.calls), (45u64.div_ceil(PODS), 1));
    assert_eq!(costs.others, 5u64.div_ceil(PODS));
}
