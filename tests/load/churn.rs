//! Many requests at a time, and somebody who kills the daemon among them.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, RwLock};

use crate::{
    calls::Daemon,
    census::{self, Counted},
    ears::Ears,
    model::Outcome,
    moves::{self, Move},
    random::Random,
    settings::Settings,
    subject::Subject,
    weight::Weight,
};

/// Most requests that bring a subject to rest, whatever state it is in.
const TO_REST: usize = 12;

/// Everything that takes part.
pub(crate) struct Load<'a> {
    daemon: Daemon<'a>,
    settings: Settings,
    subjects: Vec<Mutex<Subject>>,
    /// Held while something is asked for; whoever wants quiet takes it alone.
    quiet: RwLock<()>,
    stormy: AtomicBool,
    begun: Instant,
}

impl<'a> Load<'a> {
    pub(crate) fn new(daemon: Daemon<'a>, settings: Settings) -> Self {
        let subjects = (0..settings.pods).map(|n| Mutex::new(Subject::new(n)));
        Self {
            daemon,
            settings,
            subjects: subjects.collect(),
            quiet: RwLock::new(()),
            stormy: AtomicBool::new(true),
            begun: Instant::now(),
        }
    }

    /// All of it.
    pub(crate) async fn run(&self) -> Result<(), String> {
        let Settings {
            time, pods, seed, ..
        } = self.settings;
        let mut random = Random::new(seed);
        let ears = Ears::open(self.daemon.node).await;
        self.rest(ears).await?;
        let first = Weight::of(self.daemon.node);
        self.say(&format!("{pods} pods: {first}"));

        let ears = Ears::open(self.daemon.node).await;
        let storm = Instant::now() + self.settings.stormy();
        let storm = async {
            let ears = self.storm(ears, &mut random, storm).await;
            self.stormy.store(false, Ordering::SeqCst);
            ears
        };
        let ((), ears) = tokio::try_join!(self.work_all(seed ^ 1, None), storm)?;
        let kills = self.daemon.deaths();
        self.say(&format!("the daemon was killed {kills} times"));

        // From here on it is the same daemon: first it warms up, then it must not grow.
        let calm = time - self.settings.stormy();
        self.work_all(seed ^ 2, Some(calm / 3)).await?;
        self.rest(ears).await?;
        let warm = self.settled().await;
        self.say(&format!("warm: {warm}"));
        if let Some(change) = warm.parts.change_since(&first.parts) {
            return Err(format!(
                "the storm has left something: {first}, then {warm}{change}"
            ));
        }
        let ears = Ears::open(self.daemon.node).await;
        self.work_all(seed ^ 3, Some(calm * 2 / 3)).await?;
        self.rest(ears).await?;
        let last = self.settled().await;
        self.say(&format!("at last: {last}"));
        let wrong = last.growth_since(&warm);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("\n")),
        }
    }

    fn say(&self, what: &str) {
        let asked = self.daemon.asked.load(Ordering::Relaxed);
        let lost = self.daemon.lost.load(Ordering::Relaxed);
        println!(
            "{:4} s, {asked} requests, {lost} of them without an answer; {what}",
            self.begun.elapsed().as_secs()
        );
    }

    /// Works on random subjects for a time, or until the storm is over.
    async fn work_all(&self, seed: u64, time: Option<Duration>) -> Result<(), String> {
        let mut random = Random::new(seed);
        let until = time.map(|time| Instant::now() + time);
        let workers =
            (0..self.settings.workers).map(|_| self.work(Random::new(random.next()), until));
        futures_util::future::try_join_all(workers).await.map(drop)
    }

    async fn work(&self, mut random: Random, until: Option<Instant>) -> Result<(), String> {
        let on = || match until {
            Some(until) => Instant::now() < until,
            None => self.stormy.load(Ordering::SeqCst),
        };
        while on() {
            let _asking = self.quiet.read().await;
            let one = &self.subjects[random.below(self.subjects.len())];
            // Somebody else is at work on it.
            let Ok(mut subject) = one.try_lock() else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            self.step(&mut subject, &mut random).await?;
        }
        Ok(())
    }

    async fn step(&self, subject: &mut Subject, random: &mut Random) -> Result<(), String> {
        let daemon = &self.daemon;
        let done = match moves::next(subject, random) {
            Move::Look => daemon.look(subject).await,
            Move::LookClosely => daemon.look_closely(subject, random).await,
            Move::Ask(request) => match daemon.ask(subject, &request).await {
                // What it came to has to be found out, IDs above all.
                Ok(Outcome::Lost) => daemon.look(subject).await,
                other => other.map(drop),
            },
            Move::AskBoth(first, second) => match daemon.ask_both(subject, &first, &second).await {
                Ok(outcomes) if outcomes.contains(&Outcome::Lost) => daemon.look(subject).await,
                other => other.map(drop),
            },
        };
        done.map_err(|error| format!("{}: {error}", subject.name()))
    }

    /// Kills the daemon now and then, in the midst of whatever it does.
    async fn storm(
        &self,
        mut ears: Ears,
        random: &mut Random,
        until: Instant,
    ) -> Result<Ears, String> {
        // With more pods there is more to do in between.
        let most = 2000 + 20 * self.settings.pods;
        loop {
            let pause = 1000 + random.below(most) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if Instant::now() > until {
                return Ok(ears);
            }
            if random.below(3) == 0 {
                let _quiet = self.quiet.write().await;
                let counted = self.compare(&ears).await?;
                let (lives, events) = ears.count();
                self.say(&format!(
                    "{counted:?} as believed, {events} events of {lives} lives as seen"
                ));
            }
            drop(ears);
            self.daemon.kill();
            let _quiet = self.quiet.write().await;
            self.daemon.start().await;
            // One in four dies while it looks at what the one before has left.
            if random.below(4) == 0 {
                tokio::time::sleep(Duration::from_millis(random.below(300) as u64)).await;
                self.daemon.kill();
                self.daemon.start().await;
            }
            for subject in &self.subjects {
                subject.lock().await.belief.handed_over();
            }
            ears = Ears::open(self.daemon.node).await;
            census::take(self.daemon.node, &self.subjects).await?;
        }
    }

    async fn compare(&self, ears: &Ears) -> Result<Counted, String> {
        let counted = census::take(self.daemon.node, &self.subjects).await?;
        ears.compare(&self.daemon).await?;
        Ok(counted)
    }

    /// Brings each subject to rest: a ready pod with one container that sleeps.
    async fn rest(&self, ears: Ears) -> Result<(), String> {
        let daemon = &self.daemon;
        let next = AtomicUsize::new(0);
        let workers = (0..self.settings.workers).map(|_| async {
            while let Some(subject) = self.subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut subject = subject.lock().await;
                let mut left = TO_REST;
                daemon.look(&mut subject).await.map_err(|e| e.to_string())?;
                while let Some(request) = moves::towards_rest(&mut subject) {
                    if left == 0 {
                        return Err(format!("{} comes to no rest: {request:?}", subject.name()));
                    }
                    left -= 1;
                    let done = daemon.ask(&mut subject, &request).await;
                    done.map_err(|error| format!("{}: {error}", subject.name()))?;
                }
            }
            Ok::<_, String>(())
        });
        futures_util::future::try_join_all(workers).await?;
        self.compare(&ears).await?;
        Ok(())
    }

    /// What is there once the last removals are done with, and threads that nobody needs are gone: they wait for work
    /// for ten seconds.
    async fn settled(&self) -> Weight {
        let mut before = Weight::of(self.daemon.node);
        let mut alike = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = Weight::of(self.daemon.node);
            alike = match now.parts == before.parts && now.threads >= before.threads {
                true => alike + 1,
                false => 0,
            };
            before = now;
            if alike == 6 {
                break;
            }
        }
        before
    }
}
