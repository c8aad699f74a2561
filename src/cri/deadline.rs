//! The deadline that a client sets for its request, in the header `grpc-timeout`.
//!
//! The transport below would answer with `CANCELLED` when it passes, which is what a client that gave up itself is
//! told; callers expect `DEADLINE_EXCEEDED`. So it is answered here, a moment before.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tower::{Layer, Service};

/// The header, and the most digits it has (gRPC over HTTP2, section Requests).
const HEADER: &str = "grpc-timeout";
const DIGITS: usize = 8;
/// How long before the deadline it counts as passed: what the clock of timers is exact to.
const EARLY: Duration = Duration::from_millis(2);

/// Puts [`Bounded`] around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner }
    }
}

/// A service that keeps its clients' deadlines.
#[derive(Debug, Clone)]
pub(super) struct Bounded<S> {
    inner: S,
}

impl<S, B, R> Service<http::Request<B>> for Bounded<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let time = request.headers().get(HEADER);
        let time = time.and_then(|value| parse(value.to_str().ok()?));
        // One that is too far away to be told is none.
        let deadline =
            time.and_then(|time| Some((time, Instant::now().checked_add(time)? - EARLY)));
        Answer {
            inner: Box::pin(self.inner.call(request)),
            deadline: deadline.map(|(time, at)| (time, at, Box::pin(sleep_until(at)))),
        }
    }
}

/// An answer, or that it came too late.
pub(super) struct Answer<F> {
    inner: Pin<Box<F>>,
    deadline: Option<(Duration, Instant, Pin<Box<Sleep>>)>,
}

impl<F, R, E> Future for Answer<F>
where
    F: Future<Output = Result<http::Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Poll::Ready(answer) = self.inner.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        let Some((time, at, timer)) = &mut self.deadline else {
            return Poll::Pending;
        };
        // The transport's timer may be the one that woke this task.
        if timer.as_mut().poll(cx).is_pending() && Instant::now() < *at {
            return Poll::Pending;
        }
        let message = format!("the time that the client gave ({time:?}) is over");
        Poll::Ready(Ok(Status::deadline_exceeded(message).into_http()))
    }
}

/// Reads a number and its unit.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || number.len() > DIGITS || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units() {
        for (text, time) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("5 S", None),
            ("999999999S", None),
        ] {
            assert_eq!(parse(text), time, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_passed_over(text in "\\PC{0,12}") {
            let _ = parse(&text);
        }
    }

    /// A transport with a timer of its own for the same time, as the real one has, over a service that never
    /// answers.
    #[tokio::test]
    async fn it_is_told_before_the_transport_gives_up() {
        for millis in [0, 1, 3, 20] {
            let never = tower::service_fn(|_: http::Request<()>| {
                std::future::pending::<Result<http::Response<String>, std::convert::Infallible>>()
            });
            let mut service = DeadlineLayer.layer(never);
            let request = http::Request::builder().header(HEADER, format!("{millis}m"));
            let answer = service.call(request.body(()).unwrap());
            let transport = tokio::time::sleep(Duration::from_millis(millis));
            tokio::select! {
                biased;
                answer = answer => {
                    let answer = answer.unwrap();
                    assert_eq!(answer.headers()["grpc-status"], "4");
                }
                () = transport => panic!("the transport was first after {millis} ms"),
            }
        }
    }
}
