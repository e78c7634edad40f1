//! What a neighbour sees is the same whatever the length of the path and the place on it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::TestCircuit;

/// Counts how often each bit is set, at each position.
struct Bits(Vec<u32>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len * 8])
    }

    fn add(&mut self, bytes: &[u8]) {
        for (at, count) in self.0.iter_mut().enumerate() {
            *count += u32::from(bytes[at / 8] >> (at % 8) & 1);
        }
    }

    /// No bit is more often one or zero than chance explains: six standard deviations for each of a few thousand positions.
    fn assert_even(&self, samples: u32, what: &str, skip: &[usize]) {
        let half = f64::from(samples) / 2.0;
        let limit = 6.0 * (f64::from(samples) / 4.0).sqrt();
        for (at, count) in self.0.iter().enumerate() {
            if !skip.contains(&at) {
                assert!((f64::from(*count) - half).abs() < limit, "{what}: bit {at} is set in {count} of {samples}");
            }
        }
    }
}

#[test]
fn packets_and_replies_have_no_fixed_bits_at_any_place() {
    const SAMPLES: u32 = 300;
    for hops in 1..=4_u8 {
        let places = usize::from(hops);
        let mut packets: Vec<_> = (0..places).map(|_| Bits::new(480)).collect();
        let mut replies: Vec<_> = (0..places).map(|_| Bits::new(192)).collect();
        for seed in 0..u64::from(SAMPLES) {
            let (_, trace) = TestCircuit::build_traced(hops, 1000 + seed);
            assert_eq!((trace.packets.len(), trace.replies.len()), (places, places));
            for place in 0..places {
                packets[place].add(&trace.packets[place]);
                replies[place].add(&trace.replies[place]);
            }
        }
        for place in 0..places {
            let what = format!("{hops} hops, link {place}");
            // Two bits of the encoding of every group element are zero: its sign and bit 255.
            packets[place].assert_even(SAMPLES, &format!("packet, {what}"), &[0, 255]);
            replies[place].assert_even(SAMPLES, &format!("reply, {what}"), &[]);
        }
    }
}

#[test]
fn cells_have_no_fixed_bits_and_numbers_do_not_match_across_links() {
    const SAMPLES: u32 = 300;
    let mut bodies: Vec<_> = (0..3).map(|_| Bits::new(504)).collect();
    for seed in 0..u64::from(SAMPLES) {
        let mut circuit = TestCircuit::build(3, 5000 + seed);
        let (mut number, mut body) = circuit.seal(2, b"the same every time").unwrap();
        let mut numbers = Vec::new();
        for (place, bits) in bodies.iter_mut().enumerate() {
            bits.add(&body);
            numbers.push(number);
            if let zmesh_sphinx::Forwarded::Onward { number: next } =
                circuit.hops[place].forward(circuit.now, number, &mut body).unwrap()
            {
                number = next;
            }
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 3);
    }
    for (place, bits) in bodies.iter().enumerate() {
        bits.assert_even(SAMPLES, &format!("cell on link {place}"), &[]);
    }
}

#[test]
fn nothing_on_a_link_recurs_on_another() {
    let (_, trace) = TestCircuit::build_traced(4, 3);
    let eight = |bytes: &[u8]| bytes.windows(8).map(<[u8]>::to_vec).collect::<std::collections::HashSet<_>>();
    for first in 0..4 {
        for second in 0..first {
            assert!(eight(&trace.packets[first]).is_disjoint(&eight(&trace.packets[second])));
            assert!(eight(&trace.replies[first]).is_disjoint(&eight(&trace.replies[second])));
        }
    }
}
