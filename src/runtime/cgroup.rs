//! A container's cgroup.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use libcgroups::common::{
    AnyCgroupManager, CgroupConfig, CgroupManager, ControllerOpt, FreezerState,
    create_cgroup_manager,
};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxPids, LinuxResources};
use serde::{Deserialize, Serialize};

use crate::{
    causes::whole,
    sys::{
        cgroup::{self, Roots},
        device_filter,
    },
};

use super::{
    entry::Entry,
    error::Failure,
    limits::{self, Setting},
};

/// Where hierarchies are mounted.
pub(super) const MOUNT: &str = "/sys/fs/cgroup";

/// How long killed processes may take to leave.
pub(super) const DEATH: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(2);

/// A cgroup, by its path below the root of each hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group(PathBuf);

/// Whether cgroup v2 is all there is.
pub(super) fn is_unified() -> bool {
    // Widths of f_type differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    let unified = rustix::fs::statfs(MOUNT).is_ok_and(|s| s.f_type as i64 == 0x6367_7270);
    unified
}

impl Group {
    /// Reads `linux.cgroupsPath`.
    pub(super) fn parse(path: impl Into<PathBuf>) -> Result<Self, Failure> {
        let path = path.into();
        let text = path.to_string_lossy();
        if text.contains(':') {
            let what = format!("cgroupsPath {text:?} of the systemd driver");
            return Err(Failure::Unsupported(what));
        }
        let below = path.strip_prefix("/").unwrap_or(&path);
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        if below.as_os_str().is_empty() || !below.components().all(plain) {
            return Err(Failure::Spec(format!("cgroupsPath {text:?}")));
        }
        Ok(Self(Path::new("/").join(below)))
    }

    /// For libcontainer.
    pub(super) fn config(&self, id: &str) -> CgroupConfig {
        CgroupConfig {
            cgroup_path: self.0.clone(),
            systemd_cgroup: false,
            container_name: id.to_owned(),
        }
    }

    /// Where a process of it is now: on v2 it may have gone deeper, and then nothing may enter the cgroup itself.
    pub(super) fn of_process(&self, pid: i32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
        match unified.map(Path::new) {
            Some(path) if is_unified() && path.starts_with(&self.0) => Self(path.to_owned()),
            _ => self.clone(),
        }
    }

    /// Its path, relative to the hierarchies' roots.
    fn below(&self) -> &Path {
        self.0.strip_prefix("/").unwrap_or(&self.0)
    }

    fn manager(&self) -> Result<AnyCgroupManager, Failure> {
        create_cgroup_manager(self.config("")).map_err(|e| Failure::Cgroup(whole(&e)))
    }

    /// Its directories, one for each hierarchy that has it.
    pub(super) fn directories(&self) -> io::Result<Vec<PathBuf>> {
        let below = self.below();
        let all = roots()?.points().map(|root| root.join(below));
        Ok(all.filter(|dir| dir.is_dir()).collect())
    }

    /// Makes its directories, and what is missing above them, so that a process can be in them.
    pub(super) fn make(&self) -> io::Result<()> {
        let below = self.below();
        let Roots { v1, unified } = roots()?;
        for root in v1 {
            fs::create_dir_all(root.point.join(below))?;
            if root.has("cpuset") {
                inherit(&root.point, below, "cpuset.cpus")?;
                inherit(&root.point, below, "cpuset.mems")?;
            }
        }
        let Some(root) = unified else {
            return Ok(());
        };
        if !is_unified() {
            return fs::create_dir_all(root.join(below));
        }
        hand_down(root, below)
    }

    /// Its directories in the hierarchies of cgroup v1, each with the hierarchy's root.
    pub(super) fn directories_v1(
        &self,
    ) -> io::Result<impl Iterator<Item = (&'static Path, PathBuf)>> {
        let below = self.below();
        let all = roots()?.v1.iter();
        Ok(all.map(move |root| (root.point.as_path(), root.point.join(below))))
    }

    /// What it takes to be in it from the first moment on.
    pub(super) fn entry(&self) -> Result<Entry, Failure> {
        let entry = roots().and_then(|roots| Entry::open(roots, self.below()));
        entry.map_err(Failure::step("opening the cgroup"))
    }

    /// Sets the limits of a container whose processes are yet to come, all but that of their number: who makes the first
    /// of them is among them until then.
    pub(super) fn limit_at_first(&self, resources: &LinuxResources) -> Result<(), Failure> {
        let mut resources = resources.clone();
        resources.set_pids(None);
        if !is_unified()
            && let Some(settings) = limits::at_first(&resources)?
        {
            return settings.iter().try_for_each(|setting| self.set(setting));
        }
        self.apply(&resources)
    }

