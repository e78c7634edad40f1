use crate::directory::fixture::{NOW, genesis, info, keys, voter_keys};
use crate::directory::{ByHand, Catalogue, Chain, Measure};
use crate::wire::control::{LoadReport, Reason, Verdict};
use crate::wire::descriptor::{DESCRIPTOR_MAX, Descriptor, DescriptorInfo, LIFETIME_AGREED, Terms};
use crate::wire::document::NetworkId;

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
    assert_eq!(catalogue.offer(&made(&info(2), terms(6)), NOW), Verdict::Accept);
    assert_eq!(catalogue.offer(&good, NOW), Verdict::Ignore(Reason::Stale), "a replay");
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
fn reports_of_load_replace_older_ones_and_fade() {
    let mut catalogue = catalogue(false);
    let network = genesis(&voter_keys(1), false).network_id();
    let report =
        LoadReport { network, identity: keys(1).identity_public(), made: NOW, life: 300, load: 500, capacity: 1_000 };
    let sign = |report: &LoadReport| report.sign(&keys(1)).unwrap();
    assert_eq!(catalogue.offer_load(&sign(&report), NOW), Verdict::Ignore(Reason::Unrelated), "of nobody known");
    catalogue.offer(&made(&info(1), terms(1)), NOW);
    assert_eq!(catalogue.offer_load(&sign(&report), NOW), Verdict::Accept);
    assert_eq!(catalogue.offer_load(&sign(&report), NOW), Verdict::Ignore(Reason::Duplicate));
    let older = LoadReport { made: NOW - 1, ..report.clone() };
    assert_eq!(catalogue.offer_load(&sign(&older), NOW), Verdict::Ignore(Reason::Stale));
    let newer = LoadReport { made: NOW + 9, load: 9, ..report.clone() };
    assert_eq!(catalogue.offer_load(&sign(&newer), NOW + 9), Verdict::Accept);
    assert_eq!(catalogue.load(&keys(1).id(), NOW + 9).unwrap().load, 9);
    assert!(catalogue.load(&keys(1).id(), NOW + 309).is_none());
    assert_eq!(catalogue.offer_load(&sign(&report), NOW + 300), Verdict::Ignore(Reason::Expired));
    let foreign = LoadReport { network: NetworkId([0; 32]), ..report };
    assert_eq!(catalogue.offer_load(&sign(&foreign), NOW), Verdict::Reject(Reason::OtherNetwork));
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
