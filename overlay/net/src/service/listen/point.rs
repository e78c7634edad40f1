//! One introduction point: a circuit to a relay that passes introductions on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::Rng;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use zmesh_proto::service::descriptor::IntroPoint;
use zmesh_proto::service::intro::{INTRODUCTIONS_AT_ONCE, INTRODUCTIONS_PER_SECOND};
use zmesh_proto::service::introduce::{IntroKeySecret, IntroName, IntroSecret};
use zmesh_proto::service::placement::is_suitable;
use zmesh_proto::service::seen::Seen;

use super::super::SharedSecond;
use super::super::host::Sealed;
use super::super::relay_circuit::{AskError, RelayCircuit};
use crate::origin::Origin;
use crate::{Network, RelayId, clock, entropy};

/// An introduction point lasts for so long, and for up to a quarter of a day more: those of one start do not end together.
const LIFE: Duration = Duration::from_secs(18 * 3_600);
const LIFE_MORE: u64 = 6 * 3_600;

/// What a point tells the service.
pub(super) enum Told {
    /// It works.
    Up,
    /// An introduction came.
    Came(Sealed),
    /// It works no more, or never did.
    Down(AskError),
}

/// Where a point is to be.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) relay: RelayId,
    pub(super) hops: usize,
    /// When another relay takes its place.
    pub(super) until: Instant,
    /// How many introductions are remembered.
    pub(super) introductions: usize,
}

/// When a point that begins now ends.
pub(super) fn end(now: Instant, rng: &mut impl Rng) -> Instant {
    now + LIFE + Duration::from_secs(rng.next_u64() % LIFE_MORE)
}

/// What follows a point that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Successor {
    /// Any relay.
    Another,
    /// The same relay, with a new name and new keys.
    SameRelay,
    /// Any relay but this one.
    LeaveAlone,
}

/// What follows a point. Whoever knows the address fills a point with introductions: were each full one followed by another relay, they would see
/// which relays are never drawn, and meet relays of their own sooner. A relay that passes on more than relays may is not kept.
fn successor(now: Instant, born: Instant, until: Instant, introductions: usize) -> Successor {
    let soonest = (introductions as u64).saturating_sub(INTRODUCTIONS_AT_ONCE) / INTRODUCTIONS_PER_SECOND;
    if now >= until {
        Successor::Another
    } else if now.duration_since(born) < Duration::from_secs(soonest) {
        Successor::LeaveAlone
    } else {
        Successor::SameRelay
    }
}

/// A point, as the service knows it.
pub(super) struct Point {
    pub(super) relay: RelayId,
    pub(super) name: IntroName,
    pub(super) key: IntroKeySecret,
    pub(super) seen: Seen,
    pub(super) up: bool,
    pub(super) until: Instant,
    born: Instant,
    introductions: usize,
    task: AbortHandle,
}

impl Point {
    /// Begins to build the circuit. What happens is told under `number`.
    pub(super) fn start(
        origin: &Arc<Origin>,
        second: &Arc<SharedSecond>,
        place: Place,
        number: u64,
        told: mpsc::Sender<(u64, Told)>,
    ) -> Self {
        let Place { relay, hops, until, introductions } = place;
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
        let seen = Seen::new(introductions, entropy::secret());
        Self { relay, name, key, seen, up: false, until, born: clock::now(), introductions, task }
    }

    /// What follows this point.
    pub(super) fn successor(&self, now: Instant) -> Successor {
        successor(now, self.born, self.until, self.introductions)
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

/// A relay for another point: not one in `used` where there are others; `None` where no relay can do it. The guards are drawn as often as any other:
/// a relay that is never drawn would be one. (A circuit to one of them begins at another.)
pub(super) fn choose(network: &Network, used: &[RelayId]) -> Option<RelayId> {
    let suitable: Vec<RelayId> =
        network.relays().iter().filter(|relay| is_suitable(relay)).map(|relay| relay.id()).collect();
    let unused: Vec<RelayId> = suitable.iter().copied().filter(|id| !used.contains(id)).collect();
    let from = [unused, suitable].into_iter().find(|relays| !relays.is_empty())?;
    let at = usize::try_from(entropy::rng().next_u64() % from.len() as u64).unwrap_or(0);
    from.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_point_stays_at_its_relay_unless_the_relay_passed_on_too_much() {
        let born = clock::now();
        let until = end(born, &mut entropy::rng());
        let after = |seconds| successor(born + Duration::from_secs(seconds), born, until, 16_384);
        // 200 at once and 200 a second: 80 s are the least.
        assert_eq!(after(79), Successor::LeaveAlone);
        assert_eq!(after(80), Successor::SameRelay);
        assert_eq!(after(18 * 3_600 - 1), Successor::SameRelay);
        assert_eq!(after(24 * 3_600), Successor::Another);
        let lives: std::collections::BTreeSet<_> = (0..20).map(|_| end(born, &mut entropy::rng())).collect();
        assert!(lives.len() > 15, "points of one start do not end together");
    }
}
