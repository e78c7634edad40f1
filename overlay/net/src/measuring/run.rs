//! One measurement.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use zmesh_proto::directory::measuring::Timing;

use crate::RelayId;
use crate::api::CircuitError;
use crate::origin::probe;
use crate::quic::{Channel, CircuitSocket, Opened};
use crate::shard::{Built, MessageQueue, Shard, Sink};

/// How long a circuit may take, handshakes of links included.
const BUILD: Duration = Duration::from_secs(8);
/// How long QUIC over it may take, and the answer to the request.
const OPEN: Duration = Duration::from_secs(10);
/// How long all probes of a circuit may take.
const PROBING: Duration = Duration::from_secs(12);
/// Probes of each relay; the quickest one counts.
const PROBES: usize = 4;
/// Bytes that are taken from QUIC at once.
const CHUNK: usize = 64 << 10;

async fn build(shard: &Arc<Shard>, path: Vec<RelayId>, sink: Sink) -> Result<Built, CircuitError> {
    let built = timeout(BUILD, shard.build(path, sink)).await.map_err(|_| CircuitError::Timeout)?;
    built.map_err(|_| CircuitError::BadPath("it could not be built"))
}

/// The quickest round trips to the two relays of a circuit over them.
pub(super) async fn times(shard: &Arc<Shard>, first: RelayId, second: RelayId) -> Result<Timing, CircuitError> {
    let sink = Sink::Queue(Arc::new(MessageQueue::default()));
    let built = build(shard, vec![first, second], sink).await?;
    let probing = async {
        let mut quickest = [Duration::MAX; 2];
        // In turn, so that what changes meanwhile changes both.
        for _ in 0..PROBES {
            for (hop, quickest) in quickest.iter_mut().enumerate() {
                *quickest = probe(shard, built.circuit.id, hop).await?.min(*quickest);
            }
        }
        Ok(Timing { first: quickest[0], second: quickest[1] })
    };
    timeout(PROBING, probing).await.unwrap_or(Err(CircuitError::Timeout))
}

/// How bytes come by way of a relay from this node to itself: how many had come when. Once there is a circuit, whatever goes wrong on it is a
/// result: nothing came.
pub(super) async fn load(
    shard: &Arc<Shard>,
    own: RelayId,
    relay: RelayId,
    bytes: u32,
    longest: Duration,
) -> Result<Vec<(Duration, u64)>, CircuitError> {
    let server = shard.exit().ok_or(CircuitError::BadPath("this relay serves nothing itself"))?;
    let network = shard.network();
    let key = network.as_ref().and_then(|network| network.relay(&own)).and_then(|own| own.exit_key());
    let key = key.ok_or(CircuitError::BadPath("the document names no key of this relay"))?;
    let socket = CircuitSocket::origin(Arc::clone(shard), own);
    let built = build(shard, vec![relay, own], Sink::Quic(Arc::clone(&socket))).await?;
    let mut course = Vec::new();
    let asking = async {
        let Ok(channel) = Channel::open(&shard.runtime, socket, own, &key).await else { return };
        let begin = Instant::now();
        course.push((Duration::ZERO, 0));
        if let Ok(opened) = channel.load(server.ticket(bytes)).await {
            read(opened, begin, begin + longest, &mut course).await;
        }
        channel.close("done");
    };
    tokio::select! {
        _ = timeout(OPEN + longest, asking) => {}
        _ = built.circuit.state.closed() => {}
    }
    if course.is_empty() {
        course.push((Duration::ZERO, 0));
    }
    Ok(course)
}

/// Reads until all is there, the time is over, or nothing comes any more. In whatever order: one packet that was lost would hide for seconds
/// what came after it, and who gives it back is this node itself.
async fn read(mut opened: Opened, begin: Instant, end: Instant, course: &mut Vec<(Duration, u64)>) {
    let mut bytes = opened.head.len() as u64;
    course.push((begin.elapsed(), bytes));
    loop {
        match timeout_at(end, opened.recv.read_chunk(CHUNK, false)).await {
            Ok(Ok(Some(chunk))) => {
                bytes += chunk.bytes.len() as u64;
                course.push((begin.elapsed(), bytes));
            }
            Ok(_) => return,
            // What did not come in time counts as well.
            Err(_) => return course.push((begin.elapsed(), bytes)),
        }
    }
}
