use proptest::prelude::*;

use super::*;
use crate::directory::Chain;
use crate::directory::fixture::{NOW, descriptor, genesis, info, keys, rng, snapshot, voter_keys};
use crate::keys::SignerKey;

fn id(key: &SignerKey) -> SignerId {
    SignerId(key.public())
}

fn stranger(seed: u64) -> SignerKey {
    SignerKey::generate(&mut rng(80_000 + seed))
}

/// Four voters, and a document of four relays of four other operators.
fn admission() -> (Admission, Vec<SignerKey>) {
    let keys = voter_keys(4);
    let mut chain = Chain::from_genesis(genesis(&keys, false));
    let bytes = snapshot(&chain, &keys, 1, 0..4).encode();
    let snapshot = chain.accept_snapshot(&bytes).unwrap();
    let network = Network::from_snapshot(&chain, snapshot, NOW).unwrap();
    let mut admission = Admission::new(chain.genesis());
    admission.set_network(&chain.head().voters, &chain.head().parameters, &network);
    (admission, keys)
}

fn relay(number: u64) -> SignerKey {
    keys(1_000 + number).signer()
}

fn attest(admission: &mut Admission, observer: &SignerKey, subject: SignerId, uptime: u16, now: u64) -> Verdict {
    let attestation =
        Attestation { network: admission.network, observer: id(observer), subject, made: now, watched: 90_000, uptime };
    admission.handle_attestation(&attestation.sign(observer).unwrap(), now)
}

#[test]
fn uptime_that_enough_independent_nodes_saw_decides() {
    let (mut admission, voters) = admission();
    let newcomer = id(&stranger(1));
    assert_eq!(admission.tier(&id(&voters[0]), NOW), Tier::Voter);
    assert_eq!(admission.tier(&id(&relay(1)), NOW), Tier::Publisher);
    assert_eq!(admission.tier(&newcomer, NOW), Tier::ReadOnly);
    assert_eq!(admission.observers_needed(), 2);
    assert_eq!(attest(&mut admission, &voters[0], newcomer, 990, NOW), Verdict::Accept);
    assert_eq!(admission.tier(&newcomer, NOW), Tier::ReadOnly, "one may lie");
    // Strangers vouch for nobody.
    assert_eq!(attest(&mut admission, &stranger(2), newcomer, 990, NOW), Verdict::Ignore(Reason::NotEntitled));
    assert_eq!(attest(&mut admission, &relay(1), newcomer, 400, NOW), Verdict::Accept);
    assert_eq!(admission.uptime(&newcomer, 0, NOW), Some(400), "what the second best saw");
    assert_eq!(admission.tier(&newcomer, NOW), Tier::ReadOnly);
    assert_eq!(attest(&mut admission, &relay(1), newcomer, 800, NOW + 1), Verdict::Accept);
    assert_eq!(admission.tier(&newcomer, NOW + 1), Tier::Publisher);
    assert_eq!(admission.tier(&newcomer, NOW + ATTESTATION_LIFE + 1), Tier::ReadOnly, "it decays");
    assert!(admission.candidates(NOW + 1).is_empty(), "it is in no document");
    for voter in &voters[..2] {
        assert_eq!(attest(&mut admission, voter, id(&relay(2)), 960, NOW + 2), Verdict::Accept);
    }
    assert_eq!(admission.candidates(NOW + 2), [(id(&relay(2)), "operator 2")]);
    admission.prune(NOW + 3 * ATTESTATION_LIFE);
    assert!(admission.attestations.is_empty());
}

