//! Lost, late, doubled and reordered cells, also across key phases.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "small test values")]

use std::time::Duration;

use crate::common::{Body, TestCircuit};
use proptest::prelude::*;
use zmesh_sphinx::CellError;

const PHASE: usize = 1 << 16;

/// What the fastest circuit takes to send so many cells.
fn time_of(count: usize) -> Duration {
    Duration::from_micros(4) * count as u32
}

/// Sends `count` cells that get lost right away.
fn lose_forward(circuit: &mut TestCircuit, count: usize) {
    for _ in 0..count {
        circuit.seal(circuit.hops.len() - 1, b"").unwrap();
    }
    circuit.now += time_of(count);
}

fn lose_backward(circuit: &mut TestCircuit, hop: usize, count: usize) {
    for _ in 0..count {
        circuit.originate(hop, b"");
    }
    circuit.now += time_of(count);
}

#[test]
fn a_cell_passes_once() {
    let mut circuit = TestCircuit::build(3, 1);
    let (number, body) = circuit.seal(2, b"once").unwrap();
    circuit.forward(0, number, &mut body.clone()).unwrap();
    assert_eq!(circuit.forward(0, number, &mut body.clone()).err(), Some((0, CellError::Replayed)));

    let (number, body) = circuit.originate(2, b"once");
    let (at_origin, mut opened) = {
        let mut body = body;
        (circuit.backward(2, number, &mut body).unwrap(), body)
    };
    assert_eq!(circuit.backward(2, number, &mut body.clone()).err(), Some((1, CellError::Replayed)));
    let copy = opened;
    circuit.origin.open(circuit.now, at_origin, &mut opened).unwrap();
    assert_eq!(circuit.origin.open(circuit.now, at_origin, &mut copy.clone()).err(), Some(CellError::Replayed));
}

#[test]
fn cells_across_phases_in_any_order() {
    let mut circuit = TestCircuit::build(3, 2);
    // A relay knows since when a lane has been silent once it has seen a cell of it.
    circuit.deliver(2, b"first");
    circuit.answer(2, b"first");
    lose_forward(&mut circuit, PHASE - 21);
    lose_backward(&mut circuit, 2, PHASE - 21);
    for phase in 0..4 {
        let mut forward: Vec<(u8, u32, Body)> = Vec::new();
        let mut backward = Vec::new();
        // Twenty cells of this phase and twenty of the next; odd ones are lost, the rest arrive backwards.
        for text in 0..40_u8 {
            let (number, body) = circuit.seal(2, &[text; 9]).unwrap();
            forward.push((text, number, body));
            let (number, body) = circuit.originate(2, &[text; 9]);
            backward.push((text, number, body));
        }
        for (text, number, mut body) in forward.into_iter().rev().step_by(2) {
            let (hop, plain) = circuit.forward(0, number, &mut body).unwrap();
            assert_eq!((hop, plain.payload(&body)), (2, [text; 9].as_slice()), "phase {phase}");
        }
        for (text, number, mut body) in backward.into_iter().rev().step_by(2) {
            let number = circuit.backward(2, number, &mut body).unwrap();
            let (hop, plain) = circuit.origin.open(circuit.now, number, &mut body).unwrap();
            assert_eq!((hop, plain.payload(&body)), (2, [text; 9].as_slice()), "phase {phase}");
        }
        // Half a phase is lost, one cell arrives, and the rest of the phase up to its last twenty is lost too.
        lose_forward(&mut circuit, PHASE / 2);
        lose_backward(&mut circuit, 2, PHASE / 2);
        circuit.deliver(2, b"and on");
        circuit.answer(2, b"and on");
        lose_forward(&mut circuit, PHASE / 2 - 41);
        lose_backward(&mut circuit, 2, PHASE / 2 - 41);
    }
}

