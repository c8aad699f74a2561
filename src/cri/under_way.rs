//! How many requests are under way that end by themselves, so that a server which is to end knows what it waits
//! for. A client that listens to events and has stopped reading would keep its stream open for ever.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tower::{Layer, Service};

/// The method whose streams only end with the server.
const ENDLESS: &str = "/runtime.v1.RuntimeService/GetContainerEvents";

/// Counts requests. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    /// Waits until none is under way.
    pub(super) async fn none(&self) {
        // The sender is alive, so there is no error.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }

    fn one(&self) -> One {
        self.0.send_modify(|count| *count += 1);
        One(self.0.clone())
    }
}

/// A request that is counted until its answer is handed over.
struct One(watch::Sender<usize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl<S> Layer<S> for UnderWay {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            under_way: self.clone(),
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    under_way: UnderWay,
}

impl<S, B, R> Service<http::Request<B>> for Counted<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<CountedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let one = (request.uri().path() != ENDLESS).then(|| self.under_way.one());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| CountedBody {
                body: Box::pin(body),
                _one: one,
            }))
        })
    }
}

/// The body of an answer.
pub(super) struct CountedBody<R> {
    body: Pin<Box<R>>,
    _one: Option<One>,
}

impl<R: Body> Body for CountedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
