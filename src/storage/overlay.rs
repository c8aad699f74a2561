//! Overlay mounts: which options, and the two ways to hand them to the kernel.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::mapped;
use crate::id_map::UserMappings;
use crate::sys::mount::{self, Attributes, Param};
use crate::sys::rooted;

/// Layers that overlay stacks.
pub(crate) const MAX_LAYERS: usize = 500;
/// The longest value the kernel takes for one option.
const MAX_VALUE: usize = 255;

/// How this kernel takes lower directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// One by one, through `fsconfig`: as many as can be stacked.
    OneByOne,
    /// All in one option of `mount`, which has to fit a page.
    OneOption,
}

/// An overlay to be mounted.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// The lower directories, top first; at least one.
    pub(crate) lower: Vec<PathBuf>,
    /// The directory that takes what is written, and its work directory.
    pub(crate) upper: Option<(PathBuf, PathBuf)>,
    pub(crate) volatile: bool,
    pub(crate) context: Option<String>,
    /// Nothing can be written through the mount, and setuid bits and devices mean nothing there.
    pub(crate) inert: bool,
    /// Maps the IDs of the lower directories; the upper one has those of the host.
    pub(crate) users: Option<UserMappings>,
}

/// Options set whatever the kernel's defaults: upper directories must mean the same on every kernel, hold
/// whole files, and never follow redirections that an image could have put there.
const FIXED: [(&str, &str); 3] = [
    ("index", "off"),
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
];

impl Overlay {
    /// Mounts it at `target`.
    pub(crate) fn mount(&self, target: &Path, method: Method) -> io::Result<()> {
        if let Some(users) = &self.users {
            let mount = mapped::detached(self, users, method, target)?;
            return mount::attach(mount.as_fd(), target);
        }
        match method {
            Method::OneByOne => mount::attach(self.detached()?.as_fd(), target),
            Method::OneOption => self.mount_at(target),
        }
    }

    /// Makes the mount without attaching it.
    pub(crate) fn detached(&self) -> io::Result<OwnedFd> {
        // Descriptors whose numbers are used as paths must stay open until the mount is made.
        let mut kept = Vec::new();
        let mut params = Vec::with_capacity(self.lower.len() + 8);
        let mut value = |name: &str, value: String| params.push(Param::Value(name.into(), value));
        value("source", "overlay".into());
        for (name, setting) in FIXED {
            value(name, setting.into());
        }
        for lower in &self.lower {
            value("lowerdir+", short(lower, &mut kept)?);
        }
        if let Some((upper, work)) = &self.upper {
            value("upperdir", short(upper, &mut kept)?);
            value("workdir", short(work, &mut kept)?);
        }
        if let Some(context) = &self.context {
            value("context", context.clone());
        }
        if self.volatile {
            params.push(Param::Flag("volatile".into()));
        }
        let attributes = if self.inert {
            mount::inert()
        } else {
            Attributes::empty()
        };
        mount::detached("overlay", &params, attributes)
    }

    pub(super) fn mount_at(&self, target: &Path) -> io::Result<()> {
        let mut kept = Vec::new();
        let mut lower = Vec::with_capacity(self.lower.len());
        for path in &self.lower {
            lower.push(by_descriptor(path, &mut kept)?);
        }
        let mut options: Vec<String> = FIXED.iter().map(|(n, v)| format!("{n}={v}")).collect();
        options.push(format!("lowerdir={}", lower.join(":")));
        if let Some((upper, work)) = &self.upper {
            options.push(format!("upperdir={}", by_descriptor(upper, &mut kept)?));
            options.push(format!("workdir={}", by_descriptor(work, &mut kept)?));
        }
        if let Some(context) = &self.context {
            if context.contains('"') {
                let text = format!("SELinux label {context:?} holds a quotation mark");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            options.push(format!("context=\"{context}\""));
        }
        if self.volatile {
            options.push("volatile".into());
        }
        let flags = if self.inert {
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV
        } else {
            MountFlags::empty()
        };
        mount::mount_at("overlay", target, flags, &options.join(","))
    }
}

/// The path itself where the kernel takes it as it is, else a short one through a descriptor.
fn short(path: &Path, kept: &mut Vec<OwnedFd>) -> io::Result<String> {
    match path.to_str() {
        // Some options undo backslashes.
        Some(text) if text.len() <= MAX_VALUE && !text.contains('\\') => Ok(text.to_owned()),
        _ => by_descriptor(path, kept),
    }
}

fn by_descriptor(path: &Path, kept: &mut Vec<OwnedFd>) -> io::Result<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let name: OsString = rooted::fd_path(fd.as_fd()).into();
    kept.push(fd);
    Ok(String::from_utf8_lossy(name.as_bytes()).into_owned())
}

