//! A circuit to an exit with QUIC over it, and the task that keeps the two together.

use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use zmesh_proto::node::CircuitId;

use super::standby::Standby;
use super::watch::Watch;
use super::{Carrier, Origin, Wanted};
use crate::api::{CircuitError, ConnectError, ConnectErrorKind, HopInfo, NodeEvent, PathSpec};
use crate::egress::Target;
use crate::quic::{Channel, CircuitSocket, Flow, Opened, codes};
use crate::shard::{Command, Shard, Sink};
use crate::{RelayId, clock};

/// How long a session may search for another circuit to the same exit. With the time in which a circuit is found dead
/// it stays under 5 s.
const REBUILD: Duration = Duration::from_millis(1800);

/// How long the last packets of a connection may take to leave.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long a probe may take.
const PING: Duration = Duration::from_secs(5);

/// Where QUIC stands.
#[derive(Clone)]
enum State {
    /// Shaking hands.
    Shaking,
    /// Ready for requests.
    Up(Arc<Channel>),
    /// The circuit died; another one to the same exit is being built under the connection.
    Moving,
    /// Over.
    Ended(CircuitError),
}

/// A circuit to an exit with QUIC over it. Dropping it closes both.
pub(crate) struct ExitCircuit {
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
}

struct Shared {
    shard: Arc<Shard>,
    origin: Weak<Origin>,
    exit: RelayId,
    spec: PathSpec,
    born: Instant,
    carrier: Mutex<Arc<Carrier>>,
    state: watch::Sender<State>,
    /// Whether the circuit is replaced when it dies.
    kept: AtomicBool,
}

impl Origin {
    /// Builds a circuit to an exit; QUIC's handshake goes on when this returns.
    ///
    /// # Cancel safety
    /// Dropping the future gives the circuit up.
    pub(crate) async fn exit_circuit(self: &Arc<Self>, spec: &PathSpec) -> Result<Arc<ExitCircuit>, CircuitError> {
        if spec.hops == 0 {
            return Err(CircuitError::BadPath("a path has at least one relay"));
        }
        let mut socket = None;
        let carrier = self
            .build(&Wanted::exit(spec), &[], |path| {
                let exit = path.last().copied().unwrap_or(RelayId([0; 16]));
                let fresh = CircuitSocket::origin(Arc::clone(&self.shard), exit);
                socket = Some((exit, Arc::clone(&fresh)));
                Sink::Quic(fresh)
            })
            .await?;
        let (exit, socket) = socket.ok_or(CircuitError::BadPath("the path is empty"))?;
        let network = self.network();
        let key = network.relay(&exit).and_then(|relay| relay.exit_key());
        let key = key.ok_or(CircuitError::BadPath("the last relay of the path is no exit"))?;
        Ok(ExitCircuit::start(self, spec.clone(), exit, key, carrier, socket))
    }
}