    /// By libcgroups.
    fn apply(&self, resources: &LinuxResources) -> Result<(), Failure> {
        let options = ControllerOpt {
            resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        let applied = self.manager()?.apply(&options);
        applied.map_err(|e| Failure::Cgroup(whole(&e)))
    }

    fn set(&self, setting: &Setting) -> Result<(), Failure> {
        let Setting {
            controller,
            file,
            value,
        } = setting;
        let failed = || Failure::step(format!("writing {value:?} to {file} of the cgroup"));
        let all = roots().map_err(failed())?;
        let root = all.v1.iter().find(|root| root.has(controller));
        let root = root.ok_or_else(|| {
            Failure::Cgroup(format!("the kernel has no cgroup controller {controller}"))
        })?;
        let file = root.point.join(self.below()).join(file);
        let mut open = fs::OpenOptions::new();
        let opened = open.write(true).open(file);
        opened
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(failed())
    }

    /// Sets the limit of their number, once the first is there.
    pub(super) fn limit_processes(&self, limit: &LinuxPids) -> Result<(), Failure> {
        let failed = || Failure::step("limiting the number of processes");
        let limit = match limit.limit() {
            limit @ 1.. => limit.to_string(),
            _ => "max".to_owned(),
        };
        let files = self.directories().map_err(failed())?;
        let mut files = files.iter().map(|dir| dir.join("pids.max"));
        match files.find(|file| file.exists()) {
            Some(file) => fs::write(file, limit).map_err(failed()),
            None => Err(failed()(io::Error::from(io::ErrorKind::NotFound))),
        }
    }

    /// Sets limits.
    pub(super) fn limit(&self, resources: &LinuxResources) -> Result<(), Failure> {
        self.check_usage(resources)?;
        let console = is_unified() || self.has_console();
        let applied = self.apply(resources);
        if !console {
            self.deny_console()
                .map_err(Failure::step("limiting the use of devices"))?;
        }
        applied
    }

    /// On v2 the kernel would kill until a limit fits.
    fn check_usage(&self, resources: &LinuxResources) -> Result<(), Failure> {
        let Some(memory) = resources.memory() else {
            return Ok(());
        };
        let limit = memory.limit().and_then(|limit| u64::try_from(limit).ok());
        if !is_unified() || memory.check_before_update() != Some(true) {
            return Ok(());
        }
        for dir in self.directories().unwrap_or_default() {
            if let (Some(limit), Some(usage)) = (limit, cgroup::number(&dir.join("memory.current")))
                && limit > 0
                && usage >= limit
            {
                let text = format!("rejecting memory limit {limit} <= usage {usage}");
                return Err(Failure::Cgroup(text));
            }
        }
        Ok(())
    }

    /// On v1 libcgroups lets everyone use the machine's console, at each change of limits.
    fn deny_console(&self) -> io::Result<()> {
        for dir in self.directories()? {
            let file = dir.join("devices.deny");
            if file.exists() {
                fs::write(file, "c 5:1 rwm")?;
            }
        }
        Ok(())
    }

    /// Whether the machine's console may be used, on v1.
    fn has_console(&self) -> bool {
        let lists = self.directories().unwrap_or_default();
        lists.iter().any(|dir| {
            fs::read_to_string(dir.join("devices.list")).is_ok_and(|list| {
                list.lines()
                    .any(|line| line.starts_with("a ") || line.starts_with("c 5:1 "))
            })
        })
    }

    /// On v2, has the kernel refuse devices; v1 has files for that, which libcgroups wrote.
    pub(super) fn limit_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<(), Failure> {
        if !is_unified() {
            let console = |rule: &LinuxDeviceCgroup| {
                rule.allow()
                    && rule.major().is_none_or(|major| major == 5)
                    && rule.minor().is_none_or(|minor| minor == 1)
            };
            if !rules.iter().any(console) {
                self.deny_console()
                    .map_err(Failure::step("limiting the use of devices"))?;
            }
            return Ok(());
        }
        let failed = || Failure::step("limiting the use of devices");
        let dirs = self.directories().map_err(failed())?;
        let dir = dirs
            .first()
            .ok_or_else(|| failed()(io::Error::from(io::ErrorKind::NotFound)))?;
        let rules = super::devices::rules(rules)?;
        device_filter::attach(dir, &rules).map_err(failed())
    }

    /// Stops all its processes where they are, or lets them go on.
    pub(super) fn freeze(&self, state: FreezerState) -> Result<(), Failure> {
        self.manager()?
            .freeze(state)
            .map_err(|e| Failure::Cgroup(whole(&e)))
    }

    /// Whether its processes are stopped.
    pub(super) fn is_frozen(&self) -> bool {
        let Ok(dirs) = self.directories() else {
            return false;
        };
        let holds = |path: PathBuf, text: &str| {
            fs::read_to_string(path).is_ok_and(|found| found.trim() == text)
        };
        dirs.iter().any(|dir| {
            holds(dir.join("freezer.state"), "FROZEN") || holds(dir.join("cgroup.freeze"), "1")
        })
    }

    /// All processes in it and below it.
    pub(super) fn processes(&self) -> io::Result<BTreeSet<i32>> {
        let mut all = BTreeSet::new();
        for dir in self.directories()? {
            collect(&dir, &mut all)?;
        }
        Ok(all)
    }

    /// Kills all that is in it, and waits until nothing is.
    pub(super) fn kill(&self) -> Result<(), Failure> {
        let until = Instant::now() + DEATH;
        loop {
            let left = self
                .processes()
                .map_err(Failure::step("listing processes"))?;
            if left.is_empty() {
                return Ok(());
            }
            for pid in &left {
                if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                    // Gone already is as good.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            // What is frozen on v1 does not die.
            for dir in self.directories().unwrap_or_default() {
                let state = dir.join("freezer.state");
                if state.exists() {
                    let _ = fs::write(state, "THAWED");
                }
            }
            if Instant::now() > until {
                return Err(Failure::Deathless(left.into_iter().collect()));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Removes it, once it is empty.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let until = Instant::now() + DEATH;
        loop {
            match roots().and_then(|roots| cgroup::remove_from(roots, &self.0)) {
                // The last to leave is gone a moment later.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                done => return done.map_err(Failure::step("removing the cgroup")),
            }
        }
    }
}

/// Where the hierarchies are; nobody mounts any while a container is made.
fn roots() -> io::Result<&'static Roots> {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots);
    }
    let found = cgroup::roots()?;
    Ok(ROOTS.get_or_init(|| found))
}

/// On v1 a new cgroup has no processors and no memory, and takes no process: it gets those of the one above.
fn inherit(root: &Path, below: &Path, file: &str) -> io::Result<()> {
    let mut dir = root.to_owned();
    let mut above = fs::read_to_string(dir.join(file))?;
    for part in below {
        dir.push(part);
        let path = dir.join(file);
        let own = fs::read_to_string(&path)?;
        if own.trim().is_empty() {
            fs::write(path, above.trim())?;
        } else {
            above = own;
        }
    }
    Ok(())
}

/// On v2 each cgroup above hands down what controllers it may. One that cannot be limits nothing; a limit that needs it
/// fails as it is set.
fn hand_down(root: &Path, below: &Path) -> io::Result<()> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
    let mut dir = root.to_owned();
    for part in below {
        let control = dir.join("cgroup.subtree_control");
        let given = fs::read_to_string(&control)?;
        let given: Vec<&str> = given.split_whitespace().collect();
        for name in controllers.split_whitespace() {
            if !given.contains(&name) {
                let _ = fs::write(&control, format!("+{name}"));
            }
        }
        dir.push(part);
        cgroup::make_one(&dir)?;
    }
    Ok(())
}

fn collect(dir: &Path, all: &mut BTreeSet<i32>) -> io::Result<()> {
    let gone = |e: &io::Error| {
        e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV)
    };
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(e) if gone(&e) => return Ok(()),
        // A threaded one below lists its processes above.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(e) => return Err(e),
    }
    // Of a process in another namespace the number is none.
    all.remove(&0);
    let entries = match fs::read_dir(dir) {
        Err(e) if gone(&e) => return Ok(()),
        other => other?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), all)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(Group::parse("/a/b").unwrap(), Group("/a/b".into()));
        assert_eq!(Group::parse("a").unwrap(), Group("/a".into()));
        for wrong in ["", "/", "/a/../b", "a/.."] {
            assert!(Group::parse(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(
            Group::parse("a.slice:corten:b"),
            Err(Failure::Unsupported(_))
        ));
    }

    #[test]
    fn one_that_is_not_there_has_nothing() {
        let group = Group::parse(format!("/corten-none-{}", std::process::id())).unwrap();
        assert!(group.processes().unwrap().is_empty());
        assert!(!group.is_frozen());
        group.kill().unwrap();
        group.remove().unwrap();
    }
}
