use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    Answer, Belief, Grace, Life, Nature, Outcome, PodState, Refusal, Request, SeenContainer,
    SeenLife, SeenPod, Stage, World, check_history, drift, law,
    world::{KILLED, OBEYED},
};

fn made(id: &str) -> Outcome {
    Answer::Made(id.to_owned()).into()
}

fn done() -> Outcome {
    Answer::Done.into()
}

fn refused(why: Refusal) -> Outcome {
    Answer::Refused(why).into()
}

/// A pod `p` with a running container `c`.
fn running(nature: Nature) -> Belief {
    let mut belief = Belief::default();
    belief.done(&Request::Run, &made("p")).unwrap();
    let create = Request::Create("p".into(), 0, nature);
    belief.done(&create, &made("c")).unwrap();
    belief.done(&Request::Start("c".into()), &done()).unwrap();
    belief
}

fn seen(life: SeenLife) -> SeenContainer {
    SeenContainer {
        number: 0,
        id: "c".into(),
        life,
        shares: None,
    }
}

fn exited(code: i32, reason: &str) -> SeenContainer {
    seen(SeenLife::Exited {
        end: Some((code, reason.into())),
    })
}

fn sees(belief: &Belief, one: &SeenContainer) -> bool {
    belief
        .clone()
        .sees(one, |world| world.if_container(one))
        .is_ok()
}

#[test]
fn a_start_that_nobody_answered_may_come_late() {
    let mut belief = Belief::default();
    belief.done(&Request::Run, &made("p")).unwrap();
    let create = Request::Create("p".into(), 0, Nature::Sleeps);
    belief.done(&create, &made("c")).unwrap();
    let looks_created = |belief: &mut Belief| {
        belief
            .sees("created", |world| {
                world.if_container(&seen(SeenLife::Created))
            })
            .unwrap();
    };
    looks_created(&mut belief);
    assert!(!sees(&belief, &seen(SeenLife::Running)));
    belief
        .done(&Request::Start("c".into()), &Outcome::Lost)
        .unwrap();
    belief.handed_over();
    looks_created(&mut belief);
    assert!(sees(&belief, &seen(SeenLife::Running)));
    // Other work on it was done after the daemon had found out.
    belief
        .done(&Request::Update("c".into(), 700), &done())
        .unwrap();
    looks_created(&mut belief);
    assert!(!sees(&belief, &seen(SeenLife::Running)));
}

#[test]
fn what_ends_by_itself_has_its_own_code() {
    let belief = running(Nature::Ends(3));
    assert!(sees(&belief, &seen(SeenLife::Running)));
    assert!(sees(&belief, &exited(3, "Error")));
    assert!(!sees(&belief, &exited(3, "Completed")));
    assert!(!sees(&belief, &exited(4, "Error")));
    assert!(!sees(&belief, &seen(SeenLife::Created)));
    assert!(belief.certain().is_none());
    assert!(running(Nature::Sleeps).certain().is_some());
}

#[test]
fn what_has_ended_stays_so() {
    let mut belief = running(Nature::Ends(3));
    let end = exited(3, "Error");
    belief.sees(&end, |world| world.if_container(&end)).unwrap();
    assert!(!sees(&belief, &seen(SeenLife::Running)));
    let start = Request::Start("c".into());
    assert!(belief.clone().done(&start, &done()).is_err());
    belief.done(&start, &refused(Refusal::WrongState)).unwrap();
}

#[test]
fn a_start_can_be_repeated_once_after_the_daemon_died() {
    let mut belief = running(Nature::Sleeps);
    let start = Request::Start("c".into());
    assert!(belief.clone().done(&start, &done()).is_err());
    belief.handed_over();
    belief.done(&start, &done()).unwrap();
    assert!(sees(&belief, &seen(SeenLife::Running)));
    assert!(belief.clone().done(&start, &done()).is_err());
    belief.done(&start, &refused(Refusal::WrongState)).unwrap();
}

#[test]
fn a_stop_that_nobody_answered_may_have_killed_or_not() {
    let mut belief = running(Nature::Obeys);
    let stop = Request::Stop("c".into(), Grace::Some);
    belief.done(&stop, &Outcome::Lost).unwrap();
    assert!(sees(&belief, &seen(SeenLife::Running)));
    assert!(sees(&belief, &exited(OBEYED, "Error")));
    assert!(sees(&belief, &exited(KILLED, "Error")));
    assert!(!sees(&belief, &exited(0, "Completed")));
    belief.done(&stop, &done()).unwrap();
    assert!(!sees(&belief, &seen(SeenLife::Running)));
}

