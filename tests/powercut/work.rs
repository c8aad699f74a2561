//! A kubelet in a hurry: pulls, loads, pods and containers, and their removal, several at a time.

use std::time::Duration;

use corten::cri::api::ContainerState;

use crate::{
    images::Made,
    journal::{Journal, Line, Presence},
    random::Random,
    support::{FakeRegistry, Node, container, image_spec, pod, shell},
};

/// Works until the machine is killed.
pub(crate) async fn until_the_light_goes_out(
    node: &Node,
    journal: &Journal,
    made: &[Made],
    registries: &[FakeRegistry],
    random: &mut Random,
) {
    let boot = journal.read(|model| model.boots);
    let busy = |mut random: Random, name: &'static str| async move {
        for round in 0.. {
            match random.below(10) {
                0..=2 => pull(node, journal, registries, &mut random).await,
                3 => load(node, journal, made, &mut random).await,
                4 => remove_image(node, journal, &mut random).await,
                5..=7 => {
                    run(
                        node,
                        journal,
                        &mut random,
                        &format!("{name}-{boot}-{round}"),
                    )
                    .await
                }
                _ => remove(node, journal, &mut random).await,
            }
        }
    };
    let seeds = [random.next(), random.next(), random.next()];
    tokio::join!(
        busy(Random::new(seeds[0]), "a"),
        busy(Random::new(seeds[1]), "b"),
        busy(Random::new(seeds[2]), "c"),
    );
}

async fn pull(node: &Node, journal: &Journal, registries: &[FakeRegistry], random: &mut Random) {
    let name = random.pick(registries).unwrap().reference();
    // Asked for while it may be on its way out, what is left of it is anybody's guess.
    if is_going(journal, &name) {
        return;
    }
    match node.try_pull(&name, None).await {
        Ok(_) => acknowledge(node, journal, name).await,
        Err(error) => println!("pulling {name}: {error}"),
    }
}

async fn load(node: &Node, journal: &Journal, made: &[Made], random: &mut Random) {
    let number = random.below(made.len());
    let name = format!("localhost/loaded-{number}:1");
    if is_going(journal, &name) {
        return;
    }
    let archive = made[number].image.docker_archive(&[&name]);
    let done = node.cli_fed(&["load"], Some(archive)).await;
    if done.code == Some(0) {
        acknowledge(node, journal, name).await;
    } else {
        println!("loading {name}: {}", done.stderr);
    }
}

/// Notes an image that is there, unless somebody removes it meanwhile.
async fn acknowledge(node: &Node, journal: &Journal, name: String) {
    loop {
        let before = journal.read(|model| model.removals);
        let Ok(Some(image)) = node.image_status(&name).await else {
            return;
        };
        if is_going(journal, &name) {
            return;
        }
        // An answer from before a removal says nothing of what is there after it.
        if journal.read(|model| model.removals) == before {
            return journal.write(Line::Image { name, id: image.id });
        }
    }
}

fn is_going(journal: &Journal, name: &str) -> bool {
    let going = |known: &(String, Presence)| known.1 == Presence::Going;
    journal.read(|model| model.images.get(name).is_some_and(going))
}

async fn remove_image(node: &Node, journal: &Journal, random: &mut Random) {
    let present: Vec<String> = journal.read(|model| {
        let there = model
            .images
            .iter()
            .filter(|(_, known)| known.1 == Presence::There);
        there.map(|(name, _)| name.clone()).collect()
    });
    // Some are kept, so that there is something to run.
    if present.len() < 4 {
        return;
    }
    let Some(name) = random.pick(&present).cloned() else {
        return;
    };
    // All names of the image go with it.
    let id = journal.read(|model| model.images[&name].0.clone());
    let names: Vec<String> = journal.read(|model| {
        let same = model.images.iter().filter(|(_, known)| known.0 == id);
        same.map(|(name, _)| name.clone()).collect()
    });
    for name in &names {
        journal.write(Line::ImageGoes { name: name.clone() });
    }
    match node.remove_image(&id).await {
        Ok(()) => {
            for name in names {
                // Pulled again meanwhile it is there again.
                if let Ok(None) = node.image_status(&name).await {
                    journal.write(Line::ImageGone { name });
                }
            }
        }
        Err(error) => println!("removing {name}: {error}"),
    }
}

