use zmesh_proto::directory::Coordinate;
use zmesh_sphinx::RelayId;

use super::adversary::{Holds, both_ends, both_ends_lying, relays};
use super::model::Model;
use super::report::{Effort, row};
use super::{CAPACITY, DEFAULT, FLOORED, QUICKEST, UNIFORM};

const EFFORT: Effort = Effort { guards: 8, paths: 300, adversaries: 1 };

/// Small enough for every run; the report looks at more.
fn model() -> Model {
    Model::new(160, 7)
}

#[test]
fn a_preference_for_quick_paths_gains_time_and_the_floor_holds() {
    let model = model();
    let (error, part) = model.map_error(1);
    assert!(error < 15.0 && part < 0.25, "{error} {part}");
    let rows = [UNIFORM, CAPACITY, QUICKEST, FLOORED, DEFAULT].map(|way| row(&model, &way, 1, EFFORT));
    let [uniform, capacity, quickest, floored, default] = &rows;
    assert!((uniform.entropy_percent - 100.0).abs() < 1e-6);
    assert!(quickest.half_ms < 0.8 * capacity.half_ms, "{} {}", quickest.half_ms, capacity.half_ms);
    assert!(quickest.bits < capacity.bits && capacity.bits < uniform.bits);
    assert!(default.half_ms < capacity.half_ms, "{} {}", default.half_ms, capacity.half_ms);
    // By capacity exits are loaded more alike, and none gets many more than two equal shares: guards stand in the way of some.
    assert!(2.0 * capacity.exit_load < uniform.exit_load, "{} {}", capacity.exit_load, uniform.exit_load);
    let exits = model.network().relays().iter().filter(|relay| relay.exit().is_some()).count();
    let most = 100.0 * 2.0 / exits as f64;
    assert!(exits < 50 && capacity.largest_exit_percent < 1.25 * most, "{} {most}", capacity.largest_exit_percent);
    for row in [floored, default] {
        assert!(row.least_entropy_percent >= 80.0 - 1e-6, "{row:?}");
        assert!(row.least_adversary_percent >= 50.0 - 1e-6, "{row:?}");
    }
}

#[test]
fn capacity_is_what_an_adversary_pays_for() {
    let model = model();
    let network = model.network();
    let share = 0.2;
    let small = relays(network, share, Holds::Smallest, 1);
    let any = relays(network, share, Holds::Any, 1);
    let large = relays(network, share, Holds::Largest, 1);
    assert!(small.len() > any.len(), "{} {}", small.len(), any.len());
    assert!(large.len() < any.len(), "{} {}", large.len(), any.len());
    let capacity = |held: &[RelayId]| held.iter().map(|id| f64::from(network.measure(id).capacity)).sum::<f64>();
    let all: Vec<RelayId> = network.relays().iter().map(|relay| relay.id()).collect();
    assert!((0.9 * share..=share).contains(&(capacity(&large) / capacity(&all))));
    // Many names do not pay where capacity counts, and do where it does not.
    let uniform = both_ends(network, UNIFORM.preference, &small, 1);
    let weighted = both_ends(network, CAPACITY.preference, &small, 1);
    assert!(uniform > 3.0 * weighted, "{uniform} {weighted}");
    // About the square of the share; exits vary from set to set.
    let plain = both_ends(network, CAPACITY.preference, &any, 1);
    assert!((0.002..0.16).contains(&plain), "{plain}");
    // A lie about the place buys no more than the strength of the preference, and less within the floor.
    let lied = both_ends_lying(&model, QUICKEST.preference, &any, 1);
    assert!(lied > both_ends(network, QUICKEST.preference, &any, 1));
    let held = both_ends_lying(&model, DEFAULT.preference, &any, 1);
    assert!(held < lied && held < 4.0 * plain, "{held} {lied} {plain}");
}

#[test]
fn a_model_is_what_voters_agreed_on() {
    let model = Model::new(40, 3);
    let network = model.network();
    assert_eq!((network.epoch(), network.is_test_network()), (Some(1), false));
    let liar = network.relays()[5].id();
    let claim = Coordinate { x: 1_234, y: -567, height: 8 };
    let other = model.with_claims(&[liar], claim);
    assert_eq!(other.epoch(), Some(1));
    for id in network.relays().iter().map(|relay| relay.id()) {
        let (told, truth) = (other.measure(&id), network.measure(&id));
        assert_eq!(told.capacity, truth.capacity);
        assert_eq!(told.place, if id == liar { Some(claim) } else { truth.place });
    }
}

#[test]
fn a_model_is_the_same_from_the_same_seed() {
    let (one, two) = (Model::new(40, 3), Model::new(40, 3));
    let places = |model: &Model| -> Vec<_> {
        model.network().relays().iter().map(|relay| (relay.id(), model.network().measure(&relay.id()))).collect()
    };
    assert_eq!(places(&one), places(&two));
}
