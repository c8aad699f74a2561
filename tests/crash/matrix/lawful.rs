//! What a client may see after the daemon was killed in the middle of an operation, and what after the operation.

use super::operation::Operation;

/// What a client sees of the pod, container or image that an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is not listed.
    Absent,
    /// A sandbox in which containers can run.
    Ready,
    /// A sandbox in which they cannot.
    NotReady,
    /// A container that waits for its start.
    Created,
    /// A container that runs.
    Running,
    /// A container that has ended, with this code.
    Exited(i32),
    /// An image with all its files.
    Whole,
    /// An image that lacks some: never lawful.
    Damaged,
}

/// The exit code of the tests' container when it is asked to end; a killed one has 137.
pub(super) const ASKED: i32 = 3;
const KILLED: i32 = 137;

/// Whether this may be seen when the daemon was killed within the operation.
pub(super) fn is_lawful(operation: Operation, seen: Seen) -> bool {
    use Operation as O;
    match operation {
        // What was not acknowledged goes away by itself, and may be seen going.
        O::RunPodSandbox | O::RunPodSandboxWithUsers => {
            matches!(seen, Seen::Absent | Seen::NotReady | Seen::Ready)
        }
        O::CreateContainer | O::CreateContainerByOldRuntime => {
            matches!(seen, Seen::Absent | Seen::Created)
        }
        O::StartContainer => matches!(seen, Seen::Created | Seen::Running),
        O::StopContainer => matches!(seen, Seen::Running | Seen::Exited(ASKED)),
        O::RemoveContainer => {
            matches!(seen, Seen::Running | Seen::Exited(KILLED) | Seen::Absent)
        }
        O::StopPodSandbox => matches!(seen, Seen::Ready | Seen::NotReady),
        O::RemovePodSandbox => matches!(seen, Seen::Ready | Seen::NotReady | Seen::Absent),
        O::UpdatePodSandboxResources => seen == Seen::Ready,
        O::PullImage | O::RemoveImage => matches!(seen, Seen::Absent | Seen::Whole),
    }
}

/// What is seen once the operation has succeeded.
pub(super) fn goal(operation: Operation) -> Seen {
    use Operation as O;
    match operation {
        O::RunPodSandbox | O::RunPodSandboxWithUsers | O::UpdatePodSandboxResources => Seen::Ready,
        O::CreateContainer | O::CreateContainerByOldRuntime => Seen::Created,
        O::StartContainer => Seen::Running,
        O::StopContainer => Seen::Exited(ASKED),
        O::StopPodSandbox => Seen::NotReady,
        O::RemoveContainer | O::RemovePodSandbox | O::RemoveImage => Seen::Absent,
        O::PullImage => Seen::Whole,
    }
}