#[test]
fn a_pod_that_nobody_told_of_is_found_by_its_name() {
    let mut belief = Belief::default();
    belief.done(&Request::Run, &Outcome::Lost).unwrap();
    for seen in [
        vec![],
        vec![SeenPod {
            id: "p".into(),
            ready: true,
        }],
    ] {
        let mut belief = belief.clone();
        belief.sees(&seen, |world| world.if_pod(&seen)).unwrap();
        belief.done(&Request::Run, &made("p")).unwrap();
        let other = belief.clone().done(&Request::Run, &made("q"));
        assert!(other.is_err(), "a second pod of the name");
    }
}

#[test]
fn equal_requests_join_and_others_have_an_order() {
    let begin = {
        let mut belief = Belief::default();
        belief.done(&Request::Run, &made("p")).unwrap();
        let create = Request::Create("p".into(), 0, Nature::Sleeps);
        belief.done(&create, &made("c")).unwrap();
        belief
    };
    let (start, remove) = (Request::Start("c".into()), Request::Remove("c".into()));
    let late = refused(Refusal::WrongState);
    for answers in [
        (done(), done()),
        (done(), late.clone()),
        (late.clone(), done()),
    ] {
        let mut belief = begin.clone();
        belief
            .done_both((&start, &answers.0), (&start, &answers.1))
            .unwrap();
        assert!(sees(&belief, &seen(SeenLife::Running)));
    }
    assert!(
        begin
            .clone()
            .done_both((&start, &late), (&start, &late))
            .is_err()
    );
    for answer in [done(), refused(Refusal::NotFound), late] {
        let mut belief = begin.clone();
        belief
            .done_both((&start, &answer), (&remove, &done()))
            .unwrap();
        let worlds = belief.worlds();
        assert!(worlds.iter().all(|world| world.containers.is_empty()));
    }
}

#[test]
fn a_created_container_of_a_stopped_pod_was_killed() {
    let mut belief = Belief::default();
    belief.done(&Request::Run, &made("p")).unwrap();
    let create = Request::Create("p".into(), 0, Nature::Ends(0));
    belief.done(&create, &made("c")).unwrap();
    belief.done(&Request::StopPod("p".into()), &done()).unwrap();
    assert!(sees(&belief, &exited(KILLED, "Error")));
    let another = Request::Create("p".into(), 1, Nature::Sleeps);
    belief
        .done(&another, &refused(Refusal::WrongState))
        .unwrap();
    assert!(belief.clone().done(&another, &made("d")).is_err());
    assert!(belief.clone().done(&Request::Run, &made("p")).is_err());
    belief
        .done(&Request::Run, &refused(Refusal::Exists))
        .unwrap();
}

#[test]
fn events_leave_nothing_out() {
    use Stage::*;
    for (before, told, after) in [
        (Unborn, vec![Created, Started, Stopped, Deleted], Deleted),
        (Unborn, vec![Created, Stopped, Deleted], Deleted),
        (Started, vec![], Started),
        (Started, vec![Stopped], Started),
        (Created, vec![Created], Created),
        (Created, vec![Started, Stopped], Stopped),
    ] {
        assert_eq!(check_history(before, &told, after), Ok(()));
    }
    for (before, told, after) in [
        (Started, vec![], Stopped),
        (Unborn, vec![Started], Started),
        (Unborn, vec![Created], Started),
        (Created, vec![Stopped, Stopped], Stopped),
        (Started, vec![Deleted, Stopped], Deleted),
        (Stopped, vec![], Deleted),
    ] {
        assert!(check_history(before, &told, after).is_err(), "{told:?}");
    }
}

const IDS: [&str; 3] = ["c0", "c1", "nobody"];

fn requests() -> impl Strategy<Value = Request> {
    let pod = || prop_oneof![9 => Just("p"), 1 => Just("nobody")].prop_map(str::to_owned);
    let id = || prop::sample::select(&IDS[..]).prop_map(str::to_owned);
    let nature = prop_oneof![
        Just(Nature::Sleeps),
        Just(Nature::Obeys),
        (0..3i32).prop_map(Nature::Ends)
    ];
    let grace = prop_oneof![Just(Grace::None), Just(Grace::Some)];
    prop_oneof![
        2 => Just(Request::Run),
        1 => pod().prop_map(Request::StopPod),
        1 => pod().prop_map(Request::RemovePod),
        4 => (pod(), 0..2u32, nature).prop_map(|(pod, n, nature)| Request::Create(pod, n, nature)),
        4 => id().prop_map(Request::Start),
        3 => (id(), grace).prop_map(|(id, grace)| Request::Stop(id, grace)),
        2 => id().prop_map(Request::Remove),
        2 => (id(), 0..3i32).prop_map(|(id, code)| Request::Exec(id, code)),
        1 => (id(), 1..3i64).prop_map(|(id, shares)| Request::Update(id, shares)),
    ]
}

