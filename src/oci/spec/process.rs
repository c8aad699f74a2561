//! The process of a container.

use std::path::{Component, Path};

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, User};

use super::{ImageProcess, SpecError, SpecInput, environment::Environment};
use crate::{
    container::spec::ContainerSpec,
    oci::{
        clamp::{self, Clamped, Limit},
        node::Node,
        user::ResolvedUser,
    },
};

/// All of the process but for its capabilities and labels.
pub(super) fn process(
    input: &SpecInput<'_>,
    clamped: &mut Vec<Clamped>,
) -> Result<Process, SpecError> {
    let container = input.container;
    if let Some(user) = &input.pod.namespaces.user {
        super::namespaces::check_mapped(input.user, user)?;
    }
    let mut process = Process::default();
    process
        .set_terminal(Some(container.tty))
        .set_user(user(input.user))
        .set_args(Some(args(container, input.image)?))
        .set_env(Some(env(input)?))
        .set_cwd(working_dir(&container.working_dir, &input.image.working_dir)?.into())
        .set_no_new_privileges(Some(container.security.no_new_privs));
    super::bounded(
        &mut process,
        container.resources.oom_score_adj,
        &input.defaults.rlimits,
        input.node,
        clamped,
    )?;
    Ok(process)
}

/// The command line, as Kubernetes documents it: a command of the request replaces both of the
/// image's parts, arguments alone replace the image's command and keep its entry point.
pub(super) fn args(
    container: &ContainerSpec,
    image: &ImageProcess,
) -> Result<Vec<String>, SpecError> {
    let (first, rest) = if !container.command.is_empty() {
        (&container.command, &container.args)
    } else if !container.args.is_empty() {
        (&image.entrypoint, &container.args)
    } else {
        (&image.entrypoint, &image.cmd)
    };
    let all: Vec<String> = first.iter().chain(rest).cloned().collect();
    check_args(&all)?;
    Ok(all)
}

/// A command line that can be run.
pub(super) fn check_args(args: &[String]) -> Result<(), SpecError> {
    match args.first().map(String::as_str) {
        None => return Err(SpecError::NothingToRun),
        Some("") => return Err(SpecError::EmptyCommand),
        Some(_) => {}
    }
    match args.iter().find(|arg| arg.contains('\0')) {
        None => Ok(()),
        Some(arg) => Err(SpecError::Nul {
            field: "argument",
            value: arg.clone(),
        }),
    }
}

fn env(input: &SpecInput<'_>) -> Result<Vec<String>, SpecError> {
    let mut env = Environment::default();
    for (name, value) in &input.defaults.env {
        env.set(name, value)?;
    }
    env.set_lines(&input.image.env)?;
    env.set("HOSTNAME", input.hostname)?;
    for (name, value) in &input.container.envs {
        env.set(name, value)?;
    }
    env.complete(input.user.home.as_deref(), input.container.tty)?;
    Ok(env.into_lines())
}

/// Where the process starts. That of an image counts from the root, however it is written.
fn working_dir(asked: &str, image: &str) -> Result<String, SpecError> {
    let dir = match (asked, image) {
        ("", "") => "/".to_owned(),
        ("", image) if !image.starts_with('/') => format!("/{image}"),
        ("", image) => image.to_owned(),
        (asked, _) if !asked.starts_with('/') => {
            return Err(SpecError::WorkingDir(asked.to_owned()));
        }
        (asked, _) => asked.to_owned(),
    };
    if dir.contains('\0') {
        return Err(SpecError::Nul {
            field: "working directory",
            value: dir,
        });
    }
    if leads_to_descriptor(&dir) {
        return Err(SpecError::WorkingDirInProc(dir));
    }
    Ok(dir)
}

/// Whether a path is an open file of the process that resolves it: a directory that a runtime has
/// left open would be one of the host.
fn leads_to_descriptor(dir: &str) -> bool {
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(dir).components() {
        match component {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => parts.push(part.to_str().unwrap_or("")),
            _ => {}
        }
        // At every step, for ".." after such a place leads to where it points.
        let there = match parts.as_slice() {
            ["dev", "fd"] | ["proc", _, "fd" | "cwd" | "root"] => true,
            ["proc", _, "task", _, last] => matches!(*last, "fd" | "cwd" | "root"),
            _ => false,
        };
        if there {
            return true;
        }
    }
    false
}

pub(super) fn user(resolved: &ResolvedUser) -> User {
    let mut user = User::default();
    user.set_uid(resolved.uid)
        .set_gid(resolved.gid)
        .set_additional_gids(Some(resolved.groups.clone()).filter(|groups| !groups.is_empty()));
    user
}

/// Limits, bounded by what the node may set.
pub(super) fn rlimits(
    limits: &[(String, Limit)],
    node: &Node,
    clamped: &mut Vec<Clamped>,
) -> Result<Vec<PosixRlimit>, SpecError> {
    let mut all: Vec<PosixRlimit> = Vec::new();
    for (name, asked) in limits {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
        let unknown = || SpecError::Rlimit(name.clone());
        let (known, highest) = node
            .highest_rlimits
            .get_key_value(bare)
            .ok_or_else(unknown)?;
        let typ: PosixRlimitType = format!("RLIMIT_{bare}").parse().map_err(|_| unknown())?;
        let (given, note) = clamp::rlimit(known, *asked, *highest);
        clamped.extend(note);
        // Building cannot fail: every field has a default.
        let limit = PosixRlimitBuilder::default()
            .typ(typ)
            .soft(given.soft)
            .hard(given.hard)
            .build()
            .unwrap_or_default();
        all.retain(|earlier| earlier.typ() != typ);
        all.push(limit);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn working_directories() {
        assert_eq!(working_dir("", ""), Ok("/".into()));
        assert_eq!(working_dir("", "srv"), Ok("/srv".into()));
        assert_eq!(working_dir("/a", "/b"), Ok("/a".into()));
        assert_eq!(working_dir("", "/b"), Ok("/b".into()));
        assert_eq!(working_dir("a", ""), Err(SpecError::WorkingDir("a".into())));
        for bad in [
            "/proc/self/fd/7",
            "/proc/./self//fd/../fd/7",
            "/x/../proc/thread-self/fd/3/../..",
            "/proc/1/cwd",
            "/proc/self/task/1/root/etc",
            "/dev/fd/5",
        ] {
            let refused = Err(SpecError::WorkingDirInProc(bad.to_owned()));
            assert_eq!(working_dir(bad, ""), refused);
            assert_eq!(working_dir("", bad), refused);
        }
        assert!(working_dir("/proc", "").is_ok() && working_dir("/proc/fd", "").is_ok());
    }

    proptest! {
        #[test]
        fn a_working_directory_is_absolute(asked in ".{0,20}", image in ".{0,20}") {
            if let Ok(dir) = working_dir(&asked, &image) {
                prop_assert!(dir.starts_with('/') && !dir.contains('\0'));
            }
        }
    }
}
