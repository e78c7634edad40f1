//! `zmesh voice call`: call somebody by an invite.

use std::io::Read;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use zmesh_overlay::{CircuitError, Meet, MeetingSpec, Network, Node, RelayId};
use zmesh_proto::wire::document::Document;
use zmesh_voice::invite::{Invite, InviteError};
use zmesh_voice::runner::Party;

use super::talk::{self, Speaker};
use super::{Common, ends};
use crate::commands::narrate::narrate;
use crate::commands::proxy::not_started;
use crate::failure::{Failure, Outcome};
use crate::invite_line::{self, InviteLine};
use crate::network_file::{self, NetworkOption};
use crate::stop::Stop;
use crate::term;
use crate::time::{millis, unix_now};

const ASK: &str = "ask for the whole line, or for a new one";

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The line that the other person was shown, in quotes; `-` reads it from stdin.
    #[arg(value_name = "INVITE")]
    invite: String,
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: CallArgs) -> Outcome {
    let mut stop = Stop::listen(args.common.exit_with_stdin)?;
    let line = read_line(&args.invite)?;
    let network = choose_network(&args.network, &line)?;
    let audio = ends::open(&args.common)?;
    let node = Node::builder().network(network).spares(0).start().await.map_err(not_started)?;
    let outcome = tokio::select! {
        biased;
        () = stop.wait() => Ok(None),
        circuit = join(&node, &line.invite, args.common.hops) => circuit.map(Some),
    };
    let outcome = match outcome {
        Ok(Some(circuit)) => {
            let speaker = Speaker { circuit: Arc::new(circuit), party: Party::Caller(line.invite), audio };
            if args.common.json {
                term::json(&json!({
                    "ready": true,
                    "role": "voice call",
                    "path": talk::path(&speaker.circuit),
                    "build_ms": millis(speaker.circuit.build_time()),
                }));
            }
            talk::run(speaker, &args.common, &mut stop).await
        }
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    talk::leave(&node).await;
    outcome
}

fn read_line(argument: &str) -> Outcome<InviteLine> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        std::io::stdin()
            .lock()
            .take(1 << 20)
            .read_to_string(&mut text)
            .map_err(|error| Failure::misused("cannot read the invite from stdin", error, ASK))?;
    }
    invite_line::read(&text, unix_now()).map_err(|error| match error {
        InviteError::Expired { .. } => Failure::failed("the call cannot be made", error, ASK),
        error => Failure::misused("the invite cannot be used", error, ASK),
    })
}

/// A network that was named, else the one that the invite brings, else the user's own. Whichever it is, the invite pins
/// its id.
fn choose_network(option: &NetworkOption, line: &InviteLine) -> Outcome<Arc<Network>> {
    let network = match &line.document {
        Some(document) if !option.is_named() => {
            let document = Document::decode(document)
                .map_err(|error| Failure::misused("the network that the invite brings cannot be used", error, ASK))?;
            network_file::from_document(document, "the network that the invite brings")?
        }
        _ => option.load()?,
    };
    line.invite.check_network(&network.network_id().0).map_err(|error| {
        Failure::failed("the call cannot be made", error, "give that network document with --network")
    })?;
    Ok(network)
}

async fn join(node: &Node, invite: &Invite, hops: u8) -> Outcome<zmesh_overlay::DatagramCircuit> {
    term::progress(format_args!("building a circuit of {hops} relays to the meeting relay"));
    // The meeting relay was the other side's choice: it comes on top of one's own.
    let spec = MeetingSpec::given(RelayId(*invite.relay())).hops(usize::from(hops) + 1);
    narrate(node, node.meet(Meet::join(*invite.cookie()), spec)).await.map_err(|error| match error {
        CircuitError::Meeting(why) => Failure::failed(
            "the call cannot be made",
            format_args!("the meeting relay says: {why}"),
            "the invite was used already or the other side left: ask for a new one",
        ),
        error => talk::no_circuit(&error),
    })
}
