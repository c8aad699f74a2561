//! Short texts that stand for something: identifiers, digests, addresses, signals, cgroups, annotations.
#![no_main]

use std::{collections::BTreeMap, str::FromStr};

use corten::{
    config::parse_duration,
    container::signal,
    id::Id,
    image::{digest::Digest, platform::Platform},
    network::cni::{args::Bandwidth, result::IpPrefix, version::Version},
    oci::{
        annotations,
        cgroup::{Driver, Parent},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = Id::parse(text) {
        assert!(id.as_str() == text && !text.contains(['/', '.']));
    }
    if let Ok(digest) = Digest::parse(text) {
        assert!(digest.as_str() == text && text.len() == 71 && !text.contains(['/', '.']));
    }
    if let Ok(prefix) = IpPrefix::from_str(text) {
        assert_eq!(IpPrefix::from_str(&prefix.to_string()), Ok(prefix));
    }
    let _ = (
        Platform::parse(text),
        Version::parse(text),
        parse_duration(text),
    );
    if let Some(number) = signal::parse(text) {
        assert!((1..=64).contains(&number));
    }
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        let _ = Parent::parse(driver, text);
    }
    for direction in ["ingress", "egress"] {
        let name = format!("kubernetes.io/{direction}-bandwidth");
        let _ = Bandwidth::from_annotations(&BTreeMap::from([(name, text.to_owned())]));
    }
    assert!(!annotations::is_allowed(&[], text));
});
