//! What relays and services do under floods: stores, introductions, proofs of work, and where descriptors go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use zmesh_sphinx::RelayId;

use super::super::Source;
use super::super::descriptor;
use super::super::intro::{self, Intros, Next, Refusal as IntroRefusal};
use super::super::introduce::IntroSecret;
use super::super::key::{BlindedKey, blinded_key};
use super::super::period::{OVERLAP_SECONDS, Period};
use super::super::place_work::{self, PLACE_EFFORT, Placing};
use super::super::placement::{self, COPIES, RANKS, stores};
use super::super::pow::{Puzzle, Solution, Solver, Trial};
use super::super::store::{KEPT, Refusal, Store};
use super::super::visitor::Visitor;
use super::{address, contents, key, rng};
use crate::crowd::{Class, Via};
use crate::directory::Network;
use crate::directory::fixture::{NOW, info, network};
use crate::timer::any_instant;

fn net(relays: u8) -> Network {
    let infos: Vec<_> = (0..relays)
        .map(|number| {
            let mut info = info(number);
            info.meeting = true;
            info
        })
        .collect();
    network(&infos, true)
}

/// Offers a descriptor with the work for it, has it checked and kept.
fn put(
    store: &mut Store,
    (now, unix): (Instant, u64),
    network: &Network,
    me: &RelayId,
    source: Source,
    bytes: &[u8],
) -> Result<(), Refusal> {
    let work = descriptor::Outer::decode(bytes).map_or([0; 16], |outer| {
        let (blinded, period, revision) = (outer.blinded, outer.period, outer.revision);
        Placing { blinded, period, revision, relay: *me }.solve(place_work::effort(network), [0; 16])
    });
    let checked = store.offer(now, unix, source, bytes, work)?.check(network, me)?;
    store.keep(now, checked)
}

fn made(seed: u64, revision: u64) -> (Vec<u8>, BlindedKey) {
    let (key, period) = (key(seed), Period::at(NOW));
    let secret = key.blinded(period);
    let bytes = descriptor::seal(&secret, &key.address(), period, revision, &contents(2, NOW + 60), &mut rng(revision));
    (bytes, secret.public())
}

const FROM: Source = Source { session: 1, via: Via { class: Class::Known, link: 1 } };

/// A session that came over a relay's link.
const fn from(session: u64, link: u64) -> Source {
    Source { session, via: Via { class: Class::Known, link } }
}

#[test]
fn a_descriptor_goes_to_distinct_operators_and_moves_with_the_period() {
    let mut infos: Vec<_> = (0..40).map(info).collect();
    for (number, info) in infos.iter_mut().enumerate() {
        info.meeting = number % 4 != 0;
        if number >= 20 {
            info.operator = "one and the same".into();
        }
    }
    let network = network(&infos, false);
    let mut firsts = BTreeMap::<RelayId, usize>::new();
    for number in 0..400 {
        let period = Period(number);
        let chosen = stores(&network, &blinded_key(&address(1), period), period, COPIES);
        assert_eq!(chosen.len(), COPIES);
        let relay = |id: &RelayId| network.relay(id).unwrap();
        assert!(chosen.iter().all(|id| relay(id).is_meeting()));
        let operators: BTreeSet<_> = chosen.iter().map(|id| relay(id).operator()).collect();
        assert_eq!(operators.len(), COPIES, "nobody withholds it alone");
        *firsts.entry(chosen[0]).or_default() += 1;
    }
    assert_eq!(firsts.len(), 30);
    assert!(firsts.values().all(|count| (1..=40).contains(count)), "{firsts:?}");
    // Where there are too few operators, their other relays fill up.
    let few = net(3);
    assert_eq!(stores(&few, &blinded_key(&address(1), Period(1)), Period(1), COPIES).len(), 3);
}

