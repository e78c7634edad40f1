//! From ballots to a document.

use proptest::prelude::*;

use super::world::{ballot, genesis, key, relay, set};
use crate::directory::voting::count;
use crate::directory::{Chain, Coordinate, Head, Measure};
use crate::wire::control::vote::{Ballot, Sighting};
use crate::wire::control::{Genesis, GenesisTerms, Parameters, RelayFlags, Voter, VoterSet};
use crate::wire::document::SignerId;

fn head(genesis: &Genesis) -> Head {
    Chain::from_genesis(genesis.clone()).head().clone()
}

fn placed(ballots: &[Ballot]) -> Vec<(u8, &Ballot)> {
    ballots.iter().enumerate().map(|(place, ballot)| (u8::try_from(place).unwrap(), ballot)).collect()
}

fn one(capacity: u32, uptime: u16, place: Option<Coordinate>) -> Ballot {
    let sighting = Sighting {
        id: relay(1),
        descriptor: [1; 32],
        uptime,
        measure: Measure { capacity, place },
        flags: RelayFlags::DIRECTORY,
    };
    Ballot { sightings: vec![sighting], ..Ballot::default() }
}

#[test]
fn a_relay_is_in_when_more_saw_it_than_may_lie() {
    let genesis = genesis(7);
    let head = head(&genesis);
    for seen in 0..=7usize {
        let ballots: Vec<Ballot> =
            (0..7).map(|place| if place < seen { one(5, 1_000, None) } else { Ballot::default() }).collect();
        let counted = count(&genesis, &head, &placed(&ballots));
        assert_eq!(counted.relays.len(), usize::from(seen >= 3), "{seen}");
    }
    let stricter = Head { parameters: Parameters::new().with("seen-by", 4).unwrap(), ..head.clone() };
    let ballots = vec![one(5, 1_000, None); 3];
    assert!(count(&genesis, &stricter, &placed(&ballots)).relays.is_empty());
    // A parameter that liars could meet, or that honest voters could not, is bounded.
    let loose = Head { parameters: Parameters::new().with("seen-by", 1).unwrap(), ..head.clone() };
    assert!(count(&genesis, &loose, &placed(&ballots[..2])).relays.is_empty());
    let absurd = Head { parameters: Parameters::new().with("seen-by", 60).unwrap(), ..head };
    assert_eq!(count(&genesis, &absurd, &placed(&vec![one(5, 1_000, None); 5])).relays.len(), 1);
}

#[test]
fn voters_of_one_operator_count_as_one_unless_it_is_a_test() {
    let same = |n| Voter { key: SignerId(key(n).public()), operator: "One".into() };
    let voters = VoterSet::new((0..4).map(same).collect(), 4).unwrap();
    for (test_network, relays) in [(false, 0), (true, 1)] {
        let terms = GenesisTerms {
            voters: voters.clone(),
            voters_per_operator: 4,
            test_network,
            epoch_length: 60,
            ..genesis(1).terms().clone()
        };
        let genesis = Genesis::new(terms).unwrap();
        let ballots = vec![one(5, 1_000, None); 4];
        assert_eq!(count(&genesis, &head(&genesis), &placed(&ballots)).relays.len(), relays);
    }
}

#[test]
fn figures_are_medians_that_a_minority_cannot_move_out_of_what_honest_voters_measured() {
    let genesis = genesis(7);
    let head = head(&genesis);
    let place = |x| Some(Coordinate { x, y: 2 * x, height: 9 });
    let honest = [100, 110, 120, 130, 140];
    let mut ballots: Vec<Ballot> = honest.iter().map(|c| one(*c, 960, place(i16::try_from(*c).unwrap()))).collect();
    for lie in [1, u32::MAX] {
        let lies = vec![one(lie, 0, place(if lie == 1 { i16::MIN / 2 } else { i16::MAX / 2 })); 2];
        let all: Vec<Ballot> = ballots.iter().cloned().chain(lies).collect();
        let entry = count(&genesis, &head, &placed(&all)).relays[0];
        assert!((100..=140).contains(&entry.measure.capacity));
        assert!((100..=140).contains(&entry.measure.place.unwrap().x));
        assert!(
            entry.flags.contains(RelayFlags::STABLE | RelayFlags::DIRECTORY | RelayFlags::FAST | RelayFlags::GUARD)
        );
    }
    // Too few measured it: nothing is said.
    for ballot in &mut ballots[4..] {
        ballot.sightings[0].measure = Measure::default();
    }
    let entry = count(&genesis, &head, &placed(&ballots)).relays[0];
    assert_eq!(entry.measure, Measure::default());
}