/// Finds out how overlay can be mounted on directories in `dir`, by doing it.
pub(crate) fn probe(dir: &Path) -> io::Result<Method> {
    let [lower, empty, upper, work, at] =
        ["lower", "empty", "upper", "work", "at"].map(|n| dir.join(n));
    for path in [&lower, &empty, &upper, &work, &at] {
        std::fs::create_dir_all(path)?;
    }
    std::fs::write(lower.join("hidden"), "")?;
    let overlay = Overlay {
        lower: vec![lower.clone(), empty],
        upper: Some((upper.clone(), work)),
        ..Overlay::default()
    };
    let mounted = overlay.mount(&at, Method::OneByOne);
    let method = match mounted {
        Ok(()) => Method::OneByOne,
        // Kernels before 6.8 know no lower directories one by one.
        Err(first) => match overlay.mount(&at, Method::OneOption) {
            Ok(()) => Method::OneOption,
            Err(_) => return Err(first),
        },
    };
    let works = try_out(&at, &upper);
    mount::detach_all(&at)?;
    works.map(|()| method)
}

/// What containers do first: hide a file of the image, and replace a directory.
fn try_out(at: &Path, upper: &Path) -> io::Result<()> {
    std::fs::write(at.join("new"), "x")?;
    std::fs::remove_file(at.join("hidden"))?;
    std::fs::symlink_metadata(upper.join("hidden"))?;
    Ok(())
}

/// Whether `dir` lies on an overlay itself.
pub(crate) fn lies_on_overlay(dir: &Path) -> io::Result<bool> {
    const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
    let stat = rustix::fs::statfs(dir)?;
    Ok(u64::try_from(stat.f_type).is_ok_and(|t| t == OVERLAYFS_SUPER_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways show the same, with more layers than one page of full paths could name.
    #[test]
    fn both_methods_stack_many_layers() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let base = dir.path().join("x".repeat(100));
        let mut lower = Vec::new();
        for i in 0..130 {
            let layer = base.join(format!("layer{i}"));
            std::fs::create_dir_all(&layer).unwrap();
            std::fs::write(layer.join("top"), i.to_string()).unwrap();
            std::fs::write(layer.join(i.to_string()), "").unwrap();
            lower.insert(0, layer);
        }
        for method in [Method::OneByOne, Method::OneOption] {
            let at = dir.path().join("at");
            std::fs::create_dir_all(&at).unwrap();
            let overlay = Overlay {
                lower: lower.clone(),
                inert: true,
                ..Overlay::default()
            };
            overlay.mount(&at, method).unwrap();
            let top = std::fs::read_to_string(at.join("top"));
            let count = std::fs::read_dir(&at).unwrap().count();
            let written = std::fs::write(at.join("new"), "");
            mount::detach_all(&at).unwrap();
            assert_eq!(top.unwrap(), "129", "{method:?}");
            assert_eq!(count, 131);
            assert_eq!(
                written.unwrap_err().kind(),
                io::ErrorKind::ReadOnlyFilesystem
            );
        }
    }

    #[test]
    fn both_methods_map_ids() {
        use std::os::unix::fs::{MetadataExt, chown};
        let list = vec![crate::id_map::IdMapping {
            host_id: 70_000,
            container_id: 0,
            length: 10,
        }];
        let users = UserMappings {
            uids: list.clone(),
            gids: list,
        };
        for method in [Method::OneByOne, Method::OneOption] {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let [one, two, upper, work, at] =
                ["one", "two", "upper", "work", "at"].map(|n| dir.path().join(n));
            for path in [&one, &two, &upper, &work, &at] {
                std::fs::create_dir(path).unwrap();
            }
            std::fs::write(one.join("roots"), "").unwrap();
            std::fs::write(two.join("threes"), "").unwrap();
            chown(two.join("threes"), Some(3), Some(4)).unwrap();
            chown(&upper, Some(70_000), Some(70_000)).unwrap();
            let overlay = Overlay {
                lower: vec![two.clone(), one.clone()],
                upper: Some((upper.clone(), work)),
                users: Some(users.clone()),
                ..Overlay::default()
            };
            overlay.mount(&at, method).unwrap();
            let owner = |path: PathBuf| path.metadata().map(|m| (m.uid(), m.gid()));
            let seen = [".", "roots", "threes"].map(|name| owner(at.join(name)));
            let copied_up = std::fs::write(at.join("threes"), "x");
            mount::detach_all(&at).unwrap();
            copied_up.unwrap();
            let seen = seen.map(Result::unwrap);
            assert_eq!(
                seen,
                [(70_000, 70_000), (70_000, 70_000), (70_003, 70_004)],
                "{method:?}"
            );
            assert_eq!(owner(upper.join("threes")).unwrap(), (70_003, 70_004));
            assert_eq!(owner(two.join("threes")).unwrap(), (3, 4));
            assert!(!mount::is_mountpoint(&one).unwrap());
            mapped::probe(dir.path(), method).unwrap();
        }
    }

    #[test]
    fn paths_the_options_cannot_hold() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let odd = dir
            .path()
            .join("a:b,c\\d \"e\"")
            .join("y".repeat(200))
            .join("z".repeat(90));
        std::fs::create_dir_all(&odd).unwrap();
        for _ in 0..2 {
            let method = probe(&odd).unwrap();
            let at = odd.join("at");
            let overlay = Overlay {
                lower: vec![odd.join("lower"), odd.join("empty")],
                upper: Some((odd.join("upper"), odd.join("work"))),
                volatile: false,
                ..Overlay::default()
            };
            overlay.mount(&at, Method::OneOption).unwrap();
            mount::detach_all(&at).unwrap();
            assert_eq!(method, Method::OneByOne);
            std::fs::remove_file(odd.join("upper/hidden")).unwrap();
        }
    }
}
