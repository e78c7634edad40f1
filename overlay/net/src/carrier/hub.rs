//! Where the shard and the connections of a carrier meet: bounded queues in both directions.
//!
//! What comes waits for the shard, and is not lost: a connection that has enough waiting is not read from, and when all
//! have too much they take turns.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use zmesh_proto::link::route;

use super::Carrier;
use crate::shard::Bell;

/// Datagrams that may wait for the shard, from all connections and from one.
const INCOMING: usize = 2048;
const INCOMING_OF_ONE: usize = 64;
/// Datagrams that may wait for one connection: about a fifth of a second of a fast one.
const OUTGOING: usize = 512;
/// Connections at once.
const CONNECTIONS: usize = 512;

#[derive(Default)]
struct State {
    next: u32,
    connections: BTreeMap<u32, mpsc::Sender<Vec<u8>>>,
    incoming: VecDeque<Incoming>,
}

/// A datagram that waits for the shard, with the places that it holds: its connection's, and of all.
struct Incoming {
    from: SocketAddr,
    datagram: Vec<u8>,
    _places: [OwnedSemaphorePermit; 2],
}

/// All connections of carriers that are not UDP.
pub(crate) struct Hub {
    state: Mutex<State>,
    bell: Arc<Bell>,
    places: Arc<Semaphore>,
    dropped: AtomicU64,
}

/// One connection, as its task sees it. Dropping it ends the connection for the node.
pub(crate) struct Connection {
    hub: Arc<Hub>,
    number: u32,
    places: Arc<Semaphore>,
    /// The address that stands for it.
    pub(crate) address: SocketAddr,
    /// What the node sends by it.
    pub(crate) outgoing: mpsc::Receiver<Vec<u8>>,
}

impl Hub {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        let places = Arc::new(Semaphore::new(INCOMING));
        Self { state: Mutex::default(), bell, places, dropped: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection to or from this address; `None` when there are too many.
    pub(crate) fn enter(self: &Arc<Self>, far: SocketAddr) -> Option<Connection> {
        self.enter_as(far, route::carried)
    }

    /// The same for a TCP connection that both ends opened.
    pub(crate) fn enter_stream(self: &Arc<Self>, far: SocketAddr) -> Option<Connection> {
        self.enter_as(far, route::stream)
    }

    fn enter_as(self: &Arc<Self>, far: SocketAddr, name: fn(u32, SocketAddr) -> SocketAddr) -> Option<Connection> {
        let far = SocketAddr::new(far.ip().to_canonical(), far.port());
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        let mut state = self.state();
        if state.connections.len() >= CONNECTIONS {
            return None;
        }
        // Numbers are not used twice: a link must not come to another connection's end.
        state.next = state.next.checked_add(1)?;
        let number = state.next;
        state.connections.insert(number, sender);
        let places = Arc::new(Semaphore::new(INCOMING_OF_ONE));
        Some(Connection { hub: Arc::clone(self), number, places, address: name(number, far), outgoing })
    }
}

impl Connection {
    /// A datagram has come by the connection. Waits while too many of it, or of all in their turn, wait for the shard.
    ///
    /// # Cancel safety
    /// Dropping the future loses the datagram.
    pub(crate) async fn received(&self, datagram: Vec<u8>) {
        // In this order: who waits for its own place holds none that others could use. Nobody closes them.
        let Ok(own) = Arc::clone(&self.places).acquire_owned().await else { return };
        let Ok(shared) = Arc::clone(&self.hub.places).acquire_owned().await else { return };
        self.hub.state().incoming.push_back(Incoming { from: self.address, datagram, _places: [own, shared] });
        self.hub.bell.ring();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.state().connections.remove(&self.number);
    }
}

impl Carrier for Arc<Hub> {
    fn carries(&self, to: SocketAddr) -> bool {
        route::connection_of(to).is_some()
    }

