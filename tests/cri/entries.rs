//! A command that a container's monitor runs is as one that the runtime runs, file by file of `/proc`.

use std::path::PathBuf;

use corten::{
    cri::api::{
        Capability, ContainerConfig, IdMapping, Int64Value, LinuxContainerResources, Mount,
        NamespaceMode, PodSandboxConfig, UserNamespace, security_profile::ProfileType,
    },
    oci::{
        capability::CapSet,
        seccomp::{Target, runtime_default},
    },
};
use serde_json::json;

use crate::support::{
    Node, Options, Scratch, Socket, Streams, container, linux, namespaces, node_with, pod, pod_net,
    profile, runtime_behind, security, until,
};

const V5: &str = "v5.channel.k8s.io";
const STDOUT: usize = 1;

/// Says of itself all that a process can see in `/proc`, but for what differs from process to process. Most of it the
/// programs say that it runs: a shell is not the same all the time.
const LOOK: &str = r#"
for file in limits cgroup mountinfo oom_score_adj uid_map gid_map setgroups coredump_filter \
    loginuid sessionid timerslack_ns personality cpuset attr/current environ; do
    echo "== $file"; cat /proc/self/$file 2>&1 | tr '\0' '\n'
done
echo "== status"
grep -vE '^(Name|Pid|Tgid|Ngid|PPid|TracerPid|NS.*|Vm.*|Rss.*|Hugetlb.*|voluntary.*|nonvol.*|Threads|FDSize|State|SigQ|x86_.*|Cpus.*|Mems.*|CoreDumping|THP.*|untag.*)[:_]' /proc/self/status
echo "== session"; set -- $(sed 's/.*) //' /proc/$$/stat)
[ "$3" = $$ ] && echo leads its group; [ "$4" = $$ ] && echo leads its session
[ "$5" = 0 ] && echo no terminal
echo "== scheduling"; shift 15; echo "$1 $2"
echo "== files"; ls /proc/self/fd
for fd in 0 1 2; do
    file=$(readlink /proc/self/fd/$fd); echo "$file" | sed 's/[0-9]*//g'; grep flags /proc/self/fdinfo/$fd |
        # A terminal that is opened by its master has no O_LARGEFILE; it means nothing with 64 bits.
        sed 's/\t0100002$/\t02/'
    # That is the machine's, which some runtimes give to the container's user.
    [ "$file" = /dev/null ] || stat -L -c '%A %u %g' /proc/self/fd/$fd
done
echo "== place"; umask; id
for name in cwd root ns/cgroup ns/ipc ns/mnt ns/net ns/pid ns/pid_for_children ns/time ns/uts ns/user; do
    readlink /proc/self/$name
done
"#;

/// What each call gets that a program makes with arguments that mean nothing: whether the filter lets it through.
pub(super) const CALLS: &str = r#"
$| = 1;
for my $n (0 .. 470) {
    # These end, stop or double whoever makes them, or take their time.
    next if grep { $_ == $n } 15, 34, 56, 57, 58, 60, 130, 162, 219, 231, 435;
    my $pid = fork();
    if (!$pid) {
        my $r = syscall($n, -1, -1, -1, -1, -1, -1);
        exit($r == -1 && ($! == 1 || $! == 38) ? $!+0 : 0);
    }
    waitpid($pid, 0);
    print "$n:$? ";
}
print "\n";
for my $flags (0x10000000, 0x20000, 0x2000000, 0x8000000, 0x40000000, 17) {
    my $pid = fork();
    if (!$pid) { my $r = syscall(272, $flags); exit($r == -1 ? $!+0 : 0); }
    waitpid($pid, 0);
    print "unshare $flags: $?\n";
}
# With a signal for the end, without a stack: as fork does it, in new namespaces.
for my $flags (0, 0x10000000, 0x10020000, 0x50000000, 0x20000, 0x2000000) {
    my $pid = fork();
    if (!$pid) {
        my $r = syscall(56, $flags | 17, 0, 0, 0, 0);
        exit(0) if $r == 0;
        exit($!+0) if $r == -1;
        waitpid($r, 0);
        exit(0);
    }
    waitpid($pid, 0);
    print "clone $flags: $?\n";
}
for my $persona (0, 8, 0x20000, 0x20008, 0xffffffff, 5) {
    my $pid = fork();
    if (!$pid) { my $r = syscall(135, $persona); exit($r == -1 ? $!+0 : 0); }
    waitpid($pid, 0);
    print "personality $persona: $?\n";
}
"#;

