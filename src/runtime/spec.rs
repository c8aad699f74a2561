//! Specifications: what this runtime can do of them, and what libcontainer is asked for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{
    Capabilities, Linux, LinuxNamespaceType as Kind, LinuxSeccomp, LinuxSeccompAction, Mount,
    Process, Root, Spec, User,
};

use super::{cgroup, error::Failure};

/// Where devices are made.
const DEV: &str = "/dev";

/// Reads a bundle's specification.
pub(super) fn load(bundle: &Path) -> Result<Spec, Failure> {
    let path = bundle.join("config.json");
    let failed = |source| Failure::Read {
        path: path.clone(),
        source,
    };
    let bytes = fs::read(&path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))
}

/// Reads a file with a process.
pub(super) fn load_process(path: &Path) -> Result<Process, Failure> {
    let failed = |source| Failure::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))
}

/// The parts that every specification needs, looked up once.
pub(super) struct Parts<'a> {
    pub(super) root: &'a Root,
    pub(super) process: &'a Process,
    pub(super) linux: &'a Linux,
}

impl<'a> Parts<'a> {
    /// Of a specification.
    pub(super) fn of(spec: &'a Spec) -> Result<Self, Failure> {
        let missing = |part: &str| Failure::Spec(format!("{part} is missing"));
        Ok(Self {
            root: spec.root().as_ref().ok_or_else(|| missing("root"))?,
            process: spec.process().as_ref().ok_or_else(|| missing("process"))?,
            linux: spec.linux().as_ref().ok_or_else(|| missing("linux"))?,
        })
    }

    /// Whether a kind of namespace is named.
    pub(super) fn has(&self, kind: Kind) -> bool {
        let mut all = self.linux.namespaces().iter().flatten();
        all.any(|namespace| namespace.typ() == kind)
    }
}

/// Refuses what would otherwise be left out in silence.
pub(super) fn check(spec: &Spec) -> Result<(), Failure> {
    let parts = Parts::of(spec)?;
    let linux = parts.linux;
    if !spec.version().starts_with("1.") {
        return Err(Failure::Spec(format!(
            "ociVersion {:?} is unknown",
            spec.version()
        )));
    }
    let resources = linux.resources().as_ref();
    let v2 = cgroup::is_unified();
    let network = resources.is_some_and(|r| r.network().is_some());
    let absent = [
        ("hooks", spec.hooks().is_some()),
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        (
            "linux.timeOffsets",
            linux.time_offsets().as_ref().is_some_and(|t| !t.is_empty()),
        ),
        ("linux.netDevices", linux.net_devices().is_some()),
        (
            "linux.resources.rdma",
            resources.is_some_and(|r| r.rdma().is_some()),
        ),
        ("linux.resources.network", v2 && network),
        (
            "linux.rootfsPropagation \"unbindable\"",
            linux.rootfs_propagation().as_deref() == Some("unbindable"),
        ),
        (
            "a container without a mount namespace",
            !parts.has(Kind::Mount),
        ),
    ];
    if let Some((field, _)) = absent.iter().find(|(_, asked)| *asked) {
        return Err(Failure::Unsupported((*field).to_owned()));
    }
    check_process(parts.process)?;
    linux.seccomp().as_ref().map_or(Ok(()), check_filter)
}

/// The same for a process.
pub(super) fn check_process(process: &Process) -> Result<(), Failure> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::Spec("process.args is empty".into()));
    }
    if !process.cwd().is_absolute() {
        return Err(Failure::Spec("process.cwd is not absolute".into()));
    }
    if let Some(wanted) = process.capabilities() {
        // The kernel has them in no other way.
        let none = Default::default();
        let held = |set: &Option<Capabilities>| set.clone().unwrap_or_else(|| Clone::clone(&none));
        let ambient = held(wanted.ambient());
        let possible = held(wanted.permitted());
        let possible = possible
            .intersection(wanted.inheritable().as_ref().unwrap_or(&none))
            .copied();
        if !ambient.is_subset(&possible.collect()) {
            return Err(Failure::Spec(
                "process.capabilities.ambient has what is not permitted and inheritable".into(),
            ));
        }
    }
    let affinity = process.exec_cpu_affinity().is_some();
    match affinity {
        true => Err(Failure::Unsupported("process.execCPUAffinity".into())),
        false => Ok(()),
    }
}

fn check_filter(filter: &LinuxSeccomp) -> Result<(), Failure> {
    let notifies = |action| action == LinuxSeccompAction::ScmpActNotify;
    let mut rules = filter.syscalls().iter().flatten();
    if filter.listener_path().is_some()
        || notifies(filter.default_action())
        || rules.any(|rule| notifies(rule.action()))
    {
        return Err(Failure::Unsupported(
            "linux.seccomp with SCMP_ACT_NOTIFY or a listener".into(),
        ));
    }
    Ok(())
}

