use proptest::prelude::*;

use super::*;
use crate::timer::any_instant;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn message(id: u16) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn poll_all(order: &mut InOrder) -> Vec<u16> {
    std::iter::from_fn(|| order.poll()).map(|message| u16::from_be_bytes([message[0], message[1]])).collect()
}

/// Offers these ids, and gives what is handed on.
fn offer(order: &mut InOrder, now: Instant, ids: impl IntoIterator<Item = u16>) -> Vec<u16> {
    ids.into_iter().for_each(|id| order.accept(now, id, message(id), true));
    poll_all(order)
}

/// One that has seen a message come 10 ms late, after 100 others.
fn patient(start: Instant) -> InOrder {
    let mut order = InOrder { patience: Duration::ZERO, overtaken: 0, ..InOrder::default() };
    assert_eq!(offer(&mut order, start, [0]), [0]);
    assert_eq!(offer(&mut order, start, 2..=103).len(), 102, "nothing has come late so far");
    assert_eq!(offer(&mut order, start + ms(10), [1]), [1], "what is late is handed on at once");
    order
}

#[test]
fn nothing_waits_while_nothing_comes_late() {
    let start = any_instant();
    let mut order = InOrder { patience: Duration::ZERO, ..InOrder::default() };
    for id in (0..5000).step_by(2) {
        assert_eq!(offer(&mut order, start + ms(u64::from(id)), [id]), [id]);
        assert_eq!((order.held(), order.next_timeout()), (0, None));
    }
}

#[test]
fn who_has_seen_one_come_late_waits_for_the_next() {
    let start = any_instant();
    let mut order = patient(start);
    assert_eq!(offer(&mut order, start + ms(20), [104, 106, 107, 109]), [104]);
    assert_eq!((order.held(), order.next_timeout()), (3, Some(start + ms(20) + ms(10) * 9 / 4 + SHORTEST)));
    assert_eq!(offer(&mut order, start + ms(30), [105]), [105, 106, 107]);
    assert_eq!(offer(&mut order, start + ms(31), [108, 110]), [108, 109, 110]);
    assert_eq!((order.held(), order.next_timeout()), (0, None));
}

#[test]
fn what_does_not_come_is_given_up_and_waited_for_less() {
    let start = any_instant();
    let mut order = patient(start);
    let mut now = start + ms(20);
    let mut waits = Vec::new();
    for id in (105..305).step_by(2) {
        offer(&mut order, now, [id]);
        let Some(due) = order.next_timeout() else { break };
        assert_eq!(order.held(), 1);
        order.handle_timeout(due - ms(1) / 10);
        assert_eq!(poll_all(&mut order), [0u16; 0]);
        order.handle_timeout(due);
        assert_eq!(poll_all(&mut order), [id]);
        waits.push(due - now);
        now = due + ms(1);
    }
    assert!(waits.is_sorted_by(|a, b| a > b) && waits.len() < 40, "{waits:?}");
    assert_eq!(offer(&mut order, now, [401, 403]), [401, 403], "no patience is left");
}

#[test]
fn one_that_comes_after_all_is_handed_on_and_teaches_patience() {
    let start = any_instant();
    let mut order = patient(start);
    offer(&mut order, start + ms(20), [104, 106]);
    let due = order.next_timeout().expect("one is missing");
    order.handle_timeout(due);
    assert_eq!(poll_all(&mut order), [106]);
    assert_eq!(offer(&mut order, start + ms(60), [105]), [105]);
    assert_eq!(offer(&mut order, start + ms(70), [108]), [0u16; 0]);
    assert!(order.next_timeout() >= Some(start + ms(70) + ms(40)), "{:?}", order.next_timeout());
}

#[test]
fn patience_and_places_have_bounds() {
    let start = any_instant();
    let mut order = patient(start);
    assert_eq!(offer(&mut order, start, [104, 106]), [104]);
    assert_eq!(offer(&mut order, start + ms(5_000), [105, 108]), [105, 106]);
    assert_eq!(order.next_timeout(), Some(start + ms(5_000) + LONGEST));
    let held = offer(&mut order, start + ms(5_001), 109..107 + MOST);
    assert_eq!((held.len(), order.held()), (0, usize::from(MOST) - 1));
    let all = offer(&mut order, start + ms(5_001), [107 + MOST]);
    assert_eq!(all.len(), usize::from(MOST), "107 is too far behind");
    assert_eq!(order.held(), 0);
    order.accept(start + ms(5_002), 110 + MOST, message(110 + MOST), false);
    assert_eq!(poll_all(&mut order), [110 + MOST], "there is no room to hold anything");
}