#[test]
fn a_store_takes_the_newest_and_never_an_older_one() {
    let (network, now) = (net(4), any_instant());
    let me = network.relays()[0].id();
    let mut store = Store::new(10);
    let (second, name) = made(1, 2);
    assert_eq!(store.get(now, &name), None);
    let put = |store: &mut Store, at, bytes: &[u8]| put(store, (at, NOW), &network, &me, FROM, bytes);
    assert_eq!(put(&mut store, now, &second), Ok(()));
    assert_eq!(put(&mut store, now, &second), Ok(()), "the same again");
    assert_eq!(put(&mut store, now, &made(1, 1).0), Err(Refusal::Stale));
    let mut other_salt = made(1, 2).0;
    other_salt[50] ^= 1;
    assert_eq!(put(&mut store, now, &other_salt), Err(Refusal::Stale), "another of the same revision");
    assert_eq!(store.get(now, &name), Some(&second[..]));
    let (third, _) = made(1, 3);
    let mut forged = third.clone();
    forged[2_000.min(third.len() - 1)] ^= 1;
    assert_eq!(put(&mut store, now, &forged), Err(Refusal::Invalid), "not signed");
    assert_eq!(store.get(now, &name), Some(&second[..]), "a forgery takes nobody's place");
    assert_eq!(put(&mut store, now, &third), Ok(()));
    assert_eq!(store.get(now, &name), Some(&third[..]));
    // Its time is over; what is remembered keeps the old ones out.
    let later = now + KEPT;
    assert_eq!(store.get(later, &name), None);
    store.expire(later, NOW + KEPT.as_secs());
    assert_eq!(put(&mut store, later, &second), Err(Refusal::Stale));
    assert_eq!(put(&mut store, later, &third), Err(Refusal::Stale), "nor does the last one come back by itself");
    assert_eq!((store.len(), store.names()), (0, 1));
    store.expire(later, Period::at(NOW).ends() + OVERLAP_SECONDS);
    assert_eq!((store.is_empty(), store.names()), (true, 0));
    assert_eq!(put(&mut store, later, &third[..100]), Err(Refusal::Invalid));
}

#[test]
fn a_store_takes_what_belongs_to_it_and_to_now() {
    let (network, now) = (net(40), any_instant());
    let (bytes, name) = made(1, 1);
    let mine = stores(&network, &name, Period::at(NOW), RANKS);
    for relay in network.relays() {
        let mut store = Store::new(10);
        let put = put(&mut store, (now, NOW), &network, &relay.id(), FROM, &bytes);
        assert_eq!(put.is_ok(), mine.contains(&relay.id()));
        assert!(put.is_ok() || put == Err(Refusal::Elsewhere));
    }
    let mut store = Store::new(10);
    for unix in [NOW - 3 * 86_400, NOW + 3 * 86_400] {
        assert_eq!(put(&mut store, (now, unix), &network, &mine[0], FROM, &bytes), Err(Refusal::Invalid));
    }
}

#[test]
fn a_flood_of_descriptors_falls_back_on_the_link_that_it_comes_by() {
    let (network, now) = (net(3), any_instant());
    let me = network.relays()[0].id();
    let mut store = Store::new(20);
    let honest: Vec<_> = (0..5).map(|seed| made(seed, 1)).collect();
    for (number, (bytes, _)) in honest.iter().enumerate() {
        let source = from(9, 100 + number as u64);
        put(&mut store, (now, NOW), &network, &me, source, bytes).unwrap();
    }
    let mut taken = 0;
    for seed in 1_000..1_300 {
        let put = put(&mut store, (now, NOW), &network, &me, from(seed, 7), &made(seed, 1).0);
        taken += usize::from(put.is_ok());
        assert!(put.is_ok() || put == Err(Refusal::Busy));
        assert!(store.len() <= 20);
    }
    assert!((16..=200).contains(&taken), "{taken}: at most what one link may bring at once, whatever session it says");
    for (_, name) in &honest {
        assert!(store.get(now, name).is_some(), "those of other links stay");
    }
    assert_eq!(store.len(), 20);
}

/// Descriptors of other names, each of which stands better at a relay than `than` does (or worse).
fn others(network: &Network, me: &RelayId, than: &BlindedKey, better: bool) -> impl Iterator<Item = Vec<u8>> {
    let standing = |name: &BlindedKey| placement::standing(network, name, Period::at(NOW), me);
    let bound = standing(than);
    (1_000..)
        .map(|seed| made(seed, 1))
        .filter(move |(_, name)| (standing(name) > bound) == better)
        .map(|(bytes, _)| bytes)
}

