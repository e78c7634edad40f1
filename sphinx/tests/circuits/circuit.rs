//! A whole circuit: set-up in one round trip, cells both ways, for every hop.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::{TestCircuit, TestRelay, path, rng};
use zmesh_sphinx::{Error, MAX_HOPS, PAYLOAD_MAX, create};

#[test]
fn one_to_four_hops_carry_cells_to_and_from_every_hop() {
    for hops in 1..=4 {
        for seed in 0..8 {
            let mut circuit = TestCircuit::build(hops, seed);
            assert_eq!(circuit.origin.hops(), usize::from(hops));
            for round in 0..3_u8 {
                for hop in 0..usize::from(hops) {
                    circuit.deliver(hop, &[round; 100]);
                    circuit.answer(hop, &[round; 40]);
                }
            }
            circuit.deliver(usize::from(hops) - 1, &[]);
            circuit.answer(usize::from(hops) - 1, &[5; PAYLOAD_MAX]);
        }
    }
}

#[test]
fn paths_that_cannot_be() {
    let mut rng = rng(1);
    let relays = TestRelay::many(5, &mut rng);
    assert_eq!(create(&[], 0, &mut rng).err(), Some(Error::PathLength(0)));
    assert_eq!(create(&path(&relays), 0, &mut rng).err(), Some(Error::PathLength(MAX_HOPS + 1)));
    let mut twice = path(&relays[..2]);
    twice.push(twice[0].clone());
    assert_eq!(create(&twice, 0, &mut rng).err(), Some(Error::RepeatedRelay));
    let mut same_key = path(&relays[..2]);
    same_key[1].onion = same_key[0].onion;
    assert_eq!(create(&same_key, 0, &mut rng).err(), Some(Error::RepeatedRelay));
}
