//! `zmesh voice answer`: wait for one call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};
use zmesh_overlay::{DatagramCircuit, Meet, MeetingSpec, Node};
use zmesh_voice::invite::Invite;
use zmesh_voice::media::class::Class;
use zmesh_voice::runner::Party;

use super::talk::{self, Speaker};
use super::{Common, meeting, service};
use crate::commands::service::KeyFile;
use crate::failure::{Failure, Outcome};
use crate::invite_line::{self, Carried};
use crate::network_file::NetworkOption;
use crate::randomness;
use crate::stop::Stop;
use crate::term;
use crate::time::{date, millis, unix_now};

/// The pause between two attempts to wait at the meeting relay again.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    common: Common,
    /// For how many minutes the invite holds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// How often a message leaves, in ms, both ways and all through the call: 20, 40 or 60. The longer, the less traffic and the more
    /// delay. Whoever watches either of you can tell which it is.
    #[arg(long, value_name = "MS", default_value = "20")]
    class: Class,
    /// Leave the way into the network out of the invite: a short line, for people who know the network.
    #[arg(long)]
    short: bool,
    /// Be called at an address that stays as long as this key file does (made if it is not there), instead of by an invite.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["short", "minutes"])]
    service: Option<PathBuf>,
}

pub(super) async fn run(args: AnswerArgs) -> Outcome {
    let mut stop = Stop::listen(args.common.exit_with_stdin)?;
    let way = args.network.way()?;
    let key = args.service.as_deref().map(KeyFile::load_or_make).transpose()?;
    let sound = args.common.open()?;
    let node = args.common.start(&way).await?;
    if let (Some(file), Some(key)) = (&args.service, &key) {
        let called = async {
            let listener = service::listen(&node, file, key, args.common.json).await?;
            service::called(&listener, &node, args.common.hops.into(), args.class).await
        };
        let outcome = tokio::select! {
            biased;
            () = stop.wait() => Ok(()),
            called = called => match called {
                Ok((invite, key, circuit)) => {
                    let party = Party::Answerer(invite, key);
                    let speaker = Speaker { node: node.clone(), circuit: Arc::new(circuit), party, sound };
                    talk::run(speaker, &args.common, &mut stop).await
                }
                Err(failure) => Err(failure),
            },
        };
        talk::leave(&node).await;
        return outcome;
    }
    let relay = node.meeting_relay().map_err(|error| {
        Failure::failed("nobody can call", error, "use a network whose relays splice meetings (zmesh network show)")
    })?;
    let network = node.network().network_id().0;
    let expires = unix_now() + args.minutes * 60;
    let (invite, key) = Invite::create(network, relay.0, expires, &mut randomness::generator()?);
    let invite = invite.with_class(args.class);

    term::progress(format_args!("building a circuit of {} relays", args.common.hops));
    let (wait, spec) = (Meet::wait(*invite.cookie()), MeetingSpec::chosen(relay).hops(args.common.hops.into()));
    let joined = async {
        let mut circuit = meeting::meet(&node, wait.clone(), spec.clone()).await.map_err(meeting::failed)?;
        let carried = if args.short { Carried::Nothing } else { way.carried() };
        ready(&invite, &carried, &circuit, args.common.json);
        let deadline = Instant::now() + Duration::from_secs(args.minutes * 60);
        let expired = || {
            Failure::failed(
                "nobody called",
                format_args!("the invite expired after {} minutes", args.minutes),
                "make a new one, with more --minutes if need be",
            )
        };
        loop {
            match timeout_at(deadline, circuit.joined()).await {
                Ok(Ok(())) => return Ok(circuit),
                Ok(Err(error)) => {
                    tracing::info!("the waiting circuit ended, another is built: {error}");
                    // The invite is out already, and holds as long as it says.
                    term::progress(
                        "the way to the meeting relay was lost; the invite holds, another way is being built",
                    );
                    let again = timeout_at(deadline, wait_again(&node, &wait, &spec)).await;
                    circuit = again.map_err(|_| expired())?;
                }
                Err(_) => return Err(expired()),
            }
        }
    };
    let outcome = tokio::select! {
        biased;
        () = stop.wait() => Ok(()),
        circuit = joined => match circuit {
            Ok(circuit) => {
                let party = Party::Answerer(invite, key);
                let speaker = Speaker { node: node.clone(), circuit: Arc::new(circuit), party, sound };
                talk::run(speaker, &args.common, &mut stop).await
            }
            Err(failure) => Err(failure),
        },
    };
    talk::leave(&node).await;
    outcome
}

/// A way to the meeting relay, however long that takes.
async fn wait_again(node: &Node, wait: &Meet, spec: &MeetingSpec) -> DatagramCircuit {
    loop {
        match meeting::meet(node, wait.clone(), spec.clone()).await {
            Ok(circuit) => return circuit,
            Err(error) => tracing::debug!("no circuit yet: {error}"),
        }
        sleep(PAUSE).await;
    }
}

fn ready(invite: &Invite, carried: &Carried, circuit: &DatagramCircuit, json: bool) {
    let line = invite_line::write(invite, carried);
    if json {
        term::json(&json!({
            "ready": true,
            "role": "voice answer",
            "invite": line,
            "expires": invite.expires(),
            "path": talk::path(circuit),
            "build_ms": millis(circuit.build_time()),
        }));
        return;
    }
    term::progress(format_args!(
        "waiting for a call until {}; hand this line to the other person (it works once):",
        date(invite.expires())
    ));
    if *carried != Carried::Nothing && !line.contains('#') {
        term::warning("the network document is too large to go into the line: the other person needs it as a file");
    }
    term::line(line);
}
