//! The bytes of a blob, as they come.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};

use super::{
    engine,
    failure::{Failure, FailureKind},
    http::Http,
};

/// What oci-client gives.
pub(super) type LibraryStream = BoxStream<'static, Result<Bytes, io::Error>>;

/// The rest of a blob.
pub(crate) struct BlobBody {
    source: Source,
    /// Bytes at the front that we have already.
    skip: u64,
}

enum Source {
    Own {
        http: Arc<Http>,
        response: Response,
    },
    Library {
        stream: LibraryStream,
        stall: Duration,
    },
}

impl std::fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobBody")
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

impl Source {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Own { http, response } => http.chunk(response).await,
            // The library's client has the same limit to silence.
            Self::Library { stream, stall } => match stream.next().await {
                Some(Ok(chunk)) => Ok(Some(chunk)),
                Some(Err(error)) => engine::streaming(error, *stall).map_or(Ok(None), Err),
                None => Ok(None),
            },
        }
    }
}

impl BlobBody {
    /// From an answer to our own request.
    pub(super) fn from_response(
        http: Arc<Http>,
        response: Response,
        from: u64,
    ) -> Result<Self, Failure> {
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let start = response
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|v| v.to_str().ok())
                    .and_then(range_start);
                if start != Some(from) {
                    return Err(Failure::new(
                        FailureKind::Protocol,
                        "the registry sent another range than was asked for",
                    ));
                }
                0
            }
            // The server knows no ranges: it starts again at the front.
            _ => from,
        };
        Ok(Self {
            source: Source::Own { http, response },
            skip,
        })
    }

    /// From oci-client.
    pub(super) fn from_library(stream: LibraryStream, skip: u64, stall: Duration) -> Self {
        Self {
            source: Source::Library { stream, stall },
            skip,
        }
    }

    /// The whole of it, at most `most` bytes.
    pub(super) async fn collect(mut self, most: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > most {
                return Err(Failure::new(
                    FailureKind::Protocol,
                    format!("the blob is larger than {most} bytes"),
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next bytes that are new to us.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(mut chunk) = self.source.chunk().await? else {
                return Ok(None);
            };
            let known = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            self.skip -= known as u64;
            let chunk = chunk.split_off(known);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }
}

fn range_start(header: &str) -> Option<u64> {
    header
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range_start("bytes 10-20/21"), Some(10));
        assert_eq!(range_start("bytes */21"), None);
        assert_eq!(range_start("10-20"), None);
    }
}
