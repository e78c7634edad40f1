use std::collections::BTreeSet;

use proptest::prelude::*;
use zmesh_sphinx::RelayId;

use super::{BUDGET, EARN, MEMBERS_MAX, Member, SECOND_DEFAULT, STAY_MAX, STAY_MIN, SecondLayer, select_behind};
use crate::directory::Network;
use crate::directory::fixture::{NOW, info, network, rng};
use crate::path::{Chooser, LastHop, PathError, PathRequest, Preference};

const DAY: u64 = 86_400;

fn net(relays: u8) -> Network {
    let infos: Vec<_> = (0..relays)
        .map(|number| {
            let mut info = info(number);
            info.meeting = true;
            info
        })
        .collect();
    network(&infos, false)
}

fn chooser(relays: u8) -> Chooser {
    Chooser::new(&net(relays), Preference::default())
}

#[test]
fn members_stay_for_days_and_change_one_by_one() {
    let (network, mut rng) = (chooser(60), rng(1));
    let mut layer = SecondLayer::new(SECOND_DEFAULT);
    let (first, changed) = layer.members(NOW, &network, &mut rng);
    assert!(changed && first.len() == SECOND_DEFAULT);
    assert_eq!(layer.members(NOW + STAY_MIN - 1, &network, &mut rng), (first.clone(), false));
    let mut ever: BTreeSet<RelayId> = first.iter().copied().collect();
    for hour in 0..60 * 24 {
        let (members, _) = layer.members(NOW + hour * 3_600, &network, &mut rng);
        assert_eq!(members.len(), SECOND_DEFAULT);
        ever.extend(members);
    }
    // The longer of two times between 1 and 12 days is 8.3 on average: about 29 stays in 60 days.
    assert!((18..=42).contains(&ever.len()), "{}", ever.len());
    let late = layer.members(NOW + 60 * DAY + STAY_MAX + 1, &network, &mut rng).0;
    assert!(late.iter().all(|id| !first.contains(id)) || late.len() == SECOND_DEFAULT);
}

#[test]
fn relays_that_leave_are_replaced_on_a_budget_and_come_back() {
    let (whole, without, mut rng) = (net(60), net(30), rng(2));
    let of = |network| Chooser::new(network, Preference::default());
    let (all, few) = (of(&whole), of(&without));
    // A network that shows none of the members, as one would that wants others to be drawn.
    let gone = whole.relays().iter().map(|relay| relay.id()).filter(|id| without.relay(id).is_none());
    let first: Vec<RelayId> = gone.take(4).collect();
    let mut layer = SecondLayer::new(4);
    layer.members = first.iter().map(|id| Member { id: *id, until: NOW + 5 * DAY }).collect();
    assert_eq!(layer.members(NOW, &all, &mut rng).0, first);
    let drawn = layer.members(NOW + 1, &few, &mut rng).0;
    assert_eq!(drawn.len(), BUDGET as usize);
    assert_eq!(layer.members(NOW + 2, &few, &mut rng).0, drawn, "no more than that");
    assert_eq!(layer.members(NOW + EARN, &few, &mut rng).0.len(), BUDGET as usize + 1, "and one more a day");
    let back = layer.members(NOW + EARN + 1, &all, &mut rng).0;
    assert!(first.iter().all(|id| back.contains(id)), "those of before are members still");
}

#[test]
fn a_set_outlives_the_process_and_a_wrong_clock() {
    let (network, mut rng) = (chooser(30), rng(3));
    let mut layer = SecondLayer::new(4);
    let members = layer.members(NOW, &network, &mut rng).0;
    let bytes = layer.encode();
    let mut again = SecondLayer::decode(&bytes).unwrap();
    assert_eq!(again, layer);
    assert_eq!(again.members(NOW + 60, &network, &mut rng), (members, false));
    for len in 0..bytes.len() {
        assert!(SecondLayer::decode(&bytes[..len]).is_err());
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(SecondLayer::decode(&longer).is_err());
    // A clock that was a year ahead when the members were drawn does not keep them for a year.
    let mut ahead = SecondLayer::new(4);
    let odd = ahead.members(NOW + 365 * DAY, &network, &mut rng).0;
    let (right, changed) = ahead.members(NOW, &network, &mut rng);
    assert!(changed && right.len() == 4 && right != odd);
}

#[test]
fn the_second_relay_is_a_member_and_all_rules_hold() {
    let mut infos: Vec<_> = (0..30).map(info).collect();
    for (number, info) in infos.iter_mut().enumerate() {
        info.meeting = true;
        info.operator = format!("operator {}", number / 2);
    }
    let (network, mut rng) = (network(&infos, false), rng(4));
    let mut chooser = Chooser::new(&network, Preference::default());
    let mut layer = SecondLayer::new(4);
    let members = layer.members(NOW, &chooser, &mut rng).0;
    let operator = |id: &RelayId| network.relay(id).unwrap().operator().to_owned();
    let mut thirds = BTreeSet::new();
    for at in 0..400 {
        let guard = network.relays()[at % 7].id();
        let last = network.relays()[29 - at % 11].id();
        for hops in [3, 4] {
            let want =
                PathRequest { hops, last: LastHop::Meeting(last), exclude: &[], guard: Some(guard), country: None };
            let path = match select_behind(&mut chooser, &want, &members, &mut rng) {
                Ok(path) => path,
                // Of four members all may be the guard, the last relay or of their operators only where they are few.
                Err(error) => panic!("{error} with {hops} hops"),
            };
            assert_eq!((path.len(), path[0], path[hops - 1]), (hops, guard, last));
            assert!(members.contains(&path[1]));
            let distinct: BTreeSet<_> = path[..hops - 1].iter().map(operator).collect();
            assert_eq!(distinct.len(), hops - 1);
            if hops == 4 {
                thirds.insert(path[2]);
            }
        }
    }
    assert!(thirds.len() > 20, "the third relay comes from the whole network: {}", thirds.len());
}

#[test]
fn no_path_is_an_error_and_not_another_second_relay() {
    let (network, mut rng) = (net(10), rng(5));
    let mut chooser = Chooser::new(&network, Preference::default());
    let ids: Vec<RelayId> = network.relays().iter().map(|relay| relay.id()).collect();
    for hops in [3, 4] {
        let want = PathRequest {
            hops,
            last: LastHop::Meeting(ids[1]),
            exclude: &ids[2..3],
            guard: Some(ids[0]),
            country: None,
        };
        let drawn = select_behind(&mut chooser, &want, &ids[..3], &mut rng);
        assert!(matches!(drawn, Err(PathError::NotEnough { .. })), "{drawn:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_set_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(mut layer) = SecondLayer::decode(&bytes) {
            prop_assert_eq!(layer.encode(), bytes);
            let (members, _) = layer.members(NOW, &chooser(6), &mut rng(1));
            prop_assert!(members.len() <= MEMBERS_MAX);
        }
    }
}
