//! The images that a container mounts.

use std::{path::PathBuf, sync::Arc};

use super::{record::ContainerRecord, spec::MountSource};
use crate::{
    id::Id,
    id_map::UserMappings,
    image::ImageError,
    services::Services,
    storage::{StorageError, ViewOptions},
};

/// An image that cannot be mounted. Each message begins with the name by which callers know the failure.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// It is not on this node.
    #[error(
        "ImageVolumeMountFailed: config.mounts[{index}].image.image: {image:?} is not on this node; pull it first"
    )]
    NotHere {
        /// Which mount.
        index: usize,
        /// The image asked for.
        image: String,
    },
    /// It cannot be used.
    #[error("ImageVolumeMountFailed: config.mounts[{index}].image.image: {image:?} cannot be used")]
    Image {
        /// Which mount.
        index: usize,
        /// The image asked for.
        image: String,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// The path below its root cannot be used.
    #[error(
        "ImageVolumeMountFailed: config.mounts[{index}].image_sub_path: {path:?} cannot be mounted from image {image:?}"
    )]
    SubPath {
        /// Which mount.
        index: usize,
        /// The image asked for.
        image: String,
        /// The path asked for.
        path: PathBuf,
        /// Why not.
        #[source]
        source: StorageError,
    },
    /// The mount failed.
    #[error("ImageVolumeMountFailed: config.mounts[{index}]: image {image:?} cannot be mounted")]
    Mount {
        /// Which mount.
        index: usize,
        /// The image asked for.
        image: String,
        /// Why not.
        #[source]
        source: StorageError,
    },
}

/// How files of images appear in a container.
#[derive(Debug)]
pub(super) struct Look {
    /// With this SELinux label, all of them.
    pub(super) context: Option<String>,
    /// With their IDs as these map them.
    pub(super) users: Option<UserMappings>,
}

/// Mounts the images that the container mounts, and says where on the host each of its mounts found its own.
///
/// What is mounted is the part that was asked for and nothing else of the image. The container holds the
/// images' layers from here on, whatever becomes of their names.
pub(super) async fn mount(
    services: &Arc<Services>,
    id: &Id,
    record: &mut ContainerRecord,
    look: &Look,
) -> Result<Vec<Option<PathBuf>>, VolumeError> {
    let spec = record.spec.clone();
    let mut views = Vec::with_capacity(spec.mounts.len());
    for (index, mount) in spec.mounts.iter().enumerate() {
        let MountSource::Image { image, sub_path } = &mount.source else {
            views.push(None);
            continue;
        };
        let name = &image.image;
        let unusable = |source| VolumeError::Image {
            index,
            image: name.clone(),
            source,
        };
        let image = services
            .images
            .get(name)
            .map_err(unusable)?
            .ok_or_else(|| VolumeError::NotHere {
                index,
                image: name.clone(),
            })?;
        let image = services
            .images
            .acquire(&image.id, id.as_str())
            .map_err(unusable)?;
        let target = services.layout.image_volumes(id).join(index.to_string());
        let options = ViewOptions {
            sub_path: sub_path.clone(),
            context: look.context.clone(),
            users: look.users.clone(),
        };
        services
            .storage
            .mount_view(&view_key(id, index), &image.layers, options, &target)
            .await
            .map_err(|source| match source {
                StorageError::SubPath { .. } => VolumeError::SubPath {
                    index,
                    image: name.clone(),
                    path: sub_path.clone(),
                    source,
                },
                source => VolumeError::Mount {
                    index,
                    image: name.clone(),
                    source,
                },
            })?;
        // What a pull answered with: callers compare the two.
        record
            .mount_images
            .insert(mount.container_path.clone(), image.id.clone());
        views.push(Some(target));
    }
    Ok(views)
}

/// Name of a container's view of an image, for its mount number `n`.
fn view_key(id: &Id, n: usize) -> String {
    format!("{id}-{n}")
}

/// The container that a view was made for.
pub(crate) fn container_of_view(key: &str) -> &str {
    key.split_once('-').map_or(key, |(id, _)| id)
}
