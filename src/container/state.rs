//! The life of a container, as a pure state machine.
//!
//! ```text
//!              create done            start done
//!   Creating ──────────────> Created ────────────> Running
//!                               │                     │
//!                               │  init is gone       │  init is gone
//!                               └────────> Exited <───┘
//! ```
//!
//! Removal is no state of this machine: it is an operation, during which the state stays what it
//! was until the container is gone.

use serde::{Deserialize, Serialize};

use crate::oci::message;

/// State of a container, with what is known in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum ContainerState {
    /// Being made; no client knows of it.
    Creating,
    /// Made, its init waits to be started.
    Created {
        /// Process ID of init on the host.
        pid: i32,
    },
    /// Init was started and lives.
    Running {
        /// Process ID of init on the host.
        pid: i32,
        /// Unix nanoseconds.
        started_at: i64,
    },
    /// Init is gone.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Unix nanoseconds; `None` when it never ran.
    pub started_at: Option<i64>,
    /// Unix nanoseconds.
    pub finished_at: i64,
    /// What ended it.
    pub cause: ExitCause,
}

/// What ended a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitCause {
    /// Init exited with this code, or was killed by a signal (128 + number).
    Process {
        /// 0 to 255.
        code: i32,
        /// A process of the container fell to the OOM killer.
        oom_killed: bool,
    },
    /// The runtime could not start it.
    StartFailed {
        /// What the runtime said.
        message: String,
    },
    /// The monitor vanished without a record: the code is not known.
    MonitorLost,
    /// The machine was restarted while it ran: the code is not known.
    Rebooted,
}

/// Code of a container whose real one is not known. No process can exit with it.
pub const UNKNOWN_CODE: i32 = -1;

/// Code of a container that could not be started, for a reason that is not its command.
pub const START_FAILED_CODE: i32 = 128;

impl Exit {
    /// The code a client sees.
    pub fn code(&self) -> i32 {
        match self.cause {
            ExitCause::Process { code, .. } => code,
            ExitCause::StartFailed { ref message } => {
                message::command_code(message).unwrap_or(START_FAILED_CODE)
            }
            ExitCause::MonitorLost | ExitCause::Rebooted => UNKNOWN_CODE,
        }
    }

    /// The reason a client sees.
    pub fn reason(&self) -> &'static str {
        match self.cause {
            ExitCause::Process {
                oom_killed: true, ..
            } => "OOMKilled",
            ExitCause::Process { code: 0, .. } => "Completed",
            ExitCause::Process { .. } => "Error",
            ExitCause::StartFailed { ref message } => match message::command_code(message) {
                Some(_) => "ContainerCannotRun",
                None => "StartError",
            },
            ExitCause::MonitorLost => "MonitorLost",
            ExitCause::Rebooted => "NodeRebooted",
        }
    }

    /// More about the reason, for people.
    pub fn message(&self) -> &str {
        match &self.cause {
            ExitCause::Process { .. } => "",
            ExitCause::StartFailed { message } => message,
            ExitCause::MonitorLost => {
                "the container's monitor ended without an exit record; the exit code is not known"
            }
            ExitCause::Rebooted => {
                "the node was restarted while the container ran; the exit code is not known"
            }
        }
    }
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The runtime made it.
    CreateDone {
        /// Process ID of init.
        pid: i32,
    },
    /// The runtime started it.
    StartDone {
        /// Unix nanoseconds.
        at: i64,
    },
    /// Init is gone.
    Ended {
        /// Unix nanoseconds.
        at: i64,
        /// Why.
        cause: ExitCause,
    },
}

/// An event that cannot happen in a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a container that is {state} cannot be {event}")]
pub struct Unlawful {
    state: &'static str,
    event: &'static str,
}

