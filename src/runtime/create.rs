//! `create`: a container whose first process waits to be started.

use std::{io, path::Path};

use oci_spec::runtime::{LinuxNamespaceType as Kind, Mount};

use corten_conmon::log::Stamp;

use super::{
    arguments::Create,
    cgroup::Group,
    error::Failure,
    filter::Filter,
    inside::{Container, Inside, Plan},
    launch::{self, Launch, Opened},
    mounts::{self, Home},
    record::{Init, Record, SOCKET},
    report::Sayings,
    spec::{self, Parts},
};

/// Makes a container.
pub(super) fn run(root: &Path, create: &Create) -> Result<(), Failure> {
    let looking = |path: &Path| Failure::step(format!("looking at {}", path.display()));
    let bundle = std::fs::canonicalize(&create.bundle).map_err(looking(&create.bundle))?;
    let spec = spec::load(&bundle)?;
    spec::check(&spec)?;
    let parts = Parts::of(&spec)?;
    let filter = Filter::of(parts.linux.seccomp().as_ref())?;
    let console = launch::console(parts.process, create.console_socket.as_deref())?;
    let path = parts.linux.cgroups_path().clone();
    let path = path.unwrap_or_else(|| Path::new("/corten").join(&create.id));
    let mut record = Record {
        oci_version: spec.version().clone(),
        id: create.id.clone(),
        rootfs: spec::rootfs(&bundle, parts.root)?,
        bundle,
        group: Group::parse(path)?,
        capabilities: parts.process.capabilities().clone(),
        init: None,
        created: String::from_utf8_lossy(Stamp::now().as_bytes()).into_owned(),
        annotations: spec.annotations().clone().unwrap_or_default(),
    };
    let dir = record.begin(root)?;
    let made = make(root, &dir, create, &spec, &mut record, console, filter);
    if made.is_err() {
        // What cannot be removed now is removed by a deletion, which looks for the same.
        let _ = record.group.kill();
        let _ = record.group.remove();
        let _ = std::fs::remove_dir_all(&dir);
    }
    made
}

fn make(
    root: &Path,
    dir: &Path,
    create: &Create,
    spec: &oci_spec::runtime::Spec,
    record: &mut Record,
    console: Option<std::os::fd::OwnedFd>,
    filter: Option<Filter>,
) -> Result<(), Failure> {
    let parts = Parts::of(spec)?;
    if let Some(filter) = parts.linux.seccomp() {
        record.save_filter(root, filter)?;
    }
    let all: &[Mount] = spec.mounts().as_deref().unwrap_or_default();
    let label = parts.linux.mount_label().as_deref();
    let label = label.filter(|label| !label.is_empty());
    let divided = spec::divide(all, label.is_some());
    let making = || Failure::step("making the cgroup");
    record.group.make().map_err(making())?;
    let resources = parts.linux.resources().as_ref();
    if let Some(resources) = resources {
        record.group.limit_at_first(resources)?;
    }
    let mut asked = spec::for_container(spec, record.rootfs.clone(), divided.library)?;
    let opened = match asked.linux_mut() {
        Some(linux) => Opened::of(linux)?,
        None => Opened::default(),
    };
    let sayings = Sayings::new().map_err(Failure::step("making room for messages"))?;
    let list = |paths: &Option<Vec<String>>| paths.clone().unwrap_or_default();
    let home = Home {
        group: &record.group,
        users: opened.get(Kind::User),
        cgroup_namespace: parts.has(Kind::Cgroup),
        label,
    };
    let inside = Inside::new(Plan {
        id: create.id.clone(),
        process: parts.process.clone(),
        filter,
        container: Some(Container {
            mounts: mounts::plan(&divided.own, &home)?,
            stand_in: divided.stand_in,
            devices: parts
                .linux
                .devices()
                .iter()
                .flatten()
                .map(|device| device.path().clone())
                .collect(),
            read_only: parts.root.readonly() == Some(true),
            masked: list(parts.linux.masked_paths()),
            protected: list(parts.linux.readonly_paths()),
        }),
        sayings: sayings.clone(),
    });
    let launch = Launch {
        id: &create.id,
        spec: asked,
        rootfs: record.rootfs.clone(),
        socket: &dir.join(SOCKET),
        console,
        group: &record.group,
        pid_file: create.pid_file.as_deref(),
        inside,
        sayings,
        failing: None,
    };
    let pid = launch::launch(launch, parts.process)?;
    let rules = resources
        .and_then(|r| r.devices().as_deref())
        .unwrap_or_default();
    record.group.limit_devices(rules)?;
    if let Some(limit) = resources.and_then(|r| r.pids().as_ref()) {
        record.group.limit_processes(limit)?;
    }
    let init = Init::of(pid).map_err(|source: io::Error| Failure::Step {
        what: "looking at the first process".into(),
        source,
    })?;
    record.init = Some(init);
    record.save(root)
}