/// Who comes by the service's own link drives its descriptor out, and offers the old one that they kept.
#[test]
fn a_descriptor_that_was_driven_out_does_not_let_an_older_one_in() {
    let (network, now) = (net(3), any_instant());
    let me = network.relays()[0].id();
    let mut store = Store::new(20);
    let put = |store: &mut Store, bytes: &[u8]| put(store, (now, NOW), &network, &me, FROM, bytes);
    // One that stands well enough to come back, and not so well that nothing is found that stands better.
    let half = |seed: &u64| {
        (1 << 62..3 << 62).contains(&placement::standing(&network, &made(*seed, 1).1, Period::at(NOW), &me))
    };
    let seed = (1..100).find(half).unwrap();
    let (old, _) = made(seed, 1);
    let (new, name) = made(seed, 2);
    put(&mut store, &new).unwrap();
    for bytes in others(&network, &me, &name, true).take(20) {
        put(&mut store, &bytes).unwrap();
    }
    assert_eq!(store.get(now, &name), None, "driven out");
    assert_eq!(put(&mut store, &old), Err(Refusal::Stale));
    assert_eq!(store.get(now, &name), None);
    assert_eq!((store.len(), store.names()), (20, 21));
    // By another link the service comes back.
    let elsewhere = from(2, 2);
    assert_eq!(self::put(&mut store, (now, NOW), &network, &me, elsewhere, &made(seed, 3).0), Ok(()));
    // That table is bounded, too.
    let mut small = Store::new(1);
    let standing = |bytes: &Vec<u8>| {
        let name = descriptor::Outer::decode(bytes).unwrap().blinded;
        placement::standing(&network, &name, Period::at(NOW), &me)
    };
    let mut better: Vec<_> = others(&network, &me, &name, true).take(100).collect();
    better.sort_by_key(standing);
    for bytes in better {
        assert_eq!(put(&mut small, &bytes), Ok(()), "each drives out the one before");
    }
    assert_eq!((small.len(), small.names()), (1, 16));
}

/// Names for which this relay scores badly drive nobody out, however many they are; so a flood has to look for names, one by one.
#[test]
fn what_stands_badly_here_drives_nobody_out() {
    let (network, now) = (net(3), any_instant());
    let me = network.relays()[0].id();
    let standing = |seed: &u64| placement::standing(&network, &made(*seed, 1).1, Period::at(NOW), &me);
    let seed = (1..1_000).max_by_key(standing).unwrap();
    let (bytes, name) = made(seed, 1);
    // By one link and by forty, each of which brings what the service's brought.
    for links in [1, 40] {
        let mut store = Store::new(20);
        put(&mut store, (now, NOW), &network, &me, FROM, &bytes).unwrap();
        for (number, junk) in (0..).zip(others(&network, &me, &name, false).take(150)) {
            let _ = put(&mut store, (now, NOW), &network, &me, from(number, number % links), &junk);
        }
        assert_eq!(store.len(), 20, "{links} links");
        assert_eq!(store.get(now, &name), Some(&bytes[..]), "{links} links");
    }
}

/// Somebody repeats what others published, over a link of their own that is about to go short.
#[test]
fn who_repeats_a_descriptor_does_not_take_it_to_another_link() {
    let (network, now) = (net(3), any_instant());
    let me = network.relays()[0].id();
    let mut store = Store::new(20);
    let put = |store: &mut Store, link, bytes: &[u8]| put(store, (now, NOW), &network, &me, from(link, link), bytes);
    let (bytes, name) = made(1, 1);
    assert_eq!(put(&mut store, 1, &bytes), Ok(()));
    for junk in others(&network, &me, &name, true).take(10) {
        assert_eq!(put(&mut store, 2, &junk), Ok(()));
    }
    assert_eq!(put(&mut store, 2, &bytes), Ok(()), "the same again is welcome");
    for junk in others(&network, &me, &name, true).skip(10).take(20) {
        let _ = put(&mut store, 2, &junk);
    }
    assert_eq!(store.get(now, &name), Some(&bytes[..]));
}