/// A runtime that counts its execs, and is the usual one.
struct Counted {
    scratch: Scratch,
    program: PathBuf,
}

impl Counted {
    fn new() -> Self {
        let scratch = Scratch::new();
        let does = format!(
            "for word; do [ \"$word\" != exec ] || echo >>{}/execs; done",
            scratch.path().display(),
        );
        let program = runtime_behind(&scratch, "counted", &does);
        Self { scratch, program }
    }

    fn options(&self) -> Options {
        Options {
            args: vec![
                "--default-runtime=counted".into(),
                format!("--runtime=counted={}", self.program.display()),
            ],
            ..Options::default()
        }
    }

    fn execs(&self) -> usize {
        std::fs::read_to_string(self.scratch.join("execs"))
            .unwrap_or_default()
            .len()
    }
}

/// Has execs be run by the runtime from the next start on.
fn by_runtime(node: &Node) {
    node.scratch
        .file("config.toml", "[runtimes.counted]\nexec = \"runtime\"\n");
}

/// Mounts of this machine's programs.
pub(super) fn programs() -> Vec<Mount> {
    let here = [
        ("/usr", "/usr"),
        ("/usr/lib", "/lib"),
        ("/usr/lib64", "/lib64"),
    ];
    here.into_iter()
        .map(|(host, inside)| Mount {
            host_path: host.into(),
            container_path: inside.into(),
            readonly: true,
            ..Mount::default()
        })
        .collect()
}

/// What a test container is.
struct Case {
    name: &'static str,
    pod: PodSandboxConfig,
    main: ContainerConfig,
    looks: Vec<Vec<String>>,
}

impl Case {
    fn new(name: &'static str) -> Self {
        let words = ["sh", "-c", LOOK];
        Self {
            name,
            pod: pod(name),
            main: container("main", &["sleep", "1000000"]),
            looks: vec![words.map(str::to_owned).to_vec()],
        }
    }

    /// Looks at the filter too, with a program of this machine's.
    fn filtered(mut self) -> Self {
        self.main.mounts = programs();
        let words = ["/usr/bin/perl", "-e", CALLS];
        self.looks.push(words.map(str::to_owned).to_vec());
        self
    }
}

/// Containers of every kind.
fn kinds() -> Vec<Case> {
    let plain = Case::new("plain");

    let mut able = Case::new("able");
    security(&mut able.main).capabilities = Some(Capability {
        add_capabilities: vec!["NET_ADMIN".into(), "SYS_PTRACE".into()],
        drop_capabilities: vec!["CHOWN".into()],
        add_ambient_capabilities: vec!["NET_ADMIN".into()],
    });
    security(&mut able.main).run_as_user = Some(Int64Value { value: 7 });
    linux(&mut able.main).resources = Some(LinuxContainerResources {
        oom_score_adj: 777,
        memory_limit_in_bytes: 256 << 20,
        ..LinuxContainerResources::default()
    });

    let mut privileged = Case::new("privileged");
    security(&mut privileged.main).privileged = true;
    let pod_security = privileged.pod.linux.get_or_insert_default();
    pod_security
        .security_context
        .get_or_insert_default()
        .privileged = true;

    let mut host = Case::new("host");
    let spaces = namespaces(&mut host.pod);
    spaces.network = NamespaceMode::Node as i32;
    spaces.pid = NamespaceMode::Node as i32;
    spaces.ipc = NamespaceMode::Node as i32;
    let spaces = spaces.clone();
    security(&mut host.main).namespace_options = Some(spaces);

    let mut mapped = Case::new("mapped");
    mapped.pod = pod_net("mapped");
    let map = vec![IdMapping {
        host_id: 300_000,
        container_id: 0,
        length: 65_536,
    }];
    namespaces(&mut mapped.pod).userns_options = Some(UserNamespace {
        mode: NamespaceMode::Pod as i32,
        uids: map.clone(),
        gids: map,
    });
    security(&mut mapped.main).run_as_user = Some(Int64Value { value: 1000 });

    vec![plain, able, privileged, host, mapped]
}

