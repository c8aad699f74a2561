//! What happens, as clients are told it.

use corten::cri::api::{
    ContainerEventResponse, ContainerEventType, ContainerState, GetEventsRequest, PodSandboxState,
};
use tonic::{Code, Streaming};

use crate::support::{Node, container, node, patience, pod, shell};

/// One who listens.
struct Ear(Streaming<ContainerEventResponse>);

impl Ear {
    async fn open(node: &Node) -> Self {
        let request = GetEventsRequest {};
        Self(
            node.runtime()
                .get_container_events(request)
                .await
                .unwrap()
                .into_inner(),
        )
    }

    async fn next(&mut self) -> ContainerEventResponse {
        tokio::time::timeout(patience(), self.0.message())
            .await
            .expect("an event")
            .unwrap()
            .expect("the stream ended")
    }

    /// All events up to the one that tells that `id` is gone.
    async fn until_gone(&mut self, id: &str) -> Vec<ContainerEventResponse> {
        let mut all = Vec::new();
        loop {
            let event = self.next().await;
            let last = event.container_id == id && letter(&event) == 'D';
            all.push(event);
            if last {
                return all;
            }
        }
    }
}

/// Created, started, ended (X), deleted.
fn letter(event: &ContainerEventResponse) -> char {
    match event.container_event_type() {
        ContainerEventType::ContainerCreatedEvent => 'C',
        ContainerEventType::ContainerStartedEvent => 'S',
        ContainerEventType::ContainerStoppedEvent => 'X',
        ContainerEventType::ContainerDeletedEvent => 'D',
    }
}

/// The life of one, as far as it was told.
fn life(events: &[ContainerEventResponse], id: &str) -> String {
    let own = events.iter().filter(|event| event.container_id == id);
    own.map(letter).collect()
}

#[tokio::test]
async fn the_life_of_a_pod_is_told_to_everyone() {
    node(async |node| {
        let mut ears = [Ear::open(node).await, Ear::open(node).await];
        let config = pod("told");
        let pod = node.pod(&config).await;
        let id = node.launch(&pod, &config, &shell("main", "exit 3")).await;
        node.exit(&id).await;
        node.remove_container(&id).await.unwrap();
        node.stop_pod(&pod).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
        let events = ears[0].until_gone(&pod).await;
        assert_eq!(ears[1].until_gone(&pod).await, events);
        let names = |event: &ContainerEventResponse| match event.container_id == pod {
            true => format!("pod {}", letter(event)),
            false => format!("main {}", letter(event)),
        };
        let told: Vec<String> = events.iter().map(names).collect();
        assert_eq!(
            told,
            [
                "pod C", "pod S", "main C", "main S", "main X", "main D", "pod X", "pod D"
            ]
        );
        assert!(events.windows(2).all(|w| w[0].created_at < w[1].created_at));
        for event in &events {
            let status = event.pod_sandbox_status.as_ref().unwrap();
            assert_eq!(status.id, pod);
            let metadata = status.metadata.as_ref().unwrap();
            assert_eq!(metadata.uid, "uid-of-told");
        }
        // Each with the statuses of its moment.
        let states: Vec<Option<ContainerState>> = events
            .iter()
            .map(|event| event.containers_statuses.first().map(|s| s.state()))
            .collect();
        use ContainerState::*;
        assert_eq!(
            states,
            [
                None,
                None,
                Some(ContainerCreated),
                Some(ContainerRunning),
                Some(ContainerExited),
                None,
                None,
                None
            ]
        );
        let ended = &events[4].containers_statuses[0];
        assert_eq!((ended.exit_code, ended.reason.as_str()), (3, "Error"));
        assert!(ended.finished_at >= ended.started_at && ended.started_at > 0);
        let sandbox = |n: usize| events[n].pod_sandbox_status.as_ref().unwrap().state();
        assert_eq!(sandbox(1), PodSandboxState::SandboxReady);
        assert_eq!(sandbox(6), PodSandboxState::SandboxNotready);
        assert_eq!(sandbox(7), PodSandboxState::SandboxNotready);
    })
    .await;
}

