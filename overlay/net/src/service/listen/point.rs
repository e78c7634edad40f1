//! One introduction point: a circuit to a relay that passes introductions on.

use std::sync::Arc;
use std::time::Instant;

use rand_core::Rng as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use zmesh_proto::service::descriptor::IntroPoint;
use zmesh_proto::service::introduce::{IntroKeySecret, IntroName, IntroSecret};
use zmesh_proto::service::placement::is_suitable;
use zmesh_proto::service::seen::Seen;

use super::super::SharedSecond;
use super::super::host::Sealed;
use super::super::relay_circuit::{AskError, RelayCircuit};
use crate::origin::Origin;
use crate::{RelayId, clock, entropy};

/// Introductions by way of one point. Then another takes its place, as the filter must not forget.
const INTRODUCTIONS: usize = 16_384;

/// What a point tells the service.
pub(super) enum Told {
    /// It works.
    Up,
    /// An introduction came.
    Came(Sealed),
    /// It works no more, or never did.
    Down(AskError),
}

/// A point, as the service knows it.
pub(super) struct Point {
    pub(super) relay: RelayId,
    pub(super) name: IntroName,
    pub(super) key: IntroKeySecret,
    pub(super) seen: Seen,
    pub(super) up: bool,
    pub(super) born: Instant,
    task: AbortHandle,
}

impl Point {
    /// Begins to build the circuit. What happens is told under `number`.
    pub(super) fn start(
        origin: &Arc<Origin>,
        second: &Arc<SharedSecond>,
        relay: RelayId,
        hops: usize,
        number: u64,
        told: mpsc::Sender<(u64, Told)>,
    ) -> Self {
        let mut rng = entropy::rng();
        let (secret, key) = (IntroSecret::generate(&mut rng), IntroKeySecret::generate(&mut rng));
        let name = secret.name();
        let (origin, second) = (Arc::clone(origin), Arc::clone(second));
        let work = async move {
            let down = match serve(&origin, &second, relay, hops, &secret, number, &told).await {
                Ok(()) => AskError::Lost,
                Err(error) => error,
            };
            let _ = told.send((number, Told::Down(down))).await;
        };
        let task = tokio::spawn(work).abort_handle();
        let seen = Seen::new(INTRODUCTIONS, *entropy::secret());
        Self { relay, name, key, seen, up: false, born: clock::now(), task }
    }

    /// What clients are told of it.
    pub(super) fn describe(&self) -> IntroPoint {
        IntroPoint { relay: self.relay, name: self.name, key: self.key.public() }
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    origin: &Arc<Origin>,
    second: &Arc<SharedSecond>,
    relay: RelayId,
    hops: usize,
    secret: &IntroSecret,
    number: u64,
    told: &mpsc::Sender<(u64, Told)>,
) -> Result<(), AskError> {
    let circuit = RelayCircuit::open(origin, relay, hops, second).await?;
    let mut introductions = circuit.establish(secret).await?;
    // A service that has ended hears nothing, and needs no circuit.
    if told.send((number, Told::Up)).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            sealed = introductions.next() => {
                let Some(sealed) = sealed else { return Ok(()) };
                if told.send((number, Told::Came(sealed))).await.is_err() {
                    return Ok(());
                }
            }
            () = circuit.ended() => return Ok(()),
        }
    }
}

/// A relay for another point: not one in `used`, nor a guard, where there are others; `None` where no relay can do it.
pub(super) fn choose(origin: &Origin, used: &[RelayId]) -> Option<RelayId> {
    let network = origin.network();
    let guards = origin.guards();
    let suitable: Vec<RelayId> =
        network.relays().iter().filter(|relay| is_suitable(relay)).map(|relay| relay.id()).collect();
    let unused: Vec<RelayId> = suitable.iter().copied().filter(|id| !used.contains(id)).collect();
    let best: Vec<RelayId> = unused.iter().copied().filter(|id| !guards.contains(id)).collect();
    let from = [best, unused, suitable].into_iter().find(|relays| !relays.is_empty())?;
    let at = usize::try_from(entropy::rng().next_u64() % from.len() as u64).unwrap_or(0);
    from.get(at).copied()
}
