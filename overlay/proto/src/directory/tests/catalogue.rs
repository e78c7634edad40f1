use crate::directory::fixture::{NOW, genesis, info, keys, voter_keys};
use std::net::SocketAddr;

use zmesh_sphinx::RelayId;

use crate::directory::{ByHand, Catalogue, Chain, Measure, STRANGERS_MAX, STRANGERS_PER_NETWORK};
use crate::wire::control::{Reason, Verdict};
use crate::wire::descriptor::{DESCRIPTOR_MAX, Descriptor, DescriptorInfo, LIFETIME_AGREED, Terms};

fn catalogue(test_network: bool) -> Catalogue {
    Catalogue::new(&genesis(&voter_keys(1), test_network))
}

fn made(info: &DescriptorInfo, terms: Terms) -> Vec<u8> {
    Descriptor::create(&keys(1), info, terms).unwrap().as_bytes().to_vec()
}

fn terms(revision: u64) -> Terms {
    Terms { revision, ..Terms::agreed(NOW) }
}

#[test]
fn each_reason_is_told() {
    let mut catalogue = catalogue(false);
    let good = made(&info(1), terms(5));
    assert!(good.len() < 1_000, "a day's keys: {} bytes", good.len());
    assert_eq!(catalogue.offer(&good, NOW), Verdict::Accept);
    assert_eq!(catalogue.offer(&good, NOW), Verdict::Ignore(Reason::Duplicate));
    assert_eq!(catalogue.offer(&made(&info(2), terms(5)), NOW), Verdict::Ignore(Reason::Equivocation));
    assert_eq!(catalogue.offer(&made(&info(2), terms(4)), NOW), Verdict::Ignore(Reason::Stale));
    assert_eq!(catalogue.offer(&made(&info(2), terms(6)), NOW + 59), Verdict::Ignore(Reason::TooMany));
    assert_eq!(catalogue.offer(&made(&info(2), terms(6)), NOW + 60), Verdict::Accept);
    assert_eq!(catalogue.offer(&good, NOW), Verdict::Ignore(Reason::Stale), "a replay");
    let replaced = Descriptor::decode(&good).unwrap();
    assert_eq!(
        catalogue.by_hash(&crate::wire::control::descriptor_hash(&good)),
        Some(&replaced),
        "a ballot may name it"
    );
    let mut forged = made(&info(2), terms(7));
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(catalogue.offer(&forged, NOW), Verdict::Reject(Reason::Forged));
    assert_eq!(catalogue.offer(&vec![1; DESCRIPTOR_MAX + 1], NOW), Verdict::Reject(Reason::Oversized));
    assert_eq!(catalogue.offer(&forged[..50], NOW), Verdict::Reject(Reason::Malformed));
    let late = NOW + LIFETIME_AGREED;
    assert_eq!(catalogue.offer(&made(&info(2), terms(8)), late), Verdict::Ignore(Reason::Expired));
    assert_eq!(catalogue.offer(&made(&info(2), terms(8)), NOW - 3_601), Verdict::Ignore(Reason::Early));
    let long = Terms { revision: 9, ..Terms::from_now(NOW) };
    assert_eq!(catalogue.offer(&made(&info(2), long), NOW), Verdict::Reject(Reason::AgainstRules));
    let private = DescriptorInfo { addresses: vec!["10.0.0.1:9".parse().unwrap()], ..info(1) };
    assert_eq!(catalogue.offer(&made(&private, terms(9)), NOW), Verdict::Reject(Reason::AgainstRules));
    assert_eq!(self::catalogue(true).offer(&made(&private, terms(9)), NOW), Verdict::Accept);
    let id = keys(1).id();
    assert_eq!(catalogue.descriptor(&id).unwrap().terms().revision, 6);
    assert_eq!(catalogue.descriptors().count(), 1);
    catalogue.prune(late);
    assert!(catalogue.descriptor(&id).is_none());
}

#[test]
fn a_ballot_names_what_was_reached_and_lasts() {
    let keys_of_voters = voter_keys(1);
    let mut catalogue = Catalogue::new(&genesis(&keys_of_voters, false));
    let chain = Chain::from_genesis(genesis(&keys_of_voters, false));
    let until = chain.ballots_hold_until(NOW);
    assert_eq!(until, NOW + 5 * 3_600, "epoch 3, three epochs long");
    for number in 1..4u8 {
        let terms = Terms { expires: until - u64::from(number == 2), ..terms(1) };
        let made = Descriptor::create(&keys(u64::from(number)), &info(number), terms).unwrap();
        assert_eq!(catalogue.offer(made.as_bytes(), NOW), Verdict::Accept);
    }
    let unreached = keys(3).id();
    let ballot = catalogue.ballot(until, |id| (*id != unreached).then_some((999, Measure::default())));
    let ids: Vec<_> = ballot.sightings.iter().map(|sighting| sighting.id).collect();
    assert_eq!(ids, [keys(1).id()]);
    let named = catalogue.by_hash(&ballot.sightings[0].descriptor).unwrap();
    assert_eq!(named.id(), keys(1).id());
    // A document whose descriptors are all here becomes a snapshot.
    let descriptors = vec![named.clone()];
    let document = ByHand::new(&chain, 1, descriptors).sign(&chain, &keys_of_voters).unwrap();
    assert_eq!(catalogue.snapshot(document.document().clone()).unwrap(), document);
    assert!(Catalogue::new(chain.genesis()).snapshot(document.document().clone()).is_err());
}

