//! What events may tell of the life of a pod or container between two looks at it.

/// How far a life is; an event tells that the next stage is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Unborn,
    Created,
    Started,
    Stopped,
    Deleted,
}

/// Whether events may have told this, in this order, since a look at `before`, when a later look shows `after`.
///
/// The one who listens did so before the first look, so what that shows may have been told; and what is told may be
/// ahead of the second look.
pub(crate) fn check(before: Stage, told: &[Stage], after: Stage) -> Result<(), String> {
    if !told.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(format!("{told:?} was told twice or out of order"));
    }
    for stage in [
        Stage::Created,
        Stage::Started,
        Stage::Stopped,
        Stage::Deleted,
    ] {
        // A life may end before it was ever started.
        let skipped = stage == Stage::Started && after > Stage::Started;
        if before < stage && stage <= after && !skipped && !told.contains(&stage) {
            return Err(format!(
                "it went from {before:?} to {after:?}, and {stage:?} was not told, but {told:?}"
            ));
        }
    }
    match told.first() {
        // What was told first follows upon what was there, with nothing left out but a start.
        Some(&first) if before < Stage::Created && first > Stage::Created => {
            Err(format!("{told:?} was told of what nobody knew"))
        }
        _ => Ok(()),
    }
}
