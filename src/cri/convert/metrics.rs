//! Metrics, for answers.

use crate::{
    cri::api,
    stats::metrics::{BASE_LABELS, Family, Kind, Metric, PodMetrics},
};

/// A family's name and meaning.
pub fn descriptor(family: &Family) -> api::MetricDescriptor {
    api::MetricDescriptor {
        name: family.name.to_owned(),
        help: family.help.to_owned(),
        label_keys: BASE_LABELS
            .iter()
            .chain(family.labels)
            .map(|label| (*label).to_owned())
            .collect(),
    }
}

/// The metrics of a pod.
pub fn pod(metrics: PodMetrics) -> api::PodSandboxMetrics {
    api::PodSandboxMetrics {
        pod_sandbox_id: metrics.id.to_string(),
        metrics: metrics.pod.into_iter().map(metric).collect(),
        container_metrics: metrics
            .containers
            .into_iter()
            .map(|(id, metrics)| api::ContainerMetrics {
                container_id: id.to_string(),
                metrics: metrics.into_iter().map(metric).collect(),
            })
            .collect(),
    }
}

fn metric(metric: Metric) -> api::Metric {
    api::Metric {
        name: metric.family.name.to_owned(),
        timestamp: metric.at,
        metric_type: match metric.family.kind {
            Kind::Counter => api::MetricType::Counter,
            Kind::Gauge => api::MetricType::Gauge,
        } as i32,
        label_values: metric.labels,
        value: Some(api::UInt64Value {
            value: metric.value,
        }),
    }
}
