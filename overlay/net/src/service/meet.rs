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
const OPEN: Duration = Duration::from_secs(25);

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
