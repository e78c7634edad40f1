mod clips;
mod guards;
mod weights;

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use zmesh_sphinx::RelayId;

use super::*;
use crate::directory::fixture::{exit, info, network, rng};
use crate::wire::descriptor::DescriptorInfo;

/// Some time.
#[expect(clippy::disallowed_methods, reason = "any time will do, and there is no other way to have one")]
fn start() -> Instant {
    Instant::now()
}

fn want(hops: usize, last: LastHop) -> PathRequest<'static> {
    PathRequest { hops, last, exclude: &[], guard: None, country: None }
}

const ANY_EXIT: LastHop = LastHop::Exit { port: 443, v6: false };

/// `count` relays that share nothing, the first `exits` of them exits.
fn infos(count: u8, exits: u8) -> Vec<DescriptorInfo> {
    (0..count)
        .map(|number| DescriptorInfo { exit: (number < exits).then(|| exit(&[80, 443], false)), ..info(number) })
        .collect()
}

fn id_of(network: &Network, nickname: &str) -> RelayId {
    network.relays().iter().find(|relay| relay.nickname() == nickname).unwrap().id()
}

fn names(network: &Network, path: &[RelayId]) -> Vec<String> {
    path.iter().map(|id| network.relay(id).unwrap().nickname().to_owned()).collect()
}