/// What is junk or belongs elsewhere costs the pace of its link, before anything costly is done for it.
#[test]
fn whatever_comes_costs_its_link_pace() {
    let (network, now) = (net(40), any_instant());
    let (bytes, name) = made(1, 1);
    let mine = stores(&network, &name, Period::at(NOW), RANKS);
    let other = network.relays().iter().map(|relay| relay.id()).find(|id| !mine.contains(id)).unwrap();
    let mut store = Store::new(10);
    for _ in 0..100 {
        assert_eq!(put(&mut store, (now, NOW), &network, &other, FROM, &bytes), Err(Refusal::Elsewhere));
        assert_eq!(put(&mut store, (now, NOW), &network, &other, FROM, &bytes[1..]), Err(Refusal::Invalid));
    }
    let offer = |store: &mut Store, link| store.offer(now, NOW, from(1, link), &bytes, [0; 16]).map(drop);
    assert_eq!(offer(&mut store, FROM.via.link), Err(Refusal::Busy));
    assert_eq!(offer(&mut store, 2), Ok(()), "others do not suffer");
}

#[test]
fn a_place_costs_work_for_this_name_revision_and_relay() {
    let infos: Vec<_> = (0..3)
        .map(|number| {
            let mut info = info(number);
            info.meeting = true;
            info
        })
        .collect();
    let network = network(&infos, false);
    let (effort, me) = (place_work::effort(&network), network.relays()[0].id());
    assert_eq!(effort, PLACE_EFFORT, "in a network that is no test");
    let (bytes, name) = made(1, 2);
    let placing = Placing { blinded: name, period: Period::at(NOW), revision: 2, relay: me };
    let work = placing.solve(effort, [7; 16]);
    assert!(placing.holds(effort, &work));
    let mut store = Store::new(10);
    let mut check = |work| store.offer(any_instant(), NOW, FROM, &bytes, work).unwrap().check(&network, &me).map(drop);
    assert_eq!(check(work), Ok(()));
    let other = |placing: Placing| placing.solve(effort, [7; 16]);
    let wrong = [
        other(Placing { relay: network.relays()[1].id(), ..placing }),
        other(Placing { revision: 1, ..placing }),
        other(Placing { period: Period(placing.period.0 + 1), ..placing }),
        other(Placing { blinded: made(2, 2).1, ..placing }),
    ];
    // Each is a fresh draw for this one, which succeeds once in 128.
    assert!(wrong.into_iter().filter(|work| check(*work).is_ok()).count() <= 1);
    assert_eq!(check([0; 16]), Err(Refusal::Invalid), "none was done");
}

