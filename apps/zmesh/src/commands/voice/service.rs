//! Calls to a service: an address that stays, instead of an invite for each call.
//!
//! The caller opens a stream to the service and is given a fresh invite by it, end to end encrypted; from there on the call goes as by any other
//! invite, over circuits of its own to a meeting relay of the answerer's choice.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use zmesh_overlay::{
    DatagramCircuit, DialError, Listener, Meet, MeetingSpec, Node, ServiceAddress, ServiceOptions, Stream,
};
use zmesh_voice::invite::{AnswerKey, Invite};
use zmesh_voice::media::class::Class;

use super::meeting;
use crate::commands::service::{self, KeyFile, beside, not_published};
use crate::failure::{Failure, Outcome};
use crate::invite_line::{self, Carried};
use crate::randomness;
use crate::term;
use crate::time::unix_now;

/// The port at which a service takes calls.
const PORT: u16 = 1;
/// For how long the invite holds that a caller is given, and how long the caller may take to come.
const INVITE: Duration = Duration::from_secs(120);
/// How long a caller may take to read it, and the service to give it.
const HAND_OVER: Duration = Duration::from_secs(60);
/// The longest line that a caller reads.
const LINE_MAX: u64 = 4096;

/// Brings the service up that is called; `file` is where its key is from.
pub(super) async fn listen(node: &Node, file: &Path, key: &KeyFile, json: bool) -> Outcome<Listener> {
    let options = ServiceOptions::default().state(beside(file)).ports([PORT]);
    term::progress("building circuits to introduction points, and leaving the descriptor at relays");
    let listener = service::listen(node, &key.key, options).await.map_err(|error| not_published(&error))?;
    let address = listener.address();
    if json {
        term::json(&json!({ "ready": true, "role": "voice answer", "address": address.to_string() }));
    } else {
        term::progress("waiting for a call; this is the address to be called at, as long as the key file stays:");
        term::line(address);
    }
    Ok(listener)
}

/// Waits until somebody calls: gives each who comes an invite, until one of them joins.
pub(super) async fn called(
    listener: &Listener,
    node: &Node,
    hops: usize,
    class: Class,
) -> Outcome<(Invite, AnswerKey, DatagramCircuit)> {
    loop {
        let Some((stream, _)) = listener.accept().await else {
            return Err(Failure::failed("nobody called", "the node was shut down", "start it again"));
        };
        let relay = node.meeting_relay().map_err(|error| {
            Failure::failed("nobody can call", error, "use a network whose relays splice meetings (zmesh network show)")
        })?;
        let expires = unix_now() + INVITE.as_secs();
        let network = node.network().network_id().0;
        let (invite, key) = Invite::create(network, relay.0, expires, &mut randomness::generator()?);
        let invite = invite.with_class(class);
        let spec = MeetingSpec::chosen(relay).hops(hops);
        let circuit = match meeting::meet(node, Meet::wait(*invite.cookie()), spec).await {
            Ok(circuit) => circuit,
            Err(error) => {
                term::warning(format_args!("somebody called and could not be answered: {error}"));
                continue;
            }
        };
        if !matches!(timeout(HAND_OVER, hand_over(stream, &invite)).await, Ok(Ok(()))) {
            tracing::debug!("a caller did not take the invite");
            continue;
        }
        match timeout(INVITE, circuit.joined()).await {
            Ok(Ok(())) => return Ok((invite, key, circuit)),
            _ => tracing::debug!("a caller did not come"),
        }
    }
}

async fn hand_over(mut stream: Stream, invite: &Invite) -> std::io::Result<()> {
    stream.write_all(invite_line::write(invite, &Carried::Nothing).as_bytes()).await?;
    stream.shutdown().await?;
    // Until the caller has closed its half, the line may be on its way.
    let mut rest = [0; 16];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Asks the service at `address` for an invite.
pub(super) async fn ask(node: &Node, address: &ServiceAddress) -> Outcome<Invite> {
    term::progress("looking for the service, and being introduced to it");
    let mut stream = node.dial(address, PORT).await.map_err(|error| {
        let next = match &error {
            DialError::NotFound => "see whether the address is right and the other side is waiting for calls",
            DialError::NoSuchPort => "this service takes no calls: is it another kind of service?",
            DialError::NetworkTooSmall(_) => "use a network with more relays that splice meetings",
            _ => "try again in a while",
        };
        Failure::failed("the call cannot be made", error, next)
    })?;
    let read = async {
        let mut line = String::new();
        stream.shutdown().await?;
        (&mut stream).take(LINE_MAX).read_to_string(&mut line).await?;
        std::io::Result::Ok(line)
    };
    let no_answer = |why: &dyn std::fmt::Display| {
        Failure::failed(
            "the call cannot be made",
            format_args!("the service gave no invite: {why}"),
            "try again in a while",
        )
    };
    let line = timeout(HAND_OVER, read).await.map_err(|_| no_answer(&"it took too long"))?;
    let line = line.map_err(|error| no_answer(&error))?;
    let invite = invite_line::read(&line, unix_now()).map_err(|error| no_answer(&error))?.invite;
    invite.check_network(&node.network().network_id().0).map_err(|error| no_answer(&error))?;
    Ok(invite)
}