fn shortage(result: Result<Vec<RelayId>, PathError>) -> (usize, Shortage) {
    match result {
        Err(PathError::NotEnough { missing, shortage, .. }) => (missing, shortage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_paths_are_equally_likely() {
    // 4 relays, 2 of them exits: 2 × 3 × 2 ordered paths.
    let network = network(&infos(4, 2), false);
    let mut rng = rng(1);
    let mut seen: BTreeMap<Vec<RelayId>, u32> = BTreeMap::new();
    let draws = 24_000;
    for _ in 0..draws {
        let path = select(&network, &want(3, ANY_EXIT), &mut rng).unwrap();
        *seen.entry(path).or_default() += 1;
    }
    assert_eq!(seen.len(), 12);
    // Chi-squared with 11 degrees of freedom: 31.3 is passed once in a thousand seeds; this seed is fixed.
    let expected = f64::from(draws) / 12.0;
    let chi: f64 = seen.values().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
    assert!(chi < 31.3, "{chi}");
    let bits = entropy_bits(&network, &want(3, ANY_EXIT)).unwrap();
    assert!((bits - 12f64.log2()).abs() < 1e-9);
}

#[test]
fn counting_draws_as_uniformly_as_drawing_does() {
    let network = network(&infos(4, 2), false);
    let request = want(3, ANY_EXIT);
    let mut chooser = Chooser::new(&network, Preference::UNIFORM);
    let mut rng = rng(2);
    let mut seen: BTreeMap<Vec<RelayId>, u32> = BTreeMap::new();
    for _ in 0..12_000 {
        let path = chooser.draw_exhaustively(&request, &mut rng).unwrap();
        *seen.entry(path).or_default() += 1;
    }
    assert_eq!(seen.len(), 12);
    let chi: f64 = seen.values().map(|n| (f64::from(*n) - 1_000.0).powi(2) / 1_000.0).sum();
    assert!(chi < 31.3, "{chi}");
}

#[test]
fn entropy_of_a_larger_network() {
    let network = network(&infos(20, 5), false);
    for (request, paths) in
        [(want(3, ANY_EXIT), 5 * 19 * 18), (want(2, ANY_EXIT), 5 * 19), (want(3, LastHop::Any), 20 * 19 * 18)]
    {
        let bits = entropy_bits(&network, &request).unwrap();
        assert!((bits - f64::from(paths).log2()).abs() < 1e-9, "{bits}");
    }
    let guard = id_of(&network, "relay9");
    let fixed = PathRequest { guard: Some(guard), ..want(3, ANY_EXIT) };
    let bits = entropy_bits(&network, &fixed).unwrap();
    assert!((bits - f64::from(5 * 18).log2()).abs() < 1e-9);
}

#[test]
fn the_only_path_is_found() {
    // 60 relays of one operator, and two others of which one is the exit: one path out of 62³.
    let mut all = infos(62, 0);
    for info in &mut all[..60] {
        info.operator = "The Same".into();
    }
    for info in &mut all[30..60] {
        info.operator = "the same".into();
    }
    all[61].exit = Some(exit(&[443], false));
    let network = network(&all, false);
    let guard = id_of(&network, "relay7");
    let request = PathRequest { guard: Some(guard), ..want(3, ANY_EXIT) };
    assert_eq!(entropy_bits(&network, &request).unwrap(), 0.0);
    for seed in 0..20 {
        let path = select(&network, &request, &mut rng(seed)).unwrap();
        assert_eq!(names(&network, &path), ["relay7", "relay60", "relay61"]);
    }
}

#[test]
fn relays_of_a_path_share_nothing() {
    let mut all = infos(12, 12);
    all[1].operator = "Operator 0".into();
    all[2].family = Some("friends".into());
    all[3].family = Some("Friends".into());
    all[5].addresses = vec!["24.1.99.99:1".parse().unwrap()];
    all[6].addresses.push("[2a00:1:2::3]:5".parse().unwrap());
    all[7].addresses.push("[2a00:1:9::9]:5".parse().unwrap());
    let network = network(&all, false);
    let apart = [("relay0", "relay1"), ("relay2", "relay3"), ("relay4", "relay5"), ("relay6", "relay7")];
    let mut rng = rng(3);
    for _ in 0..2_000 {
        let path = select(&network, &want(3, ANY_EXIT), &mut rng).unwrap();
        let names = names(&network, &path);
        for (a, b) in apart {
            assert!(!(names.contains(&a.into()) && names.contains(&b.into())), "{names:?}");
        }
    }
}

#[test]
fn a_test_network_lifts_the_rules_but_not_that_relays_differ() {
    let mut all = infos(3, 1);
    for info in &mut all {
        info.operator = "me".into();
        info.addresses =
            vec![format!("127.0.0.1:{}", info.addresses[0].ip().to_string().len() + 9000).parse().unwrap()];
    }
    let strict = infos(3, 1).into_iter().map(|info| DescriptorInfo { operator: "me".into(), ..info });
    let strict: Vec<DescriptorInfo> = strict.collect();
    let network_of_one = network(&strict, false);
    assert_eq!(shortage(select(&network_of_one, &want(3, ANY_EXIT), &mut rng(1))), (2, Shortage::Operators));
    let test = network(&all, true);
    for seed in 0..20 {
        let path = select(&test, &want(3, ANY_EXIT), &mut rng(seed)).unwrap();
        assert_eq!(names(&test, &path)[2], "relay0");
        assert!(path[0] != path[1] && path[1] != path[2] && path[0] != path[2]);
    }
    assert_eq!(select(&test, &want(1, ANY_EXIT), &mut rng(1)).unwrap().len(), 1);
}

#[test]
fn exits_are_matched_by_port_and_version() {
    let mut all = infos(6, 0);
    all[0].exit = Some(exit(&[80], false));
    all[1].exit = Some(exit(&[443], false));
    all[2].exit = Some(exit(&[443], true));
    let network = network(&all, false);
    let last = |port, v6| {
        let path = select(&network, &want(3, LastHop::Exit { port, v6 }), &mut rng(5));
        path.map(|path| names(&network, &path)[2].clone())
    };
    assert_eq!(last(80, false).unwrap(), "relay0");
    assert_eq!(last(443, true).unwrap(), "relay2");
    assert!(last(0, false).is_ok());
    let error = last(22, false).unwrap_err();
    assert_eq!(error.to_string(), "a path of 3 relays lacks its exit: no exit takes port 22");
    let error = last(80, true).unwrap_err();
    assert!(error.to_string().ends_with("no exit takes port 80 over IPv6"));
}

#[test]
fn guards_and_exclusions_hold() {
    let network = network(&infos(6, 2), false);
    let guard = id_of(&network, "relay1");
    let out = [id_of(&network, "relay4"), id_of(&network, "relay5")];
    for seed in 0..50 {
        let request = PathRequest { guard: Some(guard), exclude: &out, ..want(3, ANY_EXIT) };
        let path = select(&network, &request, &mut rng(seed)).unwrap();
        // The guard is one of two exits, so the other is last.
        assert_eq!(path[0], guard);
        assert_eq!(names(&network, &path)[2], "relay0");
        assert!(path.iter().all(|id| !out.contains(id)));
    }
    let request = PathRequest { guard: Some(out[0]), exclude: &out, ..want(3, ANY_EXIT) };
    assert_eq!(select(&network, &request, &mut rng(1)), Err(PathError::GuardUnusable(out[0])));
    let stranger = RelayId([9; 16]);
    let request = PathRequest { guard: Some(stranger), ..want(3, ANY_EXIT) };
    assert_eq!(select(&network, &request, &mut rng(1)), Err(PathError::UnknownRelay(stranger)));
}

#[test]
fn a_meeting_relay_of_somebody_elses_choice_comes_last() {
    let mut all = infos(5, 0);
    all[4].meeting = true;
    // Of the operator of every other relay but one: where the rules cannot hold, they give way.
    all[3].meeting = true;
    all[3].operator = all[0].operator.clone();
    let network = network(&all, false);
    let meet = id_of(&network, "relay4");
    for seed in 0..20 {
        let path = select(&network, &want(4, LastHop::Meeting(meet)), &mut rng(seed)).unwrap();
        assert_eq!(path.len(), 4);
        assert_eq!(path[3], meet);
    }
    // Its operator also runs the guard: the guard is kept, as nobody else's choice may cost us our guard.
    let guard = id_of(&network, "relay0");
    let beside = id_of(&network, "relay3");
    let request = PathRequest { guard: Some(guard), ..want(3, LastHop::Meeting(beside)) };
    let path = select(&network, &request, &mut rng(1)).unwrap();
    assert_eq!((path[0], path[2]), (guard, beside));
    assert!(entropy_bits(&network, &request).unwrap() > 0.0);

    let refused = |id, guard| {
        let request = PathRequest { guard, ..want(3, LastHop::Meeting(id)) };
        select(&network, &request, &mut rng(1)).unwrap_err()
    };
    assert_eq!(refused(guard, None), PathError::NotMeeting(guard));
    assert_eq!(refused(meet, Some(meet)), PathError::GuardUnusable(meet));
    let own = select(&network, &want(3, LastHop::AnyMeeting), &mut rng(1)).unwrap();
    assert!(network.relay(&own[2]).unwrap().is_meeting());
}

#[test]
fn errors_say_what_is_missing() {
    let hops = |network: &Network, hops| select(network, &want(hops, ANY_EXIT), &mut rng(1));
    let two = network(&infos(2, 1), false);
    assert_eq!(shortage(hops(&two, 3)), (1, Shortage::Relays));
    assert!(hops(&two, 2).is_ok());
    assert_eq!(hops(&two, 1), Err(PathError::Hops { hops: 1, min: 2, max: 3 }));
    assert_eq!(hops(&two, 4), Err(PathError::Hops { hops: 4, min: 2, max: 3 }));
    assert!(matches!(hops(&two, 0), Err(PathError::Hops { .. })));
    let none = network(&infos(3, 0), false);
    assert_eq!(shortage(hops(&none, 3)), (3, Shortage::Exits { port: 443, v6: false }));
    assert_eq!(shortage(select(&none, &want(3, LastHop::AnyMeeting), &mut rng(1))), (3, Shortage::MeetingRelays));
    let mut family = infos(3, 1);
    for info in &mut family {
        info.family = Some("one".into());
    }
    assert_eq!(shortage(hops(&network(&family, false), 3)), (2, Shortage::Families));
    let mut prefix = infos(3, 1);
    prefix[1].addresses = vec!["20.1.7.7:1".parse().unwrap()];
    assert_eq!(shortage(hops(&network(&prefix, false), 3)), (1, Shortage::Prefixes));
    let mut both = infos(3, 1);
    both[1].addresses = vec!["20.1.7.7:1".parse().unwrap()];
    both[2].operator = both[0].operator.clone();
    assert_eq!(shortage(hops(&network(&both, false), 3)), (2, Shortage::Combination));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a plain search over all triples, in small networks with many clashes.
    #[test]
    fn a_path_is_found_exactly_when_there_is_one(
        groups in prop::collection::vec((0..4u8, 0..4u8, any::<bool>()), 1..7), seed: u64,
    ) {
        let all: Vec<DescriptorInfo> = groups.iter().enumerate().map(|(number, (operator, net, is_exit))| {
            DescriptorInfo {
                nickname: format!("relay{number}"),
                operator: format!("operator {operator}"),
                addresses: vec![format!("20.{net}.0.{number}:9").parse().unwrap()],
                exit: is_exit.then(|| exit(&[443], false)),
                ..info(0)
            }
        }).collect();
        let network = network(&all, false);
        let apart = |a: usize, b: usize| a != b && groups[a].0 != groups[b].0 && groups[a].1 != groups[b].1;
        let mut paths = 0u32;
        for a in 0..groups.len() {
            for b in 0..groups.len() {
                for (c, group) in groups.iter().enumerate() {
                    paths += u32::from(apart(a, b) && apart(b, c) && apart(a, c) && group.2);
                }
            }
        }
        let found = select(&network, &want(3, ANY_EXIT), &mut rng(seed));
        prop_assert_eq!(found.is_ok(), paths > 0);
        let bits = entropy_bits(&network, &want(3, ANY_EXIT)).unwrap();
        prop_assert!((bits - f64::from(paths.max(1)).log2()).abs() < 1e-9);
    }
}

#[test]
fn bounded_numbers_are_unbiased_and_in_bounds() {
    let mut rng = rng(6);
    let mut seen = [0u32; 7];
    for _ in 0..70_000 {
        let n = candidates::below(&mut rng, 7);
        seen[usize::try_from(n).unwrap()] += 1;
    }
    assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
    assert_eq!(candidates::below(&mut rng, 1), 0);
}

#[test]
fn inner_relays_come_from_where_they_may() {
    let network = network(&infos(12, 2), false);
    let mut rng = rng(3);
    let inner = [id_of(&network, "relay5"), id_of(&network, "relay7")];
    for _ in 0..100 {
        let path = select_within(&network, &want(3, ANY_EXIT), &inner, &mut rng).unwrap();
        assert!(inner.contains(&path[1]));
    }
    assert!(select_within(&network, &want(3, ANY_EXIT), &[], &mut rng).is_err());
    let meeting = PathRequest { hops: 2, last: LastHop::AnyMeeting, exclude: &[], guard: None, country: None };
    if let Ok(path) = select_within(&network, &meeting, &inner, &mut rng) {
        assert!(inner.contains(&path[1]));
    }
}
