use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::directory::Measure;
use crate::directory::fixture::NOW;
use crate::wire::descriptor::DescriptorInfo;

/// Days from the start of the fixture's documents.
fn today(later: u32) -> u32 {
    u32::try_from(NOW / 86_400).unwrap() + later
}

/// A chooser of a document that holds for ever, as a sequence of documents would.
fn chooser(network: &Network) -> Chooser {
    let mut chooser = Chooser::new(network, Preference::DEFAULT);
    chooser.valid_until = u64::MAX;
    chooser
}

fn ids(set: &GuardSet) -> Vec<RelayId> {
    set.report(start()).iter().map(|report| report.id).collect()
}

#[test]
fn guards_stay_when_they_fail() {
    let network = chooser(&network(&infos(10, 1), false));
    let mut rng = rng(4);
    let start = start();
    let mut set = GuardSet::new(3);
    let first = set.pick(start, &network, &[], &mut rng).unwrap();
    let mine: Vec<RelayId> = set.report(start).iter().map(|report| report.id).collect();
    assert_eq!(mine.len(), 3);
    assert_eq!(first, mine[0]);
    let mut now = start;
    for _ in 0..1_000 {
        match set.pick(now, &network, &[], &mut rng) {
            Ok(id) => {
                assert!(mine.contains(&id));
                set.unreachable(&id, now);
            }
            Err(GuardError::AllFailing { retry_in }) => {
                assert!(retry_in <= Duration::from_secs(600));
                now += retry_in;
            }
            Err(other) => panic!("{other}"),
        }
    }
    set.succeeded(&first);
    assert_eq!(set.pick(now, &network, &[], &mut rng).unwrap(), first);
    assert!(set.report(now)[0].failures > 10);
    set.failed_behind(&first);
    assert_eq!(set.pick(now, &network, &[], &mut rng).unwrap(), first);
    // Excluded from one path: the next of the set, not a new one.
    assert!(mine[1..].contains(&set.pick(now + Duration::from_secs(601), &network, &[first], &mut rng).unwrap()));
    assert_eq!(set.pick(now, &network, &mine, &mut rng), Err(GuardError::AllExcluded));
}

#[test]
fn a_guard_behind_which_packets_are_altered_rests_and_no_new_one_comes() {
    let network = chooser(&network(&infos(10, 1), false));
    let (mut rng, now) = (rng(4), start());
    let mut set = GuardSet::new(3);
    let first = set.pick(now, &network, &[], &mut rng).unwrap();
    let mine: Vec<RelayId> = set.report(now).iter().map(|report| report.id).collect();
    for _ in 0..3 {
        set.tampered(&first, now);
        assert_eq!(set.pick(now, &network, &[], &mut rng).unwrap(), first, "a few may be another relay's fault");
    }
    set.tampered(&first, now);
    assert_eq!(set.pick(now, &network, &[], &mut rng).unwrap(), mine[1]);
    assert!(set.report(now)[0].resting && set.report(now)[0].tampered == 4);
    // Where only the resting one is allowed it serves, and so it does when all rest: nobody gets to bring in his own.
    assert_eq!(set.pick(now, &network, &mine[1..], &mut rng).unwrap(), first);
    for (guard, later) in mine[1..].iter().zip(1..) {
        for _ in 0..4 {
            set.tampered(guard, now + Duration::from_secs(later));
        }
    }
    assert_eq!(set.pick(now, &network, &[], &mut rng).unwrap(), first);
    assert_eq!(set.report(now).iter().map(|report| report.id).collect::<Vec<_>>(), mine);
    let rested = now + Duration::from_secs(1801);
    assert!(!set.report(rested)[0].resting);
    assert_eq!(set.pick(rested, &network, &[], &mut rng).unwrap(), first);
    // Circuits that come up make up for signs now and then.
    for _ in 0..20 {
        set.tampered(&first, rested);
        (0..32).for_each(|_| set.succeeded(&first));
        assert!(!set.report(rested)[0].resting);
    }
}

