//! Kernel parameters of a namespace: which may be set, where they lie, and setting them.

use std::{fs::File, io::Write, os::fd::OwnedFd, path::PathBuf};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    process::Uid,
    thread::set_thread_res_uid,
};

use crate::id_map::Owner;

/// Longest name and longest value accepted, in bytes.
const MAX_NAME: usize = 256;
const MAX_VALUE: usize = 4096;

/// The namespace a kernel parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The network namespace.
    Net,
    /// The IPC namespace.
    Ipc,
    /// The UTS namespace.
    Uts,
}

impl Scope {
    fn label(self) -> &'static str {
        match self {
            Self::Net => "network",
            Self::Ipc => "IPC",
            Self::Uts => "UTS",
        }
    }
}

/// A kernel parameter that may be set inside a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Where it lies below `/proc/sys`.
    pub path: PathBuf,
    /// The namespace it belongs to.
    pub scope: Scope,
    /// One of those Kubernetes lets any pod set.
    pub safe: bool,
    name: String,
    value: String,
}

/// A kernel parameter that will not be set.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Not a name.
    #[error("sysctl {name:?}: the name {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a value.
    #[error("sysctl {name:?}: the value {value:?} {reason}")]
    Value {
        /// The parameter.
        name: String,
        /// As given, shortened.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The parameter is the whole machine's.
    #[error("sysctl {0:?} is not namespaced: setting it would change the node")]
    NotNamespaced(String),
    /// There is a field for it.
    #[error("sysctl {0:?} is set by the pod's hostname")]
    Hostname(String),
    /// The namespace it belongs to is the host's.
    #[error("sysctl {name:?} needs a {} namespace of the pod's own", scope.label())]
    HostNamespace {
        /// The parameter.
        name: String,
        /// Its namespace.
        scope: Scope,
    },
    /// The kernel would not.
    #[error("sysctl {name:?}: writing {value:?} to /proc/sys/{}", path.display())]
    Write {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
        /// Below `/proc/sys`.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The parameters any pod may set; the others of a namespace are the cluster administrator's to allow.
const SAFE: [&str; 12] = [
    "kernel/shm_rmid_forced",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ping_group_range",
    "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_keepalive_intvl",
    "net/ipv4/tcp_keepalive_probes",
    "net/ipv4/tcp_keepalive_time",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_wmem",
];

impl Sysctl {
    /// Checks a name and a value. `own` tells whether a namespace is the pod's own.
    ///
    /// The first separator decides how a name is read: after a dot, dots separate and slashes stand for
    /// dots (`net.ipv4.conf.eth0/100.forwarding`); after a slash it is the other way round.
    pub fn parse(
        name: &str,
        value: &str,
        own: impl Fn(Scope) -> bool,
    ) -> Result<Self, SysctlError> {
        let path = path_of(name).map_err(|reason| SysctlError::Name {
            name: shorten(name),
            reason,
        })?;
        check_value(value).map_err(|reason| SysctlError::Value {
            name: name.to_owned(),
            value: shorten(value),
            reason,
        })?;
        if path == "kernel/hostname" {
            return Err(SysctlError::Hostname(name.to_owned()));
        }
        let Some(scope) = scope_of(&path) else {
            return Err(SysctlError::NotNamespaced(name.to_owned()));
        };
        if !own(scope) {
            return Err(SysctlError::HostNamespace {
                name: name.to_owned(),
                scope,
            });
        }
        Ok(Self {
            safe: SAFE.contains(&path.as_str()),
            path: path.into(),
            scope,
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    /// Sets it in the namespaces of the calling thread, which must not be the host's. `root` is the root
    /// user of the user namespace that owns them, where that is not the host's.
    pub(super) fn write(&self, root: Option<Owner>) -> Result<(), SysctlError> {
        let written = match (self.try_write(), root) {
            // Some are for that user alone: of a namespace's owner, not of the host's root.
            (Err(e), Some(root)) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                as_user(root, || self.try_write())
            }
            (written, _) => written,
        };
        written.map_err(|source| SysctlError::Write {
            name: self.name.clone(),
            value: self.value.clone(),
            path: self.path.clone(),
            source,
        })
    }

    fn try_write(&self) -> std::io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let root: OwnedFd = rustix::fs::open("/proc/sys", flags, Mode::empty())?;
        let file = rustix::fs::openat2(
            &root,
            &self.path,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )?;
        // One write: the kernel takes each as a whole value.
        let written = File::from(file).write(self.value.as_bytes())?;
        if written < self.value.len() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::WriteZero,
                "the kernel took only a part of the value",
            ));
        }
        Ok(())
    }
}

