//! The life of a sandbox, as a pure state machine.
//!
//! ```text
//!              set up              stop asked           torn down
//!   Creating ─────────> Ready ──────────────> Stopping ──────────> Stopped
//!      │                  │ infra is gone         │ ^                 │
//!      │ failed           └────────> Broken ──────┘ └ tried again     │ remove asked
//!      v                                                              v
//!   Removing <─────────────────────────────────────────────────── Removing ──> gone
//! ```
//!
//! `Stopping` and `Removing` hold the error of their last try; they are tried again for ever.

use serde::{Deserialize, Serialize};

/// State of a sandbox, with what is known in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum PodState {
    /// Being set up; no client knows of it.
    Creating,
    /// Set up; containers can be made in it.
    Ready,
    /// It lost something it cannot live without; it can only be stopped.
    Broken {
        /// What it lost.
        reason: String,
    },
    /// Containers and network are being taken down.
    Stopping {
        /// What the last try failed on.
        error: Option<String>,
    },
    /// Nothing of it runs, its records and files are there.
    Stopped,
    /// Its files and records are being removed.
    Removing {
        /// What the last try failed on.
        error: Option<String>,
    },
}

/// What happens to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodEvent {
    /// All its parts are there.
    SetUp,
    /// A part it cannot live without is gone.
    Broke(String),
    /// It shall stop.
    StopAsked,
    /// A step of the stop failed.
    StopFailed(String),
    /// Nothing of it runs any more.
    TornDown,
    /// It shall be removed, or its set-up failed.
    RemoveAsked,
    /// A step of the removal failed.
    RemoveFailed(String),
}

impl PodState {
    /// The state after `event`; an event that says nothing new in a state leaves it as it is.
    pub fn after(self, event: PodEvent) -> Self {
        use PodEvent as E;
        match (self, event) {
            (Self::Creating, E::SetUp) => Self::Ready,
            (Self::Ready, E::Broke(reason)) => Self::Broken { reason },
            (Self::Creating | Self::Ready | Self::Broken { .. }, E::StopAsked) => {
                Self::Stopping { error: None }
            }
            (Self::Stopping { .. }, E::StopFailed(error)) => Self::Stopping { error: Some(error) },
            (Self::Stopping { .. }, E::TornDown) => Self::Stopped,
            (Self::Removing { error }, E::RemoveAsked) => Self::Removing { error },
            (_, E::RemoveAsked) => Self::Removing { error: None },
            (Self::Removing { .. }, E::RemoveFailed(error)) => {
                Self::Removing { error: Some(error) }
            }
            (state, _) => state,
        }
    }

    /// Containers can be made and started.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Clients are told of it.
    pub fn is_visible(&self) -> bool {
        !matches!(self, Self::Creating)
    }

    /// A word for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Ready => "ready",
            Self::Broken { .. } => "broken",
            Self::Stopping { .. } => "being stopped",
            Self::Stopped => "stopped",
            Self::Removing { .. } => "being removed",
        }
    }

    /// What is wrong with it, if anything.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Broken { reason } => Some(reason),
            Self::Stopping { error } | Self::Removing { error } => error.as_deref(),
            Self::Creating | Self::Ready | Self::Stopped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = PodEvent> {
        prop_oneof![
            Just(PodEvent::SetUp),
            Just(PodEvent::Broke("x".into())),
            Just(PodEvent::StopAsked),
            Just(PodEvent::StopFailed("y".into())),
            Just(PodEvent::TornDown),
            Just(PodEvent::RemoveAsked),
            Just(PodEvent::RemoveFailed("z".into())),
        ]
    }

    fn rank(state: &PodState) -> u8 {
        match state {
            PodState::Creating => 0,
            PodState::Ready => 1,
            PodState::Broken { .. } => 2,
            PodState::Stopping { .. } => 3,
            PodState::Stopped => 4,
            PodState::Removing { .. } => 5,
        }
    }

    proptest! {
        #[test]
        fn never_goes_back(events in prop::collection::vec(events(), 0..20)) {
            let mut state = PodState::Creating;
            for event in events {
                let before = rank(&state);
                state = state.after(event);
                prop_assert!(rank(&state) >= before);
            }
        }

        #[test]
        fn only_a_set_up_makes_ready(events in prop::collection::vec(events(), 0..20)) {
            let mut state = PodState::Creating;
            for event in events {
                let was = state.is_ready();
                let set_up = event == PodEvent::SetUp;
                state = state.after(event);
                prop_assert!(!state.is_ready() || was || set_up);
            }
        }
    }

    #[test]
    fn a_failed_stop_says_why_until_it_succeeds() {
        let state = PodState::Ready
            .after(PodEvent::StopAsked)
            .after(PodEvent::StopFailed("network".into()));
        assert_eq!(state.trouble(), Some("network"));
        assert_eq!(state.after(PodEvent::TornDown), PodState::Stopped);
    }
}
