//! No relay draws everybody, whatever is measured of it; what is drawn is possible and comes from the seed alone.

use super::weights::{free, measured, place};
use super::*;
use crate::directory::Measure;

/// A strength without latency.
fn by_capacity(capacity: u8) -> Strength {
    Strength { capacity, latency: 0 }
}

/// What a relay has of all weights at one place.
fn share(weights: &[(RelayId, u64)], id: &RelayId) -> f64 {
    let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let own = weights.iter().find(|(relay, _)| relay == id).map_or(0, |(_, weight)| *weight);
    own as f64 / all as f64
}

/// 60 relays of one size, the first 30 of them exits, but the first of all is a hundred times as large.
fn one_giant() -> Network {
    measured(&infos(60, 30), |number| Measure { capacity: if number == 0 { 100_000 } else { 1_000 }, place: None })
}

#[test]
fn the_largest_exit_has_no_more_than_its_share_of_the_exits() {
    let network = one_giant();
    let giant = id_of(&network, "relay0");
    let chooser = Chooser::new(&network, free(4, 0));
    let places = chooser.weights_by_place(&want(3, ANY_EXIT), by_capacity(4));
    assert!((share(&places[0], &giant) - 2.0 / 30.0).abs() < 1e-4, "{}", share(&places[0], &giant));
    // Nor anywhere else, where it serves with what is left of it.
    for elsewhere in &places[1..] {
        let here = share(elsewhere, &giant);
        assert!(here <= 0.04 + 1e-4 && here > 1.5 / 60.0, "{here}");
    }
    // A guard is drawn by the same weights.
    let guards = chooser.guard_shares();
    let here = guards.iter().find(|(id, _)| *id == giant).map(|(_, share)| *share).unwrap();
    assert!(here <= 0.04 + 1e-4, "{here}");
}

#[test]
fn the_largest_exit_for_a_port_has_no_more_than_its_share_of_those() {
    let mut all = infos(60, 30);
    for info in &mut all[..20] {
        info.exit = Some(exit(&[25, 443], false));
    }
    // The others for this port are small ones.
    let network = measured(&all, |number| Measure {
        capacity: match number {
            0 => 100_000,
            1..20 => 100,
            _ => 1_000,
        },
        place: None,
    });
    let giant = id_of(&network, "relay0");
    let mut chooser = Chooser::new(&network, free(4, 0));
    let port = want(3, LastHop::Exit { port: 25, v6: false });
    let places = chooser.weights_by_place(&port, by_capacity(4));
    assert_eq!(places[0].len(), 20);
    assert!((share(&places[0], &giant) - 0.1).abs() < 1e-4, "{}", share(&places[0], &giant));
    let mut rng = rng(31);
    let draws = 4_000;
    let hits = (0..draws).filter(|_| chooser.select(&port, &mut rng).unwrap()[2] == giant).count();
    // A tenth of the draws: 19 is the standard deviation.
    assert!((300..480).contains(&hits), "{hits}");
}

