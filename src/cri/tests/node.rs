use super::{Served, refused};
use crate::cri::api;
use tonic::Code;

#[tokio::test]
async fn version_and_status() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let version = runtime
        .version(api::VersionRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(version.version, "0.1.0");
    assert_eq!(version.runtime_name, "corten");
    assert_eq!(version.runtime_api_version, "v1");

    let status = runtime
        .status(api::StatusRequest { verbose: true })
        .await
        .unwrap()
        .into_inner();
    let conditions = status.status.unwrap().conditions;
    assert_eq!(conditions[0].r#type, "RuntimeReady");
    assert!(conditions[0].status);
    assert_eq!(conditions[1].r#type, "NetworkReady");
    assert!(!conditions[1].status);
    assert_eq!(conditions[1].reason, "NetworkNotReady");
    let names: Vec<_> = status
        .runtime_handlers
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert_eq!(names, ["", "runc", "runsc"]);
    assert!(status.runtime_handlers[0].features.unwrap().user_namespaces);
    assert!(status.features.unwrap().supplemental_groups_policy);
    assert!(status.info["config"].contains("/var/lib/corten"));
    assert_eq!(status.info["network"], r#"{"ready":false}"#);
    let brief = runtime
        .status(api::StatusRequest { verbose: false })
        .await
        .unwrap()
        .into_inner();
    assert!(brief.info.is_empty());

    let config = runtime
        .runtime_config(api::RuntimeConfigRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        config.linux.unwrap().cgroup_driver(),
        api::CgroupDriver::Cgroupfs
    );
    let update = api::UpdateRuntimeConfigRequest::default();
    runtime.update_runtime_config(update).await.unwrap();
}

#[tokio::test]
async fn networks_of_pods_are_passed_on() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let update = |cidr: &str| api::UpdateRuntimeConfigRequest {
        runtime_config: Some(api::RuntimeConfig {
            network_config: Some(api::NetworkConfig {
                pod_cidr: cidr.into(),
            }),
        }),
    };
    let both = update("10.0.0.0/24,fd00::/64");
    runtime.update_runtime_config(both).await.unwrap();
    for cidr in ["10.0.0.0/24", "fd00::/64"] {
        let call = format!("pods have addresses of {cidr}");
        assert!(served.backend.saw(&call), "{call}");
    }
    for bad in ["10.0.0.0", "10.0.0.0/33", "pods", "10.0.0.0/24 fd00::/64"] {
        let (code, message) = refused(runtime.update_runtime_config(update(bad)).await);
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.contains(bad), "{message}");
    }
}

#[tokio::test]
async fn requests_are_measured() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    runtime
        .version(api::VersionRequest::default())
        .await
        .unwrap();
    let _ = runtime
        .pod_sandbox_status(api::PodSandboxStatusRequest::default())
        .await;
    let seen = served.seen.0.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            ("Version", Code::Ok),
            ("PodSandboxStatus", Code::InvalidArgument)
        ]
    );
}
