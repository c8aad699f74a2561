//! Who a container runs as.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use serde::{Deserialize, Serialize};

use crate::{
    container::spec::{GroupsPolicy, RunAs},
    sys::rooted::{self, RootedError},
};

pub mod passwd;

use passwd::{MAX_ID, accounts, groups};

/// Largest `/etc/passwd` or `/etc/group` that is read.
const FILE_CAP: usize = 1 << 20;

/// Longest name of a user or group.
const NAME_CAP: usize = 256;

/// More supplementary groups than this the kernel does not take.
const GROUPS_CAP: usize = 65536;

/// A user and its groups by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
    /// All groups, the primary one first, none twice.
    pub groups: Vec<u32>,
    /// Name in the image, where it has one.
    pub name: Option<String>,
    /// Home directory in the image, where it has one.
    pub home: Option<String>,
}

/// A user that cannot be found or used.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The root of the container cannot be opened.
    #[error("cannot open root file system {path:?}")]
    OpenRoot {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RootedError,
    },
    /// A file of the image cannot be read.
    #[error("cannot read {path} in the image")]
    Read {
        /// Which.
        path: &'static str,
        /// Why not.
        #[source]
        source: RootedError,
    },
    /// No such user name.
    #[error("user {0:?} is not in /etc/passwd of the image")]
    NoUser(String),
    /// No such group name.
    #[error("group {0:?} is not in /etc/group of the image")]
    NoGroup(String),
    /// Not a name a user or group can have.
    #[error("{field} {text:?} is not a valid name or number")]
    Invalid {
        /// What it was meant for.
        field: &'static str,
        /// What was given.
        text: String,
    },
    /// An ID out of range.
    #[error("{field} {id} is out of range: IDs go up to {MAX_ID}")]
    OutOfRange {
        /// What it was meant for.
        field: &'static str,
        /// What was given.
        id: String,
    },
    /// More groups than the kernel takes.
    #[error("{0} supplementary groups are more than the {GROUPS_CAP} the kernel takes")]
    TooManyGroups(usize),
}

/// What to resolve.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// As the caller wants it.
    pub run_as: &'a RunAs,
    /// `User` of the image's configuration: `user`, `uid`, `user:group`, `uid:gid`, … or empty.
    pub image_user: &'a str,
    /// Groups given by the caller.
    pub supplemental: &'a [u32],
    /// Whether the image's groups are added.
    pub policy: GroupsPolicy,
}

/// Resolves a user against the files of the container's root. Blocks on the file system.
pub fn resolve(rootfs: &Path, request: &Request<'_>) -> Result<ResolvedUser, UserError> {
    let wanted = Wanted::of(request)?;
    let root = rooted::open_root(rootfs).map_err(|source| UserError::OpenRoot {
        path: rootfs.to_owned(),
        source,
    })?;
    let passwd = read(root.as_fd(), "/etc/passwd")?;
    let group = read(root.as_fd(), "/etc/group")?;
    look_up(&wanted, request, &passwd, &group)
}

/// A user or a group, by name or number.
#[derive(Debug, PartialEq, Eq)]
enum Who {
    Id(u32),
    Name(String),
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    user: Who,
    group: Option<Who>,
}

impl Wanted {
    fn of(request: &Request<'_>) -> Result<Self, UserError> {
        match request.run_as {
            RunAs::Ids { uid, gid } => Ok(Self {
                user: Who::Id(in_range("run_as_user", *uid)?),
                group: gid_of(*gid)?,
            }),
            RunAs::Name { name, gid } => Ok(Self {
                user: Who::parse("run_as_username", name)?,
                group: gid_of(*gid)?,
            }),
            RunAs::Image => Self::of_image(request.image_user),
        }
    }

    fn of_image(text: &str) -> Result<Self, UserError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = match user {
            "" => Who::Id(0),
            user => Who::parse("user of the image", user)?,
        };
        let group = match group {
            None | Some("") => None,
            Some(group) => Some(Who::parse("group of the image", group)?),
        };
        Ok(Self { user, group })
    }
}