#[test]
fn a_late_cell_of_the_phase_before_has_thirty_seconds() {
    for (wait, expected) in [(29_999, None), (30_000, Some(CellError::TooOld))] {
        let mut circuit = TestCircuit::build(1, 3);
        lose_forward(&mut circuit, PHASE - 2);
        lose_backward(&mut circuit, 0, PHASE - 2);
        let (number, mut late) = circuit.seal(0, b"late").unwrap();
        let (back, mut late_back) = circuit.originate(0, b"late");
        for _ in 0..3 {
            circuit.deliver(0, b"next phase");
            circuit.answer(0, b"next phase");
        }
        circuit.now += Duration::from_millis(wait);
        // Without any call to `expire`: using the circuit is enough.
        assert_eq!(circuit.forward(0, number, &mut late).err().map(|(_, error)| error), expected);
        assert_eq!(circuit.origin.open(circuit.now, back, &mut late_back).err(), expected);
        circuit.deliver(0, b"on time");
        circuit.answer(0, b"on time");
    }
}

#[test]
fn a_cell_behind_the_window_is_too_old() {
    let mut circuit = TestCircuit::build(2, 4);
    let (first, mut first_body) = circuit.seal(1, b"first").unwrap();
    let (second, mut second_body) = circuit.seal(1, b"second").unwrap();
    lose_forward(&mut circuit, 8191);
    circuit.deliver(1, b"8,192 after the second");
    assert_eq!(circuit.forward(0, first, &mut first_body).err(), Some((0, CellError::TooOld)));
    assert_eq!(circuit.forward(0, second, &mut second_body).err(), Some((0, CellError::TooOld)));
    let (third, mut third_body) = circuit.seal(1, b"third").unwrap();
    lose_forward(&mut circuit, 8190);
    circuit.deliver(1, b"8,191 after the third");
    assert!(circuit.forward(0, third, &mut third_body).is_ok());
}

#[test]
fn a_neighbour_cannot_jump_beyond_the_next_phase() {
    let mut circuit = TestCircuit::build(2, 5);
    circuit.deliver(1, b"in phase 0");
    // Cells of phases 1 and 2 while the relays are in phase 0.
    lose_forward(&mut circuit, PHASE);
    let (next, mut next_body) = circuit.seal(1, b"phase 1").unwrap();
    lose_forward(&mut circuit, PHASE);
    let (beyond, mut beyond_body) = circuit.seal(1, b"phase 2").unwrap();
    let before = beyond_body;
    assert_eq!(circuit.forward(0, beyond, &mut beyond_body).err(), Some((0, CellError::TooFarAhead)));
    assert_eq!(beyond_body, before, "checked before decrypting");
    // Phase 1 is reachable, and then, in its time, so is phase 2.
    circuit.forward(0, next, &mut next_body).unwrap();
    circuit.now += time_of(PHASE);
    circuit.forward(0, beyond, &mut beyond_body).unwrap();
}

#[test]
fn invented_cells_end_at_the_far_end() {
    let mut circuit = TestCircuit::build(3, 6);
    let (number, body) = circuit.seal(2, b"true").unwrap();
    let invented = number & 0xc000_0000 | (number + 100_000) & 0x3fff_ffff;
    // Not at once …
    assert_eq!(circuit.forward(0, invented, &mut [1; 504]).err(), Some((0, CellError::TooFarAhead)));
    // … but after a silence that explains the jump, a neighbour pushes the window of the first hop by a whole phase: noise travels on and is found out.
    circuit.now += time_of(100_000);
    assert_eq!(circuit.forward(0, invented, &mut [1; 504]).err(), Some((2, CellError::Forged)));
    // True cells are behind the window now, as if the neighbour had dropped them, which it could do anyway.
    assert_eq!(circuit.forward(0, number, &mut body.clone()).err(), Some((0, CellError::TooOld)));
}

#[test]
fn earlier_hops_cannot_starve_later_ones() {
    let mut circuit = TestCircuit::build(3, 7);
    circuit.deliver(2, b"start");
    // A whole phase of cells for the first hop alone …
    for _ in 0..PHASE - 1 {
        circuit.seal(0, b"padding").unwrap();
    }
    circuit.now += time_of(PHASE);
    // … cannot go on into the next phase before the last hop has a cell of it.
    assert_eq!(circuit.seal(0, b"padding").err(), Some(CellError::PhaseNotOpen));
    assert_eq!(circuit.seal(1, b"padding").err(), Some(CellError::PhaseNotOpen));
    circuit.deliver(2, b"opens it");
    circuit.deliver(0, b"padding");
    circuit.deliver(1, b"padding");
}

