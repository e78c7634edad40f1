//! What an exit says on a stream.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use quinn::{ClosedStream, SendStream};
use tokio::time::timeout;
use zmesh_proto::wire::request::{Failure, Response};

use crate::egress::EgressError;
use crate::quic::codes;

/// How long an origin may take to hear that it is refused.
const REFUSAL: Duration = Duration::from_secs(5);

/// The exit's half of a stream. Dropped before it is finished it is reset: what was cut off must not look whole.
pub(super) struct Reply {
    send: SendStream,
    finished: bool,
}

impl Reply {
    pub(super) fn new(send: SendStream) -> Self {
        Self { send, finished: false }
    }

    /// Nothing follows; what was written still arrives.
    ///
    /// # Errors
    /// The origin wants nothing more, or the stream was reset.
    pub(super) fn finish(&mut self) -> Result<(), ClosedStream> {
        self.finished = true;
        self.send.finish()
    }
}

impl Deref for Reply {
    type Target = SendStream;

    fn deref(&self) -> &SendStream {
        &self.send
    }
}

impl DerefMut for Reply {
    fn deref_mut(&mut self) -> &mut SendStream {
        &mut self.send
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.send.reset(codes::CANCELLED);
        }
    }
}

/// Answers and ends the stream.
pub(super) async fn finish(send: Reply, outcome: Result<Response, EgressError>) {
    match outcome {
        Ok(response) => answer(send, response).await,
        Err(error) => refuse(send, failure(error)).await,
    }
}

pub(super) async fn answer(mut send: Reply, response: Response) {
    if send.write_all(&response.encode()).await.is_ok() {
        let _ = send.finish();
    }
}

/// Refuses, and does not wait long for that to be heard.
pub(super) async fn refuse(send: Reply, failure: Failure) {
    let _ = timeout(REFUSAL, answer(send, Response::Failed(failure))).await;
}

pub(super) fn failure(error: EgressError) -> Failure {
    match error {
        EgressError::Refused => Failure::Refused,
        EgressError::Unreachable => Failure::Unreachable,
        EgressError::ConnectionRefused => Failure::ConnectionRefused,
        EgressError::Timeout => Failure::Timeout,
        EgressError::NameNotFound => Failure::NameNotFound,
        EgressError::QuotaExceeded => Failure::QuotaExceeded,
        EgressError::Unsupported => Failure::Unsupported,
    }
}
