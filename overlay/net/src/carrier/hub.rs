//! Where the shard and the connections of a carrier meet: bounded queues in both directions.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use zmesh_proto::link::route;

use super::Carrier;
use crate::shard::Bell;

/// Datagrams that may wait for the shard, from all connections.
const INCOMING: usize = 2048;
/// Datagrams that may wait for one connection: about a fifth of a second of a fast one.
const OUTGOING: usize = 512;
/// Connections at once.
const CONNECTIONS: usize = 512;

#[derive(Default)]
struct State {
    next: u32,
    connections: BTreeMap<u32, mpsc::Sender<Vec<u8>>>,
    incoming: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// All connections of carriers that are not UDP.
pub(crate) struct Hub {
    state: Mutex<State>,
    bell: Arc<Bell>,
    dropped: AtomicU64,
}

/// One connection, as its task sees it. Dropping it ends the connection for the node.
pub(crate) struct Connection {
    hub: Arc<Hub>,
    number: u32,
    /// The address that stands for it.
    pub(crate) address: SocketAddr,
    /// What the node sends by it.
    pub(crate) outgoing: mpsc::Receiver<Vec<u8>>,
}

impl Hub {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { state: Mutex::default(), bell, dropped: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection to or from this address; `None` when there are too many.
    pub(crate) fn enter(self: &Arc<Self>, far: IpAddr) -> Option<Connection> {
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        let mut state = self.state();
        if state.connections.len() >= CONNECTIONS {
            return None;
        }
        // Numbers are not used twice: a link must not come to another connection's end.
        state.next = state.next.checked_add(1)?;
        let number = state.next;
        state.connections.insert(number, sender);
        Some(Connection { hub: Arc::clone(self), number, address: route::carried(number, far), outgoing })
    }
}

impl Connection {
    /// A datagram has come by the connection. When too many wait for the shard it is lost.
    pub(crate) fn received(&self, datagram: Vec<u8>) {
        let mut state = self.hub.state();
        if state.incoming.len() < INCOMING {
            state.incoming.push_back((self.address, datagram));
        } else {
            self.hub.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
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
        for (from, mut datagram) in batch {
            handle(from, &mut datagram);
        }
        if more { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ways_are_bounded_and_end_with_the_connection() {
        let mut hub = Arc::new(Hub::new(Arc::new(Bell::default())));
        let mut connection = hub.enter("192.0.2.1".parse().expect("an address")).expect("there is room");
        let to = connection.address;
        for _ in 0..2 * OUTGOING {
            hub.send(to, 4, &[1, 2, 3, 4, 5, 6, 7, 8]);
        }
        assert_eq!(connection.outgoing.recv().await.as_deref(), Some(&[1, 2, 3, 4][..]));
        assert_eq!(connection.outgoing.len(), OUTGOING - 1);
        for _ in 0..2 * INCOMING {
            connection.received(vec![7]);
        }
        let mut seen = 0;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while hub
            .poll_receive(&mut cx, 64, &mut |from, bytes| seen += usize::from(from == to && bytes == [7]))
            .is_ready()
        {}
        assert_eq!(seen, INCOMING);
        drop(connection);
        assert!(hub.state().connections.is_empty());
        let again = hub.enter("192.0.2.1".parse().expect("an address")).expect("there is room");
        assert_ne!(again.address, to, "numbers are not used twice");
    }
}
