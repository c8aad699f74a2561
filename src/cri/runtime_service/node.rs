//! Verbs of the node: version, status, configuration.

use std::{collections::HashMap, sync::Arc};

use crate::{
    cri::{
        api,
        backend::{Backend, CgroupDriver, Condition, Outcome},
        convert::error::{At, FieldError},
        detached::detached,
    },
    network::cni::result::IpPrefix,
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
        HashMap::from([
            ("config".to_owned(), backend.configuration().to_string()),
            ("network".to_owned(), backend.network().to_string()),
        ])
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

/// Most networks a node's pods have their addresses from; a kubelet sends one of each family.
const CIDRS_MAX: usize = 16;

/// The kubelet tells the node's pod addresses here.
pub(super) async fn update_runtime_config<B: Backend>(
    backend: &Arc<B>,
    request: &api::UpdateRuntimeConfigRequest,
) -> Outcome<api::UpdateRuntimeConfigResponse> {
    let network = request
        .runtime_config
        .as_ref()
        .and_then(|c| c.network_config.as_ref());
    let cidrs = pod_cidrs(network.map_or("", |n| n.pod_cidr.as_str()))?;
    if !cidrs.is_empty() {
        let backend = backend.clone();
        detached(async move { backend.set_pod_cidrs(cidrs).await }).await?;
    }
    Ok(api::UpdateRuntimeConfigResponse {})
}

fn pod_cidrs(text: &str) -> Result<Vec<IpPrefix>, FieldError> {
    let root = At::root("runtime_config");
    let at = root.field("network_config.pod_cidr");
    let mut cidrs = Vec::new();
    for cidr in text.split(',').filter(|c| !c.is_empty()) {
        match cidr.trim().parse::<IpPrefix>() {
            Ok(parsed) => cidrs.push(parsed.network()),
            Err(_) => return Err(at.bad(cidr, "is not a network like 10.0.0.0/24")),
        }
        if cidrs.len() > CIDRS_MAX {
            return Err(at.wrong(format!("has more than {CIDRS_MAX} networks")));
        }
    }
    Ok(cidrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_pods() {
        assert_eq!(pod_cidrs("").unwrap(), []);
        assert_eq!(pod_cidrs("10.0.0.0/24,fd00::/64").unwrap().len(), 2);
        assert_eq!(
            pod_cidrs("10.0.0.0/33").unwrap_err().to_string(),
            "runtime_config.network_config.pod_cidr: \"10.0.0.0/33\" is not a network like 10.0.0.0/24"
        );
        let host = pod_cidrs("10.0.0.7/24").unwrap();
        assert_eq!(host[0].to_string(), "10.0.0.0/24");
        let many = vec!["10.0.0.0/24"; CIDRS_MAX + 1].join(",");
        assert!(pod_cidrs(&many).is_err());
    }
}
