//! The figures that a relay offers to its operator's monitoring, all of them.
//!
//! The policy (`specs/guide/operator.md`): totals and gauges of the whole relay. **Never** a figure, a label or a name of a
//! single circuit, link, peer, address, destination, session or file; never a time of a single event; nothing by which two
//! scrapes could be matched with what somebody else saw. [`Snapshot`]s are therefore taken every [`EVERY`], not when asked, and
//! what single users move is rounded ([`Told`]), so that one of them more or less does not show.

use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use zmesh_control::directory::DirectoryStatus;
use zmesh_overlay::RelayMetrics;

use super::told::Told;

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
    value: fn(&Snapshot) -> Told,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Snapshot) -> Told) -> Figure {
    Figure { name, help, kind: Kind::Counter, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Snapshot) -> Told) -> Figure {
    Figure { name, help, kind: Kind::Gauge, value }
}

/// Counters are far below 2⁵³, where a float begins to skip whole numbers.
const FIGURES: &[Figure] = &[
    gauge("up_seconds", "Time since the relay started", |s| Told::known(s.up.as_secs())),
    gauge("memory_bytes", "Memory that the process holds, by 16 MiB", |s| Told::total(s.memory.unwrap_or(0), 16 * MIB)),
    gauge("draining", "1 while the relay takes no new circuits", |s| Told::known(u64::from(s.draining))),
    gauge("network_relays", "Relays in the network document", |s| Told::known(s.relays as u64)),
    gauge("network_listed", "1 if this relay is in the network document", |s| Told::known(u64::from(s.listed))),
    gauge("network_valid_until_seconds", "When the network document ends, unix time", |s| Told::known(s.valid_until)),
    gauge("directory_epoch", "Epoch of the newest document that voters agreed on; 0 for none", |s| {
        Told::known(s.directory.map_or(0, |directory| directory.epoch))
    }),
    gauge("directory_peers", "Relays that are connected to agree on documents, in steps", |s| {
        Told::level(s.directory.map_or(0, |directory| directory.control.peers as u64))
    }),
    gauge("network_alive_relays", "Relays that said within two epochs that they live", |s| {
        Told::known(s.directory.map_or(0, |directory| directory.health.alive as u64))
    }),
    gauge(
        "network_load_step",
        "Load of the middle relay as it says: 0 unknown, 1 to 4 for quarters of what it can do",
        |s| Told::known(s.directory.and_then(|directory| directory.health.typical_load()).unwrap_or(0).into()),
    ),
    gauge("month_sent_bytes", "Bytes sent in this calendar month (UTC), by MiB", |s| Told::total(s.month.sent, MIB)),
    gauge("month_limit_bytes", "Bytes that may be sent in a month; 0 for no limit", |s| Told::known(s.month.limit)),
    counter("received_bytes", "Bytes of datagrams received, by MiB", |s| Told::total(s.relay.bytes_received, MIB)),
    counter("sent_bytes", "Bytes of datagrams sent, by MiB", |s| Told::total(s.relay.bytes_sent, MIB)),
    counter("received_datagrams", "Datagrams received, by 1,024", |s| Told::total(s.relay.datagrams_received, MANY)),
    counter("sent_datagrams", "Datagrams sent, by 1,024", |s| Told::total(s.relay.datagrams_sent, MANY)),
    counter("unsent_datagrams", "Datagrams that the system did not take, by 32", |s| few(s.relay.datagrams_unsent)),
    gauge("links", "Links that are up, in steps", |s| Told::level(s.relay.node.links_up)),
    counter("link_handshakes", "Link sessions established, by 32", |s| few(s.relay.node.links.handshakes)),
    counter("link_refused_junk", "Datagrams that are none of this protocol, by 32", |s| {
        few(s.relay.node.links.refused_junk)
    }),
    counter("link_refused_replay", "Datagrams seen before or too old, by 32", |s| {
        few(s.relay.node.links.refused_replay)
    }),
    counter("link_refused_forged", "Datagrams that are not authentic, by 32", |s| {
        few(s.relay.node.links.refused_bad_tag)
    }),
    counter("link_refused_over_limit", "Handshakes over a limit, by 32", |s| {
        few(s.relay.node.links.refused_over_limit)
    }),
    gauge("circuits", "Circuits through this relay, in steps", |s| Told::level(s.relay.node.circuits.open)),
    counter("circuits_built", "Circuits built through this relay, by 32", |s| few(s.relay.node.circuits.built)),
    counter("circuits_refused_full", "Set-ups over a limit of circuits, by 32", |s| {
        few(s.relay.node.circuits.refused_full)
    }),
    counter("circuits_refused_busy", "Set-ups beyond the work budget, by 32", |s| {
        few(s.relay.node.circuits.refused_busy)
    }),
    counter("circuits_refused_draining", "Set-ups while draining, by 32", |s| {
        few(s.relay.node.circuits.refused_draining)
    }),
    counter("circuits_refused_packet", "Set-ups with a wrong packet, by 32", |s| {
        few(s.relay.node.circuits.refused_packet)
    }),
    counter("circuits_refused_replay", "Set-ups seen before, by 32", |s| few(s.relay.node.circuits.refused_replay)),
    counter("cells_forwarded", "Cells passed on, by 1,024", |s| Told::total(s.relay.node.cells_forwarded, MANY)),
    counter("cells_dropped_bounds", "Cells over a bound of a queue, by 32", |s| few(bounds(s))),
    counter("cells_dropped_codel", "Cells dropped by CoDel, by 32", |s| few(s.relay.node.drops.codel)),
    counter("cells_dropped_forged", "Cells whose authenticator failed, by 32", |s| few(s.relay.node.drops.forged)),
    counter("cells_repaired", "Cells received by loss repair, by 32", |s| few(s.relay.node.links.cells_repaired)),
    gauge("queue_cells", "Cells that wait, in steps", |s| Told::level(s.relay.node.queue.cells)),
    gauge("queue_bytes", "Memory of the queues, by 64 KiB", |s| Told::total(s.relay.node.queue.memory, 64 << 10)),
    gauge("queue_delay_seconds", "Mean wait of a cell, by milliseconds", |s| Told::wait(s.relay.node.queue.mean_delay)),
    counter("work_seconds", "Public-key work, estimated, by seconds", |s| {
        Told::known(s.relay.node.work.cost.as_secs())
    }),
    gauge("exit_sessions", "QUIC sessions up at this exit, in steps", |s| Told::level(s.relay.sessions as u64)),
    gauge("exit_streams", "Streams open at this exit, in steps", |s| Told::level(s.relay.streams as u64)),
];

