//! The figures that a relay offers to its operator's monitoring, all of them.
//!
//! The policy (`specs/guide/operator.md`): totals and gauges of the whole relay. **Never** a figure, a label or a name of a
//! single circuit, link, peer, address, destination, session or file; never a time of a single event; nothing by which two
//! scrapes could be matched with what somebody else saw. [`Snapshot`]s are therefore taken every [`EVERY`], not when asked.

use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use zmesh_control::directory::DirectoryStatus;
use zmesh_overlay::RelayMetrics;

/// How old figures may be. Coarser than this would hide outages; finer would show when single circuits begin and end.
pub(crate) const EVERY: Duration = Duration::from_secs(15);

/// The relay's figures at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When it was taken. Never exported: it says how old the rest is.
    pub(crate) taken: Instant,
    pub(crate) relay: RelayMetrics,
    pub(crate) up: Duration,
    pub(crate) memory: Option<u64>,
    /// Relays in the network document, and whether this one is among them.
    pub(crate) relays: usize,
    pub(crate) listed: bool,
    /// When the network document ends, unix seconds.
    pub(crate) valid_until: u64,
    /// What the relay knows as a member of a directory, if it is one.
    pub(crate) directory: Option<DirectoryStatus>,
    pub(crate) draining: bool,
    pub(crate) month: Month,
}

/// The bytes of this calendar month.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Month {
    pub(crate) sent: u64,
    /// 0 for no limit.
    pub(crate) limit: u64,
}

enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

struct Figure {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Snapshot) -> f64,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Snapshot) -> f64) -> Figure {
    Figure { name, help, kind: Kind::Counter, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Snapshot) -> f64) -> Figure {
    Figure { name, help, kind: Kind::Gauge, value }
}

/// Counters are far below 2⁵³, where a float begins to skip whole numbers.
const FIGURES: &[Figure] = &[
    gauge("up_seconds", "Time since the relay started", |s| s.up.as_secs_f64().floor()),
    gauge("memory_bytes", "Memory that the process holds", |s| s.memory.unwrap_or(0) as f64),
    gauge("draining", "1 while the relay takes no new circuits", |s| f64::from(u8::from(s.draining))),
    gauge("network_relays", "Relays in the network document", |s| s.relays as f64),
    gauge("network_listed", "1 if this relay is in the network document", |s| f64::from(u8::from(s.listed))),
    gauge("network_valid_until_seconds", "When the network document ends, unix time", |s| s.valid_until as f64),
    gauge("directory_epoch", "Epoch of the newest document that voters agreed on; 0 for none", |s| {
        s.directory.map_or(0, |directory| directory.epoch) as f64
    }),
    gauge("directory_peers", "Relays that are connected to agree on documents", |s| {
        s.directory.map_or(0, |directory| directory.control.peers) as f64
    }),
    gauge("network_alive_relays", "Relays that said within two epochs that they live", |s| {
        s.directory.map_or(0, |directory| directory.health.alive) as f64
    }),
    gauge(
        "network_load_step",
        "Load of the middle relay as it says: 0 unknown, 1 to 4 for quarters of what it can do",
        |s| f64::from(s.directory.and_then(|directory| directory.health.typical_load()).unwrap_or(0)),
    ),
    gauge("month_sent_bytes", "Bytes sent in this calendar month (UTC)", |s| s.month.sent as f64),
    gauge("month_limit_bytes", "Bytes that may be sent in a month; 0 for no limit", |s| s.month.limit as f64),
    counter("received_bytes", "Bytes of datagrams received", |s| s.relay.bytes_received as f64),
    counter("sent_bytes", "Bytes of datagrams sent", |s| s.relay.bytes_sent as f64),
    counter("received_datagrams", "Datagrams received", |s| s.relay.datagrams_received as f64),
    counter("sent_datagrams", "Datagrams sent", |s| s.relay.datagrams_sent as f64),
    counter("unsent_datagrams", "Datagrams that the system did not take", |s| s.relay.datagrams_unsent as f64),
    gauge("links", "Links that are up", |s| s.relay.node.links_up as f64),
    counter("link_handshakes", "Link sessions established", |s| s.relay.node.links.handshakes as f64),
    counter("link_refused_junk", "Datagrams that are none of this protocol", |s| {
        s.relay.node.links.refused_junk as f64
    }),
    counter("link_refused_replay", "Datagrams seen before or too old", |s| s.relay.node.links.refused_replay as f64),
    counter("link_refused_forged", "Datagrams that are not authentic", |s| s.relay.node.links.refused_bad_tag as f64),
    counter("link_refused_over_limit", "Handshakes over a limit", |s| s.relay.node.links.refused_over_limit as f64),
    gauge("circuits", "Circuits through this relay", |s| s.relay.node.circuits.open as f64),
    counter("circuits_built", "Circuits built through this relay", |s| s.relay.node.circuits.built as f64),
    counter("circuits_refused_full", "Set-ups over a limit of circuits", |s| s.relay.node.circuits.refused_full as f64),
    counter("circuits_refused_busy", "Set-ups beyond the work budget", |s| s.relay.node.circuits.refused_busy as f64),
    counter("circuits_refused_draining", "Set-ups while draining", |s| s.relay.node.circuits.refused_draining as f64),
    counter("circuits_refused_packet", "Set-ups with a wrong packet", |s| s.relay.node.circuits.refused_packet as f64),
    counter("circuits_refused_replay", "Set-ups seen before", |s| s.relay.node.circuits.refused_replay as f64),
    counter("cells_forwarded", "Cells passed on", |s| s.relay.node.cells_forwarded as f64),
    counter("cells_dropped_bounds", "Cells over a bound of a queue", |s| bounds(s) as f64),
    counter("cells_dropped_codel", "Cells dropped by CoDel", |s| s.relay.node.drops.codel as f64),
    counter("cells_dropped_forged", "Cells whose authenticator failed", |s| s.relay.node.drops.forged as f64),
    counter("cells_repaired", "Cells received by loss repair", |s| s.relay.node.links.cells_repaired as f64),
    gauge("queue_cells", "Cells that wait", |s| s.relay.node.queue.cells as f64),
    gauge("queue_bytes", "Memory of the queues", |s| s.relay.node.queue.memory as f64),
    gauge("queue_delay_seconds", "Mean wait of a cell", |s| s.relay.node.queue.mean_delay.as_secs_f64()),
    counter("work_seconds", "Public-key work, estimated", |s| s.relay.node.work.cost.as_secs_f64()),
    gauge("exit_sessions", "QUIC sessions up at this exit", |s| s.relay.sessions as f64),
    gauge("exit_streams", "Streams open at this exit", |s| s.relay.streams as f64),
];

