use std::{sync::Arc, time::Duration};

use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use super::{Served, fake::Fake};
use crate::cri::{
    api,
    server::{Drained, serve},
    socket::Socket,
};

fn pull() -> api::PullImageRequest {
    api::PullImageRequest {
        image: Some(api::ImageSpec {
            image: "busybox".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn requests_under_way_are_answered_before_the_end() {
    let served = Served::start().await;
    served.backend.gate.forget_permits(usize::MAX);
    let mut images = served.images();
    let pulling = tokio::spawn(async move { images.pull_image(pull()).await });
    while !served.backend.saw("pull busybox") {
        tokio::task::yield_now().await;
    }
    served.stop.send(()).unwrap();
    served.backend.gate.add_permits(1);
    assert_eq!(
        pulling.await.unwrap().unwrap().into_inner().image_ref,
        "sha256:1"
    );
    assert_eq!(served.server.await.unwrap().unwrap(), Drained::Whole);
    assert!(!served.directory.path().join("corten.sock").exists());
}

#[tokio::test]
async fn the_grace_period_bounds_the_wait() {
    let served = Served::with_grace(Duration::from_millis(50)).await;
    served.backend.gate.forget_permits(usize::MAX);
    let mut images = served.images();
    let pulling = tokio::spawn(async move { images.pull_image(pull()).await });
    while !served.backend.saw("pull busybox") {
        tokio::task::yield_now().await;
    }
    served.stop.send(()).unwrap();
    assert_eq!(served.server.await.unwrap().unwrap(), Drained::Cut);
    assert!(!served.directory.path().join("corten.sock").exists());
    pulling.abort();
}

#[tokio::test]
async fn a_successors_socket_is_left_alone() {
    let served = Served::start().await;
    let path = served.directory.path().join("corten.sock");
    std::fs::remove_file(&path).unwrap();
    let successor = Socket::bind(&path).unwrap();
    served.stop.send(()).unwrap();
    drop(served.channel);
    served.server.await.unwrap().unwrap();
    assert!(path.exists());
    let ended = serve(
        successor,
        Arc::new(Fake::default()),
        Arc::new(()),
        std::future::ready(()),
        Duration::ZERO,
    );
    ended.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn large_lists_pass() {
    let served = Served::start().await;
    let mut pod = crate::cri::convert::arbitrary::pod_view(1);
    let mut spec = (*pod.spec).clone();
    spec.annotations.insert("big".into(), "x".repeat(64 << 10));
    pod.spec = Arc::new(spec);
    for _ in 0..400 {
        pod.id = crate::id::Id::random();
        served
            .backend
            .state()
            .pods
            .insert(pod.id.clone(), pod.clone());
    }
    let mut runtime = served.runtime();
    let list = api::ListPodSandboxRequest::default();
    let list = runtime.list_pod_sandbox(list).await.unwrap().into_inner();
    assert_eq!(list.items.len(), 400);
    let stream = api::StreamPodSandboxesRequest::default();
    let mut stream = runtime
        .stream_pod_sandboxes(stream)
        .await
        .unwrap()
        .into_inner();
    let (mut chunks, mut pods) = (0, 0);
    while let Some(chunk) = stream.message().await.unwrap() {
        chunks += 1;
        pods += chunk.pod_sandboxes.len();
    }
    assert_eq!(pods, 400);
    assert!(chunks > 10);
}

/// A client that leaves the deadline to the server, as it would look where the server's answer is faster.
#[tokio::test]
async fn a_deadline_is_told_as_such() {
    let served = Served::start().await;
    served.backend.gate.forget_permits(usize::MAX);
    let socket = tokio::net::UnixStream::connect(served.directory.path().join("corten.sock"));
    let (mut client, connection) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(socket.await.unwrap()),
    )
    .await
    .unwrap();
    let connection = tokio::spawn(connection);
    let message = pull().encode_to_vec();
    let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    body.extend(message);
    let request = http::Request::post("http://localhost/runtime.v1.ImageService/PullImage")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "30m")
        .body(String::from_utf8(body).unwrap())
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
    // The pull goes on; only this answer was too late.
    served.backend.gate.add_permits(1);
    connection.abort();
}
