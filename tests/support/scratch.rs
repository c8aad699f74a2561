//! Directories and mounts that a test owns.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::run;

/// A directory of its own for a test, with a name that nothing else on the machine has.
pub(crate) struct Scratch {
    dir: PathBuf,
    token: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, for it becomes part of socket paths and of interface names.
        let token = match std::env::var("CORTEN_TEST_TAG") {
            Ok(tag) => format!("{tag}-{count:03x}"),
            Err(_) => format!("{:x}-{count:03x}", std::process::id()),
        };
        let dir = std::env::temp_dir().join(format!("corten-test-{token}"));
        std::fs::create_dir(&dir).unwrap_or_else(|e| panic!("creating {}: {e}", dir.display()));
        Self { dir, token }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The part of its name that is unique.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Makes a directory inside.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file inside.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a program inside.
    pub(crate) fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Every mount point at or below it, deepest first.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        mounts_below(&self.dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for mount in self.mounts() {
            let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Mount points of this process at or below `dir`, the latest first.
pub(crate) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(dir))
        .collect();
    found.reverse();
    found
}

/// A mount that goes away with its owner.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// `mount ARGS… TARGET`.
    pub(crate) async fn new(args: &[&str], target: &Path) -> Self {
        let mut words = vec!["mount"];
        words.extend(args);
        words.push(target.to_str().unwrap());
        run(&words).await.ok();
        Self(target.to_owned())
    }

    /// `dir` bound onto itself and shared with whoever copies the mount table, whatever `/` is.
    pub(crate) async fn shared(dir: &Path) -> Self {
        let mount = Self::new(&["--bind", dir.to_str().unwrap()], dir).await;
        run(&["mount", "--make-rshared", dir.to_str().unwrap()])
            .await
            .ok();
        mount
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for mount in mounts_below(&self.0) {
            let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}