#[test]
fn guards_that_left_are_replaced_within_a_budget() {
    let now = start();
    let mut rng = rng(5);
    let mut set = GuardSet::new(1);
    set.advance(today(0));
    let mut worlds = Vec::new();
    for first in 0..5u8 {
        // Five networks without a common relay.
        let infos: Vec<DescriptorInfo> = (0..2u8).map(|n| info(first * 10 + n)).collect();
        let signer = crate::keys::SignerKey::generate(&mut rng);
        let mut draft = crate::directory::fixture::draft(std::slice::from_ref(&signer), false);
        for (n, info) in infos.iter().enumerate() {
            let seed = u64::from(first) * 100 + n as u64;
            draft.add(crate::directory::fixture::descriptor(seed, info)).unwrap();
        }
        draft.sign(&signer, crate::directory::fixture::NOW).unwrap();
        let document = draft.into_document().unwrap();
        worlds.push(Network::from_document(document, crate::directory::fixture::NOW).unwrap());
    }
    // Networks of two relays: a set for one guard holds two.
    let worlds: Vec<Chooser> = worlds.iter().map(chooser).collect();
    let mut seen = Vec::new();
    for world in &worlds[..2] {
        let guard = set.pick(now, world, &[], &mut rng).unwrap();
        assert!(world.contains(&guard));
        assert_eq!(set.pick(now, world, &[], &mut rng).unwrap(), guard);
        seen.push(guard);
    }
    assert_eq!(set.pick(now, &worlds[2], &[], &mut rng), Err(GuardError::BudgetUsed));
    assert_eq!(set.pick(now, &worlds[3], &[], &mut rng), Err(GuardError::BudgetUsed));
    // One that comes back has its place again.
    assert_eq!(set.pick(now, &worlds[0], &[], &mut rng), Ok(seen[0]));
    // Neither a new run nor a few days change that; some weeks do.
    let mut set = GuardSet::restore(1, set.take_changed().unwrap());
    set.advance(today(0));
    assert_eq!(set.pick(now, &worlds[2], &[], &mut rng), Err(GuardError::BudgetUsed));
}

#[test]
fn guards_differ_from_each_other_where_they_can() {
    let mut all = infos(6, 0);
    for info in &mut all[..4] {
        info.operator = "big".into();
    }
    let network_strict = network(&all, false);
    let strict = chooser(&network_strict);
    for seed in 0..50 {
        let mut set = GuardSet::new(3);
        set.pick(start(), &strict, &[], &mut rng(seed)).unwrap();
        let report = set.report(start());
        let big = report.iter().filter(|guard| network_strict.relay(&guard.id).unwrap().operator() == "big").count();
        assert_eq!((report.len(), big), (3, 1));
    }
    let two = chooser(&network(&infos(2, 0), false));
    let mut set = GuardSet::new(3);
    set.pick(start(), &two, &[], &mut rng(1)).unwrap();
    assert_eq!(set.report(start()).len(), 2);
}

/// An adversary runs a tenth of all relays and kills every circuit that none of them is in the middle of. Rebuilding draws
/// from a small set, so he sees no more of it than that set holds, however often he kills.
#[test]
fn killing_circuits_cannot_push_an_origin_beyond_its_set() {
    let network = network(&infos(100, 10), false);
    let mut chooser = chooser(&network);
    let evil: BTreeSet<RelayId> = network.relays().iter().take(10).map(|relay| relay.id()).collect();
    let (mut rng, start) = (rng(4), start());
    let mut captured = 0;
    let sessions = 200;
    for session in 0..sessions {
        let mut reserve = Reserve::new(RESERVE_DEFAULT);
        let mut guards = GuardSet::new(GUARDS_DEFAULT);
        let (mut used, mut first, mut caught) = (BTreeSet::new(), BTreeSet::new(), false);
        // One kill every two seconds for an hour.
        for kill in 0..1_800u64 {
            let now = start + Duration::from_secs(2 * kill);
            let guard = guards.pick(now, &chooser, &[], &mut rng).unwrap();
            let inner = reserve.pick(now, &chooser, &[guard], 1, &mut rng);
            let request = PathRequest { guard: Some(guard), ..want(3, ANY_EXIT) };
            let Ok(path) = chooser.select_narrow(&request, Narrow { inner: Some(&inner), last: None }, &mut rng) else {
                continue;
            };
            used.insert(path[1]);
            first.insert(path[0]);
            caught |= evil.contains(&path[1]);
            if !caught {
                guards.failed_behind(&path[0]);
                reserve.failed(&path[1], now);
            }
        }
        captured += u32::from(caught);
        assert!(first.len() <= GUARDS_DEFAULT, "guards are not changed for failures");
        // The set, two newcomers at once, and one more for each ten minutes.
        assert!(reserve.ever() <= 8 + 2 + 6, "session {session}: {}", reserve.ever());
        assert!(used.len() as u64 <= reserve.ever());
    }
    // A set of 8 to 16 honest-looking draws: 1 − 0.9¹⁶ = 81 % at most, where 1,800 free draws would be certain.
    assert!(captured < sessions * 85 / 100, "{captured} of {sessions}");
}

