//! Options of a mount: what they mean, without doing any of it.

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use crate::sys::mount::{Change, Depth, Param};

/// Every option that is understood, for those who ask.
pub(super) const KNOWN: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "idmap",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "unbindable",
];

/// What the options of a mount come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// It shows what is elsewhere already.
    pub(super) bind: Option<Depth>,
    /// Of the mount itself.
    pub(super) own: Change,
    /// Of all below it too.
    pub(super) tree: Change,
    /// Where mounts below it appear.
    pub(super) propagation: Option<(MountPropagationFlags, Depth)>,
    /// IDs are mapped.
    pub(super) idmap: Option<Depth>,
    /// For the file system.
    pub(super) data: Vec<Param>,
}

/// Adds what an option says to a change.
fn apply(change: &mut Change, attribute: Attribute) {
    let (flag, on) = match attribute {
        Attribute::Set(flag) => (flag, true),
        Attribute::Clear(flag) => (flag, false),
        Attribute::Time(flag) => {
            // The three exclude each other, and the kernel wants to hear that the old one goes.
            change.clear |= MountAttrFlags::MOUNT_ATTR__ATIME;
            change.set -= MountAttrFlags::MOUNT_ATTR__ATIME;
            (flag, true)
        }
    };
    if on {
        change.set |= flag;
        if !MountAttrFlags::MOUNT_ATTR__ATIME.contains(flag) {
            change.clear -= flag;
        }
    } else {
        change.set -= flag;
        change.clear |= flag;
    }
}

enum Attribute {
    Set(MountAttrFlags),
    Clear(MountAttrFlags),
    Time(MountAttrFlags),
}

/// The attribute that an option stands for, as it is without the `r` that makes it recursive.
fn attribute(option: &str) -> Option<Attribute> {
    use Attribute::{Clear, Set, Time};
    Some(match option {
        "ro" => Set(MountAttrFlags::MOUNT_ATTR_RDONLY),
        "rw" => Clear(MountAttrFlags::MOUNT_ATTR_RDONLY),
        "nosuid" => Set(MountAttrFlags::MOUNT_ATTR_NOSUID),
        "suid" => Clear(MountAttrFlags::MOUNT_ATTR_NOSUID),
        "nodev" => Set(MountAttrFlags::MOUNT_ATTR_NODEV),
        "dev" => Clear(MountAttrFlags::MOUNT_ATTR_NODEV),
        "noexec" => Set(MountAttrFlags::MOUNT_ATTR_NOEXEC),
        "exec" => Clear(MountAttrFlags::MOUNT_ATTR_NOEXEC),
        "nodiratime" => Set(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        "diratime" => Clear(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Set(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Clear(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        "noatime" => Time(MountAttrFlags::MOUNT_ATTR_NOATIME),
        "strictatime" => Time(MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        // Relative times are what there is without another choice.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => {
            Time(MountAttrFlags::MOUNT_ATTR_RELATIME)
        }
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<(MountPropagationFlags, Depth)> {
    let (name, depth) = match option.strip_prefix('r') {
        Some(name) => (name, Depth::Tree),
        None => (option, Depth::One),
    };
    let kind = match name {
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "private" => MountPropagationFlags::PRIVATE,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some((kind, depth))
}

/// Reads options, in their order: a later one counts more.
pub(super) fn parse(options: &[String]) -> Options {
    let mut all = Options {
        bind: None,
        own: Change::default(),
        tree: Change::default(),
        propagation: None,
        idmap: None,
        data: Vec::new(),
    };
    for option in options {
        match option.as_str() {
            "bind" => all.bind = all.bind.or(Some(Depth::One)),
            "rbind" => all.bind = Some(Depth::Tree),
            "idmap" => all.idmap = Some(Depth::One),
            "ridmap" => all.idmap = Some(Depth::Tree),
            "defaults" | "async" | "" => {}
            other => {
                if let Some(attribute) = attribute(other) {
                    apply(&mut all.own, attribute);
                } else if let Some(kind) = propagation(other) {
                    all.propagation = Some(kind);
                } else if let Some(attribute) = other.strip_prefix('r').and_then(attribute) {
                    apply(&mut all.tree, attribute);
                } else {
                    all.data.push(match other.split_once('=') {
                        Some((name, value)) => Param::Value(name.to_owned(), value.to_owned()),
                        None => Param::Flag(other.to_owned()),
                    });
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Options {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn attributes_are_set_and_cleared_and_the_last_word_counts() {
        let options = read("rbind,rprivate,nosuid,noexec,nodev,ro");
        assert_eq!(options.bind, Some(Depth::Tree));
        let private = (MountPropagationFlags::PRIVATE, Depth::Tree);
        assert_eq!(options.propagation, Some(private));
        assert_eq!(
            options.own.set,
            MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC
        );
        assert!(
            options.own.clear.is_empty()
                && options.tree == Change::default()
                && options.data.is_empty()
        );
        let options = read("ro,rw,suid,nosuid");
        assert_eq!(options.own.set, MountAttrFlags::MOUNT_ATTR_NOSUID);
        assert_eq!(options.own.clear, MountAttrFlags::MOUNT_ATTR_RDONLY);
    }

    #[test]
    fn recursive_ones_are_told_from_those_that_begin_with_r() {
        let options = read("bind,rro,rslave");
        assert_eq!(options.tree.set, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert!(options.own == Change::default());
        let slave = (MountPropagationFlags::DOWNSTREAM, Depth::Tree);
        assert_eq!(options.propagation, Some(slave));
        let options = read("relatime");
        assert_eq!(options.own.clear, MountAttrFlags::MOUNT_ATTR__ATIME);
        assert!(options.own.set.is_empty() && options.tree == Change::default());
        let options = read("noatime,strictatime");
        assert_eq!(options.own.set, MountAttrFlags::MOUNT_ATTR_STRICTATIME);
    }

    #[test]
    fn the_rest_is_the_file_systems() {
        let options = read("nosuid,mode=755,newinstance");
        assert_eq!(
            options.data,
            [
                Param::Value("mode".into(), "755".into()),
                Param::Flag("newinstance".into())
            ]
        );
        assert_eq!(options.bind, None);
    }
}
