//! Which answers are lawful, and what they make of a world.

use super::{
    request::{Answer, Grace, Refusal, Request},
    world::{Container, KILLED, Life, Nature, OBEYED, PodState, World, recognise},
};

/// The worlds that `world` may be after this answer to this request: none if the answer is unlawful.
pub(crate) fn answered(world: &World, request: &Request, answer: &Answer) -> Vec<World> {
    match request {
        Request::Run => run(world, answer),
        Request::StopPod(id) => match (pod(world, id), answer) {
            (Some(world), Answer::Done) => vec![stopped(&world)],
            (None, Answer::Done) => vec![world.clone()],
            _ => Vec::new(),
        },
        Request::RemovePod(id) => match (pod(world, id), answer) {
            (Some(_), Answer::Done) => vec![World::default()],
            (None, Answer::Done) => vec![world.clone()],
            _ => Vec::new(),
        },
        Request::Create(id, number, nature) => match pod(world, id) {
            Some(world) => create(&world, *number, *nature, answer),
            None => if_refused(world, answer, &Refusal::NotFound),
        },
        Request::Start(id)
        | Request::Stop(id, _)
        | Request::Remove(id)
        | Request::Exec(id, _)
        | Request::Update(id, _) => match container(world, id) {
            Some((world, number)) => {
                let mut worlds = of_container(&world, number, request, answer);
                // Work on a container waits until it is known what an earlier start came to; a command does not.
                if !matches!(request, Request::Exec(..)) {
                    for one in worlds
                        .iter_mut()
                        .flat_map(|w| w.containers.get_mut(&number))
                    {
                        one.late = false;
                    }
                }
                worlds
            }
            None => of_nothing(world, request, answer),
        },
    }
}

/// The worlds that `world` may be after a request that nobody answered, other than itself.
pub(crate) fn begun(world: &World, request: &Request) -> Vec<World> {
    match request {
        Request::Run => match world.state() {
            // Half made it is removed.
            None => vec![
                World::fresh(None),
                World::fresh(None).with_state(PodState::Going),
            ],
            Some(PodState::Going) => vec![World::fresh(None)],
            Some(_) => Vec::new(),
        },
        Request::StopPod(id) => match pod(world, id) {
            Some(world) if world.state() == Some(PodState::Ready) => {
                vec![world.with_state(PodState::Stopping), stopped(&world)]
            }
            Some(world) if world.state() == Some(PodState::Stopping) => vec![stopped(&world)],
            _ => Vec::new(),
        },
        Request::RemovePod(id) => match pod(world, id) {
            Some(world) => vec![world.with_state(PodState::Going)],
            None => Vec::new(),
        },
        Request::Create(id, number, nature) => match pod(world, id) {
            Some(world)
                if world.state() == Some(PodState::Ready)
                    && !world.containers.contains_key(number) =>
            {
                let mut after = world;
                after
                    .containers
                    .insert(*number, Container::fresh(None, *nature));
                vec![after]
            }
            _ => Vec::new(),
        },
        Request::Start(id)
        | Request::Stop(id, _)
        | Request::Remove(id)
        | Request::Exec(id, _)
        | Request::Update(id, _) => match container(world, id) {
            Some((world, number)) => begun_on(&world, number, request),
            None => Vec::new(),
        },
    }
}

fn begun_on(world: &World, number: u32, request: &Request) -> Vec<World> {
    let one = &world.containers[&number];
    match (request, &one.life) {
        (Request::Start(_), Life::Created { .. }) => {
            vec![
                world.with(number, |one| one.life = one.started()),
                world.with(number, |one| one.late = true),
            ]
        }
        (Request::Stop(_, grace), Life::Created { .. } | Life::Running { .. }) => {
            vec![world.with(number, |one| {
                let obeys = one.nature == Nature::Obeys && *grace == Grace::Some;
                let (Life::Created { ends } | Life::Running { ends }) = &mut one.life else {
                    return;
                };
                ends.insert(KILLED);
                if obeys {
                    ends.insert(OBEYED);
                }
            })]
        }
        (Request::Remove(_), _) => vec![world.with(number, |one| one.going = true)],
        (Request::Update(_, shares), _) => vec![world.with(number, |one| one.shares = *shares)],
        _ => Vec::new(),
    }
}

fn run(world: &World, answer: &Answer) -> Vec<World> {
    match (&world.pod, answer) {
        (None, Answer::Made(id)) => vec![World::fresh(Some(id.clone()))],
        (Some(there), Answer::Made(id)) => match there.state {
            PodState::Ready => {
                let mut world = world.clone();
                let known = world.pod.as_mut().map(|pod| &mut pod.id);
                match known.is_some_and(|known| recognise(known, id)) {
                    true => vec![world],
                    false => Vec::new(),
                }
            }
            // The name was free once that was gone.
            PodState::Going if there.id.as_ref() != Some(id) => {
                vec![World::fresh(Some(id.clone()))]
            }
            _ => Vec::new(),
        },
        (Some(there), refused) if there.state != PodState::Ready => {
            if_refused(world, refused, &Refusal::Exists)
        }
        _ => Vec::new(),
    }
}

