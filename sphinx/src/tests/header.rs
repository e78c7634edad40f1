use crate::{
    MAX_HOPS,
    error::Error,
    group::SecretScalar,
    header::{self, SphinxKeys},
    number::COUNTER_MASK,
    route::{RelayId, Routing},
};

fn routing(count: usize) -> Vec<Routing> {
    (0..count)
        .map(|number| Routing {
            next: (number + 1 < count).then(|| RelayId([number as u8 + 2; 16])),
            slot: 77,
            start: 1000 + number as u32,
            shift: COUNTER_MASK - number as u32,
            own_lane: number as u8,
            lane_mask: 3 - number as u8,
        })
        .collect()
}

#[test]
fn every_hop_finds_its_block_and_a_header_of_the_same_shape() {
    let mut rng = super::rng(3);
    for hops in 1..=MAX_HOPS {
        let exponent = SecretScalar::generate(&mut rng);
        let (alpha, _) = exponent.public();
        let (secrets, path) = super::relays(4, &mut rng);
        let keys: Vec<_> = path[..hops]
            .iter()
            .map(|hop| SphinxKeys::new(&exponent.agree(hop.onion.point()), &hop.id, &hop.onion, &alpha))
            .collect();
        let routing = routing(hops);
        let headers = header::create(&keys, &routing, &mut rng);
        let mut current = headers[0].clone();
        for (number, keys) in keys.iter().enumerate() {
            assert_eq!(current.beta, headers[number].beta);
            assert_eq!(current.gamma, headers[number].gamma);
            let (told, next) = header::peel(keys, &current).unwrap();
            assert_eq!(told, routing[number]);
            current = next;
        }
        drop(secrets);
    }
}

#[test]
fn routing_blocks_with_unknown_flags_are_refused() {
    for routing in routing(3) {
        let encoded = routing.encode();
        assert_eq!(Routing::decode(&encoded).as_ref(), Ok(&routing));
        // The lowest bit says whether there is a next relay; at the last hop its absence makes a relay of sixteen zeros.
        for bit in (0..32).filter(|bit| routing.next.is_some() || *bit != 24) {
            let mut changed = encoded;
            changed[28 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Routing::decode(&changed).err(), Some(Error::UnknownRouting));
        }
    }
}

#[test]
fn lanes_differ_on_every_link() {
    let mut rng = super::rng(4);
    let (_, path) = super::relays(4, &mut rng);
    let mut own_lanes = [[0_u32; 4]; 4];
    for _ in 0..4000 {
        let routing = crate::setup::choose_routing(&path, 1, &mut rng);
        for link in 0..4 {
            // Lanes on this link of the hops behind it.
            let lanes: Vec<u8> = (link..4)
                .map(|hop| (link..hop).fold(routing[hop].own_lane, |lane, before| lane ^ routing[before].lane_mask))
                .collect();
            let different: std::collections::BTreeSet<_> = lanes.iter().collect();
            assert_eq!(different.len(), lanes.len());
            own_lanes[link][usize::from(routing[link].own_lane)] += 1;
        }
        for (hop, next) in routing.iter().zip(&routing[1..]) {
            assert_eq!(crate::number::add(hop.start, hop.shift), next.start);
        }
    }
    // No lane tells a hop's position: each is equally likely everywhere (1,000 expected, standard deviation 27).
    assert!(own_lanes.as_flattened().iter().all(|count| (850..1150).contains(count)), "{own_lanes:?}");
}