async fn run(node: &Node, journal: &Journal, random: &mut Random, name: &str) {
    let image = journal.read(|model| {
        let there = model
            .images
            .iter()
            .filter(|(_, known)| known.1 == Presence::There);
        let names: Vec<String> = there.map(|(name, _)| name.clone()).collect();
        random.pick(&names).cloned()
    });
    let Some(image) = image else { return };
    let config = pod(name);
    let id = match node.try_pod(&config).await {
        Ok(id) => id,
        Err(error) => return println!("making pod {name}: {error}"),
    };
    journal.write(Line::Pod { id: id.clone() });
    let code = random.below(200) as i32;
    let mut main = match random.below(3) {
        0 => container("main", &["sleep", "1000000"]),
        _ => shell("main", &format!("echo {name} >/written; exit {code}")),
    };
    main.image = Some(image_spec(&image));
    let made = match node.try_create(&id, &config, &main).await {
        Ok(made) => made,
        Err(error) => return println!("creating {name}: {error}"),
    };
    journal.write(Line::Container {
        id: made.clone(),
        pod: id,
        image,
    });
    if random.below(4) == 0 {
        return;
    }
    if let Err(error) = node.start_container(&made).await {
        return println!("starting {name}: {error}");
    }
    if main.command[0] == "sleep" {
        return;
    }
    for _ in 0..600 {
        match node.try_status(&made).await {
            Ok(status) if status.state() == ContainerState::ContainerExited => {
                // Someone who removes it meanwhile has killed it.
                let there = Some(Presence::There);
                if journal.read(|model| model.containers.get(&made).map(|c| c.presence)) != there {
                    return;
                }
                assert_eq!(status.exit_code, code, "{status:?}");
                journal.write(Line::Exited { id: made, code });
                return;
            }
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(_) => return,
        }
    }
}

/// Makes room where earlier boots have left many pods: by then they are only to be removed.
pub(crate) async fn tidy(node: &Node, journal: &Journal) {
    let pods = node.pods(None).await;
    for pod in pods.iter().skip(6) {
        remove_pod(node, journal, &pod.id).await;
    }
}

async fn remove_pod(node: &Node, journal: &Journal, id: &str) {
    let id = id.to_owned();
    journal.write(Line::PodGoes { id: id.clone() });
    let done = async {
        node.stop_pod(&id).await?;
        node.remove_pod(&id).await
    };
    match done.await {
        Ok(()) => journal.write(Line::PodGone { id }),
        Err(error) => println!("removing pod {id}: {error}"),
    }
}

async fn remove(node: &Node, journal: &Journal, random: &mut Random) {
    let (pods, containers): (Vec<String>, Vec<String>) = journal.read(|model| {
        let pods = model
            .pods
            .iter()
            .filter(|(_, presence)| **presence == Presence::There);
        let containers = model
            .containers
            .iter()
            .filter(|(_, known)| known.presence == Presence::There);
        (
            pods.map(|(id, _)| id.clone()).collect(),
            containers.map(|(id, _)| id.clone()).collect(),
        )
    });
    if random.below(2) == 0 {
        let Some(id) = random.pick(&containers) else {
            return;
        };
        journal.write(Line::ContainerGoes { id: id.clone() });
        match node.remove_container(id).await {
            Ok(()) => journal.write(Line::ContainerGone { id: id.clone() }),
            Err(error) => println!("removing container {id}: {error}"),
        }
    } else {
        let Some(id) = random.pick(&pods) else { return };
        remove_pod(node, journal, id).await;
    }
}