impl Who {
    fn parse(field: &'static str, text: &str) -> Result<Self, UserError> {
        let invalid = || UserError::Invalid {
            field,
            text: text.chars().take(NAME_CAP).collect(),
        };
        if text.is_empty() || text.len() > NAME_CAP {
            return Err(invalid());
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return match passwd::id(text) {
                Some(id) => Ok(Self::Id(id)),
                None => Err(UserError::OutOfRange {
                    field,
                    id: text.to_owned(),
                }),
            };
        }
        // A sign makes it a number to some parsers and a name to others: neither.
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':' || c == ',';
        if text.contains(odd) || text.starts_with(['-', '+']) {
            return Err(invalid());
        }
        Ok(Self::Name(text.to_owned()))
    }
}

fn gid_of(gid: Option<u32>) -> Result<Option<Who>, UserError> {
    gid.map(|gid| in_range("run_as_group", gid).map(Who::Id))
        .transpose()
}

fn in_range(field: &'static str, id: u32) -> Result<u32, UserError> {
    if id > MAX_ID {
        return Err(UserError::OutOfRange {
            field,
            id: id.to_string(),
        });
    }
    Ok(id)
}

fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<Vec<u8>, UserError> {
    match rooted::read_in_root(root, path, FILE_CAP) {
        Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(Vec::new()),
        read => read.map_err(|source| UserError::Read { path, source }),
    }
}

