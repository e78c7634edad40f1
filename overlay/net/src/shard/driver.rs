//! The shard's thread and its turns.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use zmesh_proto::node::{Job, Node, NodeConfig};

use super::bell::Bell;
use super::core::Core;
use super::jobs::Jobs;
use super::udp::UdpSockets;
use super::{Asks, COMMANDS, Command, Shard};
use crate::api::NodeError;
use crate::carrier::{Aside, Carrier, Hub, Streams, open_stream};
use crate::{Network, clock, local, quic};

/// Datagrams of one turn.
const TURN: usize = 64;

/// How long a stopping shard goes on, so that neighbours hear of the end.
const LINGER: Duration = Duration::from_millis(100);

/// How long look-ups that block may hold up the end of the thread.
const RUNTIME_END: Duration = Duration::from_millis(200);

/// How often the node learns the wall time again, in case somebody sets it.
const CLOCK: Duration = Duration::from_secs(10);

/// How the start went: the shard and its addresses.
type Report = Result<(Arc<Shard>, Vec<SocketAddr>), NodeError>;

/// The body of the shard's thread.
pub(super) fn run(
    bind: &[SocketAddr],
    config: NodeConfig,
    network: Option<Arc<Network>>,
    report: oneshot::Sender<Report>,
    ready: impl FnOnce() -> Result<(), NodeError>,
    last_words: impl FnOnce(Vec<u8>),
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            return drop(report.send(Err(NodeError::System { what: "a runtime", source })));
        }
    };
    let inside = runtime.enter();
    let bell = Arc::new(Bell::default());
    let opened = UdpSockets::open(bind).and_then(|sockets| Ok((sockets, Jobs::start(Arc::clone(&bell), Job::run)?)));
    let (sockets, jobs) = match opened {
        Ok(opened) => opened,
        Err(error) => return drop(report.send(Err(error))),
    };
    // A relay that is no exit has no use for TLS.
    if config.relay.as_ref().is_none_or(|relay| relay.allow_local)
        && let Err(error) = quic::warm_up()
    {
        return drop(report.send(Err(NodeError::System { what: "random bytes", source: io::Error::other(error) })));
    }
    if let Err(error) = ready() {
        return drop(report.send(Err(error)));
    }
    let now = clock::now();
    let addresses = sockets.addresses();
    let traverses = config.nat.is_some();
    let mut core = Core::new(Node::new(config, now));
    let mut streams = None;
    if traverses {
        core.node.set_local_addresses(local::addresses(&addresses));
        // Without a port of TCP there is one way less to reach others.
        streams = Streams::open().ok();
    }
    if let Some(streams) = &streams {
        core.node.set_stream_port(streams.port());
    }
    if let Some(network) = network {
        core.use_network(network);
    }
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let (end, ended) = watch::channel(false);
    let shard = Arc::new(Shard {
        core: Mutex::new(core),
        asks: Mutex::new(Asks::default()),
        hub: Arc::new(Hub::new(Arc::clone(&bell))),
        streams,
        nat: watch::Sender::default(),
        bell,
        commands,
        runtime: runtime.handle().clone(),
        exit: OnceLock::new(),
        ended,
    });
    if report.send(Ok((Arc::clone(&shard), addresses))).is_err() {
        shard.stop();
    }
    let driver = Driver {
        shard: Arc::clone(&shard),
        others: vec![Box::new(Aside::default()), Box::new(Arc::clone(&shard.hub))],
        traverses,
        sockets,
        jobs,
        commands: receiver,
        timer: Box::pin(tokio::time::sleep(CLOCK)),
        deadline: None,
        clock_due: now + CLOCK,
        stopping: None,
    };
    drop(inside);
    // A task, and not the runtime's main future: tasks take turns without a look at the sockets in between.
    let farewell = runtime.block_on(runtime.spawn(driver)).unwrap_or_else(|error| {
        tracing::error!(%error, "the shard's thread failed");
        false
    });
    let replay = {
        let mut core = shard.core();
        core.close_all(clock::now());
        core.node.replay_state()
    };
    if farewell {
        last_words(replay);
    }
    // Name look-ups of an egress may hang in the runtime's pool; nobody waits for them.
    runtime.shutdown_timeout(RUNTIME_END);
    end.send_replace(true);
}

