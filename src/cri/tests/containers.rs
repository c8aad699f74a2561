use super::{Served, refused};
use crate::cri::api;
use tonic::Code;

fn create(pod_sandbox_id: &str) -> api::CreateContainerRequest {
    api::CreateContainerRequest {
        pod_sandbox_id: pod_sandbox_id.into(),
        config: Some(api::ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: "main".into(),
                attempt: 0,
            }),
            image: Some(api::ImageSpec {
                image: "busybox".into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        sandbox_config: None,
    }
}

#[tokio::test]
async fn from_create_to_remove() {
    let served = Served::start().await;
    let (pod, _) = served.backend.add(1);
    let mut runtime = served.runtime();
    let created = runtime
        .create_container(create(pod.as_str()))
        .await
        .unwrap();
    let container_id = created.into_inner().container_id;
    let start = api::StartContainerRequest {
        container_id: container_id.clone(),
    };
    runtime.start_container(start.clone()).await.unwrap();
    assert_eq!(
        refused(runtime.start_container(start).await).0,
        Code::FailedPrecondition
    );

    let update = api::UpdateContainerResourcesRequest {
        container_id: container_id.clone(),
        linux: Some(api::LinuxContainerResources {
            cpu_shares: 20,
            ..Default::default()
        }),
        ..Default::default()
    };
    runtime.update_container_resources(update).await.unwrap();
    let status = api::ContainerStatusRequest {
        container_id: container_id.clone(),
        verbose: false,
    };
    let answer = runtime
        .container_status(status.clone())
        .await
        .unwrap()
        .into_inner();
    let resources = answer.status.unwrap().resources.unwrap().linux.unwrap();
    assert_eq!(resources.cpu_shares, 20);

    let reopen = api::ReopenContainerLogRequest {
        container_id: container_id.clone(),
    };
    runtime.reopen_container_log(reopen).await.unwrap();
    assert!(served.backend.saw(&format!("reopen_log {container_id}")));

    let stop = |timeout| api::StopContainerRequest {
        container_id: container_id.clone(),
        timeout,
    };
    runtime.stop_container(stop(i64::MAX)).await.unwrap();
    assert!(
        served
            .backend
            .saw(&format!("stop_container {container_id} 31622400"))
    );
    assert_eq!(
        refused(runtime.stop_container(stop(-1)).await),
        (
            Code::InvalidArgument,
            "timeout: -1 is not a number of seconds".into()
        )
    );
    let answer = runtime
        .container_status(status.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().exit_code, 143);
    for _ in 0..2 {
        let remove = api::RemoveContainerRequest {
            container_id: container_id.clone(),
        };
        runtime.remove_container(remove).await.unwrap();
    }
    assert_eq!(
        refused(runtime.container_status(status).await).0,
        Code::NotFound
    );
}

#[tokio::test]
async fn names_that_are_not_there() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    assert_eq!(
        refused(runtime.create_container(create("ab")).await).0,
        Code::NotFound
    );
    assert_eq!(
        refused(runtime.create_container(create("")).await).0,
        Code::InvalidArgument
    );
    let container_id = "cd".repeat(32);
    let start = api::StartContainerRequest {
        container_id: container_id.clone(),
    };
    assert_eq!(
        refused(runtime.start_container(start).await).0,
        Code::NotFound
    );
    let reopen = api::ReopenContainerLogRequest {
        container_id: container_id.clone(),
    };
    assert_eq!(
        refused(runtime.reopen_container_log(reopen).await).0,
        Code::NotFound
    );
    let update = api::UpdateContainerResourcesRequest {
        container_id: container_id.clone(),
        ..Default::default()
    };
    assert_eq!(
        refused(runtime.update_container_resources(update).await).0,
        Code::NotFound
    );
    for container_id in [container_id, "0b7a0a30-8c9d-4b0e".to_owned()] {
        let stop = api::StopContainerRequest {
            container_id: container_id.clone(),
            timeout: 0,
        };
        runtime.stop_container(stop).await.unwrap();
        let remove = api::RemoveContainerRequest { container_id };
        runtime.remove_container(remove).await.unwrap();
    }
    let stop = api::StopContainerRequest::default();
    assert_eq!(
        refused(runtime.stop_container(stop).await).0,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn lists_and_filters() {
    let served = Served::start().await;
    let (pod, container) = served.backend.add(1);
    served.backend.add(2);
    let mut runtime = served.runtime();
    let filter = api::ContainerFilter {
        pod_sandbox_id: pod.as_str()[..6].to_owned(),
        ..Default::default()
    };
    let list = api::ListContainersRequest {
        filter: Some(filter.clone()),
    };
    let list = runtime.list_containers(list).await.unwrap().into_inner();
    assert_eq!(list.containers.len(), 1);
    assert_eq!(list.containers[0].id, container.as_str());
    let stream = api::StreamContainersRequest {
        filter: Some(filter),
    };
    let mut stream = runtime
        .stream_containers(stream)
        .await
        .unwrap()
        .into_inner();
    let chunk = stream.message().await.unwrap().unwrap();
    assert_eq!(chunk.containers, list.containers);
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn commands() {
    let served = Served::start().await;
    let (_, container) = served.backend.add(1);
    let mut runtime = served.runtime();
    let exec = |cmd: &[&str], timeout| api::ExecSyncRequest {
        container_id: container.as_str()[..7].to_owned(),
        cmd: cmd.iter().map(|s| (*s).to_owned()).collect(),
        timeout,
    };
    let answer = runtime
        .exec_sync(exec(&["echo", "a b"], 5))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.stdout, b"echo a b");
    assert_eq!(answer.stderr, [0xff]);
    assert_eq!(answer.exit_code, 3);
    let (code, message) = refused(runtime.exec_sync(exec(&["sleep", "9"], 2)).await);
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(message.contains("2 seconds"), "{message}");
    runtime.exec_sync(exec(&["sleep", "9"], 0)).await.unwrap();
    for (bad, timeout) in [
        (&[][..], 0),
        (&[""][..], 0),
        (&["a\0"][..], 0),
        (&["a"][..], -1),
    ] {
        let refusal = refused(runtime.exec_sync(exec(bad, timeout)).await);
        assert_eq!(refusal.0, Code::InvalidArgument, "{refusal:?}");
    }
    let mut unknown = exec(&["a"], 0);
    unknown.container_id = "ff".repeat(32);
    assert_eq!(refused(runtime.exec_sync(unknown).await).0, Code::NotFound);
}