/// Containers with filters.
fn filters(node: &Node) -> Vec<Case> {
    let mut filtered = Case::new("filtered").filtered();
    security(&mut filtered.main).seccomp = profile(ProfileType::RuntimeDefault, "");

    let mut bound = Case::new("bound").filtered();
    security(&mut bound.main).seccomp = profile(ProfileType::RuntimeDefault, "");
    security(&mut bound.main).no_new_privs = true;
    security(&mut bound.main).run_as_user = Some(Int64Value { value: 1000 });
    security(&mut bound.main).run_as_group = Some(Int64Value { value: 1001 });
    security(&mut bound.main).supplemental_groups = vec![5, 6, 7];
    bound.main.working_dir = "/usr".into();

    // What the default filter allows, where everything else is refused without more ado.
    let allowed = runtime_default(&Target {
        capabilities: CapSet::defaults(),
        kernel: (6, 1),
    });
    let rules = allowed.syscalls().as_ref().unwrap();
    let refusing = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": rules[0].names(), "action": "SCMP_ACT_ALLOW"},
                     {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                         {"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}],
    });
    let file = node.scratch.file("refusing.json", refusing.to_string());
    let mut refused = Case::new("refused").filtered();
    security(&mut refused.main).seccomp = profile(ProfileType::Localhost, file.to_str().unwrap());

    vec![filtered, bound, refused]
}

