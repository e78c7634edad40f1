//! A circuit to a meeting relay, for QUIC.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::SharedSecond;
use crate::RelayId;
use crate::api::{CircuitError, Meet, take_part};
use crate::origin::{Carrier, Origin, Wanted};
use crate::quic::{CircuitSocket, Spliced};
use crate::shard::Sink;

/// How long a circuit may take, with its repetitions, and the relay's answer.
const OPEN: Duration = Duration::from_secs(15);

/// Meeting relays that a client tries.
const RELAYS: usize = 3;

/// Draws for one that was not tried yet.
const DRAWS: usize = 16;

/// Builds the circuit and has the meeting relay answer: for a client when the cookie is in place, for a service when both circuits are spliced.
pub(super) async fn meet(
    origin: &Arc<Origin>,
    relay: RelayId,
    hops: usize,
    second: &Arc<SharedSecond>,
    meet: Meet,
) -> Result<(Carrier, Arc<CircuitSocket>), CircuitError> {
    let meeting = async {
        let mut socket = Spliced::socket(&origin.shard);
        let wanted = Wanted::to(relay, hops).behind(second);
        let carrier = origin
            .build(&wanted, &[], |_| {
                socket = Spliced::socket(&origin.shard);
                Sink::Quic(Arc::clone(&socket))
            })
            .await?;
        take_part(&origin.shard, &carrier, meet).await?;
        Ok((carrier, socket))
    };
    timeout(OPEN, meeting).await.unwrap_or(Err(CircuitError::Timeout))
}

/// Waits under the cookie at a meeting relay of one's own choice; at another one, if a relay cannot be reached.
pub(super) async fn wait_somewhere(
    origin: &Arc<Origin>,
    hops: usize,
    second: &Arc<SharedSecond>,
    cookie: [u8; 16],
) -> Result<(RelayId, Carrier, Arc<CircuitSocket>), CircuitError> {
    let mut tried: Vec<RelayId> = Vec::new();
    loop {
        let mut relay = origin.choose_meeting()?;
        for _ in 0..DRAWS {
            if !tried.contains(&relay) {
                break;
            }
            relay = origin.choose_meeting()?;
        }
        match meet(origin, relay, hops, second, Meet::wait(cookie)).await {
            Ok((carrier, socket)) => return Ok((relay, carrier, socket)),
            Err(error @ (CircuitError::NoPath(_) | CircuitError::ShutDown)) => return Err(error),
            Err(error) if tried.len() + 1 >= RELAYS => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a meeting relay cannot be used, another is tried");
                tried.push(relay);
            }
        }
    }
}
