//! Mounts.

use std::path::{Component, Path, PathBuf};

use super::{
    error::{At, FieldError},
    id_map, image, number, text,
};
use crate::{
    container::spec::{Mount, MountSource, Propagation, ReadOnly},
    cri::api,
};

/// Options a caller may add, in pairs that exclude each other.
const OPTIONS: [(&str, &str); 6] = [
    ("exec", "noexec"),
    ("dev", "nodev"),
    ("suid", "nosuid"),
    ("diratime", "nodiratime"),
    ("relatime", "norelatime"),
    ("atime", "noatime"),
];
/// Most mounts of one container.
const MOUNTS_MAX: usize = 4096;

/// Mounts in the order given.
pub fn mounts(at: &At<'_>, given: Vec<api::Mount>) -> Result<Vec<Mount>, FieldError> {
    if given.len() > MOUNTS_MAX {
        return Err(at.wrong(format!(
            "has {} entries, at most {MOUNTS_MAX} are possible",
            given.len()
        )));
    }
    given
        .into_iter()
        .enumerate()
        .map(|(i, mount)| one(&at.index(i), mount))
        .collect()
}

fn one(at: &At<'_>, mount: api::Mount) -> Result<Mount, FieldError> {
    let propagation = match number::choice(
        &at.field("propagation"),
        mount.propagation,
        "a propagation mode",
    )? {
        api::MountPropagation::PropagationPrivate => Propagation::Private,
        api::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        api::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    };
    let read_only = read_only(at, &mount, propagation)?;
    if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
        return Err(at.wrong("maps users but not groups, or groups but not users"));
    }
    let uid_mappings = id_map::mappings(&at.field("uidMappings"), &mount.uid_mappings)?;
    let gid_mappings = id_map::mappings(&at.field("gidMappings"), &mount.gid_mappings)?;
    let options = options(&at.field("mount_options"), mount.mount_options)?;
    let container_path = container_path(&at.field("container_path"), &mount.container_path)?;
    let source = source(at, mount.host_path, mount.image, mount.image_sub_path)?;
    if matches!(source, MountSource::Image { .. }) {
        refuse_for_images(&at.field("mount_options"), &options)?;
    }
    Ok(Mount {
        container_path,
        read_only: match source {
            MountSource::Image { .. } if read_only == ReadOnly::No => ReadOnly::Mount,
            _ => read_only,
        },
        source,
        selinux_relabel: mount.selinux_relabel,
        propagation,
        uid_mappings,
        gid_mappings,
        options,
    })
}

fn read_only(
    at: &At<'_>,
    mount: &api::Mount,
    propagation: Propagation,
) -> Result<ReadOnly, FieldError> {
    if !mount.recursive_read_only {
        return Ok(if mount.readonly {
            ReadOnly::Mount
        } else {
            ReadOnly::No
        });
    }
    let at = at.field("recursive_read_only");
    if !mount.readonly {
        return Err(at.bad_number(true, "needs readonly to be true"));
    }
    if propagation != Propagation::Private {
        return Err(at.bad_number(true, "needs propagation to be PROPAGATION_PRIVATE"));
    }
    Ok(ReadOnly::Recursive)
}