#[tokio::test]
async fn what_is_told_can_be_read_at_once() {
    node(async |node| {
        let mut ear = Ear::open(node).await;
        let (_, pod, id) = node.idle("agreeing").await;
        node.stop_container(&id, 0).await.unwrap();
        node.stop_pod(&pod).await.unwrap();
        loop {
            let event = ear.next().await;
            let now = node.try_pod_status(&pod, false).await.unwrap();
            assert!(now.timestamp >= event.created_at);
            let read = now.containers_statuses.iter().map(|s| s.state());
            let told = event.containers_statuses.iter().map(|s| s.state());
            assert!(read.collect::<Vec<_>>() >= told.collect());
            if event.container_id == pod && letter(&event) == 'X' {
                assert_eq!(now.status.unwrap(), event.pod_sandbox_status.unwrap());
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn short_lives_are_told_in_order() {
    node(async |node| {
        let mut ear = Ear::open(node).await;
        let config = pod("short");
        let pod = node.pod(&config).await;
        let mut ids = Vec::new();
        for n in 0..10 {
            let main = container(&format!("main-{n}"), &["true"]);
            ids.push(node.launch(&pod, &config, &main).await);
        }
        for id in &ids {
            assert_eq!(node.exit(id).await.reason, "Completed");
        }
        node.remove_pod(&pod).await.unwrap();
        let events = ear.until_gone(&pod).await;
        for id in &ids {
            assert_eq!(life(&events, id), "CSXD");
        }
        assert_eq!(life(&events, &pod), "CSXD");
    })
    .await;
}

#[tokio::test]
async fn what_is_removed_by_force_has_ended_before() {
    node(async |node| {
        let mut ear = Ear::open(node).await;
        let (config, pod, running) = node.idle("forced").await;
        let created = node
            .create(&pod, &config, &container("created", &["true"]))
            .await;
        node.remove_container(&running).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
        let events = ear.until_gone(&pod).await;
        assert_eq!(life(&events, &running), "CSXD");
        assert_eq!(life(&events, &created), "CXD");
        assert_eq!(life(&events, &pod), "CSXD");
        let ended = events
            .iter()
            .find(|event| event.container_id == running && letter(event) == 'X');
        let status = &ended.unwrap().containers_statuses;
        let status = status.iter().find(|status| status.id == running).unwrap();
        assert_eq!(status.state(), ContainerState::ContainerExited);
        assert_eq!(status.exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn many_listeners_hear_the_same_of_many_pods() {
    node(async |node| {
        let mut ears = Vec::new();
        for _ in 0..20 {
            ears.push(Ear::open(node).await);
        }
        let pods = (0..8).map(async |n| {
            let (_, pod, id) = node.idle(&format!("many-{n}")).await;
            node.stop_pod(&pod).await.unwrap();
            node.remove_pod(&pod).await.unwrap();
            (pod, id)
        });
        let pods = futures_util::future::join_all(pods).await;
        let mut first: Option<Vec<ContainerEventResponse>> = None;
        for ear in &mut ears {
            let mut heard = Vec::new();
            while !pods.iter().all(|(pod, _)| life(&heard, pod).ends_with('D')) {
                heard.push(ear.next().await);
            }
            for (pod, id) in &pods {
                assert_eq!(life(&heard, pod), "CSXD");
                assert_eq!(life(&heard, id), "CSXD");
            }
            assert_eq!(first.get_or_insert_with(|| heard.clone()), &heard);
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_daemon_goes_on_telling() {
    node(async |node| {
        let mut old = Ear::open(node).await;
        let (_, pod, id) = node.idle("restarted").await;
        node.restart().await;
        // The old stream has broken off; what was told before can still be read.
        let broken = loop {
            match old.0.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(broken.is_err(), "{broken:?}");
        let mut ear = Ear::open(node).await;
        node.stop_container(&id, 0).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
        let events = ear.until_gone(&pod).await;
        assert_eq!(life(&events, &id), "XD");
        assert_eq!(life(&events, &pod), "XD");
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_ends_ends_its_streams() {
    node(async |node| {
        let mut ears = [Ear::open(node).await, Ear::open(node).await];
        let status = node.terminate().await;
        assert!(status.success(), "{status}");
        for ear in &mut ears {
            assert_eq!(ear.0.message().await.unwrap(), None);
        }
        node.start().await;
    })
    .await;
}

#[tokio::test]
async fn too_many_listeners_are_refused_and_leaving_makes_room() {
    node(async |node| {
        let mut ears = Vec::new();
        let refused = loop {
            assert!(ears.len() < 1000, "there is no bound");
            let request = GetEventsRequest {};
            match node.runtime().get_container_events(request).await {
                Ok(stream) => ears.push(stream),
                Err(status) => break status,
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        ears.clear();
        crate::support::until("there is room again", async || {
            let request = GetEventsRequest {};
            node.runtime().get_container_events(request).await.is_ok()
        })
        .await;
    })
    .await;
}
