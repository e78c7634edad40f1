//! How a network whose voters agree on documents begins: its genesis.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Parameters, Voter, VoterSet};
use zmesh_proto::wire::descriptor::{Descriptor, LIFETIME_AGREED};
use zmesh_proto::wire::document::SignerId;

use super::{signer, unusable};
use crate::commands::relay::directory::REFRESH;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::network_file::load_genesis;
use crate::term;
use crate::time::{date, unix_now};

/// What is agreed from the start besides: for how many epochs a document is valid.
const LIFETIME: &str = "lifetime";

/// How such a network begins.
#[derive(Debug, Args)]
pub(crate) struct Begin {
    /// The network's name.
    #[arg(long)]
    name: String,
    /// Somebody who votes on the first document; give it once for each.
    #[arg(long, required = true, value_name = "DESCRIPTOR|OPERATOR=KEY")]
    voter: Vec<String>,
    /// The genesis to make. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The length of an epoch in seconds: how often voters agree on a new document.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    epoch: u32,
    /// For how many epochs a document is valid, so that the network outlives some without agreement.
    #[arg(long, value_name = "EPOCHS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=168))]
    lifetime: u32,
    /// How many voters one operator may have, now and later.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    voters_per_operator: u32,
    /// For relays on one machine or in one local network: lifts the rules that keep circuits diverse. Never for real use.
    #[arg(long)]
    test_network: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn begin(begin: Begin) -> Outcome {
    let terms = GenesisTerms {
        name: begin.name,
        test_network: begin.test_network,
        epoch_length: begin.epoch,
        epoch_zero: unix_now(),
        voters_per_operator: begin.voters_per_operator,
        voters: voters(&begin.voter, begin.voters_per_operator)?,
        parameters: parameters(begin.lifetime),
    };
    let genesis = make(terms, begin.lifetime)?;
    files::create(&begin.out, genesis.to_text().as_bytes(), Access::Public)?;
    let voters = genesis.voters();
    if voters.tolerated() == 0 {
        term::warning(format_args!(
            "with {} voters all have to agree each time: with four, one of them may fail",
            voters.len()
        ));
    }
    if begin.json {
        term::json(&summary(&begin.out, &genesis));
    } else {
        term::line(format_args!(
            "{}: network {}, {} voters, an epoch lasts {} s",
            begin.out.display(),
            genesis.terms().name,
            voters.len(),
            genesis.terms().epoch_length,
        ));
        term::line(format_args!("id {}", genesis.network_id()));
        term::progress(
            "next: name it as genesis in [directory] of every relay's configuration, and start the relays, voters with --begin-network",
        );
    }
    Ok(())
}

/// A genesis whose documents do not outlive the descriptors in them.
pub(crate) fn make(terms: GenesisTerms, lifetime: u32) -> Outcome<Genesis> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::misused("the network cannot begin so", why, "correct the options: zmesh network genesis --help")
    };
    // A relay is voted on with a descriptor of this age at most, for a document that ends two epochs and a lifetime later.
    let (ends, lives) = (u64::from(lifetime + 2) * u64::from(terms.epoch_length), LIFETIME_AGREED - REFRESH);
    if ends > lives {
        return Err(wrong(&format_args!(
            "its documents would end {ends} s after the votes, and descriptors of relays may end after {lives} s"
        )));
    }
    Genesis::new(terms).map_err(|error| wrong(&error))
}

/// The parameters of a network whose documents are valid for so many epochs.
pub(crate) fn parameters(lifetime: u32) -> Parameters {
    Parameters::new().with(LIFETIME, lifetime).expect("one parameter of a good name")
}

fn voters(named: &[String], per_operator: u32) -> Outcome<VoterSet> {
    let voters = named.iter().map(|text| voter(text)).collect::<Outcome<Vec<_>>>()?;
    let next = "correct --voter, or allow more with --voters-per-operator";
    VoterSet::new(voters, per_operator as usize)
        .map_err(|error| Failure::misused("the network cannot begin so", error, next))
}

/// A voter as people name one: a relay's descriptor, which says whose it is, or an operator and a key.
fn voter(text: &str) -> Outcome<Voter> {
    if let Some((operator, key)) = text.split_once('=') {
        return Ok(Voter { key: signer(key)?, operator: operator.to_owned() });
    }
    let path = Path::new(text);
    let bytes = files::read(path, "voter", "a voter is a relay's descriptor, or OPERATOR=KEY")?;
    let descriptor = Descriptor::from_text(&bytes).map_err(|error| unusable(path, error))?;
    let operator = descriptor.info().operator.clone();
    Ok(Voter { key: SignerId(descriptor.identity()), operator })
}

pub(super) fn show(path: &Path, json: bool) -> Outcome {
    let genesis = load_genesis(path)?;
    if json {
        term::json(&summary(path, &genesis));
        return Ok(());
    }
    let terms = genesis.terms();
    let kind = if terms.test_network { " (test network)" } else { "" };
    term::line(format_args!("network  {}{kind}", terms.name));
    term::line(format_args!("id       {}", genesis.network_id()));
    let now = genesis.epoch_at(unix_now());
    term::line(format_args!("began    {}, now in epoch {now} of {} s", date(terms.epoch_zero), terms.epoch_length));
    term::line(format_args!("valid    a document for {} epochs", terms.parameters.lifetime()));
    for voter in genesis.voters().voters() {
        term::line(format_args!("voter    {} {}", voter.key, voter.operator));
    }
    Ok(())
}

fn summary(file: &Path, genesis: &Genesis) -> serde_json::Value {
    let terms = genesis.terms();
    let voters = genesis.voters().voters().iter();
    json!({
        "file": file,
        "kind": "genesis",
        "name": terms.name,
        "id": genesis.network_id().to_string(),
        "test_network": terms.test_network,
        "epoch_seconds": terms.epoch_length,
        "epoch_zero": terms.epoch_zero,
        "voters": voters.map(|voter| json!({ "key": voter.key.to_string(), "operator": voter.operator })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_do_not_outlive_the_descriptors_in_them() {
        let voters = VoterSet::new(vec![Voter { key: SignerId(KEY), operator: "me".into() }], 1).expect("one voter");
        let terms = |epoch_length| GenesisTerms {
            name: "friends".into(),
            test_network: false,
            epoch_length,
            epoch_zero: 1_700_000_000,
            voters_per_operator: 1,
            voters: voters.clone(),
            parameters: parameters(3),
        };
        assert_eq!(make(terms(3_600), 3).expect("an hour").terms().parameters.lifetime(), 3);
        let long = make(terms(86_400), 3).expect_err("a day").to_string();
        assert!(long.contains("descriptors of relays may end"), "{long}");
    }

    /// The base point's public key of RFC 8032, test 1.
    const KEY: [u8; 32] = [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
        0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
    ];
}