#[test]
fn proofs_are_counted_once_and_replays_are_stale() {
    let (mut admission, voters) = admission();
    let subject = id(&stranger(1));
    assert_eq!(attest(&mut admission, &voters[0], subject, 900, NOW), Verdict::Accept);
    assert_eq!(attest(&mut admission, &voters[0], subject, 900, NOW), Verdict::Ignore(Reason::Duplicate));
    assert_eq!(attest(&mut admission, &voters[0], subject, 1_000, NOW), Verdict::Ignore(Reason::Stale));
    assert_eq!(attest(&mut admission, &voters[0], subject, 1_000, NOW - 9), Verdict::Ignore(Reason::Stale));
    assert_eq!(attest(&mut admission, &voters[0], id(&voters[0]), 900, NOW), Verdict::Ignore(Reason::AgainstRules));
    let good = Attestation {
        network: admission.network,
        observer: id(&voters[1]),
        subject,
        made: NOW,
        watched: 9,
        uptime: 900,
    };
    let bytes = good.sign(&voters[1]).unwrap();
    assert!(bytes.len() <= ATTESTATION_MAX);
    let late = NOW + ATTESTATION_LIFE;
    assert_eq!(admission.handle_attestation(&bytes, late), Verdict::Ignore(Reason::Expired));
    assert_eq!(admission.handle_attestation(&bytes, NOW - 400), Verdict::Ignore(Reason::Early));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(matches!(admission.handle_attestation(&bad, NOW), Verdict::Reject(_)), "byte {at}");
    }
    let foreign = Attestation { network: NetworkId([1; 32]), ..good.clone() }.sign(&voters[1]).unwrap();
    assert_eq!(admission.handle_attestation(&foreign, NOW), Verdict::Reject(Reason::OtherNetwork));
    assert!(Attestation { uptime: 1_001, ..good.clone() }.sign(&voters[1]).is_err());
    assert!(good.sign(&voters[0]).is_err());
}

#[test]
fn topics_are_gated_by_tier_and_floods_by_budget() {
    let (mut admission, voters) = admission();
    let (voter, publisher, reader) = (id(&voters[0]), id(&relay(1)), id(&stranger(1)));
    let mut ask = |topic, who: &SignerId| admission.check(topic, who, 500, NOW) == Verdict::Accept;
    for (topic, who, allowed) in [
        (Topic::Votes, &voter, true),
        (Topic::Votes, &publisher, false),
        (Topic::Snapshots, &voter, true),
        (Topic::Snapshots, &publisher, false),
        (Topic::Meta, &publisher, true),
        (Topic::Meta, &reader, false),
        (Topic::Proofs, &publisher, true),
        (Topic::Proofs, &reader, false),
        (Topic::Descriptors, &reader, true),
    ] {
        assert_eq!(ask(topic, who), allowed, "{topic}");
    }
    let taken = (0..100).filter(|_| ask(Topic::Descriptors, &publisher)).count();
    assert_eq!(taken, 6);
    assert_eq!(admission.check(Topic::Descriptors, &publisher, 500, NOW), Verdict::Ignore(Reason::TooMany));
    assert_eq!(admission.check(Topic::Descriptors, &publisher, 500, NOW + 10), Verdict::Accept, "one in ten seconds");
    assert_eq!(admission.check(Topic::Descriptors, &publisher, 500, NOW + 10), Verdict::Ignore(Reason::TooMany));
    // Bytes count too.
    let voter = id(&voters[1]);
    let taken = (0..9).filter(|_| admission.check(Topic::Votes, &voter, 250_000, NOW) == Verdict::Accept).count();
    assert_eq!(taken, 4);
}

/// Ten thousand fresh identities: they share one small budget, wash no ban away, and nobody else notices.
#[test]
fn a_sybil_flood_meets_its_caps() {
    let (mut admission, voters) = admission();
    let bad = id(&stranger(999_999));
    for _ in 0..3 {
        admission.blame(&bad, Reason::Forged, NOW);
    }
    assert!(admission.is_banned(&bad, NOW));
    let mut fresh = [0u8; 32];
    let mut accepted = 0u32;
    for number in 0..20_000u32 {
        fresh[..4].copy_from_slice(&number.to_be_bytes());
        let now = NOW + u64::from(number / 1_000);
        accepted += u32::from(admission.check(Topic::Descriptors, &SignerId(fresh), 3_000, now) == Verdict::Accept);
    }
    assert!((NEWCOMERS_PER_MINUTE..=NEWCOMERS_PER_MINUTE + 11).contains(&accepted), "{accepted} in 20 seconds");
    for number in 0..20_000u32 {
        fresh[..4].copy_from_slice(&number.to_be_bytes());
        admission.blame(&SignerId(fresh), Reason::OtherNetwork, NOW);
    }
    assert!(admission.standings.len() <= AUTHORS_MAX);
    assert!(admission.is_banned(&bad, NOW), "the ban is still there");
    assert_eq!(admission.check(Topic::Votes, &id(&voters[0]), 300, NOW), Verdict::Accept);
    assert_eq!(admission.check(Topic::Descriptors, &id(&relay(1)), 300, NOW), Verdict::Accept);
}

