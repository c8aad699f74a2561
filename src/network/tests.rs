use super::*;

/// A pod called space/pod.
pub(crate) fn pod(netns: &str) -> PodNetwork {
    PodNetwork {
        namespace: "space".into(),
        name: "pod".into(),
        uid: "uid".into(),
        ..PodNetwork::bare(Id::random(), netns.into())
    }
}
