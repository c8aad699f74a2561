use super::{Served, refused};
use crate::cri::api;
use tonic::Code;

fn spec(image: &str) -> Option<api::ImageSpec> {
    Some(api::ImageSpec {
        image: image.into(),
        ..Default::default()
    })
}

fn pull(image: &str, password: &str) -> api::PullImageRequest {
    api::PullImageRequest {
        image: spec(image),
        auth: Some(api::AuthConfig {
            username: "bob".into(),
            password: password.into(),
            ..Default::default()
        }),
        sandbox_config: None,
    }
}

#[tokio::test]
async fn from_pull_to_remove() {
    let served = Served::start().await;
    let mut images = served.images();
    let pulled = images
        .pull_image(pull("busybox:1", "hunter2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(pulled.image_ref, "sha256:1");
    assert_eq!(served.backend.state().credentials, "hunter2");

    let status = |image: &str| api::ImageStatusRequest {
        image: spec(image),
        verbose: true,
    };
    let answer = images
        .image_status(status("busybox:1"))
        .await
        .unwrap()
        .into_inner();
    let image = answer.image.unwrap();
    assert_eq!(image.uid.unwrap().value, 33);
    assert_eq!(image.repo_tags, ["busybox:1"]);
    assert!(answer.info["info"].contains("sha256:1"));
    let answer = images
        .image_status(status("other"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.image, None);

    let list = |image: &str| api::ListImagesRequest {
        filter: Some(api::ImageFilter { image: spec(image) }),
    };
    for (wanted, count) in [("", 1), ("busybox:1", 1), ("other", 0)] {
        let answer = images.list_images(list(wanted)).await.unwrap().into_inner();
        assert_eq!(answer.images.len(), count, "{wanted}");
    }
    let stream = api::StreamImagesRequest { filter: None };
    let mut stream = images.stream_images(stream).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().images.len(), 1);

    let usage = images
        .image_fs_info(api::ImageFsInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(usage.image_filesystems[0].used_bytes.unwrap().value, 1);
    assert_eq!(
        usage.container_filesystems[0]
            .fs_id
            .as_ref()
            .unwrap()
            .mountpoint,
        "/containers"
    );
    for _ in 0..2 {
        let remove = api::RemoveImageRequest {
            image: spec("sha256:1"),
        };
        images.remove_image(remove).await.unwrap();
    }
    assert!(served.backend.state().images.is_empty());
}

#[tokio::test]
async fn refusals() {
    let served = Served::start().await;
    let mut images = served.images();
    let mut request = pull("", "");
    assert_eq!(
        refused(images.pull_image(request.clone()).await),
        (Code::InvalidArgument, "image.image: is required".into())
    );
    request.image = None;
    assert_eq!(
        refused(images.pull_image(request).await).0,
        Code::InvalidArgument
    );
    let mut request = pull("busybox", "");
    request.image.as_mut().unwrap().runtime_handler = "kata".into();
    assert_eq!(
        refused(images.pull_image(request).await),
        (
            Code::InvalidArgument,
            "image.runtime_handler: \"kata\" is not configured".into()
        )
    );
    let status = api::ImageStatusRequest::default();
    assert_eq!(
        refused(images.image_status(status).await).0,
        Code::InvalidArgument
    );
    let remove = api::RemoveImageRequest::default();
    assert_eq!(
        refused(images.remove_image(remove).await).0,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn errors_carry_no_credentials() {
    let served = Served::start().await;
    let (code, message) = refused(served.images().pull_image(pull("missing", "hunter2")).await);
    assert_eq!(code, Code::NotFound);
    assert_eq!(
        message,
        "login with [redacted] at https://[redacted]@r.io/x?[redacted] 404"
    );
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let served = Served::start().await;
    let mut images = served.images();
    let (code, message) = refused(images.pull_image(pull("panic", "")).await);
    assert_eq!(code, Code::Internal);
    assert!(message.contains("internal error"), "{message}");
    // The connection and the server live on.
    images.pull_image(pull("busybox", "")).await.unwrap();
}