impl ExitCircuit {
    fn start(
        origin: &Arc<Origin>,
        spec: PathSpec,
        exit: RelayId,
        key: [u8; 32],
        carrier: Carrier,
        socket: Arc<CircuitSocket>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            shard: Arc::clone(&origin.shard),
            origin: Arc::downgrade(origin),
            exit,
            spec,
            born: clock::now(),
            carrier: Mutex::new(Arc::new(carrier)),
            state: watch::Sender::new(State::Shaking),
            kept: AtomicBool::new(false),
        });
        let (closing, close) = watch::channel(false);
        shared.shard.runtime.spawn(supervise(Arc::clone(&shared), socket, key, close));
        Arc::new(Self { shared, closing })
    }

    /// Replaces the circuit when it dies, from now on.
    pub(crate) fn keep(&self) {
        self.shared.kept.store(true, Ordering::Relaxed);
    }

    pub(crate) fn exit(&self) -> RelayId {
        self.shared.exit
    }

    pub(crate) fn born(&self) -> Instant {
        self.shared.born
    }

    pub(crate) fn carrier(&self) -> Arc<Carrier> {
        self.shared.carrier()
    }

    pub(crate) fn path(&self) -> Vec<HopInfo> {
        self.carrier().path.clone()
    }

    /// Whether a request may be made now, or very soon.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Shaking | State::Up(_))
    }

    /// Whether a request costs one round trip now.
    pub(crate) fn is_warm(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Up(_))
    }

    /// Waits until QUIC is up.
    pub(crate) async fn ready(&self) -> Result<Arc<Channel>, CircuitError> {
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| matches!(state, State::Up(_) | State::Ended(_))).await;
        match settled.as_deref() {
            Ok(State::Up(channel)) => Ok(Arc::clone(channel)),
            Ok(State::Ended(error)) => Err(error.clone()),
            _ => Err(CircuitError::ShutDown),
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> CircuitError {
        let mut state = self.shared.state.subscribe();
        match state.wait_for(|state| matches!(state, State::Ended(_))).await.as_deref() {
            Ok(State::Ended(error)) => error.clone(),
            _ => CircuitError::ShutDown,
        }
    }

    /// Why the circuit has ended, if it has.
    pub(crate) fn end(&self) -> Option<CircuitError> {
        match &*self.shared.state.borrow() {
            State::Ended(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Closes connection and circuit.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(crate) async fn connect(&self, target: &Target) -> Result<Opened, ConnectError> {
        self.or_lost(self.ready().await?.connect(target)).await
    }

    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        self.or_lost(self.ready().await?.resolve(name)).await
    }

    pub(crate) async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        self.or_lost(self.ready().await?.resolve_ptr(ip)).await
    }

    pub(crate) async fn bind_udp(&self) -> Result<Flow, ConnectError> {
        self.or_lost(self.ready().await?.bind_udp(&self.shared.shard.runtime)).await
    }

    /// A request that ends with the circuit at the latest, and then says why the circuit ended.
    async fn or_lost<T>(&self, request: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
        match request.await {
            Err(error) if error.kind() == ConnectErrorKind::Lost => match self.end() {
                Some(end) => Err(ConnectError::new(ConnectErrorKind::Lost, end.to_string())),
                None => Err(error),
            },
            other => other,
        }
    }

    /// Measures the round trip to a hop.
    pub(crate) async fn ping(&self, hop: usize) -> Result<Duration, CircuitError> {
        ping(&self.shared.shard, &self.carrier(), hop).await
    }
}

/// Measures the round trip to a hop of a circuit.
pub(crate) async fn ping(shard: &Shard, carrier: &Carrier, hop: usize) -> Result<Duration, CircuitError> {
    if hop >= carrier.path.len() {
        return Err(CircuitError::NoSuchHop(hop));
    }
    probe(shard, carrier.circuit.id, hop).await
}

/// Measures the round trip to a hop that a circuit has.
pub(crate) async fn probe(shard: &Shard, circuit: CircuitId, hop: usize) -> Result<Duration, CircuitError> {
    let (answer, pong) = oneshot::channel();
    if !shard.command(Command::Ping { circuit, hop, answer }).await {
        return Err(CircuitError::ShutDown);
    }
    match timeout(PING, pong).await {
        Err(_) => Err(CircuitError::Timeout),
        Ok(Ok(Ok(rtt))) => Ok(rtt),
        Ok(Ok(Err(reason))) => Err(CircuitError::Closed(reason)),
        Ok(Err(_)) => Err(CircuitError::ShutDown),
    }
}

impl Shared {
    fn carrier(&self) -> Arc<Carrier> {
        Arc::clone(&self.carrier.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self, error: CircuitError) {
        self.state.send_replace(State::Ended(error));
    }

    /// Builds another circuit to the same exit for the same connection, by another guard where there is one: the old
    /// one may be what died.
    async fn rebuild(&self, socket: &Arc<CircuitSocket>, standby: &Standby) -> Result<Carrier, CircuitError> {
        let origin = self.origin.upgrade().ok_or(CircuitError::ShutDown)?;
        origin.tell(NodeEvent::Rebuilding);
        let old = standby.others(&self.carrier().path);
        let wanted = standby.wanted();
        let building = origin.build(&wanted, &old, |_| Sink::Quic(Arc::clone(socket)));
        timeout(REBUILD, building).await.unwrap_or(Err(CircuitError::Timeout))
    }

    /// Carries the connection by another circuit from now on.
    fn carry_by(&self, carrier: &Arc<Carrier>, socket: &CircuitSocket, channel: &Channel) {
        *self.carrier.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(carrier);
        socket.attach(carrier.circuit.id);
        channel.nudge();
    }

    /// Builds another circuit under the connection, or ends both.
    async fn rebuild_or_end(
        &self,
        reason: &str,
        socket: &Arc<CircuitSocket>,
        standby: &mut Standby,
        channel: &Arc<Channel>,
    ) -> Option<(Arc<Carrier>, Watch)> {
        self.state.send_replace(State::Moving);
        let rebuilt = if standby.may_rebuild() {
            self.rebuild(socket, standby).await
        } else {
            Err(CircuitError::Closed("too many were lost in a short time".into()))
        };
        match rebuilt {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                self.carry_by(&fresh, socket, channel);
                self.state.send_replace(State::Up(Arc::clone(channel)));
                let watch = Watch::new(fresh.path.len());
                Some((fresh, watch))
            }
            Err(error) => {
                self.end(CircuitError::Closed(format!("{reason}; no other circuit to the exit: {error}")));
                channel.connection.close(codes::CIRCUIT, reason.as_bytes());
                None
            }
        }
    }

    /// The standby takes over. It is watched closely, too: if it is as silent, the exit is what died.
    async fn move_to(&self, fresh: Arc<Carrier>, socket: &CircuitSocket, channel: &Channel) -> (Arc<Carrier>, Watch) {
        self.carry_by(&fresh, socket, channel);
        self.shard.command(Command::Watch { circuit: fresh.circuit.id, rtt: fresh.took }).await;
        if let Some(origin) = self.origin.upgrade() {
            origin.tell(NodeEvent::Moved);
        }
        let watch = Watch::new(fresh.path.len());
        (fresh, watch)
    }

    fn died(&self, carrier: &Carrier) {
        if let Some(origin) = self.origin.upgrade() {
            origin.died(&carrier.path.iter().map(|hop| hop.id).collect::<Vec<_>>());
        }
    }

    fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) && !self.shard.is_stopping()
    }
}

