//! A program in front of another: it does what a test wants of each verb, counts, and then is the other.

use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::support::{Options, Scratch, monitor_program, processes_naming, until};

/// What a verb does that hangs until it is left alone again.
pub(super) const HOLD: &str = "hold";

/// A shell script in front of a program.
pub(super) struct Front {
    scratch: Scratch,
    program: PathBuf,
}

impl Front {
    /// In front of runc, and not known to be so: its execs are left to it.
    pub(super) fn runtime() -> Self {
        Self::new(
            "runtime",
            "/usr/sbin/runc",
            "verb=other; for word; do case $word in\n\
             create|start|delete|kill|exec|state|update) verb=$word; break;;\n\
             --version) echo odd version 1; exit;;\nesac; done",
        )
    }

    /// In front of the network plugin `bridge`, with all other plugins beside it.
    pub(super) fn plugin() -> Self {
        let front = Self::new("bridge", "/usr/lib/cni/bridge", "verb=$CNI_COMMAND");
        for entry in std::fs::read_dir("/usr/lib/cni").unwrap().flatten() {
            let beside = front.program.with_file_name(entry.file_name());
            if !beside.exists() {
                std::os::unix::fs::symlink(entry.path(), beside).unwrap();
            }
        }
        front
    }

    /// In front of the monitor, whose only verb is `begin`.
    pub(super) fn monitor() -> Self {
        let behind = monitor_program();
        Self::new("corten-conmon", behind.to_str().unwrap(), "verb=begin")
    }

    fn new(name: &str, behind: &str, verb: &str) -> Self {
        let scratch = Scratch::new();
        scratch.dir("bin");
        let dir = scratch.path().display();
        // One write a line: calls that run side by side do not mix.
        let script = format!(
            "#!/bin/sh\n{verb}\necho $verb >> {dir}/calls\n\
             hold() {{ while [ -e {dir}/on-$verb ]; do sleep 0.05; done; }}\n\
             [ ! -e {dir}/on-$verb ] || . {dir}/on-$verb\nexec {behind} \"$@\"\n"
        );
        let program = scratch.program(&format!("bin/{name}"), script);
        Self { scratch, program }
    }

    /// From now on calls of a verb run this first, in a shell.
    pub(super) fn set(&self, verb: &str, script: &str) {
        let staged = self.scratch.file("staged", script);
        std::fs::rename(staged, self.on(verb)).unwrap();
    }

    /// Calls of a verb are those of the program behind again; those that hold go on.
    pub(super) fn clear(&self, verb: &str) {
        std::fs::remove_file(self.on(verb)).unwrap();
    }

    fn on(&self, verb: &str) -> PathBuf {
        self.scratch.join(format!("on-{verb}"))
    }

    /// How often a verb was called.
    pub(super) fn calls(&self, verb: &str) -> usize {
        let calls = std::fs::read_to_string(self.scratch.join("calls")).unwrap_or_default();
        calls.lines().filter(|&line| line == verb).count()
    }

    /// Waits until a verb has been called so often.
    pub(super) async fn called(&self, verb: &str, times: usize) {
        until(&format!("{verb} is called {times} times"), async || {
            self.calls(verb) >= times
        })
        .await;
    }

    /// Those of its processes that are now another program.
    pub(super) fn sleeping(&self) -> Vec<Pid> {
        processes_naming(self.scratch.path().to_str().unwrap())
            .into_iter()
            .filter(|(_, seen)| seen.starts_with("\"sleep "))
            .map(|(pid, _)| Pid::from_raw(pid as i32))
            .collect()
    }

    /// Waits until none of its processes is left.
    pub(super) async fn quiet(&self) {
        let dir = self.scratch.path().to_str().unwrap();
        until("all calls have ended", async || {
            // The daemon has it in its command line.
            processes_naming(dir)
                .iter()
                .all(|(_, seen)| seen.contains(" serve "))
        })
        .await;
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// A daemon with this as the handler `odd`, beside the usual one.
    pub(super) fn as_handler(&self) -> Options {
        Options {
            args: vec![
                "--runtime=runc=/usr/sbin/runc".into(),
                format!("--runtime=odd={}", self.program.display()),
            ],
            ..Options::default()
        }
    }

    /// A daemon whose network plugins are these.
    pub(super) fn as_plugins(&self) -> Options {
        Options {
            plugins: self.program.parent().map(Path::to_owned),
            args: vec!["--cni-native=never".to_owned()],
            ..Options::default()
        }
    }
}