const MIB: u64 = 1 << 20;
/// What calls and transfers have many of.
const MANY: u64 = 1_024;

/// A total of what single users have few of.
fn few(count: u64) -> Told {
    Told::total(count, 32)
}

fn bounds(snapshot: &Snapshot) -> u64 {
    let drops = &snapshot.relay.node.drops;
    drops.circuit_bound + drops.link_bound + drops.node_bound
}

#[derive(Debug)]
struct Exported(Snapshot);

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        for figure in FIGURES {
            let value = (figure.value)(&self.0).value();
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
        month: Month { sent: (5 << 20) + 77, limit: 10 },
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
        assert!(
            text.contains("zmesh_up_seconds 90.0\n") && text.contains("zmesh_month_sent_bytes 5242880.0\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    /// A relay with one user more, in all that one user moves, exports the same text.
    #[test]
    fn one_user_more_does_not_show() {
        let mut quiet = sample();
        quiet.relay.bytes_sent = 3 << 20;
        quiet.relay.node.circuits.built = 64;
        let text = |change: &dyn Fn(&mut Snapshot)| {
            let mut snapshot = quiet.clone();
            change(&mut snapshot);
            open_metrics(snapshot)
        };
        let one_more = text(&|s| {
            let RelayMetrics { node, sessions, streams, .. } = &mut s.relay;
            (*sessions, *streams) = (1, 3);
            (node.links_up, node.circuits.open, node.queue.cells) = (1, 3, 5);
            (node.links.handshakes, node.circuits.built) = (1, 64 + 3);
            (node.cells_forwarded, node.queue.memory, node.drops.forged) = (900, 9_000, 1);
            node.work.cost = Duration::from_millis(2);
            s.relay.bytes_sent += 500_000;
            s.relay.datagrams_sent += 900;
            s.month.sent += 500_000;
            s.memory = s.memory.map(|memory| memory + 500_000);
        });
        assert_eq!(one_more, text(&|_| ()));
        let crowd = text(&|s| (s.relay.sessions, s.relay.node.circuits.open) = (9, 5_000));
        assert!(crowd.contains("zmesh_exit_sessions 8.0\n") && crowd.contains("zmesh_circuits 4096.0\n"), "{crowd}");
    }

    /// What is exported is a decision: whoever adds a figure reads the policy above and changes this number.
    #[test]
    fn the_list_is_this_long() {
        assert_eq!(FIGURES.len(), 41);
    }
}
