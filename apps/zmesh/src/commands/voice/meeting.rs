//! Circuits to meeting relays, tried again while somebody may wait for it.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use zmesh_overlay::{CircuitError, DatagramCircuit, Meet, MeetingSpec, Node};

use crate::commands::narrate::narrate;
use crate::failure::{self, Failure};
use crate::term;

/// A bad network may lose the first circuits: links repair losses only once they have seen some.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes part in a meeting, by another circuit when one fails. What trying again cannot mend is told at once.
pub(super) async fn meet(node: &Node, meet: Meet, spec: MeetingSpec) -> Result<DatagramCircuit, CircuitError> {
    let begin = Instant::now();
    loop {
        let error = match narrate(node, node.meet(meet.clone(), spec.clone())).await {
            Ok(circuit) => return Ok(circuit),
            Err(error) => error,
        };
        if !is_passing(&error) || begin.elapsed() > PATIENCE {
            return Err(error);
        }
        tracing::debug!("no circuit yet: {error}");
        term::progress("no way to the meeting relay yet; trying another");
        sleep(PAUSE).await;
    }
}

/// What to tell of it.
pub(super) fn failed(error: CircuitError) -> Failure {
    failure::no_circuit("no circuit to the meeting relay could be built", error)
}

/// Whether another circuit may fare better.
fn is_passing(error: &CircuitError) -> bool {
    matches!(error, CircuitError::Build { .. } | CircuitError::Timeout | CircuitError::Closed(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_circuit_cannot_mend_is_told_at_once() {
        for passing in [CircuitError::Timeout, CircuitError::Closed(String::new())] {
            assert!(is_passing(&passing), "{passing}");
        }
        for lasting in
            [CircuitError::Meeting("nobody waits"), CircuitError::NoPath(String::new()), CircuitError::ShutDown]
        {
            assert!(!is_passing(&lasting), "{lasting}");
        }
    }
}