#[test]
fn a_quiet_circuit_goes_on() {
    let mut circuit = TestCircuit::build(3, 8);
    for _ in 0..3 {
        circuit.deliver(2, b"x");
        circuit.answer(1, b"x");
        circuit.answer(2, b"x");
        circuit.now += Duration::from_secs(3600);
        circuit.origin.expire(circuit.now);
        let now = circuit.now;
        circuit.hops.iter_mut().for_each(|hop| hop.expire(now));
    }
}

/// Two relays in league could write a number of their choice into a gap. Time bounds it: the gap must look like an outage.
#[test]
fn a_jump_needs_its_time_and_ends_no_circuit() {
    const AT_ONCE: usize = 8192;
    for (pause, lost, passes) in [
        (0, AT_ONCE, true),
        (0, AT_ONCE + 1, false),
        (20_000, AT_ONCE + 5000, true),
        (20_000, AT_ONCE + 5001, false),
        (0, 41_234, false),
    ] {
        let mut circuit = TestCircuit::build(3, 10);
        circuit.answer(2, b"x");
        circuit.deliver(2, b"x");
        circuit.now += Duration::from_micros(pause);
        for _ in 0..lost {
            circuit.originate(2, b"");
            circuit.seal(2, b"").unwrap();
        }
        let (number, mut body) = circuit.originate(2, b"after the gap");
        let expected = if passes { None } else { Some((1, CellError::TooFarAhead)) };
        assert_eq!(circuit.backward(2, number, &mut body).err(), expected, "{pause} {lost}");
        let (number, mut body) = circuit.seal(2, b"after the gap").unwrap();
        let expected = if passes { None } else { Some((0, CellError::TooFarAhead)) };
        assert_eq!(circuit.forward(0, number, &mut body).err(), expected, "{pause} {lost}");
        // Whatever was refused, the bound grows with the silence and the circuit goes on.
        circuit.now += time_of(lost);
        circuit.answer(2, b"and on");
        circuit.deliver(2, b"and on");
    }
}

/// An outage of any length at 50 MB/s: not one cell after it is refused.
#[test]
fn a_fast_circuit_survives_an_outage() {
    let every = Duration::from_micros(10);
    for lost in [100, 5000, 20_000, PHASE] {
        let mut circuit = TestCircuit::build(2, 11);
        circuit.deliver(1, b"before");
        for _ in 0..lost {
            circuit.seal(1, b"").unwrap();
            circuit.now += every;
        }
        for _ in 0..20 {
            circuit.now += every;
            circuit.deliver(1, b"after");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any order within the window, any losses, any doubles: every first copy decodes, every second copy is refused.
    #[test]
    fn any_order_and_any_losses(order in proptest::collection::vec(0_usize..200, 1..300), begin in 0_usize..2) {
        let mut circuit = TestCircuit::build(2, 9);
        // Before or across the end of a phase.
        circuit.deliver(1, b"first");
        circuit.answer(1, b"first");
        lose_forward(&mut circuit, begin * (PHASE - 101));
        lose_backward(&mut circuit, 1, begin * (PHASE - 101));
        let forward: Vec<_> = (0..200_u8).map(|text| circuit.seal(1, &[text]).unwrap()).collect();
        let backward: Vec<_> = (0..200_u8).map(|text| circuit.originate(1, &[text])).collect();
        let mut seen = [false; 200];
        for at in order {
            let (number, mut body) = forward[at];
            match circuit.forward(0, number, &mut body) {
                Ok((hop, plain)) => {
                    prop_assert!(!seen[at]);
                    prop_assert!(hop == 1 && plain.payload(&body) == [at as u8]);
                }
                Err(error) => prop_assert!(seen[at] && error == (0, CellError::Replayed)),
            }
            let (number, mut body) = backward[at];
            match circuit.backward(1, number, &mut body) {
                Ok(number) => {
                    prop_assert!(!seen[at]);
                    let (hop, plain) = circuit.origin.open(circuit.now, number, &mut body).unwrap();
                    prop_assert!(hop == 1 && plain.payload(&body) == [at as u8]);
                }
                Err(error) => prop_assert!(seen[at] && error == (0, CellError::Replayed)),
            }
            seen[at] = true;
        }
    }
}
