//! Whether a monitor still does its work: it answers, and it tells of the container's end.
//!
//! A monitor can be stopped (SIGSTOP), or stuck in the kernel. One that owes an answer is continued after a while, which
//! is nothing to one that was not stopped. If it owes the end of a container whose init is surely gone and still says
//! nothing, it is given up: nothing waits for it for ever, and no container is shown as running that is not.

use std::time::Duration;

use tokio::time::Instant;

/// How long a monitor may owe something before it is continued. The container's last output has its time in this too.
pub(super) const WAKE: Duration = Duration::from_secs(3);
/// How long after that it is waited for, should init be gone.
const GIVE_UP: Duration = Duration::from_secs(15);

/// What a monitor owes, and since when.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    owes: Option<Instant>,
    woken: bool,
    init_gone: bool,
}

/// What is to be done about a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Continue it, and ask where the container is.
    Wake,
    /// Expect nothing of it any more.
    GiveUp,
}

impl Vigil {
    /// It was asked something.
    pub(super) fn asked(&mut self, now: Instant) {
        self.owes.get_or_insert(now);
    }

    /// It said something, so it is there. That init is gone it owes until it is told that.
    pub(super) fn heard(&mut self, now: Instant) {
        self.owes = self.init_gone.then_some(now);
        self.woken = false;
    }

    /// The kernel says that init is gone.
    pub(super) fn init_gone(&mut self, now: Instant) {
        self.init_gone = true;
        self.owes = Some(now);
        self.woken = false;
    }

    /// Whether the kernel has said that init is gone.
    pub(super) fn is_init_gone(&self) -> bool {
        self.init_gone
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        match (self.woken, self.init_gone) {
            (false, _) => Some(self.owes? + WAKE),
            (true, true) => Some(self.owes? + WAKE + GIVE_UP),
            (true, false) => None,
        }
    }

    /// What is to be done now that it is due.
    pub(super) fn act(&mut self) -> Deed {
        if self.woken {
            return Deed::GiveUp;
        }
        self.woken = true;
        Deed::Wake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_owes_nothing_is_left_alone() {
        let mut vigil = Vigil::default();
        assert_eq!(vigil.due(), None);
        let now = Instant::now();
        vigil.asked(now);
        vigil.heard(now + SECOND);
        assert_eq!(vigil.due(), None);
    }

    #[test]
    fn who_owes_an_answer_is_continued_once_and_never_given_up() {
        let mut vigil = Vigil::default();
        let now = Instant::now();
        vigil.asked(now);
        vigil.asked(now + SECOND);
        assert_eq!(vigil.due(), Some(now + WAKE));
        assert_eq!(vigil.act(), Deed::Wake);
        assert_eq!(vigil.due(), None);
    }

    #[test]
    fn who_owes_an_end_is_continued_and_then_given_up() {
        let mut vigil = Vigil::default();
        let now = Instant::now();
        vigil.init_gone(now);
        assert_eq!(vigil.due(), Some(now + WAKE));
        assert_eq!(vigil.act(), Deed::Wake);
        assert_eq!(vigil.due(), Some(now + WAKE + GIVE_UP));
        assert_eq!(vigil.act(), Deed::GiveUp);
    }

    #[test]
    fn who_answers_but_has_no_end_to_tell_yet_is_asked_again() {
        let mut vigil = Vigil::default();
        let now = Instant::now();
        vigil.init_gone(now);
        vigil.act();
        vigil.heard(now + 4 * SECOND);
        assert_eq!(vigil.due(), Some(now + 4 * SECOND + WAKE));
        assert_eq!(vigil.act(), Deed::Wake);
    }
}
