//! The entries of lists: what `convert::container_view::item` and `convert::pod_view::item` make, field by field. The tests
//! hold the one against the other.

use super::part::{Part, Sink};
use crate::{
    container::{
        spec::{ContainerMetadata, ContainerSpec},
        view::ContainerView,
    },
    cri::convert::{container_view, pod_view},
    pod::{spec::PodMetadata, view::PodView},
};

/// `runtime.v1.Container`.
impl Part for ContainerView {
    fn put(&self, sink: &mut impl Sink) {
        sink.fields(self.entry.get_or_make(|| FixedContainer(self).written()));
        sink.number(6, container_view::state(&self.state) as u64);
    }
}

/// What never changes of it: all but the state.
struct FixedContainer<'a>(&'a ContainerView);

impl Part for FixedContainer<'_> {
    fn put(&self, sink: &mut impl Sink) {
        let Self(container) = self;
        sink.text(1, container.id.as_str());
        sink.text(2, container.pod_id.as_str());
        sink.part(3, &container.spec.metadata);
        sink.part(4, &Image(&container.spec));
        sink.text(5, &container.image_ref);
        sink.number(7, container.created_at.cast_unsigned());
        sink.map(8, &container.spec.labels);
        sink.map(9, &container.spec.annotations);
        sink.text(10, &container.image_id);
    }
}

/// `runtime.v1.ContainerMetadata`.
impl Part for ContainerMetadata {
    fn put(&self, sink: &mut impl Sink) {
        sink.text(1, &self.name);
        sink.number(2, self.attempt.into());
    }
}

/// `runtime.v1.ImageSpec`: the image as the user knows it.
struct Image<'a>(&'a ContainerSpec);

impl Part for Image<'_> {
    fn put(&self, sink: &mut impl Sink) {
        let image = &self.0.image;
        sink.text(1, container_view::shown_image(self.0));
        sink.map(2, &image.annotations);
        sink.text(18, &image.user_specified);
    }
}

/// `runtime.v1.PodSandbox`.
impl Part for PodView {
    fn put(&self, sink: &mut impl Sink) {
        sink.fields(self.entry.get_or_make(|| FixedPod(self).written()));
        sink.number(3, pod_view::state(self.state) as u64);
    }
}

/// What never changes of it: all but the state.
struct FixedPod<'a>(&'a PodView);

impl Part for FixedPod<'_> {
    fn put(&self, sink: &mut impl Sink) {
        let Self(pod) = self;
        sink.text(1, pod.id.as_str());
        sink.part(2, &pod.spec.metadata);
        sink.number(4, pod.created_at.cast_unsigned());
        sink.map(5, &pod.spec.labels);
        sink.map(6, &pod.spec.annotations);
        sink.text(7, &pod.spec.runtime_handler);
    }
}

/// `runtime.v1.PodSandboxMetadata`.
impl Part for PodMetadata {
    fn put(&self, sink: &mut impl Sink) {
        sink.text(1, &self.name);
        sink.text(2, &self.uid);
        sink.text(3, &self.namespace);
        sink.number(4, self.attempt.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::{collection::btree_map, prelude::*};
    use prost::Message;

    use super::super::{ListContainersResponse, ListPodSandboxResponse};
    use super::*;
    use crate::{
        container::view::ContainerState,
        cri::{
            api,
            convert::arbitrary::{self, container_view as container, pod_view as pod},
        },
        pod::view::PodViewState,
    };

    /// What the wire carries of a list, read as the generated message of a stream, which has the same shape.
    fn received<A: Message + Default>(answer: &impl Message) -> A {
        let bytes = answer.encode_to_vec();
        assert_eq!(bytes.len(), answer.encoded_len());
        A::decode(bytes.as_slice()).unwrap()
    }

    prop_compose! {
        fn any_text()(text in prop_oneof![Just(String::new()), "\\PC{0,200}"]) -> String { text }
    }

    proptest! {
        #[test]
        fn containers_are_written_as_they_are_converted(
            texts in prop::array::uniform5(any_text()),
            maps in prop::array::uniform3(btree_map(any_text(), any_text(), 0..5)),
            attempt: u32,
            created_at: i64,
            state in 0..4,
            count in 0..4usize,
        ) {
            let mut view = container(1, &arbitrary::id(2));
            let [name, image, user_specified, image_ref, image_id] = texts;
            let [labels, annotations, of_image] = maps;
            let spec = Arc::make_mut(&mut view.spec);
            spec.metadata = ContainerMetadata { name, attempt };
            spec.image.image = image;
            spec.image.user_specified = user_specified;
            spec.image.annotations = of_image;
            (spec.labels, spec.annotations) = (labels, annotations);
            (view.image_ref, view.image_id, view.created_at) = (image_ref, image_id, created_at);
            let (reason, message) = (String::new(), String::new());
            view.state = match state {
                0 => ContainerState::Created,
                1 => ContainerState::Running { started_at: 1 },
                2 => ContainerState::Exited { started_at: None, finished_at: 1, exit_code: 2, reason, message },
                _ => ContainerState::Unknown { reason, message },
            };
            let shared = Arc::new(view.clone());
            let answer = ListContainersResponse::of(vec![shared; count]);
            let read: api::StreamContainersResponse = received(&answer);
            prop_assert_eq!(&read.containers, &vec![container_view::item(&view); count]);
            let read: ListContainersResponse = received(&answer);
            prop_assert_eq!(read.containers, vec![container_view::item(&view); count]);
        }

        #[test]
        fn sandboxes_are_written_as_they_are_converted(
            texts in prop::array::uniform4(any_text()),
            maps in prop::array::uniform2(btree_map(any_text(), any_text(), 0..5)),
            attempt: u32,
            created_at: i64,
            ready: bool,
            count in 0..4usize,
        ) {
            let mut view = pod(1);
            let [name, uid, namespace, handler] = texts;
            let spec = Arc::make_mut(&mut view.spec);
            spec.metadata = PodMetadata { name, uid, namespace, attempt };
            [spec.labels, spec.annotations] = maps;
            spec.runtime_handler = handler;
            view.created_at = created_at;
            view.state = if ready { PodViewState::Ready } else { PodViewState::NotReady };
            let shared = Arc::new(view.clone());
            let answer = ListPodSandboxResponse::of(vec![shared; count]);
            let read: api::StreamPodSandboxesResponse = received(&answer);
            prop_assert_eq!(&read.pod_sandboxes, &vec![pod_view::item(&view); count]);
            let read: ListPodSandboxResponse = received(&answer);
            prop_assert_eq!(read.items, vec![pod_view::item(&view); count]);
        }
    }

    #[test]
    fn what_was_received_can_be_sent_on() {
        let received = ListContainersResponse {
            containers: vec![container_view::item(&container(1, &arbitrary::id(2)))],
            ..Default::default()
        };
        let again = ListContainersResponse::decode(received.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again.containers, received.containers);
        // A field of a later version of the protocol.
        let mut longer = received.encode_to_vec();
        longer.extend([16, 1]);
        let read = ListContainersResponse::decode(longer.as_slice()).unwrap();
        assert_eq!(read.containers, received.containers);
    }
}
