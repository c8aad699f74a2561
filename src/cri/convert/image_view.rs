//! Images as they are, for answers.

use crate::cri::{
    api,
    backend::{FsUsage, ImageView, LayerProgress, LayerState},
    control_api,
};

/// An image in the CRI's terms.
pub fn image(image: &ImageView) -> api::Image {
    let (uid, username) = user(&image.user);
    api::Image {
        id: image.id.clone(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        size: image.size,
        uid: uid.map(|uid| api::Int64Value { value: uid.into() }),
        username,
        spec: None,
        pinned: image.pinned,
    }
}

/// The user of an image's configuration, `user[:group]`: a number that can be a user ID, or a name.
fn user(configured: &str) -> (Option<u32>, String) {
    let user = configured.split(':').next().unwrap_or_default();
    match user.parse::<u32>() {
        Ok(uid) if uid <= super::number::ID_MAX => (Some(uid), String::new()),
        _ => (None, user.to_owned()),
    }
}

/// An image in the terms of corten's own service.
pub fn control_image(image: &ImageView) -> control_api::Image {
    control_api::Image {
        id: image.id.clone(),
        tags: image.tags.clone(),
        digests: image.digests.clone(),
        size: image.size,
    }
}

/// How far a layer is, in the terms of corten's own service.
pub fn control_layer(layer: &LayerProgress) -> control_api::Layer {
    let state = match layer.state {
        LayerState::Waiting => control_api::LayerState::Waiting,
        LayerState::Pulling => control_api::LayerState::Pulling,
        LayerState::Unpacking => control_api::LayerState::Unpacking,
        LayerState::Done => control_api::LayerState::Done,
        LayerState::Present => control_api::LayerState::Present,
    };
    control_api::Layer {
        digest: layer.digest.clone(),
        state: state as i32,
        transferred: layer.transferred,
        size: layer.size,
    }
}

/// What a store takes.
pub fn usage(usage: &FsUsage) -> api::FilesystemUsage {
    api::FilesystemUsage {
        timestamp: usage.timestamp,
        fs_id: Some(api::FilesystemIdentifier {
            mountpoint: usage.mountpoint.to_string_lossy().into_owned(),
        }),
        used_bytes: Some(api::UInt64Value {
            value: usage.used_bytes,
        }),
        inodes_used: Some(api::UInt64Value {
            value: usage.inodes_used,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        assert_eq!(user(""), (None, String::new()));
        assert_eq!(user("1002"), (Some(1002), String::new()));
        assert_eq!(user("1003:users"), (Some(1003), String::new()));
        assert_eq!(user("www:0"), (None, "www".into()));
        // A number too large wraps nowhere: it is a name, which no image has.
        assert_eq!(user("4294967296"), (None, "4294967296".into()));
        assert_eq!(user("4294967295"), (None, "4294967295".into()));
    }
}
