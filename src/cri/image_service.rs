//! `ImageService`: each method checks its request, asks the backend and converts the answer.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};

use super::{
    api::{self, image_service_server::ImageService},
    backend::{Backend, ImageView, Outcome, Pull, PullProgress},
    chunks::{Chunks, chunks},
    convert::{
        error::At,
        image::{Credentials, credentials, reference},
        image_view,
    },
    detached::detached,
};

/// The service on top of a backend.
#[derive(Debug)]
pub struct Images<B> {
    backend: Arc<B>,
}

impl<B: Backend> Images<B> {
    /// A service that answers from `backend`.
    pub fn new(backend: Arc<B>) -> Self {
        Self { backend }
    }

    fn matching(&self, filter: Option<api::ImageFilter>) -> Outcome<Vec<Arc<ImageView>>> {
        let wanted = filter
            .and_then(|f| f.image)
            .map(|i| i.image)
            .unwrap_or_default();
        if wanted.is_empty() {
            return Ok(self.backend.images());
        }
        Ok(self.backend.image(&wanted)?.into_iter().collect())
    }

    fn status(&self, request: api::ImageStatusRequest) -> Outcome<api::ImageStatusResponse> {
        let wanted = reference(&At::root("image"), request.image)?;
        let Some(image) = self.backend.image(&wanted.image)? else {
            return Ok(api::ImageStatusResponse::default());
        };
        let mut info = HashMap::new();
        if request.verbose
            && let Some(details) = self.backend.image_details(&image.id)
        {
            info.insert("info".to_owned(), json!(details).to_string());
        }
        Ok(api::ImageStatusResponse {
            image: Some(image_view::image(&image)),
            info,
        })
    }

    async fn pull(&self, request: api::PullImageRequest) -> Outcome<api::PullImageResponse> {
        let at = At::root("image");
        if let Some(handler) = request.image.as_ref().map(|i| i.runtime_handler.as_str())
            && !handler.is_empty()
            && !self
                .backend
                .status()
                .handlers
                .iter()
                .any(|h| h.name == handler)
        {
            let at = at.field("runtime_handler");
            return Err(at.bad(handler, "is not configured").into());
        }
        let wanted = reference(&at, request.image)?;
        let credentials = credentials(&At::root("auth"), request.auth)?;
        let (progress, _) = watch::channel(PullProgress::default());
        let pull = Pull {
            reference: wanted.image,
            credentials,
            platform: None,
            progress,
        };
        let image = run_pull(self.backend.clone(), pull).await?;
        Ok(api::PullImageResponse {
            image_ref: image.id.clone(),
        })
    }
}

/// Pulls as work of its own; no error repeats the credentials given.
pub(super) async fn run_pull<B: Backend>(backend: Arc<B>, pull: Pull) -> Outcome<Arc<ImageView>> {
    let credentials = pull.credentials.clone().unwrap_or_default();
    detached(async move { backend.pull_image(pull).await })
        .await
        .map_err(|failure| failure.without(secrets(&credentials)))
}

fn secrets(credentials: &Credentials) -> [&str; 4] {
    [
        &credentials.password,
        &credentials.auth,
        &credentials.identity_token,
        &credentials.registry_token,
    ]
}

fn answer<T>(outcome: Outcome<T>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(Status::from)
}

#[async_trait]
impl<B: Backend> ImageService for Images<B> {
    type StreamImagesStream = Chunks<api::StreamImagesResponse>;

    async fn list_images(
        &self,
        request: Request<api::ListImagesRequest>,
    ) -> Result<Response<api::ListImagesResponse>, Status> {
        let images = self.matching(request.into_inner().filter);
        answer(images.map(|images| {
            api::ListImagesResponse {
                images: images
                    .iter()
                    .map(|image| image_view::image(image))
                    .collect(),
            }
        }))
    }

    async fn stream_images(
        &self,
        request: Request<api::StreamImagesRequest>,
    ) -> Result<Response<Self::StreamImagesStream>, Status> {
        let images = self.matching(request.into_inner().filter);
        answer(images.map(|images| {
            let images = images.into_iter().map(|image| image_view::image(&image));
            chunks(images, |images| api::StreamImagesResponse { images })
        }))
    }

    async fn image_status(
        &self,
        request: Request<api::ImageStatusRequest>,
    ) -> Result<Response<api::ImageStatusResponse>, Status> {
        answer(self.status(request.into_inner()))
    }

    async fn pull_image(
        &self,
        request: Request<api::PullImageRequest>,
    ) -> Result<Response<api::PullImageResponse>, Status> {
        answer(self.pull(request.into_inner()).await)
    }

    async fn remove_image(
        &self,
        request: Request<api::RemoveImageRequest>,
    ) -> Result<Response<api::RemoveImageResponse>, Status> {
        let wanted = reference(&At::root("image"), request.into_inner().image);
        let backend = self.backend.clone();
        answer(match wanted {
            Ok(wanted) => detached(async move { backend.remove_image(&wanted.image).await })
                .await
                .map(|()| api::RemoveImageResponse {}),
            Err(e) => Err(e.into()),
        })
    }

    async fn image_fs_info(
        &self,
        _: Request<api::ImageFsInfoRequest>,
    ) -> Result<Response<api::ImageFsInfoResponse>, Status> {
        answer(
            self.backend
                .image_fs()
                .await
                .map(|usage| api::ImageFsInfoResponse {
                    image_filesystems: usage.images.iter().map(image_view::usage).collect(),
                    container_filesystems: usage.containers.iter().map(image_view::usage).collect(),
                }),
        )
    }
}
