//! Lists and their filters.

use corten::cri::api::{
    ContainerFilter, ContainerState, ContainerStateValue, ImageFilter, ListPodSandboxRequest,
    PodSandboxFilter, PodSandboxState, PodSandboxStateValue, StreamContainersRequest,
    StreamImagesRequest, StreamPodSandboxesRequest,
};

use crate::support::{IMAGE, container, image_spec, node, pod};

fn labels(pairs: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn pods_are_filtered_by_id_state_and_labels() {
    node(async |node| {
        let mut ids = Vec::new();
        for (name, tier) in [("one", "front"), ("two", "back"), ("three", "back")] {
            let mut config = pod(name);
            config.labels = labels(&[("tier", tier), ("name", name)]);
            ids.push(node.pod(&config).await);
        }
        node.stop_pod(&ids[2]).await.unwrap();
        let find = async |id: &str, state: Option<PodSandboxState>, pairs: &[(&str, &str)]| {
            let filter = PodSandboxFilter {
                id: id.into(),
                state: state.map(|state| PodSandboxStateValue {
                    state: state as i32,
                }),
                label_selector: labels(pairs),
            };
            let mut found: Vec<usize> = node
                .pods(Some(filter))
                .await
                .iter()
                .map(|pod| ids.iter().position(|id| *id == pod.id).unwrap())
                .collect();
            found.sort_unstable();
            found
        };
        use PodSandboxState::{SandboxNotready, SandboxReady};
        assert_eq!(find("", None, &[]).await, [0, 1, 2]);
        assert_eq!(find(&ids[1], None, &[]).await, [1]);
        assert_eq!(find(&ids[1][..20], None, &[]).await, [1]);
        assert!(find("feedfacefeedface", None, &[]).await.is_empty());
        assert_eq!(find("", Some(SandboxReady), &[]).await, [0, 1]);
        assert_eq!(find("", Some(SandboxNotready), &[]).await, [2]);
        assert_eq!(find("", None, &[("tier", "back")]).await, [1, 2]);
        assert_eq!(
            find("", None, &[("tier", "back"), ("name", "two")]).await,
            [1]
        );
        assert!(find("", None, &[("tier", "Back")]).await.is_empty());
        assert_eq!(find("", Some(SandboxReady), &[("tier", "back")]).await, [1]);
        assert!(find(&ids[0], Some(SandboxNotready), &[]).await.is_empty());
        let all = node
            .runtime()
            .list_pod_sandbox(ListPodSandboxRequest::default())
            .await;
        assert_eq!(all.unwrap().into_inner().items.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn containers_are_filtered_by_id_pod_state_and_labels() {
    node(async |node| {
        let (config, first, _) = node.idle("one").await;
        let (_, second, idle) = node.idle("two").await;
        let mut main = container("main", &["true"]);
        main.labels = labels(&[("app", "x")]);
        let created = node.create(&first, &config, &main).await;
        main.metadata.as_mut().unwrap().attempt = 1;
        let exited = node.launch(&first, &config, &main).await;
        node.exit(&exited).await;
        let find = async |filter: ContainerFilter| {
            let mut found: Vec<String> = node
                .containers(Some(filter))
                .await
                .into_iter()
                .map(|container| container.id)
                .collect();
            found.sort();
            found
        };
        let state = |state: ContainerState| {
            Some(ContainerStateValue {
                state: state as i32,
            })
        };
        let default = ContainerFilter::default;
        assert_eq!(find(default()).await.len(), 4);
        let by_id = ContainerFilter {
            id: exited[..16].into(),
            ..default()
        };
        assert_eq!(find(by_id).await, std::slice::from_ref(&exited));
        let by_pod = ContainerFilter {
            pod_sandbox_id: second.clone(),
            ..default()
        };
        assert_eq!(find(by_pod).await, std::slice::from_ref(&idle));
        let by_prefix = ContainerFilter {
            pod_sandbox_id: second[..16].into(),
            ..default()
        };
        assert_eq!(find(by_prefix).await, std::slice::from_ref(&idle));
        let by_state = ContainerFilter {
            state: state(ContainerState::ContainerCreated),
            ..default()
        };
        assert_eq!(find(by_state).await, std::slice::from_ref(&created));
        let by_state = ContainerFilter {
            state: state(ContainerState::ContainerExited),
            ..default()
        };
        assert_eq!(find(by_state).await, std::slice::from_ref(&exited));
        let by_label = ContainerFilter {
            label_selector: labels(&[("app", "x")]),
            ..default()
        };
        assert_eq!(find(by_label).await.len(), 2);
        let unknown = ContainerFilter {
            id: "feedface".into(),
            ..default()
        };
        assert!(find(unknown).await.is_empty());
        let both = ContainerFilter {
            id: idle,
            pod_sandbox_id: first,
            ..default()
        };
        assert!(find(both).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn lists_come_as_streams_too() {
    node(async |node| {
        let (_, pod, id) = node.idle("streamed").await;
        let mut stream = node
            .runtime()
            .stream_pod_sandboxes(StreamPodSandboxesRequest::default())
            .await
            .unwrap()
            .into_inner();
        let mut pods = Vec::new();
        while let Some(part) = stream.message().await.unwrap() {
            pods.extend(part.pod_sandboxes.into_iter().map(|pod| pod.id));
        }
        assert_eq!(pods, [pod]);
        let mut stream = node
            .runtime()
            .stream_containers(StreamContainersRequest::default())
            .await
            .unwrap()
            .into_inner();
        let mut containers = Vec::new();
        while let Some(part) = stream.message().await.unwrap() {
            containers.extend(part.containers.into_iter().map(|container| container.id));
        }
        assert_eq!(containers, [id]);
    })
    .await;
}

#[tokio::test]
async fn streamed_lists_are_filtered_as_lists_are() {
    node(async |node| {
        let (_, pod, id) = node.idle("here").await;
        node.idle("elsewhere").await;
        let pods = async |filter: PodSandboxFilter| {
            let filter = Some(filter);
            let request = StreamPodSandboxesRequest { filter };
            let mut stream = node.runtime().stream_pod_sandboxes(request).await?;
            let mut found = Vec::new();
            while let Some(part) = stream.get_mut().message().await? {
                found.extend(part.pod_sandboxes.into_iter().map(|pod| pod.id));
            }
            Ok::<_, tonic::Status>(found)
        };
        let containers = async |filter: ContainerFilter| {
            let filter = Some(filter);
            let request = StreamContainersRequest { filter };
            let mut stream = node.runtime().stream_containers(request).await?;
            let mut found = Vec::new();
            while let Some(part) = stream.get_mut().message().await? {
                found.extend(part.containers.into_iter().map(|container| container.id));
            }
            Ok::<_, tonic::Status>(found)
        };
        let one = PodSandboxFilter {
            id: pod.clone(),
            ..Default::default()
        };
        assert_eq!(pods(one).await.unwrap(), std::slice::from_ref(&pod));
        let not_ready = PodSandboxFilter {
            state: Some(PodSandboxStateValue { state: 1 }),
            ..Default::default()
        };
        assert!(pods(not_ready).await.unwrap().is_empty());
        let bad = PodSandboxFilter {
            state: Some(PodSandboxStateValue { state: 9 }),
            ..Default::default()
        };
        let error = pods(bad).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
        let of_pod = ContainerFilter {
            pod_sandbox_id: pod,
            ..Default::default()
        };
        assert_eq!(containers(of_pod).await.unwrap(), [id]);
        let bad = ContainerFilter {
            state: Some(ContainerStateValue { state: 9 }),
            ..Default::default()
        };
        let error = containers(bad).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
    })
    .await;
}

#[tokio::test]
async fn images_are_streamed_and_filtered() {
    node(async |node| {
        let images = async |image: Option<&str>| {
            let filter = image.map(|image| ImageFilter {
                image: Some(image_spec(image)),
            });
            let request = StreamImagesRequest { filter };
            let mut stream = node.images().stream_images(request).await?;
            let mut found = Vec::new();
            while let Some(part) = stream.get_mut().message().await? {
                found.extend(part.images.into_iter().map(|image| image.id));
            }
            Ok::<_, tonic::Status>(found)
        };
        let all = node.image_list().await;
        let ids: Vec<_> = all.into_iter().map(|image| image.id).collect();
        assert_eq!(images(None).await.unwrap(), ids);
        assert_eq!(images(Some(IMAGE)).await.unwrap(), ids);
        assert!(images(Some("localhost/none:1")).await.unwrap().is_empty());
        let error = images(Some("UPPER CASE")).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
    })
    .await;
}
