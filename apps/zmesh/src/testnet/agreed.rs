//! A test network whose relays agree on its documents: its genesis, its bootstrap line, and its first document.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use zmesh_overlay::Bootstrap;
use zmesh_proto::link::LinkPeer;
use zmesh_proto::wire::control::{EPOCH_LENGTH_MIN, GenesisTerms, Voter, VoterSet};
use zmesh_proto::wire::document::SignerId;

use super::{Member, Testnet};
use crate::commands::network::genesis;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::term;
use crate::time::unix_now;

/// The length of an epoch unless somebody wants another, in seconds: the first document takes half of it.
pub(crate) const EPOCH_DEFAULT: u32 = 12;
/// The shortest that is taken, in seconds: in shorter ones, processes that share a processor are late for each other.
pub(crate) const EPOCH_LEAST: u32 = 8;
const _: () = assert!(EPOCH_LEAST >= EPOCH_LENGTH_MIN);
/// Among the files of a test network.
pub(super) const LINE_FILE: &str = "bootstrap";
const GENESIS_FILE: &str = "genesis";
/// At most so many relays vote: with seven, two may fail.
const VOTERS: usize = 7;
/// They are all of one operator.
const VOTERS_PER_OPERATOR: u32 = 7;
/// For how many epochs a document is valid. They are short here.
const LIFETIME: u32 = 100;
/// Entry relays in the line.
const ENTRIES: usize = 3;
/// How long relays have to meet each other before they vote, in seconds.
const MEET: u64 = 3;
/// Epochs after which the first document should be there, and list everybody.
const PATIENCE: u32 = 8;

/// How many relays vote.
pub(super) fn voters(relays: usize) -> usize {
    relays.min(VOTERS)
}

/// Writes the genesis and the line by which people join; gives the line. The first epoch begins when relays that start now have met.
pub(super) fn begin(testnet: &Testnet, epoch: u32) -> Outcome<String> {
    let fault = |why: &dyn std::fmt::Display| {
        Failure::failed("the test network cannot be made", why, "this is a fault of zmesh")
    };
    let voter =
        |member: &Member| Voter { key: SignerId(member.keys.identity_public()), operator: "testnet".to_owned() };
    let voters = testnet.relays.iter().take(voters(testnet.relays.len())).map(voter).collect();
    let genesis = genesis::make(
        GenesisTerms {
            name: "testnet".to_owned(),
            test_network: true,
            epoch_length: epoch,
            epoch_zero: unix_now() + MEET,
            voters_per_operator: VOTERS_PER_OPERATOR,
            voters: VoterSet::new(voters, VOTERS).map_err(|why| fault(&why))?,
            parameters: genesis::parameters(LIFETIME),
        },
        LIFETIME,
    )?;
    let entries = testnet.relays.iter().take(ENTRIES).map(entry).collect();
    let line = Bootstrap::new(genesis.network_id(), entries).map_err(|why| fault(&why))?.to_string();
    files::replace(&testnet.dir.join(GENESIS_FILE), genesis.to_text().as_bytes(), Access::Public)?;
    files::replace(&testnet.dir.join(LINE_FILE), format!("{line}\n").as_bytes(), Access::Public)?;
    Ok(line)
}

fn entry(member: &Member) -> LinkPeer {
    LinkPeer {
        identity: member.keys.identity_public(),
        link_key: member.keys.link_public(),
        addresses: vec![member.advertised],
    }
}

/// Starts the relays and waits until each has a document that lists all of them.
pub(super) async fn start(testnet: &mut Testnet, epoch: u32) -> Outcome {
    let count = testnet.relays.len();
    let deadline = Instant::now() + Duration::from_secs(MEET) + Duration::from_secs(epoch.into()) * PATIENCE;
    let mut relays = testnet.relays.iter_mut();
    if let Some(first) = relays.next() {
        // Whom all others call should be there when they do.
        first.start()?;
        first.ready().await?;
    }
    for relay in relays {
        relay.start()?;
    }
    for relay in testnet.relays.iter_mut().skip(1) {
        relay.ready().await?;
    }
    term::progress(format_args!("agreeing on the first document: {} of the relays vote", voters(count)));
    let (mut behind, mut listed) = (Vec::new(), count);
    for relay in &mut testnet.relays {
        match relay.agrees(count, deadline).await? {
            Some(seen) if seen < count => listed = listed.min(seen),
            Some(_) => {}
            None => behind.push(relay.nickname.clone()),
        }
    }
    if behind.len() == count {
        return Err(Failure::failed(
            "the relays did not agree on a document",
            format_args!("there is none after {} epochs of {epoch} s", PATIENCE),
            "this machine may be too slow or too busy for it: give longer epochs with --epoch, or use --file",
        ));
    }
    if !behind.is_empty() {
        term::warning(format_args!("without a document so far: {}", behind.join(", ")));
    }
    if listed < count {
        term::warning(format_args!("the document lists {listed} of {count} relays so far"));
    }
    Ok(())
}

impl Member {
    /// Waits until this relay has a document that lists so many relays; gives how many the newest one lists, if it has any.
    async fn agrees(&mut self, relays: usize, deadline: Instant) -> Outcome<Option<usize>> {
        let mut seen = None;
        while let Some(child) = &mut self.child
            && let left = deadline.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            let Some(document) = child.result_within("document", left).await? else { break };
            let listed = document.pointer("/document/relays").and_then(Value::as_u64).unwrap_or(0);
            seen = usize::try_from(listed).ok();
            if seen >= Some(relays) {
                break;
            }
        }
        Ok(seen)
    }
}
