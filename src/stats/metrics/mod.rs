//! Metrics of pods, with the names and labels that cAdvisor gives them.
//!
//! Each family stands once in a table, with its description, its labels and how its values are found. The list of
//! descriptors and the values both come from there, so that they cannot differ.

mod cpu;
mod disk;
mod memory;
mod network;
mod process;
mod spec;

use super::{
    machine::Machine,
    sample::{ContainerSample, PodSample, Usage},
};
use crate::{id::Id, sys::links::LinkCounters};

/// Labels that every metric has, before those of its own.
pub const BASE_LABELS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A family of metrics.
#[derive(Debug)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// Meaning, for people.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Labels after the common ones.
    pub labels: &'static [&'static str],
    of: Of,
}

/// What a family tells of, and how.
#[derive(Debug)]
enum Of {
    Container(fn(&Facts<'_>, &mut Values)),
    Link(fn(&LinkCounters) -> u64),
}

/// What values of a container are found from.
struct Facts<'a> {
    sample: &'a ContainerSample,
    usage: &'a Usage,
    machine: &'a Machine,
}

/// The values of a family: what its own labels are, and when it was found, if not just now.
#[derive(Default)]
struct Values(Vec<(Vec<String>, u64, i64)>);

impl Values {
    /// The value of a family without labels of its own.
    fn one(&mut self, value: u64) {
        self.labelled([], value);
    }

    /// The same where there may be none.
    fn maybe(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            self.one(value);
        }
    }

    /// A value with labels.
    fn labelled<const N: usize>(&mut self, labels: [&str; N], value: u64) {
        self.aged(labels, value, 0);
    }

    /// A value that was found earlier.
    fn aged<const N: usize>(&mut self, labels: [&str; N], value: u64, at: i64) {
        self.0.push((labels.map(str::to_owned).to_vec(), value, at));
    }
}

/// All families.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [
        cpu::FAMILIES,
        memory::FAMILIES,
        network::FAMILIES,
        disk::FAMILIES,
        process::FAMILIES,
        spec::FAMILIES,
    ]
    .into_iter()
    .flatten()
}

/// One value.
#[derive(Debug)]
pub struct Metric {
    /// What of.
    pub family: &'static Family,
    /// Values of the common labels and then of the family's own.
    pub labels: Vec<String>,
    /// The value.
    pub value: u64,
    /// When it was found, in nanoseconds since 1970; 0 for just now.
    pub at: i64,
}

/// The metrics of a pod.
#[derive(Debug)]
pub struct PodMetrics {
    /// Which.
    pub id: Id,
    /// Its own.
    pub pod: Vec<Metric>,
    /// Those of its containers that live.
    pub containers: Vec<(Id, Vec<Metric>)>,
}

/// The metrics of a pod that was measured in full detail.
pub fn of(pod: &PodSample, machine: &Machine) -> PodMetrics {
    PodMetrics {
        id: pod.view.id.clone(),
        pod: of_links(pod),
        containers: pod
            .containers
            .iter()
            .filter_map(|sample| {
                let usage = sample.usage.as_ref()?;
                let facts = Facts {
                    sample,
                    usage,
                    machine,
                };
                Some((sample.view.id.clone(), of_container(pod, &facts)))
            })
            .collect(),
    }
}

fn of_links(pod: &PodSample) -> Vec<Metric> {
    let base = base_labels(pod, None);
    let mut metrics = Vec::new();
    for family in families() {
        let Of::Link(value) = family.of else { continue };
        for link in pod.links.iter().flatten() {
            let mut labels = base.to_vec();
            labels.push(link.name.clone());
            metrics.push(Metric {
                family,
                labels,
                value: value(link),
                at: 0,
            });
        }
    }
    metrics
}

fn of_container(pod: &PodSample, facts: &Facts<'_>) -> Vec<Metric> {
    let base = base_labels(pod, Some(facts.sample));
    let mut metrics = Vec::new();
    for family in families() {
        let Of::Container(find) = family.of else {
            continue;
        };
        let mut values = Values::default();
        find(facts, &mut values);
        metrics.extend(values.0.into_iter().map(|(own, value, at)| Metric {
            family,
            labels: base.iter().cloned().chain(own).collect(),
            value,
            at,
        }));
    }
    metrics
}

/// Values of the common labels, in their order. What belongs to a pod as a whole has no container and no image.
fn base_labels(pod: &PodSample, container: Option<&ContainerSample>) -> [String; 6] {
    let metadata = &pod.view.spec.metadata;
    let (name, cgroup, image, id) = match container {
        None => (String::new(), &pod.cgroup, String::new(), &pod.view.id),
        Some(container) => {
            let spec = &container.view.spec;
            let image = if spec.image.user_specified.is_empty() {
                &spec.image.image
            } else {
                &spec.image.user_specified
            };
            (
                spec.metadata.name.clone(),
                &container.cgroup,
                image.clone(),
                &container.view.id,
            )
        }
    };
    [
        name,
        format!("/{}", cgroup.display()),
        image,
        id.to_string(),
        metadata.namespace.clone(),
        metadata.name.clone(),
    ]
}

/// Whole seconds: metrics have no fractions.
fn seconds(ns: u64) -> u64 {
    ns / 1_000_000_000
}

#[cfg(test)]
pub(crate) mod tests;