fn look_up(
    wanted: &Wanted,
    request: &Request<'_>,
    passwd: &[u8],
    group: &[u8],
) -> Result<ResolvedUser, UserError> {
    let account = match &wanted.user {
        Who::Id(uid) => accounts(passwd).find(|a| a.uid == *uid),
        Who::Name(name) => Some(
            accounts(passwd)
                .find(|a| a.name == *name)
                .ok_or_else(|| UserError::NoUser(name.clone()))?,
        ),
    };
    let uid = match &wanted.user {
        Who::Id(uid) => *uid,
        Who::Name(_) => account.as_ref().map_or(0, |a| a.uid),
    };
    let gid = match &wanted.group {
        Some(Who::Id(gid)) => *gid,
        Some(Who::Name(name)) => {
            groups(group)
                .find(|g| g.name == *name)
                .ok_or_else(|| UserError::NoGroup(name.clone()))?
                .gid
        }
        None => account.as_ref().map_or(0, |a| a.gid),
    };

    let mut all = vec![gid];
    let mut seen = std::collections::HashSet::from([gid]);
    let mut add = |id: u32| {
        if seen.insert(id) {
            all.push(id);
        }
    };
    if let (GroupsPolicy::Merge, Some(account)) = (request.policy, &account) {
        groups(group)
            .filter(|g| g.has_member(&account.name))
            .for_each(|g| add(g.gid));
    }
    for id in request.supplemental {
        add(in_range("supplemental_groups", *id)?);
    }
    if all.len() > GROUPS_CAP {
        return Err(UserError::TooManyGroups(all.len()));
    }
    let (name, home) = account.map_or((None, None), |a| {
        (Some(a.name), Some(a.home).filter(|h| !h.is_empty()))
    });
    Ok(ResolvedUser {
        uid,
        gid,
        groups: all,
        name,
        home,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\nlogs:x:50000:web,root\nmail:x:8:web\n";

    fn rootfs(passwd: &str, group: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(dir.path().join("etc/group"), group).unwrap();
        dir
    }

    fn image(user: &str) -> Result<ResolvedUser, UserError> {
        ask(user, &RunAs::Image, &[], GroupsPolicy::Merge)
    }

    fn ask(
        image_user: &str,
        run_as: &RunAs,
        supplemental: &[u32],
        policy: GroupsPolicy,
    ) -> Result<ResolvedUser, UserError> {
        let dir = rootfs(PASSWD, GROUP);
        let request = Request {
            run_as,
            image_user,
            supplemental,
            policy,
        };
        resolve(dir.path(), &request)
    }

    #[test]
    fn every_form_of_an_image_user() {
        for (text, uid, gid, groups) in [
            ("", 0, 0, vec![0, 50000]),
            ("0", 0, 0, vec![0, 50000]),
            ("root", 0, 0, vec![0, 50000]),
            ("web", 1000, 1001, vec![1001, 50000, 8]),
            ("1000", 1000, 1001, vec![1001, 50000, 8]),
            ("web:mail", 1000, 8, vec![8, 50000]),
            ("1000:7", 1000, 7, vec![7, 50000, 8]),
            ("77", 77, 0, vec![0]),
            ("77:logs", 77, 50000, vec![50000]),
            (":mail", 0, 8, vec![8, 50000]),
            ("web:", 1000, 1001, vec![1001, 50000, 8]),
        ] {
            let user = image(text).unwrap();
            assert_eq!(
                (user.uid, user.gid, user.groups),
                (uid, gid, groups),
                "{text:?}"
            );
        }
        assert_eq!(image("web").unwrap().home.as_deref(), Some("/srv"));
        assert_eq!(image("77").unwrap().home, None);
    }

    #[test]
    fn the_caller_goes_before_the_image() {
        let ids = RunAs::Ids {
            uid: 1000,
            gid: None,
        };
        let user = ask("root", &ids, &[1234, 8], GroupsPolicy::Merge).unwrap();
        assert_eq!((user.uid, user.gid), (1000, 1001));
        assert_eq!(user.groups, [1001, 50000, 8, 1234]);
        let user = ask("root", &ids, &[1234], GroupsPolicy::Strict).unwrap();
        assert_eq!(user.groups, [1001, 1234]);
        let name = RunAs::Name {
            name: "web".into(),
            gid: Some(5),
        };
        let user = ask("root", &name, &[], GroupsPolicy::Merge).unwrap();
        assert_eq!((user.uid, user.gid), (1000, 5));
        assert_eq!(user.name.as_deref(), Some("web"));
    }

    #[test]
    fn ids_never_wrap_around() {
        for text in [
            "2147483648",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "0:4294967296",
        ] {
            assert!(
                matches!(image(text), Err(UserError::OutOfRange { .. })),
                "{text}"
            );
        }
        let ids = RunAs::Ids {
            uid: u32::MAX,
            gid: None,
        };
        assert!(matches!(
            ask("", &ids, &[], GroupsPolicy::Merge),
            Err(UserError::OutOfRange { .. })
        ));
        assert!(matches!(
            ask("", &RunAs::Image, &[u32::MAX], GroupsPolicy::Merge),
            Err(UserError::OutOfRange { .. })
        ));
    }

    #[test]
    fn says_what_is_wrong() {
        let error = image("nobody-here").unwrap_err();
        assert_eq!(
            error.to_string(),
            "user \"nobody-here\" is not in /etc/passwd of the image"
        );
        assert!(matches!(image("web:nogroup"), Err(UserError::NoGroup(g)) if g == "nogroup"));
        for text in ["a b", "web\nroot", "-1", "+1", "a:b:c", "web,root", "0\0"] {
            assert!(
                matches!(image(text), Err(UserError::Invalid { .. })),
                "{text:?}"
            );
        }
        let long = "x".repeat(NAME_CAP + 1);
        assert!(matches!(image(&long), Err(UserError::Invalid { .. })));
    }

    #[test]
    fn files_of_the_image_are_capped_and_stay_inside() {
        let request = Request {
            run_as: &RunAs::Image,
            image_user: "web",
            supplemental: &[],
            policy: GroupsPolicy::Merge,
        };
        let dir = rootfs(&"x".repeat(FILE_CAP + 1), "");
        assert!(matches!(
            resolve(dir.path(), &request),
            Err(UserError::Read {
                path: "/etc/passwd",
                ..
            })
        ));

        let outside = rootfs(PASSWD, GROUP);
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path().join("etc"), dir.path().join("etc")).unwrap();
        assert!(matches!(
            resolve(dir.path(), &request),
            Err(UserError::NoUser(_))
        ));
    }
}
