//! One QUIC session of an origin.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zmesh_proto::service::Source;

use super::udp::Flows;
use super::{Session, stream};
use crate::chunks::Guest;
use crate::directory::Reader;
use crate::service::Visitor;

/// How long QUIC's handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves a session until its connection ends or it loses its place; everything that it started ends with it.
pub(super) async fn serve(mut session: Session, incoming: Incoming) {
    let evicted = Arc::clone(&session.evicted);
    tokio::select! {
        () = evicted.notified() => {}
        () = shake_hands(&mut session, incoming) => {}
    }
}

async fn shake_hands(session: &mut Session, incoming: Incoming) {
    let Ok(connecting) = incoming.accept() else {
        return;
    };
    let Ok(Ok(connection)) = timeout(HANDSHAKE, connecting).await else {
        return;
    };
    if !session.server.sessions().connected(session.number, connection.clone()) {
        return;
    }
    let flows = Arc::new(Flows::default());
    let mut tasks = JoinSet::new();
    requests(session, &connection, &flows, &mut tasks).await;
    tasks.shutdown().await;
}

async fn requests(session: &mut Session, connection: &Connection, flows: &Arc<Flows>, tasks: &mut JoinSet<()>) {
    let guest = Arc::new(Guest::new(session.number));
    let visitor = Arc::new(Visitor::new());
    let reader = Arc::new(Reader::new());
    let mut via = session.via;
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => {
                let Ok((send, recv)) = accepted else { return };
                let server = &session.server;
                server.sessions().stream_began(session.number);
                let place = stream::Place { server: Arc::clone(server), session: session.number };
                // A session may have moved to a circuit that came over another link.
                via = (server.links)(connection.remote_address()).unwrap_or(via);
                let source = Source { session: session.number, via };
                let Some(asking) = server.budget.requests.take(source) else {
                    tasks.spawn(place.refuse(send, recv));
                    continue;
                };
                session.asked = true;
                let asked = stream::Asked {
                    circuit: session.handle(),
                    connection: connection.clone(),
                    flows: Arc::clone(flows),
                    guest: Arc::clone(&guest),
                    visitor: Arc::clone(&visitor),
                    reader: Arc::clone(&reader),
                    place,
                    source,
                };
                tasks.spawn(asked.serve(asking, send, recv));
            }
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return };
                flows.deliver(datagram);
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}
