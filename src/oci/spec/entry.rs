//! A further process in a container, told in full so that no runtime is needed to run it.

use oci_spec::runtime::{Capabilities as Names, LinuxCapabilities, PosixRlimit, Process, Spec};

use crate::{
    id::Id,
    monitor::{Capabilities, Rlimit, Run, RunUser, Streams},
    oci::{
        capability::CapSet,
        node::{Node, resource},
    },
};

/// Why only the runtime can run a process in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The kernel is too old to join a container at once.
    #[error("the kernel is older than 5.9")]
    Kernel,
    /// The runtime gives the container something that is not given here.
    #[error("the container has {0}")]
    Feature(&'static str),
    /// A value that is not understood here.
    #[error("{0} cannot be told")]
    Value(&'static str),
}

/// First kernel that has all that is needed: joining namespaces by a process, and closing ranges of descriptors.
const KERNEL: (u32, u32) = (5, 9);

/// Annotations that have crun do something else than run a plain process.
const HANDLER: &str = "run.oci.handler";

/// What the monitor is asked for, but for the cgroups and the filter, which are not in the specification, and for what
/// differs from exec to exec.
pub fn entry(
    id: &Id,
    spec: &Spec,
    process: Process,
    node: &Node,
    streams: Streams,
) -> Result<Run, Unfit> {
    if node.kernel < KERNEL {
        return Err(Unfit::Kernel);
    }
    fits(spec, &process)?;
    let user = process.user();
    let env = process.env().clone().unwrap_or_default();
    // Runtimes look up what is not there.
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        return Err(Unfit::Value("the home directory"));
    }
    let rlimits = process.rlimits().iter().flatten().map(rlimit);
    let label = |text: &Option<String>, enabled: bool| {
        text.as_ref()
            .filter(|text| enabled && !text.is_empty())
            .map(Into::into)
    };
    let args = process.args().clone().unwrap_or_default();
    Ok(Run {
        args: args.into_iter().map(Into::into).collect(),
        env: env.into_iter().map(Into::into).collect(),
        cwd: process.cwd().clone(),
        user: RunUser {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask(),
        },
        capabilities: capabilities(process.capabilities().as_ref())?,
        no_new_privs: process.no_new_privileges().unwrap_or_default(),
        rlimits: rlimits.collect::<Result<_, _>>()?,
        oom_score_adj: process.oom_score_adj(),
        apparmor: label(process.apparmor_profile(), true),
        selinux: label(process.selinux_label(), node.selinux),
        keyring: format!("_ses.{id}").into(),
        cgroups: Vec::new(),
        filter: None,
        streams,
        timeout_ms: None,
    })
}

fn fits(spec: &Spec, process: &Process) -> Result<(), Unfit> {
    let linux = spec.linux().as_ref();
    let annotated = spec
        .annotations()
        .iter()
        .flatten()
        .any(|(name, _)| name.starts_with(HANDLER));
    let features = [
        ("a handler of its own", annotated),
        ("a scheduler", process.scheduler().is_some()),
        ("an I/O priority", process.io_priority().is_some()),
        ("CPUs for its execs", process.exec_cpu_affinity().is_some()),
        (
            "an execution domain",
            linux.is_some_and(|linux| linux.personality().is_some()),
        ),
        (
            "a class of cache and memory bandwidth",
            linux.is_some_and(|linux| linux.intel_rdt().is_some()),
        ),
    ];
    match features.into_iter().find(|(_, has)| *has) {
        Some((feature, _)) => Err(Unfit::Feature(feature)),
        None => Ok(()),
    }
}

fn capabilities(sets: Option<&LinuxCapabilities>) -> Result<Capabilities, Unfit> {
    // Without any the runtime decides.
    let sets = sets.ok_or(Unfit::Value("its capabilities"))?;
    Ok(Capabilities {
        bounding: bits(sets.bounding().as_ref())?,
        effective: bits(sets.effective().as_ref())?,
        permitted: bits(sets.permitted().as_ref())?,
        inheritable: bits(sets.inheritable().as_ref())?,
        ambient: bits(sets.ambient().as_ref())?,
    })
}

fn bits(names: Option<&Names>) -> Result<u64, Unfit> {
    let set = names.map_or(Ok(CapSet::EMPTY), CapSet::from_oci);
    set.map(CapSet::bits)
        .map_err(|_| Unfit::Value("a capability"))
}

fn rlimit(limit: &PosixRlimit) -> Result<Rlimit, Unfit> {
    let resource = resource(limit.typ()).ok_or(Unfit::Value("a limit"))?;
    Ok(Rlimit {
        resource: resource as u32,
        soft: limit.soft(),
        hard: limit.hard(),
    })
}
