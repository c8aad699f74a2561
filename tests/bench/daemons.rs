//! Two daemons to measure, alike in all but what they are.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Outcome, images::Images, subject::Subject};
use crate::support::{Scratch, cgroup_directories, insecure, monitor_program, run};

/// corten and containerd on one machine.
pub(crate) struct Pair {
    pub(crate) subjects: Vec<Subject>,
    pub(crate) images: Images,
    daemons: Vec<Daemon>,
}

struct Daemon {
    name: &'static str,
    child: Child,
    bridge: String,
    cgroup: String,
    scratch: Scratch,
}

impl Pair {
    /// Starts both and gives both the image of the containers.
    pub(crate) async fn start() -> Outcome<Self> {
        eprintln!("making images");
        let images = Images::serve().await;
        let daemons = vec![corten(&images).await?, containerd(&images).await?];
        let mut subjects = Vec::new();
        for daemon in &daemons {
            let mut subject = daemon.connect().await?;
            subject.cgroup_parent = format!("{}/pods", daemon.cgroup);
            subject.cgroup = Some(PathBuf::from(&daemon.cgroup));
            subject.client.pull(&images.sleeper()).await?;
            subjects.push(subject);
        }
        Ok(Self {
            subjects,
            images,
            daemons,
        })
    }

    /// Ends both and removes what they had.
    pub(crate) async fn end(self) -> Outcome<()> {
        for daemon in self.daemons {
            daemon.end().await?;
        }
        let logs = std::env::temp_dir().join(format!("corten-bench-logs-{}", std::process::id()));
        match std::fs::remove_dir_all(logs) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// Directory of Debian's network plugins.
const PLUGINS: &str = "/usr/lib/cni";

async fn corten(images: &Images) -> Outcome<Daemon> {
    let place = Place::new(1).await;
    let registries = place
        .scratch
        .file("registries.conf", insecure(&images.host()));
    let config = place.scratch.file("config.toml", "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    command.arg("serve");
    for (flag, value) in [
        ("--config", config),
        ("--config-dir", place.scratch.dir("config.d")),
        ("--listen", place.socket()),
        ("--root", place.scratch.join("root")),
        ("--runroot", place.scratch.join("run")),
        ("--cni-conf-dir", place.cni()),
        ("--cni-plugin-dir", PLUGINS.into()),
        ("--registries-conf", registries),
        ("--cgroup-parent", format!("{}/pods", place.cgroup()).into()),
        (
            "--monitor-cgroup",
            format!("{}/monitors", place.cgroup()).into(),
        ),
        ("--conmon", monitor_program()),
        ("--log-level", "warn".into()),
    ] {
        command.arg(flag).arg(value);
    }
    place.spawn("corten", command)
}

async fn containerd(images: &Images) -> Outcome<Daemon> {
    let place = Place::new(2).await;
    let at = |name: &str| place.scratch.join(name).display().to_string();
    let config = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        root = at("root"),
        state = at("run"),
        socket = place.socket().display(),
        pause = images.pause(),
        cni = place.cni().display(),
    );
    let config = place.scratch.file("config.toml", config);
    let mut command = Command::new("containerd");
    command
        .arg("--config")
        .arg(config)
        .args(["--log-level", "error"]);
    place.spawn("containerd", command)
}

/// Directories, a network and a cgroup for one daemon.
struct Place {
    scratch: Scratch,
}

/// Size of the file system that a daemon has its images on, in bytes; most of it is never written.
const DISK: u64 = 6 << 30;

impl Place {
    async fn new(number: u8) -> Self {
        let place = Self {
            scratch: Scratch::new(),
        };
        let list = serde_json::json!({
            "cniVersion": "1.0.0", "name": format!("bench-{}", place.scratch.token()), "plugins": [
                {"type": "bridge", "bridge": place.bridge(), "isGateway": true, "ipMasq": true,
                 "ipam": {"type": "host-local", "dataDir": place.scratch.join("ipam"),
                          "ranges": [[{"subnet": format!("10.213.{number}.0/24")}]],
                          "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": true}}]});
        place.disk().await;
        place.scratch.dir("cni");
        place
            .scratch
            .file("cni/10-bench.conflist", list.to_string());
        place
    }

    /// Gives the daemon a file system of its own for what it keeps: how fast one makes files depends on what was removed
    /// from it before, by whomever. Where this machine has none to give, that is said.
    async fn disk(&self) {
        let (image, root) = (self.scratch.join("disk"), self.scratch.dir("root"));
        let sized = std::fs::File::create(&image).and_then(|file| file.set_len(DISK));
        sized.unwrap_or_else(|error| panic!("{}: {error}", image.display()));
        let (image, root) = (image.to_str().unwrap(), root.to_str().unwrap());
        // Made whole at once: what is left for later the kernel does while something is measured.
        let whole = "lazy_itable_init=0,lazy_journal_init=0";
        let steps: [&[&str]; 2] = [
            &["mkfs.ext4", "-q", "-F", "-E", whole, image],
            &["mount", "-o", "loop", image, root],
        ];
        for step in steps {
            let done = run(step).await;
            if done.code != Some(0) {
                eprintln!("files are kept where others are: {}", done.failed());
                return;
            }
        }
    }

    fn bridge(&self) -> String {
        format!("cb{}", self.scratch.token())
    }

    fn cgroup(&self) -> String {
        format!("/corten-bench-{}", self.scratch.token())
    }

    fn socket(&self) -> PathBuf {
        self.scratch.join("cri.sock")
    }

    fn cni(&self) -> PathBuf {
        self.scratch.join("cni")
    }

    /// Starts the daemon in a cgroup of its own, so that all it does is counted there.
    fn spawn(self, name: &'static str, command: Command) -> Outcome<Daemon> {
        let log = std::fs::File::create(self.scratch.join("log"))?;
        let mut shell = Command::new("sh");
        let enter = r#"group=$1; shift
            for top in /sys/fs/cgroup/cpuacct /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup; do
              [ -e "$top/cgroup.procs" ] || continue
              mkdir -p "$top$group/daemon" && echo $$ > "$top$group/daemon/cgroup.procs" && break
            done
            exec "$@""#;
        let child = shell
            .args(["-c", enter, "sh", &self.cgroup()])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        Ok(Daemon {
            name,
            child,
            bridge: self.bridge(),
            cgroup: self.cgroup(),
            scratch: self.scratch,
        })
    }
}

impl Daemon {
    async fn connect(&self) -> Outcome<Subject> {
        let address = format!(
            "{}=unix://{}",
            self.name,
            self.scratch.join("cri.sock").display()
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let failed = match Subject::connect(&address, "").await {
                Ok(subject) => match subject.client.network_ready().await {
                    Ok(true) => return Ok(subject),
                    Ok(false) => "its network is not ready".to_owned(),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
                return Err(format!("{} does not serve: {failed}\n{log}", self.name).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn end(mut self) -> Outcome<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        let _ = self.child.wait()?;
        run(&["ip", "link", "del", &self.bridge]).await;
        for dir in cgroup_directories(&self.cgroup) {
            remove(&dir);
        }
        Ok(())
    }
}

/// Removes a cgroup and those below it.
fn remove(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // One that is not empty shows in what the script finds left.
    let _ = std::fs::remove_dir(dir);
}
