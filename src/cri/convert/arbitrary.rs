//! Samples and generators for tests, and the properties that hold for any message.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use prost::Message;

use super::{container, filter, image, pod, resources, text};
use crate::{
    container::view::{ContainerState, ContainerView, User},
    cri::api,
    id::Id,
    kept::Kept,
    pod::{
        limits::PodResources,
        view::{PodView, PodViewState},
    },
};

/// An identifier that is the same for the same number.
pub(crate) fn id(n: u8) -> Id {
    Id::parse(&format!("{n:02x}").repeat(32)).unwrap()
}

/// A ready sandbox with two addresses.
pub(crate) fn pod_view(n: u8) -> PodView {
    let config = api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: format!("pod-{n}"),
            uid: format!("uid-{n}"),
            namespace: "default".into(),
            attempt: 0,
        }),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..Default::default()
    };
    PodView {
        id: id(n),
        spec: Arc::new(pod::spec(Some(config), String::new()).unwrap()),
        state: PodViewState::Ready,
        created_at: i64::from(n),
        ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        handler: "runc".into(),
        netns: None,
        pid: None,
        step: None,
        resources: PodResources::default(),
        containers: vec![],
        entry: Kept::default(),
    }
}

/// A running container.
pub(crate) fn container_view(n: u8, pod_id: &Id) -> ContainerView {
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata {
            name: format!("container-{n}"),
            attempt: 0,
        }),
        image: Some(api::ImageSpec {
            image: "sha256:1".into(),
            user_specified_image: "busybox:1".into(),
            ..Default::default()
        }),
        mounts: vec![api::Mount {
            container_path: "/data".into(),
            host_path: "/srv".into(),
            ..Default::default()
        }],
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        linux: Some(api::LinuxContainerConfig {
            resources: Some(api::LinuxContainerResources {
                cpu_shares: 512,
                ..Default::default()
            }),
            security_context: None,
        }),
        ..Default::default()
    };
    let spec = container::spec(Some(config)).unwrap();
    ContainerView {
        id: id(n),
        pod_id: pod_id.clone(),
        resources: spec.resources.clone(),
        spec: Arc::new(spec),
        image_id: "sha256:1".into(),
        image_ref: "docker.io/library/busybox@sha256:2".into(),
        state: ContainerState::Running { started_at: 2 },
        created_at: 1,
        log_path: Some("/var/log/pods/x/main.log".into()),
        user: Some(User {
            uid: 1,
            gid: 2,
            groups: vec![2, 3],
        }),
        stop_signal: libc::SIGTERM,
        pid: Some(4242),
        mount_images: BTreeMap::new(),
        runtime_spec: None,
        monitor: None,
        step: None,
        entry: Kept::default(),
    }
}

/// Appends fields of random numbers, kinds and contents: valid protobuf, often nested.
fn wire(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let number = (1..20u32, prop_oneof![0..4u64, any::<u64>()]).prop_map(|(field, value)| {
        let mut out = vec![];
        prost::encoding::encode_varint(u64::from(field << 3), &mut out);
        prost::encoding::encode_varint(value, &mut out);
        out
    });
    let string = (1..20u32, "[a-z/.=-]{0,8}|\\PC{0,8}|[\\x00-\\x20]{0,3}")
        .prop_map(|(field, value)| nested(field, value.as_bytes()));
    if depth == 0 {
        return prop_oneof![number, string].boxed();
    }
    let message = (1..20u32, prop::collection::vec(wire(depth - 1), 0..6))
        .prop_map(|(field, parts)| nested(field, &parts.concat()));
    prop_oneof![1 => number, 1 => string, 3 => message].boxed()
}

fn nested(field: u32, content: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    prost::encoding::encode_varint(u64::from(field << 3 | 2), &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A message that decodes, with its required names filled in so that the rest is reached.
fn message<M: Message + Default + std::fmt::Debug>(depth: u32) -> impl Strategy<Value = M> {
    prop::collection::vec(wire(depth), 0..8)
        .prop_map(|fields| {
            // A field whose kind does not fit this message is left out, the rest is kept.
            let mut message = M::default();
            for field in fields {
                if M::decode(field.as_slice()).is_ok() {
                    let _ = message.merge(field.as_slice());
                }
            }
            message
        })
        .no_shrink()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_pod_is_accepted_or_refused(mut config in message::<api::PodSandboxConfig>(3), handler in ".{0,5}") {
        config.metadata = pod_metadata();
        match pod::spec(Some(config), handler) {
            Ok(spec) => {
                let json = serde_json::to_string(&spec).unwrap();
                prop_assert_eq!(serde_json::from_str::<crate::pod::spec::PodSpec>(&json).unwrap(), spec);
            }
            Err(e) => prop_assert!(!e.field.is_empty() && !e.problem.is_empty()),
        }
    }

    #[test]
    fn any_container_is_accepted_or_refused(mut config in message::<api::ContainerConfig>(3)) {
        config.metadata = Some(api::ContainerMetadata { name: "c".into(), attempt: 0 });
        config.image = Some(api::ImageSpec { image: "i".into(), ..Default::default() });
        match container::spec(Some(config)) {
            Ok(spec) => {
                prop_assert!(spec.envs.iter().all(|(k, v)| !k.contains(['=', '\0']) && !v.contains('\0')));
                let json = serde_json::to_string(&spec).unwrap();
                prop_assert_eq!(serde_json::from_str::<crate::container::spec::ContainerSpec>(&json).unwrap(), spec);
            }
            Err(e) => prop_assert!(!e.field.is_empty() && !e.problem.is_empty()),
        }
    }

    #[test]
    fn any_small_message_is_accepted_or_refused(
        limits in message::<api::LinuxContainerResources>(2),
        pods in message::<api::PodSandboxFilter>(2),
        containers in message::<api::ContainerFilter>(2),
        auth in message::<api::AuthConfig>(1),
        spec in message::<api::ImageSpec>(1),
    ) {
        let at = super::error::At::root("m");
        let _ = resources::resources(&at, limits);
        if let Ok(filter) = filter::PodFilter::new(Some(pods)) {
            filter.matches(&pod_view(1));
        }
        if let Ok(filter) = filter::ContainerFilter::new(Some(containers)) {
            filter.matches(&container_view(1, &id(2)));
        }
        let _ = image::credentials(&at, Some(auth));
        if let Ok(image) = image::reference(&at, Some(spec)) {
            prop_assert!(text::word(&at, image.image, 1024).is_ok());
        }
    }
}

fn pod_metadata() -> Option<api::PodSandboxMetadata> {
    Some(api::PodSandboxMetadata {
        name: "p".into(),
        uid: "u".into(),
        namespace: "n".into(),
        attempt: 0,
    })
}
