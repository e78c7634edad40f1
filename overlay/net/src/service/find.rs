//! Finding a service's descriptor: some of the relays that should have it are asked, each by a circuit of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng as _;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zmesh_proto::service::descriptor::{Contents, Outer, open};
use zmesh_proto::service::key::{BlindedKey, Subcredential, blinded_key, subcredential};
use zmesh_proto::service::period::Period;
use zmesh_proto::service::placement::{COPIES, stores};

use super::relay_circuit::{AskError, RelayCircuit};
use super::{DialError, ServiceAddress, SharedSecond, own_hops};
use crate::api::CircuitError;
use crate::origin::Origin;
use crate::{RelayId, clock, entropy};

/// Relays that are asked at once: one may withhold the descriptor or give an old one.
const AT_ONCE: usize = 2;

/// How long the others may take when one has answered.
const OTHERS: Duration = Duration::from_secs(2);

/// A descriptor that opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) contents: Contents,
    pub(super) period: Period,
    pub(super) revision: u64,
    pub(super) blinded: BlindedKey,
    pub(super) subcredential: Subcredential,
}

/// One search: relays that were asked are not asked again.
pub(super) struct Search {
    address: ServiceAddress,
    left: VecDeque<(Period, RelayId)>,
}

impl Search {
    pub(super) fn new(origin: &Origin, address: ServiceAddress) -> Self {
        let network = origin.network();
        let mut rng = entropy::rng();
        let mut left = VecDeque::new();
        for period in Period::around(clock::unix_seconds()) {
            let mut relays = stores(&network, &blinded_key(&address, period), period, COPIES);
            // Clients ask in different orders, so that no relay counts them all.
            while !relays.is_empty() {
                let at = usize::try_from(rng.next_u64() % relays.len() as u64).unwrap_or(0);
                left.push_back((period, relays.swap_remove(at)));
            }
        }
        Self { address, left }
    }

    /// The next descriptor that is newer than `than` (of its own period). `None` when nobody is left to ask.
    ///
    /// # Errors
    /// The network has no relay for it, or no circuit to any could be built.
    pub(super) async fn next(
        &mut self,
        origin: &Arc<Origin>,
        second: &Arc<SharedSecond>,
        than: Option<(Period, u64)>,
    ) -> Result<Option<Found>, DialError> {
        let hops = own_hops(&origin.network()) + 1;
        let mut problem: Option<CircuitError> = None;
        let mut answered = false;
        while let Some((period, _)) = self.left.front().copied() {
            let blinded = blinded_key(&self.address, period);
            let mut asking = JoinSet::new();
            while asking.len() < AT_ONCE
                && let Some((_, relay)) = self.left.pop_front_if(|(other, _)| *other == period)
            {
                let (origin, second) = (Arc::clone(origin), Arc::clone(second));
                asking
                    .spawn(async move { RelayCircuit::open(&origin, relay, hops, &second).await?.find(blinded).await });
            }
            let mut best: Option<Found> = None;
            loop {
                let next = match &best {
                    None => asking.join_next().await,
                    Some(_) => timeout(OTHERS, asking.join_next()).await.unwrap_or(None),
                };
                let Some(Ok(found)) = next else { break };
                match found {
                    Ok(Some(bytes)) => {
                        answered = true;
                        let found = self.read(&bytes, period, blinded);
                        best = best.into_iter().chain(found).max_by_key(|found| found.revision);
                    }
                    Ok(None) => answered = true,
                    Err(AskError::Circuit(error @ CircuitError::NoPath(_))) => return Err(error.into()),
                    Err(AskError::Circuit(error)) => problem = Some(error),
                    Err(error) => tracing::debug!(%error, "a relay gave no descriptor"),
                }
            }
            let newer = |found: &Found| than.is_none_or(|(of, than)| of != period || found.revision > than);
            if let Some(found) = best.filter(newer) {
                return Ok(Some(found));
            }
        }
        match problem {
            Some(problem) if !answered && than.is_none() => Err(problem.into()),
            _ => Ok(None),
        }
    }

    fn read(&self, bytes: &[u8], period: Period, blinded: BlindedKey) -> Option<Found> {
        let revision = Outer::decode(bytes).ok()?.revision;
        match open(bytes, &self.address, period, clock::unix_seconds()) {
            Ok(contents) => {
                let subcredential = subcredential(&self.address, &blinded);
                Some(Found { contents, period, revision, blinded, subcredential })
            }
            Err(error) => {
                tracing::debug!(%error, "a relay gave a descriptor that cannot be used");
                None
            }
        }
    }
}
