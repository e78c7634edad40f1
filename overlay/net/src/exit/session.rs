//! One QUIC session of an origin.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::udp::Flows;
use super::{Session, stream};

/// How long QUIC's handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves a session until its connection ends; everything that it started ends with it.
pub(super) async fn serve(mut session: Session, incoming: Incoming) {
    let Ok(connecting) = incoming.accept() else {
        return;
    };
    let Ok(Ok(connection)) = timeout(HANDSHAKE, connecting).await else {
        return;
    };
    if let Some(entry) = session.server.sessions().all.get_mut(&session.number) {
        *entry = Some(connection.clone());
    }
    let flows = Arc::new(Flows::default());
    let mut tasks = JoinSet::new();
    requests(&mut session, &connection, &flows, &mut tasks).await;
    tasks.shutdown().await;
}

async fn requests(session: &mut Session, connection: &Connection, flows: &Arc<Flows>, tasks: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => {
                let Ok((send, recv)) = accepted else { return };
                session.asked = true;
                let asked = stream::Asked {
                    egress: Arc::clone(&session.server.egress),
                    circuit: session.handle(),
                    connection: connection.clone(),
                    flows: Arc::clone(flows),
                };
                let server = Arc::clone(&session.server);
                tasks.spawn(stream::counted(server, asked.serve(send, recv)));
            }
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return };
                flows.deliver(datagram);
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}