#[test]
fn faults_decay_and_bans_grow() {
    let (mut admission, _) = admission();
    let sender = id(&stranger(1));
    admission.blame(&sender, Reason::Stale, NOW);
    admission.blame(&sender, Reason::Duplicate, NOW);
    assert!(admission.standing(&sender).unwrap().points(NOW) < 0.1, "nobody's fault");
    admission.blame(&sender, Reason::Forged, NOW);
    admission.blame(&sender, Reason::Forged, NOW);
    assert!(!admission.is_banned(&sender, NOW));
    assert!((admission.standing(&sender).unwrap().points(NOW + 600) - 40.0).abs() < 0.1);
    let mut now = NOW;
    let mut lengths = Vec::new();
    for _ in 0..14 {
        while !admission.is_banned(&sender, now) {
            admission.blame(&sender, Reason::Malformed, now);
        }
        assert_eq!(admission.check(Topic::Descriptors, &sender, 1, now), Verdict::Ignore(Reason::Banned));
        let until = admission.standing(&sender).unwrap().banned_until();
        lengths.push(until - now);
        now = until;
    }
    assert_eq!(lengths[..4], [60, 120, 240, 480]);
    assert_eq!(lengths[13], 86_400);
    admission.prune(now + 8 * 86_400);
    assert!(admission.standing(&sender).is_none(), "forgiven after a quiet week");
}

#[test]
fn what_is_kept_survives_a_restart() {
    let (mut admission, voters) = admission();
    let (bad, subject) = (id(&stranger(1)), id(&stranger(2)));
    for _ in 0..5 {
        admission.blame(&bad, Reason::Forged, NOW);
    }
    attest(&mut admission, &voters[0], subject, 900, NOW);
    attest(&mut admission, &voters[1], subject, 800, NOW);
    let bytes = admission.encode();
    let genesis = genesis(&voters, false);
    let read = Admission::decode(&bytes, &genesis, NOW).unwrap();
    assert!(read.is_banned(&bad, NOW));
    assert_eq!(read.tier(&subject, NOW), Tier::Publisher);
    assert_eq!(read.encode(), bytes);
    assert!(Admission::decode(&bytes[..bytes.len() - 1], &genesis, NOW).is_err());
    assert!(Admission::decode(&bytes, &crate::directory::fixture::genesis(&voters, true), NOW).is_err());
}

#[test]
fn a_watch_says_for_how_much_of_the_time_it_was_up() {
    let mut watch = Watch::new(NOW);
    assert_eq!(watch.uptime(), None);
    for hour in 1..=100u64 {
        watch.look(hour % 10 != 0, NOW + hour * 600);
    }
    assert!((890..=910).contains(&watch.uptime().unwrap()), "{:?}", watch.uptime());
    assert_eq!(watch.watched(), 60_000);
    // A watcher that slept for a month says nothing of it, and what was before has faded.
    watch.look(true, NOW + 30 * 86_400);
    watch.look(true, NOW + 30 * 86_400 + 1_800);
    assert!(watch.uptime().unwrap() > 980);
}

#[test]
fn descriptors_of_the_fixture_are_those_of_the_relays() {
    assert_eq!(descriptor(1_001, &info(1)).identity(), relay(1).public());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let (mut admission, genesis) = BASE.with(Clone::clone);
        prop_assert!(admission.handle_attestation(&bytes, NOW) != Verdict::Accept);
        let _ = Admission::decode(&bytes, &genesis, NOW);
    }
}

thread_local! {
    static BASE: (Admission, Genesis) = {
        let (admission, voters) = admission();
        (admission, genesis(&voters, false))
    };
}
