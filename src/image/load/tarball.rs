//! A tar archive, indexed where it lies.

use std::{collections::HashMap, fs::File, sync::Arc};

use super::{
    ArchiveError,
    files::{Files, Slice},
};
use crate::image::digest::clip;

/// Most members an archive may have.
const MAX_MEMBERS: usize = 100_000;
/// Most links that may lead from one to the next.
const MAX_LINKS: usize = 16;

/// A tar archive.
#[derive(Debug)]
pub(super) struct TarFiles {
    file: Arc<File>,
    members: HashMap<String, Member>,
}

#[derive(Debug, Clone)]
enum Member {
    File { at: u64, size: u64 },
    Link(String),
}

impl TarFiles {
    /// Notes where each member lies.
    pub(super) fn index(file: File) -> Result<Self, ArchiveError> {
        let failed = |e| ArchiveError::io("reading the archive", e);
        let length = file.metadata().map_err(failed)?.len();
        let mut members = HashMap::new();
        let mut archive = tar::Archive::new(&file);
        // A position of its own: the file's may have been moved by whoever wrote it.
        std::io::Seek::rewind(&mut &file).map_err(failed)?;
        for entry in archive.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if members.len() >= MAX_MEMBERS {
                return Err(ArchiveError::TooMany(MAX_MEMBERS));
            }
            let kind = entry.header().entry_type();
            let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(path) = normal(&raw, None) else {
                return Err(ArchiveError::Path(clip(&raw)));
            };
            let member = if kind.is_file() {
                let (at, size) = (entry.raw_file_position(), entry.size());
                if at.checked_add(size).is_none_or(|end| end > length) {
                    return Err(ArchiveError::io(
                        "reading the archive",
                        std::io::ErrorKind::UnexpectedEof.into(),
                    ));
                }
                Member::File { at, size }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let link = entry.link_name_bytes().unwrap_or_default();
                let link = String::from_utf8_lossy(&link).into_owned();
                // A hard link is said from the top, a symbolic one from where it is.
                let from = kind.is_symlink().then_some(path.as_str());
                match normal(&link, from) {
                    Some(target) => Member::Link(target),
                    None => return Err(ArchiveError::Path(clip(&link))),
                }
            } else {
                continue;
            };
            members.insert(path, member);
        }
        Ok(Self {
            file: Arc::new(file),
            members,
        })
    }
}

impl Files for TarFiles {
    fn open(&self, path: &str) -> Result<Slice, ArchiveError> {
        let mut at = normal(path, None).ok_or_else(|| ArchiveError::Path(clip(path)))?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&at) {
                Some(Member::File { at, size }) => {
                    return Ok(Slice::new(self.file.clone(), *at, *size));
                }
                Some(Member::Link(target)) => at = target.clone(),
                None => return Err(ArchiveError::Missing(clip(path))),
            }
        }
        Err(ArchiveError::Link(clip(path)))
    }
}

/// A path without `.` and `..`, taken from the directory of `from`; `None` when it leads out.
fn normal(path: &str, from: Option<&str>) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = match from {
        Some(from) => {
            let mut parts: Vec<&str> = from.split('/').collect();
            parts.pop();
            parts
        }
        None => Vec::new(),
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            // Only a link may go up, and no further than the top.
            ".." => {
                from?;
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<TarFiles, ArchiveError> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let bytes = builder.into_inner().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        TarFiles::index(file)
    }

    fn file(builder: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        // As a hostile archive would: past the checks of the library.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, to: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..to.len()].copy_from_slice(to.as_bytes());
        header.set_cksum();
        builder.append(&header, &[][..]).unwrap();
    }

    #[test]
    fn members_and_links_are_found() {
        let tar = archive(|b| {
            file(b, "./a/layer.tar", b"one");
            file(b, "index.json", b"two");
            link(b, tar::EntryType::Symlink, "b/layer.tar", "../a/layer.tar");
            link(b, tar::EntryType::Link, "c", "a/layer.tar");
            link(b, tar::EntryType::Symlink, "x", "y");
            link(b, tar::EntryType::Symlink, "y", "x");
        })
        .unwrap();
        for path in ["a/layer.tar", "b/layer.tar", "c", "./a/layer.tar"] {
            assert_eq!(tar.read(path, 10).unwrap(), b"one", "{path}");
        }
        assert_eq!(tar.read("index.json", 10).unwrap(), b"two");
        assert!(matches!(tar.open("x"), Err(ArchiveError::Link(_))));
        assert!(matches!(tar.open("z"), Err(ArchiveError::Missing(_))));
        assert!(matches!(tar.open("../z"), Err(ArchiveError::Path(_))));
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in ["../evil", "/etc/passwd", "a/../../evil"] {
            assert!(
                matches!(archive(|b| file(b, path, b"x")), Err(ArchiveError::Path(_))),
                "{path}"
            );
        }
        for target in ["/etc/passwd", "../../etc/passwd"] {
            assert!(matches!(
                archive(|b| link(b, tar::EntryType::Symlink, "a/b", target)),
                Err(ArchiveError::Path(_))
            ));
        }
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        file(&mut builder, "a", &[1; 5000]);
        let bytes = builder.into_inner().unwrap();
        let mut cut = tempfile::tempfile().unwrap();
        cut.write_all(&bytes[..2000]).unwrap();
        assert!(TarFiles::index(cut).is_err());
    }

    proptest! {
        #[test]
        fn normal_paths_stay_inside(path in "[a./]{0,20}", from in "[a-c/]{0,10}") {
            let from = normal(&from, None);
            for path in [normal(&path, None), normal(&path, from.as_deref())].into_iter().flatten() {
                prop_assert!(!path.starts_with('/') && !path.split('/').any(|p| p == ".."));
            }
        }
    }
}
