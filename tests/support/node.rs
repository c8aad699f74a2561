//! A daemon under test, on directories, cgroups, a bridge and a subnet of its own.

use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use corten::cri::api::{
    self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use futures_util::FutureExt;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::{
    Done, Image, Leftovers, Process, Scratch, busybox, cgroup_directories, command, config::IMAGE,
    patience, process, processes_naming, run, until, until_some,
};

/// What differs from the usual daemon.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Further arguments of `corten serve`.
    pub(crate) args: Vec<String>,
    /// `registries.conf`, where one is wanted.
    pub(crate) registries: String,
    /// Directory for its root, in place of one in the scratch directory.
    pub(crate) root: Option<PathBuf>,
    /// No network is configured.
    pub(crate) no_network: bool,
    /// No image is loaded.
    pub(crate) no_image: bool,
    /// Plugins that its network has besides the bridge, and that are never done natively.
    pub(crate) more_plugins: &'static [&'static str],
    /// Directory of its network plugins, in place of the node's.
    pub(crate) plugins: Option<PathBuf>,
    /// Its monitor, in place of the usual one.
    pub(crate) monitor: Option<PathBuf>,
    /// A file that whoever starts the daemon has left open, as descriptor 9.
    pub(crate) left_open: Option<PathBuf>,
    /// What it leaves is the test's own concern.
    pub(crate) leftovers_allowed: bool,
    /// Its steps can be traced, and it can be killed at any of them.
    pub(crate) steps: bool,
}

/// What differs from the usual daemon from the next start on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    /// The daemon's program.
    pub(crate) corten: Option<PathBuf>,
    /// The monitor's.
    pub(crate) conmon: Option<PathBuf>,
    /// The boot of the machine that the daemon takes this to be.
    pub(crate) boot: Option<String>,
}

/// A running daemon.
pub(crate) struct Node {
    pub(crate) scratch: Scratch,
    options: Options,
    programs: Mutex<Programs>,
    child: Mutex<Option<Child>>,
    channel: Channel,
    pub(super) ids: Mutex<BTreeSet<String>>,
    subnet: (u8, u8),
}

/// Runs a test against a usual daemon, and checks what it leaves.
pub(crate) async fn node(body: impl AsyncFnOnce(&Node)) {
    node_with(Options::default(), body).await;
}

/// Runs a test against a daemon, and checks what it leaves.
pub(crate) async fn node_with(options: Options, body: impl AsyncFnOnce(&Node)) {
    let node = Node::prepare(options);
    let work = AssertUnwindSafe(async {
        node.start().await;
        if !node.options.no_image {
            node.load(&busybox(), IMAGE).await;
        }
        body(&node).await;
        node.finish().await;
    });
    if let Err(panic) = work.catch_unwind().await {
        eprintln!("--- the daemon's last words\n{}---", node.last_words());
        drop(node);
        std::panic::resume_unwind(panic);
    }
}

