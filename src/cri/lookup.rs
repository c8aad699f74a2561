//! Finding a sandbox or a container by what a caller calls it: its ID, or a prefix that only one has.

use std::sync::Arc;

use super::{
    backend::{Backend, Outcome},
    convert::error::At,
    status::{Failure, Kind},
};
use crate::{
    container::view::ContainerView,
    id::{self, Id},
    pod::view::PodView,
};

/// Most candidates that an ambiguity names.
const NAMED: usize = 4;

/// A sandbox that must be there.
pub(super) fn pod<B: Backend>(backend: &B, given: &str) -> Outcome<Arc<PodView>> {
    let at = At::root("pod_sandbox_id");
    id::check_prefix(given).map_err(|e| at.wrong(e.to_string()))?;
    let found = match Id::parse(given) {
        Ok(id) => backend.pod(&id),
        Err(_) => only(&at, given, backend.pods(), |pod| &pod.id)?,
    };
    found.ok_or_else(|| missing(&at, given, "sandbox"))
}

/// A container that must be there.
pub(super) fn container<B: Backend>(backend: &B, given: &str) -> Outcome<Arc<ContainerView>> {
    let at = At::root("container_id");
    id::check_prefix(given).map_err(|e| at.wrong(e.to_string()))?;
    let found = match Id::parse(given) {
        Ok(id) => backend.container(&id),
        Err(_) => only(&at, given, backend.containers(), |container| &container.id)?,
    };
    found.ok_or_else(|| missing(&at, given, "container"))
}

/// The sandbox to stop or remove; `None` when there can be none by that name, which is then no error.
///
/// A whole ID is passed on as it is: the sandbox may be in the making.
pub(super) fn pod_if_any<B: Backend>(backend: &B, given: &str) -> Outcome<Option<Id>> {
    let at = At::root("pod_sandbox_id");
    if_any(&at, given, || {
        only(&at, given, backend.pods(), |pod| &pod.id).map(|pod| pod.map(|p| p.id.clone()))
    })
}

/// The container to stop or remove; `None` when there can be none by that name, which is then no error.
pub(super) fn container_if_any<B: Backend>(backend: &B, given: &str) -> Outcome<Option<Id>> {
    let at = At::root("container_id");
    if_any(&at, given, || {
        only(&at, given, backend.containers(), |container| &container.id)
            .map(|container| container.map(|c| c.id.clone()))
    })
}

fn if_any(
    at: &At<'_>,
    given: &str,
    by_prefix: impl FnOnce() -> Outcome<Option<Id>>,
) -> Outcome<Option<Id>> {
    if given.is_empty() {
        return Err(at.wrong("is empty").into());
    }
    if id::check_prefix(given).is_err() {
        return Ok(None);
    }
    match Id::parse(given) {
        Ok(id) => Ok(Some(id)),
        Err(_) => by_prefix(),
    }
}

fn only<T>(
    at: &At<'_>,
    prefix: &str,
    all: Vec<Arc<T>>,
    id: impl Fn(&T) -> &Id,
) -> Outcome<Option<Arc<T>>> {
    let mut matches: Vec<Arc<T>> = all
        .into_iter()
        .filter(|one| id(one).as_str().starts_with(prefix))
        .collect();
    if matches.len() < 2 {
        return Ok(matches.pop());
    }
    let mut named: Vec<&str> = matches.iter().map(|m| id(m).as_str()).collect();
    named.sort_unstable();
    let more = match named.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.truncate(NAMED);
    let problem = format!("is ambiguous, it could be {}{more}", named.join(", "));
    Err(at.bad(prefix, problem).into())
}

fn missing(at: &At<'_>, given: &str, what: &str) -> Failure {
    Failure::new(
        Kind::NotFound,
        at.bad(given, format!("is not the ID of a {what}"))
            .to_string(),
    )
}
