//! The embedded runtime and runc give processes the same: what a container's first process and a command in it see of
//! themselves is compared, file by file.

use corten::cri::api::{
    Capability, ContainerConfig, Device, IdMapping, Int64Value, LinuxContainerResources, Mount,
    MountPropagation, NamespaceMode, PodSandboxConfig, UserNamespace,
    security_profile::ProfileType,
};
use std::path::Path;

use super::entries::{CALLS, programs};
use crate::support::{
    Mounted, Node, args, container, linux, namespaces, node, pod, pod_net, profile, security,
    shell, until_some,
};

/// What is looked at, each under a heading.
const FACTS: &str = r"
say() { echo; echo \# $1; }
say status; grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Seccomp_filters|Umask|SigBlk)' /proc/self/status; grep ^SigIgn /proc/self/status | tail -c 8
say limits; cat /proc/self/limits
say maps; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
say labels; cat /proc/self/attr/current 2>/dev/null
say oom; cat /proc/self/oom_score_adj
say cgroup; cat /proc/self/cgroup | sort
say environment; tr '\0' '\n' </proc/self/environ
say directory; pwd
say session; cut -d' ' -f5-7 /proc/1/stat
say descriptors; ls -l /proc/self/fd | grep -o '[0-9]* -> .*' | grep -v -e '-> /proc/'
say dev; ls -ln /dev | tr -s ' ' | cut -d' ' -f1-6,10-
say files; ls -lnd / /sys /dev /etc/hosts /etc/hostname /tmp /data 2>/dev/null | tr -s ' ' | cut -d' ' -f1-4,9-
say hostname; hostname
say mounts; cat /proc/self/mountinfo
say hidden; for f in /proc/keys /proc/timer_list; do grep -q . $f || echo $f; done; ls /proc/acpi /sys/firmware
say writable; for f in /proc/sys/kernel/hostname /sys/kernel/profiling /x /data/x /tmp/x; do (: >>$f) 2>/dev/null && echo $f; done
say controllers
cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
 pids/pids.max cpuset/cpuset.cpus memory.max cpu.weight cpu.max pids.max 2>/dev/null
sort devices/devices.list 2>/dev/null
say end
";

/// A pod and its container, and what tells the case from others.
struct Case {
    name: &'static str,
    pod: PodSandboxConfig,
    main: ContainerConfig,
}

/// The usual container in a pod on the host's network, changed.
fn case(
    name: &'static str,
    change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
) -> Case {
    let mut main = shell("main", &format!("{FACTS}\nexec sleep 1000000"));
    let mut pod = pod(&format!("alike-{name}"));
    change(&mut pod, &mut main);
    Case { name, pod, main }
}

fn capability(add: &[&str], drop: &[&str], ambient: &[&str]) -> Option<Capability> {
    Some(Capability {
        add_capabilities: args(add),
        drop_capabilities: args(drop),
        add_ambient_capabilities: args(ambient),
    })
}

fn volume(from: &Path, propagation: MountPropagation) -> Mount {
    Mount {
        host_path: from.to_str().unwrap().into(),
        container_path: "/data".into(),
        propagation: propagation as i32,
        ..Mount::default()
    }
}

/// Identity, capabilities and filters.
fn rights() -> Vec<Case> {
    vec![
        case("plain", |_, _| ()),
        case("confined", |_, main| {
            let paths = [
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/sys/firmware",
                "/nope",
            ];
            security(main).masked_paths = args(&paths);
            security(main).readonly_paths = args(&["/proc/sys", "/proc/bus", "/nope"]);
        }),
        case("user", |_, main| {
            let context = security(main);
            context.run_as_user = Some(Int64Value { value: 1000 });
            context.run_as_group = Some(Int64Value { value: 7 });
            context.supplemental_groups = vec![44, 1234];
        }),
        case("no-new-privs", |_, main| {
            security(main).no_new_privs = true;
            security(main).run_as_user = Some(Int64Value { value: 33 });
            security(main).seccomp = profile(ProfileType::RuntimeDefault, "");
        }),
        case("filtered", |_, main| {
            security(main).seccomp = profile(ProfileType::RuntimeDefault, "");
        }),
        case("unfiltered", |_, main| {
            security(main).seccomp = profile(ProfileType::Unconfined, "");
        }),
        case("privileged", |pod, main| {
            crate::support::pod_linux(pod)
                .security_context
                .get_or_insert_default()
                .privileged = true;
            security(main).privileged = true;
        }),
        case("capabilities", |_, main| {
            security(main).capabilities = capability(&["NET_ADMIN", "SYS_PTRACE"], &["CHOWN"], &[]);
        }),
        case("ambient", |_, main| {
            security(main).run_as_user = Some(Int64Value { value: 1000 });
            security(main).capabilities =
                capability(&["NET_BIND_SERVICE"], &["ALL"], &["NET_BIND_SERVICE"]);
        }),
        case("no-capabilities", |_, main| {
            security(main).capabilities = capability(&[], &["ALL"], &[]);
        }),
    ]
}