/// Does something as another user, as far as the calling thread is concerned; its privileges rest meanwhile.
fn as_user<T>(user: Owner, f: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let own = rustix::process::geteuid();
    set_thread_res_uid(None, Uid::from_raw(user.uid), None)?;
    let done = f();
    set_thread_res_uid(None, own, None)?;
    done
}

/// The namespace of the parameter at `path`; `None` for the machine's.
fn scope_of(path: &str) -> Option<Scope> {
    let (top, rest) = path.split_once('/')?;
    match top {
        "net" => Some(Scope::Net),
        "fs" if rest.starts_with("mqueue/") => Some(Scope::Ipc),
        "kernel" if rest == "domainname" => Some(Scope::Uts),
        "kernel" if rest.contains('/') => None,
        "kernel"
            if matches!(
                rest,
                "sem" | "shmall" | "shmmax" | "shmmni" | "shm_rmid_forced" | "shm_next_id"
            ) || matches!(
                rest,
                "msgmax" | "msgmnb" | "msgmni" | "msg_next_id" | "sem_next_id" | "auto_msgmni"
            ) =>
        {
            Some(Scope::Ipc)
        }
        _ => None,
    }
}

fn path_of(name: &str) -> Result<String, &'static str> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.len() > MAX_NAME {
        return Err("is too long");
    }
    let swap = name.chars().find(|c| matches!(c, '.' | '/')) == Some('.');
    let path: String = match swap {
        true => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        false => name.to_owned(),
    };
    for part in path.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return Err("has an empty or relative component");
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@');
        if !part.bytes().all(plain) {
            return Err("has a character that none can have");
        }
    }
    if !path.contains('/') {
        return Err("is a single word");
    }
    Ok(path)
}

fn check_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("is empty");
    }
    if value.len() > MAX_VALUE {
        return Err("is too long");
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("has a line break or another control character");
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(name: &str, value: &str) -> Result<Sysctl, SysctlError> {
        Sysctl::parse(name, value, |_| true)
    }

    #[test]
    fn reads_both_notations() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.tag", "net/ipv4/conf/eth0.1/tag"),
            ("net/ipv4/conf/eth0.1/tag", "net/ipv4/conf/eth0.1/tag"),
        ] {
            assert_eq!(parse(name, "1").unwrap().path, PathBuf::from(path));
        }
    }

    #[test]
    fn knows_the_namespaces() {
        for (name, scope, safe) in [
            ("kernel.shm_rmid_forced", Scope::Ipc, true),
            ("kernel.shmmax", Scope::Ipc, false),
            ("kernel.msgmax", Scope::Ipc, false),
            ("kernel.sem", Scope::Ipc, false),
            ("fs.mqueue.msg_max", Scope::Ipc, false),
            ("net.ipv4.tcp_syncookies", Scope::Net, true),
            ("net.core.somaxconn", Scope::Net, false),
            ("kernel.domainname", Scope::Uts, false),
        ] {
            let sysctl = parse(name, "1").unwrap();
            assert_eq!((sysctl.scope, sysctl.safe), (scope, safe), "{name}");
            let error = Sysctl::parse(name, "1", |s| s != scope).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn refuses_what_is_the_nodes() {
        for name in [
            "kernel.core_pattern",
            "kernel.modprobe",
            "vm.swappiness",
            "fs.file-max",
            "fs.mqueue",
            "kernel.shm/../core_pattern",
            "kernel.shm.x",
            "kernel.shmfoo",
            "kernel.hostname",
            "net",
            "net.",
            ".net.x",
            "net..x",
            "net.././kernel.core_pattern",
            "net/../kernel/core_pattern",
            "net.x+kernel.core_pattern",
            "net.x=1",
            "net.x\nkernel.y",
            "",
        ] {
            let error = parse(name, "1").unwrap_err();
            assert!(error.to_string().starts_with("sysctl "), "{error}");
        }
        for value in ["", "1\n2", "1\0", "\u{85}"] {
            assert!(parse("net.ipv4.ip_forward", value).is_err(), "{value:?}");
        }
        // A plus sign joins nothing: it is a part of the value, which the kernel refuses.
        assert!(parse("kernel.shmmax", "1+kernel.core_pattern=|x").is_ok());
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_subtree(name in "(net|kernel|fs|vm)?[./]?[a-z./+\\-\n ]{0,30}", value in ".{0,20}") {
            if let Ok(sysctl) = parse(&name, &value) {
                prop_assert!(sysctl.path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert!(!sysctl.value.contains('\n'));
                prop_assert!(["net", "kernel", "fs"].iter().any(|top| sysctl.path.starts_with(top)));
            }
        }
    }
}
