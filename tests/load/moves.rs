//! What to do next with a subject: mostly what a kubelet would, now and then what makes no sense. Pure.

use crate::{
    model::{Grace, Life, Nature, PodState, Request, World},
    random::Random,
    subject::Subject,
};

/// What is done next.
#[derive(Debug)]
pub(crate) enum Move {
    /// One request.
    Ask(Request),
    /// The same twice at a time, or two different ones.
    AskBoth(Request, Request),
    /// Lists, with filters.
    Look,
    /// Statuses and statistics.
    LookClosely,
}

/// Most containers of a pod.
const CONTAINERS: usize = 3;

/// Chooses.
pub(crate) fn next(subject: &mut Subject, random: &mut Random) -> Move {
    match random.below(20) {
        0..=3 => Move::Look,
        4..=6 => Move::LookClosely,
        7..=9 => {
            let request = sensible(subject, random);
            Move::AskBoth(request.clone(), request)
        }
        10 | 11 => Move::AskBoth(sensible(subject, random), sensible(subject, random)),
        12 => Move::Ask(strange(subject, random)),
        _ => Move::Ask(sensible(subject, random)),
    }
}

/// What brings a subject nearer to a ready pod with one container that sleeps; nothing if it is there.
pub(crate) fn towards_rest(subject: &mut Subject) -> Option<Request> {
    let Some(world) = subject.belief.certain().cloned() else {
        return Some(match subject.belief.likely().pod.and_then(|pod| pod.id) {
            Some(id) => Request::RemovePod(id),
            None => Request::Run,
        });
    };
    let Some(pod) = &world.pod else {
        return Some(Request::Run);
    };
    let Some(id) = pod.id.clone() else {
        return Some(Request::Run);
    };
    if pod.state != PodState::Ready {
        return Some(Request::RemovePod(id));
    }
    let mut sleepers = 0;
    for one in world.containers.values() {
        let own = one.id.clone()?;
        match (&one.life, one.nature, one.going) {
            (Life::Running { .. }, Nature::Sleeps, false) if sleepers == 0 => sleepers += 1,
            (Life::Created { .. }, Nature::Sleeps, false) if sleepers == 0 => {
                return Some(Request::Start(own));
            }
            _ => return Some(Request::Remove(own)),
        }
    }
    (sleepers == 0).then(|| create(subject, &id, Nature::Sleeps))
}

fn create(subject: &mut Subject, pod: &str, nature: Nature) -> Request {
    subject.next += 1;
    Request::Create(pod.to_owned(), subject.next, nature)
}

/// What a kubelet would ask, of the world that is likely.
fn sensible(subject: &mut Subject, random: &mut Random) -> Request {
    let world = subject.belief.likely();
    let Some((id, state)) = world
        .pod
        .as_ref()
        .and_then(|pod| Some((pod.id.clone()?, pod.state)))
    else {
        return Request::Run;
    };
    if state != PodState::Ready {
        return match random.below(4) {
            0 => Request::StopPod(id),
            1 => of_some_container(&world, random).unwrap_or(Request::RemovePod(id)),
            _ => Request::RemovePod(id),
        };
    }
    match random.below(24) {
        0 => return Request::StopPod(id),
        1 => return Request::RemovePod(id),
        2 => return Request::Run,
        _ => {}
    }
    if world.containers.len() < CONTAINERS && random.below(3) == 0 {
        let nature = match random.below(4) {
            0 => Nature::Obeys,
            1 => Nature::Ends(random.below(256) as i32),
            _ => Nature::Sleeps,
        };
        return create(subject, &id, nature);
    }
    of_some_container(&world, random).unwrap_or_else(|| create(subject, &id, Nature::Sleeps))
}

fn of_some_container(world: &World, random: &mut Random) -> Option<Request> {
    let known: Vec<_> = world
        .containers
        .values()
        .filter_map(|one| Some((one.id.clone()?, one)))
        .collect();
    let (id, one) = random.pick(&known)?.clone();
    let grace = [Grace::None, Grace::Some][random.below(2)];
    Some(match &one.life {
        Life::Created { .. } => match random.below(8) {
            0 => Request::Stop(id, grace),
            1 => Request::Remove(id),
            2 => Request::Update(id, shares(random)),
            _ => Request::Start(id),
        },
        Life::Running { ends } => match random.below(8) {
            0 => Request::Stop(id, grace),
            1 => Request::Remove(id),
            2 | 3 => Request::Update(id, shares(random)),
            // A command in what ends meanwhile may end in any way.
            _ if ends.is_empty() => Request::Exec(id, random.below(126) as i32),
            _ => Request::Stop(id, grace),
        },
        Life::Exited { .. } => match random.below(4) {
            0 => Request::Stop(id, grace),
            1 => Request::Update(id, shares(random)),
            _ => Request::Remove(id),
        },
    })
}

fn shares(random: &mut Random) -> i64 {
    100 + random.below(900) as i64
}

/// What cannot be done, or is done already: of what is gone, of what never was, of what is not in the state for it.
fn strange(subject: &mut Subject, random: &mut Random) -> Request {
    let nobody = format!("{:016x}", random.next()).repeat(4);
    let world = subject.belief.likely();
    let present = world.containers.values().filter(|one| {
        // What is running and what may start to do so is not strange to ask.
        matches!(one.life, Life::Created { .. } | Life::Exited { .. })
    });
    let mut ids: Vec<String> = present.filter_map(|one| one.id.clone()).collect();
    ids.extend(subject.old_containers.iter().cloned());
    ids.push(nobody.clone());
    let id = random.pick(&ids).cloned().unwrap_or_else(|| nobody.clone());
    let pod = random.pick(&subject.old_pods).cloned().unwrap_or(nobody);
    match random.below(8) {
        0 => Request::StopPod(pod),
        1 => Request::RemovePod(pod),
        2 => create(subject, &pod, Nature::Sleeps),
        3 => Request::Start(id),
        4 => Request::Stop(id, Grace::Some),
        5 => Request::Update(id, shares(random)),
        6 => Request::Exec(id, 0),
        _ => Request::Remove(random.pick(&subject.old_containers).cloned().unwrap_or(id)),
    }
}
