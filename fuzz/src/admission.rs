//! Strangers and observers in any order: memory stays bounded, and what is stored is read again.

use arbitrary::Arbitrary;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::admission::{Admission, Attestation};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Parameters, Reason, Topic, Voter, VoterSet};
use zmesh_proto::wire::document::SignerId;

const ZERO: u64 = 1_760_000_000;

/// What happens next.
#[derive(Arbitrary, Debug)]
pub enum Step {
    /// Seconds pass.
    Wait(u16),
    /// Somebody publishes.
    Check { topic: u8, author: u8, len: u16 },
    /// Somebody sent what was refused.
    Blame { sender: u8, reason: u8 },
    /// Somebody sent something good.
    Credit(u8),
    /// A voter vouches for somebody.
    Attest { observer: u8, subject: u8, uptime: u16, watched: u32, ago: u16 },
    /// Any bytes as an attestation.
    Bytes(Vec<u8>),
    /// Stored and read again.
    Restart,
    /// Old things are forgotten.
    Prune,
}

fn key(number: u8) -> SignerKey {
    SignerKey::generate(&mut ChaCha12Rng::seed_from_u64(u64::from(number)))
}

/// Plays an input.
///
/// # Panics
/// If what was stored is not read again.
pub fn play(steps: &[Step]) {
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
    let reasons = [Reason::Forged, Reason::Malformed, Reason::Stale, Reason::OtherNetwork, Reason::AgainstRules];
    let mut admission = Admission::new(&genesis);
    let mut now = ZERO;
    let id = |number: u8| SignerId([number; 32]);
    for step in steps.iter().take(500) {
        match step {
            Step::Wait(seconds) => now += u64::from(*seconds),
            Step::Check { topic, author, len } => {
                admission.check(
                    Topic::ALL[usize::from(*topic) % Topic::ALL.len()],
                    &id(*author),
                    usize::from(*len),
                    now,
                );
            }
            Step::Blame { sender, reason } => admission.blame(&id(*sender), reasons[usize::from(*reason) % 5], now),
            Step::Credit(sender) => admission.credit(&id(*sender), now),
            Step::Attest { observer, subject, uptime, watched, ago } => {
                let observer = key(observer % 5);
                let attestation = Attestation {
                    network: genesis.network_id(),
                    observer: SignerId(observer.public()),
                    subject: id(*subject),
                    made: now.saturating_sub(u64::from(*ago)),
                    watched: u64::from(*watched),
                    uptime: uptime % 1_001,
                };
                let bytes = attestation.sign(&observer).expect("its own key");
                admission.handle_attestation(&bytes, now);
            }
            Step::Bytes(bytes) => {
                admission.handle_attestation(bytes, now);
                let _ = Admission::decode(bytes, &genesis, now);
            }
            Step::Restart => {
                let bytes = admission.encode();
                admission = Admission::decode(&bytes, &genesis, now).expect("what it stored");
                assert_eq!(admission.encode(), bytes);
            }
            Step::Prune => admission.prune(now),
        }
    }
}
