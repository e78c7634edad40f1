//! Heartbeats of relays in any order, and any bytes among them: a relay is heard once an epoch, and what is not signed never.
#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::Heartbeats;
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Heartbeat, Parameters, Verdict, Vitals, Voter, VoterSet};
use zmesh_proto::wire::document::SignerId;

const ZERO: u64 = 1_760_000_000;
const RELAYS: u8 = 4;

#[derive(Arbitrary, Debug)]
enum Step {
    Wait(u16),
    Said { relay: u8, ahead: i8, peers: usize, up: u64, load: Option<u16> },
    Bytes(Vec<u8>),
    Listed(u8),
}

fn key(number: u8) -> SignerKey {
    SignerKey::generate(&mut ChaCha12Rng::seed_from_u64(u64::from(number)))
}

fuzz_target!(|steps: Vec<Step>| {
    let voter = |number| Voter { key: SignerId(key(number).public()), operator: format!("operator {number}") };
    let genesis = Genesis::new(GenesisTerms {
        name: "fuzz".into(),
        test_network: false,
        epoch_length: 3_600,
        epoch_zero: ZERO,
        voters_per_operator: 1,
        voters: VoterSet::new((0..4).map(voter).collect(), 1).expect("four voters"),
        parameters: Parameters::new(),
    })
    .expect("a genesis");
    let mut heartbeats = Heartbeats::new(&genesis);
    let (mut now, mut accepted) = (ZERO, BTreeSet::new());
    for step in steps.iter().take(200) {
        match step {
            Step::Wait(seconds) => now += u64::from(*seconds),
            Step::Said { relay, ahead, peers, up, load } => {
                let relay = relay % (RELAYS + 2);
                let epoch = genesis.epoch_at(now).saturating_add_signed(i64::from(*ahead));
                let vitals = Vitals::round((0, 1), *peers, *up, *load);
                let bytes = Heartbeat::sign(genesis.network_id(), epoch, vitals, &key(relay));
                if heartbeats.offer(&bytes, now) == Verdict::Accept {
                    assert!(epoch.abs_diff(genesis.epoch_at(now)) <= 1, "of now");
                    // Who left the document and came back is heard again.
                    assert!(accepted.insert((relay, epoch)), "once an epoch");
                }
            }
            Step::Bytes(bytes) => assert_ne!(heartbeats.offer(bytes, now), Verdict::Accept),
            Step::Listed(count) => {
                let count = count % (RELAYS + 1);
                heartbeats.list((0..count).map(|number| key(number).public()));
                accepted.retain(|(relay, _)| *relay < count);
            }
        }
        assert!(heartbeats.health(now).alive <= usize::from(RELAYS));
    }
});
