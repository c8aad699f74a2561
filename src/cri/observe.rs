//! A span and a measurement for every request.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, debug, info, info_span};

/// Is told of every request that ended.
pub trait Observe: Send + Sync + 'static {
    /// A request ended after `took`; for a stream that is when its first message was ready.
    fn ended(&self, method: &'static str, code: Code, took: Duration);
}

/// Nobody is told.
impl Observe for () {
    fn ended(&self, _: &'static str, _: Code, _: Duration) {}
}

/// Puts [`Observed`] around a service.
#[derive(Clone)]
pub(super) struct ObserveLayer(pub(super) Arc<dyn Observe>);

impl<S> Layer<S> for ObserveLayer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            observe: self.0.clone(),
        }
    }
}

/// A service whose requests are traced and measured.
#[derive(Clone)]
pub(super) struct Observed<S> {
    inner: S,
    observe: Arc<dyn Observe>,
}

impl<S, B, R> Service<http::Request<B>> for Observed<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = method(request.uri().path());
        let span = info_span!("rpc", method);
        let mut ending = Ending {
            observe: self.observe.clone(),
            method,
            began: Instant::now(),
            status: Status::cancelled("the client went away"),
        };
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let answer = answer.await;
                ending.status = match &answer {
                    // An error comes in the first headers, without a body.
                    Ok(answer) => Status::from_header_map(answer.headers())
                        .unwrap_or_else(|| Status::new(Code::Ok, "")),
                    Err(_) => Status::internal("the service failed"),
                };
                drop(ending);
                answer
            }
            .instrument(span),
        )
    }
}

/// Tells of a request's end, also when its future is dropped.
struct Ending {
    observe: Arc<dyn Observe>,
    method: &'static str,
    began: Instant,
    status: Status,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (took, code) = (self.began.elapsed(), self.status.code());
        if code == Code::Ok {
            debug!(method = self.method, ?took, "done");
        } else {
            let message = self.status.message();
            info!(method = self.method, ?took, ?code, message, "failed");
        }
        self.observe.ended(self.method, code, took);
    }
}

/// The methods that are served. Names in measurements come from here alone, never from a client.
const METHODS: [&str; 45] = [
    "Version",
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "PodSandboxStatus",
    "ListPodSandbox",
    "StreamPodSandboxes",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "ListContainers",
    "StreamContainers",
    "ContainerStatus",
    "UpdateContainerResources",
    "ReopenContainerLog",
    "ExecSync",
    "Exec",
    "Attach",
    "PortForward",
    "ContainerStats",
    "ListContainerStats",
    "StreamContainerStats",
    "PodSandboxStats",
    "ListPodSandboxStats",
    "StreamPodSandboxStats",
    "UpdateRuntimeConfig",
    "Status",
    "CheckpointContainer",
    "CheckpointPod",
    "RestorePod",
    "GetContainerEvents",
    "ListMetricDescriptors",
    "ListPodSandboxMetrics",
    "StreamPodSandboxMetrics",
    "RuntimeConfig",
    "UpdatePodSandboxResources",
    "ListImages",
    "StreamImages",
    "ImageStatus",
    "PullImage",
    "RemoveImage",
    "ImageFsInfo",
    "Pull",
    "Load",
];

fn method(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    METHODS
        .into_iter()
        .find(|method| *method == name)
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_name() {
        let protos = [
            include_str!("../../proto/runtime/v1/api.proto"),
            include_str!("../../proto/corten/v1/control.proto"),
        ];
        let mut defined: Vec<&str> = protos
            .iter()
            .flat_map(|proto| proto.lines())
            .filter_map(|line| line.trim().strip_prefix("rpc "))
            .filter_map(|line| line.split('(').next())
            .collect();
        let mut known = METHODS.to_vec();
        defined.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, defined);
        assert_eq!(method("/runtime.v1.RuntimeService/ExecSync"), "ExecSync");
        assert_eq!(method("/x/whatever"), "unknown");
    }
}