/// Mounts, by who makes them.
pub(super) struct Divided {
    /// File systems of the kernel that come before everything else: libcontainer makes them.
    pub(super) library: Vec<Mount>,
    /// All others, in their order.
    pub(super) own: Vec<Mount>,
    /// `/dev` is made for libcontainer to put devices in alone, and goes again.
    pub(super) stand_in: bool,
}

/// Divides mounts between libcontainer, which does nothing about propagation, ID mappings and read-only cgroups, and gives
/// all the same label, and this runtime.
pub(super) fn divide(mounts: &[Mount], labelled: bool) -> Divided {
    let new = |mount: &&Mount| {
        let kind = mount.typ().as_deref().unwrap_or_default();
        matches!(kind, "proc" | "sysfs" | "tmpfs" | "devpts") || kind == "mqueue" && !labelled
    };
    let count = mounts.iter().take_while(new).count();
    let (first, rest) = mounts.split_at(count);
    let mut library = first.to_vec();
    let has_dev = library.iter().any(|m| m.destination() == Path::new(DEV));
    if !has_dev {
        let mut dev = Mount::default();
        dev.set_destination(DEV.into())
            .set_typ(Some("tmpfs".into()))
            .set_source(Some("tmpfs".into()))
            .set_options(Some(vec!["nosuid".into(), "mode=755".into()]));
        library.push(dev);
    }
    Divided {
        library,
        own: rest.to_vec(),
        stand_in: !has_dev,
    }
}

/// What libcontainer is asked for when it makes a container: all that it does as it should. The process of the
/// specification itself stays the host's root until [`super::inside`] has done the rest.
pub(super) fn for_container(
    spec: &Spec,
    rootfs: PathBuf,
    mounts: Vec<Mount>,
) -> Result<Spec, Failure> {
    let parts = Parts::of(spec)?;
    let mut linux = parts.linux.clone();
    linux
        .set_resources(None)
        .set_seccomp(None)
        .set_masked_paths(None)
        .set_readonly_paths(None)
        .set_rootfs_propagation(propagation(parts.linux)?);
    let mut root = Root::default();
    root.set_path(rootfs).set_readonly(Some(false));
    let mut asked = bare(root, linux);
    let mut process = bare_process();
    process
        .set_scheduler(parts.process.scheduler().clone())
        .set_io_priority(*parts.process.io_priority());
    asked
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_hostname(spec.hostname().clone())
        .set_domainname(spec.domainname().clone());
    Ok(asked)
}

/// What libcontainer is asked for when a further process enters a container.
pub(super) fn for_process(process: &Process, linux: Linux) -> Spec {
    let mut root = Root::default();
    root.set_path("/".into()).set_readonly(Some(false));
    let mut asked = bare(root, linux);
    let mut entering = bare_process();
    entering
        .set_scheduler(process.scheduler().clone())
        .set_io_priority(*process.io_priority());
    asked.set_process(Some(entering));
    asked
}

fn bare(root: Root, linux: Linux) -> Spec {
    let mut spec = Spec::default();
    spec.set_root(Some(root))
        .set_linux(Some(linux))
        .set_mounts(Some(Vec::new()))
        .set_hostname(None)
        .set_hooks(None)
        .set_annotations(None);
    spec
}

/// A process that stays who it is. libcontainer looks a missing HOME up through libraries of the container.
fn bare_process() -> Process {
    let mut process = Process::default();
    process
        .set_user(User::default())
        .set_args(Some(vec!["/".into()]))
        .set_env(Some(vec!["HOME=/".into()]))
        .set_cwd("/".into())
        .set_capabilities(None)
        .set_rlimits(None)
        .set_no_new_privileges(None)
        .set_apparmor_profile(None)
        .set_selinux_label(None);
    process
}

/// libcontainer knows these without their `r`, and means all mounts by them. Volumes share with the host what they are to
/// share already as they come; in a shared root all other mounts would be shared too.
fn propagation(linux: &Linux) -> Result<Option<String>, Failure> {
    let Some(asked) = linux.rootfs_propagation() else {
        return Ok(None);
    };
    let known = asked.strip_prefix('r').unwrap_or(asked);
    match known {
        "" => Ok(None),
        "shared" => Ok(Some("private".to_owned())),
        "slave" | "private" => Ok(Some(known.to_owned())),
        _ => Err(Failure::Spec(format!("rootfsPropagation {asked:?}"))),
    }
}

