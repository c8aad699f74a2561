use super::{Served, refused};
use crate::cri::control_api::{self, LayerState, pull_event::Event};
use futures_util::stream;
use tonic::Code;

fn pull(image: &str) -> control_api::PullRequest {
    control_api::PullRequest {
        image: image.into(),
        credentials: Some(control_api::Credentials {
            password: "hunter2".into(),
            ..Default::default()
        }),
        platform: String::new(),
    }
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is() {
    let served = Served::start().await;
    let mut events = served
        .control()
        .pull(pull("busybox:1"))
        .await
        .unwrap()
        .into_inner();
    let mut layers = 0;
    let mut last_layer = None;
    let done = loop {
        match events.message().await.unwrap().unwrap().event.unwrap() {
            Event::Layers(known) => {
                layers = known.layers.len();
                last_layer = known.layers.last().cloned();
            }
            Event::Layer(layer) => last_layer = Some(layer),
            Event::Done(image) => break image,
        }
    };
    assert!(events.message().await.unwrap().is_none());
    assert_eq!(layers, 1);
    assert_eq!(last_layer.unwrap().state, LayerState::Done as i32);
    assert_eq!(done.id, "sha256:1");
    assert_eq!(done.tags, ["busybox:1"]);
}

#[tokio::test]
async fn a_failed_pull_ends_with_a_status() {
    let served = Served::start().await;
    let mut events = served
        .control()
        .pull(pull("missing"))
        .await
        .unwrap()
        .into_inner();
    let status = loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::NotFound);
    assert!(!status.message().contains("hunter2"), "{status:?}");
    assert_eq!(
        refused(served.control().pull(pull("")).await).0,
        Code::InvalidArgument
    );
    let mut odd = pull("busybox");
    odd.platform = "nonsense".into();
    assert_eq!(
        refused(served.control().pull(odd).await).0,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_pull() {
    let served = Served::start().await;
    served.backend.gate.forget_permits(usize::MAX);
    let events = served.control().pull(pull("busybox:1")).await.unwrap();
    while !served.backend.saw("pull busybox:1") {
        tokio::task::yield_now().await;
    }
    drop(events);
    served.backend.gate.add_permits(1);
    while !served.backend.saw("pulled") {
        tokio::task::yield_now().await;
    }
}

fn part(chunk: &[u8]) -> control_api::LoadRequest {
    control_api::LoadRequest {
        chunk: chunk.into(),
        last: false,
    }
}

fn last() -> control_api::LoadRequest {
    control_api::LoadRequest {
        chunk: vec![],
        last: true,
    }
}

#[tokio::test]
async fn an_archive_is_loaded() {
    let served = Served::start().await;
    let parts = stream::iter(vec![part(b"sha"), part(b""), part(b"256:9"), last()]);
    let answer = served.control().load(parts).await.unwrap().into_inner();
    assert_eq!(answer.images[0].id, "sha256:9");
    // More than fits into the windows and channels on the way.
    let big = vec![b'x'; 1 << 20];
    let parts = stream::iter((0..24).map(move |_| part(&big)).chain([last()]));
    served.control().load(parts).await.unwrap();
    assert!(served.backend.saw(&format!("loaded {}", 24 << 20)));
}

#[tokio::test]
async fn half_an_archive_is_not_taken_for_the_whole() {
    let served = Served::start().await;
    let parts = stream::iter(vec![part(b"half")]);
    let (code, message) = refused(served.control().load(parts).await);
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(message, "the archive was broken off");
    assert!(served.backend.saw("loaded -1"));
}

#[tokio::test]
async fn a_client_that_leaves_loads_nothing() {
    let served = Served::start().await;
    let (send, parts) = tokio::sync::mpsc::channel(1);
    let mut control = served.control();
    let loading = tokio::spawn(async move {
        control
            .load(tokio_stream::wrappers::ReceiverStream::new(parts))
            .await
    });
    send.send(part(b"half")).await.unwrap();
    // The channel holds one, so the first is on its way.
    send.send(part(b"more")).await.unwrap();
    loading.abort();
    let _ = loading.await;
    loop {
        if let Some(call) = served.backend.state().calls.last() {
            assert_eq!(call, "loaded -1");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