#[test]
fn introductions_are_bounded_by_service_session_and_link() {
    let now = any_instant();
    let secret = |seed: u64| IntroSecret::generate(&mut rng(seed));
    let mut intros = Intros::new(6, 3);
    assert_eq!(intros.introduce(&secret(1).name(), 1, 'x'), Err(IntroRefusal::Unknown));
    assert_eq!(intros.establish(&secret(1), 10, from(1, 1)), Ok(None));
    assert_eq!(intros.establish(&secret(2), 11, from(1, 1)), Ok(None));
    assert_eq!(intros.establish(&secret(3), 12, from(1, 1)), Err(IntroRefusal::Full), "one session");
    assert_eq!(intros.establish(&secret(3), 12, from(2, 1)), Ok(None));
    assert_eq!(intros.establish(&secret(4), 13, from(3, 1)), Err(IntroRefusal::Full), "one link");
    for number in 0..3 {
        assert_eq!(intros.establish(&secret(20 + number), 20 + number, from(20 + number, 2)), Ok(None));
    }
    let strange = Source { session: 5, via: Via { class: Class::Stranger, link: 3 } };
    assert_eq!(
        intros.establish(&secret(5), 14, strange),
        Err(IntroRefusal::Full),
        "all, and strangers have no share of six"
    );
    // Who shows the secret again takes the place over, and gets what waits; who knows only the name cannot.
    assert_eq!(intros.introduce(&secret(1).name(), 1, 'a'), Ok((10, None)));
    assert_eq!(intros.introduce(&secret(1).name(), 1, 'b'), Ok((10, None)));
    assert_eq!(intros.next(now, 10), Next::Take('a'));
    assert_eq!(intros.establish(&secret(1), 15, from(6, 3)), Ok(Some(10)));
    assert_eq!((intros.next(now, 10), intros.next(now, 15)), (Next::Gone, Next::Take('b')));
    assert_eq!(intros.next(now, 15), Next::Nothing);
    intros.leave(10);
    assert_eq!(intros.len(), 6, "the old handle has no place any more");
    // 200 at once, of which two went before, and 200 a second.
    let mut passed = 0;
    for number in 0..500 {
        assert!(intros.introduce(&secret(1).name(), number % 7, 'c').is_ok());
        match intros.next(now, 15) {
            Next::Take(_) => passed += 1,
            other => {
                assert_eq!(other, Next::Later);
                break;
            }
        }
    }
    assert_eq!(passed, 198);
    assert_eq!(intros.next(now + intro::PAUSE, 15), Next::Take('c'));
    assert_eq!(intros.introduce(&secret(2).name(), 1, 'd'), Ok((11, None)), "others do not suffer");
    assert_eq!(intros.next(now, 11), Next::Take('d'));
    for handle in [11, 12, 15, 20, 21, 22] {
        intros.leave(handle);
    }
    assert!(intros.is_empty());
}

/// Who fills all places by a few links leaves room for the next one: the latest services of the links that have most
/// give way.
#[test]
fn services_of_crowded_links_give_way_to_those_of_others() {
    let secret = |seed: u64| IntroSecret::from_bytes(&std::array::from_fn(|at| seed.to_be_bytes()[at % 8]));
    let mut intros = Intros::<char>::new(2_048, 256);
    let mut handle = 0;
    let mut establish = |intros: &mut Intros<char>, class, link| {
        handle += 1;
        (intros.establish(&secret(handle), handle, Source { session: handle, via: Via { class, link } }), handle)
    };
    // A service that came first over a link that is crowded later keeps its place.
    let (first, _) = establish(&mut intros, Class::Known, 1);
    assert_eq!(first, Ok(None));
    for number in 1..2_048 {
        assert_eq!(establish(&mut intros, Class::Known, 1 + number % 8).0, Ok(None));
    }
    assert_eq!(establish(&mut intros, Class::Known, 1).0, Err(IntroRefusal::Full), "a link has a bound of its own");
    let mut gone = BTreeSet::new();
    for _ in 0..200 {
        let (established, _) = establish(&mut intros, Class::Known, 9);
        assert!(gone.insert(established.unwrap().expect("another one gave way")));
    }
    assert_eq!(intros.len(), 2_048);
    assert!(gone.iter().all(|handle| *handle > 1_800), "the latest ones: {gone:?}");
    assert_eq!(intros.next(any_instant(), *gone.first().unwrap()), Next::Gone);
    assert_eq!(intros.introduce(&secret(1).name(), 1, 'a'), Ok((1, None)));
    // It ends where the links have the same: nobody is moved to and fro.
    let more = (0..200).filter(|_| establish(&mut intros, Class::Known, 9).0.is_ok()).count();
    assert!((20..56).contains(&more), "{more}: 2,048 by nine links");
}

#[test]
fn links_of_strangers_have_few_places_for_services() {
    let secret = |seed: u64| IntroSecret::from_bytes(&std::array::from_fn(|at| seed.to_be_bytes()[at % 8]));
    let mut intros = Intros::<char>::new(2_048, 256);
    let mut handle = 0;
    let mut establish = |intros: &mut Intros<char>, class, link| {
        handle += 1;
        intros.establish(&secret(handle), handle, Source { session: handle, via: Via { class, link } })
    };
    let mut taken = 0;
    for number in 0..32 * 256 {
        taken += u32::from(establish(&mut intros, Class::Stranger, number % 32).is_ok());
    }
    assert_eq!(taken, 32 * 16, "as many links as one address may have");
    for link in 100..200 {
        for _ in 0..16 {
            let _ = establish(&mut intros, Class::Stranger, link);
        }
    }
    assert_eq!(intros.len(), 2_048, "by more addresses they fill it");
    // Relays get all but the strangers' share of it.
    for number in 0..1_920 {
        assert!(matches!(establish(&mut intros, Class::Known, 1_000 + number % 8), Ok(Some(_))), "{number}");
    }
    assert_eq!(establish(&mut intros, Class::Known, 1_000), Err(IntroRefusal::Full));
}