fn create(world: &World, number: u32, nature: Nature, answer: &Answer) -> Vec<World> {
    let ready = world.state() == Some(PodState::Ready);
    match (world.containers.get(&number), answer) {
        (Some(one), Answer::Made(id)) if !one.going => {
            let mut world = world.clone();
            let known = world.containers.get_mut(&number).map(|one| &mut one.id);
            match known.is_some_and(|known| recognise(known, id)) {
                true => vec![world],
                false => Vec::new(),
            }
        }
        (None, Answer::Made(id)) if ready => {
            let mut world = world.clone();
            let made = Container::fresh(Some(id.clone()), nature);
            world.containers.insert(number, made);
            vec![world]
        }
        (None, refused) if !ready => if_refused(world, refused, &Refusal::WrongState),
        (Some(one), refused) if one.going || world.state() == Some(PodState::Going) => {
            if_refused(world, refused, &Refusal::WrongState)
        }
        _ => Vec::new(),
    }
}

/// Stopping or removing what is not there is done; anything else is refused.
fn of_nothing(world: &World, request: &Request, answer: &Answer) -> Vec<World> {
    match (request, answer) {
        (Request::Stop(..) | Request::Remove(_), Answer::Done) => vec![world.clone()],
        (Request::Stop(..) | Request::Remove(_), _) => Vec::new(),
        (_, refused) => if_refused(world, refused, &Refusal::NotFound),
    }
}

fn of_container(world: &World, number: u32, request: &Request, answer: &Answer) -> Vec<World> {
    let one = &world.containers[&number];
    let wrong_state = || if_refused(world, answer, &Refusal::WrongState);
    match request {
        Request::Start(_) => {
            let can = matches!(one.life, Life::Created { .. })
                && !one.going
                && world.state() == Some(PodState::Ready);
            match answer {
                Answer::Done if can => vec![world.with(number, |one| one.life = one.started())],
                _ if can => Vec::new(),
                Answer::Done if one.untold && !matches!(one.life, Life::Created { .. }) => {
                    vec![world.with(number, |one| one.untold = false)]
                }
                _ => wrong_state(),
            }
        }
        Request::Stop(_, grace) if *answer == Answer::Done => codes(one, *grace)
            .into_iter()
            .map(|code| world.with(number, |one| one.life = Life::Exited { code }))
            .collect(),
        Request::Remove(_) if *answer == Answer::Done => vec![world.without(number)],
        Request::Stop(..) | Request::Remove(_) => Vec::new(),
        Request::Exec(_, code) => match (&one.life, answer) {
            (Life::Running { .. }, Answer::Code(said)) if said == code => vec![world.clone()],
            // It is killed with its container, or comes too late.
            (Life::Running { ends }, _) if world.dooms(one) || !ends.is_empty() => match answer {
                Answer::Code(KILLED) => vec![world.clone()],
                _ => wrong_state(),
            },
            (Life::Running { .. }, _) => Vec::new(),
            _ => wrong_state(),
        },
        Request::Update(_, shares) => match answer {
            Answer::Done if !one.going => vec![world.with(number, |one| one.shares = *shares)],
            _ if one.going => wrong_state(),
            _ => Vec::new(),
        },
        Request::Run | Request::StopPod(_) | Request::RemovePod(_) | Request::Create(..) => {
            Vec::new()
        }
    }
}

/// The codes with which a container may have ended once a stop of it is done.
fn codes(one: &Container, grace: Grace) -> Vec<i32> {
    match (&one.life, one.nature, grace) {
        (Life::Exited { code }, ..) => vec![*code],
        // It may not be listening yet when it is asked.
        (Life::Running { .. }, Nature::Obeys, Grace::Some) => vec![OBEYED, KILLED],
        _ => vec![KILLED],
    }
}

/// A pod that has been stopped, and so has all that was in it.
fn stopped(world: &World) -> World {
    let mut world = match world.state() {
        Some(PodState::Going) => world.clone(),
        _ => world.with_state(PodState::Stopped),
    };
    for one in world.containers.values_mut() {
        if !matches!(one.life, Life::Exited { .. }) {
            one.life = Life::Exited { code: KILLED };
        }
    }
    world
}

fn if_refused(world: &World, answer: &Answer, why: &Refusal) -> Vec<World> {
    match answer {
        Answer::Refused(refusal) if refusal == why => vec![world.clone()],
        _ => Vec::new(),
    }
}

/// The world if its pod is the one called `id`. What nobody was told the ID of is not asked for by it.
fn pod(world: &World, id: &str) -> Option<World> {
    let known = world.pod.as_ref()?.id.as_deref();
    (known == Some(id)).then(|| world.clone())
}

/// The world if one of its containers is called `id`, and which.
fn container(world: &World, id: &str) -> Option<(World, u32)> {
    let found = world
        .containers
        .iter()
        .find(|(_, one)| one.id.as_deref() == Some(id))?;
    Some((world.clone(), *found.0))
}