/// What the looks of a container find.
async fn look(node: &Node, id: &str, looks: &[Vec<String>]) -> Vec<String> {
    let mut seen = Vec::new();
    for words in looks {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = node.try_exec(id, &words, 0).await.unwrap();
        seen.push(String::from_utf8_lossy(&done.stdout).into_owned());
        seen.push(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    seen
}

/// What a process on a terminal finds.
async fn look_on_terminal(node: &Node, id: &str) -> String {
    let streams = Streams {
        stdin: true,
        tty: true,
        ..Streams::default()
    };
    let url = node.exec_url(id, &["sh", "-c", LOOK], streams).await;
    let mut socket = Socket::open(&url, V5).await;
    socket.until(STDOUT, "== place").await;
    socket.finish().await;
    assert_eq!(socket.exit_code(), 0);
    socket.text(STDOUT)
}

#[tokio::test]
async fn a_command_of_the_monitors_is_as_one_of_the_runtimes() {
    compare(|_| kinds()).await;
}

#[tokio::test]
async fn a_command_of_the_monitors_has_the_filter_of_one_of_the_runtimes() {
    compare(filters).await;
}

/// Compares what processes find that the monitor runs with what those find that the runtime runs.
async fn compare(cases: impl Fn(&Node) -> Vec<Case>) {
    let counted = Counted::new();
    node_with(counted.options(), async |node| {
        let mut made = Vec::new();
        for case in cases(node) {
            let pod = node.pod(&case.pod).await;
            let id = node.launch(&pod, &case.pod, &case.main).await;
            let seen = look(node, &id, &case.looks).await;
            let terminal = look_on_terminal(node, &id).await;
            made.push((case, id, seen, terminal));
        }
        assert_eq!(counted.execs(), 0, "the runtime was called");
        node.kill();
        by_runtime(node);
        node.start().await;
        let mut found = Vec::new();
        for (case, id, seen, terminal) in &made {
            let by_runtime = look(node, id, &case.looks).await;
            for (own, its) in seen.iter().zip(&by_runtime) {
                found.extend(differences(case.name, own, its));
            }
            let its = look_on_terminal(node, id).await;
            found.extend(differences(case.name, terminal, &its));
        }
        assert!(found.is_empty(), "{found:#?}");
        assert!(counted.execs() >= 2 * made.len());
    })
    .await;
}

/// Where two looks differ, line by line.
fn differences(case: &str, own: &str, its: &str) -> Vec<String> {
    let (own, its): (Vec<_>, Vec<_>) = (own.lines().collect(), its.lines().collect());
    let longer = own.len().max(its.len());
    let line = |all: &[&str], at: usize| all.get(at).map(|line| (*line).to_owned());
    (0..longer)
        .filter(|at| line(&own, *at) != line(&its, *at))
        .map(|at| format!("{case}: {:?}, not {:?}", line(&own, at), line(&its, at)))
        .collect()
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_refused_alike() {
    let counted = Counted::new();
    node_with(counted.options(), async |node| {
        let config = pod("refusals");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.working_dir = "/work".into();
        let id = node.launch(&pod, &config, &main).await;
        let script = "printf data >/plain; printf data >/bin/garbage; chmod 755 /bin/garbage; \
                      printf '#!/no/such/shell\\n' >/bin/orphan; chmod 755 /bin/orphan; \
                      printf data >/bin/data; mkdir /bin/dir";
        node.sh(&id, script).await;
        let commands = [
            "no-such-command",
            "/no/such/command",
            "/plain",
            "/tmp",
            "garbage",
            "/bin/garbage",
            "/bin/orphan",
            "orphan",
            "data",
            "dir",
            "/bin/sleep/x",
        ];
        let refuse = async || {
            let mut told = Vec::new();
            for command in commands {
                // What runtimes find out too late to refuse it they write to where the program would write.
                let words = match node.try_exec(&id, &[command], 0).await {
                    Err(error) => error.message().to_owned(),
                    Ok(done) => String::from_utf8(done.stderr).unwrap(),
                };
                let words = words.split("container process: ").last().unwrap();
                told.push((command, words.trim().to_owned()));
            }
            node.sh(&id, "cd / && rmdir /work").await;
            let error = node.try_exec(&id, &["true"], 0).await.unwrap_err();
            told.push(("no directory", format!("{:?}", error.code())));
            assert!(error.message().contains("/work"), "{error}");
            std::fs::create_dir(format!("/proc/{}/root/work", node.init_pid(&id).await)).unwrap();
            told
        };
        let own = refuse().await;
        assert_eq!(counted.execs(), 0);
        node.kill();
        by_runtime(node);
        node.start().await;
        assert_eq!(own, refuse().await);
    })
    .await;
}

#[tokio::test]
async fn what_is_too_long_for_a_message_is_left_to_the_runtime() {
    let counted = Counted::new();
    node_with(counted.options(), async |node| {
        let (_, _, id) = node.idle("long").await;
        let long = "x".repeat(100_000);
        let words = ["sh", "-c", "echo ${#1}", "sh", &long];
        assert_eq!(node.exec(&id, &words).await, "100000");
        assert_eq!(counted.execs(), 1);
        assert_eq!(node.exec(&id, &["echo", "short"]).await, "short");
        assert_eq!(counted.execs(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_container_cannot_look_into_a_command_on_its_way() {
    let counted = Counted::new();
    node_with(counted.options(), async |node| {
        let (_, _, id) = node.idle("curious").await;
        let init = node.init_pid(&id).await;
        // Whatever of a process can be seen that it has open. Only `ls` comes of this shell meanwhile: what else it
        // started would have more open while it began than the commands below ever have, which is their streams.
        let watch = "exec >/all 2>/dev/null; : >/watching; while [ ! -e /enough ]; do \
                     for p in /proc/[0-9]*; do \
                     [ $p = /proc/$$ ] || [ $p = /proc/1 ] || ls -l $p/fd/ $p/cwd $p/exe; done; done";
        let words = ["sh", "-c", watch];
        let watching = node.try_exec(&id, &words, 0);
        let running = async {
            let inside = |name: &str| PathBuf::from(format!("/proc/{init}/root/{name}"));
            until("it watches", async || inside("watching").exists()).await;
            // Some hundred looks.
            while inside("all").metadata().unwrap().len() < 100_000 {
                node.try_exec(&id, &["true"], 0).await.unwrap();
            }
            std::fs::write(inside("enough"), "").unwrap();
        };
        let (watched, ()) = tokio::join!(watching, running);
        watched.unwrap();
        // But for the directory that `ls` itself looks into.
        let seen = "grep -E 'socket:|anon_inode|conmon|/dev/ptmx| ([3-9]|[0-9][0-9]) ->' /all |
                    grep -vE ' 3 -> /proc/[0-9]+/fd$' || true";
        let seen = node.sh(&id, seen).await;
        assert_eq!(seen, "");
        assert_eq!(counted.execs(), 0);
    })
    .await;
}
