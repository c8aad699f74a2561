//! A further process in a container.

use oci_spec::runtime::{Process, Spec};

use super::{SpecError, environment::Environment, process::check_args};

/// The process of an exec: the container's own, with another command line. User, groups,
/// capabilities, environment, directory, limits, labels and `no_new_privs` are the container's.
pub fn exec_process(spec: &Spec, command: &[String], tty: bool) -> Result<Process, SpecError> {
    check_args(command)?;
    let mut process = spec.process().clone().unwrap_or_default();
    let mut env = Environment::default();
    env.set_lines(process.env().as_deref().unwrap_or_default())?;
    env.complete(None, tty)?;
    process
        .set_args(Some(command.to_vec()))
        .set_terminal(Some(tty))
        .set_console_size(None)
        .set_env(Some(env.into_lines()));
    Ok(process)
}