/// The root file system's absolute path. What libcontainer makes below it by name must not be led elsewhere by links.
pub(super) fn rootfs(bundle: &Path, root: &Root) -> Result<PathBuf, Failure> {
    let path = bundle.join(root.path());
    let looking = |path: &Path| Failure::step(format!("looking at {}", path.display()));
    let rootfs = fs::canonicalize(&path).map_err(looking(&path))?;
    for name in ["dev", "proc", "sys"] {
        let place = rootfs.join(name);
        match fs::symlink_metadata(&place) {
            Ok(data) if data.is_dir() => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Ok(_) => {
                let text = format!("/{name} of the root file system is not a directory");
                return Err(Failure::Spec(text));
            }
            Err(e) => return Err(looking(&place)(e)),
        }
    }
    Ok(rootfs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(change: impl FnOnce(&mut serde_json::Value)) -> Spec {
        let mut json = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": true},
            "process": {"user": {"uid": 7, "gid": 8}, "args": ["/x"], "cwd": "/y", "env": [],
                "noNewPrivileges": true},
            "mounts": [],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}],
                "maskedPaths": ["/proc/kcore"], "rootfsPropagation": "rshared"},
        });
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        assert!(check(&spec(|_| {})).is_ok());
        for (pointer, value, name) in [
            ("hooks", json!({}), "hooks"),
            ("vm", json!({"kernel": {"path": "/k"}}), "vm"),
        ] {
            let error = check(&spec(|s| s[pointer] = value)).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
        for (field, value) in [
            ("intelRdt", json!({"closID": "x"})),
            (
                "seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}),
            ),
            ("namespaces", json!([{"type": "pid"}])),
            ("rootfsPropagation", json!("unbindable")),
        ] {
            let error = check(&spec(|s| s["linux"][field] = value)).unwrap_err();
            assert!(matches!(error, Failure::Unsupported(_)), "{field}: {error}");
        }
        assert!(check(&spec(|s| s["process"]["args"] = json!([]))).is_err());
        assert!(check(&spec(|s| s["process"]["cwd"] = json!("y"))).is_err());
        assert!(check(&spec(|s| s["ociVersion"] = json!("2.0.0"))).is_err());
    }

    #[test]
    fn libcontainer_is_asked_for_nothing_that_is_done_here() {
        let spec = spec(|_| {});
        let asked = for_container(&spec, "/r".into(), Vec::new()).unwrap();
        let parts = Parts::of(&asked).unwrap();
        assert_eq!(parts.root.path(), Path::new("/r"));
        assert_eq!(parts.root.readonly(), Some(false));
        assert_eq!(
            (parts.process.user().uid(), parts.process.user().gid()),
            (0, 0)
        );
        assert_eq!(parts.process.no_new_privileges(), None);
        assert!(parts.process.capabilities().is_none());
        assert!(parts.linux.masked_paths().is_none() && parts.linux.seccomp().is_none());
        assert_eq!(parts.linux.rootfs_propagation().as_deref(), Some("private"));
        assert_eq!(parts.linux.namespaces().as_ref().unwrap().len(), 2);
    }

    #[test]
    fn mounts_are_divided_where_the_first_volume_comes() {
        let mount = |to: &str, kind: &str| {
            let mut mount = Mount::default();
            mount.set_destination(to.into()).set_typ(Some(kind.into()));
            mount
        };
        let all = [
            mount("/proc", "proc"),
            mount("/dev", "tmpfs"),
            mount("/data", "bind"),
            mount("/data/tmp", "tmpfs"),
        ];
        let divided = divide(&all, false);
        assert_eq!((divided.library.len(), divided.own.len()), (2, 2));
        assert!(!divided.stand_in);
        let divided = divide(&all[2..], false);
        assert!(divided.stand_in);
        assert_eq!((divided.library.len(), divided.own.len()), (1, 2));
        // libcontainer would give a label to a queue, which the kernel refuses.
        let all = [mount("/proc", "proc"), mount("/dev/mqueue", "mqueue")];
        assert_eq!(divide(&all, false).own.len(), 0);
        assert_eq!(divide(&all, true).own.len(), 1);
    }

    #[test]
    fn links_in_the_root_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir_all(root.join("proc")).unwrap();
        let spec = spec(|_| {});
        let parts = Parts::of(&spec).unwrap();
        assert!(rootfs(dir.path(), parts.root).is_ok());
        std::os::unix::fs::symlink("/etc", root.join("dev")).unwrap();
        let error = rootfs(dir.path(), parts.root).unwrap_err();
        assert!(error.to_string().contains("/dev"), "{error}");
    }
}
