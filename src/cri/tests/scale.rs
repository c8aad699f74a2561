//! What reading costs where there are many: counted, for times are the machine's.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use prost::Message;
use tonic::{Request, Response, Status};

use super::fake::Fake;
use crate::{
    container::view::ContainerState,
    cri::{
        api::{
            self, ListContainersResponse, ListPodSandboxResponse,
            runtime_service_server::RuntimeService,
        },
        convert::{arbitrary, container_view, pod_view},
        runtime_service::Runtime,
    },
    id::Id,
    pod::{Table, view::PodViewState},
    sys::allocations::{self, Taken},
};

/// A node of so many pods of one container, and one of their IDs.
fn node(count: usize) -> (Runtime<Fake>, Id, Id) {
    let table = Table::default();
    let mut last = None;
    for n in 0..count {
        let mut pod = arbitrary::pod_view(1);
        let mut container = arbitrary::container_view(1, &pod.id);
        (pod.id, container.id) = (Id::random(), Id::random());
        pod.created_at = 1000000 + n as i64;
        Arc::make_mut(&mut pod.spec).labels = labels(n);
        container.pod_id = pod.id.clone();
        container.created_at = 1000000 + n as i64;
        Arc::make_mut(&mut container.spec).labels = labels(n);
        last = Some((pod.id.clone(), container.id.clone()));
        pod.containers = vec![Arc::new(container)];
        table.publish(Arc::new(pod));
    }
    let backend = Fake {
        table: Some(table),
        ..Fake::default()
    };
    let (pod, container) = last.unwrap();
    (Runtime::new(Arc::new(backend)), pod, container)
}

fn labels<T: FromIterator<(String, String)>>(n: usize) -> T {
    let number = [("number".to_owned(), format!("{n:05}"))];
    let rest = (0..6).map(|label| (format!("label-{label}"), format!("value-{label}")));
    rest.chain(number).collect()
}

/// The memory taken for an answer until it is written, and how long that is.
fn cost<M: Message>(call: impl Future<Output = Result<Response<M>, Status>>) -> (Taken, usize) {
    let (bytes, taken) = allocations::during(|| {
        let answer = call.now_or_never().expect("reading waits for nothing");
        let mut bytes = BytesMut::new();
        answer.unwrap().get_ref().encode(&mut bytes).unwrap();
        bytes
    });
    (taken, bytes.len())
}

/// A buffer that doubles grows so often more where there is eight times as much, and sorting takes room once.
const GROWTH: usize = 4;

#[test]
fn a_list_takes_no_memory_for_each_entry() {
    let [few, many] = [500, 4000].map(|count| {
        let (node, ..) = node(count);
        let list = || {
            let pods = Request::new(api::ListPodSandboxRequest::default());
            let containers = Request::new(api::ListContainersRequest::default());
            [
                cost(node.list_pod_sandbox(pods)),
                cost(node.list_containers(containers)),
            ]
        };
        // The first makes what is kept of each entry.
        for (taken, length) in list() {
            assert!(length > 100 * count);
            assert!(
                (count..count + 32).contains(&taken.times),
                "{taken:?} for {count}"
            );
        }
        list().map(|(taken, length)| {
            assert!(length > 100 * count);
            taken.times
        })
    });
    for (few, many) in few.into_iter().zip(many) {
        assert!(
            many <= few + GROWTH && few < 32,
            "{few}, and {many} for more"
        );
    }
}

#[test]
fn an_entry_shows_what_became_of_its_container() {
    let table = Table::default();
    let mut pod = arbitrary::pod_view(1);
    let mut container = arbitrary::container_view(1, &pod.id);
    let exited = ContainerState::Exited {
        started_at: None,
        finished_at: 1,
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
    };
    for (state, ready) in [
        (ContainerState::Created, PodViewState::Ready),
        (
            ContainerState::Running { started_at: 1 },
            PodViewState::Ready,
        ),
        (exited, PodViewState::NotReady),
    ] {
        (container.state, pod.state) = (state, ready);
        pod.containers = vec![Arc::new(container.clone())];
        table.publish(Arc::new(pod.clone()));
        let listed = ListContainersResponse::of(table.containers()).encode_to_vec();
        let listed = ListContainersResponse::decode(listed.as_slice()).unwrap();
        assert_eq!(listed.containers, [container_view::item(&container)]);
        let listed = ListPodSandboxResponse::of(table.pods()).encode_to_vec();
        let listed = ListPodSandboxResponse::decode(listed.as_slice()).unwrap();
        assert_eq!(listed.items, [pod_view::item(&pod)]);
    }
}

#[test]
fn a_list_by_a_label_takes_memory_for_what_is_found() {
    let [few, many] = [500, 4000].map(|count| {
        let (node, ..) = node(count);
        let one: std::collections::HashMap<_, _> =
            [("number".to_owned(), "00007".to_owned())].into();
        let pods = Request::new(api::ListPodSandboxRequest {
            filter: Some(api::PodSandboxFilter {
                label_selector: one.clone(),
                ..Default::default()
            }),
        });
        let pods = cost(node.list_pod_sandbox(pods));
        let containers = Request::new(api::ListContainersRequest {
            filter: Some(api::ContainerFilter {
                label_selector: one,
                ..Default::default()
            }),
        });
        let containers = cost(node.list_containers(containers));
        assert!((100..1000).contains(&pods.1) && (100..1000).contains(&containers.1));
        [pods.0.times, containers.0.times]
    });
    assert_eq!(few, many);
}

#[test]
fn who_asks_for_one_pays_for_no_others() {
    let [few, many] = [1, 4000].map(|count| {
        let (node, pod, container) = node(count);
        let status = Request::new(api::ContainerStatusRequest {
            container_id: container.to_string(),
            verbose: false,
        });
        let status = cost(node.container_status(status));
        let by_id = |id: String, pod_sandbox_id: String| {
            let filter = api::ContainerFilter {
                id,
                pod_sandbox_id,
                ..Default::default()
            };
            let filter = Some(filter);
            cost(node.list_containers(Request::new(api::ListContainersRequest { filter })))
        };
        let of_id = by_id(container.to_string(), String::new());
        let of_pod = by_id(String::new(), pod.to_string());
        let filter = Some(api::PodSandboxFilter {
            id: pod.to_string(),
            ..Default::default()
        });
        let pods = Request::new(api::ListPodSandboxRequest { filter });
        let pods = cost(node.list_pod_sandbox(pods));
        [status, of_id, of_pod, pods].map(|(taken, length)| {
            assert!((100..1000).contains(&length), "{length}");
            taken
        })
    });
    assert_eq!(few, many);
}
