//! Requests for streams: each is checked and answered with a URL.

use crate::{
    container::view::{ContainerState, ContainerView},
    cri::{
        api,
        backend::{Backend, Outcome},
        convert::{env, error::At},
        lookup,
        status::{Failure, Kind},
    },
    pod::view::PodViewState,
    stream::{request::Request, session::Wanted, websocket::PORTS_MAX},
};

pub(super) fn exec<B: Backend>(
    backend: &B,
    request: api::ExecRequest,
) -> Outcome<api::ExecResponse> {
    let at = At::root("cmd");
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(at.missing().into());
    }
    let command = env::argv(&at, request.cmd)?;
    let wanted = wanted(request.stdin, request.stdout, request.stderr, request.tty)?;
    let container = lookup::container(backend, &request.container_id)?;
    running(&container)?;
    let url = backend.stream_url(Request::Exec {
        container: container.id.clone(),
        command,
        wanted,
    })?;
    Ok(api::ExecResponse { url })
}

pub(super) fn attach<B: Backend>(
    backend: &B,
    request: api::AttachRequest,
) -> Outcome<api::AttachResponse> {
    let wanted = wanted(request.stdin, request.stdout, request.stderr, request.tty)?;
    let container = lookup::container(backend, &request.container_id)?;
    running(&container)?;
    let url = backend.stream_url(Request::Attach {
        container: container.id.clone(),
        wanted,
    })?;
    Ok(api::AttachResponse { url })
}

pub(super) fn port_forward<B: Backend>(
    backend: &B,
    request: api::PortForwardRequest,
) -> Outcome<api::PortForwardResponse> {
    let at = At::root("port");
    if request.port.len() > PORTS_MAX {
        let problem = format!("has {} ports, more than {PORTS_MAX}", request.port.len());
        return Err(at.wrong(problem).into());
    }
    let ports = request
        .port
        .iter()
        .map(|&port| {
            u16::try_from(port)
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| at.bad(&port.to_string(), "is not a port from 1 to 65535"))
        })
        .collect::<Result<_, _>>()?;
    let pod = lookup::pod(backend, &request.pod_sandbox_id)?;
    if pod.state != PodViewState::Ready {
        return Err(Failure::new(
            Kind::FailedPrecondition,
            format!(
                "sandbox {} is not ready; its ports cannot be reached",
                pod.id
            ),
        ));
    }
    let url = backend.stream_url(Request::Forward {
        pod: pod.id.clone(),
        ports,
    })?;
    Ok(api::PortForwardResponse { url })
}

fn wanted(stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Outcome<Wanted> {
    if tty && stderr {
        let problem = "cannot be asked for together with tty: a terminal has one stream of output";
        return Err(At::root("stderr").wrong(problem).into());
    }
    if !stdin && !stdout && !stderr {
        let problem = "is not asked for, nor are stdin and stderr; at least one of them is needed";
        return Err(At::root("stdout").wrong(problem).into());
    }
    Ok(Wanted {
        stdin,
        stdout,
        stderr,
        tty,
    })
}

fn running(container: &ContainerView) -> Outcome<()> {
    let state = match container.state {
        ContainerState::Running { .. } => return Ok(()),
        ContainerState::Created => "created",
        ContainerState::Exited { .. } => "exited",
        ContainerState::Unknown { .. } => "in an unknown state",
    };
    Err(Failure::new(
        Kind::FailedPrecondition,
        format!(
            "container {} is {state}; it would have to be running",
            container.id
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_do_not_fit_are_refused() {
        let kind = |stdin, stdout, stderr, tty| {
            wanted(stdin, stdout, stderr, tty).map_err(|failure| failure.kind())
        };
        assert_eq!(kind(false, false, false, true), Err(Kind::InvalidArgument));
        assert_eq!(kind(true, true, true, true), Err(Kind::InvalidArgument));
        assert!(kind(true, true, true, false).is_ok());
        assert!(kind(false, false, true, false).is_ok());
        assert!(kind(true, false, false, true).is_ok());
    }
}