fn bounds(snapshot: &Snapshot) -> u64 {
    let drops = &snapshot.relay.node.drops;
    drops.circuit_bound + drops.link_bound + drops.node_bound
}

#[derive(Debug)]
struct Exported(Snapshot);

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        for figure in FIGURES {
            let value = (figure.value)(&self.0);
            match figure.kind {
                Kind::Counter => one(&mut encoder, figure, &ConstCounter::new(value))?,
                Kind::Gauge => one(&mut encoder, figure, &ConstGauge::new(value))?,
            }
        }
        Ok(())
    }
}

fn one(encoder: &mut DescriptorEncoder<'_>, figure: &Figure, metric: &impl EncodeMetric) -> std::fmt::Result {
    metric.encode(encoder.encode_descriptor(figure.name, figure.help, None, metric.metric_type())?)
}

/// The figures in the text format of OpenMetrics 1.0.
pub(crate) fn open_metrics(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("zmesh");
    registry.register_collector(Box::new(Exported(snapshot)));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes everything");
    text
}

#[cfg(test)]
pub(crate) fn sample() -> Snapshot {
    Snapshot {
        taken: Instant::now(),
        relay: RelayMetrics::default(),
        up: Duration::from_millis(90_400),
        memory: Some(1 << 20),
        relays: 9,
        listed: true,
        valid_until: 1_800_000_000,
        directory: None,
        draining: false,
        month: Month { sent: 5, limit: 10 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_figure_is_exported_once_without_labels() {
        let text = open_metrics(sample());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), FIGURES.len());
        let names: BTreeSet<&str> = FIGURES.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), FIGURES.len(), "a name stands twice");
        assert!(lines.iter().all(|line| line.starts_with("zmesh_") && !line.contains('{')), "{text}");
        assert!(text.contains("zmesh_up_seconds 90.0\n") && text.contains("zmesh_month_sent_bytes 5.0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    /// What is exported is a decision: whoever adds a figure reads the policy above and changes this number.
    #[test]
    fn the_list_is_this_long() {
        assert_eq!(FIGURES.len(), 41);
    }
}