    fn send(&mut self, to: SocketAddr, segment: usize, data: &[u8]) {
        let Some(number) = route::connection_of(to) else { return };
        let state = self.state();
        let Some(sender) = state.connections.get(&number) else { return };
        for datagram in data.chunks(segment.max(1)) {
            if sender.try_send(datagram.to_vec()).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn poll_receive(
        &mut self,
        _cx: &mut Context<'_>,
        budget: usize,
        handle: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Poll<()> {
        // Connections ring the bell, so there is nothing to register.
        let mut state = self.state();
        let count = state.incoming.len().min(budget);
        let batch: Vec<_> = state.incoming.drain(..count).collect();
        let more = !state.incoming.is_empty();
        drop(state);
        for mut incoming in batch {
            handle(incoming.from, &mut incoming.datagram);
        }
        if more { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future};

    /// Has connections receive so many datagrams each, and the hub hand on all that waits whenever none can go on. Gives how
    /// many were received, and from where they came, run by run.
    fn pass_all(hub: &mut Arc<Hub>, from: &[(&Connection, usize)]) -> (usize, Vec<(SocketAddr, usize)>) {
        let (mut seen, mut sent): (Vec<(SocketAddr, usize)>, usize) = (Vec::new(), 0);
        let all = future::join_all(from.iter().map(|(connection, count)| async move {
            for _ in 0..*count {
                connection.received(vec![7]).await;
            }
            *count
        }));
        let mut all = Box::pin(all.map(|counts| counts.iter().sum::<usize>()));
        loop {
            let done = (&mut all).now_or_never();
            sent += done.unwrap_or(0);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut handle = |from: SocketAddr, _: &mut [u8]| match seen.last_mut() {
                Some((last, count)) if *last == from => *count += 1,
                _ => seen.push((from, 1)),
            };
            while hub.poll_receive(&mut cx, 64, &mut handle).is_ready() {}
            if done.is_some() {
                return (sent, seen);
            }
        }
    }

    #[test]
    fn one_connection_takes_no_places_of_others() {
        let mut hub = Arc::new(Hub::new(Arc::new(Bell::default())));
        let enter = |hub: &Arc<Hub>| hub.enter("192.0.2.1:44".parse().expect("an address")).expect("there is room");
        let (busy, quiet) = (enter(&hub), enter(&hub));
        // Before anything is handed on, the busy one has no more than its share waiting.
        for _ in 0..INCOMING_OF_ONE {
            busy.received(vec![7]).now_or_never().expect("there is room");
        }
        assert!(busy.received(vec![7]).now_or_never().is_none(), "it waits, and is not read from");
        assert!(quiet.received(vec![7]).now_or_never().is_some(), "the other one does not");
        let (sent, seen) = pass_all(&mut hub, &[(&busy, 5000), (&quiet, 100)]);
        let of = |at: SocketAddr| seen.iter().filter(|(from, _)| *from == at).map(|(_, count)| count).sum::<usize>();
        assert_eq!(sent, 5100);
        assert_eq!((of(busy.address), of(quiet.address)), (5000 + INCOMING_OF_ONE, 101), "nothing is lost");
        let longest = seen.iter().map(|(_, count)| *count).take(2).max();
        assert!(longest.is_some_and(|count| count <= INCOMING_OF_ONE * 2), "{seen:?}");
    }

    #[test]
    fn when_all_have_too_much_they_take_turns() {
        let hub = Arc::new(Hub::new(Arc::new(Bell::default())));
        let enter = |i: u8| hub.enter(([192, 0, 2, i], 44).into()).expect("there is room");
        let many: Vec<Connection> = (0..40).map(enter).collect();
        let mut waiting = 0;
        for connection in &many {
            while connection.received(vec![7]).now_or_never().is_some() {
                waiting += 1;
            }
        }
        assert_eq!(waiting, INCOMING, "that is all that is kept");
    }

    #[test]
    fn both_ways_are_bounded_and_end_with_the_connection() {
        let mut hub = Arc::new(Hub::new(Arc::new(Bell::default())));
        let mut connection = hub.enter("192.0.2.1:44".parse().expect("an address")).expect("there is room");
        let to = connection.address;
        for _ in 0..2 * OUTGOING {
            hub.send(to, 4, &[1, 2, 3, 4, 5, 6, 7, 8]);
        }
        assert_eq!(connection.outgoing.try_recv().ok().as_deref(), Some(&[1, 2, 3, 4][..]));
        assert_eq!(connection.outgoing.len(), OUTGOING - 1);
        let (sent, seen) = pass_all(&mut hub, &[(&connection, 200)]);
        assert_eq!((sent, &seen[..]), (200, &[(to, 200)][..]), "nothing is lost");
        drop(connection);
        assert!(hub.state().connections.is_empty());
        let again = hub.enter("192.0.2.1:44".parse().expect("an address")).expect("there is room");
        assert_ne!(again.address, to, "numbers are not used twice");
    }
}
