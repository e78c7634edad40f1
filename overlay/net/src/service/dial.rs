//! Reaching a service: find its descriptor, wait at a meeting relay, be introduced, shake hands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zmesh_proto::service::introduce::{Introduction, seal};
use zmesh_proto::service::pow::{EFFORT_MAX, Puzzle, Solution, Solver};
use zmesh_proto::service::stream::{ANSWER_LEN, Answer, Want};
use zmesh_proto::service::tls::MeetingSecret;

use super::find::{Found, Search};
use super::meet::wait_somewhere;
use super::relay_circuit::RelayCircuit;
use super::{DialError, ServiceAddress, SharedSecond, own_hops};
use crate::api::{IsolationToken, Stream, joined};
use crate::origin::Origin;
use crate::quic::{Spliced, SplicedError};
use crate::{clock, entropy};

/// Descriptors that one dial may try.
const ROUNDS: u32 = 3;

/// How long the whole way may take.
const REACH: Duration = Duration::from_secs(90);

/// How long a service may take to come, once it was introduced to.
const COME: Duration = Duration::from_secs(20);

/// How long a service may take to answer for a stream.
const STREAM: Duration = Duration::from_secs(20);

/// A connection without streams is kept for so long.
const IDLE: Duration = Duration::from_secs(300);

/// How often it is looked for such.
const LOOK: Duration = Duration::from_secs(60);

/// Connections that one node keeps.
const CONNECTIONS: usize = 256;

/// Attempts at a puzzle between two looks whether anybody still waits for it.
const ATTEMPTS: u32 = 256;

/// The services that a node is connected to, each for one isolation token.
pub(crate) struct Dialled {
    second: Arc<SharedSecond>,
    cells: Mutex<HashMap<(IsolationToken, ServiceAddress), Arc<Cell>>>,
}

struct Cell {
    used: Mutex<Instant>,
    connection: tokio::sync::Mutex<Option<Arc<Spliced>>>,
}

impl Dialled {
    pub(crate) fn start(origin: &Origin) -> Arc<Self> {
        let dialled = Arc::new(Self { second: SharedSecond::memory(), cells: Mutex::default() });
        origin.shard.runtime.spawn(sweep(Arc::downgrade(&dialled)));
        dialled
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<(IsolationToken, ServiceAddress), Arc<Cell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, token: IsolationToken, address: ServiceAddress) -> Arc<Cell> {
        let now = clock::now();
        let mut cells = self.cells();
        let key = (token, address);
        if cells.len() >= CONNECTIONS && !cells.contains_key(&key) {
            let oldest = cells.iter().min_by_key(|(_, cell)| cell.used()).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                cells.remove(&oldest);
            }
        }
        let fresh = || Arc::new(Cell { used: Mutex::new(now), connection: tokio::sync::Mutex::default() });
        let cell = Arc::clone(cells.entry(key).or_insert_with(fresh));
        *cell.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
        cell
    }

    /// A stream to `port` of the service, over a connection that nothing else uses.
    ///
    /// # Cancel safety
    /// Dropping the future gives up what was not reached.
    pub(crate) async fn dial_alone(
        &self,
        origin: &Arc<Origin>,
        address: ServiceAddress,
        port: u16,
    ) -> Result<Stream, DialError> {
        if port == 0 {
            return Err(DialError::BadPort);
        }
        let connection =
            timeout(REACH, reach(origin, &self.second, address)).await.unwrap_or(Err(DialError::Timeout))?;
        stream(connection, port).await
    }

    /// A stream to `port` of the service, over the connection that this token has to it, or a new one.
    ///
    /// # Cancel safety
    /// Dropping the future gives up what was not reached.
    pub(crate) async fn dial(
        &self,
        origin: &Arc<Origin>,
        token: IsolationToken,
        address: ServiceAddress,
        port: u16,
    ) -> Result<Stream, DialError> {
        if port == 0 {
            return Err(DialError::BadPort);
        }
        let cell = self.cell(token, address);
        let mut kept = cell.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| connection.is_alive()) {
            let connection = Arc::clone(connection);
            drop(kept);
            match stream(connection, port).await {
                Err(DialError::Gone(why)) => tracing::debug!(why, "a service's connection is over, another is made"),
                other => return other,
            }
            kept = cell.connection.lock().await;
        }
        // Somebody else may have been here meanwhile.
        if kept.as_ref().is_none_or(|connection| !connection.is_alive()) {
            *kept = None;
            let fresh = timeout(REACH, reach(origin, &self.second, address)).await;
            *kept = Some(fresh.unwrap_or(Err(DialError::Timeout))?);
        }
        let connection = kept.clone().ok_or(DialError::Timeout)?;
        drop(kept);
        stream(connection, port).await
    }
}

impl Cell {
    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(dialled: Weak<Dialled>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(dialled) = dialled.upgrade() else { return };
        let now = clock::now();
        dialled.cells().retain(|_, cell| {
            let Ok(connection) = cell.connection.try_lock() else { return true };
            // Every stream holds its connection.
            let busy = connection.as_ref().is_some_and(|connection| Arc::strong_count(connection) > 1);
            busy || now.duration_since(cell.used()) < IDLE
        });
    }
}

