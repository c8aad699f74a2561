//! After a cut: what was acknowledged is there, and nothing that is there is damaged.

use std::{collections::BTreeSet, fmt, path::Path};

use corten::cri::api::{ContainerState, PodSandboxState};

use crate::{
    images::Made,
    journal::{Journal, Presence},
    support::{Node, until},
};

/// How much was looked at.
#[derive(Debug, Default)]
pub(crate) struct Found {
    images: usize,
    layers: usize,
    pods: usize,
    containers: usize,
    codes: usize,
    /// Removed, and there again: lawful, for a removal can be asked for again, but worth knowing.
    back: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            images,
            layers,
            pods,
            containers,
            codes,
            back,
        } = self;
        write!(
            f,
            "{images} images of {layers} layers, {pods} pods, {containers} containers, {codes} exit codes; {back} back"
        )
    }
}

/// Panics with all that is wrong.
pub(crate) async fn everything(node: &Node, journal: &Journal, made: &[Made]) -> Found {
    let mut found = Found::default();
    let mut wrong = set_aside(&node.root());
    images(node, journal, made, &mut found, &mut wrong).await;
    pods(node, journal, &mut found, &mut wrong).await;
    containers(node, journal, &mut found, &mut wrong).await;
    assert!(
        wrong.is_empty(),
        "{found}, and wrong:\n{}",
        wrong.join("\n")
    );
    storage(node).await;
    found
}

/// Records that could not be read.
fn set_aside(root: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for dir in [
        "records/set-aside/images",
        "records/set-aside/sandboxes",
        "records/set-aside/containers",
        "storage/set-aside",
    ] {
        for entry in std::fs::read_dir(root.join(dir))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let size = entry.metadata().map_or(0, |m| m.len());
            wrong.push(format!("set aside: {}, {size} bytes", path.display()));
        }
    }
    for entry in std::fs::read_dir(root.join("cni"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.path().extension().is_some_and(|end| end == "bad") {
            wrong.push(format!("set aside: {}", entry.path().display()));
        }
    }
    wrong
}

async fn images(
    node: &Node,
    journal: &Journal,
    made: &[Made],
    found: &mut Found,
    wrong: &mut Vec<String>,
) {
    let layers = node.root().join("storage/layers");
    let mut seen = BTreeSet::new();
    for image in node.image_list().await {
        found.images += 1;
        let Some(one) = made.iter().find(|one| one.image.id() == image.id) else {
            wrong.push(format!("image {} was never made", image.id));
            continue;
        };
        seen.extend(one.chains().iter().cloned());
        for damage in one.damage(&layers) {
            wrong.push(format!("image {:?}: {damage}", image.repo_tags));
        }
    }
    found.layers = seen.len();
    for (name, (id, presence)) in journal.read(|model| model.images.clone()) {
        let there = node.image_status(&name).await.unwrap();
        match (presence, there) {
            (Presence::There, None) => {
                wrong.push(format!("image {name} was acknowledged and is not there"))
            }
            (Presence::There, Some(image)) if image.id != id => {
                wrong.push(format!("image {name} was {id} and is {}", image.id));
            }
            (Presence::Gone, Some(_)) => found.back += 1,
            _ => {}
        }
    }
}

async fn pods(node: &Node, journal: &Journal, found: &mut Found, wrong: &mut Vec<String>) {
    let listed = node.pods(None).await;
    found.pods = listed.len();
    for pod in &listed {
        if pod.state() != PodSandboxState::SandboxNotready {
            wrong.push(format!("pod {} is ready after a reboot", pod.id));
        }
    }
    for (id, presence) in journal.read(|model| model.pods.clone()) {
        let there = listed.iter().any(|pod| pod.id == id);
        match presence {
            Presence::There if !there => {
                wrong.push(format!("pod {id} was acknowledged and is not there"))
            }
            Presence::Gone if there => found.back += 1,
            _ => {}
        }
    }
}

async fn containers(node: &Node, journal: &Journal, found: &mut Found, wrong: &mut Vec<String>) {
    let listed = node.containers(None).await;
    found.containers = listed.len();
    for container in &listed {
        if container.state() == ContainerState::ContainerRunning {
            wrong.push(format!("container {} runs after a reboot", container.id));
        }
    }
    for (id, known) in journal.read(|model| model.containers.clone()) {
        let there = listed.iter().any(|container| container.id == id);
        match known.presence {
            Presence::There if !there => {
                wrong.push(format!("container {id} was acknowledged and is not there"));
            }
            Presence::Gone if there => found.back += 1,
            Presence::There => {
                let status = node.status(&id).await;
                if status.image_ref.is_empty() {
                    wrong.push(format!("container {id} has lost its image: {status:?}"));
                }
                match known.code {
                    Some(code)
                        if status.state() != ContainerState::ContainerExited
                            || status.exit_code != code =>
                    {
                        wrong.push(format!("container {id} had exited with {code}: {status:?}"));
                    }
                    Some(_) => found.codes += 1,
                    // Whether it ended before the light did is for the record to say: no code is made up.
                    None if status.state() == ContainerState::ContainerExited => {
                        let lawful = match status.reason.as_str() {
                            "NodeRebooted" => status.exit_code == -1,
                            _ => (0..=255).contains(&status.exit_code),
                        };
                        if !lawful {
                            wrong.push(format!("container {id}: {status:?}"));
                        }
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }
}

/// Nothing half-made stays, and nothing of containers that nobody knows.
async fn storage(node: &Node) {
    let storage = node.root().join("storage");
    let names = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(storage.join(dir))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    until(
        "staging, trash and the directories of unknown containers are empty",
        async || {
            let listed = node.containers(None).await;
            let known = |id: &String| listed.iter().any(|container| container.id == *id);
            names("staging").is_empty()
                && names("trash").is_empty()
                && names("containers").iter().all(known)
        },
    )
    .await;
}
