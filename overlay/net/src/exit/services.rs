//! Requests about services.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::RecvStream;
use tokio::time::timeout;
use zmesh_proto::service::descriptor::DESCRIPTOR_LEN;
use zmesh_proto::service::introduce::{INTRODUCE_LEN, IntroName, IntroSecret};
use zmesh_proto::service::key::BlindedKey;
use zmesh_proto::service::place_work::PLACE_WORK_LEN;
use zmesh_proto::wire::request::{Failure, Response};

use super::pool::Taken;
use super::reply::{Reply, answer, refuse};
use super::stream::Asked;
use crate::quic::codes;
use crate::service::Host;

/// How long what belongs to a request may take to come, and an answer to leave.
const TRANSFER: Duration = Duration::from_secs(20);

impl Asked {
    pub(super) async fn find_service(&self, blinded: BlindedKey, mut send: Reply) {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return refuse(send, failure).await,
        };
        let Some(descriptor) = host.find(&blinded) else { return refuse(send, Failure::Absent).await };
        let sent = timeout(TRANSFER, async {
            send.write_all(&Response::Found.encode()).await?;
            send.write_chunk(Bytes::from(descriptor)).await
        });
        end(sent.await.is_ok_and(|sent| sent.is_ok()), send);
    }

    pub(super) async fn place_service(&self, head: Bytes, send: Reply, mut recv: RecvStream) {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return refuse(send, failure).await,
        };
        let mut offered = [0; DESCRIPTOR_LEN + PLACE_WORK_LEN];
        if !read(&head, &mut recv, &mut offered).await {
            return refuse(send, Failure::Malformed).await;
        }
        let (descriptor, work) = offered.split_at(DESCRIPTOR_LEN);
        let mut nonce = [0; PLACE_WORK_LEN];
        nonce.copy_from_slice(work);
        match host.place(self.source, descriptor, nonce).await {
            Ok(()) => answer(send, Response::Stored).await,
            Err(failure) => refuse(send, failure).await,
        }
    }

    /// A service that has its place here needs none among those that ask.
    pub(super) async fn establish(&self, secret: IntroSecret, asking: Taken, mut send: Reply, mut recv: RecvStream) {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return refuse(send, failure).await,
        };
        let place = match host.establish(&secret, self.source) {
            Ok(established) => established,
            Err(failure) => return refuse(send, failure).await,
        };
        drop(asking);
        if send.write_all(&Response::Established.encode()).await.is_err() {
            return;
        }
        let gone = async { while let Ok(Some(_)) = recv.read_chunk(64, true).await {} };
        tokio::pin!(gone);
        loop {
            let waiting = tokio::select! {
                waiting = place.next() => waiting,
                // The service ends its half, or its circuit is gone.
                () = &mut gone => None,
            };
            let Some(waiting) = waiting else { break };
            let sent = timeout(TRANSFER, send.write_all(&waiting.sealed[..])).await;
            if !sent.is_ok_and(|sent| sent.is_ok()) {
                break;
            }
            waiting.passed();
        }
        let _ = send.finish();
    }

    pub(super) async fn introduce(&self, name: IntroName, head: Bytes, send: Reply, mut recv: RecvStream) {
        let host = match self.host() {
            Ok(host) => host,
            Err(failure) => return refuse(send, failure).await,
        };
        if !self.visitor.may_introduce() {
            return refuse(send, Failure::QuotaExceeded).await;
        }
        let mut sealed = Box::new([0; INTRODUCE_LEN]);
        if !read(&head, &mut recv, &mut sealed[..]).await {
            return refuse(send, Failure::Malformed).await;
        }
        // A service that takes nothing holds nobody up for longer.
        let introduced = timeout(TRANSFER, host.introduce(&name, self.source.via.link, sealed)).await;
        match introduced.unwrap_or(Err(Failure::QuotaExceeded)) {
            Ok(()) => answer(send, Response::Introduced).await,
            Err(failure) => refuse(send, failure).await,
        }
    }

    fn host(&self) -> Result<&Arc<Host>, Failure> {
        let host = self.place.server.host.as_ref().ok_or(Failure::Unsupported)?;
        if self.visitor.may_ask() { Ok(host) } else { Err(Failure::QuotaExceeded) }
    }
}

/// Reads exactly as many bytes as `into` has, of which the first came with the request.
async fn read(head: &[u8], recv: &mut RecvStream, into: &mut [u8]) -> bool {
    if head.len() > into.len() {
        return false;
    }
    let (first, rest) = into.split_at_mut(head.len());
    first.copy_from_slice(head);
    timeout(TRANSFER, recv.read_exact(rest)).await.is_ok_and(|read| read.is_ok())
}

fn end(sent: bool, mut send: Reply) {
    let _ = if sent { send.finish().is_ok() } else { send.reset(codes::CANCELLED).is_ok() };
}