#[test]
fn a_reserve_rests_what_failed_and_serves_it_when_there_is_nothing_else() {
    let network = chooser(&network(&infos(4, 1), false));
    let (mut rng, start) = (rng(5), start());
    let mut reserve = Reserve::new(3);
    let all = reserve.pick(start, &network, &[], 1, &mut rng);
    assert_eq!(all.len(), 3);
    reserve.failed(&all[0], start);
    let rested = reserve.pick(start + Duration::from_secs(1), &network, &[], 1, &mut rng);
    assert!(rested.len() == 2 && !rested.contains(&all[0]));
    assert_eq!(reserve.pick(start + Duration::from_secs(11), &network, &[], 1, &mut rng).len(), 3, "rested");
    for id in &all {
        reserve.failed(id, start);
        reserve.failed(id, start);
    }
    let none_better = reserve.pick(start + Duration::from_secs(1), &network, &[], 2, &mut rng);
    assert!(none_better.len() >= 2, "{none_better:?}");
    assert!(reserve.ever() <= 4);
}

#[test]
fn a_set_lives_from_run_to_run_and_its_guards_for_weeks() {
    let network = chooser(&network(&infos(60, 5), false));
    let (mut rng, now) = (rng(11), start());
    let mut set = GuardSet::new(3);
    set.advance(today(0));
    let first = set.pick(now, &network, &[], &mut rng).unwrap();
    let mine = ids(&set);
    let mut lives = Vec::new();
    let mut state = set.take_changed().expect("three new guards");
    assert_eq!(set.take_changed(), None);
    for day in 0..400 {
        // A run a day, each from the bytes that the last one stored.
        let mut set = GuardSet::restore(3, GuardState::decode(&state.encode()).unwrap());
        set.advance(today(day));
        let guard = set.pick(now, &network, &[], &mut rng).unwrap();
        if day <= 28 {
            assert_eq!((guard, ids(&set)), (first, mine.clone()), "day {day}");
        }
        if lives.last() != Some(&guard) {
            lives.push(guard);
        }
        set.succeeded(&guard);
        state = set.take_changed().unwrap_or(state);
        assert!(state.len() <= 9);
    }
    // The guard that is used follows upon one of 4 to 8 weeks, or has been sampled as long ago as that one.
    assert!((5..=24).contains(&lives.len()), "{}", lives.len());
}

#[test]
fn a_wrong_clock_does_not_end_the_service_of_a_guard() {
    let short = network(&infos(60, 5), false);
    let document = Chooser::new(&short, Preference::DEFAULT);
    let (mut rng, now) = (rng(12), start());
    let mut set = GuardSet::new(3);
    set.advance(today(0));
    set.pick(now, &document, &[], &mut rng).unwrap();
    let mine = ids(&set);
    // Ten years ahead, while the document holds for two days.
    set.advance(today(3_650));
    set.pick(now, &document, &[], &mut rng).unwrap();
    assert_eq!(ids(&set), mine);
    // What a clock that was ahead wrote down does not last for ever either.
    let mut ahead = GuardSet::new(3);
    ahead.advance(today(3_650));
    ahead.pick(now, &chooser(&short), &[], &mut rng).unwrap();
    let mut back = GuardSet::restore(3, ahead.take_changed().unwrap());
    back.advance(today(0));
    back.pick(now, &chooser(&short), &[], &mut rng).unwrap();
    let before = ids(&back);
    back.advance(today(57));
    back.pick(now, &chooser(&short), &[], &mut rng).unwrap();
    assert_ne!(ids(&back), before);
}

#[test]
fn the_guard_that_proved_itself_first_goes_first() {
    let network = chooser(&network(&infos(20, 1), false));
    let (mut rng, now) = (rng(13), start());
    let mut set = GuardSet::new(3);
    let first = set.pick(now, &network, &[], &mut rng).unwrap();
    set.unreachable(&first, now);
    let second = set.pick(now, &network, &[], &mut rng).unwrap();
    set.succeeded(&second);
    let mut later = GuardSet::restore(3, set.take_changed().unwrap());
    assert_eq!(later.pick(now, &network, &[], &mut rng), Ok(second));
    // The other one is still in the set, and its turn comes when this one fails.
    later.unreachable(&second, now);
    assert_eq!(later.pick(now, &network, &[], &mut rng), Ok(first));
}