/// An absolute path in the container, without `..`.
fn container_path(at: &At<'_>, value: &str) -> Result<PathBuf, FieldError> {
    if value.is_empty() {
        return Err(at.missing());
    }
    text::check(at, value, text::PATH_MAX)?;
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(at.bad(value, "is not an absolute path"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(at.bad(value, "has a component \"..\""));
    }
    let clean: PathBuf = path.components().collect();
    if clean == Path::new("/") {
        return Err(at.bad(value, "would cover the whole root file system"));
    }
    Ok(clean)
}

fn source(
    at: &At<'_>,
    host_path: String,
    image: Option<api::ImageSpec>,
    sub_path: String,
) -> Result<MountSource, FieldError> {
    let Some(image) = image.filter(|i| !i.image.is_empty()) else {
        if !sub_path.is_empty() {
            return Err(at
                .field("image_sub_path")
                .bad(&sub_path, "is given without an image"));
        }
        if host_path.is_empty() {
            return Err(at.wrong("has neither host_path nor image"));
        }
        return Ok(MountSource::Host(text::absolute_path(
            &at.field("host_path"),
            &host_path,
        )?));
    };
    if !host_path.is_empty() {
        return Err(at
            .field("host_path")
            .bad(&host_path, "is given together with an image"));
    }
    Ok(MountSource::Image {
        image: image::reference(&at.field("image"), Some(image))?,
        sub_path: match sub_path.as_str() {
            "" | "." => PathBuf::new(),
            path => text::relative_path(&at.field("image_sub_path"), path)?,
        },
    })
}

fn options(at: &At<'_>, given: Vec<String>) -> Result<Vec<String>, FieldError> {
    let mut checked: Vec<String> = Vec::new();
    for (i, option) in given.into_iter().enumerate() {
        let at = at.index(i);
        let Some(pair) = OPTIONS
            .iter()
            .find(|(on, off)| option == *on || option == *off)
        else {
            let known: Vec<_> = OPTIONS.iter().flat_map(|(on, off)| [*on, *off]).collect();
            return Err(at.bad(
                &option,
                format!(
                    "is not a mount option that can be given ({})",
                    known.join(", ")
                ),
            ));
        };
        let other = if option == pair.0 { pair.1 } else { pair.0 };
        if checked.iter().any(|o| o == other) {
            return Err(at.bad(&option, format!("contradicts {other:?}")));
        }
        if !checked.contains(&option) {
            checked.push(option);
        }
    }
    Ok(checked)
}

/// What an image brings along is never trusted with another user's rights or with devices.
fn refuse_for_images(at: &At<'_>, options: &[String]) -> Result<(), FieldError> {
    match options.iter().position(|o| o == "suid" || o == "dev") {
        Some(i) => Err(at
            .index(i)
            .bad(&options[i], "cannot be given to the mount of an image")),
        None => Ok(()),
    }
}

/// A mount back to the protocol; `image_ref` is the digest an image mount was resolved to.
pub fn to_api(mount: &Mount, image_ref: &str) -> api::Mount {
    let (host_path, image, image_sub_path) = match &mount.source {
        MountSource::Host(path) => (lossy(path), None, String::new()),
        MountSource::Image { image, sub_path } => {
            let mut image = image::to_api(image);
            image.image_ref = image_ref.to_owned();
            (String::new(), Some(image), lossy(sub_path))
        }
    };
    api::Mount {
        container_path: lossy(&mount.container_path),
        host_path,
        readonly: mount.read_only != ReadOnly::No,
        selinux_relabel: mount.selinux_relabel,
        propagation: match mount.propagation {
            Propagation::Private => api::MountPropagation::PropagationPrivate,
            Propagation::HostToContainer => api::MountPropagation::PropagationHostToContainer,
            Propagation::Bidirectional => api::MountPropagation::PropagationBidirectional,
        } as i32,
        uid_mappings: id_map::to_api(&mount.uid_mappings),
        gid_mappings: id_map::to_api(&mount.gid_mappings),
        recursive_read_only: mount.read_only == ReadOnly::Recursive,
        image,
        image_sub_path,
        mount_options: mount.options.clone(),
    }
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: At<'static> = At::root("m");

    fn bind() -> api::Mount {
        api::Mount {
            container_path: "/data".into(),
            host_path: "/srv".into(),
            ..Default::default()
        }
    }

    fn error(change: impl FnOnce(&mut api::Mount)) -> String {
        let mut mount = bind();
        change(&mut mount);
        mounts(&AT, vec![mount]).unwrap_err().to_string()
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            error(|m| m.container_path.clear()),
            "m[0].container_path: is required"
        );
        assert!(error(|m| m.container_path = "//.".into()).contains("root file system"));
        assert_eq!(
            error(|m| m.container_path = "/a/../b".into()),
            "m[0].container_path: \"/a/../b\" has a component \"..\""
        );
        assert_eq!(
            error(|m| m.container_path = "data".into()),
            "m[0].container_path: \"data\" is not an absolute path"
        );
        assert_eq!(
            error(|m| m.host_path = "srv".into()),
            "m[0].host_path: \"srv\" is not an absolute path"
        );
        assert_eq!(
            error(|m| m.host_path.clear()),
            "m[0]: has neither host_path nor image"
        );
        assert_eq!(
            error(|m| m.recursive_read_only = true),
            "m[0].recursive_read_only: true needs readonly to be true"
        );
        assert!(
            error(|m| {
                m.recursive_read_only = true;
                m.readonly = true;
                m.propagation = 1;
            })
            .contains("PROPAGATION_PRIVATE")
        );
        assert_eq!(
            error(|m| m.propagation = 3),
            "m[0].propagation: 3 is not a propagation mode"
        );
        assert!(error(|m| m.mount_options = vec!["bind".into()]).contains("noexec"));
        assert_eq!(
            error(|m| m.mount_options = vec!["exec".into(), "noexec".into()]),
            "m[0].mount_options[1]: \"noexec\" contradicts \"exec\""
        );
        assert!(error(|m| m.image_sub_path = "x".into()).contains("without an image"));
        let image = Some(api::ImageSpec {
            image: "busybox".into(),
            ..Default::default()
        });
        assert!(error(|m| m.image = image.clone()).contains("together with an image"));
        assert!(
            error(|m| {
                m.image = image.clone();
                m.host_path.clear();
                m.mount_options = vec!["noexec".into(), "suid".into()];
            })
            .starts_with("m[0].mount_options[1]: \"suid\"")
        );
        assert!(
            error(|m| {
                m.image = image;
                m.host_path.clear();
                m.image_sub_path = "a/../../b".into();
            })
            .contains("\"..\"")
        );
    }

    #[test]
    fn images_are_read_only() {
        let mut mount = bind();
        mount.host_path.clear();
        mount.image = Some(api::ImageSpec {
            image: "busybox".into(),
            ..Default::default()
        });
        mount.image_sub_path = "etc//x/".into();
        let mounts = mounts(&AT, vec![mount]).unwrap();
        assert_eq!(mounts[0].read_only, ReadOnly::Mount);
        let back = to_api(&mounts[0], "r@sha256:1");
        assert_eq!(back.image_sub_path, "etc/x");
        assert_eq!(back.image.unwrap().image_ref, "r@sha256:1");
        assert!(back.readonly);
    }

    proptest! {
        #[test]
        fn there_and_back(
            container in "(/[a-z.]{1,5}[a-z]){1,4}",
            host in "(/[a-z.]{1,5}[a-z]){1,4}",
            readonly: bool,
            relabel: bool,
            propagation in 0..3i32,
            noexec: bool,
        ) {
            let given = api::Mount {
                container_path: container,
                host_path: host,
                readonly,
                recursive_read_only: readonly && propagation == 0,
                selinux_relabel: relabel,
                propagation,
                mount_options: if noexec { vec!["noexec".into()] } else { vec![] },
                ..Default::default()
            };
            let mounts = mounts(&AT, vec![given.clone()]).unwrap();
            prop_assert_eq!(to_api(&mounts[0], ""), given);
        }

        #[test]
        fn container_paths_stay_below(value in "[a./]{1,20}") {
            if let Ok(path) = container_path(&AT, &value) {
                prop_assert!(path.is_absolute() && path != Path::new("/"));
                prop_assert!(path.components().skip(1).all(|c| matches!(c, Component::Normal(_))));
            }
        }
    }
}
