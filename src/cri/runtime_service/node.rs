//! Verbs of the node: version, status, configuration.

use std::collections::HashMap;

use crate::cri::{
    api,
    backend::{Backend, CgroupDriver, Condition, Outcome},
    convert::error::At,
};

/// The version of the kubelet's runtime interface, which the kubelet compares with its own.
const KUBE_API_VERSION: &str = "0.1.0";

pub(super) fn version() -> api::VersionResponse {
    api::VersionResponse {
        version: KUBE_API_VERSION.to_owned(),
        runtime_name: "corten".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    }
}

pub(super) fn status<B: Backend>(backend: &B, request: &api::StatusRequest) -> api::StatusResponse {
    let status = backend.status();
    let condition = |kind: &str, condition: Condition| api::RuntimeCondition {
        r#type: kind.to_owned(),
        status: condition.ready,
        reason: condition.reason,
        message: condition.message,
    };
    let mut runtime_handlers = Vec::with_capacity(status.handlers.len() + 1);
    for handler in status.handlers {
        let features = api::RuntimeHandlerFeatures {
            recursive_read_only_mounts: handler.recursive_read_only,
            user_namespaces: handler.user_namespaces,
        };
        // The kubelet looks the default one up under the empty name.
        if handler.default {
            runtime_handlers.push(api::RuntimeHandler {
                name: String::new(),
                features: Some(features),
            });
        }
        runtime_handlers.push(api::RuntimeHandler {
            name: handler.name,
            features: Some(features),
        });
    }
    let info = if request.verbose {
        HashMap::from([("config".to_owned(), backend.configuration().to_string())])
    } else {
        HashMap::new()
    };
    api::StatusResponse {
        status: Some(api::RuntimeStatus {
            conditions: vec![
                condition("RuntimeReady", status.runtime),
                condition("NetworkReady", status.network),
            ],
        }),
        info,
        runtime_handlers,
        features: Some(api::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: status.user_namespaces_host_network,
            mount_options: true,
        }),
    }
}

pub(super) fn runtime_config<B: Backend>(backend: &B) -> api::RuntimeConfigResponse {
    let driver = match backend.cgroup_driver() {
        CgroupDriver::Cgroupfs => api::CgroupDriver::Cgroupfs,
        CgroupDriver::Systemd => api::CgroupDriver::Systemd,
    };
    api::RuntimeConfigResponse {
        linux: Some(api::LinuxRuntimeConfiguration {
            cgroup_driver: driver as i32,
        }),
    }
}

/// The kubelet tells the node's pod addresses here. They are the CNI plugins' affair, which have their own
/// configuration, so they are checked and nothing is changed.
pub(super) fn update_runtime_config(
    request: &api::UpdateRuntimeConfigRequest,
) -> Outcome<api::UpdateRuntimeConfigResponse> {
    let network = request
        .runtime_config
        .as_ref()
        .and_then(|c| c.network_config.as_ref());
    let cidrs = network.map_or("", |n| n.pod_cidr.as_str());
    for cidr in cidrs.split(',').filter(|c| !c.is_empty()) {
        if !is_cidr(cidr) {
            let (at, field) = (At::root("runtime_config"), "network_config.pod_cidr");
            return Err(at
                .field(field)
                .bad(cidr, "is not a network like 10.0.0.0/24")
                .into());
        }
    }
    tracing::debug!(pod_cidr = cidrs, "told of the node's pod addresses");
    Ok(api::UpdateRuntimeConfigResponse {})
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    match (address.parse::<std::net::IpAddr>(), length.parse::<u8>()) {
        (Ok(address), Ok(length)) => length <= if address.is_ipv4() { 32 } else { 128 },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_cidrs() {
        let update = |cidr: &str| {
            update_runtime_config(&api::UpdateRuntimeConfigRequest {
                runtime_config: Some(api::RuntimeConfig {
                    network_config: Some(api::NetworkConfig {
                        pod_cidr: cidr.into(),
                    }),
                }),
            })
        };
        assert!(update("").is_ok());
        assert!(update("10.0.0.0/24,fd00::/64").is_ok());
        assert_eq!(
            update("10.0.0.0/33").unwrap_err().message(),
            "runtime_config.network_config.pod_cidr: \"10.0.0.0/33\" is not a network like 10.0.0.0/24"
        );
    }
}
