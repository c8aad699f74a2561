//! Traffic of pods, by the links in their network namespaces.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::AsFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

use tracing::debug;

use crate::{
    id::Id,
    sys::links::{LinkCounters, Links, NamespaceNumber},
};

/// The socket that asks, and the numbers of the pods' namespaces.
#[derive(Debug, Default)]
pub(super) struct Network(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    links: Option<Links>,
    numbers: HashMap<Id, NamespaceNumber>,
}

impl Network {
    /// The links of a pod but loopback; `None` when they cannot be told. Blocks, but briefly.
    pub(super) fn links(&self, pod: &Id, netns: &Path) -> Option<Vec<LinkCounters>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.ask(pod, netns) {
            Ok(mut links) => {
                links.retain(|link| !link.loopback);
                Some(links)
            }
            Err(error) => {
                debug!(%pod, %error, "asking for the links of a pod");
                // An answer may be under way, and the number may be wrong.
                state.links = None;
                state.numbers.remove(pod);
                None
            }
        }
    }

    /// Forgets pods that are gone.
    pub(super) fn retain(&self, alive: impl Fn(&Id) -> bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.numbers.retain(|id, _| alive(id));
    }
}

impl State {
    fn ask(&mut self, pod: &Id, netns: &Path) -> io::Result<Vec<LinkCounters>> {
        let links = match &mut self.links {
            Some(links) => links,
            none => none.insert(Links::open()?),
        };
        let number = match self.numbers.get(pod) {
            Some(number) => *number,
            None => {
                let number = links.number(File::open(netns)?.as_fd())?;
                self.numbers.insert(pod.clone(), number);
                number
            }
        };
        links.counters(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_without_a_namespace_has_no_links() {
        let network = Network::default();
        let pod = Id::random();
        assert_eq!(network.links(&pod, Path::new("/no/such/netns")), None);
        assert_eq!(network.links(&pod, Path::new("/dev/null")), None);
        assert!(network.0.lock().unwrap().numbers.is_empty());
    }
}