/// Namespaces of the pod.
fn spaces() -> Vec<Case> {
    let mapped = || {
        let map = vec![IdMapping {
            host_id: 300_000,
            container_id: 0,
            length: 65_536,
        }];
        UserNamespace {
            mode: NamespaceMode::Pod as i32,
            uids: map.clone(),
            gids: map,
        }
    };
    vec![
        case("host-pid", |pod, main| {
            namespaces(pod).pid = NamespaceMode::Node as i32;
            let options = security(main).namespace_options.get_or_insert_default();
            options.pid = NamespaceMode::Node as i32;
            options.network = NamespaceMode::Node as i32;
        }),
        case("pod-pid", |pod, main| {
            namespaces(pod).pid = NamespaceMode::Pod as i32;
            let options = security(main).namespace_options.get_or_insert_default();
            options.network = NamespaceMode::Node as i32;
        }),
        case("host-ipc", |pod, _| {
            namespaces(pod).ipc = NamespaceMode::Node as i32;
        }),
        case("network", |pod, _| *pod = pod_net("alike-network")),
        case("users", |pod, _| {
            *pod = pod_net("alike-users");
            namespaces(pod).userns_options = Some(mapped());
        }),
        case("users-other", |pod, main| {
            *pod = pod_net("alike-users-other");
            namespaces(pod).userns_options = Some(mapped());
            security(main).run_as_user = Some(Int64Value { value: 1000 });
        }),
    ]
}

/// Files, devices, limits and terminals.
fn things(node: &Node, shared: &Path) -> Vec<Case> {
    let data = |propagation, change: fn(&mut Mount)| {
        let mut mount = volume(shared, propagation);
        change(&mut mount);
        mount
    };
    let with = |name, mount: Mount| case(name, move |_, main| main.mounts = vec![mount]);
    vec![
        case("read-only-root", |_, main| {
            security(main).readonly_rootfs = true;
        }),
        with("volume", data(MountPropagation::PropagationPrivate, |_| ())),
        with(
            "read-only-volume",
            data(MountPropagation::PropagationPrivate, |m| m.readonly = true),
        ),
        with(
            "recursive-read-only",
            data(MountPropagation::PropagationPrivate, |m| {
                m.readonly = true;
                m.recursive_read_only = true;
            }),
        ),
        with(
            "from-the-host",
            data(MountPropagation::PropagationHostToContainer, |_| ()),
        ),
        case("both-ways", |pod, main| {
            crate::support::pod_linux(pod)
                .security_context
                .get_or_insert_default()
                .privileged = true;
            security(main).privileged = true;
            main.mounts = vec![data(MountPropagation::PropagationBidirectional, |_| ())];
        }),
        with("file", {
            let mut mount = volume(
                &node.scratch.file("single", "x"),
                MountPropagation::PropagationPrivate,
            );
            mount.container_path = "/data".into();
            mount
        }),
        case("device", |_, main| {
            main.devices = vec![Device {
                host_path: "/dev/fuse".into(),
                container_path: "/dev/renamed".into(),
                permissions: "rw".into(),
            }];
        }),
        case("unmasked", |_, main| {
            security(main).masked_paths = Vec::new();
            security(main).readonly_paths = vec!["/tmp".into()];
        }),
        case("limits", |_, main| {
            linux(main).resources = Some(LinuxContainerResources {
                memory_limit_in_bytes: 64 << 20,
                cpu_shares: 512,
                cpu_quota: 50_000,
                cpu_period: 100_000,
                cpuset_cpus: "0".into(),
                oom_score_adj: 500,
                ..LinuxContainerResources::default()
            });
        }),
        case("directory", |_, main| main.working_dir = "/new/deep".into()),
        case("terminal", |_, main| main.tty = true),
        case("terminal-user", |_, main| {
            main.tty = true;
            security(main).run_as_user = Some(Int64Value { value: 1000 });
        }),
    ]
}

/// What the first process and a command see under one runtime.
async fn seen(node: &Node, runtime: &str, case: &Case) -> String {
    let mut config = case.pod.clone();
    // Names are the same for both, so that what holds them is too.
    let _ = std::fs::remove_dir_all(node.completed(&config).log_directory);
    if let Some(metadata) = &mut config.metadata {
        metadata.attempt += u32::from(runtime != "runc");
    }
    let pod = node
        .try_pod_by(runtime, &config)
        .await
        .unwrap_or_else(|e| panic!("{runtime}, {}: {e}", case.name));
    let id = node.launch(&pod, &config, &case.main).await;
    let first = until_some("the container has told all", async || {
        let output = node.output(&config, &case.main);
        output.contains("# end").then_some(output)
    })
    .await;
    let command = node.sh(&id, FACTS).await;
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
    let spaces = |text: &str| plain(text, &[&id, &pod]);
    format!(
        "== first process\n{}\n== command\n{}",
        spaces(&first),
        spaces(&command)
    )
}

