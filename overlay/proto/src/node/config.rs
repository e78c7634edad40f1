//! What a node is told once, at its start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;
use zmesh_sphinx::{OnionSecret, RelayId};

use crate::keys::{EPOCH_SECONDS, OVERLAP_SECONDS, OnionKeys, epoch_at};
use crate::link::LinkConfig;
use crate::nat::NatConfig;
use crate::random::SEED_LEN;
use crate::relay::neighbour::Class;
use crate::relay::queue::CodelConfig;

/// Everything a [`Node`](super::Node) needs to know at its start.
#[derive(Clone)]
pub struct NodeConfig {
    /// How its links behave, and who it is on them.
    pub link: LinkConfig,
    /// What it does for others; nothing if `None`.
    pub relay: Option<RelayConfig>,
    /// How it builds and keeps circuits of its own.
    pub origin: OriginConfig,
    /// Bounds of the queues towards its links.
    pub queue: QueueConfig,
    /// How it reaches, and is reached by, nodes behind translators of addresses; only directly if `None`.
    pub nat: Option<NatConfig>,
    /// The root of all its random numbers: fresh operating-system randomness, or a fixed seed in a simulation.
    pub seed: Zeroizing<[u8; SEED_LEN]>,
    /// Wall time at the start, in nanoseconds since 1970.
    pub unix_now: u64,
}

impl NodeConfig {
    /// Defaults for an origin or relay with these links.
    #[must_use]
    pub fn new(link: LinkConfig, seed: impl Into<Zeroizing<[u8; SEED_LEN]>>, unix_now: u64) -> Self {
        let (origin, queue, seed) = (OriginConfig::default(), QueueConfig::default(), seed.into());
        Self { link, relay: None, origin, queue, nat: None, seed, unix_now }
    }
}

impl fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, relay, origin, queue, nat, seed: _, unix_now } = self;
        f.debug_struct("NodeConfig")
            .field("link", link)
            .field("relay", relay)
            .field("origin", origin)
            .field("queue", queue)
            .field("nat", nat)
            .field("seed", &format_args!("[redacted]"))
            .field("unix_now", unix_now)
            .finish()
    }
}

/// Bounds of the queues towards the links. The oldest cells go when one is reached.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Most bytes that one circuit may have waiting for one link.
    pub circuit_bytes: usize,
    /// Most bytes that may wait for one link.
    pub link_bytes: usize,
    /// Most bytes that may wait in the whole node.
    pub node_bytes: usize,
    /// CoDel's parameters.
    pub codel: CodelConfig,
    /// Most datagrams that one flush seals. What remains is flushed in the next turn, which is due at once.
    pub flush_datagrams: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            circuit_bytes: 1 << 20,
            link_bytes: 2 << 20,
            node_bytes: 16 << 20,
            codel: CodelConfig::default(),
            flush_datagrams: 256,
        }
    }
}

/// One onion key of a relay and the time for which its descriptor announces it.
#[derive(Clone, Debug)]
pub struct OnionKey {
    /// First second (unix time) at which origins use it.
    pub from_unix: u64,
    /// First second at which they no longer use it.
    pub until_unix: u64,
    /// The secret. Shared with jobs that run elsewhere; erased when the last holder lets go.
    pub secret: Arc<OnionSecret>,
}

/// What a relay remembers of the set-up packets before its start.
#[derive(Clone)]
pub enum ReplayStart {
    /// Its onion keys are new, so there is nothing to remember.
    Fresh,
    /// What [`Node::replay_state`](super::Node::replay_state) gave before the stop. Damaged bytes count as `Lost`.
    Saved(Vec<u8>),
    /// The state was lost in a crash: packets of the present slots are refused, for ten minutes at most.
    Lost,
}

impl fmt::Debug for ReplayStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("Fresh"),
            Self::Saved(state) => write!(f, "Saved({} bytes, [redacted])", state.len()),
            Self::Lost => f.write_str("Lost"),
        }
    }
}

/// What a relay does for others, and how much of it.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The relay's name in paths.
    pub id: RelayId,
    /// Its onion keys; see [`Node::set_onion_keys`](super::Node::set_onion_keys).
    pub onion_keys: Vec<OnionKey>,
    /// What it remembers of earlier set-up packets.
    pub replay: ReplayStart,
    /// Set-up packets that it takes of each slot of 5 minutes, a third of them before the slot begins; about 30 bytes each,
    /// three slots are kept.
    pub replay_capacity: usize,
    /// Whether circuits may meet here.
    pub allow_meeting: bool,
    /// Whether messages to this relay itself become [`Event::LocalMessage`](super::Event::LocalMessage) (an exit).
    pub allow_local: bool,
    /// Most circuits through this relay. One more makes the busiest link lose the one that has been quiet longest.
    pub max_circuits: usize,
    /// Most circuits that the link of a relay of the network document may open.
    pub max_circuits_per_link: usize,
    /// Most circuits that the link of anybody else may open.
    pub max_circuits_per_stranger: usize,
    /// Share of one core that public-key work for others may take, in percent.
    pub work_percent: u32,
    /// Set-ups that one link may ask for in a second, and at once after a rest.
    pub setups_per_second: u32,
    /// Set-ups of one link that may wait for their turn.
    pub setups_per_link: usize,
    /// Set-ups of all links that may wait for their turn.
    pub setups_waiting: usize,
    /// How long the rest of a path may take to answer a set-up.
    pub setup_timeout: Duration,
    /// How long the link to the next relay may take to come up.
    pub connect_timeout: Duration,
    /// A circuit on which nothing moves for so long is closed. Origins keep theirs alive.
    pub idle_timeout: Duration,
    /// Most circuits that may wait for a meeting.
    pub max_meetings: usize,
    /// Most of them on circuits that came over the link of one relay of the network document.
    pub max_meetings_per_link: usize,
    /// Most of them on circuits that came over the link of anybody else.
    pub max_meetings_per_stranger: usize,
    /// How long a waiting circuit is kept after its last request.
    pub meeting_patience: Duration,
    /// Probes that one circuit may have answered at once; they come back at ten in a second.
    pub ping_burst: u32,
}

