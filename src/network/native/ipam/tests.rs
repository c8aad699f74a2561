//! Addresses given away by turns with the plugin itself.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::{Arc, Barrier},
};

use super::*;

const PLUGIN: &str = "/usr/lib/cni/host-local";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn ipam(&self, sets: &[&str]) -> Ipam {
        let sets = sets.iter().map(|text| {
            let confs: Vec<RangeConf> = serde_json::from_str(text).unwrap();
            RangeSet::new(&confs).unwrap()
        });
        Ipam {
            data_dir: self.0.path().to_owned(),
            sets: sets.collect(),
            routes: Vec::new(),
            resolv_conf: None,
        }
    }

    /// The files with what they say, and their modes.
    fn files(&self) -> BTreeMap<String, (String, u32)> {
        let dir = fs::read_dir(self.0.path().join("net"));
        let files = dir.into_iter().flatten().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let mode = path.metadata().unwrap().permissions().mode();
            (name, (fs::read_to_string(&path).unwrap(), mode))
        });
        files.collect()
    }

    /// The plugin's answer.
    fn plugin(&self, verb: &str, id: &str, sets: &[&str], more: &str) -> serde_json::Value {
        let conf = format!(
            r#"{{"cniVersion":"1.0.0","name":"net","ipam":{{"type":"host-local","dataDir":"{}","ranges":[{}]}}{more}}}"#,
            self.0.path().display(),
            sets.join(",")
        );
        let mut child = Command::new(PLUGIN)
            .env_clear()
            .envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", id),
                ("CNI_NETNS", "/proc/self/ns/net"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/usr/lib/cni"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(conf.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        match out.stdout.is_empty() {
            true => serde_json::Value::Null,
            false => serde_json::from_slice(&out.stdout).unwrap(),
        }
    }
}

fn claim(id: &str) -> Claim<'_> {
    Claim {
        network: "net",
        owner: Owner {
            id,
            interface: "eth0",
        },
        limit: Duration::from_secs(20),
    }
}

fn given(lease: &Lease) -> Vec<(String, String)> {
    let addresses = lease.addresses.iter();
    addresses
        .map(|c| (c.address.to_string(), c.gateway.to_string()))
        .collect()
}

fn answered(value: &serde_json::Value) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let ips = value["ips"].as_array().unwrap_or_else(|| panic!("{value}"));
    ips.iter()
        .map(|ip| (text(&ip["address"]), text(&ip["gateway"])))
        .collect()
}

const DUAL: [&str; 2] = [
    r#"[{"subnet":"10.3.0.0/24","rangeStart":"10.3.0.5","rangeEnd":"10.3.0.7"},{"subnet":"10.4.0.0/24","rangeEnd":"10.4.0.3","gateway":"10.4.0.2"}]"#,
    r#"[{"subnet":"fd00:3::/64"}]"#,
];

#[test]
fn the_same_addresses_in_the_same_order_and_the_same_files_as_the_plugin() {
    let (ours, theirs) = (Place::new(), Place::new());
    let ipam = ours.ipam(&DUAL);
    for step in [
        "a", "b", "c", "-b", "d", "e", "-a", "f", "g", "-c", "-d", "h",
    ] {
        match step.strip_prefix('-') {
            Some(id) => {
                ipam.release(&claim(id), &[]).unwrap();
                theirs.plugin("DEL", id, &DUAL, "");
            }
            None => {
                let lease = ipam.reserve(&claim(step), &[]).unwrap();
                let answer = theirs.plugin("ADD", step, &DUAL, "");
                assert_eq!(given(&lease), answered(&answer), "{step}");
            }
        }
        assert_eq!(ours.files(), theirs.files(), "{step}");
    }
    // All of the first set are in use, and none of the second is lost by that.
    ipam.reserve(&claim("i"), &[]).unwrap();
    theirs.plugin("ADD", "i", &DUAL, "");
    let error = ipam.reserve(&claim("j"), &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "no IP addresses available in range set: 10.3.0.5-10.3.0.7,10.4.0.1-10.4.0.3"
    );
    let answer = theirs.plugin("ADD", "j", &DUAL, "");
    assert!(answer.to_string().contains(&error), "{answer}");
    assert_eq!(ours.files(), theirs.files());
}