/// A few messages with wide gaps cost little memory and little time, and neither stays.
#[test]
fn gaps_take_up_no_room() {
    let start = any_instant();
    let room = |order: &InOrder| order.early.capacity() + order.ready.capacity();
    let mut order = patient(start);
    offer(&mut order, start, [104, 106, 104 + MOST]);
    assert_eq!(order.held(), 2);
    assert!(room(&order) <= SPARE, "{}", room(&order));
    // In turn one that can wait and one that cannot.
    for round in 0..1000u16 {
        let next = order.next.expect("begun");
        offer(&mut order, start + ms(u64::from(round)), [next.wrapping_add(MOST - 2), next.wrapping_add(MOST)]);
        assert!(room(&order) <= SPARE && order.given_up.len() <= usize::from(MISSED_MAX));
    }
    // What many messages took up is given back.
    let next = order.next.expect("begun");
    let now = start + ms(2_000);
    offer(&mut order, now, (1..MOST).map(|ahead| next.wrapping_add(ahead)));
    assert!(room(&order) >= usize::from(MOST) / 2, "{} held", order.held());
    order.handle_timeout(now + LONGEST);
    poll_all(&mut order);
    assert_eq!((order.held(), room(&order)), (0, 0));
}

#[test]
fn at_first_a_little_is_waited() {
    let start = any_instant();
    let mut order = InOrder::default();
    assert_eq!(offer(&mut order, start, [7, 9]), [7]);
    assert_eq!(order.next_timeout(), Some(start + FIRST));
    assert_eq!(offer(&mut order, start + ms(12), [8]), [8, 9]);
}

#[test]
fn what_few_overtake_is_not_waited_for() {
    let start = any_instant();
    let mut order = InOrder::default();
    // It takes a while to find that out.
    let mut held = Vec::new();
    for round in 0..400 {
        let (first, now) = (round * 10, start + ms(40) * u32::from(round));
        offer(&mut order, now, [first]);
        offer(&mut order, now, first + 2..first + 8);
        held.push(order.held());
        offer(&mut order, now + ms(15), [first + 1]);
        offer(&mut order, now + ms(16), first + 8..first + 10);
    }
    assert!(held[..20].iter().all(|held| *held == 6) && held[200..].iter().all(|held| *held == 0), "{held:?}");
}

#[test]
fn a_sender_that_has_gone_around_is_followed() {
    let start = any_instant();
    let mut order = patient(start);
    assert_eq!(offer(&mut order, start + ms(1), [40_000]), [40_000], "behind by more than any that is late");
    assert_eq!(offer(&mut order, start + ms(2), [40_001, 40_002]), [40_001, 40_002]);
    assert_eq!(offer(&mut order, start + ms(3), [40_004]), [0u16; 0], "it goes on from there");
}

proptest! {
    /// Whatever is lost and in whatever order it comes: each message that arrives is handed on once, in order unless it was given
    /// up before; memory is bounded; and all is handed on when there is nothing to wait for.
    #[test]
    fn each_is_handed_on_once(
        first in any::<u16>(),
        fates in prop::collection::vec((0u8..20, 0u64..40_000), 1..1200),
        late in 0u64..30,
    ) {
        let start = any_instant();
        let mut order = InOrder::default();
        let mut arrivals: Vec<(u64, u16)> = Vec::new();
        for (number, (fate, by)) in fates.iter().enumerate() {
            let sent = number as u64 * 30;
            let id = first.wrapping_add(u16::try_from(number).expect("few"));
            match fate {
                0 => {}
                1 | 2 => arrivals.push((sent + by, id)),
                _ => arrivals.push((sent, id)),
            }
        }
        arrivals.sort_unstable();
        let mut out = Vec::new();
        for (at, id) in &arrivals {
            let now = start + Duration::from_micros(*at);
            if late > 0 && order.next_timeout().is_some_and(|due| due + ms(late) <= now) {
                order.handle_timeout(now);
            }
            order.accept(now, *id, message(*id), true);
            prop_assert!(order.held() < usize::from(MOST) && order.given_up.len() <= usize::from(MISSED_MAX));
            prop_assert_eq!(order.held() > 0, order.next_timeout().is_some());
            prop_assert!(order.early.iter().map(|held| held.id.wrapping_sub(first)).is_sorted_by(|a, b| a < b));
            out.extend(poll_all(&mut order));
        }
        while let Some(due) = order.next_timeout() {
            order.handle_timeout(due);
        }
        out.extend(poll_all(&mut order));
        prop_assert_eq!(order.held(), 0);
        let (mut came, mut handed): (Vec<u16>, Vec<u16>) = (arrivals.iter().map(|(_, id)| *id).collect(), out);
        came.sort_unstable();
        handed.sort_unstable();
        prop_assert_eq!(came, handed);
    }

    /// Any ids at any times, twice or not.
    #[test]
    fn any_ids_are_borne(steps in prop::collection::vec((any::<u16>(), 0u64..200, any::<bool>()), 0..300)) {
        let mut order = InOrder::default();
        let (mut now, mut handed) = (any_instant(), 0);
        for (number, (id, wait, room)) in steps.iter().enumerate() {
            now += ms(*wait);
            order.handle_timeout(now);
            order.accept(now, *id, message(*id), *room);
            handed += poll_all(&mut order).len();
            prop_assert!(order.held() < usize::from(MOST) && handed + order.held() <= number + 1);
        }
    }
}
