//! Command lines of OCI runtimes.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use super::{cgroup::Driver, handler::Handler};
use crate::id::Id;

/// What `create` needs.
#[derive(Debug, Clone, Copy)]
pub struct Create<'a> {
    /// The container.
    pub id: &'a Id,
    /// Directory of `config.json`.
    pub bundle: &'a Path,
    /// Where the runtime writes the process ID.
    pub pid_file: &'a Path,
    /// Socket that takes the terminal's descriptor, for a container with one.
    pub console_socket: Option<&'a Path>,
    /// Where the runtime writes its errors, as lines of JSON (see [`super::message::from_log`]).
    pub log: &'a Path,
}

/// What `exec` needs.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// The container.
    pub id: &'a Id,
    /// File with the process to run (see [`super::spec::exec_process`]).
    pub process: &'a Path,
    /// Where the runtime writes the process ID.
    pub pid_file: &'a Path,
    /// Socket that takes the terminal's descriptor, for a process with one.
    pub console_socket: Option<&'a Path>,
    /// Where the runtime writes its errors, as lines of JSON.
    pub log: &'a Path,
}

impl Handler {
    /// Makes a container; for the monitor to run.
    pub fn create_command(&self, create: &Create<'_>) -> Vec<OsString> {
        let mut argv = self.logged(create.log);
        argv.push("create".into());
        option(&mut argv, "--bundle", create.bundle);
        option(&mut argv, "--pid-file", create.pid_file);
        if let Some(socket) = create.console_socket {
            option(&mut argv, "--console-socket", socket);
        }
        argv.push(create.id.as_str().into());
        argv
    }

    /// Runs a further process in a container; for the monitor to run. The runtime returns once the
    /// process runs, which is then the child of the nearest subreaper.
    pub fn exec_command(&self, exec: &Exec<'_>) -> Vec<OsString> {
        let mut argv = self.logged(exec.log);
        argv.push("exec".into());
        option(&mut argv, "--process", exec.process);
        option(&mut argv, "--pid-file", exec.pid_file);
        if let Some(socket) = exec.console_socket {
            option(&mut argv, "--console-socket", socket);
        }
        argv.push("--detach".into());
        argv.push(exec.id.as_str().into());
        argv
    }

    /// Any other command on a container, with errors as lines of JSON on standard error.
    pub fn plain_command(
        &self,
        verb: &str,
        options: &[&str],
        id: &Id,
        rest: &[&str],
    ) -> Vec<OsString> {
        let mut argv = self.base();
        argv.push(verb.into());
        argv.extend(options.iter().map(OsString::from));
        argv.push(id.as_str().into());
        argv.extend(rest.iter().map(OsString::from));
        argv
    }

    fn logged(&self, log: &Path) -> Vec<OsString> {
        let mut argv = self.base();
        option(&mut argv, "--log", log);
        argv
    }

    fn base(&self) -> Vec<OsString> {
        let mut argv = vec![self.path.clone().into_os_string()];
        argv.extend(self.config.kind.word().map(OsString::from));
        option(&mut argv, "--root", &self.root);
        option(&mut argv, "--log-format", "json");
        if self.cgroup_driver == Driver::Systemd {
            argv.push("--systemd-cgroup".into());
        }
        argv.extend(self.config.extra_args.iter().map(OsString::from));
        argv
    }
}

fn option(argv: &mut Vec<OsString>, name: &str, value: impl AsRef<OsStr>) {
    argv.push(name.into());
    argv.push(value.as_ref().to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{
        features::Features,
        handler::{HandlerConfig, RuntimeKind},
    };

    fn handler(cgroup_driver: Driver) -> Handler {
        Handler {
            name: "runc".into(),
            path: "/usr/sbin/runc".into(),
            root: "/run/corten/runtimes/runc".into(),
            version: String::new(),
            features: Features::default(),
            cgroup_driver,
            config: HandlerConfig {
                extra_args: vec!["--debug".into()],
                ..HandlerConfig::default()
            },
        }
    }

    fn text(argv: Vec<OsString>) -> String {
        argv.iter()
            .map(|arg| arg.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn options_stand_where_the_runtimes_want_them() {
        let id = Id::parse(&"0".repeat(64)).unwrap();
        let create = Create {
            id: &id,
            bundle: Path::new("/b"),
            pid_file: Path::new("/b/pid"),
            console_socket: None,
            log: Path::new("/b/log"),
        };
        let base = "/usr/sbin/runc --root /run/corten/runtimes/runc --log-format json";
        assert_eq!(
            text(handler(Driver::Cgroupfs).create_command(&create)),
            format!("{base} --debug --log /b/log create --bundle /b --pid-file /b/pid {id}")
        );
        let exec = Exec {
            id: &id,
            process: Path::new("/p.json"),
            pid_file: Path::new("/pid"),
            console_socket: Some(Path::new("/c.sock")),
            log: Path::new("/log"),
        };
        assert_eq!(
            text(handler(Driver::Systemd).exec_command(&exec)),
            format!(
                "{base} --systemd-cgroup --debug --log /log exec --process /p.json --pid-file /pid \
                 --console-socket /c.sock --detach {id}"
            )
        );
        assert_eq!(
            text(handler(Driver::Cgroupfs).plain_command("delete", &["--force"], &id, &[])),
            format!("{base} --debug delete --force {id}")
        );
        let mut embedded = handler(Driver::Cgroupfs);
        embedded.config.kind = RuntimeKind::Embedded;
        embedded.config.extra_args.clear();
        assert_eq!(
            text(embedded.plain_command("state", &[], &id, &[])),
            format!(
                "/usr/sbin/runc oci-runtime --root /run/corten/runtimes/runc --log-format json state {id}"
            )
        );
        assert_eq!(
            text(handler(Driver::Cgroupfs).plain_command("kill", &["--all"], &id, &["9"])),
            format!("{base} --debug kill --all {id} 9")
        );
    }
}
