//! Every method of the CRI, with good and with bad input, and the documentation's word on each.
//!
//! Methods are called by name, so that one that is left out, or that no one has heard of, is noticed.

mod bad;
mod documented;
mod good;
mod raw;

use std::collections::BTreeSet;

use tonic::Code;

use crate::support::{Options, Registry, RegistryOptions, busybox, insecure, node, node_with};
use raw::{Caller, methods};

/// Methods whose request says nothing that could be wrong: it has no field, or only some to choose by.
const NOTHING_TO_BE_WRONG: [&str; 14] = [
    "GetContainerEvents",
    "ImageFsInfo",
    "ListContainerStats",
    "ListImages",
    "ListMetricDescriptors",
    "ListPodSandboxMetrics",
    "ListPodSandboxStats",
    "RuntimeConfig",
    "Status",
    "StreamContainerStats",
    "StreamImages",
    "StreamPodSandboxMetrics",
    "StreamPodSandboxStats",
    "Version",
];

#[tokio::test]
async fn each_works_or_says_that_it_does_not_as_documented() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let name = registry.push("every/rpc", "v1", &busybox()).await;
    let options = Options {
        registries: insecure(&registry.host()),
        ..Options::default()
    };
    node_with(options, async |node| {
        let mut caller = Caller::new(node);
        good::call_all(node, &mut caller, &name).await;
        caller.all_was_right();
        let called: BTreeSet<_> = caller.codes.keys().cloned().collect();
        let all: BTreeSet<_> = methods().into_iter().map(|m| m.name).collect();
        assert_eq!(called, all);
        for (name, works) in documented::table() {
            let implemented = caller.codes[&name] != Code::Unimplemented;
            assert_eq!(
                works, implemented,
                "docs/compatibility.md is wrong on {name}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn each_refuses_bad_input() {
    node(async |node| {
        let mut caller = Caller::new(node);
        bad::call_all(node, &mut caller).await;
        caller.all_was_right();
        let mut called: BTreeSet<_> = caller.codes.keys().cloned().collect();
        for name in NOTHING_TO_BE_WRONG {
            assert!(called.insert(name.to_owned()), "{name} has bad input");
        }
        let all: BTreeSet<_> = methods().into_iter().map(|m| m.name).collect();
        assert_eq!(called, all);
    })
    .await;
}

#[tokio::test]
async fn each_refuses_what_is_no_message() {
    node(async |node| {
        let mut caller = Caller::new(node);
        for method in methods() {
            // A field begins, and the message ends.
            caller.bad(&method.name, vec![0x0a], Code::Internal).await;
        }
        caller.all_was_right();
    })
    .await;
}

#[test]
fn each_is_documented_once_and_in_order() {
    let listed: Vec<_> = documented::table().into_iter().map(|row| row.0).collect();
    let defined: Vec<_> = methods().into_iter().map(|method| method.name).collect();
    assert_eq!(listed, defined);
}
