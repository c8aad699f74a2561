//! Running a command in a container to its end.

use crate::cri::{
    api,
    backend::{Backend, ExecOutput, Outcome},
    convert::{env, error::At},
    lookup,
    status::{Failure, Kind},
};

/// Most output of both streams together: callers take no message of more than 16 MiB.
const OUTPUT_MAX: usize = (16 << 20) - (64 << 10);

/// Nobody but the caller has a use for the outcome, so unlike other work this ends when the caller hangs up.
pub(super) async fn sync<B: Backend>(
    backend: &B,
    request: api::ExecSyncRequest,
) -> Outcome<api::ExecSyncResponse> {
    let at = At::root("cmd");
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(at.missing().into());
    }
    let command = env::argv(&at, request.cmd)?;
    let timeout = Some(super::containers::seconds(request.timeout)?).filter(|t| !t.is_zero());
    let id = lookup::container(backend, &request.container_id)?
        .id
        .clone();
    let output = backend.exec_sync(&id, command, timeout).await?;
    if output.timed_out {
        return Err(Failure::new(
            Kind::DeadlineExceeded,
            format!(
                "command timed out after {} seconds and was killed",
                request.timeout
            ),
        ));
    }
    Ok(bounded(output, OUTPUT_MAX))
}

/// Cuts what would not fit; either stream has at least half of the room when it needs it.
fn bounded(mut output: ExecOutput, max: usize) -> api::ExecSyncResponse {
    let half = max / 2;
    let err = output
        .stderr
        .len()
        .min(half.max(max.saturating_sub(output.stdout.len())));
    output.stderr.truncate(err);
    output.stdout.truncate(max - err);
    api::ExecSyncResponse {
        stdout: output.stdout,
        stderr: output.stderr,
        exit_code: output.exit_code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn output_fits_and_uses_the_room(out in 0..50usize, err in 0..50usize, max in 0..40usize) {
            let output = ExecOutput {
                stdout: vec![1; out],
                stderr: vec![2; err],
                exit_code: 0,
                timed_out: false,
            };
            let answer = bounded(output, max);
            let sum = answer.stdout.len() + answer.stderr.len();
            prop_assert_eq!(sum, max.min(out + err));
            prop_assert!(answer.stdout.len() >= out.min(max / 2));
            prop_assert!(answer.stderr.len() >= err.min(max / 2));
        }
    }
}
