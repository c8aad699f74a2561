use std::collections::HashMap;

use futures_util::TryStreamExt;
use tonic::Code;

use super::{Served, refused};
use crate::cri::api;

fn labels(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

#[tokio::test]
async fn one_container_or_pod() {
    let served = Served::start().await;
    let (pod, container) = served.backend.add(1);
    let mut runtime = served.runtime();
    let of = |id: &str| api::ContainerStatsRequest {
        container_id: id.into(),
    };
    // A prefix of the ID will do.
    for id in [container.as_str(), &container.as_str()[..9]] {
        let stats = runtime.container_stats(of(id)).await.unwrap().into_inner();
        let attributes = stats.stats.unwrap().attributes.unwrap();
        assert_eq!(attributes.id, container.as_str());
    }
    assert_eq!(
        refused(runtime.container_stats(of("feedface")).await).0,
        Code::NotFound
    );
    assert_eq!(
        refused(runtime.container_stats(of("")).await).0,
        Code::InvalidArgument
    );
    let of = |id: &str| api::PodSandboxStatsRequest {
        pod_sandbox_id: id.into(),
    };
    let stats = runtime.pod_sandbox_stats(of(pod.as_str())).await.unwrap();
    let stats = stats.into_inner().stats.unwrap();
    assert_eq!(stats.linux.unwrap().containers.len(), 1);
    assert_eq!(
        refused(runtime.pod_sandbox_stats(of("feedface")).await).0,
        Code::NotFound
    );
    assert_eq!(
        refused(runtime.pod_sandbox_stats(of("no id")).await).0,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn lists_and_streams_are_filtered_alike() {
    let served = Served::start().await;
    let (pod, container) = served.backend.add(1);
    served.backend.add(2);
    let mut runtime = served.runtime();
    let containers = |id: &str, pod: &str, label_selector| {
        Some(api::ContainerStatsFilter {
            id: id.into(),
            pod_sandbox_id: pod.into(),
            label_selector,
        })
    };
    for (filter, count) in [
        (None, 2),
        (containers("", "", HashMap::new()), 2),
        (containers(container.as_str(), "", HashMap::new()), 1),
        (containers("", pod.as_str(), labels("tier", "front")), 1),
        (containers("", "", labels("tier", "back")), 0),
        (containers("feedface", "", HashMap::new()), 0),
        (containers("", "not an ID", HashMap::new()), 0),
    ] {
        let request = api::ListContainerStatsRequest {
            filter: filter.clone(),
        };
        let list = runtime.list_container_stats(request).await.unwrap();
        assert_eq!(list.into_inner().stats.len(), count, "{filter:?}");
        let request = api::StreamContainerStatsRequest { filter };
        let stream = runtime.stream_container_stats(request).await.unwrap();
        let parts: Vec<_> = stream.into_inner().try_collect().await.unwrap();
        assert_eq!(parts.iter().flat_map(|p| &p.container_stats).count(), count);
    }
    let pods = |id: &str, label_selector| {
        Some(api::PodSandboxStatsFilter {
            id: id.into(),
            label_selector,
        })
    };
    for (filter, count) in [
        (None, 2),
        (pods(pod.as_str(), HashMap::new()), 1),
        (pods(&pod.as_str()[..8], labels("app", "web")), 1),
        (pods("", labels("app", "db")), 0),
        (pods("feedface", HashMap::new()), 0),
    ] {
        let request = api::ListPodSandboxStatsRequest {
            filter: filter.clone(),
        };
        let list = runtime.list_pod_sandbox_stats(request).await.unwrap();
        assert_eq!(list.into_inner().stats.len(), count, "{filter:?}");
        let request = api::StreamPodSandboxStatsRequest { filter };
        let stream = runtime.stream_pod_sandbox_stats(request).await.unwrap();
        let parts: Vec<_> = stream.into_inner().try_collect().await.unwrap();
        assert_eq!(
            parts.iter().flat_map(|p| &p.pod_sandbox_stats).count(),
            count
        );
    }
}

#[tokio::test]
async fn metrics_are_as_their_descriptors_say() {
    let served = Served::start().await;
    let (pod, _) = served.backend.add(1);
    let (stopped, _) = served.backend.add(2);
    let mut runtime = served.runtime();
    let stop = api::StopPodSandboxRequest {
        pod_sandbox_id: stopped.to_string(),
    };
    runtime.stop_pod_sandbox(stop).await.unwrap();
    let request = api::ListMetricDescriptorsRequest {};
    let answer = runtime.list_metric_descriptors(request).await.unwrap();
    let descriptors: HashMap<String, usize> = answer
        .into_inner()
        .descriptors
        .into_iter()
        .map(|one| (one.name, one.label_keys.len()))
        .collect();
    let request = api::ListPodSandboxMetricsRequest {};
    let answer = runtime.list_pod_sandbox_metrics(request).await.unwrap();
    let listed = answer.into_inner().pod_metrics;
    // A pod that is down has none.
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].pod_sandbox_id, pod.as_str());
    assert!(served.backend.saw("measure_pods Metrics"));
    let own = listed[0].metrics.iter();
    let containers = listed[0].container_metrics.iter().flat_map(|c| &c.metrics);
    for metric in own.chain(containers) {
        assert_eq!(metric.label_values.len(), descriptors[&metric.name]);
        assert!(metric.value.is_some());
    }
    let request = api::StreamPodSandboxMetricsRequest {};
    let stream = runtime.stream_pod_sandbox_metrics(request).await.unwrap();
    let parts: Vec<_> = stream.into_inner().try_collect().await.unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].pod_sandbox_metrics.len(), 1);
}