/// Junk over one link, ten times what is passed on, and clients over others: every client gets through, and the service sees what is too much.
#[test]
fn junk_over_one_link_keeps_nobody_out() {
    let start = any_instant();
    let secret = IntroSecret::generate(&mut rng(1));
    let mut intros = Intros::new(6, 3);
    intros.establish(&secret, 1, FROM).unwrap();
    let (mut clients, mut passed, mut junk) = (0, 0, 0);
    for tick in 0..2_000u32 {
        let now = start + intro::PAUSE * tick;
        for _ in 0..10 {
            let _ = intros.introduce(&secret.name(), 7, false);
        }
        if tick % 40 == 0 {
            clients += 1;
            let introduced = intros.introduce(&secret.name(), u64::from(100 + tick % 11), true);
            assert!(matches!(introduced, Ok((1, None | Some(false)))), "{introduced:?}");
        }
        while let Next::Take(honest) = intros.next(now, 1) {
            *(if honest { &mut passed } else { &mut junk }) += 1;
        }
    }
    assert_eq!(passed, clients);
    assert!(junk > 1_900, "{junk} in ten seconds: a service that answers eight a second sees a flood");
}

#[test]
fn a_session_has_few_introductions() {
    let now = any_instant();
    let mut visitor = Visitor::default();
    assert_eq!((0..10).filter(|_| visitor.may_introduce()).count(), 2);
    assert_eq!((0..20).filter(|_| visitor.may_ask(now)).count(), 12);
    assert!(visitor.may_ask(now + Duration::from_secs(1)) && !visitor.may_introduce());
}

#[test]
fn work_is_found_checked_and_bound_to_service_cookie_seed_and_effort() {
    let (blinded, cookie, seed) = (made(1, 1).1, [3; 16], [7; 32]);
    let puzzle = Puzzle { effort: 40, seed };
    let mut solver = Solver::new(puzzle, blinded, cookie, [9; 16]);
    let solution = (0..200).find_map(|_| solver.attempt(40)).expect("8,000 attempts at 40 are enough");
    let mut trial = Trial::new();
    assert!(trial.holds(&[[1; 32], seed], &blinded, &cookie, &solution));
    assert!(!trial.holds(&[[1; 32]], &blinded, &cookie, &solution), "an unknown seed");
    let mut tally = 0;
    for number in 0..20u8 {
        let other_cookie = [100 + number; 16];
        tally += usize::from(trial.holds(&[seed], &blinded, &other_cookie, &solution));
        let mut nonce = solution;
        nonce.nonce[number as usize % 16] ^= 0x40;
        tally += usize::from(trial.holds(&[seed], &blinded, &cookie, &nonce));
        tally += usize::from(trial.holds(&[seed], &BlindedKey([number; 32]), &cookie, &solution));
        tally += usize::from(trial.holds(
            &[seed],
            &blinded,
            &cookie,
            &Solution { effort: 41 + u32::from(number), ..solution },
        ));
    }
    // Each of these 80 is a fresh draw that succeeds once in 40 to 60.
    assert!(tally <= 10, "{tally} of 80");
    assert!(!trial.holds(&[seed], &blinded, &cookie, &Solution { effort: u32::MAX, ..solution }));
    assert!(trial.holds(&[], &blinded, &cookie, &Solution::default()), "no work is claimed");
    let free = Solver::new(Puzzle { effort: 0, seed }, blinded, cookie, [0; 16]).attempt(1);
    assert_eq!(free.map(|solution| solution.effort), Some(0));
}