#[test]
fn a_descriptor_that_too_few_hold_is_not_named() {
    let genesis = genesis(7);
    let head = head(&genesis);
    let with = |descriptor| {
        let mut ballot = one(5, 1_000, None);
        ballot.sightings[0].descriptor = [descriptor; 32];
        ballot
    };
    // Two hold a newer one than four: the one that most hold, whatever its hash.
    let ballots = [with(9), with(9), with(4), with(4), with(4), with(4)];
    assert_eq!(count(&genesis, &head, &placed(&ballots)).relays[0].descriptor, [4; 32]);
    let split = [with(1), with(1), with(2), with(2), with(3), with(3)];
    assert!(count(&genesis, &head, &placed(&split)).relays.is_empty());
}

#[test]
fn a_flood_of_voters_of_one_operator_meets_the_cap() {
    let genesis = genesis(4);
    let head = head(&genesis);
    let crowd = VoterSet::new(
        (50..80).map(|n| Voter { key: SignerId(key(n).public()), operator: "Crowd".into() }).collect(),
        64,
    )
    .unwrap();
    let ballots = vec![Ballot { wanted: Some(crowd.clone()), ..ballot(0..3, 0) }; 4];
    let next = count(&genesis, &head, &placed(&ballots)).voters.unwrap();
    assert_eq!(next.len(), 5);
    assert_eq!(next.of_operator("crowd"), 1);
    let full = Head { voters: next, ..head.clone() };
    let ballots = vec![Ballot { wanted: Some(crowd), ..ballot(0..3, 0) }; 5];
    assert_eq!(count(&genesis, &full, &placed(&ballots)).voters, None, "one of an operator is all that there will be");
    // Distinct operators come one at a time too, and no further than the parameter allows.
    let many = Ballot { wanted: Some(set(100..140)), ..Ballot::default() };
    let small = Head { parameters: Parameters::new().with("voters", 5).unwrap(), ..head };
    let grown = count(&genesis, &small, &placed(&vec![many.clone(); 4])).voters.unwrap();
    assert_eq!(grown.len(), 5);
    let grown = Head { voters: grown, ..small };
    assert_eq!(count(&genesis, &grown, &placed(&vec![many; 5])).voters, None);
}

#[test]
fn parameters_change_when_more_than_two_thirds_state_the_same() {
    let genesis = genesis(4);
    let head = head(&genesis);
    let stating =
        |value| Ballot { parameters: Parameters::new().with("lifetime", value).unwrap(), ..Ballot::default() };
    let three = [stating(5), stating(5), stating(5), stating(9)];
    assert_eq!(count(&genesis, &head, &placed(&three)).parameters.lifetime(), 5);
    let two = [stating(5), stating(5), stating(9), stating(9)];
    assert_eq!(count(&genesis, &head, &placed(&two)).parameters, head.parameters);
}

proptest! {
    /// The order in which ballots are handed in, and who is the voter, change nothing.
    #[test]
    fn counting_is_a_function_of_the_set(relays in prop::collection::vec(0..40u64, 1..20), turn in 0..7usize) {
        let genesis = genesis(7);
        let head = head(&genesis);
        let ballots: Vec<Ballot> = (0..7u64)
            .map(|voter| ballot(relays.iter().copied().filter(|n| !(n + voter).is_multiple_of(4)).collect::<std::collections::BTreeSet<_>>(), voter))
            .collect();
        let mut placed = placed(&ballots);
        let first = count(&genesis, &head, &placed);
        placed.rotate_left(turn);
        prop_assert_eq!(count(&genesis, &head, &placed), first.clone());
        prop_assert!(first.relays.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
