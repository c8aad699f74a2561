//! What the name of a layer entry means: pure decisions, before anything is touched.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The longest name of an entry, in bytes.
pub const MAX_PATH: usize = 4095;
/// The longest component of a name.
pub const MAX_NAME: usize = 255;

const WHITEOUT: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A name that no layer entry may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than the kernel takes.
    #[error("is {0} bytes long, at most {MAX_PATH} are allowed")]
    TooLong(usize),
    /// One component is longer than the kernel takes.
    #[error("has a component of {0} bytes, at most {MAX_NAME} are allowed")]
    ComponentTooLong(usize),
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Holds a NUL byte.
    #[error("holds a NUL byte")]
    Nul,
    /// Climbs with `..`.
    #[error("climbs with \"..\"")]
    Climbs,
    /// A whiteout that hides no name, or one used as a directory.
    #[error("is no proper whiteout")]
    Whiteout,
}

/// A name inside a layer: relative, of plain components only, and never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(PathBuf);

impl EntryPath {
    /// The directory it is in, empty at the top.
    pub fn parent(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new(""))
    }

    /// Its last component.
    pub fn name(&self) -> &OsStr {
        self.0.file_name().unwrap_or_default()
    }

    /// The whole path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// What an entry asks for by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The top directory of the layer itself.
    Top,
    /// A file system object of this name.
    Object(EntryPath),
    /// That the lower layers' object of this name is hidden.
    Whiteout(EntryPath),
    /// That all the lower layers have in this directory (empty: the top) is hidden.
    Opaque(PathBuf),
    /// Bookkeeping of an old layer format; nothing.
    Nothing,
}

/// Tells what the entry named `raw` asks for.
///
/// Absolute names count from the layer's top, as every reader of layers takes them. A name that climbs is
/// refused rather than interpreted: readers differ there, and no builder of images writes one.
pub fn meaning(raw: &[u8]) -> Result<Meaning, NameError> {
    let Some(path) = normalize(raw)? else {
        return Ok(Meaning::Top);
    };
    let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], &path[..]),
    };
    let mut above = parent.split(|b| *b == b'/');
    if above.clone().any(|c| c.starts_with(META)) || (name.starts_with(META) && name != OPAQUE) {
        return Ok(Meaning::Nothing);
    }
    if above.any(|c| c.starts_with(WHITEOUT)) {
        return Err(NameError::Whiteout);
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque(to_path(parent.to_vec())));
    }
    let Some(hidden) = name.strip_prefix(WHITEOUT) else {
        return Ok(Meaning::Object(EntryPath(to_path(path))));
    };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(NameError::Whiteout);
    }
    let mut path = to_path(parent.to_vec());
    path.push(OsString::from_vec(hidden.to_vec()));
    Ok(Meaning::Whiteout(EntryPath(path)))
}

/// Reads the target of a hard link, which names an object of the same layer.
pub fn link_target(raw: &[u8]) -> Result<EntryPath, NameError> {
    match meaning(raw)? {
        Meaning::Object(path) => Ok(path),
        Meaning::Top => Err(NameError::Empty),
        Meaning::Whiteout(_) | Meaning::Opaque(_) | Meaning::Nothing => Err(NameError::Whiteout),
    }
}

/// Drops what means nothing (leading and doubled slashes, `.`); none if nothing is left.
fn normalize(raw: &[u8]) -> Result<Option<Vec<u8>>, NameError> {
    if raw.is_empty() {
        return Err(NameError::Empty);
    }
    if raw.len() > MAX_PATH {
        return Err(NameError::TooLong(raw.len()));
    }
    if raw.contains(&0) {
        return Err(NameError::Nul);
    }
    let mut path = Vec::with_capacity(raw.len());
    for component in raw.split(|b| *b == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(NameError::Climbs),
            _ if component.len() > MAX_NAME => {
                return Err(NameError::ComponentTooLong(component.len()));
            }
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    Ok((!path.is_empty()).then_some(path))
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Component;

    fn object(path: &str) -> Meaning {
        Meaning::Object(EntryPath(path.into()))
    }

    #[test]
    fn names() {
        for top in ["./", ".", "/", "//."] {
            assert_eq!(meaning(top.as_bytes()), Ok(Meaning::Top), "{top}");
        }
        for same in ["etc/passwd", "/etc//passwd", "./etc/./passwd/"] {
            assert_eq!(meaning(same.as_bytes()), Ok(object("etc/passwd")), "{same}");
        }
        assert_eq!(
            meaning(b"a/.wh.b"),
            Ok(Meaning::Whiteout(EntryPath("a/b".into())))
        );
        assert_eq!(meaning(b"a/.wh..wh..opq"), Ok(Meaning::Opaque("a".into())));
        assert_eq!(meaning(b".wh..wh..opq"), Ok(Meaning::Opaque("".into())));
        assert_eq!(meaning(b".wh..wh.plnk/1.2"), Ok(Meaning::Nothing));
        assert_eq!(meaning(b".wh..wh.aufs"), Ok(Meaning::Nothing));
        assert_eq!(meaning(b"a/...").unwrap(), object("a/..."));
    }

    #[test]
    fn hostile_names() {
        for (raw, e) in [
            (&b""[..], NameError::Empty),
            (b"a\0b", NameError::Nul),
            (b"../etc/passwd", NameError::Climbs),
            (b"a/../b", NameError::Climbs),
            (b"a/..", NameError::Climbs),
            (b".wh.", NameError::Whiteout),
            (b"a/.wh...", NameError::Whiteout),
            (b"a/.wh..", NameError::Whiteout),
            (b".wh.a/b", NameError::Whiteout),
            (&[b'a'; 256], NameError::ComponentTooLong(256)),
            (&[b'/'; 4096], NameError::TooLong(4096)),
        ] {
            assert_eq!(meaning(raw), Err(e));
        }
        assert_eq!(link_target(b"/"), Err(NameError::Empty));
        assert_eq!(link_target(b"a/.wh.b"), Err(NameError::Whiteout));
        assert_eq!(link_target(b"../b"), Err(NameError::Climbs));
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"..".to_vec()),
            Just(b".".to_vec()),
            Just(b"/".to_vec()),
            Just(b"/".to_vec()),
            Just(b".wh.".to_vec()),
            Just(b".wh..wh..opq".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_plain_and_stays_inside(
            pieces in prop::collection::vec(piece(), 0..12)
        ) {
            let path = match meaning(&pieces.concat()) {
                Ok(Meaning::Object(p) | Meaning::Whiteout(p)) => {
                    prop_assert!(!p.as_path().as_os_str().is_empty());
                    prop_assert_eq!(&p.parent().join(p.name()), p.as_path());
                    p.as_path().to_owned()
                }
                Ok(Meaning::Opaque(p)) => p,
                Ok(Meaning::Top | Meaning::Nothing) | Err(_) => return Ok(()),
            };
            prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
            prop_assert!(!path.as_os_str().as_bytes().contains(&0));
            prop_assert!(path.components().all(|c| c.as_os_str().len() <= MAX_NAME));
        }
    }
}
