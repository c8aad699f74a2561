use std::sync::Arc;

use tonic::{Code, Streaming};

use super::{Served, refused};
use crate::{
    cri::{
        api::{self, ContainerEventType},
        convert::arbitrary::{container_view, id, pod_view},
        server::Drained,
    },
    events::{Kind, SUBSCRIBERS_MAX},
    pod::view::PodView,
};

fn sample() -> Arc<PodView> {
    let mut pod = pod_view(1);
    pod.containers = vec![Arc::new(container_view(2, &pod.id))];
    Arc::new(pod)
}

async fn listen(served: &Served) -> Streaming<api::ContainerEventResponse> {
    let mut runtime = served.runtime();
    let request = api::GetEventsRequest {};
    let answer = runtime.get_container_events(request).await;
    answer.unwrap().into_inner()
}

/// Tells of so much that whoever listens and does not read is cut off.
fn flood(served: &Served) {
    let pod = sample();
    while served.backend.events.subscribers() > 0 {
        let happened = vec![(id(1), Kind::Created); 100];
        served.backend.events.tell(&pod, happened);
    }
}

#[tokio::test]
async fn events_carry_the_statuses_of_their_moment() {
    let served = Served::start().await;
    let mut events = listen(&served).await;
    // The answer's headers are here, so all from now on is heard.
    let happened = vec![(id(1), Kind::Created), (id(2), Kind::Stopped)];
    served.backend.events.tell(&sample(), happened);
    let first = events.message().await.unwrap().unwrap();
    assert_eq!(first.container_id, id(1).as_str());
    assert_eq!(
        first.container_event_type(),
        ContainerEventType::ContainerCreatedEvent
    );
    let status = first.pod_sandbox_status.unwrap();
    assert_eq!(status.metadata.unwrap().uid, "uid-1");
    assert_eq!(first.containers_statuses[0].id, id(2).as_str());
    let second = events.message().await.unwrap().unwrap();
    assert_eq!(second.container_id, id(2).as_str());
    assert_eq!(
        second.container_event_type(),
        ContainerEventType::ContainerStoppedEvent
    );
    assert!(second.created_at > first.created_at);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_so() {
    let served = Served::start().await;
    let mut events = listen(&served).await;
    flood(&served);
    let error = loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some(), "it ended without an error"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("subscribe again"), "{error}");
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_the_daemons_end() {
    let served = Served::start().await;
    let events = listen(&served).await;
    flood(&served);
    served.stop.send(()).unwrap();
    // Long before the grace period is over, which would cut it off.
    assert_eq!(served.server.await.unwrap().unwrap(), Drained::Whole);
    drop(events);
}

#[tokio::test]
async fn there_are_only_so_many_and_who_leaves_makes_room() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let mut all = Vec::new();
    for _ in 0..SUBSCRIBERS_MAX {
        let request = api::GetEventsRequest {};
        all.push(runtime.get_container_events(request).await.unwrap());
    }
    let request = api::GetEventsRequest {};
    let (code, message) = refused(runtime.get_container_events(request).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(message.contains("64 clients"), "{message}");
    drop(all);
    while served.backend.events.subscribers() > 0 {
        tokio::task::yield_now().await;
    }
    let request = api::GetEventsRequest {};
    runtime.get_container_events(request).await.unwrap();
}

#[tokio::test]
async fn the_daemons_end_ends_the_stream_and_does_not_wait_for_it() {
    let served = Served::start().await;
    let mut events = listen(&served).await;
    let happened = vec![(id(1), Kind::Created)];
    served.backend.events.tell(&sample(), happened);
    served.stop.send(()).unwrap();
    assert!(events.message().await.unwrap().is_some());
    assert!(events.message().await.unwrap().is_none());
    assert_eq!(served.server.await.unwrap().unwrap(), Drained::Whole);
}
