//! What was measured: samples by figure and subject, as a table with ratios and as JSON. Pure.

use std::fmt::Write;

use serde_json::{Value, json};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

/// A thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

const fn time(name: &'static str) -> Kind {
    Kind {
        name,
        unit: "ms",
        better: Better::Less,
    }
}

const fn rate(name: &'static str) -> Kind {
    Kind {
        name,
        unit: "/s",
        better: Better::More,
    }
}

const fn less(name: &'static str, unit: &'static str) -> Kind {
    Kind {
        name,
        unit,
        better: Better::Less,
    }
}

pub(crate) const SANDBOX: Kind = time("sandbox");
pub(crate) const CREATE: Kind = time("create");
pub(crate) const START: Kind = time("start");
pub(crate) const READY: Kind = time("pod ready: sandbox + create + start");
pub(crate) const GONE: Kind = time("stop and remove that pod");
pub(crate) const HOST_READY: Kind = time("pod ready on the host network");
pub(crate) const HOST_GONE: Kind = time("stop and remove that pod, host network");
pub(crate) const UP: Kind = rate("pods started, many at a time");
pub(crate) const DOWN: Kind = rate("pods torn down, many at a time");
pub(crate) const EXEC: Kind = time("ExecSync /bin/true");
pub(crate) const LIST_PODS: Kind = time("ListPodSandbox");
pub(crate) const LIST_CONTAINERS: Kind = time("ListContainers");
pub(crate) const STATUS: Kind = time("ContainerStatus");
pub(crate) const CONTAINER_STATS: Kind = time("ListContainerStats");
pub(crate) const POD_STATS: Kind = time("ListPodSandboxStats");
pub(crate) const CONTAINERS_WRITTEN: Kind = time("ListContainers, until the answer is written");
pub(crate) const CONTAINERS_RECEIVED: Kind = time("ListContainers, until it is received");
pub(crate) const PODS_WRITTEN: Kind = time("ListPodSandbox, until the answer is written");
pub(crate) const PODS_RECEIVED: Kind = time("ListPodSandbox, until it is received");
pub(crate) const CONTAINERS_OF_POD: Kind = time("ListContainers, those of a pod");
pub(crate) const PODS_BY_LABEL: Kind = time("ListPodSandbox, by a label");
pub(crate) const STATUS_OF_ONE: Kind = time("ContainerStatus, one of them");
pub(crate) const PULL: Kind = time("pull and unpack, nothing there");
pub(crate) const PULL_SHARED: Kind = time("pull and unpack, all but one layer there");
pub(crate) const CPU: Kind = less("processor time a pod's life", "ms");
pub(crate) const INSTRUCTIONS: Kind = less("instructions in user mode a pod's life", "M");
pub(crate) const MONITOR_PSS: Kind = less("monitors or shims, PSS a pod", "KB");
pub(crate) const MONITOR_PRIVATE: Kind = less("monitors or shims, private a pod", "KB");
pub(crate) const DAEMON_PSS: Kind = less("daemon, PSS with the pods up", "KB");
pub(crate) const DAEMON_PRIVATE: Kind = less("daemon, private with the pods up", "KB");
pub(crate) const DAEMON_AFTER_PULL: Kind = less("daemon, PSS after pulls", "KB");

/// The samples of all subjects.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    subjects: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    kind: Kind,
    /// By subject.
    samples: Vec<Vec<f64>>,
}

/// Where the samples of one subject go.
pub(crate) struct Sheet<'a> {
    figures: &'a mut Figures,
    subject: usize,
}

impl Sheet<'_> {
    /// Takes a sample.
    pub(crate) fn note(&mut self, kind: Kind, value: f64) {
        let subjects = self.figures.subjects.len();
        let rows = &mut self.figures.rows;
        let at = rows.iter().position(|row| row.kind == kind);
        let at = at.unwrap_or_else(|| {
            rows.push(Row {
                kind,
                samples: vec![Vec::new(); subjects],
            });
            rows.len() - 1
        });
        rows[at].samples[self.subject].push(value);
    }

    /// Takes a duration as milliseconds.
    pub(crate) fn time(&mut self, kind: Kind, value: std::time::Duration) {
        self.note(kind, value.as_secs_f64() * 1000.0);
    }
}

impl Figures {
    /// Another endpoint; the last one is the peer that the others are compared with.
    pub(crate) fn add_subject(&mut self, title: &str) {
        self.subjects.push(title.to_owned());
    }

    pub(crate) fn sheet(&mut self, subject: usize) -> Sheet<'_> {
        Sheet {
            figures: self,
            subject,
        }
    }

    /// Medians with their quartiles, and the ratio of the first subject to the last, as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| |");
        for title in &self.subjects {
            let _ = write!(text, " {title} |");
        }
        let pair = self.subjects.len() > 1;
        if pair {
            text.push_str(" ratio |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(self.subjects.len() + usize::from(pair)));
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {} |", row.kind.name);
            for samples in &row.samples {
                let _ = write!(text, " {} |", spread(samples, row.kind.unit));
            }
            let ends = (row.samples.first(), row.samples.last());
            if let (true, (Some(first), Some(last))) = (pair, ends) {
                let ratio = median(first).zip(median(last)).map(|(a, b)| a / b);
                let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
                let _ = write!(text, " {ratio} |");
            }
            text.push('\n');
        }
        text
    }

    /// All samples.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let more = row.kind.better == Better::More;
                json!({"figure": row.kind.name, "unit": row.kind.unit, "more_is_better": more,
                       "samples": row.samples,
                       "medians": row.samples.iter().map(|s| median(s)).collect::<Vec<_>>()})
            })
            .collect();
        format!(
            "{:#}\n",
            json!({"subjects": self.subjects, "figures": rows})
        )
    }
}

fn quantile(samples: &[f64], part: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(part * last as f64).round() as usize])
}

/// The value in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

fn spread(samples: &[f64], unit: &str) -> String {
    let quantiles = [0.25, 0.5, 0.75].map(|part| quantile(samples, part));
    match quantiles {
        [Some(low), Some(middle), Some(high)] => {
            let digits = if middle < 10.0 { 2 } else { 1 };
            format!("{middle:.digits$} {unit} ({low:.digits$} to {high:.digits$})")
        }
        _ => "-".into(),
    }
}
