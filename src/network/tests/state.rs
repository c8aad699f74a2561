//! All that the kernel and the disk know of a host and its pods' networks, so that two ways to the same can be compared.

use std::collections::BTreeMap;

use super::*;

/// Everything of a host, by what it is; what chance made is replaced by its place.
pub(super) type State = BTreeMap<String, String>;

/// Fields that differ from one link to the next, or from one moment to the next.
const BY_CHANCE: [&str; 16] = [
    "ifindex",
    "link_index",
    "link_netnsid",
    "link",
    "ifname",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "operstate",
    "forward_delay_timer",
    "bridge_id",
    "root_id",
    "designated_bridge",
    "port_id",
    "designated_port",
];

/// The state of a host and one pod. `names` are what chance made, with what is to stand for it.
pub(super) fn state(host: &Host, pod: Option<&PodNetwork>, names: &[(String, &str)]) -> State {
    let mut state = State::new();
    settle();
    look(&mut state, "host");
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{name}");
        state.insert(name.into(), fs::read_to_string(path).unwrap());
    }
    if let Some(pod) = pod {
        let inner = inside(pod, || {
            let mut state = State::new();
            look(&mut state, "pod");
            state
        });
        state.extend(inner.join().unwrap());
    }
    for entry in fs::read_dir(host.path("ipam/pods")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        state.insert(format!("reservation {name}"), format!("{mode:o} {text}"));
    }
    let replace = |mut text: String| {
        for (name, place) in names {
            text = text.replace(name.as_str(), place);
        }
        // A bridge learns in its own time that it has lost its last port.
        text.replace("\"NO-CARRIER\",", "")
            .replace("\"linkdown\"", "")
    };
    let lines = state.into_iter();
    lines.map(|(k, v)| (replace(k), replace(v))).collect()
}

/// Waits until the kernel is sure of all addresses: routes to them come only then.
fn settle() {
    for _ in 0..1000 {
        let links = json(&["-6", "addr", "show", "tentative"]);
        let has_any = |link: &Value| link["addr_info"].as_array().is_some_and(|a| !a.is_empty());
        if !links.iter().any(has_any) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Notes links, addresses, routes, neighbours and parameters of the thread's namespace.
fn look(state: &mut State, place: &str) {
    for link in json(&["-d", "link", "show"]) {
        let name = link["ifname"].as_str().unwrap().to_owned();
        for (field, value) in flat(&link) {
            state.insert(format!("{place} link {name} {field}"), value);
        }
        for parameter in [
            "ipv6/conf/@/accept_ra",
            "ipv6/conf/@/accept_dad",
            "ipv6/conf/@/disable_ipv6",
            "ipv4/conf/@/arp_notify",
            "ipv4/conf/@/route_localnet",
            "ipv4/conf/@/proxy_arp",
        ] {
            let path = format!("/proc/sys/net/{}", parameter.replace('@', &name));
            let value = fs::read_to_string(path).unwrap_or_default();
            state.insert(format!("{place} {parameter} of {name}"), value);
        }
        let assigned = format!("/sys/class/net/{name}/addr_assign_type");
        let assigned = fs::read_to_string(assigned).unwrap_or_default();
        state.insert(format!("{place} link {name} addr_assign_type"), assigned);
    }
    for link in json(&["addr", "show"]) {
        let name = link["ifname"].as_str().unwrap_or_default();
        for address in link["addr_info"].as_array().unwrap() {
            // The kernel makes these of hardware addresses, in its own time.
            if address["scope"] != "link" {
                state.insert(
                    format!("{place} address {name} {}", address["local"]),
                    address.to_string(),
                );
            }
        }
    }
    for family in ["-4", "-6"] {
        for route in json(&[family, "route", "show", "table", "all"]) {
            let text = route.to_string();
            if !text.contains("fe80::") && !text.contains("ff00::/8") {
                state.insert(format!("{place} route {text}"), String::new());
            }
        }
    }
}

/// What `ip` says, as JSON.
fn json(args: &[&str]) -> Vec<Value> {
    let out = Command::new("ip").arg("-j").args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
    match out.stdout.is_empty() {
        true => Vec::new(),
        false => serde_json::from_slice(&out.stdout).unwrap(),
    }
}

/// The fields of a link, those within others too, but for what chance makes.
fn flat(value: &Value) -> Vec<(String, String)> {
    let Some(object) = value.as_object() else {
        return vec![(String::new(), value.to_string())];
    };
    let fields = object
        .iter()
        .filter(|(name, _)| !BY_CHANCE.contains(&name.as_str()));
    fields
        .flat_map(|(name, value)| {
            let inner = flat(value).into_iter();
            inner.map(move |(rest, value)| (format!("{name} {rest}").trim().to_owned(), value))
        })
        .collect()
}

/// A line for each thing that is not the same.
pub(super) fn differences(one: &State, other: &State) -> Vec<String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|key| format!("{key}: {:?} and {:?}", one.get(key), other.get(key)))
        .collect()
}
