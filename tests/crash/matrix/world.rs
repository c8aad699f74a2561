//! Where operations are done: a daemon, something that runs on it all the time, and a registry.

use std::{cell::Cell, collections::BTreeSet};

use corten::cri::api::{ContainerState, PodSandboxConfig};

use super::operation::Operation;
use crate::support::{
    Entry, Image, Node, Options, Packing, Registry, RegistryOptions, Scratch, free_port, insecure,
    node_with, old_runtime, patience,
};

/// A daemon with a bystander: a pod on it with a container that none of it concerns.
pub(super) struct World<'a> {
    pub(super) node: &'a Node,
    /// The bystander's pod, in which containers can be made.
    pub(super) home: (PodSandboxConfig, String),
    bystander: String,
    /// An image on a registry.
    pub(super) image: String,
    /// A port of the host that no one has.
    pub(super) port: u16,
    /// How many things have been given names.
    named: Cell<u32>,
    /// What there is when nothing is done.
    baseline: BTreeSet<String>,
}

/// The handler of a runtime that cannot map IDs.
pub(super) const OLD_RUNTIME: &str = "old";

/// The files of the image's layers.
const FILES: [&str; 3] = ["of-the-lowest", "of-the-middle", "of-the-top"];

fn image() -> Image {
    let layer = |name: &&str| {
        let entries = vec![
            Entry::dir("data", 0o755),
            Entry::file(&format!("data/{name}"), format!("{name}\n"), 0o644),
        ];
        (entries, Packing::Gzip)
    };
    Image::new(&FILES.iter().map(layer).collect::<Vec<_>>())
}

/// Does something on a daemon that is right for some operations.
pub(super) async fn with(operations: &[Operation], body: impl AsyncFnOnce(&mut World<'_>)) {
    let registry = match operations.iter().any(|o| o.is_of_images()) {
        true => Some(Registry::start(RegistryOptions::default()).await),
        false => None,
    };
    let (name, registries) = match &registry {
        Some(registry) => (
            registry.push("layers", "1", &image()).await,
            insecure(&registry.host()),
        ),
        None => (String::new(), String::new()),
    };
    let scratch = Scratch::new();
    let old = old_runtime(&scratch);
    let options = Options {
        args: vec![format!("--runtime={OLD_RUNTIME}={}", old.display())],
        registries,
        no_network: !operations.iter().any(|o| o.needs_network()),
        steps: true,
        // Native work and that of a program are both done.
        more_plugins: &["tuning"],
        ..Options::default()
    };
    node_with(options, async |node| {
        let (config, pod, bystander) = node.idle("bystander").await;
        let mut world = World {
            node,
            home: (config, pod),
            bystander,
            image: name,
            port: free_port(),
            named: Cell::new(0),
            baseline: BTreeSet::new(),
        };
        body(&mut world).await;
        let said = node.exec(&world.bystander, &["echo", "well"]).await;
        assert_eq!(said, "well");
    })
    .await;
}

impl World<'_> {
    /// A name that nothing had before.
    pub(super) fn new_name(&self) -> String {
        self.named.set(self.named.get() + 1);
        format!("case-{}", self.named.get())
    }

    /// What of the daemon's there is on the machine.
    async fn everything(&self) -> BTreeSet<String> {
        let mut there = self.node.files();
        there.extend(self.node.leftovers().await);
        there
    }

    /// Takes what there is now, once it does not change any more, for what there is when nothing is done.
    pub(super) async fn settle(&mut self) {
        loop {
            let before = self.everything().await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            self.baseline = self.everything().await;
            if self.baseline == before {
                return;
            }
        }
    }

    /// Waits until there is just what there was then.
    pub(super) async fn as_before(&self, context: &str) {
        let deadline = std::time::Instant::now() + patience();
        loop {
            let now = self.everything().await;
            let more: Vec<&str> = now.difference(&self.baseline).map(String::as_str).collect();
            let less: Vec<&str> = self.baseline.difference(&now).map(String::as_str).collect();
            if more.is_empty() && less.is_empty() {
                return;
            }
            let late = std::time::Instant::now() > deadline;
            assert!(
                !late,
                "{context}: left behind:\n{}\ngone:\n{}",
                more.join("\n"),
                less.join("\n")
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// What runs all the time still does.
    pub(super) async fn bystander_runs(&self) {
        let status = self.node.status(&self.bystander).await;
        assert_eq!(
            status.state(),
            ContainerState::ContainerRunning,
            "{status:?}"
        );
    }

    /// Whether every file of the image's layers lies where layers do, as it should be.
    pub(super) fn image_is_whole(&self) -> bool {
        let files = self.node.files();
        FILES.iter().all(|name| {
            let found = files.iter().find(|path| {
                path.contains("/storage/layers/") && path.ends_with(&format!("/data/{name}"))
            });
            found
                .and_then(|path| path.strip_prefix("file "))
                .is_some_and(|path| {
                    std::fs::read_to_string(path).is_ok_and(|text| text == format!("{name}\n"))
                })
        })
    }

    /// Removes the pods, containers and the image that are not there all the time.
    pub(super) async fn clean_up(&self) {
        for pod in self.node.pods(None).await {
            if pod.id != self.home.1 {
                self.node.remove_pod(&pod.id).await.unwrap();
            }
        }
        for container in self.node.containers(None).await {
            if container.id != self.bystander {
                self.node.remove_container(&container.id).await.unwrap();
            }
        }
        if !self.image.is_empty() {
            self.node.remove_image(&self.image).await.unwrap();
        }
    }
}