/// What is left of whoever was killed, or lost power, between making an address' file and writing into it.
#[test]
fn an_address_of_nobody_is_free() {
    let place = Place::new();
    let ipam = place.ipam(&DUAL);
    let file = place.0.path().join("net/10.3.0.5");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let nobodys = || fs::write(&file, "").unwrap();

    // It is given to the next who asks.
    nobodys();
    let lease = ipam.reserve(&claim("a"), &[]).unwrap();
    assert_eq!(given(&lease)[0].0, "10.3.0.5/24");
    ipam.check(&claim("a")).unwrap();
    ipam.release(&claim("a"), &[]).unwrap();

    // If nobody asks, it is taken back with those of the pod that never learned of it.
    nobodys();
    ipam.release(&claim("b"), &[]).unwrap();
    assert!(!file.exists());

    // Asked for by name, too.
    nobodys();
    let wanted = "10.3.0.5".parse().unwrap();
    let lease = ipam.reserve(&claim("c"), &[wanted]).unwrap();
    assert_eq!(given(&lease)[0].0, "10.3.0.5/24");
}

#[test]
fn either_goes_on_with_what_the_other_left() {
    let place = Place::new();
    let ipam = place.ipam(&DUAL);
    let first = answered(&place.plugin("ADD", "a", &DUAL, ""));
    let second = given(&ipam.reserve(&claim("b"), &[]).unwrap());
    let third = answered(&place.plugin("ADD", "c", &DUAL, ""));
    assert_eq!(
        [&first, &second, &third].map(|all| all[0].0.as_str()),
        ["10.3.0.5/24", "10.3.0.6/24", "10.3.0.7/24"]
    );
    ipam.check(&claim("a")).unwrap();
    let checked = place.plugin(
        "CHECK",
        "b",
        &DUAL,
        r#","prevResult":{"cniVersion":"1.0.0"}"#,
    );
    assert!(checked.is_null(), "{checked}");
    ipam.release(&claim("a"), &["10.3.0.5".parse().unwrap()])
        .unwrap();
    assert!(place.plugin("DEL", "b", &DUAL, "").is_null());
    ipam.release(&claim("c"), &["10.3.0.99".parse().unwrap()])
        .unwrap();
    assert!(ipam.check(&claim("a")).is_err());
    let names: Vec<_> = place.files().into_keys().collect();
    assert_eq!(names, ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
}

#[test]
fn wanted_addresses_are_given_or_refused() {
    let place = Place::new();
    let ipam = place.ipam(&DUAL);
    let want = |id, ips: &[&str]| {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        ipam.reserve(&claim(id), &ips)
    };
    let lease = want("a", &["fd00:3::77", "10.4.0.3"]).unwrap();
    assert_eq!(
        given(&lease),
        [
            ("10.4.0.3/24".into(), "10.4.0.2".into()),
            ("fd00:3::77/64".into(), "fd00:3::1".into())
        ]
    );
    for (ips, message) in [
        (
            &["10.4.0.3"][..],
            "requested IP address 10.4.0.3 is not available in range set 10.3.0.5-10.3.0.7,10.4.0.1-10.4.0.3",
        ),
        (&["10.4.0.2"], "requested ip 10.4.0.2 is subnet's gateway"),
        (
            &["10.3.0.5", "10.9.9.9"],
            "failed to allocate all requested IPs: 10.9.9.9",
        ),
    ] {
        let before = place
            .files()
            .into_keys()
            .filter(|name| name.parse::<IpAddr>().is_ok())
            .count();
        assert_eq!(want("b", ips).unwrap_err().to_string(), message);
        let after = place
            .files()
            .into_keys()
            .filter(|name| name.parse::<IpAddr>().is_ok())
            .count();
        assert_eq!(before, after, "{message}");
    }
    let error = want("a", &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("has been allocated to a, duplicate allocation is not allowed"),
        "{error}"
    );
}

#[test]
fn only_what_is_named_is_kept() {
    let place = Place::new();
    let ipam = place.ipam(&DUAL);
    for id in ["a", "b", "c"] {
        ipam.reserve(&claim(id), &[]).unwrap();
    }
    let keep = |ids: &[&'static str]| {
        let owners: Vec<_> = ids.iter().map(|id| claim(id).owner).collect();
        ipam.keep_only("net", &owners, Duration::from_secs(20))
            .unwrap()
    };
    assert_eq!(keep(&["b", "x"]), 4);
    ipam.check(&claim("b")).unwrap();
    assert!(ipam.check(&claim("c")).is_err());
    assert_eq!(keep(&["b"]), 0);
    assert_eq!(ipam.keep_only("other", &[], Duration::ZERO).unwrap(), 0);
}

#[test]
fn many_at_once_never_get_the_same() {
    let place = Place::new();
    let ipam = Arc::new(place.ipam(&[r#"[{"subnet":"10.5.0.0/26"}]"#]));
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (ipam, start) = (ipam.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                let mut held = Vec::new();
                for n in 0..20 {
                    let id = format!("{thread}-{n}");
                    let lease = ipam.reserve(&claim(&id), &[]).unwrap();
                    held.push((id, lease.addresses[0].address));
                    if n % 3 == 0 {
                        let (id, ip) = held.remove(0);
                        ipam.release(&claim(&id), &[ip.address]).unwrap();
                    }
                    if held.len() > 5 {
                        let (id, _) = held.remove(1);
                        ipam.release(&claim(&id), &[]).unwrap();
                    }
                }
                held
            })
        })
        .collect();
    let held: Vec<_> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    let files = place.files();
    for (id, ip) in &held {
        assert_eq!(files[&ip.address.to_string()].0, format!("{id}\r\neth0"));
    }
    let reserved = files.keys().filter(|name| name.parse::<IpAddr>().is_ok());
    assert_eq!(reserved.count(), held.len());
}

#[test]
fn a_lock_that_is_kept_is_not_waited_for_without_end() {
    let place = Place::new();
    let ipam = place.ipam(&DUAL);
    let kept = Store::open(place.0.path(), "net", Duration::ZERO).unwrap();
    let hasty = Claim {
        limit: Duration::from_millis(30),
        ..claim("a")
    };
    let error = crate::causes::whole(&ipam.reserve(&hasty, &[]).unwrap_err());
    assert!(
        error.contains("net/lock is locked for more than 0.03 s"),
        "{error}"
    );
    drop(kept);
    ipam.reserve(&hasty, &[]).unwrap();
}

#[test]
fn what_cannot_be_written_is_nobodys() {
    let place = Place::new();
    let ipam = place.ipam(&DUAL);
    // A file that is there and cannot be replaced is as a disk that is full after the first write.
    fs::create_dir_all(place.0.path().join("net/last_reserved_ip.0")).unwrap();
    let error = crate::causes::whole(&ipam.reserve(&claim("a"), &[]).unwrap_err());
    assert!(error.contains("last_reserved_ip.0"), "{error}");
    assert!(place.0.path().join("net/lock").exists());
    assert!(!place.0.path().join("net/10.3.0.5").exists());
    fs::remove_dir(place.0.path().join("net/last_reserved_ip.0")).unwrap();
    ipam.reserve(&claim("a"), &[]).unwrap();
}

#[test]
fn resolver_settings_come_from_the_file_that_is_named() {
    let place = Place::new();
    let file = place.0.path().join("resolv.conf");
    let ipam = Ipam {
        resolv_conf: Some(file.clone()),
        ..place.ipam(&DUAL)
    };
    let error = crate::causes::whole(&ipam.reserve(&claim("a"), &[]).unwrap_err());
    assert!(error.starts_with("resolvConf: "), "{error}");
    fs::write(&file, "nameserver 10.0.0.10\n").unwrap();
    let lease = ipam.reserve(&claim("a"), &[]).unwrap();
    assert_eq!(lease.dns.nameservers, ["10.0.0.10"]);
}
