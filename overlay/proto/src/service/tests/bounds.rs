//! What relays and services do under floods: stores, introductions, proofs of work, queues, prices, and where descriptors go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zmesh_sphinx::RelayId;

use super::super::Source;
use super::super::descriptor;
use super::super::intro::{Intros, Refusal as IntroRefusal};
use super::super::introduce::IntroSecret;
use super::super::key::{BlindedKey, blinded_key};
use super::super::load::{PATIENCE, Price, Queue, WINDOW};
use super::super::period::{OVERLAP_SECONDS, Period};
use super::super::placement::{COPIES, RANKS, stores};
use super::super::pow::{Puzzle, Solution, Solver, Trial};
use super::super::store::{KEPT, Refusal, Store};
use super::{address, contents, key, rng};
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
    network(&infos, false)
}

fn made(seed: u64, revision: u64) -> (Vec<u8>, BlindedKey) {
    let (key, period) = (key(seed), Period::at(NOW));
    let secret = key.blinded(period);
    let bytes = descriptor::seal(&secret, &key.address(), period, revision, &contents(2, NOW + 60), &mut rng(revision));
    (bytes, secret.public())
}

const FROM: Source = Source { session: 1, link: 1 };

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
    let put = |store: &mut Store, at, bytes: &[u8]| store.put(at, NOW, &network, &me, FROM, bytes);
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
    assert_eq!(put(&mut store, now, &third[..100]), Err(Refusal::Invalid));
}

#[test]
fn a_store_takes_what_belongs_to_it_and_to_now() {
    let (network, now) = (net(40), any_instant());
    let (bytes, name) = made(1, 1);
    let mine = stores(&network, &name, Period::at(NOW), RANKS);
    for relay in network.relays() {
        let mut store = Store::new(10);
        let put = store.put(now, NOW, &network, &relay.id(), FROM, &bytes);
        assert_eq!(put.is_ok(), mine.contains(&relay.id()));
        assert!(put.is_ok() || put == Err(Refusal::Elsewhere));
    }
    let mut store = Store::new(10);
    for unix in [NOW - 3 * 86_400, NOW + 3 * 86_400] {
        assert_eq!(store.put(now, unix, &network, &mine[0], FROM, &bytes), Err(Refusal::Invalid));
    }
}

#[test]
fn a_flood_of_descriptors_falls_back_on_the_link_that_it_comes_by() {
    let (network, now) = (net(3), any_instant());
    let me = network.relays()[0].id();
    let mut store = Store::new(20);
    let honest: Vec<_> = (0..5).map(|seed| made(seed, 1)).collect();
    for (number, (bytes, _)) in honest.iter().enumerate() {
        let source = Source { session: 9, link: 100 + number as u64 };
        store.put(now, NOW, &network, &me, source, bytes).unwrap();
    }
    let mut taken = 0;
    for seed in 1_000..1_300 {
        let put = store.put(now, NOW, &network, &me, Source { session: seed, link: 7 }, &made(seed, 1).0);
        taken += usize::from(put.is_ok());
        assert!(put.is_ok() || put == Err(Refusal::Busy));
        assert!(store.len() <= 20);
    }
    assert_eq!(taken, 200, "what one link may bring at once, whatever session it says");
    for (_, name) in &honest {
        assert!(store.get(now, name).is_some(), "those of other links stay");
    }
    assert_eq!(store.len(), 20);
}

/// Who comes by the service's own link drives its descriptor out, and offers the old one that they kept.
#[test]
fn a_descriptor_that_was_driven_out_does_not_let_an_older_one_in() {
    let (network, now) = (net(3), any_instant());
    let me = network.relays()[0].id();
    let mut store = Store::new(20);
    let (old, _) = made(1, 1);
    let (new, name) = made(1, 2);
    store.put(now, NOW, &network, &me, FROM, &new).unwrap();
    for seed in 1_000..1_030 {
        store.put(now, NOW, &network, &me, FROM, &made(seed, 1).0).unwrap();
    }
    assert_eq!(store.get(now, &name), None, "driven out");
    assert_eq!(store.put(now, NOW, &network, &me, FROM, &old), Err(Refusal::Stale));
    assert_eq!(store.get(now, &name), None);
    assert_eq!(store.put(now, NOW, &network, &me, FROM, &made(1, 3).0), Ok(()), "the service goes on");
    assert_eq!((store.len(), store.names()), (20, 31));
    // That table is bounded, too, and one link that fills it forgets its own names.
    let mut one_link = Store::new(1);
    one_link.put(now, NOW, &network, &me, Source { session: 1, link: 2 }, &new).unwrap();
    for seed in 2_000..2_100 {
        one_link.put(now, NOW, &network, &me, FROM, &made(seed, 1).0).unwrap();
    }
    assert_eq!((one_link.len(), one_link.names()), (1, 16));
    assert_eq!(one_link.put(now, NOW, &network, &me, FROM, &old), Err(Refusal::Stale));
}

