//! Counters of a node. Nothing in them names a circuit, a relay or an address.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::link::LinkCounters;

/// A snapshot of a node's counters; all but the gauges only grow. Serialized, durations are milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Cells that arrived on links.
    pub cells_received: u64,
    /// Cells that were passed on from one link to another, both directions.
    pub cells_forwarded: u64,
    /// Cells that were meant for this relay as a hop.
    pub cells_for_this_relay: u64,
    /// Cells that arrived for this node's own circuits.
    pub cells_for_origin: u64,
    /// Cells that went to links.
    pub cells_sent: u64,
    /// Cells that were thrown away, by cause.
    pub drops: CellDrops,
    /// Messages and events that were thrown away, by cause.
    pub messages: MessageDrops,
    /// The queues towards the links.
    pub queue: QueueMetrics,
    /// Circuits of others through this relay.
    pub circuits: CircuitMetrics,
    /// Circuits of this node as their origin.
    pub own: OwnMetrics,
    /// Public-key work.
    pub work: WorkMetrics,
    /// Descriptors over links.
    pub descriptors: DescriptorMetrics,
    /// Gauge: links that are up.
    pub links_up: u64,
    /// Gauge: circuits that wait for a meeting.
    pub meetings_waiting: u64,
    /// Meetings that came about.
    pub meetings_joined: u64,
    /// Meetings that were refused or whose cookie was unknown.
    pub meetings_refused: u64,
    /// Probes that were answered.
    pub pings_answered: u64,
    /// Probes over the rate limit.
    pub pings_refused: u64,
    /// Counters of the links.
    pub links: LinkCounters,
}

/// Cells thrown away, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CellDrops {
    /// No circuit has this number on this link.
    pub unknown_circuit: u64,
    /// The circuit is not far enough in its set-up.
    pub not_ready: u64,
    /// The cell number was seen before.
    pub replayed: u64,
    /// The cell number has left the window.
    pub too_old: u64,
    /// The cell number is further ahead than allowed.
    pub too_far_ahead: u64,
    /// The authenticator failed; the circuit ended.
    pub forged: u64,
    /// Out of cell numbers; the circuit ended.
    pub exhausted: u64,
    /// A kind or a payload that means nothing here.
    pub malformed: u64,
    /// A message for an exit at a relay that is none, or for a meeting that has not come about.
    pub not_served: u64,
    /// Over the bound of a circuit.
    pub circuit_bound: u64,
    /// Over the bound of a link.
    pub link_bound: u64,
    /// Over the bound of the node.
    pub node_bound: u64,
    /// Dropped by CoDel because its circuit had a standing queue.
    pub codel: u64,
    /// In a queue when the circuit ended.
    pub closed: u64,
}

/// Messages thrown away, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MessageDrops {
    /// A part was missing when newer messages needed the place.
    pub incomplete: u64,
    /// A part came twice.
    pub duplicate_parts: u64,
    /// A part contradicted its header or an earlier part.
    pub malformed_parts: u64,
    /// The driver had not drained its events.
    pub events_full: u64,
}

/// The queues towards the links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueMetrics {
    /// Gauge: cells that wait now.
    pub cells: u64,
    /// Gauge: memory of the queues in bytes, with what is kept for reuse.
    pub memory: u64,
    /// The longest wait of any cell.
    #[serde(rename = "max_delay_ms", serialize_with = "millis")]
    pub max_delay: Duration,
    /// Moving average (1/64) of the waits.
    #[serde(rename = "mean_delay_ms", serialize_with = "millis")]
    pub mean_delay: Duration,
    /// Waits by length: below 1, 5, 20 and 100 ms, and longer.
    pub delays: [u64; 5],
}

/// Circuits of others through this relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CircuitMetrics {
    /// Gauge: circuits in the table, half-built ones included.
    pub open: u64,
    /// Circuits that were built through this relay.
    pub built: u64,
    /// Set-ups refused because a bound on circuits was reached.
    pub refused_full: u64,
    /// Set-ups refused because the relay takes no new circuits for now.
    pub refused_draining: u64,
    /// Set-ups refused because too much work was waiting.
    pub refused_busy: u64,
    /// Set-up packets whose MAC, slot or elements were wrong.
    pub refused_packet: u64,
    /// Set-up packets that were seen before.
    pub refused_replay: u64,
    /// Set-up packets refused because the replay filter was full.
    pub refused_filter_full: u64,
    /// Frames with a circuit number that is in use or belongs to the other side, or out of turn.
    pub protocol_errors: u64,
    /// Set-ups whose next relay was unknown or not reachable.
    pub unreachable: u64,
    /// Set-ups whose next relay did not answer in time.
    pub timed_out: u64,
    /// Circuits closed because nothing moved.
    pub idle: u64,
    /// Circuits closed to make room for one of a link that has fewer.
    pub evicted: u64,
    /// Circuits that ended for any reason.
    pub closed: u64,
}

/// Circuits of this node as their origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OwnMetrics {
    /// Gauge: circuits that are ready or being built.
    pub open: u64,
    /// Circuits that became ready.
    pub ready: u64,
    /// Circuits that failed before.
    pub failed: u64,
    /// Ready circuits that ended without being closed here.
    pub lost: u64,
    /// Probes sent.
    pub pings: u64,
    /// Probes without answer.
    pub pings_lost: u64,
}

/// Public-key work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkMetrics {
    /// Jobs handed out.
    pub jobs: u64,
    /// Their estimated cost.
    #[serde(rename = "cost_ms", serialize_with = "millis")]
    pub cost: Duration,
    /// Gauge: set-ups that wait for their turn.
    pub waiting: u64,
    /// Gauge: jobs handed out and not returned.
    pub running: u64,
}

/// Descriptors over links, in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DescriptorMetrics {
    /// Parts of this relay's descriptor that it gave.
    pub parts_given: u64,
    /// Parts that it was asked for and did not give: over a bound, or there is no such part.
    pub parts_refused: u64,
    /// Parts that came and that nobody here had asked for.
    pub parts_unasked: u64,
}

impl QueueMetrics {
    pub(crate) fn note(&mut self, waited: Duration) {
        self.max_delay = self.max_delay.max(waited);
        self.mean_delay = (self.mean_delay * 63 + waited) / 64;
        let bucket = match waited.as_micros() {
            0..1_000 => 0,
            1_000..5_000 => 1,
            5_000..20_000 => 2,
            20_000..100_000 => 3,
            _ => 4,
        };
        self.delays[bucket] += 1;
    }
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}