struct Driver {
    shard: Arc<Shard>,
    sockets: UdpSockets,
    /// Carriers that are not the data socket.
    others: Vec<Box<dyn Carrier>>,
    /// Whether the node is told of addresses of this machine.
    traverses: bool,
    jobs: Jobs,
    commands: mpsc::Receiver<Command>,
    timer: Pin<Box<Sleep>>,
    deadline: Option<Instant>,
    clock_due: Instant,
    stopping: Option<Instant>,
}

impl Future for Driver {
    /// Whether the end was a proper one.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.get_mut();
        this.shard.bell.answer(cx.waker());
        let now = clock::now();
        #[cfg(feature = "testnet")]
        if this.shard.asks().stop == Some(super::Stop::Sudden) {
            return Poll::Ready(false);
        }
        let (more, closed_locals, next) = this.turn(cx, now);
        if let Some(exit) = this.shard.exit.get() {
            exit.circuits_closed(&closed_locals);
        }
        if this.stopping.is_some_and(|until| now >= until) {
            return Poll::Ready(true);
        }
        if more {
            cx.waker().wake_by_ref();
        } else {
            this.arm(cx, next);
        }
        Poll::Pending
    }
}

impl Driver {
    /// One turn; says whether more is waiting, which circuits of others have ended here, and when the node is due next.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> (bool, Vec<zmesh_proto::node::LocalId>, Option<Instant>) {
        let shard = &self.shard;
        if self.jobs.has_failed() && self.stopping.is_none() {
            tracing::error!("public-key work has failed: the shard ends");
            shard.stop();
        }
        let asks = std::mem::take(&mut *shard.asks());
        let mut core = shard.core();
        let stop = asks.stop;
        core.asked(now, asks);
        if stop.is_some() && self.stopping.is_none() {
            core.close_all(now);
            self.stopping = Some(now + LINGER);
            self.commands.close();
        }
        let udp = self.sockets.counters();
        let mut more = true;
        for _ in 0..TURN {
            let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) else {
                more = false;
                break;
            };
            core.command(now, command, udp);
        }
        while let Some(done) = self.jobs.result() {
            core.node.handle_job(now, done);
        }
        // The next turn ends the shard.
        more |= self.jobs.has_failed() && self.stopping.is_none();
        more |= self.sockets.receive(cx, TURN, |from, datagram| core.node.handle_datagram(now, from, datagram));
        for carrier in &mut self.others {
            let mut handle = |from: SocketAddr, datagram: &mut [u8]| core.node.handle_datagram(now, from, datagram);
            more |= carrier.poll_receive(cx, TURN, &mut handle).is_ready();
        }
        if now >= self.clock_due {
            self.clock_due = now + CLOCK;
            core.node.set_clock(now, clock::unix_nanos());
            self.others.iter_mut().for_each(|carrier| carrier.sweep());
            if self.traverses {
                core.node.set_local_addresses(local::addresses(&self.sockets.addresses()));
            }
        }
        if core.node.next_timeout().is_some_and(|due| due <= now) {
            core.node.handle_timeout(now);
        }
        core.events(now, shard);
        core.node.flush(now);
        core.events(now, shard);
        for transmit in core.node.transmits() {
            match self.others.iter_mut().find(|carrier| carrier.carries(transmit.to)) {
                Some(carrier) => carrier.send(transmit.to, transmit.segment, transmit.data),
                None => self.sockets.send(transmit.to, transmit.segment, transmit.data),
            }
        }
        core.node.clear_transmits();
        while let Some((attempt, to)) = core.node.poll_connect() {
            tokio::spawn(open_stream(Arc::downgrade(shard), attempt, to));
        }
        self.jobs.submit(|| core.node.poll_job());
        (more, core.take_closed_locals(), core.node.next_timeout())
    }

    /// Sets the one timer to whatever comes first.
    fn arm(&mut self, cx: &mut Context<'_>, next: Option<Instant>) {
        let due = [next, self.stopping, Some(self.clock_due)].into_iter().flatten().min();
        let Some(due) = due else { return };
        if self.deadline != Some(due) {
            self.deadline = Some(due);
            self.timer.as_mut().reset(due.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.deadline = None;
            cx.waker().wake_by_ref();
        }
    }
}