#[test]
fn few_relays_that_may_be_last_are_not_weighed_by_those_who_are_needed_elsewhere() {
    // Scarce exits that also are meeting relays: they have the least weight there, and the only other one is taken.
    let mut all = infos(40, 4);
    for info in &mut all[..5] {
        info.meeting = true;
    }
    let network = measured(&all, |_| Measure { capacity: 1_000, place: None });
    let chooser = Chooser::new(&network, free(4, 0));
    let places = chooser.weights_by_place(&want(3, LastHop::AnyMeeting), by_capacity(4));
    assert_eq!(places[0].len(), 5);
    assert!(share(&places[0], &id_of(&network, "relay4")) > 0.999);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// At any place of any path, and as a guard, at any strength.
    #[test]
    fn no_relay_counts_for_more_than_its_share_at_any_place(
        sizes in prop::collection::vec((0..32u32, 0..8u8), 2..40), exits in 1..20u8, absurd: prop::sample::Index,
        capacity in 0..=4u8,
    ) {
        let mut all = infos(u8::try_from(sizes.len()).unwrap(), exits);
        for (info, (_, kind)) in all.iter_mut().zip(&sizes) {
            info.meeting = kind % 2 == 0;
            if info.exit.is_some() && kind % 3 == 0 {
                info.exit = Some(exit(&[25, 443], false));
            }
        }
        let absurd = absurd.index(sizes.len());
        let network = measured(&all, |number| {
            Measure { capacity: if number == absurd { u32::MAX } else { 1 << sizes[number].0 >> 1 }, place: None }
        });
        let chooser = Chooser::new(&network, free(capacity, 0));
        let lasts = [ANY_EXIT, LastHop::Exit { port: 25, v6: false }, LastHop::AnyMeeting, LastHop::Any];
        for last in lasts {
            for weights in chooser.weights_by_place(&want(3, last), by_capacity(capacity)) {
                // Relays of the least weight are those that are needed elsewhere.
                let counting: Vec<u64> = weights.iter().map(|(_, weight)| *weight).filter(|weight| *weight > 1).collect();
                let most = f64::max(1.0 / 25.0, 2.0 / counting.len().max(1) as f64);
                let all = counting.iter().sum::<u64>() as f64;
                prop_assert!(counting.iter().all(|weight| *weight as f64 <= most * all + 2.0), "{most} {counting:?}");
                prop_assert!(weights.iter().all(|(_, weight)| *weight >= 1));
            }
        }
        let guards = chooser.guard_shares();
        let most = guards.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        let counting = guards.iter().filter(|(_, share)| *share > 2e-6).count();
        prop_assert!(most <= f64::max(1.0 / 25.0, 2.0 / counting as f64) + 1e-5, "{most} {counting}");
    }

    /// Whatever is measured, no path breaks a rule, and the same seed draws the same one.
    #[test]
    fn a_path_is_possible_and_comes_from_its_seed(
        relays in prop::collection::vec((0..32u32, 0..6u8, 0..6u8, any::<i16>(), 0..4u8), 3..24),
        hops in 2..=3usize, latency in 0..=12u8, seed: u64,
    ) {
        let mut all = infos(u8::try_from(relays.len()).unwrap(), 0);
        for (number, (info, (_, operator, net, _, kind))) in all.iter_mut().zip(&relays).enumerate() {
            info.operator = format!("operator {operator}");
            info.addresses = vec![format!("20.{net}.0.{number}:9").parse().unwrap()];
            info.exit = (*kind == 0).then(|| exit(&[443], false));
        }
        let network = measured(&all, |number| {
            let (size, _, _, x, kind) = relays[number];
            Measure { capacity: 1 << size >> 1, place: if kind == 1 { None } else { place(x, 0, 10) } }
        });
        let strength = Strength { capacity: 4, latency };
        let draw = || {
            let mut chooser = Chooser::new(&network, Preference { strength, floor: Floor::DEFAULT });
            let mut rng = rng(seed);
            (0..8).map(|_| chooser.select(&want(hops, ANY_EXIT), &mut rng)).collect::<Vec<_>>()
        };
        let paths = draw();
        prop_assert_eq!(&paths, &draw());
        for path in paths.into_iter().flatten() {
            prop_assert_eq!(path.len(), hops);
            let infos: Vec<&DescriptorInfo> = path.iter().map(|id| network.relay(id).unwrap().info()).collect();
            prop_assert!(infos[hops - 1].exit.is_some());
            for (at, one) in infos.iter().enumerate() {
                for other in &infos[..at] {
                    prop_assert_ne!(&one.operator, &other.operator);
                    let net = |info: &DescriptorInfo| info.addresses[0].ip().to_string().split('.').nth(1).map(str::to_owned);
                    prop_assert_ne!(net(one), net(other));
                }
            }
        }
    }
}
