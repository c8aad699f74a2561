//! A file system served by the test itself over /dev/fuse, which can stop answering or answer with an error.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::AsRawFd,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread::JoinHandle,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Nothing is answered any more: a server that is dead while its connection is held open.
const SILENT: i32 = i32::MIN;

/// A mounted file system that has an empty directory and nothing else.
pub(super) struct Fuse {
    target: PathBuf,
    mood: Arc<AtomicI32>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Mounts it on a directory.
    pub(super) fn mount(target: &Path) -> Self {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open("/dev/fuse")
            .unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        mount(
            Some("faulty"),
            target,
            Some("fuse"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(options.as_str()),
        )
        .unwrap_or_else(|e| panic!("mounting a FUSE file system: {e}"));
        let mood = Arc::new(AtomicI32::new(0));
        let shared = mood.clone();
        let server = std::thread::spawn(move || serve(device, &shared));
        Self {
            target: target.to_owned(),
            mood,
            server: Some(server),
        }
    }

    /// From now on requests are read and never answered.
    pub(super) fn fall_silent(&self) {
        self.mood.store(SILENT, Ordering::SeqCst);
    }

    /// From now on requests are answered with this error number.
    pub(super) fn fail(&self, errno: i32) {
        self.mood.store(-errno, Ordering::SeqCst);
    }

    /// From now on requests are served.
    pub(super) fn recover(&self) {
        self.mood.store(0, Ordering::SeqCst);
    }
}

impl Drop for Fuse {
    /// Breaks the connection off, which ends whatever waits for an answer.
    fn drop(&mut self) {
        let _ = umount2(&self.target, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// Answers until the file system is gone.
fn serve(mut device: File, mood: &AtomicI32) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let len = match device.read(&mut buffer) {
            Ok(len) => len,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            // A request that was taken back before it was read.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(_) => return,
        };
        if len < 40 {
            return;
        }
        let number = |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        let opcode = number(4);
        let unique = u64::from_ne_bytes(buffer[8..16].try_into().unwrap());
        let mood = match opcode {
            INIT => 0,
            _ => mood.load(Ordering::SeqCst),
        };
        if mood == SILENT || matches!(opcode, FORGET | INTERRUPT | BATCH_FORGET) {
            continue;
        }
        let (error, body) = match (mood, opcode) {
            (errno, _) if errno != 0 => (errno, Vec::new()),
            (_, INIT) => (0, init()),
            (_, GETATTR) => (0, attributes()),
            (_, STATFS) => (0, vec![0; 80]),
            (_, OPENDIR) => (0, vec![0; 16]),
            (_, READDIR | RELEASEDIR) => (0, Vec::new()),
            (_, LOOKUP) => (-libc::ENOENT, Vec::new()),
            _ => (-libc::ENOSYS, Vec::new()),
        };
        let mut answer = Vec::with_capacity(16 + body.len());
        let total = u32::try_from(16 + body.len()).unwrap();
        answer.extend(total.to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        // One that nobody waits for any more is refused.
        let _ = device.write(&answer);
    }
}

/// `fuse_init_out`: version 7.31, and nothing beyond what every server has.
fn init() -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    for word in [7u32, 31, 0, 0, 12 | 9 << 16, 4096, 1] {
        out.extend(word.to_ne_bytes());
    }
    out.resize(64, 0);
    out
}

/// `fuse_attr_out` of the root directory, which is never to be remembered: each look asks again.
fn attributes() -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend(1u64.to_ne_bytes());
    out.resize(16 + 60, 0);
    for word in [0o040_755u32, 2, 0, 0, 0, 4096, 0] {
        out.extend(word.to_ne_bytes());
    }
    out
}
