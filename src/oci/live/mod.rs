//! Specifications run for real, through runc: what is asked for is looked up inside the container.
//!
//! These tests run as root on a machine with runc and a static busybox.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
};

use oci_spec::runtime::Spec;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    cgroup::{Driver, Parent},
    command::{Create, Exec},
    handler::{Handler, HandlerConfig},
    message,
    node::Node,
    spec::{NamespacePaths, tests::Case},
};
use crate::id::Id;

mod confinement;
mod faults;
mod lifecycle;
mod mounting;

/// A container's files, and the container until it is dropped.
struct Bench {
    dir: tempfile::TempDir,
    handler: Handler,
    id: Id,
    cgroup: PathBuf,
    namespaces: Option<Namespaces>,
}

/// Namespaces held open by a thread.
struct Namespaces {
    paths: NamespacePaths,
    leave: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespaces {
    fn new() -> Self {
        use nix::sched::{CloneFlags, unshare};
        let (tell, told) = mpsc::channel();
        let (leave, wait) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let flags =
                CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
            unshare(flags).unwrap();
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            let _ = wait.recv();
        });
        let dir = format!(
            "/proc/{}/task/{}/ns",
            std::process::id(),
            told.recv().unwrap()
        );
        let path = |name: &str| Some(PathBuf::from(format!("{dir}/{name}")));
        Self {
            paths: NamespacePaths {
                network: path("net"),
                ipc: path("ipc"),
                uts: path("uts"),
                pid: None,
                user: None,
            },
            leave: Some(leave),
            thread: Some(thread),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.leave.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Bench {
    /// A root with busybox in it, and a case whose paths are here.
    async fn new() -> (Self, Case) {
        Self::with("runc").await
    }

    async fn with(runtime: &str) -> (Self, Case) {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        for name in ["bin", "etc", "tmp", "proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is needed");
        for name in [
            "sh", "true", "cat", "id", "ls", "touch", "chmod", "sleep", "env", "pwd", "grep",
            "hostname", "mkdir", "mount", "stat",
        ] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        fs::write(rootfs.join("etc/secret"), "secret\n").unwrap();
        for name in ["hostname", "hosts", "resolv.conf"] {
            fs::write(dir.path().join(name), format!("sandbox {name}\n")).unwrap();
        }
        fs::create_dir(dir.path().join("shm")).unwrap();
        let config = HandlerConfig {
            path: runtime.into(),
            root: dir.path().join("state"),
            ..HandlerConfig::default()
        };
        let handler = Handler::probe(runtime, &config, dir.path(), Driver::Cgroupfs)
            .await
            .expect("the runtime is needed");
        let id = Id::random();
        let parent = Parent::parse(Driver::Cgroupfs, "/").unwrap();
        let cgroup = parent.container(&id);
        let namespaces = Namespaces::new();

        let mut case = Case::new();
        case.id = id.clone();
        case.node = Node::detect().unwrap();
        case.features = handler.features.clone();
        case.rootfs = rootfs;
        case.namespaces = namespaces.paths.clone();
        case.files.hostname = Some(dir.path().join("hostname"));
        case.files.hosts = Some(dir.path().join("hosts"));
        case.files.resolv_conf = Some(dir.path().join("resolv.conf"));
        case.files.shm = Some(dir.path().join("shm"));
        case.cgroups_path = cgroup.spec;
        let bench = Self {
            dir,
            handler,
            id,
            cgroup: cgroup.relative,
            namespaces: Some(namespaces),
        };
        (bench, case)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the container; its outputs go to files here.
    fn create(&self, spec: &Spec) -> Result<OwnedFd, String> {
        let json = serde_json::to_vec(spec).unwrap();
        fs::write(self.path("config.json"), json).unwrap();
        let argv = self.handler.create_command(&Create {
            id: &self.id,
            bundle: self.dir.path(),
            pid_file: &self.path("pid"),
            console_socket: None,
            log: &self.path("log"),
        });
        self.run(&argv, "out", "pid")
    }

    /// Runs a command in it to the end and gives what it printed.
    fn exec(&self, spec: &Spec, script: &str) -> String {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let process = super::spec::exec_process(spec, &command, false).unwrap();
        fs::write(
            self.path("process.json"),
            serde_json::to_vec(&process).unwrap(),
        )
        .unwrap();
        let argv = self.handler.exec_command(&Exec {
            id: &self.id,
            process: &self.path("process.json"),
            pid_file: &self.path("exec-pid"),
            console_socket: None,
            log: &self.path("log"),
        });
        let pid = self.run(&argv, "exec-out", "exec-pid").unwrap();
        wait(&pid);
        fs::read_to_string(self.path("exec-out")).unwrap()
    }

    fn run(&self, argv: &[std::ffi::OsString], out: &str, pid: &str) -> Result<OwnedFd, String> {
        let out = File::create(self.path(out)).unwrap();
        let status = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        if !status.success() {
            return Err(message::from_log(&self.path("log")));
        }
        let pid: i32 = fs::read_to_string(self.path(pid)).unwrap().parse().unwrap();
        // An exec may have ended by now; nothing is left to wait for then.
        pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty())
            .or_else(|_| File::open("/dev/null").map(OwnedFd::from))
            .map_err(|e| e.to_string())
    }

    fn output(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap()
    }

    /// Builds, makes, starts, waits for and removes a container that runs `script`.
    async fn run_script(&self, case: &mut Case, script: &str) -> String {
        case.container.command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let spec = case.build().unwrap().spec;
        let pid = self.create(&spec).unwrap();
        self.handler.start(&self.id).await.unwrap();
        wait(&pid);
        self.handler.delete(&self.id).await.unwrap();
        self.output()
    }

    /// A container that sleeps.
    async fn sleeping(&self, case: &mut Case) -> Spec {
        case.container.command = ["/bin/sleep", "1000"].map(str::to_owned).to_vec();
        let spec = case.build().unwrap().spec;
        self.create(&spec).unwrap();
        self.handler.start(&self.id).await.unwrap();
        spec
    }

    /// A file of its cgroup.
    fn cgroup_file(&self, controller: &str, name: &str) -> String {
        let root = Path::new("/sys/fs/cgroup");
        let v1 = root.join(controller).join(&self.cgroup).join(name);
        fs::read_to_string(v1).unwrap().trim().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let argv = self
            .handler
            .plain_command("delete", &["--force"], &self.id, &[]);
        let _ = Command::new(&argv[0])
            .args(&argv[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        self.namespaces.take();
    }
}

/// Waits for the end of a process, far longer than any of these takes.
fn wait(pid: &OwnedFd) {
    let limit = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(pid, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "it does not end");
}

/// The value of a line `NAME: value`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
}
