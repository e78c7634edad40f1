//! Going to meet a client, and its streams.

use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use zmesh_proto::service::stream::{Answer, WANT_LEN, Want};
use zmesh_proto::service::tls::{MeetingSecret, Side};

use super::super::meet::meet;
use super::super::{SharedSecond, own_hops};
use super::clients::Place;
use crate::api::{Meet, Stream};
use crate::origin::Origin;
use crate::quic::{self, Spliced, codes};
use crate::{RelayId, entropy};

/// How long a client may take to say what it wants.
const WANT: Duration = Duration::from_secs(10);

/// A client without streams is let go after this time.
const IDLE: Duration = Duration::from_secs(300);

/// How often it is looked whether a client moves anything.
const LOOK: Duration = Duration::from_secs(5);

/// Where a client waits, and by what it is known there.
pub(super) struct Invitation {
    pub(super) relay: RelayId,
    pub(super) cookie: [u8; 16],
    pub(super) meeting: MeetingSecret,
}

/// Builds a circuit to where the client waits, and shakes hands with whoever wrote the invitation: the meeting relay has not read it.
pub(super) async fn go(
    origin: &Arc<Origin>,
    second: &Arc<SharedSecond>,
    forge_key: bool,
    invitation: Invitation,
    hops: usize,
) -> Option<Arc<Spliced>> {
    // The client chose the relay: it comes on top of one's own.
    let hops = own_hops(&origin.network()).min(hops) + 1;
    let met = meet(origin, invitation.relay, hops, second, Meet::join(invitation.cookie)).await;
    let (carrier, socket) = met.inspect_err(|error| tracing::debug!(%error, "a client was not met")).ok()?;
    let own = match forge_key {
        false => invitation.meeting.key(Side::Service),
        true => MeetingSecret::generate(&mut entropy::rng()).key(Side::Service),
    };
    let server = quic::service_config(&own, &invitation.meeting.key(Side::Client).public());
    let server = server.inspect_err(|error| tracing::warn!(%error, "a client cannot be met")).ok()?;
    let endpoint = quic::endpoint(&origin.shard.runtime, socket, Some(server)).ok()?;
    let accepted = Spliced::accept(&origin.shard, carrier, endpoint).await;
    accepted.inspect_err(|error| tracing::debug!(%error, "a client did not shake hands")).ok()
}

/// Serves a client until it is gone, or its place goes to another one: hands its streams on.
pub(super) async fn serve(
    connection: Arc<Spliced>,
    ports: Option<Arc<[u16]>>,
    streams: mpsc::Sender<(Stream, u16)>,
    place: Place,
) {
    let mut heads = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut moved, mut quiet) = (0, Duration::ZERO);
    loop {
        tokio::select! {
            accepted = connection.accept_stream() => {
                let Ok((send, recv)) = accepted else { return };
                let (connection, ports, streams) = (Arc::clone(&connection), ports.clone(), streams.clone());
                heads.spawn(head(connection, send, recv, ports, streams));
            }
            Some(_) = heads.join_next() => {}
            () = place.lost() => return connection.close("the place went to a client that did more work"),
            _ = look.tick() => {
                let now = connection.moved();
                if now != moved {
                    moved = now;
                    place.used();
                }
                // Every stream holds the connection.
                let empty = Arc::strong_count(&connection) == 1 && heads.is_empty();
                quiet = if empty { quiet + LOOK } else { Duration::ZERO };
                if quiet >= IDLE {
                    return;
                }
            }
        }
    }
}

async fn head(
    connection: Arc<Spliced>,
    mut send: SendStream,
    mut recv: RecvStream,
    ports: Option<Arc<[u16]>>,
    streams: mpsc::Sender<(Stream, u16)>,
) {
    let mut want = [0; WANT_LEN];
    let read = timeout(WANT, recv.read_exact(&mut want)).await;
    let want = match (read, Want::decode(&want)) {
        (Ok(Ok(())), Ok(want)) => want,
        _ => {
            let _ = send.reset(codes::PROTOCOL);
            return;
        }
    };
    let place = streams.try_reserve();
    let answer = match &place {
        _ if ports.is_some_and(|ports| !ports.contains(&want.0)) => Answer::NoSuchPort,
        Ok(_) => Answer::Accepted,
        Err(_) => Answer::Busy,
    };
    if send.write_all(&answer.encode()).await.is_err() {
        return;
    }
    match place {
        Ok(place) if answer == Answer::Accepted => place.send((Stream::spliced(send, recv, connection), want.0)),
        _ => drop(send.finish()),
    }
}
