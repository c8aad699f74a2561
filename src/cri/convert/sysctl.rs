//! Kernel parameters of a sandbox.

use std::collections::{BTreeMap, HashMap};

use super::{
    error::{At, FieldError},
    text,
};
use crate::pod::spec::{Namespaces, Shared};

/// Longest name.
const NAME_MAX: usize = 256;
/// Longest value: the kernel takes a page at most.
const VALUE_MAX: usize = 4096;

/// The namespace a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Network,
    Ipc,
}

/// Parameters that are confined to namespaces of the pod's own, so that none of them reaches the host.
pub fn sysctls(
    at: &At<'_>,
    given: HashMap<String, String>,
    namespaces: &Namespaces,
) -> Result<BTreeMap<String, String>, FieldError> {
    let given: BTreeMap<_, _> = given.into_iter().collect();
    for (name, value) in &given {
        check_name(at, name)?;
        let at = at.key(name);
        text::check(&at, value, VALUE_MAX)?;
        if value.contains('\n') {
            return Err(at.bad(value, "has a line break"));
        }
        let (shared, namespace) = match scope(name) {
            Some(Scope::Network) => (namespaces.network, "network"),
            Some(Scope::Ipc) => (namespaces.ipc, "IPC"),
            None => return Err(at.wrong("is not a parameter of the network or IPC namespace")),
        };
        if shared == Shared::Node {
            return Err(at.wrong(format!(
                "cannot be set while the pod uses the host's {namespace} namespace"
            )));
        }
    }
    Ok(given)
}

fn check_name(at: &At<'_>, name: &str) -> Result<(), FieldError> {
    if name.is_empty() {
        return Err(at.wrong("has an empty name"));
    }
    text::check(at, name, NAME_MAX)?;
    // A slash stands for a dot inside a name, as in `net.ipv4.conf.eth0/100.forwarding`.
    let part = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if !name.split(['.', '/']).all(part) {
        return Err(at.bad(name, "is not the name of a kernel parameter"));
    }
    Ok(())
}

fn scope(name: &str) -> Option<Scope> {
    let name = name.replace('/', ".");
    if name.starts_with("net.") {
        Some(Scope::Network)
    } else if ["kernel.shm", "kernel.msg", "fs.mqueue."]
        .iter()
        .any(|p| name.starts_with(p))
        || name == "kernel.sem"
    {
        Some(Scope::Ipc)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::PidMode;

    const AT: At<'static> = At::root("sysctls");

    fn try_one(name: &str, value: &str, network: Shared, ipc: Shared) -> Result<(), String> {
        let namespaces = Namespaces {
            network,
            ipc,
            pid: PidMode::Pod,
            user: None,
        };
        sysctls(
            &AT,
            HashMap::from([(name.into(), value.into())]),
            &namespaces,
        )
        .map(|_| ())
        .map_err(|e| e.to_string())
    }

    #[test]
    fn namespaced_ones_pass() {
        use Shared::Pod;
        for name in [
            "net.ipv4.ip_local_port_range",
            "net.ipv4.conf.eth0/100.forwarding",
            "net/core/somaxconn",
            "kernel.shm_rmid_forced",
            "kernel.msgmax",
            "kernel.sem",
            "fs.mqueue.msg_max",
        ] {
            assert_eq!(try_one(name, "1 2\t3", Pod, Pod), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_host_is_out_of_reach() {
        use Shared::{Node, Pod};
        for name in [
            "kernel.core_pattern",
            "vm.swappiness",
            "net",
            "kernel.semx",
            "net.ipv4.a+kernel.core_pattern",
            "net/../kernel/core_pattern",
            "net..x",
            "",
            "net.a\n",
        ] {
            assert!(try_one(name, "1", Pod, Pod).is_err(), "{name}");
        }
        assert!(try_one("net.core.somaxconn", "1\n2", Pod, Pod).is_err());
        assert_eq!(
            try_one("net.core.somaxconn", "1", Node, Pod).unwrap_err(),
            "sysctls[\"net.core.somaxconn\"]: cannot be set while the pod uses the host's network namespace"
        );
        assert!(try_one("kernel.sem", "1", Pod, Node).is_err());
    }
}