/// A stranger in a network that `number` names.
fn stranger(number: u32, network: [u8; 3]) -> Descriptor {
    let [a, b, c] = network;
    let host = u8::try_from(number % 250).unwrap() + 1;
    let info = DescriptorInfo { addresses: vec![SocketAddr::from(([a, b, c, host], 9_001))], ..info(1) };
    Descriptor::create(&keys(10_000 + u64::from(number)), &info, terms(1)).unwrap()
}

fn elsewhere(number: u32) -> [u8; 3] {
    let [_, a, b, _] = (number << 8).to_be_bytes();
    [30, a, b]
}

/// Identities cost nothing. However many are made, published as fast as a neighbour may send: a few are heard, a few are kept, and
/// relays of the document and those that are there in person are heard all the time.
#[test]
fn a_flood_of_identities_keeps_nobody_out() {
    let voters = voter_keys(1);
    let mut catalogue = catalogue(false);
    let listed: Vec<_> =
        (0..3).map(|number| stranger(9_000 + number, [40, 0, u8::try_from(number).unwrap()])).collect();
    let chain = Chain::from_genesis(genesis(&voters, false));
    let snapshot = ByHand::new(&chain, 1, listed.clone()).sign(&chain, &voters).unwrap();
    catalogue.list(snapshot.descriptors(), NOW);
    let first = stranger(5_000, [50, 1, 1]);
    catalogue.met(first.id(), NOW);
    assert_eq!(catalogue.put(first.clone(), NOW), Verdict::Accept);
    let publish = |catalogue: &mut Catalogue, number: u32, now: u64| {
        u32::from(catalogue.put(stranger(number, elsewhere(number)), now) == Verdict::Accept)
    };
    let heard: u32 = (0..320).map(|number| publish(&mut catalogue, number, NOW + u64::from(number) / 64)).sum();
    assert!((30..=33).contains(&heard), "{heard} of 320 in five seconds are passed on");
    // By way of a neighbour's answer they fill what is empty.
    for number in 400..640 {
        catalogue.fill(stranger(number, elsewhere(number)), NOW + 5);
    }
    assert_eq!(catalogue.len(), listed.len() + STRANGERS_MAX);
    assert_eq!(catalogue.fill(stranger(700, elsewhere(700)), NOW + 5), Verdict::Ignore(Reason::Full));
    // Published ones drive each other out, and nobody else.
    let heard: u32 = (800..830).map(|number| publish(&mut catalogue, number, NOW + 600)).sum();
    assert_eq!(heard, 30);
    let late = stranger(5_001, [50, 1, 2]);
    assert_eq!(catalogue.put(late.clone(), NOW + 600), Verdict::Ignore(Reason::TooMany), "the minute is spent");
    catalogue.met(late.id(), NOW + 600);
    assert_eq!(catalogue.put(late.clone(), NOW + 600), Verdict::Accept, "but not for who is there");
    for descriptor in listed.iter().chain([&first, &late]) {
        assert!(catalogue.contains(&descriptor.id()));
    }
    assert_eq!(catalogue.len(), listed.len() + STRANGERS_MAX);
}

#[test]
fn one_network_has_few_strangers_places() {
    let mut catalogue = catalogue(false);
    let most = u32::try_from(STRANGERS_PER_NETWORK).unwrap();
    let ids: Vec<RelayId> = (0..most).map(|number| stranger(number, [60, 1, 1]).id()).collect();
    for number in 0..most {
        assert_eq!(catalogue.put(stranger(number, [60, 1, 1]), NOW + u64::from(number)), Verdict::Accept);
    }
    assert_eq!(catalogue.put(stranger(100, [60, 1, 1]), NOW + 20), Verdict::Accept);
    assert_eq!(catalogue.len(), STRANGERS_PER_NETWORK);
    assert!(!catalogue.contains(&ids[0]), "the oldest went");
    ids.iter().for_each(|id| catalogue.met(*id, NOW + 20));
    catalogue.met(stranger(100, [60, 1, 1]).id(), NOW + 20);
    assert_eq!(catalogue.put(stranger(101, [60, 1, 1]), NOW + 21), Verdict::Ignore(Reason::Full), "all are there");
    assert_eq!(catalogue.put(stranger(102, [60, 1, 2]), NOW + 21), Verdict::Accept, "elsewhere there is room");
}

#[test]
fn who_leaves_the_document_is_a_stranger() {
    let mut catalogue = catalogue(false);
    let relays: Vec<_> = (0..300).map(|number| stranger(number, elsewhere(number))).collect();
    catalogue.list(&relays, NOW);
    assert_eq!((catalogue.len(), catalogue.strangers().count()), (300, 0));
    assert!(!catalogue.take_changed(), "the document has them");
    catalogue.met(relays[299].id(), NOW);
    catalogue.list(&relays[..10], NOW + 1);
    assert_eq!((catalogue.len(), catalogue.strangers().count()), (10 + STRANGERS_MAX, STRANGERS_MAX));
    assert!(catalogue.contains(&relays[299].id()), "who is there goes last");
    assert!(catalogue.take_changed() && !catalogue.take_changed());
    let gone = relays.iter().find(|relay| !catalogue.contains(&relay.id())).unwrap();
    assert!(catalogue.by_hash(&crate::wire::control::descriptor_hash(gone.as_bytes())).is_none());
}