#[test]
fn striking_guards_off_the_document_brings_in_few() {
    // Whoever could have relays struck off, and did so with every guard each day.
    let all = network(&infos(90, 5), false);
    let (mut rng, now) = (rng(14), start());
    let mut set = GuardSet::new(3);
    let mut struck: Vec<RelayId> = Vec::new();
    let mut met = BTreeSet::new();
    for day in 0..20 {
        set.advance(today(day));
        let mut left = chooser(&all);
        left.strike(&struck);
        if set.pick(now, &left, &[], &mut rng).is_err() {
            break;
        }
        met.extend(ids(&set));
        struck.extend(ids(&set));
    }
    assert_eq!(met.len(), 9, "three for each guard");
}

#[test]
fn guards_are_sampled_by_capacity_as_far_as_the_floor_allows() {
    let plain = network(&infos(40, 0), false);
    let measures = plain
        .relays()
        .iter()
        .enumerate()
        .map(|(at, relay)| (relay.id(), Measure { capacity: if at < 10 { 3_000 } else { 1_000 }, place: None }));
    let measures = measures.collect();
    let network = chooser(&plain.with_measures(measures));
    assert_eq!(network.single_strength(), 4);
    let large: BTreeSet<RelayId> =
        network.guard_shares().into_iter().filter(|(_, share)| *share > 0.03).map(|(id, _)| id).collect();
    assert_eq!(large.len(), 10);
    let mut rng = rng(15);
    let draws = 6_000;
    let mut hits = 0;
    for _ in 0..draws {
        let mut set = GuardSet::new(1);
        hits += usize::from(large.contains(&set.pick(start(), &network, &[], &mut rng).unwrap()));
    }
    // 10 × 3 of 10 × 3 + 30 × 1: one half. Four deviations of a binomial are 155.
    assert!(hits.abs_diff(draws / 2) < 155, "{hits}");
}

proptest! {
    /// Any bytes give a state or an error, and a state is written as it was read.
    #[test]
    fn stored_guards_are_read_and_written_alike(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(state) = GuardState::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
        }
    }

    /// The same for states that are well-formed but for one byte, and for ones cut short or too long.
    #[test]
    fn damaged_guards_are_refused_or_read_as_they_are(
        relays in prop::collection::vec((any::<[u8; 16]>(), any::<u32>(), any::<u32>()), 0..12),
        at: prop::sample::Index, flip in 1..=255u8, cut: prop::sample::Index,
    ) {
        let entries = relays.iter().zip(0u8..).map(|((id, until, unlisted), rank)| {
            guard::state::Entry { id: RelayId(*id), until: *until, unlisted: *unlisted, rank }
        });
        let bytes = GuardState::from_entries(entries.collect()).encode();
        prop_assert!(GuardState::decode(&bytes).is_ok());
        prop_assert!(GuardState::decode(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(GuardState::decode(&[&bytes[..], &[0]].concat()).is_err());
        let mut damaged = bytes;
        let at = at.index(damaged.len());
        damaged[at] ^= flip;
        if let Ok(state) = GuardState::decode(&damaged) {
            prop_assert_eq!(state.encode(), damaged);
        }
    }
}

#[test]
fn stored_guards_that_make_no_sense_are_refused() {
    let entry = |id: u8, rank| guard::state::Entry { id: RelayId([id; 16]), until: 20_000, unlisted: 0, rank };
    let read = |entries: Vec<guard::state::Entry>| GuardState::decode(&GuardState::from_entries(entries).encode());
    assert!(read(vec![entry(1, 2), entry(2, 0), entry(3, 1)]).is_ok());
    assert!(read(vec![entry(1, 1), entry(2, 1)]).is_err(), "one rank twice");
    assert!(read(vec![entry(1, 2)]).is_err(), "a second without a first");
    assert!(read(vec![entry(1, 0), entry(1, 1)]).is_err(), "one relay twice");
    assert!(GuardState::decode(&[2, 0]).is_err(), "another version");
    // Ids and days are all that is stored.
    assert_eq!(GuardState::from_entries(vec![entry(7, 1)]).encode().len(), 2 + 16 + 4 + 4 + 1);
}