/// Without what is another each time: names, numbers of mounts and of objects.
fn plain(text: &str, names: &[&str]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut mounts = Vec::new();
    let mut in_mounts = false;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        if line.starts_with("# ") {
            in_mounts = line == "# mounts";
            mounts.sort();
            lines.append(&mut mounts);
        }
        let mut line = line.to_owned();
        for name in names {
            line = line.replace(name, "ID");
        }
        if in_mounts && !line.starts_with('#') {
            mounts.push(mount(&line));
        } else {
            lines.push(numberless(&line));
        }
    }
    lines.join("\n")
}

/// A line of mountinfo without its numbers: of each tag only the kind counts.
fn mount(line: &str) -> String {
    let words = line.split(' ').enumerate().filter(|(at, _)| *at > 2);
    let words = words.map(|(_, word)| match word.split_once(':') {
        Some((tag @ ("shared" | "master" | "propagate_from"), _)) => tag.to_owned(),
        _ => word.to_owned(),
    });
    let line = words.collect::<Vec<_>>().join(" ");
    // The attribute of the mount counts; libcontainer leaves the file system itself writable.
    let line = line.replace(" - sysfs sysfs ro", " - sysfs sysfs rw");
    // runc 1.1 leaves the directory of the hierarchies writable, whatever was asked for.
    let line = line.replace(" /sys/fs/cgroup rw,", " /sys/fs/cgroup ro,");
    // What is mounted below its parts is of no concern to a container that sees the host's, or to any other.
    let tags = line.split_once(" /sys/fs/cgroup/").is_some();
    let line = match tags {
        true => line
            .replace(" shared - ", " - ")
            .replace(" master - ", " - "),
        false => line,
    };
    // The upper directory's number in a name is another for each container.
    match line.split_once(" - overlay ") {
        Some((before, _)) => format!("{before} - overlay"),
        None => line,
    }
}

/// `pipe:[123]` and the like without the number.
fn numberless(line: &str) -> String {
    match line.split_once(":[") {
        Some((before, rest)) if rest.ends_with(']') => format!("{before}:[]"),
        _ => line.to_owned(),
    }
}

async fn compare(node: &Node, cases: Vec<Case>) {
    let mut differences = Vec::new();
    for case in cases {
        let theirs = seen(node, "runc", &case).await;
        let ours = seen(node, "corten", &case).await;
        assert!(ours.contains("# controllers"), "{ours}");
        let (a, b): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
        for line in &a {
            if !b.contains(line) {
                differences.push(format!("{}: - {line}", case.name));
            }
        }
        for line in &b {
            if !a.contains(line) {
                differences.push(format!("{}: + {line}", case.name));
            }
        }
        if a != b && a.len() == b.len() && differences.is_empty() {
            differences.push(format!("{}: another order\n{theirs}\n{ours}", case.name));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn rights_are_the_same_under_both_runtimes() {
    node(async |node| compare(node, rights()).await).await;
}

#[tokio::test]
async fn namespaces_are_the_same_under_both_runtimes() {
    node(async |node| compare(node, spaces()).await).await;
}

#[tokio::test]
async fn files_and_limits_are_the_same_under_both_runtimes() {
    node(async |node| {
        let shared = node.scratch.dir("shared");
        let _shared = Mounted::shared(&shared).await;
        let below = shared.join("below");
        std::fs::create_dir(&below).unwrap();
        let tmpfs = ["-t", "tmpfs", "below"];
        let _below = Mounted::new(&tmpfs, &below).await;
        let cases = things(node, &shared);
        compare(node, cases).await;
    })
    .await;
}

#[tokio::test]
async fn system_calls_are_answered_alike_under_both_runtimes() {
    node(async |node| {
        let mut answers = Vec::new();
        for runtime in ["runc", "corten"] {
            let mut main = container("main", &["/usr/bin/perl", "-e", CALLS]);
            main.mounts = programs();
            security(&mut main).seccomp = profile(ProfileType::RuntimeDefault, "");
            let config = pod(&format!("calls-{runtime}"));
            let pod = node.try_pod_by(runtime, &config).await.unwrap();
            let id = node.launch(&pod, &config, &main).await;
            let status = node.exit(&id).await;
            let output = node.output(&config, &main);
            assert_eq!(status.exit_code, 0, "{runtime}: {status:?}\n{output}");
            assert!(output.contains("personality 5:"), "{runtime}: {output}");
            answers.push(output);
            node.remove_pod(&pod).await.unwrap();
        }
        let by_word: Vec<Vec<&str>> = answers.iter().map(|a| a.split(' ').collect()).collect();
        let differences: Vec<_> = by_word[0]
            .iter()
            .zip(&by_word[1])
            .filter(|(runc, ours)| runc != ours)
            .collect();
        assert!(differences.is_empty(), "{differences:?}");
        assert_eq!(by_word[0].len(), by_word[1].len());
    })
    .await;
}
