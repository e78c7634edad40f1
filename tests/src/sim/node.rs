//! A zMesh node as a host of the simulation, with an app on top.

use std::any::Any;
use std::time::{Duration, Instant};

use zmesh_proto::node::{Event, JobDone, Metrics, Node};

use super::cost::Costs;
use super::host::{Host, Outbox, Received};

/// What uses a node: it sees the node's events and gives commands, in the node's own turns.
pub trait App: Any {
    /// Called once in every turn of the node, before the node is flushed; due timers are this app's to find.
    fn turn(&mut self, now: Instant, node: &mut Node);

    /// Something happened.
    fn event(&mut self, now: Instant, node: &mut Node, event: Event);

    /// When the app wants its next turn.
    fn next_timeout(&self) -> Option<Instant>;
}

/// An app that does nothing: a relay that only forwards.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoApp;

impl App for NoApp {
    fn turn(&mut self, _: Instant, _: &mut Node) {}

    fn event(&mut self, _: Instant, _: &mut Node, _: Event) {}

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

/// A node, its app, and the account of what their work costs.
pub struct NodeHost {
    node: Node,
    app: Box<dyn App>,
    done: Option<JobDone>,
    before: Work,
    started: bool,
    poked: bool,
    /// A host of an attacker: its own work takes no time.
    free: bool,
    costs: Costs,
}

/// The counters by which work is charged.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    relayed: u64,
    own_in: u64,
    own_out: u64,
    refused: u64,
}

impl NodeHost {
    /// A host for this node and app.
    #[must_use]
    pub fn new(node: Node, app: Box<dyn App>) -> NodeHost {
        NodeHost {
            node,
            app,
            done: None,
            before: Work::default(),
            started: false,
            poked: false,
            free: false,
            costs: Costs::NATIVE,
        }
    }

    /// Makes the host an attacker's: work that it does itself takes no time.
    pub fn set_free(&mut self) {
        self.free = true;
    }

    /// Makes the host another kind of machine.
    pub fn set_costs(&mut self, costs: Costs) {
        self.costs = costs;
    }

    /// The node's counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.node.metrics()
    }

    /// The app.
    ///
    /// # Panics
    /// When the app is of another type.
    pub fn app<A: App>(&mut self) -> &mut A {
        let app: &mut dyn Any = self.app.as_mut();
        app.downcast_mut().expect("the app was added as this type")
    }

    /// The node, for a command; the next turn flushes it, which [`super::Sim::poke`] brings about.
    pub fn command(&mut self) -> &mut Node {
        self.poked = true;
        &mut self.node
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) -> Duration {
        self.app.turn(now, &mut self.node);
        while let Some(event) = self.node.poll_event() {
            self.app.event(now, &mut self.node, event);
        }
        self.node.flush(now);
        let before = out.len();
        for transmit in self.node.transmits() {
            for datagram in transmit.data.chunks(transmit.segment) {
                out.send(transmit.to, datagram.to_vec());
            }
        }
        self.node.clear_transmits();
        let sent = u32::try_from(out.len() - before).unwrap_or(u32::MAX);
        self.costs.datagram_out * sent + self.cells()
    }

    /// Charges the cells that moved since the last call.
    fn cells(&mut self) -> Duration {
        let metrics = self.node.metrics();
        let links = &metrics.links;
        let work = Work {
            relayed: metrics.cells_forwarded + metrics.cells_for_this_relay,
            own_in: metrics.cells_for_origin,
            own_out: metrics.cells_sent.saturating_sub(metrics.cells_forwarded),
            refused: links.refused_junk + links.refused_unknown_index,
        };
        let was = std::mem::replace(&mut self.before, work);
        let cells = |now: u64, was: u64| u32::try_from(now.saturating_sub(was)).unwrap_or(u32::MAX);
        // An origin puts on or takes off a layer for every hop, a relay one; three is the usual number of hops.
        let layers = cells(work.relayed, was.relayed)
            .saturating_add(cells(work.own_in, was.own_in).saturating_mul(3))
            .saturating_add(cells(work.own_out, was.own_out).saturating_mul(2));
        // What was refused at a look at its header was charged as if it had been opened.
        let refused = cells(work.refused, was.refused);
        (self.costs.cell * layers).saturating_sub(self.costs.datagram_in.saturating_sub(self.costs.junk) * refused)
    }

    fn charge(&self, cost: Duration) -> Duration {
        if self.free { Duration::ZERO } else { cost }
    }
}

impl Host for NodeHost {
    fn turn(&mut self, now: Instant, batch: &mut [Received], out: &mut Outbox) -> Duration {
        self.started = true;
        self.poked = false;
        for received in batch.iter_mut() {
            self.node.handle_datagram(now, received.from, &mut received.data);
        }
        if self.node.next_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
        }
        let came_in = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let cost = self.costs.turn + self.costs.datagram_in * came_in + self.drain(now, out);
        self.charge(cost)
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.node.next_timeout(), self.app.next_timeout()].into_iter().flatten().min()
    }

    fn wants_turn(&self) -> bool {
        !self.started || self.poked
    }

    fn start_job(&mut self) -> Option<Duration> {
        let job = self.node.poll_job()?;
        let cost = job.cost();
        self.done = Some(job.run());
        Some(self.charge(cost))
    }

    fn finish_job(&mut self, now: Instant, out: &mut Outbox) -> Duration {
        if let Some(done) = self.done.take() {
            self.node.handle_job(now, done);
        }
        let cost = self.drain(now, out);
        self.charge(cost)
    }
}

impl std::fmt::Debug for NodeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHost").field("node", &self.node).finish_non_exhaustive()
    }
}