impl ContainerState {
    /// The state after `event`.
    ///
    /// A very short-lived init can end before the runtime has returned from starting it; so the
    /// end may come first, and the start then only adds its time.
    pub fn after(self, event: Event) -> Result<Self, Unlawful> {
        let state = self.name();
        let unlawful = |event| Err(Unlawful { state, event });
        match (self, event) {
            (Self::Creating, Event::CreateDone { pid }) => Ok(Self::Created { pid }),
            (Self::Created { pid }, Event::StartDone { at }) => Ok(Self::Running {
                pid,
                started_at: at,
            }),
            (Self::Exited(mut exit), Event::StartDone { at }) if exit.started_at.is_none() => {
                exit.started_at = Some(at.min(exit.finished_at));
                Ok(Self::Exited(exit))
            }
            (Self::Created { .. }, Event::Ended { at, cause }) => Ok(Self::Exited(Exit {
                started_at: None,
                finished_at: at,
                cause,
            })),
            (Self::Running { started_at, .. }, Event::Ended { at, cause }) => {
                Ok(Self::Exited(Exit {
                    started_at: Some(started_at),
                    finished_at: at.max(started_at),
                    cause,
                }))
            }
            // The end is told once by the monitor and perhaps again after a restart.
            (Self::Exited(exit), Event::Ended { .. }) => Ok(Self::Exited(exit)),
            (_, Event::CreateDone { .. }) => unlawful("created"),
            (_, Event::StartDone { .. }) => unlawful("started"),
            (_, Event::Ended { .. }) => unlawful("ended"),
        }
    }

    /// A word for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Created { .. } => "created",
            Self::Running { .. } => "running",
            Self::Exited(_) => "exited",
        }
    }

    /// Process ID of init while it lives.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Created { pid } | Self::Running { pid, .. } => Some(*pid),
            Self::Creating | Self::Exited(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1..1000i32).prop_map(|pid| Event::CreateDone { pid }),
            (1..1000i64).prop_map(|at| Event::StartDone { at }),
            (1..1000i64, 0..256i32, any::<bool>()).prop_map(|(at, code, oom_killed)| {
                Event::Ended {
                    at,
                    cause: ExitCause::Process { code, oom_killed },
                }
            }),
            (1..1000i64).prop_map(|at| Event::Ended {
                at,
                cause: ExitCause::MonitorLost
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_end_is_final(events in prop::collection::vec(events(), 0..12)) {
            let mut state = ContainerState::Creating;
            let mut end: Option<ExitCause> = None;
            for event in events {
                let Ok(next) = state.clone().after(event) else { continue };
                if let ContainerState::Exited(exit) = &next {
                    prop_assert!(exit.started_at.is_none_or(|s| s <= exit.finished_at));
                    if let Some(first) = &end {
                        prop_assert_eq!(first, &exit.cause);
                    }
                    end = Some(exit.cause.clone());
                } else {
                    prop_assert!(end.is_none(), "came back to life");
                }
                state = next;
            }
        }

        #[test]
        fn no_code_is_made_up(cause in prop_oneof![Just(ExitCause::MonitorLost), Just(ExitCause::Rebooted)]) {
            let exit = Exit { started_at: Some(1), finished_at: 2, cause };
            prop_assert_eq!(exit.code(), UNKNOWN_CODE);
            prop_assert!(!exit.message().is_empty());
        }
    }

    #[test]
    fn an_end_before_the_start_returns_keeps_both_times() {
        let ended = ContainerState::Created { pid: 7 }
            .after(Event::Ended {
                at: 5,
                cause: ExitCause::Process {
                    code: 0,
                    oom_killed: false,
                },
            })
            .unwrap();
        let ContainerState::Exited(exit) = ended.after(Event::StartDone { at: 9 }).unwrap() else {
            panic!("not exited");
        };
        assert_eq!((exit.started_at, exit.finished_at), (Some(5), 5));
    }

    #[test]
    fn a_failed_start_says_what_was_wrong() {
        for (message, code, reason) in [
            ("no space left on device", 128, "StartError"),
            (
                "exec: \"nope\": executable file not found in $PATH",
                127,
                "ContainerCannotRun",
            ),
            ("exec /x: exec format error", 126, "ContainerCannotRun"),
        ] {
            let exit = Exit {
                started_at: None,
                finished_at: 1,
                cause: ExitCause::StartFailed {
                    message: message.into(),
                },
            };
            assert_eq!((exit.code(), exit.reason()), (code, reason));
            assert_eq!(exit.message(), message);
        }
    }

    #[test]
    fn nothing_starts_twice() {
        let running = ContainerState::Running {
            pid: 1,
            started_at: 1,
        };
        let error = running.after(Event::StartDone { at: 2 }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a container that is running cannot be started"
        );
    }
}