/// Waits until somebody closes the circuit, or nobody holds it any more.
async fn asked_to_close(close: &mut watch::Receiver<bool>) {
    let _ = close.wait_for(|close| *close).await;
}

/// A standby that falls silent so soon after it took over died of the same cause.
const SAME_DEATH: Duration = Duration::from_secs(3);

/// How often a session looks whether a standby is to be built.
const LOOK: Duration = Duration::from_secs(1);

/// Shakes hands, watches connection and circuit, and replaces or ends them.
async fn supervise(shared: Arc<Shared>, socket: Arc<CircuitSocket>, key: [u8; 32], mut close: watch::Receiver<bool>) {
    let mut carrier = shared.carrier();
    let opened = tokio::select! {
        () = asked_to_close(&mut close) => Err(CircuitError::Closed("closed here".into())),
        reason = carrier.circuit.state.closed() => Err(CircuitError::Closed(reason)),
        opened = Channel::open(&shared.shard.runtime, Arc::clone(&socket), shared.exit, &key) => opened,
    };
    let channel = match opened {
        Ok(channel) => channel,
        Err(error) => {
            carrier.circuit.close();
            return shared.end(error);
        }
    };
    shared.state.send_replace(State::Up(Arc::clone(&channel)));
    let mut standby = Standby::new(shared.exit, shared.spec.clone());
    let mut watch = Watch::new(carrier.path.len());
    let mut moved: Option<Instant> = None;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(origin) = shared.origin.upgrade()
            && shared.is_kept()
            && origin.wants_standby()
        {
            standby.build(&origin, &carrier, &socket);
        }
        tokio::select! {
            () = asked_to_close(&mut close) => {
                shared.end(CircuitError::Closed("closed here".into()));
                channel.close("done");
                let _ = timeout(FAREWELL, channel.endpoint.wait_idle()).await;
                return carrier.circuit.close();
            }
            error = channel.connection.closed() => {
                shared.end(CircuitError::Closed(error.to_string()));
                return carrier.circuit.close();
            }
            news = standby.news() => {
                let Some(origin) = shared.origin.upgrade() else { continue };
                standby.take_in(news, &origin, &shared.shard, &carrier).await;
            }
            () = carrier.circuit.state.suspect() => {
                // Make before break: the other one is there already. Without it there is still the patience of the circuit.
                match standby.take() {
                    Some(fresh) => {
                        shared.died(&carrier);
                        moved = Some(clock::now());
                        (carrier, watch) = shared.move_to(fresh, &socket, &channel).await;
                    }
                    None if moved.take().is_some_and(|at| clock::now().duration_since(at) < SAME_DEATH) => {
                        let reason = "the exit stopped answering on two circuits";
                        match shared.rebuild_or_end(reason, &socket, &mut standby, &channel).await {
                            Some(fresh) => (carrier, watch) = fresh,
                            None => return,
                        }
                    }
                    None => tokio::select! {
                        _ = carrier.circuit.state.closed() => {}
                        news = standby.news() => {
                            let Some(origin) = shared.origin.upgrade() else { continue };
                            standby.take_in(news, &origin, &shared.shard, &carrier).await;
                        }
                        () = tokio::time::sleep(LOOK) => {}
                    },
                }
            }
            reason = carrier.circuit.state.closed() => {
                if !shared.is_kept() {
                    shared.end(CircuitError::Closed(reason.clone()));
                    return channel.connection.close(codes::CIRCUIT, reason.as_bytes());
                }
                shared.died(&carrier);
                if let Some(fresh) = standby.take() {
                    (carrier, watch) = shared.move_to(fresh, &socket, &channel).await;
                    continue;
                }
                match shared.rebuild_or_end(&reason, &socket, &mut standby, &channel).await {
                    Some(fresh) => (carrier, watch) = fresh,
                    None => return,
                }
            }
            _ = look.tick() => {
                let worse = standby
                    .ready()
                    .is_some_and(|other| watch.look(&shared.shard, &channel.connection, &carrier, other));
                if worse && let Some(fresh) = standby.take() {
                    (carrier, watch) = shared.move_to(fresh, &socket, &channel).await;
                }
            }
        }
    }
}
