//! Why a monitor could not start a process, in the words that runtimes have for it.

use std::{ffi::OsString, io};

use corten_conmon::ctl::{Run, Step};

use crate::causes::within_a_sentence;

/// What the words are about.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    program: String,
    path: String,
    cwd: String,
}

impl Names {
    pub(super) fn of(run: &Run) -> Self {
        let text = |text: &OsString| text.to_string_lossy().into_owned();
        // What is named twice counts as it is named last.
        let mut env = run.env.iter().rev().map(text);
        Self {
            program: run.args.first().map(text).unwrap_or_default(),
            path: env
                .find_map(|entry| entry.strip_prefix("PATH=").map(str::to_owned))
                .unwrap_or_default(),
            cwd: run.cwd.display().to_string(),
        }
    }

    /// The words for a step that failed; `place` counts the directories of the search path from one.
    pub(super) fn failure(&self, step: Step, errno: i32, place: u16) -> String {
        let program = &self.program;
        let error = within_a_sentence(&io::Error::from_raw_os_error(errno));
        let why = match step {
            Step::Find => format!("exec: {program:?}: executable file not found in $PATH"),
            Step::Look if errno == libc::EACCES => {
                format!("exec: {program:?}: {error}")
            }
            Step::Look => format!("exec: {program:?}: stat {program}: {error}"),
            Step::Program => {
                let dir = usize::from(place)
                    .checked_sub(1)
                    .and_then(|at| self.path.split(':').nth(at));
                match dir {
                    Some(dir) => format!("exec {dir}/{program}: {error}"),
                    None => format!("exec {program}: {error}"),
                }
            }
            Step::Directory => format!("chdir to cwd ({:?}): {error}", self.cwd),
            Step::Outside => {
                "current working directory is outside of container mount namespace root".to_owned()
            }
            Step::Lost => "the process ended on its way into the container".to_owned(),
            Step::Fork => format!("making a process: {error}"),
            Step::Cgroup => format!("joining the container's cgroups: {error}"),
            Step::Namespaces => format!("joining the container's namespaces: {error}"),
            Step::Terminal => format!("making a terminal in the container: {error}"),
            Step::Streams => format!("connecting the streams: {error}"),
            Step::Limits => format!("setting limits: {error}"),
            Step::User => format!("becoming the user: {error}"),
            Step::Capabilities => format!("setting capabilities: {error}"),
            Step::Label => format!("asking for the label: {error}"),
            Step::Filter => format!("setting the system call filter: {error}"),
        };
        let about_the_command = matches!(
            step,
            Step::Find | Step::Look | Step::Program | Step::Directory
        );
        // What is wrong with the command must not be taken for something else, nor the other way round.
        let prefix = if about_the_command {
            "exec failed: "
        } else {
            ""
        };
        format!("{prefix}unable to start container process: {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::message::{Meaning, command_code, meaning};

    #[test]
    fn a_command_that_cannot_be_run_is_told_as_runtimes_tell_it() {
        let names = Names {
            program: "nope".into(),
            path: "/bin:/sbin".into(),
            cwd: "/x".into(),
        };
        let find = names.failure(Step::Find, libc::ENOENT, 0);
        assert_eq!(
            find,
            "exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH"
        );
        for (step, errno, place, end, code) in [
            (Step::Find, libc::ENOENT, 0, "in $PATH", Some(127)),
            (
                Step::Look,
                libc::ENOENT,
                0,
                "stat nope: no such file or directory",
                Some(127),
            ),
            (
                Step::Look,
                libc::EACCES,
                0,
                "exec: \"nope\": permission denied",
                Some(126),
            ),
            (
                Step::Program,
                libc::ENOEXEC,
                2,
                "exec /sbin/nope: exec format error",
                Some(126),
            ),
            (
                Step::Program,
                libc::ENOENT,
                0,
                "exec nope: no such file or directory",
                Some(127),
            ),
            (
                Step::Cgroup,
                libc::EBUSY,
                0,
                "device or resource busy",
                None,
            ),
        ] {
            let text = names.failure(step, errno, place);
            assert!(text.ends_with(end), "{text}");
            assert_eq!(command_code(&text), code, "{text}");
        }
        let cwd = names.failure(Step::Directory, libc::EACCES, 0);
        assert!(cwd.contains("(\"/x\"): permission denied"), "{cwd}");
        assert_ne!(
            meaning(&names.failure(Step::Lost, 0, 0)),
            Meaning::NoCommand
        );
    }
}