/// Opens a stream over a connection.
async fn stream(connection: Arc<Spliced>, port: u16) -> Result<Stream, DialError> {
    let gone = |what: &dyn std::fmt::Display| DialError::Gone(what.to_string());
    let opening = async {
        let (mut send, mut recv) = connection.open().await.map_err(|error| gone(&error))?;
        send.write_all(&Want(port).encode()).await.map_err(|error| gone(&error))?;
        let mut answer = [0; ANSWER_LEN];
        recv.read_exact(&mut answer).await.map_err(|error| gone(&error))?;
        match Answer::decode(&answer).map_err(|_| gone(&"it broke the protocol"))? {
            Answer::Accepted => Ok((send, recv)),
            Answer::NoSuchPort => Err(DialError::NoSuchPort),
            _ => Err(DialError::Busy),
        }
    };
    let (send, recv) = timeout(STREAM, opening).await.unwrap_or_else(|_| Err(gone(&"no answer in time")))?;
    Ok(Stream::spliced(send, recv, connection))
}

/// The whole way to a service.
async fn reach(
    origin: &Arc<Origin>,
    second: &Arc<SharedSecond>,
    address: ServiceAddress,
) -> Result<Arc<Spliced>, DialError> {
    let mut search = Search::new(origin, address);
    let (mut than, mut why) = (None, None);
    for round in 0..ROUNDS {
        let Some(found) = search.next(origin, second, than).await? else { break };
        than = Some((found.period, found.revision));
        match attempt(origin, second, &found, round).await {
            Ok(connection) => return Ok(connection),
            // Another descriptor may be newer, or right.
            Err(error @ (DialError::Gone(_) | DialError::WrongKey)) => why = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(why.unwrap_or(DialError::NotFound))
}

/// One attempt with one descriptor. In later rounds more work is done than is asked for: the price may have risen since.
async fn attempt(
    origin: &Arc<Origin>,
    second: &Arc<SharedSecond>,
    found: &Found,
    round: u32,
) -> Result<Arc<Spliced>, DialError> {
    let Found { contents, blinded, subcredential, .. } = found;
    if contents.puzzle.effort > EFFORT_MAX {
        return Err(DialError::WorkRefused { asked: contents.puzzle.effort, most: EFFORT_MAX });
    }
    let effort = contents.puzzle.effort.saturating_mul(1 << round).min(EFFORT_MAX);
    let puzzle = Puzzle { effort, ..contents.puzzle };
    let own = own_hops(&origin.network());
    let cookie = entropy::secret::<16>();
    let mut intros = contents.intros.clone();
    shuffle(&mut intros);
    let first = intros.first().map(|intro| intro.relay).ok_or(DialError::NotFound)?;
    let (met, solution, mut circuit) = tokio::join!(
        wait_somewhere(origin, own, second, *cookie),
        solve(Solver::new(puzzle, *blinded, *cookie, entropy::bytes())),
        RelayCircuit::open(origin, first, own + 1, second),
    );
    let (relay, carrier, socket) = met?;
    let meeting = MeetingSecret::generate(&mut entropy::rng());
    let introduction = Introduction { relay, cookie: *cookie, solution: solution?, meeting };
    let mut why = String::new();
    for intro in intros {
        if intro.relay != first {
            circuit = RelayCircuit::open(origin, intro.relay, own + 1, second).await;
        }
        let circuit = match &circuit {
            Ok(circuit) => circuit,
            Err(error) => {
                why = format!("no circuit to a relay that introduces: {error}");
                continue;
            }
        };
        let Some(sealed) = seal(&introduction, &intro.name, &intro.key, subcredential, &mut entropy::rng()) else {
            continue;
        };
        if let Err(error) = circuit.introduce(intro.name, &sealed).await {
            why = format!("it was not introduced to: {error}");
            continue;
        }
        match timeout(COME, joined(&carrier)).await {
            Ok(Ok(())) => {
                return Spliced::connect(&origin.shard, carrier, socket, &introduction.meeting).await.map_err(
                    |error| match error {
                        SplicedError::Key => DialError::WrongKey,
                        other => DialError::Gone(other.to_string()),
                    },
                );
            }
            Ok(Err(error)) => return Err(DialError::Gone(format!("the meeting relay is gone: {error}"))),
            Err(_) => why = "it was introduced to and did not come".into(),
        }
    }
    Err(DialError::Gone(why))
}

/// Does the work that a service asks for, where it holds up nothing else.
async fn solve(mut solver: Solver) -> Result<Solution, DialError> {
    loop {
        let (back, solution) = spawn_blocking(move || {
            let solution = solver.attempt(ATTEMPTS);
            (solver, solution)
        })
        .await
        .map_err(|_| DialError::Timeout)?;
        match solution {
            Some(solution) => return Ok(solution),
            None => solver = back,
        }
    }
}

fn shuffle<T>(items: &mut [T]) {
    use rand_core::Rng as _;
    let mut rng = entropy::rng();
    for at in (1..items.len()).rev() {
        let other = usize::try_from(rng.next_u64() % (at as u64 + 1)).unwrap_or(at);
        items.swap(at, other);
    }
}
