//! What a service does under load: its queue, its price, its places.

use std::time::Duration;

use super::super::load::{Offer, PATIENCE, Price, Queue, Shed, WINDOW};
use super::super::places::{self, Places};
use crate::timer::any_instant;

#[test]
fn those_who_worked_most_go_first_and_a_full_queue_sheds_the_least() {
    let now = any_instant();
    let mut queue = Queue::new(3);
    for (effort, item) in [(0, 'a'), (50, 'b'), (0, 'c'), (100, 'd')] {
        queue.push(now, effort, effort > 0, item);
    }
    assert_eq!(
        (queue.len(), queue.take_shed(), queue.take_shed()),
        (3, Shed { all: 1, enough: 0 }, Shed::default()),
        "the later one of those without work went"
    );
    assert_eq!(queue.pop(now), Some((100, 'd')));
    assert_eq!(queue.pop(now + PATIENCE / 2), Some((50, 'b')));
    assert_eq!(queue.pop(now + PATIENCE), None, "its client has gone");
    assert_eq!(queue.take_shed(), Shed { all: 1, enough: 0 });
    assert!(queue.is_empty());
    queue.push(now, 9, true, 'e');
    queue.push(now + PATIENCE / 2, 0, true, 'f');
    assert_eq!(queue.first(now), Some(9));
    queue.expire(now + PATIENCE);
    assert_eq!(queue.first(now + PATIENCE), Some(0));
    assert_eq!(
        (queue.len(), queue.take_shed()),
        (1, Shed { all: 1, enough: 1 }),
        "those that nobody waits for any more do not keep others out"
    );
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

/// A service that answers four in a second, for `seconds`: what came under `flood` (efforts, a second) and one client every ten seconds that pays what is
/// asked. Gives the price at the end of each second, and how many clients came and were answered.
fn service(seconds: u64, flood: impl Fn(u64) -> Vec<u32>) -> (Vec<u32>, u64, u64) {
    let start = any_instant();
    let (mut queue, mut price, mut prices) = (Queue::new(128), Price::new(start), Vec::new());
    let (mut paying, mut answered) = (0, 0);
    for second in 0..seconds {
        let now = start + Duration::from_secs(second);
        let mut came: Vec<_> = flood(second).into_iter().map(|effort| (effort, false)).collect();
        if second % 10 == 5 {
            paying += 1;
            came.push((price.effort(), true));
        }
        for (effort, honest) in came {
            match price.judge(effort) {
                Offer::Refused => assert!(!honest),
                offer => queue.push(now, effort, offer == Offer::Enough, honest),
            }
        }
        for _ in 0..4 {
            if let Some((effort, honest)) = queue.pop(now) {
                price.answered(effort);
                answered += u64::from(honest);
            }
        }
        if now >= price.next_look() {
            let shed = queue.take_shed();
            price.look(now, shed.enough, queue.len());
        }
        assert!(queue.len() <= 128);
        prices.push(price.effort());
    }
    (prices, paying, answered)
}

/// A flood without work: a client that pays what is asked is answered, and what is asked stays the least there is.
#[test]
fn a_flood_without_work_costs_paying_clients_the_least_effort_and_no_more() {
    let (prices, paying, answered) = service(900, |second| if second < 600 { vec![0; 60] } else { Vec::new() });
    assert!(answered + 3 >= paying, "{answered} of {paying}: all but those before the price rose");
    assert_eq!(prices[30], 32);
    // Those that came for nothing when nothing was asked raise it once more; from then on it is neither more nor, while the flood lasts, less.
    assert!(prices[30..100].iter().all(|price| (32..=64).contains(price)), "{:?}", &prices[30..100]);
    assert!(prices[100..600].iter().all(|price| *price == 32), "{:?}", &prices[100..600]);
    assert_eq!(prices.last(), Some(&0), "and nothing after it");
}

/// Somebody drives the price up by work and then goes on without any: it sinks.
#[test]
fn a_price_that_was_paid_up_is_not_held_up_for_nothing() {
    let flood = |second| if second < 100 { vec![20_000; 10] } else { vec![0; 60] };
    let (prices, ..) = service(1_200, flood);
    assert!(prices[..100].iter().any(|price| *price >= 10_000), "{:?}", &prices[..100]);
    assert_eq!(prices.last(), Some(&32));
}

/// A client's price may be one window old.
#[test]
fn what_was_asked_a_window_ago_is_not_refused() {
    let mut now = any_instant();
    let mut price = Price::new(now);
    assert_eq!(price.judge(0), Offer::Enough);
    let mut asked = 0;
    for _ in 0..12 {
        now += WINDOW;
        price.look(now, 1, 0);
        assert_ne!(price.judge(asked), Offer::Refused);
        assert_eq!(price.judge(price.effort()), Offer::Enough);
        asked = price.effort();
    }
    assert_eq!(price.judge(asked / 2 - 1), Offer::Refused);
}

#[test]
fn a_full_service_gives_the_place_that_cost_least_and_is_idle_longest_to_who_did_more() {
    let start = any_instant();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut places = Places::new(4);
    let mut enter = |effort| places.enter(start, effort).unwrap().0;
    let [dear, busy, idle, idlest] = [50, 0, 0, 0].map(&mut enter);
    assert_eq!(places.enter(at(100), 60), None, "none was met");
    for number in [dear, busy, idle, idlest] {
        places.met(number, start);
    }
    assert_eq!(places.clients(), 4);
    assert_eq!(places.enter(at(20), 60), None, "and none is idle");
    places.used(idle, at(1));
    places.used(busy, at(40));
    assert!(!places.has_room(at(50), 0) && places.enter(at(50), 0).is_none(), "nobody goes for one that did no more");
    let (first, lost) = places.enter(at(50), 10).unwrap();
    assert_eq!(lost, Some(idlest));
    assert_eq!(places.enter(at(50), 10).unwrap().1, Some(idle));
    assert_eq!(places.enter(at(50), 10), None, "one is busy, one paid more, two are being met");
    assert_eq!(places.enter(at(50), 60).unwrap().1, Some(dear));
    places.leave(first);
    assert!(places.has_room(at(50), 0) && places.enter(at(50), 0).is_some());
    assert_eq!(places.enter(at(600), 5).unwrap().1, Some(busy), "a byte now and then holds no place for ever");
    assert_eq!(places.len(), 4);
}

/// 128 clients that were let in for nothing and stay: those who pay come in all the same, and so many as come.
#[test]
fn idle_clients_do_not_close_a_service() {
    let start = any_instant();
    let mut places = Places::new(128);
    for _ in 0..128 {
        let (number, _) = places.enter(start, 0).unwrap();
        places.met(number, start);
    }
    let now = start + places::IDLE;
    assert!((0..128).all(|_| places.enter(now, 32).is_some_and(|(_, lost)| lost.is_some())));
    assert!(places.enter(now, 32).is_none());
}
