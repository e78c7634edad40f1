//! `zmesh voice call`: call somebody by an invite.

use std::io::{self, BufRead, IsTerminal};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use zmesh_overlay::{CircuitError, Meet, MeetingSpec, Node, RelayId, ServiceAddress, ServiceAddressError};
use zmesh_proto::wire::document::Document;
use zmesh_voice::invite::{Invite, InviteError};
use zmesh_voice::runner::Party;

use super::talk::{self, Speaker};
use super::{Common, meeting, service};
use crate::failure::{Failure, Outcome};
use crate::invite_line::{self, Carried, InviteLine};
use crate::network_file::{self, Known, NetworkOption, Way};
use crate::stop::Stop;
use crate::term;
use crate::time::{millis, unix_now};

const ASK: &str = "ask for the whole line, or for a new one";
/// The most that is read of stdin, in bytes.
const STDIN_MAX: u64 = 1 << 20;
/// How addresses of services end.
const SERVICE_SUFFIX: &str = ".zmesh";
/// Terminals cut a typed or pasted line off: at 1,024 bytes the most careful ones, at 4,096 Linux.
const TERMINAL_LINE: usize = 1_023;

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The line that the other person was shown, in quotes, or the address at which they wait. Without it, or with `-`, the first line of stdin: other
    /// users of this machine can see a program's arguments, and not what it reads.
    #[arg(value_name = "INVITE")]
    invite: Option<String>,
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: CallArgs) -> Outcome {
    // Before anything else reads stdin, and while Ctrl-C still ends the program at once.
    let whom = read_line(args.invite.as_deref())?;
    let mut stop = Stop::listen(args.common.exit_with_stdin)?;
    let way = match &whom {
        Whom::Invited(line) => choose_network(&args.network, line)?,
        Whom::Service(_) => args.network.way()?,
    };
    let sound = args.common.open()?;
    let node = args.common.start(&way).await?;
    let reach = async {
        let invite = match whom {
            Whom::Invited(line) => line.invite,
            Whom::Service(address) => service::ask(&node, &address).await?,
        };
        let circuit = join(&node, &invite, args.common.hops).await?;
        Outcome::Ok((invite, circuit))
    };
    let outcome = tokio::select! {
        biased;
        () = stop.wait() => Ok(None),
        reached = reach => reached.map(Some),
    };
    let outcome = match outcome {
        Ok(Some((invite, circuit))) => {
            let party = Party::Caller(invite);
            let speaker = Speaker { node: node.clone(), circuit: Arc::new(circuit), party, sound };
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

/// Who is called.
enum Whom {
    /// By an invite.
    Invited(Box<InviteLine>),
    /// At an address.
    Service(ServiceAddress),
}

fn read_line(argument: Option<&str>) -> Outcome<Whom> {
    let (text, pasted) = match argument {
        Some(argument) if argument != "-" => (argument.to_owned(), false),
        _ => {
            let pasted = io::stdin().is_terminal();
            if pasted {
                term::progress("paste the invite and press Enter (a long one: zmesh voice call < FILE)");
            }
            let text = first_line(io::stdin().lock())
                .map_err(|error| Failure::misused("cannot read the invite from stdin", error, ASK))?;
            (text, pasted)
        }
    };
    if text.trim().to_ascii_lowercase().ends_with(SERVICE_SUFFIX) {
        let address = text.parse().map_err(|error: ServiceAddressError| {
            Failure::misused("the address cannot be used", error, "ask for the whole address")
        })?;
        return Ok(Whom::Service(address));
    }
    invite_line::read(&text, unix_now()).map(|line| Whom::Invited(Box::new(line))).map_err(|error| match error {
        InviteError::Expired { .. } => Failure::failed("the call cannot be made", error, ASK),
        error if pasted && text.len() >= TERMINAL_LINE => Failure::misused(
            "the invite cannot be used",
            format_args!("{error}, perhaps because the terminal cut the line off"),
            "save the line in a file and run: zmesh voice call < FILE",
        ),
        error => Failure::misused("the invite cannot be used", error, ASK),
    })
}

/// The first line that is not blank, without what follows: that may be for somebody else. Empty at the end of the input.
fn first_line(input: impl BufRead) -> io::Result<String> {
    let mut input = input.take(STDIN_MAX);
    let mut line = String::new();
    while line.trim().is_empty() {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            break;
        }
    }
    Ok(line.trim().to_owned())
}

/// A network that was named, else the one that the invite brings, else the user's own. Whichever it is, the invite pins
/// its id.
fn choose_network(option: &NetworkOption, line: &InviteLine) -> Outcome<Way> {
    let way = match &line.network {
        Carried::Document(bytes) if !option.is_named() => {
            let document = Document::decode(bytes)
                .map_err(|error| Failure::misused("the network that the invite brings cannot be used", error, ASK))?;
            let network = network_file::from_document(document, "the network that the invite brings")?;
            Way::Document(Known { network, document: bytes.clone() })
        }
        Carried::Bootstrap(bootstrap) if !option.is_named() => option.by_line(bootstrap.clone())?,
        _ => option.way()?,
    };
    let brings_its_own = !matches!(line.network, Carried::Nothing);
    let next = if brings_its_own && option.is_named() {
        "the invite brings its network: leave out --network and --bootstrap, and unset ZMESH_NETWORK and ZMESH_BOOTSTRAP"
    } else {
        "give that network with --network or --bootstrap"
    };
    line.invite
        .check_network(&way.network_id())
        .map_err(|error| Failure::failed("the call cannot be made", error, next))?;
    Ok(way)
}

async fn join(node: &Node, invite: &Invite, hops: u8) -> Outcome<zmesh_overlay::DatagramCircuit> {
    term::progress(format_args!("building a circuit of {hops} relays to the meeting relay"));
    // The meeting relay was the other side's choice: it comes on top of one's own.
    let spec = MeetingSpec::given(RelayId(*invite.relay())).hops(usize::from(hops) + 1);
    meeting::meet(node, Meet::join(*invite.cookie()), spec).await.map_err(|error| match error {
        CircuitError::Meeting(why) => Failure::failed(
            "the call cannot be made",
            format_args!("the meeting relay says: {why}"),
            "the invite was used already or the other side left: ask for a new one",
        ),
        error => meeting::failed(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_and_no_more() {
        for (input, line, left) in [
            ("zmesh:call/2/a\nnext\n", "zmesh:call/2/a", "next\n"),
            ("\n \r\n  zmesh:call/2/a \r\n", "zmesh:call/2/a", ""),
            ("zmesh:call/2/a", "zmesh:call/2/a", ""),
            ("\n\n", "", ""),
            ("", "", ""),
        ] {
            let mut bytes = input.as_bytes();
            assert_eq!(first_line(&mut bytes).expect("text"), line);
            assert_eq!(bytes, left.as_bytes());
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
        let endless = first_line(io::BufReader::new(io::repeat(b'a'))).expect("text");
        assert_eq!(endless.len() as u64, STDIN_MAX);
    }
}