#[test]
fn introductions_are_bounded_by_service_session_and_link() {
    let now = any_instant();
    let secret = |seed: u64| IntroSecret::generate(&mut rng(seed));
    let from = |session, link| Source { session, link };
    let mut intros = Intros::new(6, 3);
    assert_eq!(intros.introduce(now, &secret(1).name()), Err(IntroRefusal::Unknown));
    assert_eq!(intros.establish(&secret(1), 10, from(1, 1)), Ok(None));
    assert_eq!(intros.establish(&secret(2), 11, from(1, 1)), Ok(None));
    assert_eq!(intros.establish(&secret(3), 12, from(1, 1)), Err(IntroRefusal::Full), "one session");
    assert_eq!(intros.establish(&secret(3), 12, from(2, 1)), Ok(None));
    assert_eq!(intros.establish(&secret(4), 13, from(3, 1)), Err(IntroRefusal::Full), "one link");
    for number in 0..3 {
        assert_eq!(intros.establish(&secret(20 + number), 20 + number, from(20 + number, 2)), Ok(None));
    }
    assert_eq!(intros.establish(&secret(5), 14, from(5, 3)), Err(IntroRefusal::Full), "all");
    // Who shows the secret again takes the place over; who knows only the name cannot.
    assert_eq!(intros.introduce(now, &secret(1).name()), Ok(10));
    assert_eq!(intros.establish(&secret(1), 15, from(6, 3)), Ok(Some(10)));
    assert_eq!(intros.introduce(now, &secret(1).name()), Ok(15));
    intros.remove(10);
    assert_eq!(intros.len(), 6, "the old handle has no place any more");
    let passed = (0..500).filter(|_| intros.introduce(now, &secret(1).name()).is_ok()).count();
    assert_eq!(passed, 99, "a burst of 100, of which one went before");
    assert_eq!(intros.introduce(now, &secret(1).name()), Err(IntroRefusal::Busy));
    assert_eq!(intros.introduce(now, &secret(2).name()), Ok(11), "others do not suffer");
    assert_eq!(intros.introduce(now + Duration::from_secs(1), &secret(1).name()), Ok(15));
    for handle in [11, 12, 15, 20, 21, 22] {
        intros.remove(handle);
    }
    assert!(intros.is_empty());
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

#[test]
fn those_who_worked_most_go_first_and_a_full_queue_sheds_the_least() {
    let now = any_instant();
    let mut queue = Queue::new(3);
    for (effort, item) in [(0, 'a'), (50, 'b'), (0, 'c'), (100, 'd')] {
        queue.push(now, effort, item);
    }
    assert_eq!(
        (queue.len(), queue.take_shed(), queue.take_shed()),
        (3, 1, 0),
        "the later one of those without work went"
    );
    assert_eq!(queue.pop(now), Some((100, 'd')));
    assert_eq!(queue.pop(now + PATIENCE / 2), Some((50, 'b')));
    assert_eq!(queue.pop(now + PATIENCE), None, "its client has gone");
    assert_eq!(queue.take_shed(), 1);
    assert!(queue.is_empty());
    queue.push(now, 9, 'e');
    queue.push(now + PATIENCE / 2, 0, 'f');
    queue.expire(now + PATIENCE);
    assert_eq!((queue.len(), queue.take_shed()), (1, 1), "those that nobody waits for any more do not keep others out");
}

#[test]
fn the_price_rises_under_load_and_sinks_after_it() {
    let mut now = any_instant();
    let mut price = Price::new(now);
    assert_eq!(price.effort(), 0);
    assert_eq!(price.look(now, 0, 0), None);
    let mut efforts = Vec::new();
    for _ in 0..20 {
        now += WINDOW;
        assert_eq!(price.next_look() + WINDOW, now + WINDOW);
        efforts.extend(price.look(now, 5, 100));
    }
    assert_eq!(&efforts[..4], &[32, 64, 128, 256]);
    assert_eq!(efforts.last(), Some(&10_000), "bounded");
    now += WINDOW;
    assert_eq!(price.look(now, 0, 50), None, "while many wait it stays");
    for _ in 0..40 {
        now += WINDOW;
        price.look(now, 0, 0);
    }
    assert_eq!(price.effort(), 0);
    // Clients that pay more than is asked show what the place is worth.
    price.answered(500);
    price.answered(700);
    assert_eq!(price.look(now, 1, 1), Some(601));
}

/// A flood without work against a service that answers 4 in a second: a client that pays what is asked is answered.
#[test]
fn a_flood_without_work_does_not_keep_paying_clients_out() {
    let mut now = any_instant();
    let (mut queue, mut price) = (Queue::new(128), Price::new(now));
    let (mut paying, mut answered) = (0, 0);
    for second in 0..300u64 {
        for _ in 0..60 {
            queue.push(now, 0, false);
        }
        if second % 10 == 5 {
            paying += 1;
            queue.push(now, price.effort(), true);
        }
        for _ in 0..4 {
            if let Some((effort, honest)) = queue.pop(now) {
                price.answered(effort);
                answered += usize::from(honest);
            }
        }
        if now >= price.next_look() {
            let shed = queue.take_shed();
            price.look(now, shed, queue.len());
        }
        assert!(queue.len() <= 128);
        now += Duration::from_secs(1);
    }
    assert!(price.effort() >= 32);
    assert!(answered + 3 >= paying, "{answered} of {paying}: all but those before the price rose");
}