/// Every answer there is, in this small world.
fn answers(request: &Request) -> Vec<Answer> {
    let id = match request {
        Request::Create(_, number, _) => format!("c{number}"),
        _ => "p".to_owned(),
    };
    let mut answers = vec![Answer::Done, Answer::Made(id)];
    answers.extend((0..3).map(Answer::Code));
    answers.extend([Refusal::NotFound, Refusal::WrongState, Refusal::Exists].map(Answer::Refused));
    answers
}

/// A world as it really is: everything has an ID, whether or not anybody was told.
fn real(world: &World) -> World {
    let mut world = world.clone();
    if let Some(pod) = &mut world.pod {
        pod.id.get_or_insert_with(|| "p".to_owned());
    }
    for (number, one) in &mut world.containers {
        one.id.get_or_insert_with(|| format!("c{number}"));
    }
    world
}

fn nameless(world: &World) -> bool {
    let mut ids = world.containers.values().map(|one| &one.id);
    ids.any(Option::is_none) || world.pod.as_ref().is_some_and(|pod| pod.id.is_none())
}

fn picked<T: Clone>(of: impl IntoIterator<Item = T>, by: usize) -> Option<T> {
    let all: Vec<T> = of.into_iter().collect();
    (!all.is_empty()).then(|| all[by % all.len()].clone())
}

fn pods_of(world: &World) -> Vec<SeenPod> {
    let pods = world.pod.iter();
    pods.map(|pod| SeenPod {
        id: pod.id.clone().unwrap(),
        ready: pod.state == PodState::Ready,
    })
    .collect()
}

fn containers_of(world: &World) -> Vec<SeenContainer> {
    let shown = world.containers.iter().map(|(&number, one)| SeenContainer {
        number,
        id: one.id.clone().unwrap(),
        life: match one.life {
            Life::Created { .. } => SeenLife::Created,
            Life::Running { .. } => SeenLife::Running,
            Life::Exited { .. } => SeenLife::Exited { end: None },
        },
        shares: Some(one.shares),
    });
    shown.collect()
}

proptest! {
    /// Whatever a lawful daemon does, dying included, the belief has it among its worlds.
    #[test]
    fn the_truth_is_never_ruled_out(
        steps in prop::collection::vec((requests(), any::<[usize; 3]>(), 0..5u8, 0..3u8), 1..25),
    ) {
        let mut belief = Belief::default();
        let mut truth = World::default();
        for (request, by, dies, looks) in steps {
            truth = picked(drift::all([truth.clone()]), by[0]).unwrap();
            // Nobody asks for what by an ID that nobody was told.
            if looks == 0 || belief.worlds().iter().any(nameless) {
                let (pods, containers) = (pods_of(&truth), containers_of(&truth));
                belief.sees(&pods, |world| world.if_pod(&pods)).unwrap();
                belief.sees(&containers, |world| world.if_containers(&containers)).unwrap();
            }
            let (outcome, next): (Outcome, Option<World>) = if dies == 0 {
                let mut reached = law::begun(&truth, &request);
                reached.push(truth.clone());
                (Outcome::Lost, picked(reached, by[1]))
            } else {
                let lawful = answers(&request)
                    .into_iter()
                    .filter(|answer| !law::answered(&truth, &request, answer).is_empty());
                // A pod that is made anew would have another ID: in this small world there is but one.
                let Some(answer) = picked(lawful, by[1]) else { continue };
                let reached = law::answered(&truth, &request, &answer);
                (answer.into(), picked(reached, by[2]))
            };
            truth = real(&next.unwrap());
            belief.done(&request, &outcome).unwrap();
            let worlds: BTreeSet<World> = drift::all(belief.worlds().clone());
            prop_assert!(worlds.iter().any(|world| real(world) == truth), "{:?} not in {:?}", truth, worlds);
        }
    }

    /// There is always something lawful to say, and from a world that is known, one thing alone.
    #[test]
    fn each_request_has_an_answer(
        steps in prop::collection::vec((requests(), any::<usize>()), 1..25),
    ) {
        let mut truth = World::default();
        for (request, by) in steps {
            let lawful: Vec<Answer> = answers(&request)
                .into_iter()
                .filter(|answer| !law::answered(&truth, &request, answer).is_empty())
                .collect();
            // A command may find its container ending.
            let most = if matches!(request, Request::Exec(..)) { 2 } else { 1 };
            prop_assert!((1..=most).contains(&lawful.len()), "{:?} in {:?}: {:?}", request, truth, lawful);
            let reached = law::answered(&truth, &request, &lawful[0]);
            truth = real(&picked(reached, by).unwrap());
        }
    }
}
