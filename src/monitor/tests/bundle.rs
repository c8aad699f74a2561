//! A container on a small root file system, removed with all its traces at the end.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{id::Id, monitor::*};

/// Longer than anything here takes on a busy machine; only a failure waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The monitor, built from this workspace.
pub(super) fn binary() -> MonitorBinary {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let path = BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CORTEN_TEST_CONMON") {
            return path.into();
        }
        let exe = std::env::current_exe().unwrap();
        let profile_dir = exe.parent().unwrap().parent().unwrap();
        let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let target = profile_dir.parent().unwrap();
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "-p",
                "corten-conmon",
                "--profile",
                profile,
                "--target-dir",
            ])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(status.success());
        profile_dir.join("corten-conmon")
    });
    MonitorBinary::new(path)
}

/// A bundle and what runs from it.
pub(super) struct Bundle {
    dir: TempDir,
    pub(super) id: Id,
}

impl Bundle {
    /// A container that runs `args`, its spec changed by `change`.
    pub(super) fn new(args: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("corten-test-")
            .tempdir()
            .unwrap();
        let this = Self {
            dir,
            id: Id::random(),
        };
        let bin = this.path("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir(this.path("records")).unwrap();
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in [
            "sh", "sleep", "cat", "echo", "true", "ls", "tail", "stty", "head", "kill", "dd",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        let made = Command::new("runc")
            .arg("spec")
            .current_dir(this.dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let config = this.path("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(args);
        spec["root"]["readonly"] = json!(false);
        spec["linux"]["cgroupsPath"] = json!(format!("/corten-test-{}", &this.id.as_str()[..12]));
        change(&mut spec);
        std::fs::write(config, spec.to_string()).unwrap();
        this
    }

    /// A container that runs a shell script.
    pub(super) fn shell(script: &str) -> Self {
        Self::new(&["sh", "-c", script], |_| {})
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn runtime(&self, args: &[&str]) -> Vec<OsString> {
        let root = self.path("runc");
        let mut argv: Vec<OsString> = vec!["runc".into(), "--root".into(), root.into()];
        argv.extend(args.iter().map(Into::into));
        argv
    }

    pub(super) fn runc(&self, args: &[&str]) -> Output {
        let argv = self.runtime(args);
        Command::new(&argv[0]).args(&argv[1..]).output().unwrap()
    }

    pub(super) fn request(&self) -> CreateRequest {
        let pid_file = self.path("pidfile");
        let pid_text = pid_file.to_str().unwrap();
        let bundle = self.dir.path().to_str().unwrap();
        CreateRequest {
            id: self.id.clone(),
            runtime_argv: self.runtime(&[
                "create",
                "--bundle",
                bundle,
                "--pid-file",
                pid_text,
                self.id.as_str(),
            ]),
            bundle: self.dir.path().to_owned(),
            pid_file: pid_file.clone(),
            console_socket: None,
            stdin: Stdin::Closed,
            owner: None,
            log: Some(LogConfig {
                path: self.path("log"),
                max_size: None,
            }),
            exit_record: self.path("records/exit"),
            ctl_socket: self.path("ctl"),
            attach_socket: Some(self.path("attach")),
            cgroups: Vec::new(),
            oom_file: None,
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            create_timeout: PATIENCE,
            drain: CreateRequest::DRAIN,
        }
    }

    /// The same with a shell before the runtime, which has its command line as `"$@"`.
    pub(super) fn request_behind(&self, script: &str) -> CreateRequest {
        let mut request = self.request();
        let mut argv = vec!["sh".into(), "-c".into(), script.into(), "sh".into()];
        argv.append(&mut request.runtime_argv);
        request.runtime_argv = argv;
        request
    }

    pub(super) async fn create(&self) -> Created {
        self.create_as(self.request()).await.unwrap()
    }

    pub(super) async fn create_as(&self, request: CreateRequest) -> Result<Created, MonitorError> {
        let created = within(spawn(&binary(), request)).await?;
        assert_eq!(created.runtime_stderr, "");
        Ok(created)
    }

    pub(super) fn start(&self) {
        let started = self.runc(&["start", self.id.as_str()]);
        assert!(
            started.status.success(),
            "{}",
            String::from_utf8_lossy(&started.stderr)
        );
    }

    /// Creates and starts.
    pub(super) async fn run(&self) -> Monitor {
        let created = self.create().await;
        self.start();
        created.monitor
    }

    /// Creates, starts and waits for the end.
    pub(super) async fn run_to_end(&self) -> ExitRecord {
        record(ended(&self.run().await).await)
    }

    pub(super) fn paths(&self) -> MonitorPaths {
        MonitorPaths {
            ctl_socket: self.path("ctl"),
            exit_record: self.path("records/exit"),
            create_timeout: PATIENCE,
        }
    }

    pub(super) fn exec_request(&self, args: &[&str]) -> ExecRequest {
        let name = Id::random();
        let process_json = self.path(&format!("{name}.json"));
        let pid_file = self.path(&format!("{name}.pid"));
        let process = json!({
            "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
        });
        std::fs::write(&process_json, process.to_string()).unwrap();
        let argv = self.runtime(&[
            "exec",
            "--detach",
            "--process",
            process_json.to_str().unwrap(),
            "--pid-file",
            pid_file.to_str().unwrap(),
            self.id.as_str(),
        ]);
        ExecRequest {
            way: Way::Runtime {
                argv,
                process_json: RemovedFile::new(process_json),
                pid_file,
            },
            timeout: Some(PATIENCE),
            output_cap: ExecRequest::OUTPUT_CAP,
            drain: ExecRequest::DRAIN,
            leaving: Default::default(),
        }
    }

    /// Files of execs that are there.
    pub(super) fn exec_files(&self, kind: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|own| own == kind))
            .collect()
    }

    pub(super) fn log(&self) -> Vec<LogLine> {
        read_log(&self.path("log"))
    }

    /// What the log says was written to a stream.
    pub(super) fn logged(&self, stream: &str) -> String {
        text_of(&self.log(), stream)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.runc(&["delete", "--force", self.id.as_str()]);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) stream: String,
    pub(super) tag: String,
    pub(super) text: String,
}

pub(super) fn read_log(path: &Path) -> Vec<LogLine> {
    let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    // Not `lines`, which takes a terminal's carriage returns away.
    text.split_terminator('\n')
        .map(|line| {
            let mut parts = line.splitn(4, ' ');
            let mut next = || {
                parts
                    .next()
                    .unwrap_or_else(|| panic!("{line:?}"))
                    .to_owned()
            };
            let stamp = next();
            assert!(
                stamp.len() == 30 && stamp.starts_with("20") && stamp.ends_with('Z'),
                "{line:?}"
            );
            LogLine {
                stream: next(),
                tag: next(),
                text: next(),
            }
        })
        .collect()
}

pub(super) fn text_of(lines: &[LogLine], stream: &str) -> String {
    lines
        .iter()
        .filter(|line| line.stream == stream)
        .map(|line| line.text.clone() + if line.tag == "F" { "\n" } else { "" })
        .collect()
}

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

pub(super) async fn ended(monitor: &Monitor) -> End {
    within(monitor.exited()).await
}

pub(super) fn record(end: End) -> ExitRecord {
    match end {
        End::Exited(record) => record,
        End::Lost => panic!("the monitor was lost"),
    }
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

pub(super) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

pub(super) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