impl Node {
    fn prepare(options: Options) -> Self {
        let scratch = Scratch::new();
        for dir in ["cni", "logs", "config.d", "steps"] {
            scratch.dir(dir);
        }
        let socket = scratch.join("corten.sock");
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }),
        );
        let node = Self {
            subnet: free_subnet(),
            scratch,
            options,
            programs: Mutex::default(),
            child: Mutex::default(),
            channel,
            ids: Mutex::default(),
        };
        node.scratch
            .file("registries.conf", &node.options.registries);
        node.scratch.file("config.toml", "");
        if !node.options.no_network {
            node.configure_network();
        }
        node
    }

    /// Writes the usual network configuration.
    pub(crate) fn configure_network(&self) {
        self.configure_network_by("bridge");
    }

    /// The same with another plugin in place of the bridge's.
    pub(crate) fn configure_network_by(&self, plugin: &str) {
        let (a, b) = self.subnet;
        let mut list = serde_json::json!({
            "cniVersion": "1.0.0", "name": self.network_name(), "plugins": [{
                "type": plugin, "bridge": self.bridge(), "isGateway": true, "ipMasq": true,
                "hairpinMode": true, "ipam": {
                    "type": "host-local", "dataDir": self.scratch.join("ipam"),
                    "ranges": [[{"subnet": format!("10.{a}.{b}.0/24")}],
                               [{"subnet": format!("fd00:{a:x}:{b:x}::/64")}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]});
        let plugins = list["plugins"].as_array_mut().unwrap();
        let more = self.options.more_plugins.iter();
        plugins.extend(more.map(|kind| serde_json::json!({"type": kind})));
        self.write_network("10-tests.conflist", &list);
    }

    /// Puts a file into the directory of network configurations, whole at once.
    pub(crate) fn write_network(&self, name: &str, list: &serde_json::Value) {
        let staged = self.scratch.file("staged.conflist", list.to_string());
        std::fs::rename(staged, self.scratch.join("cni").join(name)).unwrap();
    }

    /// The networks of its pods, one of each family.
    pub(crate) fn pod_cidrs(&self) -> [String; 2] {
        let (a, b) = self.subnet;
        [format!("10.{a}.{b}.0/24"), format!("fd00:{a:x}:{b:x}::/64")]
    }

    pub(crate) fn bridge(&self) -> String {
        format!("ct{}", self.scratch.token())
    }

    pub(crate) fn network_name(&self) -> String {
        format!("corten-test-{}", self.scratch.token())
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("/corten-test-{}", self.scratch.token())
    }

    fn monitor_cgroup(&self) -> String {
        format!("/corten-test-{}-mon", self.scratch.token())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.options
            .root
            .clone()
            .unwrap_or_else(|| self.scratch.join("root"))
    }

    pub(crate) fn runroot(&self) -> PathBuf {
        self.scratch.join("run")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("corten.sock")
    }

    /// Has the next start differ.
    pub(crate) fn set_programs(&self, programs: Programs) {
        *self.programs.lock().unwrap() = programs;
    }

    /// The command line of the daemon.
    pub(crate) fn serve_command(&self) -> Command {
        let programs = self.programs.lock().unwrap().clone();
        let mut command = match &programs.corten {
            Some(program) => without_ours(Command::new(program)),
            None => corten(),
        };
        command.arg("serve");
        let path = |name: &str| self.scratch.join(name).into_os_string();
        let root = self.root().into_os_string();
        let monitor = programs.conmon.or_else(|| self.options.monitor.clone());
        let monitor = monitor.unwrap_or_else(monitor_program);
        let plugins = self.options.plugins.clone();
        let plugins = plugins.unwrap_or_else(|| "/usr/lib/cni".into());
        for (flag, value) in [
            ("--config", path("config.toml")),
            ("--config-dir", path("config.d")),
            ("--listen", path("corten.sock")),
            ("--root", root),
            ("--runroot", path("run")),
            ("--log-dir", path("run-logs")),
            ("--cni-conf-dir", path("cni")),
            ("--cni-plugin-dir", plugins.into_os_string()),
            ("--registries-conf", path("registries.conf")),
            ("--cgroup-parent", self.cgroup().into()),
            ("--monitor-cgroup", self.monitor_cgroup().into()),
            ("--conmon", monitor.into_os_string()),
            ("--log-level", "info,corten=debug".into()),
        ] {
            command.arg(flag).arg(value);
        }
        // Another runtime than usual, where this machine calls for it and the test does not choose.
        let chosen = |arg: &String| arg.starts_with("--default-runtime");
        if let Ok(name) = std::env::var("CORTEN_TEST_RUNTIME")
            && !self.options.args.iter().any(chosen)
        {
            command.args(["--default-runtime", &name, "--runtime", &name]);
        }
        command.args(&self.options.args);
        match programs.boot {
            Some(boot) => self.in_boot(&boot, &command),
            None => command,
        }
    }

    /// The same command where the kernel seems to say that this is another boot: the file that says which lies under
    /// another one, for this command alone. All other mounts stay shared.
    fn in_boot(&self, boot: &str, command: &Command) -> Command {
        let file = self.scratch.file("boot-id", format!("{boot}\n"));
        let mut changed = Command::new("unshare");
        changed
            .args(["--mount", "--propagation", "unchanged", "/bin/sh", "-c"])
            .arg(
                r#"mount --make-private /proc &&
                   mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#,
            )
            .arg(file);
        run_by(changed, command)
    }

    /// Starts the daemon and waits until it answers and the network is ready; gives how long it took to answer.
    pub(crate) async fn start(&self) -> Duration {
        self.start_by(|command| command).await
    }

    /// The same by a command that `change` makes of the usual one.
    pub(crate) async fn start_by(&self, change: impl FnOnce(Command) -> Command) -> Duration {
        let answered = self.serving_by(change).await;
        if !self.options.no_network {
            until("the network is ready", async || self.network_ready().await).await;
        }
        answered
    }

    /// Starts the daemon and waits until it answers; gives how long that took.
    pub(crate) async fn start_serving(&self) -> Duration {
        self.serving_by(|command| command).await
    }

    async fn serving_by(&self, change: impl FnOnce(Command) -> Command) -> Duration {
        match self.start_or_die_by(change).await {
            Ok(answered) => answered,
            Err(status) => panic!("the daemon ended with {status} at its start"),
        }
    }

    /// Starts the daemon and waits until it answers, or ends before that.
    pub(crate) async fn start_or_die(&self) -> Result<Duration, ExitStatus> {
        self.start_or_die_by(|command| command).await
    }

    async fn start_or_die_by(
        &self,
        change: impl FnOnce(Command) -> Command,
    ) -> Result<Duration, ExitStatus> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.scratch.join("daemon.log"))
            .unwrap();
        let mut command = self.serve_command();
        if let Some(path) = &self.options.left_open {
            command = leaving_open(path, &command);
        }
        if self.options.steps {
            command.env(corten::step::VARIABLE, self.scratch.join("steps"));
        }
        let mut command = change(command);
        let began = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
        *self.child.lock().unwrap() = Some(child);
        until_some("the daemon answers", async || {
            if let Some(status) = self.exited() {
                self.child.lock().unwrap().take();
                return Some(Err(status));
            }
            let request = api::VersionRequest::default();
            let answer = self.runtime().version(request).await;
            answer.is_ok().then(|| Ok(began.elapsed()))
        })
        .await
    }

    /// Whether the daemon reports its network as ready.
    pub(crate) async fn network_ready(&self) -> bool {
        self.condition("NetworkReady").await.status
    }

    /// A condition that the daemon reports.
    pub(crate) async fn condition(&self, kind: &str) -> api::RuntimeCondition {
        let reply = self
            .runtime()
            .status(api::StatusRequest::default())
            .await
            .unwrap();
        let conditions = reply.into_inner().status.unwrap().conditions;
        let found = conditions.iter().find(|condition| condition.r#type == kind);
        found
            .unwrap_or_else(|| panic!("no condition {kind} among {conditions:?}"))
            .clone()
    }

    fn exited(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap();
        child.as_mut()?.try_wait().unwrap()
    }

    /// Waits for the daemon to be killed, but not for long; says whether it was.
    pub(crate) async fn killed(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.exited() {
                assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
                self.child.lock().unwrap().take();
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The daemon's process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().unwrap().id()
    }

    /// Ends the daemon the hardest way.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The monitors of its pods and containers.
    pub(crate) fn monitors(&self) -> Vec<Process> {
        process::monitors(&self.ids.lock().unwrap())
    }

    /// Asks the daemon to end and gives how it did.
    pub(crate) async fn terminate(&self) -> ExitStatus {
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM).unwrap();
        let status = until_some("the daemon ends", async || self.exited()).await;
        self.child.lock().unwrap().take();
        status
    }

    /// Kills the daemon and starts it again.
    pub(crate) async fn restart(&self) {
        self.kill();
        self.start().await;
    }

    /// The connection that its clients share.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(80 << 20)
    }

    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// `corten WORDS…`, as somebody at a shell of this node.
    pub(crate) async fn cli(&self, words: &[&str]) -> Done {
        self.cli_fed(words, None).await
    }

    /// The same with something on standard input.
    pub(crate) async fn cli_fed(&self, words: &[&str], input: Option<Vec<u8>>) -> Done {
        let mut command = tokio::process::Command::from(self.cli_command());
        command.args(words);
        command::finish(patience(), command, input).await
    }

    /// The command alone, told by its environment which daemon to talk to.
    pub(crate) fn cli_command(&self) -> Command {
        let mut command = corten();
        command
            .env("CORTEN_LISTEN", self.socket())
            .env("CORTEN_CONFIG", self.scratch.join("config.toml"))
            .env("CORTEN_CONFIG_DIR", self.scratch.join("config.d"))
            .env("CORTEN_LOG_DIR", self.scratch.join("run-logs"));
        command
    }

    /// Loads an image under a name.
    pub(crate) async fn load(&self, image: &Image, name: &str) {
        let archive = image.docker_archive(&[name]);
        self.cli_fed(&["load"], Some(archive)).await.ok();
    }

    /// What tells the packet filter's tables of the daemon from those of others: the root's name in a short form.
    fn filter_tag(&self) -> String {
        let hash = Sha256::digest(self.root().as_os_str().as_encoded_bytes());
        hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What of its pods and containers is still on the machine.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        let daemon = self.child.lock().unwrap().as_ref().map(Child::id);
        let search = Leftovers {
            scratch: self.scratch.path().to_owned(),
            own_mounts: vec![self.runroot().join("ns")],
            roots: vec![self.root(), self.runroot()],
            cgroups: vec![self.cgroup(), self.monitor_cgroup()],
            bridge: self.bridge(),
            network: self.network_name(),
            ipam: self.scratch.join("ipam"),
            ids: self.ids.lock().unwrap().clone(),
            sockets: vec![self.socket()],
            tables: ["corten_", "corten-masquerade_"]
                .map(|name| format!("{name}{}", self.filter_tag())),
        };
        search.find(daemon.as_slice()).await
    }

    /// Waits until nothing of its pods and containers is left.
    pub(crate) async fn nothing_left(&self) {
        let deadline = Instant::now() + patience();
        loop {
            let left = self.leftovers().await;
            if left.is_empty() {
                return;
            }
            let late = Instant::now() > deadline;
            assert!(!late, "left behind:\n{}", left.join("\n"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn finish(&self) {
        if self.child.lock().unwrap().is_some() {
            self.remove_all().await;
            if !self.options.leftovers_allowed {
                self.nothing_left().await;
            }
            let status = self.terminate().await;
            assert!(
                status.success(),
                "asked to end, the daemon did so with {status} (signal {:?})",
                status.signal()
            );
        }
        if !self.options.leftovers_allowed {
            self.nothing_left().await;
        }
        run(&["ip", "link", "del", &self.bridge()]).await;
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(self.scratch.join("daemon.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let skipped = text.len().saturating_sub(20_000);
        text.char_indices()
            .filter(|(at, _)| *at >= skipped)
            .map(|(_, c)| c)
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(|e| e.into_inner()).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Only after a failure is there something to end: a process with our directory's name is ours.
        for monitor in process::monitors(&self.ids.lock().unwrap_or_else(|e| e.into_inner())) {
            monitor.kill();
        }
        for (pid, _) in processes_naming(self.scratch.path().to_str().unwrap_or("?")) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        remove_tables(&self.bridge());
        let _ = Command::new("ip")
            .args(["link", "del", &self.bridge()])
            .stderr(Stdio::null())
            .status();
        for name in [self.cgroup(), self.monitor_cgroup()] {
            for dir in cgroup_directories(&name) {
                remove_cgroup(&dir);
            }
        }
    }
}

/// The same command, run by someone who does not close what it should not have.
fn leaving_open(path: &Path, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"exec 9<"$0" && exec "$@""#]).arg(path);
    run_by(shell, command)
}

/// A command as the last arguments of another, its environment that one's.
fn run_by(mut outer: Command, command: &Command) -> Command {
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// Removes a cgroup and those below it, with what runs there; killed processes may take a moment to leave.
fn remove_cgroup(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    for _ in 0..500 {
        if std::fs::remove_dir(dir).is_ok() || !dir.exists() {
            return;
        }
        let members = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Removes the tables of the firewall that name a bridge.
fn remove_tables(bridge: &str) {
    let Ok(listed) = Command::new("nft").args(["list", "ruleset"]).output() else {
        return;
    };
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    for table in text
        .split("\ntable ")
        .filter(|table| table.contains(bridge))
    {
        let name = table.split(" {").next().unwrap_or_default();
        let mut words = name.trim_start_matches("table ").split(' ');
        if let (Some(family), Some(name)) = (words.next(), words.next())
            && name.starts_with("corten_")
        {
            let _ = Command::new("nft")
                .args(["delete", "table", family, name])
                .status();
        }
    }
}

/// The program under test, without what the tests' own environment would tell it.
pub(crate) fn corten() -> Command {
    without_ours(Command::new(env!("CARGO_BIN_EXE_corten")))
}

fn without_ours(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CORTEN_") {
            command.env_remove(name);
        }
    }
    command
}

/// The monitor: as the environment says, or as `make monitor` builds it. Another build will not do, for it is
/// the first process of pods too, where no loader is.
pub(crate) fn monitor_program() -> PathBuf {
    if let Some(path) = std::env::var_os("CORTEN_CONMON") {
        return path.into();
    }
    let here = Path::new(env!("CARGO_BIN_EXE_corten"));
    let path = here.with_file_name("../release/corten-conmon");
    path.canonicalize().unwrap_or_else(|e| {
        panic!(
            "{}: {e}; `make monitor` builds it, and contrib/test does so before it runs these tests",
            path.display()
        )
    })
}

/// Two middle bytes of a /24 below 10/8 that no route of the machine leads to.
fn free_subnet() -> (u8, u8) {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    loop {
        let mut bytes = [0u8; 2];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
        let (a, b) = (bytes[0] | 0x80, bytes[1]);
        // The table has addresses as the processor has them: the last byte first.
        if !routes.contains(&format!("00{b:02X}{a:02X}0A")) {
            return (a, b);
        }
    }
}