impl RelayConfig {
    /// Defaults for a relay that only forwards.
    #[must_use]
    pub fn new(id: RelayId, onion_keys: Vec<OnionKey>) -> Self {
        Self {
            id,
            onion_keys,
            replay: ReplayStart::Fresh,
            replay_capacity: 1_200_000,
            allow_meeting: false,
            allow_local: false,
            max_circuits: 16_384,
            max_circuits_per_link: 4_096,
            max_circuits_per_stranger: 128,
            work_percent: 25,
            setups_per_second: 300,
            setups_per_link: 64,
            setups_waiting: 512,
            setup_timeout: Duration::from_secs(9),
            connect_timeout: Duration::from_secs(4),
            idle_timeout: Duration::from_secs(600),
            max_meetings: 16_384,
            max_meetings_per_link: 1_024,
            max_meetings_per_stranger: 4,
            meeting_patience: Duration::from_secs(60),
            ping_burst: 20,
        }
    }

    pub(crate) const fn circuits_per_link(&self, class: Class) -> usize {
        match class {
            Class::Known => self.max_circuits_per_link,
            Class::Stranger => self.max_circuits_per_stranger,
        }
    }
}

/// How a node builds and keeps circuits of its own.
#[derive(Clone, Debug)]
pub struct OriginConfig {
    /// Most circuits, those being built included.
    pub max_circuits: usize,
    /// How long a circuit may take to become ready.
    pub build_timeout: Duration,
    /// How long the link to the first relay may take to come up.
    pub connect_timeout: Duration,
    /// A circuit on which nothing was sent for about so long gets a probe, so that relays keep it.
    pub keepalive: Duration,
    /// If nothing comes back for so long after something was sent, the far end is probed.
    pub probe_after: Duration,
    /// The time between such probes.
    pub probe_interval: Duration,
    /// If nothing comes back for so long after something was sent, and the time that building took, at most as long again, the
    /// circuit is dead.
    pub dead_after: Duration,
    /// On a circuit that its driver [watches](super::Node::watch) such a silence, and two round trips, make it suspect.
    pub suspect_after: Duration,
    /// A probe without answer counts as lost after this time.
    pub ping_timeout: Duration,
    /// Most unanswered probes of one circuit.
    pub max_pings: usize,
    /// The time between two requests to a meeting relay that has not answered.
    pub meet_retry: Duration,
    /// How long to ask a meeting relay that does not answer.
    pub meet_timeout: Duration,
    /// How often a waiting circuit refreshes its place.
    pub meet_refresh: Duration,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            max_circuits: 1024,
            build_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            keepalive: Duration::from_secs(60),
            probe_after: Duration::from_millis(1000),
            probe_interval: Duration::from_millis(125),
            dead_after: Duration::from_millis(2500),
            suspect_after: Duration::from_millis(300),
            ping_timeout: Duration::from_secs(3),
            max_pings: 64,
            meet_retry: Duration::from_millis(500),
            meet_timeout: Duration::from_secs(10),
            meet_refresh: Duration::from_secs(5),
        }
    }
}

impl OnionKey {
    /// The keys that a relay needs around `unix` (seconds): those of the present epoch and the next, and of the one
    /// before while packets for it are still current. Ask again, and erase, at [`OnionKeys::next_change`].
    ///
    /// [`OnionKeys::next_change`]: crate::keys::OnionKeys::next_change
    #[must_use]
    pub fn around(keys: &OnionKeys, unix: u64) -> Vec<Self> {
        let oldest = epoch_at(unix.saturating_sub(OVERLAP_SECONDS));
        let newest = epoch_at(unix).saturating_add(1);
        let key = |epoch: u32| {
            let from_unix = u64::from(epoch) * EPOCH_SECONDS;
            let secret = Arc::new(keys.secret(epoch).ok()?);
            Some(Self { from_unix, until_unix: from_unix + EPOCH_SECONDS, secret })
        };
        (oldest..=newest).filter_map(key).collect()
    }
}
